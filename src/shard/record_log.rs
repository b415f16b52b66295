//! What is written down, and what waits for it to be on stable storage: the shard's side of the store's seam.
//!
//! Always holds: where nothing is kept, nothing is written and nothing waits; positions ascend by one a record; a message is written once for all that refer to it in one change; waiters
//! are ordered by position, so that one word from the store releases a run from the front and no waiter is looked at twice.
//! Leaves to others: when there is a record, and what it means when it is read back (`store`).

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::Turn;
use super::interest::PendingSubAck;
use super::mesh::{ConfirmToken, Confirmation, PublishDetails};
use crate::codec::ReasonCode;
use crate::ids::{ConnectionId, MessageId, PacketId, SessionId, ShardId, ShardSet, WriteStamp};
use crate::session::{Message, Routed};
use crate::store::format::{InboxCount, LogRecord, MessageRecord};
use crate::store::{LogKeeping, LogStart, Position, Urgency};

/// See the module's text.
#[derive(Debug)]
pub(super) struct RecordLog {
    keeping: LogKeeping,
    last: Position,
    durable: Position,
    /// Of the last record of a session's end, or of one's that ends over several turns.
    last_end: Position,
    waiters: VecDeque<(Position, Waiter)>,
    /// No change that was begun before it is durable in part only.
    whole: Position,
}

/// What follows once a position is durable.
#[derive(Debug)]
pub(super) enum Waiter {
    /// An acknowledgement, here or on another shard, has one reason less to wait.
    Confirm(Confirmation),
    /// A message crosses to another shard.
    Forward(Box<HeldForward>),
    /// These shards are asked, for this acknowledgement, whether what has crossed before is durable.
    Barrier(ConfirmToken, ShardSet),
    /// The first messages of a queue can be read from the disk.
    Queue(SessionId),
    /// Something is sent on a connection, if it is still there.
    Send(ConnectionId, Held),
}

/// What is sent on a connection when what it says is durable.
#[derive(Debug)]
pub(super) enum Held {
    /// CONNACK, and whatever came behind it: the edge has them.
    ConnAck,
    /// What was in flight when an earlier connection ended.
    Backlog,
    /// A QoS 2 PUBLISH.
    Publish(PacketId),
    /// PUBREL, whose PUBREC has come.
    PubRel(PacketId),
    /// PUBCOMP with this code.
    PubComp(PacketId, ReasonCode),
    /// SUBACK, which every shard has applied.
    SubAck(Box<PendingSubAck>),
    /// UNSUBACK with a code for each filter.
    UnsubAck(Box<(PacketId, SmallVec<[ReasonCode; 8]>)>),
}

/// A message that waits for what it belongs to, and then crosses.
#[derive(Debug)]
pub(super) struct HeldForward {
    pub to: ShardId,
    pub message: Message,
    pub plain: bool,
    pub details: PublishDetails,
}

/// The numbers of what this shard's log sends to each other log, and what of theirs is still being delivered here.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    /// The last number that was given, by shard.
    numbered: Vec<u64>,
    /// How many wait, by the QoS of their publishers: what has the same goes behind them.
    pub waiting: [u32; 3],
    /// The writes to retained topics among them, in order.
    pub retained: VecDeque<WriteStamp>,
    /// What has come and has not been delivered to all who are to have it: it counts when it has.
    pub under_way: Vec<InboxCount>,
}

impl Forwards {
    /// The last number of what went to a shard.
    pub(super) fn numbered_mut(&mut self, to: ShardId) -> &mut u64 {
        if self.numbered.len() <= to.index() {
            self.numbered.resize(to.index() + 1, 0);
        }
        &mut self.numbered[to.index()]
    }
}

const _: () = assert!(size_of::<(Position, Waiter)>() <= 40, "a slow disk makes many wait");

impl RecordLog {
    /// Goes on behind what was recovered.
    pub(super) const fn new(start: LogStart) -> Self {
        let LogStart { keeping, last } = start;
        Self { keeping, last, durable: last, last_end: last, waiters: VecDeque::new(), whole: last }
    }

