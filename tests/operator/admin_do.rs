//! What an operator does to a broker that runs: listeners, bans, emptying it, traces; by the API and by `dunlin ctl` at its path.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::{Admin, Answer, ask};
use crate::broker::Client;

impl Admin {
    fn operate(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask(&self.operator, method, path, body)
    }

    fn listener(&self) -> &str {
        &self.broker.addresses[0]
    }
}

/// The CONNACK of an MQTT 5.0 client whose id is one letter.
fn connect_v5(address: &str, id: u8) -> Client {
    let mut client = Client::open(address);
    client.send(&[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, id]);
    let packet = receive_packet(&mut client);
    assert_eq!((packet[0], packet[3]), (0x20, 0), "{packet:02x?}");
    client
}

fn receive_packet(client: &mut Client) -> Vec<u8> {
    let [kind, length] = client.receive();
    let mut packet = vec![kind, length];
    packet.extend((0..length).map(|_| client.receive::<1>()[0]));
    packet
}

/// Waits until something holds.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

#[test]
fn a_listener_is_stopped_and_started_again_and_its_clients_stay() {
    let admin = Admin::start("do-listeners", "[[listener]]\nname = \"main\"\nport = 0\n");
    let mut client = Client::connect(&admin.broker, b'a');
    let shown = admin.get("/api/v1/listeners");
    assert_eq!(
        (&shown[0]["name"], &shown[0]["accepting"], &shown[0]["connections"]),
        (&json!("main"), &json!(true), &json!(1))
    );
    assert_eq!(shown[0]["address"], admin.listener());
    for _ in 0..20 {
        assert_eq!(admin.operate("POST", "/api/v1/listeners/main/stop", None).status, 204);
        assert!(TcpStream::connect(admin.listener()).is_err(), "nobody listens");
        client.ping();
        assert_eq!(admin.get("/api/v1/listeners")[0]["accepting"], false);
        assert_eq!(admin.operate("POST", "/api/v1/listeners/main/start", None).status, 204);
        let mut others: Vec<Client> = (b'b'..b'n').map(|id| Client::connect(&admin.broker, id)).collect();
        others.iter_mut().for_each(Client::ping);
    }
    assert_eq!(admin.operate("POST", "/api/v1/listeners/main/stop", None).status, 204);
    let other = TcpListener::bind(admin.listener()).expect("it is free");
    let answer = admin.operate("POST", "/api/v1/listeners/main/start", None);
    assert_eq!(answer.status, 409, "{answer:?}");
    drop(other);
    assert_eq!(admin.operate("POST", "/api/v1/listeners/main/start", None).status, 204);
    Client::connect(&admin.broker, b'x').ping();
    for (path, status) in [("nobody/stop", 404), ("main/pause", 404)] {
        let answer = admin.operate("POST", &format!("/api/v1/listeners/{path}"), None);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    client.ping();
}

/// A client that has come in at a path.
fn come_in_at(path: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    stream.write_all(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0]).expect("it is open");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [0x20, 2, 0, 0]);
    stream
}

fn ping_at(stream: &mut UnixStream) {
    stream.write_all(&[0xc0, 0]).expect("it is open");
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [0xd0, 0]);
}

#[test]
fn a_path_is_stopped_and_started_again_by_itself_and_with_all_others() {
    let path = std::env::temp_dir().join(format!("dunlin-do-{}.sock", std::process::id()));
    let tables = format!(
        "[[listener]]\nname = \"main\"\nport = 0\n[[listener]]\nname = \"path\"\nkind = \"unix\"\nunix = {path:?}\nunix_mode = \"600\"\n"
    );
    let admin = Admin::start("do-path", &tables);
    let turn = |action: &str| admin.operate("POST", &format!("/api/v1/listeners/path/{action}"), None).status;
    let accepts = || admin.get("/api/v1/listeners")[1]["accepting"] == true;
    let mut client = come_in_at(&path);
    for _ in 0..20 {
        assert_eq!((turn("stop"), path.exists(), accepts()), (204, false, false));
        ping_at(&mut client);
        assert_eq!((turn("start"), accepts()), (204, true));
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        // More than the first shard alone would take at once.
        let mut others: Vec<UnixStream> = (0..12).map(|_| come_in_at(&path)).collect();
        others.iter_mut().for_each(ping_at);
    }
    assert_eq!(turn("stop"), 204);
    fs::write(&path, "somebody's").expect("nothing is there");
    assert_eq!((turn("start"), accepts(), turn("stop")), (409, false, 204));
    assert_eq!(fs::read(&path).expect("it stays"), b"somebody's");
    fs::remove_file(&path).expect("it is ours");
    assert_eq!(turn("start"), 204);
    // Whoever empties the broker has nobody come in there either.
    let drain = |method: &str, body| admin.operate(method, "/api/v1/drain", body).status;
    assert_eq!((drain("POST", Some(json!({"clients_per_s": 1_000}))), path.exists()), (200, false));
    assert_eq!(client.read(&mut [0; 16]).expect("an end"), 0, "nobody of 3.1.1 is told why");
    assert_eq!((drain("DELETE", None), path.exists()), (200, true));
    ping_at(&mut come_in_at(&path));
}

