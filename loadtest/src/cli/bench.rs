//! `conn`, `pub` and `sub` with the flags of emqtt-bench, for whoever has them in their fingers.
//!
//! The meaning is emqtt-bench's, with two differences that are improvements: publishing is an open loop, and payloads are
//! at least as long as the stamp that each message carries.

// Doc comments here are what `--help` prints: markup would be none there.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;

use clap::Args;

use super::numbers::{any_u32, any_u64, bytes, rate, some_u16, some_u32, switch};
use crate::{
    plan::{Action, Content, Group, Pace, Part, Plan, Publishing, Sources, Stage, Subscription, Target, Template},
    units::grouped,
};

/// What runs until Ctrl-C: three years.
const FOR_EVER_S: f64 = 1e8;

#[derive(Debug, Args)]
struct Clients {
    /// Clients
    #[arg(short = 'c', long, default_value = "200", value_name = "N", value_parser = some_u32, allow_negative_numbers = true)]
    count: u32,
    /// Number of the first client
    #[arg(short = 'n', long, default_value = "0", value_name = "N", value_parser = any_u64, allow_negative_numbers = true)]
    startnumber: u64,
    /// Milliseconds between two connections
    #[arg(short = 'i', long, default_value = "10", value_name = "MS", value_parser = any_u32, allow_negative_numbers = true)]
    interval: u32,
    /// Connections a second; beats --interval
    #[arg(short = 'R', long, visible_alias = "connrate", value_name = "N", value_parser = rate, allow_negative_numbers = true)]
    connect_rate: Option<f64>,
    /// Clean start: true or false
    #[arg(short = 'C', long, default_value = "true", action = clap::ArgAction::Set, value_name = "BOOL", value_parser = switch)]
    clean: bool,
    /// Session expiry in seconds (5.0)
    #[arg(short = 'x', long, default_value = "0", value_name = "SECONDS", value_parser = any_u32, allow_negative_numbers = true)]
    session_expiry: u32,
    /// Seconds to go on; without it until Ctrl-C
    #[arg(short = 'D', long, value_parser = crate::units::seconds, value_name = "SPAN")]
    duration: Option<std::time::Duration>,
}

/// `loadtest conn`
#[derive(Debug, Args)]
pub(super) struct Conn {
    #[command(flatten)]
    clients: Clients,
}

/// `loadtest pub`
#[derive(Debug, Args)]
pub(super) struct Pub {
    #[command(flatten)]
    clients: Clients,
    /// Topic; %i is the client's number, %c its id, %u its user name, %s the number of the message
    #[arg(short = 't', long)]
    topic: String,
    /// Bytes of payload
    #[arg(short = 's', long, default_value = "256", value_name = "BYTES", value_parser = bytes, allow_negative_numbers = true)]
    size: u32,
    /// What messages say instead of a pattern: a text with %i, %c, %u, %s as in topics, %t (milliseconds since 1970) and %m
    /// (the stamp that every message carries; without it the stamp stands at the end), or template://FILE with such a text
    #[arg(short = 'm', long, value_name = "TEXT", conflicts_with_all = ["size", "payload_file"])]
    message: Option<String>,
    /// A file whose bytes each message carries, with its stamp behind them; may be repeated: they are sent in turn
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    payload_file: Vec<PathBuf>,
    /// QoS
    #[arg(short = 'q', long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Milliseconds between two messages of a client; 0: as fast as --inflight lets it
    #[arg(short = 'I', long, default_value = "1000", value_name = "MS", value_parser = any_u32, allow_negative_numbers = true)]
    interval_of_msg: u32,
    /// Messages of all clients together, after which it ends; 0: no limit. With --duration or --keep-connected clients stay
    #[arg(short = 'L', long, default_value = "0", value_name = "N", value_parser = any_u64, allow_negative_numbers = true)]
    limit: u64,
    /// Unacknowledged messages of a client
    #[arg(short = 'F', long, default_value = "1", value_name = "N", value_parser = some_u16, allow_negative_numbers = true)]
    inflight: u16,
    /// After the last message of --limit, stay connected until Ctrl-C, or as long as --duration says
    #[arg(long)]
    keep_connected: bool,
    /// Set the retain flag
    #[arg(short = 'r', long)]
    retain: bool,
}

/// `loadtest sub`
#[derive(Debug, Args)]
pub(super) struct Sub {
    #[command(flatten)]
    clients: Clients,
    /// Filters; may be repeated; %i is the client's number, %c its id, %u its user name
    #[arg(short = 't', long, required = true)]
    topic: Vec<String>,
    /// QoS
    #[arg(short = 'q', long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Send SUBSCRIBE together with CONNECT, without waiting for CONNACK (section 3.1.4 of MQTT allows it)
    #[arg(long)]
    pipeline: bool,
}

impl Clients {
    fn group(&self, kind: &str, prefix: &str) -> Group {
        let mut group = Group::new(kind, self.count, &format!("{prefix}_bench_{kind}_%i"));
        group.first = self.startnumber;
        group.clean_start = self.clean;
        group.session_expiry_s = self.session_expiry;
        group
    }

