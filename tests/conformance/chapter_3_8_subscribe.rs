//! Chapters 3.8 to 3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.

use crate::decode::Packet;
use crate::packets::{
    Connect, NO_LOCAL, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, SUBSCRIBE, UNSUBSCRIBE, V5, V31, V311, VERSIONS, ack,
    frame, prop, properties, subscribe, unsubscribe,
};
use crate::world::{everywhere, in_whole_packets};

/// Topic filters that break the rules of chapter 4.7.
pub(crate) const INVALID_FILTERS: [&str; 10] = ["#/a", "a/#/b", "a#", "#a", "##", "a/+b", "+a", "a+/b", "++", "a/b#"];
/// Shared subscriptions that break the rules of chapter 4.8.
pub(crate) const INVALID_SHARES: [&str; 9] = [
    "$share/g",
    "$share/g/",
    "$share//x",
    "$share/",
    "$share/+/x",
    "$share/#/x",
    "$share/a+b/x",
    "$share/#",
    "$share/g/a/#/b",
];

// covers: [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2] (5.0)
// covers: [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2] (3.1.1)
#[test]
fn suback_has_the_identifier_and_one_code_a_filter_in_their_order() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "sub");
            let filters: Vec<(String, u8)> =
                [2, 0, 1, 1, 2, 0, 0, 2].iter().enumerate().map(|(i, qos)| (w.topic(&format!("f{i}")), *qos)).collect();
            let filters: Vec<(&str, u8)> = filters.iter().map(|(f, qos)| (f.as_str(), *qos)).collect();
            for count in 1..=filters.len() {
                client.send(subscribe(version, 500 + count as u16, &[], &filters[..count]));
                let Packet::SubAck(suback) = client.recv() else { panic!("SUBACK is expected") };
                assert_eq!(suback.id, 500 + count as u16);
                let wanted: Vec<u8> = filters[..count].iter().map(|f| f.1).collect();
                assert_eq!(suback.codes, wanted);
            }
        }
    });
}

// covers: [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2] [MQTT-4.7.1-1] [MQTT-4.7.1-2] (5.0)
// covers: [MQTT-4.8.2-1] [MQTT-4.8.2-2] (5.0)
#[test]
fn an_invalid_filter_gets_its_own_code_and_spoils_no_other() {
    everywhere(|w| {
        for invalid in INVALID_FILTERS.into_iter().chain(INVALID_SHARES) {
            let mut client = w.client(V5, "sub");
            let mut publisher = w.client(V5, "pub");
            let (before, after) = (w.topic("before"), w.topic("after"));
            let codes = client.subscribe_with(&[(&before, 1), (invalid, 1), (&after, 2)], &[]);
            assert_eq!(codes, [1, 0x8F, 2], "{invalid:?}");
            publisher.deliver(Publish::new(&before, "before").qos(1));
            publisher.deliver(Publish::new(&after, "after").qos(1));
            client.take_payload("before");
            client.take_payload("after");
        }
    });
}

// covers: [MQTT-4.7.1-2] [MQTT-4.7.1-3] (3.1.1)
#[test]
fn an_invalid_filter_before_5_0_closes_the_connection() {
    everywhere(|w| {
        for version in [V31, V311] {
            for invalid in INVALID_FILTERS {
                let mut client = w.client(version, "sub");
                client.send(subscribe(version, 1, &[], &[(invalid, 1)]));
                client.expect_closed();
                let mut client = w.client(version, "unsub");
                client.send(subscribe(version, 1, &[], &[("fine", 1), (invalid, 1)]));
                client.expect_closed();
            }
        }
    });
}

// covers: [MQTT-4.7.3-1] (5.0)
// covers: [MQTT-4.7.3-1] (3.1.1)
#[test]
fn an_empty_filter_ends_the_connection() {
    everywhere(|w| {
        for version in VERSIONS {
            for packet in [subscribe(version, 1, &[], &[("", 1)]), unsubscribe(version, 1, &[""])] {
                let mut client = w.client(version, "sub");
                client.send(packet);
                let mut next = client.next_event(std::time::Instant::now() + crate::client::PATIENCE);
                if let (V5, crate::client::Event::Packet(Packet::Disconnect(disconnect))) = (version, &next) {
                    assert_eq!(disconnect.code, 0x82);
                    next = client.next_event(std::time::Instant::now() + crate::client::PATIENCE);
                }
                assert!(matches!(next, crate::client::Event::Closed), "an empty filter got {next:?}");
            }
        }
    });
}

