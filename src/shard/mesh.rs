//! What shards say to each other. Each pair of shards has one channel that keeps order and loses nothing.

use smallvec::SmallVec;

use crate::ids::{ConnectionId, ShardId};
use crate::session::{AckNumber, Message};
use crate::telemetry::{Counters, Gauges};
use crate::topic::Interest;

/// Orders the writes to one retained topic across shards: a hybrid logical clock. All shards of a process read one
/// monotonic clock, so a client that publishes after it has seen an earlier write acknowledged gets the later stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp {
    /// Monotonic nanoseconds, pushed beyond every stamp seen before.
    pub time_ns: u64,
    /// The writing shard, so that no two stamps are equal.
    pub shard: u8,
}

/// The acknowledgement at the publisher's shard that waits for another shard's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmToken {
    /// The publisher's shard.
    pub shard: ShardId,
    /// The publisher's connection.
    pub connection: ConnectionId,
    /// Its acknowledgement.
    pub number: AckNumber,
}

/// What a message between shards may have to say besides itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rider {
    /// Shared groups, by key, of which a member on the receiving shard was picked.
    pub groups: SmallVec<[u64; 2]>,
    /// Set when it is also a write to the retained store, which every shard has a copy of.
    pub retained: Option<Stamp>,
    /// Asks for [`MeshMessage::Stored`] once every record that it led to is durable.
    pub confirm: Option<ConfirmToken>,
}

impl Rider {
    /// `None` for one that says nothing.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// One message between two shards.
#[derive(Clone, Debug)]
pub enum MeshMessage {
    /// An application message for the receiver's subscribers: one per interested shard, never per subscriber.
    Publish {
        /// The message.
        message: Message,
        /// Whether the receiver's plain subscriptions get it.
        plain: bool,
        /// `None` if there is nothing else to say, as mostly: a message that crosses is copied from core to core.
        rider: Option<Box<Rider>>,
    },
    /// Asks for [`MeshMessage::Stored`] once everything that the sender's messages so far have led to is durable.
    Barrier {
        /// To be answered with.
        token: ConfirmToken,
    },
    /// Answers [`Rider::confirm`] and `Barrier`.
    Stored {
        /// As it was asked.
        token: ConfirmToken,
    },
    /// The sender's interest in a filter has changed.
    Interest {
        /// Counts the sender's announcements.
        number: u64,
        /// The whole filter, `$share/...` included.
        filter: Box<str>,
        /// What the sender is interested in now.
        interest: Interest,
    },
    /// Every announcement of the receiver up to this one has been applied by the sender.
    Applied {
        /// The receiver's announcement.
        number: u64,
    },
    /// The sender's numbers, for `$SYS`; sent to shard 0.
    Report(Box<(Counters, Gauges)>),
}
