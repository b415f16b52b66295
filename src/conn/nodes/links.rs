//! What a shard knows of its links, and of clients that wait for other nodes. A broker without a cluster has none of it.
//!
//! Leaves to others: the connections themselves.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::layer::LinkLayer;
use super::streams::LinkStreams;
use crate::cluster::{
    BootId, ClusterView, LINK_VERSION, LinkHandshake, LinkHello, LinkNonces, LinkPeer, LinkSide, LinkTrust, NodeId,
    RangeServer,
};
use crate::conn::layers::DialLayers;
use crate::conn::range_waiters::{AwaitedRange, RangeWait, RangeWaiters};
use crate::ids::{ConnectionId, ShardId};
use crate::time::{Deadline, Now};

/// What a node says of itself where a link begins, and whom it believes.
#[derive(Clone, Debug)]
pub struct LinkTerms {
    /// How the ends know each other.
    pub trust: LinkTrust,
    /// What is below the links that this node dials: TLS, where that is how they know each other.
    pub dials: DialLayers,
    /// The name of the cluster.
    pub cluster: Box<str>,
    /// This node, once it is a member.
    pub node: Option<NodeId>,
    /// This process.
    pub boot: BootId,
    /// Of this shard alone.
    pub nonces: LinkNonces,
}

/// See the module's text.
#[derive(Debug)]
pub(in crate::conn) struct NodeLinks {
    pub(super) terms: LinkTerms,
    /// How many shards this node has, and which one this is.
    shards: (u8, u8),
    /// Those that are being connected, by when they have to be.
    pub(super) dialling: VecDeque<(Deadline, ConnectionId)>,
    /// Dialled, by when their peers have to be known.
    pub(super) dialled: VecDeque<(Deadline, ConnectionId)>,
    /// The same of those that were accepted.
    pub(super) accepted: VecDeque<(Deadline, ConnectionId)>,
    /// Those of them that are not known.
    pub(super) unknown: BTreeSet<ConnectionId>,
    pub(super) streams: LinkStreams,
    /// Whether this node's beats come back to it.
    pub(super) is_heard: bool,
    /// Connections by which something has come that the other end has not been told of.
    pub(super) heard: Vec<ConnectionId>,
    /// Whether there is more for a link than it was given.
    pub(super) has_more: bool,
    /// Clients that wait until somebody serves them.
    pub(in crate::conn) waiters: RangeWaiters,
}

impl NodeLinks {
    pub(super) fn new(terms: LinkTerms, own: ShardId, shards: usize) -> Self {
        Self {
            terms,
            shards: (shards as u8, own.0),
            dialling: VecDeque::new(),
            dialled: VecDeque::new(),
            accepted: VecDeque::new(),
            unknown: BTreeSet::new(),
            streams: LinkStreams::default(),
            is_heard: false,
            heard: Vec::new(),
            has_more: false,
            waiters: RangeWaiters::default(),
        }
    }

    /// The shard that hears the links of a shard of another node: as many shards of theirs as can be spread over as many of ours.
    pub(super) fn hearer_of(&self, peer: LinkPeer) -> ShardId {
        ShardId(peer.shards.1 % self.shards.0)
    }

    /// Something that counts has come by a connection.
    pub(super) fn note_heard(&mut self, id: ConnectionId) {
        if self.heard.last() != Some(&id) {
            self.heard.push(id);
        }
    }

    /// Whether there is more for a link than it was given.
    pub(in crate::conn) const fn has_more(&self) -> bool {
        self.has_more
    }

    /// What this node knows of the cluster, once it does.
    pub(in crate::conn) fn view(&self) -> Option<&Arc<ClusterView>> {
        self.streams.view()
    }

    /// The next client that has waited for its range, if there is one whose wait is over.
    pub(in crate::conn) fn next_waiter(&mut self, now: Now) -> Option<AwaitedRange> {
        let view = self.streams.view()?;
        self.waiters.next(now, |wait| match wait {
            RangeWait::Anybody(range) => view.server_of(range) != RangeServer::Nobody,
            RangeWait::Own(range) => view.server_of(range) == RangeServer::Own,
            RangeWait::AnyOwn => view.serves_any(),
        })
    }

    /// When [`Self::next_waiter`] is to be asked.
    pub(in crate::conn) fn next_waiter_at(&self) -> Option<Deadline> {
        self.waiters.next_deadline()
    }

    /// When there is something to do with a link.
    pub(in crate::conn) fn next_deadline(&self) -> Option<Deadline> {
        let late = [&self.dialling, &self.dialled, &self.accepted].into_iter().filter_map(|list| Some(list.front()?.0));
        late.chain(self.streams.next_deadline()).min()
    }

    /// The layer of a new connection.
    pub(super) fn layer(&mut self, side: LinkSide) -> LinkLayer {
        let nonce = self.terms.nonces.take();
        let LinkTerms { trust, cluster, node, boot, .. } = &self.terms;
        let versions = (LINK_VERSION, LINK_VERSION);
        let hello = LinkHello {
            versions,
            node: *node,
            boot: *boot,
            shards: self.shards,
            carries_client: false,
            nonce,
            cluster,
        };
        LinkLayer::new(LinkHandshake::new(side, trust.clone(), &hello))
    }
}
