//! A client of HTTP: what every request of ours goes by, whoever makes it.
//!
//! Owns: the agent's settings (TLS by the rustls that is here anyway, no proxy, nothing followed elsewhere, a time limit), and which
//! authorities a system trusts.
//! Always holds: over TLS a server's certificate must come from the authorities that were given.
//! Leaves to others: what is asked, how much of an answer is read, and reading files.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Where systems keep the authorities that they trust.
pub(crate) const SYSTEM_AUTHORITIES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The authorities in a file's text, at least one.
pub(crate) fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|_| "holds a certificate that cannot be read")?;
    if read.is_empty() { Err("holds no certificate") } else { Ok(read) }
}

/// Whoever asks: trusts these authorities, waits so long for an answer, and keeps up to so many connections for the next request.
pub(crate) fn agent(authorities: &[CertificateDer<'_>], timeout: Duration, kept: usize) -> Agent {
    let roots: Vec<Certificate<'static>> =
        authorities.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::from(roots.into_iter()))
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        // What the environment says is meant for others.
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .max_idle_connections(kept)
        .max_idle_connections_per_host(kept)
        .user_agent("dunlin");
    config.build().into()
}
