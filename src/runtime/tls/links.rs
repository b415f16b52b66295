//! How nodes of a cluster know each other: from files to what links are dialled and accepted with.
//!
//! Always holds: with certificates both ends speak TLS 1.3 and show one of the same authority, which is asked for by both; nothing is resumed. A port for links says what
//! it is (ALPN), so that a client of MQTT, or a node that was told a wrong port, hears so.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};

use super::files::SettingPlace;
use super::keys;
use super::problem::TlsProblem;
use crate::cluster::{LinkSecret, LinkTrust};
use crate::config::cluster::LinkTrustFiles;
use crate::conn::tls::{NodeAuthority, TlsDialler, TlsListener};
use crate::conn::{DialLayers, ListenerLayers};

/// The protocol inside (ALPN). Nobody else's.
const ALPN: &[u8] = b"dunlin-link";

/// What links are opened with.
#[derive(Clone, Debug)]
pub struct LinkSecurity {
    /// How the ends know each other.
    pub trust: LinkTrust,
    /// Of the listener for links.
    pub accepts: ListenerLayers,
    /// Of those that are dialled.
    pub dials: DialLayers,
}

impl LinkSecurity {
    /// Reads the files.
    ///
    /// # Errors
    /// The first that is wrong with them.
    pub fn read(files: &LinkTrustFiles) -> Result<Self, TlsProblem> {
        match files {
            LinkTrustFiles::Secret(place) => {
                let of_secret = SettingPlace::of_cluster("secret_file");
                let secret = place.read().map_err(|error| of_secret.problem(error))?;
                let secret = LinkSecret::new(secret.as_bytes())
                    .ok_or_else(|| of_secret.problem("it is too short to be a secret"))?;
                let (accepts, dials) = (ListenerLayers::None, DialLayers::None);
                Ok(Self { trust: LinkTrust::Secret(secret), accepts, dials })
            }
            LinkTrustFiles::Certificates { certificates, key, ca } => {
                let files = NodeFiles::read(certificates, key, ca)?;
                let accepts = ListenerLayers::Tls(TlsListener::new(files.server()?));
                let dials = DialLayers::Tls(TlsDialler::new(files.client()?));
                Ok(Self { trust: LinkTrust::Certificate, accepts, dials })
            }
        }
    }
}

/// What the files of a node hold.
struct NodeFiles {
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl NodeFiles {
    fn read(certificates: &Path, key: &Path, ca: &Path) -> Result<Self, TlsProblem> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let of_key = SettingPlace::of_cluster("link_key");
        let chain = SettingPlace::of_cluster("link_cert").certificates(certificates)?;
        let loaded = keys::key(of_key, key, None)?;
        CertifiedKey::from_der(chain.clone(), loaded.clone_key(), &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                of_key.of_file(key, None, format!("it is not the key of {}", certificates.display()))
            }
            error => of_key.of_file(key, None, format!("it cannot be used: {error}")),
        })?;
        let roots = Arc::new(SettingPlace::of_cluster("link_ca").authorities(ca)?);
        Ok(Self { provider, chain, key: loaded, roots })
    }

    fn server(&self) -> Result<ServerConfig, TlsProblem> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider));
        let verifier =
            builder.build().map_err(|error| SettingPlace::of_cluster("link_ca").problem(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn client(&self) -> Result<ClientConfig, TlsProblem> {
        let authority = NodeAuthority::new(Arc::clone(&self.roots), &self.provider);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unusable(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(authority))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn unusable(error: &rustls::Error) -> TlsProblem {
    SettingPlace::of_cluster("link_cert").problem(format!("it cannot be used: {error}"))
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
