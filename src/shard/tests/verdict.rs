//! CONNECTs about which somebody else decides.

use super::harness::options;
use super::harness::{Peer, World, v5, v5_kept};
use super::show::{publish, publish1};
use crate::auth::acl::{Actions, Permission, RuleSet, TopicPattern, parse_mosquitto};
use crate::auth::{Admission, AskId, Policy, Question, RefusalCause, Verdict};
use crate::codec::{Connect, ConnectWill, Forwarded, Packet, Version};
use crate::ids::Qos;
use crate::limits::{ASKS_EXPIRED_PER_TICK, PENDING_CONNECTS_MAX, PENDING_CONNECTS_MAX_BYTES, VERDICT_TIMEOUT_MS};
use crate::settings::{AuthenticationSettings, ClientIdPattern, FromValue as _, ListenerSettings, Value};
use crate::shard::{Command, Event, Input, UserNameBasis};
use crate::time::Timestamp;
use std::sync::Arc;

/// A client that waits, and the question about it.
fn ask(world: &mut World, connect: &Connect<'_>) -> (Peer, AskId) {
    let peer = world.open_by(Policy::Ask, connect);
    let ask = world.asks.pop().expect("the shard asks");
    (peer, ask.id)
}

fn decide(world: &mut World, ask: AskId, verdict: Verdict) {
    world.turn(0, Input::Verdict { ask, verdict });
}

#[test]
fn a_question_says_who_wants_in_and_nothing_is_sent_before_the_verdict() {
    let mut world = World::new();
    let connect = Connect { username: Some("u"), password: Some(b"p"), ..v5("c") };
    let peer = world.open_by(Policy::Ask, &connect);
    let ask = world.asks.pop().unwrap();
    let Question::Connect(question) = ask.question else { panic!() };
    assert_eq!((&*question.client_id, question.username.as_deref()), ("c", Some("u")));
    assert_eq!(question.password.as_deref(), Some(&b"p"[..]));
    assert!(world.read(peer).is_empty());
    assert_eq!(world.shards[0].gauges().clients_connected, 0);
    decide(&mut world, ask.id, Verdict::Admit);
    assert_eq!(world.read(peer), ["CONNACK success"]);
    world.subscribe(peer, "t", 0);
    let publisher = world.client("p");
    world.send(publisher, &Packet::Publish(publish("t", "x")));
    assert_eq!(world.read(peer).len(), 1, "and it is a client like any other");
}

#[test]
fn each_refusal_has_its_code_in_each_version() {
    for (verdict, code_5, code_311, reason) in [
        (Verdict::Refuse(RefusalCause::BadCredentials), "bad user name or password", 4, "bad_credentials"),
        (Verdict::Refuse(RefusalCause::NoUserName), "bad user name or password", 4, "bad_credentials"),
        (Verdict::Refuse(RefusalCause::NotAuthorized), "not authorized", 5, "login_denied"),
        (Verdict::Refuse(RefusalCause::Anonymous), "not authorized", 5, "anonymous_refused"),
        (Verdict::Refuse(RefusalCause::Banned), "banned", 5, "banned"),
        (Verdict::Unavailable, "server unavailable", 3, "unavailable"),
        (Verdict::Busy, "server busy", 3, "authenticator_busy"),
    ] {
        let mut world = World::new();
        let (new, question) = ask(&mut world, &v5("new"));
        decide(&mut world, question, verdict.clone());
        let answer = world.read(new);
        assert_eq!(answer, [format!("CONNACK {code_5}"), format!("CLOSED {reason}")]);
        let (old, question) = ask(&mut world, &Connect::new(Version::V311, "old", true));
        decide(&mut world, question, verdict.clone());
        let raw = world.read_raw(old);
        assert_eq!(raw, [0x20, 2, 0, code_311], "{verdict:?}");
    }
}

#[test]
fn an_earlier_session_is_not_touched_before_the_verdict() {
    let mut world = World::new();
    let old = world.connect(&v5_kept("c"));
    let thief = v5("c");
    let (waiting, question) = ask(&mut world, &thief);
    assert!(world.read(old).is_empty(), "it stays connected");
    decide(&mut world, question, Verdict::Refuse(RefusalCause::BadCredentials));
    assert_eq!(world.read(waiting).len(), 2);
    assert!(world.read(old).is_empty());
    let (waiting, question) = ask(&mut world, &v5_kept("c"));
    decide(&mut world, question, Verdict::Admit);
    assert_eq!(world.read(old)[0], "DISCONNECT session taken over");
    assert_eq!(world.read(waiting), ["CONNACK success present"]);
}

