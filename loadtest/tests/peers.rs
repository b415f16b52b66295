//! Servers that are not ours at the other end: what a client says below MQTT, and in CONNECT, is what others read.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dunlin::codec::{ConnAck, Packet, PacketType, ReasonCode, Side, Version, decode, frame};
use loadtest::engine::{Control, Silent, run};
use loadtest::plan::{Action, Group, Part, Plan, Sources, Stage, Target, WebSocketTarget};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Bytes, Message};

/// Three clients that connect, stay for half a second, and say goodbye.
fn plan(target: Target) -> Plan {
    let all = || vec!["all".to_owned()];
    Plan {
        name: "peers".to_owned(),
        description: String::new(),
        target,
        groups: vec![Group::new("all", 3, "c-%i")],
        stages: vec![
            Stage::new("connect", Action::Ramp { groups: all(), rate_per_s: 0.0 }),
            Stage::new("hold", Action::Hold { seconds: 0.5, publish: Vec::new() }),
        ],
        workers: 1,
        sources: Sources::Auto,
        run_id: 1,
        seed: 3,
        drain_s: 1,
        part: Part::default(),
        clocks: Vec::new(),
    }
}

/// Serves each connection by a thread. Returns the port, and what the threads came to.
fn serve<T: Send + 'static>(serve_one: fn(TcpStream) -> T) -> (u16, Receiver<T>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let (sender, served) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(serve_one(stream)));
        }
    });
    (port, served)
}

fn connack() -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet::ConnAck(ConnAck::new(ReasonCode::Success)).encode(Version::V5, &mut bytes);
    bytes
}

/// User name and password of the CONNECT in `bytes`, once it is whole.
fn credentials(bytes: &[u8]) -> Option<(String, String)> {
    let (frame, _) = frame::next(bytes, 65_536).expect("a packet")?;
    let Ok(Packet::Connect(connect)) = decode(frame, Version::V5, Side::Server) else { panic!("no CONNECT") };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    Some((connect.username.unwrap_or_default().to_owned(), text(connect.password.unwrap_or_default())))
}

fn plain(mut stream: TcpStream) -> (String, String) {
    let (mut all, mut bytes) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut bytes).expect("bytes");
        all.extend_from_slice(&bytes[..count]);
        if let Some(found) = credentials(&all) {
            stream.write_all(&connack()).expect("it takes CONNACK");
            while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
            return found;
        }
    }
}

#[test]
fn names_and_passwords_are_each_clients_own() {
    let (port, served) = serve(plain);
    let target =
        Target { port, username: Some("u%i".into()), password: Some("100%%-%c-%u-%i".into()), ..Target::default() };
    let outcome = run(&plan(target), &Control::default(), &mut Silent).expect("an outcome");
    assert_eq!(outcome.connections.established, 3);
    let mut seen: Vec<_> = (0..3).map(|_| served.recv().expect("served")).collect();
    seen.sort();
    let expected = (0..3).map(|n| (format!("u{n}"), format!("100%-c-{n}-u{n}-{n}"))).collect::<Vec<_>>();
    assert_eq!(seen, expected);
}

/// Answers the request by hand, and lets tungstenite read and write what follows. Returns what happened, in order.
fn websocket(mut stream: TcpStream) -> Vec<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).expect("text");
    let field = |name: &str| {
        let line = request.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {request}"));
        line.split_once(": ").expect("a value").1.to_owned()
    };
    let mut seen = vec![request.lines().next().expect("a line").to_owned(), field("Sec-WebSocket-Protocol")];
    let mut hash = sha1_smol::Sha1::new();
    hash.update(field("Sec-WebSocket-Key").as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: mqttv3.1\r\n\r\n",
        STANDARD.encode(hash.digest().bytes())
    );
    stream.write_all(answer.as_bytes()).expect("it takes the answer");
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    while let Ok(message) = socket.read() {
        match message {
            Message::Binary(bytes) => {
                let (packet, _) = frame::next(&bytes, 65_536).expect("a packet").expect("a whole one");
                seen.push(format!("{:?}", packet.packet_type()));
                if packet.packet_type() == PacketType::Connect {
                    // In pieces, with a ping between them.
                    let connack = connack();
                    let (first, rest) = connack.split_at(2);
                    let piece = |bytes: &[u8], code: Data, is_final: bool| {
                        let header = FrameHeader { is_final, opcode: OpCode::Data(code), ..FrameHeader::default() };
                        Message::Frame(Frame::from_payload(header, Bytes::copy_from_slice(bytes)))
                    };
                    socket.send(piece(first, Data::Binary, false)).expect("sent");
                    socket.send(Message::Ping(Bytes::from_static(b"still there?"))).expect("sent");
                    socket.send(piece(rest, Data::Continue, true)).expect("sent");
                }
            }
            Message::Pong(payload) => seen.push(format!("pong {}", String::from_utf8_lossy(&payload))),
            Message::Close(close) => seen.push(format!("close {}", close.map_or(0, |close| u16::from(close.code)))),
            other => seen.push(format!("{other:?}")),
        }
    }
    seen
}

#[test]
fn another_library_reads_our_frames_and_is_read() {
    let (port, served) = serve(websocket);
    let websocket = WebSocketTarget { path: "/broker?a=b".to_owned(), subprotocol: "mqttv3.1".to_owned() };
    let target = Target { port, websocket: Some(websocket), ..Target::default() };
    let outcome = run(&plan(target), &Control::default(), &mut Silent).expect("an outcome");
    assert_eq!((outcome.connections.established, outcome.connections.lost_total()), (3, 0));
    for _ in 0..3 {
        let expected =
            ["GET /broker?a=b HTTP/1.1", "mqttv3.1", "Connect", "pong still there?", "Disconnect", "close 1000"];
        assert_eq!(served.recv().expect("served"), expected);
    }
}
