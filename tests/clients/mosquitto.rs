//! Mosquitto's commands as a user would type them: `mosquitto_pub`, `mosquitto_sub`, `mosquitto_rr`.
//!
//! A subscriber runs with `-d`, so that its SUBACK shows, and prints each message as `message QOS RETAIN TOPIC PAYLOAD`
//! where the scenario asks for nothing else. Whatever a command prints is in the transcript.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::stage::{Stage, Transcript, WAIT};
use crate::support::is_dunlin;
use crate::words::Version;

/// How a subscriber prints a message unless told otherwise.
const FORMAT: &str = "message %q %r %t %p";
/// Lines of a run that must keep its order.
const BURST_LINES: usize = 200;
/// Messages for a shared subscription of two members, and what each must get at least.
const SHARED_MESSAGES: usize = 60;
const SHARED_LEAST: usize = 10;

/// A running `mosquitto_sub`.
pub(crate) struct Subscriber {
    name: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    unread: VecDeque<String>,
}

impl Subscriber {
    /// Starts it and waits until it is subscribed.
    #[track_caller]
    pub(crate) fn start(stage: &Stage, name: &str, arguments: &[&str]) -> Self {
        Self::start_at(stage, stage.addr(), name, arguments)
    }

    /// The same at another broker than the stage's.
    #[track_caller]
    pub(crate) fn start_at(stage: &Stage, addr: SocketAddr, name: &str, arguments: &[&str]) -> Self {
        let mut child = command(stage, addr, "mosquitto_sub")
            .args(["-d", "-F", FORMAT])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub runs");
        stage.transcript().add(name, ">", &format!("mosquitto_sub {}", arguments.join(" ")));
        let (sender, lines) = mpsc::channel();
        read(child.stdout.take().expect("stdout is piped"), name, stage.transcript(), sender.clone());
        read(child.stderr.take().expect("stderr is piped"), name, stage.transcript(), sender);
        let mut subscriber = Self { name: name.to_owned(), child, lines, unread: VecDeque::new() };
        subscriber.line("SUBACK", |line| line.starts_with("Subscribed "));
        subscriber
    }

    /// The next line of a kind; others before it stay for later.
    #[track_caller]
    fn line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let found = self.line_within(&wanted, WAIT);
        found.unwrap_or_else(|| panic!("{}: no {what} in {WAIT:?}", self.name))
    }

    fn line_within(&mut self, wanted: &impl Fn(&str) -> bool, limit: Duration) -> Option<String> {
        if let Some(at) = self.unread.iter().position(|line| wanted(line)) {
            return self.unread.remove(at);
        }
        let deadline = Instant::now() + limit;
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
            if wanted(&line) {
                return Some(line);
            }
            self.unread.push_back(line);
        }
    }

    /// The next message, as printed behind `message `.
    #[track_caller]
    pub(crate) fn message(&mut self) -> String {
        self.line("message", |line| line.starts_with("message "))["message ".len()..].to_owned()
    }

    /// Ends it as a user does, so that it says DISCONNECT.
    #[track_caller]
    fn interrupt(mut self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "kill -INT: {status}");
        let deadline = Instant::now() + WAIT;
        while self.child.try_wait().expect("the child can be asked").is_none() {
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(
    output: impl std::io::Read + Send + 'static,
    name: &str,
    transcript: &Arc<Transcript>,
    lines: mpsc::Sender<String>,
) {
    let (name, transcript) = (name.to_owned(), Arc::clone(transcript));
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            transcript.add(&name, "<", &line);
            let _ = lines.send(line);
        }
    });
}

/// One of the commands with where to connect and which version to speak.
fn command(stage: &Stage, addr: SocketAddr, program: &str) -> Command {
    let version = match stage.version() {
        Version::V31 => "mqttv31",
        Version::V311 => "mqttv311",
        Version::V5 => "mqttv5",
    };
    let mut command = Command::new("setpriv");
    // Their output is buffered by the block where it goes to a pipe, and a SUBACK would be seen too late.
    command.args(["--pdeathsig", "KILL", "stdbuf", "-oL", program, "-V", version]);
    match stage.socket() {
        Some(path) => command.args(["--unix", path]),
        None => command.args(["-h", &addr.ip().to_string(), "-p", &addr.port().to_string()]),
    };
    if let Some(ca) = stage.ca()
        && addr == stage.addr()
    {
        command.args(["--cafile", &ca]);
    }
    command
}

/// Runs a command to its end, which must come in time and be a good one.
#[track_caller]
fn run(stage: &Stage, program: &str, arguments: &[&str], input: &[u8]) -> Output {
    run_at(stage, stage.addr(), program, arguments, input)
}

