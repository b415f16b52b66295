//! Hostile input: what broke other brokers, sent over the wire. Whatever one peer does, only its own connection suffers.

use std::time::{Duration, Instant};

use crate::client::{Client, Event, PATIENCE};
use crate::packets::{
    Connect, DISCONNECT, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, V5, V311, VERSIONS, ack, frame, one_of_each, prop,
    subscribe, unsubscribe,
};
use crate::world::{World, everywhere, with_flags, with_own_brokers};

/// A client that must be served throughout, and the topic it talks to itself on.
struct Control {
    client: Client,
    topic: String,
    count: u32,
}

impl Control {
    fn new(w: &World) -> Control {
        let (mut client, topic) = (w.client(V5, "control"), w.topic("control"));
        client.subscribe(&topic, 1);
        Control { client, topic, count: 0 }
    }

    /// One message there and back.
    #[track_caller]
    fn is_served(&mut self) {
        self.count += 1;
        let text = self.count.to_string();
        self.client.deliver(Publish::new(&self.topic, &text).qos(1));
        self.client.take_payload(&text);
    }
}

/// Reads until the server closes; whatever it says before is its own affair here.
#[track_caller]
fn expect_end(client: &mut Client) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.next_event(deadline) {
            Event::Closed => return,
            Event::Packet(_) => {}
            Event::Timeout => panic!("the server neither closed nor spoke"),
        }
    }
}

// covers: [MQTT-3.1.0-1] (5.0)
// covers: [MQTT-3.1.0-1] (3.1.1)
#[test]
fn a_first_byte_that_is_no_connect_closes_at_once() {
    everywhere(|w| {
        for first in (0..=255).step_by(3).filter(|first| first >> 4 != 1) {
            let mut client = w.open(V311, "byte");
            let began = Instant::now();
            client.send([first]);
            client.expect_closed();
            assert!(began.elapsed() < Duration::from_secs(3), "{first:#04x}: not before {:?}", began.elapsed());
        }
    });
}

// covers: [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-4.8.0-1] (3.1.1)
#[test]
fn every_packet_cut_at_every_byte_harms_nobody_else() {
    everywhere(|w| {
        let mut control = Control::new(w);
        for version in VERSIONS {
            let mut packets = one_of_each(version, &w.topic("cut"));
            packets.push(("CONNECT", Connect::new(version, w.id("cut")).user("u").password("p").encode()));
            for (name, packet) in packets {
                for end in 1..packet.len() {
                    let mut client = if name == "CONNECT" { w.open(version, "cut") } else { w.client(version, "cut") };
                    client.send(&packet[..end]);
                    client.cut_off();
                }
                control.is_served();
            }
        }
    });
}

// covers: [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-4.8.0-1] (3.1.1)
#[test]
fn every_packet_with_too_little_in_it_harms_nobody_else() {
    everywhere(|w| {
        let mut control = Control::new(w);
        for version in VERSIONS {
            for (_, packet) in one_of_each(version, &w.topic("short")) {
                for length in 0..packet.len().saturating_sub(2) {
                    // The header tells the truth about a body that ends too early.
                    let mut client = w.client(version, "short");
                    client.send(frame(packet[0], &packet[2..2 + length]));
                    client.send(frame(DISCONNECT, []));
                    expect_end(&mut client);
                }
            }
            control.is_served();
        }
    });
}

// covers: [MQTT-4.13.1-1] [MQTT-3.1.0-1] (5.0)
// covers: [MQTT-4.8.0-1] [MQTT-3.1.0-1] (3.1.1)
#[test]
fn all_packet_types_in_all_states_close_at_most_their_own_connection() {
    everywhere(|w| {
        let mut control = Control::new(w);
        for version in VERSIONS {
            for first in 0..=255u8 {
                let packet = frame(first, [0, 1, 0]);
                let mut before = w.open(version, "before");
                before.send(&packet);
                before.cut_off();
                let mut after = w.client(version, "after");
                after.send([packet, frame(DISCONNECT, [])].concat());
                expect_end(&mut after);
                if first % 32 == 0 {
                    control.is_served();
                }
            }
        }
    });
}

