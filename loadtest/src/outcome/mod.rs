//! What happened: connections, times, and a verdict on every message.
//!
//! Owns the shape of an outcome and how two of them become one ([`Outcome::merge`]): of the threads of a process and of
//! the parts of a run alike. Numbers are sums, times are histograms, so that merging loses nothing: percentiles of a merged
//! outcome are those of all its messages together. What the engine cannot know (broker, kernel, machine, command line) is
//! filled in by who runs it.
//!
//! Leaves to others: how it is shown, thresholds, and every clock.

mod connections;
mod lateness;
mod merge;
mod refusals;
mod series;
mod timing;
mod usage;
mod verdict;

pub use connections::{Connections, FailureReason, LossReason};
pub use refusals::Refusals;
pub use series::{Second, StageOutcome};
pub use timing::Timing;
pub use usage::{BUSY_SHARE, Bottleneck, BrokerUsage, GeneratorUsage, KernelMemory, Machine};
pub use verdict::{Deliveries, LANES, Messages, Verdict, lane};

use crate::plan::{LoopKind, Pipeline};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that is known about a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The plan's name.
    pub name: String,
    /// The plan's sentence.
    pub description: String,
    /// `host:port` of the broker; behind `tls://` and the like where something lies below MQTT.
    pub target: String,
    /// The run that its messages named.
    pub run_id: u32,
    /// When it began, by the wall clock: milliseconds since 1970.
    pub started_unix_ms: u64,
    /// From the first stage to the end of draining.
    pub duration_s: f64,
    /// Of that, the measured stages.
    pub measured_s: f64,
    /// How messages were paced.
    pub loop_kind: LoopKind,
    /// How many under way in the closed loop, the largest of all groups; 0 in the open loop.
    pub window: u32,
    /// Whether SUBSCRIBE went out together with CONNECT.
    pub pipeline: Pipeline,
    /// How it ended.
    pub ending: Ending,
    /// In the order of the plan; those that an early end left out are missing.
    pub stages: Vec<StageOutcome>,
    /// Connections, made and lost.
    pub connections: Connections,
    /// What the broker refused with a reason code, by packet and reason, as `PUBACK not authorized`.
    pub refused: BTreeMap<String, u64>,
    /// How long things took, in measured stages; connecting and subscribing: in all.
    pub timings: Timings,
    /// Deliveries of measured stages that are in no latency, because they were stamped by another machine's clock.
    pub untimed: u64,
    /// Messages and deliveries.
    pub verdict: Verdict,
    /// Of measured stages only: what rates are computed from.
    pub measured: Traffic,
    /// Of the whole run.
    pub traffic: Traffic,
    /// One row a second since the run began.
    pub series: Vec<Second>,
    /// A run of three seconds at most: tenth by tenth as well.
    pub tenths: Vec<Second>,
    /// What the load generator itself took.
    pub generator: GeneratorUsage,
    /// What the broker took, where somebody looked.
    pub broker: Option<BrokerUsage>,
    /// What the kernel took for sockets, where somebody looked.
    pub kernel: Option<KernelMemory>,
    /// Where it ran.
    pub machine: Option<Machine>,
    /// As it was called.
    pub command_line: Vec<String>,
    /// What limited the rate, if anything did.
    pub bottleneck: Bottleneck,
    /// What became of the broker, where it was killed on purpose.
    pub killing: Option<Killing>,
    /// What a reader must know before believing the numbers.
    pub warnings: Vec<String>,
    /// How many parts (processes) are in here; those of agents that died are missing.
    pub parts: u32,
}

/// A broker that was killed on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Killing {
    /// How often it was to be killed.
    pub planned: u32,
    /// How often it was, and came back.
    pub made: u32,
    /// What went wrong with it: it ended by itself, or did not come back.
    pub faults: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All stages were gone through.
    #[default]
    Finished,
    /// Somebody stopped it.
    Interrupted,
    /// Every connection was lost and none could be made again: the broker is gone.
    BrokerLost {
        /// Seconds after the start.
        at_s: f64,
    },
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// From the start of connecting until TCP was connected.
    pub tcp_connect: Timing,
    /// From there until TLS was there, with a whole handshake.
    pub tls_handshake: Timing,
    /// The same where an earlier session was resumed.
    pub tls_resumption: Timing,
    /// Of both, what the generator itself took: its own work, and waiting for its turn to be worked on.
    pub own_handshake: Timing,
    /// From the request for a WebSocket until it was open.
    pub upgrade: Timing,
    /// From CONNECT to CONNACK.
    pub connack: Timing,
    /// From SUBSCRIBE to SUBACK; pipelined, SUBSCRIBE went out with CONNECT.
    pub suback: Timing,
    /// From PUBLISH to PUBACK (QoS 1) or PUBCOMP (QoS 2).
    pub acknowledged: Timing,
    /// From the time a message was meant to be sent until a subscriber had it, of those who read all the time. In the closed
    /// loop the same as `latency_sent`.
    pub latency_intended: Timing,
    /// From the time a message was handed to the kernel until a subscriber had it.
    pub latency_sent: Timing,
    /// From the intended time until a subscriber had it that reads slowly, as the plan has it.
    pub latency_slow: Timing,
    /// How long after its time a message of the open loop was sent: the generator's own delay, and that of full windows.
    pub send_delay: Timing,
    /// The same of messages that no window held up: the delay is the generator's alone.
    pub own_delay: Timing,
    /// From PINGREQ to PINGRESP.
    pub ping: Timing,
    /// From the start of a broker that had been killed until it answered a CONNECT.
    pub recovery: Timing,
}

/// What went over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// PUBLISH packets sent.
    pub messages_sent: u64,
    /// PUBLISH packets received.
    pub messages_received: u64,
    /// PUBACK and PUBCOMP received.
    pub messages_acknowledged: u64,
    /// Bytes sent, with what TLS and WebSocket add.
    pub bytes_sent: u64,
    /// Bytes received, with what TLS and WebSocket add.
    pub bytes_received: u64,
}

#[cfg(test)]
mod tests;
