//! Metrics for Prometheus: in the text form of `OpenMetrics` for whoever asks for that, in the older one for others.
//!
//! Owns: what a scrape has, and the table of all metrics, which `docs/METRICS.md` is written from.
//! Always holds: base units; no client id and no topic in a label; what has a reason in the broker has it as a label. A shard that
//! does not answer is told as such, with its last numbers, and keeps nobody from those of the others.
//! Leaves to others: counting (`telemetry`, shards).
//!
//! Reading order: this file, `scrape`, `family`, `families` and `connector_families` (the table), `exposition`, `text_form`.

mod connector_families;
#[cfg(test)]
mod documentation;
mod exposition;
mod families;
mod family;
mod scrape;
mod text_form;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::access::Viewer;
use super::connector_figures::ConnectorFigures;
use super::connectors;
use super::problem::{HttpProblem, ReadProblems};
use super::process::{DiskFigures, ProcessFigures};
use super::state::AdminState;
use crate::config::MetricsAccess;
use crate::limits::METRICS_REPLY_MAX_MS;
use crate::services::connectors::ConnectorKind;
use crate::services::otlp;
use scrape::Scrape;
pub(super) use scrape::ShardFigures;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health", security((), ("key" = [])),
    responses(
        (status = 200, description = "OpenMetrics 1.0 where `Accept` has it, the text form 0.0.4 elsewhere", content(
            (String = "text/plain"), (String = "application/openmetrics-text"),
        )),
        ReadProblems,
    )
)]
pub(super) async fn metrics(
    State(state): State<Arc<AdminState>>,
    viewer: Result<Viewer, HttpProblem>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    if state.known.load().metrics == MetricsAccess::Authenticated {
        viewer?;
    }
    let scrape = scrape(&state).await;
    let text = scrape.open_metrics();
    let text =
        text.map_err(|_| HttpProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"))?;
    if wants_open_metrics(&headers) {
        return Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response());
    }
    Ok(([(header::CONTENT_TYPE, TEXT)], text_form::of(&text)).into_response())
}

fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("application/openmetrics-text"))
}

/// What there is to show now.
async fn scrape(state: &AdminState) -> Scrape {
    let known = state.known.load_full();
    let disk = state.data_dir().map(|path| state.disk.read(path));
    let shards = state.shards.counts_of_each(Duration::from_millis(METRICS_REPLY_MAX_MS)).await;
    // As long as the shards may take to their numbers, all sinks together.
    let sinks = connectors::ask_all(state, ConnectorKind::Sink);
    let sinks = tokio::time::timeout(Duration::from_millis(METRICS_REPLY_MAX_MS), sinks).await;
    let mut figures = sinks.ok().and_then(Result::ok).unwrap_or_default();
    for kind in [ConnectorKind::Bridge, ConnectorKind::Source] {
        figures.extend(connectors::all(state, kind).iter().map(|one| ConnectorFigures::of(one)));
    }
    let disk = match disk {
        Some(read) => read.await,
        None => DiskFigures::default(),
    };
    Scrape {
        shards: state.with_last_reports(shards),
        process: ProcessFigures::read(),
        disk,
        uptime: state.started.elapsed(),
        listeners: state.listeners.load().iter().map(|listener| scrape::ListenerFigures::of(listener)).collect(),
        certificates_end_s: state.certificates_end.end_s(),
        lists_end_s: state.certificates_end.lists_end_s(),
        queued_memory_max_bytes: known.queued_memory_max_bytes,
        logins_refused: state.logins_refused.load(Ordering::Relaxed),
        is_draining: state.is_being_emptied(),
        spans: otlp::counts(),
        connectors: figures,
        bans: state.with_bans(|bans| bans.iter(super::bans::now()).count() as u64),
    }
}
