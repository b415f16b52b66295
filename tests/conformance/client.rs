//! One raw connection: writes any bytes, reads strictly decoded packets, and fails with the bytes it saw.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::decode::{self, Ack, Codes, ConnAck, Packet, Reason};
use crate::packets::{
    self, Connect, DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBREC, PUBREL, Property, Publish, V5, Value, Version,
    packet_name, prop,
};
use crate::transport::Transport;
use crate::world::Transcript;

/// How long an expected packet may take. Only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one packet that are written singly in the bytewise transport; what follows goes in odd pieces.
const SINGLE_BYTES: usize = 4 * 1024;
const PIECE_BYTES: usize = 1021;

/// What a read brought.
#[derive(Debug)]
pub(crate) enum Event {
    Packet(Packet),
    Closed,
    Timeout,
}

/// A client's end of a connection.
pub(crate) struct Client {
    stream: Transport,
    pub(crate) version: Version,
    /// The client identifier, as sent or as assigned.
    pub(crate) id: String,
    label: String,
    log: Arc<Transcript>,
    bytewise: bool,
    received: Vec<u8>,
    /// The bytes of the packet decoded last.
    pub(crate) last_raw: Vec<u8>,
    pending: VecDeque<Packet>,
    next_id: u16,
    aliases: HashMap<u16, String>,
    alias_max: u16,
    packet_max: usize,
    closed: bool,
    connacks: usize,
}

impl Client {
    #[track_caller]
    pub(crate) fn open(
        addr: SocketAddr,
        version: Version,
        label: &str,
        bytewise: bool,
        log: Arc<Transcript>,
    ) -> Client {
        let stream = TcpStream::connect(addr).expect("the broker accepts a TCP connection");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        log.add(
            label,
            &format!("= connected from {}", stream.local_addr().expect("a connected socket has an address")),
        );
        Client {
            stream: Transport::new(stream),
            version,
            id: String::new(),
            label: label.to_owned(),
            log,
            bytewise,
            received: Vec::new(),
            last_raw: Vec::new(),
            pending: VecDeque::new(),
            next_id: 0,
            aliases: HashMap::new(),
            alias_max: 0,
            packet_max: usize::MAX,
            closed: false,
            connacks: 0,
        }
    }

    // --- writing ---------------------------------------------------------------------------------------------------

