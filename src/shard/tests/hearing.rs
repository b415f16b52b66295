//! Clients that several things hold at a time: each is heard when the last of them is over, and is not silent until then.

use super::harness::{Peer, World, v5, v5_kept};
use super::held_packets::{asked, open, says};
use super::many_filters::{names, subscribe_bytes};
use super::rates::{rates, use_profiles};
use super::show::{publish, publish1};
use crate::auth::{Profile, ProfileScope, RateKind, TopicDecision};
use crate::codec::{Connect, Packet, Publish, Version};
use crate::limits::HOLD_BACK_UNACKED_MAX;
use crate::settings::FullQueue;
use crate::shard::{Input, Shard};
use crate::store::LogRoom;

/// Two subscribers and two filters a turn; the work is held. So many clients subscribe to "t".
fn world(subscribers: usize) -> World {
    let mut world = World::with(1, |settings| (settings.subscribers_per_turn, settings.filters_per_slice) = (2, 2));
    world.hold_work();
    for number in 0..subscribers {
        let peer = world.client(&format!("s{number}"));
        world.subscribe(peer, "t", 0);
    }
    world
}

/// From now on the client with this id may publish so many messages a second.
fn limit(world: &mut World, client: &str, per_s: u64) {
    let settings = rates(&[(RateKind::Publish, per_s)]);
    use_profiles(world, vec![Profile { scope: ProfileScope::of_clients([client]), settings }]);
}

/// Messages that are much to be under way, for five subscribers: more than sixteen turns of two.
fn much(message: Publish<'_>) -> Vec<u8> {
    encoded(&vec![Packet::Publish(message); 7])
}

fn encoded(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        packet.encode(Version::V5, &mut bytes);
    }
    bytes
}

fn has_pong(world: &mut World, peer: Peer) -> bool {
    world.read(peer).iter().any(|line| line == "PINGRESP")
}

/// Turns until a peer has been sent an answer to PINGREQ.
fn turns_until_pong(world: &mut World, peer: Peer) -> usize {
    let mut turns = 0;
    while !has_pong(world, peer) {
        world.work_once(0);
        turns += 1;
        assert!(turns < 100, "it is heard again");
    }
    turns
}

#[test]
fn a_pause_that_is_over_leaves_what_comes_behind_to_the_messages_that_are_under_way() {
    let mut world = world(5);
    limit(&mut world, "p", 6);
    let publisher = world.client("p");
    let mut bytes = much(publish("t", "x"));
    bytes.extend(subscribe_bytes(Version::V5, &names(60)));
    bytes.extend(subscribe_bytes(Version::V5, &names(60)));
    world.send_bytes(publisher, &bytes);
    world.pass_ms(200);
    assert!(world.shards[0].delivers_to_many(), "a turn of five");
    let received = world.shards[0].counters().packets_received;
    world.work_once(0);
    assert_eq!(world.shards[0].counters().packets_received, received, "it is not heard yet");
    for _ in 0..10 {
        world.work_once(0);
        world.shards.iter().for_each(Shard::assert_invariants);
    }
    assert_eq!(world.shards[0].counters().packets_received, received + 1, "the second waits for the first");
    world.release_work();
    assert_eq!(world.read(publisher).len(), 2, "a SUBACK each");
}

#[test]
fn messages_under_way_that_are_delivered_leave_what_comes_behind_to_the_pause() {
    let mut world = world(5);
    limit(&mut world, "p", 6);
    let publisher = world.client("p");
    world.send_bytes(publisher, &[much(publish("t", "x")), encoded(&[Packet::PingReq])].concat());
    world.release_work();
    assert!(!world.shards[0].delivers_to_many() && !has_pong(&mut world, publisher));
    world.pass_ms(200);
    assert!(has_pong(&mut world, publisher));
}

