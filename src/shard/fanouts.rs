//! Messages with so many subscribers on this shard that their delivery takes several turns.
//!
//! Owns: the messages that are under way, in the order in which they came, and how far each has come.
//! Always holds: each turn sees to a bounded part of the first, and of those that have come as far as it has. Whoever subscribed before a message came, and still does, is
//! delivered it once. A session that is to get anything newer is first given what it lacks of these, so it sees every
//! publisher's messages in their order. Nothing is copied of the index: what is kept of a message is itself and a place in each list
//! of subscribers.
//! Leaves to others: that whoever adds to much is not read meanwhile (`conn`), and that not too many come (`runtime`).
//!
//! How far a message has come is two places in each list: those before `next` have been passed, those from `end` on subscribed
//! later. The lists go on changing, so whoever takes a subscriber out of one fills the gap from its own side of every such place,
//! and a subscriber that is passed out of its turn changes places with the first that has not been. Of two messages in one list the
//! older has come at least as far as the newer, since a subscriber is passed in the older first.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::Confirmation;
use super::hold_back::Fullest;
use crate::ids::{ConnectionId, Qos};
use crate::session::{Message, Place, Reception, Session};
use crate::topic::EntryId;

/// How far one message has come in the list of one entry, which somebody is in for whom it was.
#[derive(Debug)]
pub(super) struct Part {
    pub entry: EntryId,
    pub next: u32,
    pub end: u32,
}

impl Part {
    const fn is_pending(&self, position: u32) -> bool {
        self.next <= position && position < self.end
    }
}

/// One message on its way to many.
#[derive(Debug)]
pub(super) struct FanoutUnderWay {
    pub message: Message,
    /// By entry, in the order of their numbers.
    pub parts: SmallVec<[Part; 1]>,
    /// Whether a record was written for one of its deliveries.
    pub is_recorded: bool,
    /// Who waits for all of these.
    pub confirm: Option<Confirmation>,
    /// What became of them so far.
    pub reception: Reception,
    /// The fullest queue that one of them stands in.
    pub fullest: Fullest,
    /// Who waits for all that has come before them, too.
    pub behind: Vec<Confirmation>,
    /// The connection of its publisher, which is held meanwhile.
    pub publisher: Option<ConnectionId>,
}

impl FanoutUnderWay {
    /// Whether all of its deliveries have been made.
    pub(super) fn is_done(&self) -> bool {
        self.parts.iter().all(|part| part.next == part.end)
    }

    /// Deliveries that it still takes, in such with QoS 0; more than that where filters of one session overlap.
    fn cost_left(&self) -> u64 {
        let left: u64 = self.parts.iter().map(|part| u64::from(part.end - part.next)).sum();
        left * u64::from(cost_of(self.message.borrow().qos))
    }

    /// Takes over what became of some of its deliveries.
    pub(super) fn add(&mut self, reception: Reception, fullest: Fullest) {
        self.reception = self.reception.max(reception);
        self.fullest = self.fullest.max(fullest);
    }

    fn part_of(&self, entry: EntryId) -> Option<usize> {
        self.parts.binary_search_by_key(&entry, |part| part.entry).ok()
    }

    /// Where a session stands in its lists and has not been passed, by part and position. Looks through the shorter of the two.
    pub(super) fn pending_places(&self, session: &Session) -> SmallVec<[(usize, u32); 4]> {
        let mut pending = SmallVec::new();
        let mut add = |at: usize, position: u32| {
            if self.parts[at].is_pending(position) {
                pending.push((at, position));
            }
        };
        let places = session.subscriptions.places();
        if places.len() <= self.parts.len() {
            for place in places {
                if let Some(at) = self.part_of(place.entry) {
                    add(at, place.position);
                }
            }
        } else {
            for (at, part) in self.parts.iter().enumerate() {
                if let Some(position) = session.subscriptions.position(part.entry) {
                    add(at, position);
                }
            }
        }
        pending
    }
}

