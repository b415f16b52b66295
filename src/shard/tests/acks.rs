//! Acknowledgements that mean something: they wait for this shard's store and for that of others, and keep their order.

use super::harness::{Peer, World, options, v5_kept};
use super::show::{publish1, publish2};
use crate::codec::{AckKind, Packet, Publish};

/// A publisher on shard 0, and a kept subscriber to `topic` on each of `shards`.
fn world(shard_count: usize, shards: &[u8]) -> (World, Peer, Vec<Peer>) {
    let mut world = World::of(shard_count);
    let publisher = world.connect(&v5_kept(&world.name_on(0, "pub")));
    let subs = shards
        .iter()
        .map(|&shard| {
            let sub = world.connect(&v5_kept(&world.name_on(shard, "sub")));
            world.subscribe(sub, "kept", 2);
            sub
        })
        .collect();
    (world, publisher, subs)
}

#[test]
fn an_acknowledgement_waits_until_the_message_is_stored_and_those_behind_it_wait_too() {
    let (mut world, publisher, _) = world(1, &[0]);
    world.hold_store();
    world.send(publisher, &Packet::Publish(publish1(1, "kept", "x")));
    world.send(publisher, &Packet::Publish(publish1(2, "nobody", "x")));
    world.send(publisher, &Packet::Publish(publish2(3, "kept", "x")));
    assert!(world.read(publisher).is_empty());
    world.release_store();
    assert_eq!(world.read(publisher), ["PUBACK #1", "PUBACK #2 no matching subscribers", "PUBREC #3"]);
}

#[test]
fn a_message_that_nobody_keeps_is_acknowledged_at_once() {
    let (mut world, publisher, _) = world(2, &[]);
    let sub = world.client(&world.name_on(1, "sub"));
    world.subscribe(sub, "t", 1);
    world.hold_store();
    world.hold_mesh();
    world.send(publisher, &Packet::Publish(publish1(1, "t", "x")));
    assert_eq!(world.read(publisher), ["PUBACK #1"]);
}

#[test]
fn an_acknowledgement_waits_for_every_shard_that_keeps_the_message() {
    let (mut world, publisher, _) = world(3, &[0, 1, 2]);
    world.hold_mesh();
    world.send(publisher, &Packet::Publish(publish1(1, "kept", "x")));
    assert!(world.deliver_one(0, 1) && world.deliver_one(1, 0));
    assert!(world.read(publisher).is_empty(), "shard 2 has not stored it");
    assert!(world.deliver_one(0, 2));
    assert!(world.read(publisher).is_empty(), "its word has not come");
    assert!(world.deliver_one(2, 0));
    assert_eq!(world.read(publisher), ["PUBACK #1"]);
}

#[test]
fn another_shards_word_waits_for_its_store() {
    let (mut world, publisher, _) = world(2, &[1]);
    world.hold_store();
    world.send(publisher, &Packet::Publish(publish1(1, "kept", "x")));
    assert!(world.read(publisher).is_empty());
    world.release_store();
    assert_eq!(world.read(publisher), ["PUBACK #1"]);
}

#[test]
fn a_word_from_the_store_about_a_connection_that_is_gone_is_for_nobody() {
    let (mut world, publisher, _) = world(2, &[0, 1]);
    world.hold_store();
    world.send(publisher, &Packet::Publish(publish1(1, "kept", "x")));
    world.cut(publisher);
    let (publisher, _) = world.resume(&v5_kept(&world.name_on(0, "pub")));
    world.send(publisher, &Packet::Publish(Publish { dup: true, ..publish1(1, "kept", "x") }));
    world.release_store();
    assert_eq!(world.read(publisher), ["PUBACK #1"]);
}

#[test]
fn suback_waits_until_every_shard_knows_of_the_subscription() {
    let mut world = World::of(3);
    let sub = world.client(&world.name_on(0, "sub"));
    world.hold_mesh();
    world.subscribe_with(sub, "a/+", options(0), None);
    assert!(world.deliver_one(0, 1) && world.deliver_one(1, 0) && world.deliver_one(0, 2));
    assert!(world.read(sub).is_empty());
    assert!(world.deliver_one(2, 0));
    assert_eq!(world.read(sub), ["SUBACK #1 [0]"]);
    // A second subscriber to the same filter has nobody to wait for...
    let second = world.client(&world.name_on(0, "second"));
    world.subscribe(second, "a/+", 0);
    // ... but one whose filter is still being announced has, although it announces nothing itself.
    world.subscribe_with(sub, "b/+", options(0), None);
    world.subscribe_with(second, "b/+", options(0), None);
    assert!(world.read(second).is_empty());
    world.release_mesh();
    assert_eq!(world.read(second), ["SUBACK #1 [0]"]);
}

#[test]
fn order_from_one_publisher_survives_the_mesh() {
    let (mut world, publisher, subs) = world(3, &[0, 1, 2]);
    world.hold_mesh();
    for number in 1..=30 {
        world.send(publisher, &Packet::Publish(publish1(number, "kept", &number.to_string())));
    }
    world.release_mesh();
    for sub in subs {
        let lines = world.read(sub);
        let expected: Vec<String> = (1..=30).map(|number| format!("PUBLISH kept q1 #{number} {number}")).collect();
        assert_eq!(lines, expected);
    }
    let acks: Vec<String> = (1..=30).map(|number| format!("PUBACK #{number}")).collect();
    assert_eq!(world.read(publisher), acks);
}

#[test]
fn qos_2_from_end_to_end_over_two_shards() {
    let (mut world, publisher, subs) = world(2, &[1]);
    world.send(publisher, &Packet::Publish(publish2(5, "kept", "x")));
    assert_eq!(world.read(publisher), ["PUBREC #5"]);
    world.ack(publisher, AckKind::PubRel, 5);
    assert_eq!(world.read(publisher), ["PUBCOMP #5"]);
    assert_eq!(world.read(subs[0]), ["PUBLISH kept q2 #1 x"]);
    world.ack(subs[0], AckKind::PubRec, 1);
    assert_eq!(world.read(subs[0]), ["PUBREL #1"]);
    world.ack(subs[0], AckKind::PubComp, 1);
    assert_eq!(world.shards[1].gauges().stored_messages, 0);
}

/// The client reconnects before its QoS 2 message is stored and sends it again: PUBREC still means "stored".
#[test]
fn a_repetition_on_a_new_connection_waits_for_the_store_as_the_first_did() {
    for keeper in [0, 1] {
        let (mut world, publisher, subs) = world(2, &[keeper]);
        world.hold_store();
        world.send(publisher, &Packet::Publish(publish2(1, "kept", "x")));
        world.cut(publisher);
        let (publisher, _) = world.resume(&v5_kept(&world.name_on(0, "pub")));
        world.send(publisher, &Packet::Publish(Publish { dup: true, ..publish2(1, "kept", "x") }));
        assert!(world.read(publisher).is_empty(), "kept on shard {keeper}");
        world.release_store();
        assert_eq!(world.read(publisher), ["PUBREC #1"]);
        assert_eq!(world.read(subs[0]), ["PUBLISH kept q2 #1 x"]);
    }
}
