//! What nodes say to each other, as frames: a length, a kind, a body.
//!
//! Always holds: a length is compared with a limit before anything else is looked at, and every text and list is borrowed from the frame, so that bytes of
//! anybody neither panic nor have anything allocated for them. Each value has one form; what a kind does not have behind its fields is refused.
//! Leaves to others: who may say what (`link_handshake`), in which order and how often it arrives, and what it leads to.
//!
//! HELLO and PROOF begin a connection, and FORWARD makes it a client's where HELLO said that it would. RECEIVED and PING are of the connection. All others are *counted*: they are of
//! the two processes, come in order and once, whatever becomes of connections. What may come later gets a kind of its own, which a node of this
//! version refuses: both ends speak the lower one of their versions.

use super::link_bytes::{FrameReader, LinkFrameError, flag_bits, put, put_stamp};
use super::link_forward::LinkForward;
use super::link_publish::{LinkPublish, LinkToken};
use super::range::{BootId, NodeId};
use crate::ids::WriteStamp;
use crate::limits::{LINK_FORWARD_MAX_BYTES, LINK_FRAME_MAX_BYTES};

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
    /// Whose link; `None` from a process that is no member yet and only tries whether it reaches the other.
    pub node: Option<NodeId>,
    /// Its process.
    pub boot: BootId,
    /// How many shards it has, and which of them speaks here.
    pub shards: (u8, u8),
    /// Whether FORWARD comes next, and the connection is a client's then. Only who dials says so.
    pub carries_client: bool,
    /// Never used before.
    pub nonce: [u8; LINK_NONCE_BYTES],
    /// As `--cluster-name` of the sender will say.
    pub cluster: &'a str,
}

/// What a node is interested in, all its shards together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInterest<'a> {
    /// Counts the announcements of the sender, the same for all of its peers.
    pub number: u64,
    /// Whether there are subscriptions of their own.
    pub plain: bool,
    /// Whether what is published for them has to outlive a process.
    pub durable: bool,
    /// Members of the shared subscription, where the filter is one, whose client is connected.
    pub online: u32,
    /// Members, connected or not.
    pub total: u32,
    /// The whole filter.
    pub filter: &'a str,
}

/// What became of a message at all the subscribers of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkReception {
    /// It was for nobody, or there was another reason than a full queue.
    NotTaken,
    /// Nobody could take it: somebody's queue was full.
    QueuesFull,
    /// Somebody has been sent it, or it is queued.
    Taken,
}

/// The best that a node's members of a shared subscription can do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRoom {
    /// Their queues are full.
    Full,
    /// It would wait in a queue.
    Queue,
    /// One can be sent it at once.
    Window,
}

/// Everything that one node can say to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFrame<'a> {
    /// Begins a link.
    Hello(LinkHello<'a>),
    /// Shows that the sender knows the shared secret.
    Proof([u8; LINK_PROOF_BYTES]),
    /// The connection is a client's from here on.
    Forward(LinkForward<'a>),
    /// How much has come.
    Received {
        /// Counted frames of the receiver's process that the sender has had, of all connections.
        count: u64,
    },
    /// Asks whether somebody is there, or answers.
    Ping {
        /// The same in the answer.
        number: u64,
        /// Which of both.
        is_answer: bool,
        /// Whether the sender's beats come back to it.
        is_heard: bool,
    },
    /// The sender's interest in a filter has changed.
    Interest(LinkInterest<'a>),
    /// All that the sender is interested in was told.
    SyncEnd,
    /// The sender has applied everything that came before the receiver's `SYNC_END`.
    Synced,
    /// The sender waits for the receiver before each SUBACK from now on.
    Counted,
    /// The sender has applied the receiver's announcements.
    Applied {
        /// Up to this one.
        number: u64,
    },
    /// A message for the receiver's subscribers.
    Publish(LinkPublish<'a>),
    /// What a message has led to is durable, or as safe as it gets.
    Stored {
        /// As PUBLISH or BARRIER had it.
        token: LinkToken,
        /// What became of it.
        reception: LinkReception,
    },
    /// Asks for STORED once everything before it is durable.
    Barrier {
        /// As PUBLISH may have one.
        token: LinkToken,
    },
    /// The sender's members of a shared subscription can do something else with a message now.
    GroupRoom {
        /// Of the shared subscription.
        key: u64,
        /// What they can do.
        room: LinkRoom,
    },
    /// An operator has deleted a retained message: a write that subscribers are not shown.
    RetainedDeleted {
        /// Of the deletion.
        stamp: WriteStamp,
        /// On which nothing is retained from now on.
        topic: &'a str,
    },
}

const LENGTH_BYTES: usize = 4;
const HELLO: u8 = 1;
const PROOF: u8 = 2;
const FORWARD: u8 = 3;
const RECEIVED: u8 = 4;
const PING: u8 = 5;
const INTEREST: u8 = 6;
const SYNC_END: u8 = 7;
const SYNCED: u8 = 8;
const COUNTED: u8 = 9;
const APPLIED: u8 = 10;
const PUBLISH: u8 = 11;
const STORED: u8 = 12;
const BARRIER: u8 = 13;
const GROUP_ROOM: u8 = 14;
const RETAINED_DELETED: u8 = 15;

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
        if kind == FORWARD && len as usize > LINK_FORWARD_MAX_BYTES {
            return Err(LinkFrameError::TooLong(len));
        }
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

    /// Whether it is of the two processes, comes in order and once, and counts in RECEIVED.
    pub const fn is_counted(&self) -> bool {
        !matches!(self, Self::Hello(_) | Self::Proof(_) | Self::Forward(_) | Self::Received { .. } | Self::Ping { .. })
    }
}

fn read<'a>(kind: u8, body: &mut FrameReader<'a>) -> Result<LinkFrame<'a>, LinkFrameError> {
    Ok(match kind {
        HELLO => LinkFrame::Hello(LinkHello::read(body)?),
        PROOF => LinkFrame::Proof(body.array("a proof")?),
        FORWARD => LinkFrame::Forward(LinkForward::read(body)?),
        RECEIVED => LinkFrame::Received { count: body.u64("a count")? },
        PING => {
            let number = body.u64("a number")?;
            let [is_answer, is_heard] = body.flags()?;
            LinkFrame::Ping { number, is_answer, is_heard }
        }
        INTEREST => LinkFrame::Interest(LinkInterest::read(body)?),
        SYNC_END => LinkFrame::SyncEnd,
        SYNCED => LinkFrame::Synced,
        COUNTED => LinkFrame::Counted,
        APPLIED => LinkFrame::Applied { number: body.u64("a number")? },
        PUBLISH => LinkFrame::Publish(LinkPublish::read(body)?),
        STORED => {
            let token = LinkToken::read(body)?;
            let reception = match body.u8("a reception")? {
                0 => LinkReception::NotTaken,
                1 => LinkReception::QueuesFull,
                2 => LinkReception::Taken,
                _ => return Err(LinkFrameError::Invalid("a reception")),
            };
            LinkFrame::Stored { token, reception }
        }
        BARRIER => LinkFrame::Barrier { token: LinkToken::read(body)? },
        GROUP_ROOM => {
            let key = body.u64("a key")?;
            let room = match body.u8("a room")? {
                0 => LinkRoom::Full,
                1 => LinkRoom::Queue,
                2 => LinkRoom::Window,
                _ => return Err(LinkFrameError::Invalid("a room")),
            };
            LinkFrame::GroupRoom { key, room }
        }
        RETAINED_DELETED => LinkFrame::RetainedDeleted { stamp: body.stamp()?, topic: body.text("a topic")? },
        other => return Err(LinkFrameError::Kind(other)),
    })
}

