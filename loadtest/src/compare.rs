//! `loadtest compare`: two reports side by side, and what became better or worse.
//!
//! Owns: which figures are compared, and which direction is better. Always holds: what makes two runs no fair pair (another
//! loop, window, pipeline, machine, plan) is told before any figure. Leaves to who reads: what a difference means; two runs
//! differ by chance as well.

use std::{fmt::Write as _, io::Write as _, path::Path};

use serde::Deserialize;

use crate::{
    exit::{self, Exit, Failure},
    outcome::{Ending, Outcome},
    report::{per_second, timings},
    units::{grouped, measured, show_size, show_span},
};

/// A report that was read.
#[derive(Debug, Deserialize)]
struct Report {
    /// Of loadtest. What has none is no report.
    loadtest: String,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    Lower,
    Higher,
    /// Shown and not judged: one message decides it, or it is loadtest's own.
    Neither,
}

/// One figure of both.
struct Row {
    name: String,
    better: Better,
    values: [Option<f64>; 2],
    show: fn(f64) -> String,
}

/// Percentiles that are compared.
const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// Two reports, compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// For a person.
    pub text: String,
    /// Figures that are worse in the second report by more than was allowed.
    pub worse: Vec<String>,
}

/// Reads two reports and compares them. `tolerance`: a share by which a figure may be worse, where that is to be judged.
pub fn files(first: &Path, second: &Path, tolerance: Option<f64>) -> Result<Comparison, String> {
    let read = |file: &Path| {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let report: Report = serde_json::from_str(&text).map_err(|error| {
            format!("{}: this is no report of loadtest (-o FILE writes one): {error}", file.display())
        })?;
        Ok::<_, String>(report)
    };
    let (a, b) = (read(first)?, read(second)?);
    let names = [first.display().to_string(), second.display().to_string()];
    let mut comparison = outcomes(&names, [&a.outcome, &b.outcome], tolerance);
    if a.loadtest != b.loadtest {
        comparison.text.insert_str(0, &format!("note: reports of loadtest {} and {}\n", a.loadtest, b.loadtest));
    }
    Ok(comparison)
}

/// Prints the comparison of two reports. The line of a failure is for standard error.
pub fn run(first: &Path, second: &Path, tolerance: Option<f64>) -> Result<Exit, Failure> {
    let comparison = files(first, second, tolerance).map_err(|line| Failure::new(Exit::Usage, line))?;
    let mut text = comparison.text;
    if !comparison.worse.is_empty() {
        text.push('\n');
    }
    for line in &comparison.worse {
        let _ = writeln!(text, "FAILED: {line}");
    }
    // Whoever closed standard output wanted no more of it.
    drop(std::io::stdout().write_all(text.as_bytes()));
    Ok(if comparison.worse.is_empty() { Exit::Ok } else { Exit::Broken })
}

fn outcomes(names: &[String; 2], both: [&Outcome; 2], tolerance: Option<f64>) -> Comparison {
    let mut text = String::new();
    for note in differences(both) {
        let _ = writeln!(text, "note: {note}");
    }
    for (letter, (name, outcome)) in ["a", "b"].iter().zip(names.iter().zip(both)) {
        let _ = writeln!(text, "{letter}: {name}, {} against {}", outcome.name, outcome.target);
    }
    let _ = writeln!(text, "\n  {:<28} {:>12} {:>12} {:>9}", "", "a", "b", "change");
    let mut worse = Vec::new();
    for row in rows(both) {
        let [Some(a), Some(b)] = row.values else {
            let shown = row.values.map(|value| value.map_or_else(|| "-".to_owned(), row.show));
            let _ = writeln!(text, "  {:<28} {:>12} {:>12}", row.name, shown[0], shown[1]);
            continue;
        };
        let change = row.change(a, b);
        let _ = writeln!(text, "  {:<28} {:>12} {:>12} {change:>9}", row.name, (row.show)(a), (row.show)(b));
        if tolerance.is_some_and(|tolerance| row.is_worse(a, b, tolerance)) {
            worse.push(format!("{} is worse: {} became {}", row.name, (row.show)(a), (row.show)(b)));
        }
    }
    Comparison { text, worse }
}

