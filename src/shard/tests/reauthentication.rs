//! A connected client that authenticates itself again.

use super::harness::{Peer, World, v5};
use crate::auth::{Admission, AskId, Policy, Question, RefusalCause, Verdict};
use crate::codec::{Auth, Connect, Packet, ReasonCode};
use crate::limits::{REAUTHENTICATIONS_MAX, VERDICT_TIMEOUT_MS};
use crate::settings::{AuthenticationSettings, FromValue as _, ListenerSettings, OptionalFile, Value};
use crate::shard::{Input, UserNameBasis};
use crate::time::Timestamp;

const METHOD: &str = "SCRAM-SHA-256";

fn admission(world: &World, user: &str, seconds: u64) -> Verdict {
    let ends = Some(Timestamp(world.now.unix_ms + seconds * 1_000));
    Verdict::AdmitAs(Box::new(Admission { user: Some(user.into()), ends, ..Admission::default() }))
}

/// A client that has come in by enhanced authentication as `ann`, for ten seconds.
fn come_in(world: &mut World, client_id: &str) -> Peer {
    let scram_file = OptionalFile::from_value(Value::Text("users".to_owned()));
    let auth = AuthenticationSettings { scram_file, ..AuthenticationSettings::default() };
    let listener = ListenerSettings { policy: Policy::Refuse, auth, ..ListenerSettings::default() };
    let connect = Connect { authentication_method: Some(METHOD), authentication_data: Some(b"first"), ..v5(client_id) };
    let peer = world.open_at(listener, UserNameBasis::Claim, &connect);
    let ask = world.asks.pop().expect("the shard asks");
    let Question::Connect(question) = ask.question else { panic!() };
    let step = question.enhanced.expect("it names a method");
    assert_eq!((&*step.method, step.data.as_deref(), step.is_first), (METHOD, Some(&b"first"[..]), true));
    let verdict = admission(world, "ann", 10);
    world.turn(0, Input::Verdict { ask: ask.id, verdict });
    let answer = world.read(peer);
    assert!(answer[0].starts_with("CONNACK success"), "{answer:?}");
    peer
}

fn send(world: &mut World, peer: Peer, reason: ReasonCode, method: &str) {
    let auth = Auth { reason, method: Some(method), data: Some(b"data"), reason_string: None };
    world.send(peer, &Packet::Auth(auth));
}

fn asked(world: &mut World) -> AskId {
    assert_eq!(world.asks.len(), 1);
    world.asks.pop().expect("there is one").id
}

#[test]
fn a_client_that_shows_something_newer_stays_longer() {
    let mut world = World::new();
    let peer = come_in(&mut world, "c");
    world.pass_s(8);
    send(&mut world, peer, ReasonCode::ReAuthenticate, METHOD);
    let ask = asked(&mut world);
    world.turn(0, Input::Verdict { ask, verdict: Verdict::Continue(b"more"[..].into()) });
    assert_eq!(world.read(peer), ["AUTH continue authentication"]);
    world.send(peer, &Packet::PingReq);
    assert_eq!(world.read(peer), ["PINGRESP"], "it is served meanwhile");
    send(&mut world, peer, ReasonCode::ContinueAuthentication, METHOD);
    let (ask, verdict) = (asked(&mut world), admission(&world, "ann", 10));
    world.turn(0, Input::Verdict { ask, verdict });
    assert_eq!(world.read(peer), ["AUTH success"]);
    world.pass_s(8);
    assert_eq!(world.read(peer), [""; 0], "the first ten seconds are over");
    world.pass_s(3);
    let last = world.read(peer);
    assert_eq!(last.last().map(String::as_str), Some("CLOSED credentials_expired"), "{last:?}");
}

#[test]
fn one_that_fails_turns_into_somebody_else_or_takes_too_long_ends_the_connection() {
    for number in 0..5 {
        let mut world = World::new();
        let peer = come_in(&mut world, "c");
        send(&mut world, peer, ReasonCode::ReAuthenticate, METHOD);
        let ask = asked(&mut world);
        let verdict = match number {
            0 => Some(Verdict::Refuse(RefusalCause::BadCredentials)),
            1 => Some(admission(&world, "bob", 10)),
            2 => Some(Verdict::Unavailable),
            3 => Some(Verdict::Continue(b"more"[..].into())),
            _ => None,
        };
        if let Some(verdict) = verdict {
            world.turn(0, Input::Verdict { ask, verdict });
        }
        if number >= 3 {
            world.read(peer);
            world.pass_ms(VERDICT_TIMEOUT_MS + 200);
        }
        let told = world.read(peer);
        assert!(told[0].starts_with("DISCONNECT not authorized"), "{number}: {told:?}");
        assert_eq!(told[1], "CLOSED not_authorized");
        let verdict = admission(&world, "ann", 60);
        world.turn(0, Input::Verdict { ask, verdict });
        assert_eq!(world.read(peer), [""; 0], "too late");
    }
}

#[test]
fn what_is_out_of_place_is_an_error_of_the_protocol() {
    for (reason, method) in
        [(ReasonCode::ReAuthenticate, "SCRAM-SHA-512"), (ReasonCode::ContinueAuthentication, METHOD)]
    {
        let mut world = World::new();
        let peer = come_in(&mut world, "c");
        send(&mut world, peer, reason, method);
        assert_eq!(world.read(peer), ["DISCONNECT protocol error", "CLOSED protocol_error"]);
    }
    let mut world = World::new();
    let peer = world.client("plain");
    send(&mut world, peer, ReasonCode::ReAuthenticate, METHOD);
    assert_eq!(world.read(peer), ["DISCONNECT protocol error", "CLOSED protocol_error"]);
    let peer = come_in(&mut world, "c");
    send(&mut world, peer, ReasonCode::ReAuthenticate, METHOD);
    send(&mut world, peer, ReasonCode::ReAuthenticate, METHOD);
    assert_eq!(world.read(peer), ["DISCONNECT protocol error", "CLOSED protocol_error"]);
}

#[test]
fn too_many_at_once_are_told_so() {
    let mut world = World::new();
    let peers: Vec<Peer> = (0..=REAUTHENTICATIONS_MAX).map(|n| come_in(&mut world, &format!("c{n}"))).collect();
    for &peer in &peers {
        send(&mut world, peer, ReasonCode::ReAuthenticate, METHOD);
    }
    assert_eq!(world.asks.len(), REAUTHENTICATIONS_MAX);
    let told = world.read(peers[REAUTHENTICATIONS_MAX]);
    assert_eq!(told, ["DISCONNECT server busy", "CLOSED resources"]);
}
