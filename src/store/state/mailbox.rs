//! What a log sends to others, and how far it has taken over what they sent.
//!
//! A log numbers what it sends to each other log, and the other counts what it has taken over in the batches that carry what came of it.
//! So what has to be sent again is what lies beyond the other's count, and nothing arrives twice or not at all.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::ShardId;
use crate::store::format::{ForwardTarget, MessageId, WriteStamp};

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    outboxes: BTreeMap<ShardId, LogOutbox>,
    /// The last number that was taken over, by where it came from.
    taken: BTreeMap<ShardId, u64>,
}

/// Everything on its way to one other log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LogOutbox {
    /// The last number that was given.
    numbered: u64,
    forwards: VecDeque<StoredForward>,
}

/// A message on its way to another log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredForward {
    /// Counts what goes there from this log.
    pub number: u64,
    /// What.
    pub message: MessageId,
    /// Whether plain subscriptions get it.
    pub plain: bool,
    /// Set when it is also a write to the retained store.
    pub retained: Option<WriteStamp>,
    /// Keys of shared subscriptions of which a member there was picked.
    pub groups: Vec<u64>,
}

impl Mailbox {
    /// What is on its way to a log, the oldest first.
    pub fn forwards(&self, to: ShardId) -> impl Iterator<Item = &StoredForward> {
        self.outboxes.get(&to).into_iter().flat_map(|outbox| &outbox.forwards)
    }

    /// The logs that something was ever sent to, and the last number.
    pub fn numbered(&self) -> impl Iterator<Item = (ShardId, u64)> {
        self.outboxes.iter().map(|(to, outbox)| (*to, outbox.numbered))
    }

    /// The logs that something was ever taken over from, and the last number.
    pub fn taken(&self) -> impl Iterator<Item = (ShardId, u64)> {
        self.taken.iter().map(|(from, number)| (*from, *number))
    }

    /// How far a log's forwards were taken over.
    pub fn taken_from(&self, from: ShardId) -> u64 {
        self.taken.get(&from).copied().unwrap_or(0)
    }

    /// `false` for a number that was seen before.
    pub(super) fn push(&mut self, target: &ForwardTarget<'_>) -> bool {
        let outbox = self.outboxes.entry(target.to).or_default();
        if target.number <= outbox.numbered {
            return false;
        }
        outbox.numbered = target.number;
        outbox.forwards.push_back(StoredForward {
            number: target.number,
            message: target.message,
            plain: target.plain,
            retained: target.retained,
            groups: target.groups.iter().collect(),
        });
        true
    }

    pub(super) fn note_numbered(&mut self, to: ShardId, number: u64) {
        let outbox = self.outboxes.entry(to).or_default();
        outbox.numbered = outbox.numbered.max(number);
    }

    pub(super) fn note_taken(&mut self, from: ShardId, number: u64) {
        let taken = self.taken.entry(from).or_default();
        *taken = number.max(*taken);
    }

    /// The other log has taken over everything up to `number`: it is not sent again, and no number up to there is given again,
    /// even when the record of it was lost with the power. Gives the messages that are on their way no more.
    pub(super) fn confirm(&mut self, to: ShardId, number: u64) -> Vec<MessageId> {
        self.note_numbered(to, number);
        let Some(outbox) = self.outboxes.get_mut(&to) else { return Vec::new() };
        let done = outbox.forwards.partition_point(|forward| forward.number <= number);
        outbox.forwards.drain(..done).map(|forward| forward.message).collect()
    }
}
