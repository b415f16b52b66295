//! A certificate of its own for a broker under test, and for the clients that are to trust it.

use std::fs;
use std::path::{Path, PathBuf};

/// A self-signed certificate for `localhost` and 127.0.0.1 with its key, in a folder that goes with it unless it is kept.
pub(crate) struct Certificate {
    directory: PathBuf,
    is_kept: bool,
}

impl Certificate {
    #[allow(dead_code, reason = "not every suite has one for each broker")]
    pub(crate) fn make(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-certificate-{name}-{}", std::process::id()));
        write(&directory);
        Self { directory, is_kept: false }
    }

    /// One that stays, and is taken again by the next process.
    #[allow(dead_code, reason = "not every suite keeps one")]
    pub(crate) fn kept(directory: PathBuf) -> Self {
        // Made aside and renamed: processes that start at once take the same one.
        let aside = directory.with_extension(std::process::id().to_string());
        if !directory.exists() {
            write(&aside);
            if fs::rename(&aside, &directory).is_err() {
                let _ = fs::remove_dir_all(&aside);
            }
        }
        Self { directory, is_kept: true }
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }
}

fn write(directory: &Path) {
    fs::create_dir_all(directory).expect("a folder for it");
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let mut of = rcgen::CertificateParams::new(names).expect("names");
    // Whatever day it is: it ends within this century.
    of.not_after = rcgen::date_time_ymd(2099, 12, 31);
    let certificate = of.self_signed(&key).expect("a certificate");
    fs::write(directory.join("cert.pem"), certificate.pem()).expect("a file");
    fs::write(directory.join("key.pem"), key.serialize_pem()).expect("a file");
}

impl Drop for Certificate {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
