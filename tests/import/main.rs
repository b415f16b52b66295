//! `dunlin import` on files of Mosquitto of the kinds that its documentation and its users show.
//!
//! Beside each `NAME.conf` lie `NAME.toml`, what it comes to, and `NAME.txt`, what is said of it line by line. Each result is loaded by
//! dunlin's own code, and started; whether a client without a password then comes in is told here, case by case, so that no door is opened.
//! `DUNLIN_BLESS=1 cargo test --test import` writes the files anew.

#![cfg(feature = "runtime")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, SerialNumber,
};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/import");

/// What becomes of a client that shows no user name, at a listener of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stranger {
    ComesIn,
    IsRefused,
    /// What is spoken there is no plain MQTT.
    IsNotHeard,
}

use Stranger::{ComesIn, IsNotHeard, IsRefused};

/// Each case, and what becomes of a stranger at each listener of its result.
const CASES: [(&str, &[Stranger]); 22] = [
    ("01-debian-default", &[ComesIn]),
    ("02-docker-no-auth", &[ComesIn]),
    ("03-docker-dashboard", &[ComesIn]),
    ("04-passwords-and-rules", &[IsRefused]),
    ("05-home-automation", &[IsRefused, IsNotHeard, IsNotHeard]),
    ("06-lets-encrypt", &[IsRefused, IsNotHeard, IsNotHeard]),
    ("07-client-certificates", &[IsNotHeard]),
    ("08-per-listener", &[ComesIn, IsRefused, IsRefused]),
    ("09-bridge-to-cloud", &[ComesIn]),
    ("10-two-bridges", &[ComesIn]),
    ("11-dynamic-security", &[IsRefused]),
    ("12-plugins-2.1", &[IsRefused]),
    ("13-go-auth", &[IsRefused]),
    ("14-psk", &[IsRefused]),
    ("15-unix-and-mount-points", &[ComesIn, ComesIn]),
    ("16-old-style", &[IsRefused]),
    ("17-behind-haproxy", &[IsNotHeard, IsNotHeard]),
    ("18-limits", &[IsRefused]),
    ("19-interface-and-authorities", &[ComesIn]),
    ("20-empty", &[ComesIn, ComesIn]),
    ("21-plugin-by-listener", &[ComesIn, IsRefused]),
    ("22-beyond-bounds", &[ComesIn]),
];

/// A directory with the cases and the files that they name; removed at its end.
struct Workplace(PathBuf);

