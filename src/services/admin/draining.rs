//! Emptying the broker: first it says that it is not ready, then nobody comes in, then clients are asked to go.
//!
//! Always holds: a drain's beginning, what comes after its wait, and its end happen one at a time (`AdminState::changes`), each to its end;
//! what fails keeps nothing else from being tried, and is told in the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tokio::sync::MutexGuard;
use utoipa::ToSchema;

use super::access::{Operator, Viewer};
use super::asked::JsonBody;
use super::listeners::set_open;
use super::operated::{DrainUnderWay, to_the_end};
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::shard::{Command, DrainPlan};
use crate::telemetry::{Report, log};

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
    /// How many are left. The broker's own (bridges, sinks, sources) are not asked to go, and are not among them.
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
        (status = 409, description = "the broker stops", body = HttpProblem, content_type = "application/problem+json"),
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
    let is_now = wait_s == 0;
    let begun = Arc::clone(&state);
    let number = to_the_end(async move {
        let alone = begun.changes.lock().await;
        begun.may_change()?;
        let number = begun.with_drain(|drain| {
            let before = drain.take();
            let number = before.as_ref().map_or(1, |before| before.number + 1);
            let (stopped, named) =
                before.map_or_else(Default::default, |before| (before.stopped, before.server_reference));
            *drain =
                Some(DrainUnderWay { number, clients_per_s, server_reference: server_reference.or(named), stopped });
            number
        });
        if is_now {
            go_on(&begun, &alone, number).await?;
        }
        Ok(number)
    })
    .await?;
    if !is_now {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(wait_s.into())).await;
            let alone = state.changes.lock().await;
            // Whoever asked does not wait for it any more: the log tells what has failed.
            let _ = go_on(&state, &alone, number).await;
        });
    }
    view(&state).await
}

/// Listeners stop and clients are asked to go, unless somebody has thought better of it. What fails keeps nothing else from being tried.
async fn go_on(state: &AdminState, alone: &MutexGuard<'_, ()>, number: u64) -> Result<(), HttpProblem> {
    state.may_change()?;
    let plan = state.with_drain(|drain| {
        let drain = drain.as_ref().filter(|drain| drain.number == number)?;
        Some((drain.clients_per_s, drain.server_reference.clone()))
    });
    let Some((clients_per_s, server)) = plan else { return Ok(()) };
    let mut failures = DrainFailures::default();
    for listener in &*state.listeners.load_full() {
        if listener.is_open.load(Ordering::Relaxed) {
            match set_open(state, alone, listener, false).await {
                Ok(()) => state.with_drain(|drain| {
                    if let Some(drain) = drain {
                        drain.stopped.push(Arc::clone(listener));
                    }
                }),
                Err(problem) => failures.add(&format!("listener {} goes on accepting", listener.name), problem),
            }
        }
    }
    let clients_per_s = clients_per_s.div_ceil(state.shards.len() as u32);
    let plan = DrainPlan { clients_per_s, server: server.map(Into::into), is_last: false };
    if let Err(unanswered) = state.shards.change_all(&Command::Drain(Some(plan))).await {
        failures.add("not all clients are asked to go", unanswered.into());
    }
    failures.tell("drain")
}

/// What has failed of a drain, or of its end.
#[derive(Default)]
struct DrainFailures(Vec<(String, HttpProblem)>);

impl DrainFailures {
    fn add(&mut self, what: &str, problem: HttpProblem) {
        self.0.push((format!("{what}: {}", problem.detail()), problem));
    }

