//! A full disk, and one that is slower than its publishers: who is refused what, who goes on, and how it ends.

use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{publish, publish1, publish2};
use crate::codec::{AckKind, Connect, Packet, Publish, Version};
use crate::limits::BEHIND_RELEASED_PER_TURN;
use crate::shard::{Command, Input, Reply};
use crate::store::LogRoom;
use crate::telemetry::DropReason;

fn set(world: &mut World, shard: usize, room: LogRoom) {
    world.turn(shard, Input::Room { room });
}

fn v311(client_id: &str, clean: bool) -> Connect<'_> {
    Connect::new(Version::V311, client_id, clean)
}

/// A kept session that is away and waits for `kept`, and a clean one that is there, for `clean`.
fn world(shards: usize) -> (World, Peer) {
    let mut world = World::of(shards);
    let name = world.name_on((shards - 1) as u8, "kept");
    let kept = world.connect(&v5_kept(&name));
    world.subscribe(kept, "kept", 2);
    world.subscribe(kept, "at-most-once", 0);
    world.close_socket(kept);
    let clean = world.client("clean");
    world.subscribe(clean, "clean", 2);
    (world, clean)
}

#[test]
fn what_is_to_be_kept_is_refused_and_nothing_else_is() {
    for shards in [1, 3] {
        // Also where another shard's log is short.
        for short in 0..shards {
            let (mut world, clean) = world(shards);
            let name = world.name_on(0, "publisher");
            let publisher = world.client(&name);
            set(&mut world, short, LogRoom::Short);
            let recorded = world.recorded.len();
            world.send(publisher, &Packet::Publish(publish1(1, "kept", "m")));
            world.send(publisher, &Packet::Publish(publish2(2, "kept", "m")));
            world.send(publisher, &Packet::Publish(Publish { retain: true, ..publish1(3, "clean", "m") }));
            assert_eq!(
                world.read(publisher),
                ["PUBACK #1 quota exceeded", "PUBREC #2 quota exceeded", "PUBACK #3 quota exceeded"]
            );
            world.send(publisher, &Packet::Publish(Publish { retain: true, ..publish("clean", "m") }));
            assert_eq!(world.dropped(DropReason::StorageFull), 4);
            assert_eq!(world.recorded[recorded..], [] as [&str; 0], "nothing is written");
            assert!(world.read(clean).is_empty(), "nobody has what was refused");
            world.send(publisher, &Packet::Publish(publish1(4, "clean", "m")));
            world.send(publisher, &Packet::Publish(publish2(5, "clean", "m")));
            world.send(publisher, &Packet::Publish(publish("clean", "m")));
            if shards == 1 {
                // What another shard's sessions are granted is not known here.
                world.send(publisher, &Packet::Publish(publish1(6, "at-most-once", "m")));
            }
            world.send(publisher, &Packet::Publish(publish1(7, "nobody's", "m")));
            assert_eq!(world.read(clean).len(), 3);
            let read = world.read(publisher);
            let expected = if shards == 1 { 4 } else { 3 };
            assert!(read.len() == expected && read.iter().all(|line| !line.contains("quota")), "{read:?}");
            set(&mut world, short, LogRoom::Enough);
            world.send(publisher, &Packet::Publish(publish1(8, "kept", "m")));
            assert_eq!(world.read(publisher), ["PUBACK #8"]);
        }
    }
}

/// MQTT 3.1.1 has no word for it: an acknowledgement would be a lie.
#[test]
fn a_client_before_5_0_is_closed_without_an_acknowledgement() {
    let (mut world, _) = world(1);
    set(&mut world, 0, LogRoom::Short);
    for qos in [1, 2] {
        let publisher = world.connect(&v311("old", true));
        let message = if qos == 1 { publish1(1, "kept", "m") } else { publish2(1, "kept", "m") };
        world.send(publisher, &Packet::Publish(message));
        assert_eq!(world.read(publisher), ["CLOSED resources"]);
    }
    // QoS 0 is never acknowledged.
    let publisher = world.connect(&v311("old", true));
    world.send(publisher, &Packet::Publish(Publish { retain: true, ..publish("clean", "m") }));
    assert!(world.read(publisher).is_empty());
    assert_eq!(world.dropped(DropReason::StorageFull), 3);
}

