//! What the log tells of peers that are refused, of packets, and of sessions that lose messages; and the counters beside it.

use std::time::Duration;

use crate::broker::{Broker, Client};

/// Counters are published each second.
const QUICK: &str = "[node]\nsys_interval = 1\n";

/// A string as MQTT writes it.
fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text").to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte of length");
    [&[first, body.len() as u8], body].concat()
}

/// CONNECT of 3.1.1 with a user and a password; `flags` beside those.
fn connect_as(client: &str, user: &str, flags: u8) -> Vec<u8> {
    let head = [0, 4, b'M', b'Q', b'T', b'T', 4, 0xc0 | flags, 0, 0];
    packet(0x10, &[&head[..], &text(client), &text(user), &text("secret")].concat())
}

fn publish(topic: &str, qos: u8, payload: &str) -> Vec<u8> {
    let id: &[u8] = if qos > 0 { &[0, 7] } else { &[] };
    packet(0x30 | qos << 1, &[&text(topic), id, payload.as_bytes()].concat())
}

fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1], &text(filter)[..], &[qos]].concat())
}

/// The one line with this event, without time and level.
fn line<'a>(lines: &'a [String], event: &str) -> &'a str {
    let found: Vec<&String> = lines.iter().filter(|line| line.contains(&format!(" {event} "))).collect();
    let [line] = found[..] else { panic!("{event}: {found:#?} of {lines:#?}") };
    line.split_once(' ').expect("a time").1.trim_start()
}

/// Waits until a topic of the broker's own has this value.
pub(crate) fn await_counter(broker: &Broker, topic: &str, value: &str) {
    let mut client = Client::connect(broker, b'#');
    client.send(&subscribe(topic, 0));
    let mut seen = Vec::new();
    loop {
        let [first, length] = client.receive();
        let body: Vec<u8> = (0..length).map(|_| client.receive::<1>()[0]).collect();
        if first >> 4 == 3 {
            let payload = String::from_utf8_lossy(&body[2 + topic.len()..]).into_owned();
            if payload == value {
                return;
            }
            seen.push(payload);
            assert!(seen.len() < 20, "{topic}: {seen:?}, not {value}");
        }
    }
}

#[test]
fn whoever_is_refused_before_connack_has_a_line_and_a_counter() {
    let file = format!("{QUICK}max_connections = 2\n[listener]\nconnect_timeout = 1\n");
    let broker = Broker::start("refused", &file);
    broker.lines_to(" ready");
    let cases: [(&[u8], &str, &str); 8] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http", "it speaks HTTP"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", "tls", "it speaks TLS"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 1883\r\n", "proxy_header", "PROXY header"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "proxy_header", "PROXY header"),
        (b"\x10\x0c\0\x04MQTT\x07\x02\0\0\0\0", "unsupported_version", "level=7"),
        (b"\xc0\0", "malformed", "no CONNECT"),
        (b"\x10\xff\xff\x7f", "packet_too_large", "128 KiB"),
        (b"\x10\x0c\0", "connect_timeout", "not whole in time"),
    ];
    for (bytes, reason, words) in cases {
        let mut peer = Client::open(&broker.addresses[0]);
        let address = peer.0.local_addr().expect("an address");
        peer.send(bytes);
        peer.closed();
        let lines = broker.lines_to(" connect_refused ");
        let line = line(&lines, "connect_refused");
        assert!(line.starts_with(&format!("INFO  connect_refused peer={address} reason={reason} ")), "{line}");
        assert!(line.contains(words), "{line}");
    }
    for (reason, count) in
        [("http", "1"), ("proxy_header", "2"), ("unsupported_version", "1"), ("connect_timeout", "1")]
    {
        await_counter(&broker, &format!("$SYS/broker/connections/refused/{reason}"), count);
    }
    let clients = [Client::connect(&broker, b'a'), Client::connect(&broker, b'b')];
    let mut third = Client::open(&broker.addresses[0]);
    third.send(&connect_as("third", "tom", 2));
    assert_eq!(third.receive::<4>(), [0x20, 2, 0, 3]);
    let lines = broker.lines_to(" connect_refused ");
    let told = line(&lines, "connect_refused");
    assert!(
        told.contains(" client=third user=tom peer=127.0.0.1:") && told.contains("reason=connections_full"),
        "{told}"
    );
    drop(clients);
    await_counter(&broker, "$SYS/broker/connections/refused/connections_full", "1");
}

