//! The dashboard of the built binary in a browser that nobody sees: `dashboard/test`, one file at a time.
//!
//! The files start brokers of their own, clients of MQTT and Chromium; `scripts/test` installs what they need.

#![cfg(feature = "runtime")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate with its key, in files that go with it.
struct Certificate(PathBuf);

impl Certificate {
    fn make(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-dashboard-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut of = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        // Whatever day it is: it ends within this century.
        of.not_after = rcgen::date_time_ymd(2099, 12, 31);
        let certificate = of.self_signed(&key).expect("a certificate");
        fs::write(directory.join("cert.pem"), certificate.pem()).expect("a file");
        fs::write(directory.join("key.pem"), key.serialize_pem()).expect("a file");
        Self(directory)
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs one file of tests. What it says is shown where something fails.
fn run(name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard");
    assert!(
        root.join("node_modules").is_dir(),
        "dashboard/node_modules is missing: `scripts/test dashboard` installs it"
    );
    let certificate = Certificate::make(name);
    let output = Command::new("node")
        .arg("--test")
        .arg(format!("test/{name}.test.mjs"))
        .current_dir(root)
        .env("DUNLIN_BINARY", env!("CARGO_BIN_EXE_dunlin"))
        .env("DUNLIN_TEST_CERT", certificate.0.join("cert.pem"))
        .env("DUNLIN_TEST_KEY", certificate.0.join("key.pem"))
        .output()
        .expect("node is installed: `scripts/test` does it");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    let passed =
        said.lines().find_map(|line| line.split_once("pass ")).and_then(|(_, count)| count.trim().parse().ok());
    assert!(passed.unwrap_or(0) >= 4, "its tests have run: {said}");
}

#[test]
fn whoever_may_gets_in_and_is_shown_what_it_may_do() {
    run("access");
}

#[test]
fn each_view_shows_traffic_as_text_and_can_be_read_by_everybody() {
    run("views");
}

#[test]
fn sinks_sources_and_bridges_are_shown_with_their_traffic_and_are_stopped_and_started() {
    run("connectors");
}

#[test]
fn what_is_done_in_the_page_happens_and_what_happens_is_shown() {
    run("life");
}

#[test]
fn keys_colours_and_long_lists_work() {
    run("shape");
}
