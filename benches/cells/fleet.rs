//! Connections to one broker, driven by one thread with epoll: bytes out, packets in, and the acknowledgements that MQTT
//! owes for them. What a packet means for the load is the cell's affair.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of payload in a message: which publisher, which of its messages, filler.
pub(super) const PAYLOAD_BYTES: usize = 64;
/// How long the fleet waits for anything before it calls the broker broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What a packet tells the cell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// A message arrived at a connection.
    Arrived { at: u32, publisher: u32, number: u32 },
    /// A message of a connection is acknowledged to its end.
    Acknowledged { at: u32 },
    /// A SUBSCRIBE is answered.
    Subscribed,
}

/// How a client introduces itself.
#[derive(Clone, Copy)]
pub(super) struct Hello<'a> {
    pub(super) client_id: &'a str,
    pub(super) clean: bool,
}

pub(super) struct Fleet {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    dirty: Vec<u32>,
    chunk: Box<[u8]>,
}

struct Connection {
    stream: TcpStream,
    outbox: Vec<u8>,
    /// The beginning of a packet whose rest has not arrived.
    inbox: Vec<u8>,
}

impl Fleet {
    pub(super) fn new(address: SocketAddr) -> Self {
        let poll = Poll::new().expect("epoll");
        let chunk = vec![0; 256 * 1024].into();
        Self { address, poll, events: Events::with_capacity(1024), connections: Vec::new(), dirty: Vec::new(), chunk }
    }

    /// Connects a client and subscribes it; returns its number.
    pub(super) fn connect(&mut self, hello: Hello<'_>, filters: &[(String, u8)]) -> u32 {
        let mut stream = self.open();
        stream.write_all(&connect_packet(hello)).expect("the broker takes it");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("the broker answers");
        assert!(answer[0] == 0x20 && answer[3] == 0, "the broker refuses: {answer:?}");
        for some in filters.chunks(100) {
            stream.write_all(&subscribe_packet(some)).expect("the broker takes it");
            let mut answer = vec![0; 4 + some.len()];
            stream.read_exact(&mut answer).expect("the broker answers");
            assert!(answer[0] == 0x90 && answer[4..].iter().all(|&code| code < 3), "the broker refuses: {answer:?}");
        }
        self.add(stream)
    }

    /// A connection that has not said anything.
    pub(super) fn open(&self) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(self.address).expect("the broker listens");
        stream.set_nodelay(true).expect("a TCP option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream
    }

    /// Takes a connection in; returns its number.
    pub(super) fn add(&mut self, stream: std::net::TcpStream) -> u32 {
        stream.set_nonblocking(true).expect("a socket option");
        let mut stream = TcpStream::from_std(stream);
        let number = self.connections.len();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(number), interest).expect("epoll");
        self.connections.push(Connection { stream, outbox: Vec::new(), inbox: Vec::new() });
        number as u32
    }

    /// Queues bytes; they leave with the next `turn` or `flush`.
    pub(super) fn send(&mut self, connection: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let outbox = &mut self.connections[connection as usize].outbox;
        if outbox.is_empty() {
            self.dirty.push(connection);
        }
        write(outbox);
    }

    pub(super) fn flush(&mut self) {
        for connection in self.dirty.drain(..) {
            self.connections[connection as usize].write();
        }
    }

    /// Sends what is queued, waits for something, and tells what came.
    pub(super) fn turn(&mut self, news: &mut Vec<News>) {
        self.flush();
        self.poll.poll(&mut self.events, Some(PATIENCE)).expect("epoll");
        assert!(!self.events.is_empty(), "nothing arrived for {PATIENCE:?}");
        for event in &self.events {
            let Token(number) = event.token();
            let connection = &mut self.connections[number];
            if event.is_writable() {
                connection.write();
            }
            if event.is_readable() {
                let silent = connection.outbox.is_empty();
                connection.read(number as u32, &mut self.chunk, news);
                if silent && !connection.outbox.is_empty() {
                    self.dirty.push(number as u32);
                }
            }
        }
    }

    /// Says DISCONNECT everywhere and waits until the broker has closed.
    pub(super) fn disconnect(mut self) {
        for connection in &mut self.connections {
            connection.outbox.extend_from_slice(&[0xe0, 0]);
            connection.write();
        }
        let mut open = self.connections.len();
        while open > 0 {
            self.poll.poll(&mut self.events, Some(PATIENCE)).expect("epoll");
            assert!(!self.events.is_empty(), "{open} connections were not closed for {PATIENCE:?}");
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                while let Ok(count) = connection.stream.read(&mut self.chunk) {
                    if count == 0 {
                        open -= 1;
                        self.poll.registry().deregister(&mut connection.stream).expect("epoll");
                        break;
                    }
                }
            }
        }
    }
}

