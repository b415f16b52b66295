//! What is not taken is counted by its cause, and who comes and goes too often is turned away.

use std::sync::Arc;

use super::access::{come_in, use_rules};
use super::harness::{Peer, World, options, v5, v5_kept};
use super::show::{publish, publish1, retained};
use crate::auth::BanList;
use crate::codec::{Connect, Packet, Version};
use crate::settings::{Acceptance, ListenerSettings, Settings};
use crate::shard::{Command, Event, Reply, Shard, UserNameBasis};
use crate::telemetry::{CloseReason, RequestRefusal};

fn publishes(world: &World, cause: RequestRefusal) -> u64 {
    world.shards.iter().map(|shard| shard.counters().publishes_refused[cause as usize]).sum()
}

fn filters(world: &World, cause: RequestRefusal) -> u64 {
    world.shards.iter().map(|shard| shard.counters().filters_refused[cause as usize]).sum()
}

#[test]
fn a_message_that_is_not_taken_is_counted_by_its_cause() {
    let mut world = World::with(2, |settings| {
        settings.message_size_max_bytes = 10;
        settings.retained_max = 1;
    });
    use_rules(&mut world, "user ann\ntopic readwrite #\ntopic deny secret\n");
    let (ann, _) = come_in(&mut world, "ann", &v5("c1"));
    for (topic, payload, cause) in [
        ("secret", "x", RequestRefusal::AccessDenied),
        ("$SYS/x", "x", RequestRefusal::AccessDenied),
        ("a", "longer than it may be", RequestRefusal::MessageTooLarge),
    ] {
        let before = publishes(&world, cause);
        world.send(ann, &Packet::Publish(publish1(1, topic, payload)));
        assert_eq!(publishes(&world, cause), before + 1, "{topic}");
    }
    for topic in ["kept/1", "kept/2"] {
        world.send(ann, &Packet::Publish(retained(publish(topic, "x"))));
    }
    assert_eq!(publishes(&world, RequestRefusal::RetainedFull), 1);
    let mut world = World::of(1);
    let peer = world.client("c");
    world.send(peer, &Packet::Publish(publish1(1, "$mine", "x")));
    assert_eq!(publishes(&world, RequestRefusal::TopicRefused), 1);
}

fn ask_for(world: &mut World, peer: Peer, filter: &str, cause: RequestRefusal) {
    let before = filters(world, cause);
    world.subscribe_with(peer, filter, options(0), None);
    assert!(world.read(peer)[0].starts_with("SUBACK #1 [1"), "{filter} is refused");
    assert_eq!(filters(world, cause), before + 1, "{filter}");
}

#[test]
fn a_filter_that_is_not_granted_is_counted_by_its_cause() {
    let mut world = World::with(2, |settings| {
        settings.control_characters = Acceptance::Refuse;
        settings.topic_levels_max = 3;
        settings.subscriptions_max = 1;
    });
    use_rules(&mut world, "user ann\ntopic readwrite open/#\n");
    let (ann, _) = come_in(&mut world, "ann", &v5("c1"));
    ask_for(&mut world, ann, "secret", RequestRefusal::AccessDenied);
    ask_for(&mut world, ann, "open/\u{1}", RequestRefusal::TopicRefused);
    ask_for(&mut world, ann, "open/1/2/3", RequestRefusal::TopicRefused);
    world.subscribe(ann, "open/1", 0);
    ask_for(&mut world, ann, "open/2", RequestRefusal::SubscriptionsFull);
    assert_eq!(RequestRefusal::OF_SUBSCRIBE.map(|cause| filters(&world, cause)).iter().sum::<u64>(), 4);
}

#[test]
fn whoever_is_on_the_list_of_bans_is_refused_from_then_on_and_stays_if_he_is_connected() {
    let mut world = World::of(2);
    let list = |text: &str| Command::UseBanList(Some(Arc::new(BanList::parse(text).unwrap())));
    let evil = world.client("evil");
    for shard in 0..2 {
        assert_eq!(world.ask(shard, list("client evil\nclient worse\n")), Reply::Done);
    }
    world.send(evil, &Packet::PingReq);
    assert_eq!(world.read(evil), ["PINGRESP"]);
    for id in ["evil", "worse"] {
        let peer = world.open(&v5(id));
        assert_eq!(world.read(peer), ["CONNACK banned", "CLOSED banned"], "{id}");
    }
    world.client("good");
    for shard in 0..2 {
        assert_eq!(world.ask(shard, list("client worse\n")), Reply::Done);
    }
    world.connect(&v5("evil"));
}

const TURNED_AWAY: [&str; 2] = ["CONNACK banned", "CLOSED flapping"];

fn flapping(shards: usize) -> World {
    World::with(shards, |settings| (settings.flapping_after, settings.flapping_time_s) = (3, 60))
}

fn come_and_go(world: &mut World, connect: &Connect<'_>) {
    let peer = world.open(connect);
    assert!(world.read(peer)[0].starts_with("CONNACK success"));
    world.cut(peer);
}

#[test]
fn a_client_id_that_comes_and_goes_is_turned_away_for_a_while_and_others_are_not() {
    for shards in [1, 5] {
        let mut world = flapping(shards);
        for connect in [v5("loop"), v5_kept("kept"), Connect::new(Version::V311, "old", true)] {
            (0..3).for_each(|_| come_and_go(&mut world, &connect));
            for _ in 0..2 {
                let peer = world.open(&connect);
                let answer = world.read(peer);
                assert_eq!(answer[1], TURNED_AWAY[1], "{answer:?}");
                assert!(!answer[0].starts_with("CONNACK success"), "{answer:?}");
            }
            come_and_go(&mut world, &v5("another"));
            world.pass_ms(61_000);
            come_and_go(&mut world, &connect);
        }
        let told = world.events.iter().filter(|event| matches!(event, Event::Flapping { .. })).count();
        assert_eq!(told, 3, "once a ban");
        let closes = |shard: &Shard| shard.counters().closes[CloseReason::Flapping as usize];
        assert_eq!(world.shards.iter().map(closes).sum::<u64>(), 6);
    }
}

#[test]
fn a_takeover_counts_as_a_coming_and_whoever_is_connected_stays() {
    let mut world = flapping(1);
    let mut holder = world.connect(&v5("c"));
    for _ in 0..2 {
        holder = world.connect(&v5("c"));
    }
    let late = world.open(&v5("c"));
    assert_eq!(world.read(late), TURNED_AWAY);
    world.send(holder, &Packet::PingReq);
    assert_eq!(world.read(holder), ["PINGRESP"]);
}

#[test]
fn services_of_the_broker_are_not_counted_and_a_reload_lifts_all_bans() {
    let mut world = flapping(1);
    for _ in 0..10 {
        let service = v5("$bridge/b");
        let peer = world.open_at(ListenerSettings::internal(), UserNameBasis::Claim, &service);
        assert!(world.read(peer)[0].starts_with("CONNACK success"));
        world.cut(peer);
    }
    (0..3).for_each(|_| come_and_go(&mut world, &v5("loop")));
    let late = world.open(&v5("loop"));
    assert_eq!(world.read(late), TURNED_AWAY);
    let off = Settings { sys_interval_s: 0, ..Settings::default() };
    assert_eq!(world.ask(0, Command::Reload(Arc::new(off))), Reply::Done);
    (0..10).for_each(|_| come_and_go(&mut world, &v5("loop")));
}
