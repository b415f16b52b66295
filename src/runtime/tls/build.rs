//! One listener: what its settings and files come to.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientCertVerifierBuilder, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::ends::{EndOf, FileEnd};
use super::files::{SettingPlace, path, paths};
use super::keys;
use super::problem::TlsProblem;
use super::resolver::Resolver;
use super::revocation::WholeChain;
use crate::services::admin::AdminCertificate;
use crate::settings::{ClientCertificates, ExpiredLists, ListenerSettings, TlsTickets, TlsVersion};

/// What a client may offer as the protocol inside (ALPN), as IANA lists it.
const ALPN: &[u8] = b"mqtt";
/// What browsers name: WebSocket begins as HTTP (RFC 6455, 1.2; RFC 7301).
const ALPN_OF_WEBSOCKET: &[u8] = b"http/1.1";

/// Reads all files of a listener. How long they are good for goes to `found`.
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
    let builder = match verifier(settings, &provider, found)? {
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

/// How long the files are good for that are right.
#[derive(Debug, Default)]
pub(super) struct CertificatesFound {
    pub(super) ends: Vec<FileEnd>,
}

impl CertificatesFound {
    fn note(&mut self, settings: &ListenerSettings, of: EndOf, file: &Path, end_s: i64) {
        let (listener, file) = (settings.name.to_string(), file.display().to_string());
        self.ends.push(FileEnd { of, listener, file, end_s });
    }

    /// What is worth a word now.
    pub(super) fn warnings(&self, now_s: i64) -> Vec<String> {
        self.ends.iter().filter_map(|end| end.warning(now_s)).collect()
    }

    /// When the first of the certificates ends, or else of the lists, in Unix seconds.
    pub(super) fn first_end_s(&self, is_list: bool) -> Option<i64> {
        let of_kind = self.ends.iter().filter(|end| matches!(end.of, EndOf::RevocationList(_)) == is_list);
        of_kind.map(|end| end.end_s).min()
    }

    /// When which certificate ends.
    pub(super) fn certificates(&self) -> Vec<AdminCertificate> {
        let certificates = self.ends.iter().filter(|end| end.of == EndOf::Certificate);
        let view = |end: &FileEnd| AdminCertificate {
            listener: end.listener.clone(),
            file: end.file.clone(),
            end_s: end.end_s,
        };
        certificates.map(view).collect()
    }
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
    found: &mut CertificatesFound,
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
    let roots = of_ca.authorities(&ca)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    for file in &lists {
        let read = of_lists.lists(file)?;
        note_lists(settings, file, &read, found);
        builder = builder.with_crls(read);
    }
    if settings.tls_crl_expired == ExpiredLists::Refuse {
        builder = builder.enforce_revocation_expiration();
    }
    if settings.tls_client_certificates == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    let build = |builder: ClientCertVerifierBuilder| {
        builder.build().map_err(|error| of_lists.problem(format!("a revocation list cannot be used: {error}")))
    };
    if lists.is_empty() {
        return build(builder).map(Some);
    }
    let own = build(builder.clone().only_check_end_entity_revocation())?;
    let all = build(builder.allow_unknown_revocation_status())?;
    Ok(Some(Arc::new(WholeChain { own, all })))
}

/// When the first list of a file ends.
fn note_lists(
    settings: &ListenerSettings,
    file: &Path,
    lists: &[CertificateRevocationListDer<'_>],
    found: &mut CertificatesFound,
) {
    let parsed = lists.iter().filter_map(|list| CertificateRevocationList::from_der(list).ok());
    let Some(end_s) = parsed.filter_map(|(_, list)| list.next_update()).map(|end| end.timestamp()).min() else {
        return;
    };
    found.note(settings, EndOf::RevocationList(settings.tls_crl_expired), file, end_s);
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

/// When a certificate ends.
fn note_end(settings: &ListenerSettings, file: &Path, first: &CertificateDer<'_>, found: &mut CertificatesFound) {
    let Ok((_, certificate)) = X509Certificate::from_der(first) else { return };
    found.note(settings, EndOf::Certificate, file, certificate.validity().not_after.timestamp());
}
