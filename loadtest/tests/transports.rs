//! Everything below MQTT against the built broker: each listener keeps every promise, each refusal has its reason, and what the
//! generator itself takes of a handshake is told from what the broker does.

#[path = "support/process.rs"]
#[allow(dead_code)] // each test binary asks of a broker what it needs
mod process;

#[path = "support/front_door.rs"]
mod front_door;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use front_door::{Door, FrontDoor};
use loadtest::engine::{Control, EngineError, Silent, run};
use loadtest::exit::{Exit, judge};
use loadtest::outcome::{Bottleneck, FailureReason, Outcome};
use loadtest::plan::{
    Action, DropHow, Group, Pace, Part, Plan, Publishing, Sources, Stage, Subscription, Target, TlsTarget, TlsVersion,
    TokenTarget, WebSocketTarget,
};

/// Pairs with two messages under way for half a second.
fn pairs(target: Target, qos: u8, payload_bytes: u32) -> Plan {
    let mut publishers = Group::new("pub", 5, "pub-%i");
    publishers.publishing = Some(Publishing {
        topic: "t/%i".into(),
        qos,
        retain: false,
        payload_bytes,
        content: Vec::new(),
        pace: Pace::Closed { window: 2 },
        messages_per_client: None,
        targets: None,
    });
    let mut subscribers = Group::new("sub", 5, "sub-%i");
    subscribers.subscriptions.push(Subscription::new("t/%i", qos));
    let groups = || vec!["sub".to_owned(), "pub".to_owned()];
    let stages = vec![
        Stage::new("connect", Action::Ramp { groups: groups(), rate_per_s: 0.0 }),
        Stage::new("publish", Action::Hold { seconds: 0.5, publish: vec!["pub".to_owned()] }).measured(),
    ];
    plan(target, vec![publishers, subscribers], stages)
}

fn plan(target: Target, groups: Vec<Group>, stages: Vec<Stage>) -> Plan {
    Plan {
        name: "transports".to_owned(),
        description: String::new(),
        run_id: u32::from(target.port) + 7,
        target,
        groups,
        stages,
        workers: 1,
        sources: Sources::Auto,
        seed: 11,
        drain_s: 20,
        part: Part::default(),
        clocks: Vec::new(),
    }
}

fn ramp(rate_per_s: f64) -> Stage {
    Stage::new("connect", Action::Ramp { groups: vec!["all".to_owned()], rate_per_s })
}

/// Clients that connect and stay.
fn connects(target: Target, clients: u32, stages: Vec<Stage>) -> Plan {
    plan(target, vec![Group::new("all", clients, "c-%i")], stages)
}

fn target(door: &FrontDoor, at: Door) -> Target {
    let tls = TlsTarget { ca_file: Some(door.file("ca.pem")), ..TlsTarget::default() };
    let has_tls = matches!(at, Door::Tls | Door::Mutual | Door::Wss);
    Target {
        port: if at == Door::Unix { 1883 } else { door.port(at) },
        unix: (at == Door::Unix).then(|| door.file("mqtt.sock")),
        tls: has_tls.then_some(tls),
        websocket: matches!(at, Door::Ws | Door::Wss).then(WebSocketTarget::default),
        connect_timeout_s: 20,
        ..Target::default()
    }
}

fn with_tls(mut target: Target, change: impl FnOnce(&mut TlsTarget)) -> Target {
    change(target.tls.get_or_insert_default());
    target
}

fn with_certificate(door: &FrontDoor, target: Target, name: &str) -> Target {
    with_tls(target, |tls| {
        tls.certificate = Some(door.file(&format!("{name}.pem")).to_str().expect("a text").into());
        tls.key = Some(door.file(&format!("{name}.key")).to_str().expect("a text").into());
    })
}

fn outcome_of(plan: &Plan) -> Outcome {
    let name = plan.target.name();
    let outcome = run(plan, &Control::default(), &mut Silent).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(outcome.verdict.breaches(), Vec::<String>::new(), "{name}");
    assert_eq!(outcome.verdict.lost() + outcome.verdict.foreign, 0, "{name}");
    assert_eq!(outcome.connections.failed_total() + outcome.connections.lost_total(), 0, "{name}");
    outcome
}

