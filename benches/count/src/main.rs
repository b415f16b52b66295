//! Counts what dunlin's hot paths cost, in instructions and allocations, and compares with `benches/baseline.toml`.
//!
//! `cargo run --release -p count` fails when a case costs more than 5 % above its baseline, or when cases and baseline
//! are not the same; `-- --write` writes the baseline anew, for a commit that says why. The program runs itself once
//! under `valgrind --tool=callgrind`, which counts the same on every run of one build, whatever else the machine does,
//! and needs no hardware counters.

#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

mod baseline;
mod callgrind;
mod cases;
mod connected;
mod world;

use baseline::{Cost, Verdict};
use cases::{CASES, RULES_RATIO_MAX, WITH_RULES};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [callgrind::INSIDE] => {
            callgrind::run_all();
            ExitCode::SUCCESS
        }
        [] => report(&count(), false),
        ["--write"] => report(&count(), true),
        _ => {
            eprintln!("no argument, or --write");
            ExitCode::FAILURE
        }
    }
}

/// Every case with what one unit of it costs.
fn count() -> Vec<(&'static str, Cost)> {
    let instructions = callgrind::count().unwrap_or_else(|error| panic!("{error}"));
    let costs = CASES.iter().zip(instructions).map(|(case, instructions)| {
        let mut work = (case.ready)();
        work();
        let allocations = allocation_counter::measure(&mut work).count_total;
        let each = |count: u64| count as f64 / case.units as f64;
        (case.name, Cost { instructions: each(instructions).round(), allocations: each(allocations) })
    });
    costs.collect()
}

fn report(counted: &[(&'static str, Cost)], write: bool) -> ExitCode {
    let before = baseline::read();
    println!("{:<36} {:>14} {:>10} {:>13}", "a unit of", "instructions", "baseline", "allocations");
    let mut grown = 0;
    for (name, cost) in counted {
        let (verdict, was) = baseline::compare(*cost, before.get(*name).copied());
        grown += usize::from(verdict == Verdict::Grown);
        let word = match verdict {
            Verdict::Same => "",
            Verdict::Grown => "  MORE THAN 5 % ABOVE THE BASELINE",
            Verdict::Shrunk => "  less: lower the baseline with --write",
        };
        println!("{name:<36} {:>14} {was:>10} {:>13.3}{word}", cost.instructions, cost.allocations);
    }
    if write {
        baseline::write(counted);
        println!("benches/baseline.toml is written; say in the commit why");
        return ExitCode::SUCCESS;
    }
    let dear = rules_that_cost_too_much(counted);
    let gone: Vec<&String> = before.keys().filter(|name| !counted.iter().any(|(counted, _)| counted == name)).collect();
    for line in &dear {
        println!("{line}");
    }
    if grown == 0 && gone.is_empty() && dear.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{grown} cases have grown, {} of the baseline are gone: {gone:?}", gone.len());
    println!("where that is on purpose: cargo run --release -p count -- --write, and say why in the commit");
    ExitCode::FAILURE
}

/// Access rules have a bound that no baseline moves: what they may add to the same work without them.
fn rules_that_cost_too_much(counted: &[(&'static str, Cost)]) -> Vec<String> {
    let cost = |wanted: &str| {
        let found = counted.iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("no case is called {wanted:?}")).1.instructions
    };
    let compared = WITH_RULES.iter().map(|&(without, with)| (with, cost(with) / cost(without)));
    let dear = compared.filter(|(_, ratio)| *ratio > RULES_RATIO_MAX);
    dear.map(|(name, ratio)| {
        format!("{name}: {ratio:.3} of what it costs without rules, and {RULES_RATIO_MAX} is the most")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_cost_more_than_a_twentieth_are_told() {
        let counted = |with: f64| -> Vec<(&'static str, Cost)> {
            let pairs = WITH_RULES.iter().flat_map(|&(without, rules)| [(without, 1_000.0), (rules, with)]);
            pairs.map(|(name, instructions)| (name, Cost { instructions, allocations: 0.0 })).collect()
        };
        assert!(rules_that_cost_too_much(&counted(1_050.0)).is_empty());
        assert_eq!(rules_that_cost_too_much(&counted(1_051.0)).len(), WITH_RULES.len());
    }

    #[test]
    fn each_case_that_is_compared_is_counted() {
        for name in WITH_RULES.iter().flat_map(|&(without, with)| [without, with]) {
            assert!(CASES.iter().any(|case| case.name == name), "{name}");
        }
    }
}
