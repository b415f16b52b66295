//! Brokers for the suites that know nothing but the built binary.
//!
//! A [`Broker`] listens on a port of its own on loopback and is killed, by its process id, when it is dropped; should the
//! test process die first, the kernel kills it. What it writes is kept for the report of a failed test. It owns no
//! expectation of the protocol.
//!
//! `DUNLIN_TEST_BROKER` puts another broker in dunlin's place, so that a suite can be tried on one that is known: either
//! `host:port` of one that runs, or a program that takes dunlin's flags and prints the same line, as
//! `tests/support/mosquitto` does.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, LockResult, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// How long a broker may take until it listens: far above what it needs, for machines that are busy.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Brokers at one time, however many threads the tests have: each registers memory with the kernel, and an ordinary user
/// may lock 8 MiB in all.
const BROKERS_MAX: usize = 4;
/// Lines of log that are kept for a report.
const LOG_LINES_MAX: usize = 400;

/// A broker to test, and its end.
pub(crate) struct Broker {
    /// At least one, in the order of its listeners.
    addrs: Vec<SocketAddr>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    log: Arc<Log>,
    /// Held until the child is gone: fields are dropped in order, and `Broker::drop` ends the child before.
    _slot: Slot,
}

impl Broker {
    /// Starts the built binary with this many shards, or takes the one that `DUNLIN_TEST_BROKER` names.
    ///
    /// # Panics
    /// If it ends before it listens, or does not listen in time; its output is in the message.
    pub(crate) fn start(shards: usize, flags: &[&str]) -> Self {
        let program = match std::env::var("DUNLIN_TEST_BROKER") {
            Ok(place) if !place.contains('/') => return Self::elsewhere(&place),
            Ok(program) => program,
            Err(_) => env!("CARGO_BIN_EXE_dunlin").to_owned(),
        };
        let slot = Slot::take();
        // `setpriv` (util-linux) sets the signal that the child gets when its parent dies, and becomes the child.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", &program, "--port", "0", "--no-pin", "--shards", &shards.to_string()])
            .args(flags)
            // Several run at once, of whoever runs the tests.
            .env("DUNLIN_STORE__STORAGE", "memory")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv {program}: {error}"));
        let log = Arc::new(Log::default());
        let (found, address) = mpsc::channel();
        // The sender goes with the readers, so that the channel closes when the child ended without a word.
        log.keep(child.stdout.take().expect("stdout is piped"), found.clone());
        log.keep(child.stderr.take().expect("stderr is piped"), found);
        match address.recv_timeout(START_LIMIT) {
            Ok(addrs) => Self { addrs, process: Some(Process { child, log, _slot: slot }) },
            Err(error) => {
                let _ = child.kill();
                let status = child.wait();
                panic!("{program} does not listen ({error}, {status:?}):\n{}", log.text());
            }
        }
    }

    fn elsewhere(place: &str) -> Self {
        let addr = place.to_socket_addrs().ok().and_then(|mut addrs| addrs.next());
        let addr = addr.unwrap_or_else(|| panic!("DUNLIN_TEST_BROKER={place}: neither host:port nor a path with a /"));
        Self { addrs: vec![addr], process: None }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// Where one of its listeners is: those for TLS and WebSocket come behind that for TCP.
    #[allow(dead_code, reason = "not every suite has brokers with several")]
    pub(crate) fn listener_addr(&self, index: usize) -> SocketAddr {
        *self.addrs.get(index).expect("it was started with so many")
    }

    /// What it wrote so far, its last lines.
    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, |process| process.log.text())
    }

    /// What is wrong with it, if anything: it ended, or something in it panicked.
    pub(crate) fn complaint(&mut self) -> Option<String> {
        let process = self.process.as_mut()?;
        match process.child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Some(format!("the broker ended by itself: {status}")),
            Err(error) => return Some(format!("the broker cannot be asked: {error}")),
        }
        process.log.text().contains("panicked at").then(|| "something in the broker panicked".to_owned())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// Whether the broker under test is dunlin: some expectations go beyond what others keep.
pub(crate) fn is_dunlin() -> bool {
    std::env::var_os("DUNLIN_TEST_BROKER").is_none()
}

/// Finds the addresses in a line that says `listening on ADDRESS:PORT, ADDRESS:PORT`, whatever stands around it.
fn listening_addresses(line: &str) -> Vec<SocketAddr> {
    let words = line.split("listening on ").nth(1).unwrap_or_default().split_whitespace();
    words.map_while(|word| word.trim_end_matches(',').parse().ok()).collect()
}

/// The last lines of a process's output.
#[derive(Default)]
struct Log {
    lines: Mutex<VecDeque<String>>,
}

impl Log {
    /// Reads to the end in a thread of its own; a full pipe would stop the process.
    fn keep(self: &Arc<Self>, output: impl Read + Send + 'static, found: mpsc::Sender<Vec<SocketAddr>>) {
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let addresses = listening_addresses(&line);
                log.push(line);
                if !addresses.is_empty()
                    && let Some(found) = found.take()
                {
                    // Nobody listens once the first line of that kind was found.
                    let _ = found.send(addresses);
                }
            }
        });
    }

    fn push(&self, line: String) {
        let mut lines = unpoisoned(self.lines.lock());
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = unpoisoned(self.lines.lock());
        lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// The right to run one of [`BROKERS_MAX`].
struct Slot;

static SLOTS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Slot {
    fn take() -> Self {
        let taken = unpoisoned(SLOTS.0.lock());
        let mut taken =
            SLOTS.1.wait_while(taken, |taken| *taken == BROKERS_MAX).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *unpoisoned(SLOTS.0.lock()) -= 1;
        SLOTS.1.notify_one();
    }
}

/// A test that failed while it held a lock leaves what it guards whole: these are lines and numbers.
pub(crate) fn unpoisoned<T>(guard: LockResult<MutexGuard<'_, T>>) -> MutexGuard<'_, T> {
    guard.unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_listening_line_is_found_in_any_dress() {
    let addresses = |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|text| text.parse().unwrap()).collect() };
    for (line, expected) in [
        ("dunlin 0.1.0 listening on 127.0.0.1:1884 (2 shards)", &["127.0.0.1:1884"][..]),
        ("2026-11-22T08:00:00Z INFO listening on 127.0.0.1:1884, 2 shards", &["127.0.0.1:1884"]),
        ("listening on 127.0.0.1:1884", &["127.0.0.1:1884"]),
        ("dunlin is listening on [::1]:1884 now", &["[::1]:1884"]),
        (
            "listening on 127.0.0.1:1884, 127.0.0.1:8083, /run/mqtt.sock (1 shard)",
            &["127.0.0.1:1884", "127.0.0.1:8083"],
        ),
        ("not listening on anything", &[]),
    ] {
        assert_eq!(listening_addresses(line), addresses(expected), "{line}");
    }
}
