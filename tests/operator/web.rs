//! A listener for WebSocket as browsers, scripts, scanners and hostile peers meet it, and what is told of them.

use std::io::Read as _;

use crate::broker::{Broker, Client};
use crate::websocket::{Peer, REQUEST, binary, frame};

const WEB: &str = "[node]\nsys_interval = 1\n[[listener]]\nname = \"tcp\"\n[[listener]]\nname = \"web\"\nkind = \"websocket\"\n\
                   bind = \"127.0.0.1\"\nport = 0\nws_path = \"/iot\"\nws_origins = [\"https://console.example\"]\n";
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'w'];

/// The request for the path that the listener has, with more header fields.
fn request(more: &str) -> Vec<u8> {
    let text = std::str::from_utf8(REQUEST).expect("text").replace("/mqtt", "/iot");
    text.replacen("Host: broker\r\n", &format!("Host: broker\r\n{more}"), 1).into_bytes()
}

/// All that the broker says until it closes.
fn last_words(client: &mut Client) -> Vec<u8> {
    let mut words = Vec::new();
    // A reset behind the words is an end as well.
    let _ = client.0.read_to_end(&mut words);
    words
}

fn open(broker: &Broker) -> (Client, Peer) {
    let mut client = Client::open(&broker.addresses[1]);
    client.send(&request(""));
    let mut peer = Peer::default();
    while !peer.is_open() {
        let mut bytes = [0; 256];
        let count = client.0.read(&mut bytes).expect("an answer");
        assert!(count > 0, "it is granted");
        assert!(peer.read(&bytes[..count], &mut client.0).is_empty());
    }
    (client, peer)
}

/// Reads until as many bytes of MQTT have come.
fn receive(client: &mut Client, peer: &mut Peer, count: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < count {
        let mut bytes = [0; 4096];
        let count = client.0.read(&mut bytes).expect("the connection is open");
        assert!(count > 0, "the connection is open: {received:?}");
        received.extend(peer.read(&bytes[..count], &mut client.0));
    }
    received
}

fn connected(broker: &Broker, id: u8) -> (Client, Peer) {
    let (mut client, mut peer) = open(broker);
    let mut connect = CONNECT;
    connect[14] = id;
    client.send(&binary(&connect));
    assert_eq!(receive(&mut client, &mut peer, 4), [0x20, 2, 0, 0]);
    (client, peer)
}

#[test]
fn who_asks_for_a_page_is_told_what_the_port_is_for() {
    let broker = Broker::start("pages", WEB);
    broker.lines_to(" ready");
    for (request, status, words) in [
        (b"GET / HTTP/1.1\r\nHost: b\r\n\r\n".to_vec(), "404", "MQTT over WebSocket is at /iot"),
        (b"GET /iot HTTP/1.1\r\nHost: b\r\nUser-Agent: curl/8\r\n\r\n".to_vec(), "426", "no page"),
        (b"POST /iot HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n".to_vec(), "405", "GET"),
        (REQUEST.to_vec(), "404", "/iot"),
        (request("Origin: https://evil.example\r\n"), "403", "ws_origins"),
        (request("Sec-WebSocket-Version: 8\r\n"), "400", "once each"),
        (request(&format!("Cookie: {}\r\n", "x".repeat(9_000))), "431", "larger"),
    ] {
        let mut client = Client::open(&broker.addresses[1]);
        // What the broker does not read any more it may refuse with a reset.
        let _ = std::io::Write::write_all(&mut client.0, &request);
        let answer = String::from_utf8(last_words(&mut client)).expect("a page");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(words), "{answer:?}");
        let lines = broker.lines_to(" connect_refused ");
        let line = lines.last().expect("a line");
        assert!(line.contains(" reason=upgrade_refused ") && line.contains(" peer=127.0.0.1:"), "{line}");
    }
    // Not one word of HTTP for who speaks none.
    for (bytes, reason) in
        [(&CONNECT[..], "malformed"), (b"\x16\x03\x01\x00\xa5\x01\x00\x00", "tls"), (b"SSH-2.0-x\r\n", "malformed")]
    {
        let mut client = Client::open(&broker.addresses[1]);
        client.send(bytes);
        assert_eq!(last_words(&mut client), b"");
        let lines = broker.lines_to(" connect_refused ");
        assert!(lines.last().is_some_and(|line| line.contains(&format!(" reason={reason} "))), "{lines:?}");
    }
    // And the pages of the list come in.
    let mut client = Client::open(&broker.addresses[1]);
    client.send(&request("Origin: https://console.example\r\n"));
    assert_eq!(&client.receive::<12>(), b"HTTP/1.1 101");
    crate::log::await_counter(&broker, "$SYS/broker/connections/refused/upgrade_refused", "7");
}

