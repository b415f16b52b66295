//! The built binary and its signals: settings that reload under connected clients, and signals that mean nothing.

#![cfg(feature = "runtime")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// Far above what anything here takes, for machines that are busy.
const LIMIT: Duration = Duration::from_secs(30);

/// A broker with a file of its own; killed and removed at its end.
struct Broker {
    child: Child,
    directory: PathBuf,
    address: String,
    log: mpsc::Receiver<String>,
}

impl Broker {
    fn start(name: &str, file: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-reload-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let path = directory.join("dunlin.toml");
        fs::write(&path, file).expect("a file");
        // `setpriv` (util-linux) ends the broker with its parent, whatever becomes of that.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_dunlin"), "-c"])
            .arg(&path)
            .args(["--port", "0", "--shards", "2", "--no-pin"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv runs");
        let mut first = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut first).expect("a line");
        let address = first.split("listening on ").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.unwrap_or_else(|| panic!("not listening: {first:?}")).to_owned();
        let (lines, log) = mpsc::channel();
        let stderr = child.stderr.take().expect("stderr is piped");
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        Self { child, directory, address, log }
    }

    fn write(&self, file: &str) {
        fs::write(self.directory.join("dunlin.toml"), file).expect("a file");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Lines of the log up to one with this event, which is the last.
    fn lines_to(&self, event: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.log.recv_timeout(LIMIT).unwrap_or_else(|error| panic!("no {event}: {error}: {lines:?}"));
            lines.push(line);
            if lines[lines.len() - 1].contains(event) {
                return lines;
            }
        }
    }

    fn reload(&self, file: &str) -> Vec<String> {
        self.write(file);
        self.signal("HUP");
        self.lines_to(" config_reload")
    }

    fn descriptors(&self) -> usize {
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
struct Client(TcpStream);

impl Client {
    fn connect(broker: &Broker, id: u8) -> Self {
        let stream = TcpStream::connect(&broker.address).expect("the broker listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut client = Self(stream);
        client.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, id]);
        assert_eq!(client.receive::<4>(), [0x20, 2, 0, 0]);
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the connection is open");
    }

    fn receive<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).expect("the connection is open");
        bytes
    }

    /// The code that a subscription to a one-letter filter gets.
    fn subscribe(&mut self, filter: u8) -> u8 {
        self.send(&[0x82, 6, 0, 1, 0, 1, filter, 0]);
        let [kind, _, _, _, code] = self.receive();
        assert_eq!(kind, 0x90);
        code
    }

    fn ping(&mut self) {
        self.send(&[0xc0, 0]);
        assert_eq!(self.receive::<2>(), [0xd0, 0]);
    }
}

const REFUSED: u8 = 0x80;

#[test]
fn a_changed_limit_takes_effect_on_every_shard_and_nobody_is_disconnected() {
    let broker = Broker::start("limit", "[session]\nmax_subscriptions = 2\n");
    // Their ids put some of them on each shard.
    let mut clients: Vec<Client> = (b'a'..b'i').map(|id| Client::connect(&broker, id)).collect();
    for client in &mut clients {
        assert_eq!((client.subscribe(b'x'), client.subscribe(b'y'), client.subscribe(b'z')), (0, 0, REFUSED));
    }
    broker.lines_to(" ready");
    let told = broker.reload(
        "[session]\nmax_subscriptions = 3\n[mqtt]\nmax_packet_size = \"64KiB\"\n[log]\nlevel = \"warn\"\n\
         [listener]\nconnect_timeout = 5\n",
    );
    for client in &mut clients {
        assert_eq!((client.subscribe(b'z'), client.subscribe(b'w')), (0, REFUSED));
        client.ping();
    }
    let has = |words: &str| assert!(told.iter().any(|line| line.contains(words)), "{words}: {told:#?}");
    has("INFO  config_changed name=\"[session] max_subscriptions\" old=2 new=3");
    has("INFO  config_changed name=\"[log] level\" old=info new=warn");
    has("WARN  config_needs_start name=\"[mqtt] max_packet_size\" old=1MiB new=64KiB");
    has("WARN  config_needs_start name=\"[listener] connect_timeout\" old=10s new=5s");
    has("INFO  config_reloaded changed=2 needs_start=2");
    assert!(told.iter().all(|line| !line.contains("client_disconnected")), "{told:#?}");
    // The new level holds: what is said at info is not said any more.
    let mut late = Client::connect(&broker, b'z');
    late.ping();
    let told = broker.reload("[session]\nmax_subscriptions = 3\n");
    assert!(told.iter().all(|line| !line.contains("client_connected")), "{told:#?}");
    Client::connect(&broker, b'y').ping();
    broker.lines_to("client_connected client=y");
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_in_one_line() {
    let broker = Broker::start("broken", "[session]\nmax_subscriptions = 2\n");
    let mut client = Client::connect(&broker, b'a');
    assert_eq!((client.subscribe(b'x'), client.subscribe(b'y')), (0, 0));
    broker.lines_to(" ready");
    for (file, wrong) in [
        ("[session]\nmax_subscriptions = 3\nmax_inflight = 0\n", "dunlin.toml:3: unknown key"),
        (
            "[session]\nmax_subscriptions = 3\n[mqtt]\nmax_inflight = 0\n",
            "dunlin.toml:4: [mqtt] max_inflight: 0 is out",
        ),
        ("[session\n", "dunlin.toml:1: this is not TOML"),
        ("", "holds no setting"),
    ] {
        let told = broker.reload(file);
        let failed: Vec<_> = told.iter().filter(|line| line.contains("config_reload_failed")).collect();
        assert_eq!(failed.len(), 1, "{told:#?}");
        assert!(failed[0].contains(wrong) && failed[0].contains("the settings stay as they were"), "{failed:?}");
        assert!(told.iter().all(|line| !line.contains("config_changed")), "{told:#?}");
        assert_eq!(client.subscribe(b'z'), REFUSED);
    }
    fs::remove_file(broker.directory.join("dunlin.toml")).expect("it is there");
    broker.signal("HUP");
    let told = broker.lines_to(" config_reload");
    assert!(told[told.len() - 1].contains("cannot be read"), "{told:#?}");
    broker.reload("[session]\nmax_subscriptions = 3\n");
    assert_eq!(client.subscribe(b'z'), 0);
}

#[test]
fn a_hundred_reloads_leave_no_descriptor_behind() {
    let broker = Broker::start("hundred", "[session]\nmax_subscriptions = 1\n");
    let mut client = Client::connect(&broker, b'a');
    broker.lines_to(" ready");
    let files = ["[session]\nmax_subscriptions = 2\n", "[session]\nmax_subscriptions = 1\n", "broken\n"];
    broker.reload(files[0]);
    let before = broker.descriptors();
    for number in 1..=100 {
        broker.reload(files[number % files.len()]);
    }
    assert_eq!(broker.descriptors(), before);
    client.ping();
}

#[test]
fn a_signal_that_means_nothing_ends_nothing() {
    let broker = Broker::start("signal", "[node]\npin = false\n");
    let mut client = Client::connect(&broker, b'a');
    broker.signal("USR2");
    broker.lines_to("signal_ignored signal=SIGUSR2");
    client.ping();
    broker.signal("TERM");
    broker.lines_to(" stopped");
}
