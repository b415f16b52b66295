//! Thresholds: `--fail-if 'p99>5ms'`, read into a metric, a comparison and a limit, and held against an outcome.
//!
//! Owns: the names of metrics and what each is of an [`Outcome`]. Always holds: a threshold that cannot be measured (no
//! message arrived, no broker was sampled) is broken, because a check that passes for want of figures is none.

use std::fmt;

use crate::{
    outcome::{Deliveries, Outcome, Timing},
    suggest,
    units::{self, grouped, measured, show_size, show_span},
};

/// A condition under which a run fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// As it was written.
    pub text: String,
    name: String,
    metric: Metric,
    comparison: Comparison,
    limit: f64,
}

/// What became of a threshold.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Held {
    /// As it was written.
    pub threshold: String,
    /// What stands left of the comparison.
    pub metric: String,
    /// Where it fails, in words: `above 50 ms`.
    pub fails: String,
    /// What was measured, in nanoseconds, bytes, percent or a plain number; absent: nothing was.
    pub measured: Option<f64>,
    /// The same in words.
    pub shown: String,
    /// Whether the run fails by it.
    pub broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    /// A percentile (100: the longest; `None`: the mean) of a timing.
    Timing(Clock, Option<f64>),
    Number(Number),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Latency,
    Sent,
    Slow,
    Connect,
    Tls,
    TlsResumed,
    OwnTls,
    Upgrade,
    Connack,
    Suback,
    Ack,
    Delay,
    OwnDelay,
    Ping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What a limit counts, and so how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Span,
    Count,
    Percent,
    Bytes,
    PerSecond,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Loss,
    LossPercent,
    SlowLoss,
    Duplicates,
    Reordered,
    Corrupted,
    Misdirected,
    Refused,
    Failed,
    Lost,
    Unsent,
    Rate,
    SentRate,
    BrokerCores,
    BrokerRss,
    GeneratorBusy,
}

const CLOCKS: [(&str, Clock); 14] = [
    ("", Clock::Latency),
    ("sent_", Clock::Sent),
    ("slow_", Clock::Slow),
    ("connect_", Clock::Connect),
    ("tls_", Clock::Tls),
    ("tls_resumed_", Clock::TlsResumed),
    ("own_tls_", Clock::OwnTls),
    ("upgrade_", Clock::Upgrade),
    ("connack_", Clock::Connack),
    ("suback_", Clock::Suback),
    ("ack_", Clock::Ack),
    ("delay_", Clock::Delay),
    ("own_delay_", Clock::OwnDelay),
    ("ping_", Clock::Ping),
];

const NUMBERS: [(&str, Number, Unit); 15] = [
    ("loss", Number::Loss, Unit::Count),
    ("slow_loss", Number::SlowLoss, Unit::Count),
    ("duplicates", Number::Duplicates, Unit::Count),
    ("reordered", Number::Reordered, Unit::Count),
    ("corrupted", Number::Corrupted, Unit::Count),
    ("misdirected", Number::Misdirected, Unit::Count),
    ("refused", Number::Refused, Unit::Count),
    ("failed", Number::Failed, Unit::Count),
    ("disconnects", Number::Lost, Unit::Count),
    ("unsent", Number::Unsent, Unit::Count),
    ("rate", Number::Rate, Unit::PerSecond),
    ("sent_rate", Number::SentRate, Unit::PerSecond),
    ("broker_cpu", Number::BrokerCores, Unit::PerSecond),
    ("broker_rss", Number::BrokerRss, Unit::Bytes),
    ("generator_busy", Number::GeneratorBusy, Unit::Percent),
];

/// What may stand left of the comparison, for help and errors.
pub fn known() -> String {
    let numbers: Vec<&str> = NUMBERS.iter().map(|(name, ..)| *name).collect();
    let clocks: Vec<String> = CLOCKS[1..].iter().map(|(prefix, _)| format!("{prefix}p99")).collect();
    format!("p50 p99 p99.9 (any percentile) mean max, the same as {}, and {}", clocks.join(" "), numbers.join(" "))
}