// covers: [MQTT-3.8.1-1] (5.0)
// covers: [MQTT-3.8.1-1] (3.1.1)
#[test]
fn subscribe_with_other_flags_is_malformed() {
    everywhere(|w| {
        for version in [V311, V5] {
            for flags in (0..16).filter(|flags| *flags != 2) {
                let mut client = w.client(version, "sub");
                let mut packet = subscribe(version, 1, &[], &[(&w.topic("x"), 0)]);
                packet[0] = 0x80 | flags;
                client.send(packet);
                client.expect_refusal(&[0x81]);
            }
        }
    });
}

// covers: [MQTT-3.10.1-1] (5.0)
// covers: [MQTT-3.10.1-1] (3.1.1)
#[test]
fn unsubscribe_with_other_flags_is_malformed() {
    everywhere(|w| {
        for version in [V311, V5] {
            for flags in (0..16).filter(|flags| *flags != 2) {
                let mut client = w.client(version, "sub");
                let mut packet = unsubscribe(version, 1, &[&w.topic("x")]);
                packet[0] = 0xA0 | flags;
                client.send(packet);
                client.expect_refusal(&[0x81]);
            }
        }
    });
}

// covers: [MQTT-3.8.3-2] [MQTT-3.10.3-2] (5.0)
// covers: [MQTT-3.8.3-3] [MQTT-3.10.3-2] (3.1.1)
#[test]
fn subscribe_and_unsubscribe_without_a_filter_are_protocol_errors() {
    everywhere(|w| {
        for version in VERSIONS {
            for first in [SUBSCRIBE, UNSUBSCRIBE] {
                let mut client = w.client(version, "none");
                client.send(frame(first, [&[0, 1][..], &properties(version, &[])].concat()));
                client.expect_refusal(&[0x81, 0x82]);
            }
        }
    });
}

// covers: [MQTT-3.8.3-5] [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-3.8.3-4] (3.1.1)
#[test]
fn reserved_subscription_options_are_malformed() {
    everywhere(|w| {
        for (version, options) in
            [(V5, &[0x40, 0x80, 0xC0, 0x03, 0x30][..]), (V311, &[0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80])]
        {
            for options in options {
                let mut client = w.client(version, "opts");
                client.send(subscribe(version, 1, &[], &[(&w.topic("x"), *options)]));
                client.expect_refusal(&[0x81, 0x82]);
                let mut client = w.client(version, "opts");
                client.send(subscribe(version, 1, &[], &[(&w.topic("x"), 1), (&w.topic("y"), *options)]));
                client.expect_refusal(&[0x81, 0x82]);
            }
        }
    });
}

// covers: [MQTT-3.8.3-3] (5.0)
#[test]
fn no_local_keeps_a_clients_own_messages_back_and_nothing_else() {
    everywhere(|w| {
        let topic = w.topic("local");
        let mut client = w.client(V5, "own");
        let mut other = w.client(V5, "other");
        client.subscribe(&topic, 1 | NO_LOCAL);
        other.subscribe(&topic, 1);
        client.deliver(Publish::new(&topic, "own").qos(1));
        other.take_payload("own");
        other.deliver(Publish::new(&topic, "other").qos(1));
        client.take_payload("other");
        other.take_payload("other");
        // A second, plain subscription that matches brings the message after all.
        client.subscribe(&w.topic("+"), 1);
        client.deliver(Publish::new(&topic, "both").qos(1));
        client.take_payload("both");
        other.take_payload("both");
        w.fence_wildcard(&mut other, &mut client);
    });
}

// covers: [MQTT-3.8.3-3] (5.0)
#[test]
fn no_local_looks_at_the_client_identifier_across_connections() {
    everywhere(|w| {
        let topic = w.topic("local");
        let connect = Connect::new(V5, w.id("own")).resume().expiry(60);
        let (mut client, _) = w.connect(&connect);
        client.subscribe(&topic, 1 | NO_LOCAL);
        client.disconnect();
        let (mut client, connack) = w.connect(&connect);
        assert!(connack.session_present);
        client.deliver(Publish::new(&topic, "own").qos(1));
        let mut other = w.client(V5, "other");
        w.fence(&mut other, &mut client);
    });
}

