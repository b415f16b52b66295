//! Shared subscriptions: one member each, fairly, over all shards.

use super::harness::{Peer, World, options, v5_kept};
use super::show::{publish, publish1, retained};
use crate::codec::{AckKind, Packet};
use crate::telemetry::DropReason;

/// `per_shard[n]` members of `$share/g/t` on shard n.
fn members(world: &mut World, per_shard: &[usize], qos: u8) -> Vec<Peer> {
    let mut peers = Vec::new();
    for (shard, &count) in per_shard.iter().enumerate() {
        for n in 0..count {
            let name = world.name_on(shard as u8, &format!("m{n}-"));
            let peer = world.client(&name);
            world.subscribe(peer, "$share/g/t", qos);
            peers.push(peer);
        }
    }
    peers
}

#[test]
fn each_message_goes_to_one_member_and_every_member_gets_its_share() {
    for per_shard in [&[3][..], &[1, 2], &[2, 1, 3], &[0, 4, 1]] {
        let mut world = World::of(per_shard.len());
        let peers = members(&mut world, per_shard, 1);
        for shard in 0..per_shard.len() {
            let publisher = world.client(&world.name_on(shard as u8, "pub"));
            for _ in 0..peers.len() * 10 {
                world.send(publisher, &Packet::Publish(publish("t", "x")));
            }
            for &peer in &peers {
                assert_eq!(world.read(peer).len(), 10, "{per_shard:?} from shard {shard}");
            }
        }
    }
}

#[test]
fn two_groups_and_a_plain_subscription_each_get_the_message() {
    let mut world = World::of(2);
    let plain = world.client(&world.name_on(0, "plain"));
    world.subscribe(plain, "t", 0);
    let group_a = world.client(&world.name_on(0, "a"));
    world.subscribe(group_a, "$share/a/t", 0);
    let group_b = world.client(&world.name_on(1, "b"));
    world.subscribe(group_b, "$share/b/+", 0);
    // One client in both, and with a plain subscription too: each subscription has its own copy.
    world.subscribe(plain, "$share/c/#", 0);
    for shard in 0..2 {
        let publisher = world.client(&world.name_on(shard, "pub"));
        world.send(publisher, &Packet::Publish(publish("t", "x")));
        assert_eq!(world.read(plain), ["PUBLISH t x", "PUBLISH t x"]);
        assert_eq!(world.read(group_a), ["PUBLISH t x"]);
        assert_eq!(world.read(group_b), ["PUBLISH t x"]);
    }
}

#[test]
fn members_that_are_away_get_messages_only_when_nobody_is_there() {
    let mut world = World::of(2);
    let name = world.name_on(0, "kept");
    let kept = world.connect(&v5_kept(&name));
    world.subscribe(kept, "$share/g/t", 1);
    let other = world.client(&world.name_on(1, "other"));
    world.subscribe(other, "$share/g/t", 1);
    world.cut(kept);
    let publisher = world.client(&world.name_on(1, "pub"));
    for number in 1..=4 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", "live")));
    }
    assert_eq!(world.read(other).len(), 4);
    (1..=4).for_each(|number| world.ack(other, AckKind::PubAck, number));
    world.cut(other);
    world.send(publisher, &Packet::Publish(publish1(5, "t", "kept")));
    assert_eq!(world.read(publisher).len(), 5);
    assert_eq!(world.resume(&v5_kept(&name)).1[1..], ["PUBLISH t q1 #1 kept"]);
}

/// The publisher's own shard is the last to take the message, so what its acknowledgement waits for happens at home.
#[test]
fn a_message_that_comes_back_to_its_publishers_shard_is_acknowledged() {
    for kept in [false, true] {
        let mut world = World::of(2);
        let leaving = world.client(&world.name_on(1, "leaving"));
        world.subscribe(leaving, "$share/g/t", 1);
        let name = world.name_on(0, "staying");
        let staying = if kept { world.connect(&v5_kept(&name)) } else { world.client(&name) };
        world.subscribe(staying, "$share/g/t", 1);
        let publisher = world.client(&world.name_on(0, "pub"));
        world.hold_mesh();
        for number in 1..=4 {
            world.send(publisher, &Packet::Publish(publish1(number, "t", &number.to_string())));
        }
        world.cut(leaving);
        world.release_mesh();
        assert_eq!(world.read(publisher), [1, 2, 3, 4].map(|number| format!("PUBACK #{number}")), "kept {kept}");
        assert_eq!(world.read(staying).len(), 4, "kept {kept}");
    }
}

#[test]
fn a_message_on_its_way_to_a_member_that_leaves_finds_another() {
    // The member on shard 0 was picked by shard 2 and leaves; shard 1 has another one.
    let mut world = World::of(3);
    let leaving = world.client(&world.name_on(0, "leaving"));
    world.subscribe(leaving, "$share/g/t", 1);
    let staying = world.client(&world.name_on(1, "staying"));
    world.subscribe(staying, "$share/g/t", 1);
    let publisher = world.client(&world.name_on(2, "pub"));
    world.hold_mesh();
    for number in 1..=10 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &number.to_string())));
    }
    world.unsubscribe(leaving, "$share/g/t");
    world.release_mesh();
    let mut numbers: Vec<u16> =
        world.read(staying).iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    assert!(world.read(leaving).is_empty());
    assert_eq!(world.read(publisher).len(), 10, "every one is acknowledged");
}

#[test]
fn a_message_for_a_group_whose_last_member_left_is_counted() {
    let mut world = World::of(2);
    let leaving = world.client(&world.name_on(0, "leaving"));
    world.subscribe(leaving, "$share/g/t", 1);
    let publisher = world.client(&world.name_on(1, "pub"));
    world.hold_mesh();
    world.send(publisher, &Packet::Publish(publish1(1, "t", "x")));
    world.unsubscribe(leaving, "$share/g/t");
    world.release_mesh();
    assert_eq!(world.read(publisher), ["PUBACK #1"]);
    assert_eq!(world.dropped(DropReason::NoGroupMember), 1);
}

#[test]
fn a_shared_subscription_has_no_retained_replay_but_its_identifier_and_qos() {
    let mut world = World::of(2);
    let publisher = world.client(&world.name_on(1, "pub"));
    world.send(publisher, &Packet::Publish(retained(publish("t", "kept"))));
    let member = world.client(&world.name_on(0, "m"));
    world.subscribe_with(member, "$share/g/t", options(1), Some(7));
    assert_eq!(world.read(member), ["SUBACK #1 [1]"]);
    world.send(publisher, &Packet::Publish(publish1(1, "t", "x")));
    assert_eq!(world.read(member), ["PUBLISH t q1 #1 ids=[7] x"]);
    world.ack(member, AckKind::PubAck, 1);
    assert_eq!(world.shards.iter().map(|shard| shard.gauges().shared_subscriptions).sum::<u64>(), 1);
}

#[test]
fn share_names_that_join_to_the_same_text_are_different_groups() {
    let mut world = World::of(2);
    let first = world.client(&world.name_on(0, "first"));
    world.subscribe(first, "$share/a/bc", 0);
    let second = world.client(&world.name_on(0, "second"));
    world.subscribe(second, "$share/ab/c", 0);
    let publisher = world.client(&world.name_on(1, "pub"));
    world.send(publisher, &Packet::Publish(publish("bc", "1")));
    world.send(publisher, &Packet::Publish(publish("c", "2")));
    assert_eq!(world.read(first), ["PUBLISH bc 1"]);
    assert_eq!(world.read(second), ["PUBLISH c 2"]);
}
