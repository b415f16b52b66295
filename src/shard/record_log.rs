//! What is written down, and what waits for it to be on stable storage: the shard's side of the store's seam.
//!
//! Always holds: positions ascend by one a record; a message is written once for all that refer to it in one change; waiters
//! are ordered by position, so that one word from the store releases a run from the front and no waiter is looked at twice.
//! Leaves to others: when there is a record, and what it means when it is read back (`store`).

use std::collections::VecDeque;

use super::Turn;
use super::mesh::Confirmation;
use crate::ids::MessageId;
use crate::session::Routed;
use crate::store::format::{LogRecord, MessageRecord};
use crate::store::{LogKeeping, LogStart, Position, Urgency};

/// See the module's text.
#[derive(Debug)]
pub(super) struct RecordLog {
    keeping: LogKeeping,
    last: Position,
    durable: Position,
    waiters: VecDeque<(Position, Confirmation)>,
}

impl RecordLog {
    /// Goes on behind what was recovered.
    pub(super) const fn new(start: LogStart) -> Self {
        let LogStart { keeping, last } = start;
        Self { keeping, last, durable: last, waiters: VecDeque::new() }
    }

    /// Acknowledgements that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Writes a record down.
    #[inline]
    pub(super) fn append(&mut self, turn: &mut Turn<'_>, record: &LogRecord<'_>) {
        self.last.0 += 1;
        if self.keeping == LogKeeping::Disk {
            record.encode(self.last.0, &mut turn.fx.log.bytes);
        }
        turn.fx.log.count += 1;
        turn.fx.log.last = self.last;
    }

    /// What a message is known by in the log, where it is written down if it has not been for this change.
    #[inline]
    pub(super) fn message(&mut self, turn: &mut Turn<'_>, routed: &mut Routed<'_>) -> MessageId {
        if routed.stored_as == MessageId::NONE {
            routed.stored_as = MessageId(self.last.0 + 1);
            self.append_message(turn, routed);
        }
        routed.stored_as
    }

    fn append_message(&mut self, turn: &mut Turn<'_>, routed: &mut Routed<'_>) {
        if self.keeping == LogKeeping::Memory {
            self.last.0 += 1;
            turn.fx.log.count += 1;
            turn.fx.log.last = self.last;
            return;
        }
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

    /// Confirms to `waiter`, here or on another shard, once everything appended so far is durable.
    pub(super) fn wait(&mut self, turn: &mut Turn<'_>, waiter: Confirmation) {
        turn.fx.log.urgency = Urgency::Awaited;
        self.waiters.push_back((self.last, waiter));
    }

    /// The store has everything up to `position`.
    pub(super) fn durable(&mut self, position: Position) {
        assert!(self.durable <= position && position <= self.last, "the store confirms what it was given, in order");
        self.durable = position;
    }

    /// The next one to be told.
    pub(super) fn next_ready(&mut self) -> Option<Confirmation> {
        let &(position, waiter) = self.waiters.front()?;
        if position > self.durable {
            return None;
        }
        self.waiters.pop_front();
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

    fn start(keeping: LogKeeping) -> LogStart {
        LogStart { keeping, last: Position(7) }
    }

    #[test]
    fn waiters_are_told_in_order_and_not_before_their_record_is_durable() {
        let mut log = RecordLog::new(start(LogKeeping::Memory));
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
        assert_eq!(log.next_ready(), Some(waiter(0)));
        assert_eq!(log.next_ready(), Some(waiter(1)));
        assert_eq!(log.next_ready(), None);
        assert_eq!((fx.log.count, fx.log.last, fx.log.bytes.len()), (3, Position(10), 0));
    }

    #[test]
    fn what_is_kept_is_encoded_with_the_positions_that_it_gets() {
        let mut log = RecordLog::new(start(LogKeeping::Disk));
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
