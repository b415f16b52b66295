//! A broker with a configuration file of its own, and a client of few words.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// Far above what anything here takes, for machines that are busy.
const LIMIT: Duration = Duration::from_secs(30);

/// A broker with a file of its own; killed and removed at its end.
pub(crate) struct Broker {
    child: Child,
    pub(crate) directory: PathBuf,
    /// Where it listens, one for each listener.
    pub(crate) addresses: Vec<String>,
    log: mpsc::Receiver<String>,
}

impl Broker {
    pub(crate) fn start(name: &str, file: &str) -> Self {
        Self::start_with(name, file, &[])
    }

    /// As [`Self::start`], with limits of the process as `prlimit` (util-linux) has them.
    pub(crate) fn start_with(name: &str, file: &str, limits: &[&str]) -> Self {
        Self::start_with_flags(name, file, limits, &["--storage", "memory"])
    }

    /// As [`Self::start_with`], with flags of the broker's.
    pub(crate) fn start_with_flags(name: &str, file: &str, limits: &[&str], flags: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-reload-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let path = directory.join("dunlin.toml");
        fs::write(&path, file).expect("a file");
        // `setpriv` (util-linux) ends the broker with its parent, whatever becomes of that.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "prlimit"])
            .args(limits)
            .args([env!("CARGO_BIN_EXE_dunlin"), "-c"])
            .arg(&path)
            .args(["--port", "0", "--no-pin"])
            .args(if flags.contains(&"--shards") { &[][..] } else { &["--shards", "2"] })
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv runs");
        let mut first = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut first).expect("a line");
        let addresses = first.split("listening on ").nth(1).and_then(|rest| rest.split(" (").next());
        let addresses = addresses.unwrap_or_else(|| panic!("not listening: {first:?}"));
        let addresses = addresses.split(", ").map(str::to_owned).collect();
        let (lines, log) = mpsc::channel();
        let stderr = child.stderr.take().expect("stderr is piped");
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        Self { child, directory, addresses, log }
    }

    pub(crate) fn write(&self, file: &str) {
        fs::write(self.directory.join("dunlin.toml"), file).expect("a file");
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Lines of the log up to one with this event, which is the last.
    pub(crate) fn lines_to(&self, event: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.log.recv_timeout(LIMIT).unwrap_or_else(|error| panic!("no {event}: {error}: {lines:?}"));
            lines.push(line);
            if lines[lines.len() - 1].contains(event) {
                return lines;
            }
        }
    }

    /// Whether the log has a line with these words that nobody has asked for yet.
    pub(crate) fn has_said(&self, words: &str) -> bool {
        self.log.try_iter().any(|line| line.contains(words))
    }

    pub(crate) fn reload(&self, file: &str) -> Vec<String> {
        self.write(file);
        self.signal("HUP");
        self.lines_to(" config_reload")
    }

    /// Ends it as a lost machine would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("it ends");
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the broker has not ended");
    }

    /// Resident memory.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process of ours");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// From now on the system gives it no descriptor that it does not have.
    pub(crate) fn open_no_more_descriptors(&self) {
        let folder = format!("/proc/{}/fd", self.child.id());
        let is_taken = |number: &u32| std::path::Path::new(&format!("{folder}/{number}")).is_symlink();
        let free = (0..u32::MAX).find(|number| !is_taken(number)).expect("it has fewer");
        let limit = format!("--nofile={free}:{free}");
        let status = Command::new("prlimit").args(["--pid", &self.child.id().to_string(), &limit]).status();
        assert!(status.expect("prlimit runs").success());
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a process of ours").count()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A client of MQTT 3.1.1 with the few packets that are needed here.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    /// A connection of the first listener that was accepted as a client.
    pub(crate) fn connect(broker: &Broker, id: u8) -> Self {
        let mut client = Self::open(&broker.addresses[0]);
        assert_eq!(client.say_connect(id), 0);
        client
    }

    /// A connection that has said nothing.
    pub(crate) fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        stream.set_nodelay(true).expect("an option of TCP");
        Self(stream)
    }

    /// The code of the CONNACK that a CONNECT without keep alive gets.
    pub(crate) fn say_connect(&mut self, id: u8) -> u8 {
        self.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, id]);
        let [kind, length, _, code] = self.receive();
        assert_eq!((kind, length), (0x20, 2));
        code
    }

    /// Waits until the broker has closed it, and tells how long that took.
    pub(crate) fn closed(&mut self) -> Duration {
        let begun = Instant::now();
        let mut rest = Vec::new();
        // An end and a reset are the same here.
        let _ = self.0.read_to_end(&mut rest);
        let took = begun.elapsed();
        assert!(took < LIMIT, "the broker keeps the connection");
        took
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the connection is open");
    }

    pub(crate) fn receive<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).expect("the connection is open");
        bytes
    }

    /// The code that a subscription to a one-letter filter gets.
    pub(crate) fn subscribe(&mut self, filter: u8) -> u8 {
        self.send(&[0x82, 6, 0, 1, 0, 1, filter, 0]);
        let [kind, _, _, _, code] = self.receive();
        assert_eq!(kind, 0x90);
        code
    }

    pub(crate) fn ping(&mut self) {
        self.send(&[0xc0, 0]);
        assert_eq!(self.receive::<2>(), [0xd0, 0]);
    }
}
