//! Shared subscriptions: what becomes of a member's messages when its session ends (MQTT 5.0, 4.8.2).

use super::harness::{Peer, World, v5, v5_kept};
use super::show::{publish1, publish2};
use crate::codec::{AckKind, Connect, Packet};
use crate::telemetry::DropReason;

/// One member of `$share/g/t` on each shard, with QoS 2 and this receive maximum.
fn members(world: &mut World, receive_maximum: u16) -> Vec<Peer> {
    let names: Vec<String> = (0..world.shards.len()).map(|shard| world.name_on(shard as u8, "m")).collect();
    let member = |name: &String| {
        let peer = world.connect(&Connect { receive_maximum, ..v5(name) });
        world.subscribe(peer, "$share/g/t", 2);
        peer
    };
    names.iter().map(member).collect()
}

fn publish_many(world: &mut World, numbers: std::ops::RangeInclusive<u16>) {
    let publisher = world.client(&world.name_on(0, "pub"));
    for number in numbers {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &number.to_string())));
    }
    assert!(world.read(publisher).iter().all(|line| line.starts_with("PUBACK")));
}

/// The payloads of what a peer was sent, which is no repetition.
fn payloads(world: &mut World, peer: Peer) -> Vec<u16> {
    let lines = world.read(peer);
    assert!(lines.iter().all(|line| line.starts_with("PUBLISH t q") && !line.contains("dup")), "{lines:?}");
    lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn messages_that_a_member_never_acknowledged_go_to_the_others_in_order() {
    for (shards, per_turn) in [(1, 256), (3, 256), (3, 2)] {
        let mut world = World::with(shards, |settings| settings.subscriptions_per_turn = per_turn);
        let mut peers = members(&mut world, 3);
        while peers.len() < 3 {
            let peer = world.client(&format!("another-{}", peers.len()));
            world.subscribe(peer, "$share/g/t", 1);
            peers.push(peer);
        }
        publish_many(&mut world, 1..=30);
        let mut arrived = Vec::new();
        let dying = peers.remove(0);
        for &peer in &peers {
            arrived.append(&mut payloads(&mut world, peer));
        }
        let lines = world.read(dying);
        assert_eq!(lines.len(), 3, "the rest is in its queue: {lines:?}");
        world.cut(dying);
        world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
        for &peer in &peers {
            for round in 0..30 {
                let more = payloads(&mut world, peer);
                assert!(more.is_sorted(), "{more:?}");
                arrived.extend(more);
                world.ack(peer, AckKind::PubAck, round + 1);
            }
            arrived.append(&mut payloads(&mut world, peer));
        }
        arrived.sort_unstable();
        assert_eq!(arrived, (1..=30).collect::<Vec<u16>>(), "{shards} shards, {per_turn} a turn");
        assert_eq!(world.dropped(DropReason::SessionEnded), 0);
        assert_eq!(world.shards.iter().map(|shard| shard.holdings().ended_sessions).sum::<usize>(), 0);
    }
}

#[test]
fn a_qos_2_message_that_was_sent_goes_to_nobody_else() {
    let mut world = World::of(2);
    let peers = members(&mut world, 1);
    let publisher = world.client(&world.name_on(0, "pub"));
    for number in 1..=4 {
        world.send(publisher, &Packet::Publish(publish2(number, "t", &number.to_string())));
    }
    let sent = payloads(&mut world, peers[0]);
    assert_eq!(sent.len(), 1, "the other one waits in its queue");
    world.cut(peers[0]);
    let mut arrived = payloads(&mut world, peers[1]);
    for number in 1..=3 {
        world.ack(peers[1], AckKind::PubRec, number);
        world.ack(peers[1], AckKind::PubComp, number);
        let lines = world.read(peers[1]);
        let published = lines.iter().filter_map(|line| line.strip_prefix("PUBLISH"));
        arrived.extend(published.map(|line| line.rsplit(' ').next().unwrap().parse::<u16>().unwrap()));
    }
    arrived.sort_unstable();
    let expected: Vec<u16> = (1..=4).filter(|number| !sent.contains(number)).collect();
    assert_eq!(arrived, expected, "[MQTT-4.8.2-5]");
    assert_eq!(world.dropped(DropReason::SessionEnded), 1);
}

#[test]
fn a_kept_session_keeps_its_messages_until_it_expires() {
    let mut world = World::of(2);
    let name = world.name_on(0, "kept");
    let kept = world.connect(&Connect { session_expiry_s: 5, ..v5_kept(&name) });
    world.subscribe(kept, "$share/g/t", 1);
    publish_many(&mut world, 1..=2);
    assert_eq!(payloads(&mut world, kept), [1, 2]);
    world.cut(kept);
    let other = world.client(&world.name_on(1, "other"));
    world.subscribe(other, "$share/g/t", 1);
    world.pass_s(4);
    assert!(world.read(other).is_empty(), "its client may come back");
    world.pass_s(2);
    assert_eq!(payloads(&mut world, other), [1, 2]);
    let ended = world.recorded.iter().position(|record| record == "SessionEnded").expect("it has ended");
    let lets_go = |record: &String| ["Forward", "Queued", "Dropped"].contains(&record.as_str());
    assert!(!world.recorded[ended..].iter().any(lets_go), "after whatever others owe instead: {:?}", world.recorded);
}

#[test]
fn who_unsubscribes_before_it_goes_leaves_its_messages_to_the_others() {
    let mut world = World::of(2);
    let peers = members(&mut world, 100);
    publish_many(&mut world, 1..=10);
    let (sent, mut arrived) = (payloads(&mut world, peers[0]), payloads(&mut world, peers[1]));
    world.unsubscribe(peers[0], "$share/g/t");
    assert!(world.read(peers[1]).is_empty(), "it may still acknowledge them");
    world.ack(peers[0], AckKind::PubAck, 1);
    world.cut(peers[0]);
    arrived.append(&mut payloads(&mut world, peers[1]));
    arrived.push(sent[0]);
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=10).collect::<Vec<u16>>());
}

