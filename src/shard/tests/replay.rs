//! The replay of many retained messages: in pages, none missed, none twice.

use std::collections::HashMap;

use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{publish, publish1, retained};
use crate::codec::{AckKind, Connect, Packet, SubscribeFilter, Version, encode_subscribe};
use crate::ids::PacketId;
use crate::telemetry::DropReason;

const TOPICS: usize = 10_000;

fn fill(world: &mut World, publisher: Peer, qos: u8, payload: &str) {
    for n in 0..TOPICS {
        let topic = format!("device/{n}/state");
        let packet = if qos == 0 { publish(&topic, payload) } else { publish1(1, &topic, payload) };
        world.send(publisher, &Packet::Publish(retained(packet)));
    }
    let _ = world.read(publisher);
}

/// How often each topic came; acknowledges everything that needs it, until nothing more comes.
fn drain(world: &mut World, peer: Peer, mut between: impl FnMut(&mut World, usize)) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for round in 0.. {
        let lines = world.read(peer);
        if lines.is_empty() {
            return counts;
        }
        for line in lines {
            let mut words = line.split(' ');
            if words.next() != Some("PUBLISH") {
                continue;
            }
            *counts.entry(words.next().unwrap().to_owned()).or_default() += 1;
            if let Some(number) = line.split(" #").nth(1).and_then(|rest| rest.split(' ').next()) {
                world.ack(peer, AckKind::PubAck, number.parse().unwrap());
            }
        }
        between(world, round);
    }
    unreachable!()
}

fn every_topic_once(counts: &HashMap<String, usize>) {
    assert_eq!(counts.len(), TOPICS);
    assert!(counts.values().all(|&count| count == 1), "{:?}", counts.iter().find(|&(_, &count)| count != 1));
}

#[test]
fn a_replay_pages_under_the_clients_window() {
    let mut world = World::new();
    let publisher = world.client("pub");
    fill(&mut world, publisher, 1, "x");
    let sub = world.connect(&Connect { receive_maximum: 3, ..v5("sub") });
    world.subscribe_with(sub, "device/+/state", options(1), None);
    let first = world.read(sub);
    assert_eq!(first.len(), 1 + 3, "{first:?}");
    for number in 1..=3 {
        world.ack(sub, AckKind::PubAck, number);
    }
    let mut counts = drain(&mut world, sub, |_, _| {});
    for line in &first[1..] {
        *counts.entry(line.split(' ').nth(1).unwrap().to_owned()).or_default() += 1;
    }
    every_topic_once(&counts);
    assert_eq!(world.shards[0].counters().dropped_total(), 0);
}

/// Small messages whose headers outweigh them, and large ones that leave little room: nothing may fall off the edge of
/// the outbox.
#[test]
fn a_replay_of_qos_0_pages_under_a_small_outbox_and_loses_nothing() {
    for payload in ["", "x", &"y".repeat(9_000)] {
        let mut world = World::with(1, |settings| settings.outbox_max_bytes = 16 * 1024);
        let publisher = world.client("pub");
        fill(&mut world, publisher, 0, if payload.is_empty() { "z" } else { payload });
        let sub = world.client("sub");
        world.block(sub);
        world.subscribe_with(sub, "#", options(0), Some(200_000_000));
        let mut counts = HashMap::new();
        for _ in 0..TOPICS {
            assert!(world.stuck_bytes(sub) <= 16 * 1024 + payload.len() + 100, "{}", world.stuck_bytes(sub));
            world.unblock(sub);
            world.block(sub);
            let lines = world.read(sub);
            for line in lines.iter().filter(|line| line.starts_with("PUBLISH")) {
                *counts.entry(line.split(' ').nth(1).unwrap().to_owned()).or_default() += 1;
            }
            if counts.len() == TOPICS {
                break;
            }
        }
        every_topic_once(&counts);
        assert_eq!(world.dropped(DropReason::OutboxFull), 0);
    }
}

#[test]
fn what_is_written_during_a_replay_comes_once_as_live_or_as_retained() {
    for shards in [1, 2] {
        let mut world = World::of(shards);
        let publisher = world.client(&world.name_on(shards as u8 - 1, "pub"));
        fill(&mut world, publisher, 1, "old");
        let name = world.name_on(0, "sub");
        let sub = world.connect(&Connect { receive_maximum: 50, ..v5(&name) });
        world.subscribe_with(sub, "device/#", options(1), None);
        let mut written = 0;
        let counts = drain(&mut world, sub, |world, round| {
            // One topic that the replay has passed or not, and one that is new.
            if round < 40 {
                for topic in [format!("device/{}/state", round * 211 % TOPICS), format!("device/new{round}/state")] {
                    world.send(publisher, &Packet::Publish(retained(publish1(1, &topic, "new"))));
                    written += 1;
                }
            }
        });
        let _ = world.read(publisher);
        assert_eq!(written, 80);
        assert_eq!(counts.len(), TOPICS + 40);
        for (topic, &count) in &counts {
            // An overwritten topic may have been shown with its old value before the new one came.
            assert!(count == 1 || count == 2 && !topic.contains("new"), "{topic}: {count}");
        }
        assert!(counts.iter().filter(|&(_, &count)| count == 2).count() <= 40);
    }
}

