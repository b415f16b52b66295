//! What crosses to another shard once, whenever the process is killed: two logs, and what they come to together.

use super::harness::{Peer, World, v5_kept};
use super::show::{publish, publish2, retained};
use super::will::will;
use crate::codec::{AckKind, Connect, ConnectWill, Packet};
use crate::ids::{PacketId, Qos, ShardId};
use crate::limits::TOMBSTONE_S;

/// A kept publisher on shard 0 and a kept subscriber on shard 1.
fn pair() -> (World, Peer, Peer) {
    let mut world = World::of(2);
    let publisher = world.connect(&v5_kept(&world.name_on(0, "pub")));
    let subscriber = world.connect(&v5_kept(&world.name_on(1, "sub")));
    world.subscribe(subscriber, "t", 2);
    (world, publisher, subscriber)
}

/// After a crash at this moment: whether the publisher's message is taken for a repetition, and how often it would arrive.
fn after_a_crash(world: &World) -> (bool, usize) {
    let [sender, receiver] = &world.durable[..] else { panic!("two shards") };
    let is_open = sender.sessions().any(|(_, session)| session.exchanges.contains(&PacketId::MIN));
    let queued: usize = receiver.sessions().map(|(_, session)| session.deliveries.len()).sum();
    let taken = receiver.mailbox.taken_from(ShardId(0));
    let again = sender.mailbox.forwards(ShardId(1)).filter(|forward| forward.number > taken).count();
    (is_open, queued + again)
}

#[test]
fn a_qos_2_message_of_a_kept_session_arrives_once_whenever_the_process_is_killed() {
    for slow in [0, 1] {
        let (mut world, publisher, subscriber) = pair();
        assert_eq!(after_a_crash(&world), (false, 0));
        world.set_slow_store(Some(slow));
        world.send(publisher, &Packet::Publish(publish2(1, "t", "m")));
        let expected = if slow == 0 { (false, 0) } else { (true, 1) };
        assert_eq!(after_a_crash(&world), expected, "log {slow} is slow");
        assert!(world.read(publisher).is_empty() && world.read(subscriber).is_empty());
        world.set_slow_store(None);
        assert_eq!(after_a_crash(&world), (true, 1));
        assert_eq!(world.read(publisher), ["PUBREC #1"]);
        assert_eq!(world.read(subscriber), ["PUBLISH t q2 #1 m"]);
        world.ack(subscriber, AckKind::PubRec, 1);
        world.ack(subscriber, AckKind::PubComp, 1);
        assert_eq!(after_a_crash(&world), (true, 0), "it has arrived, and is not sent again");
    }
}

#[test]
fn what_came_to_nothing_is_counted_all_the_same() {
    let (mut world, publisher, subscriber) = pair();
    world.hold_mesh();
    world.send(publisher, &Packet::Publish(publish2(1, "t", "m")));
    world.unsubscribe_silently(subscriber, "t");
    world.release_mesh();
    assert_eq!(after_a_crash(&world), (true, 0));
    assert_eq!(world.durable[1].mailbox.taken_from(ShardId(0)), 1);
}

#[test]
fn a_kept_sessions_will_is_cleared_and_sent_in_one_change() {
    let (mut world, ..) = pair();
    let leaver = world.name_on(0, "leaver");
    let left = ConnectWill { topic: "t", qos: Qos::AtLeastOnce, ..will(0) };
    let peer = world.connect(&Connect { will: Some(left), ..v5_kept(&leaver) });
    let has_will = |world: &World| world.durable[0].sessions().any(|(_, session)| session.will.is_some());
    assert!(has_will(&world));
    world.set_slow_store(Some(0));
    world.cut(peer);
    assert_eq!((has_will(&world), after_a_crash(&world).1), (true, 0), "it is published after the restart");
    world.set_slow_store(None);
    assert_eq!((has_will(&world), after_a_crash(&world).1), (false, 1));
}

#[test]
fn messages_of_one_publisher_keep_their_order_whoever_keeps_them() {
    let (mut world, publisher, _) = pair();
    let clean = world.client(&world.name_on(1, "clean"));
    world.subscribe(clean, "#", 2);
    world.hold_store();
    // The second is for nobody who keeps it.
    for (number, topic) in [(1, "t"), (2, "u"), (3, "t")] {
        world.send(publisher, &Packet::Publish(publish2(number, topic, "m")));
    }
    assert!(world.read(clean).is_empty());
    world.release_store();
    assert_eq!(world.read(clean), ["PUBLISH t q2 #1 m", "PUBLISH u q2 #2 m", "PUBLISH t q2 #3 m"]);
}

#[test]
fn a_retained_message_that_waits_for_longer_than_deletions_are_remembered_stays_deleted() {
    let mut world = World::of(2);
    let publisher = world.connect(&v5_kept(&world.name_on(0, "publisher")));
    world.set_slow_store(Some(0));
    world.send(publisher, &Packet::Publish(retained(publish2(1, "r", "m"))));
    let deleter = world.client(&world.name_on(1, "deleter"));
    world.send(deleter, &Packet::Publish(retained(publish("r", ""))));
    world.pass_s(u64::from(TOMBSTONE_S) + 5);
    world.set_slow_store(None);
    assert_eq!(world.read(publisher), ["PUBREC #1 no matching subscribers"]);
    for shard in 0..2 {
        assert_eq!(world.shards[shard].gauges().retained_messages, 0, "on shard {shard}");
        let late = world.client(&world.name_on(shard as u8, "late"));
        world.subscribe(late, "r", 1);
    }
    world.pass_s(2);
    let entries = world.shards.iter().map(|shard| shard.holdings().retained_entries);
    assert_eq!(entries.sum::<usize>(), 0, "nothing waits for it to be remembered");
}

#[test]
fn after_a_restart_numbers_go_on_and_what_was_not_taken_over_is_sent_again() {
    let (mut world, publisher, _) = pair();
    world.hold_mesh();
    world.send(publisher, &Packet::Publish(publish2(1, "t", "m")));
    let sent_again = world.restore_forwards(0);
    assert_eq!(sent_again, 1, "the other shard has not taken it over");
    world.release_mesh();
    // The first one was taken over, and so was its repetition, which the test alone has brought about.
    assert_eq!(world.durable[1].mailbox.taken_from(ShardId(0)), 1);
    world.send(publisher, &Packet::Publish(publish2(2, "t", "n")));
    assert_eq!(world.durable[1].mailbox.taken_from(ShardId(0)), 2, "its number is the next");
}
