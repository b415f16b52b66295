//! mqtt.js in pages that Chromium shows: `browser/`, one file over WebSocket and one over secure WebSocket.
//!
//! Owns the certificates. The pages, the brokers that they connect to and what is expected are in the files.

use std::path::PathBuf;

use crate::certificate::Certificate;
use crate::node::run_tests;

/// Tests of a file, at least.
const TESTS_MIN: usize = 17;

fn run(name: &str) {
    // The browser is told to trust the first one's key, and knows nothing of the other one.
    let (trusted, unknown) = (Certificate::make(name), Certificate::make(&format!("{name}-unknown")));
    let variables: [(&str, PathBuf); 4] = [
        ("DUNLIN_TEST_CERT", trusted.chain()),
        ("DUNLIN_TEST_KEY", trusted.key()),
        ("DUNLIN_TEST_UNKNOWN_CERT", unknown.chain()),
        ("DUNLIN_TEST_UNKNOWN_KEY", unknown.key()),
    ];
    run_tests("tests/clients", &format!("browser/{name}.test.mjs"), TESTS_MIN, &variables);
}

#[test]
fn a_page_speaks_mqtt_over_websocket() {
    run("ws");
}

#[test]
fn a_page_speaks_mqtt_over_secure_websocket() {
    run("wss");
}
