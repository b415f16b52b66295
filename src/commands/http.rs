//! Requests of commands to an admin server, plain or behind a proxy with TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Where systems keep the authorities that they trust.
const SYSTEM_AUTHORITIES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Whoever asks: at `url`, whose certificate (where it is https) must come from the authorities in `ca_file`, or from those that the
/// system trusts.
pub(super) fn agent(url: &str, ca_file: Option<&Path>, timeout: Duration) -> Result<Agent, String> {
    let roots = if url.starts_with("https:") { authorities(ca_file)? } else { Vec::new() };
    let roots: Vec<Certificate<'static>> =
        roots.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
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
        .user_agent("dunlin")
        .build();
    Ok(config.into())
}

fn authorities(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    let system = || SYSTEM_AUTHORITIES.into_iter().map(PathBuf::from).find(|path| path.exists());
    let path = file.map(Path::to_owned).or_else(system);
    let path = path.ok_or("this system has no list of authorities: give --cafile")?;
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read(&path).map_err(|error| wrong(&error))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let read = read.map_err(|_| wrong(&"holds a certificate that cannot be read"))?;
    if read.is_empty() { Err(wrong(&"holds no certificate")) } else { Ok(read) }
}
