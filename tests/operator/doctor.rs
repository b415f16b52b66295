//! `dunlin doctor` on this machine, as somebody types it.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Output};

use serde_json::Value;

use crate::ports::Port;
use crate::tls::Authority;

fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    command.arg("doctor").args(arguments).env_remove("DUNLIN_CONFIG").env_remove("STATE_DIRECTORY");
    command.output().expect("it runs")
}

#[test]
fn it_says_what_is_and_what_is_needed_and_its_status_is_the_worst() {
    let authority = Authority::new("doctor");
    authority.issue("server", 1, 3);
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    let port = Port::claim();
    let taken = TcpListener::bind(port.address()).expect("a port");
    let data = authority.path("data");
    let file = authority.path("dunlin.toml");
    let toml = format!(
        "[[listener]]\nkind = \"tls\"\nbind = \"127.0.0.1\"\nport = {port}\ntls_cert = {certificate:?}\ntls_key = {key:?}\n\
         [store]\ndata_dir = {data:?}\nsegment_size = \"2MiB\"\nfree_space_min = 0\n[node]\nshards = 2\nmax_connections = 1000\n\
         [admin]\nport = \"off\"\n"
    );
    fs::write(&file, &toml).expect("a file");
    let output = doctor(&["--config", &file]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("For 1_000 clients on 2 shards:\n"), "{text}");
    // What is wrapped begins with blanks.
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines() {
        match blocks.last_mut().filter(|_| line.starts_with("   ")) {
            Some(block) => block.extend([" ", line.trim_start()]),
            None => blocks.push(line.to_owned()),
        }
    }
    let is_of = |line: &&String, check: &str| line.get(6..).is_some_and(|rest| rest.starts_with(check));
    let line_of =
        |check: &str| blocks.iter().find(|line| is_of(line, check)).unwrap_or_else(|| panic!("{check}: {text}"));
    let certificate = line_of("certificate");
    let ends = certificate.contains("ends in 2 days") || certificate.contains("ends in 3 days");
    assert!(certificate.starts_with("MEND") && ends, "{text}");
    // Whoever else runs: the process that listens is told.
    let own = format!("(process {})", std::process::id());
    assert!(line_of("port").starts_with("MEND") && line_of("port").contains(&own), "{text}");
    assert!(line_of("certificate").contains("to mend it: have a new one issued"), "{text}");
    for check in ["kernel", "io_uring", "open files", "locked memory", "memory", "data directory", "free space"] {
        assert!(line_of(check).contains("; "), "{check}: {text}");
    }
    assert!(line_of("write to disk").contains(" ms in the median"), "{text}");
    assert!(!fs::exists(&data).expect("a look"), "nothing is made");
    drop(taken);
    authority.issue("server", 2, 90);
    let output = doctor(&["--config", &file, "--clients", "10", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mend: Vec<&Value> =
        told["findings"].as_array().expect("a list").iter().filter(|finding| finding["level"] == "mend").collect();
    // The machine that tests run on may be short of something; the status says so all the same.
    assert_eq!(output.status.code(), Some(i32::from(!mend.is_empty())), "{mend:?}");
    assert!(!mend.iter().any(|finding| finding["check"] == "port" || finding["check"] == "certificate"), "{mend:?}");
    assert_eq!((&told["clients"], &told["shards"]), (&10.into(), &2.into()));
}

#[test]
fn a_port_for_datagrams_is_free_whoever_has_it_for_streams_and_its_owner_is_found() {
    let place = Authority::new("doctor-udp");
    let port = Port::claim();
    // The claim holds the port of another address for datagrams.
    let address = format!("127.0.0.2:{port}");
    let file = place.path("dunlin.toml");
    let toml = format!(
        "[[listener]]\nport = 0\n[[listener]]\nkind = \"mqtt-sn\"\nbind = \"127.0.0.2\"\nport = {port}\n[admin]\nport = \"off\"\n\
         [store]\nstorage = \"memory\"\n[node]\nmax_connections = 1000\n"
    );
    fs::write(&file, toml).expect("a file");
    let told = |clients: &str, check: &str| {
        let output = doctor(&["--config", &file, "--clients", clients, "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = told["findings"].as_array().expect("a list").clone();
        findings.into_iter().find(|finding| finding["check"] == check).expect("a finding")
    };
    let streams = TcpListener::bind(&address).expect("a port");
    assert_eq!(told("1000", "port")["level"], "ok", "streams are something else");
    assert_eq!(told("1000", "max_connections")["level"], "ok");
    assert_eq!(told("1001", "max_connections")["level"], "mend");
    drop(streams);
    let _datagrams = UdpSocket::bind(&address).expect("a port");
    let taken = told("1000", "port");
    let own = format!("(process {})", std::process::id());
    assert_eq!(taken["level"], "mend");
    assert!(taken.to_string().contains(&own), "{taken}");
}

#[test]
fn a_configuration_that_is_wrong_is_a_finding_and_a_wrong_command_line_is_none() {
    let authority = Authority::new("doctor-wrong");
    let file = authority.path("dunlin.toml");
    fs::write(&file, "[mqtt]\nmax_packet_sise = 1\n").expect("a file");
    let output = doctor(&["--config", &file, "--clients", "10"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("MEND  configuration") && text.contains("max_packet_size"), "{text}");
    for wrong in [&["--clients", "many"][..], &["--clients", "0"], &["extra"]] {
        assert_eq!(doctor(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

/// What is said of the data directory.
fn data_directory(command: &mut Command) -> String {
    let output = command.args(["doctor", "--clients", "1", "--json"]).output().expect("it runs");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let findings = told["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|finding| finding["check"] == "data directory").expect("it is looked at");
    let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    format!("{}: {}; {}", text("level"), text("is"), text("mend"))
}

#[test]
fn a_data_directory_that_cannot_be_must_be_mended() {
    let place = std::env::temp_dir().join(format!("dunlin-doctor-data-{}", std::process::id()));
    fs::create_dir_all(place.join("locked")).expect("a directory");
    fs::write(place.join("file"), "").expect("a file");
    let path = |name: &str| place.join(name).display().to_string();
    let with = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        data_directory(command.env_clear().envs(variables.iter().copied()))
    };
    let told = with(&[]);
    assert!(told.starts_with("mend: nothing says where it is") && told.contains("--data-dir"), "{told}");
    for (directory, word) in [
        (path("file"), "is no directory"),
        (path("file/below"), "is no directory"),
        ("/proc".to_owned(), "would lie on proc"),
        ("/sys/fs".to_owned(), "keeps no files"),
    ] {
        let told = with(&[("STATE_DIRECTORY", &directory)]);
        assert!(told.starts_with("mend: ") && told.contains(word), "{directory}: {told}");
    }
    // For a user who may not write there.
    let binary = path("dunlin");
    fs::copy(env!("CARGO_BIN_EXE_dunlin"), &binary).expect("a copy");
    let mode =
        |name: &str, mode| fs::set_permissions(place.join(name), fs::Permissions::from_mode(mode)).expect("ours");
    mode("", 0o755);
    mode("locked", 0o555);
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    let mut command = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    let told =
        data_directory(command.arg(&binary).env("STATE_DIRECTORY", path("locked/data")).env_remove("DUNLIN_CONFIG"));
    let words = format!("mend: {} cannot be written to by this user", path("locked"));
    assert!(told.starts_with(&words) && told.contains("sudo install -d"), "{told}");
    fs::remove_dir_all(&place).expect("it is ours");
}

#[test]
fn limits_are_those_of_the_unit_where_systemd_has_one() {
    let place = Authority::new("doctor-unit");
    let (programs, file) = (place.path("bin"), place.path("dunlin.toml"));
    fs::write(
        &file,
        "[node]\nshards = 1\n[listener]\nport = 0\n[admin]\nport = \"off\"\n[store]\nstorage = \"memory\"\n",
    )
    .expect("a file");
    fs::create_dir_all(&programs).expect("a directory");
    let script = format!("{programs}/systemctl");
    fs::write(
        &script,
        "#!/bin/sh\ncase \"$*\" in *-other.service) echo LoadState=not-found;; *) echo LoadState=loaded; echo LimitNOFILE=1025;\n\
         echo LimitMEMLOCK=infinity; echo MemoryMax=infinity;; esac\n",
    )
    .expect("a file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let ask = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        command.args(["doctor", "--json", "--clients", "100000", "--config", &file]).args(more).env("PATH", &path);
        command.output().expect("it runs")
    };
    let told = |more: &[&str], check: &str| {
        let output = ask(more);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = told["findings"].as_array().expect("a list").clone();
        findings.into_iter().find(|finding| finding["check"] == check).expect("a finding")
    };
    let files = told(&[], "open files");
    assert!(files["is"] == "1_025 in dunlin.service" && files["level"] == "mend", "{files}");
    assert_eq!(told(&[], "locked memory")["is"], "no limit in dunlin.service");
    assert_eq!(told(&["--unit", "mqtt.service"], "open files")["is"], "1_025 in mqtt.service");
    let own = told(&["--unit", "none"], "open files");
    assert!(own["is"].as_str().is_some_and(|is| is.ends_with(" here")), "{own}");
    let output = ask(&["--unit", "an-other.service"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no unit an-other.service"), "{output:?}");
}

#[test]
fn one_client_is_one() {
    let text = String::from_utf8(doctor(&["--clients", "1"]).stdout).expect("text");
    assert!(text.starts_with("For 1 client on "), "{text}");
}
