//! What is said waits for stable storage, and what need not wait does not.

use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{publish, publish1, publish2};
use super::will::will;
use crate::codec::{AckKind, Connect, Disconnect, Packet, Version};
use crate::limits::RELEASED_PER_TURN;
use crate::shard::{Command, SessionFate};

/// A publisher and a kept subscriber with this QoS, both connected; everything so far is durable.
fn pair(qos: u8) -> (World, Peer, Peer) {
    let mut world = World::new();
    let publisher = world.client("publisher");
    let subscriber = world.connect(&v5_kept("subscriber"));
    world.subscribe(subscriber, "t", qos);
    (world, publisher, subscriber)
}

#[test]
fn a_connack_that_begins_or_ends_a_kept_session_waits_and_one_that_resumes_does_not() {
    let mut world = World::new();
    world.hold_store();
    let first = world.open(&v5_kept("a"));
    assert!(world.read(first).is_empty(), "a session begins");
    world.release_store();
    assert_eq!(world.read(first), ["CONNACK success"]);
    world.close_socket(first);
    world.hold_store();
    let second = world.open(&v5_kept("a"));
    assert_eq!(world.read(second), ["CONNACK success present"]);
    world.close_socket(second);
    let third = world.open(&v5("a"));
    assert!(world.read(third).is_empty(), "a session ends");
    world.release_store();
    assert_eq!(world.read(third), ["CONNACK success"]);
    world.hold_store();
    let clean = world.open(&v5("b"));
    assert_eq!(world.read(clean), ["CONNACK success"], "nothing of it is kept");
}

/// After a restart the session would have ended, or its will would be due.
#[test]
fn a_connack_that_resumes_waits_where_a_restart_would_know_another_session() {
    let long = v5_kept("a");
    let with_will = Connect { will: Some(will(5)), ..long };
    let short = Connect { session_expiry_s: 60, ..long };
    for (before, after, waits) in [
        (long, long, false),
        (long, with_will, true),
        (with_will, long, true),
        (long, short, true),
        (short, long, true),
        (short, short, true),
    ] {
        let mut world = World::new();
        let first = world.connect(&before);
        world.close_socket(first);
        world.hold_store();
        let second = world.open(&after);
        assert_eq!(world.read(second).is_empty(), waits, "{before:?} {after:?}");
        world.release_store();
        assert_eq!(world.read(second).len(), usize::from(waits));
    }
}

#[test]
fn a_connack_waits_while_a_restart_could_bring_an_ended_session_back() {
    let mut world = World::new();
    let first = world.connect(&v5_kept("a"));
    world.hold_store();
    world.send(first, &Packet::Disconnect(Disconnect { session_expiry_s: Some(0), ..Disconnect::default() }));
    let second = world.open(&v5("a"));
    assert!(world.read(second).is_empty());
    world.release_store();
    assert_eq!(world.read(second), ["CONNACK success"]);
}

/// Its end is written down in two steps: the first is what keeps it from coming back.
#[test]
fn a_connack_waits_while_a_session_that_is_taken_down_over_several_turns_could_come_back() {
    let mut world = World::with(1, |settings| settings.subscriptions_per_turn = 1);
    let first = world.connect(&v5_kept("a"));
    (0..4).for_each(|number| world.subscribe(first, &format!("t/{number}"), 1));
    world.hold_store();
    world.hold_work();
    let ends = Command::Disconnect { client_id: "a".into(), session: SessionFate::Ended, reason: None };
    world.command(0, 1, ends);
    let second = world.open(&v5("a"));
    assert!(world.read(second).is_empty());
    world.release_store();
    assert_eq!(world.read(second), ["CONNACK success"]);
}

#[test]
fn what_comes_behind_a_connack_that_waits_leaves_behind_it() {
    let mut world = World::new();
    world.hold_store();
    let peer = world.open(&v5_kept("a"));
    world.subscribe_with(peer, "t", options(0), None);
    let other = world.client("other");
    world.send(other, &Packet::Publish(publish("t", "live")));
    assert!(world.read(peer).is_empty());
    world.release_store();
    let read = world.read(peer);
    assert_eq!(read[0], "CONNACK success");
    assert_eq!(read.len(), 3, "{read:?}");
}

#[test]
fn suback_and_unsuback_of_a_kept_session_wait_and_others_do_not() {
    let mut world = World::new();
    let kept = world.connect(&v5_kept("kept"));
    let clean = world.client("clean");
    world.hold_store();
    for peer in [kept, clean] {
        world.subscribe_with(peer, "t", options(1), None);
        world.unsubscribe_silently(peer, "t");
    }
    assert_eq!(world.read(clean).len(), 2);
    assert!(world.read(kept).is_empty());
    world.release_store();
    assert_eq!(world.read(kept).len(), 2);
}

#[test]
fn a_qos_1_message_is_delivered_at_once_and_its_puback_waits() {
    let (mut world, publisher, subscriber) = pair(1);
    world.hold_store();
    world.send(publisher, &Packet::Publish(publish1(1, "t", "m")));
    assert_eq!(world.read(subscriber).len(), 1);
    assert!(world.read(publisher).is_empty());
    world.release_store();
    assert_eq!(world.read(publisher), ["PUBACK #1"]);
}

