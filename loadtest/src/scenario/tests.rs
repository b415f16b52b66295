//! Scenario files: what is read, and what is refused with which words.

use super::*;
use crate::plan::Content;
use crate::plan::{Action, DropHow, Pipeline};
use crate::plan::{Order, Pace, Reads, RetainHandling};

const FULL: &str = r#"
name = "evening"
description = "People come home."
seed = 7
drain = "20s"
fail_if = ["p99>50ms", "loss>0"]

[broker]
host = "broker.example"
port = 1884
version = "3.1.1"
username = "dev-%i"
password = "secret"
keep_alive = "2m"

[[group]]
name = "devices"
clients = "2K"
client_id = "dev-%i"
clean_start = false
session_expiry = "5m"
subscribe = ["home/%i/command", { filter = "home/all", qos = 0, retain_handling = "do_not_send" }]
publish = { topic = "home/%i/report", every = "10s", payload = "1KiB", retain = true }

[[group]]
name = "control"
clients = 2
qos = 2
reads = "10KB/s"
[group.publish]
topic = "home/%r/command"
rate = 100
targets = 2000
target_order = "in_turn"

[[stage]]
do = "ramp"
groups = ["devices", "control"]
rate = "1K"

[[stage]]
name = "peak"
do = "hold"
for = "1m"
publish = ["devices", "control"]
measure = true

[[stage]]
do = "drop"
groups = ["devices"]
percent = 12.5
how = "reset"
await_deliveries = 5
"#;

#[test]
fn a_scenario_becomes_a_plan() {
    let scenario = read("file", FULL, Path::new(".")).unwrap();
    let plan = &scenario.plan;
    assert_eq!(scenario.thresholds.len(), 2);
    assert_eq!((plan.name.as_str(), plan.seed, plan.drain_s), ("evening", 7, 20));
    assert_eq!((plan.target.host.as_str(), plan.target.port, plan.target.keep_alive_s), ("broker.example", 1884, 120));
    assert_eq!(plan.target.version, MqttVersion::V311);
    let devices = &plan.groups[0];
    assert_eq!((devices.clients, devices.clean_start, devices.session_expiry_s), (2_000, false, 300));
    assert_eq!((devices.subscriptions[0].qos, devices.subscriptions[1].qos), (1, 0));
    assert_eq!(devices.subscriptions[1].retain_handling, RetainHandling::DoNotSend);
    let publishing = devices.publishing.as_ref().unwrap();
    assert_eq!(publishing.pace, Pace::Open { per_client_per_s: 0.1 });
    assert_eq!((publishing.payload_bytes, publishing.retain, publishing.qos), (1_024, true, 1));
    let control = &plan.groups[1];
    assert_eq!(control.reads, Reads::Slow { bytes_per_s: 10_000 });
    assert_eq!(control.client_id.0, "loadtest-control-%i");
    let publishing = control.publishing.as_ref().unwrap();
    assert_eq!((publishing.qos, publishing.pace), (2, Pace::Open { per_client_per_s: 50.0 }));
    assert_eq!(publishing.targets.unwrap().order, Order::InTurn);
    assert!(matches!(plan.stages[0].action, Action::Ramp { rate_per_s: 1000.0, .. }));
    assert!(plan.stages[1].measured && plan.stages[1].name == "peak");
    assert!(matches!(plan.stages[2].action, Action::Drop { percent: 12.5, how: DropHow::Reset, .. }));
    assert_eq!((plan.stages[2].await_deliveries_s, plan.stages[2].name.as_str()), (Some(5), "drop"));
}

#[test]
fn a_group_that_subscribes_may_pipeline_and_the_plan_tells_of_whom_it_is_so() {
    assert_eq!(read("file", FULL, Path::new(".")).unwrap().plan.pipeline(), Pipeline::Off);
    let piped = FULL.replacen("clean_start = false", "clean_start = false\npipeline = true", 1);
    assert_eq!(
        read("file", &piped, Path::new(".")).unwrap().plan.pipeline(),
        Pipeline::On,
        "who publishes only does not count"
    );
    let some = piped.replacen("qos = 2", "subscribe = [\"home/+/report\"]", 1);
    assert_eq!(read("file", &some, Path::new(".")).unwrap().plan.pipeline(), Pipeline::Mixed);
}

