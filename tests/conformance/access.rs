//! What clients may do where there are access rules: by raw bytes, with a file in Mosquitto's form. Clients have no user names
//! here, so the rules are about everybody and about client ids.

use std::path::PathBuf;

use crate::packets::{Connect, Publish, V5, V31, V311, VERSIONS, Will};
use crate::world::with_flags;

/// A file that goes with its test.
struct RulesFile(PathBuf);

impl RulesFile {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("rules-{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("the target directory is writable");
        Self(path)
    }

    fn flags(&self) -> [&str; 2] {
        ["--acl-file", self.0.to_str().expect("UTF-8")]
    }
}

impl Drop for RulesFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const OPEN: &str =
    "pattern readwrite open/#\npattern write in/%c/#\npattern read out/%c/#\npattern deny open/secret/#\n";

#[test]
fn a_publish_that_is_not_allowed_is_told_so_in_5_0_and_dropped_before() {
    let rules = RulesFile::new("publish", OPEN);
    with_flags(&rules.flags(), |w| {
        for version in VERSIONS {
            let mut watcher = w.client(V5, "watch");
            assert_eq!(watcher.subscribe("open/#", 2), 2);
            let (own_id, other_id) = (w.id("c"), w.id("o"));
            let (mut client, _) = w.connect(&Connect::new(version, &own_id));
            let denied = if version == V5 { 0x87 } else { 0 };
            for qos in [1, 2] {
                assert_eq!(client.deliver(Publish::new("open/secret/x", "no").qos(qos)), denied);
                assert_eq!(client.deliver(Publish::new("elsewhere", "no").qos(qos)), denied);
                assert_eq!(client.deliver(Publish::new(format!("in/{other_id}/x"), "no").qos(qos)), denied);
                let own = client.deliver(Publish::new(format!("in/{own_id}/x"), "yes").qos(qos));
                assert!(own < 0x80, "{own:x}");
            }
            client.publish("open/secret/x", "no");
            client.ping();
            let topic = format!("open/{}", w.topic("x"));
            assert_eq!(client.deliver(Publish::new(&topic, "yes").qos(1)), 0);
            watcher.take_payload("yes");
        }
    });
}

#[test]
fn before_5_0_a_publish_that_is_not_allowed_may_end_the_connection() {
    let rules = RulesFile::new("close", OPEN);
    let flags = [&rules.flags()[..], &["--denied-before-v5", "close"]].concat();
    with_flags(&flags, |w| {
        for version in [V31, V311] {
            for qos in 0..=2 {
                let mut client = w.client(version, "c");
                let publish = Publish::new("elsewhere", "no").qos(qos);
                client.send(if qos == 0 { publish } else { publish.id(1) }.encode(version));
                client.expect_closed();
            }
        }
        let mut client = w.client(V5, "c");
        assert_eq!(client.deliver(Publish::new("elsewhere", "no").qos(1)), 0x87);
        client.ping();
    });
}

#[test]
fn each_filter_is_answered_in_its_place() {
    let rules = RulesFile::new("subscribe", OPEN);
    with_flags(&rules.flags(), |w| {
        for version in [V311, V5] {
            let id = w.id("c");
            let (mut client, _) = w.connect(&Connect::new(version, &id));
            let denied = if version == V5 { 0x87 } else { 0x80 };
            let own = format!("out/{id}/#");
            let other = format!("out/{}/#", w.id("o"));
            let filters = [
                ("open/x", 1),
                ("elsewhere", 1),
                (own.as_str(), 2),
                (other.as_str(), 2),
                ("$SYS/#", 0),
                ("open/secret/+", 0),
            ];
            assert_eq!(client.subscribe_with(&filters, &[]), [1, denied, 2, denied, denied, denied]);
            // The filter inside of a shared subscription is what counts.
            let shared = [("$share/g/open/x", 1), ("$share/open/elsewhere", 1), ("$share/g/open/secret/x", 1)];
            assert_eq!(client.subscribe_with(&shared, &[]), [1, denied, denied]);
        }
    });
}

#[test]
fn of_a_filter_that_is_wider_than_the_rules_only_what_they_allow_comes() {
    let rules = RulesFile::new("wide", "pattern write #\npattern read open/#\npattern deny open/secret/#\n");
    with_flags(&rules.flags(), |w| {
        let (kept, hidden) = (format!("open/{}", w.topic("kept")), format!("hidden/{}", w.topic("kept")));
        let mut other = w.client(V5, "other");
        for topic in [&kept, &hidden] {
            other.deliver(Publish::new(topic, "retained").qos(1).retain());
        }
        let mut client = w.client(V5, "c");
        assert_eq!(client.subscribe("#", 1), 1);
        client.take_payload("retained");
        for topic in [&hidden, &kept] {
            other.deliver(Publish::new(topic, format!("live on {topic}")).qos(1));
        }
        client.take_payload(&format!("live on {kept}"));
        client.ping();
        for topic in [&kept, &hidden] {
            other.deliver(Publish::new(topic, "").qos(1).retain());
        }
    });
}

#[test]
fn an_id_with_a_wildcard_opens_nothing_and_a_will_is_looked_at() {
    let rules = RulesFile::new("ids", OPEN);
    with_flags(&rules.flags(), |w| {
        let mut watcher = w.client(V5, "watch");
        watcher.subscribe("open/#", 1);
        for id in ["+", "#", "a/b", "+/+"] {
            let (mut client, _) = w.connect(&Connect::new(V5, id));
            for topic in ["in/x/y", "in/a/b/c"] {
                assert_eq!(client.deliver(Publish::new(topic, "no").qos(1)), 0x87, "{id} {topic}");
            }
            assert_eq!(client.subscribe("out/+/x", 0), 0x87, "{id}");
            assert_eq!(client.subscribe("out/a/b/c", 0), 0x87, "{id}");
            client.disconnect();
        }
        for (topic, is_heard) in
            [(format!("open/secret/{}", w.topic("w")), false), (format!("open/{}", w.topic("w")), true)]
        {
            let will = Will::new(&topic, "gone").qos(1);
            let (client, _) = w.connect(&Connect::new(V5, w.id("dying")).will(will));
            client.vanish();
            if is_heard {
                watcher.take_payload("gone");
            } else {
                watcher.ping();
            }
        }
    });
}
