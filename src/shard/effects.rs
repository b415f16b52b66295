//! Everything that a shard can ask of its edge, and the bytes it has encoded.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::command::{Reply, RequestId};
use super::mesh::MeshOut;
use super::sampled::{Span, SpanSampling};
use super::tail::{TailFilters, TailedMessage};
use crate::auth::Ask;
use crate::cluster::ClusterView;
use crate::codec::{ReasonCode, Version};
use crate::ids::{ConnectionId, MessageId, PacketId, Qos, SessionId, ShardId};
use crate::store::LogOutput;
use crate::telemetry::{CloseReason, CountsByListener, DropReason, PauseReason, Verbosity};

/// Encoded bytes in [`Effects::bytes`]. One may be sent to many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    start: u32,
    len: u32,
    /// Offset of the packet identifier from `start`; 0 when there is none to patch.
    packet_id_at: u32,
}

impl Encoded {
    /// Length in bytes, payload by reference not included.
    pub const fn len(self) -> u32 {
        self.len
    }

    /// Whether it has no bytes.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// One effect on a connection, in order.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// Append encoded bytes to the connection's outbox.
    Send {
        /// Whose outbox.
        connection: ConnectionId,
        /// What to append.
        encoded: Encoded,
        /// The packet identifier to write into this copy.
        packet_id: Option<PacketId>,
    },
    /// The same, followed by a payload that is not copied.
    SendPayload {
        /// Whose outbox.
        connection: ConnectionId,
        /// What to append before the payload.
        encoded: Encoded,
        /// The packet identifier to write into this copy.
        packet_id: Option<PacketId>,
        /// Index into [`Effects::payloads`].
        payload: u32,
    },
    /// What the connection waited for has happened (a verdict, or the work of its last packet): its packets are heard from
    /// now on.
    Resume {
        /// Whose.
        connection: ConnectionId,
    },
    /// A client whose CONNECT waits has been sent AUTH: its answer is heard, and what it sends is no larger than a CONNECT.
    HearAuth {
        /// Whose.
        connection: ConnectionId,
    },
    /// From now on the client's packets may have so many bytes, if that is less than what all clients' may.
    BoundPackets {
        /// Whose.
        connection: ConnectionId,
        /// Fixed header included.
        max_bytes: u32,
    },
    /// From now on the outbox is not given to the socket: what it says is not on stable storage.
    Hold {
        /// Whose outbox.
        connection: ConnectionId,
    },
    /// It is given to the socket again.
    Release {
        /// Whose outbox.
        connection: ConnectionId,
    },
    /// Send what is in the outbox, then close. What was held is not sent. Nothing more comes for this connection, and the shard has forgotten it.
    Close {
        /// Which one the shard has let go.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// A peer has said what it cannot mean: the links between it and this node end.
    EndLink {
        /// Of its process.
        slot: ShardId,
        /// What it was.
        fault: PeerFault,
    },
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A CONNECT was accepted.
    Connected {
        /// The connection, by which the edge knows the peer's address.
        connection: ConnectionId,
        /// As it came in CONNECT, or was assigned.
        client_id: Box<str>,
        /// User name, if one was sent.
        user: Option<Box<str>>,
        /// Protocol version.
        version: Version,
        /// In force, in seconds.
        keep_alive_s: u16,
        /// As the client asked.
        clean_start: bool,
        /// As CONNACK said.
        session_present: bool,
        /// The version of TLS that a proxy has agreed on with it, as the proxy writes it.
        proxied_tls: Option<Box<str>>,
    },
    /// A CONNECT was refused.
    Refused {
        /// By which the edge knows the peer's address.
        connection: ConnectionId,
        /// As it came in CONNECT.
        client_id: Box<str>,
        /// User name, if one was sent.
        user: Option<Box<str>>,
        /// Why.
        reason: CloseReason,
        /// The same in words.
        text: &'static str,
    },
    /// A client id comes and goes too often and is turned away from now on.
    Flapping {
        /// The connection that was turned away first.
        connection: ConnectionId,
        /// As it came in CONNECT.
        client_id: Box<str>,
        /// User name, if one was sent.
        user: Option<Box<str>>,
    },
    /// A connected client has gone.
    Disconnected {
        /// By which the edge knows the peer's address.
        connection: ConnectionId,
        /// As it came in CONNECT, or was assigned.
        client_id: Box<str>,
        /// Why.
        reason: CloseReason,
        /// What exactly, where the reason alone does not say.
        text: Cow<'static, str>,
        /// How long it was connected.
        duration_ms: u64,
    },
    /// A message or a will of a client was not taken. Told once a connection for each of the two.
    MessageRefused {
        /// Whose message it is.
        connection: ConnectionId,
        /// As it came in CONNECT, or was assigned.
        client_id: Box<str>,
        /// Where it was to go.
        topic: Box<str>,
        /// It is the will of a CONNECT that was accepted without it.
        is_will: bool,
        /// Why, in words.
        text: &'static str,
    },
    /// A subscription that the access rules do not allow any more was taken away.
    SubscriptionRevoked {
        /// Whose session it is.
        client_id: Box<str>,
        /// The filter, `$share/...` included.
        filter: Box<str>,
    },
    /// A client sent credentials, and there is nobody who checks them. Told once by a shard.
    CredentialsUnchecked {
        /// By which the edge knows the peer's address.
        connection: ConnectionId,
        /// Who sent them first.
        client_id: Box<str>,
    },
    /// A client sent a packet that is larger than the broker takes.
    PacketTooLarge {
        /// By which the edge knows the peer's address.
        connection: ConnectionId,
        /// Who sent it.
        client_id: Box<str>,
        /// As its header announces.
        size_bytes: u32,
        /// What is taken.
        max_bytes: u32,
    },
    /// A client is paused because it is over its rate. Told once a connection.
    Paused {
        /// By which the edge knows the peer's address.
        connection: ConnectionId,
        /// Who it is.
        client_id: Box<str>,
        /// Which rate.
        reason: PauseReason,
    },
    /// A session loses messages. More may be lost before [`Event::LossEnds`].
    LossBegins {
        /// Whose session it is.
        client_id: Box<str>,
        /// Why the first one was dropped.
        reason: DropReason,
        /// Messages that are queued for it.
        queued: u64,
        /// Bytes of those.
        queued_bytes: u64,
    },
    /// A session has lost nothing for a while, or has ended.
    LossEnds {
        /// Whose session it is.
        client_id: Box<str>,
        /// Why the first one was dropped.
        reason: DropReason,
        /// All that were lost.
        messages: u64,
        /// From the first to the last of them.
        duration_ms: u64,
    },
    /// From [`Verbosity::Debug`] on: a connection is closed for what its client did.
    ProtocolError {
        /// By which the edge knows the peer's address.
        connection: ConnectionId,
        /// Who did it.
        client_id: Box<str>,
        /// As DISCONNECT says it.
        code: ReasonCode,
        /// In words.
        text: &'static str,
    },
    /// From [`Verbosity::Debug`] on: one filter of a SUBSCRIBE.
    Subscribed {
        /// By which the edge knows the peer's address.
        connection: ConnectionId,
        /// Who subscribes.
        client_id: Box<str>,
        /// As it came.
        filter: Box<str>,
        /// As it was asked for.
        qos: Qos,
        /// The answer.
        code: ReasonCode,
    },
    /// From [`Verbosity::Debug`] on: one filter of an UNSUBSCRIBE.
    Unsubscribed {
        /// By which the edge knows the peer's address.
        connection: ConnectionId,
        /// Who unsubscribes.
        client_id: Box<str>,
        /// As it came.
        filter: Box<str>,
        /// The answer.
        code: ReasonCode,
    },
    /// From [`Verbosity::Debug`] on: a PUBLISH that is not taken.
    PublishRefused {
        /// By which the edge knows the peer's address.
        connection: ConnectionId,
        /// Who sent it.
        client_id: Box<str>,
        /// Where to.
        topic: Box<str>,
        /// The answer, where there is one.
        code: ReasonCode,
    },
    /// At [`Verbosity::Trace`]: a PUBLISH from a client.
    PublishReceived(PublishSeen),
    /// At [`Verbosity::Trace`]: a PUBLISH to a client.
    PublishSent(PublishSeen),
    /// A message that an operator watches: see [`Effects::tails`].
    Tailed(TailedMessage),
    /// Something has happened with a sampled message, and ends now.
    Span(Box<Span>),
    /// A message was dropped because all queues together have no room.
    QueuedMemoryFull {
        /// How much they may take.
        max_bytes: u64,
    },
}

/// A PUBLISH, without its payload, which nobody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishSeen {
    /// By which the edge knows the peer's address.
    pub connection: ConnectionId,
    /// The client at the other end.
    pub client_id: Box<str>,
    /// What it is published to.
    pub topic: Box<str>,
    /// Quality of service of this packet.
    pub qos: Qos,
    /// Whether RETAIN is set in it.
    pub retain: bool,
    /// Whether it is marked as a repetition.
    pub dup: bool,
    /// How much is published with it.
    pub payload_bytes: u64,
}