impl Workplace {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-import-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        for folder in ["", "files", "conf.d"] {
            fs::create_dir(directory.join(folder)).expect("a directory");
            for entry in fs::read_dir(Path::new(HERE).join(folder)).expect("a folder of the repository") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    let copy = directory.join(folder).join(path.file_name().expect("a name"));
                    fs::copy(&path, &copy).expect("a copy");
                    // Whatever a checkout has made of it: a file of users that all may read is warned of.
                    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("it is ours");
                }
            }
        }
        certificates(&directory.join("files"));
        Self(directory)
    }

    fn dunlin(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        command.args(arguments).current_dir(&self.0).env("XDG_STATE_HOME", "state").stdin(Stdio::null());
        command
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn certificates(directory: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = || KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    let server_key = key();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let server = params.signed_by(&server_key, &issuer).expect("a certificate");
    let now = std::time::SystemTime::now();
    let list = CertificateRevocationListParams {
        this_update: now.into(),
        next_update: (now + Duration::from_secs(86_400)).into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer).and_then(|list| list.pem()).expect("a list");
    for (name, text) in [
        ("ca.pem", issuer.pem()),
        ("chain.pem", issuer.pem()),
        ("server.pem", server.pem()),
        ("server.key", server_key.serialize_pem()),
        ("revoked.pem", list),
    ] {
        fs::write(directory.join(name), text).expect("a file");
    }
}

/// The text of a file beside the case, or that of now if it is to be written anew.
fn expected(name: &str, fresh: &str) -> String {
    let path = Path::new(HERE).join(name);
    if std::env::var_os("DUNLIN_BLESS").is_some() {
        fs::write(&path, fresh).expect("tests/import can be written");
    }
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn each_file_comes_to_what_lies_beside_it_and_is_usable() {
    let place = Workplace::new("texts");
    for (name, ..) in CASES {
        let conf = format!("{name}.conf");
        let output = place.dunlin(&["import", "--check", &conf]).output().expect("dunlin runs");
        let (toml, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{name}: {told}");
        assert_eq!(toml, expected(&format!("{name}.toml"), &toml), "{name}");
        assert_eq!(told, expected(&format!("{name}.txt"), &told), "{name}");
        assert!(told.ends_with("dunlin import: the result is usable\n"), "{name}: {told}");
    }
    let files = fs::read_dir(HERE).expect("it is there").filter_map(Result::ok);
    let confs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "conf"));
    assert_eq!(confs.count(), CASES.len(), "each file is a case");
}

/// A broker that is killed when it is dropped.
struct Started(Child, Vec<String>);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(place: &Workplace, name: &str) -> Started {
    let file = format!("{name}.started.toml");
    let toml = fs::read_to_string(Path::new(HERE).join(format!("{name}.toml"))).expect("a result");
    // Others may have the ports.
    let free = |line: &str| if line.starts_with("port = ") { "port = 0".to_owned() } else { line.to_owned() };
    let toml: Vec<String> = toml.lines().map(free).collect();
    fs::write(place.0.join(&file), toml.join("\n")).expect("a file");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_dunlin"), "-c", &file]);
    command.args(["--shards", "1", "--no-pin", "--storage", "memory", "--admin-port", "off"]);
    if toml.iter().any(|line| line.starts_with("[listener]")) {
        command.args(["--port", "0"]);
    }
    command.current_dir(&place.0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("setpriv runs");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut first).expect("a line");
    let addresses = first.split("listening on ").nth(1).and_then(|rest| rest.split(" (").next());
    let Some(addresses) = addresses else {
        let mut log = String::new();
        let _ = child.stderr.take().expect("it is piped").read_to_string(&mut log);
        panic!("{name} does not listen: {log}");
    };
    let addresses =
        addresses.split(", ").map(|address| address.replace("[::]", "[::1]").replace("0.0.0.0", "127.0.0.1"));
    Started(child, addresses.collect())
}

/// CONNECT of MQTT 3.1.1, without a user name.
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'x'];

fn stranger(place: &Workplace, address: &str) -> Stranger {
    let answer = if address.contains(".sock") {
        ask(UnixStream::connect(place.0.join(address)).expect("it listens"))
    } else {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        ask(stream)
    };
    match answer.as_slice() {
        [0x20, 2, 0, 0] => ComesIn,
        [0x20, 2, 0, _] => IsRefused,
        _ => IsNotHeard,
    }
}

fn ask(mut stream: impl Read + Write) -> Vec<u8> {
    let mut answer = vec![0; 4];
    stream.write_all(&CONNECT).expect("a packet");
    let read = stream.read(&mut answer).unwrap_or_default();
    answer.truncate(read);
    answer
}

#[test]
fn each_result_starts_and_lets_in_whom_mosquitto_let_in() {
    let place = Workplace::new("starts");
    for (name, becomes) in CASES {
        let broker = start(&place, name);
        let found: Vec<Stranger> = broker.1.iter().map(|address| stranger(&place, address)).collect();
        assert_eq!(found, becomes, "{name}: {:?}", broker.1);
    }
}

