//! Every workload by name, smaller than its name says, by the built binary against dunlin and mosquitto: each run judges
//! itself, and none may find fault.

#[path = "support/process.rs"]
#[allow(dead_code)] // each test binary asks of a broker what it needs
mod process;

use std::process::{Command, Stdio};

use process::Broker;

/// Small, and short.
const LINES: &[&str] = &[
    "quick --clients 20 --rate 200 -d 500ms --qos 0",
    "quick --clients 20 --rate 200 -d 500ms --qos 2 -V 3.1.1",
    "conn-tcp-100-200 -d 300ms",
    "p2p-20-20-200-200 -d 500ms --connect-rate 0",
    "fanout-5-20-5-2K -d 500ms --connect-rate 0",
    "sharedsub-20-5-200-200 -d 500ms --connect-rate 0",
    "reconnect-storm --clients 50 --rate 100 -d 500ms",
    "churn --clients 50 --rate 100 -d 500ms --connect-rate 20",
    "retained-sweep --subscribers 5 --messages 200",
    "offline-backlog --clients 50 --messages 20",
    "slow-consumer --subscribers 5 --rate 50 -d 500ms",
    "mixed-fleet --clients 50 --rate 100 -d 500ms",
    "million --clients 100 --rate 100 -d 500ms",
    "million --clients 100 --rate 100 -d 500ms --pipeline",
    "one-to-one --clients 10 --window 4 -d 500ms",
    "fan-in --publishers 10 -d 500ms",
    "fan-out --subscribers 10 --rate 50 -d 500ms",
    "wildcards --clients 10 -d 500ms",
];

fn every_workload_finds_no_fault(broker: &Broker) {
    let port = broker.address.port().to_string();
    for line in LINES {
        let run = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(line.split_whitespace())
            .args(["-p", &port, "--quiet", "--fail-if", "failed>0"])
            .stdin(Stdio::null())
            .output()
            .expect("loadtest runs");
        let told = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(0), "{line}\n{told}");
    }
}

#[test]
fn dunlin() {
    every_workload_finds_no_fault(&Broker::dunlin());
}

#[test]
fn mosquitto() {
    every_workload_finds_no_fault(&Broker::mosquitto());
}

#[test]
fn no_workload_is_forgotten() {
    let families = loadtest::preset::families().iter().filter_map(|family| family.pattern.split('-').next());
    for name in loadtest::preset::fixed().map(|listed| listed.name).chain(families) {
        assert!(LINES.iter().any(|line| line.starts_with(name)), "{name}");
    }
}
