//! Packets that wait for somebody to decide about their topics.

use std::sync::Arc;

use super::harness::{Peer, World, id, options, v5};
use super::show::{publish, publish1};
use super::will::will;
use crate::auth::acl::parse_mosquitto;
use crate::auth::{Ask, AskId, Policy, Question, TopicAction, TopicAnswer, TopicDecision, TopicsQuestion, Verdict};
use crate::codec::{Connect, Packet, SubscribeFilter, Version, encode_subscribe};
use crate::limits::{
    TOPIC_ASKS_MAX, TOPIC_ASKS_MAX_BYTES, TOPICS_ASKED_MAX, TOPICS_ASKED_MAX_BYTES, VERDICT_TIMEOUT_MS,
};
use crate::settings::{AuthenticationSettings, FromValue as _, ListenerSettings, OptionalText, Value};
use crate::shard::{Command, Input, UserNameBasis};
use crate::telemetry::DropReason;

/// A client of a listener whose topics somebody else decides about.
fn client(world: &mut World, connect: &Connect<'_>) -> Peer {
    let peer = open(world, connect);
    assert_eq!(world.read(peer), ["CONNACK success"]);
    peer
}

pub(super) fn open(world: &mut World, connect: &Connect<'_>) -> Peer {
    world.open_at(listener(), UserNameBasis::Claim, connect)
}

/// A listener that lets everybody in, and has somebody else decide about topics.
pub(super) fn listener() -> ListenerSettings {
    let acl_http_url = OptionalText::from_value(Value::Text("http://127.0.0.1/acl".to_owned()));
    let auth = AuthenticationSettings { acl_http_url, ..AuthenticationSettings::default() };
    ListenerSettings { policy: Policy::Admit, auth, ..ListenerSettings::default() }
}

/// The question that a shard asks now.
pub(super) fn asked(world: &mut World) -> (AskId, TopicsQuestion) {
    assert_eq!(world.asks.len(), 1);
    let Ask { id, question, .. } = world.asks.pop().expect("the shard asks");
    let Question::Topics(question) = question else { panic!("{question:?}") };
    (id, *question)
}

pub(super) fn says(world: &mut World, ask: AskId, decisions: &[TopicDecision]) {
    let answer = |decision: &TopicDecision| TopicAnswer { decision: *decision, is_kept: true };
    let verdict = Verdict::Topics(decisions.iter().map(answer).collect());
    world.turn(0, Input::Verdict { ask, verdict });
}

use TopicDecision::{Allow, Deny, Ignore, Unasked};

#[test]
fn a_publish_waits_for_its_decision_what_comes_behind_it_waits_too_and_the_next_one_does_not() {
    let mut world = World::new();
    let (peer, other) = (client(&mut world, &v5("c")), world.client("other"));
    world.subscribe(other, "#", 0);
    world.send(peer, &Packet::Publish(publish1(1, "a", "first")));
    world.send(peer, &Packet::PingReq);
    assert_eq!((world.read(peer), world.read(other)), (vec![], vec![]));
    let (ask, question) = asked(&mut world);
    assert_eq!((&*question.client_id, question.topics.len(), &*question.topics[0].topic), ("c", 1, "a"));
    assert_eq!(question.topics[0].action, TopicAction::Publish);
    says(&mut world, ask, &[Allow]);
    assert_eq!(world.read(peer), ["PUBACK #1", "PINGRESP"]);
    assert_eq!(world.read(other), ["PUBLISH a first"]);
    world.send(peer, &Packet::Publish(publish1(2, "a", "second")));
    assert_eq!((world.read(peer), world.asks.len()), (vec!["PUBACK #2".to_owned()], 0), "it is known");
    world.send(peer, &Packet::Publish(publish1(3, "b", "x")));
    let (ask, _) = asked(&mut world);
    says(&mut world, ask, &[Deny]);
    assert_eq!(world.read(peer), ["PUBACK #3 not authorized"]);
    assert_eq!(world.dropped(DropReason::AccessDenied), 1);
    // A minute later it is asked again.
    world.pass_s(61);
    world.read(other);
    world.send(peer, &Packet::Publish(publish("a", "third")));
    let (ask, _) = asked(&mut world);
    says(&mut world, ask, &[Allow]);
    assert!(world.read(other).contains(&"PUBLISH a third".to_owned()));
}

