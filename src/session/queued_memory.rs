//! What the queues of all sessions of a process take together, and how much they may.
//!
//! Always holds: the sum is that of all places in queues, and of each message that stands in one, counted once however many
//! queues of however many shards it stands in.
//! Leaves to others: what becomes of a message that finds no room.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::delivery::Delivery;
use super::link::tick;
use super::message::Message;
use crate::limits::TIMER_TICK_MS;
use crate::time::Now;

/// See the module's text. All shards of a process share one. It is asked only where a message has to wait, never where it
/// is sent at once.
#[derive(Debug)]
pub struct QueuedMemory {
    taken_bytes: AtomicU64,
    max_bytes: AtomicU64,
}

impl QueuedMemory {
    /// Nothing taken of `max_bytes`.
    pub const fn new(max_bytes: u64) -> Self {
        Self { taken_bytes: AtomicU64::new(0), max_bytes: AtomicU64::new(max_bytes) }
    }

    /// Changes the limit. What is queued stays, even if it is more now.
    pub fn set_max_bytes(&self, max_bytes: u64) {
        self.max_bytes.store(max_bytes, Relaxed);
    }

    /// Bytes taken: never more than the limit and one message of each shard, which came when there was some room yet.
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Relaxed)
    }

    /// Whether nothing more is to be queued.
    pub fn is_full(&self) -> bool {
        self.taken_bytes() >= self.max_bytes.load(Relaxed)
    }

    /// What these queued messages take, counted anew: for tests, which hold it against [`Self::taken_bytes`].
    pub fn count<'a>(queued: impl Iterator<Item = &'a Delivery>) -> u64 {
        let mut seen = HashSet::new();
        queued.map(|one| memory_bytes(one, seen.insert(one.message.borrow().topic.as_ptr()))).sum()
    }

    /// A delivery has got a place in a queue.
    fn take(&self, delivery: &Delivery, tick: u32) {
        let is_first = delivery.message.enter_queue(tick);
        self.taken_bytes.fetch_add(memory_bytes(delivery, is_first), Relaxed);
    }

    /// It has left it.
    fn give_back(&self, delivery: &Delivery) {
        let is_last = delivery.message.leave_queue();
        let bytes = memory_bytes(delivery, is_last);
        let taken_bytes = self.taken_bytes.fetch_sub(bytes, Relaxed);
        debug_assert!(taken_bytes >= bytes, "what is given back was taken");
    }
}

/// What one shard's sessions have queued and in flight, kept with every message that comes and goes, so that nobody has to
/// count it by walking over the sessions. Through it goes what all shards' queues take together.
#[derive(Debug)]
pub struct QueueTotals {
    memory: Arc<QueuedMemory>,
    messages: u64,
    on_disk: u64,
    queued_bytes: u64,
    /// Of the timers, as of now or a little while ago.
    tick: u32,
}

impl QueueTotals {
    /// Nothing queued, of a process whose queues share `memory`.
    pub const fn new(memory: Arc<QueuedMemory>) -> Self {
        Self { memory, messages: 0, on_disk: 0, queued_bytes: 0, tick: 0 }
    }

    /// What is queued from now on has waited since then.
    pub const fn note_time(&mut self, now: Now) {
        self.tick = tick(now);
    }

    /// When that is, in ticks of the timers.
    pub(super) const fn tick(&self) -> u32 {
        self.tick
    }

    /// How long a message that has left its queue has waited in some queue, in nanoseconds, to a tick of the timers.
    pub fn waited_ns(&self, message: &Message) -> u64 {
        u64::from(self.tick.saturating_sub(message.queued_tick())) * (TIMER_TICK_MS * 1_000_000)
    }

    /// Messages queued or in flight.
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Those of them that are on disk alone.
    pub const fn on_disk(&self) -> u64 {
        self.on_disk
    }

    /// Bytes queued, in flight not counted.
    pub const fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// What the queues of all shards take together.
    pub fn memory(&self) -> &QueuedMemory {
        &self.memory
    }

