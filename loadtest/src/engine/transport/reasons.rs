//! Why a connection below MQTT was not made, or ended: a reason that is counted, and words that help.

use crate::outcome::FailureReason;
use rustls::pki_types::pem;
use rustls::{AlertDescription, CertificateError, Error};

/// How a connection ended, or why it never began to speak MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) enum WireEnd {
    /// It was not set up.
    Failed(FailureReason, String),
    /// The broker has said that it sends no more.
    Closed(String),
    /// The broker has broken the rules.
    Broken(String),
}

/// What rustls says, for a person.
pub(super) fn of_handshake(error: &Error) -> WireEnd {
    let (reason, words) = match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => return of_alert(*alert),
        Error::InvalidMessage(_) | Error::PeerSentOversizedRecord => {
            (FailureReason::NoTls, "what answers speaks no TLS: is the port one without?".to_owned())
        }
        Error::PeerIncompatible(error) => {
            (FailureReason::TlsFailed, format!("the broker and loadtest have too little of TLS in common: {error:?}"))
        }
        other => (FailureReason::TlsFailed, format!("the TLS handshake failed: {other}")),
    };
    WireEnd::Failed(reason, words)
}

/// An alert of the broker's, in a handshake or right behind it, where TLS 1.3 has it.
pub(super) fn of_alert(alert: AlertDescription) -> WireEnd {
    let hint = match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::HandshakeFailure => "; it may want a client certificate (cert, key)",
        AlertDescription::UnknownCA => "; it does not know the authority of the client certificate",
        _ => "",
    };
    WireEnd::Failed(FailureReason::TlsRefused, format!("the broker ended TLS with the alert {alert:?}{hint}"))
}

/// What had been done of a wire when its socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoneBefore {
    /// Nothing of TLS was answered.
    Nothing,
    /// A part of a handshake.
    PartOfTls,
    /// The WebSocket was asked for.
    Asking,
}

/// The socket ended while the wire was set up.
pub(super) fn of_end(done: DoneBefore) -> WireEnd {
    let (reason, words) = match done {
        DoneBefore::Nothing => (
            FailureReason::NoTls,
            "the broker closed the connection without an answer to TLS: is the port one without?",
        ),
        DoneBefore::PartOfTls => (FailureReason::TlsFailed, "the broker closed the connection in the TLS handshake"),
        DoneBefore::Asking => (
            FailureReason::UpgradeFailed,
            "the broker closed the connection without an answer to the WebSocket request: is the port one without?",
        ),
    };
    WireEnd::Failed(reason, words.to_owned())
}

fn certificate(error: &CertificateError) -> (FailureReason, String) {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            FailureReason::TlsUntrusted,
            "its certificate is from no authority that is trusted here (--cafile names one)".to_owned(),
        ),
        CertificateError::NotValidForName => (
            FailureReason::TlsWrongName,
            "its certificate is for another name (--tls-name says which is meant)".to_owned(),
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let presented = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            let expected = expected.to_str();
            let words =
                format!("its certificate is for {presented}, not for {expected} (--tls-name says which is meant)");
            (FailureReason::TlsWrongName, words)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (FailureReason::TlsExpired, "its certificate has expired".to_owned())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (FailureReason::TlsExpired, "its certificate is not valid yet: is one of the clocks wrong?".to_owned())
        }
        other => (FailureReason::TlsUntrusted, format!("its certificate cannot be trusted: {other}")),
    }
}

/// What is wrong with a file in PEM, without the kind of error.
pub(super) fn of_file(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// A name of a certificate without its kind, as in `DnsName("localhost")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn what_users_look_for_is_told_apart() {
        let expected = ServerName::try_from("other").unwrap();
        let presented = vec!["DnsName(\"localhost\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()];
        let wrong_name = CertificateError::NotValidForNameContext { expected, presented };
        let table = [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), FailureReason::TlsUntrusted, "--cafile"),
            (
                Error::InvalidCertificate(wrong_name),
                FailureReason::TlsWrongName,
                "for localhost, 127.0.0.1, not for other",
            ),
            (Error::InvalidCertificate(CertificateError::Expired), FailureReason::TlsExpired, "expired"),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), FailureReason::NoTls, "speaks no TLS"),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                FailureReason::TlsRefused,
                "client certificate",
            ),
            (Error::DecryptError, FailureReason::TlsFailed, "handshake failed"),
        ];
        for (error, reason, part) in table {
            match of_handshake(&error) {
                WireEnd::Failed(found, words) => assert!(found == reason && words.contains(part), "{words}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
