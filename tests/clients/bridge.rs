//! A Mosquitto broker whose bridge connects to the broker under test, with Mosquitto's commands on either side.
//!
//! What must hold with every version that the bridge speaks: a message shows once on each side, RETAIN is carried over, and
//! the bridge's notifications are read where it connects to.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use crate::mosquitto::{Subscriber, publish_at};
use crate::ports::Port;
use crate::stage::{Stage, WAIT};
use crate::words::Version;

/// A running Mosquitto with a bridge.
struct Edge {
    child: Child,
    addr: SocketAddr,
    _port: Port,
    /// The bridge's client id at the broker under test, and the name in its notifications.
    name: String,
    lines: mpsc::Receiver<String>,
    config: PathBuf,
}

impl Edge {
    /// Starts it and waits until its bridge has subscribed.
    #[track_caller]
    fn start(stage: &Stage, notifications: bool) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let port = Port::claim();
        let addr = port.address();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = stage.id(if notifications { "told" } else { "mute" });
        let config = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{number}.conf"));
        let version = match stage.version() {
            Version::V31 => "mqttv31",
            Version::V311 => "mqttv311",
            Version::V5 => "mqttv50",
        };
        let trusted = stage.ca().map(|ca| format!("bridge_cafile {ca}\n")).unwrap_or_default();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\nlog_type all\n\
             connection edge\naddress {remote}\ntopic {filter} both 1\nbridge_protocol_version {version}\n\
             remote_clientid {name}\nnotifications {notifications}\nrestart_timeout 1\n{trusted}",
            port = addr.port(),
            remote = stage.addr(),
            filter = stage.topic("a/#"),
        );
        std::fs::write(&config, &text).expect("the target directory is writable");
        stage.transcript().add("edge", ">", &text.replace('\n', "; "));
        // Debian has it where no user's PATH leads.
        let program =
            if std::path::Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program, "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto runs");
        let (sender, lines) = mpsc::channel();
        let (output, transcript) = (child.stderr.take().expect("stderr is piped"), Arc::clone(stage.transcript()));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                transcript.add("edge", "<", &line);
                let _ = sender.send(line);
            }
        });
        let edge = Self { child, addr, _port: port, name, lines, config };
        edge.line("SUBACK for the bridge", |line| line.contains("Received SUBACK"));
        edge
    }

    #[track_caller]
    fn line(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return,
                Ok(_) => {}
                Err(error) => panic!("mosquitto: no {what} in {WAIT:?}: {error}"),
            }
        }
    }

    fn state_topic(&self) -> String {
        format!("$SYS/broker/connection/{}/state", self.name)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

/// `topic a/# both 1` in both directions, with and without notifications.
pub(crate) fn each_side_shows_a_message_once_and_retain_is_carried_over(stage: &Stage) {
    for notifications in [true, false] {
        let edge = Edge::start(stage, notifications);
        let (remote, local) = (stage.addr(), edge.addr);
        let filter = stage.topic("a/#");
        let arguments = ["-t", filter.as_str(), "-q", "1"];
        let mut sides = [(remote, "remote"), (local, "local")]
            .map(|(addr, name)| (addr, Subscriber::start_at(stage, addr, name, &arguments)));

        // What goes round in a circle would be here before the marker that follows it, on either side.
        for (origin, label) in [(remote, "down"), (local, "up")] {
            for (retain, kind) in [(false, "live"), (true, "kept")] {
                let topic = stage.topic(&format!("a/{label}/{kind}"));
                let flags: &[&str] = if retain { &["-r"] } else { &[] };
                publish_at(stage, origin, &[&["-t", topic.as_str(), "-q", "1", "-m", kind][..], flags].concat());
                for (_, subscriber) in &mut sides {
                    assert_eq!(subscriber.message(), format!("1 0 {topic} {kind}"), "notifications {notifications}");
                }
            }
        }
        for (origin, label) in [(local, "end/up"), (remote, "end/down")] {
            let topic = stage.topic(&format!("a/{label}"));
            publish_at(stage, origin, &["-t", &topic, "-q", "1", "-m", "end"]);
            for (_, subscriber) in &mut sides {
                assert_eq!(subscriber.message(), format!("1 0 {topic} end"), "notifications {notifications}");
            }
        }
        // Both brokers have both retained messages, and an empty one clears them on both.
        for (origin, label) in [(remote, "down"), (local, "up")] {
            let topic = stage.topic(&format!("a/{label}/kept"));
            for (at, _) in &sides {
                expect_retained(stage, *at, &topic, "kept");
            }
            publish_at(stage, origin, &["-t", &topic, "-q", "1", "-r", "-n"]);
            for (_, subscriber) in &mut sides {
                assert_eq!(subscriber.message().trim_end(), format!("1 0 {topic}"));
            }
            let late = [remote, local].map(|at| Subscriber::start_at(stage, at, "late", &["-t", &topic, "-q", "1"]));
            publish_at(stage, origin, &["-t", &topic, "-q", "1", "-m", "live"]);
            for mut subscriber in late {
                assert_eq!(subscriber.message(), format!("1 0 {topic} live"));
            }
            for (_, subscriber) in &mut sides {
                assert_eq!(subscriber.message(), format!("1 0 {topic} live"));
            }
        }
    }
}

/// A new subscriber is shown the message as a retained one. The copies of a broker may take a moment to agree.
#[track_caller]
fn expect_retained(stage: &Stage, at: SocketAddr, topic: &str, payload: &str) {
    let deadline = Instant::now() + WAIT;
    loop {
        let mut late = Subscriber::start_at(stage, at, "late", &["-t", topic, "-q", "1"]);
        let shown = late.message();
        if shown == format!("1 1 {topic} {payload}") {
            return;
        }
        assert!(Instant::now() < deadline, "{shown} at {at}, and never retained");
    }
}

/// Whoever watches the broker sees which bridges are connected: 1 while it is, 0 when it has gone, both retained.
pub(crate) fn the_state_of_a_bridge_can_be_read(stage: &Stage) {
    let edge = Edge::start(stage, true);
    let topic = edge.state_topic();
    expect_retained(stage, stage.addr(), &topic, "1");
    let mut watcher = Subscriber::start(stage, "watcher", &["-t", "$SYS/broker/connection/+/state", "-q", "1"]);
    assert_eq!(watcher.message(), format!("1 1 {topic} 1"));
    drop(edge);
    assert_eq!(watcher.message(), format!("1 0 {topic} 0"));
    expect_retained(stage, stage.addr(), &topic, "0");
}
