//! Chapter 3.3.1: retained messages and how subscriptions ask for them.

use crate::packets::{NO_LOCAL, Publish, RETAIN_AS_PUBLISHED, RETAIN_IF_NEW, RETAIN_NEVER, V5, V311, VERSIONS, prop};
use crate::world::{everywhere, with_flags};

// covers: [MQTT-3.3.1-5] [MQTT-3.3.1-9] (5.0)
// covers: [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-8] (3.1.1)
#[test]
fn the_last_retained_message_and_its_qos_are_stored_for_new_subscribers() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("retained");
            let mut publisher = w.client(version, "pub");
            for qos in [2, 0, 1] {
                publisher.deliver(Publish::new(&topic, "old").qos(2).retain());
                publisher.deliver(Publish::new(&topic, format!("new {qos}")).qos(qos).retain());
                w.settle_retained(&mut publisher);
                for granted in 0..=2 {
                    let mut subscriber = w.client(version, "sub");
                    subscriber.subscribe(&topic, granted);
                    let publish = subscriber.take_payload(&format!("new {qos}"));
                    assert!(publish.retain);
                    assert_eq!(publish.qos, qos.min(granted));
                    w.fence(&mut publisher, &mut subscriber);
                }
            }
            publisher.deliver(Publish::new(&topic, "").qos(1).retain());
        }
    });
}

// covers: [MQTT-3.3.1-9] [MQTT-3.3.1-6] (5.0)
// covers: [MQTT-3.3.1-6] [MQTT-3.3.1-8] [MQTT-3.3.1-10] (3.1.1)
#[test]
fn a_retained_write_that_was_acknowledged_is_seen_by_every_later_subscribe() {
    everywhere(|w| {
        let mut publisher = w.client(V5, "pub");
        let mut subscriber = w.client(V5, "sub");
        for i in 0..40 {
            let topic = w.topic(&format!("seen/{i}"));
            publisher.deliver(Publish::new(&topic, "stored").qos(1).retain());
            subscriber.subscribe(&topic, 1);
            let publish = subscriber.take_payload("stored");
            assert!(publish.retain, "round {i}: stored before the SUBSCRIBE was sent, so sent because of it");
            subscriber.unsubscribe(&[&topic]);
            publisher.deliver(Publish::new(&topic, "").qos(1).retain());
            subscriber.subscribe(&topic, 1);
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.3.1-6] [MQTT-3.3.1-7] (5.0)
// covers: [MQTT-3.3.1-10] [MQTT-3.3.1-11] (3.1.1)
#[test]
fn an_empty_retained_message_is_delivered_and_removes_the_stored_one() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("retained");
            let mut publisher = w.client(version, "pub");
            let mut live = w.client(version, "live");
            live.subscribe(&topic, 2);
            for qos in 0..=2 {
                publisher.deliver(Publish::new(&topic, "stored").qos(1).retain());
                live.take_payload("stored");
                publisher.deliver(Publish::new(&topic, "").qos(qos).retain());
                let empty = live.take_payload("");
                assert_eq!((empty.retain, empty.qos), (false, qos));
                w.settle_retained(&mut publisher);
                let mut late = w.client(version, "late");
                late.subscribe(&topic, 1);
                w.fence(&mut publisher, &mut late);
                // Removing what is not there is fine too, and stores nothing.
                publisher.deliver(Publish::new(&topic, "").qos(qos).retain());
                live.take_payload("");
                let mut late = w.client(version, "late");
                late.subscribe(&w.topic("#"), 1);
                w.fence_wildcard(&mut publisher, &mut late);
            }
        }
    });
}

// covers: [MQTT-3.3.1-8] (5.0)
// covers: [MQTT-3.3.1-12] (3.1.1)
#[test]
fn a_message_without_retain_neither_stores_nor_touches_the_stored_one() {
    everywhere(|w| {
        for version in VERSIONS {
            let (topic, other) = (w.topic("retained"), w.topic("never"));
            let mut publisher = w.client(version, "pub");
            publisher.deliver(Publish::new(&topic, "stored").qos(1).retain());
            for payload in ["live", ""] {
                for qos in 0..=2 {
                    publisher.deliver(Publish::new(&topic, payload).qos(qos));
                    publisher.deliver(Publish::new(&other, payload).qos(qos));
                }
            }
            publisher.ping();
            let mut late = w.client(version, "late");
            late.subscribe(&other, 1);
            late.subscribe(&topic, 1);
            late.take_payload("stored");
            w.fence(&mut publisher, &mut late);
            publisher.deliver(Publish::new(&topic, "").qos(1).retain());
        }
    });
}

