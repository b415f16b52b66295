//! Tests that Node runs because there is a browser in them: their certificates, and their verdict as one of this process.
//!
//! The files start brokers, clients of MQTT and Chromium of their own; `scripts/test` installs what they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A self-signed certificate for `localhost` and 127.0.0.1 with its key, in files that go with it.
pub(crate) struct Certificate(PathBuf);

impl Certificate {
    pub(crate) fn make(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-node-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut of = rcgen::CertificateParams::new(names).expect("names");
        // Whatever day it is: it ends within this century.
        of.not_after = rcgen::date_time_ymd(2099, 12, 31);
        let certificate = of.self_signed(&key).expect("a certificate");
        fs::write(directory.join("cert.pem"), certificate.pem()).expect("a file");
        fs::write(directory.join("key.pem"), key.serialize_pem()).expect("a file");
        Self(directory)
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.0.join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a file of tests in a folder whose npm packages are installed. What it says is shown where something fails.
///
/// # Panics
/// If a test fails, or if fewer have run than the file is known to have.
pub(crate) fn run_tests(folder: &str, file: &str, tests_min: usize, variables: &[(&str, PathBuf)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in [folder, "dashboard"] {
        let is_installed = root.join(folder).join("node_modules").is_dir();
        assert!(is_installed, "{folder}/node_modules is missing: `scripts/test dashboard` installs it");
    }
    let output = Command::new("node")
        .args(["--test", file])
        .current_dir(root.join(folder))
        .env("DUNLIN_BINARY", env!("CARGO_BIN_EXE_dunlin"))
        .envs(variables.iter().map(|(name, path)| (name, path)))
        .output()
        .expect("node is installed: `scripts/test` does it");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    let passed =
        said.lines().find_map(|line| line.split_once("pass ")).and_then(|(_, count)| count.trim().parse().ok());
    assert!(passed.unwrap_or(0) >= tests_min, "its tests have run: {said}");
}
