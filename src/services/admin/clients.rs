//! Clients: who is there, what each holds, and closing a connection.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Operator, Viewer};
use super::asked::{NameInPath, Parameters, check_reason, page_over_shards, paged_query};
use super::broker::Dropped;
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;
use super::subscriptions::SubscriptionView;
use crate::codec::Version;
use crate::shard::command::{ClientDetails, ClientFilter, ClientSummary, ClientTraffic};
use crate::shard::{Command, Reply, SessionFate};
use crate::telemetry::DropReason;

paged_query! {
    /// Which clients are listed.
    ListQuery {
        /// What their client ids begin with.
        prefix: Option<String>,
        /// What stands in their client ids, letter by letter.
        contains: Option<String>,
        /// The user that somebody has verified, whole.
        user: Option<String>,
        /// An address or a network that their connections come from.
        #[param(example = "192.0.2.0/24")]
        address: Option<String>,
        /// Only those that are connected, or only those that are not.
        connected: Option<bool>,
    }
}

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
    /// The user that somebody has verified, where it makes a difference who a client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// Where it is connected from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "192.0.2.7:49152")]
    address: Option<String>,
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
    get, path = "/api/v1/clients", operation_id = "list_clients", tag = "clients", params(ListQuery),
    responses(
        (status = 200, description = "done", body = ClientPage),
        ReadProblems,
    )
)]
pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<ClientPage>, HttpProblem> {
    let filter = query.filter()?;
    let ask = |after, limit| Command::ListClients { after, limit, filter: filter.clone() };
    let take = |reply| match reply {
        Reply::Clients { page, next } => Ok((page.into_iter().map(ClientRow::from).collect(), next)),
        other => Err(HttpProblem::of_reply(&other)),
    };
    let (clients, next) = page_over_shards(&state, &query, ask, take).await?;
    Ok(Json(ClientPage { clients, next }))
}

impl ListQuery {
    fn filter(&self) -> Result<ClientFilter, HttpProblem> {
        let network = self.address.as_deref().map(str::parse).transpose();
        Ok(ClientFilter {
            prefix: self.prefix.as_deref().unwrap_or_default().into(),
            contains: self.contains.as_deref().unwrap_or_default().into(),
            user: self.user.as_deref().map(Into::into),
            network: network.map_err(|text: String| HttpProblem::bad_request(format!("address: {text}")))?,
            connected: self.connected,
        })
    }
}

