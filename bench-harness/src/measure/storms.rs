//! Fleets that come back, and what those notice who exchange messages beside them.
//!
//! Who is watched has a generator of its own, ahead of the fleet's on the same core, so that the fleet's work is not taken for the
//! broker's. Its latencies are those of all messages that arrived in the quiet, or while a fleet came: the distributions of the tenths
//! of a second that fall into that time, put together.

use super::{OBSERVER_PAIRS, OBSERVER_RATE, OBSERVER_S, Place, Setup, blame, bottleneck, span, verdict, worst_p99_us};
use crate::broker::{Broker, Running};
use crate::cells::Load;
use crate::distribution::Distribution;
use crate::generator::{Report, Run, StageReport};
use crate::results::{Figures, metric};
use crate::scenario::{AFTER_LEAVING_S, COME_AGAIN, COME_FIRST, LEAVE, Pace, REST, Scenario, password_lines};
use crate::usage::{Detail, Sampler, Usage};
use std::path::PathBuf;

/// Those who are watched.
pub(super) fn watched() -> Scenario {
    Scenario::watched(OBSERVER_PAIRS, OBSERVER_RATE, OBSERVER_S)
}

impl Setup {
    /// One fleet after the other, while others are watched. The last is the one that the figures are about; one before it, where there
    /// is one, does the same at a lower price.
    pub(super) fn measure_storms(
        &self,
        place: &Place,
        running: &mut Running,
        watched: &Scenario,
        fleets: &[Scenario],
    ) -> Result<Figures, String> {
        let (address, dir) = (running.address, |name: &str| self.scratch.join(name));
        let observer = self.generator(place, true).start(watched, address, &dir("observer"))?;
        let sampler = Sampler::start(running.pid(), Detail::Process);
        let fleet = |fleet: &Scenario| self.generator(place, false).start(fleet, address, &dir("load"))?.finish();
        let fleets: Result<Vec<Report>, String> = fleets.iter().map(fleet).collect();
        let usage = sampler.finish();
        let watched = observer.interrupt().and_then(Run::finish);
        let fleets = fleets.map_err(|problem| blame(running, problem))?;
        figures(&fleets, &watched?, &usage, place.cores)
    }

