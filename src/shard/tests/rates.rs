//! Clients with profiles: who is over its rate waits, and others do not; bounds of their own.

use std::sync::Arc;

use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{publish, publish1};
use crate::auth::{ClientProfile, OverRate, Profile, ProfileScope, Profiles, RateKind};
use crate::codec::{Connect, Packet, Version};
use crate::limits::{RATE_PAUSE_MIN_MS, RATE_PAUSES_ENDED_PER_TICK};
use crate::settings::ListenerSettings;
use crate::shard::{Command, Event, Input, Shard, UserNameBasis};
use crate::store::LogRoom;
use crate::telemetry::{DropReason, PauseReason, TransportCounters};

/// A world where a profile is about clients with these ids.
fn world_with(shards: usize, clients: &[&str], settings: ClientProfile) -> World {
    let mut world = World::of(shards);
    let scope = ProfileScope::of_clients(clients.iter().copied());
    use_profiles(&mut world, vec![Profile { scope, settings }]);
    world
}

pub(super) fn use_profiles(world: &mut World, profiles: Vec<Profile>) {
    let profiles = Arc::new(Profiles::new(profiles));
    for shard in 0..world.shards.len() {
        world.ask(shard, Command::UseProfiles(Some(Arc::clone(&profiles))));
    }
}

pub(super) fn rates(of: &[(RateKind, u64)]) -> ClientProfile {
    let mut profile = ClientProfile::default();
    for &(kind, per_s) in of {
        profile.rates[kind as usize] = Some(per_s);
    }
    profile
}

fn publish_many(world: &mut World, peer: Peer, count: usize) {
    for number in 0..count {
        world.send(peer, &Packet::Publish(publish("t", &number.to_string())));
    }
}

fn pauses(world: &World, reason: PauseReason) -> u64 {
    world.shards.iter().map(|shard| shard.counters().pauses[reason as usize]).sum()
}

#[test]
fn a_publisher_over_its_rate_is_heard_at_its_rate_and_others_are_not_touched() {
    let mut world = world_with(1, &["fast"], rates(&[(RateKind::Publish, 10)]));
    let (fast, other, sub) = (world.client("fast"), world.client("other"), world.client("sub"));
    world.subscribe(sub, "t", 0);
    publish_many(&mut world, fast, 40);
    assert_eq!(world.read(sub).len(), 11, "a second's worth, and the one that is over it");
    publish_many(&mut world, other, 40);
    assert_eq!(world.read(sub).len(), 40);
    for _ in 0..20 {
        world.pass_ms(100);
        assert!(world.read(sub).len() <= 1);
    }
    world.pass_s(1);
    publish_many(&mut world, fast, 1);
    assert_eq!(world.read(sub).len(), 40 - 11 - 20 + 1, "all of it comes, and in the end nobody waits");
    assert!(world.shards[0].next_deadline().is_some());
    let told =
        world.events.iter().filter(|event| matches!(event, Event::Paused { client_id, .. } if **client_id == *"fast"));
    assert_eq!(told.count(), 1, "once a connection");
    assert!(pauses(&world, PauseReason::PublishRate) > 10);
    world.shards.iter().for_each(Shard::assert_invariants);
}

#[test]
fn bytes_count_as_well_and_one_large_message_is_paid_for_afterwards() {
    let mut world = world_with(1, &["fast"], rates(&[(RateKind::PublishBytes, 1_000)]));
    let (fast, sub) = (world.client("fast"), world.client("sub"));
    world.subscribe(sub, "t", 0);
    world.send(fast, &Packet::Publish(publish("t", &"x".repeat(4_999))));
    publish_many(&mut world, fast, 1);
    assert_eq!(world.read(sub).len(), 1);
    world.pass_ms(3_900);
    assert_eq!(world.read(sub).len(), 0);
    world.pass_ms(200);
    assert_eq!(world.read(sub).len(), 1);
}

#[test]
fn who_is_not_heard_is_not_silent_and_who_leaves_takes_its_pause_with_it() {
    let mut world = world_with(1, &["fast"], rates(&[(RateKind::PublishBytes, 100)]));
    let fast = world.connect(&Connect { keep_alive_s: 2, ..v5("fast") });
    world.send(fast, &Packet::Publish(publish("t", &"x".repeat(3_000))));
    world.send(fast, &Packet::PingReq);
    world.pass_s(20);
    assert!(world.read(fast).is_empty(), "it lives, and waits");
    world.pass_s(10);
    assert_eq!(world.read(fast), ["PINGRESP"]);
    world.pass_s(4);
    assert!(world.read(fast).iter().any(|line| line.contains("keep alive timeout")), "now it is silent");
    let fast = world.client("fast");
    world.send(fast, &Packet::Publish(publish("t", &"x".repeat(3_000))));
    world.close_socket(fast);
    world.cut(fast);
    let again = world.client("fast");
    world.send(again, &Packet::PingReq);
    assert_eq!(world.read(again), ["PINGRESP"]);
    world.shards.iter().for_each(Shard::assert_invariants);
}

