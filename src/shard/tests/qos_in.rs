//! QoS 1 and 2 from a client.

use super::harness::{World, v5, v5_kept};
use super::show::{publish, publish1, publish2};
use crate::codec::{AckKind, Connect, Packet, Publish, Version};
use crate::shard::Input;

#[test]
fn qos_1_is_acknowledged_in_order_whatever_becomes_of_it() {
    let mut world = World::new();
    let sub = world.client("sub");
    world.subscribe(sub, "t", 0);
    let peer = world.client("c");
    world.send(peer, &Packet::Publish(publish1(7, "t", "a")));
    world.send(peer, &Packet::Publish(publish1(3, "nobody", "b")));
    world.send(peer, &Packet::Publish(publish1(9, "$SYS/x", "c")));
    assert_eq!(world.read(peer), ["PUBACK #7", "PUBACK #3 no matching subscribers", "PUBACK #9 topic name invalid"]);
    assert_eq!(world.read(sub), ["PUBLISH t a"]);
}

#[test]
fn qos_2_is_delivered_once_however_often_it_is_sent() {
    let mut world = World::new();
    let sub = world.client("sub");
    world.subscribe(sub, "t", 0);
    let peer = world.client("c");
    world.send(peer, &Packet::Publish(publish2(1, "t", "a")));
    world.send(peer, &Packet::Publish(Publish { dup: true, ..publish2(1, "t", "a") }));
    assert_eq!(world.read(peer), ["PUBREC #1", "PUBREC #1"]);
    world.ack(peer, AckKind::PubRel, 1);
    world.ack(peer, AckKind::PubRel, 1);
    assert_eq!(world.read(peer), ["PUBCOMP #1", "PUBCOMP #1"]);
    world.send(peer, &Packet::Publish(publish2(1, "t", "b")));
    assert_eq!(world.read(peer), ["PUBREC #1"]);
    assert_eq!(world.read(sub), ["PUBLISH t a", "PUBLISH t b"]);
}

#[test]
fn qos_2_is_delivered_once_across_a_reconnect() {
    let mut world = World::new();
    let sub = world.client("sub");
    world.subscribe(sub, "t", 0);
    let peer = world.connect(&v5_kept("c"));
    world.send(peer, &Packet::Publish(publish2(1, "t", "a")));
    world.cut_with_unread(peer, &["PUBREC #1"]);
    let (peer, _) = world.resume(&v5_kept("c"));
    world.send(peer, &Packet::Publish(Publish { dup: true, ..publish2(1, "t", "a") }));
    world.ack(peer, AckKind::PubRel, 1);
    assert_eq!(world.read(peer), ["PUBREC #1", "PUBCOMP #1"]);
    assert_eq!(world.read(sub), ["PUBLISH t a"]);
}

#[test]
fn a_pubrel_that_comes_again_after_a_reconnect_is_answered_with_success() {
    let mut world = World::new();
    let peer = world.connect(&v5_kept("c"));
    world.send(peer, &Packet::Publish(publish2(1, "t", "x")));
    world.ack(peer, AckKind::PubRel, 1);
    assert_eq!(world.read(peer), ["PUBREC #1 no matching subscribers", "PUBCOMP #1"]);
    world.cut(peer); // its PUBCOMP may be lost
    let (peer, _) = world.resume(&v5_kept("c"));
    world.ack(peer, AckKind::PubRel, 1);
    world.ack(peer, AckKind::PubRel, 2);
    assert_eq!(world.read(peer), ["PUBCOMP #1", "PUBCOMP #2 packet identifier not found"]);
    // A clean start is a new session, which has completed nothing.
    let (peer, _) = world.resume(&super::harness::v5("c"));
    world.ack(peer, AckKind::PubRel, 1);
    assert_eq!(world.read(peer), ["PUBCOMP #1 packet identifier not found"]);
}

#[test]
fn a_refused_qos_2_message_leaves_its_identifier_free() {
    let mut world = World::new();
    let peer = world.client("c");
    world.send(peer, &Packet::Publish(publish2(1, "$SYS/x", "a")));
    assert_eq!(world.read(peer), ["PUBREC #1 topic name invalid"]);
    let sub = world.client("sub");
    world.subscribe(sub, "t", 0);
    world.send(peer, &Packet::Publish(publish2(1, "t", "b")));
    assert_eq!(world.read(peer), ["PUBREC #1"]);
    assert_eq!(world.read(sub), ["PUBLISH t b"]);
}

