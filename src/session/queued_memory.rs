//! What the queues of all sessions of a process take together, and how much they may.
//!
//! Always holds: the sum is that of all places in queues, and of each message that stands in one, counted once however many
//! queues of however many shards it stands in.
//! Leaves to others: what becomes of a message that finds no room.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::outbound::{Delivery, Outbound};

/// See the module's text. All shards of a process share one. It is asked only where a message has to wait, never where it
/// is sent at once.
#[derive(Debug)]
pub struct QueuedMemory {
    taken_bytes: AtomicU64,
    max_bytes: u64,
}

impl QueuedMemory {
    /// Nothing taken of `max_bytes`.
    pub const fn new(max_bytes: u64) -> Self {
        Self { taken_bytes: AtomicU64::new(0), max_bytes }
    }

    /// Bytes taken: never more than the limit and one message of each shard, which came when there was some room yet.
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Relaxed)
    }

    /// Whether nothing more is to be queued.
    pub fn is_full(&self) -> bool {
        self.taken_bytes() >= self.max_bytes
    }

    /// What these queues take, counted anew: for tests, which hold it against [`Self::taken_bytes`].
    pub fn count<'a>(queues: impl Iterator<Item = &'a Outbound>) -> u64 {
        let mut seen = HashSet::new();
        let deliveries = queues.flat_map(Outbound::queue);
        deliveries.map(|one| memory_bytes(one, seen.insert(one.message.borrow().topic.as_ptr()))).sum()
    }

    /// A delivery has got a place in a queue.
    pub(super) fn take(&self, delivery: &Delivery) {
        let is_first = delivery.message.enter_queue();
        self.taken_bytes.fetch_add(memory_bytes(delivery, is_first), Relaxed);
    }

    /// It has left it.
    pub(super) fn give_back(&self, delivery: &Delivery) {
        let is_last = delivery.message.leave_queue();
        let bytes = memory_bytes(delivery, is_last);
        let taken_bytes = self.taken_bytes.fetch_sub(bytes, Relaxed);
        debug_assert!(taken_bytes >= bytes, "what is given back was taken");
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
    use crate::session::SubscriptionIds;
    use crate::session::outbound::tests::delivery;

    #[test]
    fn a_message_counts_once_and_each_of_its_places() {
        let memory = QueuedMemory::new(1_000);
        let first = delivery("a");
        let place_bytes = 2 * size_of::<Delivery>() as u64;
        let one = place_bytes + first.message.memory_bytes();
        let mut queues = [Outbound::default(), Outbound::default()];
        for (queue, taken) in [(0, one), (1, one + place_bytes), (0, one + 2 * place_bytes)] {
            queues[queue].enqueue(first.clone(), &memory);
            assert_eq!((memory.taken_bytes(), QueuedMemory::count(queues.iter())), (taken, taken));
        }
        queues[1].enqueue(delivery("a"), &memory);
        assert_eq!(memory.taken_bytes(), 2 * one + 2 * place_bytes, "one that is equal is another one");
        for (queue, left) in [(0, 2 * one + place_bytes), (1, 2 * one), (0, one), (1, 0)] {
            queues[queue].dequeue(&memory).unwrap();
            assert_eq!((memory.taken_bytes(), QueuedMemory::count(queues.iter())), (left, left));
        }
    }

    #[test]
    fn it_is_full_when_nothing_is_left() {
        let memory = QueuedMemory::new(1);
        let mut queue = Outbound::default();
        assert!(!memory.is_full());
        queue.enqueue(delivery("a"), &memory);
        assert!(memory.is_full(), "the last one may be larger than what was left");
        queue.dequeue(&memory).unwrap();
        assert!(!memory.is_full());
    }

    #[test]
    fn identifiers_that_need_memory_count() {
        let memory = QueuedMemory::new(1_000);
        let ids: Vec<SubscriptionId> = (1..=100).map(|id| SubscriptionId::new(id).unwrap()).collect();
        let many = Delivery { ids: SubscriptionIds::from_slice(&ids), ..delivery("a") };
        let mut queue = Outbound::default();
        queue.enqueue(many, &memory);
        assert!(memory.taken_bytes() >= 400);
        queue.dequeue(&memory).unwrap();
        assert_eq!(memory.taken_bytes(), 0);
    }
}
