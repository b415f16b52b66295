//! Rules that a server may make about single messages, wills, filters and client identifiers: what becomes of them, and that
//! whoever sent them is served all the same, unless the specification says otherwise.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::packets::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, V5, V31, V311, VERSIONS, Version, Will, ack, prop,
};
use crate::world::{World, everywhere, with_flags};

const UPTIME: &str = "$SYS/broker/uptime";

/// A CONNECT that says in its level that it comes from a bridge.
fn bridge(version: Version, id: &str) -> Connect {
    let connect = Connect::new(version, id);
    Connect { level: connect.level | 0x80, ..connect }
}

/// What is published with QoS 1 is acknowledged with this code, and the connection stays.
#[track_caller]
fn answered(client: &mut Client, publish: Publish, code: u8) {
    assert_eq!(client.deliver(publish.qos(1)), code);
    client.ping();
}

#[test]
fn a_will_that_is_not_taken_leaves_its_client_connected_and_is_counted() {
    with_flags(&["--sys-interval", "1"], |w| {
        let mut watcher = w.client(V5, "watch");
        for filter in ["#", "$mine/#", UPTIME] {
            assert_eq!(watcher.subscribe(filter, 1), 1);
        }
        let deep = format!("{}{}", w.topic("deep"), "/x".repeat(200));
        let mine = format!("$mine/{}", w.topic("x"));
        let topics = [mine.as_str(), UPTIME, "$share/g/x", &deep];
        for version in VERSIONS {
            for topic in topics {
                // What every bridge of Mosquitto sends: a retained will of QoS 1.
                let will = Will::new(topic, "must not come").qos(1).retain();
                let (mut client, _) = w.connect(&Connect::new(version, w.id("dying")).will(will));
                client.ping();
                client.vanish();
            }
        }
        let mut counter = w.client(V5, "count");
        counter.subscribe("$SYS/broker/publish/messages/dropped/topic_refused", 0);
        let expected = topics.len() * VERSIONS.len();
        let began = Instant::now();
        while counter.take().text() != expected.to_string() {
            assert!(began.elapsed() < Duration::from_secs(20), "the counter does not come to {expected}");
        }
        let marker = w.topic("marker");
        counter.publish(&marker, "x");
        loop {
            let next = watcher.take();
            if next.topic == marker {
                break;
            }
            assert_eq!(next.topic, UPTIME, "{}", next.text());
            assert_ne!(next.text(), "must not come");
        }
    });
}

#[test]
fn the_state_of_a_bridge_is_taken_as_message_and_as_will() {
    everywhere(|w| {
        let connects = [Connect::new(V5, w.id("edge")), bridge(V31, &w.id("edge")), bridge(V311, &w.id("edge"))];
        for connect in connects {
            let name = String::from_utf8(connect.id.clone()).expect("it is ASCII");
            let state = format!("$SYS/broker/connection/{name}/state");
            let mut watcher = w.client(V5, "watch");
            watcher.subscribe(&state, 1);
            let will = Will::new(&state, "0").qos(1).retain();
            let (mut edge, _) = w.connect(&connect.clone().will(will));
            edge.deliver(Publish::new(&state, "1").qos(1).retain());
            assert!(!watcher.take_payload("1").retain);
            let mut late = w.client(V5, "late");
            late.subscribe(&state, 1);
            assert!(late.take_payload("1").retain);
            edge.vanish();
            watcher.take_payload("0");
            late.take_payload("0");
            // Below it, and beside it, all is the broker's.
            let (mut edge, _) = w.connect(&connect);
            for topic in [format!("{state}/x"), format!("$SYS/broker/connection/{name}")] {
                edge.deliver(Publish::new(topic, "x").qos(1));
            }
            edge.deliver(Publish::new(&state, "").qos(1).retain());
            watcher.take_payload("");
        }
    });
}