impl Threshold {
    /// Reads `METRIC COMPARISON LIMIT`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at = text.find(['>', '<']).ok_or_else(|| {
            format!("{text:?} is not a threshold: write a metric, > or <, and a limit, as in p99>5ms or loss>0")
        })?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (comparison, limit) = match (&rest[..1], rest[1..].strip_prefix('=')) {
            (">", Some(limit)) => (Comparison::AtLeast, limit),
            (">", None) => (Comparison::Above, &rest[1..]),
            (_, Some(limit)) => (Comparison::AtMost, limit),
            (_, None) => (Comparison::Below, &rest[1..]),
        };
        let limit = limit.trim();
        let (mut metric, unit) = metric(name)?;
        if metric == Metric::Number(Number::Loss) && limit.ends_with('%') {
            metric = Metric::Number(Number::LossPercent);
        }
        let limit = read_limit(limit, if limit.ends_with('%') { Unit::Percent } else { unit }, unit)
            .map_err(|error| format!("{text:?}: {error}"))?;
        Ok(Self { text: text.to_owned(), name: name.to_owned(), metric, comparison, limit })
    }

    /// Holds it against an outcome.
    pub fn hold(&self, outcome: &Outcome) -> Held {
        let value = self.metric.of(outcome);
        let broken = value.is_none_or(|value| match self.comparison {
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
        });
        let shown = value.map_or_else(|| "was not measured".to_owned(), |value| self.metric.show(value));
        let limit = short(&self.metric.show(self.limit));
        let fails = match self.comparison {
            Comparison::Above => format!("above {limit}"),
            Comparison::AtLeast => format!("at {limit} or above"),
            Comparison::Below => format!("below {limit}"),
            Comparison::AtMost => format!("at {limit} or below"),
        };
        Held { threshold: self.text.clone(), metric: self.name.clone(), fails, measured: value, shown, broken }
    }
}

/// `ok: p99 8.25 ms (fails above 50 ms)`; without the `ok` where the run fails by it.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.broken { "" } else { "ok: " };
        write!(f, "{verdict}{} {} (fails {})", self.metric, self.shown, self.fails)
    }
}

/// A limit as it was probably written: `50 ms` for `50.00 ms`.
fn short(shown: &str) -> String {
    match shown.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => shown.to_owned(),
    }
}

fn metric(name: &str) -> Result<(Metric, Unit), String> {
    if let Some((_, number, unit)) = NUMBERS.iter().find(|(known, ..)| *known == name) {
        return Ok((Metric::Number(*number), *unit));
    }
    for (prefix, clock) in CLOCKS {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let percentile = match rest {
            "mean" => None,
            "max" => Some(100.0),
            _ => match rest.strip_prefix('p').and_then(|number| number.parse::<f64>().ok()) {
                Some(percent) if (0.0..=100.0).contains(&percent) => Some(percent),
                _ => continue,
            },
        };
        return Ok((Metric::Timing(clock, percentile), Unit::Span));
    }
    let mut candidates: Vec<String> = NUMBERS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    for (prefix, _) in CLOCKS {
        candidates.extend(["p50", "p99", "mean", "max"].map(|what| format!("{prefix}{what}")));
    }
    let meant = suggest::nearest(name, candidates.iter().map(String::as_str));
    let meant = meant.map(|name| format!("did you mean {name}? ")).unwrap_or_default();
    Err(format!("{name:?} is not a metric: {meant}Known are {}", known()))
}

/// A limit in `unit`; `own` is the metric's, which decides whether a percent sign has a meaning.
fn read_limit(text: &str, unit: Unit, own: Unit) -> Result<f64, String> {
    match unit {
        Unit::Span => units::span(text, None).map(|span| span.as_nanos() as f64),
        Unit::Bytes => units::size(text).map(|bytes| bytes as f64),
        Unit::Percent if matches!(own, Unit::Count | Unit::Percent) => {
            let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
            number.ok().filter(|percent| *percent >= 0.0).ok_or_else(|| format!("{text:?} is not a percentage"))
        }
        Unit::Percent => Err("only loss and generator_busy are compared with percentages".to_owned()),
        Unit::Count => units::count(text).map(|count| count as f64),
        Unit::PerSecond => {
            let text = text.strip_suffix("/s").unwrap_or(text).trim();
            text.parse::<f64>().or_else(|_| units::count(text).map(|count| count as f64))
        }
    }
}

