//! Messages that cannot be sent now: offline queues, full outboxes, slow sockets.

use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{publish, publish1};
use crate::codec::{AckKind, Connect, Packet, Publish};
use crate::settings::FullQueue;
use crate::shard::{Event, Settings, Shard};
use crate::telemetry::DropReason;

fn publish_numbers(world: &mut World, publisher: Peer, numbers: std::ops::RangeInclusive<u16>) {
    for number in numbers {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &number.to_string())));
    }
}

#[test]
fn an_offline_queue_keeps_the_oldest_up_to_its_limit_of_messages() {
    let mut world = World::with(1, |settings| settings.queued_messages_max = 3);
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    publish_numbers(&mut world, publisher, 1..=5);
    assert_eq!(world.read(publisher).len(), 5, "the publisher is not to blame");
    assert_eq!(world.dropped(DropReason::QueueFull), 2);
    assert_eq!(world.shards[0].gauges().stored_messages, 3);
    let (_, answer) = world.resume(&v5_kept("sub"));
    assert_eq!(answer[1..], ["PUBLISH t q1 #1 1", "PUBLISH t q1 #2 2", "PUBLISH t q1 #3 3"]);
}

#[test]
fn an_offline_queue_is_bounded_in_bytes_too() {
    let mut world = World::with(1, |settings| settings.queued_bytes_max = 1_024);
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    let text = "x".repeat(500);
    for number in 1..=3 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &text)));
    }
    assert_eq!(world.dropped(DropReason::QueueFull), 1);
    assert_eq!(world.shards[0].gauges().stored_bytes, 1_002);
    let (sub, answer) = world.resume(&v5_kept("sub"));
    assert_eq!(answer.len(), 3);
    for number in 1..=2 {
        world.ack(sub, AckKind::PubAck, number);
    }
    assert_eq!((world.shards[0].gauges().stored_messages, world.shards[0].gauges().stored_bytes), (0, 0));
}

#[test]
fn subscription_identifiers_count_in_an_offline_queue() {
    let mut world = World::with(1, |settings| settings.queued_bytes_max = 1_024);
    let sub = world.connect(&v5_kept("sub"));
    for number in 1..=100 {
        let filter = format!("{}/#", vec!["+"; number].join("/"));
        world.subscribe_with(sub, &filter, options(1), Some(number as u32));
        world.read(sub);
    }
    world.cut(sub);
    let publisher = world.client("pub");
    let topic = vec!["t"; 100].join("/");
    for number in 1..=3 {
        world.send(publisher, &Packet::Publish(publish1(number, &topic, "1")));
    }
    // 200 bytes of topic and payload, and a hundred identifiers of 4.
    assert_eq!((world.dropped(DropReason::QueueFull), world.shards[0].gauges().stored_bytes), (2, 600));
    assert_eq!(world.resume(&v5_kept("sub")).1.len(), 2);
}

/// Two sessions on different shards wait for the same, up to what all queues together may take.
#[test]
fn all_queues_together_have_a_limit_that_others_do_not_feel() {
    let mut world = World::in_memory(2, |settings| settings.queued_memory_max_bytes = 100_000);
    let away: Vec<String> = (0..2).map(|shard| world.name_on(shard, "away")).collect();
    for name in &away {
        let sub = world.connect(&v5_kept(name));
        world.subscribe(sub, "t", 1);
        world.cut(sub);
    }
    let there = world.client("there");
    world.subscribe(there, "t", 1);
    let publisher = world.client("pub");
    let text = "x".repeat(5_000);
    for number in 1..=40 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &text)));
        world.ack(there, AckKind::PubAck, number);
    }
    assert_eq!(world.read(there).len(), 40, "who need not wait gets everything");
    assert_eq!(world.read(publisher).len(), 40, "the publisher is not to blame");
    let kept: u64 = world.shards.iter().map(|shard| shard.gauges().stored_messages).sum();
    assert!((36..=38).contains(&kept), "a message counts once for both, {kept} deliveries of 5 kB in 100 kB");
    assert_eq!(world.dropped(DropReason::QueuedMemoryFull), 80 - kept);
    let told = |world: &World| world.events.iter().filter(|one| matches!(one, Event::QueuedMemoryFull { .. })).count();
    assert!((1..=2).contains(&told(&world)), "each shard says it once a minute");
    Shard::assert_invariants_of_all(&world.shards);
    // Sessions give it back when they are emptied and when they end.
    world.connect(&v5(&away[0])); // a clean start
    let (sub, _) = world.resume(&v5_kept(&away[1]));
    for number in 1..=kept as u16 {
        world.ack(sub, AckKind::PubAck, number);
    }
    Shard::assert_invariants_of_all(&world.shards);
    world.cut(sub);
    world.pass_s(61);
    for number in 41..=80 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &text)));
    }
    let kept = world.shards[1].gauges().stored_messages;
    assert!((19..=20).contains(&kept), "there is room again: {kept}");
    assert!(told(&world) > 1, "and again later");
}

