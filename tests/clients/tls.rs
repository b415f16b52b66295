//! TLS for the client that lives in this process.

use std::fs;
use std::sync::Arc;

use rumqttc::{TlsConfiguration, Transport};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// What rumqttc connects over where it is to trust the certificate in this file, and no other.
pub(crate) fn rumqttc(ca: &str) -> Transport {
    let pem = fs::read(ca).expect("the broker's certificate was written for it");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("one that can be trusted");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has what these versions need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config)))
}
