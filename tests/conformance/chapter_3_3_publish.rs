//! Chapter 3.3: PUBLISH. Flags, topic names and aliases, properties, and which copy a subscriber gets.

use std::time::{Duration, Instant};

use crate::client::Event;
use crate::decode::Packet;
use crate::packets::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, V5, V31, V311, VERSIONS, Value, ack, frame, prop,
};
use crate::world::{everywhere, measured, with_flags};

// covers: [MQTT-3.3.1-2] [MQTT-3.3.1-3] [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2] (5.0)
// covers: [MQTT-3.3.1-2] [MQTT-3.3.1-3] [MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.3-1] (3.1.1)
#[test]
fn dup_of_the_publisher_is_not_passed_on() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("dup");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 2);
            for qos in 1..=2 {
                publisher.deliver(Publish::new(&topic, "x").qos(qos).dup());
                let publish = subscriber.take_payload("x");
                assert!(!publish.dup, "the first delivery to this subscriber");
                assert_eq!(publish.qos, qos);
            }
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.3.1-2] (5.0)
// covers: [MQTT-3.3.1-2] (3.1.1)
#[test]
fn dup_at_qos_0_never_reaches_a_subscriber() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("dup");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 2);
            let mut wrong = w.client(version, "wrong");
            wrong.send(Publish::new(&topic, "x").dup().encode(version));
            // Refusing the packet and repairing it are both open to a server; a PUBLISH with QoS 0 and DUP 1 is not.
            wrong.send(frame(crate::packets::PINGREQ, []));
            match wrong.next_event(Instant::now() + crate::client::PATIENCE) {
                Event::Packet(Packet::PingResp) => {
                    subscriber.expect_payload("x");
                }
                Event::Packet(Packet::Disconnect(d)) => assert!(d.code == 0x81 || d.code == 0x82, "{d:?}"),
                Event::Closed => {}
                other => panic!("{other:?}"),
            }
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-3.3.1-4] [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-3.3.1-4] (3.1.1)
#[test]
fn a_publish_with_both_qos_bits_set_closes_the_connection() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "qos3");
            client.send(Publish::new(w.topic("qos3"), "x").qos(3).id(1).encode(version));
            client.expect_refusal(&[0x81]);
        }
    });
}

// covers: [MQTT-3.3.4-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] (5.0)
// covers: [MQTT-3.3.4-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2] (3.1.1)
#[test]
fn a_publish_is_answered_as_its_qos_demands() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "pub");
            client.publish(&w.topic("a"), "qos 0");
            client.ping();
            client.send(Publish::new(w.topic("a"), "qos 1").qos(1).id(5).encode(version));
            let code = client.expect_ack(PUBACK, 5);
            assert!(code == 0 || code == 0x10, "{code:#04x}");
            client.send(Publish::new(w.topic("a"), "qos 2").qos(2).id(6).encode(version));
            let code = client.expect_ack(PUBREC, 6);
            assert!(code == 0 || code == 0x10, "{code:#04x}");
            client.send(ack(PUBREL, 6));
            assert_eq!(client.expect_ack(PUBCOMP, 6), 0);
            client.ping();
        }
    });
}

// covers: [MQTT-3.3.2-1] [MQTT-3.3.2-3] [MQTT-4.7.3-4] (5.0)
// covers: [MQTT-3.3.2-1] [MQTT-3.3.2-3] (3.1.1)
#[test]
fn the_topic_name_reaches_subscribers_as_it_was_published() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&w.topic("#"), 1);
            for tail in ["a", "a/", "/a", "a//b", "A", "a b", "ä", "../x", "%2F", "a/b/c/d/e/f"] {
                let topic = w.topic(tail);
                publisher.deliver(Publish::new(&topic, tail).qos(1));
                assert_eq!(subscriber.take_payload(tail).topic, topic);
            }
        }
    });
}