#[test]
fn who_gets_no_answer_is_refused_in_time_and_a_late_answer_changes_nothing() {
    let mut world = World::new();
    let (peer, question) = ask(&mut world, &v5("c"));
    world.pass_ms(VERDICT_TIMEOUT_MS - 1);
    assert!(world.read(peer).is_empty());
    world.pass_ms(1);
    assert_eq!(world.read(peer), ["CONNACK server unavailable", "CLOSED unavailable"]);
    decide(&mut world, question, Verdict::Admit);
    decide(&mut world, AskId(77), Verdict::Admit);
    assert_eq!(world.shards[0].gauges().clients_connected, 0);
    assert_eq!(world.shards[0].holdings().pending_connects, 0);
}

#[test]
fn whoever_goes_while_it_waits_is_forgotten() {
    let mut world = World::new();
    let will = ConnectWill {
        topic: "w",
        payload: b"lost",
        qos: Qos::AtMostOnce,
        retain: false,
        delay_s: 0,
        message_expiry_s: None,
        properties: Forwarded::EMPTY,
    };
    let watcher = world.client("watcher");
    world.subscribe(watcher, "w", 0);
    let (peer, question) = ask(&mut world, &Connect { will: Some(will), ..v5("c") });
    world.cut(peer);
    assert_eq!(world.shards[0].holdings().pending_connects, 0);
    decide(&mut world, question, Verdict::Admit);
    assert_eq!(world.shards[0].gauges().clients_connected, 1, "the watcher alone");
    assert!(world.read(watcher).is_empty(), "and its will is nobody's");
}

/// Of two connections of one client the later one stays, whichever verdict is the first.
#[test]
fn the_later_of_two_connects_stays_in_whatever_order_their_verdicts_come() {
    let mut world = World::new();
    let (first, about_first) = ask(&mut world, &v5_kept("c"));
    let (second, about_second) = ask(&mut world, &v5_kept("c"));
    decide(&mut world, about_first, Verdict::Admit);
    assert_eq!(world.read(first), ["CONNACK success"]);
    decide(&mut world, about_second, Verdict::Admit);
    assert_eq!(world.read(first)[0], "DISCONNECT session taken over");
    assert_eq!(world.read(second), ["CONNACK success present"]);

    let mut world = World::new();
    let (first, about_first) = ask(&mut world, &v5_kept("c"));
    let (second, about_second) = ask(&mut world, &v5_kept("c"));
    decide(&mut world, about_second, Verdict::Admit);
    assert_eq!(world.read(second), ["CONNACK success"]);
    assert_eq!(world.read(first), ["CONNACK server busy", "CLOSED authenticator_busy"]);
    decide(&mut world, about_first, Verdict::Admit);
    assert!(world.read(second).is_empty(), "it stays");
}

#[test]
fn a_client_that_no_verdict_is_needed_for_ends_the_wait_of_an_earlier_connection() {
    let mut world = World::new();
    let (first, about_first) = ask(&mut world, &v5_kept("c"));
    let second = world.connect(&v5_kept("c"));
    assert_eq!(world.read(first), ["CONNACK server busy", "CLOSED authenticator_busy"]);
    decide(&mut world, about_first, Verdict::Admit);
    assert!(world.read(second).is_empty(), "it stays");
}

#[test]
fn no_more_wait_than_may_and_all_of_them_are_refused_in_slices_when_the_broker_stops() {
    let mut world = World::new();
    let peers: Vec<_> = (0..=PENDING_CONNECTS_MAX).map(|n| world.open_by(Policy::Ask, &v5(&format!("c{n}")))).collect();
    let last = peers[PENDING_CONNECTS_MAX];
    assert_eq!(world.read(last), ["CONNACK server busy", "CLOSED authenticator_busy"]);
    assert_eq!(world.shards[0].holdings().pending_connects, PENDING_CONNECTS_MAX);
    world.hold_work();
    world.turn(0, Input::Shutdown);
    world.work_once(0);
    assert_eq!(world.shards[0].holdings().pending_connects, PENDING_CONNECTS_MAX - ASKS_EXPIRED_PER_TICK);
    world.release_work();
    assert_eq!(world.shards[0].holdings().pending_connects, 0);
    assert_eq!(world.read(peers[0]), ["CONNACK server unavailable", "CLOSED unavailable"]);
}

