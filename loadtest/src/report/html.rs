//! One self-contained page: the figures of a run as plots and tables, for a browser without a network.
//!
//! The page (`page.html`) draws; here is what it draws, as JSON inside it. Nothing is loaded from anywhere, and the page's own
//! policy forbids that it could be.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::tables::{deliveries, machine, stages_table, thresholds, times};
use super::{killing_words, loop_words, per_second, pipeline_words, timings, tls_words};
use crate::{
    exit::{self, Exit, Judgement},
    machine::describe,
    outcome::{Ending, Outcome, Second, Timing},
    units::{grouped, measured, show_span},
};

const PAGE: &str = include_str!("page.html");
const MARK: &str = "/*DATA*/";
const TITLE: &str = "/*TITLE*/";
/// A plot has a second for a point, unless the run is as short as this.
const SHORT_S: f64 = 3.2;

/// The page.
pub fn text(outcome: &Outcome, judgement: &Judgement) -> String {
    // A script element ends at the first `</`, and `<!--` changes its meaning: no bracket may stand in it as it is.
    let data = data(outcome, judgement).to_string().replace('<', "\\u003c");
    let title = format!("{}, {}: loadtest", outcome.name, date(outcome));
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    // The title first: what stands in the data is not looked at again.
    PAGE.replacen(TITLE, &title, 1).replacen(MARK, &data, 1)
}

/// When the run began, for a person.
fn date(outcome: &Outcome) -> String {
    let text = describe::rfc3339(outcome.started_unix_ms / 1_000);
    format!("{} {} UTC", &text[..10], &text[11..16])
}

/// How the run ended, in a word, and whether that is good.
fn verdict(outcome: &Outcome, judgement: &Judgement) -> (&'static str, &'static str) {
    match (&outcome.ending, judgement.exit) {
        (Ending::BrokerLost { .. }, _) => ("bad", "failed: the broker was lost"),
        (Ending::Interrupted, Exit::Ok) => ("warn", "interrupted"),
        (Ending::Interrupted, _) => ("bad", "interrupted, failed"),
        (Ending::Finished, Exit::Ok) if outcome.verdict.all_deliveries().expected > 0 => ("good", "every promise kept"),
        (Ending::Finished, Exit::Ok) => ("good", "OK"),
        (Ending::Finished, _) => ("bad", "failed"),
    }
}

/// Distributions that are drawn as curves.
const CURVES: [&str; 6] =
    ["delivery", "delivery since sent", "delivery, slow", "acknowledgement", "TLS handshake", "CONNACK"];

fn data(outcome: &Outcome, judgement: &Judgement) -> Value {
    let interrupted = (outcome.ending == Ending::Interrupted).then(|| {
        let at_s = outcome.stages.last().map_or(outcome.duration_s, |stage| stage.ended_ms / 1e3);
        format!("the run was interrupted after {at_s:.1} s; all figures are of what had happened until then")
    });
    let notes: Vec<String> =
        interrupted.into_iter().chain(exit::bounds(outcome)).chain(outcome.warnings.iter().cloned()).collect();
    let (state, verdict) = verdict(outcome, judgement);
    let curves: Vec<Value> = timings(outcome)
        .into_iter()
        .filter(|(name, _)| CURVES.contains(name))
        .map(|(name, timing)| json!({ "name": name, "points": curve(timing) }))
        .collect();
    json!({
        "title": outcome.name,
        "date": date(outcome),
        "state": state,
        "verdict": verdict,
        "lead": lead(outcome),
        "told": judgement.complaints,
        "notes": notes,
        "duration_s": outcome.duration_s.max(outcome.series.last().map_or(0.0, |second| second.at_s)),
        "tiles": tiles(outcome),
        "series": series(outcome),
        "connected": connected(outcome),
        "curves": curves,
        "stages": stages(outcome),
        "tables": [times(outcome), deliveries(outcome), stages_table(outcome), thresholds(judgement)],
        "machine": machine(outcome),
        "foot": format!("loadtest {}, {}", env!("CARGO_PKG_VERSION"), describe::rfc3339(outcome.started_unix_ms / 1_000)),
    })
}

/// The stages as they are marked, and the wait at the end where there was one.
fn stages(outcome: &Outcome) -> Vec<Value> {
    let mark = |name: &str, from_s: f64, to_s: f64| json!({ "name": name, "from_s": from_s, "to_s": to_s });
    let stages = outcome.stages.iter().map(|stage| mark(&stage.name, stage.started_ms / 1e3, stage.ended_ms / 1e3));
    let ended_s = outcome.stages.last().map_or(0.0, |stage| stage.ended_ms / 1e3);
    let has_waited = outcome.duration_s - ended_s > outcome.duration_s / 20.0;
    stages.chain(has_waited.then(|| mark("waiting for the rest", ended_s, outcome.duration_s))).collect()
}

