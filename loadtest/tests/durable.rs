//! `loadtest durable` against dunlin: one that keeps what it acknowledges, one that only keeps it in memory and must be found out, and
//! start scripts that start nothing.

#[path = "support/binary.rs"]
#[allow(dead_code)] // each test binary asks of the program what it needs
mod binary;

#[path = "support/process.rs"]
#[allow(dead_code)] // the broker is started by who is tested here
mod process;

#[path = "../../tests/support/ports.rs"]
mod ports;

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use binary::{Scratch, loadtest, status, text};
use ports::Port;
use serde_json::Value;

/// An executable that becomes dunlin; gives its path.
fn script(scratch: &Scratch, port: &Port, flags: &str) -> String {
    let program = process::dunlin_program();
    let line = format!("exec {} --no-pin --shards 2 --port {port} --log-level warn {flags}", program.display());
    script_of(scratch, &line)
}

fn script_of(scratch: &Scratch, line: &str) -> String {
    let path = scratch.path("start");
    fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script");
    path
}

const SMALL: &str = "--kills 4 --kill-every 800ms --publishers 8 --subscribers 2 --rate 160";

#[test]
fn a_broker_that_keeps_what_it_acknowledges_passes_and_the_reports_say_so() {
    let (scratch, port) = (Scratch::new("durable-disk"), Port::claim());
    let data = scratch.path("data");
    let flags = format!("--storage disk --segment-size 2MiB --free-space-min 0 --data-dir {data}");
    let script = script(&scratch, &port, &flags);
    let (json, html) = (scratch.path("out.json"), scratch.path("out.html"));
    let run = loadtest(&format!("durable --start-script {script} -p {port} {SMALL} -o {json} --html {html}"));
    let (told, progress) = (text(&run.stdout), text(&run.stderr));
    assert_eq!(status(&run), 0, "{told}\n{progress}");
    assert!(
        told.contains("  kills         4 of 4, back after ") && told.contains(" 0 lost, 0 doubled at QoS 2"),
        "{told}"
    );
    assert!(
        progress.contains("broker started, there after ") && progress.contains("kill 4 of 4: back after "),
        "{progress}"
    );
    let report: Value = serde_json::from_str(&fs::read_to_string(json).expect("a report")).expect("JSON");
    assert_eq!((&report["killing"]["made"], &report["killing"]["planned"]), (&4.into(), &4.into()));
    assert_eq!(report["timings"]["recovery"]["count"], 4);
    assert_eq!(report["connections"]["sessions_lost"], 0);
    for qos in [1, 2] {
        let (messages, owed) = (&report["verdict"]["messages"][qos], &report["verdict"]["deliveries"][qos]);
        let acknowledged = messages["acknowledged"].as_u64().expect("a number");
        assert!(acknowledged > 50, "{acknowledged} messages are no load: {report:#}");
        // Two that stay, and one that was away.
        let received = owed["received"].as_u64().expect("a number");
        assert!(received >= 3 * acknowledged, "{received} of {acknowledged}");
    }
    let page = fs::read_to_string(html).expect("a page");
    assert!(page.contains("Kills: 4 of 4, back after") && page.contains("every promise kept"), "{page}");
    assert!(std::net::TcpStream::connect(port.address()).is_err(), "the broker goes with the run");
}

/// The positive control: a verdict that lets this one pass would let every broker pass.
#[test]
fn a_broker_that_keeps_everything_in_memory_is_found_out() {
    let (scratch, port) = (Scratch::new("durable-memory"), Port::claim());
    let script = script(&scratch, &port, "--storage memory");
    let run = loadtest(&format!("durable --start-script {script} -p {port} {SMALL} --drain 1s --quiet"));
    let (told, error) = (text(&run.stdout), text(&run.stderr));
    assert_eq!((status(&run), error.as_str()), (1, ""), "{told}");
    assert!(told.contains("lost at QoS 1") && told.contains("lost at QoS 2"), "{told}");
    assert!(told.contains("sessions that were to stay were gone") && told.contains("4 of 4"), "{told}");
}

#[test]
fn what_starts_no_broker_is_told_in_a_line() {
    let (scratch, port) = (Scratch::new("durable-none"), Port::claim());
    let none = loadtest(&format!("durable -p {port}"));
    assert_eq!(status(&none), 2);
    assert!(text(&none.stderr).contains("--start-script FILE, an executable that becomes"), "{none:?}");
    let other = loadtest(&format!("quick --kills 3 -p {port}"));
    assert!(status(&other) == 2 && text(&other.stderr).contains("quick has no use for --kills"), "{other:?}");
    let script = script_of(&scratch, "echo 'there is no disk' >&2; exit 7");
    let ended = loadtest(&format!("durable --start-script {script} -p {port}"));
    let error = text(&ended.stderr);
    assert_eq!((status(&ended), error.lines().count()), (3, 1), "{error}");
    assert!(error.contains("ended by itself (exit status: 7): there is no disk (all of it: "), "{error}");
    let missing = loadtest(&format!("durable --start-script /no/such/script -p {port}"));
    let error = text(&missing.stderr);
    assert!(status(&missing) == 3 && error.contains("/no/such/script: No such file"), "{error}");
    let clients = loadtest(&format!("durable --start-script {script} -p 40000"));
    assert!(status(&clients) == 2 && text(&clients.stderr).contains("gives to clients (32768 to "), "{clients:?}");
    let used = TcpListener::bind(port.address()).expect("it is free");
    let taken = loadtest(&format!("durable --start-script {script} -p {port}"));
    assert!(status(&taken) == 2 && text(&taken.stderr).contains("somebody is at 127.0.0.1:"), "{taken:?}");
    drop(used);
}

/// A broker that does not come back is no broker that loses nothing.
#[test]
fn a_broker_that_does_not_come_back_fails_the_run() {
    let (scratch, port) = (Scratch::new("durable-once"), Port::claim());
    let program = process::dunlin_program();
    let mark = scratch.path("mark");
    let line = format!(
        "test -e {mark} && exit 9; touch {mark}; exec {} --no-pin --shards 1 --port {port} --storage memory",
        program.display()
    );
    let script = script_of(&scratch, &line);
    let run = loadtest(&format!("durable --start-script {script} -p {port} {SMALL} --quiet"));
    let told = text(&run.stdout);
    assert_eq!(status(&run), 1, "{told}");
    assert!(told.contains("ended by itself (exit status: 9)") && told.contains("0 of 4"), "{told}");
}
