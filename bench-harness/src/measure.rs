//! One cell, one broker, one round: start, load, look, judge.
//!
//! The broker is fresh in every round. Its CPU time is taken over exactly the stage that the generator measured, by the
//! wall clock that both carry. A round whose messages did not all arrive keeps its figures and says what is wrong. Fleets that come back
//! are measured in `storms`.

mod storms;

use crate::broker::{Broker, Choice, Configuration, Running, StartOrder};
use crate::cells::{self, Cell, Load, Placement, Storage};
use crate::generator::{Generator, Report, StageReport};
use crate::results::{Bottleneck, Figures, Verdict, metric};
use crate::scenario::{self, Scenario};
use crate::transport::Certificates;
use crate::usage::{Detail, Sampler, Usage, unix_ms};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod durable;

/// A core that is busy for this share of the time is the bottleneck.
const BUSY: f64 = 0.95;
/// Pairs and messages a second of those who are watched beside a sweep.
const OBSERVER_PAIRS: u32 = 50;
const OBSERVER_RATE: f64 = 2_000.0;
/// How long a broker that nobody has connected to is left alone before it is looked at.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Longer than all sweeps: the observer is told to stop.
const OBSERVER_S: f64 = 230.0;

/// How everything is measured.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The built loadtest.
    pub loadtest: PathBuf,
    /// The broker's core where it gets one.
    pub broker_core: usize,
    /// The generator's core then.
    pub generator_core: usize,
    /// Length of a measured stage.
    pub seconds: f64,
    /// Small loads.
    pub quick: bool,
    /// For the files of brokers and runs.
    pub scratch: PathBuf,
    /// For the files of brokers whose messages are to be on a disk.
    pub disk: PathBuf,
    /// Open files that a process may have.
    pub open_files_max: u64,
    /// Whether a generator may have a real-time priority.
    pub may_go_ahead: bool,
    /// For cells over TLS; why there are none, where there are none.
    pub certificates: Result<Certificates, String>,
}

struct Place {
    broker_cores: String,
    generator_cores: String,
    /// What the broker is told to use.
    threads: usize,
    /// What it can use.
    cores: f64,
    /// What the generator is told to use.
    workers: Option<usize>,
}

impl Setup {
    fn place(&self, placement: Placement) -> Place {
        let count = crate::machine::cores();
        let all = format!("0-{}", count - 1);
        match placement {
            Placement::OneCore => Place {
                broker_cores: self.broker_core.to_string(),
                generator_cores: self.generator_core.to_string(),
                threads: 1,
                cores: 1.0,
                workers: None,
            },
            // One thread would take a core from the broker's threads on that core only.
            Placement::AllCores => {
                let (broker_cores, cores) = (all.clone(), count as f64);
                Place { broker_cores, generator_cores: all, threads: count, cores, workers: Some(count) }
            }
            // Both are left to their own idea of how many threads they want.
            Placement::AsShipped => {
                let (broker_cores, cores) = (all.clone(), count as f64);
                Place { broker_cores, generator_cores: all, threads: count, cores, workers: None }
            }
            Placement::Shared(threads) => {
                let cores = threads.min(count);
                let these = format!("0-{}", cores - 1);
                let (broker_cores, workers) = (these.clone(), Some(cores));
                Place { broker_cores, generator_cores: these, threads, cores: cores as f64, workers }
            }
        }
    }