#[test]
fn every_listener_keeps_every_promise() {
    let door = FrontDoor::open("promises");
    let token = |key: &str| {
        let token = Some(TokenTarget::new(door.file(key)));
        Target { token, username: Some("user-%i".into()), ..target(&door, Door::Tokens) }
    };
    let versions = [TlsVersion::V12, TlsVersion::V13];
    let of_version = versions.map(|version| with_tls(target(&door, Door::Tls), |tls| tls.version = Some(version)));
    let targets = [
        target(&door, Door::Unix),
        target(&door, Door::Ws),
        target(&door, Door::Wss),
        with_certificate(&door, target(&door, Door::Mutual), "client-%i"),
        with_certificate(&door, target(&door, Door::Mutual), "client-3"),
        with_tls(Target { tls: None, ..target(&door, Door::Tls) }, |tls| tls.insecure = true),
        token("secret"),
        token("token.key"),
    ];
    for target in of_version.into_iter().chain(targets) {
        // Within a frame and a record, and beyond both.
        for (qos, payload_bytes) in [(0, 16), (1, 200), (2, 70_000)] {
            let outcome = outcome_of(&pairs(target.clone(), qos, payload_bytes));
            let deliveries = outcome.verdict.deliveries[usize::from(qos)];
            assert!(deliveries.received >= 20, "{}: {deliveries:?}", outcome.target);
            assert_eq!(deliveries.received, outcome.verdict.messages[usize::from(qos)].sent, "{}", outcome.target);
            let timings = &outcome.timings;
            let shaken = if target.tls.is_some() { 10 } else { 0 };
            assert_eq!((timings.tls_handshake.count(), timings.own_handshake.count()), (shaken, shaken));
            assert_eq!(timings.upgrade.count(), if target.websocket.is_some() { 10 } else { 0 });
            assert_eq!((timings.tcp_connect.count(), timings.connack.count()), (10, 10));
            assert_eq!(outcome.connections.tls.values().sum::<u64>(), shaken);
        }
    }
}

#[test]
fn sessions_are_resumed_by_who_had_them_as_often_as_was_asked_for() {
    let door = FrontDoor::open("resumed");
    let all = || vec!["all".to_owned()];
    let stages = || {
        vec![
            ramp(0.0),
            Stage::new("hold", Action::Hold { seconds: 0.2, publish: Vec::new() }),
            Stage::new("go", Action::Drop { groups: all(), percent: 100.0, how: DropHow::Disconnect }),
            Stage::new("return", Action::Resume { groups: all(), percent: 100.0, rate_per_s: 0.0 }),
        ]
    };
    for version in [TlsVersion::V12, TlsVersion::V13] {
        for (percent, least, most) in [(0.0, 0, 0), (50.0, 1, 9), (100.0, 10, 10)] {
            // Each with a certificate of its own: with another's ticket it would be taken for that one.
            let target = with_certificate(&door, target(&door, Door::Mutual), "client-%i");
            let target = with_tls(target, |tls| (tls.version, tls.resume_percent) = (Some(version), percent));
            let outcome = outcome_of(&connects(target, 10, stages()));
            let (whole, resumed) = (outcome.timings.tls_handshake.count(), outcome.timings.tls_resumption.count());
            assert_eq!(whole + resumed, 20);
            assert!((least..=most).contains(&resumed), "{version:?}: {resumed} at {percent} %");
            let told = outcome.connections.tls.iter().filter(|(what, _)| what.ends_with(", resumed"));
            assert_eq!(told.map(|(_, count)| *count).sum::<u64>(), resumed, "{:?}", outcome.connections.tls);
        }
    }
}

fn refusal(target: Target) -> (u8, String) {
    match run(&connects(target, 1, vec![ramp(0.0)]), &Control::default(), &mut Silent) {
        Err(error) => (error.exit_status(), error.to_string()),
        Ok(outcome) => panic!("it came in: {:?}", outcome.connections),
    }
}

#[test]
fn each_way_of_not_getting_in_has_its_status_and_its_words() {
    let door = FrontDoor::open("refused");
    let tls = || target(&door, Door::Tls);
    let at = |port: Door, target: Target| Target { port: door.port(port), ..target };
    let wrong_path = WebSocketTarget { path: "/elsewhere".to_owned(), ..WebSocketTarget::default() };
    let stranger = TokenTarget::new(door.file("client-1.key"));
    let table = [
        (with_tls(tls(), |tls| tls.ca_file = Some(door.file("other-ca.pem"))), 9, "no authority that is trusted here"),
        (
            with_tls(tls(), |tls| tls.server_name = Some("broker.example".to_owned())),
            9,
            "for localhost, 127.0.0.1, not for",
        ),
        (at(Door::Plain, tls()), 6, "is the port one without?"),
        (at(Door::Mutual, tls()), 4, "alert CertificateRequired; it may want a client certificate"),
        (with_certificate(&door, at(Door::Mutual, tls()), "stranger"), 4, "alert UnknownCA"),
        (with_certificate(&door, at(Door::Mutual, tls()), "nobody-%i"), 2, "nobody-0.pem: No such file"),
        (with_tls(tls(), |tls| tls.ca_file = Some(door.file("server.key"))), 2, "it holds no certificate in PEM"),
        (
            Target { websocket: Some(wrong_path), ..target(&door, Door::Ws) },
            6,
            "/elsewhere was answered with HTTP 404 Not Found",
        ),
        (at(Door::Plain, target(&door, Door::Ws)), 6, "without an answer to the WebSocket request"),
        (at(Door::Tls, target(&door, Door::Ws)), 6, ""),
        (Target { unix: Some(door.file("nothing")), ..Target::default() }, 3, "No such file"),
        (Target { token: Some(stranger), ..target(&door, Door::Tokens) }, 4, ""),
        (Target { token: Some(TokenTarget::new(door.file("nothing"))), ..tls() }, 2, "jwt_key "),
    ];
    for (target, status, part) in table {
        let (found, words) = refusal(target);
        assert!(found == status && words.contains(part), "{status}, {part:?}: {found}, {words}");
    }
}

