//! QoS 1 and 2 to a client: window, acknowledgements in any order, resumption.

use super::harness::{Peer, World, id, v5, v5_kept};
use super::show::{publish, publish1, publish2};
use crate::codec::{Ack, AckKind, Connect, Packet, ReasonCode, Version};

/// A kept subscriber `sub` with a receive maximum, and a publisher.
fn pair(receive_maximum: u16) -> (World, Peer, Peer) {
    let mut world = World::new();
    let sub = world.connect(&Connect { receive_maximum, ..v5_kept("sub") });
    world.subscribe(sub, "t", 2);
    let publisher = world.client("pub");
    (world, sub, publisher)
}

/// Publishes `count` messages of a QoS, with their numbers as payload, and reads the acknowledgements away.
fn publish_many(world: &mut World, publisher: Peer, qos: u8, numbers: std::ops::RangeInclusive<u16>) {
    for number in numbers {
        let text = number.to_string();
        if qos == 1 {
            world.send(publisher, &Packet::Publish(publish1(number, "t", &text)));
        } else {
            world.send(publisher, &Packet::Publish(publish2(number, "t", &text)));
            world.ack(publisher, AckKind::PubRel, number);
        }
    }
    let _ = world.read(publisher);
}

#[test]
fn the_window_is_never_exceeded_and_moves_with_every_acknowledgement() {
    let (mut world, sub, publisher) = pair(2);
    publish_many(&mut world, publisher, 1, 1..=5);
    assert_eq!(world.read(sub), ["PUBLISH t q1 #1 1", "PUBLISH t q1 #2 2"]);
    world.ack(sub, AckKind::PubAck, 2); // out of order
    assert_eq!(world.read(sub), ["PUBLISH t q1 #3 3"]);
    world.ack(sub, AckKind::PubAck, 2); // a repetition raises no quota
    world.ack(sub, AckKind::PubAck, 40_000);
    assert!(world.read(sub).is_empty());
    world.ack(sub, AckKind::PubAck, 1);
    world.ack(sub, AckKind::PubAck, 3);
    assert_eq!(world.read(sub), ["PUBLISH t q1 #4 4", "PUBLISH t q1 #5 5"]);
}

#[test]
fn qos_2_holds_its_place_in_the_window_until_pubcomp() {
    let (mut world, sub, publisher) = pair(1);
    publish_many(&mut world, publisher, 2, 1..=2);
    assert_eq!(world.read(sub), ["PUBLISH t q2 #1 1"]);
    world.ack(sub, AckKind::PubRec, 1);
    world.ack(sub, AckKind::PubRec, 1);
    assert_eq!(world.read(sub), ["PUBREL #1", "PUBREL #1"]);
    world.ack(sub, AckKind::PubComp, 1);
    assert_eq!(world.read(sub), ["PUBLISH t q2 #2 2"]);
}

#[test]
fn pubrec_with_an_error_ends_the_exchange() {
    let (mut world, sub, publisher) = pair(1);
    publish_many(&mut world, publisher, 2, 1..=2);
    assert_eq!(world.read(sub), ["PUBLISH t q2 #1 1"]);
    world.send(sub, &Packet::Ack(Ack::new(AckKind::PubRec, id(1), ReasonCode::QuotaExceeded)));
    assert_eq!(world.read(sub), ["PUBLISH t q2 #2 2"], "no PUBREL, and the window has moved");
    world.ack(sub, AckKind::PubRec, 1);
    assert_eq!(world.read(sub), ["PUBREL #1 packet identifier not found"]);
    world.send(sub, &Packet::Ack(Ack::new(AckKind::PubRec, id(9), ReasonCode::UnspecifiedError)));
    assert!(world.read(sub).is_empty(), "an exchange that nobody knows has ended as well, and gets no answer");
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    let cases: [(u8, &[AckKind]); 4] = [
        (1, &[AckKind::PubRec]),
        (2, &[AckKind::PubAck]),
        (2, &[AckKind::PubComp]),
        (2, &[AckKind::PubRec, AckKind::PubAck]),
    ];
    for (qos, acks) in cases {
        let (mut world, sub, publisher) = pair(10);
        publish_many(&mut world, publisher, qos, 1..=1);
        for &kind in acks {
            world.ack(sub, kind, 1);
        }
        assert_eq!(world.read(sub).last().unwrap(), "CLOSED protocol_error", "QoS {qos}, {acks:?}");
    }
}

