//! Shared subscriptions: whoever can be sent a message at once comes first, then who has room in the queue.

use super::harness::{Peer, World, v5};
use super::show::publish1;
use crate::codec::{AckKind, Connect, Packet};
use crate::telemetry::DropReason;

/// A member of `$share/g/t` on a shard.
fn member(world: &mut World, shard: u8, stem: &str, receive_maximum: u16) -> Peer {
    let name = world.name_on(shard, stem);
    let peer = world.connect(&Connect { receive_maximum, ..v5(&name) });
    world.subscribe(peer, "$share/g/t", 1);
    peer
}

fn publish(world: &mut World, publisher: Peer, number: u16) {
    world.send(publisher, &Packet::Publish(publish1(number, "t", "x")));
    assert_eq!(world.read(publisher), [format!("PUBACK #{number}")]);
}

/// Acknowledges whatever a peer was sent. Returns how many messages that were.
fn acknowledge(world: &mut World, peer: Peer) -> usize {
    let lines = world.read(peer);
    for line in &lines {
        let id = line.split('#').nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        world.ack(peer, AckKind::PubAck, id.parse().unwrap());
    }
    lines.len()
}

#[test]
fn nothing_is_dropped_for_a_slow_member_while_another_idles() {
    for (shards, slow_on, fast_on, publisher_on) in [(1, 0, 0, 0), (2, 0, 1, 0), (2, 0, 1, 1), (3, 0, 1, 2)] {
        let mut world = World::with(shards, |settings| settings.queued_messages_max = 100);
        let slow = member(&mut world, slow_on, "slow", 1);
        let fast = member(&mut world, fast_on, "fast", u16::MAX);
        let publisher = world.client(&world.name_on(publisher_on, "pub"));
        let mut arrived = 0;
        for number in 0..2_600 {
            publish(&mut world, publisher, number % 1_000 + 1);
            arrived += acknowledge(&mut world, fast);
            world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
            if number % 200 == 0 {
                world.pass_ms(100); // others ask again what the slow one can do
            }
        }
        let to_slow = world.read(slow).len();
        assert_eq!(to_slow, 1);
        assert_eq!(world.dropped(DropReason::QueueFull), 0, "shards {shards}, publisher on {publisher_on}");
        let stored: u64 = world.shards.iter().map(|shard| shard.gauges().stored_messages).sum();
        assert_eq!(arrived as u64 + stored, 2_600);
        assert!(stored <= 40, "{stored} wait for the slow one while the other idles");
    }
}

#[test]
fn a_member_that_has_caught_up_gets_its_share_again() {
    for shards in [1, 2] {
        let mut world = World::of(shards);
        let slow = member(&mut world, 0, "slow", 1);
        let fast = member(&mut world, shards as u8 - 1, "fast", u16::MAX);
        let publisher = world.client(&world.name_on(0, "pub"));
        for number in 1..=10 {
            publish(&mut world, publisher, number);
        }
        for _ in 0..10 {
            acknowledge(&mut world, slow);
        }
        world.pass_ms(100);
        acknowledge(&mut world, fast);
        let mut counts = [0, 0];
        for number in 1..=20 {
            publish(&mut world, publisher, number);
            counts[0] += acknowledge(&mut world, slow);
            counts[1] += acknowledge(&mut world, fast);
        }
        assert_eq!(counts, [10, 10], "{shards} shards");
    }
}

#[test]
fn queues_are_used_when_every_window_is_full_and_only_then_is_anything_dropped() {
    for shards in [1, 2, 3] {
        let mut world = World::with(shards, |settings| settings.queued_messages_max = 10);
        let members = [0, 1, 2].map(|n| member(&mut world, n % shards as u8, &format!("m{n}-"), 5));
        let publisher = world.client(&world.name_on(0, "pub"));
        for number in 1..=45 {
            publish(&mut world, publisher, number);
        }
        assert_eq!(world.dropped(DropReason::QueueFull), 0, "{shards} shards");
        for number in 46..=50 {
            publish(&mut world, publisher, number);
        }
        assert_eq!(world.dropped(DropReason::QueueFull), 5, "{shards} shards");
        world.pass_ms(100);
        for _ in 0..3 {
            assert_eq!(members.map(|peer| acknowledge(&mut world, peer)), [5; 3]);
        }
        world.pass_ms(1_000);
        assert!(world.shards.iter().all(|shard| shard.gauges().stored_messages == 0));
        for number in 1..=12 {
            publish(&mut world, publisher, number);
        }
        assert_eq!(members.map(|peer| acknowledge(&mut world, peer)), [4; 3], "{shards} shards");
    }
}

#[test]
fn other_shards_are_told_of_busy_members_seldom_and_only_where_it_matters() {
    let mut world = World::of(2);
    let only = member(&mut world, 0, "only", 1);
    let publisher = world.client(&world.name_on(1, "pub"));
    for number in 1..=20 {
        publish(&mut world, publisher, number);
    }
    assert!(!world.crossed.contains(&"GroupRoom"), "there is nobody to choose from");
    let _other = member(&mut world, 1, "other", 1);
    for number in 21..=100 {
        publish(&mut world, publisher, number);
        acknowledge(&mut world, only);
    }
    let told = world.crossed.iter().filter(|&&kind| kind == "GroupRoom").count();
    assert!((1..=4).contains(&told), "{told}");
}