// covers: [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-1] (5.0)
// covers: [MQTT-3.3.2-2] [MQTT-4.7.1-1] [MQTT-4.7.3-1] (3.1.1)
#[test]
fn a_topic_name_with_wildcards_or_without_a_character_closes_the_connection() {
    everywhere(|w| {
        for version in VERSIONS {
            for topic in ["", "#", "+", "a/#", "a/+/b", "a+b", "a#"] {
                let mut client = w.client(version, "wild");
                client.send(Publish::new(topic, "x").encode(version));
                client.expect_refusal(&[0x81, 0x82, 0x90]);
            }
        }
    });
}

// covers: [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17] [MQTT-4.13.1-1] (5.0)
#[test]
fn a_topic_alias_of_0_or_above_the_maximum_is_invalid() {
    everywhere(|w| {
        let (_client, connack) = w.connect(&Connect::new(V5, w.id("ask")));
        let max = connack.number(prop::TOPIC_ALIAS_MAXIMUM).unwrap_or(0) as u16;
        for alias in [0, max.saturating_add(1), u16::MAX] {
            if alias != 0 && alias <= max {
                continue;
            }
            let mut client = w.client(V5, "alias");
            client.send(Publish::new(w.topic("alias"), "x").prop(prop::topic_alias(alias)).encode(V5));
            client.expect_refusal(&[0x94]);
        }
    });
}

// covers: [MQTT-3.3.2-12] (5.0)
#[test]
fn every_topic_alias_up_to_the_announced_maximum_is_accepted() {
    everywhere(|w| {
        let (mut publisher, connack) = w.connect(&Connect::new(V5, w.id("pub")));
        let max = connack.number(prop::TOPIC_ALIAS_MAXIMUM).expect("topic aliases are accepted") as u16;
        let mut subscriber = w.client(V5, "sub");
        subscriber.subscribe(&w.topic("#"), 0);
        // All at once are in use, then each is used and then each is given another topic.
        let topic = |alias: u16| w.topic(&format!("t{alias}"));
        for alias in 1..=max {
            publisher.send(Publish::new(topic(alias), "set").prop(prop::topic_alias(alias)).encode(V5));
        }
        for alias in (1..=max).rev() {
            publisher.send(Publish::new("", "use").prop(prop::topic_alias(alias)).encode(V5));
        }
        for alias in 1..=max {
            let other = topic(max + 1 - alias);
            publisher.send(Publish::new(other, "change").prop(prop::topic_alias(alias)).encode(V5));
            publisher.send(Publish::new("", "use changed").prop(prop::topic_alias(alias)).encode(V5));
        }
        for alias in 1..=max {
            assert_eq!(subscriber.expect_payload("set").topic, topic(alias));
        }
        for alias in (1..=max).rev() {
            assert_eq!(subscriber.expect_payload("use").topic, topic(alias));
        }
        for alias in (1..=max).rev() {
            assert_eq!(subscriber.expect_payload("change").topic, topic(alias));
            let publish = subscriber.expect_payload("use changed");
            assert_eq!(publish.topic, topic(alias));
            assert_eq!(publish.property(prop::TOPIC_ALIAS), None, "the publisher's alias is its own");
        }
    });
}

// covers: [MQTT-3.3.2-7] (5.0)
#[test]
fn topic_aliases_do_not_outlive_their_connection() {
    everywhere(|w| {
        let topic = w.topic("alias");
        let mut subscriber = w.client(V5, "sub");
        subscriber.subscribe(&topic, 1);
        let connect = Connect::new(V5, w.id("pub")).resume().expiry(60);
        let (mut client, _) = w.connect(&connect);
        client.deliver(Publish::new(&topic, "set").qos(1).prop(prop::topic_alias(1)));
        client.deliver(Publish::new("", "used").qos(1).prop(prop::topic_alias(1)));
        subscriber.take_payload("set");
        assert_eq!(subscriber.take_payload("used").topic, topic);
        client.disconnect();
        let (mut client, connack) = w.connect(&connect);
        assert!(connack.session_present);
        client.send(Publish::new("", "lost").qos(1).id(9).prop(prop::topic_alias(1)).encode(V5));
        client.expect_refusal(&[0x82, 0x94]);
        let mut other = w.client(V5, "other");
        w.fence(&mut other, &mut subscriber);
    });
}