fn write(frame: &LinkFrame<'_>, out: &mut Vec<u8>) {
    match frame {
        LinkFrame::Hello(hello) => hello.write(out),
        LinkFrame::Proof(proof) => {
            out.push(PROOF);
            out.extend_from_slice(proof);
        }
        LinkFrame::Forward(forward) => {
            out.push(FORWARD);
            forward.write(out);
        }
        LinkFrame::Received { count } => put_number(out, RECEIVED, *count),
        LinkFrame::Ping { number, is_answer, is_heard } => {
            put_number(out, PING, *number);
            out.push(flag_bits([*is_answer, *is_heard]));
        }
        LinkFrame::Interest(interest) => interest.write(out),
        LinkFrame::SyncEnd => out.push(SYNC_END),
        LinkFrame::Synced => out.push(SYNCED),
        LinkFrame::Counted => out.push(COUNTED),
        LinkFrame::Applied { number } => put_number(out, APPLIED, *number),
        LinkFrame::Publish(publish) => {
            out.push(PUBLISH);
            publish.write(out);
        }
        LinkFrame::Stored { token, reception } => {
            out.push(STORED);
            token.write(out);
            out.push(*reception as u8);
        }
        LinkFrame::Barrier { token } => {
            out.push(BARRIER);
            token.write(out);
        }
        LinkFrame::GroupRoom { key, room } => {
            put_number(out, GROUP_ROOM, *key);
            out.push(*room as u8);
        }
        LinkFrame::RetainedDeleted { stamp, topic } => {
            out.push(RETAINED_DELETED);
            put_stamp(out, *stamp);
            put(out, topic.as_bytes());
        }
    }
}

fn put_number(out: &mut Vec<u8>, kind: u8, number: u64) {
    out.push(kind);
    out.extend_from_slice(&number.to_le_bytes());
}

impl<'a> LinkHello<'a> {
    fn read(body: &mut FrameReader<'a>) -> Result<Self, LinkFrameError> {
        let versions = (body.u16("a version")?, body.u16("a version")?);
        let node = match body.u16("a node")? {
            0 => None,
            number => Some(NodeId::new(number).ok_or(LinkFrameError::Invalid("a node"))?),
        };
        let boot = BootId(body.u64("a process")?);
        let [count, shard] = body.array("shards")?;
        if versions.0 > versions.1 || shard >= count {
            return Err(LinkFrameError::Invalid("a HELLO"));
        }
        let [carries_client] = body.flags()?;
        let (shards, nonce) = ((count, shard), body.array("a nonce")?);
        Ok(Self { versions, node, boot, shards, carries_client, nonce, cluster: body.text("a cluster's name")? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(HELLO);
        for number in [self.versions.0, self.versions.1, self.node.map_or(0, NodeId::get)] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.boot.0.to_le_bytes());
        out.extend_from_slice(&[self.shards.0, self.shards.1, flag_bits([self.carries_client])]);
        out.extend_from_slice(&self.nonce);
        put(out, self.cluster.as_bytes());
    }
}

impl<'a> LinkInterest<'a> {
    fn read(body: &mut FrameReader<'a>) -> Result<Self, LinkFrameError> {
        let number = body.u64("a number")?;
        let [plain, durable] = body.flags()?;
        let (online, total) = (body.u32("a number of members")?, body.u32("a number of members")?);
        if online > total {
            return Err(LinkFrameError::Invalid("a number of members"));
        }
        Ok(Self { number, plain, durable, online, total, filter: body.text("a filter")? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_number(out, INTEREST, self.number);
        out.push(flag_bits([self.plain, self.durable]));
        for members in [self.online, self.total] {
            out.extend_from_slice(&members.to_le_bytes());
        }
        put(out, self.filter.as_bytes());
    }
}
