//! What the admin API says of a broker with clients, and does to them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::{Value, json};

use crate::admin::{Admin, ask};
use crate::broker::Client;

fn ids(page: &Value) -> Vec<String> {
    let clients = page["clients"].as_array().expect("clients");
    clients.iter().map(|client| client["client_id"].as_str().expect("an id").to_owned()).collect()
}

/// All pages of a list of clients.
fn all(admin: &Admin, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/api/v1/clients?{query}{cursor}"));
        found.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[test]
fn clients_are_listed_a_page_at_a_time_and_searched() {
    let admin = Admin::start("api-clients", "");
    let mut clients: Vec<Client> = (b'a'..=b'z').map(|id| Client::connect(&admin.broker, id)).collect();
    assert_eq!((clients[0].subscribe(b'x'), clients[0].subscribe(b'y')), (0, 0));
    let everybody: BTreeSet<String> = (b'a'..=b'z').map(|id| char::from(id).to_string()).collect();
    let found = all(&admin, "limit=7");
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (26, everybody), "each of them once");
    assert_eq!(all(&admin, "prefix=k"), ["k"]);
    assert_eq!(all(&admin, "contains=k"), ["k"]);
    assert_eq!(all(&admin, "connected=false"), [""; 0]);
    assert_eq!(all(&admin, "connected=true").len(), 26);
    let client = admin.get("/api/v1/clients/a");
    assert_eq!((&client["connected"], &client["protocol_version"]), (&json!(true), &json!("3.1.1")));
    assert_eq!((&client["subscriptions"], &client["has_will"]), (&json!(2), &json!(false)));
    assert!(client["connection"]["connected_ms"].is_u64() && client["disconnected_at_ms"].is_null(), "{client}");
    let page = admin.get("/api/v1/clients/a/subscriptions");
    let mut filters: Vec<&str> =
        page["filters"].as_array().expect("filters").iter().filter_map(Value::as_str).collect();
    filters.sort_unstable();
    assert_eq!((filters, &page["total"]), (vec!["x", "y"], &json!(2)));
    assert_eq!(admin.get("/api/v1/clients/a/subscriptions?skip=1")["filters"].as_array().map(Vec::len), Some(1));
    let overview = admin.get("/api/v1/overview");
    assert_eq!((&overview["clients_connected"], &overview["subscriptions"]), (&json!(26), &json!(2)));
}

#[test]
fn an_operator_closes_a_connection_and_the_log_says_who_did() {
    let admin = Admin::start("api-kick", "");
    let mut client = Client::connect(&admin.broker, b'a');
    assert_eq!(admin.ask(&admin.viewer, "DELETE", "/api/v1/clients/a", None).status, 403);
    client.ping();
    assert_eq!(admin.ask(&admin.operator, "DELETE", "/api/v1/clients/a", None).status, 204);
    client.closed();
    let lines = admin.broker.lines_to("admin_action");
    let told = lines.last().expect("a line");
    assert!(told.contains("user=robot") && told.contains("action=disconnect what=a"), "{told}");
    assert_eq!(admin.ask(&admin.operator, "DELETE", "/api/v1/clients/a", None).status, 404, "its session was clean");
}

