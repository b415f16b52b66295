//! Retained messages: set, replaced, deleted; retain handling; copies that agree.

use super::harness::{Peer, World, options, v5_kept};
use super::show::{publish, publish1, retained};
use crate::codec::{Packet, RetainHandling, SubscriptionOptions};

/// What a fresh subscriber on `shard` to `filter` is shown.
fn replay(world: &mut World, shard: u8, filter: &str) -> Vec<String> {
    let name = world.name_on(shard, "fresh");
    let (peer, _) = world.resume(&super::harness::v5(&name));
    world.subscribe_with(peer, filter, options(0), None);
    let lines = world.read(peer);
    assert_eq!(lines[0], "SUBACK #1 [0]");
    world.cut(peer);
    lines[1..].to_vec()
}

fn set(world: &mut World, publisher: Peer, topic: &str, value: &str) {
    world.send(publisher, &Packet::Publish(retained(publish(topic, value))));
}

#[test]
fn the_last_write_is_what_every_shard_shows_and_an_empty_one_deletes() {
    let mut world = World::of(3);
    let publisher = world.client(&world.name_on(1, "pub"));
    set(&mut world, publisher, "a", "1");
    set(&mut world, publisher, "a", "2");
    set(&mut world, publisher, "b/c", "3");
    for shard in 0..3 {
        assert_eq!(replay(&mut world, shard, "#"), ["PUBLISH a retain 2", "PUBLISH b/c retain 3"]);
        assert_eq!(replay(&mut world, shard, "b/+"), ["PUBLISH b/c retain 3"]);
        assert_eq!(replay(&mut world, shard, "a"), ["PUBLISH a retain 2"]);
    }
    set(&mut world, publisher, "a", "");
    for shard in 0..3 {
        assert_eq!(replay(&mut world, shard, "#"), ["PUBLISH b/c retain 3"]);
        assert_eq!(world.shards[usize::from(shard)].gauges().retained_messages, 1);
    }
}

#[test]
fn retain_handling_decides_which_subscribe_is_shown_what() {
    // Handling, what the first SUBSCRIBE shows, what the second one does.
    let cases = [(RetainHandling::SendAlways, 1, 1), (RetainHandling::SendIfNew, 1, 0), (RetainHandling::Never, 0, 0)];
    for (retain_handling, first, second) in cases {
        let mut world = World::new();
        let publisher = world.client("pub");
        set(&mut world, publisher, "t", "x");
        let sub = world.client("sub");
        let how = SubscriptionOptions { retain_handling, ..options(0) };
        for expected in [first, second] {
            world.subscribe_with(sub, "t", how, None);
            assert_eq!(world.read(sub).len(), 1 + expected, "{retain_handling:?}");
        }
        world.unsubscribe(sub, "t");
        world.subscribe_with(sub, "t", how, None);
        assert_eq!(world.read(sub).len(), 1 + first, "a subscription that was ended is new again");
    }
}

#[test]
fn a_replay_carries_identifier_and_the_lower_qos() {
    let mut world = World::new();
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(retained(publish1(1, "a", "x"))));
    set(&mut world, publisher, "b", "y");
    let sub = world.client("sub");
    world.subscribe_with(sub, "#", options(2), Some(5));
    assert_eq!(world.read(sub), ["SUBACK #1 [2]", "PUBLISH a q1 #1 retain ids=[5] x", "PUBLISH b retain ids=[5] y"]);
}

#[test]
fn two_writes_that_cross_leave_every_copy_with_the_same_one() {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::of(3);
        let publishers = [0, 1].map(|shard| {
            let name = world.name_on(shard, "pub");
            world.client(&name)
        });
        world.hold_mesh();
        set(&mut world, publishers[0], "t", "from 0");
        set(&mut world, publishers[1], "t", "from 1");
        for from in order {
            assert!(world.deliver_one(from, 2));
        }
        world.release_mesh();
        let shown: Vec<_> = (0..3).map(|shard| replay(&mut world, shard, "t")).collect();
        assert!(shown.iter().all(|lines| *lines == shown[0] && lines.len() == 1), "{shown:?}");
    }
}

#[test]
fn an_older_write_that_is_still_on_its_way_cannot_undo_a_deletion() {
    let mut world = World::of(2);
    let [old, new] = [0, 1].map(|shard| {
        let name = world.name_on(shard, "pub");
        world.client(&name)
    });
    world.hold_mesh();
    set(&mut world, old, "t", "old");
    world.pass_ms(1);
    set(&mut world, new, "t", "");
    assert!(world.deliver_one(1, 0));
    world.pass_s(30);
    world.release_mesh();
    for shard in 0..2 {
        assert!(replay(&mut world, shard, "t").is_empty());
    }
    world.pass_s(120);
    for shard in 0..2 {
        assert!(replay(&mut world, shard, "t").is_empty());
    }
}

