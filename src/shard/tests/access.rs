//! Access rules on every way that a message takes: live, retained, queued, sent again, as a will, by a shared subscription; by the
//! rule for publishing, the rule for subscribing, and after the rules have changed.

use std::sync::Arc;

use super::harness::{Peer, World, id, options, v5, v5_kept};
use super::show::{publish, publish1, publish2, retained};
use super::will::will;
use crate::auth::acl::{RuleSet, parse_mosquitto};
use crate::auth::{Policy, Verdict};
use crate::codec::{Connect, ConnectWill, Packet, SubscribeFilter, Version, encode_subscribe};
use crate::ids::ShardId;
use crate::limits::{ACL_FILTERS_COST, ACL_REVIEWS_PER_TURN};
use crate::settings::{Acceptance, DeniedPublish, Settings};
use crate::shard::{Command, Event, Input, Reply};
use crate::telemetry::DropReason;

const RULES: &str = "user ann\ntopic readwrite a/#\ntopic deny a/secret/#\ntopic read b\nuser bob\ntopic read #\ntopic write a/#\n\
                     topic write b\ntopic read $SYS/#\npattern write dev/%c\n";

pub(super) fn rules(text: &str) -> Arc<RuleSet> {
    Arc::new(parse_mosquitto(text).unwrap())
}

pub(super) fn use_rules(world: &mut World, text: &str) {
    for shard in 0..world.shards.len() {
        assert_eq!(world.ask(shard, Command::UseRules(Some(rules(text)))), Reply::Done);
    }
}

fn world_with(shards: usize, choose: impl FnOnce(&mut Settings)) -> World {
    let mut world = World::with(shards, choose);
    use_rules(&mut world, RULES);
    world
}

/// A client whose user name somebody has verified, and what it is sent at first.
pub(super) fn come_in(world: &mut World, user: &str, connect: &Connect<'_>) -> (Peer, Vec<String>) {
    let connect = Connect { username: Some(user), password: Some(b"x"), ..*connect };
    let peer = world.open_by(Policy::Ask, &connect);
    let ask = world.asks.pop().expect("the shard asks").id;
    let shard = ShardId::owner_of(connect.client_id, world.shards.len()).index();
    world.turn(shard, Input::Verdict { ask, verdict: Verdict::Admit });
    let answer = world.read(peer);
    (peer, answer)
}

fn client(world: &mut World, user: &str, client_id: &str) -> Peer {
    let (peer, answer) = come_in(world, user, &v5(client_id));
    assert_eq!(answer, ["CONNACK success"]);
    peer
}

/// The code that SUBACK has for a filter.
fn suback(world: &mut World, peer: Peer, filter: &str) -> String {
    world.subscribe_with(peer, filter, options(1), None);
    let answer = world.read(peer);
    let code = answer.iter().find_map(|line| line.strip_prefix("SUBACK #1 ")).unwrap_or_else(|| panic!("{answer:?}"));
    code.to_owned()
}

#[test]
fn what_may_not_be_published_is_refused_with_0x87_and_its_client_stays() {
    let mut world = world_with(2, |_| {});
    let (ann, bob) = (client(&mut world, "ann", "c1"), client(&mut world, "bob", "c2"));
    world.subscribe(bob, "#", 2);
    for (topic, allowed) in [
        ("a/x", true),
        ("a/secret/x", false),
        ("b", false),
        ("c", false),
        ("dev/c1", true),
        ("dev/c2", false),
        ("a/x", true),
    ] {
        world.send(ann, &Packet::Publish(publish1(1, topic, "x")));
        let expected = if allowed { "PUBACK #1" } else { "PUBACK #1 not authorized" };
        assert_eq!(world.read(ann), [expected], "{topic}");
        world.send(ann, &Packet::Publish(publish(topic, "x")));
        assert_eq!(world.read(ann), [""; 0], "{topic}");
        assert_eq!(world.read(bob).len(), if allowed { 2 } else { 0 }, "{topic}");
    }
    world.send(ann, &Packet::Publish(publish2(2, "c", "x")));
    assert_eq!(world.read(ann), ["PUBREC #2 not authorized"]);
    assert_eq!(world.dropped(DropReason::AccessDenied), 9);
    let told = world.events.iter().filter(|event| matches!(event, Event::MessageRefused { .. })).count();
    assert_eq!(told, 1, "once a connection");
}

