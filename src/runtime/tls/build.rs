//! One listener: what its settings and files come to.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, version};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{SettingPlace, path, paths};
use super::keys;
use super::problem::{TlsProblem, place_name};
use super::resolver::Resolver;
use crate::limits::TLS_EXPIRY_WARNING_DAYS;
use crate::services::admin::AdminCertificate;
use crate::settings::{ClientCertificates, ListenerSettings, TlsTickets, TlsVersion};

/// What a client may offer as the protocol inside (ALPN), as IANA lists it.
const ALPN: &[u8] = b"mqtt";
/// What browsers name: WebSocket begins as HTTP (RFC 6455, 1.2; RFC 7301).
const ALPN_OF_WEBSOCKET: &[u8] = b"http/1.1";
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// Reads all files of a listener. What is right and yet worth a word goes to `found`.
pub(super) fn build(
    settings: &ListenerSettings,
    tickets: &mut SharedTickets,
    found: &mut CertificatesFound,
) -> Result<ServerConfig, TlsProblem> {
    let provider = Arc::new(provider(settings)?);
    let versions: &[_] = match settings.tls_version_min {
        TlsVersion::V12 => &[&version::TLS13, &version::TLS12],
        TlsVersion::V13 => &[&version::TLS13],
    };
    let place = SettingPlace { listener: &settings.name, key: "tls_ciphers" };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|_| place.problem("none of them is of a version that tls_min_version allows"))?;
    let builder = match verifier(settings, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let certified = certified_keys(settings, &provider, found)?;
    let mut config = builder.with_cert_resolver(Arc::new(Resolver::new(certified)));
    config.alpn_protocols = vec![if settings.kind.has_websocket() { ALPN_OF_WEBSOCKET } else { ALPN }.to_vec()];
    // What a client resumes from it keeps itself.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if settings.tls_tickets == TlsTickets::On {
        config.send_tls13_tickets = 1;
        config.ticketer = tickets.of(settings).map_err(|error| {
            SettingPlace { listener: &settings.name, key: "tls_tickets" }.problem(error.to_string())
        })?;
    }
    Ok(config)
}

/// What tickets are sealed with. A ticket holds what a client has proved, so one of a listener that asks for less must not be good for one that
/// asks for more, and none for longer than the authorities and revocation lists by which it was made.
#[derive(Debug, Default)]
pub(super) struct SharedTickets(Option<Arc<dyn ProducesTickets>>);

impl SharedTickets {
    /// The same for all listeners that ask for no certificates, as long as the process lives; another one for each of the others, each time.
    fn of(&mut self, settings: &ListenerSettings) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        if settings.tls_client_certificates != ClientCertificates::Off {
            return aws_lc_rs::Ticketer::new();
        }
        if let Some(shared) = &self.0 {
            return Ok(Arc::clone(shared));
        }
        let made = aws_lc_rs::Ticketer::new()?;
        Ok(Arc::clone(self.0.insert(made)))
    }
}

/// What is worth a word of certificates that are right.
#[derive(Debug, Default)]
pub(super) struct CertificatesFound {
    pub(super) warnings: Vec<String>,
    /// When the first of them ends, in Unix seconds.
    pub(super) first_end_s: Option<i64>,
    /// When which of them ends.
    pub(super) ends: Vec<AdminCertificate>,
}

/// The cipher suites that were chosen.
fn provider(settings: &ListenerSettings) -> Result<CryptoProvider, TlsProblem> {
    let mut provider = aws_lc_rs::default_provider();
    let chosen: Vec<&str> = settings.tls_ciphers.iter().map(String::as_str).filter(|name| *name != "all").collect();
    let name_of = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1);
    let known: Vec<String> = provider.cipher_suites.iter().map(name_of).collect();
    if let Some(unknown) = chosen.iter().find(|name| !known.iter().any(|known| known == *name)) {
        let text = format!("{unknown} is not known here; those that are: {}", known.join(", "));
        return Err(SettingPlace { listener: &settings.name, key: "tls_ciphers" }.problem(text));
    }
    if !chosen.is_empty() {
        provider.cipher_suites.retain(|suite| chosen.contains(&name_of(suite).as_str()));
    }
    Ok(provider)
}

