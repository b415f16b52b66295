//! The `HdrHistogram` log, read by an implementation that is not the one it was written with: Python's, which scripts/test
//! installs beside the clients that others wrote.

use std::path::Path;
use std::process::Command;

use loadtest::outcome::{Outcome, Timing};
use loadtest::report;
use serde::Deserialize;

/// What `support/read_hdr.py` prints.
#[derive(Deserialize)]
struct Read {
    tag: String,
    count: u64,
    percentiles: [u64; 5],
    mean: f64,
}

const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 100.0];

/// Times from nanoseconds to minutes, denser where there are more of them.
fn outcome() -> Outcome {
    let mut outcome = Outcome { name: "other reader".to_owned(), duration_s: 12.5, ..Outcome::default() };
    let timings = &mut outcome.timings;
    let all = [&mut timings.latency_intended, &mut timings.latency_slow, &mut timings.tcp_connect, &mut timings.ping];
    for (factor, timing) in [1_u64, 37, 1_000, 100_000].into_iter().zip(all) {
        for step in 1..=3_000_u64 {
            timing.record(step * step * factor);
        }
    }
    outcome
}

#[test]
fn another_implementation_reads_every_distribution_under_its_tag() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("loadtest lies in the workspace");
    let file = std::env::temp_dir().join(format!("loadtest-hdr-{}.hlog", std::process::id()));
    let outcome = outcome();
    std::fs::write(&file, report::hdr::content(&outcome, &file).expect("a log")).expect("a file");
    let output = Command::new(workspace.join(".venv/bin/python"))
        .arg(workspace.join("loadtest/tests/support/read_hdr.py"))
        .arg(&file)
        .output()
        .expect(".venv/bin/python runs: `scripts/test hdr` installs it");
    drop(std::fs::remove_file(&file));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let read: Vec<Read> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let tags: Vec<&str> = read.iter().map(|one| one.tag.as_str()).collect();
    assert_eq!(tags, ["delivery", "delivery-slow", "TCP-connect", "ping"]);
    let timings = &outcome.timings;
    let ours: [&Timing; 4] = [&timings.latency_intended, &timings.latency_slow, &timings.tcp_connect, &timings.ping];
    for (read, ours) in read.iter().zip(ours) {
        assert_eq!((read.count, ours.count()), (3_000, 3_000), "{}", read.tag);
        for (theirs, percent) in read.percentiles.iter().zip(PERCENTILES) {
            // Each may say any value of the bucket, which is as wide as a thousandth.
            let ours = ours.percentile_ns(percent);
            assert!(theirs.abs_diff(ours) <= ours / 1_000 + 1, "{} p{percent}: {theirs}, {ours} here", read.tag);
        }
        assert!((read.mean - ours.mean_ns()).abs() <= ours.mean_ns() / 1_000.0, "{}: mean {}", read.tag, read.mean);
    }
}
