//! Queues whose messages are on disk alone.

use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{publish1, publish2};
use crate::codec::{AckKind, Connect, Packet, Publish};
use crate::limits::{DISK_PAGE_MESSAGES, DISK_PAGES_MAX};
use crate::settings::FullQueue;
use crate::shard::{RestoredLog, Settings, Shard};
use crate::store::Position;
use crate::telemetry::DropReason;

/// Queues have so little memory that nothing has room in it.
fn no_memory(settings: &mut Settings) {
    settings.queued_memory_max_bytes = 0;
}

fn publish_numbers(world: &mut World, publisher: Peer, numbers: std::ops::RangeInclusive<u16>) {
    for number in numbers {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &number.to_string())));
    }
}

/// A session whose client is away, with so many messages, and whoever sends them.
fn away(world: &mut World, messages: u16) -> Peer {
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    publish_numbers(world, publisher, 1..=messages);
    assert_eq!(world.read(publisher).len(), usize::from(messages));
    publisher
}

/// Reads and acknowledges until nothing more comes.
fn read_all(world: &mut World, sub: Peer, first: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = first;
    let mut acknowledged = 0;
    loop {
        let ids: Vec<u16> = all[acknowledged..]
            .iter()
            .filter_map(|line| line.split('#').nth(1)?.split(' ').next()?.parse().ok())
            .collect();
        acknowledged = all.len();
        for id in ids {
            world.ack(sub, AckKind::PubAck, id);
        }
        let more = world.read(sub);
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn numbers(lines: &[String]) -> Vec<u16> {
    let number = |line: &String| line.rsplit(' ').next().and_then(|text| text.parse().ok());
    lines.iter().filter(|line| line.starts_with("PUBLISH")).filter_map(number).collect()
}

#[test]
fn what_has_no_room_in_memory_waits_on_the_disk_and_comes_in_order() {
    let mut world = World::with(1, no_memory);
    away(&mut world, 100);
    assert_eq!(world.dropped(DropReason::QueuedMemoryFull), 0);
    assert_eq!(world.shards[0].gauges().stored_messages, 100);
    assert_eq!(world.shards[0].clients.queues.on_disk(), 100);
    assert_eq!(world.shards[0].clients.queues.memory().taken_bytes(), 0);
    let (sub, first) = world.resume(&Connect { receive_maximum: 10, ..v5_kept("sub") });
    assert_eq!(numbers(&first).len(), 10, "the window is kept");
    let all = read_all(&mut world, sub, first);
    assert_eq!(numbers(&all), (1..=100).collect::<Vec<_>>());
    let gauges = world.shards[0].gauges();
    assert_eq!((gauges.stored_messages, gauges.stored_bytes, world.shards[0].clients.queues.on_disk()), (0, 0, 0));
    Shard::assert_invariants_of_all(&world.shards);
}

#[test]
fn what_is_in_memory_comes_first_and_what_is_new_behind_what_is_on_the_disk() {
    let mut world = World::with(1, |settings| settings.queued_memory_max_bytes = 1_000);
    let publisher = away(&mut world, 40);
    let on_disk = world.shards[0].clients.queues.on_disk();
    assert!((20..40).contains(&on_disk), "{on_disk} of 40");
    world.hold_reads();
    let (sub, first) = world.resume(&Connect { receive_maximum: 20, ..v5_kept("sub") });
    publish_numbers(&mut world, publisher, 41..=50);
    assert_eq!(numbers(&first), (1..=40 - on_disk as u16).collect::<Vec<_>>());
    world.release_reads();
    let all = read_all(&mut world, sub, first);
    assert_eq!(numbers(&all), (1..=50).collect::<Vec<_>>());
    // With an empty queue everything is as it was.
    publish_numbers(&mut world, publisher, 51..=51);
    assert_eq!(numbers(&world.read(sub)), [51]);
    assert!(world.reads.is_empty());
}

#[test]
fn a_page_is_asked_for_once_and_when_it_is_durable() {
    let mut world = World::with(1, no_memory);
    let sub = world.connect(&Connect { receive_maximum: 1, ..v5_kept("sub") });
    world.subscribe(sub, "t", 1);
    world.read(sub);
    let publisher = world.client("pub");
    world.hold_reads();
    world.hold_store();
    publish_numbers(&mut world, publisher, 1..=5);
    assert_eq!(numbers(&world.read(sub)), [1]);
    world.ack(sub, AckKind::PubAck, 1);
    assert!(world.reads.is_empty(), "what is asked for is not on the disk yet");
    world.release_store();
    assert_eq!(world.reads.len(), 1);
    let asked = world.reads[0].1.messages.len();
    assert_eq!(asked, 1, "no more than the window takes");
    publish_numbers(&mut world, publisher, 6..=6);
    world.pass_s(1);
    assert_eq!(world.reads.len(), 1, "it is on its way");
    world.release_reads();
    let first = world.read(sub);
    let all = read_all(&mut world, sub, first);
    assert_eq!(numbers(&all), [2, 3, 4, 5, 6]);
}

#[test]
fn a_page_for_whoever_has_gone_or_ended_meanwhile_changes_nothing() {
    for is_ended in [false, true] {
        let mut world = World::with(1, no_memory);
        away(&mut world, 3);
        world.hold_reads();
        let (sub, _) = world.resume(&v5_kept("sub"));
        world.cut(sub);
        if is_ended {
            let clean = world.connect(&Connect { clean_start: true, ..v5_kept("sub") });
            assert_eq!(world.shards[0].gauges().stored_messages, 0);
            world.subscribe(clean, "t", 1);
            world.cut(clean);
            let publisher = world.client("another");
            publish_numbers(&mut world, publisher, 7..=9);
        }
        world.release_reads();
        assert_eq!(world.shards[0].gauges().stored_messages, 3);
        assert_eq!(world.shards[0].clients.queues.on_disk(), 3, "nobody is there to take it");
        let (sub, first) = world.resume(&v5_kept("sub"));
        let all = read_all(&mut world, sub, first);
        assert_eq!(numbers(&all), if is_ended { [7, 8, 9] } else { [1, 2, 3] });
    }
}

#[test]
fn a_message_that_is_lost_is_told_and_the_others_come() {
    let mut world = World::with(1, no_memory);
    away(&mut world, 5);
    let third = *world.bodies.keys().nth(2).unwrap();
    world.bodies.remove(&third);
    let (sub, first) = world.resume(&v5_kept("sub"));
    let all = read_all(&mut world, sub, first);
    assert_eq!(numbers(&all), [1, 2, 4, 5]);
    assert_eq!(world.dropped(DropReason::StorageDamaged), 1);
    assert_eq!(world.shards[0].gauges().stored_messages, 0);
}

#[test]
fn what_has_expired_on_the_disk_gives_way_and_is_not_sent() {
    let mut world = World::with(1, |settings| {
        no_memory(settings);
        settings.queued_messages_max = 4;
    });
    let publisher = away(&mut world, 0);
    let expiring = |number| Publish { message_expiry_s: Some(10), ..publish1(number, "t", "old") };
    for number in 1..=2 {
        world.send(publisher, &Packet::Publish(expiring(number)));
    }
    publish_numbers(&mut world, publisher, 3..=3);
    world.send(publisher, &Packet::Publish(expiring(4)));
    world.pass_s(11);
    publish_numbers(&mut world, publisher, 5..=7);
    let dropped = |world: &World| (world.dropped(DropReason::Expired), world.dropped(DropReason::QueueFull));
    assert_eq!(dropped(&world), (2, 1), "1 and 2 give way to 5 and 6; 7 finds no room");
    let (sub, first) = world.resume(&v5_kept("sub"));
    assert_eq!(numbers(&read_all(&mut world, sub, first)), [3, 5, 6]);
    assert_eq!(dropped(&world), (3, 1));
}

#[test]
fn the_oldest_gives_way_on_the_disk_where_it_is_to() {
    let mut world = World::with(1, |settings| {
        no_memory(settings);
        settings.queued_messages_max = 4;
        settings.full_queue = FullQueue::DropOldest;
    });
    away(&mut world, 9);
    assert_eq!(world.dropped(DropReason::QueueFull), 5);
    let (sub, first) = world.resume(&v5_kept("sub"));
    assert_eq!(numbers(&read_all(&mut world, sub, first)), [6, 7, 8, 9]);
}

#[test]
fn what_gives_way_while_a_page_is_on_its_way_leaves_the_rest_of_it() {
    for (more, expected) in [(2, vec![3, 4, 5, 6, 7, 8, 9, 10]), (8, (9..=16).collect()), (12, (13..=20).collect())] {
        let mut world = World::with(1, |settings| {
            no_memory(settings);
            settings.queued_messages_max = 8;
            settings.full_queue = FullQueue::DropOldest;
        });
        let publisher = away(&mut world, 8);
        world.hold_reads();
        let (sub, first) = world.resume(&v5_kept("sub"));
        publish_numbers(&mut world, publisher, 9..=8 + more);
        assert_eq!(world.reads.len(), 1, "a page is asked for once");
        world.release_reads();
        let first = [first, world.read(sub)].concat();
        assert_eq!(numbers(&read_all(&mut world, sub, first)), expected, "{more} more");
        assert_eq!(world.dropped(DropReason::QueueFull), u64::from(more));
    }
}

/// The log has no use for what a session that is not kept waits for.
#[test]
fn a_client_that_comes_back_for_the_length_of_its_connection_gets_all_that_waits_on_the_disk() {
    let mut world = World::with(1, no_memory);
    let publisher = away(&mut world, 60);
    world.hold_reads();
    let (sub, first) = world.resume(&Connect { session_expiry_s: 0, receive_maximum: 5, ..v5_kept("sub") });
    publish_numbers(&mut world, publisher, 61..=70);
    let (_, session) = world.durable[0].sessions().next().unwrap();
    assert_eq!(session.deliveries.len(), 70, "the log still has them");
    world.release_reads();
    let first = [first, world.read(sub)].concat();
    assert_eq!(numbers(&read_all(&mut world, sub, first)), (1..=70).collect::<Vec<_>>());
    assert_eq!(world.dropped(DropReason::QueuedMemoryFull), 0);
    world.cut(sub);
    assert_eq!(world.shards[0].holdings().sessions, 1, "the publisher's alone");
    let (_, read) = world.resume(&v5_kept("sub"));
    assert_eq!(read, ["CONNACK success"]);
}

#[test]
fn bytes_on_the_disk_are_bounded_too() {
    let mut world = World::with(1, |settings| {
        no_memory(settings);
        settings.queued_bytes_max = 1_024;
    });
    let publisher = away(&mut world, 0);
    let text = "x".repeat(300);
    for number in 1..=5 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &text)));
    }
    assert_eq!(world.dropped(DropReason::QueueFull), 2);
    assert!(world.shards[0].gauges().stored_bytes <= 1_024);
}

