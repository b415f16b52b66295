//! Messages on their way to one client: in flight, and queued behind the window.
//!
//! Always holds: a message is queued only when it cannot be sent now, and the queue is emptied in order before anything
//! newer of QoS 1 or 2 is sent; the queue stays within its limits of messages and bytes.

use std::collections::VecDeque;

use super::delivery::Delivery;
use super::queued_memory::QueueTotals;
use super::replays::Replays;
use super::window::{Exchange, Window};
use crate::ids::{PacketId, Qos};
use crate::topic::EntryId;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Outbound {
    window: Window,
    queue: VecDeque<Delivery>,
    queued_bytes: u64,
    /// Replays that the end of a connection broke off, to be gone on with on the next.
    parked: Option<Box<Replays>>,
    /// Shared subscriptions that count this session as busy.
    busy_in: Vec<EntryId>,
}

/// How much one session's queue may hold, in flight not counted.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// At most so many, whatever their size.
    pub messages: u32,
    /// Bytes of topic, properties and payload.
    pub bytes: u64,
}

/// A message of a session that has ended.
#[derive(Debug)]
pub enum GivenUp {
    /// The client has it.
    Received,
    /// A QoS 2 message that was sent: the client may have it, so nobody else may [MQTT-4.8.2-5].
    Lost,
    /// Not sent, or sent with QoS 1: another member of the shared subscription may have it.
    Unacknowledged(Delivery),
}

impl Outbound {
    /// Nothing on its way; the first message takes the identifier `next_id`.
    pub fn continuing_at(next_id: PacketId) -> Self {
        Self { window: Window::continuing_at(next_id), ..Self::default() }
    }

    /// Whether there is nothing in flight or queued, nor a replay to go on with.
    pub fn is_idle(&self) -> bool {
        self.is_empty() && self.parked.is_none() && self.busy_in.is_empty()
    }

    /// Keeps replays until the client is back.
    pub fn park(&mut self, replays: Replays) {
        self.parked = Some(Box::new(replays));
    }

    /// Takes the replays that were kept.
    pub fn unpark(&mut self) -> Replays {
        self.parked.take().map(|replays| *replays).unwrap_or_default()
    }

    /// Notes that a shared subscription counts this session as busy.
    pub fn note_busy(&mut self, group: EntryId) {
        self.busy_in.push(group);
    }

    /// Whether one does.
    pub const fn is_busy_somewhere(&self) -> bool {
        !self.busy_in.is_empty()
    }

    /// Takes one of them out.
    pub fn take_busy(&mut self) -> Option<EntryId> {
        self.busy_in.pop()
    }

    /// Whether something waits behind the window.
    pub fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Messages queued and in flight.
    pub fn len(&self) -> usize {
        self.queue.len() + usize::from(self.window.len())
    }

    /// Whether nothing is queued or in flight.
    pub fn is_empty(&self) -> bool {
        self.window.is_empty() && self.queue.is_empty()
    }

    /// Messages queued, in flight not counted.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Bytes queued, in flight not counted.
    pub const fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// Whether the queue takes one more message of `bytes`; if not, the newest is the one to drop.
    pub fn admits(&self, bytes: u64, limits: QueueLimits) -> bool {
        self.queue.len() < limits.messages as usize && self.queued_bytes + bytes <= limits.bytes
    }

    /// Appends to the queue. The caller has asked [`Self::admits`].
    pub fn enqueue(&mut self, delivery: Delivery, totals: &mut QueueTotals) {
        self.queued_bytes += totals.enqueued(&delivery);
        self.queue.push_back(delivery);
    }

