//! JSON Web Tokens as passwords: by raw bytes, with keys of files and of an identity provider that the test is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::http::{HttpAnswer, HttpServer};
use crate::packets::{Connect, Publish, V5, V311, VERSIONS};
use crate::world::{World, eventually, measured, with_flags};

const SECRET: &str = "the secret of a test, of thirty-two bytes and more";

/// A file that goes with its test.
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("key-{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("the target directory is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970").as_secs()
}

fn by_secret(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("it is signed")
}

fn claims(seconds: i64) -> Value {
    json!({"sub": "ann", "exp": unix_s().saturating_add_signed(seconds)})
}

/// What CONNACK says to a token.
fn verdict(w: &World, connect: Connect, token: &str) -> u8 {
    let mut client = w.start(&connect.password(token));
    let code = client.expect_connack().code;
    if code == 0 {
        client.ping()
    } else {
        client.expect_closed()
    }
    code
}

#[test]
fn a_token_that_holds_comes_in_and_every_other_one_stays_outside() {
    let key = KeyFile::new("holds", SECRET);
    let flags = ["--jwt-key", key.path(), "--allow-anonymous=false", "--jwt-leeway", "0"];
    with_flags(&flags, |w| {
        for version in VERSIONS {
            let connect = |user: &str| Connect::new(version, w.id("c")).user(user);
            let (bad, not_now) = if version == V5 { (0x86, 0x87) } else { (4, 5) };
            let good = by_secret(&claims(60));
            assert_eq!(verdict(w, connect("ann"), &good), 0);
            assert_eq!(verdict(w, connect("bob"), &good), not_now, "the user is who the token says");
            assert_eq!(verdict(w, connect("ann"), &by_secret(&claims(-1))), not_now, "it has expired");
            assert_eq!(verdict(w, connect("ann"), &by_secret(&json!({"sub": "ann"}))), not_now, "it has no end");
            let mut early = claims(60);
            early["nbf"] = json!(unix_s() + 30);
            assert_eq!(verdict(w, connect("ann"), &by_secret(&early)), not_now);
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let unsigned = format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims(60)));
            let other_key = EncodingKey::from_secret(b"another secret of thirty-two bytes and more");
            let forged = encode(&Header::new(Algorithm::HS256), &claims(60), &other_key).expect("it is signed");
            let huge = by_secret(&json!({"sub": "ann", "exp": unix_s() + 60, "pad": "x".repeat(40_000)}));
            for token in [unsigned.as_str(), &forged, &huge, &good[..good.len() - 2], "eyJ.eyJ.x", "sesame", ""] {
                assert_eq!(verdict(w, connect("ann"), token), bad, "{token:.40}");
            }
        }
        // MQTT 5.0 lets a client send a password and no name.
        assert_eq!(verdict(w, Connect::new(V5, w.id("c")), &by_secret(&claims(60))), 0);
    });
}

#[test]
fn claims_say_what_a_client_may_do_and_the_connection_ends_with_the_token() {
    let key = KeyFile::new("claims", SECRET);
    let flags =
        ["--jwt-key", key.path(), "--allow-anonymous=false", "--jwt-leeway", "0", "--jwt-client-id-claim", "cid"];
    with_flags(&flags, |w| {
        for version in [V311, V5] {
            let id = w.id("c");
            let mut claims = claims(6);
            claims["cid"] = json!(id);
            claims["acl"] = json!({"pub": ["up/%c"], "sub": ["down/%u/#"]});
            let token = by_secret(&claims);
            let began = Instant::now();
            let (mut client, _) = w.connect(&Connect::new(version, &id).user("ann").password(&token));
            let (granted, denied) = (1, if version == V5 { 0x87 } else { 0x80 });
            assert_eq!(client.subscribe("down/ann/#", 1), granted);
            assert_eq!(client.subscribe("down/bob/#", 1), denied);
            let code = client.deliver(Publish::new(format!("up/{id}"), "x").qos(1));
            assert!(code < 0x80, "{code:x}");
            let refused = client.deliver(Publish::new("up/other", "x").qos(1));
            assert_eq!(refused, if version == V5 { 0x87 } else { 0 });
            // A client id that is not the token's.
            let other = Connect::new(version, w.id("o")).user("ann");
            assert_eq!(verdict(w, other, &token), if version == V5 { 0x87 } else { 5 });
            client.expect_refusal(&[0x87]);
            assert!(began.elapsed() < Duration::from_secs(30), "it ended with the token");
        }
    });
}

/// The name of a key, and its public half.
type PublishedKey = Arc<Mutex<Option<(String, Vec<u8>)>>>;

/// An identity provider with a key that changes, and that can be down.
struct Provider {
    server: HttpServer,
    /// The name of its key and the key, or nothing while it is down.
    key: PublishedKey,
    fetches: Arc<AtomicUsize>,
}

impl Provider {
    fn start() -> Self {
        let key = PublishedKey::default();
        let fetches = Arc::new(AtomicUsize::new(0));
        let (published, counted) = (Arc::clone(&key), Arc::clone(&fetches));
        let server = HttpServer::start(move |request| {
            assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/keys"));
            counted.fetch_add(1, Ordering::SeqCst);
            match &*published.lock().expect("no test panics with it") {
                Some((kid, public)) => {
                    let x = URL_SAFE_NO_PAD.encode(public);
                    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": x});
                    HttpAnswer::json(json!({"keys": [{"kty": "future"}, key]}).to_string())
                }
                None => HttpAnswer::status(503),
            }
        });
        Self { server, key, fetches }
    }

