//! Of the messages that are acknowledged one of so many is timed, in both directions; those that waited in a queue are.

use super::harness::{World, v5_kept};
use super::show::{publish1, publish2};
use crate::codec::{AckKind, Packet};
use crate::limits::TIMED_ONE_OF;
use crate::telemetry::{DurationHistogram, MessageTimings};

fn timings(world: &World) -> &MessageTimings {
    &world.shards[0].counters().timings
}

/// How many there were, and what they come to, in milliseconds.
fn told(durations: &DurationHistogram) -> (u64, u64) {
    (durations.count(), durations.sum_ns().div_ceil(1_000_000))
}

#[test]
fn one_message_of_so_many_is_timed_in_both_directions() {
    let mut world = World::new();
    let publisher = world.client("pub");
    let sub = world.client("sub");
    world.subscribe(sub, "t", 2);
    let messages = 2 * TIMED_ONE_OF as u16;
    for number in 1..=messages {
        world.send(publisher, &Packet::Publish(publish1(number, "t", "x")));
        world.later_ms(40);
        world.ack(sub, AckKind::PubAck, number);
        world.ack(sub, AckKind::PubAck, number); // again: it ends nothing, and is not timed
    }
    assert_eq!(told(&timings(&world).own_acks), (2, 0));
    assert_eq!(told(&timings(&world).client_acks), (2, 80));
    for number in messages + 1..=messages + TIMED_ONE_OF as u16 {
        world.send(publisher, &Packet::Publish(publish2(number, "t", "x")));
        world.ack(publisher, AckKind::PubRel, number);
        world.later_ms(10);
        world.ack(sub, AckKind::PubRec, number);
        world.later_ms(700); // what the client takes to PUBCOMP is not its acknowledgement of the message
        world.ack(sub, AckKind::PubComp, number);
    }
    assert_eq!(told(&timings(&world).own_acks), (3, 0));
    assert_eq!(told(&timings(&world).client_acks), (3, 90));
}

#[test]
fn an_acknowledgement_that_waits_for_the_log_is_timed_with_it() {
    let mut world = World::new();
    let publisher = world.client("pub");
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    for number in 1..=TIMED_ONE_OF as u16 {
        world.hold_store();
        world.send(publisher, &Packet::Publish(publish1(number, "t", "x")));
        world.later_ms(5);
        world.release_store();
        world.ack(sub, AckKind::PubAck, number);
    }
    assert_eq!(told(&timings(&world).own_acks), (1, 5));
}

#[test]
fn what_waits_for_its_client_is_timed_when_it_is_sent_and_what_is_sent_at_once_is_not() {
    let mut world = World::new();
    let publisher = world.client("pub");
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    world.send(publisher, &Packet::Publish(publish1(1, "t", "at once")));
    world.ack(sub, AckKind::PubAck, 1);
    world.cut(sub);
    for number in 2..2 + TIMED_ONE_OF as u16 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", "later")));
    }
    world.pass_s(3);
    let (sub, _) = world.resume(&v5_kept("sub"));
    for number in 2..2 + TIMED_ONE_OF as u16 {
        world.ack(sub, AckKind::PubAck, number);
    }
    let queued = &timings(&world).queued;
    assert_eq!(queued.count(), 1);
    assert!((2_900..=3_100).contains(&told(queued).1), "{queued:?}");
}
