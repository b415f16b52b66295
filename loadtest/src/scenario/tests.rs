//! Scenario files: what is read, and what is refused with which words.

use super::*;
use crate::plan::{Action, DropHow, Pipeline};

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
    let scenario = read("file", FULL).unwrap();
    let plan = &scenario.plan;
    assert!(scenario.names_broker);
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
    assert_eq!(read("file", FULL).unwrap().plan.pipeline(), Pipeline::Off);
    let piped = FULL.replacen("clean_start = false", "clean_start = false\npipeline = true", 1);
    assert_eq!(read("file", &piped).unwrap().plan.pipeline(), Pipeline::On, "who publishes only does not count");
    let some = piped.replacen("qos = 2", "subscribe = [\"home/+/report\"]", 1);
    assert_eq!(read("file", &some).unwrap().plan.pipeline(), Pipeline::Mixed);
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
        ("rate = 100", "rate = 100\nwindow = 3", "group \"control\" publish: one of rate"),
        ("for = \"1m\"", "for = \"1 parsec\"", "stage \"peak\": for = \"1 parsec\" is not a span of time"),
        ("do = \"drop\"", "do = \"dorp\"", "stage 3: do = \"dorp\" is not known; did you mean \"drop\"?"),
        ("how = \"reset\"", "how = \"rest\"", "did you mean \"reset\"?"),
        ("groups = [\"devices\"]", "groups = [\"device\"]", "no group is called device; there are devices, control"),
        ("version = \"3.1.1\"", "version = \"6\"", "version = \"6\" is not known"),
        ("qos = 2", "pipeline = true", "pipeline = true, but it subscribes to nothing"),
        ("qos = 2", "pipeline = 1", "pipeline = 1 is not true or false"),
        ("qos = 2", "qos = 3", "qos = 3, but it must be 0, 1 or 2"),
        ("\"p99>50ms\"", "\"p99\"", "is not a threshold"),
        ("targets = 2000\n", "", "targets is missing"),
        ("percent = 12.5", "percent = 112.5", "percent = 112.5, but it must be between 0 and 100"),
        ("retain_handling", "retain_handing", "did you mean \"retain_handling\"?"),
        ("[broker]", "[broker", "TOML parse error at line 8"),
    ];
    for (from, to, part) in table {
        assert!(FULL.contains(from), "{from}");
        let error = read("file", &FULL.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(part), "{to}: {error}");
    }
}

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let text = include_str!("../../../docs/LOADTEST.md");
    let examples: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty(), "docs/LOADTEST.md has no scenario");
    for example in examples {
        read("example", example).unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
}
