//! Counts the instructions of a relay under valgrind's callgrind: clients and relay on one thread, the same messages in the
//! same order each time, and no clock, so that a change of the plane shows on a machine that others use.
//!
//! The relay runs without glommio here and never waits, because nobody else would write meanwhile. What the clients cost, plain reads and writes, is in the count and stays the same.

use super::fleet::Greeting;
use super::server::Relay;
use dunlin::ring::{ListenConfig, Plane, PlaneConfig};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

const MESSAGE: [u8; 80] = [b'.'; 80];
/// Turns without an answer after which the relay counts as broken.
const TURNS_MAX: u32 = 100_000;

/// Prints the instructions per message, the median of `rounds` processes; set-up is taken out.
pub(super) fn print(rounds: usize, pairs: u16, messages: u32, in_flight: &[u32]) {
    for &in_flight in in_flight {
        let mut counts: Vec<f64> = Vec::new();
        for _ in 0..rounds {
            let begun = instructions(pairs, 0, in_flight);
            let done = instructions(pairs, messages, in_flight);
            counts.push((done - begun) / f64::from(messages * u32::from(pairs) * in_flight));
        }
        counts.sort_by(f64::total_cmp);
        let (least, median, most) = (counts[0], counts[counts.len() / 2], counts[counts.len() - 1]);
        println!("{in_flight:>3} in flight  {median:.1} instructions a message ({least:.1}-{most:.1})");
    }
}

/// Instructions of a whole process that calls `relay`.
fn instructions(pairs: u16, messages: u32, in_flight: u32) -> f64 {
    let file = std::env::temp_dir().join(format!("relay-{}.callgrind", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", &format!("--callgrind-out-file={}", file.display())])
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--counted", &messages.to_string(), "--pairs", &pairs.to_string()])
        .args(["--in-flight", &in_flight.to_string()])
        .status()
        .expect("valgrind is installed");
    assert!(status.success(), "the relay failed under valgrind");
    let text = std::fs::read_to_string(&file).expect("callgrind writes what it has counted");
    std::fs::remove_file(&file).expect("the file is ours");
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ")).expect("a sum of all");
    line.trim().parse().expect("one number, the instructions")
}

/// Relays `messages` times `in_flight` messages of each pair.
pub(super) fn relay(pairs: u16, messages: u32, in_flight: u32) {
    let mut plane = Plane::new(PlaneConfig { sockets_max: 20_000, ..PlaneConfig::default() }).expect("a plane");
    let (_, address) = plane.listen(&ListenConfig::new(([127, 0, 0, 1], 0).into())).expect("a listener");
    let mut relay = Relay::new(Greeting::Raw);
    let connect = |pair: u16, side: u8| {
        let mut client = TcpStream::connect(address).expect("the relay listens");
        client.set_nonblocking(true).expect("a socket");
        client.set_nodelay(true).expect("a socket");
        let [high, low] = pair.to_be_bytes();
        client.write_all(&[high, low, side]).expect("room for a greeting");
        client
    };
    let mut clients: Vec<(TcpStream, TcpStream)> =
        (0..pairs).map(|pair| (connect(pair, 0), connect(pair, 1))).collect();
    for (publisher, subscriber) in &mut clients {
        read(&mut plane, &mut relay, publisher, 1);
        read(&mut plane, &mut relay, subscriber, 1);
    }
    let burst = MESSAGE.repeat(in_flight as usize);
    for _ in 0..messages {
        for (publisher, _) in &mut clients {
            publisher.write_all(&burst).expect("room for a burst");
        }
        for (_, subscriber) in &mut clients {
            read(&mut plane, &mut relay, subscriber, burst.len());
        }
    }
}

/// Reads so many bytes, with as many turns of the relay as that takes.
fn read(plane: &mut Plane, relay: &mut Relay, client: &mut TcpStream, bytes: usize) {
    let mut buffer = [0; 4096];
    let (mut got, mut turns) = (0, 0);
    while got < bytes {
        match client.read(&mut buffer) {
            Ok(0) => panic!("the relay has closed a connection"),
            Ok(count) => got += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => relay.turn(plane, false),
            Err(error) => panic!("{error}"),
        }
        turns += 1;
        assert!(turns < TURNS_MAX, "nothing comes back");
    }
}
