//! What waits for stable storage: the shard's side of the store's seam.
//!
//! Always holds: waiters are ordered by position, so that one word from the store releases a run from the front and no
//! waiter is looked at twice.

use std::collections::VecDeque;

use super::effects::Effects;
use super::mesh::Confirmation;
use crate::session::Message;
use crate::store::{Position, Record};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct RecordLog {
    last: Position,
    durable: Position,
    waiters: VecDeque<(Position, Confirmation)>,
}

impl RecordLog {
    /// Acknowledgements that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Hands a record to the store.
    pub(super) fn append(&mut self, record: Record<Message>, fx: &mut Effects) {
        self.last.0 += 1;
        fx.records.push(record);
        fx.last_record = self.last;
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
    pub(super) fn wait(&mut self, waiter: Confirmation) {
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
    use super::super::ConfirmToken;
    use super::*;
    use crate::ids::{ConnectionId, SessionId, ShardId};
    use crate::session::AckNumber;

    #[test]
    fn waiters_are_told_in_order_and_not_before_their_record_is_durable() {
        let mut log = RecordLog::default();
        let mut fx = Effects::default();
        let waiter = |slot| {
            let connection = ConnectionId::new(slot, 0);
            Confirmation::of(ConfirmToken { shard: ShardId(0), connection, number: AckNumber(0) })
        };
        for slot in 0..3 {
            log.append(Record::SessionEnded { session: SessionId(slot) }, &mut fx);
            log.wait(waiter(slot));
        }
        assert!(log.next_ready().is_none());
        log.durable(Position(2));
        assert_eq!(log.next_ready(), Some(waiter(0)));
        assert_eq!(log.next_ready(), Some(waiter(1)));
        assert_eq!(log.next_ready(), None);
        assert_eq!((fx.records.len(), fx.last_record), (3, Position(3)));
    }
}