#[test]
fn one_that_is_to_be_closed_for_it_is_told_why() {
    let settings = ClientProfile { over_rate: Some(OverRate::Disconnect), ..rates(&[(RateKind::Publish, 2)]) };
    let mut world = world_with(1, &["fast"], settings);
    let fast = world.client("fast");
    publish_many(&mut world, fast, 3);
    let lines = world.read(fast);
    assert!(lines.iter().any(|line| line.contains("message rate too high")), "{lines:?}");
}

#[test]
fn a_subscriber_over_its_rate_loses_qos_0_and_gets_the_rest_later() {
    let mut world = world_with(1, &["slow"], rates(&[(RateKind::Delivery, 5)]));
    let (slow, publisher) = (world.client("slow"), world.client("p"));
    world.subscribe(slow, "t", 1);
    for number in 1..=20 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", &number.to_string())));
    }
    let first = world.read(slow);
    assert_eq!(first.len(), 6);
    publish_many(&mut world, publisher, 3);
    assert_eq!(world.dropped(DropReason::RateLimited), 3);
    (1..=6).for_each(|number| world.ack(slow, crate::codec::AckKind::PubAck, number));
    let mut got = Vec::new();
    for _ in 0..30 {
        world.pass_ms(100);
        got.extend(world.read(slow));
    }
    assert_eq!(got.len(), 14, "{got:?}");
    let payloads: Vec<_> = got.iter().map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned()).collect();
    assert!(
        payloads.is_sorted_by_key(|text| text.trim_matches('"').parse::<u32>().unwrap_or_default()),
        "{payloads:?}"
    );
    assert!(pauses(&world, PauseReason::DeliveryRate) > 0);
    world.shards.iter().for_each(Shard::assert_invariants);
}

#[test]
fn retained_messages_and_what_was_in_flight_come_at_the_rate_as_well() {
    let mut world = world_with(1, &["slow"], rates(&[(RateKind::Delivery, 5)]));
    let publisher = world.client("p");
    for number in 1..=30 {
        let topic = format!("r/{number}");
        let message = crate::codec::Publish { retain: true, ..publish1(number, &topic, "x") };
        world.send(publisher, &Packet::Publish(message));
    }
    let slow = world.connect(&v5_kept("slow"));
    world.subscribe_with(slow, "r/#", options(1), None);
    assert_eq!(world.read(slow).len(), 1 + 6, "SUBACK, and a second's worth and one");
    world.cut(slow);
    world.pass_s(10);
    let (slow, lines) = world.resume(&v5_kept("slow"));
    let again = lines.iter().filter(|line| line.contains("dup")).count();
    assert_eq!((again, lines.len()), (6, 1 + 6), "{lines:?}");
    (1..=6).for_each(|number| world.ack(slow, crate::codec::AckKind::PubAck, number));
    world.pass_s(1);
    let later = world.read(slow);
    assert_eq!(later.len(), 5, "{later:?}");
    world.shards.iter().for_each(Shard::assert_invariants);
}

#[test]
fn clients_of_one_user_have_a_rate_together_on_whatever_shards_they_are() {
    let mut world = World::of(2);
    let mut settings = ClientProfile::default();
    settings.user_rates[RateKind::Publish as usize] = Some(10);
    use_profiles(&mut world, vec![Profile { scope: ProfileScope::default(), settings }]);
    let connect = |world: &mut World, name: &str, user: &'static str| {
        let listener = ListenerSettings { policy: crate::auth::Policy::Admit, ..ListenerSettings::default() };
        let peer = world.open_at(listener, UserNameBasis::Proof, &Connect { username: Some(user), ..v5(name) });
        assert!(world.read(peer)[0].starts_with("CONNACK success"));
        peer
    };
    let names = [world.name_on(0, "a"), world.name_on(1, "a"), world.name_on(0, "b")];
    let (one, two, other) = (
        connect(&mut world, &names[0], "ann"),
        connect(&mut world, &names[1], "ann"),
        connect(&mut world, &names[2], "bob"),
    );
    let sub = world.client("sub");
    world.subscribe(sub, "t", 0);
    publish_many(&mut world, one, 8);
    publish_many(&mut world, two, 8);
    assert_eq!(world.read(sub).len(), 8 + 3);
    publish_many(&mut world, other, 8);
    assert_eq!(world.read(sub).len(), 8, "another user");
    assert_eq!(pauses(&world, PauseReason::UserPublishRate), 1);
}

