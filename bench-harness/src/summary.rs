//! What a run came to: a line for each cell and broker, each figure with its median, least and most. Documents and plots are
//! made from this alone.
//!
//! A results file holds every round and stays on the machine that measured; this is small enough for the repository
//! (`docs/measurements/DATE.json`), so that tables and plots can be made anew when the way of showing them changes.

use crate::broker::BUILT_IN;
use crate::cells;
use crate::floor;
use crate::index::IndexPoint;
use crate::machine::Machine;
use crate::results::{Bottleneck, Results, Rounds, metric};
use crate::stats::Spread;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    /// By the same names, in words: which of the broker's choices the figure is of, where it has some. It is the best of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choices: BTreeMap<String, String>,
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

    /// Which of its choices a broker's figure is of, in words.
    pub(crate) fn choice(&self, cell: &str, broker: &str, metric: &str) -> Option<&str> {
        self.outcome(cell, broker)?.choices.get(metric).map(String::as_str)
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

/// Each figure is that of the choice that does best in it. One with a fault has figures only where every other has one, too.
fn outcome(results: &Results, cell: &str, broker: &str) -> Outcome {
    let all = results.of(cell, broker);
    let is_whole = all.iter().any(|rounds| rounds.fault().is_none());
    let takes_part = |rounds: &&Rounds<'_>| !is_whole || rounds.fault().is_none();
    let candidates: Vec<&Rounds<'_>> = all.iter().filter(takes_part).collect();
    let headline = cells::headline(cell).unwrap_or(metric::CPU_US);
    let Some(first) = best(&candidates, headline).or(candidates.first().copied()) else {
        unreachable!("an outcome is asked for where there is a measurement");
    };
    let (mut values, mut choices) = (BTreeMap::new(), BTreeMap::new());
    let names: BTreeSet<&String> =
        candidates.iter().flat_map(|rounds| rounds.figures()).flat_map(|figures| figures.values.keys()).collect();
    for name in names {
        // Who was how busy belongs to the figure that the cell is about.
        let of = if metric::is_a_share(name) { Some(first) } else { best(&candidates, name) };
        let Some((rounds, spread)) = of.and_then(|rounds| Some((rounds, rounds.spread(name)?))) else { continue };
        values.insert(name.clone(), [spread.median, spread.min, spread.max].map(short));
        choices.extend(rounds.choice().map(|words| (name.clone(), words.to_owned())));
    }
    let count = |which: Bottleneck| first.figures().filter(|one| one.bottleneck == which).count();
    let kinds = [Bottleneck::Neither, Bottleneck::Broker, Bottleneck::Generator, Bottleneck::Both];
    Outcome {
        cell: cell.to_owned(),
        broker: broker.to_owned(),
        rounds: first.count(),
        fault: first.fault(),
        bottleneck: kinds.into_iter().max_by_key(|kind| count(*kind)).unwrap_or_default(),
        values,
        choices,
    }
}

/// The one of a broker's choices whose median is best.
fn best<'a, 'b>(candidates: &[&'b Rounds<'a>], name: &str) -> Option<&'b Rounds<'a>> {
    let medians = candidates.iter().filter_map(|rounds| Some((rounds.spread(name)?.median, *rounds)));
    let by_median = |a: &(f64, &Rounds<'_>), b: &(f64, &Rounds<'_>)| a.0.total_cmp(&b.0);
    let best = if metric::more_is_better(name) { medians.max_by(by_median) } else { medians.min_by(by_median) };
    best.map(|(_, rounds)| rounds)
}

/// Six digits that count: more than any measurement has.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Figures, Measurement, Verdict};

    fn measured(broker: &str, round: u32, cpu_us: f64, faults: &[&str]) -> Measurement {
        let figures = Figures {
            values: [(metric::CPU_US.to_owned(), cpu_us)].into(),
            verdict: Verdict { expected: 9, faults: faults.iter().map(|fault| (*fault).to_owned()).collect() },
            bottleneck: Bottleneck::Broker,
        };
        Measurement { cell: "a".to_owned(), broker: broker.to_owned(), choice: None, round, outcome: Ok(figures) }
    }

    #[test]
    fn of_a_brokers_choices_each_figure_is_the_better_one_and_says_which() {
        let one = |choice: &str, round, cpu_us: f64, per_second: f64, faults: &[&str]| {
            let mut one = measured("mosquitto", round, cpu_us, faults);
            one.choice = Some(choice.to_owned());
            let figures = one.outcome.as_mut().expect("figures");
            figures.values.insert(metric::PER_SECOND.to_owned(), per_second);
            one
        };
        let mut results = Results::default();
        results.replace(vec![
            one("on", 1, 4.0, 900.0, &[]),
            one("off", 1, 5.0, 2_000.0, &[]),
            one("on", 2, 6.0, 1_100.0, &[]),
            one("off", 2, 7.0, 3_000.0, &[]),
        ]);
        let both = Summary::of(&results);
        let outcome = both.outcome("a", "mosquitto").expect("measured");
        assert_eq!((outcome.rounds, outcome.values[metric::CPU_US]), (2, [5.0, 4.0, 6.0]));
        assert_eq!(outcome.values[metric::PER_SECOND], [2_500.0, 2_000.0, 3_000.0]);
        let choice = |summary: &Summary, name| summary.choice("a", "mosquitto", name).map(str::to_owned);
        assert_eq!(choice(&both, metric::CPU_US).as_deref(), Some("on"));
        assert_eq!(choice(&both, metric::PER_SECOND).as_deref(), Some("off"));

        // Whoever loses messages with one of them is used with the other.
        results.measurements.push(one("on", 3, 1.0, 9_000.0, &["3 lost"]));
        let rest = Summary::of(&results);
        assert_eq!(rest.fault("a", "mosquitto"), None);
        assert_eq!(choice(&rest, metric::CPU_US).as_deref(), Some("off"));
        results.measurements.push(one("off", 3, 1.0, 9_000.0, &["4 lost"]));
        assert_eq!(Summary::of(&results).fault("a", "mosquitto"), Some("3 lost"));
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
