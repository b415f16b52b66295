//! The built binary as its user meets it: exit statuses and their one line, every report read back, interrupts, agents.

#[path = "support/liar.rs"]
#[allow(dead_code)] // each test binary tells lies of its own
mod liar;

#[path = "support/binary.rs"]
#[allow(dead_code)] // each test binary asks of it what it needs
mod binary;

use std::{
    io::{BufRead as _, BufReader},
    process::Output,
};

use binary::{Running, Scratch, command, loadtest, status, text};
use dunlin::codec::ReasonCode;
use liar::{Liar, Lie};
use loadtest::outcome::Outcome;

/// A short workload against a broker that lies.
fn against(lie: Lie, line: &str) -> Output {
    let liar = Liar::start(lie);
    loadtest(&format!("quick --clients 4 --rate 200 -d 1s --drain 1s -p {} {line}", liar.address.port()))
}

#[test]
fn an_honest_broker_gets_a_zero_and_every_report_reads_back() {
    let scratch = Scratch::new("reports");
    let [json, csv, hdr, hgrm, html] = ["o.json", "o.csv", "o.hlog", "o.hgrm", "o.html"].map(|name| scratch.path(name));
    let pid = std::process::id();
    let output = against(
        Lie::None,
        &format!("-o {json} --csv {csv} --hdr {hdr} --html {html} --broker-pid {pid} -P secret -u me"),
    );
    let summary = text(&output.stdout);
    assert_eq!(status(&output), 0, "{summary}\n{}", text(&output.stderr));
    assert!(summary.ends_with("OK: every promise was kept\n"), "{summary}");
    assert!(text(&output.stderr).contains("connected"), "a line every second");

    let read = std::fs::read_to_string(&json).expect("JSON");
    let outcome: Outcome = serde_json::from_str(&read).expect("an outcome");
    assert_eq!(outcome.verdict.deliveries[1].received, outcome.verdict.deliveries[1].expected);
    assert!(outcome.verdict.deliveries[1].received >= 200, "{:?}", outcome.verdict);
    assert!(outcome.machine.is_some() && outcome.broker.is_some() && outcome.kernel.is_some());
    assert!(!outcome.command_line.is_empty() && !read.contains("secret"), "{:?}", outcome.command_line);

    let read = std::fs::read_to_string(&csv).expect("CSV");
    let widths: Vec<usize> = read.lines().map(|line| line.split(',').count()).collect();
    assert!(widths.len() > 2 && widths.iter().all(|width| *width == widths[0]), "{read}");
    let log = std::fs::read(&hdr).expect("a log");
    let entries = hdrhistogram::serialization::interval_log::IntervalLogIterator::new(&log);
    let entries: Vec<_> = entries.map(|entry| entry.expect("an entry")).collect();
    assert!(entries.len() > 3, "{entries:?}");
    let page = std::fs::read_to_string(&html).expect("a page");
    assert!(page.contains("\"title\":\"quick\"") && !page.contains("/*DATA*/"));

    let output = against(Lie::None, &format!("--hdr {hgrm} --quiet"));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    assert!(std::fs::read_to_string(&hgrm).expect("a table").contains("Total count"));
}

#[test]
fn standard_output_can_be_a_report() {
    let output = against(Lie::None, "-o -");
    let outcome: Outcome = serde_json::from_slice(&output.stdout).expect("nothing but JSON");
    assert_eq!(outcome.name, "quick");
    assert!(text(&output.stderr).contains("OK: every promise was kept"));
}

#[test]
fn a_broken_threshold_is_named_and_exits_with_1() {
    let mut line = command("quick --clients 4 --rate 200 -d 1s --quiet");
    let liar = Liar::start(Lie::None);
    line.args(["-p", &liar.address.port().to_string(), "--fail-if", "p99>1ns", "--fail-if", "loss>0"]);
    let output = line.output().expect("loadtest runs");
    let summary = text(&output.stdout);
    assert_eq!(status(&output), 1, "{summary}");
    assert!(summary.contains("(fails above 1 ns)"), "{summary}");
    assert!(summary.contains("ok: loss 0 (fails above 0)"), "{summary}");
}

