//! The admin server as programs meet it: who may ask, what goes wrong, what is bounded.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::broker::{Broker, Client};

/// A broker with an admin server, and keys of one who may look and of one who may do all.
pub(crate) struct Admin {
    pub(crate) broker: Broker,
    pub(crate) address: String,
    pub(crate) viewer: String,
    pub(crate) operator: String,
}

/// What somebody was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) text: String,
    pub(crate) kind: String,
    pub(crate) cookie: Option<String>,
}

/// The admin server's part of a configuration, whose users stand in a file of `directory`.
fn settings(users: &str) -> String {
    format!("[node]\nsys_interval = 1\n[admin]\nport = 0\nusers = \"{users}\"\n")
}

impl Admin {
    pub(crate) fn start(name: &str, more: &str) -> Self {
        Self::start_with_flags(name, more, &["--storage", "memory"])
    }

    /// The same with flags of the broker's.
    pub(crate) fn start_with_flags(name: &str, more: &str, flags: &[&str]) -> Self {
        let users = std::env::temp_dir().join(format!("dunlin-admins-{name}-{}", std::process::id()));
        let users = users.to_str().expect("UTF-8").to_owned();
        passwd(&["-cb", "--role", "operator", &users, "ann", "sesame"]);
        passwd(&["-b", "--role", "viewer", &users, "bob", "b"]);
        let viewer = passwd(&["--api-key", &users, "watcher"]);
        let operator = passwd(&["--api-key", "--role", "operator", &users, "robot"]);
        let broker = Broker::start_with_flags(name, &format!("{}{more}", settings(&users)), &[], flags);
        fs::remove_file(users).expect("it is ours, and has been read");
        let lines = broker.lines_to(" ready");
        let address = lines.iter().find_map(|line| line.split("admin_listening addr=").nth(1)).expect("it is told");
        Self { address: address.trim().to_owned(), broker, viewer, operator }
    }

    /// Asks as somebody with a key.
    pub(crate) fn ask(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        ask(&self.address, &[("authorization", &format!("Bearer {key}"))], method, path, body)
    }

    /// What somebody who may look is answered with success.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.ask(&self.viewer, "GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }
}

