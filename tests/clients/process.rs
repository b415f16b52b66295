//! A driver that is a program: commands on its standard input, events on its standard output.
//!
//! Its standard error goes into the transcript. It is killed by its process id when it is dropped, and by the kernel when
//! the test dies first. Killing it is also how a client is made to vanish without a DISCONNECT.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, mpsc};

use crate::stage::Transcript;
use crate::words::{Command, Event};

/// A running driver program.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts the program; its events go to `events`.
    pub(crate) fn start(argv: &[&str], label: &str, transcript: &Arc<Transcript>, events: mpsc::Sender<Event>) -> Self {
        let mut child = Program::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv {argv:?}: {error}"));
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (words, name) = (Arc::clone(transcript), label.to_owned());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                words.add(&name, "!", &line);
            }
        });
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (words, name) = (Arc::clone(transcript), label.to_owned());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                match serde_json::from_str::<Event>(&line) {
                    Ok(event) => {
                        words.add(&name, "<", &line);
                        // A test that has failed listens no more.
                        let _ = events.send(event);
                    }
                    Err(error) => words.add(&name, "!", &format!("no event ({error}): {line}")),
                }
            }
        });
        Self { child }
    }

    /// Hands over one command.
    pub(crate) fn send(&mut self, command: &Command) {
        let line = serde_json::to_string(command).expect("a command has a JSON form");
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        // A driver that is gone shows itself by the answer that does not come.
        let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
    }

    /// Ends it without a word; the kernel closes its socket.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
