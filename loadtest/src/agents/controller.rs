//! The controller: gives each agent its part, keeps the parts in step, merges what they report.

use std::{
    collections::BTreeMap,
    io,
    net::{TcpStream, ToSocketAddrs as _},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use super::{
    Merged,
    wire::{self, Command, HEARTBEAT, Receiver, Report, SILENCE_MAX, Sender},
};
use crate::{
    engine::{Control, Progress, Watcher},
    exit::{Exit, Failure},
    outcome::{Outcome, Second},
    plan::{Part, Plan},
    units::grouped,
};

/// An agent as the controller knows it.
struct Remote {
    name: String,
    sender: Sender,
    clients: u64,
    state: State,
}

enum State {
    /// In a stage.
    Runs,
    /// Wants to begin the stage of this index.
    Waits(usize),
    Done(Box<Outcome>),
    /// Gone, and why.
    Lost(String),
    /// Said why there is no outcome.
    Failed(Failure),
}

/// A word of an agent, or why there will be no more.
type Word = (usize, io::Result<Report>);

/// Runs a plan on agents.
pub fn run(plan: &Plan, names: &[String], control: &Control, watcher: &mut dyn Watcher) -> Result<Merged, Failure> {
    let of = names.len() as u32;
    let mut remotes = Vec::new();
    let mut receivers = Vec::new();
    let mut names_of_clocks: Vec<String> = Vec::new();
    let mut clocks = Vec::new();
    for name in names {
        let failed = |error: &io::Error| Failure::new(Exit::AgentLost, format!("agent {name}: {}", wire::told(error)));
        let (sender, receiver, clock) = greet(name).map_err(|error| failed(&error))?;
        let known = names_of_clocks.iter().position(|known| *known == clock);
        clocks.push(known.unwrap_or(names_of_clocks.len()) as u32);
        if known.is_none() {
            names_of_clocks.push(clock);
        }
        receivers.push(receiver);
        remotes.push(Remote { name: name.clone(), sender, clients: 0, state: State::Runs });
    }
    let (words, heard) = mpsc::channel();
    for (index, (remote, mut receiver)) in remotes.iter_mut().zip(receivers).enumerate() {
        let part = Plan { part: Part { index: index as u32, of }, clocks: clocks.clone(), ..plan.clone() };
        remote.clients = part.clients_here();
        let sent = remote.sender.send(&Command::Run(Box::new(part)));
        sent.map_err(|error| Failure::new(Exit::AgentLost, format!("agent {}: {}", remote.name, wire::told(&error))))?;
        let words = words.clone();
        std::thread::spawn(move || {
            loop {
                let word = receiver.receive();
                let is_last = matches!(word, Err(_) | Ok(Report::Done(_) | Report::Failed { .. }));
                if words.send((index, word)).is_err() || is_last {
                    return;
                }
            }
        });
    }
    drop(words);
    let mut fleet = Fleet { remotes, seconds: BTreeMap::new(), shown: 0 };
    fleet.attend(&heard, control, watcher);
    let mut merged = fleet.merge()?;
    if merged.outcome.untimed > 0 {
        merged.outcome.warnings.push(format!(
            "{} deliveries went from one machine's agent to another's and are in no latency, because two clocks cannot be \
             compared; those between agents of one machine are (publisher and subscriber of the same number share an agent)",
            grouped(merged.outcome.untimed)
        ));
    }
    Ok(merged)
}

/// Connects and exchanges versions.
fn greet(name: &str) -> io::Result<(Sender, Receiver, String)> {
    let none = || io::Error::other("the name has no address");
    let address = name.to_socket_addrs()?.next().ok_or_else(none)?;
    let (sender, mut receiver) = wire::halves(TcpStream::connect_timeout(&address, SILENCE_MAX)?)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    sender.send(&Command::Hello { version: version.clone() })?;
    match receiver.receive()? {
        Report::Hello { version: theirs, clock } if theirs == version => Ok((sender, receiver, clock)),
        Report::Hello { version: theirs, .. } => {
            Err(io::Error::other(format!("it is loadtest {theirs}, this is {version}: they must be the same")))
        }
        _ => Err(io::Error::other("it is no agent of loadtest")),
    }
}

struct Fleet {
    remotes: Vec<Remote>,
    /// Of each second that not all have reported: what has come, and of how many.
    seconds: BTreeMap<u64, (Second, usize)>,
    /// Seconds up to this one were shown.
    shown: u64,
}

impl Fleet {
    /// Hears the agents until each is done or gone.
    fn attend(&mut self, heard: &mpsc::Receiver<Word>, control: &Control, watcher: &mut dyn Watcher) {
        let mut is_stopped = false;
        while self.remotes.iter().any(Remote::is_alive) {
            match heard.recv_timeout(HEARTBEAT.min(Duration::from_millis(200))) {
                Ok((index, word)) => self.hear(index, word, watcher),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let word = if control.is_stopped() && !is_stopped { Command::Stop } else { Command::Alive };
            is_stopped |= matches!(word, Command::Stop);
            // A word that does not arrive is noticed by who hears that agent.
            self.remotes.iter().filter(|remote| remote.is_alive()).for_each(|remote| drop(remote.sender.send(&word)));
            self.let_pass();
        }
        self.remotes.iter().for_each(|remote| remote.sender.shut_down());
    }

    fn hear(&mut self, index: usize, word: io::Result<Report>, watcher: &mut dyn Watcher) {
        let remote = &mut self.remotes[index];
        match word {
            Ok(Report::Waits { index }) => remote.state = State::Waits(index),
            Ok(Report::Done(outcome)) => remote.state = State::Done(outcome),
            Ok(Report::Failed { status, line }) => {
                let line = format!("agent {}: {line}", remote.name);
                remote.state = State::Failed(Failure::new(Exit::from_status(status), line));
            }
            Ok(Report::Second { second, stage, stage_name, stage_done }) => {
                self.add(&second, stage, &stage_name, stage_done, watcher);
            }
            Ok(Report::Alive | Report::Hello { .. }) => {}
            Err(error) => remote.state = State::Lost(wire::told(&error)),
        }
    }

    /// Opens the gate of the stage that all wait for. One that is done or gone is waited for by nobody.
    fn let_pass(&mut self) {
        let waiting = self.remotes.iter().filter(|remote| remote.is_alive()).map(|remote| match remote.state {
            State::Waits(index) => Some(index),
            _ => None,
        });
        let Some(Some(index)) = waiting.min() else { return };
        for remote in self.remotes.iter_mut().filter(|remote| matches!(remote.state, State::Waits(at) if at == index)) {
            remote.state = State::Runs;
            drop(remote.sender.send(&Command::Pass { index }));
        }
    }

    /// Adds a part's second, and shows it when all parts have theirs.
    fn add(&mut self, second: &Second, stage: usize, name: &str, done: Option<f64>, watcher: &mut dyn Watcher) {
        let at = second.at_s.round() as u64;
        if at <= self.shown {
            return;
        }
        let (sum, parts) = self.seconds.entry(at).or_insert((Second { at_s: second.at_s, ..Second::default() }, 0));
        sum.merge(second);
        *parts += 1;
        if *parts < self.remotes.iter().filter(|remote| remote.is_alive()).count() {
            return;
        }
        let shown = *sum;
        self.seconds = self.seconds.split_off(&(at + 1));
        self.shown = at;
        let clients = self.remotes.iter().map(|remote| remote.clients).sum();
        watcher.handle_second(&Progress { second: &shown, stage, stage_name: name, stage_done: done, clients });
    }

    fn merge(self) -> Result<Merged, Failure> {
        let of = self.remotes.len();
        let mut merged: Option<Outcome> = None;
        let mut missing = Vec::new();
        let mut failure = None;
        for (index, remote) in self.remotes.into_iter().enumerate() {
            match remote.state {
                State::Done(outcome) => match &mut merged {
                    None => merged = Some(*outcome),
                    Some(merged) => merged.merge(&outcome),
                },
                State::Failed(told) => failure = failure.or(Some(told)),
                State::Lost(why) => missing.push(lost_line(&remote.name, index, of, remote.clients, &why)),
                State::Runs | State::Waits(_) => {
                    missing.push(lost_line(&remote.name, index, of, remote.clients, "it never reported"));
                }
            }
        }
        match (merged, failure) {
            // A part that could not begin is told as what it is: the broker that refuses it refuses the others too.
            (_, Some(failure)) => Err(failure),
            (Some(outcome), None) => Ok(Merged { outcome, missing }),
            (None, None) => Err(Failure::new(Exit::AgentLost, missing.join("; "))),
        }
    }
}

fn lost_line(name: &str, index: usize, of: usize, clients: u64, why: &str) -> String {
    format!(
        "agent {name} was lost ({why}): part {} of {of} with {} clients is missing from every figure, and there is no \
         verdict on loss",
        index + 1,
        grouped(clients)
    )
}

impl Remote {
    const fn is_alive(&self) -> bool {
        matches!(self.state, State::Runs | State::Waits(_))
    }
}
