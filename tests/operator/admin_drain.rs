//! Emptying a broker where something does not go well, and who is told that it is not ready.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::admin::{Admin, ask};
use crate::broker::Client;

/// Three listeners, the second of which is called `two`.
const THREE: &str = "[[listener]]\nname = \"one\"\nport = 0\n[[listener]]\nname = \"two\"\nport = 0\n\
                     [[listener]]\nname = \"three\"\nport = 0\n";

impl Admin {
    fn changes(&self, method: &str, path: &str, body: Option<serde_json::Value>) -> crate::admin::Answer {
        self.ask(&self.operator, method, path, body)
    }

    /// Which listeners accept, as the API says it and as whoever comes sees it.
    fn accepting(&self) -> Vec<bool> {
        let shown = self.get("/api/v1/listeners");
        let shown: Vec<bool> =
            shown.as_array().expect("a list").iter().map(|listener| listener["accepting"] == true).collect();
        let seen: Vec<bool> = self.broker.addresses.iter().map(|address| TcpStream::connect(address).is_ok()).collect();
        assert_eq!(shown, seen);
        shown
    }

    fn ready(&self) -> (u16, String) {
        let answer = ask(&self.address, &[], "GET", "/readyz", None);
        (answer.status, answer.body["detail"].as_str().unwrap_or_default().to_owned())
    }
}

#[test]
fn a_listener_that_cannot_open_again_keeps_no_other_shut() {
    let admin = Admin::start("drain-taken", THREE);
    assert_eq!(admin.changes("POST", "/api/v1/drain", Some(json!({"clients_per_s": 9}))).status, 200);
    let taken = TcpListener::bind(&admin.broker.addresses[1]).expect("it is free");
    let ended = admin.changes("DELETE", "/api/v1/drain", None);
    let told = ended.body["detail"].as_str().expect("words").to_owned();
    assert_eq!(ended.status, 409, "{ended:?}");
    assert!(told.contains("listener two stays shut") && told.contains("another process listens"), "{told}");
    let line = admin.broker.lines_to(" drain_failed ").pop().expect("a line");
    assert!(line.contains("action=end_drain") && line.contains("listener two stays shut"), "{line}");
    drop(taken);
    assert_eq!(admin.accepting(), [true, false, true]);
    assert_eq!((admin.get("/api/v1/drain")["draining"].clone(), admin.ready().0), (json!(false), 200));
    assert_eq!(admin.changes("POST", "/api/v1/listeners/two/start", None).status, 204);
    assert_eq!(admin.accepting(), [true, true, true]);
}

#[test]
fn drains_that_begin_and_end_at_the_same_time_leave_no_listener_shut() {
    let admin = Admin::start("drain-race", THREE);
    let (address, key) = (admin.address.as_str(), format!("Bearer {}", admin.operator));
    let headers = [("authorization", key.as_str())];
    for round in 0..15 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| ask(address, &headers, "POST", "/api/v1/drain", Some(json!({"clients_per_s": 9}))));
                scope.spawn(|| ask(address, &headers, "DELETE", "/api/v1/drain", None));
            }
        });
        assert_eq!(admin.changes("DELETE", "/api/v1/drain", None).status, 200, "round {round}");
        assert_eq!(admin.accepting(), [true, true, true], "round {round}");
    }
    Client::connect(&admin.broker, b'a').ping();
}

#[test]
fn whoever_stops_all_listeners_is_told_that_the_broker_is_not_ready() {
    let admin = Admin::start("ready-listeners", THREE);
    for (name, status) in [("one", 200), ("three", 200), ("two", 503)] {
        assert_eq!(admin.changes("POST", &format!("/api/v1/listeners/{name}/stop"), None).status, 204);
        assert_eq!(admin.ready().0, status, "{name}");
    }
    assert_eq!(admin.ready().1, "no listener accepts");
    assert_eq!(ask(&admin.address, &[], "GET", "/healthz", None).status, 200, "it lives");
    assert_eq!(admin.changes("POST", "/api/v1/listeners/three/start", None).status, 204);
    assert_eq!(admin.ready().0, 200);
}

