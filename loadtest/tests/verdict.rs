//! A broker that lies, and the verdict that must call each lie by its name, at every QoS and payload length.

#[path = "support/liar.rs"]
#[allow(dead_code)] // each test binary asks of a liar what it needs
mod liar;

use dunlin::codec::ReasonCode;
use liar::{Liar, Lie};
use loadtest::engine::{Control, EngineError, Gate, Silent, run};
use loadtest::outcome::{Bottleneck, Ending, Outcome, Refusals};
use loadtest::plan::{
    Action, Group, MqttVersion, Pace, Part, Plan, Publishing, Reads, Sources, Stage, Subscription, Target,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MESSAGES: u64 = 400;

fn plan(liar: &Liar, qos: u8, payload_bytes: u32, pace: Pace) -> Plan {
    let mut publishers = Group::new("pub", 2, "pub-%i");
    publishers.publishing = Some(Publishing {
        topic: "t/%i".into(),
        qos,
        retain: false,
        payload_bytes,
        content: Vec::new(),
        pace,
        messages_per_client: Some(MESSAGES / 2),
        targets: None,
    });
    let mut subscribers = Group::new("sub", 2, "sub-%i");
    subscribers.subscriptions.push(Subscription::new("t/%i", qos));
    let groups = vec!["sub".to_owned(), "pub".to_owned()];
    Plan {
        name: "lies".to_owned(),
        description: String::new(),
        target: Target { port: liar.address.port(), connect_timeout_s: 10, ..Target::default() },
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

fn outcome(lie: Lie, qos: u8, payload_bytes: u32) -> (Outcome, u64) {
    let liar = Liar::start(lie);
    let pace = Pace::Open { per_client_per_s: 400.0 };
    let outcome = run(&plan(&liar, qos, payload_bytes, pace), &Control::default(), &mut Silent).expect("an outcome");
    let sent: u64 = outcome.verdict.messages.iter().map(|messages| messages.sent).sum();
    assert_eq!(sent, MESSAGES, "{lie:?}: the schedule is kept");
    (outcome, liar.lies())
}

/// Lost, duplicated, reordered, corrupted, foreign.
fn findings(outcome: &Outcome) -> [u64; 5] {
    let all = outcome.verdict.all_deliveries();
    [outcome.verdict.lost(), all.duplicated, all.reordered, outcome.verdict.corrupted, outcome.verdict.foreign]
}

#[test]
fn an_honest_broker_is_found_honest() {
    for (qos, payload_bytes) in [(0, 16), (1, 16), (2, 40), (1, 5000)] {
        let (outcome, _) = outcome(Lie::None, qos, payload_bytes);
        assert_eq!(findings(&outcome), [0; 5], "QoS {qos}");
        assert_eq!(outcome.verdict.breaches(), Vec::<String>::new());
        let deliveries = outcome.verdict.deliveries[usize::from(qos)];
        assert_eq!((deliveries.expected, deliveries.received), (MESSAGES, MESSAGES));
        let acknowledged = if qos == 0 { 0 } else { MESSAGES };
        assert_eq!(outcome.verdict.messages[usize::from(qos)].acknowledged, acknowledged);
        assert_eq!((outcome.connections.established, outcome.connections.at_end), (4, 4));
        assert_eq!(outcome.ending, Ending::Finished);
        // On a busy machine it may be the generator, and says so.
        assert_ne!(outcome.bottleneck, Bottleneck::Broker);
        assert_eq!(outcome.timings.latency_intended.count(), MESSAGES);
        assert_eq!((outcome.timings.tcp_connect.count(), outcome.timings.suback.count()), (4, 2));
    }
}

#[test]
fn every_lie_is_called_by_its_name() {
    for (qos, payload_bytes) in [(0, 16), (1, 32), (2, 100)] {
        let table = [(Lie::Drop(10), 0), (Lie::Duplicate(7), 1), (Lie::Corrupt(13), 3), (Lie::Foreign(11), 4)];
        for (lie, name) in table {
            let (outcome, lies) = outcome(lie, qos, payload_bytes);
            let found = findings(&outcome);
            assert!(lies > 5, "{lie:?} was told {lies} times");
            let mut expected = [0; 5];
            expected[name] = lies;
            // A spoilt message is one that its subscriber never had.
            if matches!(lie, Lie::Corrupt(_)) {
                expected[0] = lies;
            }
            assert_eq!(found, expected, "{lie:?} at QoS {qos}");
            let is_allowed = matches!((lie, qos), (Lie::Drop(_), 0) | (Lie::Duplicate(_), 1) | (Lie::Foreign(_), _));
            assert_eq!(outcome.verdict.breaches().is_empty(), is_allowed, "{lie:?} at QoS {qos}");
        }
    }
}

/// Each subscriber has one topic by name at the QoS of the run, and both by a wildcard at QoS 0.
fn overlapping(lie: Lie, qos: u8) -> (Outcome, u64) {
    let liar = Liar::start(lie);
    let mut plan = plan(&liar, qos, 32, Pace::Open { per_client_per_s: 400.0 });
    plan.groups[1].subscriptions.insert(0, Subscription::new("t/+", 0));
    let outcome = run(&plan, &Control::default(), &mut Silent).expect("an outcome");
    let all = outcome.verdict.all_deliveries();
    assert_eq!((all.expected, all.received, all.reordered), (2 * MESSAGES, 2 * MESSAGES, 0), "{lie:?} at QoS {qos}");
    let named = outcome.verdict.deliveries[usize::from(qos)].expected;
    assert_eq!(named, if qos == 0 { 2 * MESSAGES } else { MESSAGES }, "{lie:?}: owed at the highest QoS that matches");
    (outcome, liar.lies())
}

#[test]
fn a_copy_for_each_overlapping_subscription_is_allowed_and_one_more_is_a_duplicate() {
    for qos in 0..=2 {
        for (lie, copies) in [(Lie::None, MESSAGES), (Lie::Merge, 0)] {
            let (outcome, _) = overlapping(lie, qos);
            let all = outcome.verdict.all_deliveries();
            assert_eq!((all.copies, all.duplicated), (copies, 0), "{lie:?} at QoS {qos}");
            assert_eq!(outcome.verdict.breaches(), Vec::<String>::new(), "{lie:?} at QoS {qos}");
        }
        let (outcome, lies) = overlapping(Lie::Duplicate(7), qos);
        let all = outcome.verdict.all_deliveries();
        assert_eq!(lies, 3 * MESSAGES / 7);
        assert_eq!((all.copies, all.duplicated), (MESSAGES, lies), "QoS {qos}");
        assert!(!outcome.verdict.breaches().is_empty(), "the wildcard's are of QoS 0");
    }
}

#[test]
fn messages_of_one_publisher_that_change_places_are_seen() {
    let liar = Liar::start(Lie::Swap(20));
    let mut plan = plan(&liar, 1, 16, Pace::Open { per_client_per_s: 800.0 });
    for group in &mut plan.groups {
        group.clients = 1;
    }
    plan.groups[0].publishing.as_mut().expect("it publishes").messages_per_client = Some(MESSAGES);
    let outcome = run(&plan, &Control::default(), &mut Silent).expect("an outcome");
    assert!(liar.lies() >= 19, "{}", liar.lies());
    // The last one that was held back may have had nobody to change places with.
    let [lost, _, reordered, ..] = findings(&outcome);
    assert_eq!(reordered + lost, liar.lies());
    assert!(lost <= 1);
}

#[test]
fn an_acknowledgement_that_never_comes_leaves_a_message_unconfirmed() {
    let (outcome, lies) = outcome(Lie::Forget(8), 1, 16);
    let messages = outcome.verdict.messages[1];
    assert_eq!((messages.unconfirmed, messages.acknowledged), (lies, MESSAGES - lies));
    assert_eq!(outcome.verdict.lost(), 0);
}

#[test]
fn what_is_refused_is_counted_by_packet_and_reason_and_owed_to_nobody() {
    for (qos, packet) in [(1, "PUBACK"), (2, "PUBREC")] {
        let (outcome, lies) = outcome(Lie::RefuseMessages(ReasonCode::QuotaExceeded), qos, 32);
        assert_eq!(lies, MESSAGES);
        let messages = outcome.verdict.messages[usize::from(qos)];
        assert_eq!((messages.refused, messages.acknowledged, messages.unconfirmed), (MESSAGES, 0, 0));
        assert_eq!(outcome.refusals(), Refusals { messages: MESSAGES, ..Refusals::default() });
        assert_eq!(outcome.refusal_reasons(), format!("{MESSAGES} {packet} quota exceeded"));
        assert_eq!(findings(&outcome), [0; 5], "QoS {qos}");
    }
}

#[test]
fn who_subscribes_after_the_messages_was_owed_none_of_them() {
    let liar = Liar::start(Lie::None);
    let mut plan = plan(&liar, 1, 32, Pace::Open { per_client_per_s: 400.0 });
    let ramp = |name: &str| Stage::new(name, Action::Ramp { groups: vec![name.to_owned()], rate_per_s: 0.0 });
    plan.stages[0] = ramp("pub");
    plan.stages.push(ramp("sub"));
    plan.groups[0].publishing.as_mut().expect("it publishes").retain = true;
    let outcome = run(&plan, &Control::default(), &mut Silent).expect("an outcome");
    let live = outcome.verdict.deliveries[1];
    assert_eq!((live.expected, live.owed(), live.excused_of_owed(), live.received), (MESSAGES, 0, 0, 0));
    // It keeps book of retained messages and sends none.
    assert_eq!((outcome.verdict.retained.owed(), outcome.verdict.retained.lost()), (2, 2));
}

#[test]
fn every_message_may_have_a_topic_of_its_own() {
    let liar = Liar::start(Lie::Swap(20));
    let mut plan = plan(&liar, 1, 32, Pace::Open { per_client_per_s: 400.0 });
    plan.groups[0].publishing.as_mut().expect("it publishes").topic = "t/%i/%s".into();
    plan.groups[1].subscriptions[0].filter = "t/%i/+".into();
    let outcome = run(&plan, &Control::default(), &mut Silent).expect("an outcome");
    assert!(liar.lies() >= 19, "{}", liar.lies());
    let deliveries = outcome.verdict.deliveries[1];
    assert_eq!((deliveries.expected, outcome.verdict.misdirected), (MESSAGES, 0));
    assert!(deliveries.lost() <= 1, "the last one that was held back may have had nobody to change places with");
    assert_eq!(deliveries.reordered, 0, "order is promised within a topic");
}

/// Messages whose latency is above `ms`.
fn slower_than(outcome: &Outcome, ms: u64) -> u64 {
    let histogram = outcome.timings.latency_intended.histogram();
    histogram.count_between(ms * 1_000_000, histogram.max().max(ms * 1_000_000))
}

#[test]
fn a_stall_shows_in_the_open_loop_as_theory_says_and_hides_in_the_closed_one() {
    let stall = Duration::from_millis(400);
    let run_with = |pace: Pace| {
        let liar = Liar::start(Lie::Stall(100, stall));
        let mut plan = plan(&liar, 1, 32, pace);
        for group in &mut plan.groups {
            group.clients = 1;
        }
        plan.groups[0].publishing.as_mut().expect("it publishes").messages_per_client = Some(MESSAGES);
        plan.stages[1].action = Action::Hold { seconds: 2.0, publish: vec!["pub".to_owned()] };
        run(&plan, &Control::default(), &mut Silent).expect("an outcome")
    };
    let open = run_with(Pace::Open { per_client_per_s: 200.0 });
    let closed = run_with(Pace::Closed { window: 1 });
    for outcome in [&open, &closed] {
        assert_eq!((outcome.verdict.lost(), outcome.verdict.all_messages().sent), (0, MESSAGES));
        assert!(outcome.timings.latency_intended.max_ns() >= 390_000_000);
    }
    // 200 messages a second were meant to leave during 400 ms: those of the first 300 ms are late by more than 100 ms.
    let late = slower_than(&open, 100);
    assert!((55..=90).contains(&late), "{late} late messages in the open loop, theory says 60");
    // The closed loop sent nothing while it waited: one message knows of the stall.
    assert_eq!(slower_than(&closed, 390), 1);
    assert!(slower_than(&closed, 100) <= 3, "one message, and what the machine adds");
}

#[test]
fn readers_that_are_slow_on_purpose_are_reported_apart() {
    let liar = Liar::start(Lie::None);
    let mut plan = plan(&liar, 1, 1024, Pace::Open { per_client_per_s: 200.0 });
    for (name, filter, qos, reads) in
        [("slow", "t/0", 1, Reads::Slow { bytes_per_s: 100_000 }), ("stalled", "t/#", 0, Reads::Stalled)]
    {
        let mut group = Group::new(name, 1, name);
        group.subscriptions.push(Subscription::new(filter, qos));
        group.reads = reads;
        plan.groups.push(group);
    }
    let groups = ["sub", "slow", "stalled", "pub"].map(str::to_owned).to_vec();
    plan.stages[0].action = Action::Ramp { groups, rate_per_s: 0.0 };
    // The last messages leave after a second, and have half a one to come on a busy machine.
    plan.stages[1].action = Action::Hold { seconds: 1.5, publish: vec!["pub".to_owned()] };
    plan.drain_s = 30;
    let outcome = run(&plan, &Control::default(), &mut Silent).expect("an outcome");
    let [quick, slow, stalled] = [outcome.verdict.deliveries[1], outcome.verdict.slow[1], outcome.verdict.slow[0]];
    assert_eq!((quick.expected, quick.received, outcome.verdict.deliveries[0].expected), (MESSAGES, MESSAGES, 0));
    assert_eq!((slow.expected, slow.received), (MESSAGES / 2, MESSAGES / 2), "late, but all of it");
    assert_eq!((stalled.expected, stalled.excused, stalled.received), (MESSAGES, MESSAGES, 0), "it reads nothing");
    assert_eq!((outcome.verdict.breaches(), outcome.connections.lost_total()), (Vec::new(), 0));
    // 200 messages of 1 KiB a second, of which 100 KB a second are read: the last measured one is half a second late.
    let timings = &outcome.timings;
    assert_eq!(timings.latency_intended.count(), MESSAGES, "those who read, and nobody else");
    assert!(timings.latency_slow.max_ns() > 300_000_000 && timings.latency_slow.count() < MESSAGES / 2);
    assert!(outcome.duration_s < 25.0, "nobody waits for who hangs: {} s", outcome.duration_s);
}

#[test]
fn what_ends_a_run_early_has_a_name_and_a_status_of_its_own() {
    let run_with = |lie: Lie| {
        let liar = Liar::start(lie);
        run(&plan(&liar, 1, 16, Pace::Open { per_client_per_s: 400.0 }), &Control::default(), &mut Silent)
    };
    let refused = run_with(Lie::Refuse(ReasonCode::BadUserNameOrPassword)).expect_err("nobody gets in");
    assert!(matches!(refused, EngineError::Refused { .. }) && refused.exit_status() == 4, "{refused}");
    let babble = run_with(Lie::Babble).expect_err("it is no broker");
    assert!(matches!(babble, EngineError::NoBroker { .. }) && babble.exit_status() == 6, "{babble}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let liar = Liar::start(Lie::None);
    let mut nobody = plan(&liar, 1, 16, Pace::Closed { window: 1 });
    nobody.target.port = port;
    let unreachable = run(&nobody, &Control::default(), &mut Silent).expect_err("nobody listens");
    assert!(matches!(unreachable, EngineError::Unreachable { .. }), "{unreachable}");
    assert_eq!(unreachable.to_string(), format!("cannot reach 127.0.0.1:{port}: Connection refused (os error 111)"));
    nobody.target.host = "no such host".to_owned();
    assert_eq!(run(&nobody, &Control::default(), &mut Silent).expect_err("no such name").exit_status(), 3);
}

#[test]
fn a_broker_that_dies_half_way_leaves_an_outcome_that_says_so() {
    let liar = Liar::start(Lie::Die(100));
    let plan = plan(&liar, 1, 16, Pace::Open { per_client_per_s: 400.0 });
    let outcome = run(&plan, &Control::default(), &mut Silent).expect("an outcome all the same");
    assert!(matches!(outcome.ending, Ending::BrokerLost { .. }), "{:?}", outcome.ending);
    assert_eq!((outcome.connections.lost_total(), outcome.connections.at_end), (4, 0));
    assert_eq!(outcome.verdict.lost(), 0, "what was under way is nobody's promise");
}

/// Keeps parts that run in one test in step.
#[derive(Default)]
struct Together(AtomicUsize);

impl Gate for Together {
    fn arrive(&self, _: usize) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn answer(&self, index: usize) -> Option<bool> {
        (self.0.load(Ordering::SeqCst) >= 2 * (index + 1)).then_some(true)
    }
}

/// Runs a plan in two parts, as two agents would, and merges their outcomes.
fn in_two_parts(plan: &Plan) -> Outcome {
    let mut control = Control::default();
    control.gate = Some(Arc::new(Together::default()));
    let mut outcomes = std::thread::scope(|scope| {
        let parts = [0, 1].map(|index| {
            let (plan, control) = (Plan { part: Part { index, of: 2 }, ..plan.clone() }, control.clone());
            scope.spawn(move || run(&plan, &control, &mut Silent).expect("an outcome"))
        });
        parts.map(|part| part.join().expect("a part ends")).into_iter()
    });
    let mut merged = outcomes.next().expect("two of them");
    outcomes.for_each(|other| merged.merge(&other));
    merged
}

#[test]
fn what_another_machine_stamped_is_in_no_latency() {
    for (clocks, timed) in [(vec![], 2 * MESSAGES), (vec![0, 0], 2 * MESSAGES), (vec![0, 1], MESSAGES)] {
        let liar = Liar::start(Lie::None);
        let mut plan = plan(&liar, 1, 32, Pace::Open { per_client_per_s: 400.0 });
        plan.groups[1].subscriptions[0].filter = "t/+".into();
        plan.clocks = clocks;
        let outcome = in_two_parts(&plan);
        let all = outcome.verdict.all_deliveries();
        assert_eq!((all.received, outcome.verdict.lost()), (2 * MESSAGES, 0), "every message has its verdict");
        let timings = &outcome.timings;
        assert_eq!(
            (timings.latency_intended.count(), timings.latency_sent.count()),
            (timed, timed),
            "{:?}",
            plan.clocks
        );
        assert_eq!(outcome.untimed, 2 * MESSAGES - timed, "{:?}", plan.clocks);
    }
}

/// Two publishers with one message under way each, two subscribers to both of them, all of QoS 0.
fn closed_fan_out(liar: &Liar) -> Plan {
    let mut plan = plan(liar, 0, 32, Pace::Closed { window: 1 });
    plan.groups[1].subscriptions[0].filter = "t/+".into();
    plan.stages[1].action = Action::Hold { seconds: 4.0, publish: vec!["pub".to_owned()] };
    plan
}

#[test]
fn the_closed_loop_waits_for_subscribers_of_other_workers() {
    for workers in [1, 2] {
        let liar = Liar::start(Lie::None);
        let outcome =
            run(&Plan { workers, ..closed_fan_out(&liar) }, &Control::default(), &mut Silent).expect("an outcome");
        assert_eq!(outcome.generator.workers, u32::from(workers));
        let deliveries = outcome.verdict.deliveries[0];
        assert_eq!((deliveries.expected, deliveries.received), (2 * MESSAGES, 2 * MESSAGES), "{workers} workers");
        assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);

        // A message that one subscriber never gets holds its publisher up: after one of each, nothing is sent any more.
        let liar = Liar::start(Lie::Drop(40));
        let outcome =
            run(&Plan { workers, ..closed_fan_out(&liar) }, &Control::default(), &mut Silent).expect("an outcome");
        assert_eq!((liar.lies(), outcome.verdict.lost()), (2, 2), "{workers} workers");
        assert!(outcome.verdict.messages[0].sent <= 80, "{workers} workers sent {}", outcome.verdict.messages[0].sent);
    }
}

#[test]
fn the_closed_loop_of_several_agents_says_whom_it_does_not_wait_for() {
    let liar = Liar::start(Lie::None);
    let mut plan = closed_fan_out(&liar);
    plan.stages[1].action = Action::Hold { seconds: 0.5, publish: vec!["pub".to_owned()] };
    let warnings = in_two_parts(&plan).warnings;
    assert!(warnings.len() == 1 && warnings[0].starts_with("closed loop over several agents"), "{warnings:?}");
    // Who has the same number shares an agent, and is waited for.
    plan.groups[1].subscriptions[0].filter = "t/%i".into();
    let outcome = in_two_parts(&plan);
    assert!(outcome.warnings.is_empty() && outcome.verdict.messages[0].sent > 20, "{:?}", outcome.warnings);
    assert_eq!(outcome.verdict.lost(), 0);
}

struct StopAfterASecond(Control);

impl loadtest::engine::Watcher for StopAfterASecond {
    fn handle_second(&mut self, progress: &loadtest::engine::Progress<'_>) {
        assert_eq!(progress.clients, 4);
        self.0.stop();
    }
}

#[test]
fn a_run_that_is_told_to_stop_reports_what_it_has() {
    let liar = Liar::start(Lie::None);
    let mut plan = plan(&liar, 1, 16, Pace::Open { per_client_per_s: 100.0 });
    plan.stages[1].action = Action::Hold { seconds: 1000.0, publish: vec!["pub".to_owned()] };
    let control = Control::default();
    let outcome = run(&plan, &control, &mut StopAfterASecond(control.clone())).expect("an outcome");
    assert_eq!(outcome.ending, Ending::Interrupted);
    assert!(outcome.verdict.messages[1].sent > 50 && outcome.verdict.lost() == 0 && !outcome.series.is_empty());
}

#[test]
fn older_versions_are_spoken_too() {
    for version in [MqttVersion::V31, MqttVersion::V311] {
        let liar = Liar::start(Lie::None);
        let mut plan = plan(&liar, 2, 16, Pace::Closed { window: 4 });
        plan.target.version = version;
        let outcome = run(&plan, &Control::default(), &mut Silent).expect("an outcome");
        assert_eq!(findings(&outcome), [0; 5], "{version:?}");
        assert_eq!(outcome.verdict.messages[2].acknowledged, MESSAGES, "{version:?}");
    }
}
