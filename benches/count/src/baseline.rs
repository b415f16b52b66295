//! The committed baseline: what each case cost when somebody last decided that it may.

use std::collections::BTreeMap;
use std::fmt::Write;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../baseline.toml");
/// Growth beyond this fails.
const GROWTH_MAX: f64 = 1.05;
const HEAD: &str = "\
# Instructions and allocations a unit (a packet, a match, a delivery, a client) of dunlin's hot paths, as counted by
# `cargo run --release -p count`. It fails when one grows by more than 5 %; `-- --write` writes this file anew, for a
# commit that says why.
";

/// What one unit costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) instructions: f64,
    pub(super) allocations: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Grown,
    Shrunk,
}

/// The baseline by case; empty where the file is not there.
pub(super) fn read() -> BTreeMap<String, Cost> {
    parse(&std::fs::read_to_string(PATH).unwrap_or_default())
}

pub(super) fn write(counted: &[(&'static str, Cost)]) {
    std::fs::write(PATH, format(counted)).expect("the repository can be written");
}

/// What a case's cost means beside its baseline, and the baseline as it is shown.
pub(super) fn compare(cost: Cost, before: Option<Cost>) -> (Verdict, String) {
    let Some(before) = before else { return (Verdict::Grown, "none".to_owned()) };
    let grown = |is: f64, was: f64| is > was * GROWTH_MAX;
    // Thousandths of an allocation a unit are a buffer that grew once.
    let verdict = if grown(cost.instructions, before.instructions) || grown(cost.allocations, before.allocations + 0.01)
    {
        Verdict::Grown
    } else if grown(before.instructions, cost.instructions) {
        Verdict::Shrunk
    } else {
        Verdict::Same
    };
    (verdict, before.instructions.to_string())
}

fn format(counted: &[(&'static str, Cost)]) -> String {
    let mut text = HEAD.to_owned();
    for (name, cost) in counted {
        let Cost { instructions, allocations } = cost;
        writeln!(text, "\"{name}\" = {{ instructions = {instructions}, allocations = {allocations:.3} }}")
            .expect("a String takes everything");
    }
    text
}

/// Reads what `format` writes; a line that is neither that nor a comment stops the program.
fn parse(text: &str) -> BTreeMap<String, Cost> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| parse_line(line).unwrap_or_else(|| panic!("baseline.toml: {line}"))).collect()
}

fn parse_line(line: &str) -> Option<(String, Cost)> {
    let (name, rest) = line.strip_prefix('"')?.split_once("\" = { instructions = ")?;
    let (instructions, rest) = rest.split_once(", allocations = ")?;
    let allocations = rest.strip_suffix(" }")?.parse().ok()?;
    Some((name.to_owned(), Cost { instructions: instructions.parse().ok()?, allocations }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn cost(instructions: f64, allocations: f64) -> Cost {
        Cost { instructions, allocations }
    }

    #[test]
    fn what_is_written_is_read() {
        let counted = [("turn: a", cost(1_234.0, 0.0)), ("turn: b, c", cost(7.0, 2.125))];
        let read = parse(&format(&counted));
        assert_eq!(read.len(), 2);
        assert!(counted.iter().all(|(name, cost)| read[*name] == *cost));
    }

    #[test]
    fn more_than_five_percent_is_growth_and_so_is_a_case_without_a_baseline() {
        let before = Some(cost(1_000.0, 2.0));
        let table = [
            (cost(1_050.0, 2.0), Verdict::Same),
            (cost(1_051.0, 2.0), Verdict::Grown),
            (cost(1_000.0, 3.0), Verdict::Grown),
            (cost(960.0, 2.0), Verdict::Same),
            (cost(940.0, 2.0), Verdict::Shrunk),
        ];
        for (cost, expected) in table {
            assert_eq!(compare(cost, before).0, expected, "{cost:?}");
        }
        assert_eq!(compare(cost(1.0, 0.0), None).0, Verdict::Grown);
        assert_eq!(compare(cost(1.0, 0.5), Some(cost(1.0, 0.0))).0, Verdict::Grown, "none was allocated before");
    }
}
