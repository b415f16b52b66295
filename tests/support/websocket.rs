//! The client's end of WebSocket (RFC 6455), written from the specification and strict with the server: every frame must be whole,
//! unmasked and needed, and nothing may come behind a close frame.

use std::io::Write;
use std::net::TcpStream;

/// The request that opens it, with the key of RFC 6455, 1.3.
pub(crate) const REQUEST: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
/// The answer.
const GRANTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame of a client: its first byte, and the payload under a mask that is made of its length.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = (payload.len() as u32 ^ 0x5bd1_e995).to_be_bytes();
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0xfe);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0xff);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

/// A whole binary message.
pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(0x80 | BINARY, payload)
}

/// Takes bytes off the wire, wherever they are cut.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    unread: Vec<u8>,
    is_open: bool,
    has_ended: bool,
}

impl Peer {
    /// Whether the request has been granted.
    #[allow(dead_code, reason = "not every suite asks")]
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// What `wire` comes to. A ping is answered on `socket`, and a close frame ends what is to be read.
    pub(crate) fn read(&mut self, wire: &[u8], socket: &mut TcpStream) -> Vec<u8> {
        self.unread.extend_from_slice(wire);
        if !self.is_open {
            let len = self.unread.len().min(GRANTED.len());
            let (got, expected) = (&self.unread[..len], &GRANTED[..len]);
            assert_eq!(String::from_utf8_lossy(got), String::from_utf8_lossy(expected), "the answer to the request");
            if len < GRANTED.len() {
                return Vec::new();
            }
            self.unread.drain(..len);
            self.is_open = true;
        }
        let mut bytes = Vec::new();
        while let Some((opcode, payload)) = self.next_frame() {
            assert!(!self.has_ended, "a frame behind the close frame");
            match opcode {
                BINARY => bytes.extend(payload),
                PING => drop(socket.write_all(&frame(0x80 | PONG, &payload))),
                PONG => {}
                CLOSE => {
                    assert!(payload.len() >= 2, "the broker gives a reason");
                    self.has_ended = true;
                }
                CONTINUATION => panic!("the broker does not send in fragments"),
                opcode => panic!("a frame of opcode {opcode}"),
            }
        }
        bytes
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second, ..] = self.unread[..] else { return None };
        assert_eq!(first & 0xf0, 0x80, "the last frame of a message, without extensions");
        assert!(second < 128, "a server masks nothing");
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let (at, len) = match second {
            126 => (4, number(self.unread.get(2..4)?)),
            127 => (10, number(self.unread.get(2..10)?)),
            len => (2, usize::from(len)),
        };
        assert!(at == 2 || len > 125 && (at == 4 || len > 0xffff), "a length in more bytes than it needs");
        let payload = self.unread.get(at..at + len)?.to_vec();
        self.unread.drain(..at + len);
        Some((first & 0xf, payload))
    }
}
