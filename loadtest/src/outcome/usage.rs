//! What a run took: of the generator, the broker, the kernel, and the machine that it ran on.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the load generator itself took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratorUsage {
    /// Threads that carried clients.
    pub workers: u32,
    /// Cores that the process may use.
    pub cores: u32,
    /// CPU time in user mode.
    pub cpu_user_s: f64,
    /// CPU time in the kernel.
    pub cpu_system_s: f64,
    /// CPU time in measured stages, both modes.
    pub cpu_measured_s: f64,
    /// Resident before the first connection.
    pub rss_start_bytes: u64,
    /// Resident when most connections were open.
    pub rss_peak_bytes: u64,
    /// Busiest second of the busiest worker: the share of it that was not spent waiting. Close to 1 the generator is the
    /// bottleneck.
    pub busiest_worker_share: f64,
    /// The same over the measured stages.
    pub worker_share_measured: f64,
}

/// What the broker took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerUsage {
    /// Its process.
    pub pid: Option<u32>,
    /// CPU time over the run, both modes.
    pub cpu_s: f64,
    /// CPU time in measured stages.
    pub cpu_measured_s: f64,
    /// Resident before the first connection.
    pub rss_start_bytes: u64,
    /// Most that was resident.
    pub rss_peak_bytes: u64,
    /// Values of its metrics address at the end, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// What the kernel took for sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelMemory {
    /// Slab before the first connection.
    pub slab_start_bytes: u64,
    /// Slab when most connections were open.
    pub slab_peak_bytes: u64,
    /// TCP buffers (`sockstat`) before the first connection.
    pub tcp_start_bytes: u64,
    /// TCP buffers when most connections were open.
    pub tcp_peak_bytes: u64,
}

/// Where the run took place, to compare it with others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// As the processor calls itself.
    pub cpu: String,
    /// Logical cores.
    pub cores: u32,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Settings that bear on the result, by name.
    pub sysctls: BTreeMap<String, String>,
    /// Limit on open files.
    pub open_files_max: u64,
}

/// A generator that is busy for so much of its time is the bottleneck.
pub const BUSY_SHARE: f64 = 0.9;

/// What limited the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    /// Nothing: the plan asked for no more.
    #[default]
    None,
    /// The generator: it was busy nearly all the time or sent late. Its numbers say little about the broker.
    Generator,
    /// The broker, or the way to it.
    Broker,
}
