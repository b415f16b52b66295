//! The built binary as an operator meets it: what it prints where, and how it exits.

#![cfg(feature = "runtime")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

/// A directory of this test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dunlin-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn dunlin(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    // What the tester's shell has set must not decide.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DUNLIN_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(environment.iter().copied()).output().expect("the binary runs")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (arguments, expected) in [
        (["-h"], "--max-packet-size <BYTES>"),
        (["--help"], "DUNLIN_MQTT__MAX_PACKET_SIZE"),
        (["-V"], concat!("dunlin ", env!("CARGO_PKG_VERSION"), "\n")),
        (["--version"], concat!("dunlin ", env!("CARGO_PKG_VERSION"), "\n")),
    ] {
        let output = dunlin(&arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&output).contains(expected), "{arguments:?}");
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_not_a_crash() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let status = command.arg("--print-config").stdout(full()).stderr(full()).status().expect("the binary runs");
    assert_eq!(status.code(), Some(71));
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let status = command.args(["-c", "/nonexistent"]).stderr(full()).status().expect("the binary runs");
    assert_eq!(status.code(), Some(78));
}

#[test]
fn an_unknown_flag_exits_with_2_and_names_the_nearest() {
    let output = dunlin(&["--prot", "1884"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).contains("--prot") && stderr(&output).contains("--port"), "{}", stderr(&output));
}

#[test]
fn what_print_config_prints_can_be_fed_back() {
    let directory = Directory::new("print");
    let file = directory.file("first.toml", "[mqtt]\nmax_packet_size = \"64KiB\"\n");
    let arguments = ["-c", &file, "--port", "1884", "--print-config"];
    let first = dunlin(&arguments, &[("DUNLIN_SESSION__EXPIRY_MAX", "never")]);
    assert_eq!((first.status.code(), stderr(&first)), (Some(0), ""));
    for line in [
        format!("max_packet_size = \"64KiB\"  # {file}:2"),
        "port = 1884                # --port".to_owned(),
        "expiry_max = \"never\"         # DUNLIN_SESSION__EXPIRY_MAX".to_owned(),
    ] {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(stdout(&first).lines().any(|printed| words(printed) == words(&line)), "{line}: {}", stdout(&first));
    }
    let again = directory.file("again.toml", stdout(&first));
    let second = dunlin(&["--config-file", &again, "--print-config"], &[]);
    let values = |output: &Output| -> Vec<String> {
        let lines = stdout(output).lines().map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned());
        lines.collect()
    };
    assert_eq!(values(&first), values(&second));
}

#[test]
fn test_config_accepts_a_good_file_and_says_what_it_means() {
    let directory = Directory::new("good");
    let file =
        directory.file("good.toml", "[listener]\nbind = [\"127.0.0.1\", \"0.0.0.0:1884\"]\n[node]\nshards = 1\n");
    let output = dunlin(&["--test-config", "-c", &file], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        format!(
            "the configuration is usable: {file}, 1 shard, listening on 127.0.0.1:1883 (anonymous clients admitted), \
             0.0.0.0:1884 (anonymous clients refused)\n"
        )
    );
    assert_eq!(
        stderr(&output),
        "dunlin: warning: no client can connect on 0.0.0.0:1884: anonymous clients are admitted on loopback only; give \
         --allow-anonymous to admit all\n"
    );
}

#[test]
fn a_bad_file_is_refused_with_file_line_and_key() {
    let directory = Directory::new("bad");
    let table: &[(&str, &[&str])] = &[
        (
            "# a comment\n[mqtt]\nmax_packet_sise = \"1MB\"\nmax_inflight = 70000\n",
            &[
                ":3: unknown key \"max_packet_sise\" in [mqtt]; did you mean [mqtt] max_packet_size?",
                ":4: [mqtt] max_inflight: 70000 is out of range: allowed is 1 to 65535 (default 64)",
            ],
        ),
        ("[lisener]\nport = 1\n", &[":1: unknown section [lisener]; did you mean [listener]?"]),
        ("[listener]\nport = \n", &[":2: this is not TOML: "]),
        ("", &[":1: holds no setting: was it cut short?"]),
    ];
    for (number, (text, expected)) in table.iter().enumerate() {
        let file = directory.file(&format!("{number}.toml"), text);
        for (arguments, exit) in [
            (vec!["-c", &file], 78),
            (vec!["-c", &file, "--print-config"], 78),
            (vec!["--test-config", "-c", &file], 1),
        ] {
            let output = dunlin(&arguments, &[]);
            assert_eq!(output.status.code(), Some(exit), "{text:?} {arguments:?}");
            assert_eq!(stdout(&output), "", "{text:?} {arguments:?}");
            let lines: Vec<&str> = stderr(&output).lines().filter(|line| !line.ends_with("is NOT usable")).collect();
            assert_eq!(lines.len(), expected.len(), "{}", stderr(&output));
            for (line, expected) in lines.iter().zip(*expected) {
                assert!(line.starts_with(&format!("dunlin: {file}{expected}")), "{line}");
            }
        }
    }
}

#[test]
fn a_file_that_is_not_there_and_a_log_that_cannot_be_written_are_refused() {
    let directory = Directory::new("missing");
    let log = directory.0.join("no/such/directory/dunlin.log");
    let log = log.to_str().expect("UTF-8");
    let table: &[(&[&str], i32, &str)] = &[
        (&["-c", "/nonexistent/dunlin.toml"], 78, "dunlin: /nonexistent/dunlin.toml: cannot be read: "),
        (&["-c", "/nonexistent/dunlin.toml", "--test-config"], 1, "dunlin: /nonexistent/dunlin.toml: cannot be read: "),
        (&["--log-file", log, "--test-config"], 1, "dunlin: --log-file: "),
        (&["--log-file", log], 78, "dunlin: --log-file: "),
    ];
    for (arguments, exit, begins) in table {
        let output = dunlin(arguments, &[]);
        assert_eq!(output.status.code(), Some(*exit), "{arguments:?}");
        assert!(stderr(&output).starts_with(begins), "{}", stderr(&output));
    }
}

#[test]
fn a_wrong_variable_is_refused_by_its_name() {
    let output = dunlin(&["--test-config"], &[("DUNLIN_LISTENER__PROT", "1"), ("DUNLIN_LISTENER__PORT", "tcp://x")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(
            "dunlin: DUNLIN_LISTENER__PROT: no setting has this variable; did you mean DUNLIN_LISTENER__PORT?"
        )
    );
    assert!(stderr(&output).contains("dunlin: DUNLIN_LISTENER__PORT: \"tcp://x\" is not a whole number"));
}

/// Regression: for root the limit was not looked at, glommio refused it all the same, and nobody said why.
#[test]
fn what_the_machine_is_short_of_is_named_with_its_remedy() {
    for (limit, named, remedy) in [
        ("-n 40", "40 open files are allowed", "LimitNOFILE="),
        ("-l 16", "16 KiB of memory may be locked", "ulimit -l "),
    ] {
        let script = format!("ulimit {limit} && exec {} --port 0 --log-level error", env!("CARGO_BIN_EXE_dunlin"));
        let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        let told = stderr(&output);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(named) && told.contains(remedy), "{told}");
    }
}
