//! More shards than cores: whatever the scheduler does, no shard sleeps through work that is waiting for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Broker {
    process: Child,
    address: SocketAddr,
}

impl Broker {
    fn start(shards: usize) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_dunlin"))
            .args(["--port", "0", "--no-pin", "--log-level", "warn", "--storage", "memory"])
            .args(["--shards", &shards.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the broker says where it listens");
        let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        Self { address: address.parse().expect("an address and a port"), process }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Regression: a preempt timer that fired at the wrong moment left a shard asleep for good.
#[test]
fn every_one_of_3000_connections_is_answered_by_8_shards() {
    let broker = Broker::start(8);
    for number in 0..3_000_u32 {
        let mut socket = TcpStream::connect(broker.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let client_id = format!("c{number:05}");
        let mut connect = vec![0x10, 12 + client_id.len() as u8];
        connect.extend_from_slice(b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x06");
        connect.extend_from_slice(client_id.as_bytes());
        socket.write_all(&connect).unwrap();
        let mut connack = [0; 4];
        socket.read_exact(&mut connack).unwrap_or_else(|error| panic!("connection {number}: {error}"));
        assert_eq!(connack, [0x20, 2, 0, 0]);
    }
}
