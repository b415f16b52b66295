//! What a broker says of a data directory that it cannot use, in one line each; and of one that it can.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};

use crate::broker::{Broker, DataDirectory, fails};

/// The one line that it ended with.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let fatal: Vec<&str> = text.lines().filter(|line| line.contains("fatal")).collect();
    assert_eq!(fatal.len(), 1, "{text}");
    fatal[0].to_owned()
}

#[test]
fn a_directory_is_made_for_its_user_alone_and_counts_its_brokers() {
    let data = DataDirectory::new("made");
    for epoch in 1..=3 {
        let broker = Broker::start(&data, &["--shards", "2"]);
        assert!(broker.whole_log().contains(&format!("epoch={epoch}")), "{}", broker.log());
        if epoch == 2 { broker.stop() } else { broker.kill() }
    }
    let mode = |name: &str| fs::metadata(data.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("manifest"), mode("log-1-1")), (0o700, 0o600, 0o700));
    let is_for_all = |file: &std::path::PathBuf| fs::metadata(file).unwrap().permissions().mode() & 0o777 != 0o600;
    assert!(!data.files().iter().any(is_for_all), "{:?}", data.files());
}

#[test]
fn a_directory_that_another_broker_uses_is_refused() {
    let data = DataDirectory::new("in-use");
    let first = Broker::start(&data, &[]);
    let output = fails(&data, &[]);
    assert_eq!(output.status.code(), Some(75));
    assert!(last_line(&output).contains("is in use by another dunlin"), "{output:?}");
    // Also where somebody has deleted what it is locked by.
    fs::remove_file(data.path().join("lock")).unwrap();
    let output = fails(&data, &[]);
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    let checked =
        std::process::Command::new(env!("CARGO_BIN_EXE_dunlin")).args(["store", "check"]).arg(data.path()).output();
    let told = String::from_utf8_lossy(&checked.unwrap().stderr).into_owned();
    assert!(told.contains("is in use by another dunlin"), "{told}");
    first.kill();
    Broker::start(&data, &[]).kill();
}

#[test]
fn a_start_that_is_refused_for_its_port_has_made_nothing() {
    let data = DataDirectory::new("port-in-use");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = fails(&data, &["--port", &port]);
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(last_line(&output).contains("is in use by another process"), "{output:?}");
    assert!(!data.path().exists());
    // One that is there is not counted a start in.
    Broker::start(&data, &[]).kill();
    assert_eq!(fails(&data, &["--port", &port]).status.code(), Some(75));
    assert!(Broker::start(&data, &[]).whole_log().contains("epoch=2"));
}

#[test]
fn a_directory_of_another_node_is_refused_if_the_name_was_chosen() {
    let data = DataDirectory::new("other-node");
    Broker::start(&data, &["--node-name", "one"]).kill();
    let output = fails(&data, &["--node-name", "two"]);
    assert_eq!(output.status.code(), Some(71));
    let line = last_line(&output).replace('\\', "");
    assert!(line.contains("belongs to node \"one\" and this is node \"two\""), "{line}");
    // The name of the machine was nobody's choice: a container has another one each time.
    Broker::start(&data, &[]).kill();
}

#[test]
fn a_directory_of_a_newer_format_is_refused_and_not_touched() {
    let data = DataDirectory::new("newer");
    Broker::start(&data, &[]).kill();
    let paths = ["manifest", "manifest-copy"].map(|name| data.path().join(name));
    let mut manifest = fs::read(&paths[0]).unwrap();
    manifest[8] = 99;
    for path in &paths {
        fs::write(path, &manifest).unwrap();
    }
    let output = fails(&data, &[]);
    assert_eq!(output.status.code(), Some(71));
    assert!(last_line(&output).contains("was written by a newer dunlin"), "{output:?}");
    assert!(paths.iter().all(|path| fs::read(path).unwrap() == manifest));
}

#[test]
fn a_manifest_that_has_changed_or_is_gone_is_read_from_its_copy_and_told() {
    let data = DataDirectory::new("manifest");
    Broker::start(&data, &[]).kill();
    let warnings = |broker: &Broker| broker.whole_log().matches("store_warning").count();
    for (at, name) in ["manifest", "manifest-copy"].into_iter().enumerate() {
        let path = data.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let broker = Broker::start(&data, &[]);
        assert_eq!(warnings(&broker), 2 * at + 1, "{}", broker.log());
        assert!(broker.log().contains("manifest is damaged") || at > 0, "{}", broker.log());
        broker.kill();
        fs::remove_file(&path).unwrap();
        let broker = Broker::start(&data, &[]);
        assert_eq!(warnings(&broker), 2 * at + 2, "{}", broker.log());
        assert!(broker.log().contains(&format!("epoch={}", 2 * at + 3)), "{}", broker.log());
        broker.kill();
    }
    let broker = Broker::start(&data, &[]);
    assert_eq!(warnings(&broker), 4, "both are whole again: {}", broker.log());
}

