//! What documents promise about each other and about the built binary: the index of decisions is complete, links lead
//! to files and headings that are there, `docs/SYS.md` names every topic that the broker publishes and no other, `docs/LOG-EVENTS.md` every event of the log, and a figure that stands in prose is
//! the measured one. What stands in marked blocks is looked at by `bench-harness/tests/documents.rs`.

#![cfg(feature = "runtime")]

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "shared with suites that need more of it")]
mod support;

#[path = "documents/anchors.rs"]
mod anchors;
#[path = "documents/flags.rs"]
mod flags;
#[path = "documents/guides.rs"]
mod guides;
#[path = "documents/log_events.rs"]
mod log_events;
#[path = "documents/typed.rs"]
mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin::telemetry::CloseReason;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a folder, by their paths from the root.
fn documents(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let names = entries.map(|entry| entry.expect("a directory entry").file_name().into_string().expect("UTF-8"));
    let is_document = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "md");
    let mut paths: Vec<PathBuf> = names.filter(is_document).map(|name| Path::new(folder).join(name)).collect();
    paths.sort();
    paths
}

// --- links and decisions -------------------------------------------------------------------------------------------------

/// Targets of the links to files of this repository, as they are written.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

#[test]
fn every_link_in_a_document_leads_to_a_file() {
    let mut looked_at = 0;
    for folder in ["", "docs", "docs/decisions", "docs/measurements"] {
        for path in documents(folder) {
            for target in links(&read(&path)) {
                looked_at += 1;
                let place = path.parent().unwrap_or(Path::new("")).join(target);
                assert!(root().join(&place).exists(), "{}: {target} is not there", path.display());
            }
        }
    }
    assert!(looked_at > 40, "only {looked_at} links: the documents have moved");
}

#[test]
fn the_index_names_each_document_once() {
    let index = read("docs/README.md");
    let rows = index.lines().filter(|line| line.starts_with("| ["));
    let mut named: Vec<&str> = rows.filter_map(|line| links(line).first().copied()).collect();
    assert!(named.len() > 20, "{named:?}");
    named.sort_unstable();
    for pair in named.windows(2) {
        assert_ne!(pair[0], pair[1], "docs/README.md has two rows of it");
    }
}

#[test]
fn every_decision_is_in_the_index_with_its_day_and_what_was_chosen() {
    let index = read("docs/decisions/README.md");
    let rows: Vec<Vec<&str>> = index
        .lines()
        .filter(|line| line.starts_with("| 2"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let mut listed = Vec::new();
    for row in &rows {
        let [day, decision, chosen] = row.as_slice() else { panic!("{row:?}: three columns") };
        let [file] = links(decision)[..] else { panic!("{row:?}: one link") };
        assert!(file.starts_with(&format!("{day}-")), "{file}: its day is not {day}");
        assert!(chosen.split(' ').count() >= 4, "{file}: say what was chosen");
        listed.push(file.to_owned());
    }
    let files = documents("docs/decisions").into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let files: Vec<String> = files.filter(|name| name != "README.md").collect();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, files, "docs/decisions/README.md lists each decision once, and nothing else");
    let days: Vec<&str> = listed.iter().map(|file| &file[..10]).collect();
    assert!(days.is_sorted(), "newest last: {days:?}");
}

// --- figures -------------------------------------------------------------------------------------------------------------

/// Numbers with a unit of measurement, outside of code and of blocks that the harness fills: "634 MiB", "9,710 bytes".
fn figures(text: &str) -> Vec<String> {
    const UNITS: [&str; 9] = ["us", "ms", "ns", "s", "MiB", "kB", "bytes", "messages", "times"];
    let (mut fenced, mut filled) = (false, false);
    let mut words: Vec<&str> = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        filled |= line.starts_with("<!-- bench:");
        if !fenced && !filled {
            words.extend(line.split_whitespace());
        }
        filled &= !line.starts_with("<!-- /bench:");
    }
    let plain = |word: &str| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit()) && !word.contains(char::is_alphabetic);
    let pairs = words.windows(2).map(|pair| (plain(pair[0]), plain(pair[1])));
    let figures = pairs.filter(|(number, unit)| is_number(number) && UNITS.contains(&unit.as_str()));
    figures.map(|(number, unit)| format!("{number} {unit}")).collect()
}