// covers: [MQTT-3.3.1-7] (3.1.1)
// covers: [MQTT-3.3.1-5] (5.0)
#[test]
fn a_retained_qos_0_message_replaces_the_stored_one() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("retained");
            let mut publisher = w.client(version, "pub");
            publisher.deliver(Publish::new(&topic, "old").qos(2).retain());
            publisher.deliver(Publish::new(&topic, "new").retain());
            w.settle_retained(&mut publisher);
            let mut late = w.client(version, "late");
            late.subscribe(&topic, 2);
            assert_eq!(late.take_payload("new").qos, 0);
            publisher.deliver(Publish::new(&topic, "").qos(1).retain());
        }
    });
}

// covers: [MQTT-3.3.1-12] (5.0)
// covers: [MQTT-3.3.1-8] [MQTT-3.3.1-9] (3.1.1)
#[test]
fn retain_is_1_on_what_was_stored_and_0_on_what_is_forwarded() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("flag");
            let mut publisher = w.client(version, "pub");
            let mut subscriber = w.client(version, "sub");
            subscriber.subscribe(&topic, 1);
            publisher.deliver(Publish::new(&topic, "x").qos(1).retain());
            assert!(!subscriber.take_payload("x").retain, "forwarded to an established subscription");
            publisher.deliver(Publish::new(&topic, "y").qos(1));
            assert!(!subscriber.take_payload("y").retain);
            let mut late = w.client(version, "late");
            late.subscribe(&topic, 1);
            assert!(late.take_payload("x").retain, "stored before the subscription");
            publisher.deliver(Publish::new(&topic, "").qos(1).retain());
        }
    });
}

// covers: [MQTT-3.3.1-13] [MQTT-3.3.1-12] (5.0)
#[test]
fn retain_as_published_keeps_the_flag_as_it_came() {
    everywhere(|w| {
        let topic = w.topic("flag");
        let mut publisher = w.client(V5, "pub");
        let mut as_published = w.client(V5, "rap");
        let mut plain = w.client(V5, "plain");
        as_published.subscribe(&topic, 1 | RETAIN_AS_PUBLISHED);
        plain.subscribe(&topic, 1);
        for (retain, text) in [(true, "with"), (false, "without")] {
            let message = Publish { retain, ..Publish::new(&topic, text).qos(1) };
            publisher.deliver(message);
            assert_eq!(as_published.take_payload(text).retain, retain);
            assert!(!plain.take_payload(text).retain);
        }
        let mut late = w.client(V5, "late");
        late.subscribe(&topic, 1 | RETAIN_AS_PUBLISHED);
        assert!(late.take_payload("with").retain);
        publisher.deliver(Publish::new(&topic, "").qos(1).retain());
    });
}

// covers: [MQTT-3.3.1-9] [MQTT-3.8.4-4] (5.0)
// covers: [MQTT-3.8.4-3] [MQTT-3.3.1-6] (3.1.1)
#[test]
fn retain_handling_0_sends_retained_messages_at_every_subscribe() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("rh");
            let mut publisher = w.client(version, "pub");
            publisher.deliver(Publish::new(&topic, "stored").qos(1).retain());
            let mut subscriber = w.client(version, "sub");
            for _ in 0..3 {
                subscriber.subscribe(&topic, 1);
                assert!(subscriber.take_payload("stored").retain);
            }
            w.fence(&mut publisher, &mut subscriber);
            publisher.deliver(Publish::new(&topic, "").qos(1).retain());
        }
    });
}

// covers: [MQTT-3.3.1-10] (5.0)
#[test]
fn retain_handling_1_sends_retained_messages_only_for_a_new_subscription() {
    everywhere(|w| {
        let topic = w.topic("rh");
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "stored").qos(1).retain());
        let mut subscriber = w.client(V5, "sub");
        subscriber.subscribe(&topic, 1 | RETAIN_IF_NEW);
        subscriber.take_payload("stored");
        subscriber.subscribe(&topic, 2 | RETAIN_IF_NEW);
        w.fence(&mut publisher, &mut subscriber);
        // New again after UNSUBSCRIBE.
        subscriber.unsubscribe(&[&topic]);
        subscriber.subscribe(&topic, 1 | RETAIN_IF_NEW);
        subscriber.take_payload("stored");
        w.fence(&mut publisher, &mut subscriber);
        publisher.deliver(Publish::new(&topic, "").qos(1).retain());
    });
}

// covers: [MQTT-3.3.1-11] (5.0)
#[test]
fn retain_handling_2_sends_no_retained_messages() {
    everywhere(|w| {
        let topic = w.topic("rh");
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "stored").qos(1).retain());
        let mut subscriber = w.client(V5, "sub");
        for _ in 0..2 {
            subscriber.subscribe(&topic, 1 | RETAIN_NEVER);
            w.fence(&mut publisher, &mut subscriber);
        }
        publisher.deliver(Publish::new(&topic, "live").qos(1));
        subscriber.take_payload("live");
        publisher.deliver(Publish::new(&topic, "").qos(1).retain());
    });
}

