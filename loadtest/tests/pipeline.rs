//! `--pipeline`: SUBSCRIBE that does not wait for CONNACK, and brokers that answer it in their own ways.

#[path = "support/liar.rs"]
#[allow(dead_code)] // each test binary asks of a liar what it needs
mod liar;

use dunlin::codec::{ConnAck, ReasonCode, Version};
use liar::{Liar, Lie};
use loadtest::engine::{Control, EngineError, Silent, run};
use loadtest::outcome::Outcome;
use loadtest::plan::{Action, Group, Part, Pipeline, Plan, Sources, Stage, Subscription, Target};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

const CLIENTS: u32 = 4;

/// Subscribers and nobody else.
fn plan(address: SocketAddr, pipeline: bool) -> Plan {
    let mut subscribers = Group::new("sub", CLIENTS, "sub-%i");
    subscribers.subscriptions = vec![Subscription::new("t/%i", 1), Subscription::new("all", 0)];
    subscribers.pipeline = pipeline;
    Plan {
        name: "pipeline".to_owned(),
        description: String::new(),
        target: Target { port: address.port(), connect_timeout_s: 10, ..Target::default() },
        groups: vec![subscribers],
        stages: vec![Stage::new("connect", Action::Ramp { groups: vec!["sub".to_owned()], rate_per_s: 0.0 })],
        workers: 1,
        sources: Sources::Auto,
        run_id: 1,
        seed: 1,
        drain_s: 1,
        part: Part::default(),
        clocks: Vec::new(),
    }
}

fn carry_out(plan: &Plan) -> Result<Outcome, EngineError> {
    run(plan, &Control::default(), &mut Silent)
}

fn assert_all_live(outcome: &Outcome) {
    let (connections, clients) = (&outcome.connections, u64::from(CLIENTS));
    assert_eq!((connections.established, connections.subscribed, connections.at_end), (clients, clients, clients));
    assert_eq!((outcome.timings.connack.count(), outcome.timings.suback.count()), (clients, clients));
    assert_eq!(connections.failed_total() + connections.lost_total(), 0);
}

#[test]
fn subscribe_goes_out_with_connect_only_where_it_is_asked_for() {
    for (pipeline, together, said) in [(true, CLIENTS, Pipeline::On), (false, 0, Pipeline::Off)] {
        let liar = Liar::start(Lie::None);
        let outcome = carry_out(&plan(liar.address, pipeline)).expect("an outcome");
        assert_all_live(&outcome);
        assert_eq!((liar.pipelined(), outcome.pipeline), (u64::from(together), said));
    }
}

#[test]
fn a_connack_that_waits_for_subscribe_comes_to_who_pipelines_and_never_to_who_waits() {
    let liar = Liar::start(Lie::LateConnack);
    let outcome = carry_out(&plan(liar.address, true)).expect("an outcome");
    assert_all_live(&outcome);
    // Asked for in one send and answered in one write: each was timed, from the same instant to the same instant.
    assert_eq!(outcome.timings.connack, outcome.timings.suback);

    let mut waiting = plan(liar.address, false);
    waiting.target.connect_timeout_s = 1;
    let error = carry_out(&waiting).expect_err("each waits for the other");
    assert!(matches!(error, EngineError::NoBroker { .. }), "{error}");
    assert!(error.to_string().ends_with("no answer in time"), "{error}");
}

#[test]
fn a_suback_before_connack_is_called_so() {
    let liar = Liar::start(Lie::EarlySuback);
    let error = carry_out(&plan(liar.address, true)).expect_err("no broker does so");
    assert!(matches!(error, EngineError::NoBroker { .. }) && error.exit_status() == 6, "{error}");
    assert!(error.to_string().contains("a SUBACK before CONNACK"), "{error}");
}

/// Refuses everybody and shuts the door before it has read what stands behind the first bytes, so that the refusal and a reset
/// come together.
fn slamming_door() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for mut guest in listener.incoming().map_while(Result::ok) {
            let mut refusal = Vec::new();
            ConnAck::new(ReasonCode::NotAuthorized).encode(Version::V5, &mut refusal);
            let mut first = [0; 4];
            let _ = guest.read_exact(&mut first).and_then(|()| guest.write_all(&refusal));
        }
    });
    address
}

#[test]
fn a_refused_login_ends_as_without_the_option() {
    let quietly = Liar::start(Lie::Refuse(ReasonCode::NotAuthorized));
    for address in [quietly.address, slamming_door()] {
        let [waiting, pipelined] = ["", " --pipeline"].map(|flag| {
            let line = format!("quick --clients 4 --quiet -V 5 -p {}{flag}", address.port());
            let output = loadtest(&line);
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        });
        assert_eq!(pipelined, waiting);
        assert_eq!(pipelined.0, Some(4), "{}", pipelined.2);
        assert!(pipelined.2.contains("refuses the connection: "), "{}", pipelined.2);
    }
}

#[test]
fn every_report_says_that_the_run_pipelined() {
    let scratch = std::env::temp_dir().join(format!("loadtest-pipeline-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a folder");
    let [json, html] = ["o.json", "o.html"].map(|name| scratch.join(name));
    let liar = Liar::start(Lie::None);
    for (flag, is_on) in [("--pipeline", true), ("", false)] {
        let output = loadtest(&format!(
            "quick --clients 4 --rate 200 -d 500ms --quiet -p {} -o {} --html {} {flag}",
            liar.address.port(),
            json.display(),
            html.display()
        ));
        let summary = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{summary}\n{}", text(&output.stderr));
        assert_eq!(summary.contains("\n  subscribing   pipelined: SUBSCRIBE was sent together with CONNECT"), is_on);
        let page = std::fs::read_to_string(&html).expect("a page");
        assert_eq!(page.contains("Pipelined: SUBSCRIBE was sent together with CONNECT"), is_on);
        let outcome = std::fs::read_to_string(&json).expect("JSON");
        assert!(outcome.contains(if is_on { "\"pipeline\": \"on\"" } else { "\"pipeline\": \"off\"" }));
    }
    assert_eq!(liar.pipelined(), 4);
    std::fs::remove_dir_all(&scratch).expect("it was there");
}

fn loadtest(line: &str) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(line.split_whitespace()).stdin(Stdio::null()).output().expect("loadtest runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
