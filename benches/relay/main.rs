//! The floor under every broker: what it costs to move a message from one socket to another and do nothing with it.
//!
//! `cargo bench --bench relay` runs a relay on the socket plane, inside a glommio executor as the broker runs, and loads
//! it from another core: pairs of connections, small messages, some in flight per pair. It prints the CPU time of the
//! relay per message. `-- --against HOST:PORT --pid PID` loads an MQTT broker in turns with the relay, with the same
//! bytes, and prints what the broker costs in floors. `-- --count 50` counts instructions instead (`count.rs`).

#![allow(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]

mod count;
mod fleet;
mod server;

use clap::Parser;
use fleet::{Fleet, Greeting};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[derive(Parser)]
struct Arguments {
    /// An MQTT broker to compare with.
    #[arg(long, requires = "pid")]
    against: Option<SocketAddr>,
    /// The broker's process, for its CPU time.
    #[arg(long)]
    pid: Option<u32>,
    /// Pairs of connections.
    #[arg(long, default_value_t = 500)]
    pairs: u16,
    /// Messages in flight per pair; several measurements, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    in_flight: Vec<u32>,
    /// Rounds of each measurement; the median is printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Core of the relay; the load runs on `--load-core`.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Load nobody: be a relay for clients of MQTT on this port, until killed. Each publisher has one topic, each topic one
    /// subscriber, who comes first, and all is `QoS` 0.
    #[arg(long, value_name = "PORT")]
    serve_mqtt: Option<u16>,
    /// Count the instructions of relaying so many messages a pair, and as many more as are in flight, under valgrind.
    #[arg(long, value_name = "MESSAGES", conflicts_with = "against")]
    count: Option<u32>,
    /// Be what is counted.
    #[arg(long, hide = true)]
    counted: Option<u32>,
    /// Number of the core that the load is pinned to; the relay has another.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Be the relay, in a process of its own.
    #[arg(long, hide = true)]
    serve: bool,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one round showed.
#[derive(Clone, Copy, Default)]
struct Round {
    cpu_us: f64,
    per_second: f64,
    latency_us: f64,
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.serve_mqtt {
        return server::serve(None, port, Greeting::Mqtt);
    }
    if let Some(messages) = arguments.counted {
        return count::relay(arguments.pairs, messages, arguments.in_flight[0]);
    }
    if let Some(messages) = arguments.count {
        return count::print(arguments.rounds, arguments.pairs, messages, &arguments.in_flight);
    }
    if arguments.serve {
        // Whoever started it may be gone without a word: then the input ends.
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
        return server::serve(Some(arguments.core), 0, Greeting::Raw);
    }
    let load_core = core_affinity::CoreId { id: arguments.load_core };
    assert!(core_affinity::set_for_current(load_core), "core {} cannot be used", arguments.load_core);

    let relay = Relay::start(arguments.core);
    let mut subjects = vec![("relay", relay.child.id(), Fleet::connect(relay.address, arguments.pairs, Greeting::Raw))];
    if let (Some(address), Some(pid)) = (arguments.against, arguments.pid) {
        subjects.push(("broker", pid, Fleet::connect(address, arguments.pairs, Greeting::Mqtt)));
    }
    println!(
        "{} pairs, {}-byte payloads in {}-byte messages, median of {} rounds of {} s, in turns",
        arguments.pairs,
        fleet::PAYLOAD_BYTES,
        subjects[0].2.frame_bytes(),
        arguments.rounds,
        arguments.seconds
    );
    for &in_flight in &arguments.in_flight {
        measure(&mut subjects, in_flight, &arguments);
    }
}

/// Runs the subjects in turns, so that what else the machine does falls on all of them.
fn measure(subjects: &mut [(&str, u32, Fleet)], in_flight: u32, arguments: &Arguments) {
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); subjects.len()];
    for _ in 0..arguments.rounds {
        for ((_, pid, fleet), rounds) in subjects.iter_mut().zip(&mut rounds) {
            let warm_up = Duration::from_secs_f64(arguments.seconds / 4.0);
            fleet.start(in_flight);
            fleet.run(warm_up);
            let cpu_before = cpu_ns(*pid);
            let load = fleet.run(Duration::from_secs_f64(arguments.seconds));
            let cpu = cpu_ns(*pid) - cpu_before;
            fleet.stop();
            rounds.push(Round {
                cpu_us: cpu as f64 / 1e3 / load.messages as f64,
                per_second: load.messages as f64 / load.seconds,
                latency_us: load.latency_us_median,
            });
        }
    }
    let floor = median(&rounds[0], |round| round.cpu_us);
    for ((name, ..), rounds) in subjects.iter().zip(&rounds) {
        let cpu_us = median(rounds, |round| round.cpu_us);
        println!(
            "{in_flight:>3} in flight  {name:<7} {cpu_us:6.2} us CPU a message ({:.2}-{:.2})  {:7.0} messages/s  \
             median latency {:6.0} us  {:.2} floors",
            rounds.iter().map(|round| round.cpu_us).fold(f64::INFINITY, f64::min),
            rounds.iter().map(|round| round.cpu_us).fold(0.0, f64::max),
            median(rounds, |round| round.per_second),
            median(rounds, |round| round.latency_us),
            cpu_us / floor,
        );
    }
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// CPU time of all threads of a process, in the scheduler's own nanoseconds (the clock ticks of `stat` are too coarse).
fn cpu_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    let on_cpu = |task: std::fs::DirEntry| {
        // A thread may end between being listed and being read.
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(on_cpu).sum()
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.child.kill().expect("the relay is ours to stop");
        self.child.wait().expect("the relay ends");
    }
}

/// The relay in a process of its own, so that its CPU time is its own too.
struct Relay {
    child: Child,
    address: SocketAddr,
}

impl Relay {
    fn start(core: usize) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args(["--serve", "--core", &core.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let mut line = String::new();
        let output = child.stdout.take().expect("the output is piped");
        BufReader::new(output).read_line(&mut line).expect("the relay says where it listens");
        let address = line.trim().parse().expect("the relay says an address");
        Self { child, address }
    }
}
