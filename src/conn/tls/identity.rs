//! Who a client certificate names.
//!
//! It is asked when the certificate has been verified, so it is well formed; what is not text all the same is left out.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::auth::PeerIdentity;

/// The names in a certificate, and the last second in which it is good, in Unix time.
pub(super) fn identity_of(certificate: &CertificateDer<'_>) -> (Arc<PeerIdentity>, i64) {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return (Arc::default(), i64::MAX) };
    let end_s = certificate.validity().not_after.timestamp();
    let subject = certificate.subject();
    let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let alternative_names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some((*name).into()),
        _ => None,
    });
    let identity = Arc::new(PeerIdentity {
        common_name: common_name.map(Into::into),
        subject: Some(subject.to_string().into()),
        alternative_names: alternative_names.collect(),
        tls_version: None, // a proxy tells it
    });
    (identity, end_s)
}
