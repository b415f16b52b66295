//! Whose a session is outlives the process: takeovers, rules, rights of a client's own, and what a back end has allowed.

use std::sync::Arc;

use super::access::{come_in, use_rules};
use super::harness::{Peer, World, v5, v5_kept};
use super::held_packets::{asked, listener, open, says};
use super::rates::use_profiles;
use super::show::{publish, publish1};
use super::will::will;
use crate::auth::acl::{Actions, Permission, RuleSet};
use crate::auth::{Admission, ClientProfile, Policy, Profile, ProfileScope, TopicDecision, Verdict};
use crate::codec::{Connect, Packet};
use crate::ids::SessionId;
use crate::settings::{Acceptance, Settings};
use crate::shard::{Event, Input, RestoredLog};
use crate::store::Position;
use crate::store::format::{LogRecord, Records};
use crate::store::state::LogState;
use crate::telemetry::DropReason;
use crate::time::Timestamp;

const ALL: &str = "topic readwrite a/#\nuser ann\ntopic readwrite a/#\nuser bob\ntopic readwrite a/#\n";
const REFUSED: [&str; 2] = ["CONNACK not authorized", "CLOSED login_denied"];

/// A world that goes on with what is left of another.
fn restarted(log: &RestoredLog, rules: Option<&str>, choose: impl FnOnce(&mut Settings)) -> World {
    let mut world = World::behind(Position(1_000), 1, choose);
    if let Some(rules) = rules {
        use_rules(&mut world, rules);
    }
    world.restore(0, log);
    world
}

fn nobody(world: &mut World, connect: &Connect<'_>) -> Vec<String> {
    let peer = world.open(connect);
    world.read(peer)
}

/// A client of `ann` with these rights.
fn come_in_as(world: &mut World, connect: &Connect<'_>, admission: Admission) -> (Peer, Vec<String>) {
    let connect = Connect { username: Some("ann"), password: Some(b"x"), ..*connect };
    let peer = world.open_by(Policy::Ask, &connect);
    let ask = world.asks.pop().expect("the shard asks").id;
    let admission = Admission { user: Some("ann".into()), ..admission };
    world.turn(0, Input::Verdict { ask, verdict: Verdict::AdmitAs(Box::new(admission)) });
    let answer = world.read(peer);
    assert!(answer[0].starts_with("CONNACK success"));
    (peer, answer)
}

#[test]
fn a_restart_knows_whose_each_session_is() {
    for rules in [None, Some(ALL)] {
        let mut world = World::new();
        if let Some(rules) = rules {
            use_rules(&mut world, rules);
        }
        let (of_ann, of_nobody) = (v5_kept("c1"), v5_kept("c2"));
        come_in(&mut world, "ann", &of_ann);
        nobody(&mut world, &of_nobody);
        let log = world.killed();
        let mut world = restarted(&log, rules, |_| {});
        for connect in [of_ann, v5("c1")] {
            assert_eq!(come_in(&mut world, "bob", &connect).1, REFUSED);
            assert_eq!(nobody(&mut world, &connect), REFUSED);
        }
        assert_eq!(come_in(&mut world, "ann", &of_nobody).1, REFUSED);
        assert_eq!(come_in(&mut world, "ann", &of_ann).1, ["CONNACK success present"]);
        assert_eq!(nobody(&mut world, &of_nobody), ["CONNACK success present"]);
    }
}

#[test]
fn who_was_let_take_a_session_over_has_it_after_a_restart() {
    let accept = |settings: &mut Settings| settings.foreign_sessions = Acceptance::Accept;
    let mut world = World::with(1, accept);
    come_in(&mut world, "ann", &v5_kept("c1"));
    world.hold_store();
    let (bob, answer) = come_in(&mut world, "bob", &v5_kept("c1"));
    assert!(answer.is_empty(), "a restart would know it as ann's: {answer:?}");
    world.release_store();
    assert_eq!(world.read(bob), ["CONNACK success present"]);
    let log = world.killed();
    let mut world = restarted(&log, None, |_| {});
    assert_eq!(come_in(&mut world, "ann", &v5_kept("c1")).1, REFUSED);
    assert_eq!(come_in(&mut world, "bob", &v5_kept("c1")).1, ["CONNACK success present"]);
}

