//! Whose a session is when the broker has been killed: users of a password file, of tokens, and clients of a back end.

use std::process::Command;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::broker::{Broker, DataDirectory};
use crate::client::Client;
use crate::http::{HttpAnswer, HttpRequest, HttpServer};

/// Longer than what there is takes to come.
const QUIET: Duration = Duration::from_millis(500);
/// CONNACK before MQTT 5.0.
const NOT_AUTHORIZED: u8 = 5;

fn topics(client: &mut Client) -> Vec<String> {
    std::iter::from_fn(|| client.take(QUIET).expect("the broker lives")).map(|publish| publish.topic).collect()
}

/// Lines of a password file, for users whose passwords are their names.
fn users(data: &DataDirectory, names: &[&str]) -> String {
    let path = data.beside("users", "");
    for name in names {
        let mut passwd = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        let status = passwd.args(["passwd", "-b", "-H", "sha512", &path, name, name]).status();
        assert!(status.expect("it runs").success());
    }
    path
}

#[test]
fn a_session_stays_its_users_and_gets_nothing_that_it_may_not_have() {
    let data = DataDirectory::new("owners");
    let users = users(&data, &["ann", "bob"]);
    let rules = "topic readwrite a/#\nuser ann\ntopic readwrite a/#\nuser bob\ntopic readwrite a/#\n";
    let acl = data.beside("acl", rules);
    let flags = ["--password-file", &users, "--acl-file", &acl, "--allow-anonymous", "--shards"];
    let with_shards = |shards| [&flags[..], &[shards]].concat();

    let broker = Broker::start(&data, &with_shards("2"));
    let (mut ann, code) = Client::connect_as(broker.address, ("c1", false), "ann", "ann").unwrap();
    assert_eq!((code, ann.session_present), (0, false));
    ann.subscribe("a/x", 1).unwrap();
    ann.subscribe("a/y", 1).unwrap();
    ann.disconnect();
    let mut nobodys = Client::connect(broker.address, "c2", false, None).unwrap();
    nobodys.subscribe("a/x", 1).unwrap();
    let (mut bob, _) = Client::connect_as(broker.address, ("c3", true), "bob", "bob").unwrap();
    bob.publish_through("a/x", b"before", 2, 1).unwrap();
    bob.publish_through("a/y", b"before", 2, 2).unwrap();
    broker.kill();

    // Ann may have something no more; the last start is of another number of shards.
    data.beside("acl", &rules.replace("user ann\n", "user ann\ntopic deny a/x\n"));
    for shards in ["2", "2", "1"] {
        let broker = Broker::start(&data, &with_shards(shards));
        for clean in [false, true] {
            let (_, code) = Client::connect_as(broker.address, ("c1", clean), "bob", "bob").unwrap();
            assert_eq!(code, NOT_AUTHORIZED, "another user: {}", broker.log());
            let anonymous = Client::connect(broker.address, "c1", clean, None);
            assert!(anonymous.is_err_and(|error| error.to_string().ends_with(": 5")), "nobody");
            let (_, code) = Client::connect_as(broker.address, ("c2", clean), "ann", "ann").unwrap();
            assert_eq!(code, NOT_AUTHORIZED, "the session of nobody");
        }
        let (mut bob, _) = Client::connect_as(broker.address, ("c3", true), "bob", "bob").unwrap();
        bob.publish_through("a/x", b"after", 2, 1).unwrap();
        broker.kill();
    }
    let broker = Broker::start(&data, &with_shards("1"));
    let (mut ann, code) = Client::connect_as(broker.address, ("c1", false), "ann", "ann").unwrap();
    assert_eq!((code, ann.session_present), (0, true));
    assert_eq!(topics(&mut ann), ["a/y"]);
    let mut nobodys = Client::connect(broker.address, "c2", false, None).unwrap();
    assert!(nobodys.session_present);
    assert_eq!(topics(&mut nobodys).len(), 4);
}

const SECRET: &str = "the secret of a test, of thirty-two bytes and more";

fn token(user: &str, acl: &Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let claims = json!({"sub": user, "exp": now + 600, "acl": acl});
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("signed")
}