    /// Takes the oldest queued message.
    pub fn dequeue(&mut self, totals: &mut QueueTotals) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.queued_bytes -= totals.dequeued(&delivery);
        if self.queue.is_empty() {
            debug_assert_eq!(self.queued_bytes, 0);
            self.queue = VecDeque::new(); // a drained backlog gives its memory back
        }
        Some(delivery)
    }

    /// What is in flight.
    pub const fn window(&self) -> &Window {
        &self.window
    }

    /// The exchange of `packet_id`, if one is open.
    pub fn exchange_mut(&mut self, packet_id: PacketId) -> Option<&mut Exchange> {
        self.window.get_mut(packet_id)
    }

    /// Takes a message into flight and gives it an identifier.
    pub fn send(&mut self, delivery: Delivery, totals: &mut QueueTotals) -> PacketId {
        totals.sent();
        self.window.push(delivery)
    }

    /// Takes what was in flight before a restart into flight again. In the order in which it was sent.
    pub fn restore(&mut self, packet_id: PacketId, exchange: Exchange, totals: &mut QueueTotals) {
        if self.window.restore(packet_id, exchange) {
            totals.sent();
        }
    }

    /// Ends an exchange, if it is open.
    pub fn complete(&mut self, packet_id: PacketId, totals: &mut QueueTotals) {
        totals.completed(u64::from(self.window.complete(packet_id).is_some()));
    }

    /// Gives the oldest message up, because the session has ended: first those in flight, then those in the queue.
    pub fn give_up_oldest(&mut self, totals: &mut QueueTotals) -> Option<GivenUp> {
        if let Some(exchange) = self.window.give_up_oldest() {
            totals.completed(1);
            return Some(match exchange {
                Exchange::Published(delivery) if delivery.qos == Qos::ExactlyOnce => GivenUp::Lost,
                Exchange::Published(delivery) => GivenUp::Unacknowledged(delivery),
                Exchange::Released | Exchange::Completed => GivenUp::Received,
            });
        }
        self.dequeue(totals).map(GivenUp::Unacknowledged)
    }

    /// What is queued, oldest first.
    pub fn queue(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{QueuedMemory, delivery::tests::delivery};
    use std::sync::Arc;

    #[test]
    fn the_queue_is_bounded_in_messages_and_in_bytes() {
        let mut outbound = Outbound::default();
        let two = QueueLimits { messages: 2, bytes: 1_000 };
        let mut totals = QueueTotals::new(Arc::new(QueuedMemory::new(u64::MAX)));
        for topic in ["a", "b"] {
            assert!(outbound.admits(6, two));
            outbound.enqueue(delivery(topic), &mut totals);
        }
        assert!(!outbound.admits(6, two));
        assert!(!outbound.admits(6, QueueLimits { messages: 10, bytes: 17 }));
        assert!(outbound.admits(6, QueueLimits { messages: 10, bytes: 18 }));
        assert_eq!((outbound.queued(), outbound.queued_bytes()), (2, 12));
        assert_eq!(outbound.dequeue(&mut totals).unwrap().message.borrow().topic, "a");
        assert_eq!(outbound.dequeue(&mut totals).unwrap().message.borrow().topic, "b");
        assert!(outbound.dequeue(&mut totals).is_none() && outbound.is_idle());
    }

    #[test]
    fn the_totals_follow_what_is_queued_sent_completed_and_discarded() {
        let mut totals = QueueTotals::new(Arc::new(QueuedMemory::new(u64::MAX)));
        let mut outbound = Outbound::default();
        let sent = ["a", "b"].map(|topic| outbound.send(delivery(topic), &mut totals));
        outbound.enqueue(delivery("c"), &mut totals);
        assert_eq!((totals.messages(), totals.queued_bytes()), (3, 6));
        outbound.complete(sent[0], &mut totals);
        outbound.complete(sent[0], &mut totals); // a repetition
        assert_eq!((totals.messages(), totals.queued_bytes()), (2, 6));
        *outbound.exchange_mut(sent[1]).unwrap() = Exchange::Released;
        assert!(matches!(outbound.give_up_oldest(&mut totals), Some(GivenUp::Received)), "the client has it");
        assert!(matches!(outbound.give_up_oldest(&mut totals), Some(GivenUp::Unacknowledged(_))));
        assert!(outbound.give_up_oldest(&mut totals).is_none() && outbound.is_idle());
        assert_eq!((totals.messages(), totals.queued_bytes(), totals.memory().taken_bytes()), (0, 0, 0));
    }
}
