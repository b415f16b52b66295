//! Agents and controller over loopback, with an engine that counts instead of one that connects.

// Engines return what the real one does, whether or not they can fail.
#![allow(clippy::unnecessary_wraps)]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use super::*;
use crate::{
    engine::{Control, Engine, EngineError, Gate, Progress, Silent, Watcher},
    exit::{Exit, judge},
    outcome::{Connections, Deliveries, Second},
    plan::Plan,
    preset,
};

/// An agent that serves one controller and ends.
fn agent(engine: Engine) -> (String, JoinHandle<()>) {
    let agent = Agent::bind("127.0.0.1:0", engine).unwrap();
    let address = agent.address().unwrap().to_string();
    (address, std::thread::spawn(move || agent.serve_one().unwrap()))
}

fn pass(gate: &dyn Gate, index: usize) -> bool {
    gate.arrive(index);
    loop {
        match gate.answer(index) {
            Some(may_pass) => return may_pass,
            None => std::thread::yield_now(),
        }
    }
}

/// Goes through the stages in step with the others, reports a second in each, and connects everyone of its part.
fn counting(plan: &Plan, control: &Control, watcher: &mut dyn Watcher) -> Result<Outcome, EngineError> {
    let clients = plan.clients_here();
    let mut outcome = Outcome { name: plan.name.clone(), parts: 1, ..Outcome::default() };
    let gate = control.gate.as_deref().expect("an agent's run has a gate");
    for (index, stage) in plan.stages.iter().enumerate() {
        if !pass(gate, index) {
            break;
        }
        let second = Second { at_s: index as f64 + 1.0, connected: clients, ..Second::default() };
        let progress = Progress { second: &second, stage: index, stage_name: &stage.name, stage_done: None, clients };
        watcher.handle_second(&progress);
        outcome.series.push(second);
    }
    pass(gate, plan.stages.len());
    outcome.connections =
        Connections { attempted: clients, established: clients, peak: clients, ..Connections::default() };
    outcome.timings.latency_intended.record(1_000 * (u64::from(plan.part.index) + 1));
    // Each part sends to a subscriber of the other one: only the sum comes out even.
    let (expected, received) = if plan.part.index == 0 { (clients, 0) } else { (0, clients) };
    outcome.verdict.deliveries[1] = Deliveries { expected, received, ..Deliveries::default() };
    Ok(outcome)
}

fn plan() -> Plan {
    preset::build("quick", &preset::Tuning::default()).unwrap()
}

/// Keeps the seconds that it was shown.
#[derive(Default)]
struct Shown(Vec<(f64, u64)>);

impl Watcher for Shown {
    fn handle_second(&mut self, progress: &Progress<'_>) {
        self.0.push((progress.second.at_s, progress.second.connected));
    }
}

#[test]
fn one_agent_does_the_whole_plan() {
    let (address, thread) = agent(counting);
    let mut shown = Shown::default();
    let merged = run(&plan(), &[address], &Control::default(), &mut shown).unwrap();
    thread.join().unwrap();
    assert!(merged.missing.is_empty());
    assert_eq!((merged.outcome.connections.established, merged.outcome.parts), (200, 1));
    assert!(merged.outcome.machine.is_some());
    assert_eq!(shown.0, [(1.0, 200), (2.0, 200), (3.0, 200)]);
}

#[test]
fn two_agents_share_the_clients_and_their_verdicts_are_summed() {
    let agents = [agent(counting), agent(counting)];
    let names: Vec<String> = agents.iter().map(|(address, _)| address.clone()).collect();
    let mut shown = Shown::default();
    let merged = run(&plan(), &names, &Control::default(), &mut shown).unwrap();
    for (_, thread) in agents {
        thread.join().unwrap();
    }
    let outcome = merged.outcome;
    assert_eq!((outcome.connections.established, outcome.parts), (200, 2));
    assert_eq!((outcome.timings.latency_intended.count(), outcome.timings.latency_intended.max_ns() / 1_000), (2, 2));
    assert_eq!((outcome.verdict.lost(), outcome.verdict.deliveries[1].received), (0, 100));
    assert_eq!(shown.0.last(), Some(&(3.0, 200)), "the last second is both parts' together");
}

/// Keeps what it was told of clocks.
fn noting_clocks(plan: &Plan, _: &Control, _: &mut dyn Watcher) -> Result<Outcome, EngineError> {
    let warnings = vec![format!("{} has {:?}", plan.part.index, plan.clocks)];
    Ok(Outcome { parts: 1, untimed: 1_000, warnings, ..Outcome::default() })
}

#[test]
fn every_agent_knows_which_others_share_its_clock_and_what_was_not_timed_is_told() {
    let clocks = [None, Some("another machine"), None];
    let (names, threads): (Vec<String>, Vec<JoinHandle<()>>) = clocks
        .map(|clock| {
            let agent = Agent::bind("127.0.0.1:0", noting_clocks).unwrap();
            let agent =
                clock.map_or_else(|| Agent::bind("127.0.0.1:0", noting_clocks).unwrap(), |name| agent.with_clock(name));
            (agent.address().unwrap().to_string(), std::thread::spawn(move || agent.serve_one().unwrap()))
        })
        .into_iter()
        .unzip();
    let outcome = run(&plan(), &names, &Control::default(), &mut Silent).unwrap().outcome;
    for thread in threads {
        thread.join().unwrap();
    }
    let noted = &outcome.warnings;
    assert_eq!(noted[..3], ["0 has [0, 1, 0]", "1 has [0, 1, 0]", "2 has [0, 1, 0]"]);
    assert!(noted[3].starts_with("3,000 deliveries went from one machine's agent to another's"), "{noted:?}");
}