// covers: [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] (5.0)
#[test]
fn a_shared_subscription_gets_no_retained_messages_whatever_its_retain_handling() {
    everywhere(|w| {
        let topic = w.topic("shared");
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "stored").qos(1).retain());
        for (i, handling) in [0, RETAIN_IF_NEW, RETAIN_NEVER].into_iter().enumerate() {
            let mut subscriber = w.client(V5, "sub");
            let filter = format!("$share/group{i}/{topic}");
            for _ in 0..2 {
                assert_eq!(subscriber.subscribe(&filter, 1 | handling), 1);
                w.fence(&mut publisher, &mut subscriber);
            }
            publisher.deliver(Publish::new(&topic, "live").qos(1));
            subscriber.take_payload("live");
        }
        publisher.deliver(Publish::new(&topic, "").qos(1).retain());
    });
}

// covers: [MQTT-3.3.1-9] [MQTT-3.8.4-5] (5.0)
// covers: [MQTT-3.3.1-6] [MQTT-3.8.4-4] (3.1.1)
#[test]
fn each_filter_of_a_subscribe_gets_the_retained_messages_that_match_it() {
    everywhere(|w| {
        for version in VERSIONS {
            let topics = ["r/a", "r/b", "r/b/c", "r/"].map(|t| w.topic(t));
            let mut publisher = w.client(version, "pub");
            for topic in &topics {
                publisher.deliver(Publish::new(topic, topic).qos(1).retain());
            }
            let cases: [(&str, &[usize]); 7] = [
                ("r/#", &[0, 1, 2, 3]),
                ("r/+", &[0, 1, 3]),
                ("r/b", &[1]),
                ("r/b/#", &[1, 2]),
                ("+/+/c", &[2]),
                ("r/+/c", &[2]),
                ("+/c", &[]),
            ];
            for (filter, expected) in cases {
                let mut subscriber = w.client(version, "sub");
                subscriber.subscribe(&w.topic(filter), 1);
                let mut got: Vec<String> = expected.iter().map(|_| subscriber.take().topic).collect();
                got.sort();
                let mut wanted: Vec<String> = expected.iter().map(|i| topics[*i].clone()).collect();
                wanted.sort();
                assert_eq!(got, wanted, "{filter}");
                w.fence_wildcard(&mut publisher, &mut subscriber);
            }
            for topic in &topics {
                publisher.deliver(Publish::new(topic, "").qos(1).retain());
            }
        }
    });
}

// covers: [MQTT-3.3.1-9] [MQTT-3.3.4-9] (5.0)
// covers: [MQTT-3.3.1-6] (3.1.1)
#[test]
fn a_large_retained_set_is_delivered_whole_within_the_receive_window() {
    everywhere(|w| {
        const COUNT: usize = 1_500;
        let mut publisher = w.client(V311, "pub");
        for i in 0..COUNT {
            publisher.send(Publish::new(w.topic(&format!("many/{i}")), "x").retain().encode(V311));
        }
        w.settle_retained(&mut publisher);
        for connect in [
            crate::packets::Connect::new(V5, w.id("narrow")).prop(prop::receive_maximum(3)),
            crate::packets::Connect::new(V311, w.id("wide")),
        ] {
            let (mut subscriber, _) = w.connect(&connect);
            subscriber.subscribe(&w.topic("many/+"), 1);
            let topics: std::collections::HashSet<String> = (0..COUNT).map(|_| subscriber.take().topic).collect();
            assert_eq!(topics.len(), COUNT, "each of them once");
            subscriber.ping();
        }
        for i in 0..COUNT {
            publisher.send(Publish::new(w.topic(&format!("many/{i}")), "").retain().encode(V311));
        }
        publisher.ping();
    });
}

// covers: [MQTT-3.3.1-9] [MQTT-3.3.4-3] (5.0)
#[test]
fn a_retained_message_carries_the_identifier_of_the_subscription_that_asked() {
    everywhere(|w| {
        let topic = w.topic("ids/a");
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "stored").qos(1).retain());
        let mut subscriber = w.client(V5, "sub");
        subscriber.subscribe_with(&[(&topic, 1)], &[prop::subscription_id(11)]);
        assert_eq!(subscriber.take_payload("stored").subscription_ids(), [11]);
        subscriber.subscribe_with(&[(&w.topic("ids/+"), 1)], &[prop::subscription_id(12)]);
        assert!(subscriber.take_payload("stored").subscription_ids().contains(&12));
        publisher.deliver(Publish::new(&topic, "").qos(1).retain());
    });
}

