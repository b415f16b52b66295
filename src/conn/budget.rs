//! Each connection's budget of a turn. What one has sent beyond it waits here until the others of the shard have been
//! served, so that whoever writes ten thousand messages at once delays its own and nobody else's.
//!
//! What always holds: what is received of a connection is handled in the order in which it came, so while some of it
//! waits, all that comes after does too. One that is held keeps everything back until it is released. Connections that wait go on by turns. Beyond [`DEFERRED_BUFFERS_MAX`] buffers no
//! more are kept for whoever sends: its receive is to be stopped, and TCP slows it down.
//!
//! It knows sizes and names of buffers; the buffers are the driver's.

use std::collections::{HashMap, VecDeque};

use super::operation::ReceiveEnd;
use crate::ids::ConnectionId;
use crate::limits::{DEFERRED_BUFFERS_MAX, DEFERRED_TURN_BYTES, HELD_BUFFERS_MAX, TURN_BUDGET_BYTES};

/// The driver's name for a buffer that it keeps until what is in it may be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBuffer(pub u32);

/// Something received that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred {
    pub(super) connection: ConnectionId,
    pub(super) what: DeferredEvent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeferredEvent {
    Bytes { buffer: KeptBuffer, len: usize, more: bool },
    Ended(ReceiveEnd),
}

impl Deferred {
    /// The buffer that it is about, if any.
    pub const fn buffer(&self) -> Option<KeptBuffer> {
        match self.what {
            DeferredEvent::Bytes { buffer, .. } => Some(buffer),
            DeferredEvent::Ended(_) => None,
        }
    }

    /// Bytes in it.
    pub(super) const fn len(&self) -> usize {
        match self.what {
            DeferredEvent::Bytes { len, .. } => len,
            DeferredEvent::Ended(_) => 0,
        }
    }
}

/// What becomes of a connection when more of it was deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deferral {
    /// There is room for more.
    GoesOn,
    /// So much waits that it is to receive no more until that has been handled.
    StopsReceiving,
}

/// What is over its budget.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    /// Who sent last, and how many bytes in a row.
    last: Option<ConnectionId>,
    last_bytes: usize,
    queues: HashMap<ConnectionId, Queue>,
    /// Whose queues these are, but for those that are held, in the order of their turns.
    order: VecDeque<ConnectionId>,
    /// Buffers kept for what waits.
    buffers: usize,
    /// Bytes taken from the first in order, and from all of them, since the turn began.
    first_bytes: usize,
    turn_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Deferred>,
    /// Whether receiving was stopped.
    is_stopped: bool,
    /// It has no turn until it is released, and stays while it is empty.
    is_held: bool,
}

impl Budgets {
    /// A turn begins: everybody has a budget again.
    pub(super) const fn begin_turn(&mut self) {
        self.last = None;
        self.turn_bytes = 0;
    }

    /// Whether something received may be handled now, which uses up `bytes`. Otherwise it is to be deferred.
    #[inline]
    pub(super) fn admits(&mut self, connection: ConnectionId, bytes: usize) -> bool {
        if self.last != Some(connection) {
            self.last = Some(connection);
            self.last_bytes = 0;
        }
        let waits = !self.queues.is_empty() && self.queues.contains_key(&connection);
        if waits || self.last_bytes >= TURN_BUDGET_BYTES {
            return false;
        }
        self.last_bytes += bytes;
        true
    }

    /// Admits nothing of a connection, and lets nothing go on that waits, until [`Self::release`].
    #[cold]
    pub(super) fn hold(&mut self, connection: ConnectionId) {
        let queue = self.queues.entry(connection).or_default();
        if !queue.events.is_empty() && !queue.is_held {
            self.order.retain(|&other| other != connection);
            self.first_bytes = 0;
        }
        queue.is_held = true;
    }

    /// Whether what comes of a connection is to be copied: it is held, nothing of it waits in a buffer, and many buffers do of others.
    pub(super) fn is_copied(&self, connection: ConnectionId) -> bool {
        self.buffers >= HELD_BUFFERS_MAX
            && self.queues.get(&connection).is_some_and(|queue| queue.is_held && queue.events.is_empty())
    }

