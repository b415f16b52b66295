//! SUBSCRIBE and UNSUBSCRIBE with more filters than one slice: they take several turns, and what comes behind them waits.

use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{publish, publish1, retained};
use crate::codec::{Connect, Disconnect, Packet, SubscribeFilter, Version, encode_subscribe, encode_unsubscribe};
use crate::ids::PacketId;

/// Two filters a slice; the work is held.
fn world(shards: usize) -> World {
    let mut world = World::with(shards, |settings| settings.filters_per_slice = 2);
    world.hold_work();
    world
}

pub(super) fn subscribe_bytes(version: Version, filters: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let filters = filters.iter().map(|filter| SubscribeFilter { filter, options: options(1) });
    encode_subscribe(version, PacketId::new(9).unwrap(), None, filters, &mut bytes);
    bytes
}

fn unsubscribe_bytes(version: Version, filters: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_unsubscribe(version, PacketId::new(10).unwrap(), filters.iter().map(String::as_str), &mut bytes);
    bytes
}

pub(super) fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t/{number}")).collect()
}

fn subscriptions(world: &World) -> u64 {
    world.shards.iter().map(|shard| shard.gauges().subscriptions).sum()
}

#[test]
fn each_turn_does_a_part_and_the_answer_has_a_code_for_each() {
    for shards in [1, 3] {
        let mut world = world(shards);
        let peer = world.client("c");
        let shard = (0..shards).find(|&shard| world.shards[shard].gauges().clients_connected == 1).unwrap();
        world.send_bytes(peer, &subscribe_bytes(Version::V5, &names(7)));
        for expected in [0, 2, 4, 6] {
            assert_eq!(subscriptions(&world), expected);
            assert!(world.read(peer).is_empty());
            world.work_once(shard);
            world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
        }
        assert_eq!((subscriptions(&world), world.read(peer)), (7, vec![format!("SUBACK #9 {:?}", [1; 7])]));
        world.send_bytes(peer, &unsubscribe_bytes(Version::V5, &names(8)));
        assert_eq!(subscriptions(&world), 7);
        world.work_once(shard);
        assert_eq!(subscriptions(&world), 5);
        world.release_work();
        assert_eq!(subscriptions(&world), 0);
        assert_eq!(world.read(peer), [format!("UNSUBACK #10 {:?}", [0, 0, 0, 0, 0, 0, 0, 17])]);
    }
}

#[test]
fn five_thousand_filters_get_five_thousand_codes_and_none_beyond_a_quota() {
    for version in [Version::V311, Version::V5] {
        let mut world = World::with(2, |settings| settings.subscriptions_max = 4_990);
        let peer = world.connect(&Connect::new(version, "c", true));
        world.send_bytes(peer, &subscribe_bytes(version, &names(5_000)));
        let refused = if version == Version::V5 { 0x97 } else { 0x80 };
        let codes: Vec<u8> = (0..5_000).map(|at| if at < 4_990 { 1 } else { refused }).collect();
        assert_eq!(world.read(peer), [format!("SUBACK #9 {codes:?}")]);
        assert_eq!(subscriptions(&world), 4_990);
        world.send_bytes(peer, &unsubscribe_bytes(version, &names(5_000)));
        assert!(world.read(peer)[0].starts_with("UNSUBACK #10"));
        assert_eq!(subscriptions(&world), 0);
    }
}

#[test]
fn what_comes_behind_waits_for_its_turn_and_keeps_its_order() {
    let mut world = world(1);
    let peer = world.client("c");
    let mut bytes = subscribe_bytes(Version::V5, &names(5));
    Packet::Publish(publish1(3, "t/4", "own")).encode(Version::V5, &mut bytes);
    bytes.extend(unsubscribe_bytes(Version::V5, &names(6)));
    Packet::PingReq.encode(Version::V5, &mut bytes);
    Packet::Publish(publish1(4, "t/4", "later")).encode(Version::V5, &mut bytes);
    world.send_bytes(peer, &bytes);
    assert!(world.read(peer).is_empty(), "all of it waits");
    world.release_work();
    assert_eq!(
        world.read(peer),
        [
            "SUBACK #9 [1, 1, 1, 1, 1]",
            "PUBLISH t/4 q1 #1 own",
            "PUBACK #3",
            "UNSUBACK #10 [0, 0, 0, 0, 0, 17]",
            "PINGRESP",
            "PUBACK #4 no matching subscribers"
        ]
    );
    world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
}