    /// A broker's password file. Hashing takes a minute, so that it is made once in a run.
    pub(super) fn passwords(&self, broker: &Broker, users: u32) -> Result<PathBuf, String> {
        let path = |kind: &str| self.scratch.join(format!("{}-{users}.{kind}", broker.name));
        let (plain, file) = (path("plain"), path("passwords"));
        if !file.exists() {
            println!("  hashing {users} passwords for {}", broker.name);
            std::fs::write(&plain, password_lines(users)).map_err(|error| format!("{}: {error}", plain.display()))?;
            // Half a file must not pass for one.
            let half = path("half");
            broker.make_passwords(&plain, &half)?;
            std::fs::rename(&half, &file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(file)
    }
}

/// What a fleet's coming took, over one stage or several.
#[derive(Clone, Copy, Debug, Default)]
struct Coming {
    seconds: f64,
    clients: f64,
    stages: f64,
    /// Of the broker.
    cpu_s: f64,
    /// Of the fleet's generator.
    generator_cpu_s: f64,
}

impl Coming {
    fn of(report: &Report, stages: &[&StageReport], usage: &Usage) -> Result<Self, String> {
        let mut sum = Self::default();
        for stage in stages {
            let (from, to) = span(report, stage);
            sum.seconds += (to - from) / 1e3;
            sum.cpu_s += usage.cpu_s_between(from, to).ok_or("the broker was gone before all clients had come")?;
            sum.clients += stage.established as f64;
            sum.generator_cpu_s += stage.generator_cpu_s;
            sum.stages += 1.0;
        }
        Ok(sum)
    }

    /// Without what the broker does for the others anyway.
    fn us_each(&self, quiet_share: f64) -> f64 {
        (self.cpu_s - quiet_share * self.seconds) * 1e6 / self.clients
    }
}

fn figures(fleets: &[Report], watched: &Report, usage: &Usage, cores: f64) -> Result<Figures, String> {
    let (storm, before) = fleets.split_last().ok_or("no fleet came")?;
    let rest = storm.stages_named(REST);
    let again = storm.stages_named(COME_AGAIN);
    let quiet = Coming::of(storm, &rest, usage)?;
    let share = quiet.cpu_s / quiet.seconds;
    let came = Coming::of(storm, &again, usage)?;
    let quiet_us = p99_us(watched, &spans(storm, &rest), Cut::Whole)?;
    let storm_us = p99_us(watched, &spans(storm, &again), Cut::Touched)?;
    let leaving = spans(storm, &storm.stages_named(LEAVE)).into_iter();
    let leaving: Vec<(f64, f64)> = leaving.map(|(from, to)| (from, to + AFTER_LEAVING_S * 500.0)).collect();
    let worst = spans(storm, &again).into_iter().filter_map(|(from, to)| worst_p99_us(watched, (from, to), false));
    let mut values = vec![
        (metric::OTHERS_QUIET_P99_US, quiet_us),
        (metric::OTHERS_STORM_P99_US, storm_us),
        (metric::OTHERS_WORST_P99_US, worst.fold(f64::NAN, f64::max)),
        (metric::OTHERS_TIMES, storm_us / quiet_us),
        // The half of the pause behind it belongs to it.
        (metric::OTHERS_LEAVING_P99_US, p99_us(watched, &leaving, Cut::Touched)?),
        (metric::ACCEPT_US, came.us_each(share)),
        (metric::CONNECTS_PER_SECOND, came.clients / came.seconds),
        (metric::STORM_MS, came.seconds * 1e3 / came.stages),
    ];
    // One that comes at two prices.
    if let Some(plain) = before.last() {
        let plain = Coming::of(plain, &plain.stages_named(COME_AGAIN), usage)?;
        let stages = storm.stages_named(COME_FIRST);
        let first = Coming::of(storm, &stages, usage)?;
        let first_us = p99_us(watched, &spans(storm, &stages), Cut::Touched)?;
        values.extend([
            (metric::PLAIN_US, plain.us_each(share)),
            (metric::LOGIN_US, came.us_each(share) - plain.us_each(share)),
            (metric::OTHERS_FIRST_P99_US, first_us),
            (metric::OTHERS_FIRST_TIMES, first_us / quiet_us),
            (metric::FIRST_PER_SECOND, first.clients / first.seconds),
        ]);
    }
    let generator_cpu_s = came.generator_cpu_s + observer_cpu_s(watched, &spans(storm, &again));
    let bottleneck = bottleneck(came.cpu_s / came.seconds / cores, generator_cpu_s / came.seconds);
    let mut figures = Figures { bottleneck, ..Figures::default() };
    let finite = values.into_iter().filter(|(_, value)| value.is_finite());
    figures.values.extend(finite.map(|(name, value)| (name.to_owned(), value)));
    for fleet in fleets {
        figures.verdict.faults.extend(verdict(Load::Storm { clients: 0 }, fleet).faults);
    }
    let pace = Pace::PerSecond(OBSERVER_RATE);
    let others = verdict(Load::Pairs { pairs: OBSERVER_PAIRS, qos: 0, pace }, watched);
    figures.verdict.expected = others.expected;
    figures.verdict.faults.extend(others.faults.iter().map(|fault| format!("others: {fault}")));
    Ok(figures)
}

fn spans(report: &Report, stages: &[&StageReport]) -> Vec<(f64, f64)> {
    stages.iter().map(|stage| span(report, stage)).collect()
}

/// Which tenths of a second belong to a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Those that lie in it.
    Whole,
    /// Those that have a part of it: what was held up arrives behind its end.
    Touched,
}

fn slices<'a>(watched: &'a Report, spans: &'a [(f64, f64)], cut: Cut) -> impl Iterator<Item = &'a StageReport> {
    watched.stages.iter().filter(move |slice| {
        let (begin, end) = (watched.started_unix_ms + slice.started_ms, watched.started_unix_ms + slice.ended_ms);
        spans.iter().any(|(from, to)| match cut {
            Cut::Whole => begin >= *from && end <= *to,
            Cut::Touched => begin < *to && end > *from,
        })
    })
}

/// Of all messages that arrived in these spans; not a number if none did.
fn p99_us(watched: &Report, spans: &[(f64, f64)], cut: Cut) -> Result<f64, String> {
    let mut all = Distribution::new();
    for slice in slices(watched, spans, cut).filter(|slice| !slice.latency.hdr.is_empty()) {
        all.add(&slice.latency.hdr)?;
    }
    Ok(all.p99_us().unwrap_or(f64::NAN))
}

/// What the other generator took of their common core in these spans, by the share of each tenth that they cover.
fn observer_cpu_s(watched: &Report, spans: &[(f64, f64)]) -> f64 {
    let cpu_s = |(from, to): &(f64, f64)| {
        let spans = [(*from, *to)];
        let of_slice = |slice: &StageReport| {
            let (begin, end) = (watched.started_unix_ms + slice.started_ms, watched.started_unix_ms + slice.ended_ms);
            slice.generator_cpu_s * (end.min(*to) - begin.max(*from)) / (end - begin).max(1e-9)
        };
        slices(watched, &spans, Cut::Touched).map(of_slice).sum::<f64>()
    };
    spans.iter().map(cpu_s).sum()
}

#[cfg(test)]
mod tests;
