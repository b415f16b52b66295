//! Why a handshake has come to nothing: rustls's error as a reason that is counted, and a line that helps.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::conn::layer::LayerFailure;
use crate::telemetry::CloseReason;

/// For the counters and the log.
pub(super) fn failure_of(error: &Error) -> LayerFailure {
    let (reason, text) = match error {
        Error::NoCertificatesPresented => {
            (CloseReason::TlsNoCertificate, "it shows no client certificate, and this listener requires one")
        }
        Error::InvalidCertificate(error) => certificate(error),
        Error::PeerIncompatible(error) => incompatible(error),
        Error::AlertReceived(alert) => (CloseReason::TlsAlert, refused_by_peer(*alert)),
        Error::NoApplicationProtocol => {
            (CloseReason::TlsFailed, "it offers application protocols (ALPN), and \"mqtt\" is not among them")
        }
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => {
            (CloseReason::TlsOldVersion, "it speaks a version of TLS that this listener does not")
        }
        Error::PeerSentOversizedRecord | Error::InvalidMessage(_) => {
            (CloseReason::TlsFailed, "its bytes are no TLS handshake")
        }
        Error::PeerMisbehaved(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            (CloseReason::TlsFailed, "it breaks the rules of TLS")
        }
        Error::DecryptError => (CloseReason::TlsFailed, "its TLS records cannot be opened"),
        _ => (CloseReason::TlsFailed, "its TLS handshake fails"),
    };
    LayerFailure { reason, text }
}

fn certificate(error: &CertificateError) -> (CloseReason, &'static str) {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (CloseReason::TlsExpired, "its client certificate has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (CloseReason::TlsExpired, "its client certificate is not valid yet: is one of the clocks wrong?")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            (CloseReason::TlsUnknownCa, "its client certificate is from no authority that this listener knows")
        }
        CertificateError::Revoked => (CloseReason::TlsRevoked, "its client certificate has been revoked"),
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            (CloseReason::TlsRevoked, "the revocation list that its certificate is looked up in has expired")
        }
        CertificateError::UnknownRevocationStatus => {
            (CloseReason::TlsRevoked, "no revocation list of its certificate's issuer is at hand")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            (CloseReason::TlsBadCertificate, "its certificate is not one for clients (extended key usage)")
        }
        _ => (CloseReason::TlsBadCertificate, "its client certificate cannot be used"),
    }
}

fn incompatible(error: &PeerIncompatible) -> (CloseReason, &'static str) {
    match error {
        PeerIncompatible::Tls12NotOffered
        // TLS 1.2 requires the extension of those who want more than SHA-1: who has none is older.
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            (CloseReason::TlsOldVersion, "it speaks no version of TLS that this listener takes")
        }
        PeerIncompatible::NoCipherSuitesInCommon => {
            (CloseReason::TlsFailed, "it offers no cipher suite that this listener takes")
        }
        PeerIncompatible::NoKxGroupsInCommon => {
            (CloseReason::TlsFailed, "it offers no key exchange that this listener takes")
        }
        PeerIncompatible::NoSignatureSchemesInCommon => {
            (CloseReason::TlsFailed, "it takes no signature that the listener's certificate could make")
        }
        _ => (CloseReason::TlsFailed, "it and this listener have too little of TLS in common"),
    }
}

/// The peer says why it does not go on: mostly it is about our certificate.
const fn refused_by_peer(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => {
            "it does not know the authority of the listener's certificate (alert unknown_ca)"
        }
        AlertDescription::CertificateExpired => {
            "it finds the listener's certificate expired (alert certificate_expired)"
        }
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept the listener's certificate (alert bad_certificate or certificate_unknown)"
        }
        AlertDescription::UnsupportedCertificate => {
            "it cannot use the listener's certificate (alert unsupported_certificate)"
        }
        AlertDescription::HandshakeFailure => "it found nothing in common with this listener (alert handshake_failure)",
        AlertDescription::ProtocolVersion => {
            "it takes no version of TLS that this listener offers (alert protocol_version)"
        }
        _ => "it ended the TLS handshake with an alert",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_that_operators_look_for_are_told_apart() {
        let table = [
            (Error::NoCertificatesPresented, CloseReason::TlsNoCertificate),
            (Error::InvalidCertificate(CertificateError::Expired), CloseReason::TlsExpired),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), CloseReason::TlsUnknownCa),
            (Error::InvalidCertificate(CertificateError::Revoked), CloseReason::TlsRevoked),
            (Error::InvalidCertificate(CertificateError::BadEncoding), CloseReason::TlsBadCertificate),
            (Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered), CloseReason::TlsOldVersion),
            (Error::AlertReceived(AlertDescription::UnknownCA), CloseReason::TlsAlert),
            (Error::DecryptError, CloseReason::TlsFailed),
        ];
        for (error, reason) in table {
            assert_eq!(failure_of(&error).reason, reason, "{error}");
        }
    }
}
