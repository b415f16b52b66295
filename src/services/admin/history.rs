//! What the broker has done of late: a sample every few seconds, for an hour.
//!
//! Owns: taking the samples, and showing them.
//! Always holds: shards are asked what they have counted, no more, and no shard knows of the samples.
//! Leaves to others: the samples (`samples`).

use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::Viewer;
use super::asked::{Parameters, int64};
use super::problem::{HttpProblem, ReadProblems};
use super::process::ProcessFigures;
use super::samples::{CountedSoFar, History, ThreadLoad, thread_times};
use super::state::AdminState;
use crate::limits::HISTORY_STEP_S;
use crate::telemetry::Report;

/// Takes a sample every few seconds, for as long as the process runs.
pub(super) async fn keep(state: Arc<AdminState>) {
    let mut steps = tokio::time::interval(Duration::from_secs(HISTORY_STEP_S));
    steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        steps.tick().await;
        // Questions would pile up in the lanes of shards that do not hear yet.
        if state.reload.get().is_none() {
            continue;
        }
        // While a shard is busy there is none.
        let Ok(reports) = state.shards.counts().await else { continue };
        let mut sum = Report::default();
        for report in &reports {
            sum.add(report);
        }
        let process = ProcessFigures::read();
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let counted =
            CountedSoFar { at: Instant::now(), sum, cpu_s: process.cpu_s.unwrap_or(0.0), threads: thread_times() };
        state.with_history(|history| history.add(at_ms, counted, process));
    }
}

/// Which samples.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    /// Those after this time alone, in milliseconds since 1970: the last `at_ms` that whoever asks has.
    after_ms: Option<u64>,
}

/// Samples as columns: the values at one place of all lists belong together.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct HistoryView {
    /// Time between two samples, in seconds.
    step_s: u64,
    /// Cores of this machine that the process may use.
    cores: usize,
    /// Memory of the process in RAM, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_bytes: Option<u64>,
    /// Descriptors that are open.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_files: Option<u64>,
    /// Descriptors that may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_files_max: Option<u64>,
    /// Threads that took anything between the last two samples, and all shards.
    threads: Vec<ThreadLoad>,
    /// When each sample was taken, in milliseconds since 1970.
    at_ms: Vec<u64>,
    /// Clients that were connected.
    clients_connected: Vec<u64>,
    /// Messages queued for or in flight to clients.
    queued_messages: Vec<u64>,
    /// Memory in RAM, in bytes.
    memory_bytes: Vec<u64>,
    /// PUBLISH packets from clients, a second.
    messages_received_per_s: Vec<f64>,
    /// PUBLISH packets to clients, a second.
    messages_sent_per_s: Vec<f64>,
    /// Messages dropped for any reason, a second.
    messages_dropped_per_s: Vec<f64>,
    /// Bytes taken from sockets, a second.
    bytes_received_per_s: Vec<f64>,
    /// Bytes given to sockets, a second.
    bytes_sent_per_s: Vec<f64>,
    /// Cores that the process has used; 1 is a whole one.
    cores_used: Vec<f64>,
    /// What half of the acknowledgements of publishers took at most, from PUBLISH to PUBACK or PUBREC, in milliseconds; null where
    /// there were none. One message of 64 is timed.
    ack_half_ms: Vec<Option<f64>>,
    /// The same of 99 in a hundred.
    ack_most_ms: Vec<Option<f64>>,
}

/// The last hour in samples of five seconds: clients, rates, memory, cores, acknowledgements. They are taken while the admin server runs.
#[utoipa::path(
    get, path = "/api/v1/history", operation_id = "history", tag = "broker", params(HistoryQuery),
    responses(
        (status = 200, description = "done", body = HistoryView),
        ReadProblems,
    )
)]
pub(super) async fn show(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    Parameters(query): Parameters<HistoryQuery>,
) -> Result<Json<HistoryView>, HttpProblem> {
    let after_ms = int64("after_ms", query.after_ms)?;
    Ok(Json(state.with_history(|history| view(history, after_ms))))
}

fn view(history: &History, after_ms: u64) -> HistoryView {
    let History { samples, threads, process, .. } = history;
    let mut view = HistoryView {
        step_s: HISTORY_STEP_S,
        cores: std::thread::available_parallelism().map_or(1, NonZero::get),
        resident_bytes: process.resident_bytes,
        open_files: process.open_files,
        open_files_max: process.open_files_max,
        threads: threads.clone(),
        ..HistoryView::default()
    };
    for sample in samples.iter().filter(|sample| sample.at_ms > after_ms) {
        view.at_ms.push(sample.at_ms);
        view.clients_connected.push(sample.clients_connected);
        view.queued_messages.push(sample.queued_messages);
        view.memory_bytes.push(sample.resident_bytes);
        view.messages_received_per_s.push(sample.received_per_s);
        view.messages_sent_per_s.push(sample.sent_per_s);
        view.messages_dropped_per_s.push(sample.dropped_per_s);
        view.bytes_received_per_s.push(sample.bytes_received_per_s);
        view.bytes_sent_per_s.push(sample.bytes_sent_per_s);
        view.cores_used.push(sample.cores_used);
        view.ack_half_ms.push(sample.ack_half_ms);
        view.ack_most_ms.push(sample.ack_most_ms);
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_older_samples_is_shown_the_newer_ones() {
        let (mut history, begin) = (History::default(), Instant::now());
        for number in 0..4 {
            let at = begin + Duration::from_secs(5 * number);
            let counted = CountedSoFar { at, sum: Report::default(), cpu_s: 0.0, threads: thread_times() };
            history.add(1_000 + 5_000 * number, counted, ProcessFigures::default());
        }
        assert_eq!(view(&history, 0).at_ms, [6_000, 11_000, 16_000]);
        assert_eq!(view(&history, 11_000).at_ms, [16_000]);
        assert_eq!(view(&history, 11_000).cores_used.len(), 1);
    }
}
