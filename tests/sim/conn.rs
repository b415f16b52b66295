//! One transport connection of the model: two byte pipes that split writes anywhere, and what the broker's side has under
//! way on it.

use std::collections::VecDeque;

use crate::layer;
use crate::silent::Says;
use dunlin::codec::Version;
use dunlin::ids::{ConnectionId, SocketId, Ticket};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A client that keeps to the specification; what it is owed is checked.
    Client(usize),
    /// One that does not.
    Hostile(usize),
    /// One that says too little to be a client for long.
    Silent(Says),
}

/// Where the broker's end of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the queue of a shard's listener.
    Backlog(usize),
    /// A socket of a shard.
    Socket(usize, SocketId),
    /// On its way to another shard.
    Between(Ticket),
    /// Nobody has it any more: closed or reset by the broker.
    Closed,
}

/// What is received from a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    Nothing,
    Once(ConnectionId),
    Until(ConnectionId),
}

impl Receiving {
    /// For whom.
    pub(crate) const fn connection(self) -> Option<ConnectionId> {
        match self {
            Self::Nothing => None,
            Self::Once(connection) | Self::Until(connection) => Some(connection),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) owner: Owner,
    pub(crate) version: Version,
    pub(crate) place: Place,
    /// Which listener it came by: odd ones invert every byte, and those from 2 on ask about each client.
    pub(crate) listener: u8,
    /// The shard that was told of it, and its name there.
    pub(crate) at: Option<(usize, ConnectionId)>,
    /// The shard has closed it. What is in its outbox still leaves.
    pub(crate) left: bool,
    /// When the broker ended it, in milliseconds: a session's time runs from there, whenever its client finds out.
    pub(crate) ended_ms: Option<u64>,
    /// Written by the client, not yet received.
    pub(crate) to_broker: VecDeque<u8>,
    /// Taken by the socket, not yet read by the client.
    pub(crate) to_client: VecDeque<u8>,
    pub(crate) receiving: Receiving,
    /// The step at which receiving was stopped, while it is.
    pub(crate) stopped: Option<u64>,
    /// What the socket is still being given of an earlier outbox.
    pub(crate) rest: Option<(ConnectionId, VecDeque<u8>)>,
    /// When the broker accepted it, in milliseconds.
    pub(crate) taken_in_ms: Option<u64>,
    /// The step at which its time for CONNECT was first seen to be over.
    pub(crate) overdue_since: Option<u64>,
    /// The step at which its shard was told that its peer sends no more.
    pub(crate) end_told: Option<u64>,
    /// FIN has been sent to the client.
    pub(crate) fin_sent: bool,
    /// The client has dropped it: it reads nothing more, and the broker finds out once `to_broker` is empty.
    pub(crate) dropped: bool,
    /// The client sends no more, and reads on.
    pub(crate) half_closed: bool,
    /// Its last packet is under way in its shard: what comes behind must not be heard.
    pub(crate) held: bool,
    /// The client's end of a layer.
    layer: layer::Reader,
}

impl Conn {
    pub(crate) fn new(owner: Owner, version: Version, shard: usize, listener: u8) -> Self {
        Self {
            owner,
            version,
            place: Place::Backlog(shard),
            listener,
            at: None,
            left: false,
            ended_ms: None,
            to_broker: VecDeque::new(),
            to_client: VecDeque::new(),
            receiving: Receiving::Nothing,
            stopped: None,
            rest: None,
            taken_in_ms: None,
            overdue_since: None,
            end_told: None,
            fin_sent: false,
            dropped: false,
            half_closed: false,
            held: false,
            layer: layer::Reader::default(),
        }
    }

    /// The client writes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if !self.half_closed {
            self.to_broker.extend(bytes);
        }
    }

    /// The broker would receive something, bytes or their end.
    pub(crate) fn has_news(&self) -> bool {
        self.receiving != Receiving::Nothing && (!self.to_broker.is_empty() || self.dropped || self.half_closed)
    }

    /// The socket takes bytes as far as it has room. Returns how many.
    pub(crate) fn take(&mut self, bytes: &mut VecDeque<u8>, socket_bytes: usize) -> usize {
        let room = socket_bytes.saturating_sub(self.to_client.len()).min(bytes.len());
        self.to_client.extend(bytes.drain(..room));
        room
    }

    /// Whether it came by a listener with a layer.
    pub(crate) const fn is_layered(&self) -> bool {
        self.listener & 1 == 1
    }

    /// What the transport at the client's end makes of bytes of the client.
    pub(crate) fn to_wire(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.is_layered() { layer::to_wire(&bytes) } else { bytes }
    }

    /// The client's transport reads what the socket has taken, up to `count` bytes.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let bytes: Vec<u8> = self.to_client.drain(..count).collect();
        if self.is_layered() { self.layer.read(&bytes) } else { bytes }
    }

    /// The broker has closed its end.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.place, Place::Closed)
    }

    /// The client has read everything that will ever come.
    pub(crate) fn is_at_end(&self) -> bool {
        (self.is_closed() || self.fin_sent) && self.rest.is_none() && self.to_client.is_empty()
    }

    /// Neither side will do anything with it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_closed() && (self.dropped || self.is_at_end())
    }
}
