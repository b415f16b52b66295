//! What a node tells its shards of the cluster, and the numbers under which shards know the processes of its peers.
//!
//! Owns: [`ClusterView`], one value for all shards of a node, made anew with each change; [`PeerSlots`], which only the node has.
//! Always holds: a slot is no real shard's number; no two processes have one slot at a time, and none has one of which shards still
//! forget what its last process was interested in. So a shard that finds a slot in a set of shards knows which process is meant.
//! Leaves to others: when a process is gone, and when everybody has forgotten it.
//!
//! A slot is a shard number like any other: the subscription index, the mesh and confirmations take it as such. That is why shards and slots of a
//! node are [`SHARDS_MAX`] together, and why a node without a cluster pays nothing.

use core::net::SocketAddr;

use super::range::{BootId, NodeId, RangeCount, RangeId};
use crate::ids::{ShardId, ShardSet};
use crate::limits::SHARDS_MAX;

/// Who serves a range, as one node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangePlace {
    /// This node: its MARK is in the range's log.
    Here,
    /// This node by the map, but its MARK is not in the log yet.
    Coming,
    /// Another member by the map.
    Peer(NodeId),
    /// Nobody by the map.
    Nobody,
}

/// Who is to hear a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeServer<'a> {
    /// This node.
    Own,
    /// The process of another member.
    Peer(&'a PeerProcess),
    /// Nobody yet, or nobody that this node could name.
    Nobody,
}

/// The process of another member that this node talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerProcess {
    /// Which member.
    pub node: NodeId,
    /// Which of its processes.
    pub boot: BootId,
    /// The shard number that stands for it on this node.
    pub slot: ShardId,
    /// Where its links are accepted.
    pub at: SocketAddr,
    /// As the member is called.
    pub name: String,
    /// What a client that could connect there by itself is told: the Server Reference of MQTT 5.
    pub server: Option<String>,
}

/// Whether a node may hear its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStanding {
    /// It is a member, or nobody can say otherwise: its beats do not come back, and every other member says on its links that its own do not either.
    Serves,
    /// Its beats do not come back, and others may have taken over what it owned: it closes its clients.
    Alone,
    /// It stood still: it hears nobody and acknowledges nothing until it knows that it still is who it was.
    Paused,
}

/// The cluster as a shard has to know it. It does not change: the next one takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// Of the map. Two views may have the same one, since peers and places change without it.
    pub epoch: u64,
    /// How many ranges the cluster has.
    pub ranges: RangeCount,
    /// Of each range, in order.
    pub owners: Box<[RangePlace]>,
    /// By slot. Members that no process was heard of are not among them.
    pub peers: Box<[PeerProcess]>,
    /// What this node's own beats and peers say of it; every shard does the same about it.
    pub standing: NodeStanding,
}

impl ClusterView {
    /// Who serves a range. One that the view does not have is nobody's.
    pub fn place_of_range(&self, range: RangeId) -> RangePlace {
        self.owners.get(usize::from(range.0)).copied().unwrap_or(RangePlace::Nobody)
    }

    /// Who serves a client.
    pub fn place_of(&self, client_id: &str) -> RangePlace {
        self.place_of_range(self.ranges.range_of(client_id))
    }

    /// Who is to hear the clients of a range. While this node may hear nobody, it does not say who else does: the map may have changed without it.
    pub fn server_of(&self, range: RangeId) -> RangeServer<'_> {
        match self.place_of_range(range) {
            _ if self.standing != NodeStanding::Serves => RangeServer::Nobody,
            RangePlace::Here => RangeServer::Own,
            RangePlace::Peer(node) => self.peer(node).map_or(RangeServer::Nobody, RangeServer::Peer),
            RangePlace::Coming | RangePlace::Nobody => RangeServer::Nobody,
        }
    }

    /// Whether this node is to hear the clients of any range.
    pub fn serves_any(&self) -> bool {
        self.standing == NodeStanding::Serves && self.owners.contains(&RangePlace::Here)
    }

    /// The slots of all peers.
    pub fn slots(&self) -> ShardSet {
        let mut slots = ShardSet::default();
        self.peers.iter().for_each(|peer| slots.insert(peer.slot));
        slots
    }

    /// The process of a member, where one is known.
    pub fn peer(&self, node: NodeId) -> Option<&PeerProcess> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    /// The process that a slot stands for.
    pub fn peer_at(&self, slot: ShardId) -> Option<&PeerProcess> {
        self.peers.iter().find(|peer| peer.slot == slot)
    }
}

/// What a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotUse {
    Free,
    Of(NodeId, BootId),
    /// Its process is gone, and shards forget what that was interested in.
    BeingForgotten,
}

/// Gives slots to processes. See the module's text.
#[derive(Clone, Debug)]
pub struct PeerSlots {
    shards: usize,
    uses: Box<[SlotUse]>,
}

impl PeerSlots {
    /// Of a node with so many shards: all numbers behind theirs are free.
    pub fn new(shards: usize) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "a node has shards, and no more than there may be");
        Self { shards, uses: vec![SlotUse::Free; SHARDS_MAX - shards].into_boxed_slice() }
    }

    /// The slot of a process: the one that it has, or the lowest that is free. `None` while none is.
    pub fn take(&mut self, node: NodeId, boot: BootId) -> Option<ShardId> {
        let wanted = SlotUse::Of(node, boot);
        let had = self.uses.iter().position(|slot| *slot == wanted);
        let at = had.or_else(|| self.uses.iter().position(|slot| *slot == SlotUse::Free))?;
        self.uses[at] = wanted;
        Some(ShardId((self.shards + at) as u8))
    }

    /// The process of a slot is gone for good: nobody gets the slot until [`Self::forgotten`].
    pub fn gone(&mut self, slot: ShardId) {
        let slot = self.use_of(slot);
        assert!(matches!(slot, SlotUse::Of(..)), "a slot loses its process once");
        *slot = SlotUse::BeingForgotten;
    }

    /// No shard knows anything of the slot's last process any more: another one may have it.
    pub fn forgotten(&mut self, slot: ShardId) {
        let slot = self.use_of(slot);
        assert!(*slot == SlotUse::BeingForgotten, "a slot is forgotten once, after its process has gone");
        *slot = SlotUse::Free;
    }

    fn use_of(&mut self, slot: ShardId) -> &mut SlotUse {
        assert!(slot.is_slot(self.shards), "a real shard is no peer");
        &mut self.uses[slot.index() - self.shards]
    }
}