    /// Tells the log and whoever asks of all of them; the status is the first one's.
    fn tell(self, action: &str) -> Result<(), HttpProblem> {
        let texts: Vec<&str> = self.0.iter().map(|(text, _)| text.as_str()).collect();
        let text = texts.join("; ");
        let Some((_, first)) = self.0.into_iter().next() else { return Ok(()) };
        log::event::drain_failed(action, &text);
        Err(first.told_as(text))
    }
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
        (status = 409, description = "it has ended, and a listener stays shut whose address is another's now; or the broker stops, and nothing has changed", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn end(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
) -> Result<Json<DrainView>, HttpProblem> {
    operator.note("end_drain", "");
    let ended = Arc::clone(&state);
    to_the_end(async move { stop_draining(&ended).await }).await?;
    view(&state).await
}

/// Nobody is asked to go any more, and listeners open. What fails keeps nothing else from being tried.
async fn stop_draining(state: &AdminState) -> Result<(), HttpProblem> {
    let alone = state.changes.lock().await;
    state.may_change()?;
    let ended = state.with_drain(Option::take);
    let mut failures = DrainFailures::default();
    if let Err(unanswered) = state.shards.change_all(&Command::Drain(None)).await {
        failures.add("clients may still be asked to go", unanswered.into());
    }
    for listener in ended.map(|ended| ended.stopped).unwrap_or_default() {
        if let Err(problem) = set_open(state, &alone, &listener, true).await {
            failures.add(&format!("listener {} stays shut, start it when it can be", listener.name), problem);
        }
    }
    failures.tell("end_drain")
}

async fn view(state: &AdminState) -> Result<Json<DrainView>, HttpProblem> {
    let mut sum = Report::default();
    state.shards.counts().await?.iter().for_each(|report| sum.add(report));
    let is_draining = state.is_being_emptied();
    let view = state.with_drain(|drain| DrainView {
        draining: is_draining,
        clients_connected: sum.gauges.clients_connected - sum.gauges.services_connected,
        clients_per_s: drain.as_ref().map(|drain| drain.clients_per_s),
        server_reference: drain.as_ref().and_then(|drain| drain.server_reference.clone()),
    });
    Ok(Json(view))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32};

    use super::super::AdminListener;
    use super::super::failing_shards::state_with_a_lost_shard;
    use super::*;
    use crate::settings::ListenerKind;

    fn listener(index: u8, is_open: bool) -> Arc<AdminListener> {
        Arc::new(AdminListener {
            index,
            name: format!("number-{index}").into(),
            place: String::new(),
            address: Some(([127, 0, 0, 1], 0).into()),
            kind: ListenerKind::Tcp,
            connections: Arc::new(AtomicU32::new(0)),
            is_open: AtomicBool::new(is_open),
        })
    }

    #[tokio::test]
    async fn what_one_shard_does_not_do_is_taken_back_and_the_rest_is_tried() {
        let (state, asked) = state_with_a_lost_shard(vec![listener(0, true), listener(1, true)]);
        let drain = DrainUnderWay { number: 1, clients_per_s: 2, server_reference: None, stopped: Vec::new() };
        state.with_drain(|under_way| *under_way = Some(drain));
        let alone = state.changes.lock().await;
        let problem = go_on(&state, &alone, 1).await.unwrap_err();
        drop(alone);
        let by_name = |text: &str| problem.detail().contains(text);
        assert!(by_name("number-0 goes on") && by_name("number-1 goes on") && by_name("asked to go"), "{problem:?}");
        let tried = ["listener 0 false", "listener 0 true", "listener 1 false", "listener 1 true", "drain true"];
        assert_eq!(asked.all(), tried);
        assert!(state.listeners.load().iter().all(|listener| listener.is_open.load(Ordering::Relaxed)));
        assert_eq!(state.with_drain(|drain| drain.as_ref().map(|drain| drain.stopped.len())), Some(0));
    }

    #[tokio::test]
    async fn an_end_that_fails_at_one_shard_is_an_end_and_names_what_stays_shut() {
        let stopped = vec![listener(0, false), listener(1, false)];
        let (state, asked) = state_with_a_lost_shard(stopped.clone());
        let drain = DrainUnderWay { number: 1, clients_per_s: 2, server_reference: None, stopped };
        state.with_drain(|under_way| *under_way = Some(drain));
        let problem = stop_draining(&state).await.unwrap_err();
        assert!(problem.detail().contains("number-0 stays shut") && problem.detail().contains("number-1 stays shut"));
        assert_eq!(asked.all()[0], "drain false");
        assert!(state.with_drain(|drain| drain.is_none()));
        // What comes after a wait finds that it was ended.
        let alone = state.changes.lock().await;
        go_on(&state, &alone, 1).await.unwrap();
        assert!(asked.all().iter().all(|told| told.starts_with("listener")), "nobody is asked to go");
    }
}