#[test]
fn a_broker_that_was_told_to_stop_is_not_ready() {
    let flags = ["--storage", "memory", "--shutdown-timeout", "10m"];
    let mut admin = Admin::start_with_flags("ready-stopping", "", &flags);
    // It reads nothing of what it is sent, which a broker that stops waits for.
    let mut deaf = Client::connect(&admin.broker, b'd');
    assert_eq!(deaf.subscribe(b'x'), 0);
    let mut loud = Client::connect(&admin.broker, b'l');
    let payload = vec![b'p'; 64 * 1024 - 1];
    for _ in 0..400 {
        // PUBLISH of QoS 0: a length of three bytes, then the topic.
        loud.send(&[0x30, 0x82, 0x80, 0x04, 0, 1, b'x']);
        loud.send(&payload);
    }
    loud.ping();
    drop(loud);
    assert_eq!(admin.ready().0, 200);
    admin.broker.signal("TERM");
    admin.broker.lines_to(" stopping");
    assert_eq!(admin.ready(), (503, "the broker is stopping".to_owned()));
    // The shard of whoever reads is gone at once, the other waits: that is no reason to kill the process.
    let begun = Instant::now();
    loop {
        let health = ask(&admin.address, &[], "GET", "/healthz", None);
        assert_eq!((health.status, &health.body["status"]), (200, &json!("stopping")), "{health:?}");
        if health.body["shards"] == 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no shard has ended: {health:?}");
    }
    drop(deaf);
    admin.broker.ended();
}

/// An MQTT 5.0 client whose id is one letter, and its session's end, which is in an hour.
fn connect_v5(address: &str, id: u8) -> Client {
    let mut client = Client::open(address);
    client.send(&[0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 5, 0x11, 0, 0, 0x0e, 0x10, 0, 1, id]);
    let [kind, length] = client.receive();
    let code: Vec<u8> = (0..length).map(|_| client.receive::<1>()[0]).collect();
    assert_eq!((kind, code[1]), (0x20, 0), "{code:02x?}");
    client
}

/// The reason code and the rest of the DISCONNECT that comes.
fn last_words(client: &mut Client) -> (u8, Vec<u8>) {
    let [kind, length] = client.receive();
    assert_eq!(kind, 0xe0);
    let rest: Vec<u8> = (0..length).map(|_| client.receive::<1>()[0]).collect();
    (rest[0], rest)
}

/// What a broker that stops is asked for would take its pace away, or let in whom nobody serves.
fn refuses_to_be_told_otherwise(admin: &Admin) {
    let listener = admin.get("/api/v1/listeners")[0].clone();
    assert_eq!(listener["accepting"], false, "{listener}");
    assert_eq!(admin.get("/api/v1/drain")["draining"], true);
    let start = format!("/api/v1/listeners/{}/start", listener["name"].as_str().expect("a name"));
    let drain = Some(json!({"clients_per_s": 1}));
    for (method, path, body) in [
        ("DELETE", "/api/v1/drain", None),
        ("POST", "/api/v1/drain", drain),
        ("POST", &*start, None),
        ("POST", "/api/v1/reload", None),
    ] {
        let answer = admin.changes(method, path, body);
        assert_eq!(answer.status, 409, "{method} {path}: {answer:?}");
    }
}

#[test]
fn sigterm_asks_clients_to_go_one_after_the_other_and_tells_them_where_to() {
    let flags = [
        "--storage",
        "memory",
        "--shutdown-drain",
        "6s",
        "--shutdown-server",
        "b.example:1883",
        "--shutdown-timeout",
        "10m",
    ];
    let mut admin = Admin::start_with_flags("term-drain", "", &flags);
    let address = admin.broker.addresses[0].clone();
    let mut clients: Vec<Client> = (b'a'..=b'z').map(|id| connect_v5(&address, id)).collect();
    let began = Instant::now();
    admin.broker.signal("TERM");
    let line = admin.broker.lines_to(" stopping").pop().expect("a line");
    assert!(line.contains("timeout_s=600 drain_s=6"), "{line}");
    assert_eq!(admin.ready().0, 503);
    assert_eq!(ask(&admin.address, &[], "GET", "/healthz", None).body["status"], "stopping");
    refuses_to_be_told_otherwise(&admin);
    let went: Vec<Duration> = clients
        .iter_mut()
        .map(|client| {
            let (code, words) = last_words(client);
            assert_eq!(code, 0x9c, "use another server: {words:02x?}");
            assert!(words.windows(14).any(|bytes| bytes == b"b.example:1883"), "{words:02x?}");
            began.elapsed()
        })
        .collect();
    // Thirteen or so of each shard, three a second.
    assert!(went.iter().max() > Some(&Duration::from_millis(1_500)), "{went:?}");
    assert!(TcpStream::connect(&address).is_err(), "nobody comes in");
    drop(clients);
    assert!(admin.broker.ended().success());
    assert!(admin.broker.has_said("reason=server_shutdown"));
}