    /// Measures once, with one of the broker's choices where it has some.
    pub(crate) fn measure(&self, cell: &Cell, broker: &Broker, choice: Option<&Choice>) -> Result<Figures, String> {
        let load = if self.quick { cell.load.quick() } else { cell.load };
        let certificates = if cell.transport.has_tls() { Some(self.certificates.as_ref()?) } else { None };
        let scenario = load.scenario(self.seconds).over(cell.transport, certificates);
        let place = self.place(cell.placement);
        self.check_room(&scenario, broker)?;
        let (configuration, detail) = match cell.placement {
            Placement::AsShipped => (Configuration::AsShipped, Detail::Threads),
            _ if load.storage() == Storage::Disk => (Configuration::ForLoad(choice), Detail::Disk),
            _ => (Configuration::ForLoad(choice), Detail::Process),
        };
        let passwords = if let Load::Logins { users, .. } = load { Some(self.passwords(broker, users)?) } else { None };
        let (cores, threads, transport) = (place.broker_cores.as_str(), place.threads, cell.transport);
        let (storage, passwords) = (load.storage(), passwords.as_deref());
        let order = StartOrder { configuration, storage, transport, certificates, passwords, cores, threads };
        let mut running = broker.start(order, self.files(storage))?;
        if let Load::Silence { clients: 0 } = load {
            return watch_alone(&mut running, &scenario);
        }
        match load {
            Load::Storm { .. } => {
                let watched = storms::watched().over(transport, certificates);
                return self.measure_storms(&place, &mut running, &watched, &[scenario]);
            }
            Load::Logins { .. } => {
                let named = scenario.clone().with_names();
                return self.measure_storms(&place, &mut running, &storms::watched(), &[scenario, named]);
            }
            _ => {}
        }
        let generator = |ahead: bool| self.generator(&place, ahead);
        let scenario = match storage {
            Storage::Disk => {
                let run = |scenario: &Scenario| self.tried(&generator(false), scenario, running.address);
                durable::lasting(load, self.seconds, run).map_err(|problem| blame(&mut running, problem))?
            }
            Storage::Memory => scenario,
        };
        let observer = match load {
            Load::Sweep { .. } | Load::Beside { .. } => {
                let scenario = Scenario::observer(OBSERVER_PAIRS, OBSERVER_RATE, OBSERVER_S);
                Some(generator(true).start(&scenario, running.address, &self.scratch.join("observer"))?)
            }
            _ => None,
        };
        let sampler = Sampler::start(running.pid(), detail);
        let report = generator(false).start(&scenario, running.address, &self.scratch.join("load"))?.finish();
        let usage = sampler.finish();
        let watched = observer.map(|observer| observer.interrupt().and_then(crate::generator::Run::finish)).transpose();
        let report = report.map_err(|problem| blame(&mut running, problem))?;
        let mut figures = figures(load, &report, &usage, place.cores)?;
        if let Some(watched) = watched? {
            match load {
                Load::Beside { .. } => durable::add_beside(&mut figures, &report, &watched),
                _ => add_observed(&mut figures, &report, &watched),
            }
        }
        Ok(figures)
    }

    fn generator(&self, place: &Place, ahead: bool) -> Generator {
        Generator {
            program: self.loadtest.clone(),
            cores: place.generator_cores.clone(),
            ahead: ahead && self.may_go_ahead,
            workers: place.workers,
        }
    }

    /// A run that is no measurement.
    fn tried(&self, generator: &Generator, scenario: &Scenario, address: SocketAddr) -> Result<Report, String> {
        generator.start(scenario, address, &self.scratch.join("tried"))?.finish()
    }

    /// Where a broker has its files.
    pub(crate) fn files(&self, storage: Storage) -> &Path {
        match storage {
            Storage::Memory => &self.scratch,
            Storage::Disk => &self.disk,
        }
    }

    /// Whether the broker can have so many clients: dunlin's limit on open files holds for each ring, and a shard adds rings as
    /// it needs them; others need a file for every client.
    fn check_room(&self, scenario: &Scenario, broker: &Broker) -> Result<(), String> {
        const OTHER_FILES: u64 = 500;
        let clients = u64::from(scenario.clients_at_once());
        if broker.name.starts_with("dunlin") || clients + OTHER_FILES <= self.open_files_max {
            return Ok(());
        }
        Err(format!("a process may open {} files here, too few for {clients} clients", self.open_files_max))
    }
}

/// What a broker does that nobody has connected to, for as long as the scenario measures.
fn watch_alone(running: &mut Running, scenario: &Scenario) -> Result<Figures, String> {
    std::thread::sleep(SETTLED_AFTER);
    let sampler = Sampler::start(running.pid(), Detail::Threads);
    // Between the first sample and the last one.
    std::thread::sleep(Duration::from_millis(100));
    let from = unix_ms();
    std::thread::sleep(Duration::from_secs_f64(scenario.measured_s()));
    let to = unix_ms();
    std::thread::sleep(Duration::from_millis(100));
    let usage = sampler.finish();
    if let Some(death) = running.death() {
        return Err(format!("the broker died: {death}"));
    }
    let mut figures = Figures::default();
    add_silence(&mut figures, &usage, (from, to))?;
    Ok(figures)
}

/// A broken run's problem, with the broker's death before it if there was one.
fn blame(running: &mut Running, problem: String) -> String {
    running.death().map_or(problem, |death| format!("the broker died: {death}"))
}

