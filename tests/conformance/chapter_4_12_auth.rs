//! Chapter 4.12: enhanced authentication and re-authentication, by SCRAM and by tokens.
//!
//! The client's side of SCRAM is written here from RFC 5802 and shares nothing with the broker.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::client::Client;
use crate::decode::{ConnAck, Packet, Reason};
use crate::packets::{AUTH, Connect, Publish, V5, Value, frame, prop, properties};
use crate::tokens::KeyFile;
use crate::world::{World, with_flags};

/// A file of `dunlin passwd --scram` with the user `ann`, that goes with its test.
struct ScramFile(PathBuf);

impl ScramFile {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("scram-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let output = command.args(["passwd", "--scram", "-cb"]).arg(&path).args(["ann", "sesame"]).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for ScramFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The client's side of one mechanism.
struct Scram {
    method: &'static str,
    hmac: hmac::Algorithm,
    hash: &'static digest::Algorithm,
    derive: pbkdf2::Algorithm,
}

const MECHANISMS: [fn() -> Scram; 2] = [
    || Scram {
        method: "SCRAM-SHA-256",
        hmac: hmac::HMAC_SHA256,
        hash: &digest::SHA256,
        derive: pbkdf2::PBKDF2_HMAC_SHA256,
    },
    || Scram {
        method: "SCRAM-SHA-512",
        hmac: hmac::HMAC_SHA512,
        hash: &digest::SHA512,
        derive: pbkdf2::PBKDF2_HMAC_SHA512,
    },
];

impl Scram {
    fn sign(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(self.hmac, key), data).as_ref().to_vec()
    }

    /// The proof of a password, and what the server is to say in the end.
    fn answer(&self, first: &str, server: &[u8], password: &str) -> (String, Vec<u8>) {
        let server = std::str::from_utf8(server).expect("SCRAM is text");
        let field = |name: &str| {
            let found = server.split(',').find_map(|field| field.strip_prefix(name));
            found.unwrap_or_else(|| panic!("{name} in {server}"))
        };
        let iterations: NonZeroU32 = field("i=").parse().expect("a number");
        let salt = STANDARD.decode(field("s=")).expect("base64");
        let without_proof = format!("c={},r={}", STANDARD.encode("n,,"), field("r="));
        let message = format!("{},{server},{without_proof}", &first[3..]);
        let mut salted = vec![0; self.hash.output_len()];
        pbkdf2::derive(self.derive, iterations, &salt, password.as_bytes(), &mut salted);
        let client_key = self.sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash, &client_key);
        let signature = self.sign(stored_key.as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signed)| key ^ signed).collect();
        let server_key = self.sign(&salted, b"Server Key");
        let last = format!("v={}", STANDARD.encode(self.sign(&server_key, message.as_bytes())));
        (format!("{without_proof},p={}", STANDARD.encode(proof)), last.into_bytes())
    }
}

fn auth(code: u8, method: &str, data: impl AsRef<[u8]>) -> Vec<u8> {
    let props = [prop::auth_method(method.as_bytes()), prop::auth_data(data.as_ref())];
    frame(AUTH, [&[code][..], &properties(V5, &props)].concat())
}

fn connect(w: &World, method: &str, data: &str) -> Connect {
    Connect::new(V5, w.id("c")).prop(prop::auth_method(method.as_bytes())).prop(prop::auth_data(data.as_bytes()))
}

fn bytes_of(props: &[crate::packets::Property], id: u8) -> &[u8] {
    let found = props.iter().find(|property| property.0 == id);
    match found.map(|property| &property.1) {
        Some(Value::Bytes(bytes)) => bytes,
        other => panic!("{}: {other:?} in {props:?}", prop::name(id)),
    }
}

/// The data of an AUTH with this code and this method, which comes next.
fn expect_auth(client: &mut Client, code: u8, method: &str) -> Vec<u8> {
    match client.recv() {
        Packet::Auth(Reason { code: got, props }) => {
            assert_eq!(got, code);
            assert_eq!(bytes_of(&props, prop::AUTH_METHOD), method.as_bytes());
            if code == 0 && props.len() == 1 { Vec::new() } else { bytes_of(&props, prop::AUTH_DATA).to_vec() }
        }
        other => panic!("expected AUTH {code:#x}, got {other:?}"),
    }
}

const FIRST: &str = "n,,n=ann,r=rOprNGfwEbeRWgbNEkqO";

