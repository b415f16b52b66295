//! Hostile input by what it costs: memory and CPU time of a broker that one peer, or ten thousand, try to exhaust.
//!
//! Every test prints what it measured (`--nocapture` shows it). Bounds are those of a debug build with room for noise: they fail on a different order of growth, not on a slow day.

use std::net::TcpStream;
use std::time::Duration;

use crate::broker::Broker;
use crate::client::{Client, PATIENCE};
use crate::packets::{
    Connect, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Publish, V5, V311, ack, field, frame, prop, subscribe, varint,
};
use crate::transport::Transport;
use crate::world::{World, eventually, measured};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Descriptors this process may still open, with some left for everything else.
fn spare_descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux has it");
    let line = limits.lines().find(|l| l.starts_with("Max open files")).expect("a limit on open files");
    let soft = line.split_whitespace().nth(3).and_then(|n| n.parse::<usize>().ok()).unwrap_or(usize::MAX);
    soft.saturating_sub(500)
}

/// Growth of resident memory for each of `n` while `action` runs, in bytes.
fn growth_each(broker: &Broker, n: usize, action: impl FnOnce()) -> u64 {
    let before = broker.resident_bytes();
    action();
    std::thread::sleep(Duration::from_millis(300));
    broker.resident_bytes().saturating_sub(before) / n as u64
}

