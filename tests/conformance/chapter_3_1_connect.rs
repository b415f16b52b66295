//! Chapter 3.1: CONNECT. Its form, what is refused, and what may follow it.

use crate::decode::Packet;
use crate::packets::{
    CONNECT, Connect, PUBACK, Publish, SUBSCRIBE, V5, V31, V311, VERSIONS, Version, Will, frame, one_of_each, prop,
    properties, subscribe,
};
use crate::world::{World, everywhere, with_flags};

/// Sends these bytes on a new connection and expects that no session comes of it.
#[track_caller]
fn refused(w: &World, version: Version, bytes: &[u8]) {
    let mut client = w.open(version, "refused");
    client.send(bytes);
    client.expect_no_session();
}

// covers: [MQTT-3.1.0-1] [MQTT-3.2.0-1] [MQTT-3.14.0-1] (5.0)
// covers: [MQTT-3.1.0-1] [MQTT-3.2.0-1] (3.1.1)
#[test]
fn a_first_packet_that_is_no_connect_closes_without_an_answer() {
    everywhere(|w| {
        for version in VERSIONS {
            for (_, packet) in one_of_each(version, &w.topic("first")) {
                let mut client = w.open(version, "first");
                client.send(packet);
                // No packet may come before CONNACK, so not even a DISCONNECT: the reader fails on one.
                client.expect_closed();
            }
        }
    });
}

// covers: [MQTT-3.1.0-2] [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-3.1.0-2] [MQTT-4.8.0-1] (3.1.1)
#[test]
fn a_second_connect_is_a_protocol_error() {
    everywhere(|w| {
        for version in VERSIONS {
            let connect = Connect::new(version, w.id("twice"));
            let (mut client, _) = w.connect(&connect);
            client.send(connect.encode());
            client.expect_refusal(&[0x82]);
        }
    });
}

// covers: [MQTT-3.1.0-2] (5.0)
// covers: [MQTT-3.1.0-2] (3.1.1)
#[test]
fn a_second_connect_of_another_identifier_leaves_that_session_alone() {
    everywhere(|w| {
        for version in VERSIONS {
            let other = w.id("other");
            let (mut victim, _) = w.connect(&Connect::new(version, &other));
            let mut client = w.client(version, "twice");
            client.send(Connect::new(version, &other).encode());
            client.expect_refusal(&[0x82]);
            victim.ping();
        }
    });
}

// covers: [MQTT-3.1.2-1] [MQTT-3.1.4-1] [MQTT-3.1.4-2] (5.0)
// covers: [MQTT-3.1.2-1] [MQTT-3.1.4-1] (3.1.1)
#[test]
fn another_protocol_name_is_refused() {
    everywhere(|w| {
        for name in ["", "MQT", "mqtt", "MQTTX", "MQIsdP", "HTTP", "\u{FEFF}MQTT"] {
            for version in [V311, V5] {
                let mut connect = Connect::new(version, w.id("name"));
                connect.protocol = name.as_bytes().to_vec();
                refused(w, version, &connect.encode());
            }
        }
        // A first line of another protocol is no CONNECT at all.
        refused(w, V5, b"GET / HTTP/1.1\r\nHost: example\r\n\r\n");
    });
}

// covers: [MQTT-3.1.2-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-4.13.2-1] (5.0)
// covers: [MQTT-3.1.2-2] [MQTT-3.2.2-4] [MQTT-3.2.2-5] (3.1.1)
#[test]
fn an_unsupported_protocol_version_is_told_and_closed() {
    everywhere(|w| {
        for (protocol, level) in [
            ("MQTT", 0),
            ("MQTT", 1),
            ("MQTT", 2),
            ("MQTT", 3),
            ("MQIsdp", 4),
            ("MQTT", 6),
            ("MQTT", 0x83),
            ("MQTT", 0x85),
            ("MQIsdp", 0x84),
            ("MQTT", 255),
        ] {
            let mut connect = Connect::new(V311, w.id("level"));
            connect.protocol = protocol.as_bytes().to_vec();
            connect.level = level;
            // Which form the answer has is open: the client's version is one that the server does not know.
            let mut client = w.open(V311, "level");
            client.send(connect.encode());
            let mut answer = client.raw_until_closed();
            if level > 5 && answer == [0x20, 3, 0, 0x84, 0] {
                answer = vec![0x20, 2, 0, 1];
            }
            assert_eq!(answer, [0x20, 2, 0, 1], "{protocol} level {level}: CONNACK 0x01 (or 0x84) and nothing more");
        }
    });
}