#[test]
fn a_client_that_cannot_be_told_is_acknowledged_or_closed_by_setting() {
    for (setting, expected) in
        [(DeniedPublish::Drop, &["PUBACK #1"][..]), (DeniedPublish::Close, &["CLOSED not_authorized"])]
    {
        for version in [Version::V31, Version::V311] {
            let mut world = world_with(1, |settings| settings.denied_before_v5 = setting);
            let bob = client(&mut world, "bob", "c2");
            world.subscribe(bob, "#", 0);
            let (ann, answer) = come_in(&mut world, "ann", &Connect::new(version, "c1", true));
            assert_eq!(answer, ["CONNACK success"]);
            world.send(ann, &Packet::Publish(publish1(1, "c", "x")));
            assert_eq!(world.read(ann), expected);
            assert_eq!(world.read(bob), [""; 0]);
        }
    }
}

#[test]
fn a_subscription_is_refused_in_its_place() {
    let mut world = world_with(2, |_| {});
    let ann = client(&mut world, "ann", "c1");
    for (filter, code) in [
        ("a/x", "[1]"),
        ("a/secret/x", "[135]"),
        ("c/#", "[135]"),
        ("$share/g/a/x", "[1]"),
        ("$share/g/c/#", "[135]"),
        ("$share/g/a/secret/+", "[135]"),
        ("$SYS/#", "[135]"),
        ("#", "[1]"),
    ] {
        assert_eq!(suback(&mut world, ann, filter), code, "{filter}");
    }
    let bob = client(&mut world, "bob", "c2");
    assert_eq!(suback(&mut world, bob, "$SYS/broker/uptime"), "[1]");
    let (old, _) = come_in(&mut world, "ann", &Connect::new(Version::V311, "c3", true));
    assert_eq!(suback(&mut world, old, "c"), "[128]");
    // Several at once: each has its code.
    let filters = [("a/x", 0), ("c", 0), ("b", 2)];
    let filters = filters.map(|(filter, qos)| SubscribeFilter { filter, options: options(qos) });
    let mut bytes = Vec::new();
    encode_subscribe(Version::V5, id(1), None, filters, &mut bytes);
    world.send_bytes(ann, &bytes);
    assert_eq!(world.read(ann), ["SUBACK #1 [0, 135, 2]"]);
}

#[test]
fn a_client_without_a_verified_name_is_nobody() {
    let mut world = world_with(1, |_| {});
    // A user name on a listener that checks none.
    let peer = world.open(&Connect { username: Some("bob"), ..v5("c1") });
    assert_eq!(world.read(peer), ["CONNACK success"]);
    assert_eq!(suback(&mut world, peer, "#"), "[135]");
    world.send(peer, &Packet::Publish(publish1(1, "a/x", "x")));
    assert_eq!(world.read(peer), ["PUBACK #1 not authorized"]);
    world.send(peer, &Packet::Publish(publish1(1, "dev/c1", "x")));
    assert_eq!(world.read(peer), ["PUBACK #1 no matching subscribers"], "a pattern with its client id");
}

/// Live, retained and shared, by a filter that is wider than what may be received.
#[test]
fn of_a_wide_filter_only_what_may_be_received_comes() {
    let mut world = world_with(2, |_| {});
    let bob = client(&mut world, "bob", "c2");
    world.send(bob, &Packet::Publish(retained(publish("a/x", "kept"))));
    world.send(bob, &Packet::Publish(retained(publish("a/secret/x", "kept"))));
    let ann = client(&mut world, "ann", "c1");
    world.subscribe_with(ann, "#", options(1), None);
    assert_eq!(world.read(ann), ["SUBACK #1 [1]", "PUBLISH a/x retain kept"]);
    for topic in ["a/y", "a/secret/y", "b", "a/y"] {
        world.send(bob, &Packet::Publish(publish(topic, "live")));
    }
    assert_eq!(world.read(ann), ["PUBLISH a/y live", "PUBLISH b live", "PUBLISH a/y live"]);
    assert_eq!(world.dropped(DropReason::AccessDenied), 1, "a retained one is passed over and not counted");
}

