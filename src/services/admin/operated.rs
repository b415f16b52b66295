//! What operators have changed about a broker that runs, and what they may: listeners, a drain, traces.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::settings::ListenerKind;

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
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceRequest {
    /// Of this client alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    /// Messages on topics that this filter matches, and subscriptions to this very filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) topic: Option<String>,
    /// Of whoever comes from this address or network.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// What was asked for.
    #[serde(flatten)]
    pub(super) request: TraceRequest,
}

/// Those that go on.
pub(super) type TracesUnderWay = BTreeMap<u64, TraceView>;
