//! What the dashboard asks for beside all else: messages live, the last lines of the log, the last hour, certificates, who is logged in.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::{Admin, ask};
use crate::broker::{Broker, Client};

/// A stream of server-sent events that has begun.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(admin: &Admin, path: &str) -> Self {
        let mut stream = TcpStream::connect(&admin.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", admin.viewer);
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut stream = Self(BufReader::new(stream));
        let status = stream.line();
        assert!(status.contains(" 200 "), "{status}");
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line
    }

    /// The next event.
    fn event(&mut self) -> Value {
        loop {
            if let Some(data) = self.line().strip_prefix("data: ") {
                return serde_json::from_str(data).expect("JSON");
            }
        }
    }
}

#[test]
fn messages_are_watched_live_with_what_is_in_them() {
    let admin = Admin::start("watch-tail", "");
    let mut client = Client::connect(&admin.broker, b'a');
    let mut stream = Stream::open(&admin, "/api/v1/tail?filter=x/%2B");
    client.send(&[0x30, 6, 0, 3, b'y', b'/', b'1', b'!']);
    client.send(&[0x30, 7, 0, 3, b'x', b'/', b'1', b'o', b'k']);
    let told = stream.event();
    let message = &told["messages"][0];
    assert_eq!((&message["topic"], &message["payload"]), (&json!("x/1"), &json!("ok")), "{told}");
    assert_eq!(
        (&message["client_id"], &message["payload_bytes"], &told["skipped"]),
        (&json!("a"), &json!(2), &json!(0))
    );
    // Of a long one the begin is shown, in base64, and of an operator's nobody's name.
    let body = json!({"topic": "x/2", "payload": "z".repeat(5_000), "qos": 1});
    assert_eq!(admin.ask(&admin.operator, "POST", "/api/v1/publish", Some(body)).status, 200);
    let told = stream.event();
    let message = &told["messages"][0];
    assert_eq!((&message["payload_bytes"], &message["client_id"]), (&json!(5_000), &Value::Null), "{told}");
    assert_eq!(message["payload_base64"].as_str().map(str::len), Some(1_368), "{told}");
    // What comes faster than it can be shown is counted: everything is one or the other.
    for _ in 0..20 {
        client.send(&[0x30, 5, 0, 3, b'x', b'/', b'3'].repeat(50));
    }
    client.ping();
    let (mut shown, mut skipped) = (0, 0);
    while shown + skipped < 1_000 {
        let told = stream.event();
        shown += told["messages"].as_array().expect("messages").len() as u64;
        skipped = told["skipped"].as_u64().expect("a number");
    }
    assert_eq!(shown + skipped, 1_000);
    for wrong in ["", "?filter=a%23", "?filter=a&seconds=0", "?filter=a&seconds=3601", "?filter=a&more=1"] {
        let answer = admin.ask(&admin.viewer, "GET", &format!("/api/v1/tail{wrong}"), None);
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
    let told = admin.broker.lines_to("action=tail");
    assert!(told.last().is_some_and(|line| line.contains("user=watcher") && line.contains("what=x/+")), "{told:?}");
    let others: Vec<Stream> = (0..7).map(|_| Stream::open(&admin, "/api/v1/tail?filter=n&seconds=60")).collect();
    assert_eq!(admin.ask(&admin.viewer, "GET", "/api/v1/tail?filter=n", None).status, 409, "there are eight");
    drop((others, stream));
    let begun = Instant::now();
    while admin.ask(&admin.viewer, "GET", "/api/v1/tail?filter=n&seconds=1", None).status == 409 {
        assert!(begun.elapsed() < Duration::from_secs(30), "whoever has gone is missed");
    }
}

#[test]
fn the_last_lines_of_the_log_are_shown_without_the_password_that_it_tells() {
    let broker = Broker::start("watch-log", "[admin]\nport = 0\n");
    let lines = broker.lines_to(" ready");
    let told = |what: &str| lines.iter().find_map(|line| line.split(what).nth(1)).expect("it is told").to_owned();
    let address = told("admin_listening addr=").trim().to_owned();
    let password = told("admin_password user=admin password=");
    let password = password.split(' ').next().expect("a value");
    let nobody = ask(&address, &[], "GET", "/api/v1/login", None);
    assert_eq!((nobody.status, nobody.text.as_str()), (204, ""), "nobody is logged in");
    let answer = ask(&address, &[], "POST", "/api/v1/login", Some(json!({"user": "admin", "password": password})));
    let cookie = answer.cookie.expect("a cookie");
    let cookie = [("cookie", cookie.split(';').next().expect("a value"))];
    let known = ask(&address, &cookie, "GET", "/api/v1/login", None);
    assert_eq!(known.body, answer.body, "who it is, and the login's token again");
    let shown = ask(&address, &cookie, "GET", "/api/v1/log", None);
    let shown = shown.body.as_array().expect("lines").clone();
    let has = |words: &str| shown.iter().any(|line| line["text"].as_str().is_some_and(|text| text.contains(words)));
    assert!(has(" ready") && has("action=login") && !has("admin_password") && !has(password), "{shown:#?}");
    let last = shown.last().expect("a line")["number"].as_u64().expect("a number");
    assert_eq!(ask(&address, &cookie, "GET", &format!("/api/v1/log?after={last}"), None).body, json!([]));
    let two = ask(&address, &cookie, "GET", "/api/v1/log?limit=2", None).body;
    assert_eq!(two.as_array().map(Vec::as_slice), Some(&shown[shown.len() - 2..]));
    assert_eq!(ask(&address, &cookie, "GET", "/api/v1/log?limit=1001", None).status, 400);
}

#[test]
fn the_last_hour_comes_in_samples() {
    let admin = Admin::start("watch-history", "");
    let _client = Client::connect(&admin.broker, b'a');
    assert_eq!(admin.get("/api/v1/certificates"), json!([]));
    let begun = Instant::now();
    let history = loop {
        let history = admin.get("/api/v1/history");
        if history["clients_connected"].as_array().is_some_and(|all| all.last() == Some(&json!(1))) {
            break history;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{history}");
        std::thread::sleep(Duration::from_millis(200));
    };
    let samples = history["at_ms"].as_array().expect("times").len();
    for column in ["messages_received_per_s", "messages_sent_per_s", "memory_bytes", "cores_used", "bytes_sent_per_s"] {
        assert_eq!(history[column].as_array().map(Vec::len), Some(samples), "{column}");
    }
    assert!(history["memory_bytes"][0].as_u64() > Some(1 << 20) && history["cores"].as_u64() > Some(0), "{history}");
    let threads: Vec<&str> =
        history["threads"].as_array().expect("threads").iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(threads.contains(&"shard-0") && threads.contains(&"shard-1"), "{threads:?}");
    let last = &history["at_ms"][samples - 1];
    assert_eq!(admin.get(&format!("/api/v1/history?after_ms={last}"))["at_ms"], json!([]));
}

#[test]
fn the_page_is_for_everybody_and_says_nothing_of_the_broker() {
    let admin = Admin::start("watch-page", "");
    let page = ask(&admin.address, &[], "GET", "/", None);
    assert_eq!((page.status, page.kind.as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.text.contains("app.js") && !page.text.contains("test"), "{}", page.text);
    assert_eq!(ask(&admin.address, &[], "POST", "/", None).status, 405);
    assert_eq!(ask(&admin.address, &[], "GET", "/dist/app.js", None).status, 404);
}