    /// A connection that is held is to receive no more.
    pub(super) fn stop(&mut self, connection: ConnectionId) -> Deferral {
        match self.queues.get_mut(&connection) {
            Some(queue) if !queue.is_stopped => {
                queue.is_stopped = true;
                Deferral::StopsReceiving
            }
            _ => Deferral::GoesOn,
        }
    }

    /// Whether a connection is held.
    pub(super) fn is_held(&self, connection: ConnectionId) -> bool {
        !self.queues.is_empty() && self.queues.get(&connection).is_some_and(|queue| queue.is_held)
    }

    /// What waits of a connection that was held gets its turn again.
    pub(super) fn release(&mut self, connection: ConnectionId) {
        if self.queues.is_empty() {
            return; // as mostly, when a connection closes
        }
        let Some(queue) = self.queues.get_mut(&connection).filter(|queue| queue.is_held) else { return };
        queue.is_held = false;
        if queue.events.is_empty() {
            self.queues.remove(&connection);
        } else {
            self.order.push_back(connection);
        }
    }

    /// Keeps what was not admitted.
    pub(super) fn defer(&mut self, deferred: Deferred) -> Deferral {
        self.buffers += usize::from(deferred.buffer().is_some());
        let is_full = self.buffers > DEFERRED_BUFFERS_MAX;
        let order = &mut self.order;
        let queue = self.queues.entry(deferred.connection).or_insert_with(|| {
            order.push_back(deferred.connection);
            Queue::default()
        });
        queue.events.push_back(deferred);
        if is_full && !queue.is_stopped {
            queue.is_stopped = true;
            return Deferral::StopsReceiving;
        }
        Deferral::GoesOn
    }

    /// The next of what waits, until the turn has had enough of it.
    pub(super) fn next(&mut self) -> Option<Deferred> {
        if self.turn_bytes >= DEFERRED_TURN_BYTES {
            return None;
        }
        let connection = *self.order.front()?;
        let queue = self.queues.get_mut(&connection).expect("who is in order has a queue");
        let deferred = queue.events.pop_front().expect("a queue goes with its last event");
        self.buffers -= usize::from(deferred.buffer().is_some());
        self.turn_bytes += deferred.len();
        self.first_bytes += deferred.len();
        if queue.events.is_empty() {
            self.queues.remove(&connection);
            self.order.pop_front();
            self.first_bytes = 0;
        } else if self.first_bytes >= TURN_BUDGET_BYTES {
            self.order.rotate_left(1);
            self.first_bytes = 0;
        }
        Some(deferred)
    }

    /// Whether nobody waits for a turn.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;
    const PAGES_PER_SHARE: usize = TURN_BUDGET_BYTES / PAGE;

    fn page(slot: u32) -> Deferred {
        let what = DeferredEvent::Bytes { buffer: KeptBuffer(0), len: PAGE, more: true };
        Deferred { connection: ConnectionId::new(slot, 0), what }
    }

    fn end(slot: u32) -> Deferred {
        Deferred { connection: ConnectionId::new(slot, 0), what: DeferredEvent::Ended(ReceiveEnd::PeerGone) }
    }

    /// `None` if it is handled at once.
    fn receive(budgets: &mut Budgets, event: Deferred) -> Option<Deferral> {
        if budgets.admits(event.connection, event.len()) { None } else { Some(budgets.defer(event)) }
    }

    /// Whose events the turn goes on with, and whether it is the end.
    fn rest_of_turn(budgets: &mut Budgets) -> Vec<(u32, bool)> {
        std::iter::from_fn(|| budgets.next())
            .map(|event| (event.connection.slot, matches!(event.what, DeferredEvent::Ended(_))))
            .collect()
    }