// covers: [MQTT-3.3.2-7] [MQTT-4.13.1-1] (5.0)
#[test]
fn an_alias_that_has_no_topic_yet_is_a_protocol_error() {
    everywhere(|w| {
        let mut other = w.client(V5, "other");
        other.deliver(Publish::new(w.topic("mine"), "x").qos(1).prop(prop::topic_alias(1)));
        let mut client = w.client(V5, "alias");
        client.send(Publish::new("", "x").prop(prop::topic_alias(1)).encode(V5));
        client.expect_refusal(&[0x82, 0x94]);
        other.deliver(Publish::new("", "x").qos(1).prop(prop::topic_alias(1)));
    });
}

// covers: [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] (5.0)
#[test]
fn properties_reach_every_subscriber_unaltered_and_user_properties_in_order() {
    everywhere(|w| {
        let topic = w.topic("props");
        let away = Connect::new(V5, w.id("away")).resume().expiry(60);
        let (mut client, _) = w.connect(&away);
        client.subscribe(&topic, 1);
        client.disconnect();
        let mut live = w.client(V5, "live");
        let mut second = w.client(V5, "second");
        let mut publisher = w.client(V5, "pub");
        live.subscribe(&topic, 1);
        second.subscribe(&topic, 0);
        let sent = vec![
            prop::payload_format(1),
            prop::content_type("text/plain; charset=utf-8".as_bytes()),
            prop::response_topic("réponse/ici".as_bytes()),
            prop::correlation_data(&[0, 1, 0xFF, 0xFE]),
            prop::user("b", "1"),
            prop::user("a", "2"),
            prop::user("b", "1"),
            prop::user("", "empty name"),
        ];
        let message =
            sent.iter().fold(Publish::new(&topic, "x").qos(1).retain(), |p, property| p.prop(property.clone()));
        publisher.deliver(message);
        let mut late = w.client(V5, "late");
        late.subscribe(&topic, 1);
        let (mut client, _) = w.connect(&away);
        for (who, subscriber) in
            [("live", &mut live), ("at QoS 0", &mut second), ("retained", &mut late), ("queued", &mut client)]
        {
            let publish = subscriber.take_payload("x");
            let (mut got, mut wanted) = (publish.props.clone(), sent.clone());
            // Only the order of user properties means something; sorting by identifier keeps it.
            got.sort_by_key(|p| p.0);
            wanted.sort_by_key(|p| p.0);
            assert_eq!(got, wanted, "{who}");
        }
        publisher.deliver(Publish::new(&topic, "").qos(1).retain());
    });
}

// covers: [MQTT-3.3.2-4] (5.0)
#[test]
fn a_payload_format_of_0_and_none_at_all_are_passed_on_as_they_are() {
    everywhere(|w| {
        let topic = w.topic("format");
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        subscriber.subscribe(&topic, 0);
        publisher.deliver(Publish::new(&topic, b"\xFF\xFE").prop(prop::payload_format(0)));
        publisher.deliver(Publish::new(&topic, b"\xFF\xFE"));
        assert_eq!(subscriber.expect_publish().property(prop::PAYLOAD_FORMAT), Some(&Value::Byte(0)));
        assert_eq!(subscriber.expect_publish().property(prop::PAYLOAD_FORMAT), None);
    });
}

// covers: [MQTT-3.3.2-14] [MQTT-4.7.0-1] (5.0)
#[test]
fn a_response_topic_with_wildcards_or_without_a_character_is_refused() {
    everywhere(|w| {
        for response in ["a/#", "+", "a/+/b", "#"] {
            let mut client = w.client(V5, "reply");
            client.send(Publish::new("t", "x").prop(prop::response_topic(response.as_bytes())).encode(V5));
            client.expect_refusal(&[0x81, 0x82, 0x90]);
        }
    });
}

// covers: [MQTT-3.3.4-6] [MQTT-4.13.1-1] (5.0)
#[test]
fn a_subscription_identifier_in_a_clients_publish_is_a_protocol_error() {
    everywhere(|w| {
        let mut client = w.client(V5, "subid");
        client.send(Publish::new("t", "x").prop(prop::subscription_id(1)).encode(V5));
        client.expect_refusal(&[0x82, 0x81]);
    });
}

