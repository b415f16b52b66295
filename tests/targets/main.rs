//! Sources, and the targets of sinks that are servers of others: the built binary between them and a client of MQTT.
//!
//! Owns: nothing of its own: the servers are started by `tests/support/foreign.rs`, Kafka is the cluster that librdkafka has for tests,
//! in this process. Broker and client are those of `tests/crash`.

#[path = "../crash/broker.rs"]
#[allow(dead_code, reason = "shared with another suite")]
mod broker;
#[path = "../crash/client.rs"]
#[allow(dead_code, reason = "shared with another suite")]
mod client;
#[path = "../support/foreign.rs"]
#[allow(dead_code, reason = "shared with other suites")]
mod foreign;
#[path = "../support/ports.rs"]
mod ports;
mod sinks;
mod sources;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use broker::Broker;
use client::Client;

/// How long a machine that is busy may take for something that takes a second.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the log of the broker has a word of a connector.
fn await_log(broker: &Broker, words: &str) {
    let deadline = Instant::now() + LIMIT;
    while !broker.log().contains(words) {
        assert!(Instant::now() < deadline, "{words} is not in the log: {}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Takes messages until each of these payloads has come; others are an error, and one that comes twice is counted.
fn take_all(client: &mut Client, broker: &Broker, expected: &BTreeSet<String>) -> (Vec<String>, usize) {
    let (mut order, mut twice, deadline) = (Vec::new(), 0, Instant::now() + LIMIT);
    while order.len() < expected.len() {
        assert!(Instant::now() < deadline, "{} of {} have come: {}", order.len(), expected.len(), broker.log());
        let Some(publish) = client.take(Duration::from_secs(5)).expect("the broker lives") else { continue };
        let text = String::from_utf8(publish.payload).expect("text");
        assert!(expected.contains(&text), "{text} is none of them");
        if order.contains(&text) {
            twice += 1;
        } else {
            order.push(text);
        }
    }
    (order, twice)
}

/// `0` to `count`, as texts.
fn numbers(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| number.to_string()).collect()
}
