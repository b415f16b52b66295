//! Tables, in Markdown.
//!
//! A cell shows the median with least and most, and a letter for who was busy all the time. The best of a row is bold. A
//! broker with a fault has a number in its place that leads to the fault's words: it has no speed. A figure of a broker that was
//! measured with several settings is the best of them, and has a number that leads to which. The last column is
//! dunlin against the best of the others, the cells that it loses included.

use crate::broker::BUILT_IN;
use crate::cells::{self, Cell, Section};
use crate::floor;
use crate::results::{Bottleneck, metric};
use crate::stats::Spread;
use crate::summary::Summary;
use crate::transport::Transport;
use std::fmt::Write as _;

/// Ours.
pub(super) const DUNLIN: &str = "dunlin";
/// The broker that everybody knows.
pub(super) const YARDSTICK: &str = "mosquitto";
/// In the place of what has no figures.
pub(super) const NOTHING: &str = "Not measured yet.\n";

/// All tables by the names of their places.
pub(super) fn all(summary: &Summary) -> Vec<(String, String)> {
    let mut places = vec![("machine".to_owned(), machine(summary)), ("brokers".to_owned(), brokers(summary))];
    let tables = comparisons().into_iter();
    places.extend(tables.map(|(name, first, rows)| (name.to_owned(), table(summary, first, &rows))));
    places.push(("tls-on-top".to_owned(), tls_on_top(summary)));
    places.push(("shards".to_owned(), shards(summary)));
    places
}

/// What is shown of few messages.
const LOW_RATE_FIGURES: [(&str, &str); 4] = [
    ("CPU us a message", metric::CPU_US),
    ("wakes a message", metric::WAKES_PER_MESSAGE),
    ("p50, us", metric::P50_US),
    ("p99, us", metric::P99_US),
];

/// What is shown of silence.
const SILENCE_FIGURES: [(&str, &str); 2] =
    [("wakes a second", metric::WAKES_PER_SECOND), ("ms of CPU a minute", metric::IDLE_CPU_MS)];

/// Of brokers as they ship that have little to do.
pub(super) fn low_rate() -> Vec<Row> {
    of_each(Section::LowRate, &LOW_RATE_FIGURES)
}

/// Of brokers as they ship that have nothing to do.
pub(super) fn silence() -> Vec<Row> {
    of_each(Section::Silence, &SILENCE_FIGURES)
}

