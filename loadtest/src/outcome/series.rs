//! Second by second, and stage by stage.

use super::{Timing, Traffic};
use serde::{Deserialize, Serialize};

/// One second of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Its end, in seconds since the start.
    pub at_s: f64,
    /// Index of the stage at its end.
    pub stage: u32,
    /// Established connections at its end.
    pub connected: u64,
    /// Connections whose CONNACK said success.
    pub established: u64,
    /// Connections that were refused or did not get as far as CONNACK, and are tried no more.
    pub failed: u64,
    /// Connections that ended though nobody here had closed them.
    pub lost: u64,
    /// What went over the wire in it.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Deliveries owed at its end.
    pub owed: u64,
    /// Latency (from the intended time) of what arrived in it at those who read all the time: middle.
    pub p50_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// CPU time of the generator in it, in cores.
    pub generator_cores: f64,
    /// CPU time of the broker in it, in cores, where somebody looked.
    pub broker_cores: Option<f64>,
    /// Resident memory of the broker at its end, where somebody looked.
    pub broker_rss_bytes: Option<u64>,
    /// Resident memory of the generator at its end, where somebody looked.
    pub generator_rss_bytes: Option<u64>,
    /// Slab of the kernel at its end, where somebody looked.
    pub slab_bytes: Option<u64>,
    /// Buffers of TCP sockets at its end, where somebody looked.
    pub tcp_buffer_bytes: Option<u64>,
}

/// One stage of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageOutcome {
    /// The stage's name.
    pub name: String,
    /// `ramp`, `hold`, `burst`, `drop`, `resume` or `churn`.
    pub action: String,
    /// Whether its latencies are in the outcome's.
    pub measured: bool,
    /// Milliseconds from the start of the run.
    pub started_ms: f64,
    /// When its own action was over: all connected, all sent. Milliseconds from the start of the run.
    pub action_ended_ms: f64,
    /// When the next began. Milliseconds from the start of the run.
    pub ended_ms: f64,
    /// Milliseconds from the start of the stage until the last owed delivery had come, where the stage waited for that
    /// and it came.
    pub completed_in_ms: Option<f64>,
    /// Connections established in it.
    pub established: u64,
    /// Established connections at its end.
    pub connected: u64,
    /// What went over the wire in it.
    pub traffic: Traffic,
    /// Latency (from the intended time) of what arrived in it.
    pub latency: Timing,
    /// CPU time of the generator in it, in seconds.
    pub generator_cpu_s: f64,
}
