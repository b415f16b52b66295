//! Everything that a node asks of the engine, and what it tells the shards and the edge.

use std::sync::Arc;

use super::document::ControlKey;
use super::exchange::{LogOperation, LossReason};
use super::membership::ControlPut;
use super::range::{Mark, NodeId, RangeId, RangeSet};
use super::run::LogDamage;
use super::view::ClusterView;
use crate::ids::ShardId;

/// What a node asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAsk {
    /// Show all documents of the control store from the beginning, then every change. Of what was watched before nothing is told any more.
    Watch,
    /// Store a document.
    Put(ControlPut),
    /// Something about a range's log.
    Log {
        /// Whose.
        range: RangeId,
        /// Of which attempt to own it, for the answer and for messages that are read: what belongs to an earlier one is nothing to a later.
        attempt: u32,
        /// What.
        operation: LogOperation,
    },
}

/// What a node tells, in the order in which it is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeNews {
    /// Shards and links go by this view from now on. It comes before the clients of ranges are closed, and behind what makes a range
    /// [`Here`](super::RangePlace::Here).
    View(Arc<ClusterView>),
    /// What PINGs on links and their answers say of this node from now on; at first that it is not heard.
    Heard(bool),
    /// Close all clients of these ranges without another word about them; [`ClusterNode::handle_closed`](super::ClusterNode::handle_closed) when that is done.
    CloseRanges(RangeSet),
    /// The process of a slot is gone: forget it; [`ClusterNode::handle_forgotten`](super::ClusterNode::handle_forgotten) when that is done.
    ForgetSlot(ShardId),
    /// What is known of a range's log is worth nothing: it is read from its beginning, because it is claimed, or was purged meanwhile.
    BegunAnew(RangeId),
    /// The node owns a range. Everything that was read is what had happened.
    Owned {
        /// Which.
        range: RangeId,
        /// Of its run.
        mark: Mark,
    },
    /// It does not own it any more. What was not durable may be in the log, or not.
    Lost {
        /// Which.
        range: RangeId,
        /// How that was seen.
        reason: LossReason,
    },
    /// Every message of a range's run up to this number is stored, counts, and may be acknowledged.
    Durable {
        /// Which.
        range: RangeId,
        /// In order.
        n: u64,
    },
    /// No replica has a range's log without damage: it is not served until an operator has looked at it.
    Quarantined {
        /// Which.
        range: RangeId,
        /// Where it is damaged.
        sequence: u64,
        /// What was found there last.
        damage: LogDamage,
    },
    /// A member's beat has stood still; the map is to be changed.
    Dead(NodeId),
    /// A member beats, and lacks more links than any other, or as many and has the higher number; the map is to be changed.
    CutOff(NodeId),
    /// This node is not a member any more. It forgets everything and begins anew once its clients are closed.
    Expelled,
    /// The process has nothing to do here any more: nothing is asked or told behind it.
    Ends(EndReason),
}

/// Why a node ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Another process has its name.
    Replaced,
    /// The control store belongs to another cluster, or has a document that cannot be read.
    Unusable(ControlKey, String),
}
