//! Chapter 1: data representation. Strings, variable byte integers, string pairs.

use crate::packets::{
    AUTH, Connect, DISCONNECT, PINGREQ, PUBACK, PUBLISH, Property, Publish, SUBSCRIBE, UNSUBSCRIBE, V5, V31, V311,
    VERSIONS, Value, Version, Will, field, frame, prop, properties, raw_properties, varint,
};
use crate::world::{World, everywhere};

/// Strings that no packet may contain: ill-formed UTF-8 in its known forms, and the null character.
const BAD_STRINGS: [(&str, &[u8]); 9] = [
    ("a surrogate", b"a\xED\xA0\x80"),
    ("a pair of surrogates", b"\xED\xA0\x81\xED\xB0\x80"),
    ("the last surrogate", b"\xED\xBF\xBF"),
    ("an overlong slash", b"a\xC0\xAFb"),
    ("an overlong null", b"a\xC0\x80"),
    ("a truncated character", b"a\xE2\x82"),
    ("a continuation byte alone", b"\x80a"),
    ("beyond U+10FFFF", b"\xF4\x90\x80\x80"),
    ("U+0000", b"a\0b"),
];

/// Every string of a CONNECT, by name.
fn connects_with(version: Version, id: &str, text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let connect = || Connect::new(version, id);
    let mut all = vec![
        ("client identifier", Connect::new(version, text).encode()),
        ("will topic", connect().will(Will::new(text, "x")).encode()),
        ("user name", connect().user(text).encode()),
    ];
    if version == V5 {
        let will = |property: Property| connect().will(Will::new("t", "x").prop(property)).encode();
        all.extend([
            ("authentication method", connect().prop(prop::auth_method(text)).encode()),
            ("key of a user property", connect().prop(prop::user(text, "v")).encode()),
            ("value of a user property", connect().prop(prop::user("k", text)).encode()),
            ("will content type", will(prop::content_type(text))),
            ("will response topic", will(prop::response_topic(text))),
            ("key of a will user property", will(prop::user(text, "v"))),
            ("value of a will user property", will(prop::user("k", text))),
        ]);
    }
    all
}

/// Every string that a connected client may send, by name.
fn packets_with(version: Version, text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let none = properties(version, &[]);
    let mut all = vec![
        ("topic name", frame(PUBLISH, [field(text), none.clone(), b"x".to_vec()].concat())),
        ("filter of SUBSCRIBE", frame(SUBSCRIBE, [vec![0, 9], none.clone(), field(text), vec![0]].concat())),
        ("filter of UNSUBSCRIBE", frame(UNSUBSCRIBE, [vec![0, 9], none, field(text)].concat())),
    ];
    if version == V5 {
        let publish = |property: Property| Publish::new("t", "x").prop(property).encode(V5);
        let reason = properties(V5, &[prop::reason_string(text)]);
        let user = properties(V5, &[prop::user("k", text)]);
        all.extend([
            ("response topic", publish(prop::response_topic(text))),
            ("content type", publish(prop::content_type(text))),
            ("key of a user property", publish(prop::user(text, "v"))),
            ("value of a user property", publish(prop::user("k", text))),
            ("user property of SUBSCRIBE", frame(SUBSCRIBE, [vec![0, 9], user.clone(), field("t"), vec![0]].concat())),
            ("user property of UNSUBSCRIBE", frame(UNSUBSCRIBE, [vec![0, 9], user, field("t")].concat())),
            ("reason string of PUBACK", frame(PUBACK, [vec![0, 9, 0], reason.clone()].concat())),
            ("reason string of DISCONNECT", frame(DISCONNECT, [vec![0], reason.clone()].concat())),
            ("reason string of AUTH", frame(AUTH, [vec![0x18], reason].concat())),
        ]);
    }
    all
}

// covers: [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] (5.0)
// covers: [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11] (3.1.1)
#[test]
fn a_connect_with_an_ill_formed_string_is_refused() {
    everywhere(|w| {
        for version in VERSIONS {
            for (_, bad) in BAD_STRINGS {
                for (_, connect) in connects_with(version, &w.id("bad"), bad) {
                    let mut client = w.open(version, "bad");
                    client.send(connect);
                    client.expect_no_session();
                }
            }
        }
    });
}