// covers: [MQTT-3.3.2-5] (5.0)
#[test]
fn a_queued_message_that_has_expired_is_not_delivered() {
    everywhere(|w| {
        let topic = w.topic("expiry");
        let connect = Connect::new(V5, w.id("away")).resume().expiry(60);
        let (mut client, _) = w.connect(&connect);
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut publisher = w.client(V5, "pub");
        for qos in 1..=2 {
            publisher.deliver(Publish::new(&topic, "expired").qos(qos).prop(prop::message_expiry(1)));
            publisher.deliver(Publish::new(&topic, "lasting").qos(qos).prop(prop::message_expiry(100)));
            publisher.deliver(Publish::new(&topic, "eternal").qos(qos));
        }
        std::thread::sleep(Duration::from_millis(2_100));
        let (mut client, _) = w.connect(&connect);
        for _ in 0..2 {
            client.take_payload("lasting");
            client.take_payload("eternal");
        }
        w.fence(&mut publisher, &mut client);
    });
}

// covers: [MQTT-3.3.2-6] (5.0)
#[test]
fn the_expiry_sent_on_is_what_is_left_of_it() {
    everywhere(|w| {
        let topic = w.topic("expiry");
        let connect = Connect::new(V5, w.id("away")).resume().expiry(60);
        let (mut client, _) = w.connect(&connect);
        client.subscribe(&topic, 1);
        client.disconnect();
        let mut live = w.client(V5, "live");
        live.subscribe(&topic, 1);
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "x").qos(1).retain().prop(prop::message_expiry(100)));
        let expiry = |publish: &Publish| match publish.property(prop::MESSAGE_EXPIRY) {
            Some(Value::Four(seconds)) => *seconds,
            other => panic!("an expiry is expected, not {other:?}"),
        };
        let passed_on = expiry(&live.take_payload("x"));
        assert!((99..=100).contains(&passed_on), "delivered at once with {passed_on}");
        std::thread::sleep(Duration::from_millis(2_100));
        let (mut client, _) = w.connect(&connect);
        let waited = expiry(&client.take_payload("x"));
        assert!((96..=98).contains(&waited), "two seconds later {waited}");
        let mut late = w.client(V5, "late");
        late.subscribe(&topic, 1);
        let retained = expiry(&late.take_payload("x"));
        assert!((96..=98).contains(&retained), "as retained {retained}");
        publisher.deliver(Publish::new(&topic, "").qos(1).retain());
    });
}

// covers: [MQTT-3.3.2-5] (5.0)
#[test]
fn a_retained_message_that_has_expired_is_gone() {
    everywhere(|w| {
        let topic = w.topic("expiry");
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "short").qos(1).retain().prop(prop::message_expiry(1)));
        let mut early = w.client(V5, "early");
        early.subscribe(&topic, 1);
        early.take_payload("short");
        std::thread::sleep(Duration::from_millis(2_100));
        for version in [V311, V5] {
            let mut late = w.client(version, "late");
            late.subscribe(&topic, 1);
            w.fence(&mut publisher, &mut late);
        }
    });
}

// covers: [MQTT-3.3.2-5] [MQTT-4.3.3-7] [MQTT-4.3.3-13] (5.0)
#[test]
fn a_message_that_expires_after_its_publish_went_out_is_completed() {
    everywhere(|w| {
        let topic = w.topic("expiry");
        let connect = Connect::new(V5, w.id("sub")).resume().expiry(60);
        let (mut client, _) = w.connect(&connect);
        client.subscribe(&topic, 2);
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "one").qos(2).prop(prop::message_expiry(1)));
        let first = client.expect_payload("one");
        std::thread::sleep(Duration::from_millis(2_100));
        // The exchange goes on as if there were no expiry ...
        client.send(ack(PUBREC, first.id));
        assert_eq!(client.expect_ack(PUBREL, first.id), 0);
        client.vanish();
        // ... even across a reconnect.
        let (mut client, _) = w.connect(&connect);
        client.expect_ack(PUBREL, first.id);
        client.send(ack(PUBCOMP, first.id));
        w.fence(&mut publisher, &mut client);
    });
}

