//! Peers that come in datagrams: who of them is a client of which connection, or of which other shard, and what they are to be sent.
//!
//! Always holds: a route to this shard has its client, and a client its connection; a route to another shard ends when that shard says
//! so, after the latest CONNECT that took it. A peer that is a client here is sent what its client's translator says, and nobody else anything but a short refusal.
//! Leaves to others: what datagrams mean (`sn`), when and why (`sn_handling`).

use core::net::SocketAddr;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ops::Range;

use super::handed_over::DatagramSource;
use super::sn::{SnClient, SnOut};
use crate::ids::{ConnectionId, ShardId};
use crate::time::{Deadline, Now};

/// Where a peer's datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerRoute {
    /// This shard owns its client id, and this is the connection.
    Here(ConnectionId),
    /// To the shard that owns its client id, with the number of its latest CONNECT.
    Elsewhere(ShardId, u32),
}

/// A client here.
#[derive(Debug)]
pub(super) struct SnPeer {
    pub(super) client: SnClient,
    /// From where its latest CONNECT came.
    pub(super) source: DatagramSource,
    /// When it is forgotten unless something comes; of one that only publishes.
    pub(super) idle: Option<Deadline>,
    /// The earliest of its deadlines in the heap.
    armed: Option<Deadline>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct SnPeers {
    routes: HashMap<(u8, SocketAddr), PeerRoute>,
    /// Of the latest CONNECT that was passed on.
    number: u32,
    clients: HashMap<ConnectionId, SnPeer>,
    /// How many of them only publish, by listener.
    publishers: HashMap<u8, u32>,
    /// When something is due of which client; some of them are stale.
    deadlines: BinaryHeap<Reverse<(Deadline, ConnectionId)>>,
    /// Clients that sleep and have asked for what waits for them.
    pub(super) awake: Vec<ConnectionId>,
    /// Clients of listeners that are no more.
    pub(super) to_end: Vec<ConnectionId>,
    /// What the next flush sends.
    bytes: Vec<u8>,
    to_send: Vec<(u8, SocketAddr, Range<usize>)>,
    /// What a translator says, kept for its memory.
    pub(super) out: SnOut,
}

/// Memory for a flush that is kept for the next one.
const KEPT_MAX_BYTES: usize = 256 * 1024;

impl SnPeers {
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.to_send.is_empty()
    }

    /// Whether there is something to do that no event asks for.
    pub(super) fn has_work(&self) -> bool {
        !self.to_end.is_empty()
    }

    pub(super) fn route(&self, listener: u8, peer: SocketAddr) -> Option<PeerRoute> {
        self.routes.get(&(listener, peer)).copied()
    }

    /// Returns the route before.
    pub(super) fn set_route(&mut self, listener: u8, peer: SocketAddr, route: PeerRoute) -> Option<PeerRoute> {
        self.routes.insert((listener, peer), route)
    }

    /// A number for a CONNECT that is passed on.
    pub(super) const fn new_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// Another shard has no connection for this peer any more, unless it has had a CONNECT since.
    pub(super) fn forget_elsewhere(&mut self, source: DatagramSource) {
        let DatagramSource { listener, peer, number, .. } = source;
        if matches!(self.route(listener, peer), Some(PeerRoute::Elsewhere(_, latest)) if latest == number) {
            self.routes.remove(&(listener, peer));
        }
    }

    /// `idle`: when it is forgotten unless something comes; of one that only publishes.
    pub(super) fn add(
        &mut self,
        id: ConnectionId,
        (client, idle): (SnClient, Option<Deadline>),
        source: DatagramSource,
    ) {
        if client.is_publisher() {
            *self.publishers.entry(source.listener).or_default() += 1;
        }
        self.clients.insert(id, SnPeer { client, source, idle, armed: None });
    }

    /// How many peers of a listener only publish.
    pub(super) fn publishers(&self, listener: u8) -> u32 {
        self.publishers.get(&listener).copied().unwrap_or(0)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut SnPeer> {
        self.clients.get_mut(&id)
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&SnPeer> {
        self.clients.get(&id)
    }

    /// A connection is no more. Returns from where its peer came, unless the peer has another one by now.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<DatagramSource> {
        let SnPeer { client, source, .. } = self.clients.remove(&id)?;
        if client.is_publisher()
            && let Some(count) = self.publishers.get_mut(&source.listener)
        {
            *count = count.saturating_sub(1);
        }
        if self.route(source.listener, source.peer) != Some(PeerRoute::Here(id)) {
            return None;
        }
        self.routes.remove(&(source.listener, source.peer));
        Some(source)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.clients.keys().copied()
    }

    /// Sends a datagram with the next flush.
    pub(super) fn send(&mut self, listener: u8, to: SocketAddr, datagram: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.to_send.push((listener, to, start..self.bytes.len()));
    }

    /// Sends what the translator has said to a client.
    pub(super) fn send_out(&mut self, listener: u8, to: SocketAddr) {
        let out = std::mem::take(&mut self.out);
        for datagram in out.datagrams() {
            self.send(listener, to, datagram);
        }
        self.out = out;
    }

    /// What the next flush sends: by which listener, to whom, and what.
    pub(super) fn to_send(&self) -> impl Iterator<Item = (u8, SocketAddr, &[u8])> {
        self.to_send.iter().map(|(listener, to, range)| (*listener, *to, &self.bytes[range.clone()]))
    }

    /// All of it has been given to the sockets. Returns how many bytes that were.
    pub(super) fn forget_sent(&mut self) -> u64 {
        let sent = self.bytes.len() as u64;
        if sent > 0 {
            self.to_send.clear();
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_MAX_BYTES);
        }
        sent
    }

    /// Notes when something is due of a client.
    pub(super) fn arm(&mut self, id: ConnectionId) {
        let Some(peer) = self.clients.get_mut(&id) else { return };
        let Some(due) = peer.client.next_retry().into_iter().chain(peer.idle).min() else { return };
        if peer.armed.is_none_or(|armed| due < armed) {
            peer.armed = Some(due);
            self.deadlines.push(Reverse((due, id)));
        }
    }

    /// The next client of which something is due.
    pub(super) fn next_due(&mut self, now: Now) -> Option<ConnectionId> {
        while let Some(&Reverse((due, id))) = self.deadlines.peek() {
            if !due.is_due(now) {
                return None;
            }
            self.deadlines.pop();
            // One that was armed for an earlier deadline since, or has gone, has nothing due here.
            if let Some(peer) = self.clients.get_mut(&id).filter(|peer| peer.armed == Some(due)) {
                peer.armed = None;
                return Some(id);
            }
        }
        None
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.deadlines.peek().map(|Reverse((due, _))| *due)
    }
}
