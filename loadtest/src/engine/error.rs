//! Why there is no outcome. Each kind has an exit status of its own.

use crate::outcome::FailureReason;
use crate::plan::PlanError;
use dunlin::ring::RingError;

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The plan cannot be carried out.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The broker's name means nothing, or nobody answers there.
    #[error("cannot reach {target}: {reason}")]
    Unreachable {
        /// `host:port`.
        target: String,
        /// What the system says.
        reason: String,
    },
    /// The broker lets nobody in.
    #[error("{target} refuses the connection: {reason}")]
    Refused {
        /// `host:port`.
        target: String,
        /// What the broker says.
        reason: String,
    },
    /// The certificate that it shows is not one to trust.
    #[error("{target} is not trusted: {reason}")]
    Untrusted {
        /// `host:port`.
        target: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What answers there is no MQTT broker, or one of another version.
    #[error("{target} does not answer as an MQTT broker: {reason}")]
    NoBroker {
        /// `host:port`.
        target: String,
        /// What it did instead.
        reason: String,
    },
    /// This system lacks what the engine needs.
    #[error("this system cannot do it: {0}")]
    System(String),
}

impl EngineError {
    /// The process's exit status. 1 is a broken threshold or promise, 2 wrong flags or a wrong plan; 5 is
    /// [`BROKER_LOST_STATUS`](Self::BROKER_LOST_STATUS).
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Plan(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Refused { .. } => 4,
            Self::NoBroker { .. } => 6,
            Self::System(_) => 7,
            Self::Untrusted { .. } => 9,
        }
    }

    /// Nobody got in, and this is why the first did not.
    pub(super) fn no_entry(reason: FailureReason, target: String, words: String) -> Self {
        match reason {
            FailureReason::Refused
            | FailureReason::Unreachable
            | FailureReason::TcpTimeout
            | FailureReason::TcpError => Self::Unreachable { target, reason: words },
            FailureReason::NotAuthorized
            | FailureReason::Busy
            | FailureReason::RefusedByBroker
            | FailureReason::TlsRefused => Self::Refused { target, reason: words },
            FailureReason::TlsUntrusted | FailureReason::TlsWrongName | FailureReason::TlsExpired => {
                Self::Untrusted { target, reason: words }
            }
            FailureReason::ClientFile => Self::Plan(PlanError::of_plan(words)),
            FailureReason::NoPort | FailureReason::NoResources => Self::System(words),
            FailureReason::Closed
            | FailureReason::ConnackTimeout
            | FailureReason::SubackTimeout
            | FailureReason::SubscriptionRefused
            | FailureReason::NoTls
            | FailureReason::TlsFailed
            | FailureReason::HandshakeTimeout
            | FailureReason::UpgradeRefused
            | FailureReason::UpgradeFailed
            | FailureReason::Protocol => Self::NoBroker { target, reason: words },
        }
    }

    /// The exit status of a run whose broker died half-way: there is an outcome, but not the one that was asked for.
    pub const BROKER_LOST_STATUS: u8 = 5;
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
/// A ring that does not work is no broker's fault.
pub(super) fn broken(error: RingError) -> EngineError {
    EngineError::System(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_one_line_and_a_status_of_its_own() {
        let (target, reason) = ("127.0.0.1:1".to_owned(), "connection refused".to_owned());
        let errors = [
            EngineError::Plan(PlanError::of_plan("b")),
            EngineError::Unreachable { target: target.clone(), reason: reason.clone() },
            EngineError::Refused { target: target.clone(), reason: reason.clone() },
            EngineError::Untrusted { target: target.clone(), reason: reason.clone() },
            EngineError::NoBroker { target, reason: reason.clone() },
            EngineError::System(reason),
        ];
        let mut statuses: Vec<u8> = errors.iter().map(EngineError::exit_status).collect();
        statuses.extend([0, 1, EngineError::BROKER_LOST_STATUS]);
        statuses.sort_unstable();
        statuses.dedup();
        assert_eq!(statuses.len(), errors.len() + 3);
        assert!(errors.iter().all(|error| error.to_string().lines().count() == 1));
    }
}
