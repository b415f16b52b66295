//! The command line: what can be asked for, and the plan that it means.
//!
//! Owns: flags, their help, and turning them into an [`Order`]. Always holds: a flag that has no use for what was asked
//! for is an error; a wrong value is told before anything runs, with what is right. `-h` is the broker's host as in
//! emqtt-bench, so help is `--help`.

mod bench;
mod files;
mod flags;
mod list;

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};

pub use files::Files;
pub use flags::Common;
pub use list::text as list_text;

use crate::{exit::STATUSES, machine::sample, plan::Plan, preset, scenario, threshold::Threshold};

const ABOUT: &str = "A load generator for MQTT brokers that can be believed: publishers and subscribers in one run with one \
clock, an open loop without coordinated omission, and a verdict on every message.";
const EXAMPLES: &str = "\
Examples:
  loadtest                                       a short workload against 127.0.0.1:1883
  loadtest list                                  workloads by name
  loadtest p2p-1K-1K-1K-1K -h broker --fail-if 'p99>5ms' --fail-if 'loss>0'
  loadtest one-to-one --clients 50 --window 16   closed loop
  loadtest sub -c 100 -t 'bench/%i' -q 1         as emqtt-bench
  loadtest run evening.toml --html evening.html  a scenario with stages";

/// What was asked for.
#[derive(Debug)]
pub enum Order {
    /// A load, and how to report it.
    Run(Box<Run>),
    /// `loadtest list`.
    List,
    /// `loadtest agent`.
    Agent {
        /// Where to listen.
        listen: String,
    },
}

/// A load, and how to report it.
#[derive(Clone, Debug)]
pub struct Run {
    /// What to do.
    pub plan: Plan,
    /// What makes it fail.
    pub thresholds: Vec<Threshold>,
    /// Where the broker's figures come from.
    pub broker: Option<sample::Broker>,
    /// Where reports go.
    pub files: Files,
    /// Processes that share the load; none: this one does it.
    pub agents: Vec<String>,
    /// No lines while it runs.
    pub is_quiet: bool,
    /// Whether to check the machine first.
    pub is_checked: bool,
}

#[derive(Debug, Parser)]
#[command(
    name = "loadtest",
    version,
    about = ABOUT,
    after_help = format!("{EXAMPLES}\n\n{STATUSES}"),
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    subcommand_value_name = "COMMAND",
    max_term_width = 110
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// A workload by name (`loadtest list`); without one, `quick`
    workload: Option<String>,
    #[command(flatten)]
    tuning: flags::Tuning,
    #[command(flatten)]
    common: Common,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help, global = true)]
    help: Option<bool>,
    /// Print the version
    #[arg(long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Describe the workloads that have names
    List,
    /// Carry out a scenario: a TOML file with groups of clients and stages (docs/LOADTEST.md)
    Run {
        /// The scenario
        file: PathBuf,
    },
    /// Connect clients and keep them, as emqtt-bench
    Conn(bench::Conn),
    /// Publish, as emqtt-bench
    Pub(bench::Pub),
    /// Subscribe, as emqtt-bench
    Sub(bench::Sub),
    /// Wait for a loadtest elsewhere (--agents) and carry out its share; anyone who reaches the address can start a load
    Agent {
        /// Address and port to listen on; port 0 takes a free one and says which
        #[arg(long, default_value = "127.0.0.1:7883", value_name = "ADDR:PORT")]
        listen: String,
    },
}

/// Reads a command line. An error prints itself: help and version on standard output, the rest on standard error.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Order, clap::Error> {
    let arguments = Arguments::try_parse_from(arguments)?;
    order(arguments).map_err(|error| Arguments::command().error(ErrorKind::ValueValidation, error))
}

fn order(arguments: Arguments) -> Result<Order, String> {
    let Arguments { command, workload, tuning, common, .. } = arguments;
    let tuned = tuning.read()?;
    if command.is_some() && (workload.is_some() || tuned != preset::Tuning::default()) {
        return Err(
            "--clients, --publishers, --subscribers, --rate, --window, --messages, --qos, --payload, --duration, \
             --connect-rate and --pipeline are for workloads by name; this command has flags of its own (see its --help)"
                .to_owned(),
        );
    }
    let (mut plan, mut thresholds) = match command {
        Some(Command::List) => return Ok(Order::List),
        Some(Command::Agent { listen }) => return Ok(Order::Agent { listen }),
        Some(Command::Run { file }) => {
            let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let scenario = scenario::read(&name, &text).map_err(|error| format!("{}: {error}", file.display()))?;
            (scenario.plan, scenario.thresholds)
        }
        Some(Command::Conn(conn)) => (conn.plan(common.prefix()), Vec::new()),
        Some(Command::Pub(publish)) => (publish.plan(common.prefix())?, Vec::new()),
        Some(Command::Sub(subscribe)) => (subscribe.plan(common.prefix()), Vec::new()),
        None => {
            let name = workload.as_deref().unwrap_or(preset::CANONICAL);
            let mut plan = preset::build(name, &tuned)?;
            common.rename(&mut plan);
            (plan, Vec::new())
        }
    };
    common.fill(&mut plan)?;
    plan.check().map_err(|error| error.to_string())?;
    thresholds.extend(common.thresholds()?);
    Ok(Order::Run(Box::new(Run {
        plan,
        thresholds,
        broker: common.broker()?,
        files: common.files(),
        agents: common.agents(),
        is_quiet: common.quiet,
        is_checked: !common.no_preflight,
    })))
}

#[cfg(test)]
mod tests;