fn figures(load: Load, report: &Report, usage: &Usage, cores: f64) -> Result<Figures, String> {
    let mut figures = Figures { verdict: verdict(load, report), ..Figures::default() };
    if let Load::Idle { .. } = load {
        add_idle(&mut figures, report, usage)?;
    }
    if let Load::Idle { .. } | Load::Accept { .. } = load {
        add_accepting(&mut figures, report, usage)?;
        return Ok(figures);
    }
    let stage = report.stage(scenario::MEASURED).ok_or("loadtest's report lacks the measured stage")?;
    let (from, to) = span(report, stage);
    if let Load::Silence { .. } = load {
        add_silence(&mut figures, usage, (from, to))?;
        return Ok(figures);
    }
    let seconds = (to - from) / 1e3;
    let is_kept = load.storage() == Storage::Disk;
    let traffic = stage.traffic;
    let received = if is_kept { traffic.messages_acknowledged } else { traffic.messages_received } as f64;
    let cpu_s = usage.cpu_s_between(from, to).ok_or("the broker was gone before the measured stage was over")?;
    let values = &mut figures.values;
    let mut put = |name: &str, value: f64| {
        if value.is_finite() {
            values.insert(name.to_owned(), value);
        }
    };
    put(metric::CPU_US, cpu_s * 1e6 / received);
    put(metric::PER_SECOND, received / seconds);
    if is_kept && let Some(bytes) = usage.written_bytes_between(from, to) {
        put(metric::WRITTEN_BYTES, bytes / received);
        put(metric::AMPLIFICATION, bytes / received / f64::from(cells::DURABLE_PAYLOAD));
    }
    // None are counted where nobody looked.
    if let Some(wakes) = usage.wakes_between(from, to).filter(|wakes| *wakes > 0.0) {
        put(metric::WAKES_PER_MESSAGE, wakes / received);
    }
    put(metric::BROKER_SHARE, cpu_s / seconds / cores);
    put(metric::GENERATOR_SHARE, stage.generator_cpu_s / seconds);
    if let Some(complete_ms) = stage.completed_in_ms {
        put(metric::COMPLETE_MS, complete_ms);
    }
    let latency = report.timings.latency_intended;
    // Of what is kept, latency would be how long its sessions were away.
    if latency.count > 0 && !is_kept {
        put(metric::P50_US, latency.p50_ns / 1e3);
        put(metric::P99_US, latency.p99_ns / 1e3);
        put(metric::P99_9_US, latency.p99_9_ns / 1e3);
    }
    figures.bottleneck = bottleneck(cpu_s / seconds / cores, stage.generator_cpu_s / seconds);
    Ok(figures)
}

fn bottleneck(broker_share: f64, generator_share: f64) -> Bottleneck {
    match (broker_share >= BUSY, generator_share >= BUSY) {
        (true, true) => Bottleneck::Both,
        (true, false) => Bottleneck::Broker,
        (false, true) => Bottleneck::Generator,
        (false, false) => Bottleneck::Neither,
    }
}

/// A stage by the wall clock. One that waits for deliveries ends when the last has come.
fn span(report: &Report, stage: &StageReport) -> (f64, f64) {
    let from = report.started_unix_ms + stage.started_ms;
    (from, stage.completed_in_ms.map_or(report.started_unix_ms + stage.ended_ms, |ms| from + ms))
}

/// What was used between two moments in which nothing happened.
fn add_silence(figures: &mut Figures, usage: &Usage, (from, to): (f64, f64)) -> Result<(), String> {
    let gone = || "the broker was gone before the silence was over".to_owned();
    let cpu_s = usage.cpu_s_between(from, to).ok_or_else(gone)?;
    let wakes = usage.wakes_between(from, to).ok_or_else(gone)?;
    let seconds = (to - from) / 1e3;
    figures.values.insert(metric::IDLE_CPU_MS.to_owned(), cpu_s / seconds * 60e3);
    figures.values.insert(metric::WAKES_PER_SECOND.to_owned(), wakes / seconds);
    Ok(())
}

fn add_idle(figures: &mut Figures, report: &Report, usage: &Usage) -> Result<(), String> {
    let stage = |name: &str| report.stage(name).ok_or_else(|| format!("loadtest's report lacks the stage {name:?}"));
    let end = |stage: &StageReport| report.started_unix_ms + stage.ended_ms;
    let rss = |stage: &StageReport| usage.rss_bytes_at(end(stage)).ok_or("the broker was gone too early");
    let (before, idle) = (rss(stage(scenario::BEFORE_IDLE)?)?, rss(stage(scenario::IDLE)?)?);
    let come = stage(scenario::IDLE_COME)?.established as f64;
    let bytes = (idle - before) / come;
    if bytes.is_finite() {
        figures.values.insert(metric::IDLE_BYTES.to_owned(), bytes);
    }
    Ok(())
}