// covers: [MQTT-3.1.2-3] [MQTT-3.1.4-1] (5.0)
// covers: [MQTT-3.1.2-3] [MQTT-3.1.4-1] (3.1.1)
#[test]
fn a_reserved_connect_flag_that_is_set_closes_the_connection() {
    everywhere(|w| {
        for version in [V311, V5] {
            refused(w, version, &Connect::new(version, w.id("flag")).flip(0x01).encode());
            let will = Will::new(w.topic("will"), "x");
            refused(w, version, &Connect::new(version, w.id("flag")).will(will).flip(0x01).encode());
        }
    });
}

// covers: [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] (5.0)
// covers: [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-14] [MQTT-3.1.2-15] (3.1.1)
#[test]
fn will_flags_that_do_not_fit_the_payload_or_each_other_are_refused() {
    everywhere(|w| {
        for version in [V311, V5] {
            let plain = || Connect::new(version, w.id("will"));
            let will = || Will::new(w.topic("will"), "x");
            let wrong = [
                ("Will QoS 1 without a will", plain().flip(0x08)),
                ("Will QoS 2 without a will", plain().flip(0x10)),
                ("Will Retain without a will", plain().flip(0x20)),
                ("Will QoS 3", plain().will(will()).flip(0x18)),
                ("Will Flag without will fields", plain().flip(0x04)),
                ("will fields without Will Flag", plain().will(will()).flip(0x04)),
                ("Will QoS 3 without a will", plain().flip(0x18)),
            ];
            for (_, connect) in wrong {
                refused(w, version, &connect.encode());
            }
            let with_will = plain().will(will());
            let whole = [with_will.header(), with_will.payload()].concat();
            for missing in 1..=(2 + 1 + 2) {
                refused(w, version, &frame(CONNECT, &whole[..whole.len() - missing]));
            }
        }
    });
}

// covers: [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] (5.0)
// covers: [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.2-20] [MQTT-3.1.2-21] [MQTT-3.1.2-22] (3.1.1)
#[test]
fn credential_flags_that_do_not_fit_the_payload_are_refused() {
    everywhere(|w| {
        for version in [V311, V5] {
            let plain = || Connect::new(version, w.id("cred"));
            let wrong = [
                ("user name without its flag", plain().user("u").flip(0x80)),
                ("User Name Flag without a user name", plain().flip(0x80)),
                ("password without its flag", plain().user("u").password("p").flip(0x40)),
                ("Password Flag without a password", plain().user("u").flip(0x40)),
                ("both flags without fields", plain().flip(0xC0)),
            ];
            for (_, connect) in wrong {
                refused(w, version, &connect.encode());
            }
        }
        refused(w, V311, &Connect::new(V311, w.id("cred")).password("p").encode());
    });
}

// covers: [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-12] [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT-3.1.2-19] (5.0)
// covers: [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.2-9] [MQTT-3.1.2-19] [MQTT-3.1.2-21] (3.1.1)
#[test]
fn every_field_of_the_payload_is_taken_from_its_place() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("will");
            let mut subscriber = w.client(version, "sub");
            subscriber.subscribe(&topic, 0);
            // A password is binary data: what would be an ill-formed string is fine there.
            let connect = Connect::new(version, w.id("full"))
                .will(Will::new(&topic, "the will's payload"))
                .user("user")
                .password(b"\0\xFF\xED\xA0\x80");
            let (client, _) = w.connect(&connect);
            client.vanish();
            let publish = subscriber.expect_payload("the will's payload");
            assert_eq!(publish.topic, topic);
        }
        let (mut client, _) = w.connect(&Connect::new(V5, w.id("pass")).password("only a password"));
        client.ping();
    });
}