/// What a peer, another node of the cluster, has said wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub enum PeerFault {
    /// It cannot have applied that.
    Applied,
    /// Its numbers go back.
    Announced,
    /// An interest in a filter that cannot have it.
    Interest,
    /// An answer to what this node has not asked, or that it has answered before.
    Answer,
    /// A write to the retained store without RETAIN.
    Message,
    /// What has not its turn, or is not for this shard.
    Order,
}

impl PeerFault {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Applied => "the peer says that it has applied what it was not told, or less than before",
            Self::Announced => "the peer's announcements go back",
            Self::Interest => "the peer announces an interest that no node has",
            Self::Answer => "the peer answers what it was not asked",
            Self::Message => "the peer sends a message that no node sends",
            Self::Order => "the peer says what has not its turn",
        }
    }
}

/// The first messages of a session's queue are to come back into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRead {
    /// Whose queue.
    pub session: SessionId,
    /// Which they are. All of them are durable.
    pub messages: Vec<MessageId>,
}

/// The output of one or more calls of `Shard::handle`. The edge takes it and calls [`Effects::clear`]; nothing is
/// allocated once it has grown to the size of a turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// Encoded packets, referred to by [`Encoded`].
    bytes: Vec<u8>,
    /// Payloads that are sent without being copied.
    pub payloads: Vec<Bytes>,
    /// What to do with connections, in order.
    pub list: Vec<Effect>,
    /// Messages to other shards. They stay until there is room on the way: whoever sends a batch takes it out.
    pub mesh: MeshOut,
    /// Records for the store.
    pub log: LogOutput,
    /// Messages that are to be read from the disk, each answered by `Input::Bodies`. They stay until they are taken out.
    pub reads: Vec<DiskRead>,
    /// Log events.
    pub events: Vec<Event>,
    /// Which of them are wanted: see [`Effects::watch`].
    pub(super) verbosity: Verbosity,
    /// Which messages are sampled, if any are: see [`Effects::watch`].
    pub(super) sampling: Option<Arc<SpanSampling>>,
    /// Whether somebody looks at each message: the log, or whoever samples. It makes both one look where neither does.
    pub(super) is_watching: bool,
    /// Sampled messages, and spans of them, that were too many. They stay until they are taken out.
    pub spans_lost: u64,
    /// The filters whose messages somebody watches, if anybody does: set by whoever writes the events.
    pub tails: Option<Arc<TailFilters>>,
    /// Messages told of since whoever takes the effects last set it to 0.
    pub tail_told: u32,
    /// Messages that were too many to be told of. They stay until they are taken out.
    pub tail_skipped: u64,
    /// Answers to commands. They stay until they are taken out.
    pub replies: Vec<(RequestId, Reply)>,
    /// Questions to others, each answered by `Input::Verdict` or not at all. They stay until they are taken out.
    pub asks: Vec<Ask>,
    /// Peers that wait for this node before each SUBACK from now on, and that it waits for, with all applied here that they said before: its listeners may
    /// be open when that is so of all. They stay until they are taken out.
    pub counted_by: Vec<ShardId>,
    /// The cluster as it is from now on, where that is news. It stays until it is taken out.
    pub view: Option<Arc<ClusterView>>,
    /// The packet that was taken last takes several turns: what its client sends behind it, the end of its connection
    /// included, is not to be heard before [`Effect::Resume`]. Whoever passes packets on takes it after each.
    pub holds_sender: bool,
    /// Messages that connected clients lost, by listener, since they were last cleared.
    lost_by_listener: Option<Box<CountsByListener>>,
    /// What messages to sessions have cost since whoever takes the effects last set it to 0, in deliveries with QoS 0: it bounds a turn.
    pub deliveries: u32,
}

