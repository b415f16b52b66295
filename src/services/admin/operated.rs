//! What operators have changed about a broker that runs, and what they may: listeners, a drain, traces.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::HttpProblem;
use crate::settings::ListenerKind;

/// Has a change carried out to its end, also when whoever asked for it hangs up, or does not wait so long.
pub(super) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, HttpProblem>> + Send + 'static,
) -> Result<T, HttpProblem> {
    tokio::spawn(change).await.unwrap_or_else(|_| Err(HttpProblem::not_now("the broker stops")))
}

/// A listener of the broker.
#[derive(Debug)]
pub(crate) struct AdminListener {
    /// What shards know it by.
    pub(crate) index: u8,
    /// Its name in the configuration.
    pub(crate) name: Box<str>,
    /// Where it listens, in words.
    pub(crate) place: String,
    /// The same, but for one at a path.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) kind: ListenerKind,
    /// Connections that came by it and are open.
    pub(crate) connections: Arc<AtomicU32>,
    /// Whether it accepts.
    pub(crate) is_open: AtomicBool,
}

/// A certificate that a listener, or the admin server, shows.
#[derive(Clone, Debug)]
pub(crate) struct AdminCertificate {
    /// Whose it is, as the configuration calls it.
    pub(crate) listener: String,
    /// Where it stands.
    pub(crate) file: String,
    /// When it ends, in Unix seconds.
    pub(crate) end_s: i64,
}

/// Those in use: whoever reads them again replaces them.
pub(crate) type AdminCertificates = Arc<ArcSwap<Vec<AdminCertificate>>>;

/// A drain that was asked for.
pub(super) struct DrainUnderWay {
    /// Tells it from those before.
    pub(super) number: u64,
    pub(super) clients_per_s: u32,
    pub(super) server_reference: Option<String>,
    /// Those that accept again when it ends early.
    pub(super) stopped: Vec<Arc<AdminListener>>,
}

/// What is traced.
#[derive(Clone, Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceRequest {
    /// Of this client alone.
    pub(super) client_id: Option<String>,
    /// Messages on topics that this filter matches, and subscriptions to this very filter.
    pub(super) topic: Option<String>,
    /// Of whoever comes from this address or network.
    pub(super) address: Option<String>,
    /// `connections` (who comes and goes), `packets` (with subscriptions and what is refused) or `messages` (with each PUBLISH; without payloads).
    #[serde(default)]
    #[param(inline)]
    pub(super) detail: TraceDetail,
    /// How long.
    #[param(minimum = 1, maximum = 3_600)]
    #[schema(minimum = 1, maximum = 3_600)]
    pub(super) seconds: u32,
}

/// How much is told.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TraceDetail {
    /// Who comes and goes.
    Connections,
    /// Subscriptions, and what is refused, too.
    Packets,
    /// Each PUBLISH, too.
    #[default]
    Messages,
}

/// A trace that goes on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TraceView {
    /// Names it.
    pub(super) id: u64,
    /// `log` or `stream`.
    pub(super) to: &'static str,
    /// Of this client alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Messages on topics that this filter matches, and subscriptions to this very filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// Of whoever comes from this address or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// `connections`, `packets` or `messages`.
    detail: TraceDetail,
    /// How long it was to go on.
    seconds: u32,
}

impl TraceView {
    /// What was asked for, under way. Not the request flattened: its type knows no other fields, and its description says so.
    pub(super) fn new(id: u64, to: &'static str, request: TraceRequest) -> Self {
        let TraceRequest { client_id, topic, address, detail, seconds } = request;
        Self { id, to, client_id, topic, address, detail, seconds }
    }
}

/// Those that go on.
pub(super) type TracesUnderWay = BTreeMap<u64, TraceView>;
