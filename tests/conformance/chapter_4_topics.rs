//! Chapters 4.7 and 4.8: topic names, topic filters, shared subscriptions.

use std::collections::HashMap;

use crate::client::{Client, Event};
use crate::packets::{Connect, PUBACK, PUBREC, PUBREL, Publish, V5, V311, VERSIONS, ack, ack_with, prop};
use crate::world::{World, everywhere};

/// Filter, topics that it matches, topics that it does not. All stand below the world's own first level.
const MATCHING: [(&str, &[&str], &[&str]); 17] = [
    ("sport/tennis", &["sport/tennis"], &["sport/tennis/", "/sport/tennis", "sport", "Sport/tennis", "sport/tenni"]),
    ("sport/#", &["sport", "sport/", "sport/a", "sport/a/b/c", "sport//"], &["sports", "a/sport", "spor"]),
    ("sport/+", &["sport/", "sport/a"], &["sport", "sport/a/b", "sport//"]),
    ("+", &["a", ""], &["a/b", "/"]),
    ("+/+", &["a/b", "/", "/b", "a/"], &["a", "a/b/c"]),
    ("/+", &["/a", "/"], &["a", "a/b", "//"]),
    ("+/a/+", &["b/a/c", "/a/"], &["a/a", "b/a/c/d"]),
    ("a/+/c", &["a/b/c", "a//c"], &["a/b/b/c", "a/c"]),
    ("a//b", &["a//b"], &["a/b", "a/x/b", "a///b"]),
    ("a/", &["a/"], &["a", "a//"]),
    ("//", &["//"], &["/", "///", ""]),
    ("+//+", &["a//b", "//"], &["a/b", "a/x/b"]),
    ("a/#", &["a", "a/", "a/$b"], &["ab"]),
    ("a/+/#", &["a/b", "a/b/c", "a/"], &["a"]),
    ("#", &["a", "a/b/c", "/", "$a"], &[]),
    ("a b/ c", &["a b/ c"], &["ab/c", "a b/c"]),
    ("é/e\u{301}", &["é/e\u{301}"], &["e\u{301}/é", "é/é", "e/e"]),
];

// covers: [MQTT-4.7.3-4] [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-3.3.2-3] (5.0)
// covers: [MQTT-4.7.3-4] [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-3.3.2-3] (3.1.1)
#[test]
fn filters_match_level_by_level_without_any_normalization() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut publisher = w.client(version, "pub");
            for (i, (filter, hits, misses)) in MATCHING.into_iter().enumerate() {
                let below = |tail: &str| w.topic(&format!("{version:?}{i}/{tail}"));
                let mut subscriber = w.client(version, "sub");
                subscriber.subscribe(&below(filter), 0);
                for miss in misses {
                    publisher.publish(&below(miss), "must not match");
                }
                for hit in hits {
                    publisher.publish(&below(hit), hit);
                    let publish = subscriber.expect_payload(hit);
                    assert_eq!(publish.topic, below(hit), "{filter}");
                }
                w.fence(&mut publisher, &mut subscriber);
                // The same topics as retained messages, found by the same filter.
                for topic in hits.iter().chain(misses) {
                    publisher.send(Publish::new(below(topic), "stored").retain().encode(version));
                }
                for _ in hits {
                    subscriber.expect_publish();
                }
                w.settle_retained(&mut publisher);
                let mut late = w.client(version, "late");
                late.subscribe(&below(filter), 0);
                let mut found: Vec<String> = hits.iter().map(|_| late.expect_publish().topic).collect();
                found.sort();
                let mut wanted: Vec<String> = hits.iter().map(|hit| below(hit)).collect();
                wanted.sort();
                assert_eq!(found, wanted, "retained messages of {filter}");
                w.fence(&mut publisher, &mut late);
                for topic in hits.iter().chain(misses) {
                    publisher.send(Publish::new(below(topic), "").retain().encode(version));
                }
                publisher.ping();
            }
        }
    });
}

