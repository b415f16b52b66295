//! What shards say to each other. Each pair of shards has one channel that keeps order and loses nothing.
//!
//! Always holds: a short message crosses as bytes in its batch, so that neither shard allocates for it or frees what the
//! other has allocated; what the sender keeps anyway, and what is long, is shared.
//! Leaves to others: when a batch is sent and what becomes of its memory (`runtime`).
//!
//! On a node of a cluster, what is pushed for a peer's slot is for the peer's process: `link_words` says it by a link.

use std::sync::Arc;

use smallvec::SmallVec;

use super::sampled::SampledMessage;
use crate::cluster::ClusterView;
use crate::ids::{ConnectionId, ShardId, WriteStamp};
use crate::session::{AckNumber, Copied, Message, Reception, Routed};
use crate::store::LogRoom;
use crate::store::format::InboxCount;
use crate::telemetry::Report;
use crate::time::Now;
use crate::topic::{Interest, MemberRoom};

/// Where a process's stamps begin: the same on all of its shards. They read one monotonic clock, so a client that publishes after it has
/// seen an earlier write acknowledged gets the later stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampClock {
    /// The wall clock at the monotonic clock's zero. The wall clock may be set meanwhile: stamps go on with the monotonic
    /// one.
    unix_ns_at_zero: u64,
    /// The last stamp of the process before.
    last_ns: u64,
}

impl StampClock {
    /// Of a process that begins at `now`, and goes on after stamps up to `last_ns`.
    pub const fn new(now: Now, last_ns: u64) -> Self {
        Self { unix_ns_at_zero: (now.unix_ms * 1_000_000).saturating_sub(now.mono_ns), last_ns }
    }

    /// A time for a stamp, later than every one seen before.
    pub(super) fn next_ns(&mut self, now: Now) -> u64 {
        self.last_ns = (self.unix_ns_at_zero + now.mono_ns).max(self.last_ns + 1);
        self.last_ns
    }

    /// Another shard has given this time.
    pub(super) fn seen(&mut self, time_ns: u64) {
        self.last_ns = self.last_ns.max(time_ns);
    }
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

/// What whoever published a message waits for, and what is known of its reception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The acknowledgement that waits.
    pub token: ConfirmToken,
    /// What became of the message so far, at those whom this answers for.
    pub reception: Reception,
}

impl Confirmation {
    /// Of which nothing is known, or nothing is to be said.
    pub const fn of(token: ConfirmToken) -> Self {
        Self { token, reception: Reception::NotTaken }
    }

    /// With what somebody else has found.
    pub(super) fn and(self, reception: Reception) -> Self {
        Self { reception: self.reception.max(reception), ..self }
    }
}

/// What a message between shards may have to say besides itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishDetails {
    /// Shared groups, by key, of which a member on the receiving shard was picked.
    pub groups: SmallVec<[u64; 2]>,
    /// Set when it is also a write to the retained store, which every shard has a copy of.
    pub retained: Option<WriteStamp>,
    /// Set for one that arrives once: it is counted in the change that has what came of it.
    pub forward: Option<InboxCount>,
    /// Asks for [`MeshMessage::Stored`] once every record that it led to is durable, and the queues that it stands in have room.
    pub confirm: Option<Confirmation>,
    /// Set for one that is sampled.
    pub sampled: Option<Arc<SampledMessage>>,
    /// Whether the groups are another node's choice: then it is for their members on this node, and where there are none any more, for those of one other
    /// node.
    pub of_node: bool,
    /// Whether they were a node's before that had no members any more: then nobody passes it on to another one.
    pub passed_on: bool,
}

impl PublishDetails {
    /// `None` for one that says nothing.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        // Whose choice groups are says nothing where there are none.
        let Self { groups, retained, forward, confirm, sampled, of_node: _, passed_on: _ } = &self;
        let is_a_write = retained.is_some() || forward.is_some();
        let says_nothing = groups.is_empty() && !is_a_write && confirm.is_none() && sampled.is_none();
        (!says_nothing).then(|| Box::new(self))
    }
}

/// An application message between two shards.
#[derive(Clone, Debug)]
pub enum MessageInTransit {
    /// In the bytes of its batch.
    Copied(Copied),
    /// The same on both shards.
    Shared(Message),
}