#[test]
fn each_filter_has_its_own_decision_and_what_was_subscribed_to_is_delivered() {
    let mut world = World::new();
    let (peer, other) = (client(&mut world, &v5("c")), world.client("other"));
    let filters = [("a/#", 1), ("b", 1), ("$share/g/c", 1), ("a/#", 1)];
    let filters = filters.map(|(filter, qos)| SubscribeFilter { filter, options: options(qos) });
    let mut bytes = Vec::new();
    encode_subscribe(Version::V5, id(1), None, filters, &mut bytes);
    world.send_bytes(peer, &bytes);
    let (ask, question) = asked(&mut world);
    let topics: Vec<&str> = question.topics.iter().map(|asked| &*asked.topic).collect();
    assert_eq!(topics, ["a/#", "b", "c"]);
    says(&mut world, ask, &[Allow, Deny, Allow]);
    assert_eq!(world.read(peer), ["SUBACK #1 [1, 135, 1, 1]"]);
    world.pass_s(3_600);
    world.read(peer);
    for topic in ["a/x", "b", "c"] {
        world.send(other, &Packet::Publish(publish(topic, "x")));
    }
    assert_eq!(world.read(peer), ["PUBLISH a/x x", "PUBLISH c x"], "and nobody is asked about it");
}

#[test]
fn who_comes_back_to_its_session_is_sent_what_it_was_allowed_to_subscribe_to() {
    let mut world = World::new();
    let other = world.client("other");
    let comes_back = Connect { session_expiry_s: 3_600, ..Connect::new(Version::V5, "c", false) };
    let peer = client(&mut world, &comes_back);
    world.subscribe_with(peer, "a", options(1), None);
    let (ask, _) = asked(&mut world);
    says(&mut world, ask, &[Allow]);
    assert_eq!(world.read(peer), ["SUBACK #1 [1]"]);
    world.cut(peer);
    world.send(other, &Packet::Publish(publish1(1, "a", "queued")));
    let back = open(&mut world, &comes_back);
    world.pass_s(1);
    let got = world.read(back);
    assert!(got.iter().any(|line| line == "PUBLISH a q1 #1 queued"), "{got:?}");
    // Taken over, with nothing asked again.
    let next = open(&mut world, &comes_back);
    world.pass_s(1);
    world.read(next);
    world.send(other, &Packet::Publish(publish("a", "live")));
    assert_eq!((world.read(next), world.asks.len()), (vec!["PUBLISH a live".to_owned()], 0));
    world.cut(next);
    // A new session begins with nothing.
    let fresh = client(&mut world, &Connect { clean_start: true, ..comes_back });
    world.send(other, &Packet::Publish(publish("a", "lost")));
    assert_eq!(world.read(fresh), [""; 0]);
}

#[test]
fn without_an_answer_it_is_no_and_the_client_is_asked_about_again() {
    let mut world = World::new();
    let peer = client(&mut world, &Connect { keep_alive_s: 1, ..v5("c") });
    world.send(peer, &Packet::Publish(publish1(1, "a", "x")));
    let (late, _) = asked(&mut world);
    world.pass_ms(VERDICT_TIMEOUT_MS + 100);
    assert_eq!(world.read(peer), ["PUBACK #1 not authorized"], "and it was not silent meanwhile");
    says(&mut world, late, &[Allow]);
    assert_eq!(world.read(peer), [""; 0], "too late");
    world.send(peer, &Packet::Publish(publish1(2, "a", "x")));
    let (ask, _) = asked(&mut world);
    world.turn(0, Input::Verdict { ask, verdict: Verdict::Unavailable });
    assert_eq!(world.read(peer), ["PUBACK #2 not authorized"]);
    world.send(peer, &Packet::Publish(publish1(3, "a", "x")));
    let (ask, _) = asked(&mut world);
    says(&mut world, ask, &[Allow]);
    assert_eq!(world.read(peer), ["PUBACK #3 no matching subscribers"]);
}