    /// Writes the bytes. A server may close before it read all of them; what it said is then read as usual.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let name = bytes.first().map_or("nothing", |first| packet_name(*first));
        self.log.add(&self.label, &format!("> {name} {}", hex(bytes)));
        let single = if self.bytewise { bytes.len().min(SINGLE_BYTES) } else { 0 };
        let pieces = bytes[..single].chunks(1).chain(bytes[single..].chunks(if self.bytewise {
            PIECE_BYTES
        } else {
            bytes.len().max(1)
        }));
        for piece in pieces {
            if let Err(error) = self.stream.write_all(piece) {
                self.log.add(&self.label, &format!("> the write failed: {error}"));
                return;
            }
        }
    }

    /// Writes without a line in the record, for floods.
    pub(crate) fn send_quietly(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            self.log.add(&self.label, &format!("> the write failed: {error}"));
        }
    }

    /// Writes the bytes one at a time and a millisecond apart, so that a server which is not very busy reads each alone.
    /// (The bytes of [`Client::send`] in a bytewise setting are segments of their own too, but may be read several at once.)
    pub(crate) fn send_slowly(&mut self, bytes: &[u8]) {
        self.log.add(&self.label, &format!("> {} slowly {}", packet_name(bytes[0]), hex(bytes)));
        for byte in bytes {
            std::thread::sleep(Duration::from_millis(1));
            if let Err(error) = self.stream.write_all(&[*byte]) {
                return self.log.add(&self.label, &format!("> the write failed: {error}"));
            }
        }
    }

    /// Reads what there is, and a little longer, and makes nothing of it.
    pub(crate) fn read_idly(&mut self) {
        self.stream.socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout above zero");
        while matches!(self.stream.read(&mut [0; 4_096]), Ok(count) if count > 0) {}
    }

    /// Sends CONNECT and takes over what it promises: the identifier and the client's own limits.
    pub(crate) fn start(&mut self, connect: &Connect) {
        self.id = String::from_utf8_lossy(&connect.id).into_owned();
        for Property(id, value) in &connect.props {
            match (*id, value) {
                (prop::TOPIC_ALIAS_MAXIMUM, Value::Two(max)) => self.alias_max = *max,
                (prop::MAXIMUM_PACKET_SIZE, Value::Four(max)) => self.packet_max = *max as usize,
                _ => {}
            }
        }
        self.send(connect.encode());
    }

    /// A packet identifier that this client has not used yet.
    pub(crate) fn fresh_id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    /// Closes the connection without DISCONNECT, as a crash would, after the server has read what was sent: otherwise the
    /// reset could overtake acknowledgements that the test counts on.
    pub(crate) fn vanish(mut self) {
        self.send(packets::frame(PINGREQ, []));
        let deadline = Instant::now() + PATIENCE;
        while let Event::Packet(packet) = self.next_event(deadline) {
            if packet == Packet::PingResp {
                break;
            }
        }
        self.cut_off();
    }

    /// Closes the connection at once, in the middle of whatever it is.
    pub(crate) fn cut_off(self) {
        self.log.add(&self.label, "= closed without DISCONNECT");
        let _ = self.stream.socket.shutdown(Shutdown::Both);
    }

    /// Sends DISCONNECT and waits until the server has closed, so that it certainly was processed.
    #[track_caller]
    pub(crate) fn disconnect(mut self) {
        self.send(packets::frame(DISCONNECT, []));
        self.drain_to_close();
    }

    /// DISCONNECT of 5.0 with a reason code and properties; waits until the server has closed.
    #[track_caller]
    pub(crate) fn disconnect_with(mut self, code: u8, props: &[Property]) {
        self.send(packets::disconnect_with(code, props));
        self.drain_to_close();
    }

    #[track_caller]
    fn drain_to_close(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_event(deadline) {
                Event::Packet(Packet::Disconnect(d)) => panic!("a server does not answer DISCONNECT, got {d:?}"),
                Event::Packet(_) => {}
                Event::Closed => return,
                Event::Timeout => self.fail("the server did not close after DISCONNECT"),
            }
        }
    }

    // --- reading ---------------------------------------------------------------------------------------------------

    /// The next packet, the end of the connection, or nothing by the deadline.
    #[track_caller]
    pub(crate) fn next_event(&mut self, deadline: Instant) -> Event {
        if let Some(packet) = self.pending.pop_front() {
            return Event::Packet(packet);
        }
        loop {
            match decode::packet_length(&self.received) {
                Err(rule) => self.fail(&format!("the server sent {}: {rule}", hex(&self.received))),
                Ok(Some(length)) if length <= self.received.len() => return Event::Packet(self.next_packet(length)),
                Ok(_) if self.closed => {
                    assert!(self.received.is_empty(), "the server closed within a packet: {}", hex(&self.received));
                    return Event::Closed;
                }
                Ok(_) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Event::Timeout;
            }
            self.stream.socket.set_read_timeout(Some(left)).expect("a timeout above zero");
            let mut buffer = [0; 8_192];
            match self.stream.read(&mut buffer) {
                Ok(0) => self.note_closed("the server closed"),
                Ok(n) => self.received.extend(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Event::Timeout,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    self.received.clear();
                    self.note_closed(&format!("the connection broke: {e}"));
                }
            }
        }
    }

    fn note_closed(&mut self, how: &str) {
        self.closed = true;
        self.log.add(&self.label, &format!("= {how}"));
    }

    /// Takes one packet off the received bytes, checks it against what this client announced, and resolves aliases.
    #[track_caller]
    fn next_packet(&mut self, length: usize) -> Packet {
        let rest = self.received.split_off(length);
        self.last_raw = std::mem::replace(&mut self.received, rest);
        self.log.add(&self.label, &format!("< {} {}", packet_name(self.last_raw[0]), hex(&self.last_raw)));
        if length > self.packet_max {
            self.fail(&format!("[MQTT-3.1.2-24] a packet of {length} bytes where {} were allowed", self.packet_max));
        }
        let mut packet = match decode::decode(self.version, &self.last_raw) {
            Ok(packet) => packet,
            Err(rule) => self.fail(&format!("the server sent {}: {rule}", hex(&self.last_raw))),
        };
        match &mut packet {
            Packet::Publish(publish) => self.resolve_alias(publish),
            Packet::ConnAck(_) => {
                self.connacks += 1;
                assert_eq!(self.connacks, 1, "[MQTT-3.2.0-2] a second CONNACK");
            }
            _ => {}
        }
        if self.connacks == 0 && !matches!(packet, Packet::Auth(_)) {
            self.fail(&format!("[MQTT-3.2.0-1] the first packet is {packet:?}"));
        }
        packet
    }

    #[track_caller]
    fn resolve_alias(&mut self, publish: &mut Publish) {
        let Some(Value::Two(alias)) = publish.property(prop::TOPIC_ALIAS) else { return };
        let alias = *alias;
        if alias > self.alias_max {
            self.fail(&format!("[MQTT-3.3.2-11] topic alias {alias} above the client's maximum {}", self.alias_max));
        }
        if publish.topic.is_empty() {
            match self.aliases.get(&alias) {
                Some(topic) => publish.topic.clone_from(topic),
                None => self.fail(&format!("topic alias {alias} was never given a topic on this connection")),
            }
        } else {
            self.aliases.insert(alias, publish.topic.clone());
        }
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!("{}: {what}", self.label);
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn recv(&mut self) -> Packet {
        match self.next_event(Instant::now() + PATIENCE) {
            Event::Packet(packet) => packet,
            Event::Closed => self.fail("the server closed where a packet was expected"),
            Event::Timeout => self.fail(&format!("no packet within {PATIENCE:?}")),
        }
    }

    /// The next packet that `wanted` accepts; what comes before it stays for later reads.
    #[track_caller]
    fn recv_where<T>(&mut self, what: &str, wanted: impl Fn(&Packet) -> Option<T>) -> T {
        if let Some(at) = self.pending.iter().position(|p| wanted(p).is_some()) {
            return self.pending.remove(at).and_then(|p| wanted(&p)).expect("found just now");
        }
        let deadline = Instant::now() + PATIENCE;
        let mut passed = VecDeque::new();
        std::mem::swap(&mut passed, &mut self.pending);
        loop {
            match self.next_event(deadline) {
                Event::Packet(packet) => match wanted(&packet) {
                    Some(found) => {
                        self.pending = passed;
                        return found;
                    }
                    None => passed.push_back(packet),
                },
                Event::Closed => self.fail(&format!("the server closed where {what} was expected; before: {passed:?}")),
                Event::Timeout => self.fail(&format!("no {what} within {PATIENCE:?}; there came: {passed:?}")),
            }
        }
    }

    /// Every byte until the server closes, undecoded.
    #[track_caller]
    pub(crate) fn raw_until_closed(&mut self) -> Vec<u8> {
        self.stream.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        let mut bytes = std::mem::take(&mut self.received);
        if let Err(error) = self.stream.read_to_end(&mut bytes)
            && error.kind() != ErrorKind::ConnectionReset
        {
            self.fail(&format!("the server did not close: {error}; it sent {}", hex(&bytes)));
        }
        self.log.add(&self.label, &format!("< {} and closed", hex(&bytes)));
        self.closed = true;
        bytes
    }

    #[track_caller]
    pub(crate) fn expect_connack(&mut self) -> ConnAck {
        match self.recv() {
            Packet::ConnAck(connack) => {
                if let Some(id) = connack.assigned_id() {
                    self.id = id;
                }
                connack
            }
            other => self.fail(&format!("expected CONNACK, got {other:?}")),
        }
    }

    /// The next packet, which must be a PUBLISH.
    #[track_caller]
    pub(crate) fn expect_publish(&mut self) -> Publish {
        match self.recv() {
            Packet::Publish(publish) => publish,
            other => self.fail(&format!("expected PUBLISH, got {other:?}")),
        }
    }

    /// The next packet, which must be a PUBLISH with this payload.
    #[track_caller]
    pub(crate) fn expect_payload(&mut self, payload: &str) -> Publish {
        let publish = self.expect_publish();
        assert_eq!(publish.text(), payload, "{}: payload of {publish:?}", self.label);
        publish
    }

    /// The next packet, which must be an acknowledgement of this kind for this identifier; returns its reason code.
    #[track_caller]
    pub(crate) fn expect_ack(&mut self, first: u8, id: u16) -> u8 {
        match self.recv() {
            Packet::Ack(ack) if ack.first == first && ack.id == id => ack.code,
            other => self.fail(&format!("expected {} {id}, got {other:?}", packet_name(first))),
        }
    }

    /// The end of the connection, with no packet before it (in 5.0 a DISCONNECT may come first).
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_event(deadline) {
                Event::Closed => return,
                Event::Packet(Packet::Disconnect(Reason { code, .. })) if code >= 0x80 => {}
                Event::Packet(other) => self.fail(&format!("expected the server to close, got {other:?}")),
                Event::Timeout => self.fail(&format!("the server did not close within {PATIENCE:?}")),
            }
        }
    }

    /// The server closes; a 5.0 client is told one of these reasons first. Before 5.0 nothing is said.
    ///
    /// Where single bytes are written the server may close while more are under way, and the reset that follows can
    /// overtake the DISCONNECT: there the close alone is enough.
    #[track_caller]
    pub(crate) fn expect_refusal(&mut self, reasons: &[u8]) {
        if self.version != V5 {
            return self.expect_closed();
        }
        match self.next_event(Instant::now() + PATIENCE) {
            Event::Packet(Packet::Disconnect(d)) => {
                assert!(reasons.contains(&d.code), "{}: DISCONNECT {:#04x}, not {reasons:02x?}", self.label, d.code);
                self.expect_closed();
            }
            // Another broker may keep to the letter: the DISCONNECT is a SHOULD, the close a MUST.
            Event::Closed if self.bytewise || crate::broker::external().is_some() => {}
            Event::Closed => self.fail(&format!("the server closed without DISCONNECT {reasons:02x?}")),
            Event::Packet(other) => self.fail(&format!("expected DISCONNECT {reasons:02x?}, got {other:?}")),
            Event::Timeout => self.fail(&format!("the server did not close within {PATIENCE:?}")),
        }
    }

    /// CONNACK with a refusal, then the close. Returns the code.
    #[track_caller]
    pub(crate) fn expect_connect_refused(&mut self, codes: &[u8]) -> u8 {
        let connack = self.expect_connack();
        assert!(codes.contains(&connack.code), "{}: CONNACK {:#04x}, not {codes:02x?}", self.label, connack.code);
        self.expect_closed();
        connack.code
    }

    /// The CONNECT is refused: the connection closes, with or without a CONNACK that says why.
    #[track_caller]
    pub(crate) fn expect_no_session(&mut self) {
        match self.next_event(Instant::now() + PATIENCE) {
            Event::Closed => {}
            Event::Packet(Packet::ConnAck(c)) if c.code != 0 => self.expect_closed(),
            other => self.fail(&format!("expected the CONNECT to be refused, got {other:?}")),
        }
    }

    // --- exchanges -------------------------------------------------------------------------------------------------

    /// PINGREQ and PINGRESP with nothing between: whatever this server had to answer before has been read.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        self.send(packets::frame(PINGREQ, []));
        match self.recv() {
            Packet::PingResp => {}
            other => self.fail(&format!("expected PINGRESP, got {other:?}")),
        }
    }

    /// PINGREQ, and everything up to PINGRESP read and forgotten.
    #[track_caller]
    pub(crate) fn ping_through(&mut self) {
        self.send(packets::frame(PINGREQ, []));
        while self.recv() != Packet::PingResp {}
    }

    /// SUBSCRIBE; the SUBACK's codes. PUBLISH packets that come meanwhile stay for later reads.
    #[track_caller]
    pub(crate) fn subscribe_with(&mut self, filters: &[(&str, u8)], props: &[Property]) -> Vec<u8> {
        let id = self.fresh_id();
        self.send(packets::subscribe(self.version, id, props, filters));
        let suback: Codes = self.recv_where("SUBACK", |p| match p {
            Packet::SubAck(s) => Some(s.clone()),
            _ => None,
        });
        assert_eq!(suback.id, id, "SUBACK repeats the identifier");
        assert_eq!(suback.codes.len(), filters.len(), "SUBACK has one code a filter: {suback:?}");
        suback.codes
    }

    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_with(&[(filter, options)], &[])[0]
    }

    /// UNSUBSCRIBE; the UNSUBACK's codes (none before 5.0).
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.fresh_id();
        self.send(packets::unsubscribe(self.version, id, filters));
        let unsuback: Codes = self.recv_where("UNSUBACK", |p| match p {
            Packet::UnsubAck(u) => Some(u.clone()),
            _ => None,
        });
        assert_eq!(unsuback.id, id, "UNSUBACK repeats the identifier");
        unsuback.codes
    }

    /// Publishes at QoS 0.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) {
        self.send(Publish::new(topic, payload).encode(self.version));
    }

    /// Publishes with the whole exchange of its QoS; the reason code of the PUBACK or PUBREC (0 for QoS 0).
    #[track_caller]
    pub(crate) fn deliver(&mut self, publish: Publish) -> u8 {
        if publish.qos == 0 {
            self.send(publish.encode(self.version));
            return 0;
        }
        let (id, qos) = (self.fresh_id(), publish.qos);
        self.send(publish.id(id).encode(self.version));
        if qos == 1 {
            return self.await_ack(PUBACK, id);
        }
        let code = self.await_ack(PUBREC, id);
        if code < 0x80 {
            self.send(packets::ack(PUBREL, id));
            assert_eq!(self.await_ack(PUBCOMP, id), 0, "PUBCOMP of an exchange that is known");
        }
        code
    }

    /// Waits for an acknowledgement; other packets stay for later reads.
    #[track_caller]
    pub(crate) fn await_ack(&mut self, first: u8, id: u16) -> u8 {
        let what = format!("{} {id}", packet_name(first));
        self.recv_where(&what, |p| match p {
            Packet::Ack(Ack { first: f, id: i, code, .. }) if *f == first && *i == id => Some(*code),
            _ => None,
        })
    }

    /// Acknowledges a received PUBLISH with the whole exchange of its QoS.
    #[track_caller]
    pub(crate) fn acknowledge(&mut self, publish: &Publish) {
        match publish.qos {
            1 => self.send(packets::ack(PUBACK, publish.id)),
            2 => {
                self.send(packets::ack(PUBREC, publish.id));
                assert_eq!(self.await_ack(PUBREL, publish.id), 0, "PUBREL of an exchange that is known");
                self.send(packets::ack(PUBCOMP, publish.id));
            }
            _ => {}
        }
    }

    /// The next PUBLISH, acknowledged.
    #[track_caller]
    pub(crate) fn take(&mut self) -> Publish {
        let publish = self.expect_publish();
        self.acknowledge(&publish);
        publish
    }

    /// The next PUBLISH with this payload, acknowledged.
    #[track_caller]
    pub(crate) fn take_payload(&mut self, payload: &str) -> Publish {
        let publish = self.expect_payload(payload);
        self.acknowledge(&publish);
        publish
    }
}

/// Bytes in hexadecimal, long ones cut.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(64) {
        let _ = write!(text, "{byte:02x} ");
    }
    if bytes.len() > 64 {
        let _ = write!(text, "... ({} bytes)", bytes.len());
    }
    text.trim_end().to_owned()
}
