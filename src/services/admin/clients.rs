//! Clients: who is there, what each holds, and closing a connection.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{ClientIdInPath, Operator, Viewer};
use super::cursor::ListPlace;
use super::problem::HttpProblem;
use super::server::RequestPeer;
use super::state::AdminState;
use crate::codec::Version;
use crate::limits::ADMIN_PAGES_PER_REQUEST;
use crate::shard::command::{ClientDetails, ClientSummary, PAGE_MAX};
use crate::shard::{Command, Reply, SessionFate};
use crate::telemetry::log;

/// Which clients are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// What their client ids begin with.
    prefix: Option<String>,
    /// Only those that are connected, or only those that are not.
    connected: Option<bool>,
    /// Most clients of this page.
    #[param(minimum = 1, maximum = 256, default = 100)]
    limit: Option<u16>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

const LIMIT_DEFAULT: u16 = 100;

/// A client of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientRow {
    /// As it came in CONNECT, or was assigned.
    client_id: String,
    /// Whether it has a connection.
    connected: bool,
    /// `3.1`, `3.1.1` or `5.0`; none while it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol_version: Option<&'static str>,
    /// Filters that it is subscribed to.
    subscriptions: u32,
    /// Messages queued for it or in flight to it.
    queued_messages: u32,
}

/// A part of the list, and where the next begins.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientPage {
    /// In no order that means anything. A client that is there all the time is on one page of all, once.
    clients: Vec<ClientRow>,
    /// The cursor of the next page; none after the last. A search that has looked at enough for one request has a page with fewer clients than
    /// asked for, or none, and goes on with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List clients, a page at a time.
#[utoipa::path(
    get, path = "/api/v1/clients", tag = "clients", params(ListQuery),
    responses(
        (status = 200, description = "done", body = ClientPage),
        (status = 400, description = "a parameter is wrong", body = HttpProblem, content_type = "application/problem+json"),
        (status = 401, description = "nobody known", body = HttpProblem, content_type = "application/problem+json"),
        (status = 503, description = "a shard does not answer now", body = HttpProblem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<ClientPage>, HttpProblem> {
    let Query(query) = query.map_err(|rejection| HttpProblem::bad_request(rejection.body_text()))?;
    let limit = page_limit(query.limit)?;
    let begin = query.cursor.as_deref().map_or(Some(ListPlace::BEGIN), ListPlace::parse);
    let begin = begin.filter(|place| place.shard < state.shards.len());
    let mut place = begin.ok_or_else(|| HttpProblem::bad_request("cursor is none that a page of this list had"))?;
    let mut clients = Vec::new();
    for _ in 0..ADMIN_PAGES_PER_REQUEST {
        let left = limit - clients.len() as u16;
        let reply = state.shards.ask(place.shard, Command::ListClients { after: place.after, limit: left }).await?;
        let Reply::Clients { page, next } = reply else { return Err(unexpected()) };
        clients.extend(page.into_iter().filter(|client| query.has(client)).map(ClientRow::from));
        place = match next {
            Some(after) => ListPlace { after: Some(after), ..place },
            None => ListPlace { shard: place.shard + 1, after: None },
        };
        if place.shard == state.shards.len() {
            return Ok(Json(ClientPage { clients, next: None }));
        }
        if clients.len() == usize::from(limit) {
            break;
        }
    }
    Ok(Json(ClientPage { clients, next: Some(place.to_text()) }))
}

/// How many lines a page may have.
pub(super) fn page_limit(asked: Option<u16>) -> Result<u16, HttpProblem> {
    let limit = asked.unwrap_or(LIMIT_DEFAULT);
    let is_right = (1..=PAGE_MAX).contains(&limit);
    is_right.then_some(limit).ok_or_else(|| HttpProblem::bad_request(format!("limit is 1 to {PAGE_MAX}")))
}

impl ListQuery {
    fn has(&self, client: &ClientSummary) -> bool {
        let has_prefix = self.prefix.as_deref().is_none_or(|prefix| client.client_id.starts_with(prefix));
        has_prefix && self.connected.is_none_or(|connected| connected == client.connected.is_some())
    }
}

impl From<ClientSummary> for ClientRow {
    fn from(client: ClientSummary) -> Self {
        Self {
            client_id: client.client_id.into(),
            connected: client.connected.is_some(),
            protocol_version: client.connected.map(Version::name),
            subscriptions: client.subscriptions,
            queued_messages: client.messages,
        }
    }
}

/// What a client holds.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientView {
    #[serde(flatten)]
    row: ClientRow,
    /// How long the session outlives its connection, in seconds; 4294967295 never ends.
    session_expiry_s: u32,
    /// When its connection ended, in milliseconds since 1970; none while it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at_ms: Option<u64>,
    /// When the session ends if the client does not come back, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    /// Messages sent to it and not acknowledged.
    in_flight_messages: u16,
    /// Bytes of topics, properties and payloads that are queued.
    queued_bytes: u64,
    /// QoS 2 messages of it that it has not released.
    open_exchanges: u32,
    /// Whether a will waits to be published or discarded.
    has_will: bool,
    /// What it has while it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<ConnectionView>,
}

/// What a connected client has beside its session.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionView {
    /// How long it has been connected, in milliseconds.
    connected_ms: u64,
    /// Seconds since it last sent anything.
    silent_s: u32,
    /// In force, in seconds; 0 is off.
    keep_alive_s: u16,
    /// QoS 1 and 2 messages that it may be sent before it acknowledges one.
    receive_maximum: u16,
    /// Largest packet that it takes, in bytes.
    packet_size_max_bytes: u32,
    /// Bytes that its socket has not taken.
    unsent_bytes: u32,
}