#[test]
fn what_cannot_be_read_is_told_and_files_are_not_overwritten() {
    let place = Workplace::new("errors");
    let tell = |arguments: &[&str]| {
        let output = place.dunlin(arguments).output().expect("dunlin runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, told) = tell(&["import", "nowhere.conf"]);
    assert_eq!(
        (status, told.as_str()),
        (Some(1), "dunlin import: nowhere.conf: No such file or directory (os error 2)\n")
    );
    fs::write(place.0.join("mosquitto.db"), b"\x00\xB5\x00mosquitto db\0\0\0\0").expect("a file");
    let (status, told) = tell(&["import", "mosquitto.db"]);
    assert!(status == Some(1) && told.contains("dunlin store import DIR < mosquitto.db"), "{told}");
    assert_eq!(tell(&["import"]).0, Some(2));
    let (status, _) = tell(&["import", "02-docker-no-auth.conf", "-o", "made.toml"]);
    assert_eq!(status, Some(0));
    let made = fs::read_to_string(place.0.join("made.toml")).expect("it is written");
    assert!(made.contains("[[listener]]"), "{made}");
    let (status, told) = tell(&["import", "02-docker-no-auth.conf", "-o", "made.toml"]);
    assert!(status == Some(1) && told.contains("made.toml: File exists"), "{told}");
    let (status, told) = tell(&["-c", "02-docker-no-auth.conf"]);
    assert_eq!(status, Some(78));
    assert!(told.contains("dunlin import 02-docker-no-auth.conf -o dunlin.toml"), "{told}");
    fs::write(place.0.join("gone.conf"), "listener 1883\npassword_file files/gone\n").expect("a file");
    let (status, told) = tell(&["import", "--check", "gone.conf"]);
    assert!(status == Some(1) && told.contains("files/gone") && told.contains("NOT usable"), "{told}");
}

#[test]
fn what_is_no_file_or_too_large_is_not_read() {
    let place = Workplace::new("devices");
    let tell = |conf: &str| {
        let mut command = Command::new("timeout");
        command.args(["20", env!("CARGO_BIN_EXE_dunlin"), "import", "--check", conf]).current_dir(&place.0);
        let output = command.env("XDG_STATE_HOME", "state").stdin(Stdio::null()).output().expect("timeout runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let fifo = place.0.join("conf.d/fifo.conf");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    std::os::unix::fs::symlink("/dev/zero", place.0.join("conf.d/zero.conf")).expect("a link");
    for odd in ["/dev/zero", "conf.d/fifo.conf", "conf.d/zero.conf", "conf.d"] {
        let (status, told) = tell(odd);
        assert_eq!((status, told), (Some(1), format!("dunlin import: {odd}: this is no regular file\n")));
    }
    let write = |name: &str, text: &str| fs::write(place.0.join(name), text).expect("a file");
    // The rest of a directory is read.
    write("conf.d/last.conf", "max_queued_messages 77\n");
    write("includes.conf", "listener 1883\ninclude_dir conf.d\n");
    let (status, told) = tell("includes.conf");
    assert_eq!(status, Some(0), "{told}");
    for name in ["fifo", "zero"] {
        assert!(told.contains(&format!("conf.d/{name}.conf: this is no regular file; it is left out")), "{told}");
    }
    write("names.conf", "listener 1883\npassword_file conf.d/fifo.conf\n");
    let (status, told) = tell("names.conf");
    assert!(status == Some(1) && told.contains("conf.d/fifo.conf"), "{told}");
    let comment = "# 0123456789\n".repeat(1024 * 1024 / 13);
    write("large.conf", &comment);
    assert_eq!(tell("large.conf").0, Some(0));
    write("larger.conf", &format!("{comment}{comment}"));
    let (status, told) = tell("larger.conf");
    assert!(status == Some(1) && told.contains("may have 1048576 bytes together"), "{told}");
    write("\u{1b}[31m.conf", "\u{1b}[5mx 1\nlistener 1883\n");
    let (_, told) = tell("\u{1b}[31m.conf");
    assert!(told.contains("\\u{1b}[5mx: no option") && !told.contains('\u{1b}'), "{told:?}");
    let (status, told) = tell("\u{1b}[32m.conf");
    assert!(status == Some(1) && !told.contains('\u{1b}'), "{told:?}");
}

#[test]
fn what_keeps_clients_out_is_named_by_its_own_line() {
    let place = Workplace::new("lines");
    for (toml, line, closed) in [
        ("[[listener]]\nbind = \"0.0.0.0\"\nallow_anonymous = false\n[auth]\nallow_anonymous = true\n", 3, "there"),
        ("[[listener]]\nbind = \"0.0.0.0\"\n[auth]\nallow_anonymous = false\n", 4, "everywhere"),
    ] {
        fs::write(place.0.join("d.toml"), toml).expect("a file");
        let output = place.dunlin(&["-c", "d.toml", "--test-config"]).output().expect("dunlin runs");
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(told.contains(&format!("anonymous clients are refused {closed} (d.toml:{line} says so)")), "{told}");
    }
}