fn lead(outcome: &Outcome) -> String {
    let description = outcome.description.trim_end_matches('.');
    let mut lead =
        format!("{description}{}Against {}.", if description.is_empty() { "" } else { ". " }, outcome.target);
    for words in std::iter::once(loop_words(outcome).as_str()).chain(pipeline_words(outcome)) {
        let _ = write!(lead, " {}.", capital(words));
    }
    if let Some(words) = tls_words(outcome) {
        let _ = write!(lead, " Handshakes: {words}.");
    }
    if let Some(words) = killing_words(outcome) {
        let _ = write!(lead, " Kills: {words}.");
    }
    lead
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn tiles(outcome: &Outcome) -> Vec<Value> {
    let mut tiles = vec![json!(["connections", grouped(outcome.connections.peak)])];
    let latency = &outcome.timings.latency_intended;
    if outcome.traffic.messages_sent + outcome.traffic.messages_received > 0 {
        let rate = per_second(outcome, outcome.measured.messages_received);
        tiles.push(json!(["received", format!("{} /s", measured(rate))]));
    }
    if latency.is_empty() {
        let connack = &outcome.timings.connack;
        for (name, percent) in [("CONNACK p50", 50.0), ("CONNACK p99", 99.0), ("CONNACK p99.99", 99.99)] {
            tiles.push(json!([name, show_span(connack.percentile_ns(percent))]));
        }
        tiles.push(json!(["CONNACK max", show_span(connack.max_ns())]));
    } else {
        for (name, percent) in [("p50", 50.0), ("p99", 99.0), ("p99.99", 99.99)] {
            tiles.push(json!([name, show_span(latency.percentile_ns(percent))]));
        }
        tiles.push(json!(["max", show_span(latency.max_ns())]));
        tiles.push(json!(["lost", grouped(outcome.verdict.lost()), outcome.verdict.lost() > 0]));
    }
    if let Some(killing) = &outcome.killing {
        tiles.push(json!(["kills", killing.made.to_string(), killing.made < killing.planned]));
        tiles.push(json!(["back after, max", show_span(outcome.timings.recovery.max_ns())]));
    }
    let refused = outcome.refusals().total();
    if refused > 0 {
        tiles.push(json!(["refused", grouped(refused), true]));
    }
    tiles
}

/// The samples that are plotted: of a short run its tenths.
fn samples(outcome: &Outcome) -> &[Second] {
    if outcome.duration_s <= SHORT_S && !outcome.tenths.is_empty() { &outcome.tenths } else { &outcome.series }
}

/// The samples as the plots take them. A last one that is too short to have a rate is left out, unless there is no other.
fn series(outcome: &Outcome) -> Vec<Value> {
    let samples = samples(outcome);
    let usual_s = samples.first().map_or(1.0, |first| first.at_s);
    let mut before_s = 0.0;
    let mut values = Vec::new();
    for one in samples {
        let took_s = one.at_s - std::mem::replace(&mut before_s, one.at_s);
        if took_s > usual_s / 5.0 {
            values.push(second(outcome, one, took_s));
        }
    }
    values
}

fn second(outcome: &Outcome, second: &Second, took_s: f64) -> Value {
    let ms = |ns: u64| (second.max_ns > 0).then_some(ns as f64 / 1e6);
    let kernel = outcome.kernel.as_ref();
    let growth = |now: Option<u64>, start: Option<u64>, of: fn(&Second) -> Option<u64>| {
        // Who was not looked at before the first connection has grown since the first sample.
        let start = start.filter(|bytes| *bytes > 0).or_else(|| samples(outcome).iter().find_map(of))?;
        Some(now?.cast_signed() - start.cast_signed())
    };
    let generator = Some(outcome.generator.rss_start_bytes);
    let broker = outcome.broker.as_ref().map(|broker| broker.rss_start_bytes);
    json!({
        "t": second.at_s,
        "sent": second.traffic.messages_sent as f64 / took_s,
        "received": second.traffic.messages_received as f64 / took_s,
        "p50": ms(second.p50_ns),
        "p99": ms(second.p99_ns),
        "max": ms(second.max_ns),
        "generator_cpu": second.generator_cores,
        "broker_cpu": second.broker_cores,
        "generator_rss": growth(second.generator_rss_bytes, generator, |one| one.generator_rss_bytes),
        "broker_rss": growth(second.broker_rss_bytes, broker, |one| one.broker_rss_bytes),
        "slab": growth(second.slab_bytes, kernel.map(|kernel| kernel.slab_start_bytes), |one| one.slab_bytes),
        "tcp_buffers":
            growth(second.tcp_buffer_bytes, kernel.map(|kernel| kernel.tcp_start_bytes), |one| one.tcp_buffer_bytes),
    })
}

/// Connections over time: what every sample saw, and what every stage left behind, which may be over before the next sample.
fn connected(outcome: &Outcome) -> Vec<(f64, u64)> {
    let samples = samples(outcome).iter().map(|one| (one.at_s, one.connected));
    let stages = outcome.stages.iter().map(|stage| (stage.ended_ms / 1e3, stage.connected));
    let mut points: Vec<(f64, u64)> = std::iter::once((0.0, 0)).chain(samples).chain(stages).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// Percentile and milliseconds, denser towards the tail and never beyond what the count can tell.
fn curve(timing: &Timing) -> Vec<[f64; 2]> {
    let mut points = Vec::new();
    for nines in 0..=24_i32 {
        let rest = 10_f64.powf(-f64::from(nines) / 4.0);
        if rest * timing.count() as f64 >= 1.0 {
            let percent = (1.0 - rest) * 100.0;
            points.push([percent, timing.percentile_ns(percent).max(timing.min_ns()) as f64 / 1e6]);
        }
    }
    points
}

#[cfg(test)]
mod tests;
