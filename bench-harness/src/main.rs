//! bench-harness: dunlin beside other MQTT brokers, on one machine, in one run.
//!
//! Owns the measuring and the writing of what docs/measurements shows; `scripts/bench` builds what it needs and calls it.
//! It knows the built binaries only (dunlin, loadtest, the relay) and no crate of this repository. What always holds:
//! brokers take turns within a cell, round by round; a figure is a median with its least and most; and a broker that lost,
//! doubled or disordered anything in a cell has no figure there.
//!
//! Read in this order: `cells` (what is measured), `broker` (whom), `measure` (how), `results` and `summary`, then
//! `report`.

#![allow(clippy::cast_precision_loss, reason = "counts and times of a run are far below 2^52")]
#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "process ids and ticks of an axis are small and positive"
)]
#![cfg_attr(test, allow(clippy::float_cmp, reason = "figures that are passed on, not computed"))]
#![forbid(unsafe_code)]

mod broker;
mod cells;
mod cli;
mod distribution;
mod floor;
mod generator;
mod index;
mod machine;
mod measure;
mod noise;
mod redis;
mod report;
mod results;
mod run;
mod scenario;
mod stats;
mod summary;
mod transport;
mod usage;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let done = match &arguments.command {
        cli::Command::Run(options) => run::run(options),
        cli::Command::Report(options) => report::write(options),
        cli::Command::Adopt(options) => report::adopt(options),
        cli::Command::Check(options) => report::check(options),
        cli::Command::List => {
            run::list();
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench-harness: {problem}");
            ExitCode::FAILURE
        }
    }
}