#[test]
fn open_qos_2_exchanges_count_against_the_receive_maximum_until_pubrel() {
    let mut world = World::with(1, |settings| settings.receive_maximum = 2);
    let peer = world.client("c");
    for number in 1..=2 {
        world.send(peer, &Packet::Publish(publish2(number, "t", "a")));
    }
    world.ack(peer, AckKind::PubRel, 1);
    world.send(peer, &Packet::Publish(publish2(3, "t", "a")));
    let answers = world.read(peer);
    assert_eq!(answers.len(), 4, "{answers:?}");
    world.send(peer, &Packet::Publish(publish1(4, "t", "a")));
    assert_eq!(world.read(peer), ["DISCONNECT receive maximum exceeded", "CLOSED receive_maximum_exceeded"]);
}

#[test]
fn before_5_0_no_reason_is_told() {
    let mut world = World::new();
    let peer = world.connect(&Connect::new(Version::V311, "c", true));
    world.send(peer, &Packet::Publish(publish1(1, "nobody", "a")));
    world.send(peer, &Packet::Publish(publish2(2, "$SYS/x", "a")));
    assert_eq!(world.read(peer), ["PUBACK #1", "PUBREC #2"]);
}

#[test]
fn a_word_about_a_connection_that_is_gone_changes_nothing() {
    let mut world = World::new();
    let peer = world.connect(&v5("c"));
    world.cut(peer);
    let connection = crate::ids::ConnectionId::new(0, 7);
    world.turn(0, Input::Blocked { connection, bytes: 10 });
    world.turn(0, Input::Closed { connection });
    world.send(peer, &Packet::Publish(publish("t", "a")));
    assert!(world.read(peer).is_empty());
}

/// What waits for its PUBREC is one message in flight, not two.
#[test]
fn a_client_that_keeps_to_the_receive_maximum_is_served_while_the_store_is_slow() {
    let mut world = World::with(1, |settings| settings.receive_maximum = 4);
    let kept = world.connect(&v5_kept("kept"));
    world.subscribe(kept, "t", 1);
    let peer = world.client("c");
    world.hold_store();
    for number in 1..=2 {
        world.send(peer, &Packet::Publish(publish2(number, "t", "a")));
    }
    for number in 3..=4 {
        world.send(peer, &Packet::Publish(publish1(number, "t", "a")));
    }
    assert!(world.read(peer).is_empty(), "nothing is durable yet");
    world.release_store();
    assert_eq!(world.read(peer), ["PUBREC #1", "PUBREC #2", "PUBACK #3", "PUBACK #4"]);
    world.hold_store();
    // Two exchanges are open still.
    for number in 5..=6 {
        world.send(peer, &Packet::Publish(publish1(number, "t", "a")));
    }
    assert!(world.read(peer).is_empty());
    world.send(peer, &Packet::Publish(publish1(7, "t", "a")));
    assert_eq!(world.read(peer), ["DISCONNECT receive maximum exceeded", "CLOSED receive_maximum_exceeded"]);
}

/// A 3.1.1 client was told no maximum, but there are only 65,535 identifiers.
#[test]
fn acknowledgements_that_wait_are_bounded_for_every_version() {
    for (version, qos2) in [(Version::V311, false), (Version::V311, true), (Version::V5, true)] {
        let mut world = World::new();
        let kept = world.connect(&v5_kept("kept"));
        world.subscribe(kept, "t", 1);
        let peer = world.connect(&Connect::new(version, "c", true));
        world.hold_store();
        for _ in 0..70_000 {
            let packet = if qos2 { publish2(1, "t", "a") } else { publish1(1, "t", "a") };
            world.send(peer, &Packet::Publish(packet));
        }
        let end = world.read(peer);
        assert_eq!(end.last().unwrap(), "CLOSED receive_maximum_exceeded", "{version:?} {qos2}");
    }
}
