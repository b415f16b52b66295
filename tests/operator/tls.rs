//! Listeners for TLS, with certificates made for the test and OpenSSL's client as peer.

#![expect(clippy::unwrap_used, reason = "a test whose files cannot be made ends there")]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};

use crate::broker::{Broker, Client};
use crate::websocket::{REQUEST, binary};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// CONNECT of client `x`, MQTT 3.1.1.
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'x'];
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// An authority, and files of its certificates in a directory that goes with it.
pub(crate) struct Authority {
    directory: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("dunlin-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let issuer = CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    pub(crate) fn path(&self, file: &str) -> String {
        self.directory.join(file).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Writes `name.pem` and `name.key`, good for so many days from now.
    pub(crate) fn issue(&self, name: &str, serial: u64, days: i64) {
        self.issue_for("localhost", name, serial, days * DAY.as_secs().cast_signed());
    }

    /// The same for a host, and for so many seconds.
    pub(crate) fn issue_for(&self, host: &str, name: &str, serial: u64, left_s: i64) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = (SystemTime::now() - 100 * DAY).into();
        params.not_after = from_now(left_s).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn revoke(&self, serial: u64) {
        self.revoke_until("crl.pem", &[serial], DAY.as_secs().cast_signed());
    }

    /// A list of these that is to be followed by a newer one in so many seconds.
    pub(crate) fn revoke_until(&self, file: &str, serials: &[u64], left_s: i64) {
        let since = SystemTime::now() - DAY;
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: since.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: since.into(),
            next_update: from_now(left_s).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(self.directory.join(file), list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
    }

    /// An authority under this one, with its certificate in `name.pem` here.
    pub(crate) fn delegate(&self, name: &str, serial: u64) -> Self {
        let mut params = authority(name);
        params.serial_number = Some(SerialNumber::from(serial));
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        fs::write(self.directory.join(format!("{name}.pem")), issuer.pem()).unwrap();
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory).expect("a temporary directory");
        Self { directory, issuer }
    }

    /// A `[[listener]]` table with these lines.
    pub(crate) fn listener(&self, name: &str, more: &str) -> String {
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        format!(
            "[[listener]]\nname = {name:?}\nkind = \"tls\"\ntls_cert = {certificate:?}\ntls_key = {key:?}\n{more}\n"
        )
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
    params
}

fn from_now(left_s: i64) -> SystemTime {
    let left = Duration::from_secs(left_s.unsigned_abs());
    if left_s < 0 { SystemTime::now() - left } else { SystemTime::now() + left }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// `openssl s_client`, ended with its test.
pub(crate) struct OpenSsl(Child);

impl OpenSsl {
    pub(crate) fn connect(address: &str, arguments: &[&str]) -> Self {
        let child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", address])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        Self(child)
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        // One that was refused is gone.
        let _ = self.0.stdin.as_mut().expect("stdin is piped").write_all(bytes);
    }

    /// `count` bytes, or fewer if the connection ends before.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let stdout = self.0.stdout.as_mut().expect("stdout is piped");
        stdout.take(count as u64).read_to_end(&mut bytes).expect("stdout is read");
        bytes
    }

    /// Comes in as a client.
    pub(crate) fn come_in(&mut self) -> bool {
        self.say(&CONNECT);
        self.read(4) == CONNACK
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the server's certificate is called by a peer that accepts any.
fn served(address: &str) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address, "-servername", "localhost"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let subject = text.lines().find_map(|line| line.trim().strip_prefix("subject="));
    subject.map_or_else(|| panic!("no certificate: {text}"), |subject| subject.trim().replace(' ', ""))
}

#[test]
fn clients_come_in_by_both_versions_of_tls_whichever_shard_is_theirs() {
    let ca = Authority::new("both");
    ca.issue("server", 1, 90);
    let broker = Broker::start("tls-both", &ca.listener("secure", ""));
    let file = ca.path("ca.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        for suite in ["AES128-GCM", "AES256-GCM", "CHACHA20"] {
            let (v13, v12) = match suite {
                "AES128-GCM" => ("TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
                "AES256-GCM" => ("TLS_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
                _ => ("TLS_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
            };
            let arguments = [version, "-CAfile", &file, "-verify_return_error", "-alpn", "mqtt"];
            let suites = ["-ciphersuites", v13, "-cipher", v12];
            for id in [b'a', b'b', b'c'] {
                let mut client = OpenSsl::connect(&broker.addresses[0], &[&arguments[..], &suites].concat());
                let mut connect = CONNECT;
                connect[14] = id;
                client.say(&connect);
                assert_eq!(client.read(4), CONNACK, "{version} {suite} {}", id as char);
                client.say(&[0xc0, 0]);
                assert_eq!(client.read(2), [0xd0, 0], "{version} {suite}");
            }
        }
    }
}

#[test]
fn whoever_is_refused_is_counted_and_told_by_reason() {
    let (ca, other) = (Authority::new("reasons"), Authority::new("reasons-other"));
    ca.issue("server", 1, 90);
    ca.issue("client", 2, 90);
    ca.issue("expired", 3, -1);
    ca.issue("revoked", 4, 90);
    other.issue("stranger", 5, 90);
    ca.revoke(4);
    let more = format!(
        "tls_ca = {:?}\ntls_crl = {:?}\ntls_client_cert = \"required\"\ntls_min_version = \"1.3\"",
        ca.path("ca.pem"),
        ca.path("crl.pem")
    );
    let broker = Broker::start("tls-reasons", &ca.listener("mutual", &more));
    let address = &broker.addresses[0];
    let with = |authority: &Authority, name: &str| {
        let (certificate, key) = (authority.path(&format!("{name}.pem")), authority.path(&format!("{name}.key")));
        OpenSsl::connect(address, &["-cert", &certificate, "-key", &key])
    };
    assert!(with(&ca, "client").come_in());
    broker.lines_to("client_connected");
    let refused = |reason: &str| {
        let lines = broker.lines_to("connect_refused");
        let line = &lines[lines.len() - 1];
        assert!(line.contains(&format!("reason={reason} ")) && line.contains("peer=127.0.0.1:"), "{reason}: {line}");
    };
    assert!(!with(&ca, "expired").come_in());
    refused("tls_expired");
    assert!(!with(&ca, "revoked").come_in());
    refused("tls_revoked");
    assert!(!with(&other, "stranger").come_in());
    refused("tls_unknown_ca");
    assert!(!OpenSsl::connect(address, &[]).come_in());
    refused("tls_no_certificate");
    assert!(!OpenSsl::connect(address, &["-tls1_2"]).come_in());
    refused("tls_old_version");
    let mut plain = Client::open(address);
    plain.send(&CONNECT);
    assert_eq!(plain.0.read(&mut [0; 8]).unwrap_or(0), 0, "nothing that it could read");
    refused("tls_plain_text");
    // A peer that does not accept what it is shown says so.
    let mut peer = OpenSsl::connect(address, &["-CAfile", &other.path("ca.pem"), "-verify_return_error"]);
    assert!(peer.read(1).is_empty(), "it ends by itself");
    refused("tls_alert");
}

#[test]
fn certificates_are_read_again_all_or_none() {
    let ca = Authority::new("reload");
    ca.issue("server", 1, 90);
    ca.issue("second", 2, 90);
    let (first, second) = (ca.listener("first", ""), ca.listener("second", "").replace("server.", "second."));
    let file = [first, second].concat();
    let broker = Broker::start("tls-reload", &file);
    let mut client = OpenSsl::connect(&broker.addresses[0], &[]);
    assert!(client.come_in());
    broker.lines_to("client_connected");
    let copy = |from: &str, to: &str| {
        for end in ["pem", "key"] {
            fs::copy(ca.path(&format!("{from}.{end}")), ca.path(&format!("{to}.{end}"))).unwrap();
        }
    };
    assert_eq!(served(&broker.addresses[0]), "CN=server");
    ca.issue("renewed", 7, 90);
    copy("renewed", "server");
    // One listener's file is broken: nothing changes on the other either.
    let good = fs::read(ca.path("second.pem")).unwrap();
    fs::write(ca.path("second.pem"), &good[..good.len() - 30]).unwrap();
    let lines = broker.reload(&file);
    let failed = &lines[lines.len() - 1];
    let place = format!("[[listener]] second tls_cert: {}:1: ", ca.path("second.pem"));
    assert!(failed.contains("config_reload_failed") && failed.contains(&place), "{failed}");
    assert_eq!(served(&broker.addresses[0]), "CN=server");
    fs::write(ca.path("second.pem"), &good).unwrap();
    let lines = broker.reload(&file);
    assert!(lines[lines.len() - 1].contains("config_reloaded"), "{lines:?}");
    assert_eq!(served(&broker.addresses[0]), "CN=renewed");
    client.say(&[0xc0, 0]);
    assert_eq!(client.read(2), [0xd0, 0], "who is connected stays");
}

#[test]
fn a_certificate_that_expires_soon_is_told() {
    let ca = Authority::new("expiry");
    ca.issue("server", 1, 20);
    let broker = Broker::start("tls-expiry", &ca.listener("secure", ""));
    let lines = broker.lines_to(" ready");
    assert!(lines.iter().any(|line| line.contains("WARN") && line.contains("server.pem expires in ")), "{lines:?}");
    ca.issue("server", 1, -2);
    let lines = broker.reload(&ca.listener("secure", ""));
    assert!(lines.iter().any(|line| line.contains("server.pem expired 2 days ago")), "{lines:?}");
}

/// What a broker says that does not start, and its status.
fn refused_start(directory: &Path, file: &str) -> (Option<i32>, String) {
    refused(directory, file, &[])
}

fn refused(directory: &Path, file: &str, more: &[&str]) -> (Option<i32>, String) {
    let path = directory.join("dunlin.toml");
    fs::write(&path, file).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .arg("-c")
        .arg(&path)
        .args(["--port", "0", "--shards", "1", "--storage", "memory"])
        .args(more)
        .env("TLS_PASSPHRASE_OF_TEST", "tell-nobody")
        .output()
        .expect("the broker runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_place_and_a_remedy() {
    let ca = Authority::new("wrong");
    ca.issue("server", 1, 90);
    ca.issue("other", 2, 90);
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (key, encrypted) = (ca.path("server.key"), ca.path("encrypted.key"));
    openssl(&["pkcs8", "-topk8", "-v2", "aes256", "-in", &key, "-out", &encrypted, "-passout", "pass:secret"]);
    openssl(&["ec", "-aes256", "-in", &key, "-out", &ca.path("old.key"), "-passout", "pass:secret"]);
    fs::write(ca.path("damaged.pem"), "some words\n-----BEGIN CERTIFICATE-----\nMIIB!!\n-----END CERTIFICATE-----\n")
        .unwrap();
    let listener = ca.listener("secure", "");
    let with = |from: &str, to: &str| listener.replace(from, to);
    let table = [
        (with("server.pem", "missing.pem"), "tls_cert: ", "is the path right?"),
        (with("server.pem", "server.key"), "tls_cert: ", "no certificate is in it (but PRIVATE KEY)"),
        (with("server.pem", "damaged.pem"), "damaged.pem:3: ", "copy the file again"),
        (with("server.key", "other.key"), "tls_key: ", "it is not the key of "),
        (
            with("server.key", "encrypted.key"),
            "tls_key: ",
            "it needs a passphrase: say where it is with tls_key_passphrase_file",
        ),
        (
            with("server.key", "encrypted.key") + "tls_key_passphrase_variable = \"TLS_PASSPHRASE_OF_TEST\"\n",
            "encrypted.key: ",
            "the passphrase does not open it",
        ),
        (with("server.key", "old.key"), "old.key: ", "`openssl pkcs8 -topk8"),
        (listener.clone() + "tls_client_cert = \"required\"\n", "tls_ca: ", "it is missing"),
        (listener.clone() + "tls_ciphers = \"TLS_NULL_WITH_NULL_NULL\"\n", "tls_ciphers: ", "TLS_AES_128_GCM_SHA256"),
        ("[[listener]]\nkind = \"tls\"\n".to_owned(), "tls_cert: ", "needs a certificate, and its key in tls_key"),
    ];
    for (file, place, remedy) in table {
        let (status, text) = refused_start(&ca.directory, &file);
        assert!(text.contains(place) && text.contains(remedy), "{place}{remedy}: {text}");
        assert_eq!(status, Some(78), "{text}");
        assert!(!text.contains("tell-nobody"), "a secret is shown: {text}");
        let (status, text) = refused(&ca.directory, &file, &["--test-config"]);
        assert!(
            text.contains(place) && text.contains(remedy) && text.contains("NOT usable"),
            "{place}{remedy}: {text}"
        );
        assert_eq!(status, Some(1), "{text}");
    }
}

#[test]
fn keys_of_every_kind_are_read() {
    let ca = Authority::new("kinds");
    ca.issue("server", 1, 90);
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (key, ca_file, ca_key) = (ca.path("server.key"), ca.path("ca.pem"), ca.path("ca.key"));
    fs::write(&ca_key, ca.issuer.key().serialize_pem()).unwrap();
    let (rsa, request, certificate) = (ca.path("rsa.key"), ca.path("rsa.csr"), ca.path("rsa.pem"));
    openssl(&["genrsa", "-traditional", "-out", &rsa, "2048"]);
    openssl(&["req", "-new", "-key", &rsa, "-subj", "/CN=rsa", "-out", &request]);
    let names = ca.path("names");
    fs::write(&names, "subjectAltName=DNS:localhost\n").unwrap();
    let signed_by = ["-CA", &ca_file, "-CAkey", &ca_key, "-days", "90", "-extfile", &names];
    openssl(&[&["x509", "-req", "-in", &request, "-out", &certificate][..], &signed_by].concat());
    openssl(&["ec", "-in", &key, "-out", &ca.path("sec1.key")]);
    openssl(&["pkcs8", "-topk8", "-v2", "aes256", "-in", &key, "-out", &ca.path("p8.key"), "-passout", "pass:secret"]);
    fs::write(ca.path("passphrase"), "secret\n").unwrap();
    let listener = |name: &str, certificate: &str, key: &str| {
        let listener = ca.listener(name, &format!("tls_key_passphrase_file = {:?}", ca.path("passphrase")));
        listener.replace("server.pem", certificate).replace("server.key", key)
    };
    let file = [
        listener("pkcs1", "rsa.pem", "rsa.key"),
        listener("sec1", "server.pem", "sec1.key"),
        listener("pkcs8-encrypted", "server.pem", "p8.key"),
    ];
    let broker = Broker::start("tls-kinds", &file.concat());
    for address in &broker.addresses {
        assert!(OpenSsl::connect(address, &[]).come_in(), "{address}");
    }
}

#[test]
fn who_comes_back_with_a_ticket_resumes() {
    let ca = Authority::new("tickets");
    ca.issue("server", 1, 90);
    let broker = Broker::start("tls-tickets", &ca.listener("secure", ""));
    let ticket = ca.path("ticket");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut first = OpenSsl::connect(&broker.addresses[0], &[version, "-sess_out", &ticket]);
        assert!(first.come_in());
        first.say(&[0xe0, 0]);
        first.read(1);
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &broker.addresses[0], version, "-sess_in", &ticket])
            .stdin(Stdio::null())
            .output()
            .expect("openssl runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("Reused, "), "{version}: {text}");
    }
}

#[test]
fn mosquittos_clients_publish_and_subscribe_with_certificates() {
    let ca = Authority::new("mosquitto");
    ca.issue("server", 1, 90);
    ca.issue("client", 2, 90);
    let more = format!("tls_ca = {:?}\ntls_client_cert = \"required\"", ca.path("ca.pem"));
    let broker = Broker::start("tls-mosquitto", &ca.listener("mutual", &more));
    let port = broker.addresses[0].rsplit(':').next().expect("an address has a port").to_owned();
    let (file, certificate, key) = (ca.path("ca.pem"), ca.path("client.pem"), ca.path("client.key"));
    let tls = ["--cafile", &file, "--cert", &certificate, "--key", &key, "-h", "localhost", "-p", &port, "-q", "1"];
    for version in ["tlsv1.2", "tlsv1.3"] {
        let payload = "x".repeat(40_000);
        let publish = |topic: &str, payload: &str| {
            let status = Command::new("mosquitto_pub")
                .args(tls)
                .args(["--tls-version", version, "-r", "-t", topic, "-m", payload])
                .status()
                .expect("it runs");
            assert!(status.success(), "{version} {topic}");
        };
        publish("a/short", "word");
        publish("b/long", &payload);
        for (topic, expected) in [("a/#", "word"), ("b/#", &payload)] {
            let output = Command::new("mosquitto_sub")
                .args(tls)
                .args(["--tls-version", version, "-t", topic, "-C", "1", "-W", "20"])
                .output()
                .expect("it runs");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), expected, "{version}");
        }
    }
}

/// The name in a certificate is a user of the access rules, and no password makes another of it.
#[test]
fn a_certificates_name_is_the_user_that_rules_speak_of() {
    let ca = Authority::new("names");
    for (name, serial) in [("server", 1), ("ann", 2), ("bob", 3)] {
        ca.issue(name, serial, 90);
    }
    let rules = ca.path("rules.acl");
    fs::write(&rules, "user ann\ntopic readwrite own/#\n").unwrap();
    let more = format!(
        "tls_ca = {:?}\ntls_client_cert = \"required\"\ncertificate_user = \"common-name\"\nallow_anonymous = false\n",
        ca.path("ca.pem")
    );
    let config = format!("[auth]\nacl_file = {rules:?}\n{}", ca.listener("mutual", &more));
    let broker = Broker::start("tls-names", &config);
    let port = broker.addresses[0].rsplit(':').next().expect("an address has a port").to_owned();
    let run = |program: &str, user: &str, more: &[&str]| {
        let (file, certificate, key) =
            (ca.path("ca.pem"), ca.path(&format!("{user}.pem")), ca.path(&format!("{user}.key")));
        let tls = ["--cafile", &file, "--cert", &certificate, "--key", &key, "-h", "localhost", "-p", &port, "-q", "1"];
        Command::new(program).args(tls).args(["-i", user]).args(more).output().expect("it runs")
    };
    assert!(run("mosquitto_pub", "ann", &["-r", "-t", "own/a", "-m", "hers"]).status.success());
    // He says that he is she.
    run("mosquitto_pub", "bob", &["-u", "ann", "-P", "x", "-r", "-t", "own/a", "-m", "his"]);
    let lines = broker.lines_to(" message_refused ");
    assert!(lines.iter().any(|line| line.contains(" client_connected client=bob user=bob ")), "{lines:?}");
    let output = run("mosquitto_sub", "ann", &["-t", "own/#", "-C", "1", "-W", "20"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "hers");
}

/// WebSocket in TLS: the browser's protocol in the handshake, the request, frames.
#[test]
fn a_client_comes_in_over_secure_websocket_and_over_nothing_less() {
    let ca = Authority::new("wss");
    ca.issue("server", 1, 90);
    let (certificate, key) = (ca.path("server.pem"), ca.path("server.key"));
    let tables =
        format!("[[listener]]\nname = \"page\"\nkind = \"wss\"\ntls_cert = {certificate:?}\ntls_key = {key:?}\n");
    let broker = Broker::start("tls-wss", &tables);
    let file = ca.path("ca.pem");
    for alpn in [&["-alpn", "http/1.1"][..], &[]] {
        for id in [b'a', b'b', b'c'] {
            let arguments = [&["-CAfile", &file, "-verify_return_error"][..], alpn].concat();
            let mut client = OpenSsl::connect(&broker.addresses[0], &arguments);
            client.say(REQUEST);
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let byte = client.read(1);
                assert_eq!(byte.len(), 1, "{}", String::from_utf8_lossy(&answer));
                answer.extend(byte);
            }
            assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
            let mut connect = CONNECT;
            connect[14] = id;
            client.say(&binary(&connect));
            assert_eq!(client.read(6), [&[0x82, 4][..], &CONNACK].concat());
            client.say(&binary(&[0xc0, 0]));
            assert_eq!(client.read(4), [0x82, 2, 0xd0, 0]);
        }
    }
    let mut plain = Client::open(&broker.addresses[0]);
    plain.send(REQUEST);
    let lines = broker.lines_to(" connect_refused ");
    assert!(lines.last().is_some_and(|line| line.contains("reason=tls_plain_text")), "{lines:?}");
    let mut without_frames = OpenSsl::connect(&broker.addresses[0], &["-CAfile", &file]);
    assert!(!without_frames.come_in(), "MQTT without WebSocket");
}

/// One flag of a certificate, and its port listens beside the plain one; tickets of it are good after a reload.
#[test]
fn flags_describe_the_listener_for_tls_and_its_tickets_outlive_a_reload() {
    let ca = Authority::new("flags");
    ca.issue("server", 1, 37);
    let (certificate, key) = (ca.path("server.pem"), ca.path("server.key"));
    let file = format!("[listener]\ntls_cert = {certificate:?}\ntls_key = {key:?}\ntls_port = 0\nwss_port = 0\n");
    let broker = Broker::start("tls-flags", &format!("{file}[node]\nsys_interval = 1\n"));
    assert_eq!(broker.addresses.len(), 3, "plain, TLS, secure WebSocket: {:?}", broker.addresses);
    Client::connect(&broker, b'p').ping();
    let (secure, ticket) = (&broker.addresses[1], ca.path("ticket"));
    let mut first = OpenSsl::connect(secure, &["-tls1_3", "-sess_out", &ticket]);
    assert!(first.come_in());
    let lines = broker.lines_to("client_connected client=x");
    let line = lines.last().expect("a line");
    assert!(
        line.contains("tls_version=\"1.3\" tls_cipher=\"TLS_") || line.contains("tls_version=1.3 tls_cipher=TLS_"),
        "{line}"
    );
    broker.signal("HUP");
    broker.lines_to("config_reloaded");
    let output = Command::new("openssl")
        .args(["s_client", "-connect", secure, "-tls1_3", "-sess_in", &ticket])
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Reused, "), "{text}");
    // What is left of the certificate, for monitoring.
    let mut watcher = Client::connect(&broker, b'w');
    let topic = b"$SYS/broker/tls/certificate/days_left";
    let filter = [&[0x82, topic.len() as u8 + 5, 0, 1, 0, topic.len() as u8], &topic[..], &[0]].concat();
    watcher.send(&filter);
    assert_eq!(watcher.receive::<5>(), [0x90, 3, 0, 1, 0]);
    let [_, length] = watcher.receive::<2>();
    let mut rest = vec![0; usize::from(length)];
    watcher.0.read_exact(&mut rest).unwrap();
    let days = String::from_utf8_lossy(&rest[2 + topic.len()..]).parse::<i64>().expect("a number of days");
    assert!((36..=37).contains(&days), "{days}");
}

#[test]
fn a_handshake_that_takes_too_long_is_ended_and_told() {
    let ca = Authority::new("slow");
    ca.issue("server", 1, 90);
    let broker = Broker::start("tls-slow", &ca.listener("secure", "tls_handshake_timeout = 1\nconnect_timeout = 60"));
    let mut silent = Client::open(&broker.addresses[0]);
    // The header of a handshake record whose rest never comes.
    silent.send(&[0x16, 3, 1, 2, 0, 1]);
    let took = silent.closed();
    assert!(took > Duration::from_millis(500) && took < Duration::from_secs(20), "{took:?}");
    let lines = broker.lines_to("connect_refused");
    assert!(lines.last().is_some_and(|line| line.contains("handshake was not done")), "{lines:?}");
    assert!(OpenSsl::connect(&broker.addresses[0], &[]).come_in());
}

#[test]
fn who_shows_a_certificate_where_that_is_optional_must_show_a_right_one() {
    let (ca, other) = (Authority::new("optional"), Authority::new("optional-other"));
    ca.issue("server", 1, 90);
    ca.issue("client", 2, 90);
    other.issue("client", 3, 90);
    let more = format!(
        "tls_ca = {:?}\ntls_client_cert = \"optional\"\ncertificate_user = \"common-name\"\nallow_anonymous = true",
        ca.path("ca.pem")
    );
    let broker = Broker::start("tls-optional", &ca.listener("mutual", &more));
    let address = &broker.addresses[0];
    assert!(OpenSsl::connect(address, &[]).come_in(), "without one");
    assert!(broker.lines_to("client_connected").last().is_some_and(|line| !line.contains("user=")));
    let (certificate, key) = (ca.path("client.pem"), ca.path("client.key"));
    assert!(OpenSsl::connect(address, &["-cert", &certificate, "-key", &key]).come_in());
    assert!(broker.lines_to("client_connected").last().is_some_and(|line| line.contains("user=client")));
    let (certificate, key) = (other.path("client.pem"), other.path("client.key"));
    assert!(!OpenSsl::connect(address, &["-cert", &certificate, "-key", &key]).come_in(), "of another authority");
}

/// The bytes of the file reach the client: what is in them is between it and the authority.
#[test]
fn an_ocsp_response_is_stapled_as_it_stands_in_its_file() {
    let ca = Authority::new("ocsp");
    ca.issue("server", 1, 90);
    // OCSPResponse with the status "try later" (RFC 6960, 4.2.1).
    fs::write(ca.path("staple"), [0x30, 3, 0x0a, 1, 3]).unwrap();
    let broker = Broker::start("tls-ocsp", &ca.listener("secure", &format!("tls_ocsp = {:?}", ca.path("staple"))));
    for version in ["-tls1_2", "-tls1_3"] {
        let output = Command::new("openssl")
            .args(["s_client", "-status", "-connect", &broker.addresses[0], version])
            .stdin(Stdio::null())
            .output()
            .expect("openssl runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("OCSP Response Status: trylater (0x3)"), "{version}: {text}");
    }
}

/// TLS behind the header of a proxy, which says where the client is, and WebSocket within it.
#[test]
fn tls_comes_behind_a_proxy_header_and_below_websocket() {
    let ca = Authority::new("proxied");
    ca.issue("server", 1, 90);
    let (certificate, key) = (ca.path("server.pem"), ca.path("server.key"));
    let table = |kind: &str| {
        format!(
            "[[listener]]\nname = {kind:?}\nkind = {kind:?}\nbind = \"127.0.0.1:0\"\ntls_cert = {certificate:?}\ntls_key = {key:?}\n\
             proxy_protocol = true\nproxy_from = \"127.0.0.1\"\nallow_anonymous = true\n"
        )
    };
    let broker = Broker::start("tls-proxied", &format!("{}{}", table("tls"), table("wss")));
    for (at, is_web) in [(0, false), (1, true)] {
        let proxy = proxy_to(&broker.addresses[at], b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 8883\r\n");
        let mut client = OpenSsl::connect(&proxy, &[]);
        if is_web {
            client.say(REQUEST);
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let byte = client.read(1);
                assert_eq!(byte.len(), 1, "{}", String::from_utf8_lossy(&answer));
                answer.extend(byte);
            }
            client.say(&binary(&CONNECT));
            assert_eq!(client.read(6), [&[0x82, 4][..], &CONNACK].concat());
        } else {
            assert!(client.come_in());
        }
        let lines = broker.lines_to("client_connected");
        assert!(lines.last().is_some_and(|line| line.contains("peer=198.51.100.7:4711")), "{lines:?}");
    }
}

/// A proxy that puts a header before the first connection to it. Returns where it listens.
fn proxy_to(address: &str, header: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, address) = (listener.local_addr().unwrap().to_string(), address.to_owned());
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let mut broker = std::net::TcpStream::connect(address).unwrap();
        broker.write_all(header).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let mut client = client;
        std::io::copy(&mut broker, &mut client)
    });
    at
}