#[test]
fn figures_in_prose_are_those_of_the_measured_day() {
    // What a load is made of is no result.
    const LOADS: [&str; 3] = ["64 bytes", "100 bytes", "20,000 messages"];
    let performance = read("PERFORMANCE.md");
    let (_, rest) = performance.split_once("docs/measurements/").expect("PERFORMANCE.md names its day");
    let day = format!(
        "docs/measurements/{}",
        rest.split(')').next().and_then(|rest| rest.split(']').next()).expect("a file")
    );
    let measured = read(&day);
    let measured: String = measured.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = figures(&performance);
    assert!(shown.len() >= 3, "PERFORMANCE.md has hardly a figure: {shown:?}");
    for (document, shown) in [("PERFORMANCE.md", shown), ("README.md", figures(&read("README.md")))] {
        for figure in shown.iter().filter(|figure| !LOADS.contains(&figure.as_str())) {
            assert!(measured.contains(figure.as_str()), "{document}: \"{figure}\" is not in {day}");
        }
    }
}

#[test]
fn a_figure_is_found_in_prose_and_nowhere_else() {
    let text = "It took 634 MiB, (9,704 to 9,710\nbytes) on 2 cores, 1.5 times.\n```sh\nsleep 5 s\n```\n\
                <!-- bench:x -->\n7 ms\n<!-- /bench:x -->\nand 38.9 s.\n";
    assert_eq!(figures(text), ["634 MiB", "9,710 bytes", "1.5 times", "38.9 s"]);
}

// --- scripts -------------------------------------------------------------------------------------------------------------

/// A folder with a cargo in it that only says that it was called.
struct NoCargo(PathBuf);

impl NoCargo {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("dunlin-documents-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let cargo = folder.join("cargo");
        std::fs::write(&cargo, "#!/bin/sh\necho compiling\nexit 9\n").expect("a file");
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        Self(folder)
    }
}

impl Drop for NoCargo {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn who_asks_a_script_for_help_gets_it_without_a_compiler() {
    let no_cargo = NoCargo::new();
    let path = format!("{}:{}", no_cargo.0.display(), std::env::var("PATH").expect("a path"));
    for script in ["start", "million", "bench", "test", "nightly", "crash", "sim", "fuzz", "fuzz-codec", "package"]
        .map(|name| format!("scripts/{name}"))
    {
        for flag in ["--help", "-h"] {
            let output = std::process::Command::new(root().join(&script))
                .arg(flag)
                .env("PATH", &path)
                .env("CARGO_TARGET_DIR", no_cargo.0.join("target"))
                .output()
                .expect("the script runs");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{script} {flag}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(said.contains(&script) && !said.contains("set -euo"), "{script} {flag}: {said}");
            assert!(!said.contains("compiling\n"), "{script} {flag} compiles");
        }
    }
}

/// "15 to 25 minutes on 2 cores ...": how long a text says that the first build takes, wherever it says so.
fn first_builds(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "#").collect();
    let text = words.join(" ");
    let told = text.match_indices(" minutes on 2 cores").map(|(at, _)| {
        let from = text[..at].char_indices().rev().filter(|(_, c)| *c == ' ').nth(2).map_or(0, |(space, _)| space + 1);
        let rest = text[from..].split([';', '.', '"', ',']).next().unwrap_or_default();
        rest.to_owned()
    });
    told.collect()
}

