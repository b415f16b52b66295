//! Bridges to a Mosquitto that knows nothing of them: over TCP, TLS and WebSocket, told by `dunlin ctl`, changed by a reload.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::broker::Broker;
use crate::ports::Port;

/// Far above what anything here takes, for machines that are busy.
const LIMIT: Duration = Duration::from_secs(40);

/// A Mosquitto with a listener of each kind, and the files that it needs; gone with it.
struct Mosquitto {
    child: Child,
    directory: PathBuf,
    plain: Port,
    tls: Port,
    websocket: Port,
}

impl Mosquitto {
    fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-bridges-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        certificates(&directory);
        let (plain, tls, websocket) = (Port::claim(), Port::claim(), Port::claim());
        let folder = directory.display();
        let text = format!(
            "per_listener_settings true\nlistener {plain} 127.0.0.1\nallow_anonymous true\n\
             listener {tls} 127.0.0.1\nallow_anonymous true\ncafile {folder}/ca.pem\ncertfile {folder}/server.pem\n\
             keyfile {folder}/server.key\nrequire_certificate true\n\
             listener {websocket} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n"
        );
        let config = directory.join("mosquitto.conf");
        fs::write(&config, text).expect("a file");
        // Debian has it where no user's PATH leads.
        let program = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program, "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto runs");
        let started = Self { child, directory, plain, tls, websocket };
        for port in [&started.plain, &started.tls, &started.websocket] {
            let deadline = Instant::now() + LIMIT;
            while std::net::TcpStream::connect(port.address()).is_err() {
                assert!(Instant::now() < deadline, "mosquitto listens nowhere at {port}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        started
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// An authority, a server called localhost, and a client.
fn certificates(directory: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, "the authority");
    let key = || KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    fs::write(directory.join("ca.pem"), issuer.pem()).expect("a file");
    for name in ["server", "client"] {
        let own = key();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        // OpenSSL takes one that is called like its authority for the authority.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&own, &issuer).expect("a certificate");
        fs::write(directory.join(format!("{name}.pem")), certificate.pem()).expect("a file");
        fs::write(directory.join(format!("{name}.key")), own.serialize_pem()).expect("a file");
    }
}

pub(crate) fn port_of(address: &str) -> &str {
    address.rsplit(':').next().expect("a port")
}

pub(crate) fn publish(port: &str, topic: &str, text: &str) {
    let status = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", port, "-V", "5", "-q", "2", "-t", topic, "-m", text])
        .args(["-D", "publish", "content-type", "text/plain"])
        .status();
    assert!(status.expect("mosquitto_pub runs").success());
}

/// Somebody who is subscribed and waits for so many messages.
pub(crate) struct Heard {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Heard {
    pub(crate) fn listen(port: &str, filter: &str, count: usize) -> Self {
        // Its lines one by one (coreutils): what it says of itself waits in its memory otherwise.
        let mut child = Command::new("stdbuf")
            .args([
                "-oL",
                "mosquitto_sub",
                "-d",
                "-h",
                "127.0.0.1",
                "-p",
                port,
                "-q",
                "2",
                "-t",
                filter,
                "-F",
                "= %t %q %p",
            ])
            .args(["-C", &count.to_string(), "-W", "40"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let is_there = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("Subscribed"));
        assert!(is_there, "mosquitto_sub is not subscribed to {filter}");
        Self { child, lines }
    }

    /// Those that have come, sorted.
    pub(crate) fn all(mut self) -> Vec<String> {
        let lines = self.lines.by_ref().map_while(Result::ok);
        let mut heard: Vec<String> = lines.filter_map(|line| Some(line.strip_prefix("= ")?.to_owned())).collect();
        self.child.wait().expect("it ends");
        heard.sort();
        heard
    }
}

pub(crate) fn ctl(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["ctl", "--socket"])
        .arg(socket)
        .args(arguments)
        .output()
        .expect("it runs")
}

/// Until `dunlin ctl bridges` shows each of these as it is to be.
pub(crate) fn await_bridges(socket: &Path, wanted: &[(&str, &str)]) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let output = ctl(socket, &["bridges"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_so = |(name, status): &(&str, &str)| {
            text.lines().any(|line| line.split_whitespace().take(2).eq([*name, *status]))
        };
        if wanted.iter().all(is_so) && text.lines().count() == wanted.len() + 1 {
            return text;
        }
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(Instant::now() < deadline, "not {wanted:?}: {text}{told}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn mosquitto_is_reached_over_tcp_tls_and_websocket_and_a_reload_changes_what_there_is() {
    let there = Mosquitto::start("kinds");
    let folder = there.directory.display();
    let table = |name: &str, more: &str| {
        format!(
            "[[bridge]]\nname = \"{name}\"\nreconnect_max = \"1s\"\ntopics = [\"up/# out 2 \\\"\\\" {name}/\", \"down/{name}/# in 2\"]\n{more}\n"
        )
    };
    let tables = [
        table("five", &format!("address = \"127.0.0.1:{}\"", there.plain)),
        table("old", &format!("version = \"3.1.1\"\naddress = \"127.0.0.1:{}\"", there.plain)),
        table("oldest", &format!("version = \"3.1\"\naddress = \"127.0.0.1:{}\"", there.plain)),
        table(
            "tls",
            &format!(
                "address = \"mqtts://localhost:{}\"\ntls_ca = \"{folder}/ca.pem\"\ntls_cert = \"{folder}/client.pem\"\ntls_key = \"{folder}/client.key\"",
                there.tls
            ),
        ),
        table("ws", &format!("address = \"ws://127.0.0.1:{}/mqtt\"", there.websocket)),
    ];
    let socket = there.directory.join("admin.sock");
    let socket_text = socket.to_str().expect("UTF-8").to_owned();
    let flags = ["--storage", "memory", "--admin-port", "off", "--admin-socket", &socket_text];
    let here = Broker::start_with_flags("bridges", &tables.concat(), &[], &flags);
    let all = ["five", "old", "oldest", "tls", "ws"];
    await_bridges(&socket, &all.map(|name| (name, "connected")));
    let (port, plain) = (port_of(&here.addresses[0]), there.plain.to_string());
    let (of_there, of_here) = (Heard::listen(&plain, "+/up/#", all.len()), Heard::listen(port, "down/#", all.len()));
    publish(port, "up/a", "out");
    for name in all {
        publish(&plain, &format!("down/{name}/x"), "in");
    }
    assert_eq!(of_there.all(), all.map(|name| format!("{name}/up/a 2 out")));
    assert_eq!(of_here.all(), all.map(|name| format!("down/{name}/x 2 in")));
    // One goes, one is another, the others stay as they are.
    let changed = table("ws", &format!("address = \"127.0.0.1:{}\"", there.plain));
    here.write(&[&tables[0], &tables[1], &tables[3], &changed].map(String::as_str).concat());
    here.signal("HUP");
    // What has gone leaves its session, and the log says how to end it.
    let lines = here.lines_to(" connector_session_stays ");
    let command = "dunlin ctl kick --end-session '$bridge/oldest'";
    assert!(lines[lines.len() - 1].contains(command), "{lines:?}");
    let document = include_str!("../../docs/BRIDGES.md");
    assert!(document.contains(&format!("```sh\n{}\n```\n", command.replace("oldest", "NAME"))), "the document has it");
    assert!(ctl(&socket, &["kick", "--end-session", "$bridge/oldest"]).status.success());
    assert!(!ctl(&socket, &["client", "$bridge/oldest"]).status.success());
    let text = await_bridges(&socket, &["five", "old", "tls", "ws"].map(|name| (name, "connected")));
    let connects_of = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect("it is there");
        line.split_whitespace().nth(6).map(str::to_owned)
    };
    assert_eq!(connects_of("five").as_deref(), Some("1"), "{text}");
    assert_eq!(connects_of("ws").as_deref(), Some("2"), "{text}");
    assert!(ctl(&socket, &["stop-bridge", "five"]).status.success());
    await_bridges(&socket, &[("five", "stopped"), ("old", "connected"), ("tls", "connected"), ("ws", "connected")]);
    assert!(ctl(&socket, &["start-bridge", "five"]).status.success());
    await_bridges(&socket, &["five", "old", "tls", "ws"].map(|name| (name, "connected")));
    assert!(!ctl(&socket, &["stop-bridge", "nobody"]).status.success());
}