// covers: [MQTT-4.7.2-1] (5.0)
// covers: [MQTT-4.7.2-1] (3.1.1)
#[test]
fn filters_that_begin_with_a_wildcard_never_match_dollar_topics() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut subscriber = w.client(version, "sub");
            for filter in ["#", "+/#", "+/+", "+/+/#", "+/broker/+", "+/broker/#", "+/+/uptime", "+"] {
                subscriber.subscribe(filter, 0);
            }
            // Long enough for anything retained below $SYS to come; other tests' messages do match and may.
            subscriber.send([0xC0, 0]);
            let deadline = std::time::Instant::now() + std::time::Duration::from_millis(500);
            while let Event::Packet(packet) = subscriber.next_event(deadline) {
                if let crate::decode::Packet::Publish(publish) = packet {
                    assert!(!publish.topic.starts_with('$'), "{publish:?}");
                }
            }
        }
    });
}

// covers: [MQTT-4.7.2-1] (5.0)
#[test]
fn a_shared_wildcard_does_not_match_dollar_topics_either() {
    everywhere(|w| {
        let mut subscriber = w.client(V5, "sub");
        let group = w.topic("").replace('/', "");
        for filter in ["#", "+/broker/#"] {
            subscriber.subscribe(&format!("$share/{group}/{filter}"), 0);
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_millis(1_200);
        while let Event::Packet(packet) = subscriber.next_event(deadline) {
            if let crate::decode::Packet::Publish(publish) = packet {
                assert!(!publish.topic.starts_with('$'), "{publish:?}");
            }
        }
    });
}

// covers: [MQTT-4.7.3-1] [MQTT-4.7.3-4] (5.0)
// covers: [MQTT-4.7.3-1] [MQTT-4.7.3-4] (3.1.1)
#[test]
fn empty_levels_are_levels() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            let exact: Vec<String> = ["", "/", "//", "a/", "a//", "/a", "//a"].map(|t| w.topic(t)).into();
            for topic in &exact {
                subscriber.subscribe(topic, 1);
            }
            for topic in &exact {
                publisher.deliver(Publish::new(topic, "x").qos(1));
                assert_eq!(&subscriber.take_payload("x").topic, topic);
            }
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

/// A group of `n` members that share `topic` at QoS 2.
fn group(w: &World, n: usize, filter: &str) -> Vec<Client> {
    (0..n)
        .map(|_| {
            let mut member = w.client(V5, "member");
            assert_eq!(member.subscribe(filter, 2), 2);
            member
        })
        .collect()
}

/// Takes every message that has come to any of the members, until `count` came; who got which.
fn collect(members: &mut [Client], count: usize) -> HashMap<String, usize> {
    let mut got = HashMap::new();
    let began = std::time::Instant::now();
    while got.len() < count {
        assert!(began.elapsed() < crate::client::PATIENCE, "{} of {count} came: {got:?}", got.len());
        for (i, member) in members.iter_mut().enumerate() {
            let soon = std::time::Instant::now() + std::time::Duration::from_millis(2);
            match member.next_event(soon) {
                Event::Packet(crate::decode::Packet::Publish(publish)) => {
                    member.acknowledge(&publish);
                    let before = got.insert(publish.text(), i);
                    assert!(before.is_none(), "{publish:?} went to members {before:?} and {i}");
                }
                Event::Timeout => {}
                other => panic!("{other:?}"),
            }
        }
    }
    got
}

// covers: [MQTT-4.8.2-1] [MQTT-4.8.2-2] (5.0)
#[test]
fn each_message_goes_to_one_member_of_each_group() {
    everywhere(|w| {
        let topic = w.topic("work");
        let mut one = group(w, 3, &format!("$share/one/{topic}"));
        let mut two = group(w, 2, &format!("$share/two/{topic}"));
        let mut plain = w.client(V5, "plain");
        plain.subscribe(&topic, 1);
        let mut publisher = w.client(V311, "pub");
        for i in 0..60 {
            publisher.deliver(Publish::new(&topic, i.to_string()).qos(1));
            plain.take_payload(&i.to_string());
        }
        for members in [&mut one, &mut two] {
            let got = collect(members, 60);
            let mut share = vec![0; members.len()];
            for member in got.values() {
                share[*member] += 1;
            }
            assert!(share.iter().all(|n| *n >= 60 / share.len() / 2), "a fair share each: {share:?}");
            for member in members.iter_mut() {
                w.fence(&mut publisher, member);
            }
        }
    });
}

// covers: [MQTT-4.8.2-1] (5.0)
#[test]
fn share_names_are_any_text_without_wildcards_and_separators() {
    everywhere(|w| {
        for name in ["g", "$", "a b", "ä漢", "share", &"n".repeat(200)] {
            let topic = w.topic("work");
            let mut members = group(w, 1, &format!("$share/{name}/{topic}"));
            let mut publisher = w.client(V5, "pub");
            publisher.deliver(Publish::new(&topic, "x").qos(1));
            members[0].take_payload("x");
            w.fence(&mut publisher, &mut members[0]);
        }
    });
}

// covers: [MQTT-4.8.2-3] (5.0)
#[test]
fn shared_delivery_respects_the_granted_qos() {
    everywhere(|w| {
        for granted in 0..=2 {
            let topic = w.topic(&format!("work{granted}"));
            let mut member = w.client(V5, "member");
            assert_eq!(member.subscribe(&format!("$share/g/{topic}"), granted), granted);
            let mut publisher = w.client(V5, "pub");
            for published in 0..=2 {
                publisher.deliver(Publish::new(&topic, "x").qos(published));
                assert_eq!(member.take_payload("x").qos, published.min(granted));
            }
        }
    });
}

// covers: [MQTT-4.8.2-4] (5.0)
#[test]
fn a_shared_qos_2_delivery_that_has_begun_is_completed_to_the_same_client() {
    everywhere(|w| {
        let topic = w.topic("work");
        let filter = format!("$share/g/{topic}");
        let connect = Connect::new(V5, w.id("member")).resume().expiry(60);
        let (mut member, _) = w.connect(&connect);
        member.subscribe(&filter, 2);
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "released").qos(2));
        publisher.deliver(Publish::new(&topic, "open").qos(2));
        let (released, open) = (member.expect_payload("released"), member.expect_payload("open"));
        member.send(ack(PUBREC, released.id));
        member.expect_ack(PUBREL, released.id);
        let mut other = w.client(V5, "other");
        other.subscribe(&filter, 2);
        member.vanish();
        let (mut member, connack) = w.connect(&connect);
        assert!(connack.session_present);
        let mut left = 2;
        while left > 0 {
            match member.recv() {
                crate::decode::Packet::Publish(publish) => {
                    assert_eq!((publish.id, publish.dup, publish.text().as_str()), (open.id, true, "open"));
                    member.acknowledge(&publish);
                    left -= 1;
                }
                crate::decode::Packet::Ack(a) if a.first == PUBREL && a.id == released.id => {
                    member.send(ack(crate::packets::PUBCOMP, a.id));
                    left -= 1;
                }
                other => panic!("{other:?}"),
            }
        }
        w.fence(&mut publisher, &mut other);
        w.fence(&mut publisher, &mut member);
    });
}