#[test]
fn whoever_is_left_when_the_time_is_over_is_closed_and_a_drain_of_before_is_not_waited_for() {
    // A client at a rate of one a second, and so many that most of them are left.
    let mut admin = Admin::start_with_flags("term-left", "", &["--storage", "memory", "--shutdown-timeout", "10m"]);
    let address = admin.broker.addresses[0].clone();
    let mut clients: Vec<Client> = (b'a'..=b'z').map(|id| connect_v5(&address, id)).collect();
    assert_eq!(admin.changes("POST", "/api/v1/drain", Some(json!({"clients_per_s": 1}))).status, 200);
    let began = Instant::now();
    admin.broker.signal("TERM");
    let shut_down = clients.iter_mut().map(|client| last_words(client).0).filter(|code| *code == 0x8b).count();
    assert!(shut_down >= 20, "{shut_down} of 26 are told that it stops");
    drop(clients);
    assert!(admin.broker.ended().success() && began.elapsed() < Duration::from_secs(20));
}

#[test]
fn sinks_stay_while_clients_are_asked_to_go() {
    let folder = std::env::temp_dir().join(format!("dunlin-drain-sink-{}", std::process::id()));
    let sink = format!("[[sink]]\nname = \"kept\"\ntopics = [\"a/#\"]\n[sink.file]\nfolder = {folder:?}\n");
    let admin = Admin::start("drain-sinks", &sink);
    admin.broker.lines_to("connector_connected");
    let mut client = Client::connect(&admin.broker, b'a');
    let begun = admin.changes("POST", "/api/v1/drain", Some(json!({"clients_per_s": 1_000})));
    assert_eq!(begun.status, 200);
    client.closed();
    let waits = Instant::now();
    while admin.get("/api/v1/drain")["clients_connected"] != 0 {
        assert!(waits.elapsed() < Duration::from_secs(30), "somebody is left");
    }
    let message = json!({"topic": "a/b", "payload": "x", "qos": 1});
    assert_eq!(admin.changes("POST", "/api/v1/publish", Some(message)).body["matched"], true);
    while admin.get("/api/v1/sinks/kept")["delivered"] != 1 {
        assert!(waits.elapsed() < Duration::from_secs(30), "it does not go on");
    }
    assert!(!admin.broker.has_said("client=$sink/kept"), "it was not asked to go");
    std::fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn a_listener_for_datagrams_starts_again_whoever_has_its_port_for_streams() {
    let sn = "[[listener]]\nname = \"sn\"\nkind = \"mqtt-sn\"\nport = 0\n";
    let admin = Admin::start("do-sn", &format!("[[listener]]\nname = \"main\"\nport = 0\n{sn}"));
    let shown = admin.get("/api/v1/listeners")[1]["address"].clone();
    let address = shown.as_str().expect("an address").trim_start_matches("udp:");
    // Whoever has it is as good.
    let _streams = TcpListener::bind(address);
    assert!(TcpListener::bind(address).is_err());
    for action in ["stop", "start"] {
        let answer = admin.changes("POST", &format!("/api/v1/listeners/sn/{action}"), None);
        assert_eq!(answer.status, 204, "{action}: {answer:?}");
        assert_eq!(admin.get("/api/v1/listeners")[1]["accepting"], action == "start");
    }
}
