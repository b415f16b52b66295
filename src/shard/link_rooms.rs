//! Links that are behind: their peers do not take what waits for them.
//!
//! Owns: which links of this shard are behind, and the publishers that are not read for each ([`LinkRooms`]).
//! Always holds: what nobody acknowledges is dropped where its link is behind, and counted; what has to arrive goes on its way, and whoever has
//! published it is not read until the link has room, or the peer's process is gone. Who publishes nothing for that peer goes on. What came by a link
//! leads to a few bytes by links, and to a message that is passed on once, and nobody is held for these: so nodes cannot wait for each other in a circle.
//! Leaves to others: when a link is behind (`conn`), and what a new peer is told meanwhile (`speaker`).

use std::collections::{BTreeMap, VecDeque};

use super::clients::Clients;
use super::{Shard, Turn};
use crate::ids::{ConnectionId, Qos, SessionId, ShardId, ShardSet};
use crate::limits::BEHIND_RELEASED_PER_TURN;
use crate::store::LogRoom;
use crate::telemetry::DropReason;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct LinkRooms {
    behind: ShardSet,
    /// Connections of publishers, by the peer that they wait for. Some may have ended.
    held: BTreeMap<ShardId, VecDeque<ConnectionId>>,
}

/// What becomes of a message for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkFate {
    /// Its link is not behind, and takes it.
    Said,
    /// Its link takes it, and whoever has published it waits.
    SaidAndHeld,
    /// It is dropped, and counted.
    Dropped,
}

impl LinkRooms {
    /// The link to a peer has room for this from now on.
    fn note(&mut self, peer: ShardId, room: LogRoom) {
        if room == LogRoom::Enough {
            self.behind.remove(peer);
        } else {
            self.behind.insert(peer);
        }
    }

    /// Whether the link to a peer is behind.
    pub(super) const fn is_behind_at(&self, peer: ShardId) -> bool {
        self.behind.contains(peer)
    }

    /// What becomes of a message for a peer; a write to the retained store has to arrive.
    pub(super) fn fate(&self, clients: &mut Clients, peer: ShardId, (qos, is_write): (Qos, bool)) -> LinkFate {
        if !self.is_behind_at(peer) {
            LinkFate::Said
        } else if qos == Qos::AtMostOnce && !is_write {
            clients.counters.dropped(DropReason::LinkFull);
            LinkFate::Dropped
        } else {
            LinkFate::SaidAndHeld
        }
    }

    /// A publisher is not read until the link to a peer has room.
    pub(super) fn hold(&mut self, turn: &mut Turn<'_>, clients: &mut Clients, (id, peer): (SessionId, ShardId)) {
        if let Some(connection) = clients.hold_for_room(turn, id) {
            self.held.entry(peer).or_default().push_back(connection);
        }
    }

    /// Whether there are publishers that may be read again.
    pub(super) fn has_publishers_to_resume(&self) -> bool {
        self.next_with_room().is_some()
    }

    fn next_with_room(&self) -> Option<ShardId> {
        self.held.keys().copied().find(|peer| !self.behind.contains(*peer))
    }

    /// The next publisher that may be read again.
    fn next_to_resume(&mut self) -> Option<ConnectionId> {
        let peer = self.next_with_room()?;
        let waiting = self.held.get_mut(&peer).expect("somebody waits for it");
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.held.remove(&peer);
        }
        next
    }
}

impl Shard {
    /// What the link to a peer has room for has changed.
    pub(super) fn note_room_of_link(&mut self, turn: &mut Turn<'_>, peer: ShardId, room: LogRoom) {
        if let Some(nodes) = self.router.nodes.as_deref_mut() {
            nodes.rooms.note(peer, room);
        }
        self.resume_for_links(turn);
    }

    /// Reads publishers again that waited for a link, as many as a turn may.
    pub(super) fn resume_for_links(&mut self, turn: &mut Turn<'_>) {
        let Some(nodes) = self.router.nodes.as_deref_mut() else { return };
        for _ in 0..BEHIND_RELEASED_PER_TURN {
            let Some(connection) = nodes.rooms.next_to_resume() else { return };
            self.clients.read_again(turn, connection);
        }
    }
}