#[test]
fn whom_an_operator_bans_is_closed_and_refused_until_the_ban_ends() {
    let admin = Admin::start("do-bans", "");
    let (mut evil, mut good) = (Client::connect(&admin.broker, b'e'), Client::connect(&admin.broker, b'g'));
    let ban = admin.operate("POST", "/api/v1/bans", Some(json!({"client_id": "e", "reason": "guesses"})));
    assert_eq!((ban.status, &ban.body["client_id"], &ban.body["reason"]), (200, &json!("e"), &json!("guesses")));
    evil.closed();
    good.ping();
    assert_eq!(Client::open(admin.listener()).say_connect(b'e'), 5, "not authorised, as 3.1.1 has it");
    admin.broker.lines_to("an operator has banned it");
    assert_eq!(admin.get("/api/v1/bans").as_array().map(Vec::len), Some(1));
    assert_eq!(admin.operate("DELETE", "/api/v1/bans?client_id=e", None).status, 204);
    assert_eq!(Client::open(admin.listener()).say_connect(b'e'), 0);
    let body = json!({"network": "127.0.0.0/8", "seconds": 1, "disconnect": false});
    assert_eq!(admin.operate("POST", "/api/v1/bans", Some(body)).body["network"], "127.0.0.0/8");
    assert_eq!(Client::open(admin.listener()).say_connect(b'h'), 5);
    good.ping();
    wait_until("the ban ends", || Client::open(admin.listener()).say_connect(b'h') == 0);
    assert_eq!(admin.get("/api/v1/bans"), json!([]));
    let body = json!({"network": "127.0.0.1"});
    assert_eq!(admin.operate("POST", "/api/v1/bans", Some(body)).body["network"], "127.0.0.1/32");
    good.closed();
    for body in
        [json!({}), json!({"client_id": "a", "network": "::/0"}), json!({"network": "x"}), json!({"client_id": ""})]
    {
        let answer = admin.operate("POST", "/api/v1/bans", Some(body.clone()));
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    assert_eq!(admin.operate("DELETE", "/api/v1/bans?client_id=nobody", None).status, 404);
}

#[test]
fn whoever_is_kicked_is_told_the_reason() {
    let admin = Admin::start("do-kick", "");
    let mut client = connect_v5(admin.listener(), b'a');
    let answer = admin.operate("DELETE", "/api/v1/clients/a?reason=it%20floods%20x", None);
    assert_eq!(answer.status, 204, "{answer:?}");
    let last_words = receive_packet(&mut client);
    assert_eq!((last_words[0], last_words[2]), (0xe0, 0x98), "{last_words:02x?}");
    assert!(last_words.windows(11).any(|bytes| bytes == b"it floods x"), "{last_words:02x?}");
    let line = admin.broker.lines_to("client_disconnected").pop().expect("a line");
    assert!(line.contains("client=a") && line.contains("an operator closed the connection: it floods x"), "{line}");
    let mut client = connect_v5(admin.listener(), b'b');
    let query = "/api/v1/client?client_id=b&end_session=true&reason=gone";
    assert_eq!(admin.operate("DELETE", query, None).status, 204);
    assert!(receive_packet(&mut client).windows(4).any(|bytes| bytes == b"gone"));
    let long = format!("/api/v1/clients/b?reason={}", "x".repeat(257));
    for wrong in [long.as_str(), "/api/v1/clients/b?reason=a%00b", "/api/v1/clients/b?reason=a%0Ab"] {
        assert_eq!(admin.operate("DELETE", wrong, None).status, 400, "{wrong}");
    }
}

#[test]
fn emptying_the_broker_is_said_first_then_nobody_comes_in_then_clients_are_asked_to_go() {
    let admin = Admin::start("do-drain", "");
    let ready = || ask(&admin.address, &[], "GET", "/readyz", None).status;
    let mut clients: Vec<Client> = (b'a'..=b'z').map(|id| connect_v5(admin.listener(), id)).collect();
    assert_eq!(ready(), 200);
    let body = json!({"clients_per_s": 20, "server_reference": "other.example:1883", "wait_s": 3_600});
    let begun = admin.operate("POST", "/api/v1/drain", Some(body));
    assert_eq!(
        (begun.status, &begun.body["draining"], &begun.body["clients_connected"]),
        (200, &json!(true), &json!(26))
    );
    assert_eq!(
        (ready(), ask(&admin.address, &[], "GET", "/healthz", None).status),
        (503, 200),
        "it lives, and is not ready"
    );
    clients.push(connect_v5(admin.listener(), b'1'));
    // Another rate, at once; what was named stays named.
    let body = json!({"clients_per_s": 20});
    let again = admin.operate("POST", "/api/v1/drain", Some(body));
    assert_eq!((again.status, &again.body["server_reference"]), (200, &json!("other.example:1883")));
    assert!(TcpStream::connect(admin.listener()).is_err(), "nobody comes in");
    let name = admin.get("/api/v1/listeners")[0]["name"].as_str().expect("a name").to_owned();
    let opened = admin.operate("POST", &format!("/api/v1/listeners/{name}/start"), None);
    assert!(opened.status == 409 && TcpStream::connect(admin.listener()).is_err(), "nor by that: {opened:?}");
    let left = || admin.get("/api/v1/drain")["clients_connected"].as_u64().expect("a number");
    let took = wait_until("all have gone", || left() == 0);
    // 27 clients of two shards at ten a second each: the busier has at least 14.
    assert!(took > Duration::from_millis(900), "{took:?}");
    let last_words = receive_packet(&mut clients[0]);
    assert_eq!(last_words[..1], [0xe0]);
    assert_eq!(last_words[2], 0x9c, "use another server: {last_words:02x?}");
    assert!(last_words.windows(18).any(|bytes| bytes == b"other.example:1883"), "{last_words:02x?}");
    clients[0].closed();
    let ended = admin.operate("DELETE", "/api/v1/drain", None);
    assert_eq!((ended.status, &ended.body["draining"], ready()), (200, &json!(false), 200));
    let mut client = connect_v5(admin.listener(), b'a');
    let body = json!({"clients_per_s": 100});
    assert_eq!(admin.operate("POST", "/api/v1/drain", Some(body)).status, 200);
    assert_eq!(receive_packet(&mut client)[2], 0x98, "an operator wants it");
    for body in [json!({}), json!({"clients_per_s": 0}), json!({"clients_per_s": 1, "server_reference": ""})] {
        assert_eq!(admin.operate("POST", "/api/v1/drain", Some(body.clone())).status, 400, "{body}");
    }
}

/// `dunlin ctl` at a path. Its status, and what it prints.
fn ctl(path: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["ctl", "--socket", path])
        .args(arguments)
        .env_remove("DUNLIN_CTL_KEY")
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text")).concat();
    (output.status.code(), text)
}

