//! What documents tell people to type is typed by a test, or it is said here why not.
//!
//! A block is one that begins with "```sh"; "```console" is for what no machine of a test has: other machines, engines of containers, clusters. How
//! many of those there are is counted here as well, with what is tested in their place.

use std::collections::BTreeMap;

/// Documents whose blocks are all typed, and the test that does it.
const TYPED: &[(&str, &str)] = &[
    ("docs/ADMIN.md", "tests/packages/documents"),
    ("docs/AUTHENTICATION.md", "tests/operator/howto.rs"),
    ("docs/BRIDGES.md", "tests/operator/bridges.rs"),
    ("docs/CAPACITY.md", "tests/packages/documents"),
    ("docs/CLIENTS.md", "tests/packages/documents"),
    ("docs/CONFIGURATION.md", "tests/operator/typed.rs"),
    ("docs/DURABILITY.md", "tests/packages/documents"),
    ("docs/FIRST-FLEET.md", "tests/packages/documents"),
    ("docs/INSTALL.md", "tests/packages/documents"),
    ("docs/LOADTEST.md", "loadtest/tests/typed.rs"),
    ("docs/METRICS.md", "tests/packages/documents"),
    ("docs/MOVING-FROM-EMQX.md", "tests/packages/documents"),
    ("docs/MOVING-FROM-MOSQUITTO.md", "tests/operator/moving.rs"),
    ("docs/OPERATIONS.md", "tests/packages/documents"),
    ("docs/SERVICE.md", "tests/packages/documents"),
    ("docs/SYS.md", "tests/operator/typed.rs"),
];

/// Documents of whose blocks some are typed: how many, by which tests, and how many are left, and why.
const TYPED_IN_PART: &[(&str, usize, &[&str], usize, &str)] = &[
    (
        "README.md",
        4,
        &["tests/operator/typed.rs", "loadtest/tests/typed.rs"],
        4,
        "scripts/test runs scripts/start, and tests/packages/installed makes and installs packages; tests and measurements take hours",
    ),
    ("docs/MQTT-SN.md", 1, &["tests/operator/typed.rs"], 1, "a measurement of minutes"),
];

/// Documents with blocks that nobody types, how many those are, and why.
const NOT_TYPED: &[(&str, usize, &str)] = &[
    ("CONTRIBUTING.md", 1, "scripts/start is started by scripts/test, which is the other line"),
    ("PERFORMANCE.md", 1, "it takes hours of a quiet machine"),
];

/// Documents with blocks of what no test has, how many those are, and what is tested in their place.
const ELSEWHERE: &[(&str, usize, &str)] = &[
    ("docs/CLIENTS.md", 2, "packages of others: the machine of tests/packages has them"),
    ("docs/DURABILITY.md", 1, "the file of a Mosquitto: tests/operator/moving.rs has one of its own"),
    ("docs/FIRST-FLEET.md", 1, "packages of others: the machine of tests/packages has them"),
    (
        "docs/INSTALL.md",
        7,
        "registries, engines of containers, clusters: tests/packages builds, checks and runs archive and image, renders the chart",
    ),
];

fn blocks(text: &str, language: &str) -> usize {
    text.lines().filter(|line| line.strip_prefix("```") == Some(language)).count()
}

/// How many blocks of a language each document has that has any.
fn blocks_of_all(language: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for folder in [".", "docs"] {
        for path in super::documents(folder) {
            let name = path.to_str().expect("UTF-8").trim_start_matches("./").to_owned();
            let count = blocks(&super::read(&name), language);
            if count > 0 {
                found.insert(name, count);
            }
        }
    }
    found
}

fn assert_types(test: &str, document: &str) {
    let name = document.rsplit('/').next().expect("a name");
    let typed = super::read(test).lines().any(|line| line.contains(name) && !line.trim_start().starts_with(['#', '/']));
    assert!(typed, "{test} does not type {document}");
}

#[test]
fn each_block_has_a_test_that_types_it_or_a_reason() {
    let mut left = blocks_of_all("sh");
    assert!(left.len() > 12, "{left:?}");
    for (document, test) in TYPED {
        assert!(left.remove(*document).is_some(), "{document} has no blocks: take it out of the list");
        assert_types(test, document);
    }
    for (document, typed, tests, others, reason) in TYPED_IN_PART {
        let found = left.remove(*document).unwrap_or_default();
        assert_eq!(found, typed + others, "{document}: type the new blocks in {tests:?}, or say so here ({reason})");
        tests.iter().for_each(|test| assert_types(test, document));
    }
    for (document, count, reason) in NOT_TYPED {
        let found = left.remove(*document).unwrap_or_default();
        assert_eq!(found, *count, "{document}: type the new blocks in a test, or say so here ({reason})");
    }
    assert!(left.is_empty(), "nobody types the blocks of {left:?}: tests/packages/documents can");
}

#[test]
fn each_block_that_no_test_can_type_says_what_is_tested_in_its_place() {
    let listed = ELSEWHERE.iter().map(|(document, count, _)| ((*document).to_owned(), *count)).collect();
    assert_eq!(blocks_of_all("console"), listed, "what a test can type begins with ```sh");
    assert!(ELSEWHERE.iter().all(|(.., place)| place.len() > 20), "say what is tested");
}
