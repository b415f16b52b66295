//! Password files between Mosquitto and dunlin: what one writes the other reads.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::ports::Port;
use crate::stage::WAIT;
use crate::support::Broker;

/// A file that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("the target directory is writable");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[track_caller]
fn ok(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether `mosquitto_pub` is let in with these, by its exit status.
fn comes_in(addr: SocketAddr, user: &str, password: &str) -> bool {
    let (host, port) = (addr.ip().to_string(), addr.port().to_string());
    let status = Command::new("timeout")
        .args(["60", "mosquitto_pub", "-h", &host, "-p", &port, "-u", user, "-P", password, "-q", "1"])
        .args(["-t", "let/in", "-m", "x"])
        .stderr(Stdio::null())
        .status()
        .expect("mosquitto_pub runs");
    status.success()
}

#[track_caller]
fn check(addr: SocketAddr) {
    for (user, password, expected) in [
        ("ann", "sesame", true),
        ("bob", "two words", true),
        ("ann", "two words", false),
        ("bob", "", false),
        ("eve", "sesame", false),
    ] {
        assert_eq!(comes_in(addr, user, password), expected, "{user} {password:?}");
    }
}

#[test]
fn what_mosquitto_passwd_writes_lets_its_users_in() {
    let users = Scratch::new("users-of-mosquitto", "");
    ok("mosquitto_passwd", &["-b", "-H", "sha512", users.path(), "ann", "sesame"]);
    ok("mosquitto_passwd", &["-b", "-H", "sha512-pbkdf2", users.path(), "bob", "two words"]);
    let broker = Broker::start(2, &["--allow-anonymous=false", "--password-file", users.path()]);
    check(broker.addr());
}

/// A Mosquitto with a password file.
struct Mosquitto {
    child: Child,
    _config: Scratch,
}

impl Mosquitto {
    fn start(addr: SocketAddr, users: &str) -> Self {
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous false\npassword_file {users}\npersistence false\nuser root\n",
            addr.port()
        );
        let config = Scratch::new("mosquitto-with-users", &text);
        let program = if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program, "-c", config.path()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto runs");
        let deadline = Instant::now() + WAIT;
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < deadline, "mosquitto does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Self { child, _config: config }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_dunlin_passwd_writes_lets_its_users_into_mosquitto_and_dunlin() {
    let users = Scratch::new("users-of-dunlin", "");
    let dunlin = env!("CARGO_BIN_EXE_dunlin");
    // Mosquitto 2.0, which distributions have, knows no argon2id.
    ok(dunlin, &["passwd", "-b", "-H", "sha512", users.path(), "ann", "sesame"]);
    ok(dunlin, &["passwd", "-b", "-H", "sha512-pbkdf2", users.path(), "bob", "two words"]);
    let port = Port::claim();
    let addr = port.address();
    let _mosquitto = Mosquitto::start(addr, users.path());
    check(addr);
    let broker = Broker::start(1, &["--allow-anonymous=false", "--password-file", users.path()]);
    check(broker.addr());
}
