//! What the broker has done of late, as numbers: a ring of samples.
//!
//! Always holds: there are [`HISTORY_SAMPLES_MAX`] at most; rates are those of the time since the sample before. Time is passed in.
//! Leaves to others: taking them, and showing them (`history`).

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::process::ProcessFigures;
use crate::limits::HISTORY_SAMPLES_MAX;
use crate::telemetry::Report;

/// The samples, and what the next is compared with.
#[derive(Default)]
pub(super) struct History {
    pub(super) samples: VecDeque<HistorySample>,
    before: Option<CountedSoFar>,
    /// Between the last two.
    pub(super) threads: Vec<ThreadLoad>,
    /// As of the last.
    pub(super) process: ProcessFigures,
}

/// What has been counted by a moment.
#[derive(Clone)]
pub(super) struct CountedSoFar {
    pub(super) at: Instant,
    pub(super) sum: Report,
    pub(super) cpu_s: f64,
    /// User and system time of threads by their number, in ticks of the system.
    pub(super) threads: BTreeMap<u32, (String, u64)>,
}

/// The broker in a few seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct HistorySample {
    pub(super) at_ms: u64,
    pub(super) clients_connected: u64,
    pub(super) queued_messages: u64,
    pub(super) resident_bytes: u64,
    pub(super) received_per_s: f64,
    pub(super) sent_per_s: f64,
    pub(super) dropped_per_s: f64,
    pub(super) bytes_received_per_s: f64,
    pub(super) bytes_sent_per_s: f64,
    pub(super) cores_used: f64,
    /// In milliseconds; nothing where nothing was acknowledged.
    pub(super) ack_half_ms: Option<f64>,
    pub(super) ack_most_ms: Option<f64>,
}

/// How much of a core a thread takes.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct ThreadLoad {
    /// Its name; shards are `shard-0` and so on.
    name: String,
    /// 1 is a whole core.
    cores_used: f64,
}

/// Samples as far as a core's hundredth or a tenth of a message.
fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

impl History {
    /// Adds a sample: what has been counted by now. The first only begins.
    #[expect(clippy::cast_precision_loss, reason = "rates")]
    pub(super) fn add(&mut self, at_ms: u64, now: CountedSoFar, process: ProcessFigures) {
        if let Some(before) = &self.before {
            let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
            let rate =
                |of: fn(&Report) -> u64| rounded(of(&now.sum).saturating_sub(of(&before.sum)) as f64 / seconds, 10.0);
            let own_acks = |sum: &Report| sum.counters.timings.own_acks.clone();
            let ack = |part: f64| own_acks(&now.sum).quantile_since_ns(&own_acks(&before.sum), part);
            let ack_ms = |part: f64| ack(part).map(|ns| rounded(ns / 1_000_000.0, 1_000.0));
            self.samples.push_back(HistorySample {
                at_ms,
                clients_connected: now.sum.gauges.clients_connected,
                queued_messages: now.sum.gauges.stored_messages,
                resident_bytes: process.resident_bytes.unwrap_or(0),
                received_per_s: rate(|sum| sum.counters.publish_received),
                sent_per_s: rate(|sum| sum.counters.publish_sent),
                dropped_per_s: rate(|sum| sum.counters.dropped_total()),
                bytes_received_per_s: rate(|sum| sum.transport.bytes_received),
                bytes_sent_per_s: rate(|sum| sum.transport.bytes_sent),
                cores_used: rounded((now.cpu_s - before.cpu_s).max(0.0) / seconds, 100.0),
                ack_half_ms: ack_ms(0.5),
                ack_most_ms: ack_ms(0.99),
            });
            if self.samples.len() > HISTORY_SAMPLES_MAX {
                self.samples.pop_front();
            }
            self.threads = loads(&before.threads, &now.threads, seconds);
        }
        (self.before, self.process) = (Some(now), process);
    }
}

