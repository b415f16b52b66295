//! Plans: what is refused, and that they survive the way to an agent.

use super::*;

fn plan() -> Plan {
    let mut publishers = Group::new("pub", 3, "pub-%i");
    publishers.publishing = Some(Publishing {
        topic: "t/%i".into(),
        qos: 1,
        retain: false,
        payload_bytes: 16,
        content: Vec::new(),
        pace: Pace::Open { per_client_per_s: 1.0 },
        messages_per_client: None,
        targets: None,
    });
    let mut subscribers = Group::new("sub", 3, "sub-%i");
    subscribers.subscriptions.push(Subscription::new("t/%i", 1));
    let everybody = vec!["sub".to_owned(), "pub".to_owned()];
    Plan {
        name: "p2p".to_owned(),
        description: String::new(),
        target: Target::default(),
        groups: vec![publishers, subscribers],
        stages: vec![
            Stage::new("connect", Action::Ramp { groups: everybody, rate_per_s: 100.0 }),
            Stage::new("hold", Action::Hold { seconds: 1.0, publish: vec!["pub".to_owned()] }).measured(),
        ],
        workers: 1,
        sources: Sources::Auto,
        run_id: 7,
        seed: 1,
        drain_s: 5,
        part: Part::default(),
        clocks: Vec::new(),
    }
}

#[test]
fn a_plan_survives_json() {
    let plan = plan();
    plan.check().expect("a valid plan");
    let text = serde_json::to_string(&plan).expect("a plan is plain data");
    assert_eq!(serde_json::from_str::<Plan>(&text).expect("what was written is read"), plan, "{text}");
    assert_eq!((plan.loop_kind(), plan.clients()), (LoopKind::Open, 6));
}

#[test]
fn what_cannot_be_carried_out_is_refused_by_name() {
    type Spoil = fn(&mut Plan);
    let table: &[(&str, Spoil)] = &[
        ("group \"pub\": another group", |plan| plan.groups[1].name = "pub".to_owned()),
        ("group \"sub\": client_id", |plan| plan.groups[1].client_id = "same".into()),
        ("group \"sub\": filter \"a#\"", |plan| plan.groups[1].subscriptions[0].filter = "a#".into()),
        ("group \"sub\": filter \"a/%r\"", |plan| plan.groups[1].subscriptions[0].filter = "a/%r".into()),
        ("group \"sub\": qos = 3", |plan| plan.groups[1].subscriptions[0].qos = 3),
        ("group \"pub\": topic \"a/+\"", |plan| spoil(plan, |publishing| publishing.topic = "a/+".into())),
        ("group \"pub\": payload = 15 bytes", |plan| spoil(plan, |publishing| publishing.payload_bytes = 15)),
        ("group \"pub\": window = 0", |plan| spoil(plan, |publishing| publishing.pace = Pace::Closed { window: 0 })),
        ("group \"pub\": NaN messages a second", |plan| {
            spoil(plan, |publishing| publishing.pace = Pace::Open { per_client_per_s: f64::NAN });
        }),
        ("group \"pub\": topic \"a/%r\": %r needs targets", |plan| {
            spoil(plan, |publishing| publishing.topic = "a/%r".into());
        }),
        ("stage \"hold\": no group is called \"x\"; there are pub, sub", |plan| {
            plan.stages[1].action = Action::Hold { seconds: 1.0, publish: vec!["x".to_owned()] };
        }),
        ("stage \"hold\": group \"sub\" is to publish", |plan| {
            plan.stages[1].action = Action::Hold { seconds: 1.0, publish: vec!["sub".to_owned()] };
        }),
        ("stage \"hold\": for = -1", |plan| {
            plan.stages[1].action = Action::Hold { seconds: -1.0, publish: Vec::new() };
        }),
        ("group \"sub\": filter \"a/%s\"", |plan| plan.groups[1].subscriptions[0].filter = "a/%s".into()),
        ("group \"pub\": topic \"a/%s\": %s and retain", |plan| {
            spoil(plan, |publishing| (publishing.topic, publishing.retain) = ("a/%s".into(), true));
        }),
        ("username = \"u%s\"", |plan| plan.target.username = Some("u%s".into())),
        ("the index of its part", |plan| plan.part = Part { index: 2, of: 2 }),
    ];
    for (expected, change) in table {
        let mut plan = plan();
        change(&mut plan);
        let error = plan.check().expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error:?} does not begin with {expected:?}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let mut plan = plan();
    plan.groups[1].client_id = "same".into();
    plan.groups[1].subscriptions[0].filter = "a#".into();
    spoil(&mut plan, |publishing| publishing.payload_bytes = 1);
    plan.stages[1].action = Action::Hold { seconds: -1.0, publish: vec!["x".to_owned()] };
    let found: Vec<(At, Option<&str>)> = plan.problems().iter().map(|problem| (problem.at, problem.key)).collect();
    let (pubs, subs, hold) = (At::Group(0), At::Group(1), At::Stage(1));
    assert_eq!(
        found,
        [
            (pubs, Some("payload")),
            (subs, Some("client_id")),
            (subs, Some("subscribe")),
            (hold, Some("publish")),
            (hold, Some("for")),
        ]
    );
}

fn spoil(plan: &mut Plan, change: impl FnOnce(&mut Publishing)) {
    change(plan.groups[0].publishing.as_mut().expect("it publishes"));
}

#[test]
fn parts_share_the_clients_without_rest() {
    for clients in [1, 2, 3, 10, 11] {
        for of in [1, 2, 3, 4] {
            let mut total = 0;
            for index in 0..of {
                let part = Part { index, of };
                assert_eq!(part.count(clients), (0..clients).filter(|client| part.has(*client)).count() as u64);
                total += part.count(clients);
            }
            assert_eq!(total, u64::from(clients), "{clients} in {of}");
        }
    }
}