#[test]
fn what_a_token_allowed_holds_for_its_session_after_a_kill() {
    let data = DataDirectory::new("token-owners");
    let key = data.beside("key", SECRET);
    let flags = ["--jwt-key", &key, "--allow-anonymous=false", "--shards", "1"];
    let all = token("bob", &json!({"all": ["#"]}));
    let broker = Broker::start(&data, &flags);
    let narrow = token("ann", &json!({"sub": ["a/#"]}));
    let (mut ann, _) = Client::connect_as(broker.address, ("c1", false), "ann", &narrow).unwrap();
    ann.subscribe("#", 1).unwrap();
    ann.disconnect();
    broker.kill();
    let broker = Broker::start(&data, &flags);
    let (mut bob, _) = Client::connect_as(broker.address, ("c2", true), "bob", &all).unwrap();
    bob.publish_through("a/1", b"m", 2, 1).unwrap();
    bob.publish_through("b/1", b"m", 2, 2).unwrap();
    let (_, code) = Client::connect_as(broker.address, ("c1", false), "bob", &all).unwrap();
    assert_eq!(code, NOT_AUTHORIZED);
    broker.kill();
    let broker = Broker::start(&data, &flags);
    let wide = token("ann", &json!({"sub": ["#"]}));
    let (mut ann, code) = Client::connect_as(broker.address, ("c1", false), "ann", &wide).unwrap();
    assert_eq!((code, ann.session_present), (0, true));
    assert_eq!(topics(&mut ann), ["a/1"], "what its token did not allow was not queued");
}

/// It is not asked again, so it may be gone.
#[test]
fn filters_that_a_back_end_allowed_are_kept_after_a_kill() {
    let data = DataDirectory::new("back-end-owners");
    let server = HttpServer::start(|HttpRequest { body, .. }| {
        let asked: Value = serde_json::from_str(&body).expect("it is JSON");
        let allows =
            asked["action"] == "publish" || asked["topic"].as_str().is_some_and(|topic| topic.starts_with("f/"));
        HttpAnswer::json(json!({"result": if allows { "allow" } else { "deny" }}).to_string())
    });
    let url = server.url("/acl");
    let flags = ["--acl-http-url", &url, "--shards", "1"];
    let broker = Broker::start(&data, &flags);
    let mut client = Client::connect(broker.address, "c1", false, None).unwrap();
    client.subscribe("f/#", 1).unwrap();
    assert!(client.subscribe("g/#", 1).is_err(), "the back end decides");
    client.disconnect();
    broker.kill();
    let broker = Broker::start(&data, &flags);
    let mut publisher = Client::connect(broker.address, "p", true, None).unwrap();
    publisher.publish_through("f/1", b"m", 2, 1).unwrap();
    publisher.publish_through("g/1", b"m", 2, 2).unwrap();
    drop(server);
    broker.kill();
    let broker = Broker::start(&data, &flags);
    let mut client = Client::connect(broker.address, "c1", false, None).unwrap();
    assert!(client.session_present);
    assert_eq!(topics(&mut client), ["f/1"]);
}

/// The lines of an export of one directory make another one.
#[test]
fn a_broker_serves_from_an_import_as_from_what_was_exported() {
    let (data, copy) = (DataDirectory::new("export"), DataDirectory::new("import"));
    let users = users(&data, &["ann", "bob"]);
    let flags = ["--password-file", &users, "--allow-anonymous=false", "--shards", "2"];
    let broker = Broker::start(&data, &flags);
    let (mut ann, _) = Client::connect_as(broker.address, ("c1", false), "ann", "ann").unwrap();
    ann.subscribe("a/#", 2).unwrap();
    ann.disconnect();
    let (mut bob, _) = Client::connect_as(broker.address, ("c2", true), "bob", "bob").unwrap();
    bob.publish_through("a/1", b"one", 2, 1).unwrap();
    bob.publish_through("a/2", b"two", 5, 2).unwrap();
    broker.kill();
    let mut store = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let exported = store.args(["store", "export"]).arg(data.path()).output().expect("it runs").stdout;
    let lines =
        std::fs::File::open(copy.beside("lines", std::str::from_utf8(&exported).expect("JSON"))).expect("it is there");
    let mut store = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    assert!(store.args(["store", "import"]).arg(copy.path()).stdin(lines).status().expect("it runs").success());
    let broker = Broker::start(&copy, &flags);
    assert!(!broker.log().contains("damaged"), "{}", broker.log());
    let (_, code) = Client::connect_as(broker.address, ("c1", false), "bob", "bob").unwrap();
    assert_eq!(code, NOT_AUTHORIZED);
    let (mut ann, _) = Client::connect_as(broker.address, ("c1", false), "ann", "ann").unwrap();
    assert!(ann.session_present);
    let mut got = topics(&mut ann);
    got.sort();
    assert_eq!(got, ["a/1", "a/2"]);
    let (mut reader, _) = Client::connect_as(broker.address, ("c3", true), "bob", "bob").unwrap();
    reader.subscribe("a/#", 1).unwrap();
    assert_eq!(topics(&mut reader), ["a/2"], "retained");
}
