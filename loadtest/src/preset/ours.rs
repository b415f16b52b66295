//! Workloads of our own: what goes wrong in a fleet, and the short one that runs where none is named.

// Every builder has the signature that the list holds, whether or not there are sizes that it refuses.
#![allow(clippy::unnecessary_wraps)]

use super::blocks::{CANONICAL, Listed, measure, owned, plan, publishers, publishing, ramp, subscribers, warm_up};
use super::tuning::{Knob, Tuning};
use crate::{
    plan::{Action, DropHow, Group, Order, Pace, Plan, Publishing, Reads, Restarts, Stage, Targets},
    units::{grouped, measured},
};

/// What sizes a fleet of devices.
const FLEET: &[Knob] =
    &[Knob::Clients, Knob::Rate, Knob::Qos, Knob::Payload, Knob::Duration, Knob::ConnectRate, Knob::Pipeline];

pub(super) const LIST: &[Listed] = &[
    Listed {
        name: CANONICAL,
        what: "100 pairs, 1,000 messages a second for ten seconds: what runs where no workload is named",
        knobs: &[
            Knob::Clients,
            Knob::Rate,
            Knob::Window,
            Knob::Qos,
            Knob::Payload,
            Knob::Duration,
            Knob::ConnectRate,
            Knob::Pipeline,
        ],
        build: quick,
    },
    Listed {
        name: "reconnect-storm",
        what: "10,000 devices lose their connections at once and all come back as fast as they can",
        knobs: FLEET,
        build: reconnect_storm,
    },
    Listed {
        name: "churn",
        what: "clients go and come back all the time while others exchange messages",
        knobs: FLEET,
        build: churn,
    },
    Listed {
        name: "retained-sweep",
        what: "10,000 retained messages, then subscribers with a wildcard that want all of them; at the end they are taken back",
        knobs: &[Knob::Subscribers, Knob::Messages, Knob::Qos, Knob::Payload, Knob::ConnectRate, Knob::Pipeline],
        build: retained_sweep,
    },
    Listed {
        name: "offline-backlog",
        what: "sessions that are away while 100 messages for each arrive, and that want them when they come back",
        knobs: &[Knob::Clients, Knob::Messages, Knob::Payload, Knob::ConnectRate, Knob::Pipeline],
        build: offline_backlog,
    },
    Listed {
        name: "durable",
        what: "the broker is killed (SIGKILL) and started again under load: QoS 1 and 2, sessions that stay and sessions that are \
               away; every acknowledged message has to arrive, and QoS 2 once",
        knobs: &[
            Knob::StartScript,
            Knob::Kills,
            Knob::KillEvery,
            Knob::Publishers,
            Knob::Subscribers,
            Knob::Rate,
            Knob::Payload,
            Knob::ConnectRate,
            Knob::Pipeline,
        ],
        build: durable,
    },
    Listed {
        name: "slow-consumer",
        what: "subscribers that read slowly or not at all beside quick ones, whose latency must not suffer",
        knobs: &[Knob::Subscribers, Knob::Rate, Knob::Payload, Knob::Duration, Knob::ConnectRate, Knob::Pipeline],
        build: slow_consumer,
    },
    Listed {
        name: "mixed-fleet",
        what: "2,000 devices that report rarely, dashboards with wildcards, commands back to single devices",
        knobs: FLEET,
        build: mixed_fleet,
    },
    Listed {
        name: "million",
        what: "1,000,000 idle clients with a subscription each, of which a random 1 % gets a message each second",
        knobs: FLEET,
        build: million,
    },
];

fn connect_rate(tuning: &Tuning, usual: f64) -> f64 {
    tuning.connect_rate.unwrap_or(usual)
}

fn quick(tuning: &Tuning) -> Result<Plan, String> {
    let pairs = tuning.clients.unwrap_or(100);
    let (pace, what) = tuning.pace(pairs, Some(1_000.0))?;
    let groups = vec![
        subscribers("sub", pairs, &["loadtest/quick/%i"], tuning.qos()),
        publishers("pub", pairs, publishing("loadtest/quick/%i", tuning, pace)),
    ];
    let what = format!("{} publishers with one subscriber each, {what}", grouped(pairs.into()));
    let stages = vec![
        ramp(&["sub", "pub"], connect_rate(tuning, 1_000.0)),
        Stage::new("warm up", Action::Hold { seconds: 1.0, publish: owned(&["pub"]) }),
        measure(tuning.seconds(10.0), &["pub"]),
    ];
    Ok(plan(CANONICAL, what, groups, stages))
}

