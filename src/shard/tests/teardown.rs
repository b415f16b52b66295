//! Sessions with more subscriptions than one turn sees to: how they end, come and go.

use super::harness::{Peer, World, v5, v5_kept};
use super::show::{publish, publish1};
use crate::codec::{Connect, Packet};
use crate::shard::Holdings;
use crate::telemetry::DropReason;

/// Two subscriptions a turn, none at once.
fn world(shards: usize) -> World {
    World::with(shards, |settings| settings.subscriptions_per_turn = 2)
}

fn subscribe_many(world: &mut World, peer: Peer, stem: &str, count: usize) {
    for number in 0..count {
        world.subscribe(peer, &format!("{stem}{number}"), 1);
    }
}

fn nothing_is_left(world: &World) {
    for shard in &world.shards {
        shard.assert_invariants();
        let holdings = Holdings { timers: 0, index_bytes: 0, work: 0, ..shard.holdings() };
        assert_eq!((holdings.ended_sessions, holdings.filters), (0, 0), "{holdings:?}");
    }
}

#[test]
fn a_session_that_ends_gets_nothing_from_then_on_and_counts_nowhere() {
    let mut world = world(2);
    let name = world.name_on(0, "sub");
    let sub = world.client(&name);
    subscribe_many(&mut world, sub, "t/", 5);
    let publisher = world.client(&world.name_on(1, "pub"));
    world.hold_work();
    world.cut(sub);
    let gauges = world.shards[0].gauges();
    assert_eq!((gauges.subscriptions, gauges.clients_connected, gauges.clients_disconnected), (0, 0, 0));
    assert_eq!(world.shards[0].holdings().ended_sessions, 1);
    for number in 0..5 {
        world.send(publisher, &Packet::Publish(publish1(number + 1, &format!("t/{number}"), "x")));
    }
    world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
    assert_eq!(world.read(publisher).len(), 5);
    for reason in [DropReason::OfflineQos0, DropReason::QueueFull, DropReason::SessionEnded] {
        assert_eq!(world.dropped(reason), 0, "{reason:?}");
    }
    world.work_once(0);
    assert_eq!(world.shards[0].holdings().filters, 3, "two a turn");
    world.release_work();
    nothing_is_left(&world);
    world.send(publisher, &Packet::Publish(publish1(6, "t/1", "x")));
    assert_eq!(world.read(publisher), ["PUBACK #6 no matching subscribers"]);
}

#[test]
fn a_publisher_on_the_same_shard_is_told_at_once_that_nobody_subscribes() {
    let mut world = world(1);
    let sub = world.client("sub");
    subscribe_many(&mut world, sub, "t/", 5);
    world.subscribe(sub, "$share/g/t/+", 1);
    let publisher = world.client("pub");
    world.hold_work();
    world.cut(sub);
    world.send(publisher, &Packet::Publish(publish1(1, "t/4", "x")));
    assert_eq!(world.read(publisher), ["PUBACK #1 no matching subscribers"]);
    assert_eq!(world.dropped(DropReason::NoGroupMember), 0);
}

#[test]
fn a_clean_start_can_subscribe_to_what_the_session_before_it_is_still_leaving() {
    for shards in [1, 2] {
        let mut world = world(shards);
        let name = world.name_on(0, "sub");
        let before = world.connect(&v5_kept(&name));
        subscribe_many(&mut world, before, "t/", 6);
        // Somebody else, whose place in the index moves when the one before it goes.
        let other = world.client(&world.name_on(0, "other"));
        subscribe_many(&mut world, other, "t/", 6);
        let publisher = world.client(&world.name_on(shards as u8 - 1, "pub"));
        world.hold_work();
        let after = world.open(&Connect { clean_start: true, ..v5_kept(&name) });
        assert_eq!(world.read(after), ["CONNACK success"], "not present");
        assert_eq!(world.read(before), ["DISCONNECT session taken over", "CLOSED session_taken_over"]);
        subscribe_many(&mut world, after, "t/", 6);
        for _ in 0..8 {
            world.send(publisher, &Packet::Publish(publish("t/3", "x")));
            assert_eq!(world.read(after), ["PUBLISH t/3 x"]);
            assert_eq!(world.read(other), ["PUBLISH t/3 x"]);
            world.work_once(0);
            world.shards[0].assert_invariants();
        }
        assert_eq!(world.shards[0].holdings().ended_sessions, 0);
        assert_eq!(world.shards[0].gauges().subscriptions, 12);
        world.release_work();
        for peer in [after, other] {
            for number in 0..6 {
                world.unsubscribe(peer, &format!("t/{number}"));
            }
        }
        nothing_is_left(&world);
    }
}