/// The same at another broker than the stage's.
#[track_caller]
fn run_at(stage: &Stage, addr: SocketAddr, program: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(stage, addr, program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let name = program.trim_start_matches("mosquitto_");
    stage.transcript().add(name, ">", &format!("{program} {}", arguments.join(" ")));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    std::thread::spawn(move || stdin.write_all(&input));
    let pid = child.id().to_string();
    let (done, output) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = output.recv_timeout(WAIT) else {
        let _ = Command::new("kill").args(["-KILL", &pid]).status();
        panic!("{program} {arguments:?} does not end in {WAIT:?}");
    };
    let output = output.expect("its output can be read");
    for text in [&output.stdout, &output.stderr] {
        String::from_utf8_lossy(text).lines().for_each(|line| stage.transcript().add(name, "<", line));
    }
    assert!(output.status.success(), "{program} {arguments:?}: {}", output.status);
    output
}

#[track_caller]
fn publish(stage: &Stage, arguments: &[&str]) {
    run(stage, "mosquitto_pub", arguments, b"");
}

/// Publishes at another broker than the stage's.
#[track_caller]
pub(crate) fn publish_at(stage: &Stage, addr: SocketAddr, arguments: &[&str]) {
    run_at(stage, addr, "mosquitto_pub", arguments, b"");
}

/// QoS 0, 1 and 2 in each combination of publisher and subscriber: delivered once, with the lower of the two.
pub(crate) fn every_qos_both_ways(stage: &Stage) {
    for granted in 0..=2 {
        let filter = stage.topic(&format!("{granted}/#"));
        let mut subscriber = Subscriber::start(stage, "sub", &["-t", &filter, "-q", &granted.to_string()]);
        for sent in 0..=2 {
            let topic = stage.topic(&format!("{granted}/{sent}"));
            publish(stage, &["-t", &topic, "-q", &sent.to_string(), "-m", "a message"]);
            assert_eq!(subscriber.message(), format!("{} 0 {topic} a message", granted.min(sent)));
        }
    }
}

/// Lines from standard input arrive once and in their order.
pub(crate) fn lines_keep_their_order(stage: &Stage) {
    for qos in ["0", "1", "2"] {
        if qos == "2" && stage.version() == Version::V5 && !is_dunlin() {
            // Mosquitto 2.0.11 sends one message of QoS 2 more than its own client's receive maximum allows.
            continue;
        }
        let topic = stage.topic(&format!("lines/{qos}"));
        let mut subscriber = Subscriber::start(stage, "sub", &["-t", &topic, "-q", qos]);
        let lines: String = (0..BURST_LINES).flat_map(|n| [n.to_string(), "\n".to_owned()]).collect();
        run(stage, "mosquitto_pub", &["-t", &topic, "-q", qos, "-l"], lines.as_bytes());
        for n in 0..BURST_LINES {
            assert_eq!(subscriber.message(), format!("{qos} 0 {topic} {n}"));
        }
        publish(stage, &["-t", &topic, "-q", qos, "-m", "end"]);
        assert_eq!(subscriber.message(), format!("{qos} 0 {topic} end"));
    }
}

/// A file of any bytes comes out as it went in.
pub(crate) fn a_file_arrives_whole(stage: &Stage) {
    let topic = stage.topic("file");
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    run(stage, "mosquitto_pub", &["-t", &topic, "-q", "1", "-r", "-s"], &bytes);
    let output = run(stage, "mosquitto_sub", &["-t", &topic, "-q", "1", "-C", "1", "-N"], b"");
    assert!(output.stdout == bytes, "{} bytes of {} came, or others", output.stdout.len(), bytes.len());
}

/// Retained: set, replaced, filtered by the client, and cleared.
pub(crate) fn retained_is_set_replaced_and_cleared(stage: &Stage) {
    let topic = stage.topic("state");
    let mut present = Subscriber::start(stage, "early", &["-t", &topic, "-q", "1"]);
    for text in ["first", "second"] {
        publish(stage, &["-t", &topic, "-q", "1", "-r", "-m", text]);
        assert_eq!(present.message(), format!("1 0 {topic} {text}"));
    }
    let mut late = Subscriber::start(stage, "late", &["-t", &topic, "-q", "1"]);
    assert_eq!(late.message(), format!("1 1 {topic} second"));
    let only = run(stage, "mosquitto_sub", &["-t", &topic, "--retained-only", "-C", "1", "-F", "%r %p"], b"");
    assert_eq!(String::from_utf8_lossy(&only.stdout).trim(), "1 second");

    publish(stage, &["-t", &topic, "-q", "1", "-r", "-n"]);
    let mut after = Subscriber::start(stage, "after", &["-t", &topic, "-q", "1"]);
    publish(stage, &["-t", &topic, "-q", "1", "-m", "live"]);
    assert_eq!(after.message(), format!("1 0 {topic} live"));
}

/// The will is published when the client is killed. One that is interrupted says goodbye: with MQTT 5.0 it asks for its will
/// to be published all the same (reason 0x04), before that it has no such word and the will is dropped.
pub(crate) fn the_will_of_a_killed_client_is_published(stage: &Stage) {
    let topic = stage.topic("will");
    let mut subscriber = Subscriber::start(stage, "sub", &["-t", &topic, "-q", "1"]);
    let elsewhere = stage.topic("elsewhere");
    let with_will = |payload: &str| {
        let will = ["--will-topic", &topic, "--will-qos", "1", "--will-payload", payload];
        Subscriber::start(stage, payload, &[&["-t", elsewhere.as_str()][..], &will].concat())
    };
    with_will("polite").interrupt();
    if stage.version() == Version::V5 {
        assert_eq!(subscriber.message(), format!("1 0 {topic} polite"));
    }
    drop(with_will("killed"));
    assert_eq!(subscriber.message(), format!("1 0 {topic} killed"));
    publish(stage, &["-t", &topic, "-q", "1", "-m", "end"]);
    assert_eq!(subscriber.message(), format!("1 0 {topic} end"));
}

/// `-c -i`: messages wait for the client; `-U` ends a subscription of its session.
pub(crate) fn a_session_waits_for_its_client(stage: &Stage) {
    let (topic, id) = (stage.topic("session"), stage.id("keeps"));
    let persistent = ["-c", "-i", &id, "-q", "2"];
    let first = [&persistent[..], &["-t", &topic, "-E"]].concat();
    run(stage, "mosquitto_sub", &first, b"");
    for n in 1..=6 {
        let qos = (1 + n % 2).to_string();
        publish(stage, &["-t", &topic, "-q", &qos, "-m", &n.to_string()]);
    }
    let again = [&persistent[..], &["-t", &topic, "-C", "6", "-F", "%q %p"]].concat();
    let output = run(stage, "mosquitto_sub", &again, b"");
    // The client prints a message of QoS 2 at its PUBREL, so the order holds within each QoS.
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort_by_key(|line| line.chars().next());
    assert_eq!(lines, ["1 2", "1 4", "1 6", "2 1", "2 3", "2 5"]);

    let other = stage.topic("other");
    let leave = [&persistent[..], &["-U", &topic, "-t", &other, "-E"]].concat();
    run(stage, "mosquitto_sub", &leave, b"");
    publish(stage, &["-t", &topic, "-q", "1", "-m", "for nobody"]);
    publish(stage, &["-t", &other, "-q", "1", "-m", "for it"]);
    let back = [&persistent[..], &["-t", &other, "-C", "1", "-F", "%p"]].concat();
    let output = run(stage, "mosquitto_sub", &back, b"");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "for it\n");
}

