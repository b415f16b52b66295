//! Brokers: which there are, whether they can be had, and how one is started, found ready, and ended.
//!
//! A broker is a start script (`brokers/lib.sh` says what is asked of it). A running one is a process group of its own, so
//! that whatever it started ends with it; should this program die first, the kernel kills the broker.

use crate::cells::Storage;
use crate::transport::{Certificates, Transport};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The brokers that have a start script here, dunlin first.
pub(crate) const BUILT_IN: [&str; 11] = [
    "dunlin",
    "mosquitto",
    "mosquitto-debian",
    "flashmq",
    "nats",
    "rumqttd",
    "rmqttd",
    "aedes",
    "rabbitmq",
    IN_MEMORY,
    REDIS,
];
/// No broker: it speaks no MQTT, and has its own load.
pub(crate) const REDIS: &str = "redis";
/// dunlin with its memory store, where others keep messages on a disk: what the disk costs is the difference.
pub(crate) const IN_MEMORY: &str = "dunlin-memory";
/// How long a broker may take until it answers a CONNECT. RabbitMQ takes 20 s on a machine with other work.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long SIGTERM has before SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How often a condition is looked at that no event tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A broker that can be started, or the reason why it cannot.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    /// As tables name it.
    pub name: String,
    script: PathBuf,
    /// What the script must know besides.
    environment: Vec<(&'static str, PathBuf)>,
    /// Name and version as it says itself, or why it is missing.
    pub version: Result<String, String>,
    /// Settings that its users choose between by their load. All of them are measured.
    pub choices: Vec<Choice>,
    /// What its start script can have it listen for beside TCP, in the words of [`Transport::word`].
    transports: Vec<String>,
    /// Whether its start script makes password files for it.
    has_passwords: bool,
    /// Where it can keep its files, in the words of [`Storage::word`], with what a reader of a table has to know of that.
    storages: Vec<(String, Option<String>)>,
}

/// One of a broker's settings that its users choose between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// For the start script.
    pub name: String,
    /// For the reader of a table.
    pub words: String,
}

/// How a broker is to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartOrder<'a> {
    pub configuration: Configuration<'a>,
    /// Where its files are, below the directory that it is given.
    pub storage: Storage,
    /// What it listens for, with certificates where that needs some.
    pub transport: Transport,
    pub certificates: Option<&'a Certificates>,
    /// A password file of its own: who shows a name must be in it.
    pub passwords: Option<&'a Path>,
    /// As `taskset` writes them.
    pub cores: &'a str,
    /// What it is told to use.
    pub threads: usize,
}

/// How a broker is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Configuration<'a> {
    /// As whoever installs it gets it.
    AsShipped,
    /// For the load, with one of its choices where it has some.
    ForLoad(Option<&'a Choice>),
}