#[test]
fn messages_are_published_and_retained_ones_shown_and_deleted() {
    let admin = Admin::start("api-messages", "");
    let mut client = Client::connect(&admin.broker, b'a');
    assert_eq!(client.subscribe(b'x'), 0);
    let publish = |body: Value| admin.ask(&admin.operator, "POST", "/api/v1/publish", Some(body));
    let answer = publish(json!({"topic": "x", "payload": "hello"}));
    assert_eq!((answer.status, &answer.body), (200, &json!({"matched": true})));
    assert_eq!(client.receive(), *b"\x30\x08\0\x01xhello");
    assert_eq!(publish(json!({"topic": "nobody", "payload": "x"})).body, json!({"matched": false}));
    for number in 0..5 {
        let body = json!({"topic": format!("r/{number}"), "payload": format!("{number}"), "retain": true, "qos": 1});
        assert_eq!(publish(body).status, 200);
    }
    assert_eq!(publish(json!({"topic": "r/binary", "payload_base64": "AP8=", "retain": true})).status, 200);
    for (body, wrong) in [
        (json!({"topic": "a/#", "payload": ""}), "topic"),
        (json!({"topic": "", "payload": ""}), "topic"),
        (json!({"topic": "$SYS/broker/version", "payload": "x", "retain": true}), "broker's own"),
        (json!({"topic": "a", "payload_base64": "?"}), "base64"),
        (json!({"topic": "a", "payload": "", "payload_base64": ""}), "both"),
        (json!({"topic": "a", "qos": 3}), "qos"),
        (json!({"topic": "a", "size": 3}), "size"),
        (json!({"payload": "x"}), "topic"),
    ] {
        let answer = publish(body.clone());
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.body["detail"].as_str().is_some_and(|text| text.contains(wrong)), "{body}: {answer:?}");
    }
    let (mut topics, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/api/v1/retained?filter=r/%2B&limit=2{cursor}"));
        topics.extend(page["messages"].as_array().expect("messages").clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('/', "%2F")),
            None => break,
        }
    }
    let shown: Vec<(&str, &Value)> =
        topics.iter().map(|message| (message["topic"].as_str().expect("a topic"), &message["payload"])).collect();
    let expected: Vec<Value> = (0..5).map(|number| json!(number.to_string())).collect();
    assert_eq!(shown[..5].iter().map(|(_, payload)| *payload).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert_eq!(
        (shown[5].0, &topics[5]["payload_base64"], &topics[5]["payload_bytes"]),
        ("r/binary", &json!("AP8="), &json!(2))
    );
    let answer = admin.ask(&admin.operator, "DELETE", "/api/v1/retained?filter=r/%23", None);
    assert_eq!((answer.status, &answer.body), (200, &json!({"messages": 6})));
    assert_eq!(admin.get("/api/v1/retained?filter=r/%23"), json!({"messages": []}));
}

#[test]
fn a_reload_says_what_has_changed_or_what_is_wrong() {
    let admin = Admin::start("api-reload", "[session]\nmax_subscriptions = 2\n");
    let reload = || admin.ask(&admin.operator, "POST", "/api/v1/reload", None);
    let path = admin.broker.directory.join("dunlin.toml");
    let file = fs::read_to_string(&path).expect("its file");
    // The file of users has gone: nothing is changed, and the answer says so.
    admin.broker.write(&file.replace("max_subscriptions = 2", "max_subscriptions = 3"));
    let answer = reload();
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body["detail"].as_str().is_some_and(|text| text.contains("cannot be read")), "{answer:?}");
    assert!(admin.get("/api/v1/overview")["shards"].is_u64(), "whoever was known is known");
    let users = file.lines().find(|line| line.starts_with("users")).expect("a line").split('"').nth(1).expect("a path");
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    fs::write(users, format!("eve:viewer:key${key}\n")).expect("a file");
    let answer = reload();
    fs::remove_file(users).expect("it is ours");
    assert_eq!(answer.status, 200, "{answer:?}");
    let changed = &answer.body["changed"];
    assert_eq!(changed[0], json!({"name": "[session] max_subscriptions", "old": "2", "new": "3"}), "{answer:?}");
    assert_eq!(
        admin.ask(&admin.operator, "GET", "/api/v1/overview", None).status,
        401,
        "its key is in no file any more"
    );
}

#[test]
fn settings_are_shown_with_where_they_come_from() {
    let admin = Admin::start("api-settings", "[session]\nmax_subscriptions = 2\n");
    let settings = admin.get("/api/v1/settings");
    let settings = settings.as_array().expect("a list");
    let named = |name: &str| settings.iter().find(|setting| setting["name"] == name).expect("it is there");
    let subscriptions = named("[session] max_subscriptions");
    assert_eq!((&subscriptions["value"], &subscriptions["reloadable"]), (&json!("2"), &json!(true)));
    assert!(subscriptions["source"].as_str().is_some_and(|source| source.contains("dunlin.toml:")), "{subscriptions}");
    assert_eq!(named("[mqtt] max_inflight")["source"], "default");
}

