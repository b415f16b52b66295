//! Who does what by the admin API stands in the log, at whatever level that is.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::{Admin, ask, passwd};
use crate::broker::{Broker, Client};
use crate::ports::Port;

/// A change, as it is asked for, and what the log says of it.
type NotedChange = (&'static str, &'static str, Option<Value>, &'static str);

/// A broker that says nothing less than an error.
fn quiet(users: &str) -> Admin {
    let port = Port::claim();
    passwd(&["-cb", "--role", "operator", users, "ann", "sesame"]);
    let operator = passwd(&["--api-key", "--role", "operator", users, "robot"]);
    let viewer = passwd(&["--api-key", users, "watcher"]);
    let file = format!(
        "[admin]\nport = {port}\nusers = \"{users}\"\n[[listener]]\nname = \"main\"\nport = 0\n\
         [[listener]]\nname = \"other\"\nport = 0\n\
         [[sink]]\nname = \"copy\"\ntopics = [\"x/#\"]\nformat = \"raw\"\n[sink.republish]\ntopic = \"y\"\n"
    );
    let broker = Broker::start_with_flags("audit", &file, &[], &["--storage", "memory", "--log-level", "error"]);
    let address = port.address().to_string();
    let begun = Instant::now();
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
    let admin = Admin { broker, address, viewer, operator };
    while ask(&admin.address, &[], "GET", "/readyz", None).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is never ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    admin
}

#[test]
fn each_change_is_told_whatever_the_log_level_is() {
    let users = std::env::temp_dir().join(format!("dunlin-admins-audit-{}", std::process::id()));
    let admin = quiet(users.to_str().expect("UTF-8"));
    let mut client = Client::connect(&admin.broker, b'a');
    let trace = json!({"client_id": "t", "detail": "connections", "seconds": 600});
    let changes: [NotedChange; 16] = [
        ("POST", "/api/v1/publish", Some(json!({"topic": "a/b", "payload": "1", "retain": true})), "publish what=a/b"),
        (
            "POST",
            "/api/v1/publish/batch",
            Some(json!([{"topic": "a", "payload": "1"}])),
            "publish_batch what=\"1 messages\"",
        ),
        ("DELETE", "/api/v1/retained?filter=a/b", None, "delete_retained what=a/b"),
        (
            "POST",
            "/api/v1/bans",
            Some(json!({"client_id": "evil", "reason": "guesses"})),
            "ban what=evil reason=guesses",
        ),
        ("DELETE", "/api/v1/bans?client_id=evil", None, "unban what=evil"),
        ("POST", "/api/v1/listeners/other/stop", None, "stop_listener what=other"),
        ("POST", "/api/v1/listeners/other/start", None, "start_listener what=other"),
        ("POST", "/api/v1/traces", Some(trace), "trace what=t"),
        ("DELETE", "/api/v1/traces/99", None, "end_trace what=99"),
        ("DELETE", "/api/v1/clients/a?reason=it%20floods", None, "disconnect what=a reason=\"it floods\""),
        ("DELETE", "/api/v1/clients/a?end_session=true", None, "end_session what=a"),
        ("POST", "/api/v1/sinks/copy/pause", None, "pause_sink what=copy"),
        ("POST", "/api/v1/sinks/copy/resume", None, "resume_sink what=copy"),
        ("POST", "/api/v1/drain", Some(json!({"clients_per_s": 1, "wait_s": 600})), "drain what=\"\""),
        ("DELETE", "/api/v1/drain", None, "end_drain what=\"\""),
        ("POST", "/api/v1/reload", None, "reload what=\"\""),
    ];
    for (method, path, body, told) in changes {
        let answer = admin.ask(&admin.operator, method, path, body);
        let line = admin.broker.lines_to(" admin_action ").pop().expect("a line");
        let wanted = format!("action={told}");
        assert!(line.contains(" user=robot peer=127.0.0.1:") && line.ends_with(&wanted), "{line}: {answer:?}");
        assert!(!line.contains("sesame"), "{line}");
    }
    client.closed();
    let log_in = |password: &str| {
        let body = json!({"user": "ann", "password": password});
        ask(&admin.address, &[], "POST", "/api/v1/login", Some(body)).status
    };
    assert_eq!((log_in("sesame"), log_in("wrong")), (200, 401));
    let lines = admin.broker.lines_to("admin_login_failed user=ann");
    assert!(
        lines.iter().any(|line| line.contains("admin_action user=ann") && line.ends_with("action=login what=\"\""))
    );
    // A trace into the log says something, and what happens by itself does not.
    Client::connect(&admin.broker, b't').ping();
    let lines = admin.broker.lines_to(" traced what=client_connected client=t");
    assert!(lines.iter().all(|line| !line.contains(" client_connected ")), "{lines:#?}");
    // It was kept for the reload that is one of the changes.
    fs::remove_file(users).expect("it is ours");
}
