//! What makes a plan valid. The engine runs no other.

use super::{Action, Content, Group, PAYLOAD_MIN_BYTES, Pace, Piece, Plan, Publishing, Reads, Sources, Subscription};
use crate::units::grouped;
use dunlin::topic::{SubscribedFilter, TopicName};

/// A plan that cannot be carried out: what is wrong and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", self.place())]
pub struct PlanError {
    /// Where.
    pub at: At,
    /// Name of the group or stage; empty for the plan as a whole.
    pub name: String,
    /// The key of a scenario that it is about, where it is about one.
    pub key: Option<&'static str>,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

/// The part of a plan that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// All of it.
    Plan,
    /// A group, by its place in the plan.
    Group(usize),
    /// A stage, by its place in the plan.
    Stage(usize),
}

impl PlanError {
    /// One that is about the plan as a whole.
    pub fn of_plan(problem: impl Into<String>) -> Self {
        Self { at: At::Plan, name: String::new(), key: None, problem: problem.into() }
    }

    fn place(&self) -> String {
        match self.at {
            At::Plan => String::new(),
            At::Group(_) => format!("group {:?}: ", self.name),
            At::Stage(_) => format!("stage {:?}: ", self.name),
        }
    }
}

/// Levels that a topic or filter may have here; far above any broker's limit, which is the broker's to name.
const LEVELS_MAX: u16 = 1024;
/// Clients or targets of all groups: each has a number of 31 bits.
const STREAMS_MAX: u64 = 1 << 31;
/// The largest payload: MQTT's largest packet less room for the topic.
const PAYLOAD_MAX_BYTES: u32 = 268_000_000;
/// Messages a second of one client.
const CLIENT_RATE_MAX: f64 = 1e7;

