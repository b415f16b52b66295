//! An identity provider over TLS, whose certificate comes from an authority of the operator's own.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::broker::Broker;
use crate::ports::Port;
use crate::tls::Authority;

/// `openssl s_server`, which serves the files of its directory; it goes with its test.
struct FileServer {
    child: Child,
    port: Port,
}

impl FileServer {
    fn start(authority: &Authority) -> Self {
        let port = Port::claim();
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "openssl",
                "s_server",
                "-WWW",
                "-quiet",
                "-accept",
                &port.address().to_string(),
            ])
            .args(["-cert", &authority.path("server.pem"), "-key", &authority.path("server.key")])
            .current_dir(authority.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let begun = Instant::now();
        while TcpStream::connect(port.address()).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "openssl does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port }
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `mosquitto_pub` is let in with this token.
fn comes_in(broker: &Broker, token: &str) -> bool {
    let (host, port) = broker.addresses[0].rsplit_once(':').expect("an address has a port");
    let status = Command::new("timeout")
        .args([
            "60",
            "mosquitto_pub",
            "-h",
            host,
            "-p",
            port,
            "-u",
            "ann",
            "-P",
            token,
            "-q",
            "1",
            "-t",
            "x",
            "-m",
            "x",
        ])
        .stderr(Stdio::null())
        .status();
    status.expect("mosquitto_pub runs").success()
}

#[test]
fn keys_are_fetched_from_whom_the_operator_trusts_and_from_nobody_else() {
    let (trusted, other) = (Authority::new("provider"), Authority::new("stranger"));
    trusted.issue("server", 1, 90);
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]});
    fs::write(trusted.path("keys.json"), keys.to_string()).expect("a file");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::EdDSA) };
    let key = EncodingKey::from_ed_der(&pair.serialize_der());
    let token = encode(&header, &json!({"sub": "ann", "exp": now + 600}), &key).expect("it is signed");
    let server = FileServer::start(&trusted);
    for (authority, host, expected) in
        [(&trusted, "localhost", true), (&other, "localhost", false), (&trusted, "127.0.0.1", false)]
    {
        let url = format!("https://{host}:{}/keys.json", server.port);
        let ca = authority.path("ca.pem");
        let config = format!("[auth]\njwks_url = {url:?}\nauth_http_ca = {ca:?}\nallow_anonymous = false\n");
        let broker = Broker::start("provider", &config);
        assert_eq!(comes_in(&broker, &token), expected, "{host}");
        if !expected {
            broker.lines_to("key_set_failed");
        }
    }
}
