//! A password file that changes under a running broker.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::broker::{Broker, Client};

const BAD_USER_NAME_OR_PASSWORD: u8 = 4;
const NOT_AUTHORIZED: u8 = 5;

/// A broker whose password file is `users` in its directory.
fn broker(name: &str, users: &str) -> Broker {
    let directory = std::env::temp_dir().join(format!("dunlin-reload-{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let path = directory.join("users");
    fs::write(&path, users).expect("a file");
    // Hashes that anybody may read are warned of, which these tests do not wait for.
    Broker::start(name, &file(&path.display().to_string(), ""))
}

fn file(users: &str, more: &str) -> String {
    format!("[auth]\nallow_anonymous = false\npassword_file = \"{users}\"\n{more}")
}

/// A line of a password file.
pub(crate) fn user(name: &str, password: &str) -> String {
    // Tests that run at the same time want the same line.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, SeqCst);
    let path = std::env::temp_dir().join(format!("dunlin-user-{}-{number}", std::process::id()));
    let status = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .args(["passwd", "-c", "-b", "-H", "sha512"])
        .arg(&path)
        .args([name, password])
        .status();
    assert!(status.expect("it runs").success());
    let line = fs::read_to_string(&path).expect("a file");
    fs::remove_file(&path).expect("it is there");
    line
}

/// The code of the CONNACK.
fn connect(broker: &Broker, user: &str, password: &str) -> (Client, u8) {
    let mut client = Client::open(&broker.addresses[0]);
    let mut bytes = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', 4, 0xc2, 0, 0, 0, 1, user.as_bytes()[0]];
    for field in [user, password] {
        bytes.extend((field.len() as u16).to_be_bytes());
        bytes.extend(field.as_bytes());
    }
    bytes[1] = (bytes.len() - 2) as u8;
    client.send(&bytes);
    let [kind, length, _, code] = client.receive();
    assert_eq!((kind, length), (0x20, 2));
    (client, code)
}

#[test]
fn users_come_and_go_at_a_reload_and_nobody_is_disconnected() {
    let broker = broker("users", &(user("ann", "a") + &user("bob", "b")));
    let (mut ann, code) = connect(&broker, "ann", "a");
    assert_eq!(code, 0);
    assert_eq!(connect(&broker, "eve", "e").1, BAD_USER_NAME_OR_PASSWORD);
    let users = broker.directory.join("users");
    fs::write(&users, user("ann", "changed") + &user("eve", "e") + &user("joe", "j")).expect("a file");
    let told = broker.reload(&file(&users.display().to_string(), ""));
    let changed = told.iter().filter(|line| line.contains("config_changed")).collect::<Vec<_>>();
    assert!(changed.len() == 1 && changed[0].contains("old=\"2 users\" new=\"3 users\""), "{told:#?}");
    // What was remembered of the old password is worth nothing.
    for (name, password, code) in [("ann", "a", 4), ("ann", "changed", 0), ("eve", "e", 0), ("bob", "b", 4)] {
        // The authenticator hears of it beside the reload's last line.
        let is_heard = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            connect(&broker, name, password).1 == code
        });
        assert!(is_heard, "{name} {password}");
    }
    ann.closed(); // taken over by her own new connection
}

#[test]
fn a_broken_password_file_changes_nothing_and_opens_no_door() {
    let broker = broker("broken-users", &user("ann", "a"));
    let path = broker.directory.join("users");
    let settings = |more: &str| file(&path.display().to_string(), more);
    assert_eq!(connect(&broker, "ann", "a").1, 0);
    for (users, wrong) in [
        (String::new(), "it names no user"),
        (user("ann", "a").trim_end()[..30].to_owned(), "line 1: "),
        (format!("{}eve:e\n", user("ann", "a")), "line 2: the password is not hashed"),
    ] {
        fs::write(&path, users).expect("a file");
        let told = broker.reload(&settings("[session]\nmax_subscriptions = 1\n"));
        let failed: Vec<_> = told.iter().filter(|line| line.contains("config_reload_failed")).collect();
        assert!(failed.len() == 1 && failed[0].contains(wrong), "{told:#?}");
        let (mut client, code) = connect(&broker, "ann", "a");
        assert_eq!(code, 0, "the old users stay");
        assert_eq!((client.subscribe(b'x'), client.subscribe(b'y')), (0, 0), "and the old settings");
        assert_eq!(connect(&broker, "eve", "e").1, BAD_USER_NAME_OR_PASSWORD);
        assert_eq!(Client::open(&broker.addresses[0]).say_connect(b'z'), NOT_AUTHORIZED);
    }
    fs::remove_file(&path).expect("it is there");
    let told = broker.reload(&settings(""));
    assert!(told[told.len() - 1].contains("cannot be read"), "{told:#?}");
    assert_eq!(connect(&broker, "ann", "a").1, 0);
}
