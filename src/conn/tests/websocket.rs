//! WebSocket between socket and MQTT: the request, frames wherever they are cut, what is said of its own, and every end.

use super::sources::{networks, peer};
use super::*;
use crate::settings::{ListenerKind, Origins};

const PEER: &str = "192.0.2.1:1";

fn web() -> ListenerSettings {
    let policy = Policy::Admit;
    ListenerSettings { policy, kind: ListenerKind::WebSocket, connect_timeout_s: 10, ..ListenerSettings::default() }
}

fn request(more: &str) -> Vec<u8> {
    format!(
        "GET /mqtt HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n{more}\r\n"
    )
    .into_bytes()
}

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0xfe);
            bytes.extend((len as u16).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

fn binary(payload: &[u8]) -> Vec<u8> {
    frame(0x82, payload)
}

/// A frame of the broker.
fn plain_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, payload.len() as u8], payload].concat()
}

fn close_frame(code: u16) -> Vec<u8> {
    plain_frame(8, &code.to_be_bytes())
}

impl Stage {
    fn web() -> Self {
        let [stage, ..] = Self::listening(web());
        stage
    }

    fn come_by_web(&mut self) -> ConnectionId {
        let id = self.come(peer(PEER)).unwrap();
        self.receive(id, &request(""), false);
        assert!(matches!(self.operation(), Operation::ReceiveOnce { .. }));
        assert!(self.flush()[0].1.starts_with(b"HTTP/1.1 101 "));
        id
    }

    fn web_client(&mut self) -> ConnectionId {
        let id = self.come_by_web();
        self.receive(id, &binary(&connect_as("web", ShardId(0))), false);
        self.operations();
        assert_eq!(self.flush(), [(id, plain_frame(2, &CONNACK))]);
        id
    }

    fn closes(&self, reason: CloseReason) -> u64 {
        self.connections.counters().closes[reason as usize] + self.shard.counters().closes[reason as usize]
    }
}

#[test]
fn a_request_and_frames_may_be_cut_anywhere() {
    let connect = connect_as("web", ShardId(0));
    let (left, right) = connect.split_at(7);
    // CONNECT in two fragments with a ping between, and a PINGREQ behind it in the frame of its end; then a packet in bytes.
    let frames = [
        frame(0x02, left),
        frame(0x89, b"are you there"),
        frame(0x80, &[right, &PINGREQ].concat()),
        binary(b""),
        frame(0x02, &PINGREQ[..1]),
        frame(0x00, b""),
        frame(0x80, &PINGREQ[1..]),
    ]
    .concat();
    let stream = [request(""), frames].concat();
    for size in 1..stream.len() {
        let mut stage = Stage::web();
        let id = stage.come(peer(PEER)).unwrap();
        let (mut told, mut frames) = (Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            stage.receive(id, piece, false);
            stage.operations();
            for (_, sent) in stage.flush() {
                told.extend(sent);
            }
        }
        let end = told.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let mut rest = &told[end..];
        while let [first, len, behind @ ..] = rest {
            let (payload, next) = behind.split_at(usize::from(*len));
            frames.push((first & 0xf, payload.to_vec()));
            assert_eq!(first & 0xf0, 0x80);
            rest = next;
        }
        let of =
            |wanted: u8| frames.iter().filter(move |(opcode, _)| *opcode == wanted).map(|(_, payload)| payload.clone());
        assert_eq!(of(2).collect::<Vec<_>>().concat(), [&CONNACK[..], &PINGRESP, &PINGRESP].concat(), "{size}");
        assert_eq!(of(10).collect::<Vec<_>>(), [b"are you there".to_vec()], "{size}");
        assert_eq!(of(2).count() + 1, frames.len(), "{size}");
    }
}

#[test]
fn a_flush_is_one_frame_and_a_flood_of_pings_owes_one_pong() {
    let mut stage = Stage::web();
    let id = stage.web_client();
    stage.receive(id, &[binary(&PINGREQ), binary(&[PINGREQ, PINGREQ].concat())].concat(), true);
    assert_eq!(stage.flush(), [(id, plain_frame(2, &[PINGRESP, PINGRESP, PINGRESP].concat()))]);
    let pings: Vec<u8> = (0..100).flat_map(|number| frame(0x89, &[number])).collect();
    stage.receive(id, &pings, true);
    assert_eq!(stage.flush(), [(id, plain_frame(10, &[99]))]);
    stage.receive(id, &frame(0x8a, b"a pong that nobody asked for"), true);
    assert!(stage.flush().is_empty());
    assert!(matches!(stage.operations()[..], []));
}

