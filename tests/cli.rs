//! The built binary as an operator meets it: what it prints where, and how it exits.

#![cfg(feature = "runtime")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
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

impl Directory {
    /// Where users may run it who may not read the repository.
    fn copy_of_the_binary(&self) -> String {
        let path = self.0.join("dunlin");
        fs::copy(env!("CARGO_BIN_EXE_dunlin"), &path).expect("a copy");
        path.to_str().expect("UTF-8").to_owned()
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
        let script = format!(
            "ulimit {limit} && exec {} --port 0 --storage memory --log-level error",
            env!("CARGO_BIN_EXE_dunlin")
        );
        let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        let told = stderr(&output);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(named) && told.contains(remedy), "{told}");
    }
}

#[test]
fn flags_of_other_brokers_get_the_true_answer() {
    for (flag, answer) in [
        ("--persistence", "use [store] storage (--storage)"),
        ("--psk-file", "use [auth] password_file, jwt_key, jwks_url or auth_http_url"),
        ("--certfile", "TLS is a matter of a listener"),
        ("-d", "dunlin stays in the foreground"),
    ] {
        let output = dunlin(&[flag], &[]);
        assert_eq!(output.status.code(), Some(2), "{flag}");
        assert!(stderr(&output).contains(answer) && !stderr(&output).contains("--version"), "{}", stderr(&output));
    }
}

#[test]
fn a_mosquitto_conf_is_answered_line_by_line() {
    let directory = Directory::new("mosquitto");
    let conf = "# my broker\nlistener 1883\nallow_anonymous true\npersistence true\nmax_inflight_messages 40\n";
    let file = directory.file("mosquitto.conf", conf);
    let output = dunlin(&["-c", &file], &[]);
    assert_eq!(output.status.code(), Some(78));
    let lines: Vec<&str> = stderr(&output).lines().collect();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(
        lines[0].contains("this is a mosquitto.conf")
            && lines[0].contains(&format!("dunlin import {file} -o dunlin.toml")),
        "{}",
        lines[0]
    );
    assert_eq!(lines[2], format!("dunlin: {file}:3: allow_anonymous: is [auth] allow_anonymous (--allow-anonymous)"));
    assert_eq!(lines[4], format!("dunlin: {file}:5: max_inflight_messages: use [mqtt] max_inflight (--max-inflight)"));
}

/// Arguments, variables, the exit status, and what is said.
type Slip<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);