impl MessageInTransit {
    /// The message as a shard routes it; `bytes` are its batch's.
    pub(super) fn routed<'a>(&'a self, bytes: &'a [u8]) -> Routed<'a> {
        match self {
            Self::Copied(copied) => Routed::borrowed(copied.borrow(bytes)),
            Self::Shared(message) => Routed::shared(message),
        }
    }
}

/// One message between two shards.
#[derive(Clone, Debug)]
pub enum MeshMessage {
    /// An application message for the receiver's subscribers: one per interested shard, never per subscriber.
    Publish {
        /// In the batch's bytes, or shared by reference.
        message: MessageInTransit,
        /// Whether the receiver's plain subscriptions get it.
        plain: bool,
        /// `None` if there is nothing else to say, as mostly: a message that crosses is copied from core to core.
        details: Option<Box<PublishDetails>>,
    },
    /// Asks for [`MeshMessage::Stored`] once everything that the sender's messages so far have led to is durable.
    Barrier {
        /// To be answered with.
        token: ConfirmToken,
    },
    /// Answers [`PublishDetails::confirm`] and `Barrier`.
    Stored {
        /// As it was asked.
        confirmation: Confirmation,
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
    /// What the sender's members of a shared subscription can do with a message now.
    GroupRoom {
        /// Of the shared subscription.
        key: u64,
        /// The best that one of them can do.
        room: MemberRoom,
    },
    /// An operator has deleted a retained message: a write to the retained store that subscribers are not shown.
    RetainedDeleted {
        /// On which nothing is retained from now on.
        topic: Box<str>,
        /// Of the deletion.
        stamp: WriteStamp,
    },
    /// What the sender's log has room for now.
    LogRoom {
        /// From now on.
        room: LogRoom,
    },
    /// The sender's numbers, for `$SYS`; sent to shard 0.
    Report(Box<Report>),
    /// The cluster as it is from now on. Shard 0 tells the others, before all that is about it.
    View(Arc<ClusterView>),
    /// A peer's interest in a filter has changed: shard 0 passes on what it heard.
    PeerInterest {
        /// Its slot.
        peer: ShardId,
        /// Counts what shard 0 has passed on, of all peers: not the peer's own number, which says nothing about this node's shards.
        number: u64,
        /// The whole filter, `$share/...` included.
        filter: Box<str>,
        /// What the peer is interested in now.
        interest: Interest,
    },
    /// Every `PeerInterest` of shard 0 up to this one has been applied by the sender.
    PeerApplied {
        /// Shard 0's count.
        number: u64,
    },
    /// What a peer's members of a shared subscription can do with a message now: shard 0 passes on what it heard.
    PeerRoom {
        /// Its slot.
        peer: ShardId,
        /// Of the shared subscription.
        key: u64,
        /// The best that one of them can do.
        room: MemberRoom,
    },
    /// A peer's answer to a question of the receiver, which came by another shard's link.
    PeerStored {
        /// Its slot.
        peer: ShardId,
        /// Of the receiver's questions.
        number: AckNumber,
        /// What became of the message there.
        reception: Reception,
    },
    /// Asks for a page of what the receiver's own sessions are interested in, for a peer that knows nothing yet; sent by shard 0.
    TellInterest {
        /// Its slot.
        peer: ShardId,
    },
    /// A part of what the sender is interested in: of a shard to shard 0, which tells the peer; of a peer, only that this was all.
    ToldInterest {
        /// The slot of whoever is told, or has told.
        peer: ShardId,
        /// Which part.
        told: InterestTold,
    },
    /// All that the process with this slot was interested in is to be forgotten; sent by shard 0.
    ForgetSlot {
        /// Its slot, which no view has any more.
        slot: ShardId,
    },
    /// The sender knows nothing of the slot's process any more; sent to shard 0.
    SlotForgotten {
        /// As it was told.
        slot: ShardId,
    },
    /// The sender, a peer, has applied all that it was told until it was told that this was all.
    Synced,
    /// The sender, a peer, waits for this node before each SUBACK from now on.
    Counted,
}

/// A part of all that a shard, or a node, is interested in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterestTold {
    /// This filter, `$share/...` included, is among it.
    Filter(Box<str>),
    /// There is more: the next page has to be asked for.
    Page,
    /// That was all.
    All,
}