/// Two members of a group get each message once between them, and both get their part.
pub(crate) fn a_shared_subscription_divides_messages(stage: &Stage) {
    let topic = stage.topic("jobs");
    let shared = format!("$share/crew/{topic}");
    let mut members =
        ["m1", "m2"].map(|name| Subscriber::start(stage, name, &["-t", &shared, "-q", "1", "-F", "message %p"]));
    let lines: String = (0..SHARED_MESSAGES).flat_map(|n| [n.to_string(), "\n".to_owned()]).collect();
    run(stage, "mosquitto_pub", &["-t", &topic, "-q", "1", "-l"], lines.as_bytes());
    let is_message = |line: &str| line.starts_with("message ");
    let mut seen = std::collections::HashSet::new();
    let mut counts = [0, 0];
    let deadline = Instant::now() + WAIT;
    while seen.len() < SHARED_MESSAGES {
        assert!(Instant::now() < deadline, "got {counts:?} of {SHARED_MESSAGES} in {WAIT:?}");
        for (member, count) in members.iter_mut().zip(&mut counts) {
            while let Some(line) = member.line_within(&is_message, Duration::from_millis(50)) {
                assert!(seen.insert(line.clone()), "{line} came twice");
                *count += 1;
            }
        }
    }
    assert!(counts.iter().all(|count| *count >= SHARED_LEAST), "divided {counts:?}");
}

