//! One connection: what is kept for it while it is silent, and how far its life has come.

use super::layers::Wire;
use super::operation::UnderWayOn;
use super::outbox::Outbox;
use super::packet_bounds::PacketBound;
use super::partial_packet::PartialPacket;
use super::peer::Peer;
use crate::codec::Version;
use crate::ids::{ConnectionId, SocketId};
use crate::telemetry::CloseReason;

/// How far a connection's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a whole CONNECT.
    AwaitingConnect,
    /// It has no socket yet: another node is being connected to.
    Dialling,
    /// Between two nodes; which one is at the other end is not known.
    AwaitingPeer,
    /// Between two nodes that know each other.
    Link,
    /// CONNECT has come, and no node serves the range of its client yet.
    AwaitingRange,
    /// CONNECT has come where its session is, and the broker is full: it waits a moment for a place.
    AwaitingPlace,
    /// CONNECT has come; the socket is on its way to another shard.
    HandingOver,
    /// The shard knows its CONNECT, and somebody else decides about it.
    AwaitingVerdict(Hearing),
    /// The shard knows it.
    Open,
    /// The shard has closed it; what is in the outbox leaves, then the socket closes.
    Lingering(CloseReason),
}

/// What is still received from a client that waits for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// One receive is under way, or is about to be.
    Once,
    /// It has brought bytes, and no other one follows.
    Nothing,
    /// The peer sends no more. What it has sent before is heard first.
    Ended,
}

/// How far the sending of FIN has come. While it is under way the socket must not be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fin {
    /// Nobody has asked for it.
    NotSent,
    /// The kernel is about it.
    UnderWay,
    /// The kernel is about it, and the socket is to be closed as soon as it is sent.
    UnderWayThenClose,
    /// Done; the peer's is awaited.
    Sent,
}

/// All that is kept for a peer that says nothing, in 64 bytes.
#[derive(Debug)]
pub struct Connection {
    pub(super) socket: SocketId,
    pub(super) phase: Phase,
    /// As CONNECT names it.
    pub(super) version: Version,
    /// Which listener it came by, as an index.
    pub(super) listener: u8,
    pub(super) fin: Fin,
    /// How large its packets may be.
    pub(super) packet_bound: PacketBound,
    /// It stands in the list of connections with something to send.
    pub(super) is_dirty: bool,
    /// What is in its outbox waits for the shard's word.
    pub(super) is_held: bool,
    /// Bytes that the kernel is still sending from an earlier outbox.
    pub(super) rest_bytes: u32,
    /// The beginning of a packet.
    pub(super) partial: PartialPacket,
    /// What the shard has encoded and the socket has not been given.
    pub(super) outbox: Option<Box<Outbox>>,
    pub(super) wire: Wire,
    pub(super) peer: Peer,
}

const _: () = assert!(size_of::<Connection>() <= 64);

impl Connection {
    /// On a socket, with nothing received or sent yet.
    pub(super) const fn new(socket: SocketId, phase: Phase, wire: Wire) -> Self {
        Self {
            socket,
            phase,
            version: Version::V311,
            listener: 0,
            fin: Fin::NotSent,
            packet_bound: PacketBound::OF_ALL,
            is_dirty: false,
            is_held: false,
            rest_bytes: 0,
            partial: PartialPacket::NONE,
            outbox: None,
            wire,
            peer: Peer::Unknown,
        }
    }

    /// What must be ended before its socket closes. `id` is its name.
    pub(super) const fn under_way(&self, id: ConnectionId) -> UnderWayOn {
        if self.rest_bytes > 0 { UnderWayOn::Anything } else { UnderWayOn::Receive(id) }
    }

    /// Whether there is something to be sealed and given to the socket: the shard's, or a layer's own.
    pub(super) fn has_words(&self) -> bool {
        self.outbox.is_some() || self.wire.has_own_bytes()
    }

    /// Encoded bytes that have not left.
    pub(super) fn waiting_bytes(&self) -> u32 {
        self.rest_bytes.saturating_add(self.outbox.as_deref().map_or(0, Outbox::len) as u32)
    }
}
