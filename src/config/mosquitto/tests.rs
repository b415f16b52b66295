//! Files that nobody has written: what comes out is always a file that dunlin takes, and no door is opened.

use std::io;
use std::path::{Path, PathBuf};

use super::{ConfSources, ImportedConf, import};
use crate::config::{self, Invocation, System};
use crate::settings::{AnonymousAccess, Machine};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import");

fn imported(files: &[(&str, &str)]) -> ImportedConf {
    let read_file = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    let files_of = |directory: &Path| {
        let names = files.iter().map(|(name, _)| PathBuf::from(name));
        Ok(names.filter(|name| name.parent() == Some(directory)).collect())
    };
    import(Path::new("m.conf"), &ConfSources { read_file: &read_file, files_of: &files_of, address_of: &|_| None })
        .unwrap()
}

/// The lines of all cases.
fn known_lines() -> Vec<String> {
    let files = std::fs::read_dir(CASES).expect("the cases").filter_map(Result::ok).map(|entry| entry.path());
    let confs = files.filter(|path| path.extension().is_some_and(|extension| extension == "conf"));
    let mut confs: Vec<PathBuf> = confs.collect();
    confs.sort_unstable();
    let texts = confs.iter().map(|path| std::fs::read_to_string(path).expect("a case"));
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn whatever_stands_in_it_the_result_is_taken_and_no_door_is_opened() {
    let lines = known_lines();
    assert!(lines.len() > 200, "{}", lines.len());
    let mut state = 1_u64;
    let mut below = |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % most
    };
    for round in 0..400 {
        let chosen: Vec<&str> = (0..=below(40)).map(|_| lines[below(lines.len())].as_str()).collect();
        let conf = chosen.join("\n");
        let ImportedConf { toml, notes } = imported(&[("m.conf", &conf)]);
        assert!(notes.iter().all(|note| !note.text.is_empty() && note.place.line > 0), "{notes:?}");
        // Files that it names are others' matter.
        let said = |line: &str| !line.contains("_file = ") && !line.starts_with("tls_");
        let settings: Vec<&str> = toml.lines().filter(|line| said(line)).collect();
        let settings = settings.join("\n");
        let read = |_: &Path| Ok(settings.clone());
        let system = System { machine: Machine { cores: 2, ..Machine::default() }, read_file: &read };
        match config::load_on(&system, ["dunlin", "-c", "d.toml"].map(Into::into), []) {
            Ok(Invocation::Run(config)) => {
                let asked_for = chosen.iter().any(|line| line.contains("allow_anonymous true"));
                let has_listener = config.listeners.iter().any(|listener| !listener.address.is_local());
                let opens =
                    |listener: &config::Listener| listener.settings.allow_anonymous == AnonymousAccess::Everywhere;
                let is_open = config.listeners.iter().any(opens);
                assert!(!is_open || asked_for, "round {round}: {conf}\n---\n{toml}");
                assert!(!has_listener || !settings.contains("loopback"), "{toml}");
            }
            Err(error) => panic!("round {round}: {error}\n{conf}\n---\n{settings}"),
            Ok(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn included_files_come_in_mosquittos_order_and_what_is_not_there_is_told() {
    let files = [
        ("m.conf", "include_dir d\ninclude_dir gone\n"),
        ("d/b.conf", "max_queued_messages 3\n"),
        ("d/B.conf", "max_queued_messages 2\n"),
        ("d/A.conf", "max_queued_messages 1\ninclude_dir d\n"),
        ("d/c.txt", "max_queued_messages 9\n"),
    ];
    let ImportedConf { toml, notes } = imported(&files);
    assert!(toml.contains("max_queued_messages = 3  # d/b.conf:1\n"), "{toml}");
    let told: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["d/A.conf:2: include_dir: files that are included include no others: as with Mosquitto it is left out"]
    );
}

#[test]
fn what_kept_clients_out_and_cannot_be_taken_over_lets_nobody_in() {
    for conf in [
        "listener 1883\nplugin /opt/our.so\nallow_anonymous true\n",
        "listener 1883\nclientid_prefixes secret-\nallow_anonymous true\n",
        "per_listener_settings true\nlistener 1883\nallow_anonymous true\nacl_file a\nlistener 1884\nallow_anonymous true\nacl_file b\n",
        "listener 8883\npsk_hint x\nallow_anonymous true\n",
        "plugin /opt/our.so\nallow_anonymous true\n",
        "port 0\nallow_anonymous true\n",
        "listener 0\nallow_anonymous true\n",
        "listener 8883\ncertfile c\nallow_anonymous true\n",
        "listener 8883\nkeyfile k\nallow_anonymous true\n",
        "listener 8883\ncertfile c\nkeyfile k\ncafile a\nrequire_certificate yes\nallow_anonymous true\n",
    ] {
        let ImportedConf { toml, notes } = imported(&[("m.conf", conf)]);
        assert!(toml.contains("allow_anonymous = false"), "{conf}\n{toml}");
        assert!(!notes.is_empty(), "{conf}");
    }
}

/// What is said of a file, and the lines of the result that are no comments.
fn told_and_said(conf: &str) -> (Vec<String>, String) {
    let ImportedConf { toml, notes } = imported(&[("m.conf", conf)]);
    let said: Vec<&str> = toml.lines().filter(|line| !line.starts_with('#')).collect();
    (notes.iter().map(ToString::to_string).collect(), said.join("\n"))
}

#[test]
fn a_listener_that_cannot_be_is_told_and_not_written() {
    let twice = "listener 1883\nlistener 1884\nlistener 1883\nmax_connections 5\n";
    let many: Vec<String> = (1..=17).map(|port| format!("listener {port}")).collect();
    let many = many.join("\n");
    for (conf, line, word, left) in [
        ("port 0\n", 1, "there is no such port", 0),
        ("port\n", 1, "there is no such port", 0),
        ("port 65536\n", 1, "there is no such port", 0),
        ("listener\n", 1, "there is no port", 0),
        ("listener x\n", 1, "there is no port", 0),
        ("listener 0\n", 1, "port 0 is a path", 0),
        ("listener 8883\ncertfile c\n", 2, "both certfile and keyfile", 0),
        ("listener 8883\nkeyfile k\n", 2, "both certfile and keyfile", 0),
        ("listener 1883 ::\nlistener 1883 ::\n", 2, "the listener of m.conf:1 has this address already", 1),
        ("listener 0 /a\nlistener 0 /a\n", 2, "the listener of m.conf:1 has this address already", 1),
        (twice, 3, "the listener of m.conf:1 has this address already", 2),
        (&many, 17, "there may be 16 listeners", 16),
    ] {
        let (told, said) = told_and_said(conf);
        let begins = format!("m.conf:{line}: ");
        assert!(told.iter().any(|told| told.starts_with(&begins) && told.contains(word)), "{conf}: {told:?}");
        assert_eq!(said.matches("[[listener]]").count(), left, "{conf}: {said}");
        assert!(!said.contains("kind = \"unix\"") || said.contains("unix = "), "{conf}: {said}");
    }
}

#[test]
fn a_switch_that_is_neither_true_nor_false_is_told() {
    for (conf, line) in [
        ("listener 1883\nallow_anonymous yes\n", 2),
        ("listener 1883\nallow_anonymous\n", 2),
        ("listener 1883\nallow_anonymous True\n", 2),
        ("queue_qos0_messages on\n", 1),
        ("per_listener_settings 2\n", 1),
    ] {
        let (told, said) = told_and_said(conf);
        let is_told = |told: &String| told.starts_with(&format!("m.conf:{line}: ")) && told.contains("true or false");
        assert!(told.iter().any(is_told), "{conf}: {told:?}");
        assert!(!said.contains("= true"), "{conf}: {said}");
    }
    for conf in ["listener 1883\nallow_anonymous 1\n", "listener 1883\nallow_anonymous false\n"] {
        assert_eq!(told_and_said(conf).0, [""; 0], "{conf}");
    }
}

#[test]
fn control_characters_of_a_file_do_not_reach_a_terminal() {
    let (told, _) = told_and_said("\u{1b}[31mred \u{7}x\nlistener 1883 \u{9b}2Jhost\nlog_type \u{1b}c\n");
    assert!(told.len() > 1, "{told:?}");
    for line in &told {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    assert!(told[0].contains("\\u{1b}[31mred"), "{told:?}");
}
