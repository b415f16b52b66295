//! The built harness, from its command line to its files: turns, failures, and what it writes.
//!
//! The load generator is a stand-in here that connects to the broker, waits, and reports what a run would have reported, so
//! that a fault of the generator can be played.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of a test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bench-harness-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        path
    }

    /// A stand-in for loadtest: `received` of 100 messages arrive in its measured stage.
    fn loadtest(&self, received: u32) -> PathBuf {
        let report = r#"{"started_unix_ms":STARTED,
            "stages":[{"name":"measured","started_ms":50,"ended_ms":250,"completed_in_ms":null,"established":2,
                "traffic":{"messages_received":RECEIVED},"generator_cpu_s":0.01}],
            "connections":{"attempted":2,"subscribed":2,"lost":{},"first_failure":null},
            "verdict":{"deliveries":[
                {"expected":100,"excused":0,"received":RECEIVED,"duplicated":0,"reordered":0},
                {"expected":0,"excused":0,"received":0,"duplicated":0,"reordered":0},
                {"expected":0,"excused":0,"received":0,"duplicated":0,"reordered":0}],
                "retained":{"expected":0,"excused":0,"received":0,"duplicated":0,"reordered":0},
                "corrupted":0,"misdirected":0},
            "timings":{"latency_intended":{"count":9,"p50_ns":1000,"p99_ns":2000,"p99_9_ns":3000}},
            "series":[]}"#;
        let report = report.replace("RECEIVED", &received.to_string());
        let text = format!(
            "#!/bin/bash\nset -e\n[ \"$1\" = run ] && [ -s \"$2\" ] && [ \"$3 $5 $7 $8\" = '--host --port --quiet --json' ]\n\
             exec 3<>/dev/tcp/$4/$6\nstarted=$(date +%s%3N)\nsleep 0.4\n\
             cat >\"$9\" <<JSON\n{}\nJSON\n",
            report.replace("STARTED", "$started")
        );
        self.script(&format!("loadtest-{received}"), &text)
    }

    /// A broker that admits whoever asks and does no more. It keeps a core busy, so that it has CPU time to measure.
    fn broker(&self, name: &str) -> String {
        let text = "#!/bin/bash\nexec python3 -c \"$(cat <<'CODE'\n\
            import socket, sys, threading\n\
            def serve(peer):\n    \
                peer.recv(64)\n    \
                peer.sendall(bytes([0x20, 2, 0, 0]))\n    \
                while peer.recv(64): pass\n\
            listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
            print('data', sys.argv[2], flush=True)\n\
            while True:\n    \
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()\n\
            CODE\n)\" \"$@\"\n";
        format!("{name}={}", self.script(&format!("{name}.sh"), text).display())
    }

    fn run(&self, loadtest: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bench-harness"))
            .args(["run", "--cells", "shards-1-p2p-qos0-w1", "--seconds", "0.2", "--generator-core", "0"])
            .arg("--results")
            .arg(self.0.join("results.json"))
            .arg("--loadtest")
            .arg(loadtest)
            .args(arguments)
            .env_remove("RELAY")
            .env_remove("TRIE")
            .output()
            .expect("the harness runs")
    }

    fn results(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.0.join("results.json")).expect("a results file");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn brokers_take_turns_and_one_that_fails_is_named_with_its_reason() {
    let scratch = Scratch::new("turns");
    let fails = format!("fails={}", scratch.script("fails.sh", "#!/bin/sh\necho 'no licence' >&2\nexit 3\n").display());
    let (one, two) = (scratch.broker("one"), scratch.broker("two"));
    let brokers = ["--brokers", "dunlin", "--broker", &one, "--broker", &fails, "--broker", &two, "--rounds", "2"];
    let output = scratch.run(&scratch.loadtest(100), &brokers);
    assert!(output.status.success(), "{}", text(&output));
    let results = scratch.results();
    let measurements = results["measurements"].as_array().expect("measurements");
    let others = measurements.iter().filter(|one| one["broker"] != "dunlin");
    let order: Vec<String> =
        others.clone().map(|one| format!("{} {}", one["round"], one["broker"].as_str().expect("a name"))).collect();
    assert_eq!(order, ["1 one", "1 fails", "1 two", "2 one", "2 two"], "{}", text(&output));
    for one in others {
        if one["broker"] == "fails" {
            assert_eq!(one["outcome"]["Err"], "fails: it ended: exit status: 3: no licence");
        } else {
            let figures = &one["outcome"]["Ok"];
            assert_eq!(figures["verdict"], serde_json::json!({ "expected": 100, "faults": [] }), "{}", text(&output));
            assert_eq!(figures["values"]["messages_per_s"], 500.0);
            assert!(figures["values"]["cpu_us_per_message"].as_f64().is_some_and(|us| us >= 0.0), "{figures}");
        }
    }
}

