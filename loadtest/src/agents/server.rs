//! The agent: waits for a controller, carries out its share, waits again.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::wire::{self, Command, HEARTBEAT, Receiver, Report, Sender};
use crate::{
    checks,
    engine::{Control, Engine, Gate, Progress, Watcher},
    exit::{Exit, Failure},
    machine::describe,
    plan::Plan,
};

/// An agent that listens.
#[derive(Debug)]
pub struct Agent {
    listener: TcpListener,
    engine: Engine,
    clock: String,
}

/// Listens until the process ends, and says where.
pub fn serve(listen: &str, engine: Engine) -> Result<Exit, Failure> {
    let failed =
        |error: io::Error| Failure::new(Exit::Machine, format!("agent: --listen {listen}: {}", mended(&error)));
    let agent = Agent::bind(listen, engine).map_err(failed)?;
    let address = agent.address().map_err(failed)?;
    drop(writeln!(io::stdout(), "loadtest agent listening on {address}"));
    loop {
        agent.serve_one().map_err(failed)?;
    }
}

/// Why an address cannot be listened on, with what mends it.
fn mended(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address (`ip address` shows those that it has)".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}: a port below 1024 needs CAP_NET_BIND_SERVICE; one above does as well")
        }
        io::ErrorKind::AddrInUse => format!("{error}: port 0 takes a free one"),
        _ => error.to_string(),
    }
}

impl Agent {
    /// An agent on `ADDRESS:PORT`; port 0 takes a free one.
    pub fn bind(listen: &str, engine: Engine) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(listen)?, engine, clock: clock() })
    }

    /// One that says it has another clock.
    #[cfg(test)]
    pub(super) fn with_clock(self, clock: &str) -> Self {
        Self { clock: clock.to_owned(), ..self }
    }

    /// Where.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for one controller and serves it to its end. What goes wrong with one is told and over with it.
    pub fn serve_one(&self) -> io::Result<()> {
        let (stream, peer) = self.listener.accept()?;
        match self.converse(stream) {
            Ok(name) => drop(writeln!(io::stdout(), "{peer}: {name} done")),
            Err(error) => drop(writeln!(io::stdout(), "{peer}: {}", wire::told(&error))),
        }
        Ok(())
    }

    /// One conversation; the name of what was run.
    fn converse(&self, stream: TcpStream) -> io::Result<String> {
        let (sender, mut receiver) = wire::halves(stream)?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        sender.send(&Report::Hello { version: version.clone(), clock: self.clock.clone() })?;
        match receiver.receive()? {
            Command::Hello { version: theirs } if theirs == version => {}
            Command::Hello { version: theirs } => {
                let line =
                    format!("this agent is loadtest {version}, the controller is {theirs}: they must be the same");
                sender.send(&Report::Failed { status: Exit::AgentLost.status(), line })?;
                return Err(io::Error::other("a controller of another version"));
            }
            _ => return Err(io::Error::other("no controller of loadtest")),
        }
        let plan = loop {
            match receiver.receive()? {
                Command::Run(plan) => break plan,
                Command::Alive => {}
                _ => return Err(io::Error::other("no plan came")),
            }
        };
        carry_out(&plan, &sender, receiver, self.engine)?;
        Ok(plan.name)
    }
}

/// Names the clock that this process reads: `CLOCK_MONOTONIC` counts from the boot, and in a time namespace from elsewhere.
fn clock() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    format!("{} {}", boot.trim(), namespace.display())
}

fn carry_out(plan: &Plan, sender: &Sender, receiver: Receiver, engine: Engine) -> io::Result<()> {
    let mut control = Control::default();
    let passes = Arc::new(Passes { sender: sender.clone(), passed: Mutex::default() });
    control.gate = Some(Arc::clone(&passes) as Arc<dyn Gate>);
    let is_over = Arc::new(AtomicBool::new(false));
    let listening = std::thread::spawn({
        let (control, passes) = (control.clone(), Arc::clone(&passes));
        move || listen(receiver, &control, &passes)
    });
    let beating = std::thread::spawn({
        let (sender, is_over) = (sender.clone(), Arc::clone(&is_over));
        move || {
            while !is_over.load(Ordering::SeqCst) && sender.send(&Report::Alive).is_ok() {
                std::thread::park_timeout(HEARTBEAT);
            }
        }
    });
    let result = checks::check_sources(plan).and_then(|()| checks::check_machine(plan, None, true)).and_then(|()| {
        let mut watcher = Remote { sender: sender.clone() };
        engine(plan, &control, &mut watcher).map_err(Failure::from)
    });
    is_over.store(true, Ordering::SeqCst);
    beating.thread().unpark();
    drop(beating.join());
    let sent = match result {
        Ok(mut outcome) => {
            outcome.machine.get_or_insert_with(describe::machine);
            sender.send(&Report::Done(Box::new(outcome)))
        }
        Err(Failure { exit, line }) => sender.send(&Report::Failed { status: exit.status(), line }),
    };
    // The controller ends the connection when it has read the outcome; what listens ends with it.
    drop(listening.join());
    sender.shut_down();
    sent
}

/// Hears the controller until it is gone, which also ends the run.
fn listen(mut receiver: Receiver, control: &Control, passes: &Passes) {
    loop {
        match receiver.receive() {
            Ok(Command::Pass { index }) => passes.allow(index),
            Ok(Command::Alive) => {}
            Ok(Command::Stop) => {
                control.stop();
                passes.end();
            }
            Ok(Command::Hello { .. } | Command::Run(_)) | Err(_) => {
                control.stop();
                passes.end();
                return;
            }
        }
    }
}

/// The gate of an agent's run: the controller opens it.
struct Passes {
    sender: Sender,
    passed: Mutex<Passed>,
}

#[derive(Default)]
struct Passed {
    /// Stages below this one may begin.
    below: usize,
    is_over: bool,
}

impl Passes {
    fn allow(&self, index: usize) {
        let mut passed = self.lock();
        passed.below = passed.below.max(index + 1);
    }

    fn end(&self) {
        self.lock().is_over = true;
    }

    fn lock(&self) -> MutexGuard<'_, Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate for Passes {
    fn arrive(&self, index: usize) {
        if self.sender.send(&Report::Waits { index }).is_err() {
            self.end();
        }
    }

    fn answer(&self, index: usize) -> Option<bool> {
        let passed = self.lock();
        (passed.is_over || passed.below > index).then_some(!passed.is_over)
    }
}

/// Sends what it sees. A controller that is gone is noticed by who listens to it.
struct Remote {
    sender: Sender,
}

impl Watcher for Remote {
    fn handle_second(&mut self, progress: &Progress<'_>) {
        drop(self.sender.send(&Report::Second {
            second: Box::new(*progress.second),
            stage: progress.stage,
            stage_name: progress.stage_name.to_owned(),
            stage_done: progress.stage_done,
        }));
    }
}
