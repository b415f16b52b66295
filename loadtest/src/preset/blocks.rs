//! What workloads are made of: groups, stages, and the row that each has in the list.

use super::tuning::{Knob, Tuning};
use crate::plan::{Action, Group, Pace, Plan, Publishing, Stage, Subscription, Template};

/// The workload that runs where none is named.
pub const CANONICAL: &str = "quick";

/// One row of `loadtest list`.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The name, or an example of a family's.
    pub name: &'static str,
    /// One sentence.
    pub what: &'static str,
    /// The flags that resize it.
    pub knobs: &'static [Knob],
    pub(super) build: fn(&Tuning) -> Result<Plan, String>,
}

/// A plan of groups and stages; the broker is filled in later.
pub(super) fn plan(name: &str, description: String, groups: Vec<Group>, stages: Vec<Stage>) -> Plan {
    Plan {
        name: name.to_owned(),
        description,
        target: crate::plan::Target::default(),
        groups,
        stages,
        workers: 0,
        sources: crate::plan::Sources::Auto,
        run_id: 0,
        seed: 1,
        drain_s: 10,
        part: crate::plan::Part::default(),
        clocks: Vec::new(),
    }
}

/// Clients that subscribe to `filters`.
pub(super) fn subscribers(name: &str, clients: u32, filters: &[&str], qos: u8) -> Group {
    let mut group = Group::new(name, clients, &format!("loadtest-{name}-%i"));
    group.subscriptions = filters.iter().map(|filter| Subscription::new(filter, qos)).collect();
    group
}

/// Clients that publish to `topic`.
pub(super) fn publishers(name: &str, clients: u32, publishing: Publishing) -> Group {
    let mut group = Group::new(name, clients, &format!("loadtest-{name}-%i"));
    group.publishing = Some(publishing);
    group
}

pub(super) fn publishing(topic: &str, tuning: &Tuning, pace: Pace) -> Publishing {
    Publishing {
        topic: Template::new(topic),
        qos: tuning.qos(),
        retain: false,
        payload_bytes: tuning.payload_bytes(),
        content: Vec::new(),
        pace,
        messages_per_client: None,
        targets: None,
    }
}

pub(super) fn ramp(groups: &[&str], rate_per_s: f64) -> Stage {
    Stage::new("connect", Action::Ramp { groups: owned(groups), rate_per_s })
}

/// Two seconds in which the load runs and nothing is measured yet: caches fill, schedules spread out.
pub(super) fn warm_up(publish: &[&str]) -> Stage {
    Stage::new("warm up", Action::Hold { seconds: 2.0, publish: owned(publish) })
}

pub(super) fn measure(seconds: f64, publish: &[&str]) -> Stage {
    Stage::new("measure", Action::Hold { seconds, publish: owned(publish) }).measured()
}

pub(super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