// covers: [MQTT-3.3.1-5] [MQTT-3.3.1-13] (5.0)
#[test]
fn retained_and_live_meet_without_loss_around_a_subscribe() {
    everywhere(|w| {
        // Whoever subscribes while the topic is written gets a stored state and every later one, in order.
        let topic = w.topic("race");
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "0").qos(1).retain());
        let mut subscriber = w.client(V5, "sub");
        for i in 1..=50 {
            publisher.send(Publish::new(&topic, i.to_string()).retain().encode(V5));
            if i == 25 {
                subscriber.send(crate::packets::subscribe(V5, 1, &[], &[(&topic, RETAIN_AS_PUBLISHED)]));
            }
        }
        let mut last = 0;
        let mut seen = Vec::new();
        while last < 50 {
            match subscriber.recv() {
                crate::decode::Packet::Publish(publish) => {
                    let value: u32 = publish.text().parse().expect("numbers were sent");
                    assert!(seen.last().is_none_or(|before| value > *before), "{value} after {seen:?}");
                    assert!(seen.last().is_none_or(|before| value == before + 1), "{value} follows {seen:?}");
                    seen.push(value);
                    last = value;
                }
                other => assert!(matches!(other, crate::decode::Packet::SubAck(_)), "{other:?}"),
            }
        }
        publisher.deliver(Publish::new(&topic, "").qos(1).retain());
    });
}

// covers: [MQTT-3.3.1-5] (5.0)
#[test]
fn above_the_retained_limit_known_topics_are_replaced_and_new_ones_are_not_stored() {
    with_flags(&["--retained-max", "2"], |w| {
        let mut publisher = w.client(V5, "pub");
        // The broker's own retained topics, of which it has more, take no place.
        publisher.subscribe("$SYS/broker/version", 0);
        publisher.take();
        publisher.unsubscribe(&["$SYS/broker/version"]);
        let topic = |i: usize| w.topic(&format!("limit/{i}"));
        for i in 0..2 {
            publisher.deliver(Publish::new(topic(i), "stored").qos(1).retain());
        }
        let code = publisher.deliver(Publish::new(topic(2), "too many").qos(1).retain());
        assert!(code == 0x97 || code < 0x80, "quota exceeded or accepted as a plain message: {code:#04x}");
        publisher.deliver(Publish::new(topic(0), "replaced").qos(1).retain());
        let mut subscriber = w.client(V5, "sub");
        subscriber.subscribe(&w.topic("limit/+"), 1);
        let mut got: Vec<String> = (0..2).map(|_| subscriber.take().text()).collect();
        got.sort();
        assert_eq!(got, ["replaced", "stored"]);
        w.fence_wildcard(&mut publisher, &mut subscriber);
        for i in 0..2 {
            publisher.deliver(Publish::new(topic(i), "").qos(1).retain());
        }
    });
}

// covers: [MQTT-3.3.1-5] (5.0)
#[test]
fn retained_messages_beyond_the_limit_in_bytes_are_refused_until_there_is_room() {
    with_flags(&["--retained-max-bytes", "4KiB"], |w| {
        let mut publisher = w.client(V5, "pub");
        let (first, second) = (w.topic("bytes/1"), w.topic("bytes/2"));
        let (large, larger) = ("x".repeat(3_000), "y".repeat(3_500));
        assert!(publisher.deliver(Publish::new(&first, &large).qos(1).retain()) < 0x80);
        assert_eq!(publisher.deliver(Publish::new(&second, &large).qos(1).retain()), 0x97, "quota exceeded");
        assert!(publisher.deliver(Publish::new(&first, &larger).qos(1).retain()) < 0x80, "in the place of the old one");
        let mut subscriber = w.client(V5, "sub");
        subscriber.subscribe(&w.topic("bytes/+"), 1);
        assert_eq!(subscriber.take().text(), larger);
        w.fence_wildcard(&mut publisher, &mut subscriber);
        publisher.deliver(Publish::new(&first, "").qos(1).retain());
        assert!(publisher.deliver(Publish::new(&second, &large).qos(1).retain()) < 0x80, "there is room again");
        publisher.deliver(Publish::new(&second, "").qos(1).retain());
    });
}

// covers: [MQTT-3.3.1-9] [MQTT-3.8.3-3] (5.0)
#[test]
fn no_local_does_not_keep_a_clients_own_retained_message_back_from_others() {
    everywhere(|w| {
        let topic = w.topic("own");
        let mut own = w.client(V5, "own");
        own.deliver(Publish::new(&topic, "mine").qos(1).retain());
        let mut other = w.client(V5, "other");
        other.subscribe(&topic, 1 | NO_LOCAL);
        other.take_payload("mine");
        own.deliver(Publish::new(&topic, "").qos(1).retain());
        other.take_payload("");
    });
}
