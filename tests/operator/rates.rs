//! Profiles: clients that may do so much a second, and bounds of their own, in a broker that serves others meanwhile.

use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Client};

fn broker(name: &str, profiles: &str) -> Broker {
    let directory = std::env::temp_dir().join(format!("dunlin-reload-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let path = directory.join("profiles");
    fs::write(&path, profiles).expect("a file");
    Broker::start(name, &format!("[auth]\nprofiles_file = \"{}\"\n", path.display()))
}

/// A client with a keep alive of two seconds.
fn connect_briefly(broker: &Broker, id: u8) -> Client {
    let mut client = Client::open(&broker.addresses[0]);
    client.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 2, 0, 1, id]);
    assert_eq!(client.receive::<4>(), [0x20, 2, 0, 0]);
    client
}

/// PUBLISH of QoS 0 with 8 bytes of payload.
fn message(topic: u8, number: u32) -> [u8; 13] {
    let mut packet = [0x30, 11, 0, 1, topic, 0, 0, 0, 0, 0, 0, 0, 0];
    packet[9..].copy_from_slice(&number.to_be_bytes());
    packet
}

#[test]
fn a_publisher_is_held_to_its_rate_lives_and_disturbs_nobody() {
    const RATE: u32 = 500;
    const MESSAGES: u32 = 6_000;
    let broker = broker("rates", "[[profile]]\nclients = \"f\"\npublish_rate = 500\n");
    let (mut subscriber, mut other_subscriber) = (Client::connect(&broker, b's'), Client::connect(&broker, b'u'));
    assert_eq!((subscriber.subscribe(b'f'), other_subscriber.subscribe(b'o')), (0, 0));
    let (mut fast, mut other) = (connect_briefly(&broker, b'f'), Client::connect(&broker, b'o'));
    let flood = |topic: u8| -> Vec<u8> { (0..MESSAGES).flat_map(|number| message(topic, number)).collect() };
    let mut bytes = flood(b'f');
    bytes.extend([0xc0, 0]);
    let begun = Instant::now();
    let writer = thread::spawn(move || {
        fast.0.write_all(&bytes).expect("the connection is open");
        let answer = fast.receive::<2>();
        (answer, begun.elapsed())
    });
    // Another one sends as much, and has sent it long before.
    other.send(&flood(b'o'));
    for number in 0..MESSAGES {
        assert_eq!(other_subscriber.receive::<13>(), message(b'o', number));
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "the other needed {took:?}");
    // A second's worth comes at once. From then on the rate is what it is.
    for number in 0..2 * RATE {
        assert_eq!(subscriber.receive::<13>(), message(b'f', number));
    }
    let steady = Instant::now();
    for number in 2 * RATE..MESSAGES - RATE {
        assert_eq!(subscriber.receive::<13>(), message(b'f', number));
    }
    let expected_s = f64::from(MESSAGES - 3 * RATE) / f64::from(RATE);
    let took_s = steady.elapsed().as_secs_f64();
    assert!((took_s / expected_s - 1.0).abs() < 0.1, "{took_s} s in place of {expected_s}");
    let (answer, took) = writer.join().expect("it was written");
    assert_eq!(answer, [0xd0, 0], "its keep alive of 2 s has not ended it within {took:?}");
    let lines = broker.lines_to("client_paused");
    let line = lines.last().expect("a line");
    assert!(line.contains("client=f") && line.contains("rate=publish_rate"), "{line}");
    assert!(!broker.has_said("client_paused"), "once a connection");
}

/// Each of them has sent more than it may, and then as much as its sockets take: that waits, and takes no buffer from others.
#[test]
fn clients_that_are_paused_leave_buffers_to_others() {
    const PAUSED: usize = 1_200;
    let settings = |path: &str| {
        format!(
            "[auth]\nprofiles_file = {path:?}\n[[listener]]\nname = \"slow\"\nbind = \"127.0.0.1:0\"\n\
             [[listener]]\nname = \"quick\"\nbind = \"127.0.0.1:0\"\n"
        )
    };
    let directory = std::env::temp_dir().join(format!("dunlin-reload-paused-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let path = directory.join("profiles");
    fs::write(&path, "[[profile]]\nlisteners = \"slow\"\npublish_rate_bytes = 1\n").expect("a file");
    let broker = Broker::start("paused", &settings(&path.display().to_string()));
    let flood: Vec<u8> = (0..800).flat_map(|number| message(b'x', number)).collect();
    let mut paused = Vec::new();
    for number in 0..PAUSED {
        let mut client = Client::open(&broker.addresses[0]);
        let id = format!("{number:08}");
        client.send(&[&[0x10, 20, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 8], id.as_bytes()].concat());
        assert_eq!(client.receive::<4>(), [0x20, 2, 0, 0]);
        client.send(&flood);
        paused.push(client);
    }
    for id in 0..20 {
        let mut quick = Client::open(&broker.addresses[1]);
        let begun = Instant::now();
        assert_eq!(quick.say_connect(b'a' + id), 0);
        for _ in 0..10 {
            quick.ping();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    assert_eq!(paused.len(), PAUSED);
}

#[test]
fn packets_of_some_clients_are_smaller_than_those_of_all() {
    let broker = broker("packets", "[[profile]]\nclients = \"s\"\nmax_packet_size = \"1KiB\"\n");
    let publish = [&[0x30, 0x80, 0x10, 0, 1, b'x'][..], &[b'.'; 2_045]].concat();
    let (mut small, mut large) = (Client::connect(&broker, b's'), Client::connect(&broker, b'l'));
    large.send(&publish);
    large.ping();
    small.send(&publish);
    small.closed();
    let lines = broker.lines_to("packet_too_large");
    assert!(
        lines.last().is_some_and(|line| line.contains("client=s") && line.contains("max_bytes=1024")),
        "{lines:#?}"
    );
    let mut v5 = Client::open(&broker.addresses[0]);
    v5.send(&[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 1, b's']);
    let [_, length] = v5.receive::<2>();
    let mut rest = vec![0; usize::from(length)];
    std::io::Read::read_exact(&mut v5.0, &mut rest).expect("CONNACK");
    assert!(rest.windows(5).any(|bytes| bytes == [0x27, 0, 0, 4, 0]), "Maximum Packet Size: {rest:?}");
}

#[test]
fn a_broken_file_changes_nothing_and_a_new_one_holds_for_who_connects_from_then_on() {
    let broker = broker("profiles", "[[profile]]\nmax_subscriptions = 1\n");
    let path = broker.directory.join("profiles");
    let settings = format!("[auth]\nprofiles_file = \"{}\"\n", path.display());
    let mut first = Client::connect(&broker, b'a');
    assert_eq!((first.subscribe(b'x'), first.subscribe(b'y')), (0, 0x80));
    broker.lines_to(" ready");
    fs::write(&path, "[[profile]]\nmax_subscriptions = 0\n").expect("a file");
    let told = broker.reload(&settings);
    assert!(
        told.iter().any(|line| line.contains("config_reload_failed") && line.contains("line 2: 0 is out of range"))
    );
    fs::write(&path, "[[profile]]\nmax_subscriptions = 2\n").expect("a file");
    let told = broker.reload(&settings);
    assert!(told.iter().any(|line| line.contains("config_changed") && line.contains("new=\"1 profile\"")), "{told:#?}");
    assert_eq!(first.subscribe(b'y'), 0x80, "it has what it came in with");
    let mut second = Client::connect(&broker, b'b');
    assert_eq!((second.subscribe(b'x'), second.subscribe(b'y'), second.subscribe(b'z')), (0, 0, 0x80));
}
