//! What was measured, as plain values in a JSON file.
//!
//! A file grows: measuring a cell anew replaces what it holds of that cell and broker and leaves everything else, so that
//! a long programme can be run in pieces. Tables and plots are made from the file alone.

use crate::index::IndexPoint;
use crate::machine::Machine;
use crate::stats::Spread;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that was measured on one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Where.
    pub machine: Machine,
    /// Brokers by name: what they call themselves, or why they are missing.
    pub brokers: BTreeMap<String, Result<String, String>>,
    /// Round by round.
    pub measurements: Vec<Measurement>,
    /// The subscription index by itself.
    #[serde(default)]
    pub index: Vec<IndexPoint>,
}

/// One cell, one broker, one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The cell's name.
    pub cell: String,
    /// The broker's name.
    pub broker: String,
    /// Which of its choices was measured, in words; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// From 1.
    pub round: u32,
    /// What came of it.
    pub outcome: Result<Figures, String>,
}

/// What one round showed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// By their names in [`metric`].
    pub values: BTreeMap<String, f64>,
    /// Whether every message came, once and in its place.
    pub verdict: Verdict,
    /// Who was busy all the time.
    pub bottleneck: Bottleneck,
}

/// What became of the messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Owed to subscribers.
    pub expected: u64,
    /// What is wrong, in words; empty if nothing is.
    pub faults: Vec<String>,
}

/// Who was busy all the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bottleneck {
    /// The broker used 95 % of its cores or more.
    Broker,
    /// The generator used 95 % of its cores or more.
    Generator,
    /// Each of them did: who was slower cannot be told.
    Both,
    /// Neither: the load was limited by its own schedule, or by waiting.
    #[default]
    Neither,
}

/// Names of figures.
pub(crate) mod metric {
    /// Broker CPU microseconds a delivered message; an acknowledged one, where messages are kept for who is away.
    pub(crate) const CPU_US: &str = "cpu_us_per_message";
    /// Delivered messages a second, or acknowledged ones.
    pub(crate) const PER_SECOND: &str = "messages_per_s";
    /// Share of its cores that the broker used.
    pub(crate) const BROKER_SHARE: &str = "broker_share";
    /// Share of its core that the generator used.
    pub(crate) const GENERATOR_SHARE: &str = "generator_share";
    /// Latency: half are shorter.
    pub(crate) const P50_US: &str = "latency_p50_us";
    /// Latency: 99 of 100 are shorter.
    pub(crate) const P99_US: &str = "latency_p99_us";
    /// Latency: 999 of 1,000 are shorter.
    pub(crate) const P99_9_US: &str = "latency_p99_9_us";
    /// From the start until all that was owed had come.
    pub(crate) const COMPLETE_MS: &str = "complete_ms";
    /// Growth of resident memory by one idle client.
    pub(crate) const IDLE_BYTES: &str = "rss_bytes_per_idle_client";
    /// Broker CPU microseconds an accepted connection.
    pub(crate) const ACCEPT_US: &str = "cpu_us_per_connection";
    /// Connections a second while they came as fast as they could.
    pub(crate) const CONNECTS_PER_SECOND: &str = "connections_per_s";
    /// 99th percentile of others' latency in quiet seconds, in the same run.
    pub(crate) const OTHERS_QUIET_P99_US: &str = "others_quiet_p99_us";
    /// 99th percentile of others' latency in the seconds of the sweep.
    pub(crate) const OTHERS_SWEEP_P99_US: &str = "others_sweep_p99_us";
    /// 99th percentile of others' latency while a fleet came back: over all their messages of that time.
    pub(crate) const OTHERS_STORM_P99_US: &str = "others_storm_p99_us";
    /// The 99th percentile of the worst second of it.
    pub(crate) const OTHERS_WORST_P99_US: &str = "others_storm_worst_second_p99_us";
    /// How many times the quiet 99th percentile that of the storm is, in the same round.
    pub(crate) const OTHERS_TIMES: &str = "others_storm_times_quiet";
    /// 99th percentile of others' latency from the moment when a fleet left until it was quiet again.
    pub(crate) const OTHERS_LEAVING_P99_US: &str = "others_leaving_p99_us";
    /// From a fleet's first connect until the last of it was back.
    pub(crate) const STORM_MS: &str = "storm_ms";
    /// 99th percentile of others' latency while a fleet logged in for the first time.
    pub(crate) const OTHERS_FIRST_P99_US: &str = "others_first_logins_p99_us";
    /// How many times the quiet one that is.
    pub(crate) const OTHERS_FIRST_TIMES: &str = "others_first_logins_times_quiet";
    /// First logins a second.
    pub(crate) const FIRST_PER_SECOND: &str = "first_logins_per_s";
    /// Broker CPU microseconds a connection without name and password, of the clients that have some at other times.
    pub(crate) const PLAIN_US: &str = "cpu_us_per_plain_connection";
    /// What a login adds to that where the broker has seen the same one before.
    pub(crate) const LOGIN_US: &str = "cpu_us_per_later_login";
    /// 99th percentile of others' latency beside a full load.
    pub(crate) const OTHERS_BESIDE_P99_US: &str = "others_beside_p99_us";
    /// How many times as long it is as in quiet seconds of the same run.
    pub(crate) const OTHERS_BESIDE_TIMES: &str = "others_p99_times";
    /// Bytes that the broker wrote to disks, for each acknowledged message.
    pub(crate) const WRITTEN_BYTES: &str = "bytes_written_per_message";
    /// How many times as many they are as the message's payload.
    pub(crate) const AMPLIFICATION: &str = "write_amplification";
    /// Times that a thread of the broker woke up, for each delivered message.
    pub(crate) const WAKES_PER_MESSAGE: &str = "wakes_per_message";
    /// Times a second that a thread of the broker woke up while nothing happened.
    pub(crate) const WAKES_PER_SECOND: &str = "wakes_per_s";
    /// Milliseconds of broker CPU a minute while nothing happened.
    pub(crate) const IDLE_CPU_MS: &str = "cpu_ms_per_minute";