#[test]
fn what_lies_below_mqtt_has_the_words_of_the_flags() {
    let more = "tls = true\ncafile = \"ca.pem\"\ncert = \"c-%i.pem\"\nkey = \"/keys/c-%i.key\"\ntls_version = \"1.2\"\n\
                tls_groups = [\"x25519\"]\ntls_resume = 50\ntls_name = \"broker\"\nws = true\nws_path = \"/x\"\n";
    let text = FULL.replacen("port = 1884\n", more, 1);
    let target = read("x", &text, Path::new("/folder")).unwrap().plan.target;
    assert_eq!((target.port, target.name().as_str()), (8084, "wss://broker.example:8084/x"));
    let tls = target.tls.unwrap();
    assert_eq!(tls.ca_file.as_deref(), Some(Path::new("/folder/ca.pem")), "paths count from the scenario's folder");
    assert_eq!(tls.certificate.unwrap().0, "/folder/c-%i.pem");
    assert_eq!((tls.key.unwrap().0.as_str(), tls.groups.len()), ("/keys/c-%i.key", 1));
    assert_eq!((tls.version, tls.server_name.as_deref()), (Some(crate::plan::TlsVersion::V12), Some("broker")));
    let more = "jwt_key = \"k\"\njwt_expiry = \"5m\"\njwt_claim = [\"aud=mqtt\"]\n";
    let text = FULL.replacen("password = \"secret\"\n", more, 1);
    let token = read("x", &text, Path::new("/folder")).unwrap().plan.target.token.unwrap();
    assert_eq!((token.key.to_str(), token.expiry_s, token.claims.len()), (Some("/folder/k"), 300, 1));
    for (more, part) in [
        ("cafile = \"ca.pem\"", "cafile has no use without tls = true"),
        ("ws_path = \"/x\"", "ws_path has no use without ws = true"),
        ("jwt_claim = [\"a=b\"]", "jwt_claim has no use without jwt_key"),
        ("unix = \"/run/mqtt.sock\"", "host has no use with unix"),
        ("tls = true\ncert = \"c.pem\"", "a client certificate needs its key"),
        ("tls = true\ntls_resume = 120", "must be between 0 and 100"),
    ] {
        let text = FULL.replacen("[broker]\n", &format!("[broker]\n{more}\n"), 1);
        let problems = read("x", &text, Path::new("/folder")).unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|line| line.contains(part)), "{more}: {told:?}");
    }
}