/// Who checks client certificates, where they are asked for.
fn verifier(
    settings: &ListenerSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsProblem> {
    let of_ca = SettingPlace { listener: &settings.name, key: "tls_ca" };
    let of_lists = SettingPlace { key: "tls_crl", ..of_ca };
    let (ca, lists) = (path(&settings.tls_ca), paths(&settings.tls_crls));
    if settings.tls_client_certificates == ClientCertificates::Off {
        return match (ca, lists.is_empty()) {
            (None, true) => Ok(None),
            (Some(_), _) => {
                Err(of_ca.problem("nobody is asked for a certificate: set tls_client_cert to optional or required"))
            }
            (None, false) => {
                Err(of_lists.problem("nobody is asked for a certificate: set tls_client_cert to optional or required"))
            }
        };
    }
    let Some(ca) = ca else {
        return Err(
            of_ca.problem("client certificates are asked for, and by this file they are verified: it is missing")
        );
    };
    let mut roots = RootCertStore::empty();
    for (number, certificate) in of_ca.certificates(&ca)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            of_ca.of_file(&ca, None, format!("its certificate number {} cannot be used: {error}", number + 1))
        })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    for file in &lists {
        builder = builder.with_crls(of_lists.lists(file)?);
    }
    if !lists.is_empty() {
        builder = builder.only_check_end_entity_revocation();
    }
    if settings.tls_client_certificates == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map(Some).map_err(|error| of_lists.problem(format!("a revocation list cannot be used: {error}")))
}

/// Every chain with its key.
fn certified_keys(
    settings: &ListenerSettings,
    provider: &CryptoProvider,
    found: &mut CertificatesFound,
) -> Result<Vec<CertifiedKey>, TlsProblem> {
    let of_certificates = SettingPlace { listener: &settings.name, key: "tls_cert" };
    let of_keys = SettingPlace { key: "tls_key", ..of_certificates };
    let (certificates, keys) = (paths(&settings.tls_certificates), paths(&settings.tls_keys));
    if certificates.is_empty() {
        return Err(of_certificates.problem("a listener of kind \"tls\" needs a certificate, and its key in tls_key"));
    }
    if certificates.len() != keys.len() {
        let text =
            format!("{} certificates and {} keys: each has its key at the same place", certificates.len(), keys.len());
        return Err(of_keys.problem(text));
    }
    let passphrase = keys::passphrase(settings)?;
    let mut all = Vec::new();
    for (certificate, key) in certificates.iter().zip(&keys) {
        let chain = of_certificates.certificates(certificate)?;
        note_end(settings, certificate, &chain[0], found);
        let loaded = keys::key(of_keys, key, passphrase.as_ref().map(|passphrase| passphrase.as_slice()))?;
        let certified = CertifiedKey::from_der(chain, loaded, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let text = format!("it is not the key of {}: are the files in the same order?", certificate.display());
                of_keys.of_file(key, None, text)
            }
            error => of_keys.of_file(key, None, format!("it cannot be used: {error}")),
        })?;
        all.push(certified);
    }
    if let (Some(file), Some(first)) = (path(&settings.tls_ocsp), all.first_mut()) {
        first.ocsp = Some(SettingPlace { key: "tls_ocsp", ..of_keys }.read(&file)?);
    }
    Ok(all)
}

/// When a certificate ends; one that will soon be good for nothing, or is, is warned of.
fn note_end(settings: &ListenerSettings, file: &Path, first: &CertificateDer<'_>, found: &mut CertificatesFound) {
    let Ok((_, certificate)) = X509Certificate::from_der(first) else { return };
    let now_s = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed());
    let end_s = certificate.validity().not_after.timestamp();
    found.first_end_s = Some(found.first_end_s.map_or(end_s, |first_s| first_s.min(end_s)));
    let (left_s, warnings) = (end_s - now_s, &mut found.warnings);
    let (listener, file) = (place_name(&settings.name), file.display());
    found.ends.push(AdminCertificate { listener: settings.name.to_string(), file: file.to_string(), end_s });
    if left_s < 0 {
        let days = -left_s / SECONDS_PER_DAY;
        warnings.push(format!("{listener} tls_cert: {file} expired {days} days ago: clients refuse it"));
    } else if left_s < TLS_EXPIRY_WARNING_DAYS * SECONDS_PER_DAY {
        let days = left_s / SECONDS_PER_DAY;
        warnings.push(format!("{listener} tls_cert: {file} expires in {days} days"));
    }
}
