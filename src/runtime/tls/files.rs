//! Files of one setting, and the PEM sections in them.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::problem::{CLUSTER_NAME, TlsProblem};
use crate::config::unreadable::read_bytes;

/// What a problem is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct SettingPlace<'a> {
    pub(super) listener: &'a str,
    pub(super) key: &'static str,
}

impl SettingPlace<'static> {
    /// A setting of the cluster.
    pub(super) const fn of_cluster(key: &'static str) -> Self {
        Self { listener: CLUSTER_NAME, key }
    }
}

impl SettingPlace<'_> {
    pub(super) fn problem(self, text: impl Into<String>) -> TlsProblem {
        TlsProblem { listener: self.listener.to_owned(), key: self.key, file: None, text: text.into() }
    }

    pub(super) fn of_file(self, path: &Path, line: Option<usize>, text: impl Into<String>) -> TlsProblem {
        TlsProblem { file: Some((path.to_owned(), line)), ..self.problem(text) }
    }

    /// The whole file.
    pub(super) fn read(self, path: &Path) -> Result<Vec<u8>, TlsProblem> {
        read_bytes(path).map_err(|error| {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "; is the path right? A relative one begins where the broker was started"
                }
                _ => "",
            };
            self.of_file(path, None, format!("{error}{remedy}"))
        })
    }

    /// All certificates of a file, at least one.
    pub(super) fn certificates(self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
        let text = self.read(path)?;
        let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| self.bad_pem(path, &text, &error))?;
        if found.is_empty() {
            let text =
                format!("no certificate is in it{}: expected is PEM, -----BEGIN CERTIFICATE-----", what_is_in(&text));
            return Err(self.of_file(path, None, text));
        }
        Ok(found)
    }

    /// All certificates of a file as authorities, at least one.
    pub(super) fn authorities(self, path: &Path) -> Result<RootCertStore, TlsProblem> {
        let mut roots = RootCertStore::empty();
        for (number, certificate) in self.certificates(path)?.into_iter().enumerate() {
            roots.add(certificate).map_err(|error| {
                self.of_file(path, None, format!("its certificate number {} cannot be used: {error}", number + 1))
            })?;
        }
        Ok(roots)
    }

    /// All revocation lists of a file, at least one.
    pub(super) fn lists(self, path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsProblem> {
        let text = self.read(path)?;
        let found: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| self.bad_pem(path, &text, &error))?;
        if found.is_empty() {
            let text =
                format!("no revocation list is in it{}: expected is PEM, -----BEGIN X509 CRL-----", what_is_in(&text));
            return Err(self.of_file(path, None, text));
        }
        Ok(found)
    }

    fn bad_pem(self, path: &Path, text: &[u8], error: &rustls::pki_types::pem::Error) -> TlsProblem {
        self.of_file(path, bad_line(text), format!("its PEM is damaged: {error}; copy the file again"))
    }
}

/// The files that a setting names.
pub(super) fn paths(texts: &[String]) -> Vec<PathBuf> {
    texts.iter().filter(|text| *text != "none").map(PathBuf::from).collect()
}

/// The file that a setting names, if it names one.
pub(super) fn path(text: &str) -> Option<PathBuf> {
    (text != "none").then(|| text.into())
}

/// The line of the first section that is not whole or not base 64.
fn bad_line(text: &[u8]) -> Option<usize> {
    let mut begun: Option<usize> = None;
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.starts_with(b"-----BEGIN") {
            if begun.is_some() {
                return begun;
            }
            begun = Some(at + 1);
        } else if line.starts_with(b"-----END") {
            begun = None;
        } else if begun.is_some()
            && !line.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+/=:-, ".contains(&byte))
        {
            return Some(at + 1);
        }
    }
    begun
}

/// What sections there are instead, for a message.
pub(super) fn what_is_in(text: &[u8]) -> String {
    let lines = text.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let labels = lines.filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let labels: Vec<&str> = labels.take(3).collect();
    if !labels.is_empty() {
        return format!(" (but {})", labels.join(", "));
    }
    if text.first() == Some(&0x30) {
        return " (it looks like DER: `openssl x509 -inform der -in FILE` makes PEM of a certificate)".to_owned();
    }
    String::new()
}