// covers: [MQTT-3.1.3-3] [MQTT-3.1.4-1] (5.0)
// covers: [MQTT-3.1.3-3] [MQTT-3.1.4-1] (3.1.1)
#[test]
fn a_connect_cut_short_anywhere_or_too_long_is_refused() {
    everywhere(|w| {
        for version in [V311, V5] {
            let connect = Connect::new(version, w.id("cut")).will(Will::new("w", "x")).user("u").password("p");
            let whole = [connect.header(), connect.payload()].concat();
            for length in 0..whole.len() {
                refused(w, version, &frame(CONNECT, &whole[..length]));
            }
            refused(w, version, &frame(CONNECT, [whole, vec![0]].concat()));
        }
    });
}

// covers: [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-8] (5.0)
// covers: [MQTT-3.1.4-4] [MQTT-3.2.0-1] [MQTT-3.2.2-1] (3.1.1)
#[test]
fn a_valid_connect_is_answered_by_one_connack_0_before_anything_else() {
    everywhere(|w| {
        for version in VERSIONS {
            let (mut client, connack) = w.connect(&Connect::new(version, w.id("ok")));
            assert!(!connack.session_present);
            client.subscribe(&w.topic("x"), 0);
            client.ping();
        }
    });
}

// covers: [MQTT-3.1.4-5] [MQTT-3.2.0-1] (5.0)
// covers: [MQTT-3.1.4-4] [MQTT-3.2.0-1] (3.1.1)
#[test]
fn packets_sent_right_behind_connect_are_processed_after_connack() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("eager");
            let mut client = w.open(version, "eager");
            let connect = Connect::new(version, w.id("eager"));
            let publish = Publish::new(&topic, "eager").qos(1).id(2);
            client.id = String::from_utf8_lossy(&connect.id).into_owned();
            client
                .send([connect.encode(), subscribe(version, 1, &[], &[(&topic, 0)]), publish.encode(version)].concat());
            assert_eq!(client.expect_connack().code, 0);
            // The server may send what matches a subscription before its SUBACK.
            let mut answers = [client.recv(), client.recv(), client.recv()];
            answers.sort_by_key(|packet| match packet {
                Packet::SubAck(s) if s.id == 1 => 0,
                Packet::Ack(a) if a.first == PUBACK && a.id == 2 => 1,
                Packet::Publish(p) if p.text() == "eager" => 2,
                other => panic!("{other:?}"),
            });
            assert!(matches!(answers, [Packet::SubAck(_), Packet::Ack(_), Packet::Publish(_)]), "{answers:?}");
        }
    });
}

/// A CONNECT that this version must refuse with a CONNACK.
fn refused_connect(version: Version, id: &str) -> Connect {
    match version {
        V5 => Connect::new(V5, id).prop(prop::auth_method(b"UNKNOWN")),
        V31 | V311 => Connect::new(version, "").resume(),
    }
}

// covers: [MQTT-3.1.4-6] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8] [MQTT-3.14.0-1] (5.0)
// covers: [MQTT-3.1.4-5] [MQTT-3.2.2-4] [MQTT-3.2.2-5] (3.1.1)
#[test]
fn what_follows_a_refused_connect_is_not_processed() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("ignored");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 0);
            let mut client = w.open(version, "refused");
            let connect = refused_connect(version, &w.id("refused"));
            client.send([connect.encode(), Publish::new(&topic, "must not pass").retain().encode(version)].concat());
            client.expect_connect_refused(&[0x02, 0x8C, 0x87]);
            w.fence(&mut publisher, &mut subscriber);
            let mut late = w.client(version, "late");
            late.subscribe(&topic, 0);
            w.fence(&mut publisher, &mut late);
        }
    });
}

// covers: [MQTT-3.1.2-30] [MQTT-4.12.0-1] [MQTT-4.12.0-4] [MQTT-3.2.2-7] (5.0)
#[test]
fn an_authentication_method_is_refused_since_none_is_supported() {
    everywhere(|w| {
        for method in ["SCRAM-SHA-1", "", "x"] {
            let connect = Connect::new(V5, w.id("auth")).prop(prop::auth_method(method.as_bytes()));
            w.start(&connect).expect_connect_refused(&[0x8C, 0x87]);
            let with_data = connect.prop(prop::auth_data(b"data"));
            w.start(&with_data).expect_connect_refused(&[0x8C, 0x87]);
        }
        let topic = w.topic("early");
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        subscriber.subscribe(&topic, 0);
        let mut client = w.open(V5, "auth");
        let connect = Connect::new(V5, w.id("auth")).prop(prop::auth_method(b"SCRAM-SHA-1"));
        client.send([connect.encode(), Publish::new(&topic, "too early").encode(V5)].concat());
        client.expect_connect_refused(&[0x8C, 0x87, 0x82]);
        w.fence(&mut publisher, &mut subscriber);
    });
}

