//! One order of what two ways bring: the watch of the control store, and what is read behind it where it lags.
//!
//! Always holds: revisions are shown in ascending order, each once, whichever way they come. A revision that neither way brings was replaced by a later one
//! of its key, which comes.
//! Leaves to others: asking (`control_store`).

use std::time::{Duration, Instant};

use crate::limits::ENGINE_WATCH_LAG_MS;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct ControlOrder {
    /// The last one that was shown.
    shown: u64,
    /// The highest that the store has said it has, and when the watch is late with it.
    awaited: Option<(u64, Instant)>,
}

impl ControlOrder {
    /// Whether a revision that has come is to be shown now: it was not yet.
    pub(super) fn take(&mut self, revision: u64) -> bool {
        if revision <= self.shown {
            return false;
        }
        self.shown = revision;
        self.awaited = self.awaited.filter(|(awaited, _)| *awaited > revision);
        true
    }

    /// The store has acknowledged a revision.
    pub(super) fn acknowledge(&mut self, revision: u64, now: Instant) {
        let known = self.awaited.map_or(self.shown, |(awaited, _)| awaited);
        if revision > known {
            // Whoever waits already for an earlier one waits no longer for this one.
            let late = self.awaited.map_or_else(|| now + lag(), |(_, late)| late);
            self.awaited = Some((revision, late));
        }
    }

    /// The store has a revision that was not shown, whichever it is: it has refused what expected the newest of a key.
    pub(super) fn suspect(&mut self, now: Instant) {
        if self.awaited.is_none() {
            self.awaited = Some((self.shown + 1, now + lag()));
        }
    }

    /// When it is to be read what the watch has not brought.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.awaited.map(|(_, late)| late)
    }

    /// Nothing came of reading: it is tried again as much later.
    pub(super) fn wait_again(&mut self, now: Instant) {
        if let Some((_, late)) = &mut self.awaited {
            *late = now + lag();
        }
    }

    /// From where on it is read.
    pub(super) const fn next(&self) -> u64 {
        self.shown + 1
    }
}

const fn lag() -> Duration {
    Duration::from_millis(ENGINE_WATCH_LAG_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_is_shown_once_and_in_order_whichever_way_it_comes() {
        let mut order = ControlOrder::default();
        let begin = Instant::now();
        // By the watch, by reading, by the watch again.
        let shown: Vec<u64> = [1, 3, 4, 7, 3, 4, 7, 8].into_iter().filter(|revision| order.take(*revision)).collect();
        assert_eq!((shown, order.next(), order.late_at()), (vec![1, 3, 4, 7, 8], 9, None));
        order.acknowledge(8, begin);
        assert_eq!(order.late_at(), None, "it was shown");
    }

    #[test]
    fn what_was_acknowledged_and_is_not_shown_is_read_after_a_while() {
        let mut order = ControlOrder::default();
        let begin = Instant::now();
        order.acknowledge(5, begin);
        order.acknowledge(9, begin + lag() / 2);
        order.acknowledge(7, begin + lag() / 2);
        assert_eq!(order.late_at(), Some(begin + lag()), "since the first of them");
        assert!(order.take(6) && order.late_at().is_some() && order.next() == 7);
        order.wait_again(begin + lag());
        assert_eq!(order.late_at(), Some(begin + lag() * 2));
        assert!(order.take(9));
        assert_eq!(order.late_at(), None);
    }

    #[test]
    fn after_a_refusal_the_next_one_is_read_whichever_it_is() {
        let mut order = ControlOrder::default();
        let begin = Instant::now();
        assert!(order.take(4));
        order.suspect(begin);
        order.suspect(begin + lag());
        assert_eq!((order.late_at(), order.next()), (Some(begin + lag()), 5));
        assert!(order.take(8) && order.late_at().is_none());
        // What is awaited is at least as much.
        order.acknowledge(12, begin);
        order.suspect(begin + lag());
        assert!(order.take(9) && order.late_at() == Some(begin + lag()));
    }
}