#[test]
fn a_goodbye_and_the_end_of_the_socket_wait_too() {
    let mut world = world(1);
    let will = crate::codec::ConnectWill {
        topic: "gone",
        payload: b"x",
        qos: crate::ids::Qos::AtMostOnce,
        retain: false,
        delay_s: 0,
        message_expiry_s: None,
        properties: crate::codec::Forwarded::EMPTY,
    };
    let watcher = world.client("watcher");
    world.subscribe(watcher, "gone", 0);
    for (says_goodbye, publishes_will) in [(true, false), (false, true)] {
        world.hold_work();
        let peer = world.connect(&Connect { will: Some(will), ..v5("c") });
        let mut bytes = subscribe_bytes(Version::V5, &names(5));
        if says_goodbye {
            Packet::Disconnect(Disconnect::default()).encode(Version::V5, &mut bytes);
        }
        world.send_bytes(peer, &bytes);
        world.close_socket(peer);
        world.close_socket(peer);
        assert!(world.read(peer).is_empty());
        world.release_work();
        let reason = if says_goodbye { "client_disconnect" } else { "socket_closed" };
        assert_eq!(world.read(peer).last().unwrap(), &format!("CLOSED {reason}"));
        assert_eq!(world.read(watcher).len(), usize::from(publishes_will), "goodbye {says_goodbye}");
        assert_eq!(subscriptions(&world), 1);
    }
}

#[test]
fn nothing_takes_effect_of_a_packet_whose_last_filter_is_none() {
    let mut world = world(1);
    for (version, code) in [(Version::V5, "DISCONNECT protocol error"), (Version::V311, "CLOSED protocol_error")] {
        let peer = world.connect(&Connect { session_expiry_s: 60, ..Connect::new(version, "c", true) });
        let mut filters = names(40);
        filters.push(String::new());
        world.send_bytes(peer, &subscribe_bytes(version, &filters));
        assert_eq!(subscriptions(&world), 0);
        world.release_work();
        assert_eq!(subscriptions(&world), 0);
        assert_eq!(world.read(peer)[0], code);
        world.hold_work();
    }
}

#[test]
fn a_takeover_ends_what_is_under_way_and_a_kept_session_goes_on() {
    let mut world = world(2);
    let peer = world.connect(&v5_kept("c"));
    world.send_bytes(peer, &subscribe_bytes(Version::V5, &names(7)));
    (0..2).for_each(|shard| world.work_once(shard));
    let (again, lines) = world.resume(&v5_kept("c"));
    assert_eq!(lines, ["CONNACK success present"]);
    assert_eq!(world.read(peer).last().map(String::as_str), Some("CLOSED session_taken_over"));
    world.release_work();
    assert_eq!(subscriptions(&world), 2, "as far as it had come");
    assert!(world.read(again).is_empty());
    world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
}

#[test]
fn retained_messages_come_behind_the_last_of_the_filters() {
    let mut world = world(1);
    let publisher = world.client("pub");
    let topics = names(5);
    for topic in &topics {
        world.send(publisher, &Packet::Publish(retained(publish(topic, "x"))));
    }
    let peer: Peer = world.client("c");
    world.send_bytes(peer, &subscribe_bytes(Version::V5, &topics));
    (0..2).for_each(|_| world.work_once(0));
    assert_eq!((subscriptions(&world), world.read(peer).len()), (4, 0));
    world.release_work();
    let lines = world.read(peer);
    assert_eq!(lines[0], "SUBACK #9 [1, 1, 1, 1, 1]");
    assert_eq!(lines.len(), 6, "{lines:?}");
}