// There are as many of them as there are messages, and questions, on their way.
const _: () = assert!(size_of::<MeshMessage>() <= 72 && size_of::<ConfirmToken>() <= 16);

/// Messages to one shard, in order.
#[derive(Debug, Default)]
pub struct MeshBatch {
    /// What is said.
    pub messages: Vec<MeshMessage>,
    /// Of those that are [`MessageInTransit::Copied`].
    pub bytes: Vec<u8>,
}

impl MeshBatch {
    /// Empties it and keeps its memory, for so many messages and bytes at most.
    pub fn clear(&mut self, messages_max: usize, bytes_max: usize) {
        self.messages.clear();
        self.messages.shrink_to(messages_max);
        self.bytes.clear();
        self.bytes.shrink_to(bytes_max);
    }

    /// Takes it apart into batches of one message each, for whoever delays or loses every message by itself: the
    /// simulator and tests.
    pub fn singles(&mut self) -> impl Iterator<Item = Self> {
        let bytes = std::mem::take(&mut self.bytes);
        std::mem::take(&mut self.messages).into_iter().map(move |message| match message {
            MeshMessage::Publish { message: MessageInTransit::Copied(copied), plain, details } => {
                let mut own = Vec::new();
                let copied = Copied::append(&copied.borrow(&bytes), &mut own).expect("it was short enough before");
                let message = MeshMessage::Publish { message: MessageInTransit::Copied(copied), plain, details };
                Self { messages: vec![message], bytes: own }
            }
            message => Self { messages: vec![message], bytes: Vec::new() },
        })
    }
}

/// What a shard has to say to the others: a batch for each.
#[derive(Debug, Default)]
pub struct MeshOut(Vec<MeshBatch>);

impl MeshOut {
    /// The batch for a shard, made if it is the first message to it.
    pub fn to(&mut self, shard: ShardId) -> &mut MeshBatch {
        if self.0.len() <= shard.index() {
            self.0.resize_with(shard.index() + 1, MeshBatch::default);
        }
        &mut self.0[shard.index()]
    }

    /// Appends a message that is no application message.
    pub(super) fn push(&mut self, to: ShardId, message: MeshMessage) {
        self.to(to).messages.push(message);
    }

    /// Appends an application message: copied, unless it is long or kept by somebody anyway.
    pub(super) fn publish(&mut self, to: ShardId, routed: &mut Routed<'_>, plain: bool, details: PublishDetails) {
        let batch = self.to(to);
        let copied = match routed.already_shared() {
            None => Copied::append(&routed.message, &mut batch.bytes).map(MessageInTransit::Copied),
            Some(_) => None,
        };
        let message = copied.unwrap_or_else(|| MessageInTransit::Shared(routed.share().clone()));
        batch.messages.push(MeshMessage::Publish { message, plain, details: details.boxed() });
    }

    /// All batches that are not empty, with the shard that each is for.
    pub fn batches(&mut self) -> impl Iterator<Item = (ShardId, &mut MeshBatch)> {
        let batches = self.0.iter_mut().enumerate().filter(|(_, batch)| !batch.messages.is_empty());
        batches.map(|(shard, batch)| (ShardId(shard as u8), batch))
    }

    /// Forgets what is for a process that is gone.
    pub(super) fn forget(&mut self, slot: ShardId) {
        if let Some(batch) = self.0.get_mut(slot.index()) {
            batch.clear(0, 0);
        }
    }

    /// Batches for other nodes' processes that are not empty, where this node has so many shards.
    pub fn batches_of_nodes(&mut self, shards: usize) -> impl Iterator<Item = (ShardId, &mut MeshBatch)> {
        let batches = self.0.iter_mut().enumerate().skip(shards);
        batches.filter(|(_, batch)| !batch.messages.is_empty()).map(|(slot, batch)| (ShardId(slot as u8), batch))
    }

    /// Messages that wait for a shard.
    pub fn waiting_for(&self, shard: ShardId) -> usize {
        self.0.get(shard.index()).map_or(0, |batch| batch.messages.len())
    }
}
