//! One cell of each kind with the real load generator, dunlin and Mosquitto (the system's), in small: every figure that a table shows must
//! come out, with a verdict that finds no fault. How large the figures are is not looked at.
//!
//! The binaries are those of this profile; they belong to other packages, so cargo is asked to have them ready.

use std::path::PathBuf;
use std::process::Command;

/// What each cell must show.
const CELLS: [(&str, &[&str]); 17] = [
    ("p2p-qos0-w1", &["cpu_us_per_message", "messages_per_s", "latency_p99_us", "broker_share", "generator_share"]),
    ("p2p-qos2-w4", &["cpu_us_per_message"]),
    ("wildcards", &["cpu_us_per_message"]),
    ("retained-sweep", &["complete_ms", "cpu_us_per_message", "others_quiet_p99_us", "others_sweep_p99_us"]),
    ("offline-backlog", &["complete_ms"]),
    ("low-rate-1000-qos1", &["cpu_us_per_message", "wakes_per_message", "latency_p50_us", "latency_p99_us"]),
    ("silence-0", &["wakes_per_s", "cpu_ms_per_minute"]),
    ("silence-1000", &["wakes_per_s", "cpu_ms_per_minute"]),
    ("durable-1000", &["messages_per_s", "cpu_us_per_message", "bytes_written_per_message", "write_amplification"]),
    ("beside-durable", &["messages_per_s"]),
    ("idle", &["rss_bytes_per_idle_client", "cpu_us_per_connection", "connections_per_s"]),
    ("idle-wss", &["rss_bytes_per_idle_client"]),
    ("accept-tls-client", &["cpu_us_per_connection", "connections_per_s"]),
    ("tls-p2p-qos0-w50", &["cpu_us_per_message", "messages_per_s"]),
    ("ws-p2p-qos1-w1", &["cpu_us_per_message"]),
    (
        "storm-tls-19000",
        &["others_quiet_p99_us", "others_storm_p99_us", "others_storm_times_quiet", "connections_per_s", "storm_ms"],
    ),
    (
        "logins",
        &[
            "others_first_logins_times_quiet",
            "others_storm_times_quiet",
            "first_logins_per_s",
            "cpu_us_per_later_login",
        ],
    ),
];

#[test]
fn dunlin_and_mosquitto_have_figures_and_a_clean_verdict_in_every_kind_of_cell() {
    let binaries = built();
    let results = std::env::temp_dir().join(format!("bench-harness-quick-{}.json", std::process::id()));
    let cells: Vec<&str> = CELLS.iter().map(|(cell, _)| *cell).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_bench-harness"))
        .args(["run", "--quick", "--brokers", "dunlin,mosquitto-debian", "--cells", &cells.join(","), "--results"])
        .arg(&results)
        .arg("--loadtest")
        .arg(binaries.join("loadtest"))
        .env("DUNLIN", binaries.join("dunlin"))
        .env_remove("RELAY")
        .env_remove("TRIE")
        .output()
        .expect("the harness runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&results).expect("a results file");
    let _ = std::fs::remove_file(&results);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let measurements = json["measurements"].as_array().expect("measurements");
    for (cell, figures) in CELLS {
        for broker in ["dunlin", "mosquitto-debian"] {
            let found: Vec<_> =
                measurements.iter().filter(|one| one["cell"] == cell && one["broker"] == broker).collect();
            // One for each of its choices, where the broker is not to be as it ships.
            let is_as_shipped = cell.starts_with("low-rate") || cell.starts_with("silence");
            let choices = if broker == "dunlin" || is_as_shipped { 1 } else { 2 };
            assert_eq!(found.len(), choices, "{cell} {broker}: {said}");
            for one in found {
                let outcome = &one["outcome"]["Ok"];
                assert_eq!(outcome["verdict"]["faults"], serde_json::json!([]), "{cell} {broker}: {said}");
                for figure in figures {
                    let value = outcome["values"][figure].as_f64();
                    assert!(value.is_some_and(f64::is_finite), "{cell} {broker}: no {figure} in {outcome}: {said}");
                }
                if !["idle", "accept", "silence"].iter().any(|kind| cell.starts_with(kind)) {
                    assert!(
                        outcome["verdict"]["expected"].as_u64().is_some_and(|count| count > 0),
                        "{cell} {broker}: {said}"
                    );
                }
            }
        }
    }
}

/// Builds dunlin and loadtest in the profile of the tests, which takes a moment where they are built already.
fn built() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_BIN_EXE_bench-harness")).parent().expect("a directory").to_path_buf();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--workspace", "--bin", "dunlin", "--bin", "loadtest"])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "dunlin and loadtest do not build");
    directory
}
