//! Settings that reload under connected clients, and signals that mean nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::broker::{Broker, Client};

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
    has("INFO  config_changed name=\"[listener] connect_timeout\" old=10s new=5s");
    has("INFO  config_reloaded changed=3 needs_start=1");
    assert!(told.iter().all(|line| !line.contains("client_disconnected")), "{told:#?}");
    // The new level holds: what is said at info is not said any more.
    let mut late = Client::connect(&broker, b'z');
    late.ping();
    let told = broker.reload("[session]\nmax_subscriptions = 3\n");
    assert!(told.iter().all(|line| !line.contains("client_connected")), "{told:#?}");
    Client::connect(&broker, b'y').ping();
    broker.lines_to("client_connected client=y");
}

/// Opened without care it would hold up this reload, and each one after it.
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_does_not_hold_up_the_next_reload() {
    let folder = std::env::temp_dir().join(format!("dunlin-reload-pipe-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder of our own");
    let rules = folder.join("acl");
    fs::write(&rules, "topic readwrite #\n").expect("it can be written");
    let settings = format!("[auth]\nacl_file = {rules:?}\n");
    let broker = Broker::start("pipe", &settings);
    broker.lines_to(" ready");
    fs::remove_file(&rules).expect("it is ours");
    assert!(Command::new("mkfifo").arg(&rules).status().expect("coreutils").success());
    let told = broker.reload(&settings);
    let is_refused = |line: &String| line.contains("config_reload_failed") && line.contains("it is no regular file");
    assert!(told.iter().any(is_refused), "{told:#?}");
    fs::remove_file(&rules).expect("it is ours");
    fs::write(&rules, "topic read #\n").expect("it can be written");
    let told = broker.reload(&settings);
    assert!(told.iter().any(|line| line.contains("config_reloaded")), "{told:#?}");
    fs::remove_dir_all(folder).expect("it is ours");
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

/// A lease on a file: whoever opens it waits for this test, as on a file system that hangs.
struct HeldFile {
    holder: Child,
    says: BufReader<ChildStdout>,
}

impl HeldFile {
    const HOLDER: &str = "import fcntl, os, signal, sys\n\
        fd = os.open(sys.argv[1], os.O_RDWR)\n\
        signal.signal(signal.SIGIO, lambda *_: print('asked for', flush=True))\n\
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
        print('held', flush=True)\n\
        sys.stdin.readline()\n";

    fn hold(path: &Path) -> Self {
        let mut holder = Command::new("python3")
            .args(["-c", Self::HOLDER])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/test installs it");
        let says = BufReader::new(holder.stdout.take().expect("it is piped"));
        let mut held = Self { holder, says };
        held.expect("held");
        held
    }

    /// The next line of its holder's.
    fn expect(&mut self, words: &str) {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("text");
        assert_eq!(line.trim_end(), words);
    }

    /// Whoever waits goes on.
    fn release(mut self) {
        drop(self.holder.stdin.take());
        assert!(self.holder.wait().expect("it is ours").success());
    }
}

#[test]
fn a_reload_that_hangs_holds_up_nothing_and_is_followed_by_one_more() {
    let broker = Broker::start("hangs", "[session]\nmax_subscriptions = 1\n");
    let path = broker.directory.join("dunlin.toml");
    broker.lines_to(" ready");
    broker.write("[session]\nmax_subscriptions = 2\n");
    let mut held = HeldFile::hold(&path);
    broker.signal("HUP");
    held.expect("asked for");
    for _ in 0..3 {
        broker.signal("HUP");
        broker.signal("USR2");
        let told = broker.lines_to("signal_ignored");
        assert!(told.iter().all(|line| !line.contains("config_reload")), "{told:#?}");
    }
    Client::connect(&broker, b'a').ping();
    // Another file in that place: the one that is held is read first.
    fs::rename(&path, broker.directory.join("aside")).expect("a new name");
    broker.write("[session]\nmax_subscriptions = 3\n");
    held.release();
    for change in ["old=1 new=2", "old=2 new=3"] {
        let told = broker.lines_to(" config_reloaded");
        assert!(told.iter().any(|line| line.contains(change)), "{change}: {told:#?}");
    }
}

#[test]
fn a_reload_that_hangs_does_not_keep_the_broker_from_stopping() {
    let mut broker = Broker::start("deaf", "[session]\nmax_subscriptions = 1\n");
    broker.lines_to(" ready");
    let mut held = HeldFile::hold(&broker.directory.join("dunlin.toml"));
    broker.signal("HUP");
    held.expect("asked for");
    broker.signal("TERM");
    broker.lines_to(" stopped");
    assert_eq!(broker.ended().code(), Some(0));
    held.release();
}

#[test]
fn a_second_signal_ends_a_broker_that_is_stopping() {
    let mut broker = Broker::start("twice", "[node]\nshutdown_timeout = \"10m\"\n");
    // It reads nothing of what it is sent, which a broker that stops would wait for.
    let mut deaf = Client::connect(&broker, b'd');
    assert_eq!(deaf.subscribe(b'x'), 0);
    let mut loud = Client::connect(&broker, b'l');
    let payload = vec![b'p'; 64 * 1024 - 1];
    for _ in 0..400 {
        // PUBLISH of QoS 0: a length of three bytes, then the topic.
        loud.send(&[0x30, 0x82, 0x80, 0x04, 0, 1, b'x']);
        loud.send(&payload);
    }
    loud.ping();
    broker.signal("TERM");
    broker.lines_to(" stopping");
    broker.signal("INT");
    let told = broker.lines_to(" fatal ");
    assert!(told[told.len() - 1].contains("SIGINT while stopping"), "{told:#?}");
    assert_eq!(broker.ended().signal(), Some(2));
}