#[test]
fn the_bytes_of_those_who_wait_are_bounded() {
    let mut world = World::new();
    let payload = vec![b'x'; 65_000];
    let will = ConnectWill {
        topic: "w",
        payload: &payload,
        qos: Qos::AtMostOnce,
        retain: false,
        delay_s: 0,
        message_expiry_s: None,
        properties: Forwarded::EMPTY,
    };
    let refused = (0..PENDING_CONNECTS_MAX_BYTES / payload.len() + 10)
        .filter(|n| {
            let name = format!("c{n}");
            let peer = world.open_by(Policy::Ask, &Connect { will: Some(will), ..v5(&name) });
            !world.read(peer).is_empty()
        })
        .count();
    assert!((1..=10).contains(&refused), "{refused}");
}

#[test]
fn one_question_without_an_answer_keeps_nobody_else_out() {
    let mut world = World::new();
    ask(&mut world, &v5("silent"));
    for n in 0..PENDING_CONNECTS_MAX + 2 {
        let _ = world.open_by(Policy::Ask, &v5(&format!("c{n}")));
        let asked = world.asks.pop().unwrap_or_else(|| panic!("refused at {n} with 1 waiting"));
        decide(&mut world, asked.id, Verdict::Refuse(RefusalCause::BadCredentials));
    }
}

#[test]
fn whoever_has_proved_its_name_comes_in_whatever_the_listener_asks_of_others() {
    for policy in [Policy::Admit, Policy::Refuse, Policy::Ask, Policy::AskAboutCredentials] {
        let mut world = World::new();
        let connect = Connect { username: Some("ann"), ..v5("c") };
        let peer = world.open_as(policy, UserNameBasis::Proof, &connect);
        assert_eq!(world.read(peer), ["CONNACK success"], "{policy:?}");
        assert!(
            world.asks.is_empty()
                && !world.events.iter().any(|event| matches!(event, Event::CredentialsUnchecked { .. }))
        );
        // Her session is hers: the same client id without that name, or with another, is somebody else.
        for username in [None, Some("bob")] {
            let other = world.open_as(policy, UserNameBasis::Proof, &Connect { username, ..connect });
            let answer = world.read(other);
            assert!(answer[0].starts_with("CONNACK not authorized"), "{policy:?} {answer:?}");
        }
    }
}

#[test]
fn a_client_id_that_is_none_of_its_users_is_refused_before_anything_is_touched() {
    let pattern = |text: &str| ListenerSettings {
        policy: Policy::Ask,
        auth: AuthenticationSettings { client_id_pattern: pattern(text), ..AuthenticationSettings::default() },
        ..ListenerSettings::default()
    };
    for (text, client_id, user, answer) in [
        ("%u/*", "ann/1", Some("ann"), "CONNACK success"),
        ("%u/*", "bob/1", Some("ann"), "CONNACK client identifier not valid"),
        ("%u/*", "ann/1", None, "CONNACK client identifier not valid"),
        ("any", "bob/1", Some("ann"), "CONNACK success"),
    ] {
        let mut world = World::new();
        let peer = world.open_at(pattern(text), UserNameBasis::Claim, &Connect { username: user, ..v5(client_id) });
        let ask = world.asks.pop().expect("the shard asks").id;
        decide(&mut world, ask, Verdict::Admit);
        assert_eq!(world.read(peer)[0], answer, "{text} {client_id} {user:?}");
    }
}

fn pattern(text: &str) -> ClientIdPattern {
    ClientIdPattern::from_value(Value::Text(text.to_owned()))
}

