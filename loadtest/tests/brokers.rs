//! Real brokers under every kind of load, each in a second or two: nothing may be lost, doubled or out of order, and what a
//! stage says of itself must be so. Run against dunlin and mosquitto alike, so that the tool is no judge of its own house.

#[path = "support/process.rs"]
mod process;

use loadtest::engine::{Control, Silent, run};
use loadtest::outcome::{Bottleneck, Ending, Outcome};
use loadtest::plan::{
    Action, DropHow, Group, MqttVersion, Order, Pace, Part, Pipeline, Plan, Publishing, Reads, Sources, Stage,
    Subscription, Target, Targets,
};
use process::Broker;
use std::net::SocketAddr;

fn plan(address: SocketAddr, name: &str, groups: Vec<Group>, stages: Vec<Stage>) -> Plan {
    let run_id = name.bytes().fold(u32::from(address.port()), |hash, byte| hash.wrapping_mul(31) + u32::from(byte));
    Plan {
        name: name.to_owned(),
        description: String::new(),
        target: Target { port: address.port(), version: MqttVersion::V5, ..Target::default() },
        groups,
        stages,
        workers: 1,
        sources: Sources::Auto,
        run_id,
        seed: 7,
        drain_s: 20,
        part: Part::default(),
        clocks: Vec::new(),
    }
}

fn publishers(count: u32, topic: &str, qos: u8, pace: Pace) -> Group {
    let mut group = Group::new("pub", count, "%i-pub");
    group.publishing = Some(Publishing {
        topic: topic.into(),
        qos,
        retain: false,
        payload_bytes: 16,
        content: Vec::new(),
        pace,
        messages_per_client: None,
        targets: None,
    });
    group
}

fn subscribers(count: u32, filter: &str, qos: u8) -> Group {
    let mut group = Group::new("sub", count, "%i-sub");
    group.subscriptions.push(Subscription::new(filter, qos));
    group
}

fn ramp(names: &[&str]) -> Stage {
    Stage::new("connect", Action::Ramp { groups: owned(names), rate_per_s: 0.0 })
}

