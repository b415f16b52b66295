//! The plots: what belongs to each, and the same as a table.

use super::tables::{Notes, Row, number};
use crate::cells::{self, Cell, Section, Series};
use crate::results::metric;
use crate::stats::Spread;
use crate::summary::Summary;
use std::fmt::Write as _;

/// A plot of lines.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// Of its place in the document and of its file.
    pub name: String,
    /// Above the plot: what it answers.
    pub title: String,
    /// Below the title: what was done.
    pub conditions: String,
    /// Below the horizontal axis.
    pub x_label: String,
    /// Above the vertical axis.
    pub y_label: String,
    /// Whether the axes are logarithmic.
    pub log: (bool, bool),
    /// One broker each, in the order of the legend.
    pub lines: Vec<Line>,
    /// Who was measured and has no line, with the reason.
    pub missing: Vec<String>,
}

/// A line of a plot.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// At its end.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, Spread)>,
    /// Why it ends before others do.
    pub ends: Option<String>,
    /// Where it failed between its points, and why.
    pub gaps: Vec<(f64, String)>,
}

/// A plot of dots: a row for each cell, a dot for each broker.
#[derive(Clone, Debug)]
pub(super) struct Dots {
    /// Above the plot: what it answers.
    pub title: String,
    /// Below the title: what was done.
    pub conditions: String,
    /// Below the axis.
    pub x_label: String,
    /// From top to bottom.
    pub rows: Vec<DotsRow>,
}

/// A cell in a plot of dots.
#[derive(Clone, Debug)]
pub(super) struct DotsRow {
    /// Its label.
    pub title: String,
    /// Who has a figure.
    pub brokers: Vec<(String, Spread)>,
    /// Who was measured and has none, and why.
    pub failed: Vec<(String, String)>,
}

/// What is drawn of a curve beside its lines.
struct Frame {
    name: &'static str,
    title: &'static str,
    conditions: &'static str,
    labels: (&'static str, &'static str),
    log: (bool, bool),
}

const CONNECTIONS: Frame = Frame {
    name: "scale-connections",
    title: "CPU time that a message costs as more clients are connected (less is better)",
    conditions: "20,000 messages a second in all, pairs of clients, QoS 0, broker on one core",
    labels: ("connected clients", "microseconds of broker CPU a message"),
    log: (true, false),
};
const FILTERS: Frame = Frame {
    name: "scale-filters",
    title: "How long dunlin looks for a message's subscribers (less is better)",
    conditions: "The subscription index by itself, one core; a hit is a filter that matches the message's topic",
    labels: ("topic filters in the index", "nanoseconds a message"),
    log: (true, true),
};
const MEMORY: Frame = Frame {
    name: "scale-memory",
    title: "Memory that one idle client takes in the broker (less is better)",
    conditions: "Clients with one subscription each that send nothing; growth of the broker's resident memory",
    labels: ("connected clients", "bytes a client"),
    log: (true, false),
};
const SHARDS: Frame = Frame {
    name: "scale-shards",
    title: "Messages a second on one core and on two (more is better)",
    conditions: "500 pairs, QoS 0, 16 in flight; broker and load generator share the cores, with a thread a core each",
    labels: ("cores", "messages a second"),
    log: (false, false),
};
const FAN_OUT: Frame = Frame {
    name: "scale-fan-out",
    title: "CPU time of one delivery as a topic has more subscribers (less is better)",
    conditions: "One publisher, 8 messages in flight, QoS 0, broker on one core",
    labels: ("subscribers", "microseconds of broker CPU a delivered message"),
    log: (true, true),
};

impl Frame {
    fn around(&self, lines: Vec<Line>, missing: Vec<String>) -> Curve {
        let (x_label, y_label) = self.labels;
        Curve {
            name: self.name.to_owned(),
            title: self.title.to_owned(),
            conditions: self.conditions.to_owned(),
            x_label: x_label.to_owned(),
            y_label: y_label.to_owned(),
            log: self.log,
            lines,
            missing,
        }
    }
}

/// All curves; one that nothing is known of has no lines.
pub(super) fn all(summary: &Summary) -> Vec<Curve> {
    let series = |frame: &Frame, series, metric| {
        let (lines, missing) = lines(summary, series, metric);
        frame.around(lines, missing)
    };
    vec![
        series(&CONNECTIONS, Series::Connections, metric::CPU_US),
        FILTERS.around(index_lines(summary), Vec::new()),
        series(&MEMORY, Series::Memory, metric::IDLE_BYTES),
        shards(summary),
        series(&FAN_OUT, Series::FanOut, metric::CPU_US),
    ]
}