#[test]
fn metrics_show_what_has_happened() {
    let admin = Admin::start("api-metrics", "");
    let mut client = Client::connect(&admin.broker, b'a');
    client.subscribe(b'x');
    client.ping();
    let accept = [("accept", "application/openmetrics-text")];
    let answer = ask(&admin.address, &accept, "GET", "/metrics", None);
    assert!(answer.kind.starts_with("application/openmetrics-text"), "{answer:?}");
    assert!(answer.text.ends_with("# EOF\n") && answer.text.len() < 100 * 1024, "{} bytes", answer.text.len());
    let value = |name: &str| {
        let lines = answer.text.lines().filter_map(|line| line.split_once(' '));
        let found = lines.filter(|(found, _)| *found == name || found.starts_with(&format!("{name}{{")));
        found.map(|(_, value)| value.parse::<f64>().expect("a number")).sum::<f64>()
    };
    assert!((value("dunlin_connects_accepted_total") - 1.0).abs() < f64::EPSILON, "{}", answer.text);
    assert!((value("dunlin_sessions") - 1.0).abs() < f64::EPSILON && value("dunlin_packets_received_total") >= 3.0);
    assert!((value("dunlin_subscriptions") - 1.0).abs() < f64::EPSILON && value("process_open_fds") > 10.0);
}

/// Runs `dunlin ctl`. Its status and what it prints come back.
fn ctl(admin: &Admin, key: &str, arguments: &[&str]) -> (Option<i32>, String) {
    ctl_at(&format!("http://{}", admin.address), key, arguments)
}

fn ctl_at(url: &str, key: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["ctl", "--url", url])
        .args(arguments)
        .env("DUNLIN_CTL_KEY", key)
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text")).concat();
    (output.status.code(), text)
}

