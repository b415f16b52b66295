//! Connections: tried, made, failed and lost, each failure and loss by its reason.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Connections: tried, made, failed and lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    /// Tried to make.
    pub attempted: u64,
    /// Got a CONNACK that lets them in.
    pub established: u64,
    /// Of these, got every subscription granted, or had none to ask for.
    pub subscribed: u64,
    /// Tries that were made because an earlier one of the client had failed. What succeeds then is no failure.
    pub retried: u64,
    /// Did not get so far, and tried no more.
    pub failed: BTreeMap<FailureReason, u64>,
    /// Were established and ended without our doing.
    pub lost: BTreeMap<LossReason, u64>,
    /// Ended by us, as the plan says.
    pub dropped: u64,
    /// Most that were established at a time; of merged parts the sum.
    pub peak: u64,
    /// Established when the last stage was over.
    pub at_end: u64,
    /// Subscriptions that the broker refused.
    pub subscriptions_refused: u64,
    /// Connections that found their session with the broker.
    pub sessions_present: u64,
    /// Subscribers' connections that did not find the session that was to stay.
    pub sessions_lost: u64,
    /// Handshakes of TLS by what was agreed on: version, suite, key exchange, and whether a session was resumed.
    pub tls: BTreeMap<String, u64>,
    /// The first refusal or error, in words, for a message to a person.
    pub first_failure: Option<String>,
}

/// Why a connection was not established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// Nobody listens there (ECONNREFUSED).
    Refused,
    /// No way there (EHOSTUNREACH, ENETUNREACH).
    Unreachable,
    /// No port left at the source address (EADDRNOTAVAIL).
    NoPort,
    /// TCP did not connect in time.
    TcpTimeout,
    /// Any other error of TCP.
    TcpError,
    /// Closed before CONNACK.
    Closed,
    /// No CONNACK in time.
    ConnackTimeout,
    /// CONNACK says: user name, password or authorization.
    NotAuthorized,
    /// CONNACK says: too busy, quota, rate.
    Busy,
    /// CONNACK says anything else.
    RefusedByBroker,
    /// No SUBACK in time.
    SubackTimeout,
    /// SUBACK refuses a subscription.
    SubscriptionRefused,
    /// The answer was no MQTT, or broke its rules.
    Protocol,
    /// No descriptor, memory or ring for it on this side.
    NoResources,
    /// The broker's certificate is from nobody who is trusted, or cannot be one of a server.
    TlsUntrusted,
    /// The broker's certificate is for another name.
    TlsWrongName,
    /// The broker's certificate has expired, or is not valid yet.
    TlsExpired,
    /// What answers speaks no TLS.
    NoTls,
    /// The broker ended TLS with an alert: mostly about the client's certificate.
    TlsRefused,
    /// TLS could not be set up for another reason.
    TlsFailed,
    /// TLS or the WebSocket was not there in time.
    HandshakeTimeout,
    /// The request for a WebSocket was answered with another status of HTTP.
    UpgradeRefused,
    /// The answer to the request for a WebSocket was none, or a wrong one.
    UpgradeFailed,
    /// A file of the client's certificate cannot be used, or its token cannot be made.
    ClientFile,
}

/// Why a connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// The broker closed it (FIN).
    Closed,
    /// The broker said DISCONNECT first.
    Disconnected,
    /// RST.
    Reset,
    /// No PINGRESP within a keep-alive.
    PingTimeout,
    /// The broker broke the rules of MQTT.
    Protocol,
    /// Any other error of TCP.
    TcpError,
}

impl Connections {
    /// Not established, all reasons together.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Lost, all reasons together.
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }
}