#[test]
fn a_bridge_hears_none_of_its_own_messages_and_retain_as_it_was_published() {
    everywhere(|w| {
        for version in [V31, V311] {
            let topic = w.topic("bridged/x");
            let (mut edge, _) = w.connect(&bridge(version, &w.id("edge")));
            let mut plain = w.client(version, "plain");
            let mut publisher = w.client(V5, "pub");
            for client in [&mut edge, &mut plain] {
                assert_eq!(client.subscribe(&topic, 1), 1);
            }
            edge.deliver(Publish::new(&topic, "own").qos(1));
            plain.take_payload("own");
            publisher.deliver(Publish::new(&topic, "theirs").qos(1).retain());
            assert!(edge.take_payload("theirs").retain, "RETAIN is carried on");
            assert!(!plain.take_payload("theirs").retain);
            publisher.deliver(Publish::new(&topic, "").qos(1).retain());
            edge.take_payload("");
        }
    });
}

// covers: [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-11] [MQTT-3.2.2-12] (5.0)
#[test]
fn a_maximum_qos_is_announced_and_kept_to() {
    for maximum in [0, 1] {
        with_flags(&["--max-qos", &maximum.to_string()], |w| {
            let topic = w.topic("qos");
            let (mut subscriber, connack) = w.connect(&Connect::new(V5, w.id("sub")));
            assert_eq!(connack.number(prop::MAXIMUM_QOS), Some(maximum));
            for qos in 0..=2 {
                assert_eq!(u32::from(subscriber.subscribe(&topic, qos)), maximum.min(qos.into()), "asked for {qos}");
            }
            for qos in maximum as u8 + 1..=2 {
                let (mut new, _) = w.connect(&Connect::new(V5, w.id("new")));
                new.send(Publish::new(&topic, "too high").qos(qos).id(1).encode(V5));
                new.expect_refusal(&[0x9B]);
                let mut refused = w.start(&Connect::new(V5, w.id("will")).will(Will::new(&topic, "too high").qos(qos)));
                assert_eq!(refused.expect_connect_refused(&[0x9B]), 0x9B);
                // Clients that cannot be told are acknowledged, and heard with what there is.
                for version in [V31, V311] {
                    let will = Will::new(&topic, "last words").qos(qos);
                    let (mut old, _) = w.connect(&Connect::new(version, w.id("old")).will(will));
                    old.deliver(Publish::new(&topic, "lowered").qos(qos));
                    assert_eq!(u32::from(subscriber.take_payload("lowered").qos), maximum);
                    old.vanish();
                    assert_eq!(u32::from(subscriber.take_payload("last words").qos), maximum);
                }
            }
        });
    }
}

// covers: [MQTT-3.2.2-13] [MQTT-3.2.2-14] (5.0)
#[test]
fn without_retained_messages_nobody_retains_one() {
    with_flags(&["--no-retain-available"], |w| {
        let topic = w.topic("retain");
        let (mut subscriber, connack) = w.connect(&Connect::new(V5, w.id("sub")));
        assert_eq!(connack.number(prop::RETAIN_AVAILABLE), Some(0));
        subscriber.subscribe(&topic, 1);
        let (mut new, _) = w.connect(&Connect::new(V5, w.id("new")));
        new.send(Publish::new(&topic, "kept").retain().encode(V5));
        new.expect_refusal(&[0x9A]);
        let mut refused = w.start(&Connect::new(V5, w.id("will")).will(Will::new(&topic, "kept").retain()));
        assert_eq!(refused.expect_connect_refused(&[0x9A]), 0x9A);
        for version in [V31, V311] {
            let will = Will::new(&topic, "last words").qos(1).retain();
            let (mut old, _) = w.connect(&Connect::new(version, w.id("old")).will(will));
            old.deliver(Publish::new(&topic, "passed on").qos(1).retain());
            subscriber.take_payload("passed on");
            old.vanish();
            subscriber.take_payload("last words");
        }
        let mut late = w.client(V5, "late");
        late.subscribe(&topic, 1);
        w.fence(&mut subscriber, &mut late);
    });
}