    #[test]
    fn who_has_used_up_its_budget_waits_and_others_do_not() {
        let mut budgets = Budgets::default();
        for _ in 0..PAGES_PER_SHARE {
            assert_eq!(receive(&mut budgets, page(1)), None);
        }
        assert_eq!(receive(&mut budgets, page(1)), Some(Deferral::GoesOn));
        assert_eq!(receive(&mut budgets, page(2)), None, "another");
        assert_eq!(receive(&mut budgets, page(1)), Some(Deferral::GoesOn), "it has not gone on yet");
        assert_eq!(receive(&mut budgets, end(1)), Some(Deferral::GoesOn), "the end comes last");
        assert_eq!(rest_of_turn(&mut budgets), [(1, false), (1, false), (1, true)]);
        assert!(budgets.is_empty());
        budgets.begin_turn();
        assert_eq!(receive(&mut budgets, page(1)), None);
    }

    #[test]
    fn those_who_wait_go_on_by_turns_and_so_much_a_turn() {
        let mut budgets = Budgets::default();
        let pages = 100;
        for slot in [1, 2, 3] {
            for _ in 0..pages {
                receive(&mut budgets, page(slot));
            }
        }
        let mut order: Vec<u32> = Vec::new();
        while !budgets.is_empty() {
            budgets.begin_turn();
            let turn = rest_of_turn(&mut budgets);
            assert!(turn.len() * PAGE <= DEFERRED_TURN_BYTES && !turn.is_empty());
            order.extend(turn.into_iter().map(|(slot, _)| slot));
        }
        assert_eq!(order.len(), 3 * (pages - PAGES_PER_SHARE));
        let first_three: Vec<u32> = order.chunks(PAGES_PER_SHARE).take(3).map(|share| share[0]).collect();
        assert_eq!(first_three, [1, 2, 3]);
        for so_far in 1..order.len() {
            let count = |slot: u32| order[..so_far].iter().filter(|&&one| one == slot).count();
            assert!(count(1).abs_diff(count(3)) <= PAGES_PER_SHARE, "after {so_far}");
        }
    }

    #[test]
    fn who_is_held_waits_in_its_order_until_it_is_released_and_delays_nobody() {
        let mut budgets = Budgets::default();
        let held = ConnectionId::new(1, 0);
        budgets.hold(held);
        assert_eq!(receive(&mut budgets, page(1)), Some(Deferral::GoesOn));
        assert_eq!(receive(&mut budgets, end(1)), Some(Deferral::GoesOn));
        assert_eq!(receive(&mut budgets, page(2)), None);
        assert!(budgets.is_empty() && budgets.next().is_none());
        budgets.begin_turn();
        assert_eq!(receive(&mut budgets, end(1)), Some(Deferral::GoesOn), "in the next turn, too");
        budgets.release(held);
        budgets.hold(held);
        assert!(budgets.next().is_none(), "held once more, with something that waits");
        budgets.release(held);
        budgets.release(ConnectionId::new(2, 0));
        assert_eq!(rest_of_turn(&mut budgets), [(1, false), (1, true), (1, true)]);
        assert_eq!((budgets.is_empty(), budgets.queues.len(), budgets.buffers), (true, 0, 0));
        budgets.hold(held);
        budgets.release(held);
        assert_eq!(receive(&mut budgets, page(1)), None, "nothing had come");
    }

    #[test]
    fn beyond_what_may_wait_each_sender_is_stopped_once_until_its_own_has_been_handled() {
        let mut budgets = Budgets::default();
        let mut stopped = Vec::new();
        for _ in 0..PAGES_PER_SHARE + DEFERRED_BUFFERS_MAX + 10 {
            if receive(&mut budgets, page(1)) == Some(Deferral::StopsReceiving) {
                stopped.push((1, budgets.buffers));
            }
        }
        assert_eq!(stopped, [(1, DEFERRED_BUFFERS_MAX + 1)]);
        for _ in 0..PAGES_PER_SHARE {
            receive(&mut budgets, page(2));
        }
        assert_eq!(receive(&mut budgets, page(2)), Some(Deferral::StopsReceiving), "another that sends too much");
        while !budgets.is_empty() {
            budgets.begin_turn();
            rest_of_turn(&mut budgets);
        }
        assert_eq!(budgets.buffers, 0);
        budgets.begin_turn();
        assert_eq!(receive(&mut budgets, page(1)), None);
    }
}