#[test]
fn qos_0_does_not_wait_for_a_client_that_is_away() {
    let mut world = World::new();
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(publish("t", "x")));
    assert_eq!(world.dropped(DropReason::OfflineQos0), 1);
    assert_eq!(world.resume(&v5_kept("sub")).1, ["CONNACK success present"]);
}

#[test]
fn a_full_outbox_drops_qos_0_and_counts_it_and_qos_1_waits() {
    let mut world = World::with(1, |settings| {
        settings.outbox_max_bytes = 16 * 1024;
        settings.inflight_max = 1_000;
    });
    let sub = world.client("sub");
    world.subscribe(sub, "t", 1);
    let other = world.client("other");
    world.subscribe(other, "t", 0);
    world.block(sub);
    let publisher = world.client("pub");
    let text = "x".repeat(1_000);
    for _ in 0..100 {
        world.send(publisher, &Packet::Publish(publish("t", &text)));
    }
    let dropped = world.dropped(DropReason::OutboxFull);
    assert!((83..=86).contains(&dropped), "{dropped}");
    assert!(world.stuck_bytes(sub) <= 17 * 1024);
    for number in 1..=100 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &text)));
    }
    assert!(world.stuck_bytes(sub) <= 18 * 1024, "{}", world.stuck_bytes(sub));
    assert_eq!(world.read(other).len(), 200, "a slow neighbour costs nobody a message");
    assert_eq!(world.read(publisher).len(), 100);
    // The client reads again: what waited comes, all of it and in order.
    for _ in 0..20 {
        world.unblock(sub);
        world.block(sub);
    }
    world.unblock(sub);
    let lines = world.read(sub);
    let identified: Vec<&String> = lines.iter().filter(|line| line.contains(" q1 ")).collect();
    assert_eq!(identified.len(), 100);
    for (at, line) in identified.iter().enumerate() {
        assert!(line.starts_with(&format!("PUBLISH t q1 #{} ", at + 1)), "{line}");
    }
}

#[test]
fn a_client_that_asks_and_never_reads_is_cut_off() {
    let mut world = World::with(1, |settings| {
        settings.outbox_max_bytes = 16 * 1024;
        settings.packet_size_max_bytes = 1_024;
    });
    let peer = world.client("c");
    world.block(peer);
    for _ in 0..20_000 {
        world.send(peer, &Packet::PingReq);
    }
    assert!(world.stuck_bytes(peer) <= 33 * 1024 + 2);
    assert_eq!(world.shards[0].gauges().clients_connected, 0);
}

#[test]
fn a_message_larger_than_the_whole_outbox_still_gets_through_an_empty_one() {
    let mut world = World::with(1, |settings| settings.outbox_max_bytes = 16 * 1024);
    let sub = world.client("sub");
    world.subscribe(sub, "t", 1);
    let publisher = world.client("pub");
    let text = "x".repeat(100_000);
    world.send(publisher, &Packet::Publish(publish("t", &text)));
    world.send(publisher, &Packet::Publish(publish1(1, "t", &text)));
    assert_eq!(world.read(sub), ["PUBLISH t (100000 bytes)", "PUBLISH t q1 #1 (100000 bytes)"]);
}

