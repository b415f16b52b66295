//! The connections of one shard, by slot and generation.

use super::feed::Spill;
use super::outbox::Outbox;
use crate::codec::Version;
use crate::ids::{ConnectionId, PeerAddress, SocketId};
use crate::ring::UnderWay;
use crate::slab::Slab;
use crate::telemetry::CloseReason;

/// How far a connection's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a whole CONNECT.
    Greeting,
    /// CONNECT has come; the socket is on its way to another shard.
    Moving,
    /// The shard knows it.
    Open,
    /// The shard has let it go; what is in the outbox leaves, then the socket closes.
    Parting(CloseReason),
}

/// How far the sending of FIN has come. While it is under way the socket must not be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fin {
    /// Nobody has asked for it.
    NotSent,
    /// The kernel is about it.
    UnderWay,
    /// Done.
    Sent,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// Its socket.
    pub socket: SocketId,
    /// Where it stands.
    pub phase: Phase,
    /// Settled by CONNECT.
    pub version: Version,
    /// Its listener lets clients in without credentials.
    pub anonymous: bool,
    /// It came above `--max-connections` and is only told so.
    pub surplus: bool,
    /// It stands in the list of connections with something to send.
    pub dirty: bool,
    /// Whether FIN has been sent; then the peer's is awaited.
    pub fin: Fin,
    /// It is to be closed as soon as FIN has been sent.
    pub closing: bool,
    /// The beginning of a packet.
    pub spill: Spill,
    /// What the shard has encoded and the socket has not been given.
    pub outbox: Option<Box<Outbox>>,
    /// Bytes that the kernel is still sending from an earlier outbox.
    pub rest_bytes: u32,
    /// The peer's address.
    pub peer: Option<PeerAddress>,
}

const _: () = assert!(size_of::<Connection>() <= 72);

impl Connection {
    /// Just accepted.
    pub fn new(socket: SocketId, anonymous: bool) -> Self {
        Self {
            socket,
            phase: Phase::Greeting,
            version: Version::V311,
            anonymous,
            surplus: false,
            dirty: false,
            fin: Fin::NotSent,
            closing: false,
            spill: Spill::default(),
            outbox: None,
            rest_bytes: 0,
            peer: None,
        }
    }

    /// What must be ended before its socket closes. `token` is its name.
    pub const fn under_way(&self, token: ConnectionId) -> UnderWay {
        if self.rest_bytes > 0 { UnderWay::Anything } else { UnderWay::Receive(token) }
    }

    /// Encoded bytes that have not left.
    pub fn waiting_bytes(&self) -> u32 {
        self.rest_bytes.saturating_add(self.outbox.as_deref().map_or(0, Outbox::len) as u32)
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Table {
    slab: Slab<Connection>,
    generations: Vec<u32>,
}

impl Table {
    /// Connections held.
    pub const fn len(&self) -> usize {
        self.slab.len()
    }

    /// Adds a connection and names it.
    pub fn insert(&mut self, connection: Connection) -> ConnectionId {
        let slot = self.slab.insert(connection);
        if self.generations.len() <= slot as usize {
            self.generations.resize(slot as usize + 1, 0);
        }
        let generation = &mut self.generations[slot as usize];
        *generation = generation.wrapping_add(1);
        ConnectionId::new(slot, *generation)
    }

    /// The connection of a name, unless it has gone.
    pub fn get_mut(&mut self, token: ConnectionId) -> Option<&mut Connection> {
        if !self.is_current(token) {
            return None;
        }
        self.slab.get_mut(token.slot)
    }

    /// The connection of a name, unless it has gone.
    pub fn get(&self, token: ConnectionId) -> Option<&Connection> {
        self.slab.get(token.slot).filter(|_| self.is_current(token))
    }

    /// Takes a connection out.
    pub fn remove(&mut self, token: ConnectionId) -> Option<Connection> {
        if !self.is_current(token) {
            return None;
        }
        self.slab.remove(token.slot)
    }

    fn is_current(&self, token: ConnectionId) -> bool {
        let generation = self.generations.get(token.slot as usize);
        generation.is_some_and(|&generation| ConnectionId::new(token.slot, generation) == token)
    }
}
