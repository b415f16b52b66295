//! What others notice of messages that go to a disk: their latency before, and beside a full load.

use super::{add_others_losses, span};
use crate::generator::Report;
use crate::results::{Figures, metric};
use crate::scenario;
use crate::stats::Spread;

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
        (metric::OTHERS_TIMES, times.filter(|times| times.is_finite())),
    ];
    for (name, value) in all {
        figures.values.extend(value.map(|value| (name.to_owned(), value)));
    }
    add_others_losses(figures, watched);
}
