//! Unix sockets of the built binary: the file, who may use it, who comes, and brokers that want the same path.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use crate::broker::Broker;

const LIMIT: Duration = Duration::from_secs(30);

/// A path that no other test has; what is left there goes at the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-unix-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        Self(directory.join("mqtt.sock"))
    }

    fn table(&self, more: &str) -> String {
        format!("[[listener]]\nname = \"local\"\nkind = \"unix\"\nunix = \"{}\"\n{more}", self.0.display())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().expect("a directory of its own"));
    }
}

/// CONNECT of 3.1.1 as somebody, and the CONNACK's code.
fn connect(path: &Path, id: u8) -> (UnixStream, u8) {
    let mut stream = UnixStream::connect(path).expect("the broker listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let head = [0x10, 24, 0, 4, b'M', b'Q', b'T', b'T', 4, 0xc2, 0, 0, 0, 1, id];
    stream.write_all(&[&head[..], &[0, 4], b"root", &[0, 3], b"pwd"].concat()[..26]).expect("it is open");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("CONNACK");
    assert_eq!(connack[..3], [0x20, 2, 0]);
    (stream, connack[3])
}

#[test]
fn a_path_has_its_mode_is_told_serves_and_goes_with_the_broker() {
    let socket = SocketPath::new("serves");
    let mut broker = Broker::start("unix", &socket.table("unix_mode = \"600\"\n"));
    let path = socket.0.to_str().expect("UTF-8");
    assert_eq!(broker.addresses, [path]);
    let lines = broker.lines_to(" ready");
    assert!(lines.iter().any(|line| line.contains(&format!("addr={path} listener=local "))), "{lines:?}");
    let metadata = std::fs::metadata(path).expect("it is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    // Their ids put them on both shards.
    for id in b'a'..=b'h' {
        assert_eq!(connect(&socket.0, id).1, 0);
    }
    let line = broker.lines_to(" client_connected client=h").pop().expect("a line");
    let own = format!("peer=\"unix:uid={},pid={}\" ", own_uid(), std::process::id());
    assert!(line.contains(&own), "{line}: {own}");
    broker.signal("TERM");
    assert!(broker.ended().success());
    assert_eq!(std::fs::read_dir(socket.0.parent().expect("a directory")).expect("it stays").count(), 0);
}

fn own_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("/proc"))
}

#[test]
fn a_client_may_be_called_what_its_account_is_called() {
    let socket = SocketPath::new("names");
    let broker = Broker::start("names", &socket.table("unix_user_names = true\n"));
    assert_eq!(connect(&socket.0, b'a').1, 0);
    let line = broker.lines_to(" client_connected client=a").pop().expect("a line");
    let output = Command::new("id").arg("-un").output().expect("id runs");
    let name = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(line.contains(&format!(" user={} ", name.trim())), "{line}");
}

/// What a broker that cannot start says, and its status.
fn refused(file: &str) -> (String, Option<i32>) {
    told_of(file, &["--storage", "memory"])
}

/// What is told of settings that are only looked at, and the exit status.
fn tested(file: &str) -> (String, Option<i32>) {
    told_of(file, &["--test-config"])
}

fn told_of(file: &str, flags: &[&str]) -> (String, Option<i32>) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, SeqCst);
    let path = std::env::temp_dir().join(format!("dunlin-refused-{}-{number}.toml", std::process::id()));
    std::fs::write(&path, file).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let output = command.args(flags).arg("-c").arg(&path).output().expect("it runs");
    std::fs::remove_file(&path).expect("it was there");
    (String::from_utf8(output.stderr).expect("UTF-8"), output.status.code())
}

#[test]
fn a_live_broker_keeps_its_path_and_a_killed_one_loses_it() {
    let socket = SocketPath::new("live");
    let table = socket.table("");
    let mut first = Broker::start("first", &table);
    let (told, status) = refused(&table);
    assert!(told.contains("is in use by another process") && told.contains("--unix"), "{told}");
    assert_eq!(status, Some(75), "as for an address");
    assert_eq!(connect(&socket.0, b'a').1, 0, "the first one serves");
    first.signal("KILL");
    first.ended();
    assert!(socket.0.exists(), "what a killed broker leaves");
    let second = Broker::start("second", &table);
    assert_eq!(connect(&socket.0, b'b').1, 0);
    drop(second);
}

#[test]
fn what_is_somebody_elses_is_left_alone() {
    let socket = SocketPath::new("others");
    // Another program that listens there without our lock.
    let other = UnixListener::bind(&socket.0).expect("a path");
    let (told, status) = refused(&socket.table(""));
    assert!(told.contains("is in use by another process"), "{told}");
    assert_eq!(status, Some(75));
    drop(other);
    std::fs::remove_file(&socket.0).expect("it was there");
    std::fs::write(&socket.0, "a letter").expect("a file");
    let (told, status) = refused(&socket.table(""));
    assert!(told.contains("File exists") && status == Some(71), "{told} {status:?}");
    assert_eq!(std::fs::read(&socket.0).expect("it is there"), b"a letter");
    let (told, _) = refused(&socket.table("unix_owner = \"nobody-of-this-name\"\n"));
    assert!(told.contains("/etc/passwd has no such name"), "{told}");
    let (told, status) = tested(&socket.table("unix_owner = \":no-group-of-this-name\"\n"));
    assert!(told.contains("/etc/group has no such name") && told.contains("NOT usable"), "{told}");
    assert_eq!(status, Some(1), "{told}");
    assert_eq!(tested(&socket.table("unix_owner = \"root:root\"\n")).1, Some(0));
    let missing = format!("[[listener]]\nkind = \"unix\"\nunix = {:?}\n", socket.0.join("x"));
    let (told, status) = refused(&missing);
    assert!(told.contains("mqtt.sock/x.lock") && status == Some(71), "{told} {status:?}");
}
