//! A broker with a data directory, to be killed and started again.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::client::{Client, PATIENCE};

/// Directories of tests that run.
static IN_USE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A data directory of one test, gone with it.
pub(crate) struct DataDirectory(PathBuf);

impl DataDirectory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dunlin-crash-{name}-{}", std::process::id()));
        let is_free = IN_USE.lock().expect("nobody panics with it").insert(path.clone());
        assert!(is_free, "another test has the directory {name:?}");
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file beside it, which goes with it; gives its path.
    pub(crate) fn beside(&self, extension: &str, text: &str) -> String {
        let path = self.0.with_extension(extension);
        fs::write(&path, text).expect("a temporary file");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The segments and checkpoints in it, sorted by their paths.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = folders
            .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .collect();
        files.sort();
        files
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        for extension in ["log", "users", "acl", "key", "lines", "toml"] {
            let _ = fs::remove_file(self.0.with_extension(extension));
        }
        IN_USE.lock().expect("nobody panics with it").remove(&self.0);
    }
}

/// A broker that runs.
pub(crate) struct Broker {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

fn command(data: &DataDirectory, flags: &[&str]) -> Command {
    // `setpriv` (util-linux) sets the signal that the child gets when its parent dies, and becomes the child.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_dunlin"), "--no-pin"]);
    if !flags.contains(&"--port") {
        command.args(["--port", "0"]);
    }
    command.args(["--storage", "disk", "--segment-size", "2MiB", "--data-dir"]).arg(data.path());
    if !flags.contains(&"--free-space-min") {
        command.args(["--free-space-min", "0"]);
    }
    command.args(flags).stdin(Stdio::null());
    command
}

/// Runs a broker that is not to come up, to its end.
pub(crate) fn fails(data: &DataDirectory, flags: &[&str]) -> Output {
    command(data, flags).output().expect("the binary runs")
}

impl Broker {
    pub(crate) fn start(data: &DataDirectory, flags: &[&str]) -> Self {
        let log = data.path().with_extension("log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let mut child =
            command(data, flags).stdout(Stdio::piped()).stderr(file).spawn().expect("setpriv and the binary are there");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let Ok(address) = address.parse() else {
            panic!("the broker does not listen: {}", fs::read_to_string(&log).unwrap_or_default());
        };
        Self { child, address, log }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As a power cut that only this process sees.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it ends");
    }

    /// Waits for it to end by itself.
    pub(crate) fn await_end(mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is a child of this one") {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, and the end that it leads to.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// The same, with everything that this one had to say so far: a thread of its own writes its lines.
    pub(crate) fn whole_log(&self) -> String {
        let name = format!("looks-at-{}", self.pid());
        let client = Client::connect(self.address, &name, true, None).expect("the broker lives");
        let (line, deadline) = (format!("client={name}"), Instant::now() + PATIENCE);
        while !self.log().contains(&line) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(client);
        self.log()
    }

    /// What all brokers on this directory have written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
