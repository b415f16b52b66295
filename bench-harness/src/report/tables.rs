//! Tables, in Markdown.
//!
//! A cell shows the median with least and most, and a letter for who was busy all the time. The best of a row is bold. A
//! broker with a fault has a number in its place that leads to the fault's words: it has no speed. The last column is
//! dunlin against the best of the others, the cells that it loses included.

use crate::broker::BUILT_IN;
use crate::cells::{self, Cell, Section};
use crate::floor;
use crate::results::{Bottleneck, Results, metric};
use crate::stats::Spread;
use std::fmt::Write as _;

const DUNLIN: &str = "dunlin";
/// The broker that everybody knows.
const YARDSTICK: &str = "mosquitto";
/// In the place of what has no figures.
pub const NOTHING: &str = "Not measured yet.\n";

/// All tables by the names of their places.
pub fn all(results: &Results) -> Vec<(String, String)> {
    let by_cell = |section: Section| {
        let cells: Vec<Cell> = cells::all().into_iter().filter(|cell| cell.section == section).collect();
        let rows =
            cells.iter().map(|cell| Row { label: cell.title.clone(), cell: cell.name.clone(), metric: cell.headline });
        table(results, "cell", &rows.collect::<Vec<_>>())
    };
    let of_one = |cell: &str, rows: &[(&str, &'static str)]| {
        let row =
            |(label, metric): &(&str, &'static str)| Row { label: (*label).to_owned(), cell: cell.to_owned(), metric };
        table(results, "figure", &rows.iter().map(row).collect::<Vec<_>>())
    };
    vec![
        ("machine".to_owned(), machine(results)),
        ("brokers".to_owned(), brokers(results)),
        ("one-core".to_owned(), by_cell(Section::OneCore)),
        ("all-cores".to_owned(), by_cell(Section::AllCores)),
        ("lumps".to_owned(), by_cell(Section::Lumps)),
        (
            "sweep-others".to_owned(),
            of_one(
                "retained-sweep",
                &[
                    ("others' p99 before the sweep, us", metric::OTHERS_QUIET_P99_US),
                    ("others' p99 in the seconds of the sweep, us", metric::OTHERS_SWEEP_P99_US),
                    ("CPU us a retained message", metric::CPU_US),
                ],
            ),
        ),
        (
            "idle".to_owned(),
            of_one(
                "idle",
                &[
                    ("bytes of RSS an idle client", metric::IDLE_BYTES),
                    ("CPU us an accepted connection", metric::ACCEPT_US),
                    ("connections a second (more is better)", metric::CONNECTS_PER_SECOND),
                ],
            ),
        ),
        (
            "latency".to_owned(),
            of_one(
                "latency",
                &[
                    ("p50, us", metric::P50_US),
                    ("p99, us", metric::P99_US),
                    ("p99.9, us", metric::P99_9_US),
                    ("CPU us a message", metric::CPU_US),
                ],
            ),
        ),
        ("throughput".to_owned(), throughput(results)),
        ("shards".to_owned(), shards(results)),
    ]
}

/// A line of a table.
struct Row {
    label: String,
    cell: String,
    metric: &'static str,
}

impl Row {
    fn more_is_better(&self) -> bool {
        [metric::PER_SECOND, metric::CONNECTS_PER_SECOND].contains(&self.metric)
    }
}

fn table(results: &Results, first: &str, rows: &[Row]) -> String {
    let rows: Vec<&Row> =
        rows.iter().filter(|row| results.measurements.iter().any(|one| one.cell == row.cell)).collect();
    if rows.is_empty() {
        return NOTHING.to_owned();
    }
    let columns = columns(results, &rows);
    let mut text = format!("| {first} |");
    let mut line = "|---|".to_owned();
    for column in &columns {
        let _ = write!(text, " {} |", if column == floor::NAME { "bare relay" } else { column });
        line.push_str("---|");
    }
    let _ = writeln!(text, " dunlin against the best other |\n{line}---|");
    let mut faults = Vec::new();
    for row in rows {
        let _ = write!(text, "| {} |", row.label);
        let best = best(results, row, &columns, |_| true);
        for column in &columns {
            let _ = write!(text, " {} |", place(results, row, column, best.as_deref(), &mut faults));
        }
        let _ = writeln!(text, " {} |", standing(results, row, &columns));
    }
    if !faults.is_empty() {
        text.push('\n');
    }
    for (number, fault) in faults.iter().enumerate() {
        let _ = writeln!(text, "{}. {fault}", number + 1);
    }
    text
}

/// Who has something to say in these rows, in the order of the registry; added ones behind, the floor last.
fn columns(results: &Results, rows: &[&Row]) -> Vec<String> {
    let speaks = |name: &str| rows.iter().any(|row| results.of(&row.cell, name).next().is_some());
    let built_in = BUILT_IN.iter().map(|name| (*name).to_owned());
    let added = results.brokers.keys().filter(|name| !BUILT_IN.contains(&name.as_str())).cloned();
    built_in.chain(added).chain([floor::NAME.to_owned()]).filter(|name| speaks(name)).collect()
}

fn place(results: &Results, row: &Row, broker: &str, best: Option<&str>, faults: &mut Vec<String>) -> String {
    if let Some(fault) = results.fault(&row.cell, broker) {
        let fault = format!("{broker}: {}", one_line(&fault));
        let number = faults.iter().position(|known| *known == fault).unwrap_or_else(|| {
            faults.push(fault);
            faults.len() - 1
        });
        return format!("failed ({})", number + 1);
    }
    let Some(spread) = results.spread(&row.cell, broker, row.metric) else { return "-".to_owned() };
    let median = number(spread.median);
    let median = if best == Some(broker) { format!("**{median}**") } else { median };
    let range = format!("({}-{})", number(spread.min), number(spread.max));
    format!("{median} {range}{}", busy(results, row, broker))
}

/// A letter for who was busy in most rounds.
fn busy(results: &Results, row: &Row, broker: &str) -> &'static str {
    if broker == floor::NAME {
        return "";
    }
    let count = |which: Bottleneck| results.figures(&row.cell, broker).filter(|one| one.bottleneck == which).count();
    let kinds = [Bottleneck::Neither, Bottleneck::Broker, Bottleneck::Generator, Bottleneck::Both];
    match kinds.into_iter().max_by_key(|kind| count(*kind)) {
        Some(Bottleneck::Broker) => " b",
        Some(Bottleneck::Generator) => " g",
        Some(Bottleneck::Both) => " bg",
        _ => "",
    }
}

/// The one of these that does best, if it has no fault. The floor takes no part.
fn best(results: &Results, row: &Row, columns: &[String], takes_part: impl Fn(&str) -> bool) -> Option<String> {
    let median = |name: &String| Some((results.spread(&row.cell, name, row.metric)?.median, name.clone()));
    let whole = |name: &&String| *name != floor::NAME && takes_part(name) && results.fault(&row.cell, name).is_none();
    let all = columns.iter().filter(whole).filter_map(median);
    let by_value = |a: &(f64, String), b: &(f64, String)| a.0.total_cmp(&b.0);
    if row.more_is_better() { all.max_by(by_value) } else { all.min_by(by_value) }.map(|(_, name)| name)
}

fn standing(results: &Results, row: &Row, columns: &[String]) -> String {
    if results.fault(&row.cell, DUNLIN).is_some() {
        return "**no figure: see its fault**".to_owned();
    }
    let Some(own) = results.spread(&row.cell, DUNLIN, row.metric) else { return "-".to_owned() };
    let Some(other) = best(results, row, columns, |name| name != DUNLIN) else { return "no other".to_owned() };
    let Some(theirs) = results.spread(&row.cell, &other, row.metric) else { return "-".to_owned() };
    let words = compared(own, theirs, row.more_is_better(), &other);
    // The yardstick of the aims, where it is not the best of the others anyway.
    let yardstick = results
        .spread(&row.cell, YARDSTICK, row.metric)
        .filter(|_| other != YARDSTICK && results.fault(&row.cell, YARDSTICK).is_none());
    match yardstick {
        Some(theirs) => format!("{words}; {}", compared(own, theirs, row.more_is_better(), YARDSTICK)),
        None => words,
    }
}

fn compared(own: Spread, theirs: Spread, more_is_better: bool, other: &str) -> String {
    let factor = if more_is_better { own.median / theirs.median } else { theirs.median / own.median };
    let overlap = own.min <= theirs.max && theirs.min <= own.max;
    let words = if factor >= 1.0 {
        format!("{factor:.2}x better than {other}")
    } else {
        format!("**loses**: {:.2}x worse than {other}", 1.0 / factor)
    };
    if overlap { format!("{words} (ranges overlap)") } else { words }
}

/// Messages a second, where they say something: the broker was busy all the time.
fn throughput(results: &Results) -> String {
    let rows: Vec<Row> = cells::all()
        .into_iter()
        .filter(|cell| [Section::OneCore, Section::AllCores].contains(&cell.section))
        .map(|cell| {
            let all = if cell.section == Section::AllCores { ", all cores" } else { "" };
            Row { label: format!("{}{all}", cell.title), cell: cell.name, metric: metric::PER_SECOND }
        })
        .collect();
    table(results, "messages a second", &rows)
}

/// dunlin and the generator together on one core, and on two: what they carry, and what the broker spends on a message.
fn shards(results: &Results) -> String {
    let mut text = String::new();
    for load in cells::SHARD_LOADS {
        let spread = |threads, metric| {
            let cell = cells::on_shards_name(load, threads);
            results.spread(&cell, DUNLIN, metric).filter(|_| results.fault(&cell, DUNLIN).is_none())
        };
        let pair = |metric| Some((spread(1, metric)?, spread(2, metric)?));
        let (Some(carried), Some(cpu)) = (pair(metric::PER_SECOND), pair(metric::CPU_US)) else { continue };
        let title = cells::all().into_iter().find(|cell| cell.name == load).map_or(String::new(), |cell| cell.title);
        let range =
            |spread: &Spread| format!("{} ({}-{})", number(spread.median), number(spread.min), number(spread.max));
        let (carries, could) = (carried.1.median / carried.0.median, 2.0 * cpu.0.median / cpu.1.median);
        let _ = writeln!(
            text,
            "| {title} | {} | {} | {carries:.2} | {} | {} | {could:.2} |",
            range(&carried.0),
            range(&carried.1),
            range(&cpu.0),
            range(&cpu.1)
        );
    }
    if text.is_empty() {
        return NOTHING.to_owned();
    }
    let head =
        "| load | 1 shard, messages/s | 2 shards | times | CPU us a message, 1 shard | 2 shards | so two carry |";
    format!("{head}\n|---|---|---|---|---|---|---|\n{text}")
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "{}, {} logical cores, {} GiB of memory; {}, Linux {}; {} open files a process. Noise: {}.\n",
        machine.cpu,
        machine.cores,
        machine.memory_gib,
        machine.system,
        machine.kernel,
        machine.open_files_max,
        machine.noise
    )
}

