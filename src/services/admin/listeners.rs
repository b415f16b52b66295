//! Listeners: which there are, and stopping and starting them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::MutexGuard;
use utoipa::ToSchema;

use super::access::{Operator, Viewer};
use super::asked::NameInPath;
use super::operated::{AdminListener, to_the_end};
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use crate::settings::ListenerKind;
use crate::shard::{Command, Reply};

/// Where the broker accepts, and whether it does.
#[derive(Serialize, ToSchema)]
pub(super) struct ListenerView {
    /// Its name in the configuration.
    name: String,
    /// Address and port, or a path.
    #[schema(example = "127.0.0.1:1883")]
    address: String,
    /// `tcp`, `ws`, `unix`, `tls` or `wss`.
    kind: &'static str,
    /// Whether it accepts connections.
    accepting: bool,
    /// Connections that came by it and are open.
    connections: u32,
}

/// The listeners, in the order of the configuration.
#[utoipa::path(
    get, path = "/api/v1/listeners", operation_id = "list_listeners", tag = "operation",
    responses(
        (status = 200, description = "done", body = Vec<ListenerView>),
        ReadProblems,
    )
)]
pub(super) async fn list(State(state): State<Arc<AdminState>>, _: Viewer) -> Json<Vec<ListenerView>> {
    let view = |listener: &AdminListener| ListenerView {
        name: listener.name.to_string(),
        address: listener.place.clone(),
        kind: match listener.kind {
            ListenerKind::Tcp => "tcp",
            ListenerKind::WebSocket => "ws",
            ListenerKind::Unix => "unix",
            ListenerKind::Tls => "tls",
            ListenerKind::SecureWebSocket => "wss",
            ListenerKind::MqttSn => "mqtt-sn",
            ListenerKind::Cluster => "cluster",
        },
        accepting: listener.is_open.load(Ordering::Relaxed),
        connections: listener.connections.load(Ordering::Relaxed),
    };
    Json(state.listeners.load().iter().map(|listener| view(listener)).collect())
}

/// Stop accepting by a listener: its socket is closed. Who came by it stays connected.
#[utoipa::path(
    post, path = "/api/v1/listeners/{name}/stop", operation_id = "stop_listener", tag = "operation",
    params(("name" = String, Path, description = "its name, percent-encoded")),
    responses(
        (status = 204, description = "it accepts nobody"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        (status = 409, description = "the broker stops", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn stop(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    NameInPath(name): NameInPath,
) -> Result<StatusCode, HttpProblem> {
    change(state, &operator, &name, false).await
}

/// Accept by a listener again that was stopped.
#[utoipa::path(
    post, path = "/api/v1/listeners/{name}/start", operation_id = "start_listener", tag = "operation",
    params(("name" = String, Path, description = "its name, percent-encoded")),
    responses(
        (status = 204, description = "it accepts"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        (status = 409, description = "its address or path is another's now, or the broker is being emptied, or stops", body = HttpProblem,
         content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn start(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    NameInPath(name): NameInPath,
) -> Result<StatusCode, HttpProblem> {
    change(state, &operator, &name, true).await
}

async fn change(
    state: Arc<AdminState>,
    operator: &Operator,
    name: &str,
    is_open: bool,
) -> Result<StatusCode, HttpProblem> {
    let listener = state.listeners.load().iter().find(|listener| *listener.name == *name).cloned();
    let listener = listener.ok_or_else(|| HttpProblem::not_found("no listener has this name"))?;
    operator.note(if is_open { "start_listener" } else { "stop_listener" }, name);
    to_the_end(async move {
        let alone = state.changes.lock().await;
        state.may_change()?;
        if is_open && state.with_drain(|drain| drain.is_some()) {
            return Err(conflict("the broker is being emptied: end that, and it accepts again"));
        }
        set_open(&state, &alone, &listener, is_open).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops or starts one, for whoever has locked the changes. Nothing has changed when it fails.
pub(super) async fn set_open(
    state: &AdminState,
    _alone: &MutexGuard<'_, ()>,
    listener: &Arc<AdminListener>,
    is_open: bool,
) -> Result<(), HttpProblem> {
    // A reload may have renamed it, or taken it away.
    let is_same = |known: &&Arc<AdminListener>| known.index == listener.index && known.address == listener.address;
    let listeners = state.listeners.load_full();
    let listener = listeners.iter().find(is_same);
    let listener = listener.ok_or_else(|| HttpProblem::not_found("a reload has taken the listener away"))?;
    if listener.is_open.load(Ordering::Relaxed) == is_open {
        return Ok(());
    }
    // A socket for datagrams stays open while its listener is stopped, and a path has one socket alone, as the first shard finds out.
    if is_open && !listener.kind.has_datagrams() && listener.address.is_some_and(is_taken) {
        return Err(conflict("another process listens at its address meanwhile"));
    }
    let command = |is_open| Command::SetListener { index: listener.index, is_open };
    let problem = match state.shards.change_all(&command(is_open)).await {
        Ok(replies) => replies.iter().find(|reply| **reply != Reply::Done).map(|reply| match reply {
            Reply::NotNow(_) if listener.address.is_none() => conflict("something else stands at its path meanwhile"),
            reply => HttpProblem::of_reply(reply),
        }),
        Err(unanswered) => Some(unanswered.into()),
    };
    if let Some(problem) = problem {
        // Those that have done it take it back, and who is late does both.
        let _ = state.shards.change_all(&command(!is_open)).await;
        return Err(problem);
    }
    listener.is_open.store(is_open, Ordering::Relaxed);
    Ok(())
}

fn conflict(text: &str) -> HttpProblem {
    HttpProblem::new(StatusCode::CONFLICT, text)
}

/// Whether the address is somebody else's.
fn is_taken(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}
