//! Messages on their way to one client: in flight, and queued behind the window.
//!
//! Always holds: a message is queued only when it cannot be sent now, and the queue is emptied in order before anything
//! newer of QoS 1 or 2 is sent; the queue stays within its limits of messages and bytes.

use std::collections::VecDeque;

use super::message::Message;
use super::queued_memory::QueuedMemory;
use super::replays::Replays;
use super::window::Window;
use crate::ids::{PacketId, Qos, SubscriptionId};

/// The subscription identifiers that one delivery carries: mostly none or one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionIds {
    /// No matching subscription has an identifier.
    #[default]
    None,
    /// Exactly one has.
    One(SubscriptionId),
    /// Several have [MQTT-3.3.4-4].
    Many(Box<[SubscriptionId]>),
}

impl SubscriptionIds {
    /// From a list.
    pub fn from_slice(ids: &[SubscriptionId]) -> Self {
        match ids {
            [] => Self::None,
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }

    /// As a list.
    pub const fn as_slice(&self) -> &[SubscriptionId] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// One message for one client, with what is special about this copy.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Identifiers of the subscriptions that it is delivered for.
    pub ids: SubscriptionIds,
    /// The lower of published and granted QoS [MQTT-3.8.4-8].
    pub qos: Qos,
    /// RETAIN of this copy.
    pub retain: bool,
}

impl Delivery {
    /// Bytes that count against a queue: topic, properties (the identifiers are among them) and payload.
    pub fn len_bytes(&self) -> u64 {
        self.message.len_bytes() + self.ids_bytes()
    }

    pub(super) fn ids_bytes(&self) -> u64 {
        size_of_val(self.ids.as_slice()) as u64
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Outbound {
    /// In flight.
    pub window: Window,
    queue: VecDeque<Delivery>,
    queued_bytes: u64,
    /// Replays that the end of a connection broke off, to be gone on with on the next.
    parked: Option<Box<Replays>>,
}

/// The queue's limits.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Messages.
    pub messages: u32,
    /// Bytes of topic, properties and payload.
    pub bytes: u64,
}

impl Outbound {
    /// Nothing on its way; the first message takes the identifier `next_id`.
    pub fn continuing_at(next_id: PacketId) -> Self {
        Self { window: Window::continuing_at(next_id), ..Self::default() }
    }

    /// Whether there is nothing in flight or queued, nor a replay to go on with.
    pub fn is_idle(&self) -> bool {
        self.is_empty() && self.parked.is_none()
    }

    /// Keeps replays until the client is back.
    pub fn park(&mut self, replays: Replays) {
        self.parked = Some(Box::new(replays));
    }

    /// Takes the replays that were kept.
    pub fn unpark(&mut self) -> Replays {
        self.parked.take().map(|replays| *replays).unwrap_or_default()
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
    pub fn enqueue(&mut self, delivery: Delivery, memory: &QueuedMemory) {
        memory.take(&delivery);
        self.queued_bytes += delivery.len_bytes();
        self.queue.push_back(delivery);
    }

    /// Takes the oldest queued message.
    pub fn dequeue(&mut self, memory: &QueuedMemory) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        memory.give_back(&delivery);
        self.queued_bytes -= delivery.len_bytes();
        if self.queue.is_empty() {
            debug_assert_eq!(self.queued_bytes, 0);
            self.queue = VecDeque::new(); // a drained backlog gives its memory back
        }
        Some(delivery)
    }

    /// What is queued, oldest first.
    pub fn queue(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::codec::properties::Forwarded;
    use crate::session::message::MessageRef;

    pub(crate) fn delivery(topic: &str) -> Delivery {
        let message = Message::new(&MessageRef {
            topic,
            qos: Qos::AtLeastOnce,
            retain: false,
            expires: None,
            publisher: None,
            properties: Forwarded::EMPTY,
            payload: b"12345",
        });
        Delivery { message, ids: SubscriptionIds::None, qos: Qos::AtLeastOnce, retain: false }
    }

    #[test]
    fn the_queue_is_bounded_in_messages_and_in_bytes() {
        let mut outbound = Outbound::default();
        let (two, memory) = (QueueLimits { messages: 2, bytes: 1_000 }, QueuedMemory::new(u64::MAX));
        for topic in ["a", "b"] {
            assert!(outbound.admits(6, two));
            outbound.enqueue(delivery(topic), &memory);
        }
        assert!(!outbound.admits(6, two));
        assert!(!outbound.admits(6, QueueLimits { messages: 10, bytes: 17 }));
        assert!(outbound.admits(6, QueueLimits { messages: 10, bytes: 18 }));
        assert_eq!((outbound.queued(), outbound.queued_bytes()), (2, 12));
        assert_eq!(outbound.dequeue(&memory).unwrap().message.borrow().topic, "a");
        assert_eq!(outbound.dequeue(&memory).unwrap().message.borrow().topic, "b");
        assert!(outbound.dequeue(&memory).is_none() && outbound.is_idle());
    }
}