/// CPU a message of the cells on one core.
pub(super) fn headline(summary: &Summary) -> Option<Dots> {
    let cells = cells::all().into_iter().filter(|cell| cell.section == Section::OneCore);
    let row = |cell: Cell| {
        let (mut brokers, mut failed) = (Vec::new(), Vec::new());
        for name in summary.names() {
            if let Some(fault) = summary.fault(&cell.name, &name) {
                let fault = fault.to_owned();
                failed.push((name, fault));
            } else if let Some(spread) = summary.spread(&cell.name, &name, cell.headline) {
                brokers.push((name, spread));
            }
        }
        (!brokers.is_empty()).then_some(DotsRow { title: cell.title, brokers, failed })
    };
    let rows: Vec<_> = cells.filter_map(row).collect();
    (!rows.is_empty()).then(|| Dots {
        title: "CPU time that the broker spends on one delivered message (less is better)".to_owned(),
        conditions:
            "Broker on one core with one thread, 64-byte payload; a dot is the median, a bar the least and the most"
                .to_owned(),
        x_label: "microseconds (each step is ten times the one before)".to_owned(),
        rows,
    })
}

impl Curve {
    /// The same as a table: a row for each point, a column for each line; a point that failed has its reason below.
    pub(super) fn table(&self, summary: &Summary) -> String {
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
        let mut notes = Notes::default();
        for x in xs {
            let _ = write!(text, "| {} |", if x < 1_000.0 { format!("{x}") } else { number(x) });
            for line in &self.lines {
                let point = line.points.iter().find(|point| point.0.total_cmp(&x).is_eq()).map(|point| point.1);
                let _ = write!(text, " {} |", self.place(summary, line, x, point, &mut notes));
            }
            text.push('\n');
        }
        text + &notes.text()
    }

    fn place(&self, summary: &Summary, line: &Line, x: f64, point: Option<Spread>, notes: &mut Notes) -> String {
        let cell = point_name(&self.name, x);
        match point {
            Some(spread) if spread.rounds == 1 => number(spread.median),
            Some(spread) => {
                let mark =
                    cells::headline(&cell).map(|metric| notes.mark(summary, &Row::new("", &cell, metric), &line.name));
                let range = format!("({}-{})", number(spread.min), number(spread.max));
                format!("{} {range}{}", number(spread.median), mark.unwrap_or_default())
            }
            None => summary
                .fault(&cell, &line.name)
                .map_or("-".to_owned(), |fault| format!("- ({})", notes.number(&line.name, fault))),
        }
    }
}

/// The cell behind a point of a curve.
fn point_name(curve: &str, x: f64) -> String {
    format!("{}-{x}", curve.replace("scale-", "series-"))
}

/// A line for each broker that has a point without a fault, and who has none at all.
fn lines(summary: &Summary, series: Series, metric: &str) -> (Vec<Line>, Vec<String>) {
    let (mut lines, mut missing) = (Vec::new(), Vec::new());
    for name in summary.names() {
        let mut line = Line { name, points: Vec::new(), ends: None, gaps: Vec::new() };
        // Since the last point.
        let mut faults: Vec<(f64, String)> = Vec::new();
        for cell in cells::all() {
            let Section::Series(of, x) = cell.section else { continue };
            if of != series {
                continue;
            }
            if let Some(problem) = summary.fault(&cell.name, &line.name) {
                faults.push((x, problem.to_owned()));
            } else if let Some(spread) = summary.spread(&cell.name, &line.name, metric) {
                // A point behind a failed one is no end.
                line.gaps.append(&mut faults);
                line.points.push((x, spread));
            }
        }
        let first = faults.first().map(|(_, problem)| in_short(problem));
        match first {
            Some(problem) if line.points.is_empty() => missing.push(format!("{} ({problem})", line.name)),
            first => line.ends = first,
        }
        if !line.points.is_empty() {
            lines.push(line);
        }
    }
    (lines, missing)
}

/// A fault's first clause: there is little room beside a line.
fn in_short(fault: &str) -> String {
    const LETTERS_MAX: usize = 46;
    let clause = fault.split([':', ',']).next().unwrap_or_default().trim();
    let mut short: String = clause.chars().take(LETTERS_MAX).collect();
    if short.len() < clause.len() {
        short.push('\u{2026}');
    }
    short
}

/// Of brokers that were measured with several threads: what `SHARDS_SHOWN` carries with each number of them.
fn shards(summary: &Summary) -> Curve {
    let (mut lines, mut missing) = (Vec::new(), Vec::new());
    for name in summary.names() {
        let cells = cells::SHARD_COUNTS.map(|threads| (threads, cells::on_shards_name(cells::SHARDS_SHOWN, threads)));
        if let Some(fault) = cells.iter().find_map(|(_, cell)| summary.fault(cell, &name)) {
            missing.push(format!("{name} ({})", in_short(fault)));
            continue;
        }
        let point = |(threads, cell): &(usize, String)| {
            Some((*threads as f64, summary.spread(cell, &name, metric::PER_SECOND)?))
        };
        let points: Vec<_> = cells.iter().filter_map(point).collect();
        // One who was measured with one number only shows nothing here.
        if points.len() == cells.len() {
            lines.push(Line { name, points, ends: None, gaps: Vec::new() });
        }
    }
    SHARDS.around(lines, missing)
}