/// What is wrong in one group or stage: the key, and the problem.
type Found = (Option<&'static str>, String);

impl Plan {
    /// Whether it can be carried out.
    pub fn check(&self) -> Result<(), PlanError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that keeps it from being carried out.
    pub fn problems(&self) -> Vec<PlanError> {
        let mut problems: Vec<PlanError> = self.whole().into_iter().map(PlanError::of_plan).collect();
        for (index, group) in self.groups.iter().enumerate() {
            let mut found = check_group(group);
            if self.groups[..index].iter().any(|other| other.name == group.name) {
                found.insert(0, (Some("name"), "another group has this name".to_owned()));
            }
            let error = |(key, problem)| PlanError { at: At::Group(index), name: group.name.clone(), key, problem };
            problems.extend(found.into_iter().map(error));
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let error = |(key, problem)| PlanError { at: At::Stage(index), name: stage.name.clone(), key, problem };
            problems.extend(self.check_action(&stage.action).into_iter().map(error));
        }
        problems
    }

    fn whole(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.part.of == 0 || self.part.index >= self.part.of {
            problems.push("the index of its part must be below the number of parts".to_owned());
        }
        if self.groups.is_empty() || self.stages.is_empty() {
            problems.push("at least one group and one stage are needed".to_owned());
        }
        let streams = |group: &Group| {
            let targets = group.publishing.as_ref().and_then(|publishing| publishing.targets);
            u64::from(targets.map_or(group.clients, |targets| targets.count.max(group.clients)))
        };
        if self.groups.iter().map(streams).sum::<u64>() >= STREAMS_MAX {
            problems.push("more than 2,147,483,647 clients and targets".to_owned());
        }
        problems.extend(self.target.problems());
        if self.target.unix.is_some() && self.sources != Sources::Auto {
            problems.push("source addresses have no use for a Unix socket".to_owned());
        }
        problems
    }

    fn check_action(&self, action: &Action) -> Vec<Found> {
        let mut found = Vec::new();
        for name in action.groups() {
            if self.group(name).is_none() {
                let known: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
                let key = if action.publishers().iter().any(|one| one == name) { "publish" } else { "groups" };
                found.push((Some(key), format!("no group is called {name:?}; there are {}", known.join(", "))));
            }
        }
        for name in action.publishers() {
            if self.group(name).is_some_and(|group| group.publishing.is_none()) {
                found.push((Some("publish"), format!("group {name:?} is to publish, but it has no `publish`")));
            }
        }
        let amounts: &[(&'static str, f64, f64)] = match action {
            Action::Ramp { rate_per_s, .. } => &[("rate", *rate_per_s, 1e9)],
            Action::Hold { seconds, .. } => &[("for", *seconds, 1e8)],
            Action::Burst { .. } => &[],
            Action::Drop { percent, .. } => &[("percent", *percent, 100.0)],
            Action::Resume { percent, rate_per_s, .. } => &[("percent", *percent, 100.0), ("rate", *rate_per_s, 1e9)],
            Action::Churn { seconds, rate_per_s, .. } => &[("for", *seconds, 1e8), ("rate", *rate_per_s, 1e9)],
        };
        for (key, value, most) in amounts.iter().filter(|(_, value, most)| !(0.0..=*most).contains(value)) {
            let most = grouped(*most as u64);
            found.push((Some(*key), format!("{key} = {value}, but it must be between 0 and {most}")));
        }
        found
    }
}

fn check_group(group: &Group) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut wrong = |key: &'static str, problem: String| found.push((Some(key), problem));
    if group.clients == 0 {
        wrong("clients", "clients = 0, but it must be at least 1".to_owned());
    }
    let id = &group.client_id;
    if group.clients > 1 && !id.has(Piece::Number) {
        wrong("client_id", format!("client_id = {:?} gives all clients the same id: put %i into it", id.0));
    }
    if id.has(Piece::Target) || id.has(Piece::Sequence) {
        wrong("client_id", format!("client_id = {:?}: %r and %s are for published topics only", id.0));
    }
    if group.receive_maximum == 0 {
        wrong("receive_maximum", "receive_maximum = 0, but it must be at least 1".to_owned());
    }
    if let Reads::Slow { bytes_per_s: 0 } = group.reads {
        wrong("reads", "reads at 0 bytes a second; \"stalled\" reads nothing".to_owned());
    }
    if group.pipeline && group.subscriptions.is_empty() {
        let problem = "pipeline = true, but it subscribes to nothing that could go out with CONNECT";
        wrong("pipeline", problem.to_owned());
    }
    for problem in group.subscriptions.iter().filter_map(|one| check_subscription(one).err()) {
        wrong("subscribe", problem);
    }
    found.extend(group.publishing.iter().flat_map(|publishing| check_publishing(group, publishing)));
    found
}

fn check_subscription(subscription: &Subscription) -> Result<(), String> {
    let filter = &subscription.filter;
    SubscribedFilter::parse(&sample(&filter.pieces()), LEVELS_MAX)
        .map_err(|error| format!("filter {:?}: {error}", filter.0))?;
    if filter.has(Piece::Target) || filter.has(Piece::Sequence) {
        return Err(format!("filter {:?}: %r and %s are for published topics only", filter.0));
    }
    check_qos(subscription.qos)
}

fn check_publishing(group: &Group, publishing: &Publishing) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut wrong = |key: &'static str, problem: String| found.push((Some(key), problem));
    if let Err(problem) = check_qos(publishing.qos) {
        wrong("qos", problem);
    }
    let topic = &publishing.topic;
    if let Err(error) = TopicName::parse(&sample(&topic.pieces()), LEVELS_MAX) {
        wrong("topic", format!("topic {:?}: {error}", topic.0));
    }
    if topic.has(Piece::Sequence) && publishing.retain {
        let problem = "%s and retain: each message would stay with the broker for ever; use %r with targets";
        wrong("topic", format!("topic {:?}: {problem}", topic.0));
    }
    let bytes = publishing.payload_bytes;
    if !(PAYLOAD_MIN_BYTES..=PAYLOAD_MAX_BYTES).contains(&bytes) {
        let most = grouped(PAYLOAD_MAX_BYTES.into());
        let problem = format!(
            "payload = {bytes} bytes, but it must be between {PAYLOAD_MIN_BYTES} (what a message's stamp takes) and {most}"
        );
        wrong("payload", problem);
    }
    for content in &publishing.content {
        let bytes = match content {
            Content::Template(text) => text.len(),
            Content::Bytes(bytes) => bytes.len(),
        };
        if bytes > PAYLOAD_MAX_BYTES as usize {
            wrong("payload", format!("a payload of {} bytes is more than a message holds", grouped(bytes as u64)));
        }
    }
    match publishing.pace {
        Pace::Open { per_client_per_s: rate } if !(rate > 0.0 && rate <= CLIENT_RATE_MAX) => {
            let most = grouped(CLIENT_RATE_MAX as u64);
            wrong(
                "rate",
                format!("{rate} messages a second of each client, but it must be above 0 and at most {most}"),
            );
        }
        Pace::Closed { window: 0 } => wrong("window", "window = 0, but it must be at least 1".to_owned()),
        Pace::Open { .. } | Pace::Closed { .. } => {}
    }
    let aimed = topic.has(Piece::Target);
    match publishing.targets {
        Some(targets) if targets.count < group.clients => {
            let problem =
                format!("{} targets for {} clients: each client needs one of its own", targets.count, group.clients);
            wrong("targets", problem);
        }
        Some(_) if !aimed => wrong("targets", "targets need a topic with %r".to_owned()),
        None if aimed => wrong("topic", format!("topic {:?}: %r needs targets", topic.0)),
        _ => {}
    }
    found
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
