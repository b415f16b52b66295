//! Which certificates of a client's chain are looked up in revocation lists.
//!
//! Always holds: the client's own certificate is looked up and refused where its issuer has no list; one between it and the authority is
//! refused if a list at hand has it, and needs none: most authorities publish none about those.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// Asks one verifier about each client, and another one about those that have certificates between theirs and the authority's.
#[derive(Debug)]
pub(super) struct WholeChain {
    /// Knows the client's own certificate alone.
    pub(super) own: Arc<dyn ClientCertVerifier>,
    /// Knows all of them, and takes one without a list for good.
    pub(super) all: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for WholeChain {
    fn offer_client_auth(&self) -> bool {
        self.own.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.own.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.own.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.own.verify_client_cert(end_entity, intermediates, now)?;
        if intermediates.is_empty() {
            return Ok(verified);
        }
        self.all.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.own.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.own.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.own.supported_verify_schemes()
    }
}
