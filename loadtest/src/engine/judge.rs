//! What a message that came is to its subscriber: owed, a copy, one too many, or nobody's.

use super::crew::Crew;
use super::interest::Due;
use super::stamp::Stamp;
use super::tracker::{RETAINED, Seen, Trackers};

/// Where a delivery is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Book {
    /// Among retained messages, which have no order.
    Retained,
    /// By its lane; it may not come after a later one.
    Ordered,
    /// By its lane.
    Unordered,
}

impl Crew {
    /// What a message is to a subscriber.
    #[inline]
    pub(super) fn judge(&mut self, role: usize, client: u32, publisher: usize, stamp: &Stamp, retain: bool) {
        let (stream, sequence) = (stamp.stream, stamp.sequence);
        let index = self.cast.index_of(role, client);
        let due = self.interest.due(role, index, publisher, stream);
        if due.copies == 0 && !due.is_shared {
            self.tally.outcome.verdict.misdirected += 1;
            return;
        }
        let is_retained = retain && !self.cast.roles[role].filters.iter().any(|one| one.1.retain_as_published);
        let key = if is_retained { stream | RETAINED } else { stream };
        let mut seen = Seen::Again;
        if due.copies > 0 {
            let hint = self.clients[client as usize].tracker;
            let at = self.trackers.find(client, key, hint);
            self.clients[client as usize].tracker = at;
            seen = self.trackers.get_mut(at).see(sequence);
            let is_sequenced = self.cast.roles[publisher].publishing.as_ref().is_some_and(|one| one.is_sequenced);
            let book = match (is_retained, is_sequenced) {
                (true, _) => Book::Retained,
                // Order is promised within a topic.
                (false, true) => Book::Unordered,
                (false, false) => Book::Ordered,
            };
            self.count(due.lane, book, seen);
        }
        if due.is_shared && seen == Seen::Again {
            seen = self.judge_shared(role, index, publisher, stream, sequence);
        }
        if seen == Seen::Again {
            self.judge_copy(client, key, sequence, due);
        } else if seen != Seen::NotOwed && !is_retained {
            self.note_delivered(publisher, stream, sequence);
        }
    }

    /// Counts a message that came first, of those that a client or a shared subscription is owed.
    #[inline]
    fn count(&mut self, lane: u8, book: Book, seen: Seen) {
        let verdict = &mut self.tally.outcome.verdict;
        let deliveries = if book == Book::Retained { &mut verdict.retained } else { verdict.lane_mut(lane) };
        deliveries.received += u64::from(matches!(seen, Seen::New | Seen::Late));
        deliveries.reordered += u64::from(seen == Seen::Late && book == Book::Ordered);
    }

    /// What a message is to the shared subscriptions of a client. All members of one look at one tracker, which has a client's
    /// number that no client has.
    fn judge_shared(&mut self, role: usize, index: u32, publisher: usize, stream: u32, sequence: u32) -> Seen {
        let mut first = None;
        for (share, lane) in self.interest.shares(role, index, publisher, stream) {
            let at = self.trackers.find(u32::MAX - share, stream, u32::MAX);
            let seen = self.trackers.get_mut(at).see(sequence);
            if seen != Seen::Again {
                first = Some((lane, seen));
                break;
            }
        }
        let Some((lane, seen)) = first else { return Seen::Again };
        self.count(lane, Book::Unordered, seen);
        seen
    }

    /// A message that was here before: a copy for another subscription of the client that matches, of which each has its own
    /// trackers, or one too many.
    #[cold]
    fn judge_copy(&mut self, client: u32, key: u32, sequence: u32, due: Due) {
        let more = due.copies.saturating_sub(1) as usize;
        if self.copies.len() < more {
            self.copies.resize_with(more, Trackers::new);
        }
        let is_allowed = self.copies[..more].iter_mut().any(|trackers| {
            let at = trackers.find(client, key, u32::MAX);
            trackers.get_mut(at).see(sequence) != Seen::Again
        });
        let verdict = &mut self.tally.outcome.verdict;
        let is_retained = key & RETAINED != 0;
        let deliveries = if is_retained { &mut verdict.retained } else { verdict.lane_mut(due.lane) };
        if is_allowed {
            deliveries.copies += 1;
        } else {
            deliveries.duplicated += 1;
        }
    }
}
