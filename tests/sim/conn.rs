//! One connection: two byte pipes that split writes anywhere, and between them what the edge keeps.

use std::collections::VecDeque;

use dunlin::codec::Version;
use dunlin::ids::ConnectionId;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A client that keeps to the specification; what it is owed is checked.
    Client(usize),
    /// One that does not.
    Hostile(usize),
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) owner: Owner,
    /// Completed by CONNECT.
    pub(crate) version: Version,
    /// The shard that it was handed to with its CONNECT, and its name there.
    pub(crate) at: Option<(usize, ConnectionId)>,
    /// Written by the client, not yet at the edge.
    pub(crate) to_broker: VecDeque<u8>,
    /// The part of a packet that has arrived.
    pub(crate) spill: Vec<u8>,
    /// The edge still reads. It stops at the first bytes that are no packet.
    pub(crate) reads: bool,
    /// What the socket has not taken.
    pub(crate) outbox: Vec<u8>,
    /// What the shard was last told of it.
    pub(crate) told_bytes: usize,
    /// Taken by the socket, not yet read by the client.
    pub(crate) to_client: VecDeque<u8>,
    /// The broker has closed it: what is in the outbox still leaves, and nothing more comes.
    pub(crate) closed: bool,
    /// The client has dropped it: it reads nothing more, and the broker finds out once `to_broker` is empty.
    pub(crate) dropped: bool,
}

impl Conn {
    pub(crate) fn new(owner: Owner, version: Version) -> Self {
        Self {
            owner,
            version,
            at: None,
            to_broker: VecDeque::new(),
            spill: Vec::new(),
            reads: true,
            outbox: Vec::new(),
            told_bytes: 0,
            to_client: VecDeque::new(),
            closed: false,
            dropped: false,
        }
    }

    /// Moves bytes from the outbox into a socket that takes `socket_bytes`.
    pub(crate) fn flush(&mut self, socket_bytes: usize) {
        if self.dropped {
            self.outbox.clear();
            return;
        }
        let room = socket_bytes.saturating_sub(self.to_client.len()).min(self.outbox.len());
        self.to_client.extend(self.outbox.drain(..room));
    }

    /// The client has read everything that will ever come.
    pub(crate) fn is_at_end(&self) -> bool {
        self.closed && self.outbox.is_empty() && self.to_client.is_empty()
    }

    /// Neither side will do anything with it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.closed && (self.dropped || self.is_at_end())
    }
}
