//! Client certificates: one for all, or one for each from files of its own, read when it shakes hands so that none is kept.

use super::reasons::of_file;
use crate::plan::{Piece, TlsTarget};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What clients show. Files of a client's own are read before its handshake, and held for that long.
#[derive(Debug)]
pub(super) struct Identity {
    is_own: bool,
    shown: Mutex<Option<Arc<CertifiedKey>>>,
}

impl Identity {
    /// `None` where clients show nothing.
    pub(super) fn read(tls: &TlsTarget) -> Result<Option<Arc<Self>>, String> {
        let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else { return Ok(None) };
        let of_client = |piece: Piece<'_>| certificate.has(piece) || key.has(piece);
        let is_own = [Piece::Number, Piece::ClientId, Piece::Username].into_iter().any(of_client);
        let shown = if is_own { None } else { Some(read(&certificate.0, &key.0)?) };
        Ok(Some(Arc::new(Self { is_own, shown: Mutex::new(shown) })))
    }

    /// Whether each client has its own.
    pub(super) const fn is_own(&self) -> bool {
        self.is_own
    }

    /// The next handshake shows what these files hold.
    pub(super) fn show(&self, certificate: &str, key: &str) -> Result<(), String> {
        let read = read(certificate, key)?;
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
        Ok(())
    }
}

fn read(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, String> {
    let chain = CertificateDer::pem_file_iter(Path::new(certificate)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| format!("cert {certificate}: {}", of_file(&error)))?;
    if chain.is_empty() {
        return Err(format!("cert {certificate}: it holds no certificate in PEM"));
    }
    let der =
        PrivateKeyDer::from_pem_file(Path::new(key)).map_err(|error| format!("key {key}: {}", of_file(&error)))?;
    let key_of = any_supported_type(&der).map_err(|error| format!("key {key}: {error}"))?;
    let certified = CertifiedKey::new(chain, key_of);
    certified.keys_match().map_err(|error| format!("key {key} is not that of cert {certificate}: {error}"))?;
    Ok(Arc::new(certified))
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}