/// A few clients that publish to random ones of a large group.
fn control(topic: &str, clients: u32, targets: u32, rate: f64, tuning: &Tuning) -> crate::plan::Group {
    let clients = clients.min(targets);
    let mut publishing = publishing(topic, tuning, Pace::Open { per_client_per_s: rate / f64::from(clients) });
    publishing.targets = Some(Targets { first: 0, count: targets, order: Order::Random });
    publishers("control", clients, publishing)
}

fn reconnect_storm(tuning: &Tuning) -> Result<Plan, String> {
    let clients = tuning.clients.unwrap_or(10_000);
    let rate = tuning.rate.unwrap_or(1_000.0);
    let mut devices = subscribers("devices", clients, &["loadtest/storm/%i"], tuning.qos());
    devices.clean_start = false;
    devices.session_expiry_s = 300;
    let groups = vec![devices, control("loadtest/storm/%r", 4, clients, rate, tuning)];
    let seconds = tuning.seconds(10.0);
    let all = || owned(&["devices"]);
    let stages = vec![
        ramp(&["devices", "control"], connect_rate(tuning, 5_000.0)),
        warm_up(&["control"]),
        measure(seconds, &["control"]),
        Stage::new("loss", Action::Drop { groups: all(), percent: 100.0, how: DropHow::Reset }),
        Stage::new("storm", Action::Resume { groups: all(), percent: 100.0, rate_per_s: 0.0 }).until_delivered(30),
        Stage::new("after", Action::Hold { seconds, publish: owned(&["control"]) }).measured(),
    ];
    let what = format!(
        "{} devices with sessions, {} messages a second; all connections are reset at once, and all devices return",
        grouped(clients.into()),
        measured(rate)
    );
    Ok(plan("reconnect-storm", what, groups, stages))
}

fn churn(tuning: &Tuning) -> Result<Plan, String> {
    let clients = tuning.clients.unwrap_or(2_000);
    let (rate, goings) = (tuning.rate.unwrap_or(1_000.0), connect_rate(tuning, 200.0));
    let groups = vec![
        subscribers("churning", clients, &["loadtest/churn/idle/%i"], tuning.qos()),
        subscribers("sub", 100, &["loadtest/churn/%i"], tuning.qos()),
        publishers("pub", 100, publishing("loadtest/churn/%i", tuning, Pace::Open { per_client_per_s: rate / 100.0 })),
    ];
    let churning = Action::Churn {
        groups: owned(&["churning"]),
        seconds: tuning.seconds(30.0),
        rate_per_s: goings,
        publish: owned(&["pub"]),
    };
    let stages =
        vec![ramp(&["churning", "sub", "pub"], 5_000.0), warm_up(&["pub"]), Stage::new("churn", churning).measured()];
    let what = format!(
        "{} clients of which {} a second go and come back, beside 100 pairs with {} messages a second",
        grouped(clients.into()),
        measured(goings),
        measured(rate)
    );
    Ok(plan("churn", what, groups, stages))
}

fn retained_sweep(tuning: &Tuning) -> Result<Plan, String> {
    const WRITERS: u32 = 10;
    let readers = tuning.subscribers.unwrap_or(20);
    let topics = u32::try_from(tuning.messages.unwrap_or(10_000)).map_err(|_| "too many --messages".to_owned())?;
    let writers = WRITERS.min(topics.max(1));
    let mut publishing = publishing("loadtest/retained/%r", tuning, Pace::Closed { window: 20 });
    publishing.retain = true;
    publishing.targets = Some(Targets { first: 0, count: topics, order: Order::InTurn });
    let groups = vec![
        publishers("writers", writers, publishing),
        subscribers("readers", readers, &["loadtest/retained/+"], tuning.qos()),
    ];
    let each = u64::from(topics.div_ceil(writers));
    let sweep = Action::Ramp { groups: owned(&["readers"]), rate_per_s: connect_rate(tuning, 0.0) };
    let stages = vec![
        ramp(&["writers"], 0.0),
        Stage::new("write", Action::Burst { groups: owned(&["writers"]), messages_per_client: each }),
        Stage::new("sweep", sweep).measured().until_delivered(120),
    ];
    let what = format!(
        "{} retained messages, then {} subscribers that want all of them",
        grouped(topics.into()),
        grouped(readers.into())
    );
    Ok(plan("retained-sweep", what, groups, stages))
}