/// Runs `dunlin passwd --admin`. What it prints comes back.
pub(crate) fn passwd(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin")).args(["passwd", "--admin"]).args(arguments).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// One request, one answer.
pub(crate) fn ask(address: &str, headers: &[(&str, &str)], method: &str, path: &str, body: Option<Value>) -> Answer {
    let mut head = "HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    ask_as(address, &head, method, path, body)
}

/// One request whose head is, from its version on, as given, and one answer.
pub(crate) fn ask_as(address: &str, head: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let mut request = format!("{method} {path} {head}Connection: close\r\n");
    let _ = write!(request, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers, and closes");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    Answer {
        status,
        body: serde_json::from_str(body).unwrap_or(Value::Null),
        text: body.to_owned(),
        kind: header("content-type").unwrap_or_default(),
        cookie: header("set-cookie"),
    }
}

#[test]
fn each_call_is_for_those_whom_its_role_lets_in() {
    let admin = Admin::start("admin-roles", "");
    let description = ask(&admin.address, &[], "GET", "/api/v1/openapi.json", None).body;
    let paths = description["paths"].as_object().expect("paths");
    let mut asked = 0;
    for (path, operations) in paths {
        for method in operations.as_object().expect("operations").keys() {
            let responses = &operations[method]["responses"];
            let method = method.to_uppercase();
            let path = path.replace("{client_id}", "nobody").replace("{name}", "nobody").replace("{id}", "0");
            if path.ends_with("/login") {
                continue;
            }
            asked += 1;
            let status = |headers: &[(&str, &str)]| ask(&admin.address, headers, &method, &path, None).status;
            let [nobody, viewer, operator] = [None, Some(&admin.viewer), Some(&admin.operator)].map(|key| match key {
                None => status(&[]),
                Some(key) => status(&[("authorization", &format!("Bearer {key}"))]),
            });
            if responses["401"].is_null() || path == "/metrics" {
                assert_eq!(nobody, 200, "{method} {path} is for everybody");
                continue;
            }
            assert_eq!(nobody, 401, "{method} {path}");
            assert_eq!(status(&[("authorization", "Bearer dunlin_x")]), 401, "{method} {path}");
            assert_eq!(status(&[("authorization", "Basic YW5uOnNlc2FtZQ==")]), 401, "{method} {path}");
            if responses["403"].is_null() {
                assert!(![401, 403].contains(&viewer), "{method} {path}: {viewer}");
            } else {
                assert_eq!(viewer, 403, "{method} {path}");
            }
            assert!(![401, 403].contains(&operator), "{method} {path}: {operator}");
            // What came is one of the answers that the description has.
            assert!(!responses[operator.to_string()].is_null(), "{method} {path}: {operator} is not described");
        }
    }
    assert!(asked >= 12, "{asked}");
}

#[test]
fn people_log_in_and_a_page_of_another_site_changes_nothing() {
    let admin = Admin::start("admin-login", "");
    let log_in = |user: &str, password: &str| {
        ask(&admin.address, &[], "POST", "/api/v1/login", Some(json!({"user": user, "password": password})))
    };
    let answer = log_in("ann", "sesame");
    assert_eq!((answer.status, &answer.body["role"]), (200, &json!("operator")));
    let cookie = answer.cookie.expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let csrf_token = answer.body["csrf_token"].as_str().expect("a token").to_owned();
    let with = |headers: &[(&str, &str)], method, path| {
        ask(&admin.address, &[headers, &[("cookie", &cookie)]].concat(), method, path, None).status
    };
    assert_eq!(with(&[], "GET", "/api/v1/clients"), 200);
    assert_eq!(with(&[], "DELETE", "/api/v1/clients/x"), 403, "the cookie alone changes nothing");
    assert_eq!(with(&[("x-csrf-token", "x")], "DELETE", "/api/v1/clients/x"), 403);
    assert_eq!(with(&[("x-csrf-token", &csrf_token)], "DELETE", "/api/v1/clients/x"), 404, "there is no such client");
    assert_eq!(with(&[("x-csrf-token", &csrf_token)], "POST", "/api/v1/logout"), 204);
    assert_eq!(with(&[], "GET", "/api/v1/clients"), 401);
    assert_eq!(log_in("bob", "b").body["role"], "viewer");
    assert_eq!(log_in("bob", &"b".repeat(9_000)).status, 413, "no password is so long");
    for (user, password) in [("ann", "b"), ("eve", "sesame"), ("watcher", &admin.viewer), ("", "")] {
        assert_eq!(log_in(user, password).status, 401, "{user}");
    }
    assert_eq!(log_in("ann", "wrong").status, 401);
    // One's own login in between takes nothing back. Five were wrong: also the right one has to wait now.
    let answer = log_in("ann", "sesame");
    assert_eq!(answer.status, 429, "{answer:?}");
    admin.broker.lines_to("admin_login_failed user=eve");
}

#[test]
fn what_is_no_request_of_the_api_is_a_problem_in_json() {
    let admin = Admin::start("admin-problems", "");
    for (method, path, status) in [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/index.html", 404),
        ("PUT", "/api/v1/clients", 405),
        ("GET", "/api/v1/clients?limit=0", 400),
        ("GET", "/api/v1/clients?limit=many", 400),
        ("GET", "/api/v1/clients?cursor=9-1-2", 400),
        ("GET", "/api/v1/clients?cursor=x", 400),
        ("GET", "/api/v1/clients/%ff", 400),
        ("GET", "/api/v1/clients/nobody", 404),
        ("GET", "/api/v1/clients/nobody/subscriptions", 404),
        ("GET", "/api/v1/retained?filter=a/%23/b", 400),
        ("GET", "/api/v1/retained?cursor=x", 400),
        ("DELETE", "/api/v1/retained", 400),
        ("DELETE", "/api/v1/retained?filter=%24SYS/%23", 400),
        ("DELETE", "/api/v1/clients/nobody?end-session=true", 400),
        ("GET", "/api/v1/clients?client=a", 400),
        ("POST", "/api/v1/publish", 400),
        ("POST", "/api/v1/login", 400),
    ] {
        let answer = admin.ask(&admin.operator, method, path, None);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.kind, "application/problem+json", "{method} {path}: {answer:?}");
        assert_eq!(answer.body["status"], status, "{method} {path}: {answer:?}");
    }
}

#[test]
fn a_hostile_program_is_bounded_and_others_are_served() {
    let admin = Admin::start("admin-hostile", "");
    // A head without end, and a body that is too long.
    let mut endless = TcpStream::connect(&admin.address).expect("it listens");
    let line = format!("x: {}\r\n", "y".repeat(1_000));
    let sent = (0..100_000).take_while(|_| endless.write_all(line.as_bytes()).is_ok()).count();
    assert!(sent < 10_000, "it goes on reading");
    let long = json!({"topic": "a", "payload": "x".repeat(3 << 20)});
    let mut stream = TcpStream::connect(&admin.address).expect("it listens");
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        admin.operator,
        long.to_string().len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(long.to_string().as_bytes()));
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&status), "HTTP/1.1 413");
}

#[test]
fn a_batch_that_is_too_long_is_told_as_that() {
    let admin = Admin::start("admin-batch", "");
    let batch = |messages: usize, payload: usize| {
        let message = json!({"topic": "a", "payload": "x".repeat(payload)});
        admin.ask(&admin.operator, "POST", "/api/v1/publish/batch", Some(Value::Array(vec![message; messages]))).status
    };
    assert_eq!((batch(1_000, 1), batch(1_001, 1), batch(300, 16_384)), (200, 413, 413));
}

