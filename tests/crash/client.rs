//! A client that speaks MQTT 3.1.1 over a socket, or publishes by 5.0: what it sends and what it is told, packet by packet.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a packet that is expected may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a client leaves behind.
#[derive(Clone)]
pub(crate) struct LastWill {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// A packet from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK: first byte, packet identifier, what follows.
    Answer(u8, u16, Vec<u8>),
}

/// A PUBLISH from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: u16,
}

pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
const SUBACK: u8 = 0x90;
const UNSUBACK: u8 = 0xb0;

/// A CONNACK with this return code.
#[derive(Debug)]
struct Refused(u8);

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "no CONNACK of success: {}", self.0)
    }
}

impl std::error::Error for Refused {}

pub(crate) struct Client {
    stream: TcpStream,
    is_v5: bool,
    buffer: Vec<u8>,
    /// Whether the broker had a session for it.
    pub(crate) session_present: bool,
}

impl Client {
    /// Connects by MQTT 5.0, to a session that is kept so long. Gives the reason code of CONNACK as well.
    pub(crate) fn connect_v5(address: SocketAddr, id: &str, expiry_s: u32) -> io::Result<(Self, u8)> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, is_v5: true, buffer: Vec::new(), session_present: false };
        let mut body = text("MQTT");
        body.extend([5, 0, 0, 60, 5, 0x11]);
        body.extend(expiry_s.to_be_bytes());
        body.extend(text(id));
        client.send(0x10, &body)?;
        let (first, connack) = client.packet(PATIENCE)?.ok_or(ErrorKind::TimedOut)?;
        assert_eq!(first, 0x20, "{connack:?}");
        client.session_present = connack[0] == 1;
        Ok((client, connack[1]))
    }

    /// Connects, or gives the return code of CONNACK.
    pub(crate) fn try_connect(address: SocketAddr, id: &str, clean: bool) -> io::Result<Result<Self, u8>> {
        match Self::connect(address, id, clean, None) {
            Ok(client) => Ok(Ok(client)),
            Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>()) {
                Some(Refused(code)) => Ok(Err(*code)),
                None => Err(error),
            },
        }
    }

    /// Connects; a persistent session unless it is to be clean.
    pub(crate) fn connect(address: SocketAddr, id: &str, clean: bool, will: Option<&LastWill>) -> io::Result<Self> {
        let (client, code) = Self::open(address, (id, clean), None, will)?;
        if code != 0 {
            return Err(io::Error::other(Refused(code)));
        }
        Ok(client)
    }

    /// Connects with a user name and a password; gives the code of CONNACK.
    pub(crate) fn connect_as(
        address: SocketAddr,
        (id, clean): (&str, bool),
        user: &str,
        password: &str,
    ) -> io::Result<(Self, u8)> {
        Self::open(address, (id, clean), Some((user, password)), None)
    }

    fn open(
        address: SocketAddr,
        (id, clean): (&str, bool),
        credentials: Option<(&str, &str)>,
        will: Option<&LastWill>,
    ) -> io::Result<(Self, u8)> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, is_v5: false, buffer: Vec::new(), session_present: false };
        let mut flags = if clean { 2 } else { 0 };
        let mut payload = text(id);
        if let Some(will) = will {
            flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
            payload.extend(text(&will.topic));
            payload.extend((will.payload.len() as u16).to_be_bytes());
            payload.extend(&will.payload);
        }
        if let Some((user, password)) = credentials {
            flags |= 0xc0;
            payload.extend(text(user));
            payload.extend(text(password));
        }
        let mut body = text("MQTT");
        body.extend([4, flags, 0, 60]);
        body.extend(payload);
        client.send(0x10, &body)?;
        let (first, connack) = client.packet(PATIENCE)?.ok_or(ErrorKind::TimedOut)?;
        if first != 0x20 || connack.len() != 2 {
            return Err(io::Error::other(format!("no CONNACK: {first:#x} {connack:?}")));
        }
        client.session_present = connack[0] == 1;
        Ok((client, connack[1]))
    }

    /// Sends a packet.
    pub(crate) fn send(&mut self, first: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = vec![first];
        let mut len = body.len();
        loop {
            packet.push((len % 128) as u8 | if len >= 128 { 0x80 } else { 0 });
            len /= 128;
            if len == 0 {
                break;
            }
        }
        packet.extend(body);
        self.stream.write_all(&packet)
    }

    /// Sends a PUBLISH; its acknowledgements come by [`Self::next`].
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], flags: u8, packet_id: u16) -> io::Result<()> {
        let mut body = text(topic);
        if flags & 6 != 0 {
            body.extend(packet_id.to_be_bytes());
        }
        if self.is_v5 {
            body.push(0); // no properties
        }
        body.extend(payload);
        self.send(0x30 | flags, &body)
    }

    /// Sends an acknowledgement.
    pub(crate) fn answer(&mut self, first: u8, packet_id: u16) -> io::Result<()> {
        self.send(first, &packet_id.to_be_bytes())
    }

    /// Publishes, and goes through with it until the broker has it for good.
    pub(crate) fn publish_through(&mut self, topic: &str, payload: &[u8], flags: u8, packet_id: u16) -> io::Result<()> {
        self.publish(topic, payload, flags, packet_id)?;
        match flags & 6 {
            2 => self.await_answer(PUBACK, packet_id).map(drop),
            4 => {
                self.await_answer(PUBREC, packet_id)?;
                self.answer(PUBREL, packet_id)?;
                self.await_answer(PUBCOMP, packet_id).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Subscribes, and waits until the broker says so.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) -> io::Result<()> {
        let mut body = vec![0, 1];
        body.extend(text(filter));
        body.push(qos);
        self.send(0x82, &body)?;
        let codes = self.await_answer(SUBACK, 1)?;
        if codes == [qos] { Ok(()) } else { Err(io::Error::other(format!("SUBACK {codes:?}"))) }
    }

    /// Unsubscribes, and waits until the broker says so.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> io::Result<()> {
        let mut body = vec![0, 1];
        body.extend(text(filter));
        self.send(0xa2, &body)?;
        self.await_answer(UNSUBACK, 1).map(drop)
    }

    /// Waits for an acknowledgement, and gives what stands in it behind the packet identifier.
    pub(crate) fn await_answer(&mut self, wanted: u8, packet_id: u16) -> io::Result<Vec<u8>> {
        loop {
            match self.next(PATIENCE)? {
                Some(Received::Answer(first, id, rest)) if (first, id) == (wanted, packet_id) => return Ok(rest),
                Some(_) => {}
                None => return Err(io::Error::new(ErrorKind::TimedOut, format!("no {wanted:#x} for {packet_id}"))),
            }
        }
    }

    /// The next packet; `None` if none comes in time.
    pub(crate) fn next(&mut self, patience: Duration) -> io::Result<Option<Received>> {
        let Some((first, body)) = self.packet(patience)? else { return Ok(None) };
        let id_at = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        if first >> 4 != 3 {
            return Ok(Some(Received::Answer(first, id_at(0), body[2..].to_vec())));
        }
        let topic_end = 2 + usize::from(id_at(0));
        let topic = String::from_utf8(body[2..topic_end].to_vec()).expect("a topic is UTF-8");
        let qos = first >> 1 & 3;
        let (packet_id, payload_at) = if qos > 0 { (id_at(topic_end), topic_end + 2) } else { (0, topic_end) };
        let payload = body[payload_at..].to_vec();
        let (retain, dup) = (first & 1 == 1, first & 8 == 8);
        Ok(Some(Received::Publish(Publish { topic, payload, qos, retain, dup, packet_id })))
    }

    /// The next PUBLISH, acknowledged to its end; `None` if none comes in time.
    pub(crate) fn take(&mut self, patience: Duration) -> io::Result<Option<Publish>> {
        loop {
            match self.next(patience)? {
                None => return Ok(None),
                Some(Received::Answer(PUBREL, id, _)) => self.answer(PUBCOMP, id)?,
                Some(Received::Answer(..)) => {}
                Some(Received::Publish(publish)) => {
                    match publish.qos {
                        1 => self.answer(PUBACK, publish.packet_id)?,
                        2 => self.answer(PUBREC, publish.packet_id)?,
                        _ => {}
                    }
                    return Ok(Some(publish));
                }
            }
        }
    }

    /// How long sending may take.
    pub(crate) fn give_up_sending_after(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(patience))
    }

    /// Goes as a client does that wants to come back.
    pub(crate) fn disconnect(mut self) {
        let _ = self.send(0xe0, &[]);
    }

    fn packet(&mut self, patience: Duration) -> io::Result<Option<(u8, Vec<u8>)>> {
        self.stream.set_read_timeout(Some(patience))?;
        loop {
            if let Some((header, len)) = frame(&self.buffer)
                && self.buffer.len() >= header + len
            {
                let packet: Vec<u8> = self.buffer.drain(..header + len).collect();
                return Ok(Some((packet[0], packet[header..].to_vec())));
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.buffer.extend(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// Length of a packet's fixed header and of what follows, once the header is there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut len = 0;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((at + 2, len));
        }
    }
    None
}
