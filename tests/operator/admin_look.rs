//! What an operator looks for: clients, subscriptions, shared ones, who is first, and topics.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::Admin;
use crate::broker::Client;
use crate::tls::{Authority, OpenSsl};

/// What each entry of a list has under a name.
fn values<'a>(list: &'a Value, name: &str) -> Vec<&'a Value> {
    list.as_array().expect("a list").iter().map(|entry| &entry[name]).collect()
}

/// CONNECT of a client with a user name and a password, each of one letter.
fn connect_as(client: &mut Client, id: u8, user: u8) {
    client.send(&[0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 4, 0xc2, 0, 60, 0, 1, id, 0, 1, user, 0, 1, user]);
    assert_eq!(client.receive::<4>(), [0x20, 2, 0, 0]);
}

#[test]
fn clients_are_found_by_user_and_address_and_described_with_what_they_have() {
    let users = std::env::temp_dir().join(format!("dunlin-look-users-{}", std::process::id()));
    let path = users.to_str().expect("UTF-8");
    for user in ["u", "v"] {
        let create: &[&str] = if user == "u" { &["-c"] } else { &[] };
        let status = Command::new(env!("CARGO_BIN_EXE_dunlin"))
            .arg("passwd")
            .args(create)
            .args(["-b", path, user, user])
            .status();
        assert!(status.expect("it runs").success());
    }
    let admin = Admin::start("look-clients", &format!("[auth]\npassword_file = {path:?}\n"));
    fs::remove_file(&users).expect("it is ours");
    let mut clients = [(b'a', b'u'), (b'b', b'u'), (b'c', b'v')].map(|(id, user)| {
        let mut client = Client::open(&admin.broker.addresses[0]);
        connect_as(&mut client, id, user);
        client
    });
    let found = |query: &str| {
        let page = admin.get(&format!("/api/v1/clients?{query}"));
        let mut ids: Vec<String> =
            values(&page["clients"], "client_id").iter().map(|id| id.as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids.concat()
    };
    assert_eq!((found("user=u"), found("user=v"), found("user=w")), ("ab".into(), "c".into(), String::new()));
    assert_eq!((found("address=127.0.0.1"), found("address=127.0.0.0/8&user=u")), ("abc".into(), "ab".into()));
    assert_eq!((found("address=192.0.2.0/24"), found("connected=false")), (String::new(), String::new()));
    let wrong = admin.ask(&admin.viewer, "GET", "/api/v1/clients?address=here", None);
    assert_eq!(wrong.status, 400, "{wrong:?}");
    clients[0].subscribe(b'x');
    let client = admin.get("/api/v1/clients/a");
    assert_eq!((&client["user"], &client["protocol_version"]), (&json!("u"), &json!("3.1.1")), "{client}");
    assert!(client["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{client}");
    assert_eq!(client["connection"]["listener"], "127.0.0.1:0", "{client}");
    assert_eq!((&client["connection"]["keep_alive_s"], &client["connection"]["silent_s"]), (&json!(60), &json!(0)));
    assert!(client["connection"]["tls"].is_null() && client["traffic"].is_null(), "{client}");
}

#[test]
fn a_client_is_described_with_its_tls_its_will_and_its_sessions_end() {
    let authority = Authority::new("look-details");
    authority.issue("server", 1, 90);
    let secure = authority.listener("secure", "port = 0\nallow_anonymous = true");
    let admin = Admin::start("look-details", &format!("[[listener]]\nport = 0\n{secure}"));
    let arguments = ["-CAfile", &authority.path("ca.pem"), "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"];
    let mut peer = OpenSsl::connect(&admin.broker.addresses[1], &arguments);
    assert!(peer.come_in());
    let client = admin.get("/api/v1/clients/x");
    assert_eq!(client["connection"]["tls"], "1.3 TLS_AES_128_GCM_SHA256", "{client}");
    assert_eq!((&client["connection"]["listener"], &client["has_will"]), (&json!("secure"), &json!(false)));
    // MQTT 5.0, with a session of 600 s and a will that waits for 300 s: w, the topic and the payload.
    let mut willing = Client::open(&admin.broker.addresses[0]);
    let mut connect = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', 5, 0x06, 0, 0, 5, 0x11, 0, 0, 0x02, 0x58, 0, 1, b'w'];
    connect.extend([5, 0x18, 0, 0, 0x01, 0x2c, 0, 1, b'w', 0, 1, b'!']);
    connect[1] = (connect.len() - 2) as u8;
    willing.send(&connect);
    assert_eq!(willing.receive::<2>()[0], 0x20);
    let client = admin.get("/api/v1/clients/w");
    assert_eq!((&client["has_will"], &client["session_expiry_s"]), (&json!(true), &json!(600)), "{client}");
    assert!(client["expires_at_ms"].is_null() && client["disconnected_at_ms"].is_null(), "{client}");
    drop(willing);
    let begun = Instant::now();
    let client = loop {
        let client = admin.get("/api/v1/clients/w");
        if client["connected"] == false {
            break client;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{client}");
    };
    let at = |name: &str| client[name].as_u64().unwrap_or_else(|| panic!("{name}: {client}"));
    assert_eq!(at("expires_at_ms") - at("disconnected_at_ms"), 600_000, "{client}");
    assert_eq!(client["has_will"], true, "it waits");
}

#[test]
fn shared_subscriptions_are_listed_page_by_page_while_others_come_and_go() {
    let admin = Admin::start("look-groups", "");
    let mut clients: Vec<Client> = (b'a'..=b'b').map(|id| Client::connect(&admin.broker, id)).collect();
    let filter = |kind: char, number: u32| format!("$share/g/{kind}{number:03}");
    let subscribe = |client: &mut Client, filter: &str| {
        let mut packet = vec![0x82, (filter.len() + 5) as u8, 0, 1, 0, filter.len() as u8];
        packet.extend(filter.as_bytes());
        packet.push(0);
        client.send(&packet);
        assert_eq!(client.receive::<5>()[4], 0);
    };
    for number in 0..50 {
        subscribe(&mut clients[0], &filter('s', number));
        subscribe(&mut clients[1], &filter('g', number));
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = admin.get(&format!("/api/v1/groups?limit=7{cursor}"));
        assert!(page["groups"].as_array().is_some_and(|groups| groups.len() <= 7), "{page}");
        seen.extend(values(&page["groups"], "filter").iter().map(|name| name.as_str().expect("text").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
        pages += 1;
        // One goes, and one comes.
        let gone = filter('g', pages);
        let mut packet = vec![0xa2, (gone.len() + 4) as u8, 0, 2, 0, gone.len() as u8];
        packet.extend(gone.as_bytes());
        clients[1].send(&packet);
        assert_eq!(clients[1].receive::<4>()[0], 0xb0);
        subscribe(&mut clients[1], &filter('n', pages));
    }
    assert!(pages > 7, "{pages} pages");
    seen.retain(|name| name.contains("/g/s"));
    let mut once = seen.clone();
    once.sort();
    assert_eq!(once, (0..50).map(|number| filter('s', number)).collect::<Vec<_>>(), "each that stays, once");
}

#[test]
fn subscriptions_are_listed_by_filter_by_topic_and_all() {
    let admin = Admin::start("look-subscriptions", "");
    let mut clients: Vec<Client> = (b'a'..=b'f').map(|id| Client::connect(&admin.broker, id)).collect();
    for client in &mut clients[..4] {
        client.subscribe(b'x');
    }
    clients[4].subscribe(b'#');
    clients[5].subscribe(b'y');
    let all = |query: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = admin.get(&format!("/api/v1/subscriptions?{query}{cursor}"));
            found.extend(page["subscriptions"].as_array().expect("a list").clone());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let pair = |row: &Value| {
            format!("{}{}", row["client_id"].as_str().unwrap_or("?"), row["filter"].as_str().unwrap_or("?"))
        };
        let mut pairs: Vec<String> = found.iter().map(pair).collect();
        pairs.sort();
        pairs.join(" ")
    };
    assert_eq!((all("topic=x"), all("topic=x&limit=1")), ("ax bx cx dx e#".into(), "ax bx cx dx e#".into()));
    assert_eq!((all("filter=x&limit=3"), all("filter=%23")), ("ax bx cx dx".into(), "e#".into()));
    assert_eq!((all("limit=2"), all("topic=nobody")), ("ax bx cx dx e# fy".into(), "e#".into()));
    for wrong in ["filter=a/%23/b", "topic=%23", "topic=x&filter=x", "cursor=x", "limit=0"] {
        let answer = admin.ask(&admin.viewer, "GET", &format!("/api/v1/subscriptions?{wrong}"), None);
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
}

#[test]
fn who_is_first_and_which_topics_are_published_is_counted_while_somebody_looks() {
    let admin = Admin::start("look-traffic", "");
    let mut clients: Vec<Client> = (b'a'..=b'd').map(|id| Client::connect(&admin.broker, id)).collect();
    // $share/g/x
    clients[3].send(&[0x82, 15, 0, 1, 0, 10, b'$', b's', b'h', b'a', b'r', b'e', b'/', b'g', b'/', b'x', 0]);
    assert_eq!(clients[3].receive::<5>()[4], 0);
    let publish = |clients: &mut Vec<Client>, at: usize, topic: u8, times: usize| {
        for _ in 0..times {
            clients[at].send(&[0x30, 5, 0, 1, topic, b'h', b'i']);
        }
        clients[at].ping();
    };
    publish(&mut clients, 0, b'x', 3);
    assert_eq!(admin.get("/api/v1/top?by=messages_received")["clients"], json!([]), "nobody has looked before");
    assert_eq!(admin.get("/api/v1/topics")["topics"], json!([]));
    publish(&mut clients, 0, b'x', 5);
    publish(&mut clients, 1, b'x', 2);
    // When a topic was last published is known to a millisecond.
    std::thread::sleep(std::time::Duration::from_millis(5));
    publish(&mut clients, 1, b'y', 1);
    let top = admin.get("/api/v1/top?by=messages_received");
    let expected = json!([{"client_id": "a", "value": 5}, {"client_id": "b", "value": 3}]);
    assert_eq!(top["clients"], expected);
    assert_eq!(admin.get("/api/v1/top?by=bytes_received&limit=1")["clients"], json!([{"client_id": "a", "value": 15}]));
    assert_eq!(admin.get("/api/v1/top?by=messages_sent")["clients"], json!([{"client_id": "d", "value": 7}]));
    let topics = admin.get("/api/v1/topics");
    assert_eq!(values(&topics["topics"], "topic"), [&json!("x"), &json!("y")], "{topics}");
    assert_eq!(values(&topics["topics"], "messages"), [&json!(7), &json!(1)], "{topics}");
    assert_eq!(values(&topics["topics"], "publishers"), [&json!(2), &json!(1)], "{topics}");
    assert_eq!(values(&admin.get("/api/v1/topics?by=last&limit=1")["topics"], "topic"), [&json!("y")]);
    assert_eq!(values(&admin.get("/api/v1/topics?contains=y")["topics"], "topic"), [&json!("y")]);
    assert_eq!(admin.get("/api/v1/topics?contains=Y")["topics"], json!([]));
    let traffic = &admin.get("/api/v1/clients/a")["traffic"];
    assert_eq!((&traffic["messages_received"], &traffic["bytes_received"]), (&json!(5), &json!(15)));
    let groups = json!([{"filter": "$share/g/x", "members": 1, "connected": 1}]);
    assert_eq!(admin.get("/api/v1/groups")["groups"], groups);
    let members = admin.get("/api/v1/subscriptions?filter=%24share/g/x");
    assert_eq!(values(&members["subscriptions"], "picked_messages"), [&json!(7)]);
    for wrong in ["top", "top?by=age", "top?by=queued&limit=0", "topics?by=x", "topics?limit=257"] {
        let answer = admin.ask(&admin.viewer, "GET", &format!("/api/v1/{wrong}"), None);
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
}

#[test]
fn a_retained_message_is_found_among_thousands_by_one_request() {
    let admin = Admin::start("look-retained", "");
    for first in (0..5_000).step_by(1_000) {
        let message = |n: usize| {
            let name = if n == 4_999 { "zconfig" } else { "state" };
            json!({"topic": format!("devices/{n:05}/{name}"), "payload": "x", "retain": true})
        };
        let batch: Vec<Value> = (first..first + 1_000).map(message).collect();
        let answer = admin.ask(&admin.operator, "POST", "/api/v1/publish/batch", Some(batch.into()));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let page = admin.get("/api/v1/retained?filter=devices/%2B/zconfig");
    assert_eq!(
        (values(&page["messages"], "topic"), &page["next"]),
        (vec![&json!("devices/04999/zconfig")], &Value::Null)
    );
    // A page is as long as was asked for, and the next goes on behind it.
    let page = admin.get("/api/v1/retained?filter=devices/%23&limit=3");
    assert_eq!(values(&page["messages"], "topic").len(), 3);
    let cursor = page["next"].as_str().expect("there are more");
    let page = admin.get(&format!("/api/v1/retained?filter=devices/%23&limit=1&cursor={cursor}"));
    assert_eq!(values(&page["messages"], "topic"), [&json!("devices/00003/state")]);
}
