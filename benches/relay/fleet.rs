//! The load: pairs of connections, a publisher and a subscriber each, driven by one thread with plain epoll.
//!
//! Publishers send MQTT PUBLISH packets (3.1.1, `QoS` 0) and subscribers expect exactly the same bytes back, from a relay
//! and from a broker alike: only the greeting differs. Every packet is checked for its pair and its place in the order.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

/// How connections introduce themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Pair and side, to the relay.
    Raw,
    /// CONNECT, and SUBSCRIBE to the pair's topic.
    Mqtt,
}

/// Bytes of payload in a message.
pub(super) const PAYLOAD_BYTES: usize = 64;
/// The payload starts with a number and the time of sending; the rest is filler.
const STAMP_BYTES: usize = 16;
/// How long the fleet waits for anything before it calls the subject broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the load was in one stretch of time.
pub(super) struct Load {
    /// Messages that arrived.
    pub(super) messages: u64,
    /// How long it took.
    pub(super) seconds: f64,
    /// Half of the messages took no longer.
    pub(super) latency_us_median: f64,
}

/// All pairs of one subject.
pub(super) struct Fleet {
    poll: Poll,
    events: Events,
    pairs: Vec<Pair>,
    start: Instant,
    latencies_us: Vec<u32>,
    messages: u64,
    stopping: bool,
}

struct Pair {
    publisher: TcpStream,
    subscriber: TcpStream,
    /// The packet up to its payload.
    header: Vec<u8>,
    sent: u64,
    received: u64,
    /// Bytes that the publisher's socket did not take.
    outbox: Vec<u8>,
    /// The beginning of a packet whose rest has not arrived.
    inbox: Vec<u8>,
}

impl Fleet {
    /// Connects `pairs` pairs; all subscriptions are in place on return.
    pub(super) fn connect(address: SocketAddr, pairs: u16, greeting: Greeting) -> Self {
        let poll = Poll::new().expect("epoll");
        let pairs = (0..pairs).map(|number| {
            // The subscriber first, so that nothing is published before somebody listens.
            let subscriber = greet(address, number, true, greeting);
            let publisher = greet(address, number, false, greeting);
            let header = publish_header(number);
            Pair { publisher, subscriber, header, sent: 0, received: 0, outbox: Vec::new(), inbox: Vec::new() }
        });
        let mut pairs: Vec<Pair> = pairs.collect();
        for (index, pair) in pairs.iter_mut().enumerate() {
            let registry = poll.registry();
            registry.register(&mut pair.subscriber, Token(index * 2), Interest::READABLE).expect("epoll");
            registry.register(&mut pair.publisher, Token(index * 2 + 1), Interest::WRITABLE).expect("epoll");
        }
        Self {
            poll,
            events: Events::with_capacity(1024),
            pairs,
            start: Instant::now(),
            latencies_us: Vec::new(),
            messages: 0,
            stopping: false,
        }
    }

    /// Bytes of one message on the wire, of the pair with the longest number.
    pub(super) fn frame_bytes(&self) -> usize {
        self.pairs.last().map_or(0, |pair| pair.header.len() + PAYLOAD_BYTES)
    }

    /// Puts `in_flight` messages a pair on their way.
    pub(super) fn start(&mut self, in_flight: u32) {
        self.stopping = false;
        let now_ns = self.start.elapsed().as_nanos() as u64;
        for pair in &mut self.pairs {
            pair.publish(in_flight, now_ns);
        }
    }

    /// Keeps them on their way for a while: each info is answered with a new message of its pair.
    pub(super) fn run(&mut self, length: Duration) -> Load {
        let begin = Instant::now();
        self.messages = 0;
        self.latencies_us.clear();
        while begin.elapsed() < length {
            self.turn();
        }
        let seconds = begin.elapsed().as_secs_f64();
        self.latencies_us.sort_unstable();
        let median = self.latencies_us.get(self.latencies_us.len() / 2).copied().unwrap_or(0);
        Load { messages: self.messages, seconds, latency_us_median: f64::from(median) }
    }

