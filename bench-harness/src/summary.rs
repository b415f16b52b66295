//! What a run came to: a line for each cell and broker, each figure with its median, least and most. Documents and plots are
//! made from this alone.
//!
//! A results file holds every round and stays on the machine that measured; this is small enough for the repository
//! (`docs/measurements/DATE.json`), so that tables and plots can be made anew when the way of showing them changes.

use crate::broker::BUILT_IN;
use crate::floor;
use crate::index::IndexPoint;
use crate::machine::Machine;
use crate::results::{Bottleneck, Results};
use crate::stats::Spread;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that a document shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Where.
    pub machine: Machine,
    /// Brokers by name: what they call themselves, or why they are missing.
    pub brokers: BTreeMap<String, Result<String, String>>,
    /// The subscription index by itself.
    pub index: Vec<IndexPoint>,
    /// One for each cell and broker.
    pub outcomes: Vec<Outcome>,
}

/// All rounds of one broker in one cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The cell's name.
    pub cell: String,
    /// The broker's name.
    pub broker: String,
    /// How many there were.
    pub rounds: usize,
    /// What went wrong in the first round where something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Who was busy all the time in most rounds.
    #[serde(default)]
    pub bottleneck: Bottleneck,
    /// By their names in `results::metric`: median, least, most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, [f64; 3]>,
}

impl Summary {
    /// Of all rounds of a results file.
    pub(crate) fn of(results: &Results) -> Self {
        let mut places: Vec<(&str, &str)> = Vec::new();
        for one in &results.measurements {
            let place = (one.cell.as_str(), one.broker.as_str());
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let outcomes = places.into_iter().map(|(cell, broker)| outcome(results, cell, broker)).collect();
        let Results { machine, brokers, index, .. } = results.clone();
        Self { machine, brokers, index, outcomes }
    }

    /// From a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| said(&error))?;
        serde_json::from_str(&text).map_err(|error| said(&error))
    }

    /// As JSON, an outcome a line, so that a difference between two files can be read.
    pub(crate) fn json(&self) -> String {
        fn value(of: &impl Serialize) -> String {
            serde_json::to_string(of).expect("a summary is plain data")
        }
        let lines = |rows: Vec<String>| rows.join(",\n");
        format!(
            "{{\n\"machine\": {},\n\"brokers\": {},\n\"index\": [\n{}\n],\n\"outcomes\": [\n{}\n]\n}}\n",
            value(&self.machine),
            value(&self.brokers),
            lines(self.index.iter().map(value).collect()),
            lines(self.outcomes.iter().map(value).collect())
        )
    }

    /// What came of a broker in a cell.
    pub(crate) fn outcome(&self, cell: &str, broker: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|one| one.cell == cell && one.broker == broker)
    }

    /// Whether anybody was measured in a cell.
    pub(crate) fn has_cell(&self, cell: &str) -> bool {
        self.outcomes.iter().any(|one| one.cell == cell)
    }

    /// A figure.
    pub(crate) fn spread(&self, cell: &str, broker: &str, metric: &str) -> Option<Spread> {
        let outcome = self.outcome(cell, broker)?;
        let [median, min, max] = *outcome.values.get(metric)?;
        Some(Spread { median, min, max, rounds: outcome.rounds })
    }

    /// What is wrong with a broker in a cell: it has no speed there.
    pub(crate) fn fault(&self, cell: &str, broker: &str) -> Option<&str> {
        self.outcome(cell, broker)?.fault.as_deref()
    }

    /// Everybody who was measured: in the order of the registry, added ones behind, the floor last.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = BUILT_IN.map(str::to_owned).to_vec();
        let measured = self.outcomes.iter().map(|one| &one.broker);
        for name in self.brokers.keys().chain(measured) {
            if !names.contains(name) && name != floor::NAME {
                names.push(name.clone());
            }
        }
        names.push(floor::NAME.to_owned());
        names.retain(|name| self.outcomes.iter().any(|one| one.broker == *name));
        names
    }
}

fn outcome(results: &Results, cell: &str, broker: &str) -> Outcome {
    let mut values = BTreeMap::new();
    for name in results.figures(cell, broker).flat_map(|figures| figures.values.keys()) {
        if let Some(spread) = results.spread(cell, broker, name) {
            values.insert(name.clone(), [spread.median, spread.min, spread.max].map(short));
        }
    }
    let count = |which: Bottleneck| results.figures(cell, broker).filter(|one| one.bottleneck == which).count();
    let kinds = [Bottleneck::Neither, Bottleneck::Broker, Bottleneck::Generator, Bottleneck::Both];
    Outcome {
        cell: cell.to_owned(),
        broker: broker.to_owned(),
        rounds: results.of(cell, broker).count(),
        fault: results.fault(cell, broker),
        bottleneck: kinds.into_iter().max_by_key(|kind| count(*kind)).unwrap_or_default(),
        values,
    }
}

/// Six digits that count: more than any measurement has.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Figures, Measurement, Verdict, metric};

    fn measured(broker: &str, round: u32, cpu_us: f64, faults: &[&str]) -> Measurement {
        let figures = Figures {
            values: [(metric::CPU_US.to_owned(), cpu_us)].into(),
            verdict: Verdict { expected: 9, faults: faults.iter().map(|fault| (*fault).to_owned()).collect() },
            bottleneck: Bottleneck::Broker,
        };
        Measurement { cell: "a".to_owned(), broker: broker.to_owned(), round, outcome: Ok(figures) }
    }

    #[test]
    fn rounds_become_one_line_that_survives_its_file() {
        let mut results = Results::default();
        results.brokers.insert("gone".to_owned(), Err("not installed".to_owned()));
        results.measurements = vec![
            measured("dunlin", 1, 1.234_567_89, &[]),
            measured("zebra", 1, 7.0, &["3 lost"]),
            measured("dunlin", 2, 5.0, &[]),
            measured("dunlin", 3, 3.0, &[]),
            Measurement { outcome: Err("it ended".to_owned()), ..measured("apple", 1, 0.0, &[]) },
        ];
        let summary = Summary::of(&results);
        assert_eq!(summary.outcomes.len(), 3);
        let own = summary.outcome("a", "dunlin").expect("measured");
        assert_eq!(
            (own.rounds, own.bottleneck, own.values[metric::CPU_US]),
            (3, Bottleneck::Broker, [3.0, 1.23457, 5.0])
        );
        assert_eq!((summary.fault("a", "zebra"), summary.fault("a", "apple")), (Some("3 lost"), Some("it ended")));
        assert_eq!(summary.names(), ["dunlin", "zebra", "apple"]);
        assert!(summary.has_cell("a") && !summary.has_cell("b"));
        let again: Summary = serde_json::from_str(&summary.json()).expect("its own JSON");
        assert_eq!(again, summary);
        assert_eq!(summary.json().lines().filter(|line| line.contains("\"cell\"")).count(), 3, "an outcome a line");
    }
}