#[test]
fn what_was_queued_or_sent_before_the_rules_changed_is_not_sent_after() {
    let mut world = world_with(2, |_| {});
    let bob = client(&mut world, "bob", "c2");
    let kept = v5_kept("c1");
    let (ann, _) = come_in(&mut world, "ann", &kept);
    assert_eq!(suback(&mut world, ann, "a/#"), "[1]");
    for (number, topic) in [(1, "a/sent"), (2, "a/other/sent")] {
        world.send(bob, &Packet::Publish(publish1(number, topic, "x")));
    }
    assert_eq!(world.read(ann), ["PUBLISH a/sent q1 #1 x", "PUBLISH a/other/sent q1 #2 x"]);
    world.cut(ann);
    for (number, topic) in [(3, "a/queued"), (4, "a/other/queued")] {
        world.send(bob, &Packet::Publish(publish1(number, topic, "x")));
    }
    world.read(bob);
    use_rules(&mut world, "user ann\ntopic read a/other/#\nuser bob\ntopic write #\n");
    let (ann, answer) = come_in(&mut world, "ann", &kept);
    assert_eq!(answer[0], "CONNACK success present");
    let told: Vec<&str> = answer[1..].iter().map(String::as_str).collect();
    assert_eq!(told, ["PUBLISH a/other/sent q1 #2 dup x", "PUBLISH a/other/queued q1 #3 x"]);
    world.send(bob, &Packet::Publish(publish("a/live", "x")));
    world.send(bob, &Packet::Publish(publish("a/other/live", "x")));
    assert_eq!(world.read(ann), ["PUBLISH a/other/live x"], "the subscription stays for what is left of it");
}

#[test]
fn a_replay_that_waits_for_its_client_ends_with_the_subscription_that_new_rules_take_away() {
    let mut world = world_with(1, |_| {});
    let bob = client(&mut world, "bob", "c2");
    for (number, topic) in [(1, "a/1"), (2, "a/2"), (3, "a/3")] {
        world.send(bob, &Packet::Publish(retained(publish1(number, topic, "kept"))));
    }
    let kept = Connect { receive_maximum: 1, ..v5_kept("c1") };
    let (ann, _) = come_in(&mut world, "ann", &kept);
    world.subscribe_with(ann, "a/#", options(1), None);
    assert_eq!(world.read(ann), ["SUBACK #1 [1]", "PUBLISH a/1 q1 #1 retain kept"], "the rest waits for room");
    world.cut(ann);
    use_rules(&mut world, "user bob\ntopic write #\n");
    world.run_until_idle();
    // Its return ended the process: the replay named a filter that nobody had any more.
    let (_, answer) = come_in(&mut world, "ann", &kept);
    assert_eq!(answer, ["CONNACK success present"]);
}

#[test]
fn a_will_is_looked_at_when_it_is_left_and_when_it_is_due() {
    let with_will = |topic: &'static str| Connect { will: Some(ConnectWill { topic, ..will(0) }), ..v5("c1") };
    let mut world = world_with(2, |_| {});
    let bob = client(&mut world, "bob", "c2");
    world.subscribe(bob, "#", 0);
    let (ann, answer) = come_in(&mut world, "ann", &with_will("c"));
    assert_eq!(answer, ["CONNACK success"], "a will that is not allowed is left out");
    world.cut(ann);
    assert_eq!(world.read(bob), [""; 0]);
    let (ann, _) = come_in(&mut world, "ann", &with_will("a/will"));
    world.cut(ann);
    assert_eq!(world.read(bob), ["PUBLISH a/will gone"]);
    let (ann, _) = come_in(&mut world, "ann", &with_will("a/will"));
    use_rules(&mut world, "user ann\ntopic read #\nuser bob\ntopic read #\n");
    world.cut(ann);
    assert_eq!(world.read(bob), [""; 0]);
    assert_eq!(world.dropped(DropReason::AccessDenied), 2);
}