/// Of clients over TLS and WebSocket that are idle, and of those that come.
fn handshakes() -> Vec<Row> {
    let cells = cells::all().into_iter().filter(|cell| cell.section == Section::Handshakes);
    let rows = |cell: Cell| {
        let figures: &[(&str, &'static str)] = if cell.headline == metric::IDLE_BYTES {
            &[("bytes of RSS a client", metric::IDLE_BYTES)]
        } else {
            &[("CPU us", metric::ACCEPT_US), ("connections a second (more is better)", metric::CONNECTS_PER_SECOND)]
        };
        let row =
            |(label, metric): &(&str, &'static str)| Row::new(&format!("{}: {label}", cell.title), &cell.name, metric);
        figures.iter().map(row).collect::<Vec<_>>()
    };
    cells.flat_map(rows).collect()
}

/// What is shown of a fleet that comes back.
const STORM_FIGURES: [(&str, &str); 8] = [
    ("others' p99 before, us", metric::OTHERS_QUIET_P99_US),
    ("others' p99 when its connections are reset, us", metric::OTHERS_LEAVING_P99_US),
    ("others' p99 meanwhile, us", metric::OTHERS_STORM_P99_US),
    ("times the one before", metric::OTHERS_TIMES),
    ("others' p99 in the worst second, us", metric::OTHERS_WORST_P99_US),
    ("connections a second (more is better)", metric::CONNECTS_PER_SECOND),
    ("CPU us a connection", metric::ACCEPT_US),
    ("ms until the last is back", metric::STORM_MS),
];

/// What is shown of one with names and passwords.
const LOGIN_FIGURES: [(&str, &str); 10] = [
    ("others' p99 before, us", metric::OTHERS_QUIET_P99_US),
    ("first time: others' p99, us", metric::OTHERS_FIRST_P99_US),
    ("first time: times the one before", metric::OTHERS_FIRST_TIMES),
    ("first time: logins a second (more is better)", metric::FIRST_PER_SECOND),
    ("when they leave: others' p99, us", metric::OTHERS_LEAVING_P99_US),
    ("again: others' p99, us", metric::OTHERS_STORM_P99_US),
    ("again: times the one before", metric::OTHERS_TIMES),
    ("again: logins a second (more is better)", metric::CONNECTS_PER_SECOND),
    ("CPU us a connection without a name", metric::PLAIN_US),
    ("CPU us that a login adds, again", metric::LOGIN_US),
];

/// Of fleets that come back: what others notice first.
fn storms() -> Vec<Row> {
    let mut rows = of_each(Section::Storms, &STORM_FIGURES);
    rows.retain(|row| row.cell != cells::LOGINS);
    rows
}

/// Of a fleet with names and passwords.
fn logins() -> Vec<Row> {
    LOGIN_FIGURES.iter().map(|(label, metric)| Row::new(label, cells::LOGINS, metric)).collect()
}

/// What TLS adds to a message: the difference of two cells, for each broker that has both.
fn tls_on_top(summary: &Summary) -> String {
    let mut text = String::new();
    for (load, title) in [("p2p-qos0-w1", "alone"), (cells::AT_ONCE, "50 at once")] {
        let secured = cells::over_name(load, Transport::Tls);
        for name in summary.names() {
            let of = |cell: &str| {
                summary.spread(cell, &name, metric::CPU_US).filter(|_| summary.fault(cell, &name).is_none())
            };
            let (Some(plain), Some(tls)) = (of(load), of(&secured)) else { continue };
            let added = tls.median - plain.median;
            // Rounds of the one may be like rounds of the other.
            let (least, most) = (tls.min - plain.max, tls.max - plain.min);
            let (plain, tls) = (number(plain.median), number(tls.median));
            let range = format!("{} ({}-{})", number(added), number(least), number(most));
            let _ = writeln!(text, "| {title} | {name} | {plain} | {tls} | {range} |");
        }
    }
    if text.is_empty() {
        return NOTHING.to_owned();
    }
    format!("| 64-byte messages | broker | CPU us over TCP | over TLS 1.3 | on top |\n|---|---|---|---|---|\n{text}")
}

/// Several figures of each cell of a section.
fn of_each(section: Section, figures: &[(&str, &'static str)]) -> Vec<Row> {
    let cells = cells::all().into_iter().filter(|cell| cell.section == section);
    let rows = |cell: Cell| {
        let row = move |(label, metric): &(&str, &'static str)| {
            Row::new(&format!("{}: {label}", cell.title), &cell.name, metric)
        };
        figures.iter().map(row).collect::<Vec<_>>()
    };
    cells.flat_map(rows).collect()
}

/// The tables that compare brokers: the name of the place, the head of the first column, the rows.
pub(super) fn comparisons() -> Vec<(&'static str, &'static str, Vec<Row>)> {
    let by_cell = |section: Section| {
        let cells = cells::all().into_iter().filter(|cell| cell.section == section);
        cells.map(|cell| Row { label: cell.title, cell: cell.name, metric: cell.headline }).collect::<Vec<_>>()
    };
    let of_one = |cell: &str, rows: &[(&str, &'static str)]| {
        let row = |(label, metric): &(&str, &'static str)| Row::new(label, cell, metric);
        rows.iter().map(row).collect::<Vec<_>>()
    };
    vec![
        ("one-core", "cell", by_cell(Section::OneCore)),
        ("throughput", "messages a second", throughput()),
        ("all-cores", "cell", by_cell(Section::AllCores)),
        ("lumps", "cell", by_cell(Section::Lumps)),
        (
            "sweep-others",
            "figure",
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
            "idle",
            "figure",
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
            "latency",
            "figure",
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
        ("secured", "cell", by_cell(Section::Secured)),
        ("handshakes", "figure", handshakes()),
        ("storms", "fleet", storms()),
        ("logins", "figure", logins()),
        ("low-rate", "load", low_rate()),
        ("silence", "state", silence()),
    ]
}

/// A line of a table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// In the first column.
    pub label: String,
    /// Where it was measured.
    pub cell: String,
    /// Which figure it shows.
    pub metric: &'static str,
}

impl Row {
    /// A line for a figure of a cell.
    pub(super) fn new(label: &str, cell: &str, metric: &'static str) -> Self {
        Self { label: label.to_owned(), cell: cell.to_owned(), metric }
    }

    fn more_is_better(&self) -> bool {
        metric::more_is_better(self.metric)
    }
}

fn table(summary: &Summary, first: &str, rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| summary.has_cell(&row.cell)).collect();
    if rows.is_empty() {
        return NOTHING.to_owned();
    }
    let columns = columns(summary, &rows);
    let mut text = format!("| {first} |");
    let mut line = "|---|".to_owned();
    for column in &columns {
        let _ = write!(text, " {} |", if column == floor::NAME { "bare relay" } else { column });
        line.push_str("---|");
    }
    let _ = writeln!(text, " dunlin against the best other |\n{line}---|");
    let mut notes = Notes::default();
    for row in rows {
        let _ = write!(text, "| {} |", row.label);
        let best = best(summary, row, &columns, |_| true);
        for column in &columns {
            let _ = write!(text, " {} |", place(summary, row, column, best.as_deref(), &mut notes));
        }
        let _ = writeln!(text, " {} |", standing(summary, row, &columns));
    }
    text + &notes.text()
}

/// Who has something to say in these rows.
pub(super) fn columns(summary: &Summary, rows: &[&Row]) -> Vec<String> {
    let speaks = |name: &String| rows.iter().any(|row| summary.outcome(&row.cell, name).is_some());
    summary.names().into_iter().filter(speaks).collect()
}

/// What has to be said of places of a table, numbered in the order in which it is met: why one has no figure, or which of a
/// broker's choices it is of.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    /// The number of a reason.
    pub(super) fn number(&mut self, broker: &str, fault: &str) -> usize {
        let fault = format!("{broker}: {}", one_line(fault));
        let number = self.0.iter().position(|known| *known == fault).unwrap_or_else(|| {
            self.0.push(fault);
            self.0.len() - 1
        });
        number + 1
    }

    /// The mark of a figure that is of one of a broker's choices; nothing where it has none.
    pub(crate) fn mark(&mut self, summary: &Summary, row: &Row, broker: &str) -> String {
        let choice = summary.choice(&row.cell, broker, row.metric);
        choice.map_or(String::new(), |words| format!(" ({})", self.number(broker, words)))
    }

    /// The list below the table; nothing if there is nothing to say.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (number, note) in self.0.iter().enumerate() {
            let _ = writeln!(text, "{}{}. {note}", if number == 0 { "\n" } else { "" }, number + 1);
        }
        text
    }
}

pub(super) fn place(summary: &Summary, row: &Row, broker: &str, best: Option<&str>, notes: &mut Notes) -> String {
    if let Some(fault) = summary.fault(&row.cell, broker) {
        return format!("failed ({})", notes.number(broker, fault));
    }
    let Some(spread) = summary.spread(&row.cell, broker, row.metric) else { return "-".to_owned() };
    let median = number(spread.median);
    let median = if best == Some(broker) { format!("**{median}**") } else { median };
    let range = format!("({}-{})", number(spread.min), number(spread.max));
    format!("{median} {range}{}{}", busy(summary, row, broker), notes.mark(summary, row, broker))
}

/// A letter for who was busy in most rounds.
fn busy(summary: &Summary, row: &Row, broker: &str) -> &'static str {
    if broker == floor::NAME {
        return "";
    }
    match summary.outcome(&row.cell, broker).map(|outcome| outcome.bottleneck) {
        Some(Bottleneck::Broker) => " b",
        Some(Bottleneck::Generator) => " g",
        Some(Bottleneck::Both) => " bg",
        _ => "",
    }
}

/// The one of these that does best, if it has no fault. The floor takes no part.
pub(super) fn best(
    summary: &Summary,
    row: &Row,
    columns: &[String],
    takes_part: impl Fn(&str) -> bool,
) -> Option<String> {
    let median = |name: &String| Some((summary.spread(&row.cell, name, row.metric)?.median, name.clone()));
    let whole = |name: &&String| *name != floor::NAME && takes_part(name) && summary.fault(&row.cell, name).is_none();
    let all = columns.iter().filter(whole).filter_map(median);
    let by_value = |a: &(f64, String), b: &(f64, String)| a.0.total_cmp(&b.0);
    if row.more_is_better() { all.max_by(by_value) } else { all.min_by(by_value) }.map(|(_, name)| name)
}

fn standing(summary: &Summary, row: &Row, columns: &[String]) -> String {
    if summary.fault(&row.cell, DUNLIN).is_some() {
        return "**no figure: see its fault**".to_owned();
    }
    let Some(other) = best(summary, row, columns, |name| name != DUNLIN) else { return "no other".to_owned() };
    let Some(best) = against(summary, row, &other) else { return "-".to_owned() };
    // The yardstick of the aims, where it is not the best of the others anyway.
    let is_apart = other != YARDSTICK && summary.fault(&row.cell, YARDSTICK).is_none();
    match against(summary, row, YARDSTICK).filter(|_| is_apart) {
        Some(yardstick) => format!("{}; {}", best.words(), yardstick.words()),
        None => best.words(),
    }
}

/// dunlin against one other broker.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// As tables call it.
    pub other: String,
    /// How many times better dunlin is; below 1 it is worse.
    pub factor: f64,
    /// Whether some round of one was like some round of the other: then nothing follows from it.
    pub overlaps: bool,
}

