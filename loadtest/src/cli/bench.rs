//! `conn`, `pub` and `sub` with the flags of emqtt-bench, for whoever has them in their fingers.
//!
//! The meaning is emqtt-bench's, with two differences that are improvements: publishing is an open loop, and payloads are
//! at least as long as the stamp that each message carries.

use clap::Args;

use crate::{
    plan::{
        Action, Group, PAYLOAD_MIN_BYTES, Pace, Part, Plan, Publishing, Sources, Stage, Subscription, Target, Template,
    },
    units::grouped,
};

/// What runs until Ctrl-C: three years.
const FOR_EVER_S: f64 = 1e8;

#[derive(Debug, Args)]
struct Clients {
    /// Clients
    #[arg(short = 'c', long, default_value_t = 200)]
    count: u32,
    /// Number of the first client
    #[arg(short = 'n', long, default_value_t = 0)]
    startnumber: u64,
    /// Milliseconds between two connections
    #[arg(short = 'i', long, default_value_t = 10, value_name = "MS")]
    interval: u32,
    /// Connections a second; beats --interval
    #[arg(short = 'R', long, visible_alias = "connrate", value_name = "N")]
    connect_rate: Option<f64>,
    /// Clean start: true or false
    #[arg(short = 'C', long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    clean: bool,
    /// Session expiry in seconds (5.0)
    #[arg(short = 'x', long, default_value_t = 0, value_name = "SECONDS")]
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
    /// Topic; %i is the client's number, %c its id, %u its user name
    #[arg(short = 't', long)]
    topic: String,
    /// Bytes of payload
    #[arg(short = 's', long, default_value_t = 256, value_name = "BYTES")]
    size: u32,
    /// QoS
    #[arg(short = 'q', long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Milliseconds between two messages of a client; 0: as fast as --inflight lets it
    #[arg(short = 'I', long, default_value_t = 1000, value_name = "MS")]
    interval_of_msg: u32,
    /// Messages of all clients together; 0: no limit
    #[arg(short = 'L', long, default_value_t = 0)]
    limit: u64,
    /// Unacknowledged messages of a client
    #[arg(short = 'F', long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    inflight: u16,
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
        if self.size < PAYLOAD_MIN_BYTES {
            return Err(format!("--size must be at least {PAYLOAD_MIN_BYTES}: each message carries a stamp"));
        }
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
            pace,
            messages_per_client: (each > 0).then_some(each),
            targets: None,
        });
        // With a limit the schedule's own length, and a second for the last one.
        let scheduled = each as f64 * f64::from(self.interval_of_msg) / 1_000.0 + 1.0;
        let seconds = self.clients.seconds();
        let limited = each > 0 && self.interval_of_msg > 0;
        let what = format!("publish to {} at QoS {}; nobody here subscribes", self.topic, self.qos);
        let mut plan = self.clients.plan(group, &what, if limited { seconds.min(scheduled) } else { seconds });
        if each > 0 && self.interval_of_msg == 0 {
            let burst = Action::Burst { groups: vec!["pub".to_owned()], messages_per_client: each };
            plan.stages[1] = Stage::new("burst", burst).measured();
        }
        Ok(plan)
    }
}