#[test]
fn an_owner_is_written_when_it_changes() {
    let mut world = World::new();
    let owners = |world: &World| world.recorded.iter().filter(|record| *record == "SessionOwner").count();
    for expected in [1, 1] {
        let (peer, _) = come_in(&mut world, "ann", &v5_kept("c1"));
        assert_eq!(owners(&world), expected, "it stays ann's");
        world.cut(peer);
    }
    come_in_as(&mut world, &v5_kept("c1"), Admission { is_superuser: true, ..Admission::default() });
    assert_eq!(owners(&world), 2, "other rights");
    come_in(&mut world, "ann", &v5("c2"));
    nobody(&mut world, &v5("c3"));
    assert_eq!(owners(&world), 2, "what is not kept is not written");
}

#[test]
fn what_was_queued_for_what_may_be_received_no_more_does_not_come_after_a_restart() {
    let mut world = World::new();
    use_rules(&mut world, ALL);
    let (ann, _) = come_in(&mut world, "ann", &v5_kept("c1"));
    for filter in ["a/x", "a/y"] {
        world.subscribe(ann, filter, 1);
    }
    world.close_socket(ann);
    let (bob, _) = come_in(&mut world, "bob", &v5("c2"));
    for (number, topic) in [(1, "a/x"), (2, "a/y")] {
        world.send(bob, &Packet::Publish(publish1(number, topic, "before")));
        assert_eq!(world.read(bob).len(), 1);
    }
    let log = world.killed();
    for (denied, expected) in [("a/x", &["a/y"][..]), ("a/#", &[])] {
        let rules = format!("user ann\ntopic deny {denied}\ntopic readwrite a/#\nuser bob\ntopic readwrite a/#\n");
        let mut world = restarted(&log, Some(&rules), |_| {});
        let revoked = world.events.iter().filter(|event| matches!(event, Event::SubscriptionRevoked { .. })).count();
        assert_eq!(revoked, 2 - expected.len(), "{denied}");
        let (bob, _) = come_in(&mut world, "bob", &v5("c2"));
        world.send(bob, &Packet::Publish(publish("a/x", "after")));
        let (_, answer) = come_in(&mut world, "ann", &v5_kept("c1"));
        assert_eq!(answer[0], "CONNACK success present");
        let topics: Vec<&str> = answer[1..].iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(topics, expected, "{denied}");
        assert_eq!(world.dropped(DropReason::AccessDenied), 2 - expected.len() as u64, "{denied}");
    }
}

/// The rules took all of its subscriptions while its client was away; what is queued of them is looked at all the same.
#[test]
fn a_queue_without_subscriptions_is_looked_at_when_its_client_comes_back() {
    let mut world = World::new();
    use_rules(&mut world, ALL);
    let (ann, _) = come_in(&mut world, "ann", &v5_kept("c1"));
    world.subscribe(ann, "a/x", 1);
    world.close_socket(ann);
    let (bob, _) = come_in(&mut world, "bob", &v5("c2"));
    world.send(bob, &Packet::Publish(publish1(1, "a/x", "before")));
    use_rules(&mut world, "user bob\ntopic readwrite a/#\n");
    let (_, answer) = come_in(&mut world, "ann", &v5_kept("c1"));
    assert_eq!(answer, ["CONNACK success present"]);
}

#[test]
fn rights_of_its_own_go_on_after_a_restart() {
    let own = |topic: &str| Permission::of_text(true, Actions::All, topic).unwrap();
    let rules = Some(Arc::new(RuleSet::of_one_client(vec![own("a/#")])));
    for (admission, expected) in [
        (Admission { rules, ..Admission::default() }, &["a/1"][..]),
        (Admission { is_superuser: true, ..Admission::default() }, &["a/1", "b/1"]),
    ] {
        let mut world = World::new();
        let (ann, _) = come_in_as(&mut world, &v5_kept("c1"), admission.clone());
        world.subscribe(ann, "#", 1);
        let log = world.killed();
        let rules = admission.is_superuser.then_some("user bob\ntopic write #\n");
        let mut world = restarted(&log, rules, |_| {});
        let (bob, _) = come_in(&mut world, "bob", &v5("c2"));
        for topic in ["a/1", "b/1"] {
            world.send(bob, &Packet::Publish(publish1(1, topic, "m")));
        }
        let (_, answer) = come_in_as(&mut world, &v5_kept("c1"), admission);
        assert_eq!(answer[0], "CONNACK success present");
        let topics: Vec<&str> = answer[1..].iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(topics, expected);
    }
}