/// A client that has proved its password.
fn come_in(w: &World, scram: &Scram) -> Client {
    let mut client = w.start(&connect(w, scram.method, FIRST));
    let server = expect_auth(&mut client, 0x18, scram.method);
    let (proof, last) = scram.answer(FIRST, &server, "sesame");
    client.send(auth(0x18, scram.method, proof));
    let connack: ConnAck = client.expect_connack();
    assert_eq!(connack.code, 0);
    assert_eq!(bytes_of(&connack.props, prop::AUTH_METHOD), scram.method.as_bytes());
    assert_eq!(bytes_of(&connack.props, prop::AUTH_DATA), last, "the server knows the password as well");
    client
}

// covers: [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.2.0-1] [MQTT-3.15.2-1] (5.0)
#[test]
fn a_client_proves_its_password_by_scram_and_its_user_is_who_it_proved_to_be() {
    let users = ScramFile::new("proves");
    let rules = KeyFile::new("scram-rules", "user ann\ntopic readwrite only/ann/#\n");
    let flags = ["--scram-file", users.path(), "--allow-anonymous=false", "--acl-file", rules.path()];
    with_flags(&flags, |w| {
        for scram in MECHANISMS {
            let mut client = come_in(w, &scram());
            assert_eq!((client.subscribe("only/ann/#", 1), client.subscribe("else", 1)), (1, 0x87));
            let topic = format!("only/ann/{}", w.topic("x"));
            assert_eq!(client.deliver(Publish::new(&topic, "x").qos(1)), 0);
            client.take_payload("x");
            client.disconnect();
        }
    });
}

// covers: [MQTT-4.12.0-1] [MQTT-4.12.0-4] [MQTT-3.1.4-2] (5.0)
#[test]
fn a_wrong_password_and_an_unknown_user_are_told_the_same_after_as_many_steps() {
    let users = ScramFile::new("wrong");
    with_flags(&["--scram-file", users.path(), "--allow-anonymous=false"], |w| {
        let mut salts = Vec::new();
        for scram in MECHANISMS {
            let scram = scram();
            for (user, password) in [("ann", "Sesame"), ("mallory", "sesame"), ("mallory", "x")] {
                let first = format!("n,,n={user},r=rOprNGfwEbeRWgbNEkqO");
                let mut client = w.start(&connect(w, scram.method, &first));
                let server = expect_auth(&mut client, 0x18, scram.method);
                let text = String::from_utf8(server.clone()).expect("SCRAM is text");
                salts.push((scram.method, user, text.split(',').nth(1).expect("a salt").to_owned(), text.len()));
                let (proof, _) = scram.answer(&first, &server, password);
                client.send(auth(0x18, scram.method, proof));
                assert_eq!(client.expect_connect_refused(&[0x86]), 0x86, "{user}");
            }
        }
        assert!(salts.iter().all(|(.., length)| *length == salts[0].3), "{salts:?}");
        assert_eq!((&salts[1].2, &salts[4].2), (&salts[2].2, &salts[5].2), "the same for each attempt");
        for first in ["", "n", "n,,n=ann", "p=tls-unique,,n=ann,r=x", "n,a=bob,n=ann,r=x"] {
            w.start(&connect(w, "SCRAM-SHA-256", first)).expect_connect_refused(&[0x86]);
        }
        for method in ["SCRAM-SHA-1", "JWT", "PLAIN", ""] {
            w.start(&connect(w, method, FIRST)).expect_connect_refused(&[0x8C]);
        }
        // A password is nothing here, and neither is nothing.
        w.start(&Connect::new(V5, w.id("c")).user("ann").password("sesame")).expect_connect_refused(&[0x87]);
        w.start(&Connect::new(V5, w.id("c"))).expect_connect_refused(&[0x87]);
    });
}

// covers: [MQTT-3.1.2-30] [MQTT-4.12.0-3] (5.0)
#[test]
fn between_connect_and_connack_nothing_but_the_answer_may_come() {
    let users = ScramFile::new("between");
    with_flags(&["--scram-file", users.path()], |w| {
        let method = "SCRAM-SHA-256";
        let publish = Publish::new(w.topic("x"), "early").encode(V5);
        for packet in [
            publish.clone(),
            vec![0xc0, 0],
            connect(w, method, FIRST).encode(),
            auth(0x19, method, "x"),
            auth(0x18, "SCRAM-SHA-512", "x"),
        ] {
            let mut client = w.start(&connect(w, method, FIRST));
            expect_auth(&mut client, 0x18, method);
            client.send(packet);
            client.expect_connect_refused(&[0x82]);
        }
        let mut client = w.start(&connect(w, method, FIRST));
        expect_auth(&mut client, 0x18, method);
        client.send([0x00, 0xff]);
        client.expect_connect_refused(&[0x81, 0x82]);
        // A packet larger than a CONNECT may be is refused by its header.
        let mut client = w.start(&connect(w, method, FIRST));
        expect_auth(&mut client, 0x18, method);
        client.send([0xf0, 0x80, 0x80, 0x10]);
        client.expect_connect_refused(&[0x95]);
        // Goodbye is one, and silence is not waited for.
        let mut client = w.start(&connect(w, method, FIRST));
        expect_auth(&mut client, 0x18, method);
        client.send([0xe0, 0]);
        client.expect_closed();
        let mut silent = w.start(&connect(w, method, FIRST));
        expect_auth(&mut silent, 0x18, method);
        silent.expect_connect_refused(&[0x88]);
    });
}

