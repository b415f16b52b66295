//! A broker that is started by a script, killed under load, and started again.
//!
//! Owns: its process and all that its script has begun, when it is killed, and how long it took to come back. Always holds: nothing of it is left when
//! this is dropped; it is killed only while the stage for that goes on; what it said stands in a file that is named where something went wrong.
//! Leaves to others: clients, and what becomes of messages (`engine`).

use std::{
    fs::{File, OpenOptions},
    hash::{BuildHasher as _, RandomState},
    io::{self, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    engine::{Control, Progress, Watcher},
    exit::{Exit, Failure},
    outcome::{Killing, Outcome, Timing},
    plan::{Plan, Restarts, Target},
    preset::KILLING,
    units::show_span,
};

/// How long a broker may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);
/// How long the address of a broker that was killed may be in use.
const GONE_MAX: Duration = Duration::from_secs(5);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(2);
/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// CONNECT of MQTT 3.1.1, clean, as `loadtest-probe`.
const CONNECT: &[u8] = b"\x10\x1a\0\x04MQTT\x04\x02\0\x0a\0\x0eloadtest-probe";

/// The broker's process.
struct Started {
    child: Child,
    script: PathBuf,
    said: PathBuf,
}

impl Started {
    /// Runs the script, and waits until the broker answers. Gives how long that took.
    fn new(script: &Path, target: &Target, said: &Path) -> Result<(Self, Duration), String> {
        let output = OpenOptions::new().create(true).append(true).open(said);
        let output = output.map_err(|error| format!("{}: {error}", said.display()))?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let begun = Instant::now();
        let mut command = Command::new(script);
        // A group of its own, so that whatever the script begins ends with it.
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let child = command.spawn().map_err(|error| format!("--start-script {}: {error}", script.display()))?;
        let mut started = Self { child, script: script.to_owned(), said: said.to_owned() };
        while !answers(target) {
            if let Some(end) = started.end() {
                return Err(end);
            }
            if begun.elapsed() > START_MAX {
                let span = show_span(START_MAX.as_nanos() as u64);
                return Err(format!("{} did not answer within {span}{}", target.name(), last_words(said)));
            }
            std::thread::sleep(ASK_EVERY);
        }
        Ok((started, begun.elapsed()))
    }

    /// Why it has ended, if it has.
    fn end(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("{} ended by itself ({status}){}", self.script.display(), last_words(&self.said)))
    }

    /// SIGKILL, to all that the script has begun.
    fn kill(&mut self) {
        // No such process: it has ended by itself.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of what a broker has said.
fn last_words(said: &Path) -> String {
    let text = std::fs::read(said).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it has said nothing");
    format!(": {last} (all of it: {})", said.display())
}

/// Whether a CONNECT is answered; where something lies below MQTT, whether somebody accepts.
fn answers(target: &Target) -> bool {
    let is_plain = target.tls.is_none() && target.websocket.is_none();
    let asked = match &target.unix {
        Some(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            if is_plain { ask(stream) } else { Ok(()) }
        }),
        None => connect(target).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            if is_plain { ask(stream) } else { Ok(()) }
        }),
    };
    asked.is_ok()
}

fn connect(target: &Target) -> io::Result<TcpStream> {
    let mut addresses = (target.host.as_str(), target.port).to_socket_addrs()?;
    let address = addresses.find(std::net::SocketAddr::is_ipv4).ok_or(io::ErrorKind::NotFound)?;
    TcpStream::connect_timeout(&address, ANSWER_MAX)
}

/// The range of ports that clients on this machine get, if the broker's is one of them and it is here.
fn given_to_clients(target: &Target) -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_whitespace().map(str::parse::<u16>);
    let (low, high) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    let is_here = target.unix.is_none() && (low..=high).contains(&target.port);
    is_here.then(|| format!("{low} to {high}"))
}