#[test]
fn a_replay_does_not_hold_other_clients_up() {
    let mut world = World::new();
    let publisher = world.client("pub");
    fill(&mut world, publisher, 0, "x");
    let greedy = world.client("greedy");
    world.block(greedy);
    for _ in 0..50 {
        world.subscribe_with(greedy, "#", options(0), None);
    }
    let other = world.client("other");
    world.send(other, &Packet::PingReq);
    assert_eq!(world.read(other), ["PINGRESP"]);
    assert!(world.stuck_bytes(greedy) <= 2 * 1024 * 1024);
}

#[test]
fn live_messages_come_before_the_rest_of_a_replay_and_none_is_dropped() {
    let mut world = World::with(1, |settings| settings.queued_messages_max = 5);
    let publisher = world.client("pub");
    fill(&mut world, publisher, 1, "x");
    let sub = world.connect(&Connect { receive_maximum: 2, ..v5("sub") });
    world.subscribe_with(sub, "#", options(1), None);
    let mut live = 0;
    let counts = drain(&mut world, sub, |world, round| {
        if round % 3 == 0 && live < 300 {
            live += 1;
            world.send(publisher, &Packet::Publish(publish1(1, &format!("live/{live}"), "x")));
        }
    });
    assert_eq!(counts.len(), TOPICS + 300);
    assert_eq!(world.shards[0].counters().dropped_total(), 0);
}

#[test]
fn a_large_retained_message_behind_others_is_not_dropped_for_want_of_room() {
    let mut world = World::with(1, |settings| settings.outbox_max_bytes = 16 * 1024);
    let publisher = world.client("pub");
    for (topic, bytes) in [("a", 5_000), ("b", 14_000), ("c", 100), ("d", 60_000), ("e", 1)] {
        world.send(publisher, &Packet::Publish(retained(publish(topic, &"x".repeat(bytes)))));
    }
    let sub = world.client("sub");
    world.subscribe_with(sub, "#", options(0), None);
    assert_eq!(world.read(sub).len(), 1 + 5);
    assert_eq!(world.dropped(DropReason::OutboxFull), 0);
}

/// What a kept session was to be shown is part of its state: a lost connection does not cut the replay short.
#[test]
fn a_replay_goes_on_after_a_reconnect_of_a_kept_session() {
    let mut world = World::new();
    let publisher = world.client("pub");
    fill(&mut world, publisher, 1, "x");
    let connect = Connect { receive_maximum: 40, ..v5_kept("sub") };
    let mut sub = world.connect(&connect);
    world.subscribe_with(sub, "#", options(1), None);
    let mut counts: HashMap<String, usize> = HashMap::new();
    for round in 0.. {
        let lines = world.read(sub);
        if lines.iter().all(|line| !line.starts_with("PUBLISH")) {
            break;
        }
        for line in lines.iter().filter(|line| line.starts_with("PUBLISH")) {
            *counts.entry(line.split(' ').nth(1).unwrap().to_owned()).or_default() += 1;
            let number = line.split(" #").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
            world.ack(sub, AckKind::PubAck, number.parse().unwrap());
        }
        if round == 3 {
            let in_flight = world.read(sub); // lost with the connection, and sent again
            assert!(!in_flight.is_empty());
            world.cut(sub);
            sub = world.open(&connect);
        }
    }
    every_topic_once(&counts);
}

#[test]
fn replays_that_wait_are_bounded_and_a_filter_that_is_repeated_is_granted_all_the_same() {
    let mut world = World::with(1, |settings| settings.subscriptions_max = 4);
    let publisher = world.client("pub");
    for topic in ["a", "b", "c"] {
        world.send(publisher, &Packet::Publish(retained(publish1(1, topic, "x"))));
    }
    let sub = world.connect(&Connect { receive_maximum: 1, ..v5("sub") });
    let mut granted = 0;
    for _ in 0..10 {
        world.subscribe_with(sub, "#", options(1), None);
        granted += world.read(sub).iter().filter(|line| *line == "SUBACK #1 [1]").count();
    }
    assert_eq!(granted, 10, "it is no new subscription");
    let counts = (1..=12).map(|number| {
        world.ack(sub, AckKind::PubAck, number);
        world.read(sub).len()
    });
    assert_eq!(counts.sum::<usize>(), 11, "as many replays as there may be subscriptions are shown, each whole");
    world.subscribe_with(sub, "#", options(1), None);
    assert_eq!(world.read(sub).len(), 2, "and then there is room again");
}

#[test]
fn a_filter_that_is_repeated_beyond_the_quota_is_granted_and_shown_once() {
    let mut world = World::with(1, |settings| settings.subscriptions_max = 4);
    let publisher = world.client("p");
    world.send(publisher, &Packet::Publish(retained(publish("f/0", "kept"))));
    let peer = world.client("c");
    world.hold_work();
    let mut bytes = Vec::new();
    let filters = ["f/0"; 12].map(|filter| SubscribeFilter { filter, options: options(1) });
    encode_subscribe(Version::V5, PacketId::MIN, None, filters, &mut bytes);
    world.send_bytes(peer, &bytes);
    world.release_work();
    let lines = world.read(peer);
    assert_eq!(lines[0], format!("SUBACK #1 {:?}", [1; 12]));
    assert_eq!(lines.len(), 1 + 4, "as many replays as there may be subscriptions: {lines:?}");
}
