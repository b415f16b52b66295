//! What a shard knows of its links. A broker without a cluster has none of it.
//!
//! Leaves to others: the connections themselves.

use std::collections::{BTreeSet, VecDeque};

use super::layer::LinkLayer;
use crate::cluster::{BootId, LINK_VERSION, LinkHandshake, LinkHello, LinkNonces, LinkSide, LinkTrust, NodeId};
use crate::ids::{ConnectionId, ShardId};
use crate::time::Deadline;

/// What a node says of itself where a link begins, and whom it believes.
#[derive(Clone, Debug)]
pub struct LinkTerms {
    /// How the ends know each other.
    pub trust: LinkTrust,
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
    terms: LinkTerms,
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
        }
    }

    /// When a connection is to be given up.
    pub(in crate::conn) fn next_deadline(&self) -> Option<Deadline> {
        [&self.dialling, &self.dialled, &self.accepted].into_iter().filter_map(|list| Some(list.front()?.0)).min()
    }

    /// The layer of a new connection.
    pub(super) fn layer(&mut self, side: LinkSide) -> LinkLayer {
        let nonce = self.terms.nonces.take();
        let LinkTerms { trust, cluster, node, boot, .. } = &self.terms;
        let versions = (LINK_VERSION, LINK_VERSION);
        let hello = LinkHello { versions, node: *node, boot: *boot, shards: self.shards, nonce, cluster };
        LinkLayer::new(LinkHandshake::new(side, trust.clone(), &hello))
    }
}
