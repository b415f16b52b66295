//! When which session has to be looked at. One timer a session at most; a session whose deadline has moved back is
//! simply looked at too early and armed again, so that traffic never touches this table. For the same reason a timer is
//! never armed for longer than [`TIMER_HORIZON_S`]: the one that a session leaves behind when it ends stays no longer.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::SessionId;
use crate::limits::{TIMER_HORIZON_S, TIMER_TICK_MS};
use crate::time::{Deadline, Now};

/// Sessions by the tick at which they are due, four bytes each.
#[derive(Debug, Default)]
pub(super) struct Timers {
    buckets: BTreeMap<u32, VecDeque<SessionId>>,
}

impl Timers {
    /// When to look at a session whose deadline this is.
    pub(super) fn tick_for(now: Now, deadline: Deadline) -> u32 {
        Self::tick_of(deadline.min(now.after_s(TIMER_HORIZON_S)))
    }

    /// The first tick that begins no earlier than `deadline`.
    fn tick_of(deadline: Deadline) -> u32 {
        deadline.0.div_ceil(TIMER_TICK_MS).min(u64::from(u32::MAX)) as u32
    }

    /// Has `session` looked at on `tick`.
    pub(super) fn arm(&mut self, session: SessionId, tick: u32) {
        self.buckets.entry(tick).or_default().push_back(session);
    }

    /// Takes a session of the earliest tick, if that is due.
    pub(super) fn next_due(&mut self, now: Now) -> Option<(u32, SessionId)> {
        let mut bucket = self.buckets.first_entry()?;
        let tick = *bucket.key();
        if !Deadline(u64::from(tick) * TIMER_TICK_MS).is_due(now) {
            return None;
        }
        let session = bucket.get_mut().pop_front().expect("a bucket goes with its last session");
        if bucket.get().is_empty() {
            bucket.remove();
        }
        Some((tick, session))
    }

    /// Timers armed, stale ones included.
    pub(super) fn len(&self) -> usize {
        self.buckets.values().map(VecDeque::len).sum()
    }

    /// When the next session is due.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.buckets.first_key_value().map(|(&tick, _)| Deadline(u64::from(tick) * TIMER_TICK_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_come_due_in_order_and_not_before_their_time() {
        let mut timers = Timers::default();
        let at = |ms: u64| Now { mono_ns: ms * 1_000_000, unix_ms: 0 };
        timers.arm(SessionId(1), Timers::tick_of(Deadline(250)));
        timers.arm(SessionId(2), Timers::tick_of(Deadline(101)));
        timers.arm(SessionId(3), Timers::tick_of(Deadline(250)));
        assert_eq!(timers.next_deadline(), Some(Deadline(200)));
        assert!(timers.next_due(at(199)).is_none());
        assert_eq!(timers.next_due(at(500)).unwrap(), (2, SessionId(2)));
        assert_eq!(timers.next_due(at(500)).unwrap(), (3, SessionId(1)));
        assert_eq!((timers.next_deadline(), timers.len()), (Some(Deadline(300)), 1));
        assert_eq!(timers.next_due(at(500)).unwrap(), (3, SessionId(3)));
        assert!(timers.next_due(at(500)).is_none() && timers.next_deadline().is_none());
    }
}
