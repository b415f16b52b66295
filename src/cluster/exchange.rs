//! Everything that a range's log asks of the engine, what comes back, and what it tells its node.
//!
//! Always holds: an answer names what it answers, so that a late one is known for what it is. A refusal is the engine's word that the log does not end
//! where it was said to end; whatever else goes wrong is a failure, after which nobody knows whether the message was stored.

use super::range::{BootId, Mark, NodeId, RangeId};
use super::run::LogDamage;

/// Who wants to own which range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeClaim {
    /// Whose log is read and marked.
    pub range: RangeId,
    /// The owner to be.
    pub node: NodeId,
    /// Its process.
    pub boot: BootId,
    /// Counts the claims of this process for this range.
    pub attempt: u32,
    /// The log has had a message with this sequence: one that ends before it has lost something. 0 where nothing is known.
    pub floor: u64,
}

/// One attempt to append one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendId {
    /// The number of the message in its run.
    pub n: u64,
    /// From 1.
    pub attempt: u32,
}

/// What the engine is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOperation {
    /// Where the log begins and ends.
    Look,
    /// Its messages from one sequence to another, both included, in order.
    Read {
        /// What comes of it names this.
        read: u32,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Have another replica lead, from which is read from then on.
    StepDown,
    /// Store a message if the log ends with `expected_last`.
    Append {
        /// For the answer.
        id: AppendId,
        /// The last sequence that the log is to have.
        expected_last: u64,
        /// `Nats-Msg-Id`: what the engine knows a repetition by.
        message_id: String,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Remove every message before this sequence.
    Purge {
        /// It stays.
        before: u64,
    },
}

/// What the engine says. Messages that were read come apart, because they are borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAnswer {
    /// The log has these; `last` is `first - 1` where it has none.
    Info {
        /// The first sequence.
        first: u64,
        /// The newest message's.
        last: u64,
    },
    /// Nothing came of a look.
    LookFailed,
    /// No more messages come of a [`LogOperation::Read`].
    ReadEnded {
        /// Which.
        read: u32,
        /// Whether the replica has given all that it has, in contrast to a connection that broke.
        is_whole: bool,
    },
    /// Another replica leads, or none would.
    SteppedDown,
    /// Stored, now or before.
    Appended {
        /// As it was asked.
        id: AppendId,
        /// The sequence that the message has.
        sequence: u64,
    },
    /// Not stored, because the log does not end as expected.
    Refused {
        /// As it was asked.
        id: AppendId,
    },
    /// Nothing is known: it may be stored, or not, or later.
    Failed {
        /// As it was asked.
        id: AppendId,
    },
    /// What was to be removed has gone.
    Purged,
    /// Or nothing is known of it.
    PurgeFailed,
}

/// What a node is told of the log of a range that it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeNews {
    /// What was read so far is worth nothing: the log was purged meanwhile and is read from its new beginning.
    BegunAnew,
    /// The node owns the range. Everything that was read is what had happened.
    Owned {
        /// Of its run.
        mark: Mark,
    },
    /// Every message of the run up to this number is stored, and counts.
    Durable {
        /// In order, without gaps.
        n: u64,
    },
    /// The node does not own the range any more. What was not durable may be in the log, or not.
    Lost {
        /// How that was seen.
        reason: LossReason,
    },
    /// No replica has the log without damage. It is not served until an operator has looked at it.
    Quarantined {
        /// Where it is damaged.
        sequence: u64,
        /// What was found there last.
        damage: LogDamage,
    },
}

/// How an owner sees that it is none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Its next message was refused.
    Refused,
    /// The engine has given a message of its run a place that is not its own.
    Misplaced,
    /// It gave the range up.
    Released,
}
