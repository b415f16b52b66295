//! The words between controller and agent: JSON, one value a line, over TCP.
//!
//! Always holds: the first word of each side is its version, and they must be equal, because plans and outcomes have no
//! versions of their own. A line is bounded, and a side that says nothing for [`SILENCE_MAX`] is taken for dead.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    outcome::{Outcome, Second},
    plan::Plan,
};

/// An agent says that it is alive so often, whatever it does.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);
/// Whoever is silent for so long is dead.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A line: an outcome with its histograms and the series of a day.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// What a controller says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// First.
    Hello {
        /// Of loadtest.
        version: String,
    },
    /// Carry this out.
    Run(Box<Plan>),
    /// All parts have come so far: stage `index` may begin.
    Pass {
        /// Of the stage.
        index: usize,
    },
    /// End cleanly and report.
    Stop,
    /// Nothing; the controller is alive.
    Alive,
}

/// What an agent says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// First.
    Hello {
        /// Of loadtest.
        version: String,
        /// Names the clock that the agent stamps with: equal on one machine, and nowhere else.
        clock: String,
    },
    /// Stage `index` may begin, as far as this part goes.
    Waits {
        /// Of the stage.
        index: usize,
    },
    /// A second has passed.
    Second {
        /// What was in it.
        second: Box<Second>,
        /// Index of the stage.
        stage: usize,
        /// As the plan calls it.
        stage_name: String,
        /// How much of it is done.
        stage_done: Option<f64>,
    },
    /// The end.
    Done(Box<Outcome>),
    /// No outcome, and why.
    Failed {
        /// The exit status.
        status: u8,
        /// Why, for a person.
        line: String,
    },
    /// Nothing; the agent is alive.
    Alive,
}

/// The writing half, shared by threads.
#[derive(Clone)]
pub(super) struct Sender(Arc<Mutex<TcpStream>>);

impl Sender {
    pub(super) fn send(&self, word: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }

    /// Ends the connection for both halves.
    pub(super) fn shut_down(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).shutdown(std::net::Shutdown::Both));
    }
}

/// The reading half.
pub(super) struct Receiver(BufReader<TcpStream>);

impl Receiver {
    /// The next word; an error where the other side is gone, silent for too long, or says what is no word.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut line = Vec::new();
        let length = (&mut self.0).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if length == 0 || !line.ends_with(b"\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// Both halves of a connection.
pub(super) fn halves(stream: TcpStream) -> io::Result<(Sender, Receiver)> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let reading = stream.try_clone()?;
    Ok((Sender(Arc::new(Mutex::new(stream))), Receiver(BufReader::new(reading))))
}

/// What is told of an error, without the system's numbers.
pub(super) fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "it closed the connection".to_owned()
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("it was silent for {} s", SILENCE_MAX.as_secs())
        }
        _ => error.to_string(),
    }
}