#[test]
fn a_mistake_is_told_with_its_place_and_what_was_meant() {
    let table: &[(&str, &str, &str)] = &[
        ("seed = 7", "sed = 7", "scenario: unknown key \"sed\"; did you mean \"seed\"?"),
        ("port = 1884", "prot = 1884", "scenario broker: unknown key \"prot\"; did you mean \"port\"?"),
        ("clients = 2\n", "cleints = 2\n", "group \"control\": clients is missing"),
        ("reads = \"10KB/s\"", "read = \"10KB/s\"", "group \"control\": unknown key \"read\"; did you mean \"reads\"?"),
        ("reads = \"10KB/s\"", "reads = \"fast\"", "is not \"all\", \"stalled\" or a size"),
        ("every = \"10s\"", "evry = \"10s\"", "group \"devices\" publish: one of rate"),
        (
            "every = \"10s\"",
            "every = \"0s\"",
            "every is the time from one message of a client to its next, and above 0",
        ),
        ("rate = 100", "rate = 100\nwindow = 3", "group \"control\" publish: one of rate"),
        ("for = \"1m\"", "for = \"1 parsec\"", "stage \"peak\": for = \"1 parsec\" is not a span of time"),
        ("do = \"drop\"", "do = \"dorp\"", "stage 3: do = \"dorp\" is not known; did you mean \"drop\"?"),
        ("how = \"reset\"", "how = \"rest\"", "did you mean \"reset\"?"),
        (
            "groups = [\"devices\"]",
            "groups = [\"device\"]",
            "no group is called \"device\"; there are devices, control",
        ),
        ("version = \"3.1.1\"", "version = \"6\"", "version = \"6\" is not known"),
        ("qos = 2", "pipeline = true", "pipeline = true, but it subscribes to nothing"),
        ("qos = 2", "pipeline = 1", "pipeline = 1 is not true or false"),
        ("qos = 2", "qos = 3", "qos = 3, but it must be 0, 1 or 2"),
        ("\"p99>50ms\"", "\"p99\"", "is not a threshold"),
        ("targets = 2000\n", "\n", "targets is missing"),
        ("percent = 12.5", "percent = 112.5", "percent = 112.5, but it must be between 0 and 100"),
        ("retain_handling", "retain_handing", "did you mean \"retain_handling\"?"),
        ("[broker]", "[broker", "8: this is not TOML"),
    ];
    for (from, to, part) in table {
        assert!(FULL.contains(from), "{from}");
        let problems = read("file", &FULL.replacen(from, to, 1), Path::new(".")).unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let wanted = FULL[..FULL.find(from).unwrap()].lines().count().max(1);
        assert!(told.iter().any(|text| text.contains(part)), "{to}: {told:?}");
        // What is missing is told where its table begins.
        let is_there = problems.iter().any(|one| one.line == wanted || one.line == wanted + 1);
        assert!(
            is_there || part.contains("missing") || part.contains("one of rate"),
            "{to} in line {wanted}: {told:?}"
        );
    }
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_line() {
    let text = r#"seed = "seven"

[[group]]
name = "a"
clients = 2
client_id = "same"
colour = "red"

[[group]]
name = "b"
qos = 3
publish = { topic = "t/+", rate = 1, payload = 1 }

[[stage]]
do = "hold"
for = "1s"
publish = ["c"]
"#;
    let told: Vec<String> = read("file", text, Path::new(".")).unwrap_err().iter().map(ToString::to_string).collect();
    let parts = [
        "1: scenario: seed = \"seven\" is not a whole number such as 1000 or \"1K\"",
        "6: group \"a\": client_id = \"same\" gives all clients the same id: put %i into it",
        "7: group \"a\": unknown key \"colour\"; known: name, clients, client_id, ",
        "9: group \"b\": clients is missing",
        "11: group \"b\": qos = 3, but it must be 0, 1 or 2",
        "12: group \"b\": payload = 1 bytes, but it must be between 16",
        "12: group \"b\": topic \"t/+\": ",
        "17: stage \"hold\": no group is called \"c\"; there are a, b",
    ];
    assert_eq!(told.len(), parts.len(), "{told:?}");
    for (text, part) in told.iter().zip(parts) {
        assert!(text.starts_with(part), "{text:?} and not {part:?}");
        assert!(!text.contains("_per_s") && !text.contains("plan "), "no names of ours: {text}");
    }
    // What stands in place of what could not be read is not judged, nor what is missing twice.
    let text = text.replace("qos = 3", "qos = 'x'").replace("topic = \"t/+\", ", "");
    let told: Vec<String> = read("file", &text, Path::new(".")).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(told.contains(
        &"11: group \"b\": qos = \"x\" is not a whole number such as 1000 or \"1K\", at most 255".to_owned()
    ));
    assert_eq!(told.iter().filter(|text| text.contains("topic")).count(), 1, "{told:?}");
}

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let text = include_str!("../../../docs/LOADTEST.md");
    let examples: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty(), "docs/LOADTEST.md has no scenario");
    for example in examples {
        read("example", example, Path::new(".")).unwrap_or_else(|problems| panic!("{problems:?}\n{example}"));
    }
}

#[test]
fn payloads_come_from_templates_and_files() {
    let folder = std::env::temp_dir().join(format!("loadtest-scenario-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("m.json"), "{\"n\": %s}").unwrap();
    std::fs::write(folder.join("b.bin"), [0, 255]).unwrap();
    let content = |payload: &str| {
        let text = FULL.replacen("payload = \"1KiB\"", payload, 1);
        read("file", &text, &folder).map(|scenario| scenario.plan.groups[0].publishing.clone().unwrap().content)
    };
    assert_eq!(content("message = '%i: %m'"), Ok(vec![Content::Template("%i: %m".to_owned())]));
    assert_eq!(content("message_file = 'm.json'"), Ok(vec![Content::Template("{\"n\": %s}".to_owned())]));
    let file = || Content::Bytes(vec![0, 255]);
    assert_eq!(content("files = ['b.bin', 'b.bin']"), Ok(vec![file(), file()]));
    assert_eq!(content("payload = 64"), Ok(Vec::new()));
    for (payload, part) in [
        ("files = ['none.bin']", "files: none.bin: No such file"),
        ("message_file = 'none'", "message_file: none: No such file"),
        ("payload = 64, message = 'x'", "payload and message are one too many"),
    ] {
        let problems = content(payload).unwrap_err();
        assert!(problems.iter().any(|problem| problem.line == 23 && problem.text.contains(part)), "{problems:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
