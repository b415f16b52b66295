//! Messages that go to a disk: how many it takes to measure them, and what others notice, before and beside a full load.

use super::{add_others_losses, span};
use crate::cells::{Load, MORE_S, TRIED_FIRST};
use crate::generator::Report;
use crate::results::{Figures, metric};
use crate::scenario::{self, Scenario};
use crate::stats::Spread;

/// An attempt that took this share of the time says how many messages fill it; a shorter one says how many to try next.
const SAYS_ENOUGH: f64 = 0.25;
/// The most by which an attempt may go beyond the one before it.
const GROWTH_MAX: f64 = 30.0;
/// Attempts: the last one is the hundreds of thousands of messages that the quickest needs.
const ATTEMPTS_MAX: u32 = 4;
/// Messages of each publisher: some 2 GB of payload together.
const MESSAGES_MAX: f64 = 1.25e6;

/// A scenario whose measured stage takes about so long. What a broker keeps in a second differs a thousandfold, and a stage that
/// publishes as fast as acknowledgements come has a number of messages and no end by the clock.
pub(super) fn lasting(
    load: Load,
    seconds: f64,
    mut run: impl FnMut(&Scenario) -> Result<Report, String>,
) -> Result<Scenario, String> {
    let wanted_s = if let Load::Beside { .. } = load { seconds + MORE_S } else { seconds };
    let of = |load: Load, messages: f64| {
        load.scenario_of(messages.clamp(1.0, MESSAGES_MAX) as u64, seconds).ok_or("no messages are kept in this cell")
    };
    // Others are not watched yet.
    let tried = match load {
        Load::Beside { in_flight } => Load::Durable { in_flight },
        load => load,
    };
    let mut messages = TRIED_FIRST as f64;
    for _ in 0..ATTEMPTS_MAX {
        let report = run(&of(tried, messages)?)?;
        let stage = report.stage(scenario::MEASURED).ok_or("loadtest's report lacks the measured stage")?;
        let (from, to) = span(&report, stage);
        let took_s = (to - from) / 1e3;
        let growth = wanted_s / took_s;
        if took_s >= wanted_s * SAYS_ENOUGH {
            messages *= growth;
            break;
        }
        messages *= growth.min(GROWTH_MAX);
    }
    Ok(of(load, messages)?)
}

/// Of each second's 99th percentile the median, in the quiet seconds and in the measured ones: the worst of a few would be a
/// figure of the machine's.
pub(super) fn add_beside(figures: &mut Figures, report: &Report, watched: &Report) {
    let of = |name: &str| {
        let (from, to) = span(report, report.stage(name)?);
        let whole = |end: f64| end - 1e3 >= from && end <= to;
        let seconds = watched
            .series
            .iter()
            .filter(|second| second.messages_received > 0 && whole(watched.started_unix_ms + second.at_s * 1e3));
        Spread::of(seconds.map(|second| second.p99_ns / 1e3)).map(|spread| spread.median)
    };
    let (quiet, beside) = (of(scenario::REST), of(scenario::MEASURED));
    let times = quiet.zip(beside).map(|(quiet, beside)| beside / quiet);
    let all = [
        (metric::OTHERS_QUIET_P99_US, quiet),
        (metric::OTHERS_BESIDE_P99_US, beside),
        (metric::OTHERS_BESIDE_TIMES, times.filter(|times| times.is_finite())),
    ];
    for (name, value) in all {
        figures.values.extend(value.map(|value| (name.to_owned(), value)));
    }
    add_others_losses(figures, watched);
}
