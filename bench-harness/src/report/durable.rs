//! What it costs that an acknowledged message is on a disk: everybody's figures, and what was to be reached against whom.
//!
//! A broker whose acknowledgement does not mean a disk stands in the table with a number that leads to that; it is compared with in no
//! aim but in that of dunlin's own memory store, which is there to be compared with.

use super::tables::{self, DUNLIN, NOTHING, Notes, Row, number};
use crate::broker::{IN_MEMORY, REDIS};
use crate::cells::{self, Section};
use crate::results::metric;
use crate::stats::Spread;
use crate::summary::Summary;
use std::fmt::Write as _;

/// All places by their names.
pub(super) fn all(summary: &Summary) -> Vec<(String, String)> {
    let beside = [
        ("p99 before, us", metric::OTHERS_QUIET_P99_US),
        ("p99 beside, us", metric::OTHERS_BESIDE_P99_US),
        ("times", metric::OTHERS_BESIDE_TIMES),
        ("durable messages acknowledged a second meanwhile", metric::PER_SECOND),
    ];
    let beside = beside.map(|(label, metric)| Row::new(label, cells::BESIDE, metric));
    [
        ("durable", table(summary, &rows(&FIGURES))),
        ("durable-beside", table(summary, &beside)),
        ("durable-aims", aims(summary)),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .to_vec()
}

/// What is shown of durable messages.
const FIGURES: [(&str, &str); 4] = [
    ("acknowledged a second", metric::PER_SECOND),
    ("CPU us a message", metric::CPU_US),
    ("bytes written a message", metric::WRITTEN_BYTES),
    ("write amplification", metric::AMPLIFICATION),
];

/// What a user asks first: how many, and what each costs.
pub(super) fn in_short(summary: &Summary) -> String {
    table(summary, &rows(&FIGURES[..3]))
}

fn rows(figures: &[(&str, &'static str)]) -> Vec<Row> {
    let cells = cells::all().into_iter().filter(|cell| cell.section == Section::Durable);
    let of_one = |cell: cells::Cell| {
        let row =
            |(label, metric): &(&str, &'static str)| Row::new(&format!("{}: {label}", cell.title), &cell.name, metric);
        figures.iter().map(row).collect::<Vec<_>>()
    };
    cells.flat_map(of_one).collect()
}

fn table(summary: &Summary, rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| summary.has_cell(&row.cell)).collect();
    if rows.is_empty() {
        return NOTHING.to_owned();
    }
    let columns = tables::columns(summary, &rows);
    let mut text = format!("| figure | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    let mut notes = Notes::default();
    for row in rows {
        let _ = write!(text, "| {} |", row.label);
        for column in &columns {
            let _ = write!(text, " {} |", tables::place(summary, row, column, None, &mut notes));
        }
        text.push('\n');
    }
    text + &notes.text()
}

/// What is held against each other.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// One is to be so many times the other, or more.
    Times(f64),
    /// One is to be so many times the other, or less.
    TimesAtMost(f64),
    /// One is to be so much more than the other, or less.
    MoreAtMost(f64),
}

/// Something that was to be reached: dunlin's figure in a cell, and what it is held against.
struct Aim {
    words: String,
    cell: String,
    metric: &'static str,
    against: (String, &'static str),
    wanted: Wanted,
}

impl Aim {
    /// In the same cell.
    fn new(words: &str, (in_flight, metric): (u32, &'static str), other: &'static str, wanted: Wanted) -> Self {
        let cell = cells::durable_name(in_flight);
        let against = (cell.clone(), other);
        Self { words: format!("{in_flight} in flight: {words} {other}"), cell, metric, against, wanted }
    }

    /// What was reached, with the least and the most that some round of the one beside some of the other comes to.
    fn reached(&self, summary: &Summary) -> Option<Spread> {
        let of = |cell: &str, name: &str| {
            summary.spread(cell, name, self.metric).filter(|_| summary.fault(cell, name).is_none())
        };
        let (own, other) = (of(&self.cell, DUNLIN)?, of(&self.against.0, self.against.1)?);
        let held = |own: f64, other: f64| match self.wanted {
            Wanted::Times(_) | Wanted::TimesAtMost(_) => own / other,
            Wanted::MoreAtMost(_) => own - other,
        };
        Some(Spread {
            median: held(own.median, other.median),
            min: held(own.min, other.max),
            max: held(own.max, other.min),
            rounds: own.rounds.min(other.rounds),
        })
    }
}

impl Wanted {
    fn words(self) -> String {
        match self {
            Self::Times(least) => format!(">= {} times", number(least)),
            Self::TimesAtMost(most) => format!("<= {} times", number(most)),
            Self::MoreAtMost(most) => format!("<= {} more", number(most)),
        }
    }

    fn is_kept(self, reached: f64) -> bool {
        match self {
            Self::Times(least) => reached >= least,
            Self::TimesAtMost(most) | Self::MoreAtMost(most) => reached <= most,
        }
    }
}

fn list() -> Vec<Aim> {
    let (rate, cpu) = (metric::PER_SECOND, metric::CPU_US);
    let (a_second, of_cpu) = ("acknowledged a second, against", "CPU us a message, against");
    let mut all = Vec::new();
    for (in_flight, times) in [(64, 1.3), (1_000, 1.8), (10_000, 1.8)] {
        all.push(Aim::new(a_second, (in_flight, rate), REDIS, Wanted::Times(times)));
        all.push(Aim::new(of_cpu, (in_flight, cpu), REDIS, Wanted::TimesAtMost(0.7)));
    }
    all.extend([
        Aim::new(a_second, (1_000, rate), "rabbitmq", Wanted::Times(10.0)),
        Aim::new(a_second, (1_000, rate), "nats", Wanted::Times(40.0)),
        Aim::new(of_cpu, (64, cpu), IN_MEMORY, Wanted::MoreAtMost(2.5)),
        Aim::new(of_cpu, (1_000, cpu), IN_MEMORY, Wanted::MoreAtMost(0.25)),
    ]);
    let on_shards = |threads| cells::on_shards_name(cells::SHARDS_DURABLE, threads);
    all.push(Aim {
        words: "1000 in flight: acknowledged a second on two shards, against one".to_owned(),
        cell: on_shards(2),
        metric: rate,
        against: (on_shards(1), DUNLIN),
        wanted: Wanted::Times(1.7),
    });
    all
}

fn aims(summary: &Summary) -> String {
    let mut text = String::new();
    let mut row = |words: &str, wanted: Wanted, reached: Option<Spread>| {
        let (told, is_kept) = match reached {
            Some(all) => {
                let is_kept = if wanted.is_kept(all.median) { "yes" } else { "**no**" };
                (format!("{} ({}-{})", number(all.median), number(all.min), number(all.max)), is_kept)
            }
            None => ("-".to_owned(), "not measured"),
        };
        let _ = writeln!(text, "| {words} | {} | {told} | {is_kept} |", wanted.words());
    };
    let aims = list();
    let beside = summary.spread(cells::BESIDE, DUNLIN, metric::OTHERS_BESIDE_TIMES);
    let beside = beside.filter(|_| summary.fault(cells::BESIDE, DUNLIN).is_none());
    if beside.is_none() && aims.iter().all(|aim| aim.reached(summary).is_none()) {
        return NOTHING.to_owned();
    }
    for aim in aims {
        row(&aim.words, aim.wanted, aim.reached(summary));
    }
    row("others' p99 beside durable messages, against before", Wanted::TimesAtMost(1.2), beside);
    format!("| aim | wanted | reached | kept |\n|---|---|---|---|\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Outcome;

    fn outcome(cell: &str, broker: &str, values: &[(&str, [f64; 3])]) -> Outcome {
        Outcome {
            cell: cell.to_owned(),
            broker: broker.to_owned(),
            rounds: 3,
            values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            ..Outcome::default()
        }
    }

    fn place(name: &str, outcomes: Vec<Outcome>) -> String {
        let summary = Summary { outcomes, ..Summary::default() };
        all(&summary).into_iter().find(|(known, _)| known == name).expect("a place").1
    }

    #[test]
    fn an_aim_is_kept_by_the_medians_and_missed_by_them() {
        let both = |own: f64, redis: f64| {
            let rate = |value: f64| [(metric::PER_SECOND, [value, value * 0.9, value * 1.2])];
            vec![outcome("durable-64", DUNLIN, &rate(own)), outcome("durable-64", REDIS, &rate(redis))]
        };
        let row = |outcomes| place("durable-aims", outcomes).lines().nth(2).expect("a row").to_owned();
        let words = "| 64 in flight: acknowledged a second, against redis | >= 1.30 times |";
        assert_eq!(row(both(130e3, 100e3)), format!("{words} 1.30 (0.97-1.73) | yes |"));
        assert_eq!(row(both(120e3, 100e3)), format!("{words} 1.20 (0.90-1.60) | **no** |"));
        let mut lossy = both(130e3, 100e3);
        lossy[0].fault = Some("3 lost".to_owned());
        lossy.push(outcome(cells::BESIDE, DUNLIN, &[(metric::OTHERS_BESIDE_TIMES, [1.5, 1.1, 1.9])]));
        assert_eq!(row(lossy.clone()), format!("{words} - | not measured |"), "what loses messages has no speed");
        assert!(place("durable-aims", lossy).contains("| <= 1.20 times | 1.50 (1.10-1.90) | **no** |"));
        assert_eq!(place("durable-aims", Vec::new()), NOTHING);
    }

    #[test]
    fn what_the_disk_costs_is_the_difference_to_the_memory_store() {
        let cpu = |value: f64| [(metric::CPU_US, [value; 3])];
        let outcomes = vec![outcome("durable-1000", DUNLIN, &cpu(0.75)), outcome("durable-1000", IN_MEMORY, &cpu(0.4))];
        let text = place("durable-aims", outcomes);
        assert!(text.contains("against dunlin-memory | <= 0.25 more | 0.35 (0.35-0.35) | **no** |"), "{text}");
    }

    #[test]
    fn two_shards_are_held_against_one() {
        let rate = |value: f64| [(metric::PER_SECOND, [value; 3])];
        let on = |threads, value| outcome(&cells::on_shards_name(cells::SHARDS_DURABLE, threads), DUNLIN, &rate(value));
        let text = place("durable-aims", vec![on(1, 100.0), on(2, 180.0)]);
        assert!(text.contains("on two shards, against one | >= 1.70 times | 1.80 (1.80-1.80) | yes |"), "{text}");
    }

    #[test]
    fn who_does_not_sync_is_shown_with_that() {
        let written = [(metric::WRITTEN_BYTES, [140.0; 3])];
        let mut unsynced = outcome("durable-64", "mosquitto", &written);
        unsynced.choices.insert(metric::WRITTEN_BYTES.to_owned(), "not synced: at the end".to_owned());
        let text = place("durable", vec![outcome("durable-64", DUNLIN, &written), unsynced]);
        assert!(text.contains("bytes written a message | 140 (140-140) | 140 (140-140) (1) |"), "{text}");
        assert!(text.ends_with("\n\n1. mosquitto: not synced: at the end\n"), "{text}");
    }
}