#[test]
fn a_publisher_that_adds_to_much_while_a_disk_is_behind_is_heard_when_both_are_over() {
    for is_disk_first in [true, false] {
        let mut world = world(5);
        let publisher = world.client("p");
        world.turn(0, Input::Room { room: LogRoom::Behind });
        // The last of them is kept, and holds for both.
        let mut packets = vec![Packet::Publish(publish("t", "x")); 6];
        packets.push(Packet::Publish(Publish { retain: true, ..publish("t", "x") }));
        packets.push(Packet::PingReq);
        world.send_bytes(publisher, &encoded(&packets));
        if is_disk_first {
            world.turn(0, Input::Room { room: LogRoom::Enough });
            assert!(!has_pong(&mut world, publisher));
            assert!(turns_until_pong(&mut world, publisher) > 2);
        } else {
            (0..10).for_each(|_| world.work_once(0));
            assert!(!world.shards[0].delivers_to_many() && !has_pong(&mut world, publisher));
            world.turn(0, Input::Room { room: LogRoom::Enough });
            assert!(has_pong(&mut world, publisher));
        }
    }
}

#[test]
fn room_in_a_queue_leaves_what_comes_behind_to_the_pause() {
    let mut world = World::with(1, |settings| {
        settings.full_queue = FullQueue::HoldBack;
        (settings.queued_messages_max, settings.inflight_max) = (8, 1);
    });
    let sub = world.connect(&v5_kept("sub"));
    world.subscribe(sub, "t", 1);
    // Four find room; those that wait hold it back with the last, which is over the rate as well.
    let last = 4 + HOLD_BACK_UNACKED_MAX as u16;
    limit(&mut world, "p", u64::from(last) - 1);
    let publisher = world.client("p");
    (1..=last).for_each(|number| world.send(publisher, &Packet::Publish(publish1(number, "t", "x"))));
    assert_eq!(world.shards[0].clients.hold_back.publishers, 1);
    world.send(publisher, &Packet::PingReq);
    world.close_socket(sub);
    assert_eq!(world.shards[0].clients.hold_back.publishers, 0);
    assert!(!has_pong(&mut world, publisher), "it is paused");
    world.pass_ms(100);
    assert!(has_pong(&mut world, publisher));
}

#[test]
fn an_answer_leaves_what_comes_behind_to_the_pause() {
    let mut world = world(0);
    limit(&mut world, "p", 1);
    let publisher = open(&mut world, &v5("p"));
    world.read(publisher);
    world.send(publisher, &Packet::Publish(publish("a", "x")));
    let (ask, _) = asked(&mut world);
    says(&mut world, ask, &[TopicDecision::Allow]);
    world.send(publisher, &Packet::Publish(publish("b", "x")));
    world.send(publisher, &Packet::PingReq);
    let (ask, _) = asked(&mut world);
    says(&mut world, ask, &[TopicDecision::Allow]);
    assert!(!has_pong(&mut world, publisher), "it is paused");
    world.pass_s(1);
    assert!(has_pong(&mut world, publisher));
}

/// What holds a client with a keep alive of two seconds, and takes so many turns.
fn held_by(is_request: bool, turns: usize) -> (World, Peer) {
    let mut world = world(turns);
    let peer = world.connect(&Connect { keep_alive_s: 2, ..v5("p") });
    if is_request {
        world.send_bytes(peer, &subscribe_bytes(Version::V5, &names(2 * turns)));
    } else {
        world.send_bytes(peer, &much(publish("t", "x")));
    }
    (world, peer)
}

#[test]
fn who_is_held_for_long_is_not_silent() {
    for is_request in [true, false] {
        let (mut world, peer) = held_by(is_request, 100);
        world.send(peer, &Packet::PingReq);
        world.pass_s(20);
        assert!(world.read(peer).is_empty(), "it lives, and waits");
        world.release_work();
        assert!(has_pong(&mut world, peer));
        world.pass_s(4);
        assert!(world.read(peer).iter().any(|line| line.contains("keep alive timeout")), "now it is silent");
    }
}

#[test]
fn who_is_heard_again_has_all_of_its_keep_alive_to_say_something() {
    for is_request in [true, false] {
        let (mut world, peer) = held_by(is_request, 40);
        world.pass_ms(2_800);
        world.release_work();
        world.read(peer);
        world.pass_ms(2_500);
        assert!(world.read(peer).is_empty(), "request {is_request}");
        world.pass_s(1);
        assert_eq!(world.read(peer).len(), 2, "DISCONNECT, and the end");
    }
}
