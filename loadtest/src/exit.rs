//! How a run ends: exit statuses, and what is told about it.
//!
//! Owns: the judgement of an [`Outcome`]: which promises were broken, and which status says so. Always holds: every status
//! but 0 comes with at least one line that says why; the first is the one that decided the status.

use std::process::ExitCode;

use serde::Serialize;

use crate::{
    engine::EngineError,
    outcome::{BUSY_SHARE, Bottleneck, Connections, Ending, FailureReason, Killing, LossReason, Outcome, Refusals},
    plan::{LoopKind, Plan, Reads},
    threshold::{Held, Threshold},
    units::{grouped, show_span},
};

/// The statuses, and the end of `--help`.
pub const STATUSES: &str = "\
Exit status:
  0  every promise of the QoS was kept, every threshold held
  1  a threshold is broken, or messages were lost, duplicated, reordered or corrupted beyond what the QoS allows, or
     messages or subscriptions were refused, or connections failed or were lost
  2  wrong flags or a wrong scenario
  3  the broker cannot be reached
  4  the broker refuses the connection
  5  the broker died or hung up on everybody during the run
  6  what answers there is no MQTT broker, or none of this version
  7  this machine does not suffice for the run
  8  an agent could not be reached or was lost: the figures are those of the others
  9  the broker's certificate is not to be trusted: its authority, its name, or its time
  130  interrupted twice; once stops cleanly, reports, and ends with the status that the report deserves";

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// All went well.
    Ok,
    /// A threshold or a promise is broken.
    Broken,
    /// Wrong flags or scenario.
    Usage,
    /// The broker cannot be reached.
    Unreachable,
    /// The broker refuses the connection.
    Refused,
    /// The broker died during the run.
    BrokerLost,
    /// What answers is no broker.
    NoBroker,
    /// The machine does not suffice.
    Machine,
    /// An agent is missing.
    AgentLost,
    /// The broker's certificate is not to be trusted.
    Untrusted,
}

impl Exit {
    /// The number.
    pub const fn status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Broken => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::BrokerLost => 5,
            Self::NoBroker => 6,
            Self::Machine => 7,
            Self::AgentLost => 8,
            Self::Untrusted => 9,
        }
    }

    /// The status of a number that another process ended with or sent.
    pub fn from_status(status: u8) -> Self {
        let all = [
            Self::Ok,
            Self::Broken,
            Self::Usage,
            Self::Unreachable,
            Self::Refused,
            Self::BrokerLost,
            Self::NoBroker,
            Self::Machine,
            Self::AgentLost,
            Self::Untrusted,
        ];
        all.into_iter().find(|exit| exit.status() == status).unwrap_or(Self::Machine)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

/// A failure before or instead of a report: one line, and a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status.
    pub exit: Exit,
    /// What went wrong and how to mend it, without a line break.
    pub line: String,
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::new(Exit::from_status(error.exit_status()), error.to_string())
    }
}

impl Failure {
    /// A failure with its line.
    pub fn new(exit: Exit, line: impl Into<String>) -> Self {
        Self { exit, line: line.into() }
    }
}

/// What a run deserves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The status.
    pub exit: Exit,
    /// Why, most important first; empty if all went well.
    pub complaints: Vec<String>,
    /// What became of each threshold.
    pub thresholds: Vec<Held>,
}

