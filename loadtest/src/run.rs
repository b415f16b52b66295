//! One run from its order to its exit status: check the machine, run, record, judge, report.
//!
//! Owns: the order of these steps, Ctrl-C, and where reports go. Always holds: reports are opened before the first
//! connection, so that half an hour of load is never lost to a misspelled folder; whatever way a run ends, every report that
//! was asked for is written if there is an outcome; a password stands in no report.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    agents,
    checks::{check_machine, check_sources},
    cli::{Files, Run},
    engine::{Control, Engine},
    exit::{self, Exit, Failure, Judgement},
    exporter::{Exporter, Shown},
    killer::{Killed, Killer},
    machine::{describe, record::Recorder},
    outcome::Outcome,
    report::{self, console::Console},
};

/// The status of a process that an interrupt ended.
const INTERRUPTED_STATUS: i32 = 130;

/// Carries out an order. The line of a failure is for standard error.
pub fn run(order: &Run, engine: Engine) -> Result<Exit, Failure> {
    if order.agents.is_empty() {
        check_sources(&order.plan)?;
    }
    if order.is_checked && order.agents.is_empty() {
        check_machine(&order.plan, order.broker.as_ref(), order.is_quiet)?;
    }
    let outputs = Outputs::open(&order.files)?;
    let control = Control::default();
    listen_for_interrupts(&control.flag())?;
    let mut killer = Killer::start(&order.plan, &control, order.is_quiet)?;
    let mut console = Console::new(order.is_quiet, control.flag());
    let exporter = order.metrics_listen.as_deref().map(|listen| exporter(listen, &order.plan.name)).transpose()?;
    if let Some(exporter) = &exporter {
        console.tell(&format!("metrics at http://{}/metrics", exporter.address()));
    }
    let mut killed = Killed { killer: killer.as_mut(), next: &mut console };
    let mut watcher = Shown { exporter, next: &mut killed };
    let recorder = Recorder::start(order.broker.clone());
    let result = if order.agents.is_empty() {
        engine(&order.plan, &control, &mut watcher)
            .map(|outcome| agents::Merged { outcome, missing: Vec::new() })
            .map_err(Failure::from)
    } else {
        agents::run(&order.plan, &order.agents, &control, &mut watcher)
    };
    console.finish();
    let agents::Merged { mut outcome, missing } = result?;
    if let Some(killer) = killer {
        killer.finish(&mut outcome);
    }
    if let Some(recorder) = recorder {
        recorder.finish().fill(&mut outcome);
    }
    outcome.machine.get_or_insert_with(describe::machine);
    outcome.command_line = without_password(std::env::args());
    let judgement = exit::judge(&order.plan, &outcome, &order.thresholds, &missing);
    outputs.write(&outcome, &judgement)?;
    Ok(judgement.exit)
}

fn exporter(listen: &str, name: &str) -> Result<Exporter, Failure> {
    Exporter::start(listen, name)
        .map_err(|error| Failure::new(Exit::Usage, format!("--metrics-listen {listen}: {error}")))
}

/// Once sets the flag, and the run ends cleanly; twice ends the process.
fn listen_for_interrupts(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the second signal finds the flag that the first one set.
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED_STATUS, Arc::clone(stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(stop)))
            .map_err(|error| Failure::new(Exit::Machine, format!("signals: {error}")))?;
    }
    debug_assert!(!stop.load(Ordering::SeqCst));
    Ok(())
}

/// The arguments, with stars where a password was.
fn without_password(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut is_password = false;
    let hide = |argument: String| {
        if std::mem::take(&mut is_password) {
            return "***".to_owned();
        }
        is_password = argument == "-P" || argument == "--password";
        match argument.strip_prefix("--password=") {
            Some(_) => "--password=***".to_owned(),
            None if argument.starts_with("-P") && argument.len() > 2 => "-P***".to_owned(),
            None => argument,
        }
    };
    arguments.map(hide).collect()
}

/// The reports that were asked for, each opened.
struct Outputs {
    json: Option<Output>,
    csv: Option<Output>,
    hdr: Option<Output>,
    html: Option<Output>,
}

struct Output {
    path: PathBuf,
    /// `None`: standard output.
    file: Option<File>,
}

impl Outputs {
    fn open(files: &Files) -> Result<Self, Failure> {
        let open = |path: &Option<PathBuf>| -> Result<Option<Output>, Failure> {
            let Some(path) = path else { return Ok(None) };
            let file = if path == Path::new("-") {
                None
            } else {
                let failed = |error| Failure::new(Exit::Usage, format!("{}: {error}", path.display()));
                Some(File::create(path).map_err(failed)?)
            };
            Ok(Some(Output { path: path.clone(), file }))
        };
        Ok(Self { json: open(&files.json)?, csv: open(&files.csv)?, hdr: open(&files.hdr)?, html: open(&files.html)? })
    }

    /// Writes all of them, and the summary: on standard error where standard output is a report's.
    fn write(self, outcome: &Outcome, judgement: &Judgement) -> Result<(), Failure> {
        let failed = |error: String| Failure::new(Exit::Machine, error);
        let is_taken =
            [&self.json, &self.csv, &self.hdr, &self.html].into_iter().flatten().any(|out| out.file.is_none());
        let summary = report::summary::text(outcome, judgement);
        // Whoever closed standard output wanted no more of it; the files are written all the same.
        if is_taken {
            drop(io::stderr().write_all(summary.as_bytes()));
        } else {
            drop(io::stdout().write_all(summary.as_bytes()));
        }
        if let Some(output) = self.json {
            output.write(report::json::text(outcome, judgement).map_err(failed)?.as_bytes())?;
        }
        if let Some(output) = self.csv {
            output.write(report::csv::text(outcome).as_bytes())?;
        }
        if let Some(output) = self.hdr {
            let content = report::hdr::content(outcome, &output.path).map_err(failed)?;
            output.write(&content)?;
        }
        if let Some(output) = self.html {
            output.write(report::html::text(outcome, judgement).as_bytes())?;
        }
        Ok(())
    }
}

impl Output {
    fn write(self, content: &[u8]) -> Result<(), Failure> {
        let written = match self.file {
            Some(mut file) => file.write_all(content),
            None => io::stdout().write_all(content),
        };
        written.map_err(|error| Failure::new(Exit::Machine, format!("{}: {error}", self.path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_stands_in_no_report() {
        for (line, hidden) in [
            ("loadtest -P secret -p 1", "loadtest -P *** -p 1"),
            ("loadtest --password secret", "loadtest --password ***"),
            ("loadtest --password=secret", "loadtest --password=***"),
            ("loadtest -Psecret", "loadtest -P***"),
        ] {
            assert_eq!(without_password(line.split(' ').map(str::to_owned)).join(" "), hidden);
        }
    }

    #[test]
    fn a_report_that_cannot_be_written_is_told_before_anything_runs() {
        let files = Files { json: Some(PathBuf::from("/nowhere/out.json")), ..Files::default() };
        let failure = Outputs::open(&files).err().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.line.starts_with("/nowhere/out.json: No such file"), "{}", failure.line);
    }
}
