//! Access rules that change under a running broker, and a rule file that is broken.

use std::fs;

use crate::broker::{Broker, Client};

const REFUSED: u8 = 0x80;

/// A broker whose access rules are `acl` in its directory. Its clients have no names.
fn broker(name: &str, rules: &str) -> Broker {
    let directory = std::env::temp_dir().join(format!("dunlin-reload-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let path = directory.join("acl");
    fs::write(&path, rules).expect("a file");
    Broker::start(name, &settings(&path.display().to_string()))
}

fn settings(acl: &str) -> String {
    format!("[auth]\nacl_file = \"{acl}\"\n")
}

fn reload(broker: &Broker, rules: &str) -> Vec<String> {
    let path = broker.directory.join("acl");
    fs::write(&path, rules).expect("a file");
    broker.reload(&settings(&path.display().to_string()))
}

/// A PUBLISH of QoS 0 to a one-letter topic.
fn publish(client: &mut Client, topic: u8) {
    client.send(&[0x30, 4, 0, 1, topic, b'!']);
    client.ping();
}

#[test]
fn subscriptions_that_are_no_longer_allowed_end_and_their_clients_stay() {
    let broker = broker("rules", "topic readwrite x\ntopic readwrite y\n");
    let mut clients: Vec<Client> = (b'a'..b'e').map(|id| Client::connect(&broker, id)).collect();
    for client in &mut clients {
        assert_eq!((client.subscribe(b'x'), client.subscribe(b'y'), client.subscribe(b'z')), (0, 0, REFUSED));
    }
    broker.lines_to(" ready");
    let told = reload(&broker, "topic write x\ntopic readwrite y\n");
    assert!(
        told.iter().any(|line| line.contains("config_changed") && line.contains("old=\"2 rules\" new=\"2 rules\"")),
        "{told:#?}"
    );
    for _ in 0..clients.len() {
        if !told.iter().any(|line| line.contains("subscription_revoked")) {
            broker.lines_to("subscription_revoked");
        }
    }
    let mut other = Client::connect(&broker, b'o');
    publish(&mut other, b'x');
    publish(&mut other, b'y');
    for client in &mut clients {
        assert_eq!(client.receive::<6>(), [0x30, 4, 0, 1, b'y', b'!'], "and nothing of x before it");
        assert_eq!(client.subscribe(b'x'), REFUSED);
        client.ping();
    }
}

#[test]
fn a_broken_rule_file_changes_nothing_and_opens_no_door() {
    let broker = broker("broken-rules", "topic readwrite x\n");
    let mut client = Client::connect(&broker, b'a');
    assert_eq!((client.subscribe(b'x'), client.subscribe(b'y')), (0, REFUSED));
    for (rules, wrong) in [
        ("", "it holds no rule"),
        ("topic readwrite x\ntopic reed y\n", "line 2: the word before the topic"),
        ("topic readwrite #\nuser\n", "line 2: user names nobody"),
        ("[[rule]]\nallow = \"all\"\n", "line 1: a rule names topics"),
    ] {
        let told = reload(&broker, rules);
        let failed: Vec<_> = told.iter().filter(|line| line.contains("config_reload_failed")).collect();
        assert!(failed.len() == 1 && failed[0].contains(wrong), "{told:#?}");
        assert_eq!((client.subscribe(b'x'), client.subscribe(b'y')), (0, REFUSED));
    }
    reload(&broker, "[[rule]]\nallow = \"all\"\ntopics = [\"x\", \"y\"]\n");
    assert_eq!(client.subscribe(b'y'), 0);
}

/// Without a signal: what has changed on disk and stands still is read again, all or nothing.
#[test]
fn rules_that_change_on_disk_are_read_again_and_broken_ones_are_not_taken() {
    let directory = std::env::temp_dir().join(format!("dunlin-watched-rules-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let path = directory.join("acl");
    fs::write(&path, "topic readwrite x\n").expect("a file");
    let settings = format!("[node]\nwatch_files = 1\n[auth]\nacl_file = {path:?}\n");
    let broker = Broker::start("watched", &settings);
    let mut client = Client::connect(&broker, b'a');
    assert_eq!((client.subscribe(b'x'), client.subscribe(b'y')), (0, REFUSED));
    fs::write(&path, "topic readwrite x\ntopic readwrite y\n").expect("a file");
    let told = broker.lines_to(" config_reloaded");
    assert!(told.iter().any(|line| line.contains("file_changed path=")), "{told:#?}");
    assert_eq!((client.subscribe(b'x'), client.subscribe(b'y')), (0, 0));
    fs::write(&path, "topic readwrite #\nuser\n").expect("a file");
    let told = broker.lines_to(" config_reload");
    assert!(told[told.len() - 1].contains("line 2: user names nobody"), "{told:#?}");
    assert_eq!((client.subscribe(b'y'), client.subscribe(b'z')), (0, REFUSED));
    fs::remove_file(&path).expect("it is there");
    let told = broker.lines_to(" config_reload");
    assert!(told[told.len() - 1].contains("cannot be read"), "{told:#?}");
    assert_eq!((client.subscribe(b'y'), client.subscribe(b'z')), (0, REFUSED));
    fs::write(&path, "topic readwrite z\n").expect("a file");
    broker.lines_to(" config_reloaded");
    assert_eq!((client.subscribe(b'y'), client.subscribe(b'z')), (REFUSED, 0));
    // SIGHUP reads what has changed, and it is not read a second time.
    fs::write(&path, "topic readwrite y\n").expect("a file");
    broker.signal("HUP");
    broker.lines_to(" config_reloaded");
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(!broker.has_said(" config_reload"), "once");
    fs::remove_dir_all(&directory).expect("it is ours");
}