#[test]
fn credentials_that_nobody_checks_are_told_once_and_no_client_with_some_is_called_anonymous() {
    let broker = Broker::start("credentials", QUICK);
    for id in ["one", "two"] {
        let mut client = Client::open(&broker.addresses[0]);
        client.send(&connect_as(id, "tom", 2));
        assert_eq!(client.receive::<4>(), [0x20, 2, 0, 0]);
    }
    let lines = [broker.lines_to("client=one"), broker.lines_to(" client_connected client=two")].concat();
    let warning = line(&lines, "credentials_unchecked");
    assert!(warning.starts_with("WARN  credentials_unchecked client=one peer=127.0.0.1:"), "{warning}");
    assert!(!lines.concat().contains("secret"));

    let broker = Broker::start("closed", "[auth]\nallow_anonymous = false\n");
    let mut client = Client::open(&broker.addresses[0]);
    client.send(&connect_as("one", "tom", 2));
    assert_eq!(client.receive::<4>(), [0x20, 2, 0, 5]);
    let lines = broker.lines_to(" connect_refused ");
    let told = line(&lines, "connect_refused");
    assert!(told.contains("client=one user=tom") && told.contains("no authentication is configured"), "{told}");
    assert!(!told.contains("anonymous"), "{told}");
    assert_eq!(Client::open(&broker.addresses[0]).say_connect(b'a'), 5);
    broker.lines_to("anonymous access is not allowed here");
}

#[test]
fn a_packet_that_is_too_large_is_told_with_its_size_the_limit_and_the_setting() {
    let broker = Broker::start("large", "[mqtt]\nmax_packet_size = \"64KiB\"\n");
    let mut client = Client::connect(&broker, b'a');
    client.send(&[0x30, 0x80, 0x80, 0x08]);
    client.closed();
    let lines = broker.lines_to(" client_disconnected ");
    let told = line(&lines, "packet_too_large");
    assert!(told.contains("client=a peer=127.0.0.1:") && told.contains("size_bytes=131076 max_bytes=65536"), "{told}");
    assert!(told.contains("max_packet_size (--max-packet-size)"), "{told}");
}

#[test]
fn a_session_that_loses_messages_is_named_when_it_begins_and_when_it_is_over() {
    let file = format!("{QUICK}[session]\nmax_queued_messages = 2\n");
    let broker = Broker::start("losses", &file);
    let mut away = Client::open(&broker.addresses[0]);
    away.send(&connect_as("away", "tom", 0));
    assert_eq!(away.receive::<4>(), [0x20, 2, 0, 0]);
    away.send(&subscribe("t", 1));
    away.receive::<5>();
    away.send(&[0xe0, 0]);
    away.closed();
    let mut publisher = Client::connect(&broker, b'p');
    for _ in 0..6 {
        publisher.send(&publish("t", 1, "payload"));
        assert_eq!(publisher.receive::<4>(), [0x40, 2, 0, 7]);
    }
    let lines = broker.lines_to(" messages_lost ");
    let told = line(&lines, "messages_lost");
    assert!(told.starts_with("WARN  messages_lost client=away reason=queue_full queued=2 queued_bytes=16 "), "{told}");
    assert!(told.contains("--max-queued-messages"), "{told}");
    publisher.ping();
    // It comes back, and wants nothing of its session any more.
    away = Client::open(&broker.addresses[0]);
    away.send(&connect_as("away", "tom", 2));
    assert_eq!(away.receive::<4>(), [0x20, 2, 0, 0]);
    let lines = broker.lines_to("reason=session_ended");
    let totals: Vec<_> = lines.iter().filter(|line| line.contains(" messages_lost")).collect();
    assert_eq!(totals.len(), 2, "{lines:#?}");
    assert!(totals[0].contains("messages_lost_total client=away reason=queue_full messages=4 "), "{totals:?}");
    assert!(totals[1].contains("messages_lost_total client=away reason=session_ended messages=2 "), "{totals:?}");
    await_counter(&broker, "$SYS/broker/publish/messages/dropped/queue_full", "4");
}

/// What one client does, as the log has it at a level: lines about packets only.
fn lines_of_packets(level: &str) -> Vec<String> {
    let broker = Broker::start(
        &format!("level-{level}"),
        &format!("[log]\nlevel = \"{level}\"\n[node]\nsys_interval = \"off\"\n"),
    );
    let mut client = Client::connect(&broker, b'c');
    client.send(&subscribe("t/#", 1));
    client.receive::<5>();
    client.send(&publish("t/a", 1, "payload"));
    let mut rest = [0; 20];
    std::io::Read::read_exact(&mut client.0, &mut rest).expect("PUBACK and the copy");
    client.send(&publish("$t", 0, "payload"));
    client.send(&packet(0xa2, &[&[0, 2], &text("t/#")[..]].concat()));
    assert_eq!(client.receive::<4>(), [0xb0, 2, 0, 2]);
    client.send(&[0x36, 0]);
    client.closed();
    let lines = broker.lines_to(" client_disconnected ");
    assert!(!lines.concat().contains("payload "), "{lines:#?}");
    let is_packet = |line: &&String| [" DEBUG ", " TRACE "].iter().any(|level| line.contains(level));
    let shown = |line: &String| {
        let (before, after) = line.split_once(" peer=").expect("a peer");
        let (_, level) = before.split_once(' ').expect("a time");
        format!("{level} {}", after.split_once(' ').expect("fields").1)
    };
    lines.iter().filter(is_packet).map(shown).collect()
}