    /// Acknowledgements that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Writes a record down, where any are kept.
    #[inline]
    pub(super) fn append(&mut self, turn: &mut Turn<'_>, record: &LogRecord<'_>) {
        if self.is_kept() {
            self.encode(turn, record);
        }
    }

    #[inline(never)]
    fn encode(&mut self, turn: &mut Turn<'_>, record: &LogRecord<'_>) {
        self.last.0 += 1;
        if let LogRecord::SessionEnded { .. } | LogRecord::SessionExpiry { expiry_s: 0, .. } = record {
            self.last_end = self.last;
        }
        record.encode(self.last.0, &mut turn.fx.log.bytes);
        turn.fx.log.count += 1;
        turn.fx.log.last = self.last;
    }

    /// Writes down records that somebody else has encoded, and that refer to nothing.
    pub(super) fn append_encoded(&mut self, turn: &mut Turn<'_>, records: &[u8], count: u32) {
        self.last.0 += u64::from(count);
        turn.fx.log.bytes.extend_from_slice(records);
        turn.fx.log.count += count;
        turn.fx.log.last = self.last;
    }

    /// What a message is known by in the log, where it is written down if it has not been for this change. [`MessageId::NONE`] where
    /// nothing is kept.
    #[inline]
    pub(super) fn message(&mut self, turn: &mut Turn<'_>, routed: &mut Routed<'_>) -> MessageId {
        if routed.stored_as == MessageId::NONE && self.is_kept() {
            routed.stored_as = MessageId(self.last.0 + 1);
            self.append_message(turn, routed);
        }
        routed.stored_as
    }

    fn append_message(&mut self, turn: &mut Turn<'_>, routed: &mut Routed<'_>) {
        let id = routed.stored_as;
        let message = routed.share().borrow();
        let properties = message.properties.as_block().expect("what is kept has them as they go on");
        let whole = MessageRecord {
            id,
            qos: message.qos,
            retain: message.retain,
            expires: message.expires.map(|expires| turn.now.timestamp_of(expires)),
            publisher: message.publisher,
            topic: message.topic,
            properties,
            properties_bytes: properties.len() as u32,
            payload: message.payload,
            later_bytes: 0,
        };
        let (first, parts) = whole.cut();
        self.append(turn, &LogRecord::Message(first));
        for bytes in parts {
            self.append(turn, &LogRecord::MessagePart { message: id, bytes });
        }
    }

    /// The position of the newest record.
    pub(super) const fn last(&self) -> Position {
        self.last
    }

