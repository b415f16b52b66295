//! A broker that could not run for a while: a suspended machine, a debugger, a host that took its cores away.

use std::time::Duration;

use crate::broker::{Broker, Client};

/// More than one turn of two shards takes in.
const CLIENTS: u16 = 2_400;
const KEEP_ALIVE_S: u8 = 4;
/// Longer than 1.5 times that.
const STALL: Duration = Duration::from_secs(8);

fn send_connect(client: &mut Client, number: u16) {
    let [high, low] = number.to_be_bytes();
    let id = [b'a' + (high & 15), b'a' + (low >> 4), b'a' + (low & 15)];
    client.send(&[&[0x10, 15, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, KEEP_ALIVE_S, 0, 3][..], &id].concat());
}

#[test]
fn whoever_sent_pings_in_time_is_no_silent_client_because_they_were_read_late() {
    let broker = Broker::start("stall", "[node]\nmax_connections = 5000\n");
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::open(&broker.addresses[0])).collect();
    for (number, client) in (0..).zip(&mut clients) {
        send_connect(client, number);
    }
    for client in &mut clients {
        assert_eq!(client.receive::<4>(), [0x20, 2, 0, 0]);
    }
    broker.signal("STOP");
    for client in &mut clients {
        client.send(&[0xc0, 0]);
    }
    std::thread::sleep(STALL);
    broker.signal("CONT");
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.receive::<2>(), [0xd0, 0], "client {number} was closed");
    }
}