    /// Counts a message that has got a place in a queue. Returns its bytes.
    pub(super) fn enqueued(&mut self, delivery: &Delivery) -> u64 {
        let bytes = delivery.len_bytes();
        self.memory.take(delivery, self.tick);
        self.messages += 1;
        self.queued_bytes += bytes;
        bytes
    }

    /// Counts a message that has left its queue. Returns its bytes.
    pub(super) fn dequeued(&mut self, delivery: &Delivery) -> u64 {
        let bytes = delivery.len_bytes();
        self.memory.give_back(delivery);
        self.messages -= 1;
        self.queued_bytes -= bytes;
        bytes
    }

    /// The same of one whose body is on disk alone: it takes nothing of the memory of queues but its place, a few bytes.
    pub(super) const fn enqueued_on_disk(&mut self, bytes: u64) {
        self.messages += 1;
        self.on_disk += 1;
        self.queued_bytes += bytes;
    }

    pub(super) const fn dequeued_on_disk(&mut self, bytes: u64) {
        self.messages -= 1;
        self.on_disk -= 1;
        self.queued_bytes -= bytes;
    }

    pub(super) const fn sent(&mut self) {
        self.messages += 1;
    }

    pub(super) const fn completed(&mut self, messages: u64) {
        self.messages -= messages;
    }
}

/// A place in a queue, and with it the message if it stands in no other.
fn memory_bytes(delivery: &Delivery, is_only: bool) -> u64 {
    // A queue that has just grown is half empty.
    let place_bytes = 2 * size_of::<Delivery>() as u64 + delivery.ids_bytes();
    place_bytes + if is_only { delivery.message.memory_bytes() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SubscriptionId;
    use crate::session::delivery::tests::delivery;
    use crate::session::{Outbound, SubscriptionIds};

    fn totals(max_bytes: u64) -> QueueTotals {
        QueueTotals::new(Arc::new(QueuedMemory::new(max_bytes)))
    }

    #[test]
    fn a_message_counts_once_and_each_of_its_places() {
        let mut totals = totals(1_000);
        let first = delivery("a");
        let place_bytes = 2 * size_of::<Delivery>() as u64;
        let one = place_bytes + first.message.memory_bytes();
        let mut queues = [Outbound::default(), Outbound::default()];
        for (queue, taken) in [(0, one), (1, one + place_bytes), (0, one + 2 * place_bytes)] {
            queues[queue].enqueue(first.clone(), &mut totals);
            assert_eq!(
                (totals.memory().taken_bytes(), QueuedMemory::count(queues.iter().flat_map(Outbound::queue))),
                (taken, taken)
            );
        }
        queues[1].enqueue(delivery("a"), &mut totals);
        assert_eq!(totals.memory().taken_bytes(), 2 * one + 2 * place_bytes, "one that is equal is another one");
        for (queue, left) in [(0, 2 * one + place_bytes), (1, 2 * one), (0, one), (1, 0)] {
            queues[queue].dequeue(&mut totals).unwrap();
            assert_eq!(
                (totals.memory().taken_bytes(), QueuedMemory::count(queues.iter().flat_map(Outbound::queue))),
                (left, left)
            );
        }
    }

    #[test]
    fn it_is_full_when_nothing_is_left() {
        let mut totals = totals(1);
        let mut queue = Outbound::default();
        assert!(!totals.memory().is_full());
        queue.enqueue(delivery("a"), &mut totals);
        assert!(totals.memory().is_full(), "the last one may be larger than what was left");
        queue.dequeue(&mut totals).unwrap();
        assert!(!totals.memory().is_full());
    }

    #[test]
    fn identifiers_that_need_memory_count() {
        let mut totals = totals(1_000);
        let ids: Vec<SubscriptionId> = (1..=100).map(|id| SubscriptionId::new(id).unwrap()).collect();
        let many = Delivery { ids: SubscriptionIds::from_slice(&ids), ..delivery("a") };
        let mut queue = Outbound::default();
        queue.enqueue(many, &mut totals);
        assert!(totals.memory().taken_bytes() >= 400);
        queue.dequeue(&mut totals).unwrap();
        assert_eq!(totals.memory().taken_bytes(), 0);
    }
}