#[test]
fn a_queued_message_that_expires_is_dropped_and_the_next_one_goes_out() {
    let mut world = World::new();
    let sub = world.connect(&Connect { receive_maximum: 1, ..v5("sub") });
    world.subscribe(sub, "t", 1);
    let publisher = world.client("pub");
    publish_numbers(&mut world, publisher, 1..=1);
    let expiring = Publish { message_expiry_s: Some(5), ..publish1(2, "t", "2") };
    world.send(publisher, &Packet::Publish(expiring));
    publish_numbers(&mut world, publisher, 3..=3);
    assert_eq!(world.read(sub), ["PUBLISH t q1 #1 1"]);
    world.pass_s(5);
    world.ack(sub, AckKind::PubAck, 1);
    assert_eq!(world.read(sub), ["PUBLISH t q1 #2 3"]);
    assert_eq!(world.dropped(DropReason::Expired), 1);
}

#[test]
fn what_has_expired_in_a_full_queue_gives_way_to_what_is_new() {
    type Limit = fn(&mut Settings);
    let limits: [Limit; 3] = [
        |settings| settings.queued_messages_max = 4,
        |settings| settings.queued_bytes_max = 8,
        |settings| settings.queued_memory_max_bytes = 500,
    ];
    for (number, limit) in limits.into_iter().enumerate() {
        let mut world = World::in_memory(1, limit);
        let sub = world.connect(&v5_kept("sub"));
        world.subscribe(sub, "t", 1);
        world.cut(sub);
        let publisher = world.client("pub");
        let send = |world: &mut World, number: u16, message_expiry_s| {
            let text = number.to_string();
            let message = Publish { message_expiry_s, ..publish1(number, "t", &text) };
            world.send(publisher, &Packet::Publish(message));
        };
        for message in 1..=3 {
            send(&mut world, message, Some(10));
        }
        send(&mut world, 4, None);
        send(&mut world, 5, Some(1_000));
        let dropped = |world: &World| {
            let full = world.dropped(DropReason::QueueFull) + world.dropped(DropReason::QueuedMemoryFull);
            (full, world.dropped(DropReason::Expired))
        };
        assert_eq!(dropped(&world), (1, 0), "limit {number}: 5 finds no room");
        world.pass_s(11);
        for message in 6..=9 {
            send(&mut world, message, None);
        }
        assert_eq!(dropped(&world), (2, 3), "limit {number}: 1, 2 and 3 give way to 6, 7 and 8; 9 finds no room");
        let (_, answers) = world.resume(&v5_kept("sub"));
        let expected = ["PUBLISH t q1 #1 4", "PUBLISH t q1 #2 6", "PUBLISH t q1 #3 7", "PUBLISH t q1 #4 8"];
        assert_eq!(answers[1..], expected, "limit {number}");
    }
}

/// No message makes the shard look through a long queue, and the last one that may give way is not given up for nothing.
#[test]
fn at_most_256_expired_messages_give_way_to_one() {
    for (expired, gives_way) in [(256, true), (257, false)] {
        let mut world = World::with(1, |settings| settings.queued_bytes_max = 2 * u64::from(expired));
        let sub = world.connect(&v5_kept("sub"));
        world.subscribe(sub, "t", 1);
        world.cut(sub);
        let publisher = world.client("pub");
        for number in 1..=expired {
            let message = Publish { message_expiry_s: Some(10), ..publish1(number, "t", "1") };
            world.send(publisher, &Packet::Publish(message));
        }
        world.pass_s(11);
        let text = "x".repeat(2 * usize::from(expired) - 1);
        world.send(publisher, &Packet::Publish(publish1(1_000, "t", &text)));
        let dropped = (world.dropped(DropReason::Expired), world.dropped(DropReason::QueueFull));
        assert_eq!(dropped, (256, u64::from(!gives_way)), "{expired}");
        assert_eq!(world.shards[0].gauges().stored_messages, 1, "{expired}: the new one, or the last of the old");
    }
}