// covers: [MQTT-3.8.3-4] [MQTT-4.13.1-1] (5.0)
#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    everywhere(|w| {
        let shared = format!("$share/g/{}", w.topic("x"));
        for filters in [&[(shared.as_str(), NO_LOCAL)][..], &[("fine", 0), (shared.as_str(), 1 | NO_LOCAL)]] {
            let mut client = w.client(V5, "share");
            client.send(subscribe(V5, 1, &[], filters));
            client.expect_refusal(&[0x82]);
        }
    });
}

// covers: [MQTT-3.8.4-3] [MQTT-3.8.4-4] (5.0)
// covers: [MQTT-3.8.4-3] (3.1.1)
#[test]
fn the_same_filter_again_replaces_the_subscription() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("same");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            for qos in [2, 0, 1, 2] {
                assert_eq!(subscriber.subscribe(&topic, qos), qos);
                publisher.deliver(Publish::new(&topic, "x").qos(2));
                assert_eq!(subscriber.take_payload("x").qos, qos);
                w.fence(&mut publisher, &mut subscriber);
            }
            subscriber.unsubscribe(&[&topic]);
            publisher.deliver(Publish::new(&topic, "x").qos(2));
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.8.4-3] [MQTT-3.3.4-3] (5.0)
#[test]
fn replacing_a_subscription_replaces_its_options_and_identifier() {
    everywhere(|w| {
        let topic = w.topic("same");
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        for id in [Some(3), Some(4), None, Some(5)] {
            let props: Vec<_> = id.map(prop::subscription_id).into_iter().collect();
            subscriber.subscribe_with(&[(&topic, 0)], &props);
            publisher.publish(&topic, "x");
            assert_eq!(subscriber.expect_payload("x").subscription_ids(), id.into_iter().collect::<Vec<_>>());
        }
        subscriber.subscribe(&topic, NO_LOCAL);
        subscriber.publish(&topic, "own");
        subscriber.subscribe(&topic, 0);
        subscriber.publish(&topic, "own again");
        subscriber.expect_payload("own again");
    });
}

// covers: [MQTT-3.8.4-4] (5.0)
// covers: [MQTT-3.8.4-3] (3.1.1)
#[test]
fn replacing_a_subscription_loses_no_message() {
    everywhere(|w| {
        for version in [V311, V5] {
            let topic = w.topic("flow");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 1);
            for i in 0..100u16 {
                publisher.send(Publish::new(&topic, i.to_string()).qos(1).id(i + 1).encode(version));
                if i % 10 == 5 {
                    subscriber.send(subscribe(version, 500 + i, &[], &[(&topic, 1)]));
                }
            }
            let mut next = 0;
            while next < 100 {
                match subscriber.recv() {
                    Packet::Publish(publish) => {
                        assert_eq!(publish.text(), next.to_string());
                        subscriber.send(ack(PUBACK, publish.id));
                        next += 1;
                    }
                    other => assert!(matches!(other, Packet::SubAck(_)), "{other:?}"),
                }
            }
        }
    });
}