// covers: [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-4.8.0-1] (3.1.1)
#[test]
fn all_packet_types_in_the_middle_of_exchanges_close_at_most_their_own_connection() {
    everywhere(|w| {
        let mut control = Control::new(w);
        for version in VERSIONS {
            let topic = w.topic("middle");
            // Every type with the flags it should have and with some it should not, where it would answer something.
            let kinds = (0..16u8).flat_map(|kind| [kind << 4, kind << 4 | 0b0010, kind << 4 | 0b1101]);
            for (number, first) in kinds.enumerate() {
                let mut client = w.client(version, "middle");
                client.subscribe(&topic, 2);
                // Identifier 1 is open in both directions: a message of its own without PUBREL, one of the server's
                // without PUBREC.
                client.send(Publish::new(&topic, "x").qos(2).id(1).encode(version));
                client.await_ack(PUBREC, 1);
                client.expect_payload("x");
                client.send([frame(first, [0, 1]), frame(DISCONNECT, []), frame(first, [0, 1])].concat());
                expect_end(&mut client);
                if number % 8 == 0 {
                    control.is_served();
                }
            }
        }
    });
}

// covers: [MQTT-3.2.2-15] (5.0)
#[test]
fn a_packet_that_announces_256_mib_is_refused_by_its_header() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "huge");
            client.send([0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0]);
            client.expect_refusal(&[0x95]);
            let mut first = w.open(version, "huge");
            first.send([0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0]);
            first.expect_no_session();
        }
    });
}