#[test]
fn a_retained_message_reaches_a_subscriber_once_wherever_its_subscribe_meets_it() {
    // The write and the SUBSCRIBE race: whichever comes first on the subscriber's shard, it is shown the value once.
    for write_first in [false, true] {
        let mut world = World::of(2);
        let sub = world.client(&world.name_on(0, "sub"));
        let publisher = world.client(&world.name_on(1, "pub"));
        world.hold_mesh();
        if write_first {
            set(&mut world, publisher, "t", "x");
            assert!(world.deliver_one(1, 0));
            world.subscribe_with(sub, "t", options(1), None);
        } else {
            world.subscribe_with(sub, "t", options(1), None);
            set(&mut world, publisher, "t", "x"); // shard 1 does not know of the subscription
        }
        world.release_mesh();
        let lines = world.read(sub);
        assert_eq!(lines.iter().filter(|line| line.starts_with("PUBLISH")).count(), 1, "{lines:?}");
        assert!(lines.contains(&"SUBACK #1 [1]".to_owned()));
    }
}

#[test]
fn unsubscribing_from_a_group_leaves_the_replay_of_the_plain_filter_alone() {
    let mut world = World::new();
    let publisher = world.client("pub");
    for topic in ["t/1", "t/2", "t/3"] {
        world.send(publisher, &Packet::Publish(retained(publish1(1, topic, "x"))));
    }
    let sub = world.connect(&crate::codec::Connect { receive_maximum: 1, ..v5_kept("sub") });
    world.subscribe(sub, "$share/g/t/+", 1);
    world.subscribe_with(sub, "t/+", options(1), None);
    world.unsubscribe_silently(sub, "$share/g/t/+");
    let mut seen = Vec::new();
    for number in 1..=3 {
        seen.extend(world.read(sub));
        world.ack(sub, crate::codec::AckKind::PubAck, number);
    }
    seen.extend(world.read(sub));
    assert_eq!(seen.iter().filter(|line| line.starts_with("PUBLISH")).count(), 3, "{seen:?}");
}

#[test]
fn unsubscribing_while_the_suback_is_on_its_way_leaves_nothing_to_be_shown() {
    let mut world = World::of(2);
    let publisher = world.client(&world.name_on(1, "pub"));
    set(&mut world, publisher, "t", "x");
    let sub = world.client(&world.name_on(0, "sub"));
    world.hold_mesh();
    world.subscribe_with(sub, "t", options(0), None);
    world.unsubscribe(sub, "t");
    world.release_mesh();
    assert_eq!(world.read(sub), ["SUBACK #1 [0]"]);
}

#[test]
fn deletions_are_remembered_for_a_while_but_not_without_bound() {
    let mut world = World::of(2);
    let publisher = world.client(&world.name_on(0, "pub"));
    for n in 0..100_000 {
        world.send(publisher, &Packet::Publish(retained(publish(&format!("never/{n}"), ""))));
    }
    for shard in &world.shards {
        let held = shard.holdings().retained_entries;
        assert!(held <= crate::limits::TOMBSTONES_MAX, "{held} entries for nothing");
    }
    world.pass_s(120);
    assert!(world.shards.iter().all(|shard| shard.holdings().retained_entries == 0));
}

/// A message that has expired was the last write all the same.
#[test]
fn an_older_write_that_is_still_on_its_way_cannot_replace_an_expired_message() {
    let mut world = World::of(2);
    let [old, new] = [0, 1].map(|shard| {
        let name = world.name_on(shard, "pub");
        world.client(&name)
    });
    world.hold_mesh();
    set(&mut world, old, "t", "old");
    world.pass_ms(1);
    let expiring = crate::codec::Publish { message_expiry_s: Some(2), ..retained(publish("t", "new")) };
    world.send(new, &Packet::Publish(expiring));
    world.pass_s(10);
    world.release_mesh();
    for shard in 0..2 {
        assert!(replay(&mut world, shard, "t").is_empty(), "shard {shard}");
    }
}

#[test]
fn no_local_keeps_a_clients_own_retained_messages_from_it() {
    let mut world = World::of(2);
    let name = world.name_on(0, "chatty");
    let chatty = world.client(&name);
    let other = world.client(&world.name_on(1, "other"));
    set(&mut world, chatty, "t/mine", "1");
    set(&mut world, other, "t/theirs", "2");
    let no_local = SubscriptionOptions { no_local: true, ..options(0) };
    world.subscribe_with(chatty, "t/+", no_local, None);
    assert_eq!(world.read(chatty), ["SUBACK #1 [0]", "PUBLISH t/theirs retain 2"]);
}
