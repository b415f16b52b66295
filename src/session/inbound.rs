//! Messages on their way from one client: exactly-once bookkeeping and acknowledgements that leave in order.
//!
//! QoS 2 is delivered onward when PUBLISH arrives (MQTT 5.0, 4.3.3, method A): what is kept is the identifier alone,
//! two bytes an open exchange, until PUBREL.

use std::collections::VecDeque;

use crate::codec::{AckKind, ReasonCode};
use crate::ids::PacketId;

/// QoS 2 identifiers that were received and not yet released. Part of the session: survives the connection.
#[derive(Debug, Default)]
pub struct OpenExchanges(Vec<u16>);

impl OpenExchanges {
    /// Remembers `id`; `false` when it was known, which makes the PUBLISH a repetition [MQTT-4.3.3-10].
    pub fn insert(&mut self, id: PacketId) -> bool {
        match self.0.binary_search(&id.get()) {
            Ok(_) => false,
            Err(index) => {
                self.0.insert(index, id.get());
                true
            }
        }
    }

    /// Forgets `id`; `false` when it was not known.
    pub fn remove(&mut self, id: PacketId) -> bool {
        let found = self.0.binary_search(&id.get());
        if let Ok(index) = found {
            self.0.remove(index);
        }
        found.is_ok()
    }

    /// Whether `id` is open.
    pub fn contains(&self, id: PacketId) -> bool {
        self.0.binary_search(&id.get()).is_ok()
    }

    /// Open exchanges.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is open.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives unused memory back.
    pub fn trim(&mut self) {
        self.0.shrink_to_fit();
    }
}

/// Names one acknowledgement of one connection that waits for stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AckNumber(pub u32);

/// A PUBACK or PUBREC that has not left.
#[derive(Clone, Copy, Debug)]
pub struct PendingAck {
    /// PUBACK or PUBREC.
    pub kind: AckKind,
    /// Of the PUBLISH.
    pub packet_id: PacketId,
    /// What it will say.
    pub reason: ReasonCode,
    /// Confirmations that are still missing. None: it waits for its turn only.
    pub waits: u8,
}

/// Acknowledgements of one connection, in the order of the PUBLISH packets they answer. Empty unless one has to wait.
#[derive(Debug, Default)]
pub struct AckQueue {
    pending: VecDeque<PendingAck>,
    first: u32,
    /// How many of them answer a message that is no open exchange.
    alone: usize,
}

impl PendingAck {
    /// PUBACK, or a PUBREC that ends the exchange it answers: only here is it known that the message is in flight.
    const fn is_alone(self) -> bool {
        matches!(self.kind, AckKind::PubAck) || self.reason.is_error()
    }
}

impl AckQueue {
    /// Whether nothing waits, so that an acknowledgement may leave at once.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Acknowledgements that wait.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Messages in flight from the client that are not among its open exchanges. A QoS 2 message is: its PUBREC that
    /// waits here does not count a second time.
    pub const fn in_flight_alone(&self) -> usize {
        self.alone
    }

    /// The number that the next one pushed will have.
    pub fn next_number(&self) -> AckNumber {
        AckNumber(self.first.wrapping_add(self.pending.len() as u32))
    }

    /// Appends an acknowledgement.
    pub fn push(&mut self, ack: PendingAck) {
        self.alone += usize::from(ack.is_alone());
        self.pending.push_back(ack);
    }

    /// Counts one confirmation.
    pub fn confirm(&mut self, number: AckNumber) {
        let index = number.0.wrapping_sub(self.first) as usize;
        if let Some(ack) = self.pending.get_mut(index) {
            assert!(ack.waits > 0, "one confirmation more than was asked for");
            ack.waits -= 1;
        }
    }

    /// The next acknowledgement whose turn has come.
    pub fn next_ready(&mut self) -> Option<PendingAck> {
        if self.pending.front()?.waits > 0 {
            return None;
        }
        self.first = self.first.wrapping_add(1);
        let ack = self.pending.pop_front()?;
        self.alone -= usize::from(ack.is_alone());
        Some(ack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    #[test]
    fn a_repeated_identifier_is_recognised_until_it_is_released() {
        let mut open = OpenExchanges::default();
        assert!(open.insert(id(5)) && open.insert(id(1)) && !open.insert(id(5)));
        assert!(open.remove(id(5)) && !open.remove(id(5)));
        assert!(open.insert(id(5)));
        assert_eq!(open.len(), 2);
    }

    fn puback(number: u16, waits: u8) -> PendingAck {
        PendingAck { kind: AckKind::PubAck, packet_id: id(number), reason: ReasonCode::Success, waits }
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_their_publishes() {
        let mut queue = AckQueue::default();
        let first = queue.next_number();
        queue.push(puback(1, 2));
        queue.push(puback(2, 0));
        assert!(queue.next_ready().is_none());
        queue.confirm(first);
        assert!(queue.next_ready().is_none(), "one of two confirmations is missing");
        queue.confirm(first);
        assert_eq!(queue.next_ready().unwrap().packet_id, id(1));
        assert_eq!(queue.next_ready().unwrap().packet_id, id(2));
        assert!(queue.next_ready().is_none() && queue.is_empty());
        queue.confirm(first); // late word about one that is gone
    }
}
