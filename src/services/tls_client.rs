//! TLS towards servers that services speak to.
//!
//! Always holds: a server's certificate must come from the authorities that were given, or from those of the system.
//! Leaves to others: which files (`config`), when they are read again (whoever opens a connection).

use std::{path::Path, sync::Arc};

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::targets::TlsClientSettings;
use crate::config::unreadable::read_bytes;
use crate::http::{SYSTEM_AUTHORITIES, authorities};

/// Reads the files and makes of them what a connection is opened with.
pub(crate) fn client_config(settings: &TlsClientSettings) -> Result<Arc<ClientConfig>, String> {
    let path = settings.ca.as_deref().or_else(|| SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists()));
    let path = path.ok_or("this system has no file of authorities that it trusts: name one")?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in authorities(&read(path)?).map_err(|why| format!("{} {why}", path.display()))? {
        // A system's file may hold some that rustls does not take; one that was named has to be all right.
        let added = roots.add(certificate);
        if let (Err(error), true) = (added, settings.ca.is_some()) {
            return Err(format!("{}: {error}", path.display()));
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
    let config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some((certificates, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificates)?).collect();
            let chain = chain.map_err(|error| format!("{}: {error}", certificates.display()))?;
            let secret = PrivateKeyDer::from_pem_slice(&read(key)?);
            let secret = secret.map_err(|error| format!("{}: {error}", key.display()))?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| format!("{}: {error}", key.display()))?
        }
    };
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_bytes(path).map_err(|error| format!("{}: {error}", path.display()))
}