/// How many of the two have entered a stage, and the most that one was ahead.
static ENTERED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
static AHEAD: Mutex<usize> = Mutex::new(0);

fn in_step(plan: &Plan, control: &Control, _: &mut dyn Watcher) -> Result<Outcome, EngineError> {
    let gate = control.gate.as_deref().expect("an agent's run has a gate");
    let (me, other) = (plan.part.index as usize, 1 - plan.part.index as usize);
    for index in 0..50 {
        assert!(pass(gate, index));
        let entered = ENTERED[me].fetch_add(1, Ordering::SeqCst) + 1;
        let mut ahead = AHEAD.lock().unwrap();
        *ahead = (*ahead).max(entered.saturating_sub(ENTERED[other].load(Ordering::SeqCst)));
    }
    Ok(Outcome { parts: 1, ..Outcome::default() })
}

#[test]
fn no_agent_begins_a_stage_before_all_have_ended_the_one_before() {
    let agents = [agent(in_step), agent(in_step)];
    let names: Vec<String> = agents.iter().map(|(address, _)| address.clone()).collect();
    run(&plan(), &names, &Control::default(), &mut Silent).unwrap();
    for (_, thread) in agents {
        thread.join().unwrap();
    }
    assert_eq!(ENTERED[0].load(Ordering::SeqCst), 50);
    assert_eq!(*AHEAD.lock().unwrap(), 1);
}

/// An agent that says hello, takes the plan, wants to begin, and dies.
fn dying_agent() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let version = env!("CARGO_PKG_VERSION");
        writeln!(stream, "{{\"Hello\":{{\"version\":\"{version}\",\"clock\":\"\"}}}}").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("Hello"));
        assert!(lines.next().unwrap().unwrap().contains("\"index\":1,\"of\":2"));
        writeln!(stream, "{{\"Waits\":{{\"index\":0}}}}").unwrap();
        assert!(lines.any(|line| line.unwrap().contains("Pass")), "the first stage begins");
    });
    (address, thread)
}

#[test]
fn an_agent_that_dies_is_named_and_the_others_go_on() {
    let (alive, alive_thread) = agent(counting);
    let (dying, dying_thread) = dying_agent();
    let merged = run(&plan(), &[alive, dying.clone()], &Control::default(), &mut Silent).unwrap();
    alive_thread.join().unwrap();
    dying_thread.join().unwrap();
    assert_eq!(merged.outcome.connections.established, 100);
    assert_eq!(merged.missing.len(), 1);
    let line = &merged.missing[0];
    assert!(line.starts_with(&format!("agent {dying} was lost (it closed the connection)")), "{line}");
    assert!(line.contains("part 2 of 2 with 100 clients is missing"), "{line}");
    // What the other part would have received is not called lost.
    let judgement = judge(&plan(), &merged.outcome, &[], &merged.missing);
    assert_eq!((judgement.exit, judgement.complaints.len()), (Exit::AgentLost, 1));
}

#[test]
fn an_agent_that_is_not_there_or_is_none_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let failure = run(&plan(), std::slice::from_ref(&free), &Control::default(), &mut Silent).unwrap_err();
    assert_eq!(failure.exit, Exit::AgentLost);
    assert!(failure.line.starts_with(&format!("agent {free}: Connection refused")), "{}", failure.line);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        writeln!(stream, "{{\"Hello\":{{\"version\":\"0.0.1\",\"clock\":\"\"}}}}").unwrap();
    });
    let failure = run(&plan(), &[address], &Control::default(), &mut Silent).unwrap_err();
    thread.join().unwrap();
    assert!(failure.line.contains("it is loadtest 0.0.1, this is"), "{}", failure.line);
}

fn refused(_: &Plan, _: &Control, _: &mut dyn Watcher) -> Result<Outcome, EngineError> {
    Err(EngineError::Refused { target: "broker:1883".to_owned(), reason: "not authorized".to_owned() })
}

#[test]
fn what_keeps_an_agent_from_running_keeps_its_status() {
    let (address, thread) = agent(refused);
    let failure = run(&plan(), &[address], &Control::default(), &mut Silent).unwrap_err();
    thread.join().unwrap();
    assert_eq!(failure.exit, Exit::Refused);
    assert!(failure.line.ends_with("broker:1883 refuses the connection: not authorized"), "{}", failure.line);
}

/// Runs until it is stopped.
fn endless(_: &Plan, control: &Control, _: &mut dyn Watcher) -> Result<Outcome, EngineError> {
    while !control.is_stopped() {
        std::thread::yield_now();
    }
    Ok(Outcome { parts: 1, ending: crate::outcome::Ending::Interrupted, ..Outcome::default() })
}

#[test]
fn an_interrupt_stops_the_agents_and_they_report() {
    let (address, thread) = agent(endless);
    let control = Control::default();
    control.stop();
    let merged = run(&plan(), &[address], &control, &mut Silent).unwrap();
    thread.join().unwrap();
    assert_eq!(merged.outcome.ending, crate::outcome::Ending::Interrupted);
}

#[test]
fn a_controller_that_is_gone_stops_the_agent() {
    let (address, thread) = agent(endless);
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    writeln!(stream, "{{\"Hello\":{{\"version\":\"{version}\"}}}}").unwrap();
    writeln!(stream, "{{\"Run\":{}}}", serde_json::to_string(&plan()).unwrap()).unwrap();
    drop(stream);
    thread.join().unwrap();
}
