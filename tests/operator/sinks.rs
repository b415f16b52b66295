//! Sinks as an operator meets them: what a table makes of messages, what its target is sent, and what the API says of it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::admin::Admin;
use crate::recorder::{Recorded, Recorder};

/// Far above what anything here takes, for machines that are busy.
const LIMIT: Duration = Duration::from_secs(60);

/// Publishes by the API, which answers when the message has been routed.
fn publish(admin: &Admin, topic: &str, payload: &str) {
    let body = json!({"topic": topic, "payload": payload, "qos": 1});
    let answer = admin.ask(&admin.operator, "POST", "/api/v1/publish", Some(body));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Waits until the sinks have subscribed: what is published before is for others.
fn wait_for_sinks(admin: &Admin, count: usize) {
    wait_until("the sinks are there", || {
        let sinks = admin.get("/api/v1/sinks");
        let sinks = sinks.as_array().expect("a list");
        sinks.len() == count && sinks.iter().all(|sink| sink["status"] != "connecting")
    });
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn bodies(requests: &[Recorded]) -> Vec<&str> {
    requests.iter().map(|request| request.body.as_str()).collect()
}

/// The tables of docs/SINKS.md, each with the port of a recorder in place of its own.
fn documented(name: &str, recorder: &Recorder) -> String {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SINKS.md")).expect("it is there");
    let tables = document.split("```toml\n").skip(1).filter_map(|part| part.split("```").next());
    let table = tables.into_iter().find(|table| table.contains(&format!("name = \"{name}\"")));
    let table = table.unwrap_or_else(|| panic!("docs/SINKS.md has no table {name}"));
    let url = table.lines().find(|line| line.starts_with("url = ")).expect("it has a URL");
    let place = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).expect("a host and a port");
    table.replace(place, &recorder.address.to_string())
}

#[test]
fn the_documented_tables_for_other_systems_send_what_those_systems_read() {
    let (clickhouse, loki) = (Recorder::start(None), Recorder::start(None));
    let influx = Recorder::start(None);
    let password = std::env::temp_dir().join(format!("dunlin-clickhouse-{}", std::process::id()));
    fs::write(&password, "sesame\n").expect("a file");
    let tables = [
        documented("clickhouse", &clickhouse).replace("/etc/dunlin/clickhouse", password.to_str().expect("UTF-8")),
        documented("loki", &loki),
        documented("influx", &influx),
    ];
    let admin = Admin::start("sinks-documented", &tables.concat());
    wait_for_sinks(&admin, 3);
    publish(&admin, "plant/north wing/temperature", r#"{"celsius": 21.5, "value": 7}"#);
    publish(&admin, "log/pump", "it \"runs\"");
    let requests = clickhouse.wait_for("ClickHouse is sent a row", |requests| !requests.is_empty());
    fs::remove_file(&password).expect("it is ours");
    assert_eq!(requests[0].line, "POST /?query=INSERT%20INTO%20readings%20FORMAT%20JSONEachRow HTTP/1.1");
    assert_eq!(requests[0].header("authorization"), Some("Basic ZGVmYXVsdDpzZXNhbWU="));
    let row: Value = serde_json::from_str(requests[0].body.trim_end()).expect("a line of JSON");
    assert_eq!((&row["topic"], &row["value"]), (&json!("plant/north wing/temperature"), &json!(7)));
    let requests = loki.wait_for("Loki is sent a stream", |requests| !requests.is_empty());
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_str(&requests[0].body).expect("JSON");
    assert_eq!(body["streams"][0]["stream"], json!({"source": "mqtt"}));
    assert_eq!(body["streams"][0]["values"][0][1], json!("log/pump it \"runs\""));
    let time = body["streams"][0]["values"][0][0].as_str().expect("a text");
    assert_eq!(time.len(), 19, "nanoseconds: {time}");
    let requests = influx.wait_for("InfluxDB is sent a line", |requests| !requests.is_empty());
    let line = requests[0].body.strip_suffix('\n').expect("a line");
    let (point, time) = line.rsplit_once(' ').expect("a time");
    assert_eq!(point, r"temperature,site=north\ wing celsius=21.5");
    assert!(time.len() == 13 && time.parse::<u64>().is_ok(), "milliseconds: {time}");
}

#[test]
fn the_documented_table_for_elasticsearch_sends_actions_and_documents() {
    let recorder = Recorder::start(None);
    let admin = Admin::start("sinks-elastic", &documented("elasticsearch", &recorder));
    wait_for_sinks(&admin, 1);
    publish(&admin, "plant/7", "{\"a\":\n1}");
    // The recorder's answer is no answer of the bulk API: the sink tries again, with the same id.
    let requests = recorder.wait_for("it is tried again", |requests| requests.len() >= 2);
    assert_eq!(requests[0].line, "POST /_bulk HTTP/1.1");
    assert_eq!(requests[0].header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> =
        requests[0].body.lines().map(|line| serde_json::from_str(line).expect("JSON on each line")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[0]["index"]["_index"], &lines[1]["payload"]), (&json!("plant"), &json!({"a": 1})));
    let ids: Vec<&str> = requests.iter().map(|request| request.body.split("_id").nth(1).expect("an id")).collect();
    assert_eq!(ids[0], ids[1]);
    let sink = admin.get("/api/v1/sinks/elasticsearch");
    assert!(sink["failed_attempts"].as_u64() >= Some(1) && sink["last_error"].is_string(), "{sink}");
}

#[test]
fn a_condition_chooses_an_error_makes_a_dead_letter_and_republish_is_bounded() {
    let recorder = Recorder::start(None);
    let url = recorder.address;
    let tables = format!(
        "[[sink]]\nname = \"hot\"\ntopics = [\"plant/+\"]\ncondition = \"payload.t > 30\"\nformat = \"raw\"\n\
         [sink.http]\nurl = \"http://{url}/hot\"\n\
         [[sink]]\nname = \"dead\"\ntopics = [\"$dead/#\"]\nformat = \"raw\"\n[sink.http]\nurl = \"http://{url}/dead\"\n\
         [[sink]]\nname = \"round\"\ntopics = [\"round/#\"]\nformat = \"raw\"\n\
         [sink.republish]\ntopic = \"round/again\"\nmax_hops = 3\n"
    );
    let admin = Admin::start("sinks-condition", &tables);
    wait_for_sinks(&admin, 3);
    publish(&admin, "plant/1", r#"{"t": 31}"#);
    publish(&admin, "plant/2", r#"{"t": 29}"#);
    publish(&admin, "plant/3", "no number");
    publish(&admin, "round/first", "x");
    let of = |path: &str, requests: &[Recorded]| -> Vec<String> {
        let ours = requests.iter().filter(|request| request.line.contains(path));
        ours.map(|request| request.body.clone()).collect()
    };
    let requests = recorder
        .wait_for("all of it comes", |requests| of("/hot", requests).len() == 1 && of("/dead", requests).len() == 2);
    assert_eq!(of("/hot", &requests), [r#"{"t": 31}"#]);
    let mut dead = of("/dead", &requests);
    dead.sort();
    assert_eq!(dead, ["no number", "x"]);
    let sink = admin.get("/api/v1/sinks/hot");
    assert_eq!((&sink["received"], &sink["delivered"]), (&json!(3), &json!(1)), "{sink}");
    assert_eq!((&sink["passed_over"], &sink["dead_letters"]), (&json!(1), &json!(1)), "{sink}");
    let sink = admin.get("/api/v1/sinks/round");
    assert_eq!((&sink["delivered"], &sink["dead_letters"]), (&json!(3), &json!(1)), "{sink}");
    wait_until("nothing waits", || admin.get("/api/v1/sinks/hot")["queued_messages"] == 0);
}

#[test]
fn a_sink_is_paused_resumed_tested_and_measured() {
    let recorder = Recorder::start(None);
    let table = format!(
        "[[sink]]\nname = \"one\"\ntopics = [\"t/#\"]\nformat = \"raw\"\n[sink.http]\nurl = \"http://{}/\"\n",
        recorder.address
    );
    let admin = Admin::start("sinks-api", &table);
    wait_for_sinks(&admin, 1);
    let ask = |path: &str, key: &str| admin.ask(key, "POST", path, Some(json!({}))).status;
    assert_eq!(ask("/api/v1/sinks/one/pause", &admin.viewer), 403);
    assert_eq!(ask("/api/v1/sinks/none/pause", &admin.operator), 404);
    assert_eq!(ask("/api/v1/sinks/one/pause", &admin.operator), 204);
    wait_until("it has stopped", || admin.get("/api/v1/sinks/one")["status"] == "stopped");
    for number in 0..5 {
        publish(&admin, "t/1", &number.to_string());
    }
    wait_until("five wait", || admin.get("/api/v1/sinks/one")["queued_messages"] == 5);
    assert_eq!(ask("/api/v1/sinks/one/resume", &admin.operator), 204);
    let requests = recorder.wait_for("they come", |requests| requests.len() == 5);
    assert_eq!(bodies(&requests), ["0", "1", "2", "3", "4"]);
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let command = command.args(arguments).env("DUNLIN_CTL_KEY", &admin.operator);
        let output = command.env("DUNLIN_CTL_URL", format!("http://{}", admin.address)).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (is_done, text) = ctl(&["sink", "test", "one", "--payload", "from here"]);
    assert!(is_done && text.contains("delivered"), "{text}");
    assert_eq!(recorder.requests().last().map(|request| request.body.clone()).as_deref(), Some("from here"));
    let (is_done, text) = ctl(&["ctl", "sinks"]);
    assert!(is_done && text.contains("one") && text.contains("connected"), "{text}");
    recorder.answer(500);
    let (is_done, text) = ctl(&["sink", "test", "one"]);
    assert!(!is_done && text.contains("500"), "{text}");
    recorder.answer(400);
    let (is_done, text) = ctl(&["sink", "test", "one"]);
    assert!(!is_done && text.contains("rejected"), "{text}");
    assert!(!ctl(&["sink", "test", "none"]).0);
    let metrics = admin.ask(&admin.viewer, "GET", "/metrics", None).text;
    for line in ["dunlin_sink_messages_delivered_total{sink=\"one\"} 5", "dunlin_sink_up{sink=\"one\"} 1"] {
        assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
    }
}

#[test]
fn what_has_waited_for_a_sink_has_the_time_when_it_was_published() {
    let recorder = Recorder::start(None);
    let table = format!(
        "[[sink]]\nname = \"one\"\ntopics = [\"t/#\"]\ntemplate = \"{{{{ time_ms }}}}\"\n[sink.http]\nurl = \"http://{}/\"\n",
        recorder.address
    );
    let admin = Admin::start("sinks-time", &table);
    wait_for_sinks(&admin, 1);
    let ask = |path: &str| admin.ask(&admin.operator, "POST", path, Some(json!({}))).status;
    assert_eq!(ask("/api/v1/sinks/one/pause"), 204);
    wait_until("it has stopped", || admin.get("/api/v1/sinks/one")["status"] == "stopped");
    let now_ms = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        u64::try_from(now.as_millis()).expect("milliseconds")
    };
    let before = now_ms();
    publish(&admin, "t/1", "x");
    wait_until("it waits", || admin.get("/api/v1/sinks/one")["queued_messages"] == 1);
    let after = now_ms();
    // As the clock that is asked for passes: there is nothing to wait for.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(ask("/api/v1/sinks/one/resume"), 204);
    let requests = recorder.wait_for("it comes", |requests| requests.len() == 1);
    let told: u64 = requests[0].body.parse().expect("milliseconds");
    // A tick of the timers is a tenth of a second, and a shard that was idle may be one behind.
    assert!(before.saturating_sub(1_100) <= told && told <= after + 200, "{before} <= {told} <= {after}");
}

#[test]
fn what_overflows_a_queue_is_shown_with_its_sink_and_an_error_that_has_passed_is_not_shown_as_current() {
    let recorder = Recorder::start(None);
    let table = format!(
        "[session]\nmax_queued_messages = 4\n[[sink]]\nname = \"small\"\ntopics = [\"t/#\"]\nformat = \"raw\"\nmax_inflight = 1\n\
         [sink.http]\nurl = \"http://{}/\"\n",
        recorder.address
    );
    let admin = Admin::start("sinks-overflow", &table);
    wait_for_sinks(&admin, 1);
    recorder.answer(500);
    for number in 0..10 {
        publish(&admin, "t/1", &number.to_string());
    }
    wait_until("the target is known to fail", || admin.get("/api/v1/sinks/small")["failing"] == true);
    let sink = admin.get("/api/v1/sinks/small");
    let (queued, dropped) = (sink["queued_messages"].as_u64(), sink["queue_dropped"].as_u64());
    assert!(dropped >= Some(5) && queued.zip(dropped).map(|(queued, dropped)| queued + dropped) == Some(10), "{sink}");
    assert!(sink["last_error"].as_str().is_some_and(|error| error.contains("500")), "{sink}");
    let metrics = admin.ask(&admin.viewer, "GET", "/metrics", None).text;
    let line = format!("dunlin_sink_queue_messages_dropped_total{{sink=\"small\"}} {}", dropped.expect("a number"));
    assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
    recorder.answer(200);
    wait_until("nothing waits", || admin.get("/api/v1/sinks/small")["queued_messages"] == 0);
    let after = admin.get("/api/v1/sinks/small");
    assert_eq!((&after["failing"], &after["status"]), (&json!(false), &json!("connected")), "{after}");
    assert!(after["last_error"].is_string() && after["last_error_at_ms"].as_u64() >= sink["last_error_at_ms"].as_u64());
    assert_eq!(after["queue_dropped"].as_u64(), dropped, "{after}");
}

#[test]
fn a_reload_starts_stops_and_changes_sinks_and_leaves_others_alone() {
    let recorder = Recorder::start(None);
    let table = |name: &str, filter: &str| {
        let url = recorder.address;
        format!(
            "[[sink]]\nname = \"{name}\"\ntopics = [\"{filter}\"]\nformat = \"raw\"\n[sink.http]\nurl = \"http://{url}/{name}\"\n"
        )
    };
    let admin = Admin::start("sinks-reload", &(table("a", "a/#") + &table("b", "b/#")));
    wait_for_sinks(&admin, 2);
    let settings = fs::read_to_string(admin.broker.directory.join("dunlin.toml")).expect("its file");
    let before = admin.get("/api/v1/sinks/a");
    let changed = settings.replace("\"b/#\"", "\"c/#\"") + &table("d", "d/#");
    let users =
        settings.lines().find_map(|line| line.strip_prefix("users = ")).expect("a line").trim_matches('"').to_owned();
    // The file of users was read and removed: a reload reads it again.
    let passwd = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dunlin")).args(["passwd", "--admin"]).args(arguments).output();
        String::from_utf8_lossy(&output.expect("it runs").stdout).trim().to_owned()
    };
    passwd(&["-cb", "--role", "operator", &users, "ann", "sesame"]);
    let key = passwd(&["--api-key", "--role", "operator", &users, "robot"]);
    let lines = admin.broker.reload(&changed);
    fs::remove_file(&users).expect("it is ours");
    assert!(lines.iter().any(|line| line.contains("[[sink]] b")), "{lines:?}");
    let get = |path: &str| admin.ask(&key, "GET", path, None).body;
    wait_until("three are there", || {
        let sinks = get("/api/v1/sinks");
        let sinks = sinks.as_array().cloned().unwrap_or_default();
        sinks.len() == 3 && sinks.iter().all(|sink| sink["status"] != "connecting")
    });
    assert_eq!(get("/api/v1/sinks/a")["since_ms"], before["since_ms"]);
    for topic in ["a/1", "b/1", "c/1", "d/1"] {
        let body = json!({"topic": topic, "payload": topic, "qos": 1});
        assert_eq!(admin.ask(&key, "POST", "/api/v1/publish", Some(body)).status, 200);
    }
    let requests = recorder.wait_for("three come", |requests| requests.len() == 3);
    let mut found = bodies(&requests);
    found.sort_unstable();
    assert_eq!(found, ["a/1", "c/1", "d/1"]);
}

#[test]
fn files_hold_what_was_published_and_a_batch_is_published_by_one_request() {
    let folder: PathBuf = std::env::temp_dir().join(format!("dunlin-sink-files-{}", std::process::id()));
    let table = format!(
        "[[sink]]\nname = \"files\"\ntopics = [\"t/#\"]\n[sink.file]\nfolder = \"{}\"\n",
        folder.to_str().expect("UTF-8")
    );
    let admin = Admin::start("sinks-files", &table);
    wait_for_sinks(&admin, 1);
    let messages: Vec<Value> = (0..100)
        .map(|number| json!({"topic": format!("t/{}", number % 3), "payload": number.to_string(), "qos": 1}))
        .collect();
    let answer = admin.ask(&admin.operator, "POST", "/api/v1/publish/batch", Some(json!(messages)));
    assert_eq!((answer.status, answer.body.as_array().map(Vec::len)), (200, Some(100)), "{answer:?}");
    assert!(
        answer.body.as_array().expect("a list").iter().all(|one| one["published"] == true && one["matched"] == true)
    );
    wait_until("all are in files", || admin.get("/api/v1/sinks/files")["delivered"] == 100);
    let mut text = String::new();
    for entry in fs::read_dir(&folder).expect("it is there") {
        text.push_str(&fs::read_to_string(entry.expect("an entry").path()).expect("text"));
    }
    fs::remove_dir_all(&folder).expect("it is ours");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let payloads: Vec<u64> = rows.iter().map(|row| row["payload"].as_u64().expect("a number")).collect();
    assert_eq!(payloads, (0..100).collect::<Vec<u64>>());
    // Whoever may look may not publish; a message that cannot be read publishes none; too many are refused.
    let one = json!([{"topic": "t/1", "payload": "x"}]);
    assert_eq!(admin.ask(&admin.viewer, "POST", "/api/v1/publish/batch", Some(one)).status, 403);
    let bad = json!([{"topic": "t/1", "payload": "x"}, {"topic": "t/1", "qos": 7}]);
    assert_eq!(admin.ask(&admin.operator, "POST", "/api/v1/publish/batch", Some(bad)).status, 400);
    let refused = json!([{"topic": "t/+", "payload": "x"}, {"topic": "u", "payload": "x"}]);
    let answer = admin.ask(&admin.operator, "POST", "/api/v1/publish/batch", Some(refused)).body;
    assert_eq!((&answer[0]["published"], &answer[1]["published"]), (&json!(false), &json!(true)), "{answer}");
    assert!(answer[0]["problem"].is_string(), "{answer}");
    let many: Vec<Value> = (0..1_001).map(|_| json!({"topic": "u"})).collect();
    assert_eq!(admin.ask(&admin.operator, "POST", "/api/v1/publish/batch", Some(json!(many))).status, 413);
}

#[test]
fn a_message_that_no_packet_holds_as_a_dead_letter_stops_nothing() {
    let recorder = Recorder::start(None);
    let url = recorder.address;
    let table = |name: &str, topics: &str, more: &str| {
        format!("[[sink]]\nname = \"{name}\"\ntopics = [\"{topics}\"]\n{more}\n")
    };
    let http = |path: &str| format!("[sink.http]\nurl = \"http://{url}/{path}\"");
    let tables = format!(
        "[mqtt]\nmax_packet_size = \"2KiB\"\n{}{}{}{}",
        table("hot", "plant/#", &format!("condition = \"payload.t > 30\"\nformat = \"raw\"\n{}", http("hot"))),
        table(
            "again",
            "again/#",
            "template = \"{{ payload_text }}{{ payload_text }}\"\n[sink.republish]\ntopic = \"twice\""
        ),
        table("twice", "twice", &format!("format = \"raw\"\n{}", http("twice"))),
        table("dead", "$dead/#", &http("dead")),
    );
    let admin = Admin::start("sinks-no-packet", &tables);
    wait_for_sinks(&admin, 4);
    publish(&admin, "plant/1", &"x".repeat(2_030));
    publish(&admin, "plant/1", r#"{"t": 31}"#);
    publish(&admin, "again/1", &"y".repeat(1_500));
    publish(&admin, "again/1", "z");
    let of = |path: &str, requests: &[Recorded]| -> Vec<String> {
        let ours = requests.iter().filter(|request| request.line.contains(path));
        ours.map(|request| request.body.clone()).collect()
    };
    let requests = recorder.wait_for("all of it comes", |requests| {
        of("/hot", requests).len() == 1 && of("/twice", requests).len() == 1 && of("/dead", requests).len() == 2
    });
    assert_eq!(
        (of("/hot", &requests), of("/twice", &requests)),
        (vec![r#"{"t": 31}"#.to_owned()], vec!["zz".to_owned()])
    );
    let dead: Vec<Value> =
        of("/dead", &requests).iter().map(|body| serde_json::from_str(body).expect("JSON")).collect();
    let of_topic = |topic: &str| dead.iter().find(|letter| letter["topic"] == topic).expect("it is there");
    let payload = of_topic("$dead/hot")["payload"].as_str().expect("text");
    assert!(payload.len() > 1_900 && payload.len() < 2_030 && payload.bytes().all(|byte| byte == b'x'), "{payload}");
    assert!(of_topic("$dead/hot")["properties"].to_string().contains(r#"["truncated","2030"]"#));
    assert_eq!(of_topic("$dead/again")["payload"], "y".repeat(1_500));
    wait_until("nothing waits", || {
        let queued = |name: &str| admin.get(&format!("/api/v1/sinks/{name}"))["queued_messages"].clone();
        queued("hot") == 0 && queued("again") == 0
    });
}

#[test]
fn a_wrong_path_eats_no_backlog_and_is_not_called_connected() {
    let recorder = Recorder::start(None);
    let table = format!(
        "[[sink]]\nname = \"one\"\ntopics = [\"t/#\"]\nformat = \"raw\"\n[sink.http]\nurl = \"http://{}/secret-path\"\n",
        recorder.address
    );
    let admin = Admin::start("sinks-wrong-path", &table);
    wait_for_sinks(&admin, 1);
    recorder.answer(404);
    for number in 0..5 {
        publish(&admin, "t/1", &number.to_string());
    }
    wait_until("it fails", || admin.get("/api/v1/sinks/one")["failing"] == true);
    let sink = admin.get("/api/v1/sinks/one");
    assert_eq!((&sink["dead_letters"], &sink["status"]), (&json!(0), &json!("connecting")), "{sink}");
    assert!(sink["last_error"].as_str().is_some_and(|error| error.contains("404")), "{sink}");
    assert!(!sink.to_string().contains("secret-path"), "{sink}");
    recorder.answer(200);
    wait_until("all are delivered", || admin.get("/api/v1/sinks/one")["delivered"] == 5);
    // A batch of which the server takes nothing says nothing of whether it is the right one.
    recorder.answer(400);
    publish(&admin, "t/1", "bad");
    wait_until("nobody is told of it", || {
        let sink = admin.get("/api/v1/sinks/one");
        sink["last_error"].as_str().is_some_and(|error| error.contains("nobody is subscribed to $dead/one"))
    });
    assert_eq!(admin.get("/api/v1/sinks/one")["queued_messages"], 0);
}