#[test]
fn a_publisher_that_is_kept_cannot_open_an_exchange_and_can_end_one() {
    let mut world = World::new();
    let publisher = world.connect(&v5_kept("publisher"));
    world.send(publisher, &Packet::Publish(publish2(1, "t", "m")));
    world.read(publisher);
    set(&mut world, 0, LogRoom::Short);
    world.ack(publisher, AckKind::PubRel, 1);
    assert_eq!(world.read(publisher), ["PUBCOMP #1"]);
    world.send(publisher, &Packet::Publish(publish2(2, "t", "m")));
    assert_eq!(world.read(publisher), ["PUBREC #2 quota exceeded"]);
}

#[test]
fn sessions_and_subscriptions_that_would_be_kept_are_refused_and_what_is_there_goes_on() {
    let (mut world, clean) = world(1);
    set(&mut world, 0, LogRoom::Short);
    let new = world.open(&v5_kept("new"));
    assert_eq!(world.read(new), ["CONNACK quota exceeded", "CLOSED no_room"]);
    let new = world.open(&v311("new", false));
    assert_eq!(world.read(new), ["CONNACK server unavailable", "CLOSED unavailable"]);
    world.connect(&v311("new", true));
    world.connect(&v5("newer"));
    let name = world.name_on(0, "kept");
    let (kept, read) = world.resume(&v5_kept(&name));
    assert_eq!(read, ["CONNACK success present"]);
    world.subscribe_with(kept, "new", options(1), None);
    world.subscribe_with(kept, "kept", options(2), None);
    assert_eq!(world.read(kept), ["SUBACK #1 [151]", "SUBACK #1 [2]"]);
    world.unsubscribe(kept, "kept");
    world.subscribe(clean, "another", 1);
    // What ends is gone for good.
    world.close_socket(kept);
    let again = world.connect(&v5(&name));
    world.close_socket(again);
    assert_eq!(world.shards[0].holdings().sessions, 3);
    set(&mut world, 0, LogRoom::Enough);
    world.connect(&v5_kept("new"));
}

#[test]
fn what_was_kept_is_delivered_and_deleted_meanwhile() {
    let (mut world, _) = world(1);
    let publisher = world.client("publisher");
    for number in 1..=3 {
        world.send(publisher, &Packet::Publish(publish2(number, "kept", "m")));
        world.ack(publisher, AckKind::PubRel, number);
    }
    world.send(publisher, &Packet::Publish(Publish { retain: true, ..publish1(4, "r", "m") }));
    world.read(publisher);
    set(&mut world, 0, LogRoom::Short);
    world.send(publisher, &Packet::Publish(Publish { retain: true, ..publish1(5, "r", "") }));
    assert!(!world.read(publisher)[0].contains("quota"), "a deletion");
    let name = world.name_on(0, "kept");
    let (kept, _) = world.resume(&v5_kept(&name));
    for number in 1..=3 {
        world.ack(kept, AckKind::PubRec, number);
        world.ack(kept, AckKind::PubComp, number);
    }
    let stored = &world.durable[0];
    assert_eq!(stored.sessions().map(|(_, session)| session.deliveries.len()).sum::<usize>(), 0);
    assert!(stored.retained.values().all(|retained| retained.message.is_none()));
}

#[test]
fn a_will_that_was_promised_is_kept() {
    let (mut world, _) = world(1);
    let will = super::will::will(0);
    let heir = world.connect(&v5_kept("heir"));
    world.subscribe(heir, will.topic, 1);
    world.close_socket(heir);
    let testator = world.connect(&Connect { will: Some(will), ..v5_kept("testator") });
    set(&mut world, 0, LogRoom::Short);
    world.close_socket(testator);
    assert_eq!(world.resume(&v5_kept("heir")).1.len(), 2, "CONNACK and the will");
}

#[test]
fn an_operator_is_told_as_well() {
    let (mut world, _) = world(1);
    set(&mut world, 0, LogRoom::Short);
    let message = |topic| {
        let borrowed = crate::session::delivery::tests::delivery(topic).message;
        Command::Publish(borrowed)
    };
    assert!(matches!(world.ask(0, message("kept")), Reply::NotNow(text) if text.contains("the disk is full")));
    assert!(matches!(world.ask(0, message("clean")), Reply::Published { matched: true }));
    assert_eq!(world.shards[0].gauges().logs_short, 1);
}