    /// Whether the store has everything.
    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.last
    }

    /// Whether records are kept at all.
    #[inline]
    pub(super) const fn is_kept(&self) -> bool {
        matches!(self.keeping, LogKeeping::Disk)
    }

    /// Whether a restart could still bring a session back that has ended.
    pub(super) fn ends_must_wait(&self) -> bool {
        self.last_end > self.durable
    }

    /// Whether what is said from now on of what has been appended has to wait.
    #[inline]
    pub(super) fn must_wait(&self) -> bool {
        !self.is_durable()
    }

    /// Confirms to whoever waits, here or on another shard, once everything appended so far is durable.
    pub(super) fn wait(&mut self, turn: &mut Turn<'_>, confirmation: Confirmation) {
        self.wait_for(turn, Waiter::Confirm(confirmation));
    }

    /// The same of anything else that waits.
    pub(super) fn wait_for(&mut self, turn: &mut Turn<'_>, waiter: Waiter) {
        turn.fx.log.urgency = Urgency::Awaited;
        self.waiters.push_back((self.last, waiter));
    }

    /// Has something wait that is sent on a connection.
    pub(super) fn hold(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, held: Held) {
        self.wait_for(turn, Waiter::Send(connection, held));
    }

    /// The store has everything up to `position`.
    pub(super) fn durable(&mut self, position: Position) {
        assert!(self.durable <= position && position <= self.last, "the store confirms what it was given, in order");
        self.durable = position;
        if self.is_durable() {
            self.whole = position;
        }
    }

    /// Whether all records of a message are on the disk.
    pub(super) fn has_message(&self, id: MessageId) -> bool {
        id.0 <= self.whole.0 || self.is_durable()
    }

    /// Whether everything up to `position` is durable.
    pub(super) fn has(&self, position: Position) -> bool {
        self.durable >= position
    }

    /// Whether somebody is to be told.
    pub(super) fn has_ready(&self) -> bool {
        self.waiters.front().is_some_and(|(position, _)| *position <= self.durable)
    }

    /// The next one to be told.
    pub(super) fn next_ready(&mut self) -> Option<Waiter> {
        if !self.has_ready() {
            return None;
        }
        let (position, waiter) = self.waiters.pop_front()?;
        // Nobody begins to wait within a message.
        self.whole = self.whole.max(position);
        Some(waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConfirmToken, Effects};
    use super::*;
    use crate::ids::{ConnectionId, SessionId, ShardId};
    use crate::session::AckNumber;
    use crate::store::format::Records;
    use crate::time::Now;

    fn log(keeping: LogKeeping) -> RecordLog {
        RecordLog::new(LogStart { keeping, last: Position(7) })
    }

    #[test]
    fn waiters_are_told_in_order_and_not_before_their_record_is_durable() {
        let mut log = log(LogKeeping::Disk);
        let mut fx = Effects::default();
        let mut turn = Turn { now: Now { mono_ns: 0, unix_ms: 0 }, fx: &mut fx };
        let waiter = |slot| {
            let connection = ConnectionId::new(slot, 0);
            Confirmation::of(ConfirmToken { shard: ShardId(0), connection, number: AckNumber(0) })
        };
        for slot in 0..3 {
            log.append(&mut turn, &LogRecord::SessionEnded { session: SessionId(slot) });
            log.wait(&mut turn, waiter(slot));
        }
        assert!(log.next_ready().is_none());
        log.durable(Position(9));
        let ready = std::iter::from_fn(|| log.next_ready());
        let told: Vec<_> = ready.map(|told| matches!(told, Waiter::Confirm(one) if one == waiter(0))).collect();
        assert_eq!(told, [true, false]);
        assert_eq!((fx.log.count, fx.log.last, fx.log.urgency), (3, Position(10), Urgency::Awaited));
    }

    #[test]
    fn where_nothing_is_kept_nothing_is_written_and_nothing_waits() {
        let mut log = log(LogKeeping::Memory);
        let mut fx = Effects::default();
        let mut turn = Turn { now: Now { mono_ns: 0, unix_ms: 0 }, fx: &mut fx };
        log.append(&mut turn, &LogRecord::SessionEnded { session: SessionId(0) });
        let delivery = crate::session::delivery::tests::delivery("t");
        assert_eq!(log.message(&mut turn, &mut Routed::shared(&delivery.message)), MessageId::NONE);
        assert!(!log.must_wait() && log.is_durable() && fx.log.is_empty());
    }

    #[test]
    fn what_is_kept_is_encoded_with_the_positions_that_it_gets() {
        let mut log = log(LogKeeping::Disk);
        let mut fx = Effects::default();
        let mut turn = Turn { now: Now { mono_ns: 0, unix_ms: 0 }, fx: &mut fx };
        let delivery = crate::session::delivery::tests::delivery("t");
        let mut routed = Routed::shared(&delivery.message);
        let id = log.message(&mut turn, &mut routed);
        assert_eq!((id, log.message(&mut turn, &mut routed)), (MessageId(8), id), "it is written once");
        log.append(&mut turn, &LogRecord::Dropped { session: SessionId(4), message: id, reason: 1 });
        let group = fx.log.group();
        let read: Vec<_> = Records::of_batch(group.records, 8).map(|record| record.expect("a record").record).collect();
        assert!(matches!(read[0], LogRecord::Message(message) if message.topic == "t" && message.id == id));
        assert_eq!(read[1..], [LogRecord::Dropped { session: SessionId(4), message: id, reason: 1 }]);
        assert_eq!((group.count, group.urgency), (2, Urgency::Lazy));
    }
}