#[test]
fn messages_of_a_group_without_members_are_dropped_and_counted() {
    let mut world = World::new();
    let member = members(&mut world, 2)[0];
    publish_many(&mut world, 1..=5);
    world.unsubscribe(member, "$share/g/t");
    // A group that comes to have the number of the one that is gone.
    let other = world.client("other");
    world.subscribe(other, "$share/other/t", 1);
    world.cut(member);
    assert!(world.read(other).is_empty(), "another group is not entitled to them");
    assert_eq!(world.dropped(DropReason::SessionEnded), 5);
    assert_eq!(world.shards[0].gauges().stored_messages, 0);
}

#[test]
fn what_came_by_a_plain_subscription_ends_with_its_session() {
    let mut world = World::new();
    let leaving = world.client("leaving");
    world.subscribe(leaving, "t", 1);
    let staying = members(&mut world, 100)[0];
    publish_many(&mut world, 1..=3);
    assert_eq!(payloads(&mut world, staying), [1, 2, 3]);
    assert_eq!(payloads(&mut world, leaving), [1, 2, 3]);
    world.cut(leaving);
    assert!(world.read(staying).is_empty());
    assert_eq!(world.dropped(DropReason::SessionEnded), 3);
}

#[test]
fn a_long_queue_is_handed_over_in_turns() {
    let mut world = World::with(2, |settings| settings.subscriptions_per_turn = 4);
    let leaving = world.connect(&Connect { receive_maximum: 1, ..v5(&world.name_on(0, "leaving")) });
    world.subscribe(leaving, "$share/g/t", 1);
    publish_many(&mut world, 1..=20);
    assert_eq!(payloads(&mut world, leaving), [1]);
    let staying = world.client(&world.name_on(1, "staying"));
    world.subscribe(staying, "$share/g/t", 1);
    world.hold_work();
    world.cut(leaving);
    assert!(world.read(staying).is_empty());
    let mut arrived = Vec::new();
    for _ in 0..4 {
        world.work_once(0);
        world.shards[0].assert_invariants();
        let part = payloads(&mut world, staying);
        assert_eq!(part.len(), 4, "one turn's part");
        arrived.extend(part);
    }
    assert_eq!(world.shards[0].holdings().ended_sessions, 1);
    world.release_work();
    arrived.append(&mut payloads(&mut world, staying));
    assert_eq!(arrived, (1..=20).collect::<Vec<u16>>());
    assert_eq!(world.shards[0].holdings().ended_sessions, 0);
}