#[test]
fn refusals_of_some_are_counted_by_their_reasons_and_fail_the_run() {
    let door = FrontDoor::open("some");
    for file in ["pem", "key"] {
        std::fs::copy(door.file(&format!("stranger.{file}")), door.file(&format!("client-7.{file}"))).expect("copied");
        std::fs::remove_file(door.file(&format!("client-8.{file}"))).expect("removed");
    }
    let target = with_certificate(&door, target(&door, Door::Mutual), "client-%i");
    // One by one: the first is to be in before the eighth comes.
    let plan = connects(target, 10, vec![ramp(20.0)]);
    let outcome = run(&plan, &Control::default(), &mut Silent).expect("an outcome");
    let failed = |reason| outcome.connections.failed.get(&reason).copied();
    assert_eq!((failed(FailureReason::TlsRefused), failed(FailureReason::ClientFile)), (Some(1), Some(1)));
    assert_eq!((outcome.connections.established, outcome.refusals().handshakes), (8, 1), "{:?}", outcome.connections);
    let (reason, count) = outcome.refused.first_key_value().expect("one");
    assert!(reason.contains("alert UnknownCA") && *count == 1, "{:?}", outcome.refused);
    let judgement = judge(&plan, &outcome, &[], &[]);
    assert_eq!(judgement.exit, Exit::Broken);
    assert!(judgement.complaints.iter().any(|line| line.contains("refused 1 handshake")), "{:?}", judgement.complaints);
}

/// Passes bytes on to a port, those of the broker only after a while. Returns its own port.
fn slow_way(to: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { return };
            let (from, into) = (client.try_clone().expect("a clone"), broker.try_clone().expect("a clone"));
            std::thread::spawn(move || pass(from, into, Duration::ZERO));
            std::thread::spawn(move || pass(broker, client, delay));
        }
    });
    port
}

fn pass(mut from: TcpStream, mut into: TcpStream, delay: Duration) {
    let mut bytes = [0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        std::thread::sleep(delay);
        if into.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
    let _ = into.shutdown(Shutdown::Write);
}

#[test]
fn who_is_slow_in_handshakes_is_told() {
    let door = FrontDoor::open("bound");
    // All at once: each waits for those before it, in loadtest.
    let outcome = outcome_of(&connects(target(&door, Door::Tls), 150, vec![ramp(0.0)]));
    assert!(outcome.shakes_late() && outcome.bottleneck == Bottleneck::Generator, "{:?}", outcome.bottleneck);
    // One after the other, to a broker that takes its time: loadtest has little to do with it.
    let target = target(&door, Door::Tls);
    let slow = Target { port: slow_way(target.port, Duration::from_secs(1)), ..target };
    let outcome = outcome_of(&connects(slow, 4, vec![ramp(4.0)]));
    let timings = &outcome.timings;
    assert!(timings.tls_handshake.percentile_ns(50.0) > 900_000_000, "{}", timings.tls_handshake.percentile_ns(50.0));
    let own_ms = timings.own_handshake.max_ns() / 1_000_000;
    assert!(!outcome.shakes_late() && outcome.bottleneck == Bottleneck::None, "{own_ms} ms");
}

#[test]
fn a_broker_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    for (tls, websocket) in
        [(Some(TlsTarget { insecure: true, ..TlsTarget::default() }), None), (None, Some(WebSocketTarget::default()))]
    {
        let target = Target { port, tls, websocket, connect_timeout_s: 1, ..Target::default() };
        let error = run(&connects(target, 1, vec![ramp(0.0)]), &Control::default(), &mut Silent).err();
        assert!(matches!(error, Some(EngineError::NoBroker { .. })), "{error:?}");
    }
}
