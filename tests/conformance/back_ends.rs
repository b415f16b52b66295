//! Back ends that decide over HTTP, by raw bytes: they answer as EMQX's authenticator and authorizer have it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{HttpAnswer, HttpRequest, HttpServer};
use crate::packets::{Connect, Publish, V5, V311, VERSIONS, Will};
use crate::tokens::KeyFile;
use crate::world::{World, measured, with_flags};

/// How often each topic or client was asked about.
type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

/// A back end: `ann` comes in with `a`, `root` with `r` and above all rules, `own` with `o` and rules of its own; all may use what begins with
/// `open`, and nobody what begins with `shut`; the rest is left to others.
fn back_end() -> (HttpServer, Counts) {
    let counts = Counts::default();
    let counted = Arc::clone(&counts);
    let server = HttpServer::start(move |HttpRequest { method, path, body, .. }| {
        let body: Value = serde_json::from_str(&body).expect("it is JSON");
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(method, "POST");
        let about = if path == "/acl" { format!("{} {}", text("action"), text("topic")) } else { text("username") };
        *counted.lock().expect("no test panics with it").entry(about.clone()).or_default() += 1;
        let answer = match (path.as_str(), text("username").as_str(), text("password").as_str()) {
            ("/auth", "ann", "a") => json!({"result": "allow"}),
            ("/auth", "root", "r") => json!({"result": "allow", "is_superuser": true}),
            ("/auth", "own", "o") => json!({"result": "allow", "acl": [
                {"permission": "allow", "action": "publish", "topic": "shut/${clientid}"},
            ]}),
            ("/auth", "nobody", _) => return HttpAnswer::status(204),
            ("/auth", "other", _) => json!({"result": "ignore"}),
            ("/auth", ..) => json!({"result": "deny"}),
            _ if text("topic").starts_with("open") => json!({"result": "allow"}),
            _ if text("topic").starts_with("shut") => json!({"result": "deny"}),
            _ => json!({"result": "ignore"}),
        };
        HttpAnswer::json(answer.to_string())
    });
    (server, counts)
}

fn verdict(w: &World, connect: &Connect) -> u8 {
    let mut client = w.start(connect);
    let code = client.expect_connack().code;
    if code == 0 {
        client.ping()
    } else {
        client.expect_closed()
    }
    code
}

#[test]
fn a_back_end_says_who_comes_in_and_connections_to_it_are_kept() {
    let (server, _) = back_end();
    let url = server.url("/auth");
    with_flags(&["--auth-http-url", &url, "--allow-anonymous=false"], |w| {
        for version in VERSIONS {
            let bad = if version == V5 { 0x86 } else { 4 };
            let connect = |user: &str, password: &str| Connect::new(version, w.id("c")).user(user).password(password);
            for (user, password, code) in
                [("ann", "a", 0), ("ann", "b", bad), ("eve", "a", bad), ("nobody", "", 0), ("other", "x", bad)]
            {
                assert_eq!(verdict(w, &connect(user, password)), code, "{user} {password}");
            }
        }
    });
    // Eight brokers, and 15 requests for each of three versions.
    assert!(server.connections() <= 8 * 4, "{} connections for 120 requests", server.connections());
}

#[test]
fn a_back_end_says_what_clients_may_do_and_is_asked_once_for_each_topic() {
    let (server, counts) = back_end();
    let (auth, acl) = (server.url("/auth"), server.url("/acl"));
    let rules = KeyFile::new("fallback-rules", "user ann\ntopic readwrite file/#\n");
    let flags =
        ["--auth-http-url", &auth, "--acl-http-url", &acl, "--acl-file", rules.path(), "--allow-anonymous=false"];
    with_flags(&flags, |w| {
        for version in [V311, V5] {
            let denied = if version == V5 { 0x87 } else { 0x80 };
            let connect = |user: &str, password: &str| Connect::new(version, w.id(user)).user(user).password(password);
            let (mut ann, _) = w.connect(&connect("ann", "a"));
            let name = w.topic(if version == V5 { "x5" } else { "x4" });
            let (open, shut) = (format!("open/{name}"), format!("shut/{name}"));
            assert_eq!((ann.subscribe(&open, 1), ann.subscribe(&shut, 1)), (1, denied));
            assert_eq!((ann.subscribe("file/#", 1), ann.subscribe("else/#", 1)), (1, denied));
            for number in 0..5 {
                assert_eq!(ann.deliver(Publish::new(&open, format!("{number}")).qos(1)), 0);
                ann.take_payload(&format!("{number}"));
            }
            let refused = ann.deliver(Publish::new(&shut, "x").qos(1));
            assert_eq!(refused, if version == V5 { 0x87 } else { 0 });
            let (mut root, _) = w.connect(&connect("root", "r"));
            assert_eq!(root.subscribe(&shut, 1), 1);
            let id = w.id("own");
            let (mut own, _) = w.connect(&Connect::new(version, &id).user("own").password("o"));
            let code = own.deliver(Publish::new(format!("shut/{id}"), "x").qos(1));
            assert!(code < 0x80, "its own rules come first: {code:x}");
            let counts = counts.lock().expect("no test panics with it");
            assert_eq!(counts.get(&format!("publish {open}")), Some(&1), "{counts:?}");
            assert_eq!(
                counts.get(&format!("subscribe {shut}")),
                Some(&1),
                "a superuser is not asked about: {counts:?}"
            );
        }
    });
}