/// What clients cost that come without a subscription.
fn add_accepting(figures: &mut Figures, report: &Report, usage: &Usage) -> Result<(), String> {
    let accept = report.stage(scenario::ACCEPT).ok_or("loadtest's report lacks the stage of accepting")?;
    let (from, to) = span(report, accept);
    let cpu_s = usage.cpu_s_between(from, to).ok_or("the broker was gone too early")?;
    let accepted = accept.established as f64;
    for (name, value) in
        [(metric::ACCEPT_US, cpu_s * 1e6 / accepted), (metric::CONNECTS_PER_SECOND, accepted * 1e3 / (to - from))]
    {
        if value.is_finite() {
            figures.values.insert(name.to_owned(), value);
        }
    }
    let seconds = (to - from) / 1e3;
    figures.bottleneck = bottleneck(cpu_s / seconds, accept.generator_cpu_s / seconds);
    Ok(())
}

/// How others fared in the seconds of the sweeps and in the rest before them.
fn add_observed(figures: &mut Figures, report: &Report, watched: &Report) {
    let of =
        |first: &str, last: &str| Some((span(report, report.stage(first)?).0, span(report, report.stage(last)?).1));
    let quiet = of(scenario::REST, scenario::REST).and_then(|span| worst_p99_us(watched, span, true));
    let sweep = of(scenario::MEASURED, scenario::LAST_SWEEP).and_then(|span| worst_p99_us(watched, span, false));
    for (name, value) in [(metric::OTHERS_QUIET_P99_US, quiet), (metric::OTHERS_SWEEP_P99_US, sweep)] {
        if let Some(value) = value {
            figures.values.insert(name.to_owned(), value);
        }
    }
    add_others_losses(figures, watched);
}

fn add_others_losses(figures: &mut Figures, watched: &Report) {
    let lost: u64 = watched.verdict.deliveries.iter().map(crate::generator::Deliveries::lost).sum();
    if lost > 0 {
        figures.verdict.faults.push(format!("others lost {lost}"));
    }
}

/// The 99th percentile of the worst second of a span of time, of those that lie in it or of those that have a part of it.
fn worst_p99_us(watched: &Report, (from, to): (f64, f64), whole: bool) -> Option<f64> {
    let seconds = watched.series.iter().filter(|second| {
        let end = watched.started_unix_ms + second.at_s * 1e3;
        let begin = end - 1e3;
        if whole { begin >= from && end <= to } else { begin < to && end > from }
    });
    let busy = seconds.filter(|second| second.messages_received > 0);
    busy.map(|second| second.p99_ns / 1e3).max_by(f64::total_cmp)
}

/// Everything that may not happen on connections that stay, at any QoS.
fn verdict(load: Load, report: &Report) -> Verdict {
    let told = &report.verdict;
    let all = [&told.deliveries[0], &told.deliveries[1], &told.deliveries[2], &told.retained];
    let expected = all.iter().map(|deliveries| deliveries.expected).sum();
    let mut faults = Vec::new();
    let connections = &report.connections;
    // Who came in at a second try was served.
    let tried = connections.attempted.saturating_sub(connections.retried);
    if connections.subscribed < tried {
        let missing = tried - connections.subscribed;
        let why = connections.first_failure.as_deref().unwrap_or("no reason told");
        faults.push(format!("{missing} of {tried} clients not served: {why}"));
    }
    let lost_connections: u64 = connections.lost.values().sum();
    let counts = [
        (lost_connections, "connections lost"),
        (all.iter().map(|deliveries| deliveries.lost()).sum(), "lost"),
        (all.iter().map(|deliveries| deliveries.duplicated).sum(), "duplicated"),
        (all.iter().map(|deliveries| deliveries.reordered).sum(), "reordered"),
        (told.corrupted, "corrupted"),
        (told.misdirected, "misdirected"),
    ];
    faults.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    // A fleet that comes back is silent; those beside it are judged as pairs.
    let is_silent = matches!(
        load,
        Load::Idle { .. } | Load::Accept { .. } | Load::Silence { .. } | Load::Storm { .. } | Load::Logins { .. }
    );
    if expected == 0 && !is_silent {
        faults.push("nothing was owed to anybody".to_owned());
    }
    Verdict { expected, faults }
}

#[cfg(test)]
mod tests;