#[test]
fn topics_that_begin_with_a_dollar_sign_can_be_left_to_clients() {
    with_flags(&["--refuse-dollar-topics", "sys"], |w| {
        let topic = format!("$aws/{}", w.topic("x"));
        let mut subscriber = w.client(V311, "sub");
        assert_eq!(subscriber.subscribe(&topic, 1), 1);
        for version in VERSIONS {
            let (mut publisher, _) = w.connect(&Connect::new(version, w.id("pub")).will(Will::new(&topic, "gone")));
            publisher.deliver(Publish::new(&topic, "sent").qos(1));
            subscriber.take_payload("sent");
            let code = if version == V5 { 0x90 } else { 0 };
            for refused in ["$SYS/x", "$SYS", "$share/g/x"] {
                answered(&mut publisher, Publish::new(refused, "x"), code);
            }
            publisher.vanish();
            subscriber.take_payload("gone");
        }
    });
}

#[test]
fn control_characters_and_non_characters_can_be_refused() {
    with_flags(&["--control-characters", "refuse"], |w| {
        for text in ["\u{1}", "\u{7f}", "\u{9f}", "\u{fdd0}", "\u{ffff}", "\u{10fffe}"] {
            let topic = w.topic(text);
            let mut new = w.client(V5, "new");
            answered(&mut new, Publish::new(&topic, "x"), 0x90);
            assert_eq!(new.subscribe_with(&[(&topic, 1), (&w.topic("fine"), 1)], &[]), [0x8F, 1]);
            let mut old = w.client(V311, "old");
            answered(&mut old, Publish::new(&topic, "x"), 0);
            assert_eq!(old.subscribe_with(&[(&topic, 1), (&w.topic("fine"), 1)], &[]), [0x80, 1]);
            for (version, code) in [(V5, 0x85), (V311, 2)] {
                let mut named = w.start(&Connect::new(version, format!("{}{text}", w.id("named"))));
                assert_eq!(named.expect_connect_refused(&[code]), code, "{text:?}");
            }
        }
    });
}

#[test]
fn an_empty_client_identifier_can_be_refused() {
    with_flags(&["--empty-client-ids", "refuse"], |w| {
        for (version, code) in [(V5, 0x85), (V311, 2), (V31, 2)] {
            let mut client = w.start(&Connect::new(version, ""));
            assert_eq!(client.expect_connect_refused(&[code]), code);
            w.client(version, "named").ping();
        }
    });
}