impl From<ClientSummary> for ClientRow {
    fn from(client: ClientSummary) -> Self {
        Self {
            client_id: client.client_id.into(),
            connected: client.connected.is_some(),
            protocol_version: client.connected.map(Version::name),
            user: client.user.map(Into::into),
            address: client.peer.map(|peer| peer.to_string()),
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
    /// Messages that wait, beside those.
    waiting_messages: u32,
    /// Bytes of topics, properties and payloads of those.
    queued_bytes: u64,
    /// How long the oldest of them has waited, in milliseconds, to a tenth of a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_queued_ms: Option<u64>,
    /// QoS 2 messages of it that it has not released.
    open_exchanges: u32,
    /// Whether a will waits to be published or discarded.
    has_will: bool,
    /// What it has sent and been sent, while that is counted: see `/api/v1/top`.
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<TrafficView>,
    /// What it has while it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<ConnectionView>,
}

/// What was counted of a client.
#[derive(Serialize, ToSchema)]
pub(super) struct TrafficView {
    /// For how long, in milliseconds.
    counted_ms: u64,
    /// PUBLISH packets from it.
    messages_received: u32,
    /// PUBLISH packets to it.
    messages_sent: u32,
    /// Bytes of topics, properties and payloads of messages from it.
    bytes_received: u64,
    /// The same of messages to it.
    bytes_sent: u64,
    /// Messages for it that were dropped; reasons that did not happen are left out.
    messages_dropped: Vec<Dropped>,
}

impl TrafficView {
    fn new(traffic: &ClientTraffic, counted_ms: u64) -> Self {
        let dropped = DropReason::ALL.into_iter().zip(traffic.drops).filter(|(_, messages)| *messages > 0);
        Self {
            counted_ms,
            messages_received: traffic.received,
            messages_sent: traffic.sent,
            bytes_received: traffic.received_bytes,
            bytes_sent: traffic.sent_bytes,
            messages_dropped: dropped.map(|(reason, messages)| Dropped::new(reason, messages.into())).collect(),
        }
    }
}

/// What a connected client has beside its session.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionView {
    /// The listener that it came by.
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<String>,
    /// What its TLS has agreed on, as in `1.3 TLS_AES_128_GCM_SHA256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<String>,
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
            waiting_messages: client.queued,
            queued_bytes: client.queued_bytes,
            oldest_queued_ms: client.oldest_queued_ms,
            traffic: client.traffic.map(|(traffic, counted_ms)| TrafficView::new(&traffic, counted_ms)),
            open_exchanges: client.open_exchanges,
            has_will: client.has_will,
            connection: client.connection.map(|connection| ConnectionView {
                listener: connection.listener.map(Into::into),
                tls: connection.tls.map(|(version, suite)| format!("{version} {suite}")),
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
    get, path = "/api/v1/clients/{client_id}", operation_id = "client", tag = "clients",
    params(("client_id" = String, Path, description = "as it came in CONNECT, percent-encoded")),
    responses(
        (status = 200, description = "done", body = ClientView),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ReadProblems,
    )
)]
pub(super) async fn describe(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    NameInPath(client_id): NameInPath,
) -> Result<Json<ClientView>, HttpProblem> {
    view_of(&state, client_id).await
}

/// What one client holds.
pub(super) async fn view_of(state: &AdminState, client_id: String) -> Result<Json<ClientView>, HttpProblem> {
    match state.shards.ask_owner(&Command::DescribeClient { client_id: client_id.into() }).await? {
        Reply::Client(details) => Ok(Json((*details).into())),
        other => Err(HttpProblem::of_reply(&other)),
    }
}

/// Which of a client's filters are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionsQuery {
    /// The `next` of the page before.
    skip: Option<u32>,
}

/// A page of a client's filters.
#[derive(Serialize, ToSchema)]
pub(super) struct SubscriptionPage {
    /// Whole filters, `$share/...` included, in no order that means anything. One that is there all the time is on one page of all, once.
    filters: Vec<String>,
    /// The same with what was asked for with each.
    subscriptions: Vec<SubscriptionView>,
    /// Filters in all.
    total: u32,
    /// For `skip` of the next page; none after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u32>,
}

/// What one client is subscribed to.
#[utoipa::path(
    get, path = "/api/v1/clients/{client_id}/subscriptions", operation_id = "client_subscriptions", tag = "clients",
    params(("client_id" = String, Path, description = "as it came in CONNECT, percent-encoded"), SubscriptionsQuery),
    responses(
        (status = 200, description = "done", body = SubscriptionPage),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ReadProblems,
    )
)]
pub(super) async fn subscriptions(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    NameInPath(client_id): NameInPath,
    Parameters(query): Parameters<SubscriptionsQuery>,
) -> Result<Json<SubscriptionPage>, HttpProblem> {
    filters_of(&state, client_id, query.skip).await
}

/// A page of a client's filters, from one on.
pub(super) async fn filters_of(
    state: &AdminState,
    client_id: String,
    skip: Option<u32>,
) -> Result<Json<SubscriptionPage>, HttpProblem> {
    let first = skip.unwrap_or(0);
    match state.shards.ask_owner(&Command::ListSubscriptions { client_id: client_id.into(), first }).await? {
        Reply::Subscriptions { page, total, next } => {
            let filters = page.iter().map(|row| row.filter.to_string()).collect();
            let subscriptions = page.into_iter().map(SubscriptionView::from).collect();
            Ok(Json(SubscriptionPage { filters, subscriptions, total, next }))
        }
        other => Err(HttpProblem::of_reply(&other)),
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
    /// Why: an MQTT 5.0 client is told (Reason String), and so is the log.
    #[param(max_length = 256)]
    reason: Option<String>,
}

/// Close a client's connection (0x98, administrative action). With `end_session=true` its session ends as well.
#[utoipa::path(
    delete, path = "/api/v1/clients/{client_id}", tag = "clients",
    params(("client_id" = String, Path, description = "as it came in CONNECT, percent-encoded"), DisconnectQuery),
    responses(
        (status = 204, description = "its connection is closed"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn disconnect(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    NameInPath(client_id): NameInPath,
    Parameters(query): Parameters<DisconnectQuery>,
) -> Result<StatusCode, HttpProblem> {
    close(&state, &operator, &client_id, (query.end_session, query.reason)).await
}

/// Closes a client's connection, and ends its session where that is asked for.
pub(super) async fn close(
    state: &AdminState,
    operator: &Operator,
    client_id: &str,
    (end_session, reason): (bool, Option<String>),
) -> Result<StatusCode, HttpProblem> {
    let reason = reason.filter(|reason| !reason.is_empty());
    check_reason(reason.as_deref().unwrap_or_default())?;
    operator.note_with_reason(if end_session { "end_session" } else { "disconnect" }, client_id, reason.as_deref());
    let session = if end_session { SessionFate::Ended } else { SessionFate::Kept };
    let command = Command::Disconnect { client_id: client_id.into(), session, reason: reason.map(Into::into) };
    match state.shards.ask_owner(&command).await? {
        Reply::Done => Ok(StatusCode::NO_CONTENT),
        other => Err(HttpProblem::of_reply(&other)),
    }
}