#[test]
fn a_resumed_session_gets_what_was_open_again_in_order_before_anything_new() {
    let (mut world, sub, publisher) = pair(10);
    publish_many(&mut world, publisher, 1, 1..=2);
    publish_many(&mut world, publisher, 2, 3..=4);
    assert_eq!(world.read(sub).len(), 4);
    world.ack(sub, AckKind::PubAck, 1);
    world.ack(sub, AckKind::PubRec, 3);
    assert_eq!(world.read(sub), ["PUBREL #3"]);
    world.cut(sub);
    publish_many(&mut world, publisher, 1, 5..=5);
    let (sub, answer) = world.resume(&v5_kept("sub"));
    assert_eq!(
        answer,
        ["CONNACK success present", "PUBLISH t q1 #2 dup 2", "PUBREL #3", "PUBLISH t q2 #4 dup 4", "PUBLISH t q1 #5 5"]
    );
    world.ack(sub, AckKind::PubAck, 2);
    world.ack(sub, AckKind::PubComp, 3);
    world.ack(sub, AckKind::PubRec, 4);
    world.ack(sub, AckKind::PubComp, 4);
    world.ack(sub, AckKind::PubAck, 5);
    assert_eq!(world.read(sub), ["PUBREL #4"]);
    assert_eq!(world.shards[0].gauges().stored_messages, 0);
}

#[test]
fn a_smaller_receive_maximum_holds_for_what_is_sent_again() {
    let (mut world, sub, publisher) = pair(10);
    publish_many(&mut world, publisher, 1, 1..=5);
    assert_eq!(world.read(sub).len(), 5);
    world.cut(sub);
    let (sub, answer) = world.resume(&Connect { receive_maximum: 2, ..v5_kept("sub") });
    assert_eq!(answer, ["CONNACK success present", "PUBLISH t q1 #1 dup 1", "PUBLISH t q1 #2 dup 2"]);
    publish_many(&mut world, publisher, 1, 6..=6);
    assert!(world.read(sub).is_empty());
    for (acked, next) in [(1, "PUBLISH t q1 #3 dup 3"), (2, "PUBLISH t q1 #4 dup 4"), (3, "PUBLISH t q1 #5 dup 5")] {
        world.ack(sub, AckKind::PubAck, acked);
        assert_eq!(world.read(sub), [next]);
    }
    world.ack(sub, AckKind::PubAck, 4);
    assert_eq!(world.read(sub), ["PUBLISH t q1 #6 6"]);
}

#[test]
fn a_resumed_session_of_3_1_1_gets_dup_and_its_queue() {
    let mut world = World::new();
    let connect = Connect::new(Version::V311, "sub", false);
    let sub = world.connect(&connect);
    world.subscribe(sub, "t", 1);
    let publisher = world.client("pub");
    publish_many(&mut world, publisher, 1, 1..=1);
    assert_eq!(world.read(sub), ["PUBLISH t q1 #1 1"]);
    world.cut(sub);
    publish_many(&mut world, publisher, 2, 2..=2);
    world.send(publisher, &Packet::Publish(publish("t", "lost")));
    let (_, answer) = world.resume(&connect);
    assert_eq!(answer, ["CONNACK success present", "PUBLISH t q1 #1 dup 1", "PUBLISH t q1 #2 2"]);
}

#[test]
fn an_identifier_goes_on_where_an_idle_session_left_off() {
    let (mut world, sub, publisher) = pair(10);
    publish_many(&mut world, publisher, 1, 1..=3);
    for number in 1..=3 {
        world.ack(sub, AckKind::PubAck, number);
    }
    let _ = world.read(sub);
    world.cut(sub);
    let (sub, _) = world.resume(&v5_kept("sub"));
    publish_many(&mut world, publisher, 1, 4..=4);
    assert_eq!(world.read(sub), ["PUBLISH t q1 #4 4"], "an identifier that was just used is not used again at once");
}

#[test]
fn what_is_in_flight_to_a_session_that_is_not_kept_goes_with_it_and_is_counted() {
    let mut world = World::new();
    let sub = world.connect(&Connect { receive_maximum: 1, ..v5("sub") });
    world.subscribe(sub, "t", 1);
    let publisher = world.client("pub");
    publish_many(&mut world, publisher, 1, 1..=3);
    assert_eq!(world.read(sub), ["PUBLISH t q1 #1 1"]);
    world.cut(sub);
    assert_eq!(world.dropped(crate::telemetry::DropReason::SessionEnded), 3);
    assert_eq!(world.shards[0].gauges().stored_messages, 0);
}
