//! Emptying the broker: first it says that it is not ready, then nobody comes in, then clients are asked to go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::{Operator, Viewer};
use super::asked::JsonBody;
use super::listeners::set_open;
use super::operated::DrainUnderWay;
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::shard::{Command, DrainPlan};
use crate::telemetry::Report;

/// How the broker is to be emptied.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainRequest {
    /// Clients that are asked to go, a second.
    #[schema(minimum = 1, maximum = 100_000, example = 500)]
    clients_per_s: u32,
    /// What MQTT 5.0 clients are told to use instead (0x9C). Without it they are told that an operator wants it (0x98), unless the broker is being
    /// emptied already and another one was named then, which holds on.
    #[schema(example = "broker-2.example:8883")]
    server_reference: Option<String>,
    /// Time between `/readyz` saying 503 and the rest, so that load balancers see it, in seconds.
    #[serde(default)]
    #[schema(maximum = 3_600)]
    wait_s: u32,
}

/// How far it has come.
#[derive(Serialize, ToSchema)]
pub(super) struct DrainView {
    /// Whether the broker is being emptied.
    draining: bool,
    /// How many are left.
    clients_connected: u64,
    /// Clients that are asked to go, a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients_per_s: Option<u32>,
    /// What MQTT 5.0 clients are told to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_reference: Option<String>,
}

/// Most clients a second that can be asked for.
const CLIENTS_PER_S_MAX: u32 = 100_000;
/// Longest time until it begins.
const WAIT_MAX_S: u32 = 3_600;
/// Bytes of a server reference.
const REFERENCE_MAX_BYTES: usize = 1_024;

/// Empty the broker: `/readyz` says 503, after `wait_s` listeners stop, and clients are asked to go at a rate.
#[utoipa::path(
    post, path = "/api/v1/drain", operation_id = "begin_drain", tag = "operation", request_body = DrainRequest,
    responses(
        (status = 200, description = "it has begun", body = DrainView),
        ChangeProblems,
    )
)]
pub(super) async fn begin(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    JsonBody(request): JsonBody<DrainRequest>,
) -> Result<Json<DrainView>, HttpProblem> {
    let DrainRequest { clients_per_s, server_reference, wait_s } = request;
    if !(1..=CLIENTS_PER_S_MAX).contains(&clients_per_s) || wait_s > WAIT_MAX_S {
        let text = format!("clients_per_s is 1 to {CLIENTS_PER_S_MAX}, wait_s up to {WAIT_MAX_S}");
        return Err(HttpProblem::bad_request(text));
    }
    if server_reference
        .as_deref()
        .is_some_and(|text| text.is_empty() || text.len() > REFERENCE_MAX_BYTES || text.contains('\0'))
    {
        return Err(HttpProblem::bad_request("server_reference is no name of a server"));
    }
    operator.note("drain", server_reference.as_deref().unwrap_or_default());
    let number = state.with_drain(|drain| {
        let before = drain.take();
        let number = before.as_ref().map_or(1, |before| before.number + 1);
        let (stopped, named) = before.map_or_else(Default::default, |before| (before.stopped, before.server_reference));
        *drain = Some(DrainUnderWay { number, clients_per_s, server_reference: server_reference.or(named), stopped });
        number
    });
    if wait_s == 0 {
        go_on(&state, number).await?;
    } else {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(wait_s.into())).await;
            // A shard that does not answer is the watchdog's affair.
            let _ = go_on(&state, number).await;
        });
    }
    view(&state).await
}

/// Listeners stop and clients are asked to go, unless somebody has thought better of it.
async fn go_on(state: &AdminState, number: u64) -> Result<(), HttpProblem> {
    let plan = state.with_drain(|drain| {
        let drain = drain.as_ref().filter(|drain| drain.number == number)?;
        Some((drain.clients_per_s, drain.server_reference.clone()))
    });
    let Some((clients_per_s, server)) = plan else { return Ok(()) };
    for listener in &*state.listeners.load_full() {
        if listener.address.is_some() && listener.is_open.load(Ordering::Relaxed) {
            set_open(state, listener, false).await?;
            state.with_drain(|drain| drain.iter_mut().for_each(|drain| drain.stopped.push(Arc::clone(listener))));
        }
    }
    let clients_per_s = clients_per_s.div_ceil(state.shards.len() as u32);
    let plan = DrainPlan { clients_per_s, server: server.map(Into::into) };
    state.shards.ask_all(&Command::Drain(Some(plan))).await?;
    Ok(())
}

/// Whether the broker is being emptied, and how many clients are left.
#[utoipa::path(
    get, path = "/api/v1/drain", operation_id = "show_drain", tag = "operation",
    responses(
        (status = 200, description = "done", body = DrainView),
        ReadProblems,
    )
)]
pub(super) async fn show(State(state): State<Arc<AdminState>>, _: Viewer) -> Result<Json<DrainView>, HttpProblem> {
    view(&state).await
}

/// Stop emptying the broker: listeners that it has stopped accept again, and `/readyz` says 200.
#[utoipa::path(
    delete, path = "/api/v1/drain", operation_id = "end_drain", tag = "operation",
    responses(
        (status = 200, description = "nobody is asked to go any more", body = DrainView),
        (status = 409, description = "an address is another's now", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn end(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
) -> Result<Json<DrainView>, HttpProblem> {
    operator.note("end_drain", "");
    let ended = state.with_drain(Option::take);
    state.shards.ask_all(&Command::Drain(None)).await?;
    for listener in ended.map(|ended| ended.stopped).unwrap_or_default() {
        set_open(&state, &listener, true).await?;
    }
    view(&state).await
}

async fn view(state: &AdminState) -> Result<Json<DrainView>, HttpProblem> {
    let mut sum = Report::default();
    state.shards.counts().await?.iter().for_each(|report| sum.add(report));
    let view = state.with_drain(|drain| DrainView {
        draining: drain.is_some(),
        clients_connected: sum.gauges.clients_connected,
        clients_per_s: drain.as_ref().map(|drain| drain.clients_per_s),
        server_reference: drain.as_ref().and_then(|drain| drain.server_reference.clone()),
    });
    Ok(Json(view))
}