impl Metric {
    fn of(self, outcome: &Outcome) -> Option<f64> {
        match self {
            Self::Timing(clock, percentile) => {
                let timing = clock.of(outcome);
                (!timing.is_empty()).then(|| match percentile {
                    None => timing.mean_ns(),
                    Some(percent) if percent >= 100.0 => timing.max_ns() as f64,
                    Some(percent) => timing.percentile_ns(percent) as f64,
                })
            }
            Self::Number(number) => number.of(outcome),
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Timing(..) => show_span(value as u64),
            Self::Number(Number::BrokerRss) => show_size(value as u64),
            Self::Number(Number::LossPercent | Number::GeneratorBusy) => format!("{value:.3} %"),
            Self::Number(Number::Rate | Number::SentRate) => format!("{} /s", measured(value)),
            Self::Number(Number::BrokerCores) => format!("{value:.2} cores"),
            Self::Number(_) => grouped(value as u64),
        }
    }
}

impl Clock {
    fn of(self, outcome: &Outcome) -> &Timing {
        let timings = &outcome.timings;
        match self {
            Self::Latency => &timings.latency_intended,
            Self::Sent => &timings.latency_sent,
            Self::Slow => &timings.latency_slow,
            Self::Connect => &timings.tcp_connect,
            Self::Tls => &timings.tls_handshake,
            Self::TlsResumed => &timings.tls_resumption,
            Self::OwnTls => &timings.own_handshake,
            Self::Upgrade => &timings.upgrade,
            Self::Connack => &timings.connack,
            Self::Suback => &timings.suback,
            Self::Ack => &timings.acknowledged,
            Self::Delay => &timings.send_delay,
            Self::OwnDelay => &timings.own_delay,
            Self::Ping => &timings.ping,
        }
    }
}

impl Number {
    fn of(self, outcome: &Outcome) -> Option<f64> {
        let deliveries = outcome.verdict.all_deliveries();
        let per_second = |count: u64| (outcome.measured_s > 0.0).then(|| count as f64 / outcome.measured_s);
        let count = match self {
            Self::Loss => outcome.verdict.lost(),
            Self::LossPercent => {
                let slow = outcome.verdict.slow;
                let owed = |deliveries: &Deliveries| deliveries.expected.saturating_sub(deliveries.excused);
                let expected = owed(&deliveries).saturating_sub(slow.iter().map(owed).sum());
                return (expected > 0).then(|| outcome.verdict.lost() as f64 / expected as f64 * 100.0);
            }
            Self::SlowLoss => outcome.verdict.lost_by_slow(),
            Self::Duplicates => deliveries.duplicated,
            Self::Reordered => deliveries.reordered,
            Self::Corrupted => outcome.verdict.corrupted,
            Self::Misdirected => outcome.verdict.misdirected,
            Self::Refused => outcome.refusals().total(),
            Self::Failed => outcome.connections.failed_total(),
            Self::Lost => outcome.connections.lost_total(),
            Self::Unsent => outcome.verdict.all_messages().unsent,
            Self::Rate => return per_second(outcome.measured.messages_received),
            Self::SentRate => return per_second(outcome.measured.messages_sent),
            Self::BrokerCores => {
                let broker = outcome.broker.as_ref()?;
                return (outcome.measured_s > 0.0).then(|| broker.cpu_measured_s / outcome.measured_s);
            }
            Self::BrokerRss => outcome.broker.as_ref()?.rss_peak_bytes,
            Self::GeneratorBusy => return Some(outcome.generator.busiest_worker_share * 100.0),
        };
        Some(count as f64)
    }
}

#[cfg(test)]
mod tests;