// covers: [MQTT-4.8.2-5] (5.0)
#[test]
fn a_shared_qos_2_delivery_that_has_begun_goes_to_nobody_else_when_its_session_ends() {
    everywhere(|w| {
        let topic = w.topic("work");
        let filter = format!("$share/g/{topic}");
        let mut member = w.client(V5, "member");
        member.subscribe(&filter, 2);
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "begun").qos(2));
        member.expect_payload("begun");
        let mut other = w.client(V5, "other");
        other.subscribe(&filter, 2);
        member.disconnect();
        w.fence(&mut publisher, &mut other);
        publisher.deliver(Publish::new(&topic, "next").qos(2));
        other.take_payload("next");
    });
}

// covers: [MQTT-4.8.2-6] [MQTT-4.4.0-2] (5.0)
#[test]
fn a_shared_message_that_its_member_refuses_is_discarded() {
    everywhere(|w| {
        for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
            let topic = w.topic(&format!("work{qos}"));
            let mut members = group(w, 3, &format!("$share/g/{topic}"));
            let mut publisher = w.client(V5, "pub");
            publisher.deliver(Publish::new(&topic, "refused").qos(qos));
            let deadline = std::time::Instant::now() + crate::client::PATIENCE;
            let mut refused = false;
            while !refused {
                assert!(std::time::Instant::now() < deadline, "nobody got the message");
                for member in &mut members {
                    let soon = std::time::Instant::now() + std::time::Duration::from_millis(5);
                    if let Event::Packet(crate::decode::Packet::Publish(publish)) = member.next_event(soon) {
                        member.send(ack_with(first, publish.id, 0x80));
                        member.ping();
                        refused = true;
                    }
                }
            }
            for member in &mut members {
                w.fence(&mut publisher, member);
            }
        }
    });
}