// covers: [MQTT-3.1.4-2] (5.0)
#[test]
fn a_connection_that_sends_no_connect_is_closed_in_time() {
    with_flags(&["--connect-timeout", "1"], |w| {
        let began = Instant::now();
        let mut silent = w.open(V5, "silent");
        let mut half = w.open(V5, "half");
        half.send(&Connect::new(V5, w.id("half")).encode()[..9]);
        // One that keeps feeding bytes gets no more time than the others.
        let mut slow = w.open(V5, "slow");
        let connect = Connect::new(V5, w.id("slow")).user("u".repeat(200)).encode();
        let mut sent = 0;
        while began.elapsed() < Duration::from_millis(2_500) {
            slow.send(&connect[sent..=sent]);
            sent += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        for client in [&mut silent, &mut half, &mut slow] {
            client.expect_closed();
        }
        assert!(began.elapsed() < Duration::from_secs(6));
        let mut connected = w.client(V5, "fine");
        std::thread::sleep(Duration::from_millis(1_500));
        connected.ping();
    });
}

// covers: [MQTT-3.1.4-3] [MQTT-3.1.4-1] (5.0)
// covers: [MQTT-3.1.4-1] [MQTT-3.1.4-2] (3.1.1)
#[test]
fn a_connect_that_is_refused_touches_no_session() {
    everywhere(|w| {
        for version in [V311, V5] {
            let id = w.id("victim");
            let topic = w.topic(&format!("victim/{version:?}"));
            let mut observer = w.client(version, "obs");
            observer.subscribe(&topic, 0);
            let will = crate::packets::Will::new(&topic, "must not come");
            let (mut victim, _) = w.connect(&Connect::new(version, &id).persistent().will(will));
            let mut bad = vec![
                Connect::new(version, &id).flip(0x01).encode(),
                Connect::new(version, &id).will(crate::packets::Will::new("a/#", "x")).encode(),
                Connect::new(version, &id).flip(0x04).encode(),
            ];
            if version == V5 {
                bad.push(Connect::new(V5, &id).prop(prop::auth_method(b"x")).encode());
            }
            for connect in bad {
                let mut attacker = w.open(version, "bad");
                attacker.send(connect);
                attacker.expect_no_session();
            }
            victim.ping();
            w.fence(&mut victim, &mut observer);
        }
    });
}

// covers: [MQTT-3.1.4-3] (5.0)
// covers: [MQTT-3.1.4-2] (3.1.1)
#[test]
fn a_takeover_loop_is_damped_and_whoever_is_connected_then_stays() {
    everywhere(|w| {
        for version in VERSIONS {
            let connect = Connect::new(version, w.id("loop")).persistent();
            let mut holder = w.connect(&connect).0;
            let deadline = Instant::now() + PATIENCE;
            // Each takes the last one's place, as fast as it can, until one is told to wait.
            let refusal = loop {
                assert!(Instant::now() < deadline, "takeovers go on without an end");
                let mut next = w.start(&connect);
                let connack = next.expect_connack();
                if connack.code != 0 {
                    next.expect_closed();
                    break connack.code;
                }
                holder = next;
            };
            assert_eq!(refusal, if version == V5 { 0x9F } else { 3 });
            holder.ping();
            // Time pays for another one.
            let mut late = settled(w, &connect);
            late.ping();
            holder.expect_refusal(&[0x8E]);
        }
    });
}

/// A connection with an identifier that others asked for just before: their CONNECTs may still be read and take it over,
/// so it is asked for again until it has been left alone for a while.
#[track_caller]
fn settled(w: &World, connect: &Connect) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = w.start(connect);
        let connack = client.next_event(deadline);
        if matches!(&connack, Event::Packet(crate::decode::Packet::ConnAck(c)) if c.code == 0) {
            let quiet = Instant::now() + Duration::from_secs(1);
            if matches!(client.next_event(quiet), Event::Timeout) {
                return client;
            }
        }
        assert!(Instant::now() < deadline, "never left alone, last {connack:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

// covers: [MQTT-3.1.4-3] (5.0)
#[test]
fn two_clients_that_fight_for_an_identifier_disturb_nobody_else() {
    everywhere(|w| {
        let mut control = Control::new(w);
        let connect = Connect::new(V5, w.id("fight")).persistent();
        let mut held = Vec::new();
        for i in 0..100 {
            held.push(w.start(&connect));
            if i % 20 == 0 {
                control.is_served();
            }
        }
        control.is_served();
        drop(held);
        let mut client = settled(w, &connect);
        client.ping();
    });
}

// covers: [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-4.8.0-1] (3.1.1)
#[test]
fn peers_that_are_refused_and_leave_at_once_take_nobody_with_them() {
    everywhere(|w| {
        let end = Instant::now() + Duration::from_secs(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while Instant::now() < end {
                        // Refused before and after CONNECT, and gone before the server has parted from it.
                        let mut peer = w.start(&Connect::new(V5, w.id("bad")));
                        peer.send(frame(0, []));
                        peer.cut_off();
                        let mut peer = w.start(&Connect::new(V5, w.id("bad")).flip(1));
                        peer.send(frame(0, []));
                        peer.cut_off();
                    }
                });
            }
            // Each newcomer may get the place that one of them had: it must be served like any other.
            while Instant::now() < end {
                let mut client = w.client(V5, "good");
                for _ in 0..5 {
                    client.ping();
                }
                client.disconnect();
            }
        });
    });
}

/// Seconds that the churn lasts: `DUNLIN_CHURN_S`, or three.
fn churn_time() -> Duration {
    Duration::from_secs(std::env::var("DUNLIN_CHURN_S").ok().and_then(|s| s.parse().ok()).unwrap_or(3))
}

