//! What one scrape shows, and what a metric's values are.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::services::admin::operated::AdminListener;
use crate::services::admin::process::{DiskFigures, ProcessFigures};
use crate::services::connectors::{ConnectorState, ConnectorStatus, NotPassed};
use crate::services::otlp::SpanCounts;
use crate::telemetry::{DurationHistogram, Report};

/// A shard's numbers.
#[derive(Clone, Debug, Default)]
pub(in crate::services::admin) struct ShardFigures {
    /// Whether it has answered now; otherwise its numbers are those of its last answer.
    pub(in crate::services::admin) is_fresh: bool,
    pub(in crate::services::admin) report: Report,
}

/// A listener of the broker.
#[derive(Clone, Debug)]
pub(super) struct ListenerFigures {
    /// What shards count it under.
    pub(super) index: u8,
    pub(super) name: String,
    pub(super) is_open: bool,
    pub(super) connections: u32,
}

impl ListenerFigures {
    pub(super) fn of(listener: &AdminListener) -> Self {
        Self {
            index: listener.index,
            name: listener.name.to_string(),
            is_open: listener.is_open.load(Ordering::Relaxed),
            connections: listener.connections.load(Ordering::Relaxed),
        }
    }
}

/// What is counted of one bridge, and whether it is connected.
#[derive(Clone, Debug, Default)]
pub(super) struct BridgeFigures {
    pub(super) name: String,
    pub(super) is_connected: bool,
    /// In and out.
    pub(super) messages: [u64; 2],
    /// Likewise.
    pub(super) bytes: [u64; 2],
    pub(super) connects: u64,
    /// By reason.
    pub(super) not_passed: [u64; NotPassed::ALL.len()],
}

impl BridgeFigures {
    pub(super) fn of(state: &ConnectorState) -> Self {
        let counters = &state.counters;
        let both = |of: [&AtomicU64; 2]| of.map(|counter| counter.load(Ordering::Relaxed));
        Self {
            name: state.name.to_string(),
            is_connected: state.told().status == ConnectorStatus::Connected,
            messages: both([&counters.messages_in, &counters.messages_out]),
            bytes: both([&counters.bytes_in, &counters.bytes_out]),
            connects: counters.connects.load(Ordering::Relaxed),
            not_passed: std::array::from_fn(|at| counters.not_passed[at].load(Ordering::Relaxed)),
        }
    }
}

/// What is counted of one source, and whether it reads.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceFigures {
    pub(super) name: String,
    pub(super) is_connected: bool,
    /// What waits where it reads, where that is known.
    pub(super) lag: Option<u64>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) left_behind: u64,
    pub(super) failures: u64,
}

impl SourceFigures {
    pub(super) fn of(state: &ConnectorState) -> Self {
        let (told, counters) = (state.told(), &state.counters);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            name: state.name.to_string(),
            is_connected: told.status == ConnectorStatus::Connected,
            lag: told.lag,
            messages: count(&counters.messages_in),
            bytes: count(&counters.bytes_in),
            left_behind: count(&counters.not_passed[NotPassed::Refused as usize]),
            failures: count(&counters.failed_attempts),
        }
    }
}

/// A sink's numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct SinkFigures {
    pub(super) name: String,
    pub(super) is_up: bool,
    pub(super) queued_messages: u64,
    pub(super) queued_bytes: u64,
    /// How long the oldest message has waited.
    pub(super) lag: Duration,
    pub(super) received: u64,
    pub(super) delivered: u64,
    pub(super) delivered_bytes: u64,
    pub(super) passed_over: u64,
    pub(super) dead_letters: u64,
    pub(super) dropped: u64,
    /// Lost by its session.
    pub(super) queue_dropped: u64,
    pub(super) failed_attempts: u64,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape {
    pub(super) shards: Vec<ShardFigures>,
    pub(super) process: ProcessFigures,
    pub(super) disk: DiskFigures,
    pub(super) uptime: Duration,
    /// In the order of the configuration; none before all shards are heard.
    pub(super) listeners: Vec<ListenerFigures>,
    /// In Unix seconds.
    pub(super) certificates_end_s: Option<i64>,
    /// The same of revocation lists.
    pub(super) lists_end_s: Option<i64>,
    pub(super) queued_memory_max_bytes: u64,
    /// Wrong passwords at the admin server.
    pub(super) logins_refused: u64,
    pub(super) is_draining: bool,
    /// Bans of operators that hold.
    pub(super) bans: u64,
    /// Of sampled messages.
    pub(super) spans: SpanCounts,
    /// In the order of their names.
    pub(super) sinks: Vec<SinkFigures>,
    /// In the order of their names.
    pub(super) bridges: Vec<BridgeFigures>,
    /// In the order of their names.
    pub(super) sources: Vec<SourceFigures>,
}

impl Scrape {
    /// Of all shards.
    pub(super) fn sum(&self) -> Report {
        let mut sum = Report::default();
        self.shards.iter().for_each(|shard| sum.add(&shard.report));
        sum
    }
}

/// One value with its labels.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: SampleValue<'a>,
}

/// A value of a kind of metric.
#[derive(Clone, Copy, Debug)]
pub(super) enum SampleValue<'a> {
    Whole(u64),
    Real(f64),
    Durations(&'a DurationHistogram),
}

/// The values of a metric. One that has none is left out: the system does not tell it, or there is no such thing here.
#[derive(Debug, Default)]
pub(super) struct Samples<'a>(pub(super) Vec<Sample<'a>>);

impl<'a> Samples<'a> {
    /// The only value.
    pub(super) fn one(&mut self, value: u64) {
        self.0.push(Sample { labels: Vec::new(), value: SampleValue::Whole(value) });
    }

    /// The only value, if there is one.
    pub(super) fn one_if(&mut self, value: Option<u64>) {
        if let Some(value) = value {
            self.one(value);
        }
    }

    /// The only value, if there is one, with a fraction.
    pub(super) fn real_if(&mut self, value: Option<f64>) {
        let sample = |value| Sample { labels: Vec::new(), value: SampleValue::Real(value) };
        self.0.extend(value.map(sample));
    }

    /// One of several.
    pub(super) fn labelled(&mut self, label: &'static str, of: &dyn Display, value: u64) {
        self.with_labels(vec![(label, of.to_string())], value);
    }

    /// One of several that two things tell apart.
    pub(super) fn with_labels(&mut self, labels: Vec<(&'static str, String)>, value: u64) {
        self.0.push(Sample { labels, value: SampleValue::Whole(value) });
    }

    /// One of several, with a fraction.
    pub(super) fn labelled_real(&mut self, label: &'static str, of: &dyn Display, value: f64) {
        self.0.push(Sample { labels: vec![(label, of.to_string())], value: SampleValue::Real(value) });
    }

    /// Durations, the only ones.
    pub(super) fn durations(&mut self, durations: &'a DurationHistogram) {
        self.0.push(Sample { labels: Vec::new(), value: SampleValue::Durations(durations) });
    }

    /// Those of one shard, by its number.
    pub(super) fn durations_of(&mut self, shard: usize, durations: &'a DurationHistogram) {
        let labels = vec![("shard", shard.to_string())];
        self.0.push(Sample { labels, value: SampleValue::Durations(durations) });
    }
}