    /// Publishes a new key. Returns what signs with it.
    fn publish(&self, kid: &str) -> EncodingKey {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        *self.key.lock().expect("no test panics with it") = Some((kid.to_owned(), pair.public_key_raw().to_vec()));
        EncodingKey::from_ed_der(&pair.serialize_der())
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn by_key(kid: &str, key: &EncodingKey) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
    encode(&header, &claims(60), key).expect("it is signed")
}

#[test]
fn keys_of_a_provider_are_fetched_change_by_name_and_stay_while_it_is_down() {
    let provider = Provider::start();
    let first = provider.publish("first");
    let url = provider.server.url("/keys");
    let flags = ["--jwks-url", &url, "--allow-anonymous=false", "--jwks-refresh", "10"];
    measured(&flags, |w, broker: &Broker| {
        let connect = || Connect::new(V5, w.id("c")).user("ann");
        assert_eq!(verdict(w, connect(), &by_key("first", &first)), 0);
        assert_eq!(provider.fetches(), 1);
        // Names that nobody has published lead to no storm of requests.
        for n in 0..50 {
            assert_eq!(verdict(w, connect(), &by_key(&format!("made-up-{n}"), &first)), 0x86);
        }
        assert!(provider.fetches() <= 2, "{}", provider.fetches());
        let second = provider.publish("second");
        eventually("the new key is known", Duration::from_secs(30), || {
            verdict(w, connect(), &by_key("second", &second)) == 0
        });
        assert_eq!(verdict(w, connect(), &by_key("first", &first)), 0x86, "it was withdrawn");
        *provider.key.lock().expect("no test panics with it") = None;
        let before = provider.fetches();
        eventually("it asks again", Duration::from_secs(30), || provider.fetches() > before);
        assert_eq!(verdict(w, connect(), &by_key("second", &second)), 0, "the last good keys hold");
        eventually("it is told", Duration::from_secs(10), || {
            String::from_utf8_lossy(&broker.log()).contains("key_set_failed")
        });
    });
}

#[test]
fn while_keys_were_never_had_a_client_is_told_to_come_back() {
    let provider = Provider::start();
    let url = provider.server.url("/keys");
    let flags = ["--jwks-url", &url, "--allow-anonymous=false"];
    measured(&flags, |w, _| {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let key = EncodingKey::from_ed_der(&pair.serialize_der());
        assert_eq!(verdict(w, Connect::new(V5, w.id("c")).user("ann"), &by_key("first", &key)), 0x88);
    });
}

/// RFC 6749, 4.4: a client trades its secret for a token at an authorization server, and shows the token here.
#[test]
fn a_client_of_oauth_gets_a_token_and_comes_in_with_it() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let signs = EncodingKey::from_ec_der(&pair.serialize_der());
    // An uncompressed point: 0x04, x, y.
    let (x, y) = pair.public_key_raw()[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "x": x, "y": y}]});
    let server = HttpServer::start(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/keys") => HttpAnswer::json(keys.to_string()),
        ("POST", "/token") if request.body == "grant_type=client_credentials&client_id=ann&client_secret=s3" => {
            let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::ES256) };
            let claims = json!({
                "iss": "https://id.example", "sub": "ann", "aud": ["mqtt", "other"], "exp": unix_s() + 60,
                "client_id": "ann", "acl": {"all": ["own/%u/#"]},
            });
            let token = encode(&header, &claims, &signs).expect("it is signed");
            HttpAnswer::json(json!({"access_token": token, "token_type": "Bearer", "expires_in": 60}).to_string())
        }
        _ => HttpAnswer::status(401),
    });
    let asks = |secret: &str| {
        let body = format!("grant_type=client_credentials&client_id=ann&client_secret={secret}");
        let (status, answer) = server.post("/token", &body);
        (status == 200).then(|| {
            let answer: Value = serde_json::from_str(&answer).expect("it is JSON");
            answer["access_token"].as_str().expect("there is one").to_owned()
        })
    };
    assert_eq!(asks("wrong"), None);
    let url = server.url("/keys");
    let of_provider = ["--jwks-url", &url, "--jwt-issuer", "https://id.example", "--jwt-audience", "mqtt"];
    with_flags(&[&of_provider[..], &["--allow-anonymous=false"]].concat(), |w| {
        for version in VERSIONS {
            let token = asks("s3").expect("the secret is right");
            let (mut client, _) = w.connect(&Connect::new(version, w.id("c")).user("ann").password(&token));
            let topic = format!("own/ann/{}", w.topic("x"));
            assert_eq!(client.subscribe(&topic, 1), 1);
            assert_eq!(client.deliver(Publish::new(&topic, "x").qos(1)), 0);
            client.take_payload("x");
        }
    });
    with_flags(&["--jwks-url", &url, "--jwt-audience", "elsewhere", "--allow-anonymous=false"], |w| {
        let token = asks("s3").expect("the secret is right");
        assert_eq!(verdict(w, Connect::new(V5, w.id("c")).user("ann"), &token), 0x87);
    });
}
