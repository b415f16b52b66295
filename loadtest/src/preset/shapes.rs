//! Shapes of traffic, sized by flags: closed loop unless `--rate` says otherwise. What benchmarks are made of.

use super::blocks::{Listed, measure, plan, publishers, publishing, ramp, subscribers, warm_up};
use super::tuning::{Knob, Tuning};
use crate::{
    plan::{Group, Pace, Plan},
    units::{counted, grouped, measured},
};

const BOTH: &[Knob] = &[
    Knob::Publishers,
    Knob::Subscribers,
    Knob::Window,
    Knob::Rate,
    Knob::Qos,
    Knob::Payload,
    Knob::Duration,
    Knob::ConnectRate,
    Knob::Pipeline,
];
const PAIRS: &[Knob] = &[
    Knob::Clients,
    Knob::Window,
    Knob::Rate,
    Knob::Qos,
    Knob::Payload,
    Knob::Duration,
    Knob::ConnectRate,
    Knob::Pipeline,
];

pub(super) const LIST: &[Listed] = &[
    Listed {
        name: "one-to-one",
        what: "pairs of a publisher and a subscriber, each with --window messages under way (or --rate in all)",
        knobs: PAIRS,
        build: one_to_one,
    },
    Listed {
        name: "fan-in",
        what: "many publishers, few subscribers that want everything",
        knobs: BOTH,
        build: fan_in,
    },
    Listed {
        name: "fan-out",
        what: "few publishers, many subscribers that want everything",
        knobs: BOTH,
        build: fan_out,
    },
    Listed {
        name: "wildcards",
        what: "pairs whose subscribers hold many wildcard filters that nearly match",
        knobs: PAIRS,
        build: wildcards,
    },
];

impl Tuning {
    /// How `publishers` pace themselves, and the same in words: `--rate`, or `--window`, or what is usual.
    pub(super) fn pace(&self, publishers: u32, usual_rate: Option<f64>) -> Result<(Pace, String), String> {
        if publishers == 0 {
            return Err("at least one publisher is needed".to_owned());
        }
        let rate = match (self.rate, self.window, usual_rate) {
            (Some(_), Some(_), _) => {
                return Err("--rate is the open loop and --window the closed one: give one of them".to_owned());
            }
            (Some(rate), ..) | (None, None, Some(rate)) => rate,
            (None, window, _) => {
                let window = window.unwrap_or(1);
                return Ok((Pace::Closed { window }, format!("each with {} under way", grouped(window.into()))));
            }
        };
        let pace = Pace::Open { per_client_per_s: rate / f64::from(publishers) };
        Ok((pace, format!("{} messages a second in all", measured(rate))))
    }
}

fn steady(name: &str, what: String, groups: Vec<Group>, tuning: &Tuning) -> Plan {
    let stages = vec![
        ramp(&["sub", "pub"], tuning.connect_rate.unwrap_or(0.0)),
        warm_up(&["pub"]),
        measure(tuning.seconds(10.0), &["pub"]),
    ];
    plan(name, what, groups, stages)
}

fn one_to_one(tuning: &Tuning) -> Result<Plan, String> {
    let pairs = tuning.clients.unwrap_or(100);
    let (pace, words) = tuning.pace(pairs, None)?;
    let groups = vec![
        subscribers("sub", pairs, &["loadtest/one/%i"], tuning.qos()),
        publishers("pub", pairs, publishing("loadtest/one/%i", tuning, pace)),
    ];
    let what = format!("{} publishers with one subscriber each, {words}", grouped(pairs.into()));
    Ok(steady("one-to-one", what, groups, tuning))
}

fn fan_in(tuning: &Tuning) -> Result<Plan, String> {
    many_to_many("fan-in", (100, 1), tuning)
}

fn fan_out(tuning: &Tuning) -> Result<Plan, String> {
    many_to_many("fan-out", (1, 100), tuning)
}

fn many_to_many(name: &str, (senders, receivers): (u32, u32), tuning: &Tuning) -> Result<Plan, String> {
    let senders = tuning.publishers.unwrap_or(senders);
    let receivers = tuning.subscribers.unwrap_or(receivers);
    let (pace, words) = tuning.pace(senders, None)?;
    let groups = vec![
        subscribers("sub", receivers, &[&format!("loadtest/{name}/+")], tuning.qos()),
        publishers("pub", senders, publishing(&format!("loadtest/{name}/%i"), tuning, pace)),
    ];
    let what = format!(
        "{} to {}, everything to everybody, {words}",
        counted(senders.into(), "publisher"),
        counted(receivers.into(), "subscriber")
    );
    Ok(steady(name, what, groups, tuning))
}

fn wildcards(tuning: &Tuning) -> Result<Plan, String> {
    let pairs = tuning.clients.unwrap_or(100);
    let (pace, words) = tuning.pace(pairs, None)?;
    // One matches; the others part from it at each level in turn, so that a matcher has to walk them.
    let filters = [
        "loadtest/wild/%i/+/temperature",
        "loadtest/wild/%i/+/humidity/#",
        "loadtest/wild/%i/cellar/+/+",
        "loadtest/wild/+/attic/%i",
        "loadtest/+/%i/garden/#",
        "+/wild/%i/hall/pressure",
        "+/+/%i/yard/+",
    ];
    let groups = vec![
        subscribers("sub", pairs, &filters, tuning.qos()),
        publishers("pub", pairs, publishing("loadtest/wild/%i/hall/temperature", tuning, pace)),
    ];
    let what = format!(
        "{} publishers with one subscriber each, which holds {} wildcard filters, {words}",
        grouped(pairs.into()),
        filters.len()
    );
    Ok(steady("wildcards", what, groups, tuning))
}