// covers: [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] [MQTT-3.3.2-1] [MQTT-3.3.2-13] [MQTT-3.3.2-19] (5.0)
// covers: [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3] (5.0)
// covers: [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-3.3.2-1] [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3] (3.1.1)
#[test]
fn a_packet_with_an_ill_formed_string_closes_its_connection() {
    everywhere(|w| {
        for version in VERSIONS {
            for (_, bad) in BAD_STRINGS {
                for (_, packet) in packets_with(version, bad) {
                    let mut client = w.client(version, "bad");
                    client.send(packet);
                    client.expect_closed();
                }
            }
        }
    });
}

// covers: [MQTT-1.5.4-1] [MQTT-1.5.7-1] (5.0)
// covers: [MQTT-1.5.3-1] (3.1.1)
#[test]
fn well_formed_text_of_every_plane_passes_unchanged() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("é/漢字/😀/\u{7FF}\u{800}\u{FFFD}\u{10FFFD}");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 0);
            publisher.publish(&topic, "as it came");
            let publish = subscriber.expect_payload("as it came");
            assert_eq!(publish.topic, topic);
        }
    });
}

// covers: [MQTT-1.5.4-3] (5.0)
// covers: [MQTT-1.5.3-3] (3.1.1)
#[test]
fn a_byte_order_mark_in_a_string_is_a_character_like_any_other() {
    everywhere(|w| {
        for version in VERSIONS {
            let marked = w.topic("\u{FEFF}a\u{FEFF}");
            let plain = w.topic("a");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&marked, 0);
            publisher.publish(&plain, "without marks");
            publisher.publish(&marked, "with marks");
            let publish = subscriber.expect_payload("with marks");
            assert_eq!(publish.topic, marked);
            w.fence(&mut publisher, &mut subscriber);
        }
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        let topic = w.topic("props");
        subscriber.subscribe(&topic, 0);
        let sent = Publish::new(&topic, "x")
            .prop(prop::content_type("\u{FEFF}t".as_bytes()))
            .prop(prop::user("\u{FEFF}", "\u{FEFF}"));
        publisher.deliver(sent.clone());
        assert_eq!(subscriber.expect_publish().props, sent.props);
    });
}

// covers: [MQTT-1.5.5-1] (5.0)
#[test]
fn an_integer_in_more_bytes_than_it_needs_is_malformed() {
    everywhere(|w| {
        let long_property_length = frame(PUBLISH, [field("t"), vec![0x80, 0x00], b"x".to_vec()].concat());
        let long_subscription_id =
            frame(SUBSCRIBE, [vec![0, 9, 3, prop::SUBSCRIPTION_ID, 0x81, 0x00], field("t"), vec![0]].concat());
        let long_remaining_length = vec![PINGREQ, 0x80, 0x00];
        for packet in [long_property_length, long_subscription_id, long_remaining_length] {
            let mut client = w.client(V5, "long");
            client.send(packet);
            client.expect_refusal(&[0x81, 0x82]);
        }
    });
}

