//! The curves: which points belong to one, and the same as a table.

use super::tables::number;
use crate::cells::{self, Cell, Section, Series};
use crate::results::{Results, metric};
use crate::stats::Spread;
use std::fmt::Write as _;

/// A plot of lines.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Of its place in the document and of its file.
    pub name: String,
    /// Above the plot.
    pub title: String,
    /// Below the horizontal axis.
    pub x_label: String,
    /// Beside the vertical axis.
    pub y_label: String,
    /// Whether the axes are logarithmic.
    pub log: (bool, bool),
    /// A line each.
    pub lines: Vec<Line>,
}

/// A line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// Beside it.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, Spread)>,
}

/// A plot of dots: a row for each cell, a dot for each broker.
#[derive(Clone, Debug)]
pub struct Dots {
    /// Above the plot.
    pub title: String,
    /// Below the axis.
    pub x_label: String,
    /// Rows from top to bottom: label, and each broker's figure.
    pub rows: Vec<(String, Vec<(String, Spread)>)>,
}

/// All curves; one that nothing is known of has no lines.
pub fn all(results: &Results) -> Vec<Curve> {
    let describe = |name: &str, title: &str, x_label: &str, y_label: &str, log: (bool, bool)| Curve {
        name: name.to_owned(),
        title: title.to_owned(),
        x_label: x_label.to_owned(),
        y_label: y_label.to_owned(),
        log,
        lines: Vec::new(),
    };
    let cpu = "broker CPU µs a message";
    vec![
        Curve {
            lines: lines(results, Series::Connections, metric::CPU_US, |_, y| y),
            ..describe(
                "scale-connections",
                "20,000 messages a second over more and more connections",
                "connections",
                cpu,
                (true, false),
            )
        },
        Curve {
            lines: index_lines(results),
            ..describe("scale-filters", "One match of the subscription index", "filters", "ns a match", (true, true))
        },
        Curve {
            lines: lines(results, Series::Memory, metric::IDLE_BYTES, |x, y| x * y / 1e6),
            ..describe(
                "scale-memory",
                "Growth of resident memory by idle clients with one subscription",
                "connections",
                "MB of RSS",
                (true, true),
            )
        },
        Curve {
            lines: shard_lines(results),
            ..describe(
                "scale-shards",
                "Broker and generator together on one core, and on two",
                "cores, and threads of each",
                "messages a second",
                (false, false),
            )
        },
        Curve {
            lines: lines(results, Series::FanOut, metric::CPU_US, |_, y| y),
            ..describe(
                "scale-fan-out",
                "One publisher, 8 messages in flight, more and more subscribers",
                "subscribers",
                "broker CPU µs a delivered message",
                (true, true),
            )
        },
    ]
}

/// CPU a message of the cells on one core.
pub fn headline(results: &Results) -> Option<Dots> {
    let cells = cells::all().into_iter().filter(|cell| cell.section == Section::OneCore);
    let row = |cell: Cell| {
        let brokers: Vec<(String, Spread)> = names(results)
            .into_iter()
            .filter(|name| results.fault(&cell.name, name).is_none())
            .filter_map(|name| Some((name.clone(), results.spread(&cell.name, &name, cell.headline)?)))
            .collect();
        (!brokers.is_empty()).then_some((cell.title, brokers))
    };
    let rows: Vec<_> = cells.filter_map(row).collect();
    (!rows.is_empty()).then(|| Dots {
        title: "Broker CPU a delivered message, one core, 64-byte payload".to_owned(),
        x_label: "microseconds (logarithmic; less is better; bars from least to most)".to_owned(),
        rows,
    })
}

impl Curve {
    /// The same as a table: a row for each point, a column for each line.
    pub fn table(&self) -> String {
        let mut xs: Vec<f64> = self.lines.iter().flat_map(|line| line.points.iter().map(|point| point.0)).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let mut text = format!("| {} ({}) |", self.x_label, self.y_label);
        let mut rule = "|---|".to_owned();
        for line in &self.lines {
            let _ = write!(text, " {} |", line.name);
            rule.push_str("---|");
        }
        let _ = writeln!(text, "\n{rule}");
        for x in xs {
            let _ = write!(text, "| {} |", if x < 1_000.0 { format!("{x}") } else { number(x) });
            for line in &self.lines {
                let point = line.points.iter().find(|point| point.0.total_cmp(&x).is_eq()).map(|point| point.1);
                let cell = point.map_or("-".to_owned(), |spread| {
                    if spread.rounds == 1 {
                        return number(spread.median);
                    }
                    format!("{} ({}-{})", number(spread.median), number(spread.min), number(spread.max))
                });
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
        text
    }
}

/// A line for each broker that has a point without a fault; `shown` turns a figure into what is drawn.
fn lines(results: &Results, series: Series, metric: &str, shown: impl Fn(f64, f64) -> f64) -> Vec<Line> {
    let line = |name: String| {
        let point = |cell: Cell| {
            let Section::Series(of, x) = cell.section else { return None };
            let spread = results.spread(&cell.name, &name, metric).filter(|_| of == series)?;
            results.fault(&cell.name, &name).is_none().then_some((x, map(spread, |y| shown(x, y))))
        };
        let points: Vec<_> = cells::all().into_iter().filter_map(point).collect();
        (!points.is_empty()).then_some(Line { name, points })
    };
    names(results).into_iter().filter_map(line).collect()
}

/// Of brokers that were measured with several threads: what `SHARDS_SHOWN` carries with each number of them.
fn shard_lines(results: &Results) -> Vec<Line> {
    let line = |name: String| {
        let point = |threads: usize| {
            let cell = cells::on_shards_name(cells::SHARDS_SHOWN, threads);
            let spread = results.spread(&cell, &name, metric::PER_SECOND)?;
            results.fault(&cell, &name).is_none().then_some((threads as f64, spread))
        };
        let points: Vec<_> = cells::SHARD_COUNTS.into_iter().filter_map(point).collect();
        (points.len() == cells::SHARD_COUNTS.len()).then_some(Line { name, points })
    };
    names(results).into_iter().filter_map(line).collect()
}

fn index_lines(results: &Results) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for point in &results.index {
        let name = format!("{} ({} hit{})", point.filters, point.hits, if point.hits == 1 { "" } else { "s" });
        let spread = Spread { median: point.ns_per_match, min: point.ns_per_match, max: point.ns_per_match, rounds: 1 };
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push((point.count, spread)),
            None => lines.push(Line { name, points: vec![(point.count, spread)] }),
        }
    }
    lines
}

fn names(results: &Results) -> Vec<String> {
    let mut names: Vec<String> = crate::broker::BUILT_IN.iter().map(|name| (*name).to_owned()).collect();
    for one in &results.measurements {
        if !names.contains(&one.broker) {
            names.push(one.broker.clone());
        }
    }
    names
}

fn map(spread: Spread, of: impl Fn(f64) -> f64) -> Spread {
    Spread { median: of(spread.median), min: of(spread.min), max: of(spread.max), rounds: spread.rounds }
}
