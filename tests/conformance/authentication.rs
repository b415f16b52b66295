//! Who comes in where credentials are checked: by raw bytes, with a password file.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::client::Event;
use crate::decode::Packet;
use crate::packets::{Connect, PUBACK, Publish, V5, V31, V311, VERSIONS};
use crate::world::{World, measured, with_flags};

/// A password file, made by the built binary, that goes with its test.
struct UsersFile(PathBuf);

impl UsersFile {
    fn new(name: &str, scheme: &str, users: &[(&str, &str)]) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("users-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let file = Self(path);
        for (number, (user, password)) in users.iter().enumerate() {
            file.passwd(if number == 0 { "-cbH" } else { "-bH" }, scheme, &[user, password]);
        }
        file
    }

    fn passwd(&self, flags: &str, scheme: &str, rest: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let output = command.args(["passwd", flags, scheme]).arg(&self.0).args(rest).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn flags(&self) -> [&str; 2] {
        ["--password-file", self.0.to_str().expect("UTF-8")]
    }
}

impl Drop for UsersFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What CONNACK says to a user name and a password.
fn verdict(w: &World, connect: &Connect) -> u8 {
    let mut client = w.start(connect);
    let code = client.expect_connack().code;
    if code == 0 {
        client.ping();
    } else {
        client.expect_closed();
    }
    code
}

#[test]
fn the_right_password_comes_in_and_everything_else_is_told_the_same() {
    let users = UsersFile::new("same", "sha512", &[("ann", "sesame"), ("bob", "b")]);
    let flags = [&users.flags()[..], &["--allow-anonymous=false"]].concat();
    with_flags(&flags, |w| {
        for version in VERSIONS {
            let refused = if version == V5 { 0x86 } else { 4 };
            let connect = |user: &str, password: &str| Connect::new(version, w.id("c")).user(user).password(password);
            assert_eq!(verdict(w, &connect("ann", "sesame")), 0);
            assert_eq!(verdict(w, &connect("bob", "b")), 0);
            for (user, password) in
                [("ann", "Sesame"), ("ann", "b"), ("ann", ""), ("eve", "sesame"), ("", "sesame"), ("ann ", "sesame")]
            {
                assert_eq!(verdict(w, &connect(user, password)), refused, "{user:?} {password:?}");
            }
            assert_eq!(verdict(w, &Connect::new(version, w.id("c")).user("ann")), refused, "a name proves nothing");
            let anonymous = if version == V5 { 0x87 } else { 5 };
            assert_eq!(verdict(w, &Connect::new(version, w.id("c"))), anonymous, "nothing shown, nothing given");
        }
        // A password that is no text is one all the same (MQTT 5.0, 3.1.3.6), and a wrong one.
        assert_eq!(verdict(w, &Connect::new(V5, w.id("c")).user("ann").password([0xff, 0, 0xfe])), 0x86);
    });
}

#[test]
fn who_shows_nothing_is_still_admitted_on_loopback_and_who_shows_something_must_be_right() {
    let users = UsersFile::new("half", "sha512", &[("ann", "sesame")]);
    with_flags(&users.flags(), |w| {
        for version in [V31, V311, V5] {
            let refused = if version == V5 { 0x86 } else { 4 };
            assert_eq!(verdict(w, &Connect::new(version, w.id("c"))), 0);
            assert_eq!(verdict(w, &Connect::new(version, w.id("c")).user("ann").password("sesame")), 0);
            assert_eq!(verdict(w, &Connect::new(version, w.id("c")).user("ann").password("open")), refused);
            assert_eq!(verdict(w, &Connect::new(version, w.id("c")).user("eve")), refused);
        }
    });
}

#[test]
fn nothing_of_a_session_is_touched_by_somebody_with_a_wrong_password() {
    let users = UsersFile::new("touched", "sha512", &[("ann", "sesame")]);
    let flags = [&users.flags()[..], &["--allow-anonymous=false"]].concat();
    with_flags(&flags, |w| {
        let (kept, other) = (w.id("kept"), w.id("other"));
        let connect = |id: &str| Connect::new(V5, id).user("ann").password("sesame");
        let (mut client, _) = w.connect(&connect(&kept).persistent());
        let topic = w.topic("t");
        assert_eq!(client.subscribe(&topic, 1), 1);
        let thief = Connect::new(V5, &kept).user("ann").password("wrong");
        assert_eq!(verdict(w, &thief), 0x86);
        // Clean start by a stranger would end the session, were he let in.
        let (mut other, _) = w.connect(&connect(&other));
        assert_eq!(other.deliver(Publish::new(&topic, "still here").qos(1)), 0);
        client.take_payload("still here");
    });
}

#[test]
fn what_comes_behind_connect_waits_for_the_verdict_and_is_heard_in_order() {
    let users = UsersFile::new("behind", "sha512", &[("ann", "sesame")]);
    let flags = [&users.flags()[..], &["--allow-anonymous=false", "--remember-logins", "off"]].concat();
    with_flags(&flags, |w| {
        for (password, comes_in) in [("sesame", true), ("wrong", false)] {
            let connect = Connect::new(V5, w.id("eager")).user("ann").password(password);
            let mut client = w.open(V5, "eager");
            let mut bytes = connect.encode();
            for number in 1..=3 {
                bytes.extend(Publish::new(w.topic("x"), format!("{number}")).qos(1).id(number).encode(V5));
            }
            client.send(&bytes);
            assert_eq!(client.expect_connack().code, if comes_in { 0 } else { 0x86 });
            if comes_in {
                for number in 1..=3 {
                    // 0x10 is success without a subscriber.
                    assert_eq!(client.expect_ack(PUBACK, number), 0x10);
                }
            } else {
                client.expect_closed();
            }
        }
    });
}

/// argon2id is slow on purpose; who is connected must not notice.
#[test]
fn a_connected_client_is_served_while_dozens_of_passwords_are_hashed() {
    let users = UsersFile::new("busy", "argon2id", &[("ann", "sesame")]);
    let flags = [&users.flags()[..], &["--allow-anonymous=false"]].concat();
    measured(&flags, |w, broker: &Broker| {
        let (mut client, _) = w.connect(&Connect::new(V5, w.id("calm")).user("ann").password("sesame"));
        let mut guessers: Vec<_> = (0..40)
            .map(|n| w.start(&Connect::new(V5, w.id(&format!("g{n}"))).user("ann").password(format!("guess-{n}"))))
            .collect();
        let begun = Instant::now();
        for _ in 0..20 {
            client.ping();
        }
        // Known passwords need no hash meanwhile.
        assert_eq!(verdict(w, &Connect::new(V5, w.id("again")).user("ann").password("sesame")), 0);
        let served = begun.elapsed();
        // The last hash is not done: neither the pings nor the login have waited for all of them.
        let soon = || Instant::now() + Duration::from_millis(1);
        let mut guesses: Vec<_> = guessers.iter_mut().map(|guesser| guesser.next_event(soon())).collect();
        let waiting = guesses.iter().filter(|event| matches!(event, Event::Timeout)).count();
        assert!(waiting > 0, "nobody was hashing any more after {served:?}");
        for (event, guesser) in guesses.iter_mut().zip(&mut guessers) {
            if matches!(event, Event::Timeout) {
                *event = guesser.next_event(begun + Duration::from_secs(60));
            }
        }
        let code = |event: &Event| match event {
            Event::Packet(Packet::ConnAck(connack)) => connack.code,
            other => panic!("{other:?}"),
        };
        let codes: Vec<u8> = guesses.iter().map(code).collect();
        // Those for whom there was no time are told that it was the broker's fault.
        assert!(codes.iter().all(|code| matches!(code, 0x86 | 0x88 | 0x89)), "{codes:x?}");
        assert!(codes.contains(&0x86), "{codes:x?}");
        assert!(broker.obituary().is_none());
    });
}

#[test]
fn a_client_id_is_its_users_and_the_rules_do_not_apply_to_a_superuser() {
    let users = UsersFile::new("bound", "sha512", &[("ann", "a"), ("bob", "b")]);
    let rules = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("rules-bound-{}", std::process::id()));
    std::fs::write(&rules, "user bob\ntopic readwrite only/this\n").expect("the target directory is writable");
    let rules_file = rules.to_str().expect("UTF-8");
    let bound = ["--client-id-pattern", "%u/*", "--superusers", "ann", "--acl-file", rules_file];
    let flags = [&users.flags()[..], &bound].concat();
    with_flags(&flags, |w| {
        for version in VERSIONS {
            let refused = if version == V5 { 0x85 } else { 2 };
            let connect = |id: &str, user: &str| Connect::new(version, id).user(user).password(&user[..1]);
            let own = format!("ann/{}", w.id("c"));
            assert_eq!(verdict(w, &connect(&own, "bob")), refused);
            assert_eq!(verdict(w, &connect(&w.id("c"), "ann")), refused);
            let (mut ann, _) = w.connect(&connect(&own, "ann"));
            let topic = w.topic("any");
            assert_eq!(ann.subscribe(&topic, 1), 1);
            assert_eq!(ann.deliver(Publish::new(&topic, "x").qos(1)), 0);
            ann.take_payload("x");
            let (mut bob, _) = w.connect(&connect(&format!("bob/{}", w.id("c")), "bob"));
            assert_eq!(bob.subscribe("only/this", 1), 1);
            if version != V31 {
                // SUBACK of 3.1 cannot say so.
                assert_eq!(bob.subscribe(&topic, 1), if version == V5 { 0x87 } else { 0x80 });
            }
        }
        // An id that the broker makes up is nobody's but this client's.
        assert_eq!(verdict(w, &Connect::new(V5, "").user("ann").password("a")), 0);
    });
    std::fs::remove_file(&rules).expect("it is there");
}