#[test]
fn a_message_above_the_largest_size_is_refused_and_its_client_stays() {
    with_flags(&["--max-message-size", "100"], |w| {
        for version in VERSIONS {
            let topic = w.topic("size");
            let mut subscriber = w.client(V5, "sub");
            subscriber.subscribe(&topic, 1);
            let will = Will::new(&topic, "x".repeat(101));
            let (mut publisher, _) = w.connect(&Connect::new(version, w.id("pub")).will(will));
            answered(&mut publisher, Publish::new(&topic, "y".repeat(101)), if version == V5 { 0x83 } else { 0 });
            publisher.publish(&topic, &"y".repeat(101));
            publisher.deliver(Publish::new(&topic, "z".repeat(100)).qos(1));
            assert_eq!(subscriber.take().payload, "z".repeat(100).as_bytes());
            publisher.vanish();
            let mut other = w.client(version, "other");
            w.fence(&mut other, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.3.2-5] [MQTT-3.3.2-6] (5.0)
#[test]
fn a_message_with_an_expiry_of_0_goes_to_whoever_can_take_it_at_once() {
    everywhere(|w| {
        let topic = w.topic("now");
        let mut present = w.client(V5, "here");
        present.subscribe(&topic, 1);
        let away = Connect::new(V5, w.id("away")).persistent();
        let (mut client, _) = w.connect(&away);
        client.subscribe(&topic, 1);
        client.vanish();
        let mut publisher = w.client(V5, "pub");
        for qos in 0..=1 {
            let at_once = Publish::new(&topic, "now").qos(qos).retain().prop(prop::message_expiry(0));
            publisher.deliver(at_once);
            let shown = present.take_payload("now");
            assert_eq!(shown.property(prop::MESSAGE_EXPIRY), Some(&crate::packets::Value::Four(0)));
        }
        let (mut client, connack) = w.connect(&away);
        assert!(connack.session_present);
        w.fence(&mut publisher, &mut client);
        let mut late = w.client(V5, "late");
        late.subscribe(&topic, 1);
        w.fence(&mut publisher, &mut late);
    });
}

#[test]
fn retained_messages_end_when_the_operator_says() {
    with_flags(&["--retained-expiry", "2s"], |w| {
        let topic = w.topic("kept");
        let mut publisher = w.client(V311, "pub");
        publisher.deliver(Publish::new(&topic, "kept").qos(1).retain());
        let mut early = w.client(V5, "early");
        early.subscribe(&topic, 1);
        let shown = early.take_payload("kept");
        assert!(shown.retain && shown.property(prop::MESSAGE_EXPIRY).is_some(), "{shown:?}");
        std::thread::sleep(Duration::from_millis(2_300));
        let mut late = w.client(V5, "late");
        late.subscribe(&topic, 1);
        w.fence(&mut publisher, &mut late);
    });
}

/// A client whose PUBCOMP was lost sends its PUBREL again, on this connection or the next, and is told that all is well.
// covers: [MQTT-4.3.3-11] (5.0)
#[test]
fn a_pubrel_that_comes_again_is_answered_with_success() {
    everywhere(|w| {
        let topic = w.topic("again");
        let connect = Connect::new(V5, w.id("again")).persistent();
        let (mut client, _) = w.connect(&connect);
        for id in 1..=3 {
            client.send(Publish::new(&topic, "x").qos(2).id(id).encode(V5));
            assert!(client.expect_ack(PUBREC, id) < 0x80);
            client.send(ack(PUBREL, id));
            assert_eq!(client.expect_ack(PUBCOMP, id), 0);
        }
        client.send(ack(PUBREL, 2));
        assert_eq!(client.expect_ack(PUBCOMP, 2), 0);
        client.vanish();
        let (mut client, connack) = w.connect(&connect);
        assert!(connack.session_present);
        for id in 1..=3 {
            client.send(ack(PUBREL, id));
            assert_eq!(client.expect_ack(PUBCOMP, id), 0);
        }
        client.send(ack(PUBREL, 4));
        assert_eq!(client.expect_ack(PUBCOMP, 4), 0x92, "it was never begun");
        // The identifier is free for a new message.
        client.send(Publish::new(&topic, "x").qos(1).id(3).encode(V5));
        assert!(client.expect_ack(PUBACK, 3) < 0x80);
    });
}

#[test]
fn a_topic_of_more_than_128_levels_is_refused_and_its_client_stays() {
    everywhere(|w: &World| {
        for version in VERSIONS {
            let levels = |n: usize| w.topic(&vec!["x"; n - 1].join("/"));
            let mut client = w.client(version, "deep");
            assert!(client.deliver(Publish::new(levels(128), "x").qos(1)) < 0x80);
            answered(&mut client, Publish::new(levels(129), "x"), if version == V5 { 0x90 } else { 0 });
            if version != V31 {
                assert_eq!(client.subscribe(&levels(129), 1), if version == V5 { 0x8F } else { 0x80 });
                client.ping();
            }
        }
    });
}

/// It cannot be told of one, and is held to it all the same.
#[test]
fn a_client_before_5_0_may_be_held_to_a_shorter_keep_alive() {
    with_flags(&["--keep-alive-max", "30", "--keep-alive-max-before-v5", "1"], |w| {
        let since = Instant::now();
        let olds = [V31, V311].map(|version| w.connect(&Connect::new(version, w.id("old")).keep_alive(60)).0);
        let (mut new, connack) = w.connect(&Connect::new(V5, w.id("new")).keep_alive(60));
        assert_eq!(connack.number(prop::SERVER_KEEP_ALIVE), Some(30));
        for mut old in olds {
            old.expect_closed();
            let waited = since.elapsed();
            assert!(waited >= Duration::from_millis(1_400), "{:?}: too early, after {waited:?}", old.version);
            assert!(waited < Duration::from_secs(6), "{:?}: too late, after {waited:?}", old.version);
        }
        new.ping();
    });
}