// covers: [MQTT-4.8.2-3] [MQTT-3.3.4-9] (5.0)
#[test]
fn a_member_that_leaves_takes_no_messages_with_it() {
    everywhere(|w| {
        let topic = w.topic("work");
        let filter = format!("$share/g/{topic}");
        let mut members = group(w, 2, &filter);
        let leaving = w.client(V5, "leaves");
        let mut leaving = leaving;
        leaving.subscribe(&filter, 2);
        leaving.disconnect();
        let mut publisher = w.client(V5, "pub");
        for i in 0..20 {
            publisher.deliver(Publish::new(&topic, i.to_string()).qos(1));
        }
        collect(&mut members, 20);
        members[1].unsubscribe(&[&filter]);
        for i in 20..30 {
            publisher.deliver(Publish::new(&topic, i.to_string()).qos(1));
            members[0].take_payload(&i.to_string());
        }
    });
}

// covers: [MQTT-4.8.2-1] [MQTT-3.8.4-3] (5.0)
#[test]
fn a_shared_and_a_plain_subscription_of_one_client_are_two_subscriptions() {
    everywhere(|w| {
        let topic = w.topic("work");
        let shared = format!("$share/g/{topic}");
        let mut client = w.client(V5, "both");
        let mut publisher = w.client(V5, "pub");
        client.subscribe(&shared, 1);
        client.subscribe(&topic, 1);
        client.unsubscribe(&[&shared]);
        publisher.deliver(Publish::new(&topic, "plain is left").qos(1));
        client.take_payload("plain is left");
        client.subscribe(&shared, 1);
        client.unsubscribe(&[&topic]);
        publisher.deliver(Publish::new(&topic, "shared is left").qos(1));
        client.take_payload("shared is left");
        w.fence(&mut publisher, &mut client);
    });
}

// covers: [MQTT-4.8.2-1] [MQTT-3.3.4-3] (5.0)
#[test]
fn a_shared_subscription_has_an_identifier_of_its_own() {
    everywhere(|w| {
        let topic = w.topic("work");
        let mut client = w.client(V5, "member");
        client.subscribe_with(&[(&format!("$share/g/{topic}"), 1)], &[prop::subscription_id(77)]);
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "x").qos(1));
        assert_eq!(client.take_payload("x").subscription_ids(), [77]);
    });
}

// covers: [MQTT-4.8.2-1] (5.0)
#[test]
fn shared_subscriptions_serve_clients_before_5_0_too() {
    everywhere(|w| {
        let topic = w.topic("work");
        let filter = format!("$share/g/{topic}");
        let mut old = w.client(V311, "old");
        assert_eq!(old.subscribe(&filter, 1), 1);
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "x").qos(1));
        old.take_payload("x");
    });
}
