//! What an operator chooses of a listener for TLS, as OpenSSL's client sees it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::broker::Broker;
use crate::tls::{Authority, OpenSsl};

/// All that `openssl s_client` says of a handshake.
pub(crate) fn shaken(address: &str, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn each_host_gets_its_own_certificate_and_any_other_the_first() {
    let ca = Authority::new("hosts");
    ca.issue_for("first.example", "first", 1, 86_400 * 90);
    ca.issue_for("*.second.example", "second", 2, 86_400 * 90);
    let [certificates, keys] = ["pem", "key"].map(|end| {
        let path = |name: &str| format!("{:?}", ca.path(&format!("{name}.{end}")));
        format!("[{}, {}]", path("first"), path("second"))
    });
    let file = format!(
        "[[listener]]\nname = \"hosts\"\nkind = \"tls\"\nbind = \"127.0.0.1:0\"\ntls_cert = {certificates}\ntls_key = {keys}\n"
    );
    let broker = Broker::start("tls-hosts", &file);
    for (host, expected) in
        [("first.example", "first"), ("a.second.example", "second"), ("second.example", "first"), ("other", "first")]
    {
        let said = shaken(&broker.addresses[0], &["-servername", host]).replace(' ', "");
        assert!(said.contains(&format!("subject=CN={expected}\n")), "{host}: {said}");
    }
    let said = shaken(&broker.addresses[0], &["-noservername"]).replace(' ', "");
    assert!(said.contains("subject=CN=first\n"), "{said}");
}

#[test]
fn the_protocol_inside_is_mqtt_or_nothing() {
    let ca = Authority::new("alpn");
    ca.issue("server", 1, 90);
    let broker = Broker::start("tls-alpn", &ca.listener("secure", ""));
    let address = &broker.addresses[0];
    assert!(shaken(address, &["-alpn", "h2,mqtt"]).contains("\nALPN protocol: mqtt\n"));
    assert!(shaken(address, &[]).contains("\nNo ALPN negotiated\n"));
    assert!(!OpenSsl::connect(address, &["-alpn", "h2,http/1.1"]).come_in());
    let line = broker.lines_to(" connect_refused ").pop().expect("a line");
    assert!(line.contains(" reason=tls_failed ") && line.contains("application protocols (ALPN)"), "{line}");
}

#[test]
fn the_suites_that_are_named_are_the_only_ones() {
    let ca = Authority::new("suites");
    ca.issue("server", 1, 90);
    let more = "tls_ciphers = [\"TLS_CHACHA20_POLY1305_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\"]";
    let broker = Broker::start("tls-suites", &ca.listener("secure", more));
    let address = &broker.addresses[0];
    // What OpenSSL likes best is another one.
    let said = shaken(address, &["-tls1_3"]);
    assert!(said.contains("New, TLSv1.3, Cipher is TLS_CHACHA20_POLY1305_SHA256\n"), "{said}");
    let said = shaken(address, &["-tls1_2"]);
    assert!(said.contains("Cipher is ECDHE-ECDSA-AES256-GCM-SHA384\n"), "{said}");
    assert!(!OpenSsl::connect(address, &["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"]).come_in());
    let line = broker.lines_to("it offers no cipher suite that this listener takes").pop().expect("a line");
    assert!(line.contains(" reason=tls_failed "), "{line}");
}

#[test]
fn without_tickets_whoever_comes_back_shakes_hands_anew() {
    let ca = Authority::new("no-tickets");
    ca.issue("server", 1, 90);
    let broker = Broker::start("tls-no-tickets", &ca.listener("secure", "tls_tickets = \"off\""));
    let (address, ticket) = (&broker.addresses[0], ca.path("ticket"));
    for version in ["-tls1_2", "-tls1_3"] {
        let mut first = OpenSsl::connect(address, &[version, "-sess_out", &ticket]);
        assert!(first.come_in());
        first.say(&[0xc0, 0]);
        assert_eq!(first.read(2), [0xd0, 0]);
        first.say(&[0xe0, 0]);
        first.read(1);
        if Path::new(&ticket).exists() {
            // It may keep what it has without one.
            let said = shaken(address, &[version, "-sess_in", &ticket]);
            assert!(said.contains("New, TLSv1.") && !said.contains("Reused, "), "{version}: {said}");
            std::fs::remove_file(&ticket).expect("it is ours");
        }
    }
}

#[test]
fn a_passphrase_may_stand_in_the_environment() {
    let ca = Authority::new("passphrase");
    ca.issue("server", 1, 90);
    let (key, encrypted) = (ca.path("server.key"), ca.path("encrypted.key"));
    let status = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-v2", "aes256", "-in", &key, "-out", &encrypted, "-passout", "pass:secret"])
        .status()
        .expect("openssl runs");
    assert!(status.success());
    let more = "tls_key_passphrase_variable = \"PASSPHRASE_OF_TEST\"";
    let file = ca.listener("secure", more).replace("server.key", "encrypted.key");
    let broker = Broker::start_with("tls-passphrase", &file, &["env", "PASSPHRASE_OF_TEST=secret"]);
    assert!(OpenSsl::connect(&broker.addresses[0], &["-CAfile", &ca.path("ca.pem"), "-verify_return_error"]).come_in());
}