/// `mosquitto_rr` gets its answer; with MQTT 5.0 the correlation data comes back too.
pub(crate) fn a_request_gets_its_response(stage: &Stage) {
    let (question, answer) = (stage.topic("question"), stage.topic("answer"));
    // The responder prints what it must know to answer.
    let format = "message %R %D %p";
    let mut responder = Subscriber::start(stage, "responder", &["-t", &question, "-q", "1", "-F", format]);
    std::thread::scope(|scope| {
        let mut arguments = vec!["-t", &question, "-e", &answer, "-q", "1", "-m", "ping", "-W", "15"];
        if stage.version() == Version::V5 {
            arguments.extend(["-D", "publish", "correlation-data", "no-17"]);
        }
        let requester = scope.spawn(move || run(stage, "mosquitto_rr", &arguments, b""));
        let asked = responder.message();
        if stage.version() == Version::V5 {
            assert_eq!(asked, format!("{answer} no-17 ping"));
            publish(stage, &["-t", &answer, "-q", "1", "-m", "pong", "-D", "publish", "correlation-data", "no-17"]);
        } else {
            assert_eq!(asked.trim(), "ping");
            publish(stage, &["-t", &answer, "-q", "1", "-m", "pong"]);
        }
        let output = requester.join().expect("mosquitto_rr gets an answer");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "pong\n");
    });
}

/// Every property of a PUBLISH comes out, with the subscription's identifier.
pub(crate) fn properties_are_passed_on_unchanged(stage: &Stage) {
    let topic = stage.topic("properties");
    let identifier = ["-D", "subscribe", "subscription-identifier", "5"];
    let mut subscriber =
        Subscriber::start(stage, "sub", &[&["-t", &topic, "-q", "1", "-F", "message %j"][..], &identifier].concat());
    let mut arguments = vec!["-t", topic.as_str(), "-q", "1", "-m", "{}"];
    for property in [
        &["payload-format-indicator", "1"][..],
        &["content-type", "application/json"],
        &["response-topic", "reply/here"],
        &["correlation-data", "c-1"],
        &["message-expiry-interval", "300"],
        &["user-property", "b", "1"],
        &["user-property", "a", "2"],
        &["user-property", "b", "3"],
    ] {
        arguments.extend(["-D", "publish"]);
        arguments.extend(property);
    }
    publish(stage, &arguments);
    let shown = subscriber.message();
    for part in [
        r#""subscription-identifier":5"#,
        r#""payload-format-indicator":1"#,
        r#""content-type":"application/json""#,
        r#""response-topic":"reply/here""#,
        r#""correlation-data":"c-1""#,
        r#""user-properties":{"b":"1","a":"2","b":"3"}"#,
        r#""message-expiry-interval":"#,
    ] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
}

/// `--repeat` with a topic alias sends the topic once.
pub(crate) fn aliases_of_the_client_are_resolved(stage: &Stage) {
    let topic = stage.topic("alias");
    let mut subscriber = Subscriber::start(stage, "sub", &["-t", &topic, "-q", "1"]);
    publish(stage, &["-t", &topic, "-q", "1", "-m", "same", "--repeat", "4", "-D", "publish", "topic-alias", "2"]);
    for _ in 0..4 {
        assert_eq!(subscriber.message(), format!("1 0 {topic} same"));
    }
}

/// A subscriber that takes one message at a time, and none above its packet size, gets all others in their order.
pub(crate) fn the_limits_of_a_client_are_kept(stage: &Stage) {
    // No topic aliases: the command takes the option, but closes the connection when the server uses one.
    let limits = ["-D", "connect", "maximum-packet-size", "200", "-D", "connect", "receive-maximum", "1"];
    let filter = stage.topic("limits/+");
    let mut subscriber = Subscriber::start(stage, "sub", &[&["-t", &filter, "-q", "2"][..], &limits].concat());
    for n in 0..12 {
        let topic = stage.topic(&format!("limits/{}", n % 4));
        let qos = (1 + n % 2).to_string();
        if n == 6 {
            publish(stage, &["-t", &topic, "-q", &qos, "-m", &"too large".repeat(30)]);
        }
        publish(stage, &["-t", &topic, "-q", &qos, "-m", &n.to_string()]);
        assert_eq!(subscriber.message(), format!("{qos} 0 {topic} {n}"));
    }
}

/// Who is taken over is told so.
pub(crate) fn a_takeover_is_told(stage: &Stage) {
    let (topic, id) = (stage.topic("takeover"), stage.id("same"));
    let mut first = Subscriber::start(stage, "first", &["-t", &topic, "-i", &id]);
    // -E ends the second before the first comes back.
    run(stage, "mosquitto_sub", &["-t", &topic, "-i", &id, "-E"], b"");
    if is_dunlin() {
        first.line("DISCONNECT 0x8E", |line| line == "Received DISCONNECT (142)");
    } else {
        // Mosquitto 2.0.11 closes without a word, and its command connects again.
        first.line("second CONNECT", |line| line.contains("sending CONNECT"));
    }
}