#[test]
fn the_command_line_does_what_the_api_does() {
    let admin = Admin::start("ctl", "[session]\nmax_subscriptions = 2\n");
    let mut clients: Vec<Client> = (b'a'..=b'e').map(|id| Client::connect(&admin.broker, id)).collect();
    assert_eq!(clients[0].subscribe(b'x'), 0);
    let ok = |arguments: &[&str]| {
        let (status, text) = ctl(&admin, &admin.operator, arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {text}");
        text
    };
    assert!(ok(&["status"]).lines().any(|line| line.starts_with("clients_connected ") && line.ends_with(" 5")));
    assert_eq!(ok(&["clients"]).lines().count(), 6, "a heading and each of them");
    assert_eq!(ok(&["clients", "--limit", "2"]).lines().count(), 3);
    assert!(ok(&["clients", "--prefix", "a"]).contains("\na       yes        3.1.1    1"), "{}", ok(&["clients"]));
    assert!(ok(&["clients", "--contains", "a"]).contains("\na       yes        3.1.1    1"), "{}", ok(&["clients"]));
    assert!(ok(&["client", "a"]).lines().any(|line| line.starts_with("filters ") && line.ends_with(" x")));
    assert!(ok(&["clients", "--address", "127.0.0.0/8"]).contains("127.0.0.1:"));
    assert_eq!(ok(&["clients", "--user", "nobody"]).lines().count(), 1);
    assert!(ok(&["subscriptions", "--topic", "x"]).ends_with("\na       yes        0    yes    x\n"));
    assert_eq!(ok(&["subscriptions", "--filter", "y"]).lines().count(), 1);
    for counted in [&["topics"][..], &["top", "messages-received"], &["top", "dropped"], &["top", "bytes-sent"]] {
        let text = ok(counted);
        assert!(text.contains("\n(counted for ") && text.ends_with(" s)\n"), "{counted:?}: {text}");
    }
    for of_now in ["queued", "queued-bytes", "queue-age", "in-flight", "ack-age"] {
        assert_eq!(ok(&["top", of_now]), "VALUE  CLIENT\n", "{of_now}");
    }
    assert!(ok(&["groups"]).starts_with("MEMBERS") && ok(&["groups", "$share/g/x"]).contains("PICKED"));
    assert_eq!(ok(&["publish", "x", "hello"]), "published; somebody is subscribed\n");
    assert_eq!(clients[0].receive(), *b"\x30\x08\0\x01xhello");
    assert_eq!(ok(&["publish", "-r", "r/1", "kept"]), "published; nobody is subscribed\n");
    assert!(ok(&["retained", "r/#"]).ends_with("\nr/1    0    4      never    kept\n"), "{}", ok(&["retained", "r/#"]));
    let json: Value = serde_json::from_str(&ok(&["--json", "retained", "r/#"])).expect("JSON");
    assert_eq!(json[0]["payload"], "kept");
    assert_eq!(ok(&["delete-retained", "r/#"]), "messages  1\n");
    assert!(ok(&["settings", "max_subscriptions"]).contains("[session] max_subscriptions  2"));
    assert!(ok(&["client", "a"]).contains("connected"), "a long id is asked for as well");
    assert_eq!(ok(&["kick", "b"]), "done\n");
    clients[1].closed();
    for (key, arguments, told) in [
        (&admin.viewer, &["kick", "c"][..], "operator"),
        (&admin.operator, &["client", "nobody"], "no session has this client id (HTTP 404)"),
        (&"x".to_owned(), &["status"], "nobody has this API key"),
        (&admin.operator, &["client", &"/".repeat(40_000)], "too long"),
    ] {
        let (status, text) = ctl(&admin, key, arguments);
        assert_eq!(status, Some(1), "{arguments:?}: {text}");
        assert!(text.contains(told), "{arguments:?}: {text}");
    }
    clients[2].ping();
    for url in ["http://127.0.0.1:1", "https://127.0.0.1:1", &format!("https://{}", admin.address)] {
        let (status, text) = ctl_at(url, &admin.operator, &["status"]);
        assert_eq!(status, Some(1), "{url}: {text}");
        assert!(text.contains("is the broker running"), "{url}: {text}");
    }
}

#[test]
fn a_supervisor_is_told_whether_the_broker_lives() {
    let mut admin = Admin::start("healthcheck", "");
    let url = format!("http://{}", admin.address);
    let check = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_dunlin")).args(["healthcheck", "--url", &url]).args(arguments).output();
        output.expect("it runs").status.code()
    };
    assert_eq!((check(&[]), check(&["--ready"])), (Some(0), Some(0)));
    let path = std::env::temp_dir().join(format!("dunlin-healthcheck-{}.sock", std::process::id()));
    let path = path.to_str().expect("UTF-8");
    let by_path = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let output = command.args(["healthcheck", "--socket", path]).args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, told) = by_path(&[]);
    assert!(status == Some(1) && told.contains(path), "{told}");
    let local = Admin::start("healthcheck-path", &format!("socket = {path:?}\n"));
    // Silent ones of its own user keep it from nothing there, either.
    let silent: Vec<UnixStream> = (0..40).filter_map(|_| UnixStream::connect(path).ok()).collect();
    assert_eq!((silent.len(), by_path(&[]).0, by_path(&["--ready"]).0), (40, Some(0), Some(0)));
    let name = local.get("/api/v1/listeners")[0]["name"].as_str().expect("a name").to_owned();
    let stop = format!("/api/v1/listeners/{name}/stop");
    assert_eq!(local.ask(&local.operator, "POST", &stop, None).status, 204);
    let (status, told) = by_path(&["--ready"]);
    assert!(status == Some(1) && told.contains("/readyz answers with HTTP 503"), "{told}");
    assert_eq!(by_path(&["--url", "http://127.0.0.1:1"]).0, Some(2), "there is one place");
    admin.broker.signal("TERM");
    admin.broker.ended();
    assert_eq!((check(&[]), check(&["--ready"]), check(&["--soon"])), (Some(1), Some(1), Some(2)));
}
