//! What documents tell people to type is typed by a test, or it is said here why not.
//!
//! A block is one that begins with "```sh"; "```console" is for what no machine of a test has: other machines, engines of containers, clusters.

use std::collections::BTreeMap;

/// Documents whose blocks are all typed, and the test that does it.
const TYPED: &[(&str, &str)] = &[
    ("docs/ADMIN.md", "tests/packages/documents"),
    ("docs/AUTHENTICATION.md", "tests/operator/howto.rs"),
    ("docs/CAPACITY.md", "tests/packages/documents"),
    ("docs/CLIENTS.md", "tests/packages/documents"),
    ("docs/DURABILITY.md", "tests/packages/documents"),
    ("docs/FIRST-FLEET.md", "tests/packages/documents"),
    ("docs/INSTALL.md", "tests/packages/documents"),
    ("docs/METRICS.md", "tests/packages/documents"),
    ("docs/MOVING-FROM-EMQX.md", "tests/packages/documents"),
    ("docs/MOVING-FROM-MOSQUITTO.md", "tests/operator/moving.rs"),
    ("docs/OPERATIONS.md", "tests/packages/documents"),
    ("docs/SERVICE.md", "tests/packages/documents"),
];

/// Documents with blocks that nobody types, how many those are, and why.
const NOT_TYPED: &[(&str, usize, &str)] = &[
    ("CONTRIBUTING.md", 1, "scripts/start is started by scripts/test, which is the other line"),
    ("PERFORMANCE.md", 1, "it takes hours of a quiet machine"),
    (
        "README.md",
        8,
        "from the source: scripts/test starts scripts/start and a client; the others take minutes or a checkout",
    ),
    ("docs/BRIDGES.md", 1, "the name of a bridge is the reader's"),
    ("docs/CONFIGURATION.md", 2, "tests/cli.rs has each option of passwd and acl check, with files of its own"),
    (
        "docs/LOADTEST.md",
        6,
        "loads that take minutes, of brokers that have names of the reader's; loadtest's own tests have the options",
    ),
    ("docs/MQTT-SN.md", 2, "a broker that goes on, and a measurement of minutes"),
    ("docs/SYS.md", 2, "they go on without an end; tests/documents.rs subscribes to the same"),
];

fn blocks(text: &str) -> usize {
    text.lines().filter(|line| *line == "```sh").count()
}

#[test]
fn each_block_has_a_test_that_types_it_or_a_reason() {
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for folder in [".", "docs"] {
        for path in super::documents(folder) {
            let name = path.to_str().expect("UTF-8").trim_start_matches("./").to_owned();
            let count = blocks(&super::read(&name));
            if count > 0 {
                left.insert(name, count);
            }
        }
    }
    assert!(left.len() > 12, "{left:?}");
    for (document, test) in TYPED {
        assert!(left.remove(*document).is_some(), "{document} has no blocks: take it out of the list");
        let name = document.rsplit('/').next().expect("a name");
        let typed = super::read(test).lines().any(|line| line.contains(name) && !line.trim_start().starts_with('#'));
        assert!(typed, "{test} does not type {document}");
    }
    for (document, count, reason) in NOT_TYPED {
        let found = left.remove(*document).unwrap_or_default();
        assert_eq!(found, *count, "{document}: type the new blocks in a test, or say so here ({reason})");
    }
    assert!(left.is_empty(), "nobody types the blocks of {left:?}: tests/packages/documents can");
}