/// Any CONNACK will do: who refuses is back as well.
fn ask(mut stream: impl io::Read + io::Write) -> io::Result<()> {
    stream.write_all(CONNECT)?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    if first[0] == 0x20 { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// A broker that runs, and whoever kills it.
pub struct Killer {
    begin: Option<Sender<()>>,
    thread: Option<JoinHandle<(Killing, Timing)>>,
    stage: Option<usize>,
}

impl std::fmt::Debug for Killer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Killer").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Killer {
    /// Starts the broker of a plan that has one to be killed.
    pub fn start(plan: &Plan, control: &Control, is_quiet: bool) -> Result<Option<Self>, Failure> {
        let Some(restarts) = &plan.target.restarts else { return Ok(None) };
        let Some(script) = &restarts.script else { return Ok(None) };
        let wrong = |line: String| Failure::new(Exit::Usage, line);
        if connect(&plan.target).is_ok() {
            return Err(wrong(format!(
                "somebody is at {} already: the broker that is killed is started here",
                plan.target.name()
            )));
        }
        if let Some(range) = given_to_clients(&plan.target) {
            return Err(wrong(format!(
                "port {} is one of those that the system gives to clients ({range}): while the broker is away one of them may take \
                 it; choose another (--port)",
                plan.target.port
            )));
        }
        let said = std::env::temp_dir().join(format!("loadtest-broker-{}.log", std::process::id()));
        File::create(&said).map_err(|error| wrong(format!("{}: {error}", said.display())))?;
        let script = std::path::absolute(script).map_err(|error| wrong(error.to_string()))?;
        let (broker, took) =
            Started::new(&script, &plan.target, &said).map_err(|line| Failure::new(Exit::Unreachable, line))?;
        tell(is_quiet, &format!("broker started, there after {}", show_span(took.as_nanos() as u64)));
        let stage = plan.stages.iter().position(|stage| stage.name == KILLING);
        let (begin, begun) = channel();
        let work = Work {
            broker: Some(broker),
            restarts: restarts.clone(),
            target: plan.target.clone(),
            control: control.clone(),
            stage: stage.unwrap_or(usize::MAX),
            is_quiet,
            said,
        };
        let thread = std::thread::spawn(move || work.run(&begun));
        Ok(Some(Self { begin: Some(begin), thread: Some(thread), stage }))
    }

    /// The stage with this number begins.
    fn handle_stage(&mut self, index: usize) {
        if self.stage == Some(index)
            && let Some(begin) = &self.begin
        {
            // Whoever kills has given up: it has said why.
            let _ = begin.send(());
        }
    }

    /// Ends the broker, and fills in what became of it.
    pub fn finish(mut self, outcome: &mut Outcome) {
        let thread = self.thread.take();
        self.begin = None;
        if let Some(Ok((killing, recovery))) = thread.map(JoinHandle::join) {
            outcome.killing = Some(killing);
            outcome.timings.recovery = recovery;
        }
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.begin = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Tells a killer which stage begins, and another watcher everything.
pub(crate) struct Killed<'a> {
    pub(crate) killer: Option<&'a mut Killer>,
    pub(crate) next: &'a mut dyn Watcher,
}

impl Watcher for Killed<'_> {
    fn handle_stage(&mut self, index: usize, name: &str) {
        if let Some(killer) = &mut self.killer {
            killer.handle_stage(index);
        }
        self.next.handle_stage(index, name);
    }

    fn handle_second(&mut self, progress: &Progress<'_>) {
        self.next.handle_second(progress);
    }
}

/// What the thread does.
struct Work {
    broker: Option<Started>,
    restarts: Restarts,
    target: Target,
    control: Control,
    stage: usize,
    is_quiet: bool,
    said: PathBuf,
}

impl Work {
    fn run(mut self, begun: &Receiver<()>) -> (Killing, Timing) {
        let mut killing = Killing { planned: self.restarts.kills, ..Killing::default() };
        let mut recovery = Timing::default();
        if begun.recv().is_ok() {
            while killing.made < killing.planned && !self.control.is_stopped() {
                // Half to one and a half of the time from one to the next, whatever the broker is doing then.
                let share = RandomState::new().hash_one(killing.made) % 1_000;
                let rest_ms = u64::from(self.restarts.every_ms) * (500 + share) / 1_000;
                if begun.recv_timeout(Duration::from_millis(rest_ms)) == Err(RecvTimeoutError::Disconnected) {
                    break;
                }
                match self.kill_once() {
                    Ok(took) => {
                        killing.made += 1;
                        recovery.record(took.as_nanos() as u64);
                        let span = show_span(took.as_nanos() as u64);
                        tell(
                            self.is_quiet,
                            &format!("kill {} of {}: back after {span}", killing.made, killing.planned),
                        );
                    }
                    Err(fault) => {
                        tell(self.is_quiet, &fault);
                        killing.faults.push(fault);
                        self.control.stop();
                    }
                }
            }
            self.control.end_stage(self.stage);
            // What is owed is still to come.
            let _ = begun.recv();
        }
        if let Some(end) = self.broker.as_mut().and_then(Started::end) {
            killing.faults.push(end);
        }
        self.broker = None;
        if killing.faults.is_empty() {
            let _ = std::fs::remove_file(&self.said);
        }
        (killing, recovery)
    }

    fn kill_once(&mut self) -> Result<Duration, String> {
        let Some(mut broker) = self.broker.take() else { return Err("there is no broker".to_owned()) };
        if let Some(end) = broker.end() {
            return Err(end);
        }
        broker.kill();
        let script = broker.script.clone();
        drop(broker);
        // The kernel takes a moment to end what it had with its sockets; nobody is asked meanwhile who will not answer.
        let begun = Instant::now();
        while connect(&self.target).is_ok() && begun.elapsed() < GONE_MAX {
            std::thread::sleep(ASK_EVERY);
        }
        let (broker, took) = Started::new(&script, &self.target, &self.said)?;
        self.broker = Some(broker);
        Ok(took)
    }
}

/// A line while it runs. Nobody reading it is no reason to stop.
fn tell(is_quiet: bool, line: &str) {
    if !is_quiet {
        drop(writeln!(io::stderr(), "{line}"));
    }
}
