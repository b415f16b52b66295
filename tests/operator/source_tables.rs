//! `[[source]]` as an operator meets it where the other system is not there: what the API, `dunlin ctl` and metrics say of it, stopping and
//! starting it. What one reads is tested with real servers, in `tests/targets`.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::Admin;
use crate::ports::Port;

/// Far above what anything here takes, for machines that are busy.
const LIMIT: Duration = Duration::from_secs(60);

fn await_source(admin: &Admin, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let source = admin.get("/api/v1/sources/orders");
        if is_so(&source) {
            return source;
        }
        assert!(Instant::now() < deadline, "not in time: {what}: {source}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_source_whose_server_is_away_says_so_everywhere_and_is_paused_and_resumed() {
    // Nobody listens there, and nobody else will.
    let port = Port::claim();
    let table = format!(
        "[[source]]\nname = \"orders\"\ntopic = \"from/{{{{ place }}}}\"\n[source.nats]\nservers = [\"127.0.0.1:{port}\"]\nstream = \"S\"\n"
    );
    let admin = Admin::start("source-tables", &table);
    let source = await_source(&admin, "it has failed twice", |source| source["failures"].as_u64() >= Some(2));
    assert_eq!((&source["status"], &source["failing"]), (&json!("connecting"), &json!(true)), "{source}");
    assert_eq!(source["client_id"], "$source/orders");
    assert!(source["address"].as_str().is_some_and(|address| address.ends_with(&format!("{port} S"))), "{source}");
    assert!(source["last_error"].is_string() && source["last_error_at_ms"].is_u64(), "{source}");
    assert!(source["lag_messages"].is_null() && source["messages"] == 0 && source["connects"] == 0, "{source}");
    let sources = admin.get("/api/v1/sources");
    assert_eq!((sources.as_array().map(Vec::len), &sources[0]["name"]), (Some(1), &json!("orders")));
    let metrics = admin.ask(&admin.viewer, "GET", "/metrics", None).text;
    for line in ["dunlin_source_connected{source=\"orders\"} 0", "dunlin_source_messages_total{source=\"orders\"} 0"] {
        assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
    }
    let failures =
        metrics.lines().find_map(|line| line.strip_prefix("dunlin_source_failures_total{source=\"orders\"} "));
    assert!(failures.and_then(|failures| failures.parse::<u64>().ok()) >= Some(2), "{metrics}");
    assert!(!metrics.contains("dunlin_source_lag_messages{"), "nobody knows it: {metrics}");
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let command = command.arg("ctl").args(arguments).env("DUNLIN_CTL_KEY", &admin.operator);
        let output = command.env("DUNLIN_CTL_URL", format!("http://{}", admin.address)).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (is_done, text) = ctl(&["sources"]);
    let line = text.lines().find(|line| line.starts_with("orders ")).unwrap_or_else(|| panic!("{text}"));
    assert!(is_done && line.contains("connecting") && line.contains("now: "), "{text}");
    // Who may do what, and what there is not.
    let ask = |path: &str, key: &str| admin.ask(key, "POST", path, Some(json!({}))).status;
    assert_eq!(ask("/api/v1/sources/orders/pause", &admin.viewer), 403);
    assert_eq!(ask("/api/v1/sources/none/pause", &admin.operator), 404);
    assert_eq!(admin.ask(&admin.viewer, "GET", "/api/v1/sources/none", None).status, 404);
    assert!(ctl(&["pause-source", "orders"]).0);
    let source = await_source(&admin, "it has stopped", |source| source["status"] == "stopped");
    assert_eq!(source["failing"], false, "what it was is over: {source}");
    assert!(source["last_error"].is_string(), "{source}");
    let failures = source["failures"].as_u64();
    let (is_done, text) = ctl(&["source", "orders"]);
    assert!(is_done && text.contains("stopped") && text.contains("last_error_at "), "{text}");
    assert!(ctl(&["resume-source", "orders"]).0);
    await_source(&admin, "it tries again", |source| {
        source["failing"] == true && source["failures"].as_u64() > failures
    });
    assert!(!ctl(&["resume-source", "none"]).0);
}
