//! The command line: what can be asked for, and the plan that it means.
//!
//! Owns: flags, their help, and turning them into an [`Order`]. Always holds: a flag that has no use for what was asked
//! for is an error; a wrong value is told before anything runs, with what is right. `-h` is the broker's host as in
//! emqtt-bench, so help is `--help`.

mod bench;
mod files;
mod flags;
mod list;
mod numbers;
mod transport;
mod words;

use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};

pub use files::Files;
pub use flags::Common;
pub use list::text as list_text;

use crate::{
    exit::STATUSES,
    machine::sample,
    plan::{Plan, PlanError},
    preset, scenario,
    threshold::Threshold,
};

const ABOUT: &str = "A load generator for MQTT brokers that can be believed: publishers and subscribers in one run with one \
clock, an open loop without coordinated omission, and a verdict on every message.";
const EXAMPLES: &str = "\
Examples:
  loadtest                                       a short workload against 127.0.0.1:1883
  loadtest list                                  workloads by name
  loadtest p2p-1K-1K-1K-1K -h broker --fail-if 'p99>5ms' --fail-if 'loss>0'
  loadtest one-to-one --clients 50 --window 16   closed loop
  loadtest sub -c 100 -t 'bench/%i' -q 1         as emqtt-bench
  loadtest run evening.toml --html evening.html  a scenario with stages
  loadtest durable --start-script ./start-broker kills a broker, and accounts for every acknowledged message
  loadtest compare before.json after.json        two reports (-o FILE) side by side";

/// What was asked for.
#[derive(Debug)]
pub enum Order {
    /// A load, and how to report it.
    Run(Box<Run>),
    /// `loadtest list`.
    List,
    /// `loadtest compare`.
    Compare {
        /// Two reports.
        files: [PathBuf; 2],
        /// By how much a figure may be worse, where that makes it fail: 0.1 is a tenth.
        tolerance: Option<f64>,
    },
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
    /// Where a Prometheus page of the run is served while it goes on.
    pub metrics_listen: Option<String>,
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
    #[command(override_help = words::LIST_HELP)]
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
    /// Put two reports (-o FILE) side by side: what became better or worse
    #[command(override_help = words::COMPARE_HELP)]
    Compare {
        /// The report to compare with
        first: PathBuf,
        /// The report that is compared
        second: PathBuf,
        /// Exit with 1 if a figure of the second report is worse by more than this
        #[arg(long, value_name = "PERCENT", value_parser = numbers::share)]
        fail_if_worse: Option<f64>,
    },
    /// Wait for a loadtest elsewhere (--agents) and carry out its share; anyone who reaches the address can start a load
    #[command(override_help = words::AGENT_HELP)]
    Agent {
        /// Address and port to listen on; port 0 takes a free one and says which
        #[arg(long, default_value = "127.0.0.1:7883", value_name = "ADDR:PORT", value_parser = numbers::listen_address)]
        listen: String,
    },
}

/// Reads a command line. An error prints itself: help and version on standard output, the rest on standard error.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Order, clap::Error> {
    let wrong = |error: String| Arguments::command().error(ErrorKind::ValueValidation, error);
    let matches = Arguments::command()
        .try_get_matches_from(arguments)
        .map_err(|error| words::answered(&error).map_or(error, wrong))?;
    let arguments = Arguments::from_arg_matches(&matches)?;
    if let Some(command @ ("agent" | "compare" | "list")) = matches.subcommand_name()
        && let Some(flag) = matches.subcommand_matches(command).and_then(Common::first_given)
    {
        return Err(wrong(format!("{command} has no use for {flag}: `loadtest {command} --help` shows what it takes")));
    }
    order(arguments).map_err(wrong)
}

fn order(arguments: Arguments) -> Result<Order, String> {
    let Arguments { command, workload, tuning, common, .. } = arguments;
    let tuned = tuning.read();
    if command.is_some() && (workload.is_some() || tuned != preset::Tuning::default()) {
        return Err(
            "--clients, --publishers, --subscribers, --rate, --window, --messages, --qos, --payload, --duration, \
             --connect-rate, --pipeline, --start-script, --kills and --kill-every are for workloads by name; this command has flags of its own (see its --help)"
                .to_owned(),
        );
    }
    let is_bench = matches!(command, Some(Command::Conn(_) | Command::Pub(_) | Command::Sub(_)));
    let (mut plan, mut thresholds) = match command {
        Some(Command::List) => return Ok(Order::List),
        Some(Command::Agent { listen }) => return Ok(Order::Agent { listen }),
        Some(Command::Compare { first, second, fail_if_worse }) => {
            return Ok(Order::Compare { files: [first, second], tolerance: fail_if_worse });
        }
        Some(Command::Run { file }) => {
            let scenario = scenario(&file)?;
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
    plan.check().map_err(|error| flagged(&error, is_bench))?;
    if let Some(restarts) = &plan.target.restarts {
        if restarts.script.is_none() {
            return Err(format!(
                "{} kills the broker and starts it again, so it must know how: --start-script FILE, an executable that becomes \
                 the broker (exec) at {}, each time with the same data",
                plan.name,
                plan.target.name()
            ));
        }
        if !common.agents().is_empty() {
            return Err(format!("{} has no use for --agents: the broker is started by who kills it", plan.name));
        }
    }
    thresholds.extend(common.thresholds()?);
    Ok(Order::Run(Box::new(Run {
        plan,
        thresholds,
        broker: common.broker()?,
        files: common.files(),
        metrics_listen: common.metrics_listen.clone(),
        agents: common.agents(),
        is_quiet: common.quiet,
        is_checked: !common.no_preflight,
    })))
}

fn scenario(file: &Path) -> Result<scenario::Scenario, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = file.parent().unwrap_or(Path::new("."));
    scenario::read(&name, &text, folder).map_err(|problems| {
        let told = problems.iter().map(|problem| format!("{}:{problem}", file.display()));
        told.collect::<Vec<_>>().join("\n  ")
    })
}

/// What is wrong with a plan that flags made, by the name of the flag.
fn flagged(error: &PlanError, is_bench: bool) -> String {
    let flag = match (error.key, is_bench) {
        (Some("topic" | "subscribe"), _) => "--topic",
        (Some("payload"), true) => "--size",
        (Some("payload"), false) => "--payload",
        (Some("rate"), true) => "--interval-of-msg",
        (Some("rate"), false) => "--rate",
        (Some("targets"), _) => "--clients",
        _ => return error.problem.clone(),
    };
    format!("{flag}: {}", error.problem)
}

#[cfg(test)]
mod tests;
