//! Which certificate a client gets: by the host that it names (SNI), and by what it can verify.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The certificates of a listener, in the order of its setting.
#[derive(Debug)]
pub(super) struct Resolver(Vec<HostCertificate>);

#[derive(Debug)]
struct HostCertificate {
    /// In lower case; one label of a wildcard's is `*`.
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Resolver {
    pub(super) fn new(keys: Vec<CertifiedKey>) -> Self {
        Self(keys.into_iter().map(|key| HostCertificate { names: names_of(&key), key: Arc::new(key) }).collect())
    }

    /// For the name that a client has sent, if it has.
    fn find(&self, name: Option<&str>, can_verify: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let wildcard = name.as_deref().and_then(|name| name.split_once('.')).map(|(_, rest)| format!("*.{rest}"));
        let of_name = |entry: &&HostCertificate| {
            entry.names.iter().any(|own| Some(own) == name.as_ref() || Some(own) == wildcard.as_ref())
        };
        let verifiable = |entry: &&HostCertificate| can_verify(&entry.key);
        let entries = || self.0.iter();
        let found = entries().filter(of_name).find(verifiable).or_else(|| entries().find(verifiable));
        found.or_else(|| entries().next()).map(|entry| Arc::clone(&entry.key))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), |key| key.key.choose_scheme(hello.signature_schemes()).is_some())
    }
}

/// The hosts that a certificate is for.
fn names_of(key: &CertifiedKey) -> Vec<String> {
    let Some(Ok((_, certificate))) = key.cert.first().map(|certificate| X509Certificate::from_der(certificate)) else {
        return Vec::new();
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let hosts = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    hosts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
    use rustls::crypto::aws_lc_rs::sign::any_supported_type;
    use rustls::pki_types::PrivateKeyDer;

    fn certified(names: &[&str], algorithm: &'static SignatureAlgorithm) -> CertifiedKey {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
        let key = any_supported_type(&PrivateKeyDer::try_from(pair.serialize_der()).unwrap()).unwrap();
        CertifiedKey::new(vec![certificate.der().clone()], key)
    }

    #[test]
    fn a_client_gets_what_it_names_and_can_verify() {
        let resolver = Resolver::new(vec![
            certified(&["first.example"], &PKCS_ECDSA_P256_SHA256),
            certified(&["b.example", "*.b.example"], &PKCS_ED25519),
            certified(&["b.example"], &PKCS_ECDSA_P256_SHA256),
        ]);
        let at = |name, can_verify: &dyn Fn(&CertifiedKey) -> bool| {
            let found = resolver.find(name, can_verify).unwrap();
            resolver.0.iter().position(|entry| Arc::ptr_eq(&entry.key, &found)).unwrap()
        };
        let all: &dyn Fn(&CertifiedKey) -> bool = &|_| true;
        let no_ed25519 = |key: &CertifiedKey| key.key.algorithm() == rustls::SignatureAlgorithm::ECDSA;
        for (name, can_verify, expected) in [
            (None, all, 0),
            (Some("FIRST.example"), all, 0),
            (Some("b.example"), all, 1),
            (Some("x.B.example"), all, 1),
            (Some("x.y.b.example"), all, 0),
            (Some("b.example"), &no_ed25519, 2),
            (Some("other.example"), all, 0),
        ] {
            assert_eq!(at(name, can_verify), expected, "{name:?}");
        }
    }
}
