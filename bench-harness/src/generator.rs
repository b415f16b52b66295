//! The load generator: runs the built `loadtest` on a scenario and reads what it reports.
//!
//! Owns the names of loadtest's command line and of the fields of its JSON that are used here; nothing else of this
//! program knows them. It judges nothing: verdict and times are handed on as they were reported.

use crate::scenario::Scenario;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Beyond this a run is ended and called a failure: no scenario here takes as long, even where all its limits run out.
const RUN_LIMIT: Duration = Duration::from_secs(250);

/// Where the generator is and on which cores it runs.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    /// The built binary.
    pub program: PathBuf,
    /// As `taskset` writes them.
    pub cores: String,
    /// Ahead of everything else on these cores, with a real-time priority: a clock that others can hold up measures them.
    pub ahead: bool,
    /// Threads that carry clients; `None` leaves it to the generator.
    pub workers: Option<usize>,
}

/// Whether this user may give a process a real-time priority (`CAP_SYS_NICE`).
pub(crate) fn may_go_ahead() -> bool {
    let (program, arguments) = AHEAD.split_first().expect("a command");
    Command::new(program)
        .args(arguments)
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs what follows with a real-time priority.
const AHEAD: [&str; 3] = ["chrt", "--fifo", "1"];

/// What a run reported, as far as it is used here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    /// Wall clock of the beginning, which the stages count from.
    pub started_unix_ms: f64,
    /// In the order of the scenario.
    pub stages: Vec<StageReport>,
    /// Connections made and lost.
    pub connections: Connections,
    /// What became of every message.
    pub verdict: Verdict,
    /// Latencies of the measured stages.
    pub timings: Timings,
    /// One row a second since the beginning.
    pub series: Vec<Second>,
}

/// What a stage of the scenario came to.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StageReport {
    /// As the scenario calls it.
    pub name: String,
    /// Since the beginning.
    pub started_ms: f64,
    /// When the next stage began.
    pub ended_ms: f64,
    /// From the start of the stage until all that was owed had come.
    pub completed_in_ms: Option<f64>,
    /// Connections made in it.
    pub established: u64,
    /// Messages in it.
    pub traffic: Traffic,
    /// CPU time of the generator in it.
    pub generator_cpu_s: f64,
    /// How long the messages took that arrived in it.
    #[serde(default)]
    pub latency: StageLatency,
}

/// Latencies of a stage, whole.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct StageLatency {
    /// As `distribution` reads them.
    #[serde(default)]
    pub hdr: String,
}

/// Messages on the wire.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Traffic {
    /// PUBLISH packets that arrived.
    pub messages_received: u64,
    /// PUBLISH packets that were acknowledged.
    #[serde(default)]
    pub messages_acknowledged: u64,
}

/// How many clients came, stayed, and did not.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Connections {
    /// Tried.
    pub attempted: u64,
    /// Of these, once more because an earlier try of the client had failed.
    #[serde(default)]
    pub retried: u64,
    /// Made, and every subscription granted.
    pub subscribed: u64,
    /// Ended without the generator's doing, by reason.
    pub lost: std::collections::BTreeMap<String, u64>,
    /// In words.
    pub first_failure: Option<String>,
}

/// What became of every message.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Verdict {
    /// By QoS.
    pub deliveries: [Deliveries; 3],
    /// Retained ones.
    pub retained: Deliveries,
    /// Not as they were sent.
    pub corrupted: u64,
    /// To clients that did not ask for them.
    pub misdirected: u64,
}

/// What became of the messages of one QoS.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Deliveries {
    /// Owed.
    pub expected: u64,
    /// Of these, what nobody can demand.
    pub excused: u64,
    /// Arrived.
    pub received: u64,
    /// Arrived again.
    pub duplicated: u64,
    /// Arrived after a later one.
    pub reordered: u64,
}

/// Latencies.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Timings {
    /// From the intended time to the subscriber.
    pub latency_intended: Latency,
}

/// A distribution.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Latency {
    /// How many.
    pub count: u64,
    /// Half are shorter.
    pub p50_ns: f64,
    /// 99 of 100 are shorter.
    pub p99_ns: f64,
    /// 999 of 1,000 are shorter.
    pub p99_9_ns: f64,
}

/// A row of the series; a last one may be shorter than a second.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Second {
    /// Its end, since the beginning.
    pub at_s: f64,
    /// 99 of 100 messages that arrived in it took no longer.
    pub p99_ns: f64,
    /// Messages that arrived in it.
    pub messages_received: u64,
}

/// A run that is under way.
pub(crate) struct Run {
    child: Child,
    json: PathBuf,
    said: PathBuf,
}

impl Generator {
    /// Begins a scenario against a broker.
    pub(crate) fn start(&self, scenario: &Scenario, broker: SocketAddr, dir: &Path) -> Result<Run, String> {
        let io = |what: &str, error: std::io::Error| format!("loadtest: {what}: {error}");
        std::fs::create_dir_all(dir).map_err(|error| io("its directory", error))?;
        let (file, json, said) = (dir.join("scenario.toml"), dir.join("report.json"), dir.join("output"));
        std::fs::write(&file, scenario.to_toml()).map_err(|error| io("the scenario", error))?;
        // An old report must not pass for this run's.
        let _ = std::fs::remove_file(&json);
        let output = File::create(&said).map_err(|error| io("its output", error))?;
        let errors = output.try_clone().map_err(|error| io("its output", error))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "--cpu-list", &self.cores])
            .args(AHEAD.iter().filter(|_| self.ahead))
            .arg(&self.program)
            .arg("run")
            .arg(&file)
            .args(["--host", &broker.ip().to_string(), "--port", &broker.port().to_string(), "--quiet", "--json"])
            .arg(&json)
            .args(self.workers.iter().flat_map(|workers| ["--workers".to_owned(), workers.to_string()]))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| io("setpriv (Debian package util-linux)", error))?;
        Ok(Run { child, json, said })
    }
}

impl Run {
    /// Asks it to stop and report, as Ctrl-C does.
    pub(crate) fn interrupt(self) -> Result<Self, String> {
        let pid = Pid::from_raw(self.child.id() as i32);
        kill(pid, Signal::SIGINT).map_err(|error| format!("loadtest ended too early: {error}"))?;
        Ok(self)
    }

    /// Waits for its end and reads its report. A failed verdict is no failure of the run.
    pub(crate) fn finish(mut self) -> Result<Report, String> {
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begin.elapsed() > RUN_LIMIT {
                return Err(format!("loadtest did not end within {RUN_LIMIT:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Ok(text) = std::fs::read_to_string(&self.json) {
            return serde_json::from_str(&text).map_err(|error| format!("loadtest's report: {error}"));
        }
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("not a word");
        Err(format!("loadtest reported nothing: {}", line.trim()))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Report {
    /// `None` if the scenario has none of that name.
    pub(crate) fn stage(&self, name: &str) -> Option<&StageReport> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// What came again and again under one name, in the order of the scenario; empty if the scenario has none of it.
    pub(crate) fn stages_named(&self, name: &str) -> Vec<&StageReport> {
        self.stages.iter().filter(|stage| stage.name == name).collect()
    }
}

impl Deliveries {
    /// Owed, and never arrived.
    pub(crate) fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.excused).saturating_sub(self.received)
    }
}
