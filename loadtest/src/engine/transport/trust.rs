//! Whom to trust: a configuration of rustls out of a plan.

use super::identity::Identity;
use super::reasons::of_file;
use super::tickets::Tickets;
use crate::plan::{TlsTarget, TlsVersion};
use dunlin::conn::tls::ClientHandshake;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systems keep the authorities that they trust.
const OF_SYSTEMS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The configuration. The error names the setting and the file.
pub(super) fn config(
    tls: &TlsTarget,
    identity: Option<Arc<Identity>>,
    tickets: Option<Arc<Tickets>>,
) -> Result<Arc<ClientConfig>, String> {
    let mut provider = default_provider();
    if !tls.groups.is_empty() {
        provider.kx_groups = tls.groups.iter().filter_map(|name| group(name)).collect();
    }
    let provider = Arc::new(provider);
    let versions = match tls.version {
        None => vec![&version::TLS13, &version::TLS12],
        Some(TlsVersion::V13) => vec![&version::TLS13],
        Some(TlsVersion::V12) => vec![&version::TLS12],
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| format!("tls: {error}"))?;
    let builder = if tls.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(roots(tls)?)
    };
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.resumption = match tickets {
        Some(tickets) => Resumption::store(tickets).tls12_resumption(Tls12Resumption::SessionIdOrTickets),
        None => Resumption::disabled(),
    };
    ClientHandshake::prepare(&mut config);
    Ok(Arc::new(config))
}

fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match name {
        "x25519mlkem768" => Some(kx_group::X25519MLKEM768),
        "x25519" => Some(kx_group::X25519),
        "secp256r1" => Some(kx_group::SECP256R1),
        "secp384r1" => Some(kx_group::SECP384R1),
        "mlkem768" => Some(kx_group::MLKEM768),
        _ => None,
    }
}

fn roots(tls: &TlsTarget) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &tls.ca_file {
        add("cafile", file, &mut roots)?;
    }
    if let Some(folder) = &tls.ca_path {
        for file in files_in(folder)? {
            // Beside certificates such a folder may hold keys, lists and links to what is gone.
            let _ = add("capath", &file, &mut roots);
        }
        if roots.is_empty() {
            return Err(format!("capath {}: no file in it holds a certificate", folder.display()));
        }
    }
    if tls.ca_file.is_none() && tls.ca_path.is_none() {
        let bundle = OF_SYSTEMS.iter().map(Path::new).find(|path| path.is_file());
        let bundle = bundle.ok_or("tls: this system has no certificates of authorities: cafile names some")?;
        add("tls", bundle, &mut roots)?;
    }
    Ok(roots)
}

fn add(setting: &str, file: &Path, roots: &mut RootCertStore) -> Result<(), String> {
    let wrong = |problem: String| format!("{setting} {}: {problem}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(of_file(&error)))?;
    let before = roots.len();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(of_file(&error)))?;
        // Of a system's bundle some may be of a kind that is not known; one that was named must be taken.
        match roots.add(certificate) {
            Err(error) if setting == "cafile" => return Err(wrong(error.to_string())),
            _ => {}
        }
    }
    if roots.len() == before { Err(wrong("it holds no certificate in PEM".to_owned())) } else { Ok(()) }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("capath {}: {error}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

/// Takes any certificate; what is signed with it is still checked, so that a handshake costs what it does.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::GROUPS;

    #[test]
    fn every_group_that_a_plan_may_name_is_there_and_a_file_that_is_not_is_named() {
        for name in GROUPS {
            let found = group(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(format!("{:?}", found.name()).to_lowercase(), name);
        }
        let file = |path: &str| TlsTarget { ca_file: Some(PathBuf::from(path)), ..TlsTarget::default() };
        let error = config(&file("/nowhere/ca.pem"), None, None).unwrap_err();
        assert_eq!(error, "cafile /nowhere/ca.pem: No such file or directory (os error 2)");
        let error = config(&file("/etc/hostname"), None, None).unwrap_err();
        assert_eq!(error, "cafile /etc/hostname: it holds no certificate in PEM");
        let folder = TlsTarget { ca_path: Some(PathBuf::from("/proc/self/ns")), ..TlsTarget::default() };
        assert!(config(&folder, None, None).unwrap_err().starts_with("capath /proc/self/ns: "));
    }
}