/// Judges a run. `missing` says which agents are not in the outcome.
pub fn judge(plan: &Plan, outcome: &Outcome, thresholds: &[Threshold], missing: &[String]) -> Judgement {
    let held: Vec<Held> = thresholds.iter().map(|threshold| threshold.hold(outcome)).collect();
    let mut complaints: Vec<(Exit, String)> = missing.iter().map(|line| (Exit::AgentLost, line.clone())).collect();
    if let Ending::BrokerLost { at_s } = outcome.ending {
        let at = format!(
            "the broker was lost {at_s:.1} s after the start: every connection ended, none could be made again"
        );
        complaints.push((Exit::BrokerLost, at));
    }
    let connections = &outcome.connections;
    if connections.established == 0 && connections.failed_total() > 0 {
        complaints.push(nobody_connected(outcome));
    } else if connections.failed_total() > 0 {
        complaints.push((Exit::Broken, failed(connections)));
    }
    let is_gone = matches!(outcome.ending, Ending::BrokerLost { .. });
    if let Some(killing) = &outcome.killing {
        complaints.extend(of_killing(plan, outcome, killing).into_iter().map(|line| (Exit::Broken, line)));
    } else if connections.lost_total() > 0 && !is_gone && !plan.may_be_cut_off() {
        let reasons: Vec<String> =
            connections.lost.iter().map(|(reason, count)| format!("{} {}", grouped(*count), word(reason))).collect();
        let total = grouped(connections.lost_total());
        complaints.push((Exit::Broken, format!("{total} connections were lost: {}", reasons.join(", "))));
    }
    let refusals = outcome.refusals();
    let told = refusals.messages + refusals.subscriptions + refusals.logins + refusals.handshakes;
    if told > 0 && connections.established > 0 {
        complaints.push((Exit::Broken, refused(outcome)));
    }
    complaints.extend(undone(outcome).into_iter().map(|line| (Exit::Broken, line)));
    // What is missing from a part that is missing proves nothing.
    if missing.is_empty() {
        complaints.extend(outcome.verdict.breaches().into_iter().map(|breach| (Exit::Broken, breach)));
    }
    complaints.extend(held.iter().filter(|held| held.broken).map(|held| (Exit::Broken, held.to_string())));
    // The status of the worst cause stands, and its line first: a broker that died explains what was lost by it.
    complaints.sort_by_key(|(exit, _)| *exit == Exit::Broken);
    Judgement {
        exit: complaints.first().map_or(Exit::Ok, |(exit, _)| *exit),
        complaints: complaints.into_iter().map(|(_, line)| line).collect(),
        thresholds: held,
    }
}

/// What is wrong with a broker that was killed on purpose, beside the verdict on messages.
fn of_killing(plan: &Plan, outcome: &Outcome, killing: &Killing) -> Vec<String> {
    let mut told = killing.faults.clone();
    let connections = &outcome.connections;
    if outcome.ending == Ending::Finished && killing.made < killing.planned && killing.faults.is_empty() {
        told.push(format!("the broker was killed {} times instead of {}", killing.made, killing.planned));
    }
    if connections.sessions_lost > 0 {
        told.push(format!("{} sessions that were to stay were gone", grouped(connections.sessions_lost)));
    }
    let away = plan.clients().saturating_sub(connections.at_end);
    if outcome.ending == Ending::Finished && away > 0 {
        told.push(format!("{} clients were not connected at the end: what they were owed is not known", grouped(away)));
    }
    for reason in [LossReason::Protocol, LossReason::PingTimeout] {
        if let Some(count) = connections.lost.get(&reason) {
            told.push(format!("{} connections were lost otherwise than by a kill: {}", grouped(*count), word(&reason)));
        }
    }
    told
}

/// What a run that went to its end did not get done. Where connections ended on purpose or were lost, that is no wonder and
/// told already.
fn undone(outcome: &Outcome) -> Vec<String> {
    let connections = &outcome.connections;
    if outcome.ending == Ending::Finished && connections.attempted == 0 {
        return vec!["no client was connected: no stage of the run connects any (do = \"ramp\")".to_owned()];
    }
    if outcome.ending != Ending::Finished || connections.dropped > 0 || connections.lost_total() > 0 {
        return Vec::new();
    }
    let messages = outcome.verdict.all_messages();
    let late = messages.unsent.saturating_sub(messages.unconnected);
    let list = [
        (messages.unconnected, "messages of the schedule were not sent: their clients were not connected"),
        (late, "messages of the schedule were not sent in time: a window was full, or loadtest was late"),
        (messages.unconfirmed, "messages were not acknowledged before the run ended (--drain says how long to wait)"),
    ];
    let told = list.into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| format!("{} {what}", grouped(count))).collect()
}

/// What a reader must know before believing the figures, beside the engine's own warnings.
pub fn bounds(outcome: &Outcome) -> impl Iterator<Item = String> {
    generator_bound(outcome).into_iter().chain(connecting_bound(outcome))
}