#[test]
fn a_clean_session_has_nothing_on_the_disk() {
    let mut world = World::with(1, no_memory);
    let sub = world.connect(&Connect { receive_maximum: 1, ..v5("sub") });
    world.subscribe(sub, "t", 1);
    let publisher = world.client("pub");
    publish_numbers(&mut world, publisher, 1..=3);
    assert_eq!(world.dropped(DropReason::QueuedMemoryFull), 2);
    assert_eq!(world.shards[0].clients.queues.on_disk(), 0);
}

#[test]
fn what_another_member_may_have_is_read_when_its_session_ends() {
    let mut world = World::with(1, no_memory);
    let first = world.connect(&v5_kept("first"));
    world.subscribe(first, "$share/g/t", 1);
    world.subscribe(first, "t", 1);
    world.cut(first);
    let publisher = world.client("pub");
    publish_numbers(&mut world, publisher, 1..=3);
    assert_eq!(world.shards[0].clients.queues.on_disk(), 6);
    let second = world.connect(&v5_kept("second"));
    world.subscribe(second, "$share/g/t", 1);
    world.read(second);
    world.connect(&Connect { clean_start: true, ..v5_kept("first") });
    assert_eq!(numbers(&world.read(second)), [1, 2, 3]);
    assert_eq!(world.dropped(DropReason::SessionEnded), 3, "its own subscription was nobody else's");
}

