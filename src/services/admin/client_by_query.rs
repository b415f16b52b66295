//! One client, with its id as a parameter: for ids that no path can carry. Browsers and proxies take `.` and `..` out of a path, and some
//! decode `%2F` there.
//!
//! Always holds: what is answered and done is what `clients` answers and does for the same id in a path.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::{Operator, Viewer};
use super::asked::Parameters;
use super::clients::{self, ClientView, SubscriptionPage};
use super::problem::{ChangeProblems, HttpProblem, ReadProblems};
use super::state::AdminState;

/// The parameters of whoever asks about one session; unknown ones are refused.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientQuery {
    /// As it came in CONNECT.
    client_id: String,
}

/// The parameters of whoever lists what one session is subscribed to, a page at a time.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientFiltersQuery {
    /// As it came in CONNECT.
    client_id: String,
    /// The `next` of the page before.
    skip: Option<u32>,
}

/// Who is disconnected, and what becomes of its session.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientCloseQuery {
    /// As it came in CONNECT.
    client_id: String,
    /// Whether its session ends, too: subscriptions and queue go, its will is published.
    #[serde(default)]
    end_session: bool,
    /// Why: an MQTT 5.0 client is told (Reason String), and so is the log.
    #[param(max_length = 256)]
    reason: Option<String>,
}

/// What one client holds, whatever its id is: as `/api/v1/clients/{client_id}`.
#[utoipa::path(
    get, path = "/api/v1/client", operation_id = "client_by_query", tag = "clients", params(ClientQuery),
    responses(
        (status = 200, description = "done", body = ClientView),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ReadProblems,
    )
)]
pub(super) async fn describe_by_query(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    Parameters(query): Parameters<ClientQuery>,
) -> Result<Json<ClientView>, HttpProblem> {
    clients::view_of(&state, query.client_id).await
}

/// What one client is subscribed to, whatever its id is: as `/api/v1/clients/{client_id}/subscriptions`.
#[utoipa::path(
    get, path = "/api/v1/client/subscriptions", operation_id = "client_subscriptions_by_query", tag = "clients", params(ClientFiltersQuery),
    responses(
        (status = 200, description = "done", body = SubscriptionPage),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ReadProblems,
    )
)]
pub(super) async fn filters_by_query(
    State(state): State<Arc<AdminState>>,
    _: Viewer,
    Parameters(query): Parameters<ClientFiltersQuery>,
) -> Result<Json<SubscriptionPage>, HttpProblem> {
    clients::filters_of(&state, query.client_id, query.skip).await
}

/// Close a client's connection, whatever its id is: as `/api/v1/clients/{client_id}`.
#[utoipa::path(
    delete, path = "/api/v1/client", operation_id = "disconnect_by_query", tag = "clients", params(ClientCloseQuery),
    responses(
        (status = 204, description = "its connection is closed"),
        (status = 404, description = "there is none", body = HttpProblem, content_type = "application/problem+json"),
        ChangeProblems,
    )
)]
pub(super) async fn close_by_query(
    State(state): State<Arc<AdminState>>,
    operator: Operator,
    Parameters(query): Parameters<ClientCloseQuery>,
) -> Result<StatusCode, HttpProblem> {
    clients::close(&state, &operator, &query.client_id, (query.end_session, query.reason)).await
}