// covers: [MQTT-3.3.2-5] (5.0)
#[test]
fn a_message_expires_while_the_receive_window_is_closed() {
    everywhere(|w| {
        let topic = w.topic("expiry");
        let (mut client, _) = w.connect(&Connect::new(V5, w.id("slow")).prop(prop::receive_maximum(1)));
        client.subscribe(&topic, 1);
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "first").qos(1));
        publisher.deliver(Publish::new(&topic, "expires").qos(1).prop(prop::message_expiry(1)));
        publisher.deliver(Publish::new(&topic, "last").qos(1));
        let first = client.expect_payload("first");
        std::thread::sleep(Duration::from_millis(2_100));
        client.acknowledge(&first);
        client.take_payload("last");
        w.fence(&mut publisher, &mut client);
    });
}

// covers: [MQTT-3.3.4-2] (5.0)
// covers: [MQTT-3.3.5-1] (3.1.1)
#[test]
fn overlapping_subscriptions_get_one_copy_at_the_highest_qos() {
    everywhere(|w| {
        for version in VERSIONS {
            for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
                let mut subscriber = w.client(version, "sub");
                let mut publisher = w.client(version, "pub");
                let filters = ["lap/a", "lap/+", "lap/#"].map(|f| w.topic(f));
                for (filter, qos) in filters.iter().zip(order) {
                    subscriber.subscribe(filter, qos);
                }
                publisher.deliver(Publish::new(w.topic("lap/a"), "x").qos(2));
                assert_eq!(subscriber.take_payload("x").qos, 2);
                w.fence(&mut publisher, &mut subscriber);
            }
        }
    });
}

// covers: [MQTT-3.3.4-3] [MQTT-3.3.4-4] (5.0)
#[test]
fn one_copy_carries_the_identifiers_of_all_matching_subscriptions() {
    everywhere(|w| {
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        for (filter, id) in
            [("lap/a", Some(7)), ("lap/+", Some(300)), ("lap/#", None), ("#", Some(7)), ("lap/b", Some(9))]
        {
            let props: Vec<_> = id.map(prop::subscription_id).into_iter().collect();
            subscriber.subscribe_with(&[(&w.topic(filter), 1)], &props);
        }
        publisher.deliver(Publish::new(w.topic("lap/a"), "x").qos(1));
        let mut ids = subscriber.take_payload("x").subscription_ids();
        ids.dedup();
        assert_eq!(ids, [7, 300], "identifiers of the subscriptions that match and have one");
        publisher.deliver(Publish::new(w.topic("else"), "y").qos(1));
        assert_eq!(subscriber.take_payload("y").subscription_ids(), [7]);
        w.fence_wildcard(&mut publisher, &mut subscriber);
    });
}

// covers: [MQTT-3.3.4-3] [MQTT-3.3.4-4] (5.0)
#[test]
fn identifiers_are_kept_with_a_session_and_with_what_it_has_queued() {
    everywhere(|w| {
        let topic = w.topic("ids/a");
        let connect = Connect::new(V5, w.id("away")).resume().expiry(60);
        let (mut client, _) = w.connect(&connect);
        client.subscribe_with(&[(&topic, 1)], &[prop::subscription_id(5)]);
        client.subscribe_with(&[(&w.topic("ids/#"), 2)], &[prop::subscription_id(6)]);
        client.disconnect();
        let mut publisher = w.client(V5, "pub");
        publisher.deliver(Publish::new(&topic, "queued").qos(1));
        let (mut client, _) = w.connect(&connect);
        assert_eq!(client.take_payload("queued").subscription_ids(), [5, 6]);
        publisher.deliver(Publish::new(&topic, "live").qos(1));
        assert_eq!(client.take_payload("live").subscription_ids(), [5, 6]);
    });
}

