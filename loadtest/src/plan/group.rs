//! Clients that are alike: who they are, what they subscribe to, what they publish, how they read.

use super::content::Content;
use super::template::Template;
use serde::{Deserialize, Serialize};

/// Payloads are at least this long: a stamp that names run, message and times must fit.
pub const PAYLOAD_MIN_BYTES: u32 = 16;
/// From this length on the stamp holds whole nanoseconds; a shorter one rounds times to 256 ns.
pub const PAYLOAD_LONG_STAMP_BYTES: u32 = 32;

/// Clients that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// By which stages name it.
    pub name: String,
    /// How many, over all parts.
    pub clients: u32,
    /// `%i` of the first client.
    #[serde(default)]
    pub first: u64,
    /// Must tell the clients apart.
    pub client_id: Template,
    /// Clean start, or clean session before 5.0.
    #[serde(default = "yes")]
    pub clean_start: bool,
    /// How long the broker keeps the session, in 5.0. Before, a session that is not clean is kept for ever.
    #[serde(default)]
    pub session_expiry_s: u32,
    /// Unacknowledged messages that the client takes at a time (5.0) and has under way itself, if the broker does not
    /// take fewer.
    #[serde(default = "default_receive_maximum")]
    pub receive_maximum: u16,
    /// One SUBSCRIBE each connection, with all of them.
    #[serde(default)]
    pub subscriptions: Vec<Subscription>,
    /// SUBSCRIBE goes out together with CONNECT, without waiting for CONNACK (section 3.1.4 of MQTT allows it).
    #[serde(default)]
    pub pipeline: bool,
    /// What it publishes, when a stage lets it.
    #[serde(default)]
    pub publishing: Option<Publishing>,
    /// How fast it reads.
    #[serde(default)]
    pub reads: Reads,
}

fn yes() -> bool {
    true
}

fn default_receive_maximum() -> u16 {
    1000
}

impl Group {
    /// Clients that do nothing but connect.
    pub fn new(name: &str, clients: u32, client_id: &str) -> Self {
        Self {
            name: name.to_owned(),
            clients,
            first: 0,
            client_id: client_id.into(),
            clean_start: true,
            session_expiry_s: 0,
            receive_maximum: default_receive_maximum(),
            subscriptions: Vec::new(),
            pipeline: false,
            publishing: None,
            reads: Reads::AllTheTime,
        }
    }

    /// Whether the broker keeps its sessions, and with them what is owed, while it is away. Before 5.0 `clean_start`
    /// alone decides.
    pub const fn keeps_session(&self, is_v5: bool) -> bool {
        if is_v5 { self.session_expiry_s > 0 } else { !self.clean_start }
    }
}

/// A filter that each client of a group subscribes to, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// May be shared: `$share/name/filter`.
    pub filter: Template,
    /// 0 to 2.
    #[serde(default)]
    pub qos: u8,
    /// 5.0: not the client's own messages.
    #[serde(default)]
    pub no_local: bool,
    /// 5.0: the retain flag as published.
    #[serde(default)]
    pub retain_as_published: bool,
    /// 5.0: which retained messages come.
    #[serde(default)]
    pub retain_handling: RetainHandling,
}

impl Subscription {
    /// Without any option.
    pub fn new(filter: &str, qos: u8) -> Self {
        Self {
            filter: filter.into(),
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }
}

/// Which retained messages a subscription brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetainHandling {
    /// All that match.
    #[default]
    Send,
    /// Only if the subscription is new.
    SendIfNew,
    /// None.
    DoNotSend,
}

/// What a client publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publishing {
    /// One topic a client, or one each target with `%r`.
    pub topic: Template,
    /// 0 to 2.
    #[serde(default)]
    pub qos: u8,
    /// The retain flag.
    #[serde(default)]
    pub retain: bool,
    /// At least [`PAYLOAD_MIN_BYTES`]. Nothing to messages with a content.
    pub payload_bytes: u32,
    /// What payloads hold, message after message in turn; empty: a pattern of `payload_bytes`.
    #[serde(default)]
    pub content: Vec<Content>,
    /// When the next message leaves.
    pub pace: Pace,
    /// A client stops after so many in a run; `None`: never.
    #[serde(default)]
    pub messages_per_client: Option<u64>,
    /// What `%r` stands for. The targets are shared out: each has one publisher of the group.
    #[serde(default)]
    pub targets: Option<Targets>,
}

/// When messages leave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Open loop: by a schedule fixed in advance, in which a group's clients are spread evenly. Latency counts from the
    /// scheduled time.
    Open {
        /// Messages a second of each client.
        per_client_per_s: f64,
    },
    /// Closed loop: a client has so many under way, from sending until every subscriber of the run that is owed the
    /// message has it, or until its acknowledgement (QoS 0: at once) if nobody is.
    Closed {
        /// Messages under way per client.
        window: u32,
    },
}

/// Topics that a group publishes to beside the number of its clients: `%r` runs over `first..first + count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// The first number.
    #[serde(default)]
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Which comes next.
    #[serde(default)]
    pub order: Order,
}

/// Which target comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Drawn by lot.
    #[default]
    Random,
    /// One after the other, from the start again at the end.
    InTurn,
}

/// How fast a client takes what it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// At once.
    #[default]
    AllTheTime,
    /// So many bytes a second: a slow consumer.
    Slow {
        /// Bytes a second.
        bytes_per_s: u32,
    },
    /// Nothing after SUBACK: a consumer that hangs.
    Stalled,
}