#[test]
fn a_broken_promise_is_named_and_exits_with_1() {
    let output = against(Lie::Drop(10), "--quiet");
    let summary = text(&output.stdout);
    assert_eq!(status(&output), 1, "{summary}");
    assert!(summary.contains(" lost at QoS 1\n"), "{summary}");
}

#[test]
fn what_prevents_a_run_has_one_line_and_a_status_of_its_own() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let unreachable = loadtest(&format!("-p {free} --quiet"));
    for (output, wanted, part) in [
        (unreachable, 3, "cannot reach 127.0.0.1:"),
        (loadtest("-h no.such.host.invalid --quiet"), 3, "no.such.host.invalid"),
        (against(Lie::Refuse(ReasonCode::NotAuthorized), "--quiet"), 4, "refuses the connection"),
        (against(Lie::Babble, "--quiet"), 6, "does not answer as an MQTT broker"),
        (loadtest("million --clients 400M -d 1s --quiet"), 7, "memory: about"),
        (loadtest("-o /nowhere/o.json --quiet"), 2, "/nowhere/o.json: No such file"),
    ] {
        let stderr = text(&output.stderr);
        assert_eq!(status(&output), wanted, "{stderr}");
        assert!(stderr.starts_with("loadtest: ") && stderr.contains(part), "{stderr}");
        assert!(stderr.lines().count() <= 4 && output.stdout.is_empty(), "{stderr}");
    }
}

#[test]
fn a_broker_that_dies_is_reported_with_what_was_seen() {
    let output = against(Lie::Die(300), "--quiet");
    let summary = text(&output.stdout);
    assert_eq!(status(&output), 5, "{summary}");
    assert!(summary.contains("FAILED: the broker was lost "), "{summary}");
    assert!(summary.contains("  delivery "), "{summary}");
}

#[test]
fn wrong_flags_exit_with_2_and_help_with_0() {
    for (line, wanted) in
        [("--no-such-flag", 2), ("no-such-workload", 2), ("pub", 2), ("--help", 0), ("--version", 0), ("list", 0)]
    {
        assert_eq!(status(&loadtest(line)), wanted, "{line}");
    }
    let help = text(&loadtest("--help").stdout);
    assert!(help.contains("Exit status:") && help.contains("-h, --host"), "{help}");
    assert!(text(&loadtest("list").stdout).contains("p2p-PUBLISHERS-SUBSCRIBERS-RATE-RATE"));
}

#[test]
fn a_scenario_runs_and_its_own_thresholds_hold() {
    let scratch = Scratch::new("scenario");
    let file = scratch.path("two.toml");
    let scenario = r#"
        fail_if = ["loss>0", "rate<1"]
        [[group]]
        name = "sub"
        clients = 2
        subscribe = ["s/%i"]
        [[group]]
        name = "pub"
        clients = 2
        publish = { topic = "s/%i", rate = 100 }
        [[stage]]
        do = "ramp"
        groups = ["sub", "pub"]
        [[stage]]
        do = "hold"
        for = "1s"
        publish = ["pub"]
        measure = true
    "#;
    std::fs::write(&file, scenario).expect("a file");
    let liar = Liar::start(Lie::None);
    let output = loadtest(&format!("run {file} -p {} --quiet", liar.address.port()));
    let summary = text(&output.stdout);
    assert_eq!(status(&output), 0, "{summary}{}", text(&output.stderr));
    assert!(summary.starts_with("two against"), "{summary}");
    assert!(summary.contains("(fails below 1 /s)"), "{summary}");

    std::fs::write(&file, scenario.replace("clients", "cleints")).expect("a file");
    let output = loadtest(&format!("run {file} --quiet"));
    assert_eq!(status(&output), 2);
    assert!(text(&output.stderr).contains("group \"sub\": clients is missing"), "{}", text(&output.stderr));
}