/// How much each thread has taken meanwhile, those that take nothing left out; shards are always there.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn loads(before: &BTreeMap<u32, (String, u64)>, now: &BTreeMap<u32, (String, u64)>, seconds: f64) -> Vec<ThreadLoad> {
    let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
    let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
    for (number, (name, ticks)) in now {
        let ticks_before = before.get(number).map_or(0, |(_, ticks)| *ticks);
        *by_name.entry(shown_name(name)).or_default() += ticks.saturating_sub(ticks_before);
    }
    let load = |(name, ticks): (&str, u64)| ThreadLoad {
        name: name.to_owned(),
        cores_used: rounded(ticks as f64 / ticks_per_s / seconds, 100.0),
    };
    by_name.into_iter().map(load).filter(|load| load.cores_used > 0.0 || load.name.starts_with("shard-")).collect()
}

/// A thread's name without the number that the executor adds to that of a shard, by which its helpers are called, too.
fn shown_name(name: &str) -> &str {
    let Some(rest) = name.strip_prefix("shard-") else { return name };
    rest.split_once('-').map_or(name, |(shard, _)| &name[.."shard-".len() + shard.len()])
}

/// The time that each thread of this process has taken, as far as the system tells it.
pub(super) fn thread_times() -> BTreeMap<u32, (String, u64)> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, parse_thread(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
    };
    entries.filter_map(read).collect()
}

/// Name and ticks out of a thread's `stat`.
fn parse_thread(stat: &str) -> Option<(String, u64)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    // Numbered as in proc_pid_stat(5), where the state is field 3: user and system time are 14 and 15.
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((name.to_owned(), user + system))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn counted(at: Instant, received: u64, cpu_s: f64, ticks: u64) -> CountedSoFar {
        let mut sum = Report::default();
        sum.counters.publish_received = received;
        sum.gauges.clients_connected = 3;
        (0..received / 50).for_each(|_| sum.counters.timings.own_acks.note(received * 20_000));
        CountedSoFar {
            at,
            sum,
            cpu_s,
            threads: BTreeMap::from([(7, ("shard-0-1".to_owned(), ticks)), (8, ("shard-0-1".to_owned(), ticks))]),
        }
    }

    #[test]
    fn rates_are_of_the_time_between_two_samples_and_the_oldest_goes() {
        let (mut history, begin) = (History::default(), Instant::now());
        history.add(1_000, counted(begin, 100, 1.0, 0), ProcessFigures::default());
        assert!(history.samples.is_empty(), "nothing to compare with");
        let ticks = rustix::param::clock_ticks_per_second();
        history.add(6_000, counted(begin + Duration::from_secs(5), 150, 3.5, ticks), ProcessFigures::default());
        let sample = history.samples[0].clone();
        assert!((sample.received_per_s - 10.0).abs() < 0.01 && (sample.cores_used - 0.5).abs() < 0.01, "{sample:?}");
        assert_eq!((sample.at_ms, sample.clients_connected), (6_000, 3));
        assert!(sample.ack_half_ms.is_some_and(|ms| (1.0..5.0).contains(&ms)), "one more, of 3 ms: {sample:?}");
        assert!(sample.ack_half_ms < sample.ack_most_ms);
        let helped = ThreadLoad { name: "shard-0".into(), cores_used: 0.4 };
        assert_eq!(history.threads, [helped], "a shard and its helper");
        for number in 2..HISTORY_SAMPLES_MAX as u64 + 10 {
            let at = begin + Duration::from_secs(5 * number);
            history.add(1_000 + 5_000 * number, counted(at, 150, 3.5, ticks), ProcessFigures::default());
        }
        assert_eq!(history.samples.len(), HISTORY_SAMPLES_MAX);
        assert_eq!(history.samples[HISTORY_SAMPLES_MAX - 1].ack_half_ms, None, "nothing was acknowledged");
        let last = history.samples[HISTORY_SAMPLES_MAX - 1].at_ms;
        assert_eq!(last, 1_000 + 5_000 * (HISTORY_SAMPLES_MAX as u64 + 9));
    }

    #[test]
    fn a_thread_is_read_whatever_it_is_called() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 5 0 3000";
        assert_eq!(parse_thread(stat), Some(("a) (b c".into(), 300)));
        assert_eq!(parse_thread(""), None);
        assert!(!thread_times().is_empty());
    }
}
