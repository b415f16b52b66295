//! The process's log from start to end: a storm is thinned out, every event is accounted for, and opening the file
//! again loses nothing.

#![cfg(feature = "runtime")]

use std::{fs, path::Path};

use dunlin::telemetry::log::{self, Format, LogOptions, event::ClientConnected};

const RATE: u32 = 200;
const STORM: u64 = 50_000;

#[test]
fn a_storm_is_thinned_out_and_every_event_is_accounted_for() {
    let directory = std::env::temp_dir().join(format!("dunlin-log-file-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let (path, moved) = (directory.join("dunlin.log"), directory.join("dunlin.log.1"));
    let options = LogOptions {
        format: Format::Json,
        level: tracing::Level::INFO,
        file: Some(path.clone()),
        rate: RATE,
        for_journal: false,
    };
    let log = log::start(&options).expect("the log opens");
    assert!(log::start(&options).is_err(), "a process has one log");

    let began = std::time::Instant::now();
    for number in 0..STORM {
        connected(&number.to_string());
        if number == STORM / 2 {
            fs::rename(&path, &moved).expect("moved away");
            log.control().reopen().expect("opened again");
            log::event::log_reopened();
        }
    }
    // Seconds that the storm touched; each admits the rate once.
    let seconds = began.elapsed().as_secs() + 2;
    assert_eq!(log.lines_lost(), 0);
    drop(log);

    let lines: Vec<serde_json::Value> = [&moved, &path].into_iter().flat_map(|path| lines(path)).collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let written = of("client_connected").len() as u64;
    let count = |line: &&serde_json::Value| {
        assert_eq!(line["kind"], "client_connected");
        line["suppressed"].as_u64().expect("a number")
    };
    let suppressed: u64 = of("lines_suppressed").iter().map(count).sum();
    assert_eq!(written + suppressed, STORM);
    assert!(written >= u64::from(RATE) && written <= u64::from(RATE) * seconds, "{written} in {seconds} s");
    assert_eq!(of("log_reopened").len(), 1);
    fs::remove_dir_all(&directory).expect("removed");
}

fn connected(client: &str) {
    ClientConnected {
        client,
        user: None,
        peer: &"127.0.0.1:1",
        version: "3.1.1",
        keep_alive_s: 60,
        clean_start: false,
        session_present: true,
        shard: 0,
        tls: None,
    }
    .log();
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).expect("a log file");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}