// covers: [MQTT-3.8.4-5] (5.0)
// covers: [MQTT-3.8.4-4] (3.1.1)
#[test]
fn several_filters_act_like_several_subscribes_with_one_suback() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            let topic = w.topic("multi");
            // The last one of a filter that is named twice counts.
            let codes = subscriber.subscribe_with(&[(&topic, 0), (&w.topic("other"), 2), (&topic, 1)], &[]);
            assert_eq!(codes, [0, 2, 1]);
            publisher.deliver(Publish::new(&topic, "x").qos(2));
            assert_eq!(subscriber.take_payload("x").qos, 1);
            publisher.deliver(Publish::new(w.topic("other"), "y").qos(2));
            assert_eq!(subscriber.take_payload("y").qos, 2);
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.8.4-5] (5.0)
// covers: [MQTT-3.8.4-4] (3.1.1)
#[test]
fn a_subscribe_with_hundreds_of_filters_is_served() {
    everywhere(|w| {
        for version in [V311, V5] {
            let filters: Vec<String> = (0..500).map(|i| w.topic(&format!("many/{i}"))).collect();
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            let pairs: Vec<(&str, u8)> = filters.iter().map(|f| (f.as_str(), 1)).collect();
            assert_eq!(subscriber.subscribe_with(&pairs, &[]), vec![1; 500]);
            for i in [0, 250, 499] {
                publisher.deliver(Publish::new(&filters[i], i.to_string()).qos(1));
                subscriber.take_payload(&i.to_string());
            }
            let names: Vec<&str> = filters.iter().map(String::as_str).collect();
            let codes = subscriber.unsubscribe(&names);
            assert_eq!(codes, if version == V5 { vec![0; 500] } else { Vec::new() });
            publisher.deliver(Publish::new(&filters[250], "x").qos(1));
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

#[test]
fn five_thousand_filters_get_five_thousand_codes_and_what_comes_behind_waits() {
    everywhere(|w| {
        for version in [V311, V5] {
            let filters: Vec<String> = (0..5_000).map(|i| w.topic(&format!("all/{i}"))).collect();
            let mut subscriber = w.client(version, "sub");
            let pairs: Vec<(&str, u8)> = filters.iter().map(|f| (f.as_str(), 1)).collect();
            // What it says right behind the packet meets the last of its filters.
            let packets =
                [subscribe(version, 7, &[], &pairs), Publish::new(&filters[4_999], "own").encode(version)].concat();
            subscriber.send(packets);
            // With several shards the SUBACK waits for the others, the message does not.
            let answers = [subscriber.recv(), subscriber.recv()];
            let all_granted = |p: &Packet| matches!(p, Packet::SubAck(suback) if suback.codes == vec![1; 5_000]);
            let is_own = |p: &Packet| matches!(p, Packet::Publish(publish) if publish.payload == b"own");
            assert!(answers.iter().any(all_granted) && answers.iter().any(is_own), "{answers:?}");
            let names: Vec<&str> = filters.iter().map(String::as_str).collect();
            let codes = subscriber.unsubscribe(&names);
            assert_eq!(codes, if version == V5 { vec![0; 5_000] } else { Vec::new() });
            subscriber.publish(&filters[0], "x");
            subscriber.ping_through();
        }
    });
}

#[test]
fn a_packet_with_more_than_32768_filters_closes_the_connection() {
    in_whole_packets(|w| {
        for version in [V311, V5] {
            let (pairs, names) = (vec![("a", 0); 32_769], vec!["a"; 32_769]);
            for packet in [subscribe(version, 7, &[], &pairs), unsubscribe(version, 7, &names)] {
                let mut client = w.client(version, "many");
                client.send(packet);
                client.expect_refusal(&[0x97]);
            }
        }
    });
}

// covers: [MQTT-3.8.4-8] [MQTT-3.8.4-7] (5.0)
// covers: [MQTT-3.8.4-6] [MQTT-3.8.4-5] (3.1.1)
#[test]
fn delivery_is_at_the_lower_of_published_and_granted_qos() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut publisher = w.client(version, "pub");
            for granted in 0..=2 {
                let topic = w.topic(&format!("qos/{granted}"));
                let mut subscriber = w.client(version, "sub");
                assert_eq!(subscriber.subscribe(&topic, granted), granted);
                for published in 0..=2 {
                    publisher.deliver(Publish::new(&topic, "x").qos(published));
                    assert_eq!(subscriber.take_payload("x").qos, published.min(granted));
                }
            }
        }
    });
}

// covers: [MQTT-3.8.4-1] (5.0)
// covers: [MQTT-3.8.4-1] (3.1.1)
#[test]
fn whoever_publishes_after_the_suback_reaches_the_subscriber() {
    everywhere(|w| {
        let mut publisher = w.client(V311, "pub");
        for i in 0..50 {
            let topic = w.topic(&format!("after/{i}"));
            let mut subscriber = w.client(if i % 2 == 0 { V311 } else { V5 }, "sub");
            subscriber.subscribe(&topic, 0);
            publisher.publish(&topic, "seen");
            subscriber.expect_payload("seen");
        }
    });
}

// covers: [MQTT-3.8.3-2] (5.0)
// covers: [MQTT-3.8.3-2] (3.1.1)
#[test]
fn wildcards_are_supported_in_filters() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            for filter in ["w/#", "w/+/x", "+/+"] {
                assert_eq!(subscriber.subscribe(&w.topic(filter), 1), 1, "{filter}");
            }
            publisher.deliver(Publish::new(w.topic("w/y/x"), "x").qos(1));
            subscriber.take_payload("x");
        }
    });
}

