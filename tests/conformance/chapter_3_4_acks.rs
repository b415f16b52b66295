//! Chapters 3.4 to 3.7: PUBACK, PUBREC, PUBREL, PUBCOMP, from both directions.

use crate::client::Client;
use crate::packets::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, V5, VERSIONS, ack, ack_with, frame, prop, properties,
};
use crate::world::{World, everywhere};

/// A subscriber at QoS 2 with a session that is kept, and a publisher.
fn pair(w: &World, connect: &Connect, topic: &str) -> (Client, Client) {
    let (mut subscriber, _) = w.connect(connect);
    subscriber.subscribe(topic, 2);
    (subscriber, w.client(connect.version, "pub"))
}

// covers: [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] (5.0)
#[test]
fn acknowledgements_use_only_the_reason_codes_of_their_kind() {
    everywhere(|w| {
        // The reader fails on any other code; this goes through the cases that have one to give.
        let topic = w.topic("codes");
        let (mut subscriber, mut publisher) = pair(w, &Connect::new(V5, w.id("sub")), &topic);
        for topic in [topic.as_str(), &w.topic("nobody"), "$SYS/refused"] {
            for qos in 1..=2 {
                publisher.deliver(Publish::new(topic, "x").qos(qos));
            }
        }
        for _ in 0..2 {
            subscriber.take();
        }
        publisher.send(ack(PUBREL, 999));
        assert_eq!(publisher.expect_ack(PUBCOMP, 999), 0x92, "PUBREL of nothing");
        publisher.send(ack(PUBREC, 998));
        assert_eq!(publisher.expect_ack(PUBREL, 998), 0x92, "PUBREC of nothing");
        publisher.send(ack_with(PUBREC, 997, 0x80));
        publisher.ping(); // nothing else comes: the exchange has ended
    });
}

// covers: [MQTT-4.3.3-11] (5.0)
// covers: [MQTT-4.3.3-2] (3.1.1)
#[test]
fn pubrel_of_an_unknown_identifier_is_answered_so_that_the_sender_can_go_on() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "pub");
            client.send(ack(PUBREL, 77));
            let code = client.expect_ack(PUBCOMP, 77);
            assert_eq!(code, if version == V5 { 0x92 } else { 0 });
            client.ping();
        }
    });
}

// covers: [MQTT-3.6.1-1] (5.0)
// covers: [MQTT-3.6.1-1] (3.1.1)
#[test]
fn pubrel_with_other_flags_is_malformed() {
    everywhere(|w| {
        for version in [crate::packets::V311, V5] {
            for flags in (0..16).filter(|flags| *flags != 2) {
                let mut client = w.client(version, "rel");
                client.send(ack(0x60 | flags, 1));
                client.expect_refusal(&[0x81]);
            }
        }
    });
}