#[test]
fn each_broken_rule_ends_with_its_code_and_is_counted() {
    for (bytes, code) in [
        (frame(0x81, b"text"), 1003),
        (frame(0xc2, b""), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x09, b""), 1002),
        (b"\x82\x01x".to_vec(), 1002),
        (b"\x82\xfe\0\x05".to_vec(), 1002),
        (b"\x82\xff\x80\0\0\0\0\0\0\0".to_vec(), 1002),
        ([frame(0x02, b""), frame(0x82, b"")].concat(), 1002),
        (frame(0x80, b""), 1002),
        (frame(0x88, b"\x03"), 1002),
        (frame(0x88, &1005_u16.to_be_bytes()), 1002),
        (frame(0x88, b"\x03\xe8\xff"), 1007),
    ] {
        // A client that is in, and one that is not yet.
        let mut stage = Stage::web();
        let id = stage.web_client();
        stage.receive(id, &[&binary(&PINGREQ)[..], &bytes, &binary(&PINGREQ)].concat(), true);
        assert_eq!(stage.flush(), [(id, [plain_frame(2, &PINGRESP), close_frame(code)].concat())], "{bytes:x?}");
        assert!(matches!(stage.operations()[..], [Operation::FinishSending { .. }]));
        assert_eq!(stage.closes(CloseReason::WebSocket), 1);
        let id = stage.come_by_web();
        stage.receive(id, &bytes, false);
        assert_eq!(stage.flush(), [(id, close_frame(code))], "{bytes:x?}");
        assert_eq!(stage.closes(CloseReason::WebSocket), 2);
    }
}

#[test]
fn a_close_frame_is_answered_with_its_code() {
    for (payload, answer) in [
        (&b""[..], plain_frame(8, b"")),
        (&1000_u16.to_be_bytes(), close_frame(1000)),
        (b"\x03\xe9going", close_frame(1001)),
        (&4999_u16.to_be_bytes(), close_frame(4999)),
    ] {
        let mut stage = Stage::web();
        let id = stage.web_client();
        stage.receive(id, &[frame(0x88, payload), binary(&PINGREQ)].concat(), true);
        assert_eq!(stage.flush(), [(id, answer.clone())]);
        assert!(matches!(stage.operations()[..], [Operation::Close { .. }]), "the broker closes first");
        assert_eq!(stage.closes(CloseReason::SocketClosed), 1, "its will is due");
        let id = stage.come_by_web();
        stage.receive(id, &frame(0x88, payload), false);
        assert_eq!(stage.flush(), [(id, answer)]);
    }
}

#[test]
fn the_broker_says_goodbye_when_it_closes() {
    let mut stage = Stage::web();
    let id = stage.web_client();
    stage.receive(id, &binary(&[0xe0, 0]), true);
    assert_eq!(stage.flush(), [(id, close_frame(1000))], "after DISCONNECT");
    assert!(matches!(stage.operations()[..], [Operation::FinishSending { .. }]), "the peer is to answer it");
    stage.connections.finished(id);
    stage.receive(id, &frame(0x88, &1000_u16.to_be_bytes()), true);
    assert!(matches!(stage.operations()[..], [Operation::Close { .. }]), "it has");
    let id = stage.web_client();
    stage.receive(id, &binary(&[0x30, 0]), true);
    assert_eq!(stage.flush(), [(id, close_frame(1008))], "after a malformed PUBLISH of 3.1.1");
    stage.operations();
    stage.receive(id, &binary(&PINGREQ), true);
    assert!(stage.flush().is_empty());
    // A connection that is gone is told nothing.
    let id = stage.web_client();
    stage.with(|connections, core| connections.receive_ended(core, id, ReceiveEnd::PeerGone));
    assert!(stage.flush().is_empty());
}

#[test]
fn goodbyes_that_cross_are_both_heard() {
    let disconnect = binary(&[0xe0, 0]);
    let close = frame(0x88, b"");
    // Read at once: the peer's is answered.
    let mut stage = Stage::web();
    let id = stage.web_client();
    stage.receive(id, &[disconnect.clone(), close.clone()].concat(), true);
    assert_eq!(stage.flush(), [(id, plain_frame(8, b""))]);
    assert!(matches!(stage.operations()[..], [Operation::Close { .. }]), "the broker closes first");
    // Read one after the other in a turn: the broker's own is due already, and leaves before the socket closes.
    let id = stage.web_client();
    stage.receive(id, &disconnect, true);
    stage.receive(id, &close, true);
    assert!(stage.operations().is_empty());
    assert_eq!(stage.flush(), [(id, close_frame(1000))]);
    assert!(matches!(stage.operations()[..], [Operation::Close { .. }]), "nothing more is to come");
    // A peer that answers nothing has its time, and no more.
    let id = stage.web_client();
    stage.receive(id, &disconnect, true);
    assert_eq!(stage.flush(), [(id, close_frame(1000))]);
    assert!(matches!(stage.operations()[..], [Operation::FinishSending { .. }]));
    stage.connections.finished(id);
    stage.pass_ms(LINGER_MS);
    assert!(matches!(stage.operations()[..], [Operation::Abort { .. }]));
}