#[test]
fn a_change_of_rules_takes_subscriptions_away_in_turns() {
    let mut world = world_with(2, |_| {});
    let (ann, bob) = (client(&mut world, "ann", "c1"), client(&mut world, "bob", "c2"));
    let count = 3 * ACL_REVIEWS_PER_TURN + 7;
    for n in 0..count {
        assert_eq!(suback(&mut world, ann, &format!("a/{n}")), "[1]");
    }
    assert_eq!(suback(&mut world, ann, "b"), "[1]");
    assert_eq!(suback(&mut world, ann, "$share/g/a/x"), "[1]");
    world.hold_work();
    let shard = ShardId::owner_of("c1", 2).index();
    use_rules(&mut world, "user ann\ntopic read b\nuser bob\ntopic readwrite #\n");
    let subscriptions = |world: &World| world.shards[shard].gauges().subscriptions;
    let before = subscriptions(&world);
    // Nothing of it is delivered, whether it has been taken away yet or not.
    world.send(bob, &Packet::Publish(publish("a/0", "x")));
    world.send(bob, &Packet::Publish(publish("a/x", "x")));
    world.send(bob, &Packet::Publish(publish("b", "x")));
    assert_eq!(world.read(ann), ["PUBLISH b x"]);
    let mut turns = 0;
    while world.shards[shard].has_work() {
        let had = subscriptions(&world);
        world.work_once(shard);
        assert!(had - subscriptions(&world) <= ACL_REVIEWS_PER_TURN as u64, "a part in each turn");
        turns += 1;
        assert!(turns < 100);
    }
    assert!(turns > 3, "{turns}");
    assert_eq!((before - subscriptions(&world)) as usize, count + 1);
    let revoked = world.events.iter().filter(|event| matches!(event, Event::SubscriptionRevoked { .. })).count();
    assert_eq!(revoked, count + 1);
    world.release_work();
    world.send(bob, &Packet::Publish(publish("b", "y")));
    assert_eq!(world.read(ann), ["PUBLISH b y"], "and nobody is disconnected");
    // What is allowed again must be asked for again.
    use_rules(&mut world, RULES);
    world.send(bob, &Packet::Publish(publish("a/0", "x")));
    assert_eq!(world.read(ann), [""; 0]);
    assert_eq!(suback(&mut world, ann, "a/0"), "[1]");
    world.send(bob, &Packet::Publish(publish("a/0", "x")));
    assert_eq!(world.read(ann), ["PUBLISH a/0 x"]);
}

#[test]
fn a_decision_that_is_kept_ends_with_the_rules_that_it_was_made_by() {
    let mut world = world_with(1, |_| {});
    let ann = client(&mut world, "ann", "c1");
    for _ in 0..3 {
        world.send(ann, &Packet::Publish(publish1(1, "a/x", "x")));
        assert_eq!(world.read(ann), ["PUBACK #1 no matching subscribers"]);
    }
    use_rules(&mut world, "user ann\ntopic read #\n");
    world.send(ann, &Packet::Publish(publish1(1, "a/x", "x")));
    assert_eq!(world.read(ann), ["PUBACK #1 not authorized"]);
    use_rules(&mut world, RULES);
    world.send(ann, &Packet::Publish(publish1(1, "a/x", "x")));
    assert_eq!(world.read(ann), ["PUBACK #1 no matching subscribers"]);
}

