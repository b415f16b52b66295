//! What the broker refused, put together from where it was counted.

use super::{FailureReason, LossReason, Outcome};
use crate::units::{counted, grouped};

/// What the broker refused. Nothing counts twice: a login is no closed connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Handshakes of TLS and WebSocket that came to nothing, by whichever end.
    pub handshakes: u64,
    /// CONNACK with an error code.
    pub logins: u64,
    /// Filters that SUBACK answered with an error code.
    pub subscriptions: u64,
    /// PUBACK and PUBREC with an error code.
    pub messages: u64,
    /// Connections that the broker ended without being asked, with or without DISCONNECT.
    pub connections: u64,
}

impl Refusals {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.handshakes + self.logins + self.subscriptions + self.messages + self.connections
    }

    /// Each kind with its number; empty if nothing was refused.
    pub fn words(&self) -> String {
        let kinds = [
            (self.messages, "message"),
            (self.subscriptions, "subscription"),
            (self.logins, "login"),
            (self.handshakes, "handshake"),
            (self.connections, "connection that the broker closed"),
        ];
        let told = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| match *what {
            "connection that the broker closed" if *count > 1 => {
                format!("{} connections that the broker closed", grouped(*count))
            }
            what => counted(*count, what),
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

impl Outcome {
    /// What the broker refused.
    pub fn refusals(&self) -> Refusals {
        let failed = |reason: FailureReason| self.connections.failed.get(&reason).copied().unwrap_or(0);
        let lost = |reason: LossReason| self.connections.lost.get(&reason).copied().unwrap_or(0);
        let logins = [FailureReason::NotAuthorized, FailureReason::Busy, FailureReason::RefusedByBroker];
        let ends = [LossReason::Closed, LossReason::Disconnected, LossReason::Reset];
        let handshakes = [
            FailureReason::TlsUntrusted,
            FailureReason::TlsWrongName,
            FailureReason::TlsExpired,
            FailureReason::NoTls,
            FailureReason::TlsRefused,
            FailureReason::TlsFailed,
            FailureReason::UpgradeRefused,
            FailureReason::UpgradeFailed,
        ];
        Refusals {
            handshakes: handshakes.map(failed).iter().sum(),
            logins: logins.map(failed).iter().sum(),
            subscriptions: self.connections.subscriptions_refused,
            messages: self.verdict.all_messages().refused,
            connections: failed(FailureReason::Closed) + ends.map(lost).iter().sum::<u64>(),
        }
    }

    /// The reason codes that came with refusals, in words, most frequent first.
    pub fn refusal_reasons(&self) -> String {
        let mut reasons: Vec<(&String, &u64)> = self.refused.iter().collect();
        reasons.sort_by_key(|(what, count)| (std::cmp::Reverse(**count), *what));
        let told = reasons.iter().map(|(what, count)| format!("{} {what}", grouped(**count)));
        told.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_every_kind_count_once() {
        let mut outcome = Outcome::default();
        assert_eq!((outcome.refusals().total(), outcome.refusals().words()), (0, String::new()));
        outcome.verdict.messages[1].refused = 30;
        outcome.connections.subscriptions_refused = 1;
        outcome.connections.failed.insert(FailureReason::NotAuthorized, 2);
        outcome.connections.failed.insert(FailureReason::SubscriptionRefused, 1);
        outcome.connections.failed.insert(FailureReason::TcpTimeout, 9);
        outcome.connections.failed.insert(FailureReason::TlsWrongName, 4);
        outcome.connections.failed.insert(FailureReason::UpgradeRefused, 1);
        outcome.connections.lost.insert(LossReason::Closed, 3);
        outcome.connections.lost.insert(LossReason::PingTimeout, 9);
        outcome.refused.insert("CONNACK not authorized".to_owned(), 2);
        outcome.refused.insert("PUBACK quota exceeded".to_owned(), 30);
        let refusals = outcome.refusals();
        assert_eq!(refusals.total(), 41);
        let words = "30 messages, 1 subscription, 2 logins, 5 handshakes, 3 connections that the broker closed";
        assert_eq!(refusals.words(), words);
        assert_eq!(outcome.refusal_reasons(), "30 PUBACK quota exceeded, 2 CONNACK not authorized");
    }
}
