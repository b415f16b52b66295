//! Messages on their way to one client: in flight, and queued behind the window.
//!
//! Always holds: a message is queued only when it cannot be sent now, and the queue is emptied in order before anything
//! newer of QoS 1 or 2 is sent; the queue stays within its limits of messages and bytes. Those of its messages that are on disk alone
//! stand behind those in memory.

use std::collections::VecDeque;

use super::delivery::Delivery;
use super::disk_queue::{DiskDelivery, DiskQueue, PageState};
use super::link::tick;
use super::message::Message;
use super::queued_memory::QueueTotals;
use super::replays::Replays;
use super::window::{Exchange, Window};
use crate::ids::{MessageId, PacketId, Qos};
use crate::limits::TIMER_TICK_MS;
use crate::time::Now;
use crate::topic::EntryId;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Outbound {
    window: Window,
    queue: VecDeque<Delivery>,
    /// What of the queue is on disk alone.
    on_disk: Option<Box<DiskQueue>>,
    /// Of all of the queue.
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
    /// Not sent, not of a shared subscription, and on disk: nobody else may have it.
    OnDisk(DiskDelivery),
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

    /// A subscription has ended while its client is away: so have its replays.
    pub fn end_parked(&mut self, entry: EntryId) {
        if let Some(replays) = &mut self.parked {
            replays.end(entry);
            if replays.is_empty() {
                self.parked = None;
            }
        }
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
        !self.queue.is_empty() || self.on_disk.is_some()
    }

    /// Whether the queue could go on now, as far as it is its own affair: its first message is in memory, or can be asked for.
    pub fn can_go_on(&self) -> bool {
        !self.queue.is_empty() || self.on_disk.as_deref().is_some_and(|on_disk| on_disk.asked() == PageState::No)
    }

    /// Messages queued and in flight.
    pub fn len(&self) -> usize {
        self.queued() + usize::from(self.window.len())
    }

    /// Whether nothing is queued or in flight.
    pub fn is_empty(&self) -> bool {
        self.window.is_empty() && !self.has_queue()
    }

    /// Messages queued, in flight not counted.
    pub fn queued(&self) -> usize {
        self.queue.len() + self.queued_on_disk()
    }

    /// Those of them that are on disk alone.
    pub fn queued_on_disk(&self) -> usize {
        self.on_disk.as_deref().map_or(0, DiskQueue::len)
    }

    /// Bytes queued, in flight not counted.
    pub const fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// Whether the queue takes one more message of `bytes`; if not, the newest is the one to drop.
    pub fn admits(&self, bytes: u64, limits: QueueLimits) -> bool {
        self.queued() < limits.messages as usize && self.queued_bytes + bytes <= limits.bytes
    }

    /// Appends to the queue. The caller has asked [`Self::admits`], and nothing of it is on disk alone.
    pub fn enqueue(&mut self, delivery: Delivery, totals: &mut QueueTotals) {
        debug_assert!(self.on_disk.is_none(), "what is on disk stands behind");
        self.queued_bytes += totals.enqueued(&delivery);
        self.queue.push_back(delivery);
    }

    /// Appends one whose body is on disk alone. The caller has asked [`Self::admits`].
    pub fn enqueue_on_disk(&mut self, delivery: DiskDelivery, totals: &mut QueueTotals) {
        let bytes = self.on_disk.get_or_insert_with(|| Box::new(DiskQueue::new(totals.tick()))).push(delivery);
        totals.enqueued_on_disk(bytes);
        self.queued_bytes += bytes;
    }

    /// Takes the oldest queued message, if it is in memory.
    pub fn dequeue(&mut self, totals: &mut QueueTotals) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.queued_bytes -= totals.dequeued(&delivery);
        if self.queue.is_empty() {
            debug_assert!(self.queued_bytes == 0 || self.on_disk.is_some());
            self.queue = VecDeque::new(); // a drained backlog gives its memory back
        }
        Some(delivery)
    }

    /// The part of the queue that is on disk alone.
    pub fn on_disk(&self) -> Option<&DiskQueue> {
        self.on_disk.as_deref()
    }

    /// Notes how far it is with asking for what is on disk.
    pub fn set_asked(&mut self, asked: PageState) {
        if let Some(on_disk) = self.on_disk.as_deref_mut() {
            on_disk.set_asked(asked);
        }
    }

    /// The first message that was on disk alone comes back, with its body; or without one, which is lost: then it is returned.
    pub fn bring_back(&mut self, body: Option<Message>, totals: &mut QueueTotals) -> Option<DiskDelivery> {
        let delivery = self.dequeue_on_disk(totals)?;
        let Some(message) = body else { return Some(delivery) };
        let delivery = delivery.with(message);
        self.queued_bytes += totals.enqueued(&delivery);
        self.queue.push_back(delivery);
        None
    }

    fn dequeue_on_disk(&mut self, totals: &mut QueueTotals) -> Option<DiskDelivery> {
        let on_disk = self.on_disk.as_deref_mut()?;
        let delivery = on_disk.pop().expect("there is none without anything in it");
        totals.dequeued_on_disk(delivery.len_bytes);
        self.queued_bytes -= delivery.len_bytes;
        if on_disk.is_empty() {
            self.on_disk = None;
        }
        Some(delivery)
    }

    /// Whether the oldest queued message is known to have expired; `None` if there is none.
    pub fn is_oldest_expired(&self, now: Now) -> Option<bool> {
        let on_disk = || self.on_disk.as_deref().and_then(|on_disk| on_disk.is_first_expired(now));
        self.queue.front().map(|oldest| oldest.message.is_expired(now)).or_else(on_disk)
    }

    /// Drops the oldest queued message, wherever its body is. Returns what the log knows it by.
    pub fn drop_oldest(&mut self, totals: &mut QueueTotals) -> Option<MessageId> {
        if let Some(delivery) = self.dequeue(totals) {
            return Some(delivery.stored_as);
        }
        Some(self.dequeue_on_disk(totals)?.stored_as)
    }

    /// How long the oldest queued message has waited in some queue, in milliseconds. On disk alone: no longer than so.
    pub fn oldest_ms(&self, now: Now) -> Option<u64> {
        let on_disk = || self.on_disk.as_deref().map(DiskQueue::since_tick);
        let queued_tick = self.queue.front().map(|oldest| oldest.message.queued_tick()).or_else(on_disk)?;
        Some(u64::from(tick(now).saturating_sub(queued_tick)) * TIMER_TICK_MS)
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
    pub fn send(&mut self, delivery: Delivery, now: Now, totals: &mut QueueTotals) -> PacketId {
        totals.sent();
        self.window.push(delivery, now.short())
    }

    /// Notes that what is in flight is sent: again, or the first time after it has been written down.
    pub fn note_sent(&mut self, packet_id: PacketId, now: Now) {
        self.window.note_sent(packet_id, now.short());
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

    /// Gives the oldest message up, because the session has ended: first those in flight, then those in the queue. `None`: there is
    /// none, or it has to be read first, since another member may have it.
    pub fn give_up_oldest(&mut self, totals: &mut QueueTotals) -> Option<GivenUp> {
        if let Some(exchange) = self.window.give_up_oldest() {
            totals.completed(1);
            return Some(match exchange {
                Exchange::Published(delivery) if delivery.qos == Qos::ExactlyOnce => GivenUp::Lost,
                Exchange::Published(delivery) => GivenUp::Unacknowledged(delivery),
                Exchange::Released | Exchange::Completed => GivenUp::Received,
            });
        }
        if let Some(delivery) = self.dequeue(totals) {
            return Some(GivenUp::Unacknowledged(delivery));
        }
        if self.on_disk.as_deref().is_some_and(DiskQueue::is_first_shared) {
            return None;
        }
        self.dequeue_on_disk(totals).map(GivenUp::OnDisk)
    }

    /// What is queued in memory, oldest first.
    pub fn queue(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{QueuedMemory, delivery::tests::delivery};
    use std::sync::Arc;

    const NOW: Now = Now { mono_ns: 0, unix_ms: 0 };

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
        let sent = ["a", "b"].map(|topic| outbound.send(delivery(topic), NOW, &mut totals));
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
