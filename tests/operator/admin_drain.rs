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