#[test]
fn slips_of_the_pen_are_told_with_what_was_meant() {
    let directory = Directory::new("slips");
    let unquoted = directory.file("unquoted.toml", "[listener]\nbind = 0.0.0.0\n");
    let tables = directory.file("tables.toml", "[[listener]]\nport = 1884\n");
    let table: &[Slip<'_>] = &[
        (&["-c", &unquoted], &[], 78, ":2: this is not TOML; put the value in quotes: bind = \"0.0.0.0\"\n"),
        (&["--session-expiry-max", "forever"], &[], 78, "did you mean \"never\"?"),
        (&["--test-config"], &[("DUNLIN_CONFIG", "")], 1, "dunlin: DUNLIN_CONFIG: is empty: name a file, or unset it"),
        (&["-c", &tables, "--port", "1885", "--test-config"], &[], 0, "--port has no effect: every [[listener]] has"),
        (&["--pin=off", "--allow-anonymous=no", "--test-config"], &[("DUNLIN_NODE__PIN", "on")], 0, "no client can"),
    ];
    for (arguments, environment, status, words) in table {
        let output = dunlin(arguments, environment);
        assert_eq!(output.status.code(), Some(*status), "{arguments:?}");
        assert!(stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_told_with_a_remedy() {
    let output = dunlin(&["--bind", "192.0.2.1", "--allow-anonymous", "--storage", "memory"], &[]);
    assert_eq!(output.status.code(), Some(71));
    assert!(stderr(&output).contains("192.0.2.1 is no address of this machine"), "{}", stderr(&output));

    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").expect("every kernel has it");
    let privileged = "1";
    assert!(first.trim().parse::<u16>().expect("a port") > 1, "here everybody may listen on port {privileged}");
    // Nobody's user without capabilities, whoever runs this.
    let mut command = Command::new("setpriv");
    if fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).expect("/proc") == 0 {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    let directory = Directory::new("port");
    let output = command
        .args([&directory.copy_of_the_binary(), "--storage", "memory", "--port", privileged])
        .output()
        .expect("setpriv runs");
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    assert!(stderr(&output).contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"), "{}", stderr(&output));
}

/// Every line of both streams is an object, whatever happens; the line for people is left out.
#[test]
fn with_json_every_line_is_an_object_and_a_fatal_error_is_the_last_one() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let directory = Directory::new("json");
    let log = directory.0.join("dunlin.log");
    let log = log.to_str().expect("UTF-8");
    let table: &[(&[&str], i32, &str)] = &[
        (&["--port", &port], 75, "fatal"),
        (&["--port", &port, "--log-file", log], 75, "fatal"),
        (&["--port", "x"], 78, "config_error"),
        (&["--prot", "1"], 2, "config_error"),
        (&["--log-file", "/nonexistent/x"], 78, "config_error"),
    ];
    for (arguments, status, event) in table {
        let arguments: Vec<&str> =
            ["--log-format", "json", "--storage", "memory"].iter().chain(*arguments).copied().collect();
        let output = dunlin(&arguments, &[]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(*status), ""), "{arguments:?}");
        assert_eq!(events(stderr(&output)).last().map(String::as_str), Some(*event), "{arguments:?}");
    }
    assert_eq!(events(&fs::read_to_string(log).expect("the log")), ["starting", "fatal"]);
}

/// As a container's log driver sees it: nothing on standard output, and nothing but objects on standard error, to the end.
#[test]
fn with_json_a_broker_that_starts_and_stops_writes_objects_alone() {
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_dunlin"), "--log-format", "json", "--storage", "memory"])
        .args(["--port", "0", "--shards", "1", "--no-pin"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv runs");
    let (sender, lines) = mpsc::channel();
    let log = BufReader::new(child.stderr.take().expect("stderr is piped"));
    std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let next = || lines.recv_timeout(Duration::from_secs(30));
    let mut events_seen = Vec::new();
    while events_seen.last().is_none_or(|event| event != "ready") {
        events_seen.extend(events(&next().unwrap_or_else(|error| panic!("not ready: {error}: {events_seen:?}"))));
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    // The channel closes with the stream.
    while let Ok(line) = next() {
        events_seen.extend(events(&line));
    }
    let mut printed = String::new();
    child.stdout.take().expect("stdout is piped").read_to_string(&mut printed).expect("UTF-8");
    assert_eq!((printed.as_str(), child.wait().expect("it ends").code()), ("", Some(0)), "{events_seen:?}");
    assert!(events_seen.len() > 3 && events_seen[0] == "starting", "{events_seen:?}");
}

fn events(lines: &str) -> Vec<String> {
    let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect(line)["event"].clone();
    lines.lines().map(|line| event(line).as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_fatal_error_is_in_a_log_file_and_on_standard_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let directory = Directory::new("fatal");
    let log = directory.0.join("dunlin.log");
    let (port, log_path) = (address.port().to_string(), log.to_str().expect("UTF-8"));
    let output = dunlin(&["--storage", "memory", "--port", &port, "--log-file", log_path], &[]);
    assert_eq!(output.status.code(), Some(75));
    assert!(stderr(&output).starts_with(&format!("dunlin: {address} is in use by another process")));
    let written = fs::read_to_string(&log).expect("the log");
    let lines: Vec<&str> = written.lines().collect();
    assert!(lines[0].contains(" starting ") && lines[1].contains("ERROR fatal text=\""), "{written}");
    assert_eq!(lines.len(), 2, "{written}");
}

#[test]
fn passwd_adds_changes_and_deletes_users_and_says_what_it_cannot_do() {
    let directory = Directory::new("passwd");
    let users = directory.0.join("users").to_str().expect("UTF-8").to_owned();
    let passwd = |arguments: &[&str]| dunlin(&[&["passwd"], arguments].concat(), &[]);
    let ok = |arguments: &[&str]| {
        let output = passwd(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        fs::read_to_string(&users).expect("a file")
    };
    let text = ok(&["-c", "-b", &users, "ann", "sesame"]);
    assert!(text.starts_with("ann:$argon2id$v=19$m=47104,t=1,p=1$") && text.lines().count() == 1, "{text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&users).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600, "it is its owner's alone");
    a_directory_with_a_group_has_files_for_it(&directory.0, &passwd);
    let text = ok(&["-b", "-H", "sha512-pbkdf2", &users, "bob", "b"]);
    assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("bob:$7$")), "{text}");
    let text = ok(&["-b", "-H", "sha512", &users, "ann", "changed"]);
    assert!(text.starts_with("ann:$6$") && text.lines().count() == 2, "{text}");
    let text = ok(&["-D", &users, "ann"]);
    assert!(text.starts_with("bob:") && text.lines().count() == 1, "{text}");
    fs::write(&users, "# people\nann:plain\n").expect("a file");
    let text = ok(&["-U", &users]);
    assert!(text.starts_with("# people\nann:$argon2id$"), "{text}");
    let missing = directory.0.join("missing").to_str().expect("UTF-8").to_owned();
    for (arguments, status, told) in [
        (&["-D", &users, "eve"][..], 1, "no user is called \"eve\""),
        (&["-b", &users, "a:b", "x"], 1, "\"a:b\" cannot be a user name"),
        (&["-b", &users, "ann", ""], 1, "an empty password is none"),
        (&["-b", &missing, "ann", "x"], 1, "-c begins a new file"),
        (&["-b", &users, "ann"], 2, "required"),
        (&["-H", "md5", &users, "ann"], 2, "there is argon2id, sha512-pbkdf2, sha512"),
        (&[&users], 2, "USER"),
    ] {
        let output = passwd(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{arguments:?}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(&users).expect("a file"), text, "and nothing is changed");
    }
    assert_eq!(fs::read_dir(&directory.0).expect("a directory").count(), 1, "nothing is left behind");
}

/// As /etc/dunlin of the packages. Only root may give a directory away.
fn a_directory_with_a_group_has_files_for_it(directory: &std::path::Path, passwd: &dyn Fn(&[&str]) -> Output) {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    let place = directory.join("etc");
    fs::create_dir(&place).expect("a directory");
    let file = place.join("users").to_str().expect("UTF-8").to_owned();
    let is_root = fs::metadata("/proc/self").expect("/proc").uid() == 0;
    for (mode, group, wanted) in [(0o2750, 65534, 0o640), (0o750, 65534, 0o600), (0o2750, 0, 0o600)] {
        if !is_root {
            break;
        }
        chown(&place, None, Some(group)).expect("root gives it away");
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).expect("a mode");
        let output = passwd(&["-c", "-b", &file, "ann", "sesame"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let made = fs::metadata(&file).expect("a file");
        assert_eq!(made.mode() & 0o777, wanted, "mode {mode:o}, group {group}");
        assert!(mode & 0o2000 == 0 || made.gid() == group);
        fs::remove_file(&file).expect("it is there");
    }
    fs::remove_dir(&place).expect("it is empty");
}

#[test]
fn a_broken_password_file_keeps_the_broker_from_starting() {
    let directory = Directory::new("broken-users");
    for (text, told) in [
        ("", "it names no user"),
        ("ann:plain\n", "line 1: the password is not hashed"),
        ("ann\n", "line 1: this is not"),
    ] {
        let users = directory.file("users", text);
        for (flag, status) in [("--no-pin", 78), ("--test-config", 1)] {
            let output = dunlin(&[flag, "--port", "0", "--password-file", &users], &[]);
            assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
            assert!(stderr(&output).contains(told), "{text}: {}", stderr(&output));
        }
    }
}

#[test]
fn acl_check_says_which_rule_decides() {
    let directory = Directory::new("acl");
    let file = directory.file("acl", "user ann\ntopic read a/#\ntopic deny a/secret\npattern write dev/%c\n");
    let check = |arguments: &[&str]| dunlin(&[&["acl", "check", "--acl-file", &file], arguments].concat(), &[]);
    for (arguments, status, told) in [
        (&["--user", "ann", "--receive", "a/x"][..], 0, "allowed: line 2: user ann: topic read a/#\n"),
        (
            &["--user", "ann", "--subscribe", "a/#"],
            0,
            "allowed; of what matches, a part is not sent: line 2: user ann: topic read a/#\n",
        ),
        (&["--user", "ann", "--subscribe", "$share/g/a/b"], 0, "allowed: line 2: user ann: topic read a/#\n"),
        (&["--user", "ann", "--publish", "a/secret"], 1, "refused: line 3: user ann: topic deny a/secret\n"),
        (&["--user", "ann", "--publish", "a/x"], 1, "refused: no rule allows it\n"),
        (&["--client", "c1", "--publish", "dev/c1"], 0, "allowed: line 4: pattern write dev/%c\n"),
        (&["--client", "+", "--publish", "dev/x"], 1, "refused: no rule allows it\n"),
    ] {
        let output = check(arguments);
        assert_eq!((stdout(&output), output.status.code()), (told, Some(status)), "{arguments:?} {}", stderr(&output));
    }
    for (arguments, status, told) in [
        (&["--publish", "a/#"][..], 78, "is no topic"),
        (&["--subscribe", "a#"], 78, "is no topic filter"),
        (&["--user", "ann"], 2, "--publish"),
        (&["--publish", "a", "--subscribe", "a"], 2, "cannot be used with"),
    ] {
        let output = check(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(stderr(&output).contains(told), "{arguments:?}: {}", stderr(&output));
    }
    let broken = directory.file("broken", "");
    let output = dunlin(&["acl", "check", "--acl-file", &broken, "--publish", "a"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("it holds no rule"), "{}", stderr(&output));
}

#[test]
fn passwd_writes_admin_users_with_roles_and_shows_a_key_once() {
    let directory = Directory::new("passwd-admin");
    let file = directory.0.join("admins").to_str().expect("UTF-8").to_owned();
    let passwd = |arguments: &[&str]| dunlin(&[&["passwd", "--admin"], arguments].concat(), &[]);
    assert!(passwd(&["-cb", "--role", "operator", &file, "ann", "sesame"]).status.success());
    let output = passwd(&["--api-key", &file, "grafana"]);
    let key = String::from_utf8(output.stdout).expect("text").trim().to_owned();
    assert!(output.status.success() && key.starts_with("dunlin_") && key.len() == 50, "{key}");
    let text = fs::read_to_string(&file).expect("a file");
    assert!(text.starts_with("ann:operator:$argon2id$") && text.contains("\ngrafana:viewer:key$"), "{text}");
    assert!(!text.contains(&key) && !text.contains("sesame"), "{text}");
    for (arguments, status, told) in [
        (&["-b", "--role", "root", &file, "ann", "x"][..], 2, "there is viewer and operator"),
        (&["-b", &file, "a b", "x"], 1, "cannot be a name"),
        (&["-D", &file, "eve"], 1, "nobody is called so"),
    ] {
        let output = passwd(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{arguments:?}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(&file).expect("a file"), text, "and nothing is changed");
    }
    assert!(passwd(&["-b", &file, "ann", "changed"]).status.success());
    assert!(fs::read_to_string(&file).expect("a file").contains("ann:operator:"), "her role stays");
    assert!(passwd(&["-D", &file, "grafana"]).status.success());
    let text = fs::read_to_string(&file).expect("a file");
    assert_eq!(text.lines().count(), 1);
    for (arguments, told) in [
        (&["passwd", "--admin", "-D", &file, "ann"][..], "is the last one"),
        (&["passwd", "-b", &file, "ann", "x"], "say --admin"),
    ] {
        let output = dunlin(arguments, &[]);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{arguments:?}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(&file).expect("a file"), text);
    }
}

#[test]
fn passwd_writes_users_for_scram_and_takes_them_out() {
    let path = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("scram-cli-{}", std::process::id()));
    let file = path.to_str().expect("UTF-8");
    let read = || std::fs::read_to_string(&path).expect("it was written");
    assert_eq!(dunlin(&["passwd", "--scram", "-cb", file, "ann", "sesame"], &[]).status.code(), Some(0));
    assert_eq!(dunlin(&["passwd", "--scram", "-b", file, "bob", "b"], &[]).status.code(), Some(0));
    let text = read();
    for line in ["# decoys: ", "ann:SCRAM-SHA-256$15000:", "ann:SCRAM-SHA-512$15000:", "bob:SCRAM-SHA-256$15000:"] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}: {text}");
    }
    assert!(!text.contains("sesame"));
    let private =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("it is there").permissions());
    assert_eq!(private & 0o077, 0, "nobody else reads it");
    assert_eq!(dunlin(&["passwd", "--scram", "-D", file, "ann"], &[]).status.code(), Some(0));
    assert!(!read().contains("ann:") && read().contains("bob:") && read().contains("# decoys: "), "{}", read());
    for wrong in [&["passwd", "--scram", "-D", file, "ann"][..], &["passwd", "--scram", "-b", file, "a:b", "x"]] {
        let output = dunlin(wrong, &[]);
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
        assert!(stderr(&output).contains("cannot be a user name, or nobody is called so"), "{}", stderr(&output));
    }
    assert_eq!(dunlin(&["passwd", "--scram", "-U", file], &[]).status.code(), Some(2));
    std::fs::remove_file(&path).expect("it is there");
}

#[test]
fn the_place_of_the_admin_server_is_that_of_the_flag_and_not_of_a_variable() {
    let url = ("DUNLIN_CTL_URL", "http://127.0.0.1:1");
    let socket = ("DUNLIN_CTL_SOCKET", "/nowhere/a.sock");
    let ask = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = dunlin(&[&["ctl"], arguments].concat(), variables);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for arguments in [["--socket", "/nowhere/b.sock", "status"], ["status", "--socket", "/nowhere/b.sock"]] {
        for variables in [&[url][..], &[url, socket], &[]] {
            let (status, told) = ask(&arguments, variables);
            assert!(status == Some(1) && told.contains("/nowhere/b.sock"), "{variables:?}: {told}");
        }
    }
    let (status, told) = ask(&["--url", "http://127.0.0.1:2", "status"], &[url, socket]);
    assert!(status == Some(1) && told.contains("127.0.0.1:2"), "{told}");
    let (status, told) = ask(&["--url", "http://127.0.0.1:2", "--socket", "x", "status"], &[]);
    assert!(status == Some(2) && told.contains("--url and --socket cannot be used together"), "{told}");
    let (status, told) = ask(&["status"], &[url, socket]);
    assert!(status == Some(2) && told.contains("DUNLIN_CTL_URL and DUNLIN_CTL_SOCKET"), "{told}");
}