#[test]
fn members_of_a_shared_subscription_that_nobody_keeps_go_on() {
    for member_shard in [0, 1] {
        let mut world = World::of(2);
        let name = world.name_on(member_shard, "member");
        let member = world.client(&name);
        world.subscribe(member, "$share/g/t", 1);
        let name = world.name_on(0, "publisher");
        let publisher = world.client(&name);
        set(&mut world, 0, LogRoom::Short);
        world.send(publisher, &Packet::Publish(publish1(1, "t", "m")));
        assert_eq!((world.read(publisher), world.read(member).len()), (vec!["PUBACK #1".to_owned()], 1));
        set(&mut world, 0, LogRoom::Enough);
        let name = world.name_on(member_shard, "kept-member");
        let kept = world.connect(&v5_kept(&name));
        world.subscribe(kept, "$share/g/t", 1);
        set(&mut world, 0, LogRoom::Short);
        world.send(publisher, &Packet::Publish(publish1(2, "t", "m")));
        assert_eq!(world.read(publisher), ["PUBACK #2 quota exceeded"]);
    }
}

#[test]
fn who_publishes_what_is_kept_is_not_read_while_a_log_is_behind_and_others_are() {
    for shards in [1, 2] {
        let (mut world, clean) = world(shards);
        let name = world.name_on(0, "publisher");
        let publisher = world.client(&name);
        let other = world.client("other");
        set(&mut world, shards - 1, LogRoom::Behind);
        world.hold_store();
        for number in 1..=3 {
            world.send(publisher, &Packet::Publish(publish1(number, "kept", "m")));
            world.send(other, &Packet::Publish(publish1(number, "clean", "m")));
            world.send(other, &Packet::Publish(publish("clean", "m")));
        }
        assert_eq!((world.read(clean).len(), world.read(other).len()), (6, 3));
        let messages = |world: &World| world.recorded.iter().filter(|record| *record == "Message").count();
        assert_eq!(messages(&world), 1, "what came behind it waits");
        // Nobody takes it for silent.
        world.pass_s(600);
        world.release_store();
        assert_eq!(world.read(publisher), ["PUBACK #1"]);
        set(&mut world, shards - 1, LogRoom::Enough);
        assert_eq!(world.read(publisher), ["PUBACK #2", "PUBACK #3"]);
        assert_eq!(messages(&world), 3);
    }
}

#[test]
fn a_qos_0_message_that_is_retained_is_kept_as_well() {
    let (mut world, _) = world(1);
    let publisher = world.client("publisher");
    set(&mut world, 0, LogRoom::Behind);
    for text in ["1", "2"] {
        world.send(publisher, &Packet::Publish(Publish { retain: true, ..publish("r", text) }));
    }
    assert_eq!(world.shards[0].gauges().retained_messages, 1);
    assert_eq!(world.recorded.iter().filter(|record| *record == "Retained").count(), 1);
    set(&mut world, 0, LogRoom::Enough);
    assert_eq!(world.recorded.iter().filter(|record| *record == "Retained").count(), 2);
}

#[test]
fn a_turn_reads_so_many_of_them_again() {
    let (mut world, _) = world(1);
    let names: Vec<String> = (0..BEHIND_RELEASED_PER_TURN + 10).map(|number| format!("publisher-{number}")).collect();
    let publishers: Vec<Peer> = names.iter().map(|name| world.client(name)).collect();
    set(&mut world, 0, LogRoom::Behind);
    for &publisher in &publishers {
        world.send(publisher, &Packet::Publish(publish1(1, "kept", "m")));
        world.send(publisher, &Packet::PingReq);
        assert_eq!(world.read(publisher), ["PUBACK #1"]);
    }
    // One of them has gone meanwhile, as far as its shard is concerned.
    world.connect(&v5(&names[0]));
    world.hold_work();
    set(&mut world, 0, LogRoom::Enough);
    let read = |world: &mut World| publishers[1..].iter().filter(|&&peer| !world.read(peer).is_empty()).count();
    assert_eq!(read(&mut world), BEHIND_RELEASED_PER_TURN - 1);
    world.release_work();
    assert_eq!(read(&mut world), 10);
}