#[test]
fn frames_and_packets_have_nothing_to_do_with_each_other() {
    let broker = Broker::start("frames", WEB);
    let (mut client, mut peer) = connected(&broker, b'w');
    // Three packets in a frame; a packet in five fragments, a ping between them and empty ones beside it.
    client.send(&binary(&[0xc0, 0, 0xc0, 0, 0x82, 6, 0, 1, 0, 1, b't', 0]));
    assert_eq!(receive(&mut client, &mut peer, 9), [0xd0, 0, 0xd0, 0, 0x90, 3, 0, 1, 0]);
    let publish = [&[0x30, 13, 0, 1, b't'][..], b"across it!"].concat();
    for (number, piece) in publish.chunks(3).enumerate() {
        client.send(&frame(if number == 0 { 0x02 } else { 0x00 }, piece));
        client.send(&frame(0x89, b"are you there"));
        client.send(&frame(0x00, b""));
    }
    client.send(&frame(0x80, b""));
    assert_eq!(receive(&mut client, &mut peer, publish.len()), publish);
    // Over TCP to WebSocket and back.
    let mut other = Client::connect(&broker, b'o');
    other.send(&publish);
    assert_eq!(receive(&mut client, &mut peer, publish.len()), publish);
    assert_eq!(other.subscribe(b'u'), 0);
    client.send(&binary(&[0x30, 4, 0, 1, b'u', b'!']));
    assert_eq!(other.receive::<6>(), [0x30, 4, 0, 1, b'u', b'!']);
    // A payload that needs eight bytes of length, both ways.
    let large = [&[0x30, 0xa3, 0x8d, 6, 0, 1, b't'][..], &vec![b'x'; 100_000]].concat();
    client.send(&binary(&large));
    assert_eq!(receive(&mut client, &mut peer, large.len()), large);
}

#[test]
fn hostile_frames_end_their_own_connection_with_the_code_of_the_specification() {
    let broker = Broker::start("hostile", WEB);
    broker.lines_to(" ready");
    let (mut neighbour, mut peer) = connected(&broker, b'n');
    for (bytes, code) in [
        (frame(0x81, b"text"), 1003),
        (b"\x82\x02\xc0\0".to_vec(), 1002),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff".to_vec(), 0),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(), 1002),
        (b"\x82\xfe\0\x02\0\0\0\0\xc0\0".to_vec(), 1002),
        (frame(0xf2, b""), 1002),
        (frame(0x85, b""), 1002),
        (frame(0x80, b""), 1002),
        (frame(0x09, b""), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (frame(0x88, &[3]), 1002),
        (frame(0x88, &1006_u16.to_be_bytes()), 1002),
        (frame(0x88, b"\x03\xe8\xc0\x80"), 1007),
        (frame(0x88, &1000_u16.to_be_bytes()), 1000),
        (frame(0x88, &3999_u16.to_be_bytes()), 3999),
        ([frame(0x02, b""), frame(0x82, b"")].concat(), 1002),
        (binary(&[0x30, 0]), 1008),
        (binary(&[0xe0, 0]), 1000),
    ] {
        let (mut client, _) = connected(&broker, b'h');
        client.send(&bytes);
        if code == 0 {
            // The longest length there is announces 2^63 bytes, of which none comes: nothing is allocated, and it waits.
            continue;
        }
        let words = last_words(&mut client);
        assert_eq!(words, [&[0x88, 2][..], &u16::to_be_bytes(code)].concat(), "{bytes:x?}");
    }
    // One byte a frame.
    let (mut client, mut one) = open(&broker);
    for byte in [&CONNECT[..14], b"1", &[0xc0, 0]].concat() {
        client.send(&binary(&[byte]));
    }
    assert_eq!(receive(&mut client, &mut one, 6), [0x20, 2, 0, 0, 0xd0, 0]);
    neighbour.send(&binary(&[0xc0, 0]));
    assert_eq!(receive(&mut neighbour, &mut peer, 2), [0xd0, 0]);
    crate::log::await_counter(&broker, "$SYS/broker/connections/closed/websocket", "13");
}

#[test]
fn a_flood_of_pings_from_who_reads_nothing_is_bounded_and_harms_nobody() {
    let broker = Broker::start("pings", WEB);
    let (mut neighbour, mut peer) = connected(&broker, b'n');
    let (mut flood, _) = connected(&broker, b'f');
    flood.0.set_write_timeout(Some(std::time::Duration::from_secs(5))).expect("a timeout");
    let pings: Vec<u8> = (0..500).flat_map(|_| frame(0x89, &[7; 125])).collect();
    let before = broker.resident_kib();
    let mut sent = 0;
    // 32 MiB of pings, or as many as the broker takes.
    while sent < 32 << 20 && std::io::Write::write_all(&mut flood.0, &pings).is_ok() {
        sent += pings.len();
    }
    neighbour.send(&binary(&[0xc0, 0]));
    assert_eq!(receive(&mut neighbour, &mut peer, 2), [0xd0, 0]);
    let grown = broker.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB after {sent} bytes of pings");
}

#[test]
fn a_broker_that_stops_says_so() {
    let mut broker = Broker::start("goingaway", WEB);
    let (mut client, _) = connected(&broker, b'g');
    broker.signal("TERM");
    assert_eq!(last_words(&mut client), [0x88, 2, 0x03, 0xe9]);
    assert!(broker.ended().success());
}