// covers: [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] (5.0)
#[test]
fn an_empty_client_identifier_is_replaced_by_a_unique_one() {
    everywhere(|w| {
        let connect = || Connect::new(V5, "").expiry(60);
        let (first, connack) = w.connect(&connect());
        let id = connack.assigned_id().expect("[MQTT-3.2.2-16] an assigned identifier");
        let (_second, connack) = w.connect(&connect());
        assert_ne!(connack.assigned_id().expect("an assigned identifier"), id);
        first.disconnect();
        // Proceed as if the client had sent it: the session is found under that name.
        let (mut again, connack) = w.connect(&Connect::new(V5, &id).resume());
        assert!(connack.session_present, "the session of the assigned identifier");
        assert_eq!(connack.assigned_id(), None, "nothing was assigned this time");
        again.ping();
        let (_third, connack) = w.connect(&Connect::new(V5, "").resume().expiry(60));
        assert!(!connack.session_present);
        assert!(connack.assigned_id().is_some());
    });
}

// covers: [MQTT-3.1.3-6] (3.1.1)
#[test]
fn an_empty_client_identifier_with_a_clean_session_is_served() {
    everywhere(|w| {
        let topic = w.topic("anonymous");
        let (mut first, connack) = w.connect(&Connect::new(V311, ""));
        assert!(!connack.session_present);
        let (mut second, _) = w.connect(&Connect::new(V311, ""));
        first.subscribe(&topic, 0);
        second.subscribe(&topic, 0);
        second.publish(&topic, "for both");
        first.expect_payload("for both");
        second.expect_payload("for both");
    });
}

// covers: [MQTT-3.1.3-7] [MQTT-3.1.3-8] [MQTT-3.1.3-9] [MQTT-3.2.2-4] [MQTT-3.2.2-5] (3.1.1)
#[test]
fn an_empty_client_identifier_without_a_clean_session_is_refused_with_code_2() {
    everywhere(|w| {
        w.start(&Connect::new(V311, "").resume()).expect_connect_refused(&[2]);
    });
}

/// Connects with this identifier, leaves, and finds the session again under it and under no other.
fn session_is_found_under(w: &World, version: Version, id: &str) {
    let (client, _) = w.connect(&Connect::new(version, id).persistent());
    client.disconnect();
    let other = format!("{id}x");
    let (client, connack) = w.connect(&Connect::new(version, &other).persistent());
    assert!(!connack.session_present, "{other:?} is another identifier");
    client.disconnect();
    w.connect(&Connect::new(version, &other)).0.disconnect();
    let (client, connack) = w.connect(&Connect::new(version, id).persistent());
    assert!(connack.session_present, "the session of {id:?}");
    client.disconnect();
    let (client, _) = w.connect(&Connect::new(version, id));
    client.disconnect();
}

// covers: [MQTT-3.1.3-5] [MQTT-3.1.3-2] (5.0)
// covers: [MQTT-3.1.3-5] [MQTT-3.1.3-2] (3.1.1)
#[test]
fn identifiers_of_1_to_23_letters_and_digits_are_accepted() {
    everywhere(|w| {
        for version in VERSIONS {
            for length in [22, 23] {
                let id: String = w.id("len").chars().rev().cycle().take(length).collect();
                let (mut client, _) = w.connect(&Connect::new(version, &id));
                client.ping();
                client.disconnect();
            }
        }
    });
}

// covers: [MQTT-3.1.3-5] (5.0)
// covers: [MQTT-3.1.3-5] (3.1.1)
#[test]
fn identifiers_of_one_and_two_characters_are_accepted() {
    // Too short to be unlike those of another run, so each has a broker of its own.
    with_flags(&[], |w| {
        for version in VERSIONS {
            for id in ["0", "z", "A9", "Zz"] {
                let (mut client, _) = w.connect(&Connect::new(version, id));
                client.ping();
                client.disconnect();
            }
        }
    });
}