#[test]
fn a_session_belongs_to_the_user_whose_client_began_it() {
    for setting in [Acceptance::Refuse, Acceptance::Accept] {
        let mut world = World::with(2, |settings| settings.foreign_sessions = setting);
        let kept = v5_kept("c1");
        let (ann, answer) = come_in(&mut world, "ann", &kept);
        assert_eq!(answer, ["CONNACK success"]);
        world.subscribe(ann, "x", 1);
        let is_refused = setting == Acceptance::Refuse;
        for present in ["connected", "away"] {
            // Clean start would end the session.
            for connect in [kept, v5("c1")] {
                let trial = |world: &mut World, user: Option<&str>| {
                    if let Some(user) = user {
                        return come_in(world, user, &connect).1;
                    }
                    let peer = world.open(&connect);
                    world.read(peer)
                };
                if is_refused {
                    for user in [Some("bob"), None] {
                        let answer = trial(&mut world, user);
                        assert_eq!(answer, ["CONNACK not authorized", "CLOSED refused"], "{present} {user:?}");
                    }
                }
            }
            if present == "connected" {
                world.cut(ann);
            }
        }
        let (_, answer) = come_in(&mut world, "ann", &kept);
        assert_eq!(answer, ["CONNACK success present"]);
        if !is_refused {
            let (_, answer) = come_in(&mut world, "bob", &kept);
            assert_eq!(answer, ["CONNACK success present"]);
        }
    }
}

#[test]
fn many_filters_take_more_turns_where_there_are_rules() {
    let choose = |settings: &mut Settings| settings.filters_per_slice = 64;
    let mut world = world_with(1, choose);
    let ann = client(&mut world, "ann", "c1");
    world.hold_work();
    let names: Vec<String> = (0..64).map(|n| format!("a/{n}")).collect();
    let filters: Vec<_> = names.iter().map(|filter| SubscribeFilter { filter, options: options(0) }).collect();
    let mut bytes = Vec::new();
    encode_subscribe(Version::V5, id(1), None, filters, &mut bytes);
    world.send_bytes(ann, &bytes);
    assert_eq!(world.read(ann), [""; 0], "as many as a slice without rules are more than one with them");
    world.work_once(0);
    let subscriptions = world.shards[0].gauges().subscriptions as usize;
    assert!(subscriptions <= 64 / ACL_FILTERS_COST, "{subscriptions}");
    world.release_work();
    assert_eq!(world.read(ann).len(), 1);
    assert_eq!(world.shards[0].gauges().subscriptions, 64);
}

#[test]
fn a_member_of_a_shared_subscription_that_may_not_receive_a_message_is_passed_over() {
    for shards in [1, 2] {
        let mut world = World::of(shards);
        use_rules(&mut world, "user ann\ntopic read g/a\nuser bob\ntopic read g/#\nuser eve\ntopic write g/#\n");
        let names = [world.name_on(0, "ann"), world.name_on((shards - 1) as u8, "bob"), world.name_on(0, "eve")];
        let ann = client(&mut world, "ann", &names[0]);
        let bob = client(&mut world, "bob", &names[1]);
        let eve = client(&mut world, "eve", &names[2]);
        world.subscribe(ann, "$share/s/g/#", 1);
        world.subscribe(bob, "$share/s/g/#", 1);
        for number in 1..=8 {
            world.send(eve, &Packet::Publish(publish1(number, "g/b", "for bob")));
        }
        assert!(world.read(ann).is_empty());
        assert_eq!((world.read(bob).len(), world.dropped(DropReason::AccessDenied)), (8, 0), "{shards} shards");
        for number in 11..=18 {
            world.send(eve, &Packet::Publish(publish1(number, "g/a", "for both")));
        }
        let (of_ann, of_bob) = (world.read(ann).len(), world.read(bob).len());
        assert!(of_ann > 0 && of_bob > 0 && of_ann + of_bob == 8, "{of_ann} and {of_bob}");
        // Where nobody may, it is dropped once and counted.
        world.unsubscribe(bob, "$share/s/g/#");
        world.send(eve, &Packet::Publish(publish1(20, "g/b", "for nobody")));
        assert!(world.read(ann).is_empty());
        assert_eq!(world.dropped(DropReason::AccessDenied), 1);
        world.shards.iter().for_each(crate::shard::Shard::assert_invariants);
    }
}