#[test]
fn what_is_sent_behind_a_packet_that_is_asked_about_keeps_its_order() {
    let (server, _) = back_end();
    let acl = server.url("/acl");
    with_flags(&["--acl-http-url", &acl], |w| {
        let mut client = w.client(V5, "c");
        let topic = format!("open/{}", w.topic("x"));
        assert_eq!(client.subscribe(&topic, 0), 0);
        let mut bytes = Vec::new();
        for number in 0..4 {
            bytes.extend(Publish::new(&topic, format!("{number}")).encode(V5));
            bytes.extend(Publish::new(format!("shut/{number}"), "no").encode(V5));
        }
        client.send(&bytes);
        for number in 0..4 {
            client.take_payload(&number.to_string());
        }
    });
}

/// The heir is above all rules: what it does not hear was not published.
#[test]
fn a_will_goes_out_where_the_back_end_allows_it_and_nowhere_else() {
    let (server, counts) = back_end();
    let (auth, acl) = (server.url("/auth"), server.url("/acl"));
    with_flags(&["--auth-http-url", &auth, "--acl-http-url", &acl, "--sys-interval", "1"], |w| {
        let root = |id: &str| w.connect(&Connect::new(V5, w.id(id)).user("root").password("r")).0;
        let (mut heir, mut watcher) = (root("heir"), root("watcher"));
        assert_eq!(watcher.subscribe("$SYS/broker/publish/messages/dropped/access_denied", 0), 0);
        for (root, is_heard) in [("shut", false), ("open", true)] {
            let topic = format!("{root}/{}", w.topic("will"));
            assert_eq!(heir.subscribe(&topic, 0), 0);
            let (mut dying, _) = w.connect(&Connect::new(V5, w.id("dying")).will(Will::new(&topic, root)));
            let limit = Instant::now() + Duration::from_secs(60);
            let about = format!("publish {topic}");
            while !counts.lock().expect("no test panics with it").contains_key(&about) {
                assert!(Instant::now() < limit, "nobody asks about the will");
                std::thread::sleep(Duration::from_millis(10));
            }
            // Decided about by the time that this is.
            let code = dying.deliver(Publish::new(&topic, "alive").qos(1));
            assert_eq!(code, if is_heard { 0 } else { 0x87 });
            dying.vanish();
            if !is_heard {
                // What it published itself, and its will.
                while watcher.take().payload != b"2" {
                    assert!(Instant::now() < limit, "the will is not counted");
                }
                heir.ping(); // the next packet is the answer
            }
        }
        heir.take_payload("alive");
        heir.take_payload("open");
    });
}

#[test]
fn a_back_end_is_shown_the_headers_that_it_asks_for() {
    let server = HttpServer::start(|HttpRequest { headers, .. }| {
        let has = |name: &str, value: &str| headers.iter().any(|header| header.0 == name && header.1 == value);
        let is_right = has("x-api-key", "a key: 7") && has("content-type", "application/json");
        HttpAnswer::json(json!({"result": if is_right { "allow" } else { "deny" }}).to_string())
    });
    let (url, headers) = (server.url("/"), KeyFile::new("headers", "# ours\nX-API-Key: a key: 7\n"));
    let asks = ["--auth-http-url", &url, "--acl-http-url", &url];
    for (more, code) in [(&["--auth-http-headers", headers.path()][..], 0), (&[], 0x86)] {
        measured(&[&asks[..], more].concat(), |w, _| {
            assert_eq!(verdict(w, &Connect::new(V5, w.id("c")).user("ann").password("a")), code);
        });
    }
}