/// What a delivery costs, in deliveries with QoS 0: one that is kept until it is acknowledged costs several times as much.
pub(super) const fn cost_of(qos: Qos) -> u32 {
    if matches!(qos, Qos::AtMostOnce) { 1 } else { 4 }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct FanoutsUnderWay(pub VecDeque<FanoutUnderWay>);

impl FanoutsUnderWay {
    /// Messages that are under way.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many, from the first on, are about to reach the same subscriber of one list. The first has one list alone, and none ends
    /// there before it does.
    pub(super) fn abreast(&self) -> usize {
        let place = |fanout: &FanoutUnderWay| match &fanout.parts[..] {
            [part] => Some((part.entry, part.next)),
            _ => None,
        };
        let first = self.0.front().and_then(place);
        self.0.iter().take_while(|fanout| place(fanout) == first).count()
    }

    /// What all of them still take, in deliveries with QoS 0.
    pub(super) fn cost_left(&self) -> u64 {
        self.0.iter().map(FanoutUnderWay::cost_left).sum()
    }

    /// The publisher of the message that came last is held until it has been delivered.
    pub(super) fn hold_publisher(&mut self, connection: ConnectionId) {
        self.0.back_mut().expect("it has just begun").publisher = Some(connection);
    }

    /// Has somebody wait until all that is under way has been delivered. Returns whether anything is.
    pub(super) fn wait_behind(&mut self, confirmation: Confirmation) -> bool {
        self.0.back_mut().map(|last| last.behind.push(confirmation)).is_some()
    }

    /// Has the publisher of the message that came last wait until it has been delivered, and all is on stable storage.
    pub(super) fn confirm_last(&mut self, confirmation: Confirmation, fullest: Fullest) {
        let last = self.0.back_mut().expect("it has just begun");
        (last.confirm, last.is_recorded) = (Some(confirmation), true);
        last.add(Reception::NotTaken, fullest);
    }

    /// Checks how the places in each list lie.
    ///
    /// # Panics
    /// When they do not.
    pub(super) fn assert_invariants(&self, len_of: impl Fn(EntryId) -> u32) {
        let mut before: Vec<&Part> = Vec::new();
        for fanout in &self.0 {
            assert!(fanout.parts.is_sorted_by_key(|part| part.entry), "parts are found by their entries");
            for part in &fanout.parts {
                assert!(part.next <= part.end, "nobody is passed for whom it is not");
                assert!(part.next == part.end || part.end <= len_of(part.entry), "its subscribers are there");
                for older in before.iter().filter(|older| older.entry == part.entry) {
                    assert!(older.next >= part.next && older.end <= part.end, "the older has come further");
                }
            }
            before.extend(&fanout.parts);
        }
    }

    /// Notes that the subscriber at a place has been passed by the message number `at` and all before it. Returns with whom it has
    /// to change places for that, one after the other.
    pub(super) fn pass(&mut self, at: usize, place: Place) -> SmallVec<[(u32, u32); 4]> {
        let Place { entry, mut position } = place;
        let mut moves = SmallVec::new();
        let mut past = |bound: &mut u32| {
            if *bound <= position {
                moves.push((position, *bound));
                position = *bound;
                *bound += 1;
            }
        };
        // Those that it came too late for first, from the newest on: it is among those that they have passed from now on.
        let mut older: SmallVec<[&mut Part; 4]> = self.parts_of(entry, at + 1).collect();
        older.iter_mut().rev().for_each(|part| past(&mut part.end));
        older.iter_mut().for_each(|part| past(&mut part.next));
        moves
    }

    /// Notes that the subscriber at a place leaves its list. Returns the last of each side behind it, which fills the gap before
    /// it and leaves the next. A list that nobody is left in for whom a message was may be gone, and another have its number.
    pub(super) fn take_out(&mut self, place: Place) -> SmallVec<[u32; 8]> {
        let mut last = SmallVec::new();
        for part in self.parts_of(place.entry, usize::MAX) {
            for bound in [&mut part.next, &mut part.end] {
                if *bound > place.position {
                    *bound -= 1;
                    last.push(*bound);
                }
            }
        }
        self.0.iter_mut().for_each(|fanout| fanout.parts.retain(|part| part.end > 0));
        last.sort_unstable();
        last
    }

    /// The places in the list of one entry, of the oldest `fanouts` messages.
    fn parts_of(&mut self, entry: EntryId, fanouts: usize) -> impl Iterator<Item = &mut Part> {
        self.0.iter_mut().take(fanouts).filter_map(move |fanout| {
            let at = fanout.part_of(entry)?;
            Some(&mut fanout.parts[at])
        })
    }
}