#[test]
fn a_back_end_that_ignores_a_case_leaves_it_to_the_file() {
    for (rules, code) in
        [(None, "PUBACK #1 not authorized"), (Some("pattern write a\n"), "PUBACK #1 no matching subscribers")]
    {
        let mut world = World::new();
        world.ask(0, Command::UseRules(rules.map(|text| Arc::new(parse_mosquitto(text).unwrap()))));
        let peer = client(&mut world, &v5("c"));
        world.send(peer, &Packet::Publish(publish1(1, "a", "x")));
        let (ask, _) = asked(&mut world);
        says(&mut world, ask, &[Ignore]);
        assert_eq!(world.read(peer), [code]);
    }
}

#[test]
fn rules_that_change_take_away_nothing_that_somebody_else_has_allowed() {
    let mut world = World::new();
    let peer = client(&mut world, &v5("c"));
    for (filter, decision) in [("a", Allow), ("b", Ignore)] {
        world.ask(0, Command::UseRules(Some(Arc::new(parse_mosquitto("pattern read b\n").unwrap()))));
        world.subscribe_with(peer, filter, options(0), None);
        let (ask, _) = asked(&mut world);
        says(&mut world, ask, &[decision]);
        assert_eq!(world.read(peer), ["SUBACK #1 [0]"]);
    }
    world.ask(0, Command::UseRules(Some(Arc::new(parse_mosquitto("pattern write a\npattern write b\n").unwrap()))));
    world.pass_s(1);
    let other = world.client("other");
    for topic in ["a", "b"] {
        world.send(other, &Packet::Publish(publish(topic, "x")));
    }
    assert_eq!(world.read(peer), ["PUBLISH a x"]);
}

#[test]
fn a_will_is_published_if_somebody_has_allowed_it_by_then() {
    for (decision, expected) in [(Some(Allow), &["PUBLISH will gone"][..]), (Some(Deny), &[]), (None, &[])] {
        let mut world = World::new();
        let heir = world.client("heir");
        world.subscribe(heir, "will", 0);
        let peer = client(&mut world, &Connect { will: Some(will(0)), ..v5("c") });
        let (ask, question) = asked(&mut world);
        assert_eq!(&*question.topics[0].topic, "will");
        if let Some(decision) = decision {
            says(&mut world, ask, &[decision]);
        }
        world.send(peer, &Packet::PingReq);
        assert_eq!(world.read(peer), ["PINGRESP"], "nothing waits for it");
        world.pass_s(100);
        world.cut(peer);
        assert_eq!(world.read(heir), expected, "{decision:?}");
    }
}

#[test]
fn filters_beyond_what_one_question_holds_are_refused() {
    let mut world = World::new();
    let peer = client(&mut world, &v5("c"));
    let names: Vec<String> = (0..=TOPICS_ASKED_MAX).map(|n| format!("f/{n}")).collect();
    let filters = names.iter().map(|filter| SubscribeFilter { filter, options: options(0) });
    let mut bytes = Vec::new();
    encode_subscribe(Version::V5, id(1), None, filters, &mut bytes);
    world.send_bytes(peer, &bytes);
    let (ask, question) = asked(&mut world);
    assert_eq!(question.topics.len(), TOPICS_ASKED_MAX);
    says(&mut world, ask, &vec![Allow; TOPICS_ASKED_MAX]);
    let expected: Vec<&str> = std::iter::repeat_n("0", TOPICS_ASKED_MAX).chain(["151"]).collect();
    assert_eq!(world.read(peer), [format!("SUBACK #1 [{}]", expected.join(", "))]);
}