fn brokers(results: &Results) -> String {
    let mut text = "| broker | version |\n|---|---|\n".to_owned();
    let order = |name: &str| BUILT_IN.iter().position(|known| *known == name).unwrap_or(BUILT_IN.len());
    let mut all: Vec<_> = results.brokers.iter().collect();
    all.sort_by_key(|(name, _)| order(name));
    for (name, version) in all {
        let words = match version {
            Ok(version) => version.clone(),
            Err(reason) => format!("missing: {}", one_line(reason)),
        };
        let _ = writeln!(text, "| {name} | {words} |");
    }
    text
}

/// Three digits that count, and whole numbers from 100 on with separators.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at) % 3 == 0 && !grouped.ends_with('-') {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Figures, Measurement, Verdict};

    fn measured(broker: &str, values: [f64; 3], faults: &[&str]) -> Vec<Measurement> {
        let figures = |cpu_us: f64| Figures {
            values: [(metric::CPU_US.to_owned(), cpu_us)].into(),
            verdict: Verdict { expected: 9, faults: faults.iter().map(|fault| (*fault).to_owned()).collect() },
            bottleneck: Bottleneck::Broker,
        };
        let one = |cpu_us: f64| Measurement {
            cell: "p2p-qos0-w1".to_owned(),
            broker: broker.to_owned(),
            round: 1,
            outcome: Ok(figures(cpu_us)),
        };
        values.into_iter().map(one).collect()
    }

    fn one_core(measurements: Vec<Measurement>) -> String {
        let results = Results { measurements, ..Results::default() };
        all(&results).into_iter().find(|(name, _)| name == "one-core").expect("a table").1
    }

    #[test]
    fn a_broker_that_loses_messages_has_no_speed() {
        let table = one_core(
            [measured("dunlin", [2.0, 2.5, 3.0], &[]), measured("mosquitto", [1.0, 1.0, 1.0], &["7 lost"])].concat(),
        );
        assert!(table.contains("| **2.50** (2.00-3.00) b | failed (1) | no other |"), "{table}");
        assert!(table.contains("1. mosquitto: 7 lost"), "{table}");
    }

    #[test]
    fn a_cell_that_dunlin_loses_says_so() {
        let table =
            one_core([measured("dunlin", [4.0, 4.0, 4.0], &[]), measured("mosquitto", [2.0, 2.0, 2.0], &[])].concat());
        assert!(table.contains("**loses**: 2.00x worse than mosquitto"), "{table}");
        let own_fault =
            one_core([measured("dunlin", [1.0; 3], &["1 lost"]), measured("mosquitto", [2.0; 3], &[])].concat());
        assert!(own_fault.contains("**no figure: see its fault**"), "{own_fault}");
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let table = [(0.123, "0.12"), (9.876, "9.88"), (45.67, "45.7"), (745.4, "745"), (1_234_567.0, "1,234,567")];
        for (value, text) in table {
            assert_eq!(number(value), text);
        }
    }
}