#[test]
fn qos_2_and_identifiers_and_retain_come_back_as_they_were() {
    let mut world = World::with(1, no_memory);
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe_with(sub, "t", options(2), Some(77));
    world.cut(sub);
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(publish2(1, "t", "a")));
    world.ack(publisher, AckKind::PubRel, 1);
    publish_numbers(&mut world, publisher, 2..=2);
    let (_, mut read) = world.resume(&v5_kept("sub"));
    read[1..].sort(); // QoS 2 leaves when its identifier is durable
    assert_eq!(read[1..], ["PUBLISH t q1 #2 ids=[77] 2", "PUBLISH t q2 #1 ids=[77] a"]);
}

#[test]
fn so_many_pages_are_read_at_a_time_and_the_others_have_their_turn() {
    let mut world = World::with(1, no_memory);
    let names: Vec<String> = (0..DISK_PAGES_MAX + 10).map(|number| format!("sub-{number}")).collect();
    for name in &names {
        let sub = world.connect(&v5_kept(name));
        world.subscribe(sub, "t", 1);
        world.cut(sub);
    }
    let publisher = world.client("pub");
    publish_numbers(&mut world, publisher, 1..=3);
    world.hold_reads();
    let subs: Vec<Peer> = names.iter().map(|name| world.resume(&v5_kept(name)).0).collect();
    assert_eq!(world.reads.len(), DISK_PAGES_MAX);
    world.release_reads();
    for sub in subs {
        assert_eq!(numbers(&world.read(sub)), [1, 2, 3]);
    }
}

#[test]
fn a_page_has_so_many_messages() {
    let mut world = World::with(1, no_memory);
    away(&mut world, 100);
    world.hold_reads();
    world.resume(&v5_kept("sub"));
    assert_eq!(world.reads[0].1.messages.len(), DISK_PAGE_MESSAGES);
}

#[test]
fn a_page_has_so_many_bytes() {
    let mut world = World::with(1, no_memory);
    let publisher = away(&mut world, 0);
    let text = "x".repeat(30_000);
    for number in 1..=9 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &text)));
    }
    world.hold_reads();
    world.resume(&v5_kept("sub"));
    assert_eq!(world.reads[0].1.messages.len(), 3);
}

#[test]
fn after_a_restart_what_is_not_brought_into_memory_stays_on_the_disk() {
    for in_memory in [0, 2, 5] {
        let mut world = World::new();
        away(&mut world, 5);
        let bodies = world.bodies.clone();
        let RestoredLog { state, mut messages, lost } = world.killed();
        messages.truncate(in_memory);
        let mut world = World::behind(Position(1_000), 1, |_| {});
        world.restore(0, &RestoredLog { state, messages, lost });
        world.bodies = bodies;
        assert_eq!(world.shards[0].clients.queues.on_disk(), 5 - in_memory as u64);
        let (sub, first) = world.resume(&v5_kept("sub"));
        assert_eq!(numbers(&read_all(&mut world, sub, first)), [1, 2, 3, 4, 5]);
    }
}