// covers: [MQTT-3.1.4-3] [MQTT-3.8.4-1] (5.0)
#[test]
fn publishing_reconnecting_and_subscribing_with_one_identifier_ends_in_order() {
    everywhere(|w| {
        let mut control = Control::new(w);
        let id = w.id("churn");
        let topic = w.topic("churn");
        let end = Instant::now() + churn_time();
        std::thread::scope(|scope| {
            for worker in 0..2 {
                let (id, topic) = (id.as_str(), topic.as_str());
                scope.spawn(move || {
                    for round in 0u32.. {
                        if Instant::now() >= end {
                            return;
                        }
                        let connect = Connect::new(V5, id);
                        let mut client = w.start(&if round % 3 == 0 { connect } else { connect.persistent() });
                        client.send(subscribe(V5, 1, &[], &[(topic, 2), ("churn/#", 1)]));
                        client.send(Publish::new(topic, "x").qos((round % 3) as u8).id(2).encode(V5));
                        client.send(unsubscribe(V5, 3, &[topic]));
                        client.send(Publish::new(topic, "y").qos(1).id(4).retain().encode(V5));
                        if round % 4 == worker {
                            client.send(frame(DISCONNECT, []));
                        }
                        client.cut_off();
                    }
                });
            }
            while Instant::now() < end {
                control.is_served();
            }
        });
        let mut client = settled(w, &Connect::new(V5, &id));
        client.subscribe(&topic, 1 | crate::packets::RETAIN_NEVER);
        client.deliver(Publish::new(&topic, "").qos(1).retain());
        assert_eq!(client.take().text(), "");
        w.fence(&mut control.client, &mut client);
    });
}

// covers: [MQTT-3.3.4-9] [MQTT-2.2.1-3] (5.0)
#[test]
fn acknowledgements_of_everything_that_was_never_sent_change_nothing() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut control = Control::new(w);
            let mut client = w.client(version, "acks");
            let topic = w.topic("acks");
            client.subscribe(&topic, 1);
            for first in [PUBACK, PUBCOMP, PUBREL, PUBREC] {
                let all: Vec<u8> = (1..=u16::MAX).step_by(17).flat_map(|id| ack(first, id)).collect();
                client.send(all);
                // PUBREL and PUBREC are answered; the answers are read, so that they do not fill the socket.
                if first == PUBREL || (first == PUBREC && version == V5) {
                    for id in (1..=u16::MAX).step_by(17) {
                        client.expect_ack(if first == PUBREL { PUBCOMP } else { PUBREL }, id);
                    }
                } else if first == PUBREC {
                    // Before 5.0 there is no code for "unknown"; PUBREL lets the sender finish, silence is legal too.
                    client.send(frame(crate::packets::PINGREQ, []));
                    while !matches!(client.recv(), crate::decode::Packet::PingResp) {}
                }
            }
            control.is_served();
            control.client.deliver(Publish::new(&topic, "still served").qos(1));
            client.take_payload("still served");
        }
    });
}

/// A topic of `n` levels.
fn levels(w: &World, n: usize) -> String {
    w.topic(&vec!["l"; n - 1].join("/"))
}

// covers: [MQTT-4.7.3-3] (5.0)
#[test]
fn topics_and_filters_deeper_than_the_limit_are_refused() {
    with_flags(&["--topic-levels-max", "10"], |w| {
        let mut client = w.client(V5, "deep");
        let fits = levels(w, 10);
        assert_eq!(client.subscribe(&fits, 1), 1);
        client.deliver(Publish::new(&fits, "x").qos(1));
        client.take_payload("x");
        assert!(client.subscribe(&levels(w, 11), 1) >= 0x80, "a filter of eleven levels");
        client.send(Publish::new(levels(w, 11), "x").qos(1).id(70).encode(V5));
        match client.recv() {
            crate::decode::Packet::Ack(a) => assert!(a.first == PUBACK && a.code >= 0x80, "{a:?}"),
            crate::decode::Packet::Disconnect(_) => client.expect_closed(),
            other => panic!("a topic of eleven levels: {other:?}"),
        }
    });
}