#[test]
fn pub_and_sub_do_as_they_are_told() {
    let liar = Liar::start(Lie::None);
    let port = liar.address.port();
    let output = loadtest(&format!("pub -t bench/%i -c 3 -R 0 -L 30 -I 10 -q 1 -s 32 -p {port} --quiet -o -"));
    let outcome: Outcome = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((status(&output), outcome.verdict.messages[1].acknowledged), (0, 30));
    let output = loadtest(&format!("sub -t bench/# -c 3 -R 0 -D 500ms -p {port} --quiet -o -"));
    let outcome: Outcome = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((status(&output), outcome.connections.subscribed), (0, 3));
}

// --- processes that are interrupted --------------------------------------------------------------------------------------

#[test]
fn an_interrupt_stops_cleanly_and_reports() {
    let liar = Liar::start(Lie::None);
    let mut running = Running::start(&format!("quick --clients 4 --rate 200 -d 100s -p {}", liar.address.port()));
    running.wait_for("measure").expect("it measures");
    running.signal("-INT");
    let (status, summary) = running.finish();
    assert_eq!(status, 0, "{summary}");
    assert!(
        summary.contains(", interrupted\n")
            && summary.ends_with("OK: every promise was kept until it was interrupted\n"),
        "{summary}"
    );
}

#[test]
fn retained_messages_are_taken_back_after_an_interrupt_too() {
    let liar = Liar::start(Lie::None);
    let line = format!("retained-sweep --messages 500 --subscribers 2 -p {}", liar.address.port());
    let mut running = Running::start(&line);
    // It keeps book of retained messages and sends none, so they are waited for.
    running.wait_for("sweep").expect("it waits for them");
    assert_eq!(liar.retained(), 500);
    running.signal("-INT");
    let (_, summary) = running.finish();
    assert!(summary.contains(", interrupted\n") && !summary.contains("could not be taken back"), "{summary}");
    assert_eq!(liar.retained(), 0);
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    // What is never acknowledged is waited for, for longer than the test has patience.
    let liar = Liar::start(Lie::Drop(2));
    let line = format!("quick --clients 4 --rate 200 -d 100s --drain 100s -p {}", liar.address.port());
    let mut running = Running::start(&line);
    running.wait_for("measure").expect("it measures");
    running.signal("-INT");
    running.wait_for("stopping").expect("it says that it stops");
    running.signal("-INT");
    assert_eq!(running.finish().0, 130);
}

// --- agents --------------------------------------------------------------------------------------------------------------

/// An agent process and its address.
fn agent() -> (Running, String) {
    let mut running = Running::start("agent --listen 127.0.0.1:0");
    let mut line = String::new();
    BufReader::new(running.0.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().expect("a word").to_owned();
    assert!(line.starts_with("loadtest agent listening on 127.0.0.1:"), "{line}");
    (running, address)
}

#[test]
fn two_agents_share_a_load_and_their_verdict() {
    let liar = Liar::start(Lie::None);
    let agents = [agent(), agent()];
    let names = format!("{},{}", agents[0].1, agents[1].1);
    let line = format!("fan-in --publishers 6 --rate 100 -d 1s -p {} --agents {names} -o -", liar.address.port());
    let output = loadtest(&line);
    let outcome: Outcome = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(status(&output), 0, "{}", text(&output.stderr));
    assert_eq!((outcome.parts, outcome.connections.established), (2, 7));
    let deliveries = outcome.verdict.deliveries[1];
    assert!(deliveries.expected >= 100 && deliveries.received == deliveries.expected, "{deliveries:?}");
    assert!(text(&output.stderr).contains("connected"), "the controller shows the seconds");
}

#[test]
fn an_agent_that_is_killed_is_named_and_the_rest_is_reported() {
    let liar = Liar::start(Lie::None);
    let (survivor, survivor_name) = agent();
    let (victim, victim_name) = agent();
    let line =
        format!("quick --clients 4 --rate 100 -d 3s -p {} --agents {survivor_name},{victim_name}", liar.address.port());
    let mut running = Running::start(&line);
    running.wait_for("measure").expect("it measures");
    victim.signal("-KILL");
    let (status, summary) = running.finish();
    assert_eq!(status, 8, "{summary}");
    assert!(summary.contains(&format!("FAILED: agent {victim_name} was lost")), "{summary}");
    assert!(summary.contains("part 2 of 2 with 4 clients is missing"), "{summary}");
    drop(survivor);
}