fn offline_backlog(tuning: &Tuning) -> Result<Plan, String> {
    const WRITERS: u32 = 10;
    let clients = tuning.clients.unwrap_or(1_000);
    let each = tuning.messages.unwrap_or(100);
    let mut away = subscribers("away", clients, &["loadtest/backlog/%i"], 1);
    away.clean_start = false;
    away.session_expiry_s = 600;
    let writers = WRITERS.min(clients);
    let mut publishing = publishing("loadtest/backlog/%r", tuning, Pace::Closed { window: 50 });
    publishing.targets = Some(Targets { first: 0, count: clients, order: Order::InTurn });
    let groups = vec![away, publishers("writers", writers, publishing)];
    let all = || owned(&["away"]);
    let burst =
        Action::Burst { groups: owned(&["writers"]), messages_per_client: each * u64::from(clients.div_ceil(writers)) };
    let stages = vec![
        ramp(&["away", "writers"], connect_rate(tuning, 5_000.0)),
        Stage::new("leave", Action::Drop { groups: all(), percent: 100.0, how: DropHow::Disconnect }),
        Stage::new("fill", burst),
        Stage::new("return", Action::Resume { groups: all(), percent: 100.0, rate_per_s: 0.0 })
            .measured()
            .until_delivered(120),
    ];
    let what = format!(
        "{} sessions are away while {} messages for each arrive, and want them when they return (latency: since sent)",
        grouped(clients.into()),
        grouped(each)
    );
    Ok(plan("offline-backlog", what, groups, stages))
}

/// The stage in which the broker is killed; it lasts until that is done.
pub(crate) const KILLING: &str = "killing";

fn durable(tuning: &Tuning) -> Result<Plan, String> {
    let writers = tuning.publishers.unwrap_or(20).div_ceil(2);
    let readers = tuning.subscribers.unwrap_or(5);
    let rate = tuning.rate.unwrap_or(200.0);
    let kills = tuning.kills.unwrap_or(10);
    let every_ms = tuning.kill_every.map_or(2_000, |every| u32::try_from(every.as_millis()).unwrap_or(u32::MAX));
    let kept = |mut group: Group| {
        (group.clean_start, group.session_expiry_s) = (false, 3_600);
        group
    };
    let writing = |qos: u8| {
        let pace = Pace::Open { per_client_per_s: rate / f64::from(2 * writers) };
        let publishing = Publishing { qos, ..publishing(&format!("loadtest/durable/{qos}/%i"), tuning, pace) };
        kept(publishers(&format!("qos{qos}"), writers, publishing))
    };
    let away = subscribers("away", writers, &["loadtest/durable/1/%i", "loadtest/durable/2/%i"], 2);
    let stay = subscribers("stay", readers, &["loadtest/durable/+/+"], 2);
    let groups = vec![kept(stay), kept(away), writing(1), writing(2)];
    let everybody = || owned(&["stay", "away", "qos1", "qos2"]);
    // An end of its own, in case the broker takes much longer than it may.
    let seconds = f64::from(kills) * (f64::from(every_ms) / 1e3 + 60.0) + 60.0;
    let stages = vec![
        ramp(&["stay", "away", "qos1", "qos2"], connect_rate(tuning, 0.0)),
        Stage::new("leave", Action::Drop { groups: owned(&["away"]), percent: 100.0, how: DropHow::Disconnect }),
        Stage::new(KILLING, Action::Hold { seconds, publish: owned(&["qos1", "qos2"]) }).measured(),
        Stage::new("return", Action::Resume { groups: everybody(), percent: 100.0, rate_per_s: 0.0 })
            .until_delivered(60),
    ];
    let what = format!(
        "{} publishers at QoS 1 and 2 send {} messages a second to {} sessions that stay and {} that are away, while the broker is \
         killed {} times",
        grouped(2 * u64::from(writers)),
        measured(rate),
        grouped(readers.into()),
        grouped(writers.into()),
        grouped(kills.into())
    );
    let mut plan = plan("durable", what, groups, stages);
    plan.target.restarts = Some(Restarts { script: tuning.start_script.clone(), kills, every_ms });
    // While it is away, everybody asks again and again.
    (plan.target.retries, plan.target.retry_after_ms) = (u16::MAX, 50);
    Ok(plan)
}

