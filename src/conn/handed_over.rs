//! What goes from shard to shard when a connection is handed over: the message, and the half of it that waits for the other. And
//! what waits, where its session is, for a place.

use core::net::SocketAddr;
use std::collections::VecDeque;

use super::layers::Wire;
use super::peer::Peer;
use crate::codec::ConnectPacket;
use crate::ids::{ConnectionId, ShardId, SocketId, Ticket};
use crate::time::Deadline;

/// What one shard's connections tell another's.
#[derive(Debug)]
pub enum Handover {
    /// A connection is on its way to the shard that owns its client id, or hears the link that it is.
    Begun {
        /// Joins it with its socket.
        ticket: Ticket,
        /// What travels with the socket.
        connection: HandedOver,
    },
    /// The socket could not be sent after all.
    Failed {
        /// Of the handover that had begun.
        ticket: Ticket,
    },
    /// A datagram whose peer belongs to the shard that is told, by its client id.
    Datagram(Box<ForwardedDatagram>),
    /// A peer has no connection on the shard that says so.
    PeerGone(DatagramSource),
    /// A peer is another client than the one that has its connection on the shard that is told.
    PeerReplaced(DatagramSource),
}

/// Where a datagram comes from.
#[derive(Clone, Copy, Debug)]
pub struct DatagramSource {
    /// Which listener it came by, as an index.
    pub(super) listener: u8,
    pub(super) peer: SocketAddr,
    /// The shard that the kernel chose.
    pub(super) via: ShardId,
    /// That shard's number for the latest CONNECT of the peer that it passed on. What it is told about an earlier one comes too late.
    pub(super) number: u32,
}

/// A datagram on its way from the shard that the kernel chose to the one that owns the client id.
#[derive(Debug)]
pub struct ForwardedDatagram {
    pub(super) source: DatagramSource,
    pub(super) bytes: Box<[u8]>,
}

/// What travels with the socket.
#[derive(Debug)]
pub enum HandedOver {
    /// CONNECT has shown which shard owns its client id.
    Client(Box<ArrivedClient>),
    /// A connection that another node's shard has opened.
    Link(Box<ArrivedLink>),
}

/// A connection whose CONNECT is whole.
#[derive(Debug)]
pub struct ArrivedClient {
    pub(super) connect: ConnectPacket,
    /// What came behind CONNECT.
    pub(super) rest: Vec<u8>,
    /// The client id in place of CONNECT's: made up for a client without one, or its certificate's.
    pub(super) assigned_client_id: Option<Box<str>>,
    pub(super) listener: u8,
    pub(super) peer: Peer,
    pub(super) wire: Wire,
    /// By when it is to be let on or refused, where it has had to wait for its range.
    pub(super) until: Option<Deadline>,
}

/// A connection between two nodes that know each other.
#[derive(Debug)]
pub struct ArrivedLink {
    /// What came behind the peer's proof.
    pub(super) rest: Vec<u8>,
    pub(super) peer: Peer,
    pub(super) wire: Wire,
}

/// A handover whose socket was sent off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) connection: ConnectionId,
    pub(super) to: ShardId,
    pub(super) is_link: bool,
}

/// The half of a handover that came first.
#[derive(Debug)]
pub(super) enum Half {
    Socket(SocketId),
    Message(HandedOver),
}

/// CONNECTs of one listener that wait for a place, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct AwaitingPlace(pub(super) VecDeque<AwaitedPlace>);

/// One of them.
#[derive(Debug)]
pub(super) struct AwaitedPlace {
    pub(super) until: Deadline,
    pub(super) connection: ConnectionId,
    pub(super) arrived: Box<ArrivedClient>,
}

impl AwaitingPlace {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl HandedOver {
    pub(super) const fn is_link(&self) -> bool {
        matches!(self, Self::Link(_))
    }

    /// What it holds of its layers goes with it.
    pub(super) fn set_wire(&mut self, wire: Wire) {
        match self {
            Self::Client(client) => client.wire = wire,
            Self::Link(link) => link.wire = wire,
        }
    }
}

impl ArrivedClient {
    pub(super) fn new(
        connect: ConnectPacket,
        rest: Vec<u8>,
        assigned_client_id: Option<Box<str>>,
        listener: u8,
        peer: Peer,
    ) -> Self {
        Self { connect, rest, assigned_client_id, listener, peer, wire: Wire::Plain, until: None }
    }

    /// As it came in CONNECT, or was made up.
    pub(super) fn client_id(&self) -> &str {
        self.assigned_client_id.as_deref().unwrap_or(self.connect.get().client_id)
    }

    /// Bytes of what its client has said.
    pub(super) fn len_bytes(&self) -> usize {
        self.connect.len_bytes() + self.rest.len()
    }
}