#[test]
fn each_step_of_qos_2_to_a_kept_session_waits_for_its_record() {
    let (mut world, publisher, subscriber) = pair(2);
    world.hold_store();
    world.send(publisher, &Packet::Publish(publish2(1, "t", "m")));
    assert!(world.read(subscriber).is_empty(), "nobody knows its packet identifier after a restart");
    assert!(world.read(publisher).is_empty());
    world.release_store();
    let sent = world.read(subscriber);
    assert!(sent.len() == 1 && sent[0].starts_with("PUBLISH t"), "{sent:?}");
    assert_eq!(world.read(publisher), ["PUBREC #1"]);
    world.hold_store();
    world.ack(subscriber, AckKind::PubRec, 1);
    assert!(world.read(subscriber).is_empty(), "the message would be sent again after a restart");
    world.release_store();
    assert_eq!(world.read(subscriber), ["PUBREL #1"]);
    world.hold_store();
    world.ack(subscriber, AckKind::PubComp, 1);
    world.release_store();
    assert!(world.read(subscriber).is_empty());
}

#[test]
fn each_step_of_qos_2_from_a_kept_session_waits_for_its_record() {
    let mut world = World::new();
    let publisher = world.connect(&v5_kept("publisher"));
    let subscriber = world.client("subscriber");
    world.subscribe(subscriber, "t", 2);
    world.hold_store();
    world.send(publisher, &Packet::Publish(publish2(1, "t", "m")));
    assert_eq!(world.read(subscriber).len(), 1, "a clean session gets it at once");
    assert!(world.read(publisher).is_empty(), "the exchange is not known after a restart");
    world.release_store();
    assert_eq!(world.read(publisher), ["PUBREC #1"]);
    world.hold_store();
    world.ack(publisher, AckKind::PubRel, 1);
    assert!(world.read(publisher).is_empty(), "the identifier would be taken for one that is in use");
    world.release_store();
    assert_eq!(world.read(publisher), ["PUBCOMP #1"]);
}

#[test]
fn what_was_in_flight_is_not_said_again_before_it_is_durable() {
    let (mut world, publisher, subscriber) = pair(2);
    world.send(publisher, &Packet::Publish(publish2(1, "t", "m")));
    world.read(subscriber);
    world.hold_store();
    world.ack(subscriber, AckKind::PubRec, 1);
    world.close_socket(subscriber);
    let (again, read) = world.resume(&v5_kept("subscriber"));
    assert_eq!(read, ["CONNACK success present"], "a PUBREL says that its PUBREC is known");
    world.release_store();
    assert_eq!(world.read(again), ["PUBREL #1"]);
}

#[test]
fn a_will_is_written_down_and_cleared_in_the_group_that_publishes_it() {
    let mut world = World::new();
    let peer = world.connect(&Connect { will: Some(will(0)), ..v5_kept("a") });
    assert!(world.recorded.ends_with(&["Message".into(), "WillSet".into()]), "{:?}", world.recorded);
    world.close_socket(peer);
    assert!(world.recorded.iter().any(|record| record == "WillCleared"), "{:?}", world.recorded);
}

#[test]
fn a_message_is_written_once_whoever_it_is_for() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        let peer = world.connect(&v5_kept(name));
        world.subscribe(peer, "t", 1);
        world.close_socket(peer);
    }
    let publisher = world.client("publisher");
    world.send(publisher, &Packet::Publish(publish1(1, "t", "m")));
    let count = |what: &str| world.recorded.iter().filter(|record| *record == what).count();
    assert_eq!((count("Message"), count("Queued")), (1, 3));
}

#[test]
fn a_turn_lets_so_much_go_that_waited_for_the_disk() {
    let mut world = World::with(1, |settings| settings.queued_messages_max = 10_000);
    let subscriber = world.connect(&v5_kept("subscriber"));
    world.subscribe(subscriber, "t", 1);
    world.close_socket(subscriber);
    let publisher = world.connect(&Connect::new(Version::V311, "many", true));
    world.hold_store();
    let messages = RELEASED_PER_TURN + 10;
    for number in 0..messages {
        world.send(publisher, &Packet::Publish(publish1(number as u16 + 1, "t", "m")));
    }
    world.hold_work();
    world.release_store();
    assert_eq!(world.read(publisher).len(), RELEASED_PER_TURN);
    world.release_work();
    assert_eq!(world.read(publisher).len(), 10);
}

/// It waits for its packet identifier to be durable, and then for room; the client has not seen it [MQTT-3.3.1-1].
#[test]
fn a_qos_2_message_that_finds_no_room_when_it_is_durable_is_sent_for_the_first_time_without_dup() {
    let mut world = World::with(1, |settings| settings.outbox_max_bytes = 16 * 1024);
    let publisher = world.client("publisher");
    let subscriber = world.connect(&v5_kept("subscriber"));
    world.subscribe(subscriber, "t", 2);
    world.hold_store();
    world.send(publisher, &Packet::Publish(publish2(1, "t", "first")));
    world.send(publisher, &Packet::Publish(publish2(2, "t", "second")));
    world.block(subscriber);
    let text = "x".repeat(20_000);
    world.send(publisher, &Packet::Publish(publish("t", &text)));
    world.release_store();
    world.unblock(subscriber);
    assert_eq!(world.read(subscriber), ["PUBLISH t (20000 bytes)", "PUBLISH t q2 #1 first", "PUBLISH t q2 #2 second"]);
    world.close_socket(subscriber);
    let again = world.open(&v5_kept("subscriber"));
    let read = world.read(again);
    assert_eq!(read, ["CONNACK success present", "PUBLISH t q2 #1 dup first", "PUBLISH t q2 #2 dup second"]);
}