    /// Whether it says how busy somebody was, which is neither good nor bad.
    pub(crate) fn is_a_share(name: &str) -> bool {
        [BROKER_SHARE, GENERATOR_SHARE].contains(&name)
    }

    /// Whether the larger of two is the better one.
    pub(crate) fn more_is_better(name: &str) -> bool {
        [PER_SECOND, CONNECTS_PER_SECOND, FIRST_PER_SECOND].contains(&name)
    }
}

impl Results {
    /// From a file; empty if there is none.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Into a file, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).expect("results are plain data") + "\n";
        let beside = path.with_extension("json.new");
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, path))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Takes what was measured of a cell in the place of what there is of the same cell and brokers.
    pub(crate) fn replace(&mut self, measured: Vec<Measurement>) {
        let again = |old: &Measurement| measured.iter().any(|new| (&new.cell, &new.broker) == (&old.cell, &old.broker));
        self.measurements.retain(|old| !again(old));
        self.measurements.extend(measured);
    }

    /// The rounds of a broker in a cell, those of each of its choices by themselves, in the order of measuring.
    pub(crate) fn of(&self, cell: &str, broker: &str) -> Vec<Rounds<'_>> {
        let mut all: Vec<Rounds<'_>> = Vec::new();
        for one in self.measurements.iter().filter(|one| one.cell == cell && one.broker == broker) {
            match all.iter_mut().find(|rounds| rounds.choice() == one.choice.as_deref()) {
                Some(rounds) => rounds.0.push(one),
                None => all.push(Rounds(vec![one])),
            }
        }
        all
    }
}

/// All rounds of one broker in one cell with one of its choices: one at least.
pub(crate) struct Rounds<'a>(Vec<&'a Measurement>);

impl<'a> Rounds<'a> {
    /// In words.
    pub(crate) fn choice(&self) -> Option<&'a str> {
        self.0.first()?.choice.as_deref()
    }

    /// How many there were.
    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Those that have figures.
    pub(crate) fn figures(&self) -> impl Iterator<Item = &'a Figures> {
        self.0.iter().filter_map(|one| one.outcome.as_ref().ok())
    }

    /// A figure over all of them.
    pub(crate) fn spread(&self, metric: &str) -> Option<Spread> {
        Spread::of(self.figures().filter_map(|figures| figures.values.get(metric).copied()))
    }

    /// What is wrong: the first failure or fault.
    pub(crate) fn fault(&self) -> Option<String> {
        self.0.iter().find_map(|one| match &one.outcome {
            Err(problem) => Some(problem.clone()),
            Ok(figures) if !figures.verdict.faults.is_empty() => Some(figures.verdict.faults.join(", ")),
            Ok(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(cell: &str, broker: &str, cpu_us: f64) -> Measurement {
        let values = BTreeMap::from([(metric::CPU_US.to_owned(), cpu_us)]);
        Measurement {
            cell: cell.to_owned(),
            broker: broker.to_owned(),
            choice: None,
            round: 1,
            outcome: Ok(Figures { values, ..Figures::default() }),
        }
    }

    #[test]
    fn measuring_again_replaces_that_cell_of_that_broker_only() {
        let mut results = Results::default();
        results.replace(vec![measured("a", "x", 1.0), measured("a", "y", 2.0), measured("b", "x", 3.0)]);
        results.replace(vec![measured("a", "x", 9.0), measured("a", "x", 11.0)]);
        let median = |cell, broker| results.of(cell, broker)[0].spread(metric::CPU_US).map(|spread| spread.median);
        assert_eq!((median("a", "x"), median("a", "y"), median("b", "x")), (Some(10.0), Some(2.0), Some(3.0)));
    }

    #[test]
    fn results_survive_their_file() {
        let path = std::env::temp_dir().join(format!("bench-results-{}.json", std::process::id()));
        let mut results = Results::default();
        results.brokers.insert("gone".to_owned(), Err("not installed".to_owned()));
        results.replace(vec![
            measured("a", "x", 1.5),
            Measurement { outcome: Err("it ended".to_owned()), ..measured("a", "z", 0.0) },
        ]);
        results.write(&path).expect("written");
        assert_eq!(Results::read(&path).expect("read"), results);
        assert_eq!(results.of("a", "z")[0].fault().as_deref(), Some("it ended"));
        std::fs::remove_file(&path).expect("ours");
        assert_eq!(Results::read(&path), Ok(Results::default()), "no file: nothing measured yet");
    }
}
