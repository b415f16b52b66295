//! What makes a plan valid. The engine runs no other.

use super::{Action, Group, PAYLOAD_MIN_BYTES, Pace, Piece, Plan, Publishing, Reads};
use dunlin::topic::{SubscribedFilter, TopicName};

/// A plan that cannot be carried out: what is wrong and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PlanError {
    /// `group NAME` or `stage NAME`.
    pub place: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

/// Levels that a topic or filter may have here; far above any broker's limit, which is the broker's to name.
const LEVELS_MAX: u16 = 1024;
/// Clients or targets of all groups: each has a number of 31 bits.
const STREAMS_MAX: u64 = 1 << 31;
/// The largest payload: MQTT's largest packet less room for the topic.
const PAYLOAD_MAX_BYTES: u32 = 268_000_000;

impl Plan {
    /// Whether it can be carried out.
    pub fn check(&self) -> Result<(), PlanError> {
        let plan = |problem: &str| PlanError { place: format!("plan {}", self.name), problem: problem.to_owned() };
        if self.part.of == 0 || self.part.index >= self.part.of {
            return Err(plan("its part's index must be below the number of parts"));
        }
        if self.groups.is_empty() || self.stages.is_empty() {
            return Err(plan("it needs at least one group and one stage"));
        }
        let streams = |group: &Group| {
            let targets = group.publishing.as_ref().and_then(|publishing| publishing.targets);
            u64::from(targets.map_or(group.clients, |targets| targets.count.max(group.clients)))
        };
        if self.groups.iter().map(streams).sum::<u64>() >= STREAMS_MAX {
            return Err(plan("more than 2,147,483,647 clients and targets"));
        }
        for (at, group) in self.groups.iter().enumerate() {
            if self.groups[..at].iter().any(|other| other.name == group.name) {
                return Err(PlanError {
                    place: format!("group {}", group.name),
                    problem: "another group has this name".to_owned(),
                });
            }
            check_group(group).map_err(|problem| PlanError { place: format!("group {}", group.name), problem })?;
        }
        for stage in &self.stages {
            self.check_action(&stage.action)
                .map_err(|problem| PlanError { place: format!("stage {}", stage.name), problem })?;
        }
        Ok(())
    }

    fn check_action(&self, action: &Action) -> Result<(), String> {
        for name in action.groups() {
            if self.group(name).is_none() {
                let known: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
                return Err(format!("no group is called {name}; there are {}", known.join(", ")));
            }
        }
        for name in action.publishers() {
            if self.group(name).is_some_and(|group| group.publishing.is_none()) {
                return Err(format!("group {name} is to publish but has no `publishing`"));
            }
        }
        let amounts: &[(&str, f64, f64)] = match action {
            Action::Ramp { rate_per_s, .. } => &[("rate_per_s", *rate_per_s, 1e9)],
            Action::Hold { seconds, .. } => &[("seconds", *seconds, 1e8)],
            Action::Burst { .. } => &[],
            Action::Drop { percent, .. } => &[("percent", *percent, 100.0)],
            Action::Resume { percent, rate_per_s, .. } => {
                &[("percent", *percent, 100.0), ("rate_per_s", *rate_per_s, 1e9)]
            }
            Action::Churn { seconds, rate_per_s, .. } => {
                &[("seconds", *seconds, 1e8), ("rate_per_s", *rate_per_s, 1e9)]
            }
        };
        for (name, value, most) in amounts {
            if !(0.0..=*most).contains(value) {
                return Err(format!("{name} = {value}, but it must be between 0 and {most}"));
            }
        }
        Ok(())
    }
}

fn check_group(group: &Group) -> Result<(), String> {
    if group.clients == 0 {
        return Err("it needs at least one client".to_owned());
    }
    if group.clients > 1 && !group.client_id.has(Piece::Number) {
        return Err(format!("client_id = {:?} gives all clients the same id: put %i into it", group.client_id.0));
    }
    if group.receive_maximum == 0 {
        return Err("receive_maximum must be at least 1".to_owned());
    }
    if let Reads::Slow { bytes_per_s: 0 } = group.reads {
        return Err("bytes_per_s must be at least 1; `stalled` reads nothing".to_owned());
    }
    if group.pipeline && group.subscriptions.is_empty() {
        return Err("pipeline = true, but it subscribes to nothing that could go out with CONNECT".to_owned());
    }
    for subscription in &group.subscriptions {
        let text = sample(&subscription.filter.pieces());
        let parsed = SubscribedFilter::parse(&text, LEVELS_MAX);
        parsed.map_err(|error| format!("filter {:?}: {error}", subscription.filter.0))?;
        check_qos(subscription.qos)?;
        if subscription.filter.has(Piece::Target) {
            return Err(format!("filter {:?}: %r is for published topics only", subscription.filter.0));
        }
    }
    group.publishing.as_ref().map_or(Ok(()), |publishing| check_publishing(group, publishing))
}

fn check_publishing(group: &Group, publishing: &Publishing) -> Result<(), String> {
    check_qos(publishing.qos)?;
    let text = sample(&publishing.topic.pieces());
    TopicName::parse(&text, LEVELS_MAX).map_err(|error| format!("topic {:?}: {error}", publishing.topic.0))?;
    if publishing.payload_bytes < PAYLOAD_MIN_BYTES || publishing.payload_bytes > PAYLOAD_MAX_BYTES {
        return Err(format!(
            "payload_bytes = {}, but it must be between {PAYLOAD_MIN_BYTES} (what a stamp takes) and {PAYLOAD_MAX_BYTES}",
            publishing.payload_bytes
        ));
    }
    match publishing.pace {
        Pace::Open { per_client_per_s } if !(per_client_per_s > 0.0 && per_client_per_s <= 1e7) => {
            return Err(format!("per_client_per_s = {per_client_per_s}, but it must be above 0 and at most 1e7"));
        }
        Pace::Closed { window: 0 } => return Err("window must be at least 1".to_owned()),
        Pace::Open { .. } | Pace::Closed { .. } => {}
    }
    let aimed = publishing.topic.has(Piece::Target);
    match publishing.targets {
        Some(targets) if targets.count < group.clients => {
            Err(format!("{} targets for {} clients: each client needs one of its own", targets.count, group.clients))
        }
        Some(_) if !aimed => Err("targets need a topic with %r".to_owned()),
        None if aimed => Err("a topic with %r needs `targets`".to_owned()),
        _ => Ok(()),
    }
}

fn check_qos(qos: u8) -> Result<(), String> {
    if qos <= 2 { Ok(()) } else { Err(format!("qos = {qos}, but it must be 0, 1 or 2")) }
}

/// A text that stands for all that a template gives: numbers where there are placeholders.
fn sample(pieces: &[Piece<'_>]) -> String {
    let piece = |piece: &Piece<'_>| match piece {
        Piece::Text(text) => (*text).to_owned(),
        _ => "0".to_owned(),
    };
    pieces.iter().map(piece).collect()
}