#[test]
fn the_index_does_not_grow_while_sessions_are_taken_down() {
    let mut world = world(1);
    world.hold_work();
    let mut filters = Vec::new();
    for round in 0..20 {
        let peer = world.open(&v5("c")); // which takes the one before it over
        world.read(peer);
        subscribe_many(&mut world, peer, &format!("{round}/"), 30);
        world.work_once(0);
        filters.push(world.shards[0].holdings().filters);
        world.pass_ms(1_000);
    }
    // Two a turn would have left hundreds.
    assert!(filters.iter().all(|&filters| filters <= 60), "{filters:?}");
    world.release_work();
}

#[test]
fn a_group_picks_nobody_who_has_ended_and_knows_at_once_who_is_away() {
    let mut world = world(2);
    let members: Vec<(String, Peer)> = (0..3)
        .map(|n| {
            let name = world.name_on(0, &format!("m{n}-"));
            // The first is not kept, the others are.
            let connect = if n == 0 { v5(&name) } else { v5_kept(&name) };
            let peer = world.connect(&connect);
            for group in 0..4 {
                world.subscribe(peer, &format!("$share/g{group}/t"), 1);
            }
            (name, peer)
        })
        .collect();
    let publishers = [0, 1].map(|shard| world.client(&world.name_on(shard, "pub")));
    world.hold_work();
    world.cut(members[0].1);
    world.cut(members[1].1);
    for (number, publisher) in (1..=10).zip(publishers.into_iter().cycle()) {
        world.send(publisher, &Packet::Publish(publish1(number, "t", "x")));
        assert_eq!(world.read(members[2].1).len(), 4, "every group gives it to the one who is there");
        world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
    }
    world.cut(members[2].1);
    world.send(publishers[1], &Packet::Publish(publish1(20, "t", "kept")));
    assert_eq!(world.shards[0].gauges().stored_messages, 44, "in flight to the third, and four that wait");
    world.release_work();
    // The second is back: its groups hear of it in turns, and have nobody else.
    world.hold_work();
    let (second, _) = world.resume(&v5_kept(&members[1].0));
    world.release_work();
    world.read(second);
    world.send(publishers[0], &Packet::Publish(publish1(21, "t", "x")));
    assert_eq!(world.read(second).len(), 4);
    for (name, _) in &members[1..] {
        let peer = world.open(&v5(name));
        world.read(peer);
        world.cut(peer);
    }
    nothing_is_left(&world);
}

#[test]
fn the_last_member_of_a_group_ends_and_another_shard_is_asked_instead() {
    let mut world = world(2);
    let here = world.client(&world.name_on(0, "here"));
    let there = world.client(&world.name_on(1, "there"));
    for peer in [here, there] {
        world.subscribe(peer, "$share/g/t", 1);
    }
    subscribe_many(&mut world, here, "other/", 3);
    world.hold_work();
    // The news of the end is on its way while a message for the group is on its way back.
    world.hold_mesh();
    world.cut(here);
    let publisher = world.client(&world.name_on(1, "pub"));
    for number in 1..=4 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", "x")));
    }
    world.release_mesh();
    assert_eq!(world.read(there).len(), 4);
    world.release_work();
    assert_eq!(world.read(publisher).len(), 4);
}

#[test]
fn an_expired_session_leaves_in_turns_and_its_name_is_free_at_once() {
    let mut world = world(2);
    let name = world.name_on(1, "sub");
    let sub = world.connect(&Connect { session_expiry_s: 5, ..v5_kept(&name) });
    subscribe_many(&mut world, sub, "t/", 5);
    world.cut(sub);
    world.hold_work();
    world.pass_s(6);
    assert_eq!(world.shards[1].counters().sessions_expired, 1);
    let holdings = world.shards[1].holdings();
    assert_eq!((holdings.sessions, holdings.ended_sessions), (0, 1));
    let again = world.open(&v5_kept(&name));
    assert_eq!(world.read(again), ["CONNACK success"], "there is no session to come back to");
    world.subscribe(again, "t/0", 1);
    world.release_work();
    world.unsubscribe(again, "t/0");
    nothing_is_left(&world);
}

#[test]
fn a_session_that_comes_back_without_expiry_ends_with_its_connection() {
    let mut world = world(2);
    let name = world.name_on(0, "sub");
    let sub = world.connect(&v5_kept(&name));
    subscribe_many(&mut world, sub, "t/", 5);
    world.cut(sub);
    let (sub, _) = world.resume(&Connect { session_expiry_s: 0, ..v5_kept(&name) });
    subscribe_many(&mut world, sub, "u/", 2);
    world.unsubscribe(sub, "t/2");
    let publisher = world.client(&world.name_on(1, "pub"));
    world.send(publisher, &Packet::Publish(publish1(1, "t/1", "x")));
    world.send(publisher, &Packet::Publish(publish1(2, "u/1", "x")));
    assert_eq!(world.read(publisher), ["PUBACK #1", "PUBACK #2"]);
    world.read(sub);
    world.cut(sub);
    nothing_is_left(&world);
}
