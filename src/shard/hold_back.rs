//! Acknowledgements that wait until a subscriber's queue has room again, and publishers that are not read meanwhile.
//!
//! Owns: what waits for which session, since when, and how many publishers are held.
//! Always holds: a session is waited for once [`HOLD_BACK_MAX_MS`] at most; then it is given up, and not waited for again before
//! its queue has drained. Confirmations for one session leave in the order in which they came. Where nothing waits, this costs a
//! look at an empty table.
//! Leaves to others: how full a queue is, and what a confirmation leads to (`room`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Confirmation;
use crate::ids::SessionId;
use crate::limits::HOLD_BACK_MAX_MS;
use crate::time::{Deadline, Now};

/// The fullest of some queues: by how much, and whose.
pub(super) type Fullest = Option<(u32, SessionId)>;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct HoldBack {
    sessions: BTreeMap<SessionId, WaitedFor>,
    /// Those of them that are waited for, by when they are given up.
    due: BTreeSet<(Deadline, SessionId)>,
    /// What need not wait any more.
    released: VecDeque<VecDeque<Confirmation>>,
    /// Connections that are not read.
    pub publishers: usize,
}

#[derive(Debug)]
enum WaitedFor {
    /// Until then.
    Until(Deadline, VecDeque<Confirmation>),
    /// Not any more.
    GivenUp,
}

impl HoldBack {
    /// Whether nobody is waited for, or was given up.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether a session is not to be waited for.
    pub(super) fn is_given_up(&self, id: SessionId) -> bool {
        matches!(self.sessions.get(&id), Some(WaitedFor::GivenUp))
    }

    /// Has a confirmation wait for a session that has not been given up.
    pub(super) fn wait(&mut self, now: Now, id: SessionId, confirmation: Confirmation) {
        let due = &mut self.due;
        let waited_for = self.sessions.entry(id).or_insert_with(|| {
            let until = now.after_ms(HOLD_BACK_MAX_MS);
            due.insert((until, id));
            WaitedFor::Until(until, VecDeque::new())
        });
        match waited_for {
            WaitedFor::Until(_, confirmations) => confirmations.push_back(confirmation),
            WaitedFor::GivenUp => unreachable!("nobody waits for a session that was given up"),
        }
    }

    /// A session's queue has room, or it has no connection any more.
    pub(super) fn end(&mut self, id: SessionId) {
        if let Some(WaitedFor::Until(until, confirmations)) = self.sessions.remove(&id) {
            self.due.remove(&(until, id));
            self.released.push_back(confirmations);
        }
    }

    /// Gives up a session that was waited for long enough. Returns whether there was one.
    pub(super) fn give_up_next(&mut self, now: Now) -> bool {
        let Some(&(until, id)) = self.due.first().filter(|(until, _)| until.is_due(now)) else { return false };
        self.due.remove(&(until, id));
        if let Some(WaitedFor::Until(_, confirmations)) = self.sessions.insert(id, WaitedFor::GivenUp) {
            self.released.push_back(confirmations);
        }
        true
    }

    /// The next that need not wait any more.
    pub(super) fn next_released(&mut self) -> Option<Confirmation> {
        loop {
            let confirmation = self.released.front_mut()?.pop_front();
            if confirmation.is_some() {
                return confirmation;
            }
            self.released.pop_front();
        }
    }

    /// Whether there is one.
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// When the next session is given up.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.due.first().map(|&(until, _)| until)
    }

    /// Sessions that are waited for or were given up.
    pub(super) fn sessions(&self) -> impl ExactSizeIterator<Item = SessionId> {
        self.sessions.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConfirmToken;
    use super::*;
    use crate::ids::{ConnectionId, ShardId};
    use crate::session::AckNumber;

    fn confirmation(number: u32) -> Confirmation {
        let connection = ConnectionId::new(1, 0);
        Confirmation::of(ConfirmToken { shard: ShardId(0), connection, number: AckNumber(number) })
    }

    fn released(hold_back: &mut HoldBack) -> Vec<u32> {
        std::iter::from_fn(|| hold_back.next_released()).map(|one| one.token.number.0).collect()
    }

    #[test]
    fn confirmations_leave_in_order_when_their_session_has_room_or_is_given_up() {
        let at = |ms: u64| Now { mono_ns: ms * 1_000_000, unix_ms: 0 };
        let mut hold_back = HoldBack::default();
        let (one, other) = (SessionId(7), SessionId(3));
        hold_back.wait(at(0), one, confirmation(1));
        hold_back.wait(at(10), other, confirmation(2));
        hold_back.wait(at(20), one, confirmation(3));
        assert_eq!(hold_back.next_deadline(), Some(Deadline(HOLD_BACK_MAX_MS)));
        assert!(!hold_back.has_released() && !hold_back.give_up_next(at(HOLD_BACK_MAX_MS - 1)));
        hold_back.end(other);
        assert_eq!(released(&mut hold_back), [2]);
        assert!(hold_back.give_up_next(at(HOLD_BACK_MAX_MS)) && !hold_back.give_up_next(at(HOLD_BACK_MAX_MS)));
        assert_eq!(released(&mut hold_back), [1, 3]);
        assert!(hold_back.is_given_up(one) && !hold_back.is_empty() && !hold_back.has_released());
        hold_back.end(one);
        assert!(hold_back.is_empty() && hold_back.next_deadline().is_none());
        hold_back.wait(at(9_000), one, confirmation(4));
        assert_eq!(hold_back.next_deadline(), Some(Deadline(9_000 + HOLD_BACK_MAX_MS)), "it is waited for again");
    }
}
