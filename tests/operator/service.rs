//! What the service manager is told (`sd_notify(3)`), by a socket like its own.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// A broker that has a service manager; killed and removed at its end.
struct Service {
    child: Child,
    directory: PathBuf,
    socket: UnixDatagram,
}

impl Service {
    /// With a socket at a path, as systemd has it.
    fn start(name: &str, watchdog: Duration) -> Self {
        Self::start_told(name, watchdog, |directory| {
            let path = directory.join("notify");
            (UnixDatagram::bind(&path).expect("a socket"), path.into())
        })
    }

    /// `listen` makes the socket, and says what the broker is told of it.
    fn start_told(name: &str, watchdog: Duration, listen: impl Fn(&Path) -> (UnixDatagram, OsString)) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-service-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory");
        let (socket, told) = listen(&directory);
        socket.set_read_timeout(Some(LIMIT)).expect("a limit");
        fs::write(directory.join("dunlin.toml"), "[listener]\nport = 0\n").expect("a file");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_dunlin"), "-c", "dunlin.toml"]);
        command.args([
            "--shards",
            "2",
            "--no-pin",
            "--admin-port",
            "off",
            "--segment-size",
            "2MiB",
            "--data-dir",
            "data",
        ]);
        command.env("NOTIFY_SOCKET", &told).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        command.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().expect("setpriv runs");
        Self { child, directory, socket }
    }

    /// The next message, one assignment a line.
    fn told(&self) -> String {
        let mut bytes = [0; 4_096];
        let length = self.socket.recv(&mut bytes).expect("it tells something");
        String::from_utf8(bytes[..length].to_vec()).expect("text")
    }

    /// All up to one that has this line, which is the last.
    fn told_to(&self, line: &str) -> Vec<String> {
        let begun = Instant::now();
        let mut all = Vec::new();
        while begun.elapsed() < LIMIT {
            all.push(self.told());
            if all[all.len() - 1].lines().any(|found| found == line) {
                return all;
            }
        }
        panic!("no {line}: {all:?}");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn the_service_manager_is_told_of_the_start_of_reloads_and_of_the_end() {
    let mut service = Service::start("life", Duration::from_millis(1_500));
    let start = service.told_to("READY=1");
    let (ready, before) = start.split_last().expect("there is one");
    let has = |words: &str| before.iter().any(|told| told.contains(words));
    assert!(has("STATUS=Reading the data directory back: ") && has("EXTEND_TIMEOUT_USEC="), "{start:?}");
    assert!(has("STATUS=Restoring sessions: 2 of 2 shards"), "{start:?}");
    assert!(ready.contains("STATUS=Clients can connect"), "{ready}");
    // Fed by answers of the shards, which say what the status line has.
    let fed = service.told_to("WATCHDOG=1").pop().expect("it is the last");
    assert!(fed.contains("STATUS=0 clients, 0 messages a second in and "), "{fed}");
    for toml in ["[listener]\nport = 0\n[log]\nlevel = \"warn\"\n", "broken"] {
        fs::write(service.directory.join("dunlin.toml"), toml).expect("a file");
        service.signal("HUP");
        let reloading = service.told_to("RELOADING=1").pop().expect("it is the last");
        let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).expect("a time");
        assert!(since.parse::<u64>().is_ok_and(|since| since > 0), "{reloading}");
        service.told_to("READY=1");
    }
    service.signal("TERM");
    service.told_to("STOPPING=1");
    let mut log = String::new();
    service.child.stderr.take().expect("it is piped").read_to_string(&mut log).expect("text");
    assert!(service.child.wait().expect("a child of ours").success(), "{log}");
}

#[test]
fn a_manager_with_an_abstract_name_is_told_as_well() {
    let service = Service::start_told("abstract", Duration::from_secs(60), |_| {
        let name = format!("dunlin-service-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        (UnixDatagram::bind_addr(&address).expect("a socket"), format!("@{name}").into())
    });
    let start = service.told_to("READY=1");
    assert!(start.iter().any(|told| told.contains("STATUS=Clients can connect")), "{start:?}");
}

#[test]
fn a_manager_that_cannot_be_reached_is_a_line_of_the_log_once() {
    let mut service = Service::start_told("gone", Duration::from_millis(300), |directory| {
        (UnixDatagram::unbound().expect("a socket"), directory.join("nobody").into())
    });
    let mut log = BufReader::new(service.child.stderr.take().expect("it is piped"));
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains(" ready ")) {
        let mut line = String::new();
        assert!(log.read_line(&mut line).expect("text") > 0, "{lines:?}");
        lines.push(line);
    }
    service.signal("TERM");
    lines.extend(log.lines().map(|line| line.expect("text")));
    let told: Vec<&String> = lines.iter().filter(|line| line.contains("service_manager_unreachable")).collect();
    assert!(told.len() == 1 && told[0].contains("WARN") && told[0].contains("/nobody"), "{lines:?}");
}

#[test]
fn a_process_that_stands_still_starves_the_watchdog() {
    let service = Service::start("still", Duration::from_millis(1_500));
    service.told_to("READY=1");
    service.told_to("WATCHDOG=1");
    service.signal("STOP");
    // What was sent before it stood still.
    service.socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a limit");
    while service.socket.recv(&mut [0; 4_096]).is_ok() {}
    assert!(service.socket.recv(&mut [0; 4_096]).is_err(), "nobody feeds it");
    service.signal("CONT");
    service.socket.set_read_timeout(Some(LIMIT)).expect("a limit");
    service.told_to("WATCHDOG=1");
}

#[test]
fn lines_for_the_journal_have_priorities_and_others_a_time() {
    let run = |stream: Option<&str>| {
        let mut command = Command::new("bash");
        // The journal's stream is a socket; its name is that of the device and the inode.
        let script = "exec 2> >(cat >&1)\nif [ \"$1\" = yes ]; then JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr); else JOURNAL_STREAM=1:1; fi\n\
                      export JOURNAL_STREAM\nexec \"$0\" --port 0 --shards 1 --storage memory --admin-port off --bind 192.0.2.1\n";
        command.args(["-c", script, env!("CARGO_BIN_EXE_dunlin"), stream.unwrap_or("no")]);
        let output = command.stdin(Stdio::null()).output().expect("bash runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let journal = run(Some("yes"));
    assert!(journal.contains("<6>INFO  starting version="), "{journal}");
    assert!(journal.lines().any(|line| line.starts_with("<3>ERROR fatal")), "{journal}");
    let plain = run(None);
    assert!(plain.contains("Z INFO  starting version=") && !plain.contains("<6>"), "{plain}");
}
