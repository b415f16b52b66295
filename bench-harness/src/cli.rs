//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Measures dunlin beside other MQTT brokers on this machine, and writes tables and plots from it.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures cells and adds them to a results file.
    Run(RunOptions),
    /// Writes docs/measurements/DATE.md, with its figures and plots, from a results file.
    Report(ReportOptions),
    /// Takes the figures and plots of one day over into the marked places of PERFORMANCE.md, README.md and docs/CAPACITY.md.
    Adopt(AdoptOptions),
    /// Says whether documents and plots agree with the figures in docs/measurements.
    Check(CheckOptions),
    /// Lists the cells, and the brokers with what they say of themselves.
    List,
}

/// What to measure, and with what.
#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    /// Results file; what it holds of other cells stays.
    #[arg(long, default_value = "target/bench/results.json")]
    pub results: PathBuf,
    /// Cells by name, or all whose names contain a word, separated by commas; all by default.
    #[arg(long, value_delimiter = ',')]
    pub cells: Vec<String>,
    /// Brokers, separated by commas. Without it: all that `list` shows but RabbitMQ, whose start takes 20 s each time.
    #[arg(long, value_delimiter = ',')]
    pub brokers: Vec<String>,
    /// A broker of your own, as name=path/to/start.sh. The script is called with `PORT` and `DATA_DIR`, listens on
    /// 127.0.0.1:PORT and stays in the foreground; `BENCH_THREADS` says for how many cores to configure it. `@tls,mutual,ws,wss` behind
    /// it says what it can listen for beside TCP (`BENCH_TRANSPORT`; bench-harness/brokers/lib.sh), `disk` that it keeps what it
    /// acknowledges on a disk if it is told so (`BENCH_STORAGE`).
    #[arg(long = "broker", value_name = "NAME=SCRIPT")]
    pub added: Vec<String>,
    /// Rounds; the brokers take turns in each.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Length of the measured stage where a cell has no end of its own.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Small loads, one round, a short measured stage: to see that everything works, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// The built loadtest.
    #[arg(long, env = "LOADTEST", default_value = "target/release/loadtest")]
    pub loadtest: PathBuf,
    /// The built relay benchmark; without it the floor is not measured.
    #[arg(long, env = "RELAY")]
    pub relay: Option<PathBuf>,
    /// The built trie benchmark; with it the subscription index is measured as well.
    #[arg(long, env = "TRIE")]
    pub trie: Option<PathBuf>,
    /// The broker's core, where a cell gives it one.
    #[arg(long, default_value_t = 0)]
    pub broker_core: usize,
    /// The generator's core in those cells, and always this program's.
    #[arg(long, default_value_t = 1)]
    pub generator_core: usize,
    /// Where brokers keep their files in the cells that are about a disk; it must be on one.
    #[arg(long, default_value = "target/bench")]
    pub disk: PathBuf,
    /// What else the machine did, for the description.
    #[arg(long, default_value = "")]
    pub remark: String,
}

/// What to write.
#[derive(Args, Debug)]
pub(crate) struct ReportOptions {
    /// Results file.
    #[arg(long, default_value = "target/bench/results.json")]
    pub results: PathBuf,
    /// The day, as YYYY-MM-DD: the name of what is written.
    #[arg(long, value_parser = date)]
    pub date: String,
    /// Takes the figures from docs/measurements/DATE.json instead of the results file: draws the same anew.
    #[arg(long)]
    pub redraw: bool,
    /// The repository.
    #[arg(long, default_value = ".")]
    pub root: PathBuf,
}

/// What to take over.
#[derive(Args, Debug)]
pub(crate) struct AdoptOptions {
    /// The day, as YYYY-MM-DD.
    #[arg(long, value_parser = date)]
    pub date: String,
    /// The repository.
    #[arg(long, default_value = ".")]
    pub root: PathBuf,
}

/// What to look at.
#[derive(Args, Debug)]
pub(crate) struct CheckOptions {
    /// The repository.
    #[arg(long, default_value = ".")]
    pub root: PathBuf,
}

/// A day, by its form alone: the calendar is the caller's.
pub(crate) fn date(text: &str) -> Result<String, String> {
    let is_digit = |(at, byte): (usize, u8)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() };
    if text.len() == 10 && text.bytes().enumerate().all(is_digit) {
        return Ok(text.to_owned());
    }
    Err("a day is written YYYY-MM-DD".to_owned())
}
