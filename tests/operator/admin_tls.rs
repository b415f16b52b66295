//! The admin server in TLS, with OpenSSL as peer, and at a path.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::admin::Admin;
use crate::broker::Broker;
use crate::tls::Authority;

/// What an HTTPS request is answered, and what the server's certificate is called.
fn ask(authority: &Authority, address: &str, request: &str) -> (String, String) {
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-connect", address, "-servername", "localhost", "-CAfile", &authority.path("ca.pem")])
        .args(["-verify_return_error", "-alpn", "http/1.1", "-ign_eof"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    openssl.stdin.take().expect("stdin is piped").write_all(request.as_bytes()).expect("it reads");
    let text = String::from_utf8_lossy(&openssl.wait_with_output().expect("it ends").stdout).into_owned();
    let subject = text.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_default().to_owned();
    (text, subject)
}

#[test]
fn with_a_certificate_it_speaks_https_alone_and_a_new_one_holds_from_its_reload_on() {
    let authority = Authority::new("admin");
    authority.issue("server", 1, 90);
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    let file = format!("[admin]\nport = 0\ntls_cert = {certificate:?}\ntls_key = {key:?}\n");
    let broker = Broker::start("admin-tls", &file);
    let lines = broker.lines_to(" ready");
    let told = |what: &str| {
        let rest = lines.iter().find_map(|line| line.split(what).nth(1)).expect("it is told");
        rest.split(' ').next().expect("a value").to_owned()
    };
    let (address, password) = (told("admin_listening addr="), told("admin_password user=admin password="));
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (text, subject) = ask(&authority, &address, get);
    assert!(text.contains("HTTP/1.1 200 OK") && text.contains("ALPN protocol: http/1.1"), "{text}");
    assert!(subject.contains("server"), "{subject}");
    let body = format!("{{\"user\":\"admin\",\"password\":{password:?}}}");
    let request = format!(
        "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (text, _) = ask(&authority, &address, &request);
    let cookie = text.lines().find(|line| line.starts_with("set-cookie")).unwrap_or_else(|| panic!("{text}"));
    assert!(cookie.contains("Secure") && cookie.contains("HttpOnly"), "{cookie}");
    // Plain HTTP is not answered.
    let mut plain = std::net::TcpStream::connect(&address).expect("it listens");
    plain.write_all(get.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    // Another certificate in the same files: a broken one changes nothing.
    fs::write(&certificate, "no certificate").expect("a file");
    broker.signal("HUP");
    let lines = broker.lines_to("config_reload_failed");
    let line = lines.last().expect("a line");
    assert!(line.contains("[admin] tls_cert") && line.contains("no certificate is in it"), "{line}");
    assert!(ask(&authority, &address, get).1.contains("server"));
    authority.issue("renewed", 2, 90);
    fs::copy(authority.path("renewed.pem"), &certificate).expect("a copy");
    fs::copy(authority.path("renewed.key"), &key).expect("a copy");
    broker.signal("HUP");
    broker.lines_to("config_reloaded");
    assert!(ask(&authority, &address, get).1.contains("renewed"));
}

#[test]
fn at_its_path_root_and_the_brokers_user_need_no_password() {
    let path = std::env::temp_dir().join(format!("dunlin-admin-{}.sock", std::process::id()));
    let path = path.to_str().expect("UTF-8").to_owned();
    let mut admin = Admin::start("admin-path", &format!("socket = {path:?}\n"));
    let ask = |head: &str| {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        let request = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers, and closes");
        text.split(' ').nth(1).expect("a status").to_owned()
    };
    assert_eq!(ask("GET /api/v1/overview HTTP/1.1"), "200");
    assert_eq!(ask("DELETE /api/v1/clients/nobody HTTP/1.1"), "404", "it may change things");
    let lines = admin.broker.lines_to("admin_action");
    assert!(lines.last().is_some_and(|line| line.contains("user=uid-") && line.contains("unix:uid=")));
    assert_eq!(ask("GET /api/v1/overview HTTP/1.1\r\nAuthorization: Bearer wrong"), "401", "a wrong key is wrong");
    // Those who say nothing take no places of the port, and make way for one who asks.
    let mut silent: Vec<UnixStream> = (0..16).map(|_| UnixStream::connect(&path).expect("it listens")).collect();
    assert_eq!(ask("GET /api/v1/overview HTTP/1.1"), "200");
    assert_eq!(silent[0].read(&mut [0]).expect("it is closed"), 0);
    assert!(admin.get("/api/v1/overview")["shards"].is_u64());
    drop(silent);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    admin.broker.signal("TERM");
    admin.broker.ended();
    assert!(!fs::exists(&path).expect("a directory"), "the file goes with the broker");
}

#[test]
fn ctl_says_what_is_wrong_with_a_certificate() {
    let authority = Authority::new("admin-hint");
    authority.issue("server", 1, 90);
    let own = authority.path("own.pem");
    let own_key = authority.path("own.key");
    // What `openssl req -x509` makes without further words is an authority.
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", &own_key, "-out", &own])
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{made:?}");
    let told = |certificate: &str, key: &str, authorities: &str, host: &str| {
        let file = format!("[admin]\nport = 0\ntls_cert = {certificate:?}\ntls_key = {key:?}\n");
        let broker = Broker::start("admin-hint", &file);
        let lines = broker.lines_to(" ready");
        let address = lines.iter().find_map(|line| line.split("admin_listening addr=").nth(1)).expect("it is told");
        let port = address.trim().rsplit(':').next().expect("a port");
        let url = format!("https://{host}:{port}");
        let output = Command::new(env!("CARGO_BIN_EXE_dunlin"))
            .args(["ctl", "--url", &url, "--cafile", authorities, "status"])
            .env_remove("DUNLIN_CTL_KEY")
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = told(&own, &own_key, &own, "localhost");
    assert!(text.contains("CaUsedAsEndEntity") && text.contains("basicConstraints=critical,CA:FALSE"), "{text}");
    let (certificate, key, authorities) =
        (authority.path("server.pem"), authority.path("server.key"), authority.path("ca.pem"));
    let text = told(&certificate, &key, &own, "localhost");
    assert!(text.contains("--cafile names a file with the right one"), "{text}");
    let text = told(&certificate, &key, &authorities, "127.0.0.1");
    assert!(text.contains("for other names than that in --url"), "{text}");
    let text = told(&certificate, &key, &authorities, "localhost");
    assert!(text.contains("HTTP 401") || text.contains("key"), "{text}");
}
