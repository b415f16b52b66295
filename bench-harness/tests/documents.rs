//! The repository's own documents: no figure in them is another than the one that was measured.

use std::process::Command;

#[test]
fn performance_readme_measurements_and_plots_say_what_the_summaries_say() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-harness"))
        .args(["check", "--root", concat!(env!("CARGO_MANIFEST_DIR"), "/..")])
        .output()
        .expect("the harness runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("agree"), "it looked at nothing");
}