// covers: [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-2] (5.0)
// covers: [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5] (3.1.1)
#[test]
fn unsubscribe_deletes_the_filter_that_is_equal_and_no_other() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe_with(&[(&w.topic("a/+"), 1), (&w.topic("a/#"), 0)], &[]);
            // None of these equals a filter, though some match what it matches.
            for other in ["a/b", "a", "a/+/", "A/+", "#", "a/++"] {
                if version != V5 && other.contains("++") {
                    continue;
                }
                let codes = subscriber.unsubscribe(&[&w.topic(other)]);
                assert!(
                    version != V5 || codes == [0x11] || (other == "a/++" && codes == [0x8F]),
                    "{other}: {codes:02x?}"
                );
            }
            publisher.deliver(Publish::new(w.topic("a/b"), "both").qos(1));
            assert_eq!(subscriber.take_payload("both").qos, 1);
            let codes = subscriber.unsubscribe(&[&w.topic("a/+")]);
            assert!(version != V5 || codes == [0]);
            publisher.deliver(Publish::new(w.topic("a/b"), "one").qos(1));
            assert_eq!(subscriber.take_payload("one").qos, 0, "only a/# is left");
            subscriber.unsubscribe(&[&w.topic("a/#")]);
            publisher.deliver(Publish::new(w.topic("a/b"), "none").qos(1));
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2] (5.0)
// covers: [MQTT-3.10.4-6] [MQTT-3.10.4-5] (3.1.1)
#[test]
fn several_filters_act_like_several_unsubscribes_with_one_unsuback() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            let filters = ["a", "b", "c"].map(|f| w.topic(f));
            for filter in &filters {
                subscriber.subscribe(filter, 1);
            }
            let never = w.topic("never");
            let codes = subscriber.unsubscribe(&[&filters[0], &never, &filters[2], &filters[0]]);
            if version == V5 {
                assert_eq!(codes, [0, 0x11, 0, 0x11], "in order, and the second time there is nothing left");
            }
            for filter in &filters {
                publisher.deliver(Publish::new(filter, filter).qos(1));
            }
            subscriber.take_payload(&filters[1]);
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.10.4-3] (5.0)
// covers: [MQTT-3.10.4-3] (3.1.1)
#[test]
fn deliveries_begun_before_unsubscribe_are_completed() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("begun");
            let connect = Connect::new(version, w.id("sub")).persistent();
            let (mut subscriber, _) = w.connect(&connect);
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 2);
            publisher.deliver(Publish::new(&topic, "one").qos(1));
            publisher.deliver(Publish::new(&topic, "two").qos(2));
            publisher.deliver(Publish::new(&topic, "three").qos(2));
            let (one, two, three) = (
                subscriber.expect_payload("one"),
                subscriber.expect_payload("two"),
                subscriber.expect_payload("three"),
            );
            subscriber.send(ack(PUBREC, two.id));
            subscriber.expect_ack(PUBREL, two.id);
            subscriber.unsubscribe(&[&topic]);
            publisher.deliver(Publish::new(&topic, "too late").qos(2));
            subscriber.acknowledge(&three);
            subscriber.vanish();
            let (mut subscriber, _) = w.connect(&connect);
            let again = subscriber.take_payload("one");
            assert_eq!((again.id, again.dup), (one.id, true));
            assert_eq!(subscriber.expect_ack(PUBREL, two.id), 0);
            subscriber.send(ack(PUBCOMP, two.id));
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.10.4-1] [MQTT-3.11.3-2] (5.0)
#[test]
fn a_shared_subscription_is_unsubscribed_by_its_whole_filter() {
    everywhere(|w| {
        let topic = w.topic("shared");
        let shared = format!("$share/g/{topic}");
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        subscriber.subscribe(&shared, 1);
        assert_eq!(subscriber.unsubscribe(&[&topic, &format!("$share/h/{topic}")]), [0x11, 0x11]);
        publisher.deliver(Publish::new(&topic, "still").qos(1));
        subscriber.take_payload("still");
        assert_eq!(subscriber.unsubscribe(&[&shared]), [0]);
        publisher.deliver(Publish::new(&topic, "gone").qos(1));
        w.fence(&mut publisher, &mut subscriber);
    });
}