#[test]
fn subscriptions_queue_and_keep_alive_are_bounded_by_profile() {
    let settings = ClientProfile {
        subscriptions_max: Some(1),
        queued_messages_max: Some(2),
        keep_alive_max_s: Some(30),
        ..ClientProfile::default()
    };
    let mut world = world_with(1, &["small"], settings);
    for (name, keep_alive_s, expected) in [("small", 0, Some(30)), ("small", 10, None), ("large", 0, None)] {
        let (peer, lines) = world.resume(&Connect { keep_alive_s, ..v5(name) });
        let keep_alive = expected.map_or_else(String::new, |seconds: u16| format!(" keep_alive={seconds}"));
        assert_eq!(lines, [format!("CONNACK success{keep_alive}")]);
        world.cut(peer);
    }
    let small = world.connect(&Connect { version: Version::V5, session_expiry_s: 100, ..v5_kept("small") });
    world.subscribe(small, "t", 1);
    world.subscribe_with(small, "u", options(1), None);
    assert!(world.read(small).iter().any(|line| line.contains("151")));
    world.cut(small);
    let publisher = world.client("p");
    for number in 1..=5 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", "x")));
    }
    assert_eq!(world.dropped(DropReason::QueueFull), 3);
}

#[test]
fn a_fast_rate_is_kept_by_pauses_of_some_length() {
    let mut world = world_with(1, &["fast"], rates(&[(RateKind::Publish, 10_000)]));
    let (fast, sub) = (world.client("fast"), world.client("sub"));
    world.subscribe(sub, "t", 0);
    publish_many(&mut world, fast, 10_600);
    world.read(sub);
    let due = world.shards[0].next_deadline().expect("it is paused").0;
    assert!(due >= world.now.ms() + RATE_PAUSE_MIN_MS, "each pause is worth its while");
    world.pass_ms(RATE_PAUSE_MIN_MS);
    let burst = world.read(sub).len();
    assert!((90..=110).contains(&burst), "{burst}: what 10 ms are worth comes at once");
}

#[test]
fn so_many_pauses_end_a_tick() {
    let names: Vec<String> = (0..RATE_PAUSES_ENDED_PER_TICK + 10).map(|number| format!("c{number}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = world_with(1, &ids, rates(&[(RateKind::Publish, 1)]));
    for name in &names {
        let peer = world.client(name);
        publish_many(&mut world, peer, 3);
    }
    world.later_ms(1_000);
    let sub = world.client("sub");
    world.subscribe(sub, "t", 0);
    for expected in [RATE_PAUSES_ENDED_PER_TICK, 10] {
        world.turn(0, Input::Tick { transport: &TransportCounters::default() });
        assert_eq!(world.read(sub).len(), expected);
    }
}

#[test]
fn who_is_over_its_rate_while_a_disk_is_behind_is_heard_when_both_are_over() {
    for is_disk_first in [true, false] {
        let mut world = world_with(1, &["fast"], rates(&[(RateKind::Publish, 1)]));
        let kept = world.connect(&v5_kept("kept"));
        world.subscribe(kept, "t", 1);
        let fast = world.client("fast");
        world.turn(0, Input::Room { room: LogRoom::Behind });
        world.send(fast, &Packet::Publish(publish("nobody's", "m")));
        for number in 1..=2 {
            world.send(fast, &Packet::Publish(publish1(number, "t", "m")));
        }
        let kept_messages = |world: &World| world.recorded.iter().filter(|record| *record == "Message").count();
        assert_eq!(kept_messages(&world), 1);
        let end = |world: &mut World, disk: bool| {
            if disk { world.turn(0, Input::Room { room: LogRoom::Enough }) } else { world.pass_s(5) }
        };
        end(&mut world, is_disk_first);
        assert_eq!(kept_messages(&world), 1, "it still waits for the other");
        end(&mut world, !is_disk_first);
        assert_eq!(kept_messages(&world), 2);
    }
}
