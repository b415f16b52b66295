//! `dunlin doctor` on this machine, as somebody types it.

use std::fs;
use std::net::TcpListener;
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
    assert!(!line_of("port").starts_with("ok"), "{text}");
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