#[test]
fn lost_messages_are_a_fault_and_a_dead_generator_is_a_failure() {
    let scratch = Scratch::new("faults");
    let one = scratch.broker("one");
    let outcome = |loadtest: &Path| {
        let output = scratch.run(loadtest, &["--brokers", "aedes", "--broker", &one, "--rounds", "1"]);
        assert!(output.status.success(), "{}", text(&output));
        let results = scratch.results();
        let all = results["measurements"].as_array().expect("measurements").clone();
        all.into_iter().find(|measured| measured["broker"] == "one").expect("one was measured")["outcome"].clone()
    };
    assert_eq!(outcome(&scratch.loadtest(93))["Ok"]["verdict"]["faults"], serde_json::json!(["7 lost"]));
    let dead = scratch.script("dead", "#!/bin/sh\necho 'no ring for me' >&2\nexit 1\n");
    assert_eq!(outcome(&dead)["Err"], "loadtest reported nothing: no ring for me");
}

#[test]
fn a_run_becomes_a_page_of_its_day_and_leaves_what_users_read_alone() {
    let scratch = Scratch::new("report");
    let one = scratch.broker("one");
    let output = scratch.run(&scratch.loadtest(100), &["--brokers", "aedes", "--broker", &one, "--rounds", "1"]);
    assert!(output.status.success(), "{}", text(&output));
    let harness = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-harness"));
        command.args(arguments).arg("--root").arg(&scratch.0).output().expect("the harness runs")
    };
    let read =
        |path: &str| std::fs::read_to_string(scratch.0.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let short = "# Short\n<!-- bench:source --><!-- /bench:source -->\nend\n";
    std::fs::create_dir_all(scratch.0.join("docs")).expect("a folder");
    for name in ["PERFORMANCE.md", "README.md", "docs/CAPACITY.md"] {
        std::fs::write(scratch.0.join(name), short).expect("a document");
    }
    let results = scratch.0.join("results.json");
    let report = ["report", "--date", "2026-01-02", "--results", results.to_str().expect("UTF-8")];
    let done = harness(&report);
    assert!(done.status.success(), "{}", text(&done));
    let page = read("docs/measurements/2026-01-02.md");
    assert!(page.starts_with("# Measured on 2026-01-02\n") && page.contains("logical cores"), "{page}");
    assert!(read("docs/measurements/2026-01-02.json").contains("\"broker\":\"one\""));
    assert_eq!(read("PERFORMANCE.md"), short, "a run changes no promise");

    // What somebody has added to the page stays when it is written again.
    std::fs::write(scratch.0.join("docs/measurements/2026-01-02.md"), page.clone() + "\nIt rained.\n").expect("a page");
    let again = harness(&report);
    assert!(again.status.success(), "{}", text(&again));
    assert_eq!(read("docs/measurements/2026-01-02.md"), page + "\nIt rained.\n");

    let adopted = harness(&["adopt", "--date", "2026-01-02"]);
    assert!(adopted.status.success(), "{}", text(&adopted));
    assert!(read("README.md").contains("Measured on 2026-01-02"), "{}", read("README.md"));
    assert!(harness(&["check"]).status.success());
    for (path, from, to, stale) in [
        ("PERFORMANCE.md", "logical cores", "logical kernels", "PERFORMANCE.md"),
        ("docs/measurements/2026-01-02.md", "Not measured yet.", "42", "docs/measurements/2026-01-02.md"),
        (
            "docs/measurements/2026-01-02.json",
            "\"cores\":",
            "\"cores\":1",
            "PERFORMANCE.md, README.md, docs/CAPACITY.md, docs/measurements",
        ),
    ] {
        let before = read(path);
        assert!(before.contains(from), "{path}: {before}");
        std::fs::write(scratch.0.join(path), before.replacen(from, to, 1)).expect("a document");
        let checked = harness(&["check"]);
        let said = text(&checked);
        let first = said.lines().next().unwrap_or_default();
        assert!(!checked.status.success() && first.contains(stale), "{path}: {said}");
        std::fs::write(scratch.0.join(path), before).expect("a document");
    }
    assert!(!harness(&["report", "--date", "tomorrow"]).status.success());
}

#[test]
fn wrong_words_are_refused_with_what_there_is() {
    let scratch = Scratch::new("words");
    let loadtest = scratch.loadtest(100);
    for (arguments, said) in [
        (&["--cells", "fan-sideways"][..], "there are p2p-qos0-w1"),
        (&["--brokers", "emqx"][..], "there are dunlin, mosquitto"),
        (&["--broker", "x=/nowhere/start.sh"][..], "No such file"),
    ] {
        let output = scratch.run(&loadtest, arguments);
        assert!(!output.status.success() && text(&output).contains(said), "{arguments:?}: {}", text(&output));
    }
}
