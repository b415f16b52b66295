//! Reports: one outcome for a person, a program, a spreadsheet, the tools of `HdrHistogram`, and a browser.
//!
//! Owns: every format and what is in it. Always holds: all formats say the same figures; latency is counted from the
//! intended time of sending, and every report says whether the loop was open or closed, and if subscribers did not wait
//! for CONNACK; every report but the series carries machine and command line.
//! Leaves to others: judging (`exit`), and where a report is written to.

pub mod console;
pub mod csv;
pub mod hdr;
pub mod html;
pub mod json;
pub mod summary;
mod tables;

use crate::{
    outcome::{Outcome, Timing},
    plan::{LoopKind, Pipeline},
    units::{grouped, show_span},
};

/// The distributions of an outcome under the names that reports give them, those that are empty left out.
pub fn timings(outcome: &Outcome) -> Vec<(&'static str, &Timing)> {
    let timings = &outcome.timings;
    let all = [
        ("delivery", &timings.latency_intended),
        ("delivery since sent", &timings.latency_sent),
        ("delivery, slow", &timings.latency_slow),
        ("acknowledgement", &timings.acknowledged),
        ("send delay", &timings.send_delay),
        ("own send delay", &timings.own_delay),
        ("TCP connect", &timings.tcp_connect),
        ("TLS handshake", &timings.tls_handshake),
        ("TLS resumption", &timings.tls_resumption),
        ("own handshake work", &timings.own_handshake),
        ("WebSocket upgrade", &timings.upgrade),
        ("CONNACK", &timings.connack),
        ("SUBACK", &timings.suback),
        ("ping", &timings.ping),
        ("broker back", &timings.recovery),
    ];
    let closed = outcome.loop_kind == LoopKind::Closed;
    // In the closed loop a message is meant to be sent when it is.
    let says_the_same = |name: &str| closed && matches!(name, "delivery since sent" | "send delay" | "own send delay");
    all.into_iter().filter(|(name, timing)| !timing.is_empty() && !says_the_same(name)).collect()
}

/// What became of a broker that was killed on purpose, and of what it had acknowledged.
pub fn killing_words(outcome: &Outcome) -> Option<String> {
    let killing = outcome.killing.as_ref()?;
    let (messages, recovery) = (outcome.verdict.all_messages(), &outcome.timings.recovery);
    let deliveries = outcome.verdict.all_deliveries();
    let doubled = outcome.verdict.deliveries[2].duplicated;
    let times = if recovery.is_empty() {
        String::new()
    } else {
        let (half, most) = (recovery.percentile_ns(50.0), recovery.max_ns());
        format!(", back after {} (p50), {} (max)", show_span(half), show_span(most))
    };
    Some(format!(
        "{} of {}{times}; {} messages acknowledged, {} not known; {} deliveries, {} lost, {doubled} doubled at QoS 2",
        killing.made,
        killing.planned,
        grouped(messages.acknowledged),
        grouped(messages.unconfirmed),
        grouped(deliveries.received),
        grouped(deliveries.lost()),
    ))
}

/// Which loop it was, and what latency is therefore counted from.
pub fn loop_words(outcome: &Outcome) -> String {
    let window = grouped(outcome.window.into());
    match outcome.loop_kind {
        LoopKind::None => "nothing was published".to_owned(),
        LoopKind::Open => "open loop: latency counts from the time each message was meant to be sent".to_owned(),
        LoopKind::Closed => format!(
            "closed loop, window {window}: the next message follows an earlier one's end, so a slow broker slows the load \
             down and latency leaves out who waits"
        ),
        LoopKind::Mixed => format!("open loop for some groups, closed with window {window} for others"),
    }
}

/// That SUBSCRIBE did not wait for CONNACK, and what that means for the figures; nothing where it did.
pub fn pipeline_words(outcome: &Outcome) -> Option<&'static str> {
    match outcome.pipeline {
        Pipeline::Off => None,
        Pipeline::On => Some(
            "pipelined: SUBSCRIBE was sent together with CONNECT, so connecting is not comparable with a run that waits \
             for CONNACK",
        ),
        Pipeline::Mixed => Some(
            "pipelined for some groups: their SUBSCRIBE was sent together with CONNECT, so connecting is not comparable \
             with a run that waits for CONNACK",
        ),
    }
}

/// What handshakes of TLS came to; nothing where there were none.
pub fn tls_words(outcome: &Outcome) -> Option<String> {
    let told = outcome.connections.tls.iter().map(|(what, count)| format!("{} {what}", grouped(*count)));
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// The rate of something counted in the measured stages.
pub fn per_second(outcome: &Outcome, count: u64) -> f64 {
    if outcome.measured_s > 0.0 { count as f64 / outcome.measured_s } else { 0.0 }
}

#[cfg(test)]
pub(crate) mod sample;