// covers: [MQTT-3.3.4-5] (5.0)
#[test]
fn a_copy_for_a_shared_subscription_and_one_for_another_carry_their_own_identifiers() {
    everywhere(|w| {
        let topic = w.topic("both");
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        subscriber.subscribe_with(&[(&topic, 1)], &[prop::subscription_id(1)]);
        let shared = format!("$share/g/{topic}");
        subscriber.subscribe_with(&[(&shared, 1)], &[prop::subscription_id(2)]);
        publisher.deliver(Publish::new(&topic, "x").qos(1));
        let mut ids = subscriber.take_payload("x").subscription_ids();
        if ids != [1, 2] {
            ids.extend(subscriber.take_payload("x").subscription_ids());
        }
        ids.sort_unstable();
        assert_eq!(ids, [1, 2], "one copy with both or two with one each");
        w.fence(&mut publisher, &mut subscriber);
    });
}

// covers: [MQTT-3.3.4-7] [MQTT-4.9.0-1] [MQTT-4.13.1-1] (5.0)
#[test]
fn a_client_that_exceeds_the_servers_receive_maximum_is_closed() {
    with_flags(&["--receive-max", "5"], |w| {
        let (mut client, connack) = w.connect(&Connect::new(V5, w.id("flood")));
        assert_eq!(connack.number(prop::RECEIVE_MAXIMUM), Some(5));
        let topic = w.topic("flood");
        for id in 1..=5 {
            client.send(Publish::new(&topic, "x").qos(2).id(id).encode(V5));
            client.expect_ack(PUBREC, id);
        }
        // A repeat is no new message, PUBREL is no PUBLISH, and QoS 0 is not counted.
        client.send(Publish::new(&topic, "x").qos(2).id(3).dup().encode(V5));
        client.expect_ack(PUBREC, 3);
        client.publish(&topic, "qos 0");
        client.ping();
        client.send(ack(PUBREL, 1));
        client.expect_ack(PUBCOMP, 1);
        client.send(Publish::new(&topic, "x").qos(2).id(6).encode(V5));
        client.expect_ack(PUBREC, 6);
        client.send(Publish::new(&topic, "x").qos(2).id(7).encode(V5));
        client.expect_refusal(&[0x93]);
    });
}

// covers: [MQTT-3.3.4-7] (5.0)
#[test]
fn the_announced_receive_maximum_is_granted_in_full() {
    everywhere(|w| {
        let (mut client, connack) = w.connect(&Connect::new(V5, w.id("full")));
        let max = connack.number(prop::RECEIVE_MAXIMUM).unwrap_or(65_535).min(3_000) as u16;
        let topic = w.topic("full");
        for id in 1..=max {
            client.send(Publish::new(&topic, "x").qos(2).id(id).encode(V5));
        }
        for id in 1..=max {
            client.expect_ack(PUBREC, id);
        }
        for id in 1..=max {
            client.send(ack(PUBREL, id));
        }
        for id in 1..=max {
            client.expect_ack(PUBCOMP, id);
        }
    });
}

// covers: [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3] (5.0)
#[test]
fn the_server_keeps_within_the_clients_receive_maximum_and_serves_it_otherwise() {
    everywhere(|w| {
        for max in [1, 2, 5] {
            let topic = w.topic("window");
            let (mut client, _) = w.connect(&Connect::new(V5, w.id("sub")).prop(prop::receive_maximum(max)));
            let mut publisher = w.client(V5, "pub");
            client.subscribe(&topic, 2);
            for i in 0..20 {
                publisher.deliver(Publish::new(&topic, i.to_string()).qos(1 + i % 2));
            }
            let mut open: Vec<Publish> = (0..max).map(|_| client.expect_publish()).collect();
            // Quota is used up: other requests are answered, and nothing with QoS above 0 comes among the answers.
            client.ping();
            client.subscribe(&w.topic("other"), 1);
            client.unsubscribe(&[&w.topic("other")]);
            client.send(Publish::new(w.topic("other"), "x").qos(2).id(900).encode(V5));
            client.expect_ack(PUBREC, 900);
            client.send(ack(PUBREL, 900));
            client.expect_ack(PUBCOMP, 900);
            client.ping();
            let mut received: Vec<String> = open.iter().map(Publish::text).collect();
            while received.len() < 20 {
                client.acknowledge(&open.remove(0));
                let next = client.expect_publish();
                received.push(next.text());
                open.push(next);
                client.ping();
            }
            // Each QoS keeps its own order; together they are what was published.
            let parity = |rest: usize| {
                received.iter().filter(move |t| t.parse::<usize>().expect("numbers") % 2 == rest).cloned()
            };
            assert_eq!(parity(0).collect::<Vec<_>>(), (0..20).step_by(2).map(|i| i.to_string()).collect::<Vec<_>>());
            assert_eq!(parity(1).collect::<Vec<_>>(), (1..20).step_by(2).map(|i| i.to_string()).collect::<Vec<_>>());
        }
    });
}