impl Row {
    /// In percent; in a word where there is nothing to take a percentage of.
    fn change(&self, a: f64, b: f64) -> String {
        if (b - a).abs() < f64::EPSILON {
            return "=".to_owned();
        }
        if a == 0.0 {
            return if self.is_worse(a, b, 0.0) { "worse".to_owned() } else { "better".to_owned() };
        }
        format!("{:+.1} %", (b - a) / a * 100.0)
    }

    fn is_worse(&self, a: f64, b: f64, tolerance: f64) -> bool {
        match self.better {
            Better::Lower => b > a * (1.0 + tolerance),
            Better::Higher => b < a * (1.0 - tolerance),
            Better::Neither => false,
        }
    }
}

/// What makes two runs no fair pair.
fn differences(both: [&Outcome; 2]) -> Vec<String> {
    let [a, b] = both;
    let mut notes = Vec::new();
    let mut differ = |what: &str, one: String, other: String| {
        if one != other {
            notes.push(format!("not the same {what}: {one} and {other}"));
        }
    };
    differ("workload", format!("{} ({})", a.name, a.description), format!("{} ({})", b.name, b.description));
    differ("loop", format!("{:?}", a.loop_kind).to_lowercase(), format!("{:?}", b.loop_kind).to_lowercase());
    differ("window", a.window.to_string(), b.window.to_string());
    differ("pipelining", format!("{:?}", a.pipeline).to_lowercase(), format!("{:?}", b.pipeline).to_lowercase());
    differ("number of agents", a.parts.to_string(), b.parts.to_string());
    let machine = |outcome: &Outcome| {
        outcome.machine.as_ref().map_or_else(String::new, |machine| format!("{} x {}", machine.cores, machine.cpu))
    };
    differ("machine", machine(a), machine(b));
    for (letter, outcome) in ["a", "b"].iter().zip(both) {
        match outcome.ending {
            Ending::Finished => {}
            Ending::Interrupted => notes.push(format!("{letter} was interrupted")),
            Ending::BrokerLost { .. } => notes.push(format!("{letter} lost its broker")),
        }
        for bound in exit::bounds(outcome) {
            notes.push(format!("{letter} is {bound}"));
        }
    }
    notes
}

/// A percentile of a distribution by its name. One that lies beyond the last message but one is the longest time, and says no
/// more: it is left out.
fn time_of(outcome: &Outcome, name: &str, percent: f64) -> Option<f64> {
    let (_, timing) = timings(outcome).into_iter().find(|(known, _)| *known == name)?;
    if percent >= 100.0 {
        return Some(timing.max_ns() as f64);
    }
    let is_told = timing.count() as f64 * (100.0 - percent) >= 100.0;
    is_told.then(|| timing.percentile_ns(percent) as f64)
}