/// A client about which more is said than that it comes in.
fn come_in_as(world: &mut World, connect: &Connect<'_>, admission: Admission) -> Peer {
    let (peer, question) = ask(world, connect);
    decide(world, question, Verdict::AdmitAs(Box::new(admission)));
    assert_eq!(world.read(peer), ["CONNACK success"]);
    peer
}

#[test]
fn a_connection_ends_with_what_its_client_has_shown() {
    for (version, last) in [
        (Version::V5, &["DISCONNECT not authorized", "CLOSED credentials_expired"][..]),
        (Version::V311, &["CLOSED credentials_expired"]),
    ] {
        let mut world = World::new();
        let ends = Some(Timestamp(world.now.unix_ms + 90_000));
        let peer =
            come_in_as(&mut world, &Connect::new(version, "c", true), Admission { ends, ..Admission::default() });
        world.pass_s(89);
        assert_eq!(world.read(peer), [""; 0]);
        world.pass_s(2);
        let told: Vec<String> =
            world.read(peer).iter().map(|line| line.split(" (").next().unwrap_or_default().to_owned()).collect();
        assert_eq!(told, last);
    }
}

#[test]
fn rules_of_a_clients_own_come_before_those_of_the_file() {
    let own = || {
        let permission = |allows, actions, topic: &str| Permission {
            allows,
            actions,
            pattern: TopicPattern::with_ids(topic).unwrap(),
            text: topic.into(),
            qos: None,
            retain: None,
        };
        let rules = vec![
            permission(false, Actions::Publish, "own/secret"),
            permission(true, Actions::All, "own/%c"),
            permission(true, Actions::Publish, "own/#"),
        ];
        Admission {
            user: Some("ann".into()),
            rules: Some(Arc::new(RuleSet::of_one_client(rules))),
            ..Admission::default()
        }
    };
    let file = "user ann\ntopic readwrite file/#\ntopic deny own/file\n";
    for (rules, of_file) in [(None, false), (Some(file), true)] {
        let mut world = World::new();
        let rules = rules.map(|text| Arc::new(parse_mosquitto(text).unwrap()));
        world.ask(0, Command::UseRules(rules));
        let peer = come_in_as(&mut world, &v5("c"), own());
        for (topic, allowed) in [
            ("own/c", true),
            ("own/x", true),
            ("own/secret", false),
            ("own/file", true),
            ("file/x", of_file),
            ("x", false),
        ] {
            world.send(peer, &Packet::Publish(publish1(1, topic, "x")));
            let expected = if allowed { "PUBACK #1 no matching subscribers" } else { "PUBACK #1 not authorized" };
            assert_eq!(world.read(peer), [expected], "{topic} {of_file}");
        }
        for (filter, code) in [("own/c", 0), ("own/x", 135), ("file/#", if of_file { 0 } else { 135 }), ("x", 135)] {
            world.subscribe_with(peer, filter, options(0), None);
            assert_eq!(world.read(peer), [format!("SUBACK #1 [{code}]")], "{filter} {of_file}");
        }
        // Nobody else is bound by them.
        let other = world.client("other");
        world.send(other, &Packet::Publish(publish1(1, "x", "x")));
        let expected = if of_file { "PUBACK #1 not authorized" } else { "PUBACK #1 no matching subscribers" };
        assert_eq!(world.read(other), [expected]);
    }
}

#[test]
fn a_session_belongs_to_the_user_that_somebody_vouches_for() {
    let mut world = World::new();
    let as_user = |user: &str| Admission { user: Some(user.into()), ..Admission::default() };
    let connect = Connect { username: Some("whoever"), ..v5_kept("c") };
    come_in_as(&mut world, &connect, as_user("ann"));
    let (peer, question) = ask(&mut world, &connect);
    decide(&mut world, question, Verdict::AdmitAs(Box::new(as_user("bob"))));
    assert_eq!(world.read(peer)[0], "CONNACK not authorized");
    let mut superuser = as_user("ann");
    superuser.is_superuser = true;
    world.ask(0, Command::UseRules(Some(Arc::new(parse_mosquitto("topic read nothing\n").unwrap()))));
    let peer = come_in_as(&mut world, &v5("s"), superuser);
    world.send(peer, &Packet::Publish(publish1(1, "anything", "x")));
    assert_eq!(world.read(peer), ["PUBACK #1 no matching subscribers"]);
}
