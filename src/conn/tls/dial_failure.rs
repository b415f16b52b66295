//! Why TLS with another node has come to nothing, where this one has dialled: as a line that helps.
//!
//! Both ends are ours, and both say what they found wrong in their own logs.

use rustls::{AlertDescription, CertificateError, Error};

use crate::conn::layer::LayerFailure;
use crate::telemetry::CloseReason;

/// For the counter and the log.
pub(super) fn failure_of_dialled(error: &Error) -> LayerFailure {
    let text = match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => refused_by_node(*alert),
        Error::NoApplicationProtocol | Error::PeerIncompatible(_) => {
            "it and this node have too little of TLS in common: is it another version of dunlin, or no node?"
        }
        Error::InvalidMessage(_) | Error::PeerSentOversizedRecord => "its bytes are no TLS handshake",
        Error::PeerMisbehaved(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "it breaks the rules of TLS"
        }
        Error::DecryptError => "its TLS records cannot be opened",
        _ => "its TLS handshake fails",
    };
    LayerFailure { reason: CloseReason::LinkTls, text }
}

const fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: is one of the clocks wrong?"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is from no authority of --cluster-link-ca"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not one for servers (extended key usage): a node's is for servers and for clients"
        }
        _ => "its certificate cannot be used",
    }
}

/// It says why it does not go on: mostly it is about our certificate.
pub(super) const fn refused_by_node(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => "it does not know the authority of this node's certificate (alert unknown_ca)",
        AlertDescription::CertificateExpired => "it finds this node's certificate expired (alert certificate_expired)",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => {
            "it does not accept this node's certificate (alert bad_certificate, unsupported_certificate or certificate_unknown)"
        }
        AlertDescription::CertificateRequired => "it wants a certificate, and was shown none that it has a use for",
        AlertDescription::ProtocolVersion => "it does not take TLS 1.3 (alert protocol_version)",
        AlertDescription::NoApplicationProtocol => {
            "it accepts something else than links there (alert no_application_protocol): is its --cluster-link right?"
        }
        _ => "it ended TLS with an alert: its own log may say why",
    }
}
