//! Chapter 2: the format of a control packet. Fixed header flags, packet identifiers, property lengths.

use std::collections::HashSet;

use crate::decode::Packet;
use crate::packets::{
    AUTH, CONNACK, Connect, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, SUBACK, SUBSCRIBE,
    UNSUBACK, UNSUBSCRIBE, V5, V311, VERSIONS, ack, ack_with, disconnect_with, field, frame, one_of_each, properties,
    subscribe, unsubscribe,
};
use crate::world::{everywhere, in_whole_packets};

// covers: [MQTT-2.1.3-1] (5.0)
// covers: [MQTT-2.2.2-1] [MQTT-2.2.2-2] (3.1.1)
#[test]
fn every_other_value_of_reserved_flags_closes_the_connection() {
    everywhere(|w| {
        // MQTT 3.1 used these bits: its packets are in mqtt_3_1.rs.
        for version in [V311, V5] {
            for (name, packet) in one_of_each(version, &w.topic("flags")) {
                if name.starts_with("PUBLISH") {
                    continue;
                }
                for flip in [0x01, 0x02, 0x04, 0x08, 0x0F] {
                    let mut client = w.client(version, "flags");
                    let mut wrong = packet.clone();
                    wrong[0] ^= flip;
                    client.send(wrong);
                    client.expect_refusal(&[0x81, 0x82]);
                }
            }
        }
    });
}

// covers: [MQTT-2.1.3-1] [MQTT-3.1.4-1] (5.0)
// covers: [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT-3.1.4-1] (3.1.1)
#[test]
fn a_connect_with_reserved_fixed_header_flags_is_refused() {
    everywhere(|w| {
        for version in [V311, V5] {
            for flags in [0x01, 0x02, 0x04, 0x08] {
                let mut client = w.open(version, "flags");
                let mut connect = Connect::new(version, w.id("flags")).encode();
                connect[0] |= flags;
                client.send(connect);
                client.expect_no_session();
            }
        }
    });
}

// covers: [MQTT-2.1.3-1] [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-2.2.2-2] [MQTT-4.8.0-1] (3.1.1)
#[test]
fn packets_that_only_a_server_sends_and_reserved_types_close_the_connection() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut wrong = vec![
                frame(0x00, []),
                frame(CONNACK, [vec![0, 0], properties(version, &[])].concat()),
                frame(SUBACK, [0, 1, 0, 0]),
                frame(UNSUBACK, [0, 1, 0, 0]),
                frame(PINGRESP, []),
            ];
            if version != V5 {
                wrong.push(frame(AUTH, []));
            }
            for packet in wrong {
                let mut client = w.client(version, "wrong");
                client.send(packet);
                client.expect_refusal(&[0x81, 0x82]);
            }
        }
    });
}

// covers: [MQTT-2.2.1-3] (5.0)
// covers: [MQTT-2.3.1-1] (3.1.1)
#[test]
fn packet_identifier_zero_closes_the_connection() {
    everywhere(|w| {
        for version in VERSIONS {
            let packets = [
                Publish::new("t", "x").qos(1).id(0).encode(version),
                Publish::new("t", "x").qos(2).id(0).encode(version),
                subscribe(version, 0, &[], &[("t", 0)]),
                unsubscribe(version, 0, &["t"]),
            ];
            for packet in packets {
                let mut client = w.client(version, "zero");
                client.send(packet);
                client.expect_refusal(&[0x81, 0x82]);
            }
        }
    });
}

// covers: [MQTT-2.2.1-3] (5.0)
// covers: [MQTT-2.3.1-2] (3.1.1)
#[test]
fn an_identifier_that_is_in_use_leaves_the_exchange_that_uses_it_intact() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("busy");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 2);
            publisher.send(Publish::new(&topic, "once").qos(2).id(7).encode(version));
            publisher.expect_ack(PUBREC, 7);
            // The client's mistake: 7 still belongs to the PUBLISH. 5.0 has a reason code for that, and granting is fine.
            publisher.send(subscribe(version, 7, &[], &[(&w.topic("other"), 0)]));
            match publisher.recv() {
                Packet::SubAck(suback) => {
                    assert_eq!(suback.id, 7);
                    assert!(suback.codes == [0] || suback.codes == [0x91], "{suback:?}");
                }
                other => panic!("expected SUBACK 7, got {other:?}"),
            }
            publisher.send(Publish::new(&topic, "once").qos(2).id(7).dup().encode(version));
            publisher.expect_ack(PUBREC, 7);
            publisher.send(ack(PUBREL, 7));
            assert_eq!(publisher.expect_ack(PUBCOMP, 7), 0);
            subscriber.take_payload("once");
            w.fence(&mut publisher, &mut subscriber);
        }
    });
}

