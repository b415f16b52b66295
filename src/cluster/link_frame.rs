//! What nodes say to each other, as frames: a length, a kind, a body.
//!
//! Always holds: a length is compared with a limit before anything else is looked at, and every text and list is borrowed from the frame, so that bytes of
//! anybody neither panic nor have anything allocated for them. Each value has one form; what a kind does not have behind its fields is refused.
//! Leaves to others: who may say what (`link_handshake`), and what it leads to.
//!
//! Numbers are little-endian. What may come later gets a kind of its own, which a node of this version refuses: both ends speak the lower one of
//! their versions.

use super::range::{BootId, Mark, NodeId, RangeId};
use crate::ids::Qos;
use crate::limits::{LINK_FRAME_MAX_BYTES, LINK_GROUPS_MAX};

/// The version that is spoken; the only one so far.
pub const LINK_VERSION: u16 = 1;
/// Random bytes in a HELLO.
pub const LINK_NONCE_BYTES: usize = 32;
/// Bytes that show the secret is known: an HMAC-SHA256.
pub const LINK_PROOF_BYTES: usize = 32;

/// The first thing that each end of a link says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHello<'a> {
    /// The lowest version that it speaks, and the highest.
    pub versions: (u16, u16),
    /// Whose link.
    pub node: NodeId,
    /// Its process.
    pub boot: BootId,
    /// How many shards it has, and which of them speaks here.
    pub shards: (u8, u8),
    /// Never used before.
    pub nonce: [u8; LINK_NONCE_BYTES],
    /// As `--cluster-name` of the sender will say.
    pub cluster: &'a str,
}

/// What a node is interested in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInterest<'a> {
    /// Counts the announcements on this link.
    pub number: u64,
    /// Whether there are subscriptions of their own.
    pub plain: bool,
    /// Whether what is published for them has to outlive a process.
    pub durable: bool,
    /// Members of the shared subscription, where the filter is one.
    pub members: u32,
    /// The whole filter.
    pub filter: &'a str,
}

/// An application message for another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPublish<'a> {
    /// Counts the messages on this link.
    pub number: u64,
    /// Of the publisher.
    pub qos: Qos,
    /// As the publisher set it.
    pub retain: bool,
    /// Whether it is for subscriptions of their own.
    pub plain: bool,
    /// Asks for STORED.
    pub confirm: bool,
    /// How long it may still wait, in milliseconds; `None` for ever.
    pub expires_in_ms: Option<u64>,
    /// Keys of the shared subscriptions of which the receiver picks a member, 8 bytes each.
    pub groups: &'a [u8],
    /// The whole topic.
    pub topic: &'a str,
    /// As MQTT 5 encodes them, unchanged.
    pub properties: &'a [u8],
    /// Unchanged.
    pub payload: &'a [u8],
}