#[test]
fn a_message_that_finds_the_queue_full_is_not_written_down_as_queued() {
    let mut world = World::with(1, |settings| settings.queued_messages_max = 1);
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    publish_numbers(&mut world, publisher, 1..=3);
    assert_eq!(world.recorded.iter().filter(|record| *record == "Queued").count(), 1);
    assert_eq!(world.read(publisher).len(), 3);
}

/// Nothing that was sent will be acknowledged, so nobody else would look at the queue again.
#[test]
fn messages_too_large_for_the_client_do_not_hold_up_what_waits_behind_them() {
    let mut world = World::new();
    let sub = world.connect(&Connect { maximum_packet_size_bytes: 60, receive_maximum: 1, ..v5("sub") });
    world.subscribe(sub, "t", 1);
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(publish1(1, "t", "first")));
    for number in 2..=100 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &"x".repeat(100))));
    }
    world.send(publisher, &Packet::Publish(publish1(101, "t", "last")));
    assert_eq!(world.read(sub), ["PUBLISH t q1 #1 first"]);
    world.ack(sub, AckKind::PubAck, 1);
    assert_eq!(world.read(sub), ["PUBLISH t q1 #2 last"]);
    assert_eq!(world.dropped(DropReason::PacketTooLarge), 99);
}

#[test]
fn qos_0_waits_for_a_client_that_is_away_where_that_is_set_and_keeps_its_order() {
    let mut world = World::with(1, |settings| settings.queue_qos0 = true);
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(publish("t", "first")));
    world.send(publisher, &Packet::Publish(publish1(1, "t", "second")));
    world.send(publisher, &Packet::Publish(publish("t", "third")));
    assert_eq!(world.recorded.iter().filter(|record| *record == "Queued").count(), 1, "QoS 0 is not written down");
    let (sub, answer) = world.resume(&v5_kept("sub"));
    let order: Vec<_> =
        ["first", "second", "third"].iter().map(|text| answer.iter().position(|line| line.contains(text))).collect();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{answer:?}");
    assert_eq!(world.shards[0].gauges().stored_messages, 1, "the one that waits for PUBACK");
    world.ack(sub, AckKind::PubAck, 1);
    assert_eq!(world.shards[0].gauges().stored_messages, 0);
    world.shards[0].assert_invariants();
}

#[test]
fn a_full_queue_gives_up_its_oldest_where_that_is_set() {
    let mut world = World::with(1, |settings| {
        settings.queued_messages_max = 2;
        settings.full_queue = FullQueue::DropOldest;
    });
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    for number in 1..=5 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &format!("n{number}"))));
    }
    assert_eq!(world.dropped(DropReason::QueueFull), 3);
    let (_, answer) = world.resume(&v5_kept("sub"));
    let held = |text: &str| answer.iter().any(|line| line.contains(text));
    assert!(held("n4") && held("n5") && !held("n3"), "{answer:?}");
    world.shards[0].assert_invariants();
}

/// A message that no queue of this size could ever hold must not empty it.
#[test]
fn a_message_larger_than_the_queue_gives_way_itself() {
    let mut world = World::with(1, |settings| {
        settings.queued_bytes_max = 1_000;
        settings.full_queue = FullQueue::DropOldest;
    });
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    world.send(publisher, &Packet::Publish(publish1(1, "t", "kept")));
    world.send(publisher, &Packet::Publish(publish1(2, "t", &"x".repeat(2_000))));
    assert_eq!(world.dropped(DropReason::QueueFull), 1);
    assert!(world.resume(&v5_kept("sub")).1.iter().any(|line| line.contains("kept")));
}