// covers: [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.2-3] [MQTT-4.3.3-1] [MQTT-4.3.3-3] (5.0)
// covers: [MQTT-2.3.1-1] [MQTT-2.3.1-4] (3.1.1)
#[test]
fn the_server_uses_no_identifier_twice_at_a_time() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("ids");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 2);
            let mut open: Vec<Publish> = Vec::new();
            for round in 0..5 {
                for i in 0..8 {
                    publisher.deliver(Publish::new(&topic, "x").qos(1 + i % 2));
                    open.push(subscriber.expect_publish());
                }
                let ids: HashSet<u16> = open.iter().map(|p| p.id).collect();
                assert_eq!(ids.len(), open.len(), "round {round}: {open:?}");
                // Every other one is settled, so the numbers in use have gaps.
                let mut keep = true;
                open.retain(|publish| {
                    keep = !keep;
                    if !keep {
                        subscriber.acknowledge(publish);
                    }
                    keep
                });
            }
        }
    });
}

// covers: [MQTT-2.2.1-4] [MQTT-4.3.2-1] (5.0)
// covers: [MQTT-2.3.1-4] (3.1.1)
#[test]
fn identifiers_that_wrap_around_pass_over_those_still_in_use() {
    in_whole_packets(|w| {
        let topic = w.topic("wrap");
        let mut subscriber = w.client(V311, "sub");
        let mut publisher = w.client(V311, "pub");
        subscriber.subscribe(&topic, 1);
        publisher.deliver(Publish::new(&topic, "kept").qos(1));
        let kept = subscriber.expect_payload("kept");
        for _ in 0..662 {
            let ids = 1..=100u16;
            let batch: Vec<u8> =
                ids.clone().flat_map(|id| Publish::new(&topic, "x").qos(1).id(id).encode(V311)).collect();
            publisher.send(&batch);
            let mut acks = Vec::new();
            for _ in ids.clone() {
                let publish = subscriber.expect_publish();
                assert_ne!(publish.id, kept.id, "the identifier of an unacknowledged message is used again");
                acks.extend(ack(PUBACK, publish.id));
                if acks.len() == 40 {
                    subscriber.send(std::mem::take(&mut acks));
                }
            }
            for id in ids {
                publisher.expect_ack(PUBACK, id);
            }
        }
        subscriber.acknowledge(&kept);
        subscriber.ping();
    });
}

// covers: [MQTT-4.2-1] [MQTT-2.2.1-5] [MQTT-2.2.1-6] (5.0)
// covers: [MQTT-7.1.1-1] [MQTT-2.3.1-6] [MQTT-2.3.1-7] (3.1.1)
#[test]
fn every_packet_is_understood_when_its_bytes_come_a_millisecond_apart() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("slowly");
            let mut client = w.open(version, "slowly");
            client.send_slowly(&Connect::new(version, w.id("slowly")).encode());
            client.expect_connack();
            client.send_slowly(&subscribe(version, 1, &[], &[(&topic, 2)]));
            assert!(matches!(client.recv(), Packet::SubAck(suback) if suback.id == 1));
            for qos in 0..=2 {
                client.send_slowly(&Publish::new(&topic, "payload").qos(qos).id(2).encode(version));
                if qos > 0 {
                    client.await_ack(if qos == 1 { PUBACK } else { PUBREC }, 2);
                }
                let publish = client.expect_payload("payload");
                match qos {
                    0 => {}
                    1 => client.send_slowly(&ack(PUBACK, publish.id)),
                    _ => {
                        client.send_slowly(&ack(PUBREC, publish.id));
                        client.expect_ack(PUBREL, publish.id);
                        client.send_slowly(&ack(PUBCOMP, publish.id));
                        client.send_slowly(&ack(PUBREL, 2));
                        client.expect_ack(PUBCOMP, 2);
                    }
                }
            }
            client.send_slowly(&unsubscribe(version, 3, &[&topic]));
            assert!(matches!(client.recv(), Packet::UnsubAck(unsuback) if unsuback.id == 3));
            client.send_slowly(&frame(PINGREQ, []));
            assert_eq!(client.recv(), Packet::PingResp);
            client.send_slowly(&frame(DISCONNECT, []));
            client.expect_closed();
        }
    });
}

// covers: [MQTT-2.2.1-2] [MQTT-2.2.2-1] (5.0)
// covers: [MQTT-2.3.1-5] (3.1.1)
#[test]
fn a_qos_0_publish_has_no_packet_identifier_and_an_empty_property_length() {
    everywhere(|w| {
        for version in VERSIONS {
            let topic = w.topic("bytes");
            let mut subscriber = w.client(version, "sub");
            let mut publisher = w.client(version, "pub");
            subscriber.subscribe(&topic, 2);
            publisher.publish(&topic, "payload");
            subscriber.expect_publish();
            assert_eq!(subscriber.last_raw, Publish::new(&topic, "payload").encode(version), "byte for byte");
        }
    });
}