// covers: [MQTT-4.4.0-2] [MQTT-4.3.3-4] [MQTT-3.3.4-9] (5.0)
#[test]
fn pubrec_with_an_error_ends_the_exchange() {
    everywhere(|w| {
        for code in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
            let topic = w.topic("refuse");
            let connect = Connect::new(V5, w.id("sub")).resume().expiry(60).prop(prop::receive_maximum(1));
            let (mut subscriber, mut publisher) = pair(w, &connect, &topic);
            publisher.deliver(Publish::new(&topic, "refused").qos(2));
            let refused = subscriber.expect_payload("refused");
            subscriber.send(ack_with(PUBREC, refused.id, code));
            // No PUBREL, and the quota of one is free again.
            subscriber.ping();
            publisher.deliver(Publish::new(&topic, "next").qos(2));
            subscriber.take_payload("next");
            subscriber.vanish();
            let (mut subscriber, connack) = w.connect(&connect);
            assert!(connack.session_present);
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-4.4.0-2] (5.0)
#[test]
fn puback_with_an_error_settles_the_message() {
    everywhere(|w| {
        let topic = w.topic("refuse");
        let connect = Connect::new(V5, w.id("sub")).resume().expiry(60).prop(prop::receive_maximum(1));
        let (mut subscriber, mut publisher) = pair(w, &connect, &topic);
        publisher.deliver(Publish::new(&topic, "refused").qos(1));
        let refused = subscriber.expect_payload("refused");
        subscriber.send(ack_with(PUBACK, refused.id, 0x97));
        publisher.deliver(Publish::new(&topic, "next").qos(1));
        subscriber.take_payload("next");
        subscriber.vanish();
        let (mut subscriber, _) = w.connect(&connect);
        w.fence(&mut publisher, &mut subscriber);
    });
}

// covers: [MQTT-4.3.3-4] [MQTT-4.3.3-8] (5.0)
#[test]
fn pubrec_with_no_matching_subscribers_goes_on_to_pubrel() {
    everywhere(|w| {
        let topic = w.topic("code10");
        let (mut subscriber, mut publisher) = pair(w, &Connect::new(V5, w.id("sub")), &topic);
        publisher.deliver(Publish::new(&topic, "x").qos(2));
        let publish = subscriber.expect_payload("x");
        subscriber.send(ack_with(PUBREC, publish.id, 0x10));
        assert_eq!(subscriber.expect_ack(PUBREL, publish.id), 0);
        subscriber.send(ack(PUBCOMP, publish.id));
        subscriber.ping();
    });
}

// covers: [MQTT-4.3.3-5] [MQTT-4.3.3-6] (5.0)
// covers: [MQTT-4.3.3-1] (3.1.1)
#[test]
fn a_repeated_pubrec_is_answered_by_pubrel_again_and_never_by_publish() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("repeat");
            let (mut subscriber, mut publisher) = pair(w, &Connect::new(version, w.id("sub")), &topic);
            publisher.deliver(Publish::new(&topic, "x").qos(2));
            let publish = subscriber.expect_payload("x");
            for _ in 0..3 {
                subscriber.send(ack(PUBREC, publish.id));
                assert_eq!(subscriber.expect_ack(PUBREL, publish.id), 0);
            }
            subscriber.send(ack(PUBCOMP, publish.id));
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-4.8.0-1] (3.1.1)
#[test]
fn an_acknowledgement_of_the_wrong_kind_does_not_settle_a_message() {
    everywhere(|w| {
        for version in VERSIONS {
            for (qos, wrong) in [(2, PUBACK), (1, PUBREC), (1, PUBCOMP)] {
                let topic = w.topic("kind");
                let connect = Connect::new(version, w.id("sub")).persistent();
                let (mut subscriber, mut publisher) = pair(w, &connect, &topic);
                publisher.deliver(Publish::new(&topic, "x").qos(qos));
                let publish = subscriber.expect_payload("x");
                subscriber.send(ack(wrong, publish.id));
                // Closing it and ignoring it are both fine; taking it for the right one loses the message.
                subscriber.vanish();
                let (mut subscriber, _) = w.connect(&connect);
                let again = subscriber.take_payload("x");
                assert_eq!((again.id, again.dup), (publish.id, true), "QoS {qos} and {wrong:#04x}");
            }
        }
    });
}

// covers: [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] (5.0)
#[test]
fn a_reason_code_that_is_not_listed_for_the_packet_closes_the_connection() {
    everywhere(|w| {
        for (first, code) in
            [(PUBACK, 0x92), (PUBACK, 0x01), (PUBREC, 0x92), (PUBREC, 0xFF), (PUBREL, 0x80), (PUBCOMP, 0x10)]
        {
            let mut client = w.client(V5, "code");
            client.send(ack_with(first, 1, code));
            client.expect_refusal(&[0x81, 0x82]);
        }
    });
}

// covers: [MQTT-3.4.2-2] [MQTT-3.4.2-3] (5.0)
#[test]
fn reason_strings_and_user_properties_of_a_client_are_accepted() {
    everywhere(|w| {
        let topic = w.topic("reason");
        let (mut subscriber, mut publisher) = pair(w, &Connect::new(V5, w.id("sub")), &topic);
        let props = properties(
            V5,
            &[prop::reason_string("warum nicht".as_bytes()), prop::user("k", "v"), prop::user("k", "w")],
        );
        let with = |first: u8, id: u16, code: u8| frame(first, [&id.to_be_bytes()[..], &[code], &props].concat());
        publisher.deliver(Publish::new(&topic, "one").qos(1));
        let one = subscriber.expect_payload("one");
        subscriber.send(with(PUBACK, one.id, 0x10));
        publisher.send(Publish::new(&topic, "two").qos(2).id(50).encode(V5));
        publisher.expect_ack(PUBREC, 50);
        publisher.send(with(PUBREL, 50, 0));
        publisher.expect_ack(PUBCOMP, 50);
        let two = subscriber.expect_payload("two");
        subscriber.send(with(PUBREC, two.id, 0));
        subscriber.expect_ack(PUBREL, two.id);
        subscriber.send(with(PUBCOMP, two.id, 0));
        subscriber.ping();
    });
}