fn index_lines(summary: &Summary) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for point in &summary.index {
        let name = format!("{} ({} hit{})", point.filters, point.hits, if point.hits == 1 { "" } else { "s" });
        let spread = Spread { median: point.ns_per_match, min: point.ns_per_match, max: point.ns_per_match, rounds: 1 };
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push((point.count, spread)),
            None => lines.push(Line { name, points: vec![(point.count, spread)], ends: None, gaps: Vec::new() }),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Outcome;

    fn point(broker: &str, clients: u32, bytes: Result<f64, &str>) -> Outcome {
        let values = bytes.map(|bytes| (metric::IDLE_BYTES.to_owned(), [bytes; 3])).into_iter().collect();
        Outcome {
            cell: format!("series-memory-{clients}"),
            broker: broker.to_owned(),
            rounds: 3,
            fault: bytes.err().map(str::to_owned),
            values,
            ..Outcome::default()
        }
    }

    #[test]
    fn a_line_that_ends_early_says_why_in_plot_and_table() {
        const FILES: &str = "a process may open 20000 files here, too few for 50000 clients";
        let outcomes = vec![
            point("dunlin", 15_000, Ok(423.0)),
            point("dunlin", 50_000, Ok(476.0)),
            point("mosquitto", 15_000, Ok(980.0)),
            point("mosquitto", 50_000, Err(FILES)),
            point("nats", 15_000, Err("200 connections lost")),
        ];
        let summary = Summary { outcomes, ..Summary::default() };
        let curve = all(&summary).into_iter().find(|curve| curve.name == "scale-memory").expect("there");
        let ends: Vec<_> = curve.lines.iter().map(|line| (line.name.as_str(), line.ends.as_deref())).collect();
        assert_eq!(ends, [("dunlin", None), ("mosquitto", Some("a process may open 20000 files here"))]);
        assert_eq!(curve.missing, ["nats (200 connections lost)"]);
        let table = curve.table(&summary);
        assert!(table.contains("| 50,000 | 476 (476-476) | - (1) |"), "{table}");
        assert!(table.ends_with(&format!("\n1. mosquitto: {FILES}\n")), "{table}");
    }

    #[test]
    fn titles_and_conditions_fit_their_plots() {
        // A letter of a title takes 9 of the 728 units at most in the mean, one of the conditions 6.7.
        for frame in [CONNECTIONS, FILTERS, MEMORY, SHARDS, FAN_OUT] {
            assert!(frame.title.len() <= 80, "{}", frame.title);
            assert!(frame.conditions.len() <= 108, "{}", frame.conditions);
        }
    }

    #[test]
    fn who_failed_in_a_cell_is_named_in_the_plot_of_dots() {
        let outcome = |broker: &str, fault: Option<&str>| Outcome {
            cell: "fan-out".to_owned(),
            broker: broker.to_owned(),
            fault: fault.map(str::to_owned),
            values: [(metric::CPU_US.to_owned(), [1.0; 3])].into(),
            ..Outcome::default()
        };
        let outcomes = vec![outcome("dunlin", None), outcome("nats", Some("7 lost"))];
        let dots = headline(&Summary { outcomes, ..Summary::default() }).expect("a plot");
        assert_eq!(
            (dots.rows[0].brokers.len(), &dots.rows[0].failed),
            (1, &vec![("nats".to_owned(), "7 lost".to_owned())])
        );
    }

    #[test]
    fn a_point_that_failed_between_others_is_no_end_and_is_not_bridged_unsaid() {
        let outcomes = vec![
            point("mosquitto", 1_000, Ok(423.0)),
            point("mosquitto", 3_000, Err("2 lost")),
            point("mosquitto", 15_000, Ok(476.0)),
        ];
        let curves = all(&Summary { outcomes, ..Summary::default() });
        let line = &curves.iter().find(|curve| curve.name == "scale-memory").expect("there").lines[0];
        assert_eq!((line.points.len(), line.ends.as_deref()), (2, None));
        assert_eq!(line.gaps, [(3_000.0, "2 lost".to_owned())]);
    }

    #[test]
    fn who_failed_on_one_of_the_numbers_of_shards_is_named() {
        let outcome = |broker: &str, threads: usize, fault: Option<&str>| Outcome {
            cell: cells::on_shards_name(cells::SHARDS_SHOWN, threads),
            broker: broker.to_owned(),
            fault: fault.map(str::to_owned),
            values: [(metric::PER_SECOND.to_owned(), [1.0; 3])].into(),
            ..Outcome::default()
        };
        let outcomes = vec![
            outcome("dunlin", 1, None),
            outcome("dunlin", 2, None),
            outcome("flashmq", 1, None),
            outcome("flashmq", 2, Some("5 lost, of many")),
            outcome("nats", 1, None),
        ];
        let curve = shards(&Summary { outcomes, ..Summary::default() });
        assert_eq!(curve.lines.iter().map(|line| line.name.as_str()).collect::<Vec<_>>(), ["dunlin"]);
        assert_eq!(curve.missing, ["flashmq (5 lost)"]);
    }
}