// covers: [MQTT-2.2.2-1] (5.0)
#[test]
fn acknowledgements_without_properties_say_so_or_end_before_them() {
    everywhere(|w| {
        let mut client = w.client(V5, "acks");
        let topic = w.topic("acks");
        client.send(subscribe(V5, 1, &[], &[(&topic, 0)]));
        client.recv();
        assert_eq!(client.last_raw, frame(SUBACK, [0, 1, 0, 0]), "SUBACK");
        client.send(unsubscribe(V5, 2, &[&topic]));
        client.recv();
        assert_eq!(client.last_raw, frame(UNSUBACK, [0, 2, 0, 0]), "UNSUBACK");
        client.subscribe(&topic, 0);
        client.send(Publish::new(&topic, "x").qos(1).id(3).encode(V5));
        client.await_ack(PUBACK, 3);
    });
}

// covers: [MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11] (5.0)
// covers: [MQTT-2.3.1-6] [MQTT-2.3.1-7] (3.1.1)
#[test]
fn acknowledgements_repeat_the_identifier_of_what_they_acknowledge() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut client = w.client(version, "acks");
            let topic = w.topic("acks");
            for id in [1, 2, 255, 256, 4660, 32_768, 65_534, 65_535] {
                client.send(Publish::new(&topic, "x").qos(1).id(id).encode(version));
                client.expect_ack(PUBACK, id);
                client.send(Publish::new(&topic, "x").qos(2).id(id).encode(version));
                client.expect_ack(PUBREC, id);
                client.send(ack(PUBREL, id));
                client.expect_ack(PUBCOMP, id);
                client.send(subscribe(version, id, &[], &[(&w.topic("other"), 1)]));
                assert!(matches!(client.recv(), Packet::SubAck(s) if s.id == id));
                client.send(unsubscribe(version, id, &[&w.topic("other")]));
                assert!(matches!(client.recv(), Packet::UnsubAck(u) if u.id == id));
            }
        }
    });
}

// covers: [MQTT-2.2.1-5] (5.0)
#[test]
fn every_length_of_an_acknowledgement_is_understood() {
    everywhere(|w| {
        let topic = w.topic("forms");
        let mut subscriber = w.client(V5, "sub");
        let mut publisher = w.client(V5, "pub");
        subscriber.subscribe(&topic, 2);
        let forms = |first: u8, id: u16| {
            [
                ack(first, id),
                ack_with(first, id, 0),
                frame(first, [&id.to_be_bytes()[..], &[0, 0]].concat()),
                frame(
                    first,
                    [&id.to_be_bytes()[..], &[0], &properties(V5, &[crate::packets::prop::user("k", "v")])].concat(),
                ),
            ]
        };
        for form in 0..4 {
            publisher.deliver(Publish::new(&topic, "one").qos(1));
            let publish = subscriber.expect_payload("one");
            subscriber.send(&forms(PUBACK, publish.id)[form]);
            publisher.send(Publish::new(&topic, "two").qos(2).id(900).encode(V5));
            publisher.await_ack(PUBREC, 900);
            publisher.send(&forms(PUBREL, 900)[form]);
            publisher.await_ack(PUBCOMP, 900);
            let publish = subscriber.expect_payload("two");
            subscriber.send(&forms(PUBREC, publish.id)[form]);
            subscriber.expect_ack(PUBREL, publish.id);
            subscriber.send(&forms(PUBCOMP, publish.id)[form]);
            subscriber.ping();
        }
        subscriber.send(disconnect_with(0, &[]));
        subscriber.expect_closed();
    });
}

// covers: [MQTT-4.13.1-1] (5.0)
// covers: [MQTT-4.8.0-1] (3.1.1)
#[test]
fn a_packet_that_ends_too_early_or_too_late_closes_the_connection() {
    everywhere(|w| {
        for version in VERSIONS {
            let mut wrong = vec![
                frame(PUBACK, []),
                frame(PUBACK, [0]),
                frame(PUBREL, [1]),
                frame(PINGREQ, [0]),
                frame(SUBSCRIBE, [0]),
                frame(SUBSCRIBE, [&[0, 1][..], &properties(version, &[]), &[0, 5, b't']].concat()),
                frame(SUBSCRIBE, [vec![0, 1], properties(version, &[]), field("t")].concat()),
                frame(UNSUBSCRIBE, [vec![0, 1], properties(version, &[]), vec![0, 9, b't']].concat()),
                frame(0x30, [0, 9, b't']),
                frame(0x32, field("t")),
            ];
            if version == V5 {
                wrong.push(frame(PUBACK, [0, 1, 0, 5]));
                wrong.push(frame(PUBREC, [0, 1, 0, 0, 9]));
                wrong.push(frame(DISCONNECT, [0, 7]));
            } else {
                wrong.push(frame(PUBACK, [0, 1, 0]));
                wrong.push(frame(DISCONNECT, [0]));
            }
            for packet in wrong {
                let mut client = w.client(version, "cut");
                client.send(packet);
                client.expect_refusal(&[0x81, 0x82]);
            }
        }
    });
}