// covers: [MQTT-1.5.5-1] [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-4.8.0-1] (3.1.1)
#[test]
fn an_integer_of_five_bytes_is_malformed() {
    everywhere(|w| {
        for version in [V31, V311, V5] {
            let mut client = w.client(version, "long");
            client.send([PUBLISH, 0x80, 0x80, 0x80, 0x80, 0x01]);
            client.expect_refusal(&[0x81, 0x82, 0x95]);
            let mut first = w.open(version, "first");
            first.send([0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
            first.expect_no_session();
        }
        let five_byte_property_length = frame(PUBLISH, [field("t"), vec![0x80, 0x80, 0x80, 0x80, 0x00]].concat());
        let mut client = w.client(V5, "long");
        client.send(five_byte_property_length);
        client.expect_refusal(&[0x81, 0x82]);
    });
}

/// Sends payloads whose packets have remaining lengths around each step of the encoding.
fn lengths_around_each_step(w: &World, version: Version) {
    let mut subscriber = w.client(version, "sub");
    let mut publisher = w.client(version, "pub");
    let topic = w.topic("len");
    subscriber.subscribe(&topic, 0);
    let overhead = Publish::new(&topic, "").encode(version).len() - 2;
    for remaining in [overhead, 127, 128, 129, 16_383, 16_384, 16_385] {
        let payload = vec![b'x'; remaining - overhead];
        publisher.deliver(Publish::new(&topic, &payload));
        assert_eq!(subscriber.expect_publish().payload.len(), payload.len());
        assert_eq!(subscriber.last_raw[1..].len() - varint(remaining as u32).len(), remaining);
    }
}

// covers: [MQTT-1.5.5-1] (5.0)
#[test]
fn the_server_writes_remaining_lengths_in_their_shortest_form() {
    everywhere(|w| {
        for version in VERSIONS {
            lengths_around_each_step(w, version);
        }
    });
}

// covers: [MQTT-1.5.5-1] (5.0)
#[test]
fn property_lengths_and_subscription_identifiers_of_every_size_pass() {
    everywhere(|w| {
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        for id in [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455] {
            let topic = w.topic(&format!("id/{id}"));
            subscriber.subscribe_with(&[(&topic, 0)], &[prop::subscription_id(id)]);
            publisher.publish(&topic, "x");
            assert_eq!(subscriber.expect_publish().subscription_ids(), [id]);
        }
        let topic = w.topic("long");
        subscriber.subscribe(&topic, 0);
        for length in [100, 119, 120, 121, 122, 16_370, 16_376, 16_377, 16_378, 16_379, 16_380, 20_000] {
            let sent = Publish::new(&topic, "x").prop(prop::correlation_data(&vec![7; length]));
            publisher.deliver(sent.clone());
            assert_eq!(subscriber.expect_publish().props, sent.props, "correlation data of {length} bytes");
        }
    });
}

// covers: [MQTT-1.5.7-1] (5.0)
#[test]
fn string_pairs_may_be_empty_and_may_repeat_their_name() {
    everywhere(|w| {
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        let topic = w.topic("pairs");
        subscriber.subscribe(&topic, 0);
        let pairs = [("", ""), ("k", ""), ("", "v"), ("k", "1"), ("k", "2"), ("k", "1")];
        let sent = pairs.iter().fold(Publish::new(&topic, "x"), |p, (k, v)| p.prop(prop::user(k, v)));
        publisher.deliver(sent.clone());
        assert_eq!(subscriber.expect_publish().props, sent.props);
    });
}

/// Sends a CONNECT whose properties are these bytes.
fn connect_with_raw_properties(w: &World, raw: &[u8]) -> Vec<u8> {
    let connect = Connect::new(V5, w.id("raw"));
    let header = [field("MQTT"), vec![5, 2, 0, 0], varint(raw.len() as u32), raw.to_vec()].concat();
    frame(0x10, [header, connect.payload()].concat())
}

// covers: [MQTT-4.13.1-1] [MQTT-3.1.4-1] (5.0)
#[test]
fn properties_that_break_the_rules_close_the_connection() {
    everywhere(|w| {
        let twice = raw_properties(&[prop::receive_maximum(5), prop::receive_maximum(5)]);
        let bad_connects = [
            twice,
            raw_properties(&[Property(0x7F, Value::Byte(0))]),
            raw_properties(&[prop::topic_alias(1)]),
            raw_properties(&[prop::receive_maximum(0)]),
            raw_properties(&[prop::maximum_packet_size(0)]),
            raw_properties(&[prop::request_problem(2)]),
            raw_properties(&[prop::request_response(2)]),
            raw_properties(&[prop::auth_data(b"without a method")]),
            vec![prop::SESSION_EXPIRY, 0, 0],
            vec![prop::USER, 0, 1, b'k'],
        ];
        for raw in bad_connects {
            let mut client = w.open(V5, "raw");
            client.send(connect_with_raw_properties(w, &raw));
            client.expect_no_session();
        }
        let publish = |properties: &[Property]| {
            properties.iter().fold(Publish::new("t", "x"), |p, q| p.prop(q.clone())).encode(V5)
        };
        let bad_packets = [
            publish(&[prop::content_type(b"a"), prop::content_type(b"b")]),
            publish(&[prop::payload_format(2)]),
            publish(&[prop::receive_maximum(2)]),
            publish(&[Property(0x00, Value::Byte(0))]),
            publish(&[Property(0x7E, Value::Four(0))]),
            frame(PUBLISH, [field("t"), vec![10], raw_properties(&[prop::payload_format(0)])].concat()),
            frame(SUBSCRIBE, [vec![0, 1], properties(V5, &[prop::subscription_id(0)]), field("t"), vec![0]].concat()),
            frame(
                SUBSCRIBE,
                [
                    vec![0, 1],
                    properties(V5, &[prop::subscription_id(1), prop::subscription_id(1)]),
                    field("t"),
                    vec![0],
                ]
                .concat(),
            ),
        ];
        for packet in bad_packets {
            let mut client = w.client(V5, "raw");
            client.send(packet);
            client.expect_refusal(&[0x81, 0x82]);
        }
    });
}