// covers: [MQTT-4.12.1-1] [MQTT-4.12.1-2] [MQTT-4.12.0-5] [MQTT-4.12.0-2] (5.0)
#[test]
fn a_connected_client_authenticates_itself_again_and_is_served_meanwhile() {
    let users = ScramFile::new("again");
    with_flags(&["--scram-file", users.path()], |w| {
        for scram in MECHANISMS {
            let scram = scram();
            let mut client = come_in(w, &scram);
            let topic = w.topic("x");
            assert_eq!(client.subscribe(&topic, 0), 0);
            for _ in 0..2 {
                client.send(auth(0x19, scram.method, FIRST));
                let server = expect_auth(&mut client, 0x18, scram.method);
                client.publish(&topic, "meanwhile");
                client.take_payload("meanwhile");
                let (proof, last) = scram.answer(FIRST, &server, "sesame");
                client.send(auth(0x18, scram.method, proof));
                assert_eq!(expect_auth(&mut client, 0, scram.method), last);
                client.ping();
            }
            client.send(auth(0x19, scram.method, FIRST));
            let server = expect_auth(&mut client, 0x18, scram.method);
            let (proof, _) = scram.answer(FIRST, &server, "wrong");
            client.send(auth(0x18, scram.method, proof));
            client.expect_refusal(&[0x87]);
        }
        let method = "SCRAM-SHA-256";
        for packet in [auth(0x19, "SCRAM-SHA-512", FIRST), auth(0x18, method, "x"), auth(0x19, "JWT", "x")] {
            let mut client = come_in(w, &MECHANISMS[0]());
            client.send(packet);
            client.expect_refusal(&[0x82]);
        }
        let mut client = come_in(w, &MECHANISMS[0]());
        client.send(auth(0x19, method, FIRST));
        expect_auth(&mut client, 0x18, method);
        client.send(auth(0x19, method, FIRST));
        client.expect_refusal(&[0x82]);
    });
}

fn token(user: &str, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let claims = json!({"sub": user, "exp": now + seconds});
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("it is signed")
}

const SECRET: &str = "the secret of a test, of thirty-two bytes and more";

// covers: [MQTT-4.12.0-5] [MQTT-4.12.1-2] (5.0)
#[test]
fn a_token_is_shown_by_auth_and_a_newer_one_keeps_the_connection() {
    let key = KeyFile::new("by-auth", SECRET);
    let flags = ["--jwt-key", key.path(), "--allow-anonymous=false", "--jwt-leeway", "0"];
    with_flags(&flags, |w| {
        let mut client = w.start(&connect(w, "JWT", &token("ann", 4)));
        let connack = client.expect_connack();
        assert_eq!((connack.code, bytes_of(&connack.props, prop::AUTH_METHOD)), (0, b"JWT".as_slice()));
        client.send(auth(0x19, "JWT", token("ann", 9)));
        expect_auth(&mut client, 0, "JWT");
        std::thread::sleep(Duration::from_secs(6));
        client.ping();
        client.expect_refusal(&[0x87]);
        // Who becomes somebody else, or shows what has expired, is nobody any more.
        for newer in [token("bob", 60), token("ann", 0), "eyJ.eyJ.x".to_owned(), String::new()] {
            let mut client = w.start(&connect(w, "JWT", &token("ann", 60)));
            assert_eq!(client.expect_connack().code, 0);
            client.send(auth(0x19, "JWT", &newer));
            client.expect_refusal(&[0x87]);
        }
        w.start(&connect(w, "JWT", &token("ann", 0))).expect_connect_refused(&[0x87]);
        w.start(&connect(w, "JWT", "sesame")).expect_connect_refused(&[0x86]);
        w.start(&connect(w, "SCRAM-SHA-256", FIRST)).expect_connect_refused(&[0x8C]);
    });
}
