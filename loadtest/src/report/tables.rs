//! The tables of the page: times, messages, stages, thresholds, and the machine.

use serde::Serialize;
use serde_json::{Value, json};

use super::timings;
use crate::{
    exit::Judgement,
    machine::describe,
    outcome::Outcome,
    units::{grouped, show_size, show_span},
};

/// A table: a cell is a text, or a text and what it is to the eye (`good`, `bad`).
#[derive(Serialize)]
pub(super) struct Table {
    title: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

pub(super) fn times(outcome: &Outcome) -> Table {
    let rows = timings(outcome).into_iter().map(|(name, timing)| {
        let percentiles =
            [50.0, 90.0, 99.0, 99.9, 99.99].map(|percent| json!(show_span(timing.percentile_ns(percent))));
        let mut row = vec![json!(name), json!(grouped(timing.count()))];
        row.extend(percentiles);
        row.push(json!(show_span(timing.max_ns())));
        row
    });
    Table {
        title: "How long things took",
        columns: vec!["", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"],
        rows: rows.collect(),
    }
}

pub(super) fn deliveries(outcome: &Outcome) -> Table {
    let verdict = &outcome.verdict;
    let names = ["QoS 0", "QoS 1", "QoS 2"];
    let kinds = names.into_iter().zip(verdict.deliveries.iter().zip(verdict.messages.iter().map(Some)));
    let slow =
        ["QoS 0, slow", "QoS 1, slow", "QoS 2, slow"].into_iter().zip(verdict.slow.iter().map(|owed| (owed, None)));
    let kinds = kinds.chain(slow).chain([("retained", (&verdict.retained, None))]);
    let rows = kinds.filter(|(_, (owed, sent))| owed.expected > 0 || sent.is_some_and(|sent| sent.sent > 0));
    let rows = rows.map(|(name, (owed, sent))| {
        // What a QoS does not promise is shown but not as a fault.
        let fault =
            |count: u64, is_promised: bool| json!([grouped(count), if count > 0 && is_promised { "bad" } else { "" }]);
        let number = |count: Option<u64>| json!(count.map_or_else(|| "-".to_owned(), grouped));
        vec![
            json!(name),
            number(sent.map(|sent| sent.sent)),
            number(sent.filter(|_| !name.starts_with("QoS 0")).map(|sent| sent.acknowledged)),
            fault(sent.map_or(0, |sent| sent.refused), true),
            json!(grouped(owed.owed())),
            json!(grouped(owed.excused_of_owed())),
            json!(grouped(owed.received)),
            fault(owed.lost(), !name.starts_with("QoS 0")),
            fault(owed.duplicated, !name.starts_with("QoS 1")),
            fault(owed.reordered, true),
            json!(grouped(owed.copies)),
        ]
    });
    Table {
        title: "What became of every message",
        columns: vec![
            "",
            "sent",
            "acknowledged",
            "refused",
            "owed",
            "excused",
            "received",
            "lost",
            "duplicated",
            "reordered",
            "copies",
        ],
        rows: rows.collect(),
    }
}

pub(super) fn stages_table(outcome: &Outcome) -> Table {
    let rows = outcome.stages.iter().map(|stage| {
        vec![
            json!(stage.name),
            json!(format!("{:.2} s", (stage.ended_ms - stage.started_ms) / 1e3)),
            json!(grouped(stage.established)),
            json!(grouped(stage.connected)),
            json!(grouped(stage.traffic.messages_sent)),
            json!(grouped(stage.traffic.messages_received)),
            json!(if stage.latency.is_empty() { "-".to_owned() } else { show_span(stage.latency.percentile_ns(99.0)) }),
            json!(stage.completed_in_ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.3} s", ms / 1e3))),
        ]
    });
    Table {
        title: "Stages",
        columns: vec![
            "",
            "took",
            "new connections",
            "connections after",
            "sent",
            "received",
            "p99",
            "all delivered after",
        ],
        rows: rows.collect(),
    }
}

pub(super) fn thresholds(judgement: &Judgement) -> Table {
    let rows = judgement.thresholds.iter().map(|held| {
        let result = if held.broken { json!(["failed", "bad"]) } else { json!(["ok", "good"]) };
        vec![json!(held.metric), json!(held.shown), json!(held.fails), result]
    });
    Table { title: "Thresholds", columns: vec!["", "measured", "fails", ""], rows: rows.collect() }
}

pub(super) fn machine(outcome: &Outcome) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![row("command", describe::command_line(&outcome.command_line))];
    if let Some(machine) = &outcome.machine {
        rows.push(row("processor", format!("{} x {}", machine.cores, machine.cpu)));
        rows.push(row("memory", show_size(machine.memory_bytes)));
        rows.push(row("kernel", machine.kernel.clone()));
        rows.push(row("open files", grouped(machine.open_files_max)));
        rows.extend(machine.sysctls.iter().map(|(name, value)| row(name, value.clone())));
    }
    rows
}
