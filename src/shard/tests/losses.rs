//! Sessions that lose messages: a word when it begins, one when it is over; and packets, where they are asked for.

use super::harness::{Peer, World, v5, v5_kept};
use super::show::{publish, publish1};
use crate::codec::{Connect, Packet};
use crate::limits::LOSS_OVER_S;
use crate::shard::Event;
use crate::telemetry::{DropReason, Verbosity};

/// What has been said of losses since this was last asked.
fn told(world: &mut World) -> Vec<String> {
    let shown = |event| match event {
        Event::LossBegins { client_id, reason, queued, queued_bytes } => {
            Some(format!("{client_id} loses: {}, {queued} queued, {queued_bytes} bytes", reason.label()))
        }
        Event::LossEnds { client_id, reason, messages, duration_ms } => {
            Some(format!("{client_id} lost {messages} in {duration_ms} ms: {}", reason.label()))
        }
        _ => None,
    };
    world.events.drain(..).filter_map(shown).collect()
}

fn publish_many(world: &mut World, publisher: Peer, count: usize) {
    for _ in 0..count {
        world.send(publisher, &Packet::Publish(publish1(1, "t", "12345")));
    }
    world.read(publisher);
}

/// A client that is away, with a queue of two messages.
fn away() -> (World, Peer) {
    let mut world = World::with(1, |settings| settings.queued_messages_max = 2);
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.cut(sub);
    let publisher = world.client("pub");
    (world, publisher)
}

#[test]
fn the_first_lost_message_is_told_and_the_number_once_no_more_are_lost() {
    let (mut world, publisher) = away();
    publish_many(&mut world, publisher, 2);
    assert_eq!(told(&mut world), [""; 0]);
    publish_many(&mut world, publisher, 100);
    assert_eq!(told(&mut world), ["sub loses: queue_full, 2 queued, 12 bytes"]);
    // As long as it goes on it is one trouble.
    for _ in 0..5 {
        world.pass_s(u64::from(LOSS_OVER_S) - 1);
        publish_many(&mut world, publisher, 1);
    }
    assert_eq!(told(&mut world), [""; 0]);
    world.pass_s(2 * u64::from(LOSS_OVER_S) + 1);
    assert_eq!(told(&mut world), ["sub lost 105 in 45000 ms: queue_full"]);
    publish_many(&mut world, publisher, 1);
    assert_eq!(told(&mut world), ["sub loses: queue_full, 2 queued, 12 bytes"]);
    assert_eq!(world.dropped(DropReason::QueueFull), 106);
}

#[test]
fn a_session_that_ends_is_told_with_what_was_queued_for_it() {
    let (mut world, publisher) = away();
    publish_many(&mut world, publisher, 5);
    world.connect(&v5("sub"));
    let lines = [
        "sub loses: queue_full, 2 queued, 12 bytes",
        "sub lost 3 in 0 ms: queue_full",
        "sub lost 2 in 0 ms: session_ended",
    ];
    assert_eq!(told(&mut world), lines);
    world.pass_s(100);
    assert_eq!(told(&mut world), [""; 0], "its slot is another's now");
}

#[test]
fn each_way_of_losing_what_a_client_was_to_get_is_told_and_what_it_asked_for_is_not() {
    let mut world = World::with(1, |settings| settings.outbox_max_bytes = 16 * 1024);
    let slow = world.client("slow");
    world.subscribe(slow, "t", 0);
    let small = world.connect(&Connect { maximum_packet_size_bytes: 20, ..v5("small") });
    world.subscribe(small, "long", 0);
    let publisher = world.client("pub");
    world.block(slow);
    let text = "x".repeat(6_000);
    for _ in 0..10 {
        world.send(publisher, &Packet::Publish(publish("t", &text)));
    }
    world.send(publisher, &Packet::Publish(publish("long", "longer than the packets that it takes")));
    let lines = ["slow loses: outbox_full, 0 queued, 0 bytes", "small loses: packet_too_large, 0 queued, 0 bytes"];
    assert_eq!(told(&mut world), lines);
    let lost = world.dropped(DropReason::OutboxFull) + world.dropped(DropReason::PacketTooLarge);
    assert_eq!(world.lost_by_listener.of(0), lost, "both are connected");
    // QoS 0 for a client that is away, and what has expired.
    let kept = world.connect(&v5_kept("kept"));
    world.subscribe(kept, "t", 0);
    world.cut(kept);
    world.send(publisher, &Packet::Publish(publish("t", "x")));
    assert_eq!(world.dropped(DropReason::OfflineQos0), 1);
    assert_eq!(told(&mut world), [""; 0]);
    assert_eq!(world.lost_by_listener.of(0), lost, "it came by none when it lost it");
}

#[test]
fn nothing_is_said_of_packets_unless_it_is_asked_for() {
    for (verbosity, count) in [(Verbosity::Info, 0), (Verbosity::Debug, 2), (Verbosity::Trace, 5)] {
        let mut world = World::new();
        world.set_verbosity(verbosity);
        let peer = world.client("c");
        world.subscribe(peer, "t", 0);
        world.send(peer, &Packet::Publish(publish("t", "12345")));
        world.send(peer, &Packet::Publish(publish("$t", "12345")));
        let is_of_packet = |event: &&Event| !matches!(event, Event::Connected { .. } | Event::MessageRefused { .. });
        let said: Vec<&Event> = world.events.iter().filter(is_of_packet).collect();
        assert_eq!(said.len(), count, "{said:?}");
        assert!(!format!("{said:?}").contains("12345"), "{said:?}");
    }
}