/// Everything that one node can say to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFrame<'a> {
    /// Begins a link.
    Hello(LinkHello<'a>),
    /// Shows that the sender knows the shared secret.
    Proof([u8; LINK_PROOF_BYTES]),
    /// The sender's interest in a filter has changed.
    Interest(LinkInterest<'a>),
    /// All that the sender is interested in was told, up to this announcement.
    SyncEnd {
        /// The last announcement.
        number: u64,
    },
    /// The sender has applied the receiver's announcements.
    Applied {
        /// Up to this one.
        number: u64,
    },
    /// A message for the receiver's subscribers.
    Publish(LinkPublish<'a>),
    /// What a message has led to is durable.
    Stored {
        /// Of the PUBLISH, or the BARRIER.
        number: u64,
        /// Whether anybody could take it.
        taken: bool,
    },
    /// Asks for STORED once everything before it is durable.
    Barrier {
        /// As PUBLISH has one.
        number: u64,
    },
    /// The sender owns a range and has read its log: what was kept for it may come.
    Adopted {
        /// Which.
        range: RangeId,
        /// Of its run.
        mark: Mark,
    },
    /// The sender has seen a map.
    Map {
        /// By which the receiver knows whether it lags behind.
        epoch: u64,
    },
    /// Asks whether somebody is there, or answers.
    Ping {
        /// The same in the answer.
        number: u64,
        /// Which of both.
        is_answer: bool,
    },
}

/// What is wrong with bytes of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFrameError {
    /// Longer than a frame may be here.
    #[error("a frame of {0} bytes is too long")]
    TooLong(u32),
    /// A kind that this version does not have.
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    /// A body that is too short, too long, or has a value that cannot be.
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

const LENGTH_BYTES: usize = 4;
const HELLO: u8 = 1;
const PROOF: u8 = 2;
const INTEREST: u8 = 3;
const SYNC_END: u8 = 4;
const APPLIED: u8 = 5;
const PUBLISH: u8 = 6;
const STORED: u8 = 7;
const BARRIER: u8 = 8;
const ADOPTED: u8 = 9;
const MAP: u8 = 10;
const PING: u8 = 11;

impl<'a> LinkFrame<'a> {
    /// The first frame of what was received, and how many bytes it takes; `None` while it has not come whole.
    pub fn next(bytes: &'a [u8], max_bytes: usize) -> Result<Option<(Self, usize)>, LinkFrameError> {
        let Some((len, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let len = u32::from_le_bytes(*len);
        if len as usize > max_bytes.min(LINK_FRAME_MAX_BYTES) {
            return Err(LinkFrameError::TooLong(len));
        }
        let Some(frame) = rest.get(..len as usize) else { return Ok(None) };
        let (&kind, body) = frame.split_first().ok_or(LinkFrameError::Invalid("an empty frame"))?;
        let mut body = FrameReader(body);
        let read = read(kind, &mut body)?;
        if !body.0.is_empty() {
            return Err(LinkFrameError::Invalid("what is behind the fields"));
        }
        Ok(Some((read, LENGTH_BYTES + len as usize)))
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        write(self, out);
        let len = out.len() - begin - LENGTH_BYTES;
        assert!(len <= LINK_FRAME_MAX_BYTES, "what a client may send fits a frame");
        out[begin..begin + LENGTH_BYTES].copy_from_slice(&(len as u32).to_le_bytes());
    }
}

fn read<'a>(kind: u8, body: &mut FrameReader<'a>) -> Result<LinkFrame<'a>, LinkFrameError> {
    Ok(match kind {
        HELLO => LinkFrame::Hello(body.hello()?),
        PROOF => LinkFrame::Proof(body.array("a proof")?),
        INTEREST => {
            let number = body.u64()?;
            let [plain, durable] = body.flags()?;
            let members = u32::from_le_bytes(body.array("a number of members")?);
            LinkFrame::Interest(LinkInterest { number, plain, durable, members, filter: body.text("a filter")? })
        }
        SYNC_END => LinkFrame::SyncEnd { number: body.u64()? },
        APPLIED => LinkFrame::Applied { number: body.u64()? },
        PUBLISH => LinkFrame::Publish(body.publish()?),
        STORED => {
            let number = body.u64()?;
            let [taken] = body.flags()?;
            LinkFrame::Stored { number, taken }
        }
        BARRIER => LinkFrame::Barrier { number: body.u64()? },
        ADOPTED => {
            let range = RangeId(body.u16()?);
            let (sequence, boot) = (body.u64()?, BootId(body.u64()?));
            let attempt = u32::from_le_bytes(body.array("an attempt")?);
            LinkFrame::Adopted { range, mark: Mark { sequence, boot, attempt } }
        }
        MAP => LinkFrame::Map { epoch: body.u64()? },
        PING => {
            let number = body.u64()?;
            let [is_answer] = body.flags()?;
            LinkFrame::Ping { number, is_answer }
        }
        other => return Err(LinkFrameError::Kind(other)),
    })
}

fn write(frame: &LinkFrame<'_>, out: &mut Vec<u8>) {
    match frame {
        LinkFrame::Hello(hello) => {
            out.push(HELLO);
            for number in [hello.versions.0, hello.versions.1, hello.node.get()] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&hello.boot.0.to_le_bytes());
            out.extend_from_slice(&[hello.shards.0, hello.shards.1]);
            out.extend_from_slice(&hello.nonce);
            put(out, hello.cluster.as_bytes());
        }
        LinkFrame::Proof(proof) => {
            out.push(PROOF);
            out.extend_from_slice(proof);
        }
        LinkFrame::Interest(interest) => {
            put_number(out, INTEREST, interest.number);
            out.push(u8::from(interest.plain) | u8::from(interest.durable) << 1);
            out.extend_from_slice(&interest.members.to_le_bytes());
            put(out, interest.filter.as_bytes());
        }
        LinkFrame::SyncEnd { number } => put_number(out, SYNC_END, *number),
        LinkFrame::Applied { number } => put_number(out, APPLIED, *number),
        LinkFrame::Publish(publish) => write_publish(publish, out),
        LinkFrame::Stored { number, taken } => {
            put_number(out, STORED, *number);
            out.push(u8::from(*taken));
        }
        LinkFrame::Barrier { number } => put_number(out, BARRIER, *number),
        LinkFrame::Adopted { range, mark } => {
            out.push(ADOPTED);
            out.extend_from_slice(&range.0.to_le_bytes());
            for number in [mark.sequence, mark.boot.0] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&mark.attempt.to_le_bytes());
        }
        LinkFrame::Map { epoch } => put_number(out, MAP, *epoch),
        LinkFrame::Ping { number, is_answer } => {
            put_number(out, PING, *number);
            out.push(u8::from(*is_answer));
        }
    }
}