#[test]
fn a_profile_bounds_the_queue_of_its_session_after_a_restart() {
    let mut world = World::with(1, |settings| settings.queued_messages_max = 10);
    let (ann, _) = come_in(&mut world, "ann", &v5_kept("c1"));
    world.subscribe(ann, "t", 1);
    let log = world.killed();
    let mut world = World::behind(Position(1_000), 1, |settings| settings.queued_messages_max = 10);
    let mut scope = ProfileScope::of_clients(["c1"]);
    scope.users = Some(["ann".into()].into());
    let settings = ClientProfile { queued_messages_max: Some(2), ..ClientProfile::default() };
    use_profiles(&mut world, vec![Profile { scope, settings }]);
    world.restore(0, &log);
    let publisher = world.client("publisher");
    for number in 1..=5 {
        world.send(publisher, &Packet::Publish(publish1(number, "t", "m")));
    }
    assert_eq!(world.dropped(DropReason::QueueFull), 3);
}

/// As format version 1 had it.
fn without_owner() -> RestoredLog {
    let mut bytes = Vec::new();
    let (session, at) = (SessionId(0), Timestamp(1_700_000_000_000));
    LogRecord::SessionBegun { session, client_id: "c1", expiry_s: u32::MAX, at }.encode(1, &mut bytes);
    LogRecord::Subscribed { session, filter: "a/x", options: 1, identifier: None }.encode(2, &mut bytes);
    let mut state = LogState::default();
    state.apply_change(Records::of_batch(&bytes, 1), &[]);
    RestoredLog { state, messages: Vec::new(), lost: Vec::new() }
}

#[test]
fn a_session_of_nobody_is_had_by_nobody_where_clients_are_told_apart() {
    let accept = |settings: &mut Settings| settings.foreign_sessions = Acceptance::Accept;
    let mut world = restarted(&without_owner(), Some(ALL), |_| {});
    for connect in [v5_kept("c1"), v5("c1")] {
        assert_eq!(nobody(&mut world, &connect), REFUSED);
        assert_eq!(come_in(&mut world, "ann", &connect).1, REFUSED);
    }
    let (bob, _) = come_in(&mut world, "bob", &v5("c2"));
    world.send(bob, &Packet::Publish(publish1(1, "a/x", "m")));
    assert_eq!(world.dropped(DropReason::AccessDenied), 1, "nobody may receive it");
    // Who may have others' sessions may have this one, and it is its own from then on.
    let mut world = restarted(&without_owner(), Some(ALL), accept);
    assert_eq!(come_in(&mut world, "ann", &v5_kept("c1")).1, ["CONNACK success present"]);
    // Where nobody is told apart it is whoever's who has the client id.
    let mut world = restarted(&without_owner(), None, |_| {});
    assert_eq!(nobody(&mut world, &v5_kept("c1")), ["CONNACK success present"]);
}

#[test]
fn what_a_back_end_has_allowed_stays_allowed_after_a_restart() {
    use TopicDecision::{Allow, Deny};
    for (decision, expected) in [(Allow, 1), (Deny, 0)] {
        let mut world = World::new();
        let peer = open(&mut world, &Connect { will: Some(will(5)), ..v5_kept("c1") });
        let (ask, _) = asked(&mut world);
        says(&mut world, ask, &[decision]);
        for (filter, decision) in [("f/#", Allow), ("g/#", Allow), ("g/#", Deny)] {
            world.subscribe_with(peer, filter, super::harness::options(1), None);
            let (ask, _) = asked(&mut world);
            says(&mut world, ask, &[decision]);
            world.later_ms(3_600_000);
        }
        let log = world.killed();
        let mut world = World::behind(Position(1_000), 1, |_| {});
        world.listeners = Arc::new([Arc::new(listener())]);
        world.restore(0, &log);
        let other = world.client("other");
        world.subscribe(other, "will", 0);
        world.pass_s(10);
        assert_eq!(world.read(other).len(), expected, "the will, {decision:?}");
        for topic in ["f/1", "g/1"] {
            world.send(other, &Packet::Publish(publish1(1, topic, "m")));
        }
        let back = open(&mut world, &v5_kept("c1"));
        let read = world.read(back);
        assert_eq!(read[0], "CONNACK success present");
        assert!(read.len() == 2 && read[1].starts_with("PUBLISH f/1"), "{read:?}");
    }
}
