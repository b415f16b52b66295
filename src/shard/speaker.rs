//! What shard 0 says for all shards of its node, and hears for them, where the node is one of a cluster.
//!
//! Owns: the fence that SUBACKs wait at (`fence`), what peers announce (`passed_on`), what they were told of members of groups (`node_rooms`), and which new
//! peer is being told all ([`Speaker`]).
//! Always holds: peers are told what all shards together are interested in when that changes, and a peer that is still being told all when any
//! shard's own changes: else a filter could be passed by that one shard gives up and another, which was asked before, takes. One page of one
//! shard is under way at a time, none for a peer whose link is behind.
//! Leaves to others: which peers there are (`nodes`), what is heard and applied (`peer_words`), the bytes (`link_words`).

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::fence::NodeFence;
use super::forget_slot::SlotsToForget;
use super::link_rooms::LinkRooms;
use super::node_rooms::NodeRooms;
use super::passed_on::PassedOn;
use super::{InterestTold, MeshMessage, Turn};
use crate::ids::{ShardId, ShardSet};
use crate::topic::Interest;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Speaker {
    /// The shards of this node.
    pub own: ShardSet,
    pub fence: NodeFence,
    pub passed_on: PassedOn,
    pub rooms: NodeRooms,
    /// Peers that are being told all: the first of them whose link takes more gets the next page.
    telling: VecDeque<Telling>,
    asked: AskedPage,
    /// Processes that are gone.
    pub forgetting: SlotsToForget,
}

/// A peer that is told all that this node is interested in, shard by shard.
#[derive(Clone, Copy, Debug)]
struct Telling {
    peer: ShardId,
    /// The shard whose filters are being told.
    shard: ShardId,
}

/// Whether a shard has been asked for a page and has not ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AskedPage {
    No,
    /// For this peer.
    For(ShardId),
    /// For one that is gone.
    ForNobody,
}

impl Speaker {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            own: ShardSet::first(shards),
            fence: NodeFence::default(),
            passed_on: PassedOn::new(shards),
            rooms: NodeRooms::default(),
            telling: VecDeque::new(),
            asked: AskedPage::No,
            forgetting: SlotsToForget::default(),
        }
    }

    /// A process is among the peers.
    pub(super) fn begin(&mut self, peer: ShardId) {
        self.fence.begin(peer);
        self.passed_on.begin(peer);
        self.telling.push_back(Telling { peer, shard: ShardId::SPEAKER });
    }

    /// It is gone.
    pub(super) fn end(&mut self, peer: ShardId) {
        self.fence.end(peer);
        self.passed_on.end(peer);
        self.telling.retain(|telling| telling.peer != peer);
        if self.asked == AskedPage::For(peer) {
            self.asked = AskedPage::ForNobody;
        }
    }

    /// What this node's shards are interested in has changed, or what one of them is.
    pub(super) fn tell(&mut self, turn: &mut Turn<'_>, filter: &str, before: Interest, now: Interest) {
        let peers: SmallVec<[ShardId; 8]> = if before == now {
            self.fence.being_told().collect()
        } else {
            self.fence.announce();
            self.fence.peers().collect()
        };
        let number = self.fence.announced();
        for peer in peers {
            turn.fx.mesh.push(peer, MeshMessage::Interest { number, filter: filter.into(), interest: now });
        }
    }

    /// Whether a page may be asked for.
    pub(super) fn is_telling(&self, rooms: &LinkRooms) -> bool {
        self.next_told(rooms).is_some()
    }

    /// Asks for a page: for which peer, and of which shard.
    pub(super) fn ask_page(&mut self, rooms: &LinkRooms) -> Option<(ShardId, ShardId)> {
        let Telling { peer, shard } = self.telling[self.next_told(rooms)?];
        self.asked = AskedPage::For(peer);
        Some((peer, shard))
    }

    /// Whether what comes of a page is for this peer still.
    pub(super) fn is_told(&self, peer: ShardId) -> bool {
        self.asked == AskedPage::For(peer)
    }

    /// The place in the list of a peer that may be told a page.
    fn next_told(&self, rooms: &LinkRooms) -> Option<usize> {
        let takes_more = |telling: &Telling| !rooms.is_behind_at(telling.peer);
        (self.asked == AskedPage::No).then(|| self.telling.iter().position(takes_more)).flatten()
    }

    /// A shard has ended a page: the next one is another peer's, if others are told as well.
    pub(super) fn end_page(&mut self, turn: &mut Turn<'_>, told: &InterestTold) {
        let AskedPage::For(peer) = std::mem::replace(&mut self.asked, AskedPage::No) else { return };
        let at = self.telling.iter().position(|telling| telling.peer == peer).expect("it would be for nobody");
        let Some(mut telling) = self.telling.remove(at) else { return };
        if *told == InterestTold::All {
            telling.shard.0 += 1;
        }
        if self.own.contains(telling.shard) {
            self.telling.push_back(telling);
        } else {
            self.fence.was_told(peer);
            turn.fx.mesh.push(peer, MeshMessage::ToldInterest { peer, told: InterestTold::All });
        }
    }
}