fn write_publish(publish: &LinkPublish<'_>, out: &mut Vec<u8>) {
    put_number(out, PUBLISH, publish.number);
    let flags = [publish.retain, publish.plain, publish.confirm, publish.expires_in_ms.is_some()];
    out.push(flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
    out.push(publish.qos as u8);
    out.extend_from_slice(&publish.expires_in_ms.unwrap_or(0).to_le_bytes());
    for bytes in [publish.groups, publish.topic.as_bytes(), publish.properties, publish.payload] {
        put(out, bytes);
    }
}

fn put_number(out: &mut Vec<u8>, kind: u8, number: u64) {
    out.push(kind);
    out.extend_from_slice(&number.to_le_bytes());
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What of a body has not been read.
struct FrameReader<'a>(&'a [u8]);

impl<'a> FrameReader<'a> {
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], LinkFrameError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(LinkFrameError::Invalid(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, LinkFrameError> {
        self.array("a number").map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, LinkFrameError> {
        self.array("a number").map(u64::from_le_bytes)
    }

    fn flags<const N: usize>(&mut self) -> Result<[bool; N], LinkFrameError> {
        let [bits] = self.array("flags")?;
        if bits >> N != 0 {
            return Err(LinkFrameError::Invalid("flags"));
        }
        Ok(std::array::from_fn(|bit| bits >> bit & 1 == 1))
    }

    fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], LinkFrameError> {
        let len = u32::from_le_bytes(self.array(what)?) as usize;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(LinkFrameError::Invalid(what))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A text of MQTT: not empty, and as long as one may be there.
    fn text(&mut self, what: &'static str) -> Result<&'a str, LinkFrameError> {
        let text = std::str::from_utf8(self.bytes(what)?).map_err(|_| LinkFrameError::Invalid(what))?;
        if text.is_empty() || text.len() > usize::from(u16::MAX) || text.contains('\0') {
            return Err(LinkFrameError::Invalid(what));
        }
        Ok(text)
    }

    fn hello(&mut self) -> Result<LinkHello<'a>, LinkFrameError> {
        let versions = (self.u16()?, self.u16()?);
        let node = NodeId::new(self.u16()?).ok_or(LinkFrameError::Invalid("a node"))?;
        let boot = BootId(self.u64()?);
        let [count, shard] = self.array("shards")?;
        if versions.0 > versions.1 || shard >= count {
            return Err(LinkFrameError::Invalid("a HELLO"));
        }
        let nonce = self.array("a nonce")?;
        Ok(LinkHello { versions, node, boot, shards: (count, shard), nonce, cluster: self.text("a cluster's name")? })
    }

    fn publish(&mut self) -> Result<LinkPublish<'a>, LinkFrameError> {
        let number = self.u64()?;
        let [retain, plain, confirm, expires] = self.flags()?;
        let [qos] = self.array("a QoS")?;
        let qos = Qos::from_bits(qos & 3).filter(|_| qos <= 2).ok_or(LinkFrameError::Invalid("a QoS"))?;
        let expires_in_ms = self.u64()?;
        let groups = self.bytes("groups")?;
        if !groups.len().is_multiple_of(8) || groups.len() / 8 > LINK_GROUPS_MAX || (!expires && expires_in_ms != 0) {
            return Err(LinkFrameError::Invalid("a PUBLISH"));
        }
        let topic = self.text("a topic")?;
        let (properties, payload) = (self.bytes("properties")?, self.bytes("a payload")?);
        let expires_in_ms = expires.then_some(expires_in_ms);
        Ok(LinkPublish { number, qos, retain, plain, confirm, expires_in_ms, groups, topic, properties, payload })
    }
}