#[test]
fn connections_that_say_nothing_lock_nobody_out() {
    let admin = Admin::start("admin-silent", "");
    let before = admin.broker.descriptors();
    // Nothing, half a head, a head whose body does not come, and a whole request with nothing behind it.
    let words: [&[u8]; 4] = [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: loc",
        b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    // Whoever is being told something stays.
    let mut tail = TcpStream::connect(&admin.address).expect("it listens");
    tail.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let head = format!(
        "GET /api/v1/tail?filter=%23&seconds=60 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        admin.viewer
    );
    tail.write_all(head.as_bytes()).expect("it is read");
    let mut status = [0; 12];
    tail.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200");
    let mut many = Vec::new();
    for number in 0..600 {
        let mut silent = TcpStream::connect(&admin.address).expect("it listens");
        let _ = silent.write_all(words[number % words.len()]);
        many.push(silent);
        if number % 100 == 99 {
            let begun = Instant::now();
            assert_eq!(ask(&admin.address, &[], "GET", "/healthz", None).status, 200, "after {number}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        }
    }
    let more = admin.broker.descriptors() - before;
    assert!(more <= 140, "{more} connections are open");
    tail.set_nonblocking(true).expect("a flag");
    let mut rest = vec![0; 65_536];
    while let Ok(length) = tail.read(&mut rest) {
        assert_ne!(length, 0, "whoever is being told something was closed");
    }
}

#[test]
fn where_no_file_names_users_there_is_one_for_this_run() {
    let broker = Broker::start("admin-first", "[admin]\nport = 0\nmetrics = \"authenticated\"\n");
    let lines = broker.lines_to(" ready");
    let told = |what: &str| {
        let rest =
            lines.iter().find_map(|line| line.split(what).nth(1)).unwrap_or_else(|| panic!("{what}: {lines:#?}"));
        rest.split(' ').next().expect("a value").to_owned()
    };
    let (address, password) = (told("admin_listening addr="), told("admin_password user=admin password="));
    assert_eq!(password.len(), 32);
    assert_eq!(ask(&address, &[], "GET", "/metrics", None).status, 401, "metrics are not open here");
    let body = json!({"user": "admin", "password": password});
    let answer = ask(&address, &[], "POST", "/api/v1/login", Some(body));
    assert_eq!((answer.status, &answer.body["role"]), (200, &json!("operator")));
    let (cookie, body_of_login) = (answer.cookie.expect("a cookie"), answer.body);
    assert!(!cookie.contains("Secure"), "it came in plain: {cookie}");
    let cookie = cookie.split(';').next().expect("a value");
    let answer = ask(&address, &[("cookie", cookie)], "GET", "/metrics", None);
    assert_eq!(answer.status, 200, "{answer:?}");
    // It is good once. Whoever is in makes another, which ends the login.
    let log_in = |password: &str| {
        ask(&address, &[], "POST", "/api/v1/login", Some(json!({"user": "admin", "password": password})))
    };
    let again = log_in(&password);
    assert_eq!(again.status, 401, "{again:?}");
    assert!(again.body["detail"].as_str().is_some_and(|text| text.contains("one login")), "{again:?}");
    let csrf_token = body_of_login["csrf_token"].as_str().expect("a token");
    let headers = [("cookie", cookie), ("x-csrf-token", csrf_token)];
    let made = ask(&address, &headers, "POST", "/api/v1/password", None);
    assert_eq!((made.status, &made.body["user"], &made.body["valid_s"]), (200, &json!("admin"), &json!(3_600)));
    assert_eq!(ask(&address, &headers, "GET", "/api/v1/overview", None).status, 401);
    assert_eq!(log_in(made.body["password"].as_str().expect("a password")).status, 200);
}

#[test]
fn it_is_there_unless_it_is_off_and_a_port_of_somebody_else_that_nobody_chose_is_no_matter() {
    // Another test's broker may have the port already: that is as good.
    let taken = std::net::TcpListener::bind("127.0.0.1:18083");
    let broker = Broker::start("admin-default", "[node]\nsys_interval = 1\n");
    let lines = broker.lines_to(" ready");
    let line = lines.iter().find(|line| line.contains("admin_not_started addr=127.0.0.1:18083")).expect("it is told");
    assert!(line.contains("WARN") && line.contains("--admin-port"), "{line}");
    assert!(!lines.iter().any(|line| line.contains("admin_password")), "{lines:?}");
    Client::connect(&broker, b'a').ping();
    drop((taken, broker));
    let broker = Broker::start("admin-off", "[admin]\nport = \"off\"\n");
    let lines = broker.lines_to(" ready");
    assert!(!lines.iter().any(|line| line.contains("admin_")), "{lines:?}");
}

#[test]
fn others_than_this_machine_reach_it_in_tls_or_where_plain_http_is_meant() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dunlin")).args(["--test-config"]).args(arguments).output();
        let output = output.expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let (status, told) = run(&["--admin-bind", "0.0.0.0"]);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("--admin-plain-http") && told.contains("tls_cert"), "{told}");
    for arguments in [&["--admin-bind", "0.0.0.0", "--admin-plain-http"][..], &["--admin-bind", "::1"]] {
        assert_eq!(run(arguments).0, Some(0), "{arguments:?}");
    }
}

#[test]
fn a_port_that_is_in_use_is_told_with_its_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["--port", "0", "--admin-port", &port, "--storage", "memory", "--log-level", "error"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(75));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(&format!("127.0.0.1:{port} is in use")) && told.contains("--admin-port off"), "{told}");
}