#[test]
fn what_happens_to_a_client_is_told_live_and_in_the_log() {
    let path = std::env::temp_dir().join(format!("dunlin-trace-{}.sock", std::process::id()));
    let path = path.to_str().expect("UTF-8").to_owned();
    let admin = Admin::start("do-trace", &format!("socket = {path:?}\n"));
    let (mut traced, mut other) = (Client::connect(&admin.broker, b'a'), Client::connect(&admin.broker, b'b'));
    let mut live = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["ctl", "--socket", &path, "--json", "trace", "--client-id", "a", "--seconds", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    wait_until("the trace goes on", || admin.get("/api/v1/traces").as_array().is_some_and(|list| list.len() == 1));
    other.send(&[0x30, 4, 0, 1, b'x', b'1']);
    other.ping();
    traced.send(&[0x30, 4, 0, 1, b'x', b'2']);
    traced.subscribe(b'y');
    drop(traced);
    let lines = BufReader::new(live.stdout.take().expect("stdout is piped")).lines();
    let events: Vec<Value> =
        lines.take(3).map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect();
    let names: Vec<&Value> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["publish_received", "subscribe", "client_disconnected"], "{events:?}");
    assert_eq!(
        (&events[0]["topic"], &events[0]["client_id"], &events[1]["topic"]),
        (&json!("x"), &json!("a"), &json!("y"))
    );
    assert!(events[0]["text"].as_str().is_some_and(|text| text.contains("payload_bytes=1")), "{events:?}");
    let _ = live.kill();
    let _ = live.wait();
    wait_until("whoever has gone is missed", || admin.get("/api/v1/traces") == json!([]));
    // To the log, by topic: an id names it, and it ends before its time.
    let trace =
        admin.operate("POST", "/api/v1/traces", Some(json!({"topic": "x/#", "detail": "messages", "seconds": 600})));
    assert_eq!((trace.status, &trace.body["to"]), (200, &json!("log")), "{trace:?}");
    other.send(&[0x30, 6, 0, 3, b'x', b'/', b'1', b'!']);
    let lines = admin.broker.lines_to(" traced ");
    let told = lines.last().expect("a line");
    assert!(
        told.contains("what=publish_received") && told.contains("client=b") && told.contains("topic=x/1"),
        "{told}"
    );
    assert_eq!(admin.operate("DELETE", &format!("/api/v1/traces/{}", trace.body["id"]), None).status, 204);
    other.send(&[0x30, 6, 0, 3, b'x', b'/', b'1', b'!']);
    other.ping();
    assert!(!admin.broker.has_said(" traced "), "it has ended");
    for wrong in [
        "",
        "?client_id=a",
        "?seconds=9",
        "?client_id=a&seconds=0",
        "?client_id=a&seconds=3601",
        "?topic=%23a&seconds=9",
    ] {
        let answer = admin.ask(&admin.viewer, "GET", &format!("/api/v1/traces/live{wrong}"), None);
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
    let body = || Some(json!({"client_id": "z", "seconds": 600}));
    let statuses: Vec<u16> = (0..9).map(|_| admin.operate("POST", "/api/v1/traces", body()).status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 409]);
}