#[test]
fn everybody_says_the_same_of_how_long_the_first_build_takes() {
    let readme = first_builds(&read("README.md"));
    let [said] = &readme[..] else { panic!("README.md says it once: {readme:?}") };
    assert!(said.starts_with(|c: char| c.is_ascii_digit()), "{said}");
    assert_eq!(first_builds(&read("scripts/start")), [said.clone(), said.clone()], "its help, and what it prints");
    assert_eq!(first_builds(&read("scripts/package")), std::slice::from_ref(said), "the same programs");
    let text =
        "It takes 1 to 2 minutes on 2 cores that\n# are busy; later not. say \"takes 3 to 4 minutes on 2 cores\"";
    assert_eq!(first_builds(text), ["1 to 2 minutes on 2 cores that are busy", "3 to 4 minutes on 2 cores"]);
}

// --- $SYS ----------------------------------------------------------------------------------------------------------------

/// A topic's row in `docs/SYS.md`: topics (braces written out) and example.
fn documented() -> BTreeMap<String, String> {
    let text = read("docs/SYS.md");
    let mut topics = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `$SYS/")) {
        let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        let (Some(topic), Some(example)) = (quoted.first(), quoted.last()) else { panic!("{line}: topic and example") };
        assert!(quoted.len() >= 2, "{line}: topic and example");
        let expanded: Vec<String> = match topic.split_once('{') {
            Some((stem, ends)) => ends.trim_end_matches('}').split(',').map(|end| format!("{stem}{end}")).collect(),
            None => vec![(*topic).to_owned()],
        };
        for topic in expanded {
            assert!(topics.insert(topic.clone(), (*example).to_owned()).is_none(), "{topic} stands twice");
        }
    }
    topics
}

/// A payload without its values: each run of digits is one 9, so that examples and what was sent compare.
fn shape(payload: &str) -> String {
    let mut shape = String::new();
    for c in payload.chars() {
        if !c.is_ascii_digit() {
            shape.push(c);
        } else if !shape.ends_with('9') {
            shape.push('9');
        }
    }
    shape
}

/// A client of 3.1.1 that speaks as many bytes as this test needs.
struct Client(TcpStream);

impl Client {
    fn connect(broker: &support::Broker, client_id: &str) -> Self {
        Self::connect_with(broker, client_id, 2)
    }

    /// With the flags of CONNECT: 2 for a clean session.
    fn connect_with(broker: &support::Broker, client_id: &str, flags: u8) -> Self {
        let socket = TcpStream::connect(broker.addr()).expect("a connection");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        let mut client = Self(socket);
        let mut body = [&b"\x00\x04MQTT\x04"[..], &[flags, 0, 0]].concat();
        text(&mut body, client_id);
        client.send(0x10, &body);
        let (header, body) = client.receive();
        assert_eq!((header, body), (0x20, vec![0, 0]), "{client_id}");
        client
    }

    fn subscribe(&mut self, filters: &[&str]) {
        self.subscribe_with(filters, 0);
    }

    fn subscribe_with(&mut self, filters: &[&str], qos: u8) {
        let mut body = vec![0, 1];
        for filter in filters {
            text(&mut body, filter);
            body.push(qos);
        }
        self.send(0x82, &body);
        let (header, body) = self.receive();
        assert_eq!((header, body.len()), (0x90, 2 + filters.len()));
        assert!(body[2..].iter().all(|code| *code == qos), "refused: {body:?}");
    }

    fn unsubscribe(&mut self, filter: &str) {
        let mut body = vec![0, 2];
        text(&mut body, filter);
        self.send(0xA2, &body);
        assert_eq!(self.receive(), (0xB0, vec![0, 2]));
    }

    /// With QoS 1, until it is acknowledged.
    fn publish(&mut self, topic: &str) {
        let mut body = Vec::new();
        text(&mut body, topic);
        body.extend([0, 3]);
        self.send(0x32, &body);
        assert_eq!(self.receive(), (0x40, vec![0, 3]));
    }

    fn send(&mut self, header: u8, body: &[u8]) {
        let length = u8::try_from(body.len()).ok().filter(|length| *length < 128).expect("a short packet");
        self.0.write_all(&[&[header, length], body].concat()).expect("it is taken");
    }

    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut byte = [0; 1];
        let mut next = |socket: &mut TcpStream| {
            socket.read_exact(&mut byte).expect("the broker has something to say");
            byte[0]
        };
        let header = next(&mut self.0);
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = next(&mut self.0);
            length |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte & 128 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a whole packet");
        (header, body)
    }

    /// Topic and payload of the next PUBLISH; all of them have QoS 0.
    fn message(&mut self) -> (String, String) {
        let (header, body) = self.receive();
        assert_eq!(header & 0xF6, 0x30, "a PUBLISH with QoS 0");
        let length = usize::from(body[0]) << 8 | usize::from(body[1]);
        let part = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        (part(&body[2..2 + length]), part(&body[2 + length..]))
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
    out.extend(text.as_bytes());
}

#[test]
fn every_number_that_the_broker_publishes_is_documented_and_no_other() {
    let broker = support::Broker::start(2, &["--sys-interval", "1s", "--node-name", "NODE"]);
    let mut watcher = Client::connect(&broker, "watcher");
    watcher.subscribe(&["$SYS/broker/#"]);
    // Numbers are published together each second, what has changed in a fixed order, and the time has always changed. The
    // first may come from the stored ones, in any order: with the third time all have come.
    let (mut published, mut times) = (BTreeMap::new(), 0);
    while times < 3 {
        let (topic, payload) = watcher.message();
        times += u32::from(topic == "$SYS/broker/uptime");
        published.insert(topic, payload);
    }
    let documented = documented();
    let numbers: BTreeSet<&String> = documented.keys().filter(|topic| topic.starts_with("$SYS/broker/")).collect();
    assert_eq!(published.keys().collect::<BTreeSet<_>>(), numbers, "docs/SYS.md on the right");
    for (topic, payload) in &published {
        assert_eq!(shape(payload), shape(&documented[topic]), "{topic}: {payload} is not like its example");
    }
}

#[test]
fn events_of_clients_are_as_documented() {
    let options = ["--sys-interval", "1s", "--node-name", "NODE", "--max-queued-messages", "1"];
    let broker = support::Broker::start(2, &options);
    let mut watcher = Client::connect(&broker, "watcher");
    watcher.subscribe(&["$SYS/brokers/+/clients/CLIENT/#"]);
    let mut client = Client::connect_with(&broker, "CLIENT", 0);
    client.subscribe_with(&["t"], 1);
    client.unsubscribe("t");
    client.subscribe_with(&["t"], 1);
    drop(client);
    let events = ["connected", "subscribed", "unsubscribed", "subscribed", "disconnected"];
    let mut seen: Vec<_> = events.iter().map(|_| watcher.message()).collect();
    assert_eq!(seen.iter().map(|event| last_level(&event.0)).collect::<Vec<_>>(), events);
    let mut publisher = Client::connect(&broker, "publisher");
    (0..3).for_each(|_| publisher.publish("t"));
    seen.push(watcher.message());
    let documented = documented();
    let topics: BTreeSet<&String> = documented.keys().filter(|topic| topic.starts_with("$SYS/brokers/")).collect();
    assert_eq!(seen.iter().map(|event| &event.0).collect::<BTreeSet<_>>(), topics);
    for (topic, payload) in &seen {
        let keys = |json: &str| {
            let value: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(payload), keys(&documented[topic]), "{topic}: {payload}");
    }
}

fn last_level(topic: &str) -> &str {
    topic.rsplit('/').next().unwrap_or_default()
}

#[test]
fn every_reason_of_a_disconnection_is_documented() {
    let text = read("docs/SYS.md");
    // What ends a link between nodes is no client's.
    for reason in CloseReason::ALL.into_iter().filter(|reason| !reason.is_of_link()) {
        assert!(text.contains(&format!("`{}`", reason.label())), "docs/SYS.md does not name {}", reason.label());
    }
    let rows = text.lines().skip_while(|line| !line.starts_with("| reason |")).skip(2);
    for row in rows.take_while(|line| line.starts_with('|')) {
        let name = row.split('`').nth(1).expect("a name");
        assert!(CloseReason::ALL.iter().any(|reason| reason.label() == name), "{name} is no reason");
    }
}