impl Effects {
    /// Sets what is told of messages from now on: which lines the log wants, and which messages are sampled.
    pub fn watch(&mut self, verbosity: Verbosity, sampling: Option<Arc<SpanSampling>>) {
        self.is_watching = verbosity == Verbosity::Trace || sampling.is_some();
        (self.verbosity, self.sampling) = (verbosity, sampling);
    }

    /// A client that came by a listener has lost a message.
    pub(super) fn note_lost(&mut self, listener: u8) {
        self.lost_by_listener.get_or_insert_default().count(listener);
    }

    /// Messages that connected clients lost, by listener, if any.
    pub fn lost_by_listener(&self) -> Option<&CountsByListener> {
        self.lost_by_listener.as_deref()
    }

    /// The bytes of `encoded`.
    pub fn encoded(&self, encoded: Encoded) -> &[u8] {
        &self.bytes[encoded.start as usize..][..encoded.len as usize]
    }

    /// Appends one copy of `encoded` to `out` with `packet_id` written into it.
    pub fn copy_to(&self, encoded: Encoded, packet_id: Option<PacketId>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.encoded(encoded));
        if let Some(packet_id) = packet_id {
            debug_assert_ne!(encoded.packet_id_at, 0, "a packet without an identifier cannot be given one");
            let at = start + encoded.packet_id_at as usize;
            out[at..at + 2].copy_from_slice(&packet_id.get().to_be_bytes());
        }
    }

    /// Encodes with `write`, which returns the offset of the packet identifier within what it wrote, if there is one.
    pub fn encode(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<usize>) -> Encoded {
        let start = self.bytes.len();
        let packet_id_at = write(&mut self.bytes).unwrap_or(0) as u32;
        Encoded { start: start as u32, len: (self.bytes.len() - start) as u32, packet_id_at }
    }

    /// Encodes one packet for one connection and sends it. Returns its length in bytes.
    pub fn send(&mut self, connection: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let encoded = self.encode(|out| {
            write(out);
            None
        });
        self.list.push(Effect::Send { connection, encoded, packet_id: None });
        encoded.len
    }

    /// Adds a payload that is sent by reference and returns its index.
    pub fn payload(&mut self, payload: Bytes) -> u32 {
        self.payloads.push(payload);
        (self.payloads.len() - 1) as u32
    }

    /// Encoded bytes held: the edge takes them before they become many.
    pub fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything but what stays until it is taken out, keeps the memory unless a turn was exceptionally large.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(HELD_MAX_BYTES);
        self.payloads.clear();
        self.list.clear();
        self.log.clear();
        self.events.clear();
        self.lost_by_listener = None;
    }
}

/// A turn that encoded more than this gives the excess back.
const HELD_MAX_BYTES: usize = 1024 * 1024;

const _: () = assert!(size_of::<Effect>() <= 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_copy_gets_its_own_packet_identifier() {
        let mut effects = Effects::default();
        let _ = effects.encode(|out| {
            out.extend_from_slice(b"before");
            None
        });
        let encoded = effects.encode(|out| {
            out.extend_from_slice(&[0x32, 7, 0, 1, b't', 0xff, 0xff, b'p', b'p']);
            Some(5)
        });
        let mut outbox = vec![0xaa];
        effects.copy_to(encoded, PacketId::new(1), &mut outbox);
        effects.copy_to(encoded, PacketId::new(0x0203), &mut outbox);
        assert_eq!(outbox, [0xaa, 0x32, 7, 0, 1, b't', 0, 1, b'p', b'p', 0x32, 7, 0, 1, b't', 2, 3, b'p', b'p']);
    }
}