    /// Waits until all that is on its way has arrived.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        while self.pairs.iter().any(|pair| pair.received < pair.sent) {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.poll.poll(&mut self.events, Some(PATIENCE)).expect("epoll");
        assert!(!self.events.is_empty(), "nothing arrived for {PATIENCE:?}");
        let now_ns = self.start.elapsed().as_nanos() as u64;
        for event in &self.events {
            let Token(token) = event.token();
            let pair = &mut self.pairs[token / 2];
            if token % 2 == 1 {
                pair.write();
                continue;
            }
            let arrived = pair.read(now_ns, &mut self.latencies_us);
            self.messages += u64::from(arrived);
            if arrived > 0 && !self.stopping {
                pair.publish(arrived, now_ns);
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for pair in &self.pairs {
            // A subject that is gone already needs no goodbye.
            let _ = pair.publisher.shutdown(Shutdown::Both);
            let _ = pair.subscriber.shutdown(Shutdown::Both);
        }
    }
}

impl Pair {
    fn publish(&mut self, count: u32, now_ns: u64) {
        for _ in 0..count {
            self.outbox.extend_from_slice(&self.header);
            self.outbox.extend_from_slice(&self.sent.to_be_bytes());
            self.outbox.extend_from_slice(&now_ns.to_be_bytes());
            self.outbox.extend_from_slice(&[b'.'; PAYLOAD_BYTES - STAMP_BYTES]);
            self.sent += 1;
        }
        self.write();
    }

    fn write(&mut self) {
        while !self.outbox.is_empty() {
            match self.publisher.write(&self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a publisher's connection broke: {error}"),
            }
        }
    }

    /// Reads until the socket is empty; how many messages arrived.
    fn read(&mut self, now_ns: u64, latencies_us: &mut Vec<u32>) -> u32 {
        let mut chunk = [0; 16 * 1024];
        let mut arrived = 0;
        loop {
            match self.subscriber.read(&mut chunk) {
                Ok(0) => panic!("the subject closed a connection"),
                Ok(count) => self.inbox.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return arrived,
                Err(error) => panic!("a subscriber's connection broke: {error}"),
            }
            let frame_bytes = self.header.len() + PAYLOAD_BYTES;
            let whole = self.inbox.len() / frame_bytes * frame_bytes;
            for frame in self.inbox[..whole].chunks_exact(frame_bytes) {
                let (header, payload) = frame.split_at(self.header.len());
                let number = u64::from_be_bytes(payload[..8].try_into().expect("8 bytes"));
                let sent_ns = u64::from_be_bytes(payload[8..16].try_into().expect("8 bytes"));
                assert!(header == self.header && number == self.received, "a message is wrong, lost or out of order");
                self.received += 1;
                arrived += 1;
                latencies_us.push((now_ns.saturating_sub(sent_ns) / 1_000) as u32);
            }
            self.inbox.drain(..whole);
        }
    }
}

fn greet(address: SocketAddr, number: u16, subscribes: bool, greeting: Greeting) -> TcpStream {
    let mut stream = std::net::TcpStream::connect(address).expect("the subject listens");
    stream.set_nodelay(true).expect("a TCP option");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    match greeting {
        Greeting::Raw => {
            let [high, low] = number.to_be_bytes();
            stream.write_all(&[high, low, u8::from(subscribes)]).expect("the relay takes it");
            expect_answer(&mut stream, &[u8::from(subscribes)]);
        }
        Greeting::Mqtt => {
            let client_id = format!("{}{number}", if subscribes { 's' } else { 'p' });
            stream.write_all(&connect_packet(&client_id)).expect("the broker takes it");
            expect_answer(&mut stream, &[0x20, 2, 0, 0]);
            if subscribes {
                stream.write_all(&subscribe_packet(number)).expect("the broker takes it");
                expect_answer(&mut stream, &[0x90, 3, 0, 1, 0]);
            }
        }
    }
    stream.set_nonblocking(true).expect("a socket option");
    TcpStream::from_std(stream)
}

fn expect_answer(stream: &mut std::net::TcpStream, expected: &[u8]) {
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("the subject answers");
    assert_eq!(answer, expected, "the subject refuses");
}

fn topic(number: u16) -> String {
    format!("p/{number}")
}

/// A string as MQTT writes it: its length in two bytes first.
fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// CONNECT of MQTT 3.1.1 with a clean session and no keep alive.
fn connect_packet(client_id: &str) -> Vec<u8> {
    packet(0x10, &[string("MQTT"), vec![4, 0b10, 0, 0], string(client_id)].concat())
}

/// SUBSCRIBE to the pair's topic at `QoS` 0, with packet identifier 1.
fn subscribe_packet(number: u16) -> Vec<u8> {
    packet(0x82, &[vec![0, 1], string(&topic(number)), vec![0]].concat())
}

/// PUBLISH at `QoS` 0, as far as its payload.
fn publish_header(number: u16) -> Vec<u8> {
    let topic = string(&topic(number));
    let mut header = vec![0x30, (topic.len() + PAYLOAD_BYTES) as u8];
    header.extend_from_slice(&topic);
    header
}

/// A packet whose remaining length fits one byte.
fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    assert!(rest.len() < 128);
    [&[first, rest.len() as u8], rest].concat()
}