#[test]
fn the_command_line_operates_the_broker_at_its_path_without_a_password() {
    let path = std::env::temp_dir().join(format!("dunlin-ctl-{}.sock", std::process::id()));
    let path = path.to_str().expect("UTF-8").to_owned();
    let admin = Admin::start("do-ctl", &format!("socket = {path:?}\n[[listener]]\nname = \"main\"\nport = 0\n"));
    let mut client = Client::connect(&admin.broker, b'a');
    let ok = |arguments: &[&str]| {
        let (status, text) = ctl(&path, arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {text}");
        text
    };
    assert!(ok(&["status"]).lines().any(|line| line.starts_with("clients_connected ") && line.ends_with(" 1")));
    assert!(ok(&["listeners"]).lines().nth(1).is_some_and(|line| line.starts_with("main") && line.contains("yes")));
    assert_eq!(
        (ok(&["stop-listener", "main"]), ok(&["start-listener", "main"])),
        ("done\n".to_owned(), "done\n".to_owned())
    );
    assert!(ok(&["ban", "--client-id", "evil", "--reason", "guesses"]).contains("client_id  evil"));
    assert!(ok(&["bans"]).contains("guesses") && ok(&["--json", "bans"]).contains("\"client_id\": \"evil\""));
    assert_eq!(ok(&["unban", "--client-id", "evil"]), "done\n");
    let trace = ok(&["--json", "trace", "--client-id", "a", "--log", "--seconds", "60"]);
    let trace: Value = serde_json::from_str(&trace).expect("JSON");
    assert!(ok(&["traces"]).lines().nth(1).is_some_and(|line| line.contains("log") && line.contains("messages")));
    assert_eq!(ok(&["end-trace", &trace["id"].to_string()]), "done\n");
    assert_eq!(ok(&["trace", "--topic", "nothing/#", "--seconds", "1"]), "", "nothing happens for a second");
    assert!(ok(&["drain", "--rate", "5", "--server", "b:1"]).contains("draining           true"));
    client.closed();
    assert!(ok(&["drain-status"]).contains("server_reference"));
    assert!(ok(&["undrain"]).contains("draining           false"));
    Client::connect(&admin.broker, b'a').ping();
    for (arguments, told) in [
        (&["stop-listener", "nobody"][..], "no listener has this name (HTTP 404)"),
        (&["unban", "--network", "::1"], "there is no such ban"),
        (&["end-trace", "99"], "no trace has this id"),
        (&["password"], "a file says who may use the API"),
    ] {
        let (status, text) = ctl(&path, arguments);
        assert_eq!(status, Some(1), "{arguments:?}: {text}");
        assert!(text.contains(told), "{arguments:?}: {text}");
    }
    let (status, text) = ctl("/nowhere/admin.sock", &["status"]);
    assert!(
        status == Some(1) && text.contains("/nowhere/admin.sock") && text.contains("is the broker running"),
        "{text}"
    );
    assert_eq!(ctl(&path, &["ban"]).0, Some(2), "somebody is needed");
}