// covers: [MQTT-3.3.4-9] [MQTT-4.9.0-2] (5.0)
#[test]
fn quota_is_given_back_by_puback_pubcomp_or_a_refusing_pubrec_and_by_nothing_else() {
    everywhere(|w| {
        let topic = w.topic("window");
        let (mut client, _) = w.connect(&Connect::new(V5, w.id("sub")).prop(prop::receive_maximum(1)));
        let mut publisher = w.client(V5, "pub");
        client.subscribe(&topic, 2);
        for (i, qos) in [2, 2, 1, 1].into_iter().enumerate() {
            publisher.deliver(Publish::new(&topic, i.to_string()).qos(qos));
        }
        let first = client.expect_payload("0");
        client.send(ack(PUBREC, first.id));
        client.expect_ack(PUBREL, first.id);
        client.ping(); // PUBREC that accepts gives nothing back.
        client.send(ack(PUBREC, first.id)); // Nor does a second one.
        client.expect_ack(PUBREL, first.id);
        client.ping();
        client.send(ack(PUBCOMP, first.id));
        let second = client.expect_payload("1");
        client.send(crate::packets::ack_with(PUBREC, second.id, 0x80));
        let third = client.expect_payload("2");
        client.send(ack(PUBACK, third.id));
        let fourth = client.expect_payload("3");
        client.send(ack(PUBACK, fourth.id));
        w.fence(&mut publisher, &mut client);
    });
}

// covers: [MQTT-3.3.4-9] [MQTT-4.9.0-2] (5.0)
#[test]
fn an_acknowledgement_of_nothing_never_raises_the_quota() {
    everywhere(|w| {
        let topic = w.topic("window");
        let (mut client, _) = w.connect(&Connect::new(V5, w.id("sub")).prop(prop::receive_maximum(2)));
        let mut publisher = w.client(V5, "pub");
        client.subscribe(&topic, 1);
        // Before anything is in flight, and many of them.
        for id in 1000..1020 {
            client.send(ack(PUBACK, id));
            client.send(ack(PUBCOMP, id));
        }
        client.ping();
        for i in 0..6 {
            publisher.deliver(Publish::new(&topic, i.to_string()).qos(1));
        }
        let first = client.expect_payload("0");
        client.expect_payload("1");
        for id in 1000..1020 {
            client.send(ack(PUBACK, id));
        }
        client.ping();
        client.send(ack(PUBACK, first.id));
        let third = client.expect_payload("2");
        if third.id != first.id {
            client.send(ack(PUBACK, first.id));
        }
        client.ping();
    });
}

// covers: [MQTT-3.4.2-1] [MQTT-3.5.2-1] (5.0)
// covers: [MQTT-3.3.5-2] (3.1.1)
#[test]
fn publishing_to_a_topic_that_begins_with_a_dollar_sign_is_refused() {
    everywhere(|w| {
        let mut watcher = w.client(V5, "watch");
        let topic = format!("$mine/{}", w.topic("x"));
        watcher.subscribe(&topic, 2);
        for topic in [topic.as_str(), "$SYS/broker/uptime", "$SYS", "$", "$share/g/x"] {
            for version in VERSIONS {
                let mut client = w.client(version, "pub");
                client.publish(topic, "qos 0");
                let (one, two) = (
                    client.deliver(Publish::new(topic, "qos 1").qos(1)),
                    client.deliver(Publish::new(topic, "qos 2").qos(2)),
                );
                let refusal = if version == V5 { 0x90 } else { 0 };
                assert_eq!((one, two), (refusal, refusal), "{topic} {version:?}");
                client.ping();
            }
        }
        let mut publisher = w.client(V5, "pub");
        w.fence(&mut publisher, &mut watcher);
    });
}

