//! The broker as a whole: what it holds, and its settings.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::access::{Operator, Viewer};
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::config::{Changed, Changes};
use crate::telemetry::{DropReason, Report};

/// The broker at one moment.
#[derive(Serialize, ToSchema)]
pub(super) struct Overview {
    /// The broker's name (`--node-name`).
    node: String,
    /// As `dunlin --version` says it.
    version: &'static str,
    /// How long it has run, in seconds.
    uptime_s: u64,
    /// Threads that each own a part of the clients.
    shards: usize,
    /// Sessions whose client is there.
    clients_connected: u64,
    /// Sessions whose client is away.
    clients_disconnected: u64,
    /// Subscriptions, shared ones included.
    subscriptions: u64,
    /// Retained messages, the broker's own included.
    retained_messages: u64,
    /// Messages queued for or in flight to clients.
    queued_messages: u64,
    /// Bytes of those.
    queued_bytes: u64,
    /// PUBLISH packets from clients since the start.
    messages_received: u64,
    /// PUBLISH packets to clients since the start.
    messages_sent: u64,
    /// Messages dropped since the start, by reason; reasons that never happened are left out.
    messages_dropped: Vec<Dropped>,
}

/// Messages that were dropped for one reason.
#[derive(Serialize, ToSchema)]
pub(super) struct Dropped {
    /// As in the metrics.
    reason: &'static str,
    /// How many.
    messages: u64,
}

impl Dropped {
    /// So many for this reason.
    pub(super) const fn new(reason: DropReason, messages: u64) -> Self {
        Self { reason: reason.label(), messages }
    }
}

/// What the broker holds, in a few numbers.
#[utoipa::path(
    get, path = "/api/v1/overview", tag = "broker",
    responses(
        (status = 200, description = "done", body = Overview),
        ReadProblems,
    )
)]
pub(super) async fn overview(State(state): State<Arc<AdminState>>, _: Viewer) -> Result<Json<Overview>, HttpProblem> {
    let reports = state.shards.counts().await?;
    let mut sum = Report::default();
    for report in &reports {
        sum.add(report);
    }
    let dropped = DropReason::ALL.into_iter().map(|reason| Dropped::new(reason, sum.counters.drops[reason as usize]));
    Ok(Json(Overview {
        node: state.known.load().node.clone(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: state.started.elapsed().as_secs(),
        shards: reports.len(),
        clients_connected: sum.gauges.clients_connected,
        clients_disconnected: sum.gauges.clients_disconnected,
        subscriptions: sum.gauges.subscriptions,
        retained_messages: sum.gauges.retained_messages,
        queued_messages: sum.gauges.stored_messages,
        queued_bytes: sum.gauges.stored_bytes,
        messages_received: sum.counters.publish_received,
        messages_sent: sum.counters.publish_sent,
        messages_dropped: dropped.filter(|dropped| dropped.messages > 0).collect(),
    }))
}

/// What a reload has come to.
#[derive(Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// In effect from now on.
    changed: Vec<ChangedView>,
    /// Left as it was until the broker starts again.
    needs_start: Vec<ChangedView>,
}

/// A setting that is another than before.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangedView {
    /// As the file has it.
    name: String,
    /// What it was.
    old: String,
    /// What it is now.
    new: String,
}

impl From<Changed> for ChangedView {
    fn from(changed: Changed) -> Self {
        let Changed { name, old, new } = changed;
        Self { name, old, new }
    }
}

/// Read the configuration and all files again, as at SIGHUP: all or nothing.
#[utoipa::path(
    post, path = "/api/v1/reload", tag = "broker",
    responses(
        (status = 200, description = "done", body = Reloaded),
        (status = 409, description = "something is wrong with a file: all stays as it was", body = HttpProblem,
         content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn reload(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
) -> Result<Json<Reloaded>, HttpProblem> {
    let not_now = || HttpProblem::new(StatusCode::SERVICE_UNAVAILABLE, "the broker is only starting");
    let ask = state.reload.get().ok_or_else(not_now)?;
    state.may_change()?;
    operator.note("reload", "");
    let (then, outcome) = oneshot::channel();
    ask(Box::new(move |outcome| drop(then.send(outcome))));
    let stopped = |_| HttpProblem::new(StatusCode::SERVICE_UNAVAILABLE, "the broker is stopping");
    match outcome.await.map_err(stopped)? {
        Ok(Changes { now, at_start }) => Ok(Json(Reloaded {
            changed: now.into_iter().map(Into::into).collect(),
            needs_start: at_start.into_iter().map(Into::into).collect(),
        })),
        Err(text) => Err(HttpProblem::new(StatusCode::CONFLICT, text)),
    }
}

/// A setting in effect.
#[derive(Serialize, ToSchema)]
pub(super) struct SettingView {
    /// As the file has it.
    #[schema(example = "[mqtt] max_inflight")]
    name: String,
    /// As a flag would have it.
    value: String,
    /// Where the value comes from: `default`, a flag, a variable, or a line of the file.
    source: String,
    /// Whether a reload can change it; otherwise a start.
    reloadable: bool,
}

/// The settings in effect, each with where its value comes from.
#[utoipa::path(
    get, path = "/api/v1/settings", tag = "broker",
    responses(
        (status = 200, description = "done", body = Vec<SettingView>),
        ReadProblems,
    )
)]
pub(super) async fn settings(State(state): State<Arc<AdminState>>, _: Viewer) -> Json<Vec<SettingView>> {
    let known = state.known.load();
    let views = known.settings.iter().map(|setting| SettingView {
        name: setting.name.clone(),
        value: setting.value.clone(),
        source: setting.source.clone(),
        reloadable: setting.reloadable,
    });
    Json(views.collect())
}
