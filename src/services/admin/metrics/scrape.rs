//! What one scrape shows, and what a metric's values are.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::services::admin::connector_figures::ConnectorFigures;
use crate::services::admin::operated::AdminListener;
use crate::services::admin::process::{DiskFigures, ProcessFigures};
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

/// See the module's text.
#[derive(Debug, Default)]
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
    /// Each kind in the order of their names.
    pub(super) connectors: Vec<ConnectorFigures>,
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