#[test]
fn filters_beyond_the_bytes_of_one_question_are_not_asked_about() {
    let mut world = World::new();
    let peer = client(&mut world, &v5("c"));
    let names: Vec<String> = (0..100).map(|n| format!("{}{n:03}", "f".repeat(1_021))).collect();
    let filters = names.iter().map(|filter| SubscribeFilter { filter, options: options(0) });
    let mut bytes = Vec::new();
    encode_subscribe(Version::V5, id(1), None, filters, &mut bytes);
    world.send_bytes(peer, &bytes);
    let (ask, question) = asked(&mut world);
    let count = TOPICS_ASKED_MAX_BYTES / 1_024;
    assert_eq!(question.topics.len(), count);
    says(&mut world, ask, &vec![Allow; count]);
    let expected: Vec<&str> = std::iter::repeat_n("0", count).chain(std::iter::repeat_n("151", 100 - count)).collect();
    assert_eq!(world.read(peer), [format!("SUBACK #1 [{}]", expected.join(", "))]);
}

#[test]
fn what_nobody_could_be_asked_about_is_told_apart_from_what_was_denied() {
    let mut world = World::new();
    let peer = client(&mut world, &v5("c"));
    let filters = ["a", "b", "c"].map(|filter| SubscribeFilter { filter, options: options(0) });
    let mut bytes = Vec::new();
    encode_subscribe(Version::V5, id(1), None, filters, &mut bytes);
    world.send_bytes(peer, &bytes);
    let (ask, _) = asked(&mut world);
    says(&mut world, ask, &[Allow, Deny, Unasked]);
    assert_eq!(world.read(peer), ["SUBACK #1 [0, 135, 151]"]);
    world.send(peer, &Packet::Publish(publish1(2, "x", "")));
    let (ask, _) = asked(&mut world);
    says(&mut world, ask, &[Unasked]);
    assert_eq!(world.read(peer), ["PUBACK #2 quota exceeded"]);
}

#[test]
fn what_finds_no_room_to_wait_is_not_allowed() {
    let mut world = World::new();
    let payload = "x".repeat(TOPIC_ASKS_MAX_BYTES / 64);
    let peers: Vec<Peer> = (0..65).map(|n| client(&mut world, &v5(&format!("c{n}")))).collect();
    for &peer in &peers {
        world.send(peer, &Packet::Publish(publish1(1, "a", &payload)));
    }
    assert_eq!(world.asks.len(), 64);
    assert_eq!(world.read(peers[64]), ["PUBACK #1 quota exceeded"], "the bytes are bounded");
    world.pass_ms(VERDICT_TIMEOUT_MS + 200);
    world.asks.clear();
    world.send(peers[64], &Packet::Publish(publish1(2, "a", "x")));
    let (ask, _) = asked(&mut world);
    says(&mut world, ask, &[Allow]);
    assert_eq!(world.read(peers[64]), ["PUBACK #2 no matching subscribers"], "it was nobody's decision");
    let peers: Vec<Peer> = (0..=TOPIC_ASKS_MAX).map(|n| client(&mut world, &v5(&format!("d{n}")))).collect();
    for &peer in &peers {
        world.send(peer, &Packet::Publish(publish1(1, "a", "x")));
    }
    assert_eq!(world.asks.len(), TOPIC_ASKS_MAX);
    assert_eq!(world.read(peers[TOPIC_ASKS_MAX]), ["PUBACK #1 quota exceeded"], "and so is the number");
}

#[test]
fn whoever_goes_while_a_packet_of_it_waits_is_gone() {
    let mut world = World::new();
    let peer = client(&mut world, &v5("c"));
    world.send(peer, &Packet::Publish(publish1(1, "a", "x")));
    let (ask, _) = asked(&mut world);
    let next = client(&mut world, &v5("c"));
    says(&mut world, ask, &[Allow]);
    assert_eq!(world.read(next), [""; 0]);
    world.send(next, &Packet::PingReq);
    assert_eq!(world.read(next), ["PINGRESP"]);
}