#[test]
fn debug_tells_each_subscription_and_refusal_and_trace_each_publish() {
    let subscribed = "DEBUG subscribe client=c filter=t/# qos=1 code=0x01";
    let received = "TRACE publish_received client=c topic=t/a qos=1 retain=false dup=false payload_bytes=7";
    let sent = "TRACE publish_sent client=c topic=t/a qos=1 retain=false dup=false payload_bytes=7";
    let received_dollar = "TRACE publish_received client=c topic=$t qos=0 retain=false dup=false payload_bytes=7";
    let refused = "DEBUG publish_refused client=c topic=$t code=0x90";
    let unsubscribed = "DEBUG unsubscribe client=c filter=t/# code=0x00";
    let error = "DEBUG protocol_error client=c code=0x81 ";
    let debug = lines_of_packets("debug");
    assert_eq!(debug[..3], [subscribed, refused, unsubscribed]);
    assert!(debug.len() == 4 && debug[3].starts_with(error), "{debug:#?}");
    let trace = lines_of_packets("trace");
    assert_eq!(trace[..6], [subscribed, received, sent, received_dollar, refused, unsubscribed]);
    assert!(trace.len() == 7 && trace[6].starts_with(error), "{trace:#?}");
    assert_eq!(lines_of_packets("info"), [""; 0]);
}

#[test]
fn a_reload_of_the_level_tells_packets_from_then_on() {
    let broker = Broker::start("reload-level", "[log]\nlevel = \"info\"\n");
    broker.lines_to(" ready");
    broker.reload("[log]\nlevel = \"debug\"\n");
    let mut client = Client::connect(&broker, b'c');
    // A pump looks at the level when a turn begins: at the latest with the next packet.
    let told = (0..100).any(|_| {
        client.subscribe(b'x');
        std::thread::sleep(Duration::from_millis(5));
        client.ping();
        broker.has_said(" subscribe client=c ")
    });
    assert!(told);
}

#[test]
fn a_limit_on_open_files_that_will_be_short_is_told_at_start() {
    let broker = Broker::start_with("files", QUICK, &["--nofile=200"]);
    let lines = broker.lines_to(" ready");
    let warning = line(&lines, "config_warning");
    assert!(warning.contains("200 open files are allowed") && warning.contains("take 25600 connections"), "{warning}");
    assert!(warning.contains("LimitNOFILE=7813"), "{warning}");
    let broker = Broker::start("enough", "[node]\nmax_connections = 100\n");
    // A small machine is told of its memory.
    let is_of_files = |line: &String| line.contains(" config_warning ") && !line.contains("of memory");
    assert!(!broker.lines_to(" ready").iter().any(is_of_files));
}

/// What cannot be decoded of a CONNECT stands behind the client id: an operator is to know whose device it is.
#[test]
fn a_connect_that_cannot_be_decoded_is_told_with_its_client_id() {
    let broker = Broker::start("undecodable", QUICK);
    for (level, properties) in [(4, &[][..]), (5, &[0][..])] {
        let mut body = [&[0, 4, b'M', b'Q', b'T', b'T', level, 6, 0, 60], properties, &[0, 2, b'c', b'7']].concat();
        // A will for a topic with a wildcard.
        body.extend(properties);
        body.extend([0, 1, b'#', 0, 1, b'x']);
        let mut client = Client::open(&broker.addresses[0]);
        client.send(&[&[0x10, body.len() as u8], &body[..]].concat());
        client.closed();
        let lines = broker.lines_to("connect_refused");
        assert!(lines.last().is_some_and(|line| line.contains(" client=c7 ")), "{lines:?}");
    }
}

/// A shard whose first table of sockets is full wants a descriptor for another one.
#[test]
fn who_finds_no_descriptor_waits_and_that_is_told_and_is_served_once_another_goes() {
    let flags = ["--storage", "memory", "--shards", "1"];
    let broker = Broker::start_with_flags("no-room", QUICK, &["--nofile=128"], &flags);
    broker.lines_to(" ready");
    broker.open_no_more_descriptors();
    let mut clients = Vec::new();
    let mut waiting = loop {
        let mut client = Client::open(&broker.addresses[0]);
        client.send(&connect_as(&format!("c{}", clients.len()), "tom", 2));
        client.0.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
        let mut connack = [0; 4];
        match std::io::Read::read_exact(&mut client.0, &mut connack) {
            Ok(()) => assert_eq!(connack, [0x20, 2, 0, 0]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break client,
            Err(error) => panic!("client {}: {error}", clients.len()),
        }
        clients.push(client);
        assert!(clients.len() <= 128, "there is room for more than the table has");
    };
    assert!(clients.len() >= 64, "{} clients", clients.len());
    let lines = broker.lines_to(" no_room_for_sockets ");
    let told = line(&lines, "no_room_for_sockets");
    assert!(told.contains(&format!("sockets={} ", clients.len())) && told.contains("`ulimit -n`"), "{told}");
    clients.pop();
    waiting.0.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    assert_eq!(waiting.receive::<4>(), [0x20, 2, 0, 0]);
    clients[0].ping();
}
