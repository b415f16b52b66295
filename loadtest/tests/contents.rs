//! Payloads of templates and files, and connections that are tried again: judged as strictly as all others.

#[path = "support/liar.rs"]
#[allow(dead_code)] // each test binary asks of a liar what it needs
mod liar;

use liar::{Liar, Lie};
use loadtest::engine::{Control, EngineError, Silent, run};
use loadtest::outcome::Outcome;
use loadtest::plan::{Action, Content, Group, Pace, Part, Plan, Publishing, Sources, Stage, Subscription, Target};

const MESSAGES: u64 = 200;

fn plan(liar: &Liar, content: Vec<Content>) -> Plan {
    let mut publishers = Group::new("pub", 2, "pub-%i");
    publishers.publishing = Some(Publishing {
        topic: "t/%i".into(),
        qos: 1,
        retain: false,
        payload_bytes: 32,
        content,
        pace: Pace::Open { per_client_per_s: 400.0 },
        messages_per_client: Some(MESSAGES / 2),
        targets: None,
    });
    let mut subscribers = Group::new("sub", 2, "sub-%i");
    subscribers.subscriptions.push(Subscription::new("t/%i", 1));
    let groups = vec!["sub".to_owned(), "pub".to_owned()];
    Plan {
        name: "contents".to_owned(),
        description: String::new(),
        target: Target { port: liar.address.port(), connect_timeout_s: 10, retry_after_ms: 50, ..Target::default() },
        groups: vec![publishers, subscribers],
        stages: vec![
            Stage::new("connect", Action::Ramp { groups, rate_per_s: 0.0 }),
            Stage::new("publish", Action::Hold { seconds: 1.0, publish: vec!["pub".to_owned()] }).measured(),
        ],
        workers: 1,
        sources: Sources::Auto,
        run_id: 0x1234_5678,
        seed: 1,
        drain_s: 1,
        part: Part::default(),
        clocks: Vec::new(),
    }
}

fn carry_out(plan: &Plan) -> Result<Outcome, EngineError> {
    run(plan, &Control::default(), &mut Silent)
}

/// Lost, duplicated, reordered, corrupted, foreign.
fn findings(outcome: &Outcome) -> [u64; 5] {
    let all = outcome.verdict.all_deliveries();
    [outcome.verdict.lost(), all.duplicated, all.reordered, outcome.verdict.corrupted, outcome.verdict.foreign]
}

#[test]
fn contents_have_the_same_verdict_as_a_pattern() {
    let json = r#"{"device":"%c","n":%s,"at":%t,"stamp":"%m"}"#;
    for content in [
        vec![Content::Template(json.to_owned())],
        vec![Content::Bytes(vec![0xff; 300]), Content::Template("short".to_owned())],
    ] {
        let table =
            [(Lie::None, None), (Lie::Drop(10), Some(0)), (Lie::Corrupt(13), Some(3)), (Lie::Foreign(11), Some(4))];
        for (lie, name) in table {
            let liar = Liar::start(lie);
            let outcome = carry_out(&plan(&liar, content.clone())).expect("an outcome");
            let mut expected = [0; 5];
            if let Some(name) = name {
                expected[name] = liar.lies();
                assert!(liar.lies() > 5, "{lie:?}");
            }
            // A spoilt message is one that its subscriber never had.
            if matches!(lie, Lie::Corrupt(_)) {
                expected[0] = liar.lies();
            }
            assert_eq!(findings(&outcome), expected, "{lie:?}, {} contents", content.len());
            assert_eq!(outcome.verdict.deliveries[1].expected, MESSAGES);
        }
    }
}

#[test]
fn who_could_not_connect_tries_again_as_often_as_the_plan_says() {
    for (shut, retries, retried) in [(4, 1, 4), (8, 3, 8), (0, 3, 0)] {
        let liar = Liar::start(Lie::Slam(shut));
        let mut plan = plan(&liar, Vec::new());
        plan.target.retries = retries;
        let outcome = carry_out(&plan).expect("an outcome");
        let connections = &outcome.connections;
        assert_eq!((connections.established, connections.failed_total()), (4, 0), "{shut} shut out");
        assert_eq!((connections.retried, connections.attempted), (retried, 4 + retried), "{shut} shut out");
        assert_eq!(findings(&outcome), [0; 5], "the stage waits for those who try again");
    }
    // One try more than there are retries.
    for (shut, retries) in [(4, 0), (8, 1)] {
        let liar = Liar::start(Lie::Slam(shut));
        let mut plan = plan(&liar, Vec::new());
        plan.target.retries = retries;
        let error = carry_out(&plan).expect_err("nobody gets in");
        assert!(matches!(error, EngineError::NoBroker { .. }), "{error}");
    }
}

#[test]
fn a_wrong_password_is_not_tried_again() {
    let liar = Liar::start(Lie::Refuse(dunlin::codec::ReasonCode::NotAuthorized));
    let mut plan = plan(&liar, Vec::new());
    (plan.target.retries, plan.target.retry_after_ms) = (3, 3_600_000);
    assert!(matches!(carry_out(&plan), Err(EngineError::Refused { .. })));
}
