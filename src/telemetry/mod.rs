//! Counters, reasons and log events.
//!
//! Owns: what is counted ([`Counters`], plain numbers of one shard, added up by whoever shows them), and the closed
//! enums that say why something was dropped or closed ([`DropReason`], [`CloseReason`]). The same enum names the metric
//! label, the log field and the test.
//! Always holds: whatever the broker throws away is counted under a reason.
//! Leaves to others: publishing (`shard::sys`), writing log lines (`telemetry::log`, edge).

mod counters;
mod duration_histogram;
#[cfg(feature = "runtime")]
pub mod log;
mod reasons;
mod timings;
mod trace_context;

/// How much the log says, as far as the core has to know: for lines that nobody reads it builds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// What an operator is told unless he asks for less.
    #[default]
    Info,
    /// Each SUBSCRIBE, each UNSUBSCRIBE, and each packet that was refused.
    Debug,
    /// Each PUBLISH as well.
    Trace,
}

pub use counters::{Counters, CountsByListener, CountsByReason, EndsByListener, Gauges, Report, TransportCounters};
pub use duration_histogram::{DURATION_BUCKETS, DurationHistogram};
pub use reasons::{CloseReason, DropReason, PauseReason, RequestRefusal};
pub use timings::{LoopFigures, MessageTimings};
pub use trace_context::{TRACE_STATE_MAX_BYTES, TraceContext, checked_trace_state};