impl From<ClientDetails> for ClientView {
    fn from(client: ClientDetails) -> Self {
        Self {
            row: client.summary.into(),
            session_expiry_s: client.session_expiry_s,
            disconnected_at_ms: client.disconnected_at.map(|at| at.0),
            expires_at_ms: client.expires_at.map(|at| at.0),
            in_flight_messages: client.in_flight,
            queued_bytes: client.queued_bytes,
            open_exchanges: client.open_exchanges,
            has_will: client.has_will,
            connection: client.connection.map(|connection| ConnectionView {
                connected_ms: connection.connected_ms,
                silent_s: connection.silent_s,
                keep_alive_s: connection.keep_alive_s,
                receive_maximum: connection.receive_maximum,
                packet_size_max_bytes: connection.packet_size_max_bytes,
                unsent_bytes: connection.unsent_bytes,
            }),
        }
    }
}

/// What one client holds.
#[utoipa::path(
    get, path = "/api/v1/clients/{client_id}", tag = "clients",
    params(("client_id" = String, Path, description = "as it came in CONNECT, percent-encoded")),
    responses(
        (status = 200, description = "done", body = ClientView),
        (status = 401, description = "nobody known", body = HttpProblem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        (status = 503, description = "a shard does not answer now", body = HttpProblem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn describe(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    ClientIdInPath(client_id): ClientIdInPath,
) -> Result<Json<ClientView>, HttpProblem> {
    match state.shards.ask_owner(&Command::DescribeClient { client_id: client_id.into() }).await? {
        Reply::Client(details) => Ok(Json((*details).into())),
        _ => Err(no_session()),
    }
}

/// Which of a client's filters are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionsQuery {
    /// Filters to pass over: the `next` of the page before.
    skip: Option<u32>,
}

/// A page of a client's filters.
#[derive(Serialize, ToSchema)]
pub(super) struct SubscriptionPage {
    /// Whole filters, `$share/...` included.
    filters: Vec<String>,
    /// Filters in all.
    total: u32,
    /// For `skip` of the next page; none after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u32>,
}

/// What one client is subscribed to.
#[utoipa::path(
    get, path = "/api/v1/clients/{client_id}/subscriptions", tag = "clients",
    params(("client_id" = String, Path, description = "as it came in CONNECT, percent-encoded"), SubscriptionsQuery),
    responses(
        (status = 200, description = "done", body = SubscriptionPage),
        (status = 400, description = "a parameter is wrong", body = HttpProblem, content_type = "application/problem+json"),
        (status = 401, description = "nobody known", body = HttpProblem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        (status = 503, description = "a shard does not answer now", body = HttpProblem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn subscriptions(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    ClientIdInPath(client_id): ClientIdInPath,
    query: Result<Query<SubscriptionsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<SubscriptionPage>, HttpProblem> {
    let Query(query) = query.map_err(|rejection| HttpProblem::bad_request(rejection.body_text()))?;
    let skip = query.skip.unwrap_or(0);
    match state.shards.ask_owner(&Command::ListSubscriptions { client_id: client_id.into(), skip }).await? {
        Reply::Subscriptions { page, total } => {
            let shown = skip.saturating_add(page.len() as u32);
            let next = (!page.is_empty() && shown < total).then_some(shown);
            Ok(Json(SubscriptionPage { filters: page.into_iter().map(Into::into).collect(), total, next }))
        }
        _ => Err(no_session()),
    }
}

/// What becomes of the session of a client that is disconnected.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectQuery {
    /// Whether its session ends, too: subscriptions and queue go, its will is published.
    #[serde(default)]
    end_session: bool,
}

/// Close a client's connection (0x98, administrative action). With `end_session=true` its session ends as well.
#[utoipa::path(
    delete, path = "/api/v1/clients/{client_id}", tag = "clients",
    params(("client_id" = String, Path, description = "as it came in CONNECT, percent-encoded"), DisconnectQuery),
    responses(
        (status = 204, description = "its connection is closed"),
        (status = 400, description = "a parameter is wrong", body = HttpProblem, content_type = "application/problem+json"),
        (status = 401, description = "nobody known", body = HttpProblem, content_type = "application/problem+json"),
        (status = 403, description = "not an operator", body = HttpProblem, content_type = "application/problem+json"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        (status = 503, description = "a shard does not answer now", body = HttpProblem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn disconnect(
    State(state): State<Arc<AdminState>>,
    Operator(identity): Operator,
    Extension(RequestPeer(peer)): Extension<RequestPeer>,
    ClientIdInPath(client_id): ClientIdInPath,
    query: Result<Query<DisconnectQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<StatusCode, HttpProblem> {
    let Query(query) = query.map_err(|rejection| HttpProblem::bad_request(rejection.body_text()))?;
    let session = if query.end_session { SessionFate::Ended } else { SessionFate::Kept };
    let command = Command::Disconnect { client_id: client_id.as_str().into(), session };
    // Said before it is done: whoever hangs up is not waited for.
    let action = if query.end_session { "end_session" } else { "disconnect" };
    log::event::admin_action(&identity.name, &peer, action, &client_id);
    match state.shards.ask_owner(&command).await? {
        Reply::Done => Ok(StatusCode::NO_CONTENT),
        _ => Err(no_session()),
    }
}

fn no_session() -> HttpProblem {
    HttpProblem::not_found("no session has this client id")
}

/// A shard answers a command with what belongs to it.
pub(super) fn unexpected() -> HttpProblem {
    HttpProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "a shard's answer does not fit the question")
}