// covers: [MQTT-3.1.3-5] [MQTT-3.1.3-2] [MQTT-3.1.3-4] (5.0)
// covers: [MQTT-3.1.3-5] [MQTT-3.1.3-2] [MQTT-3.1.3-4] (3.1.1)
#[test]
fn identifiers_with_every_legal_character_are_accepted() {
    everywhere(|w| {
        const LETTERS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let tag = w.id("");
        for version in [V311, V5] {
            let printable: String = (' '..='~').collect();
            let planes = "é\u{FEFF}\u{7FF}\u{800}漢\u{D7FF}\u{E000}\u{FFFD}😀\u{10FFFD}";
            for id in
                [LETTERS, &printable, planes, "#", "+", "a/b", "$SYS", "$share/g/#", "with space", "\"';--", "%c%u"]
            {
                session_is_found_under(w, version, &format!("{id}{tag}"));
            }
            for letter in LETTERS.chars().step_by(7) {
                let (mut client, _) = w.connect(&Connect::new(version, format!("{tag}{letter}")));
                client.ping();
            }
        }
    });
}

// covers: [MQTT-3.1.3-2] (5.0)
// covers: [MQTT-3.1.3-2] (3.1.1)
#[test]
fn an_identifier_of_65535_bytes_is_a_key_like_any_other() {
    everywhere(|w| {
        for version in [V311, V5] {
            let tag = w.id("");
            session_is_found_under(w, version, &format!("{}{tag}", "k".repeat(65_534 - tag.len())));
        }
    });
}

// covers: [MQTT-3.1.2-28] (5.0)
#[test]
fn no_response_information_is_returned_unless_requested() {
    everywhere(|w| {
        for connect in [Connect::new(V5, w.id("info")), Connect::new(V5, w.id("info")).prop(prop::request_response(0))]
        {
            let (_client, connack) = w.connect(&connect);
            assert_eq!(connack.property(prop::RESPONSE_INFORMATION), None);
        }
    });
}

// covers: [MQTT-4.12.0-6] (5.0)
#[test]
fn without_an_authentication_method_the_server_speaks_of_none() {
    everywhere(|w| {
        let (mut client, connack) = w.connect(&Connect::new(V5, w.id("none")).user("u").password("p"));
        assert_eq!(connack.property(prop::AUTH_METHOD), None);
        assert_eq!(connack.property(prop::AUTH_DATA), None);
        client.ping();
    });
}

// covers: [MQTT-3.1.4-1] (5.0)
// covers: [MQTT-3.1.4-1] (3.1.1)
#[test]
fn a_will_topic_that_nobody_may_publish_to_is_refused() {
    everywhere(|w| {
        for version in [V311, V5] {
            for topic in ["", "a/#", "+", "a/+/b", "#"] {
                let connect = Connect::new(version, w.id("will")).will(Will::new(topic, "x"));
                refused(w, version, &connect.encode());
            }
        }
    });
}

// covers: [MQTT-3.1.4-1] (5.0)
#[test]
fn a_will_with_properties_that_break_the_rules_is_refused() {
    everywhere(|w| {
        let wrong = [
            vec![prop::payload_format(2)],
            vec![prop::will_delay(1), prop::will_delay(1)],
            vec![prop::response_topic(b"a/+")],
            vec![prop::topic_alias(1)],
            vec![prop::session_expiry(1)],
        ];
        for properties in wrong {
            let mut will = Will::new(w.topic("will"), "x");
            will.props = properties;
            refused(w, V5, &Connect::new(V5, w.id("will")).will(will).encode());
        }
    });
}

// covers: [MQTT-3.8.3-2] [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-3.8.3-3] [MQTT-4.8.0-1] (3.1.1)
#[test]
fn one_connection_that_breaks_the_rules_disturbs_no_other() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("steady");
            let mut steady = w.client(version, "steady");
            steady.subscribe(&topic, 1);
            for i in 0..10 {
                let mut broken = w.client(version, "broken");
                broken.send(frame(SUBSCRIBE, [&[0, 1][..], &properties(version, &[])].concat()));
                broken.expect_closed();
                steady.deliver(Publish::new(&topic, i.to_string()).qos(1));
                steady.take_payload(&i.to_string());
            }
        }
    });
}
