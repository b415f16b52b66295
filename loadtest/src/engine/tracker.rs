//! What one subscriber has had of one stream: in order, late, twice, or not at all.
//!
//! A tracker takes 32 bytes, whatever the number of messages: it remembers the last 64 one by one, and of those before only
//! how many are missing. So a message that comes more than 64 places late is told from a second copy by whether one
//! is missing at all.

use ahash::RandomState;
use hashbrown::HashTable;

/// A stream's number with this bit names its retained message.
pub(super) const RETAINED: u32 = 1 << 31;

/// What a message is to a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The first, later than all before.
    New,
    /// The first, but a later one was here before.
    Late,
    /// It was here before.
    Again,
    /// From before the subscription: nobody owed it.
    NotOwed,
}

/// One subscriber's view of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tracker {
    client: u32,
    stream: u32,
    /// What is below was not owed.
    floor: u32,
    /// First sequence number of the window.
    base: u32,
    /// One more than the highest seen.
    next: u32,
    /// Below the window, from `floor` on: not seen.
    missing: u32,
    /// Seen, from `base` on.
    window: u64,
}

const WINDOW: u32 = 64;

impl Tracker {
    const fn new(client: u32, stream: u32) -> Self {
        Self { client, stream, floor: 0, base: 0, next: 0, missing: 0, window: 0 }
    }

    /// Takes a message.
    #[inline]
    pub(super) fn see(&mut self, sequence: u32) -> Seen {
        if sequence < self.floor {
            return Seen::NotOwed;
        }
        if sequence < self.base {
            if self.missing == 0 {
                return Seen::Again;
            }
            self.missing -= 1;
            return Seen::Late;
        }
        if sequence - self.base >= WINDOW {
            self.slide(sequence - self.base - (WINDOW - 1));
        }
        let bit = 1 << (sequence - self.base);
        if self.window & bit != 0 {
            return Seen::Again;
        }
        self.window |= bit;
        if sequence < self.next {
            return Seen::Late;
        }
        self.next = sequence + 1;
        Seen::New
    }

    fn slide(&mut self, by: u32) {
        let seen = if by < WINDOW {
            let leaving = self.window & ((1 << by) - 1);
            self.window >>= by;
            leaving.count_ones()
        } else {
            std::mem::take(&mut self.window).count_ones()
        };
        self.missing += by - seen;
        self.base += by;
    }

    /// Begins anew: what is below `floor` is not owed (any more). Returns how many of those had not been overtaken: they
    /// were under way when the subscription ended, or came while there was none.
    pub(super) fn rebase(&mut self, floor: u32) -> u32 {
        let excused = floor.saturating_sub(self.next);
        if floor > self.floor {
            let next = floor.max(self.next);
            self.restart(floor);
            self.next = next;
        }
        excused
    }

    /// Begins anew: what is from `floor` on is owed, whether it was here before or not.
    pub(super) fn restart(&mut self, floor: u32) {
        *self = Self { floor, base: floor, next: floor, ..Self::new(self.client, self.stream) };
    }
}

/// The trackers of all subscribers, made when the first message comes.
pub(super) struct Trackers {
    list: Vec<Tracker>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Trackers {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), index: HashTable::new(), hasher: RandomState::with_seeds(1, 2, 3, 4) }
    }

    /// The tracker's number; `hint` is one that it may well be.
    #[inline]
    pub(super) fn find(&mut self, client: u32, stream: u32, hint: u32) -> u32 {
        if let Some(tracker) = self.list.get(hint as usize)
            && (tracker.client, tracker.stream) == (client, stream)
        {
            return hint;
        }
        let hash = self.hasher.hash_one((client, stream));
        let (list, hasher) = (&mut self.list, &self.hasher);
        let same = |at: &u32| (list[*at as usize].client, list[*at as usize].stream) == (client, stream);
        if let Some(at) = self.index.find(hash, same) {
            return *at;
        }
        let at = list.len() as u32;
        list.push(Tracker::new(client, stream));
        let rehash = |at: &u32| hasher.hash_one((list[*at as usize].client, list[*at as usize].stream));
        self.index.insert_unique(hash, at, rehash);
        at
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Tracker {
        &mut self.list[at as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Seen::{Again, Late, New, NotOwed};

    #[test]
    fn every_kind_of_message_that_comes_is_called_by_its_name() {
        let table: &[(&[u32], &[Seen])] = &[
            (&[0, 1, 2], &[New, New, New]),
            (&[0, 0, 1, 1], &[New, Again, New, Again]),
            (&[0, 2, 1, 3], &[New, New, Late, New]),
            (&[0, 2, 1, 1], &[New, New, Late, Again]),
            (&[5], &[New]),
            // Far behind: late while something is missing, then again.
            (&[0, 200, 1, 0], &[New, New, Late, Late]),
            (&[0, 63, 64, 127, 128, 0], &[New, New, New, New, New, Late]),
        ];
        for (sequences, expected) in table {
            let mut tracker = Tracker::new(0, 0);
            let seen: Vec<Seen> = sequences.iter().map(|sequence| tracker.see(*sequence)).collect();
            assert_eq!(seen, *expected, "{sequences:?}");
        }
    }

    #[test]
    fn an_unbroken_stream_leaves_nothing_missing_and_every_copy_is_seen() {
        let mut tracker = Tracker::new(0, 0);
        for sequence in 0..1000 {
            assert_eq!(tracker.see(sequence), New);
            for back in [0, 1, 40, 63, 64, 500] {
                if let Some(before) = u32::checked_sub(sequence, back) {
                    assert_eq!(tracker.see(before), Again, "{before} after {sequence}");
                }
            }
        }
    }

    #[test]
    fn a_new_subscription_owes_only_what_comes_after_it() {
        let mut tracker = Tracker::new(0, 0);
        tracker.see(0);
        tracker.see(2);
        assert_eq!(tracker.rebase(10), 7, "3 to 9; 1 was overtaken, so it is lost");
        assert_eq!((tracker.see(9), tracker.see(10)), (NotOwed, New));
        assert_eq!(tracker.rebase(11), 0);
    }

    #[test]
    fn what_is_owed_again_is_new_again() {
        let mut tracker = Tracker::new(0, 0);
        assert_eq!((tracker.see(0), tracker.see(0)), (New, Again));
        tracker.restart(0);
        assert_eq!((tracker.see(0), tracker.see(0)), (New, Again));
    }

    #[test]
    fn trackers_are_found_again() {
        let mut trackers = Trackers::new();
        let numbers: Vec<u32> = (0..1000).map(|n| trackers.find(n % 10, n, u32::MAX)).collect();
        for (n, number) in numbers.iter().enumerate() {
            assert_eq!(trackers.find(n as u32 % 10, n as u32, 7), *number);
        }
        assert_eq!(size_of::<Tracker>(), 32);
    }
}