impl Standing {
    /// For a table.
    pub(super) fn words(&self) -> String {
        let Self { other, factor, overlaps } = self;
        let words = if *factor >= 1.0 {
            format!("{factor:.2}x better than {other}")
        } else {
            format!("**loses**: {:.2}x worse than {other}", 1.0 / factor)
        };
        if *overlaps { format!("{words} (ranges overlap)") } else { words }
    }
}

/// Against the best of all others, where dunlin and at least one other have a figure.
pub(super) fn against_the_best(summary: &Summary, row: &Row) -> Option<Standing> {
    let other = best(summary, row, &summary.names(), |name| name != DUNLIN)?;
    against(summary, row, &other).filter(|_| summary.fault(&row.cell, DUNLIN).is_none())
}

fn against(summary: &Summary, row: &Row, other: &str) -> Option<Standing> {
    let own = summary.spread(&row.cell, DUNLIN, row.metric)?;
    let theirs = summary.spread(&row.cell, other, row.metric)?;
    // A difference of two cells may be none, or less: no factor lies between it and another.
    if own.median <= 0.0 || theirs.median <= 0.0 {
        return None;
    }
    let factor = if row.more_is_better() { own.median / theirs.median } else { theirs.median / own.median };
    Some(Standing { other: other.to_owned(), factor, overlaps: own.min <= theirs.max && theirs.min <= own.max })
}

