//! Who loses messages: one word when it begins, and one when it is over.
//!
//! Owns: the sessions that have lost a message lately, and how many; what the broker's own clients have lost in all. Sessions that lose
//! none are not in it and cost nothing.
//! Always holds: every message that a session loses is counted in `Counters`, whatever this says of it. Beyond
//! [`LOSING_SESSIONS_MAX`] sessions at a time nothing is said of further ones.
//! Leaves to others: why a message is dropped. What a session asked for, such as an expiry, is no loss.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::SessionId;
use crate::limits::{LOSING_SESSIONS_MAX, LOSS_OVER_S};
use crate::telemetry::DropReason;
use crate::time::{Deadline, Now};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Losses {
    sessions: BTreeMap<SessionId, Loss>,
    /// When to look whether it is over, in the order of time. A session that has ended may still stand here.
    due: VecDeque<(Deadline, SessionId)>,
    /// What sessions of bridges and sinks have lost since they are there: as few as those are configured.
    of_services: BTreeMap<SessionId, u64>,
}

/// What one session has lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// Why the first message was dropped.
    pub(super) reason: DropReason,
    pub(super) messages: u64,
    pub(super) began_ms: u64,
    pub(super) last_ms: u64,
}

/// Sessions looked at in one tick.
const LOOKED_AT_MAX: usize = 256;

impl Losses {
    /// Counts one message. Returns whether it is the first.
    pub(super) fn add(&mut self, now: Now, id: SessionId, reason: DropReason) -> bool {
        if let Some(loss) = self.sessions.get_mut(&id) {
            (loss.messages, loss.last_ms) = (loss.messages + 1, now.ms());
            return false;
        }
        if self.sessions.len() >= LOSING_SESSIONS_MAX {
            return false;
        }
        self.sessions.insert(id, Loss { reason, messages: 1, began_ms: now.ms(), last_ms: now.ms() });
        self.due.push_back((now.after_s(LOSS_OVER_S), id));
        true
    }

    /// Counts one of a bridge or a sink, for whoever asks for all of them.
    pub(super) fn add_of_service(&mut self, id: SessionId) {
        *self.of_services.entry(id).or_default() += 1;
    }

    /// What a bridge's or a sink's session has lost in all.
    pub(super) fn of_service(&self, id: SessionId) -> u64 {
        self.of_services.get(&id).copied().unwrap_or(0)
    }

    /// What a session has lost that ends.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<Loss> {
        self.of_services.remove(&id);
        self.sessions.remove(&id)
    }

    /// The next session that has lost nothing for a while.
    pub(super) fn next_over(&mut self, now: Now) -> Option<(SessionId, Loss)> {
        for _ in 0..LOOKED_AT_MAX {
            let &(due, id) = self.due.front()?;
            if !due.is_due(now) {
                return None;
            }
            self.due.pop_front();
            let Some(loss) = self.sessions.get(&id).copied() else { continue };
            let over = Deadline(loss.last_ms + u64::from(LOSS_OVER_S) * 1_000);
            if over.is_due(now) {
                self.sessions.remove(&id);
                return Some((id, loss));
            }
            self.due.push_back((now.after_s(LOSS_OVER_S), id));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_sessions_are_noted_and_no_more_and_all_of_them_are_over_in_the_end() {
        let at = |s: u64| Now { mono_ns: s * 1_000_000_000, unix_ms: 0 };
        let mut losses = Losses::default();
        let ids = || (0..).map(SessionId).take(LOSING_SESSIONS_MAX + 10);
        assert_eq!(ids().filter(|&id| losses.add(at(1), id, DropReason::QueueFull)).count(), LOSING_SESSIONS_MAX);
        assert!(!losses.add(at(2), SessionId(7), DropReason::OutboxFull), "it is noted");
        let late = at(2 + u64::from(LOSS_OVER_S));
        let over: Vec<_> = std::iter::from_fn(|| losses.next_over(late)).collect();
        assert_eq!(over.len(), LOSING_SESSIONS_MAX);
        assert!(over.iter().any(|(id, loss)| *id == SessionId(7) && loss.messages == 2));
        assert!(losses.add(late, SessionId(9), DropReason::QueueFull), "there is room again");
    }
}
