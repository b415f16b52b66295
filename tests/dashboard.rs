//! The dashboard of the built binary in a browser that nobody sees: `dashboard/test`, one file at a time.

#![cfg(feature = "runtime")]

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/node.rs"]
mod node;

use certificate::Certificate;

/// Runs one file of tests.
fn run(name: &str) {
    let certificate = Certificate::make(name);
    let variables = [("DUNLIN_TEST_CERT", certificate.chain()), ("DUNLIN_TEST_KEY", certificate.key())];
    node::run_tests("dashboard", &format!("test/{name}.test.mjs"), 4, &variables);
}

#[test]
fn whoever_may_gets_in_and_is_shown_what_it_may_do() {
    run("access");
}

#[test]
fn each_view_shows_traffic_as_text_and_can_be_read_by_everybody() {
    run("views");
}

#[test]
fn figures_are_those_of_the_traffic_that_there_is() {
    run("figures");
}

#[test]
fn sinks_sources_and_bridges_are_shown_with_their_traffic_and_are_stopped_and_started() {
    run("connectors");
}

#[test]
fn what_is_done_in_the_page_happens_and_what_happens_is_shown() {
    run("life");
}

#[test]
fn keys_colours_and_long_lists_work() {
    run("shape");
}