impl Connection {
    fn write(&mut self) {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a connection broke: {error}"),
            }
        }
    }

    fn read(&mut self, number: u32, chunk: &mut [u8], news: &mut Vec<News>) {
        loop {
            let count = match self.stream.read(chunk) {
                Ok(0) => panic!("the broker closed a connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a connection broke: {error}"),
            };
            if self.inbox.is_empty() {
                let taken = take_packets(&chunk[..count], number, &mut self.outbox, news);
                self.inbox.extend_from_slice(&chunk[taken..count]);
            } else {
                self.inbox.extend_from_slice(&chunk[..count]);
                let taken = take_packets(&self.inbox, number, &mut self.outbox, news);
                self.inbox.drain(..taken);
            }
            if count < chunk.len() {
                return; // the socket is empty, and epoll tells when it no longer is
            }
        }
    }
}

/// Takes whole packets, answers them, and tells the news. Returns how many bytes they were.
fn take_packets(bytes: &[u8], at: u32, answers: &mut Vec<u8>, news: &mut Vec<News>) -> usize {
    let mut taken = 0;
    while let Some((length, header)) = packet_length(&bytes[taken..]) {
        let Some(packet) = bytes.get(taken..taken + header + length) else { break };
        let (first, body) = (packet[0], &packet[header..]);
        match first >> 4 {
            3 => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let qos = first >> 1 & 3;
                let payload = &body[2 + topic + usize::from(qos > 0) * 2..];
                let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("4 bytes"));
                assert_eq!(payload.len(), PAYLOAD_BYTES, "a message is not what was sent");
                news.push(News::Arrived { at, publisher: word(0), number: word(4) });
                if qos > 0 {
                    let id = &body[2 + topic..4 + topic];
                    answers.extend_from_slice(&[if qos == 1 { 0x40 } else { 0x50 }, 2, id[0], id[1]]);
                }
            }
            4 | 7 => news.push(News::Acknowledged { at }),
            5 => answers.extend_from_slice(&[0x62, 2, body[0], body[1]]),
            6 => answers.extend_from_slice(&[0x70, 2, body[0], body[1]]),
            9 => news.push(News::Subscribed),
            2 => {} // CONNACK of a client that does not wait for it
            _ => panic!("packet {first:#x} was not expected"),
        }
        taken += header + length;
    }
    taken
}

/// Remaining length and length of the fixed header, if the header is whole.
fn packet_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, &byte) in bytes.get(1..)?.iter().enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some((length, at + 2));
        }
    }
    None
}

/// A string as MQTT writes it: its length in two bytes first.
fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// CONNECT of MQTT 3.1.1 without keep alive.
pub(super) fn connect_packet(hello: Hello<'_>) -> Vec<u8> {
    let flags = if hello.clean { 0b10 } else { 0 };
    packet(0x10, &[string("MQTT"), vec![4, flags, 0, 0], string(hello.client_id)].concat())
}

/// SUBSCRIBE with packet identifier 1.
pub(super) fn subscribe_packet(filters: &[(String, u8)]) -> Vec<u8> {
    let mut rest = vec![0, 1];
    for (filter, qos) in filters {
        rest.extend(string(filter));
        rest.push(*qos);
    }
    packet(0x82, &rest)
}

/// PUBLISH of a message that can be told by its payload.
pub(super) fn publish(topic: &str, qos: u8, retain: bool, publisher: u32, number: u32, out: &mut Vec<u8>) {
    let remaining = 2 + topic.len() + usize::from(qos > 0) * 2 + PAYLOAD_BYTES;
    out.push(0x30 | qos << 1 | u8::from(retain));
    put_length(remaining, out);
    out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        out.extend_from_slice(&((number % 60_000 + 1) as u16).to_be_bytes());
    }
    out.extend_from_slice(&publisher.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&[b'.'; PAYLOAD_BYTES - 8]);
}

fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    put_length(rest.len(), &mut packet);
    packet.extend_from_slice(rest);
    packet
}

fn put_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}