/// Its logs cannot be read without, and are not taken for leftovers.
#[test]
fn a_directory_that_has_lost_its_manifest_is_refused_and_not_touched() {
    let data = DataDirectory::new("no-manifest");
    Broker::start(&data, &["--shards", "2"]).kill();
    for name in ["manifest", "manifest-copy"] {
        fs::remove_file(data.path().join(name)).unwrap();
    }
    let before = data.files();
    let output = fails(&data, &["--shards", "1"]);
    assert_eq!(output.status.code(), Some(71));
    assert!(last_line(&output).contains("has logs and no manifest"), "{output:?}");
    assert_eq!(data.files(), before);
}

#[test]
fn what_cannot_be_a_directory_or_has_no_room_is_refused() {
    let data = DataDirectory::new("file");
    fs::write(data.path(), "a file").unwrap();
    let output = fails(&data, &[]);
    assert_eq!(output.status.code(), Some(71));
    assert!(last_line(&output).contains("is no data directory: it is a file"), "{output:?}");
    fs::remove_file(data.path()).unwrap();

    let output = fails(&data, &["--free-space-min", "1000GiB"]);
    assert_eq!(output.status.code(), Some(71));
    let line = last_line(&output);
    assert!(line.contains("has no room: ") && line.contains("--free-space-min"), "{line}");
    // With room again nothing of it is left in the way.
    Broker::start(&data, &[]).kill();
}

/// A broker whose settings say nothing of where its data are, with these variables and no others.
fn by_default(variables: &[(&str, &str)], flags: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_dunlin"), "--port", "0", "--no-pin"]);
    command.args(["--segment-size", "2MiB", "--free-space-min", "0", "--shards", "1"]).args(flags).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(variables.iter().copied());
    command
}

/// A broker that listens; ended with what is returned.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("setpriv is there");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
        assert!(line.contains("listening on"), "{line:?}");
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_word_data_are_kept_where_the_user_has_such_things() {
    let data = DataDirectory::new("default");
    let home = data.path().to_str().expect("UTF-8");
    let (state, unit) = (format!("{home}/state"), format!("{home}/unit"));
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[("HOME", home)], ".local/state/dunlin"),
        (&[("HOME", home), ("XDG_STATE_HOME", &state)], "state/dunlin"),
        (&[("HOME", home), ("XDG_STATE_HOME", &state), ("STATE_DIRECTORY", &unit)], "unit"),
    ];
    for (variables, place) in table {
        let first = Running::start(by_default(variables, &[]));
        assert!(data.path().join(place).join("manifest").is_file(), "{place}");
        // A second one says what to do, and does it.
        let output = by_default(variables, &[]).output().expect("setpriv is there");
        let line = last_line(&output);
        assert!(line.contains(place) && line.contains("is in use by another dunlin: stop that first"), "{line}");
        assert!(line.contains("--data-dir") && line.contains("--storage memory"), "{line}");
        drop(Running::start(by_default(variables, &["--storage", "memory"])));
        drop(first);
    }
}

#[test]
fn where_no_directory_can_be_made_is_said_with_what_to_do() {
    for (variables, told) in [
        (&[][..], "there is no place for a data directory"),
        (&[("HOME", "/proc/self")], "/proc/self/.local/state/dunlin cannot be written to"),
        (&[("STATE_DIRECTORY", "/dev/null/x")], "/dev/null/x is no data directory"),
    ] {
        let output = by_default(variables, &[]).output().expect("setpriv is there");
        assert_eq!(output.status.code(), Some(71), "{output:?}");
        let line = last_line(&output);
        assert!(line.contains(told), "{line}");
        assert!(line.contains("--data-dir") && line.contains("--storage memory"), "{line}");
        drop(Running::start(by_default(variables, &["--storage", "memory"])));
    }
}

#[test]
fn where_nothing_can_be_written_is_said_once() {
    let data = DataDirectory::new("read-only");
    fs::create_dir(data.path()).unwrap();
    fs::create_dir(data.path().join("manifest.new")).unwrap();
    let output = fails(&data, &[]);
    assert_eq!(output.status.code(), Some(71));
    assert!(last_line(&output).contains("manifest.new"), "{output:?}");
}