// covers: [MQTT-4.3.3-9] (5.0)
#[test]
fn after_a_refused_qos_2_publish_its_identifier_means_a_new_message() {
    everywhere(|w| {
        let topic = w.topic("again");
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        subscriber.subscribe(&topic, 2);
        publisher.send(Publish::new("$SYS/x", "refused").qos(2).id(4).encode(V5));
        assert!(publisher.expect_ack(PUBREC, 4) >= 0x80);
        publisher.send(Publish::new(&topic, "new").qos(2).id(4).encode(V5));
        assert!(publisher.expect_ack(PUBREC, 4) < 0x80);
        publisher.send(ack(PUBREL, 4));
        assert_eq!(publisher.expect_ack(PUBCOMP, 4), 0);
        subscriber.take_payload("new");
        w.fence(&mut publisher, &mut subscriber);
    });
}

// covers: [MQTT-4.7.3-3] (5.0)
// covers: [MQTT-4.7.3-3] (3.1.1)
#[test]
fn a_topic_of_65535_bytes_is_published_subscribed_and_retained() {
    everywhere(|w| {
        for version in VERSIONS {
            let stem = w.topic("");
            let topic = format!("{stem}{}", "t".repeat(65_535 - stem.len()));
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 1);
            publisher.deliver(Publish::new(&topic, "long").qos(1).retain());
            assert_eq!(subscriber.take_payload("long").topic, topic);
            let mut late = w.client(version, "late");
            late.subscribe(&topic, 1);
            assert_eq!(late.take_payload("long").topic, topic);
            publisher.deliver(Publish::new(&topic, "").qos(1).retain());
            assert_eq!(late.unsubscribe(&[&topic]).iter().filter(|c| **c != 0).count(), 0);
        }
    });
}

// covers: [MQTT-3.3.2-1] (5.0)
#[test]
fn a_publish_of_every_size_arrives_whole() {
    everywhere(|w| {
        for version in [V31, V5] {
            let topic = w.topic("size");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 1);
            for size in [0, 1, 4_095, 4_096, 4_097, 16_384, 65_536, 300_000] {
                let payload: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
                publisher.deliver(Publish::new(&topic, &payload).qos(1));
                let publish = subscriber.take();
                assert!(publish.payload == payload, "{size} bytes came back as {}", publish.payload.len());
            }
        }
    });
}

/// More subscribers than a shard serves in one turn (`SUBSCRIBERS_PER_TURN`).
#[test]
fn a_message_to_thousands_of_subscribers_reaches_each_once_and_in_order() {
    measured(&[], |w, _| {
        let topic = w.topic("many");
        let mut subscribers: Vec<_> = (0..9_000).map(|n| w.client(V311, &format!("s{n}"))).collect();
        for subscriber in &mut subscribers {
            subscriber.subscribe(&topic, 1);
        }
        let mut publisher = w.client(V5, "pub");
        let mut bytes = Publish::new(&topic, "1").qos(1).id(1).encode(V5);
        bytes.extend(Publish::new(&topic, "2").qos(1).id(2).encode(V5));
        bytes.extend(Publish::new(&topic, "3").encode(V5));
        bytes.extend(frame(crate::packets::PINGREQ, []));
        publisher.send(bytes);
        // They are on their way for several turns, in which a ping may be answered.
        let (pings, acks): (Vec<_>, Vec<_>) =
            (0..3).map(|_| publisher.recv()).partition(|packet| matches!(packet, Packet::PingResp));
        let acknowledged = |at: usize, id| matches!(&acks[at], Packet::Ack(ack) if ack.first == PUBACK && ack.id == id);
        assert!(pings.len() == 1 && acknowledged(0, 1) && acknowledged(1, 2), "{pings:?} {acks:?}");
        for subscriber in &mut subscribers {
            for payload in ["1", "2", "3"] {
                subscriber.take_payload(payload);
            }
            subscriber.ping();
        }
    });
}