/// A server that answers every connection with these bytes, or not at all.
fn talks(answer: Option<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            match &answer {
                Some(answer) => {
                    let answer = answer.clone();
                    std::thread::spawn(move || {
                        let mut request = [0; 4_096];
                        let _ = stream.read(&mut request);
                        let _ = stream.write_all(&answer);
                    });
                }
                None => silent.push(stream),
            }
        }
    });
    format!("http://{address}/")
}

#[test]
fn a_back_end_that_is_slow_dead_or_talks_nonsense_lets_nobody_in_and_holds_nobody_up() {
    let huge = |bytes: usize| {
        let body = format!("{{\"result\": \"allow\", \"pad\": \"{}\"}}", "x".repeat(bytes));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        format!("http://{}/", listener.local_addr().expect("it is bound"))
    };
    let endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec();
    for (name, url) in [
        ("silent", talks(None)),
        ("dead", dead),
        ("garbage", talks(Some(b"\x00\xff\x13SSH-2.0 hello\r\n\r\n".to_vec()))),
        ("cut", talks(Some(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"result\"".to_vec()))),
        ("huge", talks(Some(huge(300 * 1024)))),
        ("endless", talks(Some(endless))),
        (
            "elsewhere",
            talks(Some(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec())),
        ),
    ] {
        let flags = ["--auth-http-url", &url, "--acl-http-url", &url, "--auth-http-timeout", "1"];
        measured(&flags, |w, broker| {
            // Those who show nothing are not asked about; what they do is.
            let mut calm = w.client(V5, "calm");
            let mut others: Vec<_> =
                (0..20).map(|n| w.start(&Connect::new(V5, w.id(&format!("c{n}"))).user("ann").password("a"))).collect();
            for _ in 0..20 {
                let began = Instant::now();
                calm.ping();
                assert!(began.elapsed() < Duration::from_secs(1), "{name}: a ping took {:?}", began.elapsed());
            }
            for other in &mut others {
                assert_eq!(other.expect_connack().code, 0x88, "{name}");
            }
            assert_eq!(calm.deliver(Publish::new("open/x", "x").qos(1)), 0x87, "{name}");
            assert_eq!(calm.subscribe("open/x", 1), 0x87, "{name}");
            calm.ping();
            assert!(broker.obituary().is_none());
        });
    }
}

#[test]
fn while_a_back_end_is_down_others_may_decide_by_setting() {
    let url = talks(Some(b"nonsense".to_vec()));
    let rules = KeyFile::new("down-rules", "pattern readwrite mine/%c\n");
    let flags =
        ["--auth-http-url", &url, "--acl-http-url", &url, "--http-when-down", "ignore", "--acl-file", rules.path()];
    measured(&flags, |w, _| {
        assert_eq!(verdict(w, &Connect::new(V5, w.id("c")).user("ann").password("a")), 0x86, "no method decides");
        let id = w.id("calm");
        let (mut calm, _) = w.connect(&Connect::new(V5, &id));
        assert_eq!(calm.subscribe(&format!("mine/{id}"), 1), 1);
        assert_eq!(calm.subscribe("mine/other", 1), 0x87);
    });
}

/// Twelve clients keep a slow back end busy with topics; others come in meanwhile.
#[test]
fn logins_are_answered_while_others_ask_about_thousands_of_topics() {
    let server = HttpServer::start(|HttpRequest { path, .. }| {
        std::thread::sleep(Duration::from_millis(if path == "/acl" { 100 } else { 1 }));
        HttpAnswer::json(json!({"result": "allow"}).to_string())
    });
    let (auth, acl) = (server.url("/auth"), server.url("/acl"));
    measured(&["--auth-http-url", &auth, "--acl-http-url", &acl, "--allow-anonymous=false"], |w, _| {
        let connect = |name: String| Connect::new(V5, w.id(&name)).user("ann").password("a");
        let mut busy = Vec::new();
        for number in 0..12 {
            let (mut client, _) = w.connect(&connect(format!("busy{number}")));
            let mut payload = vec![0, 1, 0];
            for filter in (0..256).map(|n| format!("f/{number}/{n}")) {
                payload.extend((filter.len() as u16).to_be_bytes());
                payload.extend(filter.bytes().chain([0]));
            }
            let length = payload.len();
            let head = [0x82, (length % 128) as u8 | 0x80, (length / 128) as u8];
            client.send([&head[..], &payload].concat());
            busy.push(client);
        }
        for number in 0..10 {
            let began = Instant::now();
            assert_eq!(verdict(w, &connect(format!("calm{number}"))), 0);
            assert!(began.elapsed() < Duration::from_secs(2), "{number}: {:?}", began.elapsed());
        }
        assert_eq!(busy.len(), 12);
    });
}