fn publish(seconds: f64) -> Stage {
    Stage::new("publish", Action::Hold { seconds, publish: owned(&["pub"]) }).measured()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn outcome_of(plan: &Plan) -> Outcome {
    let outcome = run(plan, &Control::default(), &mut Silent).unwrap_or_else(|error| panic!("{}: {error}", plan.name));
    assert_eq!(outcome.ending, Ending::Finished, "{}", plan.name);
    assert_eq!(outcome.verdict.breaches(), Vec::<String>::new(), "{}", plan.name);
    assert_eq!((outcome.verdict.lost(), outcome.verdict.foreign), (0, 0), "{}", plan.name);
    assert_eq!(outcome.connections.failed_total() + outcome.connections.lost_total(), 0, "{}", plan.name);
    outcome
}

fn all_of_it(address: SocketAddr) {
    pairs(address);
    fan_out(address);
    shared(address);
    retained(address);
    for pipeline in [false, true] {
        backlog(address, 1, pipeline);
        backlog(address, 2, pipeline);
    }
    pipelined(address);
    random_targets(address);
    storm(address, 1);
    storm(address, 2);
    churn(address);
    pings(address);
    slow_consumers(address);
}

#[test]
fn dunlin_keeps_every_promise() {
    all_of_it(Broker::dunlin().address);
}

#[test]
fn mosquitto_keeps_every_promise() {
    all_of_it(Broker::mosquitto().address);
}

/// Each publisher has one subscriber; every QoS, open and closed loop, every version.
fn pairs(address: SocketAddr) {
    for (qos, version) in [(0, MqttVersion::V5), (1, MqttVersion::V311), (2, MqttVersion::V5), (2, MqttVersion::V31)] {
        for pace in [Pace::Closed { window: 2 }, Pace::Open { per_client_per_s: 50.0 }] {
            let groups = vec![publishers(10, "p/%i", qos, pace), subscribers(10, "p/%i", qos)];
            let mut plan = plan(address, "pairs", groups, vec![ramp(&["sub", "pub"]), publish(0.5)]);
            plan.target.version = version;
            let outcome = outcome_of(&plan);
            let all = outcome.verdict.all_deliveries();
            assert_eq!(all.received, outcome.verdict.messages[usize::from(qos)].sent, "{pace:?} {version:?}");
            let sent = outcome.verdict.messages[usize::from(qos)].sent;
            match pace {
                Pace::Open { .. } => assert_eq!(sent + outcome.verdict.messages[usize::from(qos)].unsent, 250),
                // More than the windows hold: the loop went round, however busy the machine is.
                Pace::Closed { .. } => assert!(sent > 20, "{sent} messages in half a second"),
            }
            assert_eq!(outcome.timings.latency_sent.count(), outcome.measured.messages_received);
        }
    }
}

fn fan_out(address: SocketAddr) {
    let groups = vec![publishers(2, "f/%i/x", 1, Pace::Open { per_client_per_s: 20.0 }), subscribers(50, "f/+/x", 0)];
    let outcome = outcome_of(&plan(address, "fan-out", groups, vec![ramp(&["sub", "pub"]), publish(0.5)]));
    let sent = outcome.verdict.messages[1].sent;
    assert_eq!((sent, outcome.verdict.deliveries[0].received), (20, 1000));
    assert_eq!(outcome.verdict.deliveries[1].expected, 0, "a delivery has the lower QoS of both");
}

/// Each message goes to one member of the group.
fn shared(address: SocketAddr) {
    let groups =
        vec![publishers(10, "s/%i", 1, Pace::Open { per_client_per_s: 40.0 }), subscribers(4, "$share/group/s/+", 1)];
    let outcome = outcome_of(&plan(address, "shared", groups, vec![ramp(&["sub", "pub"]), publish(0.5)]));
    assert_eq!(outcome.verdict.deliveries[1].received, 200);
}

/// One publisher leaves 500 retained messages behind, then somebody subscribes to all of them.
fn retained(address: SocketAddr) {
    let mut publisher = publishers(1, "r/%r", 1, Pace::Closed { window: 100 });
    let publishing = publisher.publishing.as_mut().expect("it publishes");
    publishing.retain = true;
    publishing.targets = Some(Targets { first: 0, count: 500, order: Order::InTurn });
    let stages = vec![
        ramp(&["pub"]),
        Stage::new("fill", Action::Burst { groups: owned(&["pub"]), messages_per_client: 500 }),
        Stage::new("sweep", Action::Ramp { groups: owned(&["sub"]), rate_per_s: 0.0 }).until_delivered(20),
    ];
    let outcome = outcome_of(&plan(address, "retained", vec![publisher, subscribers(2, "r/#", 1)], stages));
    assert_eq!((outcome.verdict.retained.expected, outcome.verdict.retained.received), (1000, 1000));
    assert!(outcome.stages[2].completed_in_ms.is_some_and(|ms| ms > 0.0), "{:?}", outcome.stages[2]);
    assert_eq!(outcome.stages[1].traffic.messages_acknowledged, 500);
    // They were taken back: who comes now is sent nothing, and a ping's answer tells that it was not on its way.
    let hold = Stage::new("look", Action::Hold { seconds: 1.5, publish: Vec::new() });
    let mut plan = plan(address, "after", vec![subscribers(2, "r/#", 1)], vec![ramp(&["sub"]), hold]);
    plan.target.keep_alive_s = 1;
    let outcome = outcome_of(&plan);
    assert!(outcome.timings.ping.count() >= 2);
    assert_eq!(outcome.traffic.messages_received, 0);
}

/// Sessions go, messages queue, sessions come back and get all of them. With two workers a publisher and its subscribers are
/// on different ones.
fn backlog(address: SocketAddr, workers: u16, pipeline: bool) {
    let mut away = subscribers(5, "b/#", 1);
    (away.clean_start, away.session_expiry_s) = (false, 300);
    // The sessions of a run before are with the broker still.
    away.client_id = format!("%i-away-{workers}-{pipeline}").as_str().into();
    away.pipeline = pipeline;
    let groups = vec![publishers(1, "b/%i", 1, Pace::Closed { window: 10 }), away];
    let stages = vec![
        ramp(&["pub", "sub"]),
        Stage::new("leave", Action::Drop { groups: owned(&["sub"]), percent: 100.0, how: DropHow::Disconnect }),
        Stage::new("queue", Action::Burst { groups: owned(&["pub"]), messages_per_client: 300 }),
        Stage::new("return", Action::Resume { groups: owned(&["sub"]), percent: 100.0, rate_per_s: 0.0 })
            .until_delivered(20),
    ];
    let outcome = outcome_of(&Plan { workers, ..plan(address, "backlog", groups, stages) });
    assert_eq!((outcome.verdict.deliveries[1].received, outcome.connections.sessions_present), (1500, 5));
    assert!(outcome.stages[3].completed_in_ms.is_some(), "{:?}", outcome.stages[3]);
}

/// Subscribers that do not wait for CONNACK, in every version.
fn pipelined(address: SocketAddr) {
    for version in [MqttVersion::V5, MqttVersion::V311, MqttVersion::V31] {
        let mut eager = subscribers(50, "e/%i", 1);
        eager.subscriptions.push(Subscription::new("e/all", 0));
        eager.pipeline = true;
        let groups = vec![publishers(50, "e/%i", 1, Pace::Open { per_client_per_s: 20.0 }), eager];
        let mut plan = plan(address, "pipelined", groups, vec![ramp(&["sub", "pub"]), publish(0.5)]);
        plan.target.version = version;
        let outcome = outcome_of(&plan);
        assert_eq!(outcome.pipeline, Pipeline::On);
        assert_eq!(outcome.verdict.deliveries[1].received, 500, "{version:?}");
        let (connections, timings) = (&outcome.connections, &outcome.timings);
        assert_eq!((connections.established, connections.subscribed), (100, 100), "{version:?}");
        assert_eq!((timings.connack.count(), timings.suback.count()), (100, 50), "{version:?}");
    }
}

/// One publisher draws its topics among those that a hundred clients subscribe to.
fn random_targets(address: SocketAddr) {
    let mut commander = publishers(2, "c/%r", 1, Pace::Open { per_client_per_s: 100.0 });
    commander.publishing.as_mut().expect("it publishes").targets =
        Some(Targets { first: 10, count: 100, order: Order::Random });
    let mut devices = subscribers(100, "c/%i", 1);
    devices.first = 10;
    let groups = vec![commander, devices];
    let outcome = outcome_of(&plan(address, "random", groups, vec![ramp(&["sub", "pub"]), publish(0.5)]));
    assert_eq!(outcome.verdict.deliveries[1].received, 100);
}

/// All connections are reset at once and come back.
fn storm(address: SocketAddr, workers: u16) {
    let groups = vec![publishers(5, "w/%i", 1, Pace::Open { per_client_per_s: 20.0 }), subscribers(200, "w/+", 1)];
    let stages = vec![
        ramp(&["sub", "pub"]),
        // Nothing may be under way when connections are cut: it would be excused.
        publish(0.3).until_delivered(20),
        Stage::new("cut", Action::Drop { groups: owned(&["sub"]), percent: 50.0, how: DropHow::Reset }),
        publish(0.3),
        Stage::new("storm", Action::Resume { groups: owned(&["sub"]), percent: 100.0, rate_per_s: 5000.0 }),
        publish(0.3),
    ];
    let outcome = outcome_of(&Plan { workers, ..plan(address, "storm", groups, stages) });
    let deliveries = outcome.verdict.deliveries[1];
    // 30 messages while all are there, 30 to half of them, 30 to all.
    assert_eq!((deliveries.expected, deliveries.excused, deliveries.received), (18_000, 3_000, 15_000));
    assert_eq!((outcome.connections.dropped, outcome.connections.established), (100, 305));
}

/// Clients that come and go while others are served.
fn churn(address: SocketAddr) {
    let mut guests = Group::new("guest", 20, "%i-guest");
    guests.subscriptions.push(Subscription::new("h/%i", 1));
    let groups =
        vec![publishers(5, "h/%i", 1, Pace::Open { per_client_per_s: 20.0 }), subscribers(5, "h/%i", 1), guests];
    let action = Action::Churn { groups: owned(&["guest"]), seconds: 0.5, rate_per_s: 100.0, publish: owned(&["pub"]) };
    let stages = vec![ramp(&["sub", "pub", "guest"]), Stage::new("churn", action).measured()];
    let outcome = outcome_of(&plan(address, "churn", groups, stages));
    assert!((45..=50).contains(&outcome.connections.dropped), "{:?}", outcome.connections);
    assert_eq!(outcome.connections.established, 30 + outcome.connections.dropped);
    assert_eq!(outcome.verdict.messages[1].acknowledged, 50);
}

/// Silent clients stay alive by pings.
fn pings(address: SocketAddr) {
    let hold = Stage::new("hold", Action::Hold { seconds: 2.5, publish: Vec::new() });
    let mut plan = plan(address, "pings", vec![Group::new("idle", 20, "%i-idle")], vec![ramp(&["idle"]), hold]);
    plan.target.keep_alive_s = 1;
    let outcome = outcome_of(&plan);
    assert_eq!(outcome.connections.at_end, 20);
    assert_ne!(outcome.bottleneck, Bottleneck::Broker);
    assert!(outcome.timings.ping.count() >= 40, "{} pings of 20 clients", outcome.timings.ping.count());
}

/// One that reads slowly gets its messages all the same, later.
fn slow_consumers(address: SocketAddr) {
    let mut slow = subscribers(2, "l/%i", 1);
    slow.reads = Reads::Slow { bytes_per_s: 2000 };
    let groups = vec![publishers(2, "l/%i", 1, Pace::Open { per_client_per_s: 100.0 }), slow];
    let outcome = outcome_of(&plan(address, "slow", groups, vec![ramp(&["sub", "pub"]), publish(0.5)]));
    assert_eq!((outcome.verdict.slow[1].received, outcome.verdict.deliveries[1].expected), (100, 0));
}
