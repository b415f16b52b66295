//! The part of a shard that knows who gets which message.
//!
//! Owns: this shard's replica of the subscription index, its copy of the retained messages, and what it has announced to the
//! other shards.
//! Always holds: what other shards were told of this one's subscriptions is what the index has.
//! Leaves to others: what becomes of a message at the session that gets it (`clients`, which its methods are handed).
//!
//! Its methods are where their subject is: `route`, `crowd`, `groups`, `teardown`, `subscribe`, `work`, `peer_words`, `route_nodes`, `from_nodes`.

use std::collections::VecDeque;

use super::fanouts::FanoutsUnderWay;
use super::interest::Announcements;
use super::nodes::Nodes;
use super::retained::RetainedStore;
use super::settings::ProcessContext;
use crate::ids::{ShardId, ShardSet};
use crate::time::Deadline;
use crate::topic::{Matches, SubscriptionIndex};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Router {
    /// The other shards of this node.
    pub others_here: ShardSet,
    /// These and the processes of other nodes that the view has: whoever a message may be sent to.
    pub others: ShardSet,
    pub index: SubscriptionIndex,
    pub retained: RetainedStore,
    pub announcements: Announcements,
    /// Subscriptions since the last turn, counted while sessions that have ended are being taken down.
    pub inserted_meanwhile: usize,
    /// Shared subscriptions whose members the other shards were told are busy, and when somebody looks again: in order.
    pub busy_groups: VecDeque<(Deadline, u64)>,
    /// Messages on their way to many subscribers.
    pub fanouts: FanoutsUnderWay,
    /// Kept for its memory: the result of the latest match. `None` while a message is being routed.
    pub matches: Option<Box<Matches>>,
    /// What is known of other nodes; none without a cluster.
    pub nodes: Option<Box<Nodes>>,
}

impl Router {
    /// Nobody subscribes, and nothing is retained.
    pub(super) fn new(id: ShardId, process: &ProcessContext) -> Self {
        let others = ShardSet::all_but(id, process.settings.shards);
        Self {
            others_here: others,
            others,
            index: SubscriptionIndex::new(process.keys, id),
            retained: RetainedStore::new(process.stamps),
            announcements: Announcements::new(id, process.settings.shards),
            inserted_meanwhile: 0,
            busy_groups: VecDeque::new(),
            fanouts: FanoutsUnderWay::default(),
            matches: None,
            nodes: None,
        }
    }
}
