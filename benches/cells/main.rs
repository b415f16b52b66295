//! The cells of `scripts/bench` for whoever tunes the broker: brokers that run already, loaded in turns from one core.
//!
//! `cargo bench --bench cells -- --broker NAME=HOST:PORT,PID ... [--cells q0w1,fanout]`. Start each broker pinned to one
//! core and with one thread, on another core than `--load-core`. Prints the broker's CPU microseconds a delivered
//! message, which do not depend on who was waiting for whom; every message is checked for its place in the order.

#![allow(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]

mod fleet;
mod flow;
mod once;
mod process;

use clap::Parser;
use flow::{Flow, Shape, Topology};
use process::Process;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Parser)]
struct Arguments {
    /// A broker: its name, where it listens, its process.
    #[arg(long = "broker", required = true, value_parser = parse_broker)]
    brokers: Vec<Broker>,
    /// What to measure, separated by commas; all by default.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// Rounds of each measurement; the median is printed with the least and the most.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Length of a round of a closed loop.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Clients of the cell `idle`.
    #[arg(long, default_value_t = 15_000)]
    clients: u32,
    /// Connections of the cell `many`, one publisher in ten.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 4_000, 16_000])]
    many: Vec<u32>,
    /// Number of the core that the load is pinned to; the brokers have another.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone)]
struct Broker {
    name: String,
    address: SocketAddr,
    pid: u32,
}

fn parse_broker(text: &str) -> Result<Broker, String> {
    let parts = text.split_once('=').and_then(|(name, rest)| Some((name, rest.split_once(',')?)));
    let (name, (address, pid)) = parts.ok_or("NAME=HOST:PORT,PID")?;
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok(Broker { name: name.into(), address, pid: pid.parse().map_err(|error| format!("{pid}: {error}"))? })
}

const LOOPS: [(&str, Shape); 9] = [
    ("q0w1", Shape { publishers: 500, topology: Topology::Pairs, qos: 0, in_flight: 1 }),
    ("q0w16", Shape { publishers: 500, topology: Topology::Pairs, qos: 0, in_flight: 16 }),
    ("q1w8", Shape { publishers: 500, topology: Topology::Pairs, qos: 1, in_flight: 8 }),
    ("q2w4", Shape { publishers: 200, topology: Topology::Pairs, qos: 2, in_flight: 4 }),
    ("fanout", Shape { publishers: 1, topology: Topology::Out(1_000), qos: 0, in_flight: 8 }),
    ("crowd", Shape { publishers: 1, topology: Topology::Out(9_000), qos: 0, in_flight: 8 }),
    ("crowdq1", Shape { publishers: 1, topology: Topology::Out(4_000), qos: 1, in_flight: 8 }),
    ("fanin", Shape { publishers: 1_000, topology: Topology::In, qos: 0, in_flight: 4 }),
    ("wildcards", Shape { publishers: 100, topology: Topology::Wildcards(100_000), qos: 0, in_flight: 4 }),
];

fn main() {
    let arguments = Arguments::parse();
    let load_core = core_affinity::CoreId { id: arguments.load_core };
    assert!(core_affinity::set_for_current(load_core), "core {} cannot be used", arguments.load_core);
    let wanted = |name: &str| arguments.cells.is_empty() || arguments.cells.iter().any(|cell| cell == name);
    for (name, shape) in LOOPS.into_iter().filter(|(name, _)| wanted(name)) {
        run_loop(&arguments, name, shape);
    }
    if wanted("many") {
        for &connections in &arguments.many {
            let pairs = Shape { publishers: connections / 2, topology: Topology::Pairs, qos: 0, in_flight: 1 };
            run_loop(&arguments, &format!("many {connections}"), pairs);
        }
    }
    if wanted("retained") {
        run_once(&arguments, "retained 100k", ["ms", "us CPU a message"], |broker, process, _| {
            let (ms, us) = once::retained(broker.address, process, 100_000);
            [ms, us]
        });
    }
    if wanted("backlog") {
        run_once(&arguments, "backlog 1000x100", ["ms", "us CPU a message"], |broker, process, _| {
            let (ms, us) = once::backlog(broker.address, process, 1_000, 100);
            [ms, us]
        });
    }
    if wanted("idle") {
        let columns = ["us CPU a connect", "a subscribe", "a leave", "bytes a client"];
        run_once(&arguments, "idle", columns, |broker, process, round| {
            let idle = once::idle(broker.address, process, arguments.clients, round);
            [idle.cpu_us_connect, idle.cpu_us_subscribe, idle.cpu_us_leave, idle.bytes]
        });
    }
}

/// Runs a closed loop against the brokers in turns, so that what else the machine does falls on all of them.
fn run_loop(arguments: &Arguments, name: &str, shape: Shape) {
    let mut flows: Vec<Flow> = arguments.brokers.iter().map(|broker| Flow::connect(broker.address, shape)).collect();
    let mut rounds = vec![Vec::new(); flows.len()];
    for _ in 0..arguments.rounds {
        for ((broker, flow), rounds) in arguments.brokers.iter().zip(&mut flows).zip(&mut rounds) {
            let process = Process(broker.pid);
            flow.run(Duration::from_secs_f64(arguments.seconds / 5.0));
            let before = process.cpu_ns();
            let delivered = flow.run(Duration::from_secs_f64(arguments.seconds));
            let cpu = process.cpu_ns() - before;
            flow.stop();
            let (cpu_s, delivered) = (cpu as f64 / 1e9, delivered as f64);
            rounds.push([cpu_s * 1e6 / delivered, delivered / arguments.seconds, 100.0 * cpu_s / arguments.seconds]);
        }
    }
    flows.into_iter().for_each(Flow::disconnect);
    print(arguments, name, ["us CPU a message", "messages/s", "% of a core"], &rounds);
}

fn run_once<const N: usize>(
    arguments: &Arguments,
    name: &str,
    columns: [&str; N],
    measure: impl Fn(&Broker, &Process, usize) -> [f64; N],
) {
    let mut rounds = vec![Vec::new(); arguments.brokers.len()];
    for round in 0..arguments.rounds {
        for (broker, rounds) in arguments.brokers.iter().zip(&mut rounds) {
            rounds.push(measure(broker, &Process(broker.pid), round));
        }
    }
    print(arguments, name, columns, &rounds);
}

fn print<const N: usize>(arguments: &Arguments, name: &str, columns: [&str; N], rounds: &[Vec<[f64; N]>]) {
    for (broker, rounds) in arguments.brokers.iter().zip(rounds) {
        print!("{name:<18} {:<10}", broker.name);
        for (at, column) in columns.iter().enumerate() {
            let mut values: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
            values.sort_by(f64::total_cmp);
            let digits = usize::from(values[0].abs() < 1_000.0) * 2;
            let (least, most) = (values[0], values[values.len() - 1]);
            print!("  {:>9.digits$} ({least:.digits$}-{most:.digits$}) {column}", values[values.len() / 2]);
        }
        println!();
    }
}
