//! `dunlin doctor`: whether this machine carries so many clients, and what to do where it does not.
//!
//! Owns: what is looked at, what is needed of it for N clients, and the command that mends it.
//! Always holds: facts are read in one place and judged in another, which asks nothing of the machine. Nothing is changed.
//! Leaves to others: what the broker itself checks when it starts (`ring::probe`), which is less.

#![allow(clippy::doc_markdown, reason = "what explains an option is shown on terminals, as it stands")]

mod facts;
mod finding;
mod judge_files;
mod judge_network;
mod judge_system;
mod owner;
mod read;
#[cfg(test)]
mod tests;
mod unit;
mod units;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use serde_json::json;

use self::facts::{DoctorNeed, MachineFacts};
use self::finding::{DoctorFinding, FindingLevel};
use super::needs::needs;
use crate::config::{self, Config, ConfigError, Exit, Invocation, ListenAddress, Storage};

/// Says whether this machine carries so many clients, and the command that mends each thing that is short
///
/// Each line has what is, what is needed and why. Nothing is changed; a file of 256 KiB is written to the data directory to measure the
/// disk, and removed. Limits on open files, locked memory and memory are those of the service's unit, where systemd has one.
/// Exit status: 0 all is fine, 1 something must be mended, 2 the command line cannot be understood.
#[derive(Debug, Parser)]
#[command(name = "dunlin doctor", bin_name = "dunlin doctor", max_term_width = 100)]
struct DoctorArguments {
    /// How many clients there will be, such as 100k or 1M [default: max_connections where it is set, else 100k]
    #[arg(long, value_name = "N", value_parser = units::clients)]
    clients: Option<u64>,

    /// The broker's configuration file
    #[arg(short, long, value_name = "FILE", env = "DUNLIN_CONFIG")]
    config: Option<PathBuf>,

    /// The unit whose limits count, or none for those of this shell [default: dunlin.service where systemd has it]
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Its command line, for completions and manuals.
pub fn command() -> clap::Command {
    DoctorArguments::command()
}

/// Runs it; the first argument is `doctor` itself.
pub fn run(arguments: &[OsString]) -> Exit {
    let arguments = match DoctorArguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // A terminal that has gone is told nothing.
            let _ = error.print();
            return exit;
        }
    };
    let (config, problems) = load(&arguments);
    let mut facts = read::read(config.as_ref());
    let unit = arguments.unit.as_deref().unwrap_or("dunlin.service");
    if unit != "none" {
        match unit::limits(unit) {
            Some(limits) => limits.take_the_place_of(&mut facts, unit),
            None if arguments.unit.is_some() => {
                // A terminal that has gone is told nothing.
                let _ = writeln!(io::stderr(), "dunlin doctor: systemd has no unit {unit}");
                return Exit::Usage;
            }
            None => {}
        }
    }
    facts.configuration = problems;
    let need = need(&arguments, config.as_ref());
    let findings = judge(&facts, &need);
    let worst = findings.iter().map(|finding| finding.level).max();
    let text = if arguments.json { in_json(&findings, &need) } else { in_text(&findings, &need) };
    // Whoever closes a pager early has seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    if worst == Some(FindingLevel::Mend) { Exit::TestFailed } else { Exit::Ok }
}

/// The configuration, or what is wrong with it.
fn load(arguments: &DoctorArguments) -> (Option<Config>, Vec<String>) {
    let mut words = vec![OsString::from("dunlin")];
    if let Some(file) = &arguments.config {
        words.extend([OsString::from("--config"), file.into()]);
    }
    match config::load(words, std::env::vars_os()) {
        Ok(Invocation::Run(config)) => (Some(*config), Vec::new()),
        Err(ConfigError::Invalid { problems, .. }) => (None, problems.iter().map(ToString::to_string).collect()),
        Err(error) => (None, vec![error.to_string()]),
        Ok(_) => (None, Vec::new()),
    }
}

fn need(arguments: &DoctorArguments, config: Option<&Config>) -> DoctorNeed {
    const CLIENTS_UNSAID: u64 = 100_000;
    let chosen = config.filter(|config| config.is_given("max-connections"));
    let clients = arguments.clients.or(chosen.map(|config| config.process.connections_max.into()));
    let clients = clients.unwrap_or(CLIENTS_UNSAID);
    let Some(config) = config else {
        let memlock_bytes = (0, 0);
        return DoctorNeed {
            clients,
            connections_max: None,
            shards: 1,
            has_tls: false,
            memlock_bytes,
            ports: Vec::new(),
            disk_bytes: None,
        };
    };
    let needs = needs(config);
    let shards = config.settings.shards as u64;
    let port = |address: &ListenAddress| match address {
        ListenAddress::Ip(address) => Some(address.port()),
        ListenAddress::Unix(_) => None,
    };
    let of_listeners = config.listeners.iter().filter_map(|listener| port(&listener.address));
    // Four files are made ahead, and one is written to.
    let log_bytes = shards * 5 * config.store.segment_size_bytes;
    let on_disk = config.store.storage == Storage::Disk;
    DoctorNeed {
        clients,
        connections_max: Some(config.process.connections_max.into()),
        shards,
        has_tls: config.listeners.iter().any(|listener| listener.settings.kind.has_tls()),
        memlock_bytes: (needs.memlock_bytes, needs.memlock_always_bytes),
        ports: of_listeners.chain(config.admin_address().map(|address| address.port())).collect(),
        disk_bytes: on_disk.then_some(log_bytes + config.store.free_space_min_bytes),
    }
}

/// What the facts come to.
fn judge(facts: &MachineFacts, need: &DoctorNeed) -> Vec<DoctorFinding> {
    let mut findings = Vec::new();
    judge_system::judge(facts, need, &mut findings);
    judge_network::judge(facts, need, &mut findings);
    findings.extend(places(need));
    judge_files::judge(facts, need, &mut findings);
    findings
}

/// Whether as many are let in as are asked about.
fn places(need: &DoctorNeed) -> Option<DoctorFinding> {
    let max = need.connections_max?;
    let is = format!("{} clients are let in at one time", units::grouped(max));
    let needed = format!("{} are asked about", units::grouped(need.clients));
    let mend = format!("write max_connections = {} into the configuration", need.clients);
    Some(DoctorFinding::fine("max_connections", is, needed).unless(max >= need.clients, FindingLevel::Mend, mend))
}

fn in_text(findings: &[DoctorFinding], need: &DoctorNeed) -> String {
    let clients = units::counted(need.clients, "client");
    let shards = units::counted(need.shards, "shard");
    let mend = findings.iter().filter(|finding| finding.level == FindingLevel::Mend).count();
    let verdict = match mend {
        0 => format!("This machine is fine for {clients}.\n"),
        1 => "One thing must be mended.\n".to_owned(),
        _ => format!("{mend} things must be mended.\n"),
    };
    let text = finding::to_text(findings);
    format!("For {clients} on {shards}:\n\n{text}\n{verdict}{}", if mend > 0 { LASTING } else { "" })
}

/// A sysctl is gone with the next start of the machine.
const LASTING: &str =
    "sysctl -w lasts until the machine starts again: NAME=VALUE in /etc/sysctl.d/90-dunlin.conf stays.\n";

fn in_json(findings: &[DoctorFinding], need: &DoctorNeed) -> String {
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(FindingLevel::Fine);
    let value = json!({
        "clients": need.clients,
        "shards": need.shards,
        "level": worst.word().to_lowercase(),
        "findings": findings.iter().map(DoctorFinding::to_json).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}