impl Broker {
    /// One that has its script in `brokers/`; it is asked for its version.
    pub(crate) fn built_in(name: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("brokers").join(format!("{name}.sh"));
        let version = match Command::new(&script).arg("--version").stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => Ok(last_line(&output.stdout)),
            Ok(output) => Err(last_line(&output.stderr)),
            Err(error) => Err(format!("{}: {error}", script.display())),
        };
        let choices = Command::new(&script).arg("--choices").stdin(Stdio::null()).output();
        let choices = choices.map(|output| Choice::all(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default();
        let transports = Command::new(&script).arg("--transports").stdin(Stdio::null()).output();
        let transports = transports.map(|output| words(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default();
        let passwords = Command::new(&script).arg("--passwords").stdin(Stdio::null()).output();
        let has_passwords = passwords.is_ok_and(|output| output.status.success() && !output.stdout.is_empty());
        let told = Command::new(&script).arg("--storages").stdin(Stdio::null()).output();
        let storages = told.map(|output| storages(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default();
        let (name, environment) = (name.to_owned(), Vec::new());
        Self { name, script, environment, version, choices, transports, has_passwords, storages }
    }

    /// Whether it can be given users with passwords.
    pub(crate) const fn has_passwords(&self) -> bool {
        self.has_passwords
    }

    /// Makes a password file of its own from lines `NAME:PASSWORD`.
    pub(crate) fn make_passwords(&self, plain: &Path, file: &Path) -> Result<(), String> {
        let made = Command::new(&self.script).arg("--passwords").args([plain, file]).stdin(Stdio::null()).output();
        let made = made.map_err(|error| format!("{}: {error}", self.script.display()))?;
        if made.status.success() {
            return Ok(());
        }
        Err(format!("{}: no password file: {}", self.name, last_line(&made.stderr)))
    }

    /// Whether it can keep its files so.
    pub(crate) fn keeps(&self, storage: Storage) -> bool {
        self.storages.iter().any(|(word, _)| word == storage.word())
    }

    /// What a reader has to know of how it keeps them, if anything.
    pub(crate) fn how_it_keeps(&self, storage: Storage) -> Option<&str> {
        self.storages.iter().find(|(word, _)| word == storage.word())?.1.as_deref()
    }

    /// Whether clients can come to it by this.
    pub(crate) fn has(&self, transport: Transport) -> bool {
        transport == Transport::Tcp || self.transports.iter().any(|word| word == transport.word())
    }

    /// One that somebody adds: `name=path/to/start.sh`, called with `PORT` and `DATA_DIR` only; `@tls,ws,disk` behind it says what it can
    /// listen for beside TCP, and that it can keep messages on a disk.
    pub(crate) fn added(text: &str) -> Result<Self, String> {
        let Some((name, path)) = text.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty())
        else {
            return Err(format!("--broker {text}: write name=path/to/start.sh"));
        };
        let (path, transports) = path.rsplit_once('@').map_or((path, Vec::new()), |(path, list)| (path, words(list)));
        let script = std::fs::canonicalize(path).map_err(|error| format!("--broker {name}: {path}: {error}"))?;
        let version = Ok(format!("{name} by its own script"));
        let is_kept = |word: &&Storage| **word == Storage::Memory || transports.iter().any(|one| one == word.word());
        let storages = [Storage::Memory, Storage::Disk].iter().filter(is_kept);
        let storages = storages.map(|storage| (storage.word().to_owned(), None)).collect();
        let (name, environment, choices) = (name.to_owned(), Vec::new(), Vec::new());
        let has_passwords = false;
        Ok(Self { name, script, environment, version, choices, transports, has_passwords, storages })
    }

    /// The bare relay, which is none: `program` is its built benchmark.
    pub(crate) fn relay(program: &Path) -> Self {
        let environment = vec![("RELAY", program.to_path_buf())];
        Self { environment, version: Ok("bare relay".to_owned()), ..Self::built_in("relay") }
    }

    /// Starts it. Its files go to a new directory below `scratch` and are gone when it ends.
    pub(crate) fn start(&self, order: StartOrder<'_>, scratch: &Path) -> Result<Running, String> {
        let StartOrder { configuration, storage, transport, certificates, passwords, cores, threads } = order;
        self.version.clone()?;
        let io = |what: &str, error: std::io::Error| format!("{}: {what}: {error}", self.name);
        let port = free_port().map_err(|error| io("no free port", error))?;
        let dir = scratch.join(format!("{}-{port}", self.name));
        std::fs::create_dir_all(dir.join("data")).map_err(|error| io("its directory", error))?;
        let log = dir.join("output");
        let output = File::create(&log).map_err(|error| io("its output", error))?;
        let errors = output.try_clone().map_err(|error| io("its output", error))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "--cpu-list", cores])
            .arg(&self.script)
            .arg(port.to_string())
            .arg(dir.join("data"))
            .env("BENCH_THREADS", threads.to_string())
            .envs(configuration.environment())
            .env("BENCH_TRANSPORT", transport.word())
            .env("BENCH_STORAGE", storage.word())
            .envs(certificates.into_iter().flat_map(|certificates| certificates.of_server(transport)))
            .envs(passwords.map(|file| ("BENCH_PASSWORD_FILE", file)))
            .envs(self.environment.iter().map(|(name, path)| (name, path)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| io("setpriv (Debian package util-linux)", error))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut running = Running { child, address, dir, log };
        let greets = transport == Transport::Tcp && self.name != REDIS;
        running.await_ready(greets, START_LIMIT).map_err(|problem| format!("{}: {problem}", self.name))?;
        Ok(running)
    }
}

/// From what a start script prints: `disk`, or `disk: what it means`, a line each. One that says nothing has its files in memory.
fn storages(text: &str) -> Vec<(String, Option<String>)> {
    let of = |line: &str| match line.split_once(": ") {
        Some((word, means)) => (word.to_owned(), Some(means.to_owned())),
        None => (line.to_owned(), None),
    };
    let told: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(of).collect();
    if told.is_empty() { vec![(Storage::Memory.word().to_owned(), None)] } else { told }
}

/// What stands between blanks and commas.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| letter == ',' || letter.is_whitespace());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

impl Choice {
    /// From what a start script prints: `NAME: what it means`, a line each.
    fn all(text: &str) -> Vec<Self> {
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        lines.map(|(name, words)| Self { name: name.to_owned(), words: words.to_owned() }).collect()
    }
}

impl Configuration<'_> {
    /// What a start script is told of it.
    fn environment(&self) -> [(&'static str, &str); 2] {
        let (as_shipped, choice) = match self {
            Self::AsShipped => ("yes", ""),
            Self::ForLoad(choice) => ("no", choice.map_or("", |choice| choice.name.as_str())),
        };
        [("BENCH_AS_SHIPPED", as_shipped), ("BENCH_CHOICE", choice)]
    }
}

/// A broker that listens. Dropping it ends it and all that it started, and removes its files.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    dir: PathBuf,
    log: PathBuf,
}

impl Running {
    /// Its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is wrong, if it is no longer there.
    pub(crate) fn death(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let said = std::fs::read(&self.log).map(|bytes| last_line(&bytes)).unwrap_or_default();
        Some(if said.is_empty() { format!("it ended: {status}") } else { format!("it ended: {status}: {said}") })
    }

    /// Until it answers a CONNECT. Behind TLS or a WebSocket that is the load generator's to see: there it is enough that it listens.
    fn await_ready(&mut self, greets: bool, limit: Duration) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            if let Some(death) = self.death() {
                return Err(death);
            }
            if greets {
                if let Ok(answer) = greet(self.address) {
                    return answer;
                }
            } else if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if begin.elapsed() > limit {
                return Err(format!("nothing answered a CONNECT at {} within {limit:?}", self.address));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id() as i32);
        // What is gone already needs no signal.
        let _ = killpg(group, Signal::SIGTERM);
        let begin = Instant::now();
        while begin.elapsed() < STOP_LIMIT && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK_AGAIN);
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Says CONNECT. An error means: not there yet; the answer of one that is there may still be a refusal.
fn greet(address: SocketAddr) -> std::io::Result<Result<(), String>> {
    // MQTT 3.1.1, clean session, keep alive 60 s (rumqttd refuses to do without), client id "bench"; then DISCONNECT.
    const CONNECT: &[u8] = b"\x10\x11\0\x04MQTT\x04\x02\0\x3c\0\x05bench";
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(CONNECT)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    // What follows the answer concerns nobody.
    let _ = stream.write_all(&[0xe0, 0]);
    Ok(if answer == [0x20, 2, 0, 0] { Ok(()) } else { Err(format!("it refuses a CONNECT: {answer:02x?}")) })
}

/// One that nobody has now, below those that the system gives to clients: one of a cell before may still hold such a port. And below
/// those of tests of the broker, which may run beside this. Another program may take it before the broker does; the broker then says so.
/// Each broker has another one than those before it: some cannot listen where connections of another one have just ended.
fn free_port() -> std::io::Result<u16> {
    const PORTS: std::ops::Range<u32> = 12_000..20_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    let listener = (0..count).find_map(|_| {
        let turn = std::process::id().wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + turn % count).expect("below 20,000");
        TcpListener::bind(("127.0.0.1", port)).ok()
    });
    listener.ok_or_else(|| std::io::ErrorKind::AddrInUse.into()).and_then(|listener| Ok(listener.local_addr()?.port()))
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// For one core, over TCP.
    fn order(configuration: Configuration<'_>, threads: usize) -> StartOrder<'_> {
        let (storage, transport, passwords) = (Storage::Memory, Transport::Tcp, None);
        StartOrder { configuration, storage, transport, certificates: None, passwords, cores: "0", threads }
    }

    /// A start script that does what it is told, and a broker of it.
    fn scripted(name: &str, body: &str) -> (Broker, PathBuf) {
        let dir = std::env::temp_dir().join(format!("bench-harness-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let script = dir.join("start.sh");
        std::fs::write(&script, format!("#!/bin/sh\n{body}\n")).expect("a file");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        (Broker::added(&format!("{name}={}", script.display())).expect("a path"), dir)
    }

    #[test]
    fn every_broker_of_the_registry_has_a_script_that_tells_a_version_or_a_reason() {
        for name in BUILT_IN {
            let (Ok(words) | Err(words)) = Broker::built_in(name).version;
            let program = name.trim_end_matches("-debian").trim_end_matches("-memory");
            assert!(words.contains(program) || words.contains("installed"), "{name}: {words:?}");
        }
    }

    #[test]
    fn a_broker_that_fails_to_start_tells_its_last_words() {
        let (broker, dir) = scripted("fails", "echo first; echo 'no licence' >&2; exit 3");
        let problem = broker.start(order(Configuration::ForLoad(None), 1), &dir).expect_err("it fails");
        assert_eq!(problem, "fails: it ended: exit status: 3: no licence");
        std::fs::remove_dir_all(dir).expect("ours");
    }

    #[test]
    fn a_script_is_told_of_the_choice_that_is_meant_and_of_nothing_to_choose() {
        let (broker, dir) = scripted("told", "echo \"$BENCH_AS_SHIPPED/$BENCH_CHOICE/$BENCH_THREADS\"; exit 3");
        let choices = Choice::all("nagle: TCP_NODELAY off, as it ships\nnodelay: TCP_NODELAY on\n\n");
        assert_eq!(choices.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["nagle", "nodelay"]);
        assert_eq!(choices[0].words, "TCP_NODELAY off, as it ships");
        for (configuration, told) in [
            (Configuration::AsShipped, "yes//2"),
            (Configuration::ForLoad(None), "no//2"),
            (Configuration::ForLoad(Some(&choices[1])), "no/nodelay/2"),
        ] {
            let problem = broker.start(order(configuration, 2), &dir).expect_err("it fails");
            assert_eq!(problem, format!("told: it ended: exit status: 3: {told}"));
        }
        std::fs::remove_dir_all(dir).expect("ours");
    }

    #[test]
    fn brokers_are_told_what_to_listen_for_and_say_what_they_can() {
        let (mut broker, dir) =
            scripted("listens", "echo \"$BENCH_TRANSPORT ${BENCH_TLS_CERT##*/} ${BENCH_TLS_CA##*/}\"; exit 3");
        let certificates = Certificates::make(&dir.join("certificates")).expect("openssl is there");
        for (transport, told) in
            [(Transport::TlsRsa, "tls rsa.pem ca.pem"), (Transport::TlsMutual, "mutual server.pem ca.pem")]
        {
            let order =
                StartOrder { transport, certificates: Some(&certificates), ..order(Configuration::ForLoad(None), 1) };
            let problem = broker.start(order, &dir).expect_err("it fails");
            assert_eq!(problem, format!("listens: it ended: exit status: 3: {told}"));
        }
        assert!(broker.has(Transport::Tcp) && !broker.has(Transport::Tls));
        broker = Broker::added(&format!("x={}@tls,ws", dir.join("start.sh").display())).expect("a path");
        assert!(broker.has(Transport::TlsRsa) && broker.has(Transport::Ws) && !broker.has(Transport::TlsMutual));
        for transport in [Transport::Tls, Transport::TlsMutual, Transport::Ws, Transport::Wss] {
            for name in ["dunlin", "mosquitto", "mosquitto-debian", "nats"] {
                assert!(Broker::built_in(name).has(transport), "{name} {transport:?}");
            }
            assert!(!Broker::built_in("relay").has(transport));
        }
        std::fs::remove_dir_all(dir).expect("ours");
    }

    #[test]
    fn passwords_become_a_file_of_the_broker_s_own_that_nobody_else_reads() {
        let dir = std::env::temp_dir().join(format!("bench-harness-passwords-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let (plain, file) = (dir.join("plain"), dir.join("passwords"));
        std::fs::write(&plain, "ann:sesame\n").expect("a file");
        let broker = Broker::built_in("mosquitto-debian");
        assert!(broker.has_passwords() && Broker::built_in("dunlin").has_passwords());
        assert!(!Broker::built_in("aedes").has_passwords());
        broker.make_passwords(&plain, &file).expect("mosquitto_passwd is there");
        let text = std::fs::read_to_string(&file).expect("a file");
        assert!(text.starts_with("ann:$7$") && !text.contains("sesame"), "{text}");
        assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o077, 0);
        let problem = broker.make_passwords(&dir.join("nothing"), &file).expect_err("there is none");
        assert!(problem.starts_with("mosquitto-debian: no password file: "), "{problem}");
        std::fs::remove_dir_all(dir).expect("ours");
    }

    #[test]
    fn brokers_are_told_where_to_keep_messages_and_say_what_they_can() {
        let (broker, dir) = scripted("keeps", "echo \"$BENCH_STORAGE\"; exit 3");
        for (storage, told) in [(Storage::Memory, "memory"), (Storage::Disk, "disk")] {
            let order = StartOrder { storage, ..order(Configuration::ForLoad(None), 1) };
            let problem = broker.start(order, &dir).expect_err("it fails");
            assert_eq!(problem, format!("keeps: it ended: exit status: 3: {told}"));
        }
        assert!(broker.keeps(Storage::Memory) && !broker.keeps(Storage::Disk));
        let broker = Broker::added(&format!("x={}@disk", dir.join("start.sh").display())).expect("a path");
        assert!(broker.keeps(Storage::Memory) && broker.keeps(Storage::Disk));
        let kept = |name: &str| [Storage::Memory, Storage::Disk].map(|storage| Broker::built_in(name).keeps(storage));
        assert_eq!(["dunlin", "mosquitto-debian", "nats", "rabbitmq"].map(kept), [[true, true]; 4]);
        assert_eq!([IN_MEMORY, "redis"].map(kept), [[false, true]; 2]);
        assert_eq!(["rumqttd", "aedes"].map(kept), [[true, false]; 2]);
        let words = |name: &str| Broker::built_in(name).how_it_keeps(Storage::Disk).map(str::to_owned);
        assert!(words("mosquitto-debian").is_some_and(|words| words.starts_with("not synced")));
        assert_eq!(words("dunlin"), None);
        std::fs::remove_dir_all(dir).expect("ours");
    }

    #[test]
    fn the_brokers_that_ship_with_nagle_on_are_measured_without_it_as_well() {
        for name in BUILT_IN {
            let choices = Broker::built_in(name).choices;
            let expected: &[&str] = match name {
                "mosquitto" | "mosquitto-debian" | "flashmq" | "rmqttd" | "aedes" => &["nagle", "nodelay"],
                _ => &[],
            };
            assert_eq!(choices.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), expected, "{name}");
        }
    }

    #[test]
    fn a_broker_that_refuses_everybody_is_no_broker() {
        let answers = "import socket, sys\nlistener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
                       while True:\n    peer, _ = listener.accept()\n    peer.recv(64)\n    peer.sendall(b'\\x20\\x02\\0\\x05')";
        let (broker, dir) = scripted("refuses", &format!("exec python3 -c \"{answers}\" \"$1\""));
        let problem = broker.start(order(Configuration::ForLoad(None), 1), &dir).expect_err("it refuses");
        assert_eq!(problem, "refuses: it refuses a CONNECT: [20, 02, 00, 05]");
        std::fs::remove_dir_all(dir).expect("ours");
    }

    #[test]
    fn what_is_added_needs_a_name_and_a_script_that_is_there() {
        for text in ["", "x", "=start.sh", "x=", "x=/nowhere/start.sh"] {
            assert!(Broker::added(text).is_err(), "{text:?}");
        }
    }
}