/// True while the server has neither said anything nor closed.
fn is_open(mut socket: &TcpStream) -> bool {
    use std::io::{ErrorKind, Read as _};
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    loop {
        match socket.read(&mut [0; 256]) {
            Ok(0) => return false,
            Ok(_) => {} // a layer between may have said something
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// A client connects and exchanges a packet, so buffers and pools that come with the first client are there.
fn warm_up(w: &World) -> Client {
    let mut client = w.client(V5, "warm");
    client.subscribe(&w.topic("warm"), 1);
    client.deliver(Publish::new(w.topic("warm"), "x").qos(1));
    client.take_payload("x");
    client
}

// covers: [MQTT-3.1.4-2] (5.0)
#[test]
fn ten_thousand_sockets_that_announce_much_and_send_one_byte_cost_4_kib_each_at_most() {
    measured(&["--connect-timeout", "60"], |w, broker| {
        let mut control = warm_up(w);
        let n = spare_descriptors().min(10_000);
        // What is announced is the most a CONNECT may be that is not refused by its header, and then 256 MiB.
        for announced in [100_000, 268_435_455] {
            let mut sockets = Vec::with_capacity(n);
            let each = growth_each(broker, n, || {
                for _ in 0..n {
                    let bytes = [&[0x10][..], &varint(announced), &[0]].concat();
                    sockets.push(Transport::deaf(w.addr, &bytes));
                }
                control.ping();
            });
            let waiting = sockets.iter().filter(|socket| is_open(socket)).count();
            eprintln!(
                "measured: {each} bytes for each socket that announced {announced}, {waiting} of {n} still waiting"
            );
            // The first kind is waited for, so its memory was there to be seen; the second is refused by its header.
            assert_eq!(waiting, if announced == 100_000 { n } else { 0 });
            assert!(each <= 4 * KIB, "{each} bytes for each of {n} sockets that announced {announced}");
        }
        control.ping();
    });
}

// covers: [MQTT-3.3.2-10] (5.0)
#[test]
fn what_a_connect_promises_to_accept_is_not_allocated_ahead() {
    measured(&[], |w, broker| {
        let mut control = warm_up(w);
        let n = spare_descriptors().min(2_000);
        let mut clients = Vec::with_capacity(n);
        let each = growth_each(broker, n, || {
            for _ in 0..n {
                let greedy = Connect::new(V5, w.id("greedy"))
                    .prop(prop::topic_alias_maximum(u16::MAX))
                    .prop(prop::receive_maximum(u16::MAX))
                    .prop(prop::maximum_packet_size(u32::MAX))
                    .expiry(1);
                clients.push(w.connect(&greedy).0);
            }
        });
        eprintln!("measured: {each} bytes for each connected client that promises to accept everything");
        assert!(each <= 8 * KIB, "{each} bytes for each of {n} connected clients");
        control.ping();
    });
}

/// Begins every QoS 2 exchange that identifiers allow, 65,535 of them, and finishes none.
#[track_caller]
fn open_all_exchanges(client: &mut Client, topic: &str, payload: &[u8]) {
    for first in (1..=u16::MAX).step_by(511) {
        let ids = first..=first.saturating_add(510);
        let publish = |id| Publish::new(topic, payload).qos(2).id(id).encode(client.version);
        let batch: Vec<u8> = ids.clone().flat_map(publish).collect();
        client.send_quietly(&batch);
        for id in ids {
            client.expect_ack(PUBREC, id);
        }
    }
}

// covers: [MQTT-4.3.3-10] (5.0)
// covers: [MQTT-4.3.3-2] (3.1.1)
#[test]
fn a_client_with_65535_half_open_qos_2_exchanges_costs_few_bytes_and_gives_them_back() {
    // 64 MiB pass through; what may stay is which identifiers are open.
    measured(&["--receive-max", "65535"], |w, broker| {
        let mut control = warm_up(w);
        let topic = w.topic("half");
        let payload = vec![b'x'; 1024];
        let mut round = |version| {
            let mut client = w.client(version, "half");
            open_all_exchanges(&mut client, &topic, &payload);
            client
        };
        // What the way through needs once (buffers, the allocator's pools) is there after the first.
        drop(round(V311));
        let before = broker.resident_bytes();
        let held = [V311, V5, V5].map(&mut round);
        let grown = broker.resident_bytes().saturating_sub(before);
        eprintln!("measured: {grown} bytes for three clients with 65,535 half-open QoS 2 exchanges of 64 MiB each");
        assert!(grown <= 3 * MIB, "{grown} bytes for half-open exchanges of 192 MiB");
        control.ping();
        for mut client in held {
            // The exchanges are really open: a repetition is one, and PUBREL ends it.
            client.send(Publish::new(&topic, &payload).qos(2).id(u16::MAX).dup().encode(client.version));
            client.expect_ack(PUBREC, u16::MAX);
            client.send(ack(PUBREL, u16::MAX));
            assert_eq!(client.expect_ack(PUBCOMP, u16::MAX), 0);
            client.disconnect();
        }
        for _ in 0..3 {
            drop(round(V5));
        }
        eventually("memory comes back", PATIENCE, || broker.resident_bytes() <= before + 3 * MIB);
    });
}

// covers: [MQTT-3.3.4-7] (5.0)
#[test]
fn half_open_qos_2_exchanges_beyond_the_receive_maximum_end_the_connection() {
    measured(&[], |w, _| {
        let mut client = w.client(V5, "half");
        let topic = w.topic("beyond");
        let publish = |id| Publish::new(&topic, "x").qos(2).id(id).encode(V5);
        // The default that CONNACK announces.
        for id in 1..=1_024 {
            client.send_quietly(&publish(id));
            client.expect_ack(PUBREC, id);
        }
        client.send(publish(1_025));
        client.expect_refusal(&[0x93]);
    });
}

/// CPU time the broker uses while a PUBLISH of `size` bytes comes one byte at a time.
fn cost_of_single_bytes(w: &World, broker: &Broker, size: usize) -> Duration {
    let mut client = w.client(V5, "bytes");
    let packet = Publish::new(w.topic("bytes"), vec![b'x'; size]).qos(1).id(1).encode(V5);
    let before = broker.cpu_time();
    for byte in &packet {
        client.send_quietly(&[*byte]);
    }
    client.await_ack(PUBACK, 1);
    broker.cpu_time().saturating_sub(before)
}

// covers: [MQTT-4.2-1] (5.0)
#[test]
fn a_packet_fed_one_byte_at_a_time_costs_in_proportion_to_its_length() {
    measured(&[], |w, broker| {
        let mut control = warm_up(w);
        let (small, large) = (20_000, 160_000);
        let short = cost_of_single_bytes(w, broker, small).max(Duration::from_millis(20));
        let long = cost_of_single_bytes(w, broker, large);
        let ratio = long.as_secs_f64() / short.as_secs_f64();
        eprintln!("measured: {short:?} of CPU time for {small} single bytes, {long:?} for {large}");
        assert!(ratio < 8.0 * 3.0, "eight times the bytes cost {ratio:.1} times as much: {short:?} and {long:?}");
        control.ping();
    });
}

// covers: [MQTT-3.1.2-22] (5.0)
#[test]
fn idle_sockets_cost_no_cpu_time() {
    measured(&["--connect-timeout", "60"], |w, broker| {
        let mut control = warm_up(w);
        let idle: Vec<TcpStream> = (0..500).map(|_| TcpStream::connect(w.addr).expect("a connection")).collect();
        let clients: Vec<Client> =
            (0..500).map(|_| w.connect(&Connect::new(V5, w.id("idle")).keep_alive(60)).0).collect();
        std::thread::sleep(Duration::from_millis(500));
        let before = broker.cpu_time();
        std::thread::sleep(Duration::from_secs(3));
        let used = broker.cpu_time().saturating_sub(before);
        eprintln!("measured: {used:?} of CPU time in 3 s for 1,000 idle sockets");
        assert!(used <= Duration::from_millis(300), "{used:?} of CPU time in three idle seconds");
        control.ping();
        drop((idle, clients));
    });
}

// covers: [MQTT-3.3.4-10] (5.0)
#[test]
fn a_subscriber_that_never_reads_costs_no_more_than_its_limits() {
    measured(&["--outbox-max-bytes", "65536", "--max-queued-bytes", "262144"], |w, broker| {
        let mut control = warm_up(w);
        let mut deaf = w.client(V5, "deaf");
        let topic = w.topic("flood");
        deaf.subscribe(&topic, 1);
        let before = broker.resident_bytes();
        let mut publisher = w.client(V5, "pub");
        let payload = vec![b'x'; 8 * 1024];
        for round in 0..6_000u16 {
            let qos = u8::from(round % 2 == 0);
            publisher.send_quietly(&Publish::new(&topic, &payload).qos(qos).id(1).encode(V5));
            if qos == 1 {
                publisher.await_ack(PUBACK, 1);
            }
        }
        publisher.ping();
        control.ping();
        let grown = broker.resident_bytes().saturating_sub(before);
        eprintln!("measured: {grown} bytes for 48 MiB that nobody reads");
        assert!(grown <= 24 * MIB, "{grown} bytes for 48 MiB that nobody reads");
        drop(deaf);
    });
}

#[test]
fn what_waits_for_all_sessions_together_takes_no_more_than_its_limit() {
    measured(&["--max-queued-memory", "16MiB"], |w, broker| {
        let mut there = warm_up(w);
        let topic = |number: usize| w.topic(&format!("away/{number}"));
        let away: Vec<Connect> = (0..100).map(|n| Connect::new(V5, w.id(&format!("away-{n}"))).persistent()).collect();
        for (number, connect) in away.iter().enumerate() {
            let (mut client, _) = w.connect(connect);
            client.subscribe(&topic(number), 1);
            client.disconnect();
        }
        there.subscribe(&topic(0), 1);
        let before = broker.resident_bytes();
        let mut publisher = w.client(V5, "pub");
        let payload = "x".repeat(8 * 1024);
        for message in 0..64 {
            for number in 0..away.len() {
                publisher.deliver(Publish::new(topic(number), format!("{message} {payload}")).qos(1));
            }
            let got = there.take();
            assert!(got.text().starts_with(&format!("{message} ")), "who is there gets every message");
        }
        let grown = broker.resident_bytes().saturating_sub(before);
        eprintln!("measured: {grown} bytes for 50 MiB of which 16 MiB may wait");
        assert!(grown <= 24 * MIB, "{grown} bytes for 50 MiB of which 16 MiB may wait");
        // Whoever comes back gets the first ones, none of them left out; and then there is room again.
        let mut kept = 0;
        for (number, connect) in away.iter().enumerate() {
            let (mut client, connack) = w.connect(connect);
            assert!(connack.session_present);
            client.deliver(Publish::new(topic(number), "end").qos(1));
            let mut got = client.take();
            for message in 0.. {
                if got.text() == "end" {
                    break;
                }
                assert!(got.text().starts_with(&format!("{message} ")), "{message} for {number}");
                kept += 1;
                got = client.take();
            }
            client.disconnect();
        }
        assert!((1_800..2_100).contains(&kept), "{kept} messages of 8 KiB in 16 MiB");
    });
}

/// CPU time of one packet, from many of them.
fn cost_of(broker: &Broker, what: &str, n: u32, mut send: impl FnMut()) -> Duration {
    let before = broker.cpu_time();
    for _ in 0..n {
        send();
    }
    let each = broker.cpu_time().saturating_sub(before) / n;
    eprintln!("measured: {each:?} of CPU time a packet: {what}");
    each
}

// covers: [MQTT-3.3.2-17] [MQTT-4.7.3-4] (5.0)
#[test]
fn the_most_expensive_packets_cost_a_millisecond_at_most() {
    measured(&["--max-packet-size", "65536"], |w, broker| {
        let mut client = warm_up(w);
        let limit = Duration::from_millis(1);
        let properties = vec![prop::user("k", "v"); 9_000];
        let body = [field("t"), crate::packets::properties(V5, &properties)].concat();
        let publish = frame(PUBLISH, body);
        // Each ends its connection, so what a connection costs is taken off.
        let cost_with = |what, packet: &[u8]| {
            cost_of(broker, what, 200, || {
                let mut client = w.client(V5, "props");
                client.send_quietly(packet);
                client.cut_off();
            })
        };
        let bare = cost_with("a connection for one packet", &frame(0xF0, []));
        let cost = cost_with("9,000 user properties, connection included", &publish).saturating_sub(bare);
        assert!(cost < limit, "9,000 user properties: {cost:?}");

        // As many filters as match one topic in as many ways as there are.
        let letters = ["a", "+"];
        let filters: Vec<String> = (0..1_024usize)
            .map(|bits| w.topic(&(0..10).map(|i| letters[bits >> i & 1]).collect::<Vec<_>>().join("/")))
            .collect();
        for chunk in filters.chunks(128) {
            let pairs: Vec<(&str, u8)> = chunk.iter().map(|f| (f.as_str(), 0)).collect();
            client.subscribe_with(&pairs, &[]);
        }
        let topic = w.topic(&["a"; 10].join("/"));
        let cost = cost_of(broker, "a topic that 1,024 filters match", 100, || {
            client.publish(&topic, "x");
            client.expect_payload("x");
        });
        assert!(cost < limit, "a topic that 1,024 filters match: {cost:?}");

        let wild = format!("{}#", "+/".repeat(100));
        let mut id = 1_000;
        let cost = cost_of(broker, "a filter of 100 wildcards", 100, || {
            id += 1;
            client.send(subscribe(V5, id, &[], &[(&wild, 0)]));
            client.ping_through();
        });
        assert!(cost < limit, "a filter of a hundred wildcards: {cost:?}");
    });
}

// covers: [MQTT-4.1.0-2] (5.0)
#[test]
fn memory_comes_back_when_connections_and_sessions_end() {
    measured(&[], |w, broker| {
        let mut control = warm_up(w);
        let round = || {
            let clients: Vec<Client> = (0..300).map(|_| w.client(V5, "round")).collect();
            for mut client in clients {
                client.subscribe(&w.topic(&format!("round/{}", client.id)), 1);
                client.cut_off();
            }
        };
        (0..3).for_each(|_| round());
        let settled = broker.resident_bytes();
        (0..8).for_each(|_| round());
        eventually("memory stays where it settled", PATIENCE, || broker.resident_bytes() <= settled + 4 * MIB);
        control.ping();
    });
}