/// Where the figures are more loadtest's than the broker's.
fn generator_bound(outcome: &Outcome) -> Option<String> {
    if outcome.bottleneck != Bottleneck::Generator {
        return None;
    }
    let (own, latency) = (&outcome.timings.own_delay, &outcome.timings.latency_intended);
    let is_busy = outcome.generator.worker_share_measured >= BUSY_SHARE;
    let cause = if !is_busy && !outcome.sends_late() && outcome.shakes_late() {
        handshakes(outcome)
    } else if is_busy || own.is_empty() {
        format!(
            "the busiest worker of loadtest was busy {:.0} % of a second",
            outcome.generator.busiest_worker_share * 100.0
        )
    } else {
        let of = if latency.is_empty() {
            String::new()
        } else {
            format!(", of {} to the subscriber", show_span(latency.percentile_ns(99.0)))
        };
        format!("loadtest sent late by itself, {} at p99{of}", show_span(own.percentile_ns(99.0)))
    };
    Some(format!(
        "generator-bound: {cause}; the broker may do better than these figures (give it --workers, --agents, or a machine \
         of its own)"
    ))
}

/// The same of connecting, in a run that is about messages.
fn connecting_bound(outcome: &Outcome) -> Option<String> {
    let is_told = outcome.bottleneck == Bottleneck::Generator && outcome.loop_kind == LoopKind::None;
    let words = || format!("generator-bound in connecting: {}; messages are another matter", handshakes(outcome));
    (outcome.shakes_late() && !is_told).then(words)
}

fn handshakes(outcome: &Outcome) -> String {
    format!(
        "TLS handshakes took {} at p99, of which loadtest itself took {}",
        show_span(outcome.handshake_p99_ns()),
        show_span(outcome.timings.own_handshake.percentile_ns(99.0))
    )
}

/// What the broker refused with reason codes.
fn refused(outcome: &Outcome) -> String {
    let refusals = Refusals { connections: 0, ..outcome.refusals() };
    let reasons = outcome.refusal_reasons();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({reasons})") };
    format!("the broker refused {}{reasons}", refusals.words())
}

fn nobody_connected(outcome: &Outcome) -> (Exit, String) {
    let connections = &outcome.connections;
    let most = connections.failed.iter().max_by_key(|(_, count)| **count).map(|(reason, _)| *reason);
    let exit = match most {
        Some(
            FailureReason::NotAuthorized
            | FailureReason::RefusedByBroker
            | FailureReason::Busy
            | FailureReason::TlsRefused,
        ) => Exit::Refused,
        Some(FailureReason::TlsUntrusted | FailureReason::TlsWrongName | FailureReason::TlsExpired) => Exit::Untrusted,
        Some(
            FailureReason::Protocol
            | FailureReason::Closed
            | FailureReason::ConnackTimeout
            | FailureReason::NoTls
            | FailureReason::TlsFailed
            | FailureReason::HandshakeTimeout
            | FailureReason::UpgradeRefused
            | FailureReason::UpgradeFailed,
        ) => Exit::NoBroker,
        Some(FailureReason::ClientFile) => Exit::Usage,
        Some(FailureReason::NoPort | FailureReason::NoResources) => Exit::Machine,
        _ => Exit::Unreachable,
    };
    (exit, format!("{}: {}", outcome.target, failed(connections)))
}

fn failed(connections: &Connections) -> String {
    let reasons: Vec<String> =
        connections.failed.iter().map(|(reason, count)| format!("{} {}", grouped(*count), word(reason))).collect();
    let first = connections.first_failure.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
    format!("{} connections failed: {}{first}", grouped(connections.failed_total()), reasons.join(", "))
}

/// A reason's name as it is in JSON, with blanks.
fn word(reason: &impl Serialize) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(text)) => text.replace('_', " "),
        _ => "for another reason".to_owned(),
    }
}

impl Plan {
    /// Whether a broker may rightly end connections of this plan: of those that do not read.
    fn may_be_cut_off(&self) -> bool {
        self.groups.iter().any(|group| group.reads != Reads::AllTheTime)
    }
}

#[cfg(test)]
mod tests;