    fn rate(&self) -> f64 {
        match (self.connect_rate, self.interval) {
            (Some(rate), _) => rate,
            (None, 0) => 0.0,
            (None, interval) => 1_000.0 / f64::from(interval),
        }
    }

    fn seconds(&self) -> f64 {
        self.duration.map_or(FOR_EVER_S, |duration| duration.as_secs_f64())
    }

    /// One group that connects, then holds for `seconds`.
    fn plan(&self, group: Group, what: &str, seconds: f64) -> Plan {
        let names = vec![group.name.clone()];
        let publish = if group.publishing.is_some() { names.clone() } else { Vec::new() };
        Plan {
            name: group.name.clone(),
            description: format!("{} clients {what}", grouped(self.count.into())),
            target: Target::default(),
            stages: vec![
                Stage::new("connect", Action::Ramp { groups: names, rate_per_s: self.rate() }),
                Stage::new("hold", Action::Hold { seconds, publish }).measured(),
            ],
            groups: vec![group],
            workers: 0,
            sources: Sources::Auto,
            run_id: 0,
            seed: 1,
            drain_s: 5,
            part: Part::default(),
            clocks: Vec::new(),
        }
    }
}

impl Conn {
    pub(super) fn plan(&self, prefix: &str) -> Plan {
        let group = self.clients.group("conn", prefix);
        self.clients.plan(group, "connect and stay", self.clients.seconds())
    }
}

impl Sub {
    pub(super) fn plan(&self, prefix: &str) -> Plan {
        let mut group = self.clients.group("sub", prefix);
        group.subscriptions = self.topic.iter().map(|filter| Subscription::new(filter, self.qos)).collect();
        group.pipeline = self.pipeline;
        self.clients.plan(group, "subscribe; what arrives is of other runs", self.clients.seconds())
    }
}

impl Pub {
    pub(super) fn plan(&self, prefix: &str) -> Result<Plan, String> {
        let clients = u64::from(self.clients.count.max(1));
        let each = self.limit.div_ceil(clients);
        let pace = match self.interval_of_msg {
            0 => Pace::Closed { window: self.inflight.into() },
            interval => Pace::Open { per_client_per_s: 1_000.0 / f64::from(interval) },
        };
        let mut group = self.clients.group("pub", prefix);
        group.receive_maximum = self.inflight;
        group.publishing = Some(Publishing {
            topic: Template::new(&self.topic),
            qos: self.qos,
            retain: self.retain,
            payload_bytes: self.size,
            content: self.content()?,
            pace,
            messages_per_client: (each > 0).then_some(each),
            targets: None,
        });
        let what = format!("publish to {} at QoS {}; nobody here subscribes", self.topic, self.qos);
        let mut plan = self.clients.plan(group, &what, self.clients.seconds());
        if each > 0 {
            plan.stages.truncate(1);
            plan.stages.extend(self.limited(each));
        }
        Ok(plan)
    }

    fn content(&self) -> Result<Vec<Content>, String> {
        if let Some(text) = &self.message {
            let Some(file) = text.strip_prefix("template://") else { return Ok(vec![Content::Template(text.clone())]) };
            let read = std::fs::read_to_string(file).map_err(|error| format!("--message {text}: {error}"));
            return Ok(vec![Content::Template(read?)]);
        }
        let read = |file: &PathBuf| {
            let failed = |error: std::io::Error| format!("--payload-file {}: {error}", file.display());
            std::fs::read(file).map(Content::Bytes).map_err(failed)
        };
        self.payload_file.iter().map(read).collect()
    }

    /// The stages of `each` messages of a client, and of the time that clients stay connected after the last.
    fn limited(&self, each: u64) -> Vec<Stage> {
        let publish = || vec!["pub".to_owned()];
        let hold = |seconds: f64| Stage::new("publish", Action::Hold { seconds, publish: publish() }).measured();
        let stay = |seconds: f64| Stage::new("stay", Action::Hold { seconds, publish: Vec::new() });
        let duration_s = self.clients.duration.map(|duration| duration.as_secs_f64());
        // The schedule's own length, and a second for the last one.
        let scheduled_s = each as f64 * f64::from(self.interval_of_msg) / 1_000.0 + 1.0;
        let mut stages = match (self.interval_of_msg, duration_s) {
            // The last message may come at any time, so one stage is both.
            (0, Some(seconds)) => return vec![hold(seconds)],
            (0, None) => {
                vec![Stage::new("burst", Action::Burst { groups: publish(), messages_per_client: each }).measured()]
            }
            (_, Some(seconds)) if seconds <= scheduled_s => return vec![hold(seconds)],
            (_, Some(seconds)) => return vec![hold(scheduled_s), stay(seconds - scheduled_s)],
            (_, None) => vec![hold(scheduled_s)],
        };
        if self.keep_connected {
            stages.push(stay(FOR_EVER_S));
        }
        stages
    }
}