fn rows(both: [&Outcome; 2]) -> Vec<Row> {
    let count = |number: f64| grouped(number as u64);
    let mut rows = Vec::new();
    let mut add = |name: &str, better: Better, show: fn(f64) -> String, of: &dyn Fn(&Outcome) -> Option<f64>| {
        let values = both.map(of);
        if values.iter().any(Option::is_some) {
            rows.push(Row { name: name.to_owned(), better, values, show });
        }
    };
    add("connections", Better::Higher, count, &|outcome| Some(outcome.connections.established as f64));
    add("connections failed", Better::Lower, count, &|outcome| Some(outcome.connections.failed_total() as f64));
    add("connections lost", Better::Lower, count, &|outcome| Some(outcome.connections.lost_total() as f64));
    let per_s = |number: f64| format!("{} /s", measured(number));
    let rate = |outcome: &Outcome, messages: u64| (messages > 0).then(|| per_second(outcome, messages));
    add("sent", Better::Higher, per_s, &|outcome| rate(outcome, outcome.measured.messages_sent));
    add("received", Better::Higher, per_s, &|outcome| rate(outcome, outcome.measured.messages_received));
    add("messages lost", Better::Lower, count, &|outcome| Some(outcome.verdict.lost() as f64));
    add("duplicated", Better::Lower, count, &|outcome| Some(outcome.verdict.all_deliveries().duplicated as f64));
    add("reordered", Better::Lower, count, &|outcome| Some(outcome.verdict.all_deliveries().reordered as f64));
    add("refused", Better::Lower, count, &|outcome| Some(outcome.refusals().total() as f64));
    let names: Vec<&str> = both.iter().flat_map(|outcome| timings(outcome)).map(|(name, _)| name).collect();
    let mut known: Vec<&str> = Vec::new();
    for name in names {
        if known.contains(&name) {
            continue;
        }
        known.push(name);
        for (word, percent) in PERCENTILES {
            let is_ours = matches!(name, "send delay" | "own send delay");
            let better = if is_ours || percent >= 100.0 { Better::Neither } else { Better::Lower };
            let of = |outcome: &Outcome| time_of(outcome, name, percent);
            add(&format!("{name} {word}"), better, |ns| show_span(ns as u64), &of);
        }
    }
    let cores = |number: f64| format!("{number:.2} cores");
    let broker = |outcome: &Outcome| outcome.broker.as_ref().filter(|_| outcome.measured_s > 0.0).cloned();
    add("broker CPU", Better::Lower, cores, &|outcome| Some(broker(outcome)?.cpu_measured_s / outcome.measured_s));
    add("broker CPU a message", Better::Lower, |us| format!("{us:.1} us"), &|outcome| {
        let messages = outcome.measured.messages_sent + outcome.measured.messages_received;
        (messages > 0).then_some(())?;
        Some(broker(outcome)?.cpu_measured_s * 1e6 / messages as f64)
    });
    add("broker memory", Better::Lower, |bytes| show_size(bytes as u64), &|outcome| {
        Some(outcome.broker.as_ref()?.rss_peak_bytes as f64)
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn names() -> [String; 2] {
        ["a.json".to_owned(), "b.json".to_owned()]
    }

    #[test]
    fn two_alike_are_alike() {
        let outcome = sample::outcome();
        let comparison = outcomes(&names(), [&outcome, &outcome], Some(0.0));
        assert!(comparison.worse.is_empty(), "{:?}", comparison.worse);
        assert!(
            comparison.text.starts_with("a: a.json, quick against 127.0.0.1:1883\nb: b.json"),
            "{}",
            comparison.text
        );
        assert!(comparison.text.lines().skip(4).all(|line| line.ends_with(" =")), "{}", comparison.text);
        assert!(comparison.text.contains("  delivery p99 "), "{}", comparison.text);
    }

    #[test]
    fn what_became_worse_is_named_within_what_is_allowed() {
        let (a, mut b) = (sample::outcome(), sample::outcome());
        b.timings.latency_intended.clear();
        (1..=199).for_each(|ns| b.timings.latency_intended.record(ns * 12_000));
        b.measured.messages_received /= 2;
        b.verdict.deliveries[1].received -= 5;
        let worse = |tolerance: f64| outcomes(&names(), [&a, &b], Some(tolerance)).worse;
        let told = worse(0.1);
        for part in [
            "received is worse: 99.50 /s became 49.50 /s",
            "delivery p50 is worse: 1.00 ms became 1.20 ms",
            "messages lost",
        ] {
            assert!(told.iter().any(|line| line.contains(part)), "{part}: {told:?}");
        }
        assert!(!told.iter().any(|line| line.contains(" max ") || line.contains("p99.9")), "one message: {told:?}");
        assert!(!worse(0.3).iter().any(|line| line.contains("delivery p50")), "{:?}", worse(0.3));
        let better = outcomes(&names(), [&b, &a], Some(0.1));
        assert!(better.worse.iter().all(|line| line.contains("broker CPU a message")), "{:?}", better.worse);
        assert!(outcomes(&names(), [&a, &b], None).worse.is_empty(), "nobody asked");
    }

    #[test]
    fn what_makes_a_pair_unfair_is_told_first() {
        let (a, mut b) = (sample::outcome(), sample::outcome());
        b.loop_kind = crate::plan::LoopKind::Closed;
        b.window = 16;
        b.ending = Ending::Interrupted;
        let text = outcomes(&names(), [&a, &b], None).text;
        assert!(
            text.starts_with(
                "note: not the same loop: open and closed\nnote: not the same window: 0 and 16\nnote: b was interrupted\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_report_is_told_by_its_name() {
        let file = std::env::temp_dir().join(format!("loadtest-compare-{}.json", std::process::id()));
        std::fs::write(&file, "{}").unwrap();
        let error = files(&file, &file, None).unwrap_err();
        assert!(error.contains("this is no report of loadtest"), "{error}");
        std::fs::remove_file(&file).unwrap();
        assert!(files(&file, &file, None).unwrap_err().contains("No such file"));
    }
}
