//! Every workload by name, smaller than its name says, by the built binary against dunlin and mosquitto: each run judges
//! itself, and none may find fault.

#[path = "support/process.rs"]
#[allow(dead_code)] // each test binary asks of a broker what it needs
mod process;

#[path = "support/front_door.rs"]
#[allow(dead_code)] // it has more doors than are gone through here
mod front_door;

use std::process::{Command, Stdio};

use front_door::{Door, FrontDoor};
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
    for line in LINES {
        runs_without_fault(line, broker.address.port());
    }
}

fn runs_without_fault(line: &str, port: u16) {
    let run = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(line.split_whitespace())
        .args(["-p", &port.to_string(), "--quiet", "--fail-if", "failed>0"])
        .stdin(Stdio::null())
        .output()
        .expect("loadtest runs");
    let told = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{line}\n{told}");
}

#[test]
fn dunlin() {
    every_workload_finds_no_fault(&Broker::dunlin());
}

#[test]
fn those_over_tls() {
    let door = FrontDoor::open("presets");
    let file = |name: &str| door.file(name).display().to_string();
    let certificates = format!("--cert {} --key {}", file("client-%i.pem"), file("client-%i.key"));
    for (at, line) in [
        (Door::Tls, "conn-tls-30-100 -d 300ms --fail-if own_tls_max>30s".to_owned()),
        (Door::Wss, "conn-tls-30-100 --ws -d 300ms --fail-if upgrade_p99>30s".to_owned()),
        (Door::Tls, "conn-tls-resumed-30-100 -d 300ms --fail-if tls_resumed_p99>30s".to_owned()),
        (Door::Mutual, format!("conn-tls-cert-10-100 -d 300ms {certificates} --fail-if tls_p50>30s")),
    ] {
        runs_without_fault(&format!("{line} --cafile {}", file("ca.pem")), door.port(at));
    }
}

#[test]
fn mosquitto() {
    every_workload_finds_no_fault(&Broker::mosquitto());
}

#[test]
fn no_workload_is_forgotten() {
    let families = loadtest::preset::families().iter().filter_map(|family| family.pattern.split('-').next());
    for name in loadtest::preset::fixed().map(|listed| listed.name).chain(families) {
        // It starts a broker of its own: tests/durable.rs.
        assert!(name == "durable" || LINES.iter().any(|line| line.starts_with(name)), "{name}");
    }
}