fn slow_consumer(tuning: &Tuning) -> Result<Plan, String> {
    let quick = tuning.subscribers.unwrap_or(20);
    let rate = tuning.rate.unwrap_or(500.0);
    let mut publishing = publishing("loadtest/slow/%i", tuning, Pace::Open { per_client_per_s: rate / 5.0 });
    publishing.payload_bytes = tuning.payload_bytes.unwrap_or(1_024);
    // QoS 0 for those that cannot follow: what a broker drops there breaks no promise.
    let mut slow = subscribers("slow", 10, &["loadtest/slow/#"], 0);
    slow.reads = Reads::Slow { bytes_per_s: 10_000 };
    let mut stalled = subscribers("stalled", 2, &["loadtest/slow/#"], 0);
    stalled.reads = Reads::Stalled;
    let groups =
        vec![subscribers("quick", quick, &["loadtest/slow/#"], 1), slow, stalled, publishers("pub", 5, publishing)];
    let stages = vec![
        ramp(&["quick", "slow", "stalled", "pub"], connect_rate(tuning, 1_000.0)),
        warm_up(&["pub"]),
        measure(tuning.seconds(30.0), &["pub"]),
    ];
    let what = format!(
        "{} messages a second to {} quick subscribers, 10 that read 10 KB a second and 2 that read nothing",
        measured(rate),
        grouped(quick.into())
    );
    Ok(plan("slow-consumer", what, groups, stages))
}

fn mixed_fleet(tuning: &Tuning) -> Result<Plan, String> {
    let clients = tuning.clients.unwrap_or(2_000);
    let rate = tuning.rate.unwrap_or(f64::from(clients) / 10.0);
    let mut devices = subscribers("devices", clients, &["loadtest/fleet/%i/command"], tuning.qos());
    let pace = Pace::Open { per_client_per_s: rate / f64::from(clients) };
    devices.publishing = Some(publishing("loadtest/fleet/%i/report", tuning, pace));
    let groups = vec![
        devices,
        subscribers("dashboards", 3, &["loadtest/fleet/+/report"], tuning.qos()),
        control("loadtest/fleet/%r/command", 1, clients, rate / 4.0, tuning),
    ];
    let stages = vec![
        ramp(&["dashboards", "devices", "control"], connect_rate(tuning, 2_000.0)),
        warm_up(&["devices", "control"]),
        measure(tuning.seconds(30.0), &["devices", "control"]),
    ];
    let what = format!(
        "{} devices with {} reports a second to 3 dashboards, and {} commands a second to single devices",
        grouped(clients.into()),
        measured(rate),
        measured(rate / 4.0)
    );
    Ok(plan("mixed-fleet", what, groups, stages))
}

fn million(tuning: &Tuning) -> Result<Plan, String> {
    let clients = tuning.clients.unwrap_or(1_000_000);
    let rate = tuning.rate.unwrap_or(f64::from(clients) / 100.0);
    let groups = vec![
        subscribers("idle", clients, &["loadtest/million/%i"], tuning.qos()),
        control("loadtest/million/%r", 10, clients, rate, tuning),
    ];
    let stages = vec![
        ramp(&["control"], 0.0),
        Stage::new("fill", Action::Ramp { groups: owned(&["idle"]), rate_per_s: connect_rate(tuning, 0.0) }),
        measure(tuning.seconds(60.0), &["control"]),
    ];
    let what = format!(
        "{} idle clients with a subscription each, {} messages a second to random ones",
        grouped(clients.into()),
        measured(rate)
    );
    Ok(plan("million", what, groups, stages))
}
