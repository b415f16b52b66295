//! Addresses that are banned, by an operator or for their failed logins.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::admin::Admin;
use crate::broker::{Broker, Client};
use crate::log::await_counter;
use crate::passwords::user;
use crate::tls::{Authority, OpenSsl};

/// What a client that says `user` and `password` in MQTT 5.0 is answered; nobody has its client id before or after.
fn login(address: &str, id: u8, user: &str, password: &str) -> u8 {
    let mut client = Client::open(address);
    let mut bytes = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', 5, 0xc2, 0, 0, 0, 0, 1, id];
    for field in [user, password] {
        bytes.extend((field.len() as u16).to_be_bytes());
        bytes.extend(field.as_bytes());
    }
    bytes[1] = (bytes.len() - 2) as u8;
    client.send(&bytes);
    let [kind, _, _, code] = client.receive();
    assert_eq!(kind, 0x20);
    code
}

/// Whether a listener for TLS shows its certificate to whoever comes from here.
fn shakes_hands(address: &str) -> bool {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address])
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    String::from_utf8_lossy(&output.stdout).contains("BEGIN CERTIFICATE")
}

fn refused_as_banned(broker: &Broker, text: &str) {
    let lines = broker.lines_to(" reason=banned ");
    let line = &lines[lines.len() - 1];
    assert!(line.contains(" connect_refused ") && line.contains("127.0.0.1:") && line.contains(text), "{line}");
}

/// On a listener for TLS the address is asked before a handshake is paid for; on another one CONNACK says why.
#[test]
fn an_address_that_an_operator_bans_is_turned_away_before_its_handshake() {
    let ca = Authority::new("banned");
    ca.issue("server", 1, 90);
    let admin = Admin::start("bans-tls", &format!("[[listener]]\nname = \"plain\"\n{}", ca.listener("secure", "")));
    let [plain, secure] = &admin.broker.addresses[..] else { panic!("{:?}", admin.broker.addresses) };
    assert!(shakes_hands(secure));
    assert!(OpenSsl::connect(secure, &[]).come_in());
    admin.broker.lines_to("client_connected");
    let ban = json!({"network": "127.0.0.1", "disconnect": false});
    assert_eq!(admin.ask(&admin.operator, "POST", "/api/v1/bans", Some(ban)).status, 200);
    assert!(!shakes_hands(secure));
    refused_as_banned(&admin.broker, "by an operator or for its failed logins");
    assert!(!OpenSsl::connect(secure, &[]).come_in());
    refused_as_banned(&admin.broker, "by an operator or for its failed logins");
    assert_eq!(Client::open(plain).say_connect(b'h'), 5);
    refused_as_banned(&admin.broker, "an operator has banned it");
    assert_eq!(admin.ask(&admin.operator, "DELETE", "/api/v1/bans?network=127.0.0.1", None).status, 204);
    assert!(OpenSsl::connect(secure, &[]).come_in());
    await_counter(&admin.broker, "$SYS/broker/connections/refused/banned", "3");
}

#[test]
fn whoever_fails_to_log_in_too_often_is_turned_away_for_a_while() {
    let ca = Authority::new("guesses");
    ca.issue("server", 1, 90);
    let users = ca.path("users");
    fs::write(&users, user("ann", "a")).expect("a file");
    let broker = Broker::start(
        "guesses",
        &format!(
            "[node]\nsys_interval = 1\n[auth]\npassword_file = {users:?}\nallow_anonymous = false\nban_after = 3\nban_time = 10\n\
             [[listener]]\nname = \"plain\"\n{}",
            ca.listener("secure", "")
        ),
    );
    let [plain, secure] = &broker.addresses[..] else { panic!("{:?}", broker.addresses) };
    assert_eq!(login(plain, b'a', "ann", "a"), 0);
    assert!(shakes_hands(secure));
    for id in *b"bcd" {
        assert_eq!(login(plain, id, "ann", "guess"), 0x86);
    }
    let banned = Instant::now();
    let lines = broker.lines_to(" login_banned ");
    assert!(lines[lines.len() - 1].contains("who=127.0.0.1"), "{lines:?}");
    assert_eq!(login(plain, b'e', "ann", "a"), 0x8a, "a right password, too");
    refused_as_banned(&broker, "it is banned");
    assert!(!shakes_hands(secure));
    refused_as_banned(&broker, "by an operator or for its failed logins");
    assert!(banned.elapsed() < Duration::from_secs(10), "the machine is too slow for this test");
    let is_over = || login(plain, b'f', "ann", "a") == 0;
    while !is_over() {
        assert!(banned.elapsed() < Duration::from_secs(60), "the ban does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(banned.elapsed() > Duration::from_secs(9), "it has ended after {:?}", banned.elapsed());
    assert!(shakes_hands(secure));
}

#[test]
fn a_list_of_bans_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let ca = Authority::new("listed");
    ca.issue("server", 1, 90);
    let list = ca.path("bans");
    let write = |text: &str| fs::write(&list, text).expect("a file");
    write("# nobody\n");
    let tables = format!("[[listener]]\nname = \"plain\"\n{}", ca.listener("secure", ""));
    let broker = Broker::start("listed", &format!("[auth]\nbans_file = {list:?}\n{tables}"));
    let [plain, secure] = &broker.addresses[..] else { panic!("{:?}", broker.addresses) };
    assert_eq!(Client::open(plain).say_connect(b'e'), 0);
    write("client e\n");
    let lines = broker.lines_to(" config_reloaded");
    assert!(lines.iter().any(|line| line.contains("0 bans") && line.contains("1 ban")), "{lines:?}");
    assert_eq!(Client::open(plain).say_connect(b'e'), 5);
    refused_as_banned(&broker, "it is on the list of bans");
    for broken in ["client e\n127.0.0.1", "", "client e\nnonsense\n"] {
        write(broken);
        let lines = broker.lines_to(" config_reload_failed");
        assert!(
            lines[lines.len() - 1].contains("--bans-file") || lines[lines.len() - 1].contains("bans_file"),
            "{lines:?}"
        );
        assert_eq!(Client::open(plain).say_connect(b'e'), 5, "{broken:?}");
        assert_eq!(Client::open(plain).say_connect(b'g'), 0, "{broken:?}");
    }
    fs::remove_file(&list).expect("it is there");
    broker.lines_to(" config_reload_failed");
    assert_eq!(Client::open(plain).say_connect(b'e'), 5);
    assert!(shakes_hands(secure));
    write("127.0.0.0/8\n");
    broker.lines_to(" config_reloaded");
    assert!(!shakes_hands(secure));
    refused_as_banned(&broker, "by --bans-file");
    let status = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["--test-config", "--bans-file", "/nowhere/bans"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(!status.expect("it runs").success(), "a start without its list is none");
}
