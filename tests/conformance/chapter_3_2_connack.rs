//! Chapter 3.2: CONNACK. What it announces and how the announced holds.

use crate::decode::ConnAck;
use crate::packets::{Connect, Publish, V5, V311, VERSIONS, prop};
use crate::world::{everywhere, with_flags};

/// Fails unless the property is absent or has this value: its absence means the same.
#[track_caller]
fn absent_or(connack: &ConnAck, id: u8, value: u32) {
    let announced = connack.number(id);
    assert!(announced.is_none() || announced == Some(value), "{} is {announced:?}", prop::name(id));
}

// covers: [MQTT-3.2.2-8] [MQTT-3.2.2-1] (5.0)
#[test]
fn everything_optional_is_available() {
    everywhere(|w| {
        let (_client, connack) = w.connect(&Connect::new(V5, w.id("ask")));
        absent_or(&connack, prop::MAXIMUM_QOS, 2);
        assert_eq!(
            connack.property(prop::MAXIMUM_QOS),
            None,
            "QoS 2 is said by leaving it out; the values are 0 and 1"
        );
        absent_or(&connack, prop::RETAIN_AVAILABLE, 1);
        absent_or(&connack, prop::WILDCARD_AVAILABLE, 1);
        absent_or(&connack, prop::SUBSCRIPTION_ID_AVAILABLE, 1);
        absent_or(&connack, prop::SHARED_AVAILABLE, 1);
        assert_eq!(connack.property(prop::ASSIGNED_CLIENT_ID), None, "nothing was assigned");
    });
}

// covers: [MQTT-3.2.2-17] [MQTT-3.3.2-9] [MQTT-3.3.2-12] (5.0)
#[test]
fn limits_given_as_flags_are_announced() {
    let flags = ["--receive-max", "7", "--topic-alias-max", "3", "--max-packet-size", "5000"];
    with_flags(&flags, |w| {
        let (_client, connack) = w.connect(&Connect::new(V5, w.id("ask")));
        assert_eq!(connack.number(prop::RECEIVE_MAXIMUM), Some(7));
        assert_eq!(connack.number(prop::TOPIC_ALIAS_MAXIMUM), Some(3));
        assert_eq!(connack.number(prop::MAXIMUM_PACKET_SIZE), Some(5_000));
    });
}

// covers: [MQTT-3.2.2-18] [MQTT-3.2.2-17] (5.0)
#[test]
fn a_topic_alias_where_none_are_accepted_is_refused() {
    with_flags(&["--topic-alias-max", "0"], |w| {
        let (mut client, connack) = w.connect(&Connect::new(V5, w.id("alias")));
        assert_eq!(connack.number(prop::TOPIC_ALIAS_MAXIMUM).unwrap_or(0), 0);
        client.send(Publish::new(w.topic("alias"), "x").prop(prop::topic_alias(1)).encode(V5));
        client.expect_refusal(&[0x94, 0x82]);
    });
}

// covers: [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-3.2.2-6] (5.0)
// covers: [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3] (3.1.1)
#[test]
fn session_present_follows_the_session_through_its_life() {
    everywhere(|w| {
        for version in [V311, V5] {
            let id = w.id("life");
            let keep = Connect::new(version, &id).persistent();
            let clean = Connect::new(version, &id);
            let steps = [(&keep, false), (&keep, true), (&keep, true), (&clean, false), (&keep, false), (&keep, true)];
            for (step, (connect, expected)) in steps.into_iter().enumerate() {
                let (client, connack) = w.connect(connect);
                assert_eq!(connack.session_present, expected, "step {step} of {version:?}");
                client.disconnect();
            }
        }
    });
}

// covers: [MQTT-3.2.0-2] (5.0)
#[test]
fn connack_comes_once_however_long_the_connection_lasts() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "once");
            for i in 0..20 {
                // The reader fails on a second CONNACK wherever it comes.
                client.deliver(Publish::new(w.topic("once"), "x").qos(i % 3));
                client.ping();
            }
        }
    });
}