// covers: [MQTT-4.7.3-3] (5.0)
#[test]
fn topics_of_tens_of_thousands_of_levels_harm_nobody_else() {
    everywhere(|w| {
        let mut control = Control::new(w);
        let deep = "/".repeat(65_000);
        let wild = format!("{}#", "+/".repeat(32_000));
        for version in VERSIONS {
            let mut client = w.client(version, "deep");
            for bytes in [
                subscribe(version, 1, &[], &[(&deep, 0)]),
                subscribe(version, 2, &[], &[(&wild, 0)]),
                Publish::new(&deep, "x").encode(version),
                Publish::new(&deep, "x").retain().encode(version),
                unsubscribe(version, 3, &[&wild]),
            ] {
                client.send(bytes);
            }
            client.send(frame(DISCONNECT, []));
            expect_end(&mut client);
            control.is_served();
        }
    });
}

// covers: [MQTT-3.3.2-17] (5.0)
#[test]
fn more_user_properties_than_any_client_needs_harm_nobody_else() {
    everywhere(|w| {
        let mut control = Control::new(w);
        let topic = w.topic("props");
        let many = |n: usize| (0..n).fold(Publish::new(&topic, "x").qos(1).id(1), |p, _| p.prop(prop::user("k", "v")));
        let mut client = w.client(V5, "props");
        client.subscribe(&topic, 1);
        client.send(many(50).encode(V5));
        client.await_ack(PUBACK, 1);
        assert_eq!(client.take().props.len(), 50);
        client.send(many(1_024).encode(V5));
        client.await_ack(PUBACK, 1);
        assert_eq!(client.take().props.len(), 1_024);
        client.send(many(1_025).encode(V5));
        client.expect_refusal(&[0x97]);
        for _ in 0..5 {
            let mut client = w.client(V5, "props");
            client.send(many(9_000).encode(V5));
            client.send(frame(DISCONNECT, []));
            expect_end(&mut client);
            control.is_served();
        }
    });
}

// covers: [MQTT-3.1.3-2] (5.0)
#[test]
fn the_log_holds_neither_raw_control_characters_nor_payloads_nor_passwords() {
    with_own_brokers(&["--log-level", "trace"], |w, broker| {
        let id = format!("\u{1b}[31m\n\r\t\u{7f}\u{9b}{}", w.id("log"));
        let topic = w.topic("log\u{1b}[0m\n");
        let connect = Connect::new(V5, &id).user("user\n\u{7}").password("pass-word-of-the-test");
        let (mut client, _) = w.connect(&connect);
        client.subscribe(&topic, 1);
        client.deliver(Publish::new(&topic, "payload-of-the-test").qos(1));
        client.take();
        client.send(frame(0xD0, []));
        client.expect_refusal(&[0x81, 0x82]);
        let mut other = w.client(V5, "other");
        other.ping();
        std::thread::sleep(Duration::from_millis(300));
        let log = broker.log();
        let text = String::from_utf8_lossy(&log);
        let raw = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(raw, None, "a raw control character:\n{text}");
        for secret in ["payload-of-the-test", "pass-word-of-the-test"] {
            assert!(!text.contains(secret), "{secret} stands in the log");
        }
        // A line break of a client does not begin a line of the log.
        assert!(!text.lines().any(|line| line.starts_with(&id[6..])), "{text}");
    });
}

// covers: [MQTT-3.2.2-7] (5.0)
#[test]
fn above_the_connection_limit_newcomers_are_refused_and_places_come_free() {
    with_flags(&["--max-connections", "4"], |w| {
        let mut clients: Vec<Client> = (0..4).map(|_| w.client(V5, "in")).collect();
        let mut late = w.start(&Connect::new(V5, w.id("late")));
        late.expect_no_session();
        clients.iter_mut().for_each(Client::ping);
        clients.pop().expect("four are in").disconnect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = w.start(&Connect::new(V5, w.id("free")));
            match client.next_event(deadline) {
                Event::Packet(crate::decode::Packet::ConnAck(c)) if c.code == 0 => return client.ping(),
                _ => assert!(Instant::now() < deadline, "the place never came free"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}