#[test]
fn what_is_no_request_for_mqtt_gets_a_page_or_is_closed_without_one() {
    let answered = |bytes: &[u8]| {
        let mut stage = Stage::web();
        let id = stage.come(peer(PEER)).unwrap();
        stage.receive(id, bytes, false);
        let sent = stage.flush();
        let operations = stage.operations();
        let refused: Vec<_> = stage.connections.refused().map(|refused| refused.reason).collect();
        assert_eq!(refused.len(), 1, "{refused:?}");
        let page = sent.into_iter().next().map(|(_, sent)| String::from_utf8(sent).unwrap()).unwrap_or_default();
        let status = page.split(' ').nth(1).unwrap_or_default().to_owned();
        let is_told = matches!(operations[..], [.., Operation::FinishSending { .. }]);
        assert!(is_told, "{operations:?}");
        (refused[0], status)
    };
    let page = |status: &str| (CloseReason::UpgradeRefused, status.to_owned());
    assert_eq!(answered(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"), page("404"));
    assert_eq!(answered(b"GET /mqtt HTTP/1.1\r\nHost: b\r\n\r\n"), page("426"));
    assert_eq!(answered(b"GET /mqtt HTTP/1.1\r\n\xff: b\r\n\r\n"), page("400"));
    assert_eq!(answered(&[&b"GET /mqtt HTTP/1.1\r\nX: "[..], &[b'x'; 8192]].concat()), page("431"));
    assert_eq!(answered(&connect_as("c", ShardId(0))), (CloseReason::Malformed, String::new()));
    assert_eq!(answered(b"\x16\x03\x01\x02\0\x01"), (CloseReason::Tls, String::new()));
    assert_eq!(answered(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 1\r\n"), (CloseReason::ProxyHeader, String::new()));
    assert_eq!(answered(b"SSH-2.0-x\r\n"), (CloseReason::Malformed, String::new()));
}

#[test]
fn a_frame_that_is_not_whole_travels_to_the_shard_of_its_client() {
    let [mut source, mut target, _] = Stage::listening(web());
    let id = source.come_by_web();
    let connect = connect_as("there", ShardId(1));
    let whole = binary(&[&connect[..], &PINGREQ, &PINGREQ].concat());
    let (now, later) = whole.split_at(whole.len() - 1);
    source.receive(id, &[&frame(0x89, b"p")[..], now].concat(), false);
    let Operation::HandOver { ticket, .. } = source.operation() else { panic!("it stays") };
    let (_, handover) = handover_of(&mut source);
    assert!(source.flush().is_empty(), "its pong goes along");
    target.with(|connections, core| connections.take_handover(core, handover));
    target.with(|connections, core| connections.adopted(core, ticket, SocketId::new(0, 1)));
    let Operation::Receive { connection: id, .. } = target.operation() else { panic!("it is received from") };
    let first = [plain_frame(10, b"p"), plain_frame(2, &[&CONNACK[..], &PINGRESP].concat())].concat();
    assert_eq!(target.flush(), [(id, first)]);
    target.receive(id, later, true);
    assert_eq!(target.flush(), [(id, plain_frame(2, &PINGRESP))]);
}

#[test]
fn pages_of_other_origins_are_refused() {
    let origins = Origins(Some(["https://console.example".to_owned()].into()));
    for (origin, status) in [("https://console.example", b"HTTP/1.1 101 "), ("https://evil.example", b"HTTP/1.1 403 ")]
    {
        let [mut stage, ..] = Stage::listening(ListenerSettings { ws_origins: origins.clone(), ..web() });
        let id = stage.come(peer(PEER)).unwrap();
        stage.receive(id, &request(&format!("Origin: {origin}\r\n")), false);
        assert!(stage.flush()[0].1.starts_with(status), "{origin}");
    }
}

#[test]
fn x_forwarded_for_names_the_client_where_a_trusted_proxy_says_it() {
    let settings = ListenerSettings {
        proxy_from: networks(&["192.0.2.0/24"]),
        deny_from: networks(&["203.0.113.66"]),
        connect_rate_per_address_max: 2,
        ..web()
    };
    let [mut stage, ..] = Stage::listening(settings);
    let ask = |stage: &mut Stage, address: &str, client: &str| {
        let id = stage.come(peer(address)).unwrap();
        stage.receive(id, &request(&format!("X-Forwarded-For: {client}\r\n")), false);
        let operations = stage.operations();
        let refused: Vec<_> = stage.connections.refused().map(|refused| refused.reason).collect();
        assert_eq!(matches!(operations[..], [Operation::Close { .. }]), !refused.is_empty());
        (stage.connections.peer(id).to_string(), refused)
    };
    assert_eq!(ask(&mut stage, PEER, "203.0.113.7"), ("203.0.113.7:0".to_owned(), vec![]));
    assert_eq!(ask(&mut stage, PEER, "203.0.113.66").1, [CloseReason::NetworkDenied]);
    assert_eq!(ask(&mut stage, PEER, "203.0.113.7").1, []);
    assert_eq!(ask(&mut stage, PEER, "203.0.113.7").1, [CloseReason::ConnectRate]);
    // Somebody who is no proxy says it in vain.
    assert_eq!(ask(&mut stage, "198.51.100.1:5", "203.0.113.9"), ("198.51.100.1:5".to_owned(), vec![]));
    // A proxy in front of the proxy, which says so by a PROXY header.
    let both = ListenerSettings { proxy_protocol: true, proxy_from: networks(&["192.0.2.0/24"]), ..web() };
    let [mut stage, ..] = Stage::listening(both);
    for (source, believed) in [("192.0.2.9", "203.0.113.9:0"), ("198.51.100.9", "198.51.100.9:5")] {
        let id = stage.come(peer(PEER)).unwrap();
        let header = format!("PROXY TCP4 {source} 192.0.2.1 5 8083\r\n");
        stage.receive(id, &[header.as_bytes(), &request("X-Forwarded-For: 203.0.113.9\r\n")].concat(), false);
        assert_eq!(stage.connections.peer(id).to_string(), believed);
        stage.operations();
    }
}

#[test]
fn a_peer_that_dribbles_its_request_is_closed_in_time() {
    let mut stage = Stage::web();
    let id = stage.come(peer(PEER)).unwrap();
    for byte in &request("")[..50] {
        stage.receive(id, &[*byte], false);
        stage.operations();
        stage.pass_ms(190);
    }
    stage.pass_ms(1_000);
    assert!(matches!(stage.operations()[..], [Operation::Close { .. }]));
    assert_eq!(stage.closes(CloseReason::ConnectTimeout), 1);
    // And so is one whose WebSocket is open and which says nothing there, or only pings.
    let id = stage.come_by_web();
    stage.receive(id, &frame(0x89, b""), false);
    stage.operations();
    stage.flush();
    stage.pass_ms(10_000);
    assert!(matches!(stage.operations()[..], [Operation::Close { .. }]));
    assert_eq!(stage.closes(CloseReason::ConnectTimeout), 2);
}

#[test]
fn a_silent_client_holds_its_layer_and_no_buffer() {
    let mut stage = Stage::web();
    let id = stage.web_client();
    let connection = stage.connections.table.get(id).unwrap();
    assert!(connection.outbox.is_none() && connection.partial.is_empty());
    assert!(size_of::<crate::conn::layers::Layers>() <= 160, "{}", size_of::<crate::conn::layers::Layers>());
}

/// Regression: the end of the layer was heard before what the client had sent in front of it.
#[test]
fn the_end_of_a_layer_waits_behind_a_packet_that_takes_several_turns() {
    for last in [frame(8, &1_000_u16.to_be_bytes()), b"\x02\x80\0\0\0\0".to_vec()] {
        let mut stage = Stage::web();
        let id = stage.web_client();
        let behind =
            [&binary(&super::held::long_unsubscribe())[..], &binary(&PINGREQ), &binary(&[0xe0, 0]), &last].concat();
        stage.receive(id, &behind, true);
        assert_eq!(stage.shard.counters().closes.iter().sum::<u64>(), 0, "it is under way");
        stage.resume();
        assert_eq!(stage.closes(CloseReason::ClientDisconnect), 1, "the goodbye was heard, and no end before it");
        let said = stage.flush().into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<u8>>();
        let answers = [&super::held::UNSUBACK[..], &PINGRESP].concat();
        assert!(said.windows(answers.len()).any(|part| part == answers), "{said:02x?}");
    }
}