/// Messages a second, where they say something: the broker was busy all the time.
fn throughput() -> Vec<Row> {
    let cells = cells::all().into_iter();
    let row = |cell: Cell| {
        let all = if cell.section == Section::AllCores { ", all cores" } else { "" };
        Row { label: format!("{}{all}", cell.title), cell: cell.name, metric: metric::PER_SECOND }
    };
    cells.filter(|cell| [Section::OneCore, Section::AllCores].contains(&cell.section)).map(row).collect()
}

/// dunlin and the generator together on one core, and on two: what they carry, and what the broker spends on a message.
pub(super) fn shards(summary: &Summary) -> String {
    let mut text = String::new();
    for load in cells::SHARD_LOADS {
        let spread = |threads, metric| {
            let cell = cells::on_shards_name(load, threads);
            summary.spread(&cell, DUNLIN, metric).filter(|_| summary.fault(&cell, DUNLIN).is_none())
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

fn machine(summary: &Summary) -> String {
    let machine = &summary.machine;
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

fn brokers(summary: &Summary) -> String {
    let mut text = "| broker | version |\n|---|---|\n".to_owned();
    let order = |name: &str| BUILT_IN.iter().position(|known| *known == name).unwrap_or(BUILT_IN.len());
    let mut all: Vec<_> = summary.brokers.iter().collect();
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
pub(super) fn number(value: f64) -> String {
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
    use crate::summary::Outcome;

    fn measured(broker: &str, cpu_us: [f64; 3], fault: Option<&str>) -> Outcome {
        Outcome {
            cell: "p2p-qos0-w1".to_owned(),
            broker: broker.to_owned(),
            rounds: 3,
            fault: fault.map(str::to_owned),
            bottleneck: Bottleneck::Broker,
            values: [(metric::CPU_US.to_owned(), cpu_us)].into(),
            ..Outcome::default()
        }
    }

    fn one_core(outcomes: &[Outcome; 2]) -> String {
        let summary = Summary { outcomes: outcomes.to_vec(), ..Summary::default() };
        all(&summary).into_iter().find(|(name, _)| name == "one-core").expect("a table").1
    }

    #[test]
    fn a_broker_that_loses_messages_has_no_speed() {
        let table =
            one_core(&[measured("dunlin", [2.5, 2.0, 3.0], None), measured("mosquitto", [1.0; 3], Some("7 lost"))]);
        assert!(table.contains("| **2.50** (2.00-3.00) b | failed (1) | no other |"), "{table}");
        assert!(table.ends_with("\n\n1. mosquitto: 7 lost\n"), "{table}");
    }

    #[test]
    fn a_figure_of_one_of_several_settings_says_which() {
        let mut chosen = measured("mosquitto", [4.0; 3], None);
        chosen.choices.insert(metric::CPU_US.to_owned(), "TCP_NODELAY off, as it ships".to_owned());
        let table = one_core(&[measured("dunlin", [2.0; 3], None), chosen]);
        assert!(table.contains("| 4.00 (4.00-4.00) b (1) |"), "{table}");
        assert!(table.ends_with("\n\n1. mosquitto: TCP_NODELAY off, as it ships\n"), "{table}");
    }

    #[test]
    fn a_cell_that_dunlin_loses_says_so() {
        let table = one_core(&[measured("dunlin", [4.0; 3], None), measured("mosquitto", [2.0; 3], None)]);
        assert!(table.contains("**loses**: 2.00x worse than mosquitto"), "{table}");
        let own_fault =
            one_core(&[measured("dunlin", [1.0; 3], Some("1 lost")), measured("mosquitto", [2.0; 3], None)]);
        assert!(own_fault.contains("**no figure: see its fault**"), "{own_fault}");
    }

    #[test]
    fn storms_and_logins_have_a_line_for_each_figure_and_no_factor_where_there_is_none() {
        let of = |cell: &str, broker: &str, figures: &[(&str, f64)]| Outcome {
            cell: cell.to_owned(),
            values: figures.iter().map(|(name, value)| ((*name).to_owned(), [*value; 3])).collect(),
            ..measured(broker, [1.0; 3], None)
        };
        let outcomes = vec![
            of("storm-tls", "dunlin", &[(metric::OTHERS_TIMES, 1.5)]),
            of(cells::LOGINS, "dunlin", &[(metric::LOGIN_US, -0.1), (metric::OTHERS_FIRST_TIMES, 2.0)]),
            of(cells::LOGINS, "mosquitto", &[(metric::LOGIN_US, 81.0), (metric::OTHERS_FIRST_TIMES, 4.0)]),
        ];
        let places = all(&Summary { outcomes, ..Summary::default() });
        let table = |name: &str| places.iter().find(|(known, _)| known == name).expect("a table").1.clone();
        let storm = "| 20,000 clients come back over TLS 1.3, whole handshakes: times the one before | **1.50** (1.50-1.50) b | no other |";
        assert!(table("storms").contains(storm), "{}", table("storms"));
        let logins = table("logins");
        assert!(
            logins.contains("| **2.00** (2.00-2.00) b | 4.00 (4.00-4.00) b | 2.00x better than mosquitto |"),
            "{logins}"
        );
        assert!(
            logins.contains("| CPU us that a login adds, again | **-0.10** (-0.10--0.10) b | 81.0 (81.0-81.0) b | - |"),
            "{logins}"
        );
    }

    #[test]
    fn what_tls_adds_is_the_difference_of_two_cells() {
        let over = |cell: &str, cpu_us: [f64; 3]| Outcome { cell: cell.to_owned(), ..measured("dunlin", cpu_us, None) };
        let outcomes = vec![
            over("p2p-qos0-w1", [2.0, 1.9, 2.1]),
            over("tls-p2p-qos0-w1", [2.5, 2.4, 2.7]),
            over("tls-p2p-qos0-w50", [1.0; 3]),
        ];
        let table = tls_on_top(&Summary { outcomes, ..Summary::default() });
        assert!(table.ends_with("| alone | dunlin | 2.00 | 2.50 | 0.50 (0.30-0.80) |\n"), "{table}");
        assert_eq!(tls_on_top(&Summary::default()), NOTHING);
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let table = [(0.123, "0.12"), (9.876, "9.88"), (45.67, "45.7"), (745.4, "745"), (1_234_567.0, "1,234,567")];
        for (value, text) in table {
            assert_eq!(number(value), text);
        }
    }
}
