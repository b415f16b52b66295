//! Tests that Node runs because there is a browser in them: their verdict as one of this process.
//!
//! The files start brokers, clients of MQTT and Chromium of their own; `scripts/test` installs what they need.

use std::path::{Path, PathBuf};
use std::process::Command;

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
