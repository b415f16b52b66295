//! Messages on their way from one client: exactly-once bookkeeping and acknowledgements that leave in order.
//!
//! QoS 2 is delivered onward when PUBLISH arrives (MQTT 5.0, 4.3.3, method A): what is kept is the identifier alone,
//! two bytes an open exchange, until PUBREL.

use std::collections::VecDeque;

use crate::codec::{AckKind, ReasonCode};
use crate::ids::PacketId;
use crate::limits::COMPLETED_REMEMBERED;
use crate::time::ShortInstant;

/// QoS 2 identifiers that were received and not yet released, and the latest that were. Part of the session: survives the
/// connection. A client that publishes nothing with QoS 2 has nothing but the pointer.
#[derive(Debug, Default)]
pub struct OpenExchanges(Option<Box<Exchanges>>);

#[derive(Debug, Default)]
struct Exchanges {
    open: Vec<u16>,
    /// The latest that were released, in a ring; 0 is no identifier. A client whose PUBCOMP was lost sends its PUBREL again, and
    /// is to hear that all is well.
    completed: [u16; COMPLETED_REMEMBERED],
    next_completed: u8,
}

impl OpenExchanges {
    /// Remembers `id`; `false` when it was known, which makes the PUBLISH a repetition [MQTT-4.3.3-10].
    pub fn insert(&mut self, id: PacketId) -> bool {
        let exchanges = self.0.get_or_insert_default();
        match exchanges.open.binary_search(&id.get()) {
            Ok(_) => false,
            Err(index) => {
                exchanges.open.insert(index, id.get());
                true
            }
        }
    }

    /// Forgets `id`, which was refused; `false` when it was not known.
    pub fn remove(&mut self, id: PacketId) -> bool {
        let Some(exchanges) = self.0.as_deref_mut() else { return false };
        let found = exchanges.open.binary_search(&id.get());
        if let Ok(index) = found {
            exchanges.open.remove(index);
        }
        found.is_ok()
    }

    /// The client has released `id`; `false` when it was not open.
    pub fn complete(&mut self, id: PacketId) -> bool {
        let is_open = self.remove(id);
        if is_open && let Some(exchanges) = self.0.as_deref_mut() {
            exchanges.completed[usize::from(exchanges.next_completed)] = id.get();
            exchanges.next_completed = (exchanges.next_completed + 1) % COMPLETED_REMEMBERED as u8;
        }
        is_open
    }

    /// Whether `id` was released a short while ago.
    pub fn was_completed(&self, id: PacketId) -> bool {
        self.0.as_deref().is_some_and(|exchanges| exchanges.completed.contains(&id.get()))
    }

    /// Whether `id` is open.
    pub fn contains(&self, id: PacketId) -> bool {
        self.0.as_deref().is_some_and(|exchanges| exchanges.open.binary_search(&id.get()).is_ok())
    }

    /// Open exchanges.
    pub fn len(&self) -> usize {
        self.0.as_deref().map_or(0, |exchanges| exchanges.open.len())
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives unused memory back, but for what a client may ask that comes back.
    pub fn shrink(&mut self) {
        if let Some(exchanges) = &mut self.0 {
            exchanges.open.shrink_to_fit();
        }
    }

    /// Gives unused memory back, and forgets what was released.
    pub fn trim(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
        self.shrink();
    }
}

/// Names one acknowledgement of one connection that waits for stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AckNumber(pub u32);

/// What became of a message at those whom it was for, on one shard or on all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reception {
    /// It was for nobody, or there was another reason than a full queue.
    #[default]
    NotTaken,
    /// Nobody could take it: somebody's queue was full.
    QueuesFull,
    /// Somebody has been sent it, or it is queued.
    Taken,
}

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
    /// As far as it is known.
    pub reception: Reception,
    /// When its PUBLISH came.
    pub since: ShortInstant,
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

    /// Whether the last one that waits answers this packet.
    pub fn is_last(&self, packet_id: PacketId) -> bool {
        self.pending.back().is_some_and(|ack| ack.packet_id == packet_id)
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
    pub fn confirm(&mut self, number: AckNumber, reception: Reception) {
        let index = number.0.wrapping_sub(self.first) as usize;
        if let Some(ack) = self.pending.get_mut(index) {
            assert!(ack.waits > 0, "one confirmation more than was asked for");
            ack.waits -= 1;
            ack.reception = ack.reception.max(reception);
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

    #[test]
    fn the_latest_released_are_remembered_until_the_client_is_idle() {
        let mut open = OpenExchanges::default();
        assert!(!open.complete(id(1)) && !open.was_completed(id(1)), "what was never begun is not completed");
        for number in 1..=20 {
            assert!(open.insert(id(number)) && open.complete(id(number)) && !open.complete(id(number)));
        }
        let remembered = (1..=20).filter(|&number| open.was_completed(id(number)));
        assert_eq!(remembered.collect::<Vec<_>>(), (5..=20).collect::<Vec<_>>());
        assert!(
            open.insert(id(30)) && open.remove(id(30)) && !open.was_completed(id(30)),
            "one that was refused is not"
        );
        open.shrink();
        assert!(open.was_completed(id(20)), "its client may come back and ask");
        open.trim();
        assert!(!open.was_completed(id(20)) && open.0.is_none());
    }

    fn puback(number: u16, waits: u8) -> PendingAck {
        let (kind, reception) = (AckKind::PubAck, Reception::default());
        let since = ShortInstant::default();
        PendingAck { kind, packet_id: id(number), reason: ReasonCode::Success, waits, reception, since }
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_their_publishes() {
        let mut queue = AckQueue::default();
        let first = queue.next_number();
        queue.push(puback(1, 2));
        queue.push(puback(2, 0));
        assert!(queue.next_ready().is_none());
        queue.confirm(first, Reception::Taken);
        assert!(queue.next_ready().is_none(), "one of two confirmations is missing");
        queue.confirm(first, Reception::QueuesFull);
        let ack = queue.next_ready().unwrap();
        assert_eq!((ack.packet_id, ack.reception), (id(1), Reception::Taken), "one that takes it is enough");
        assert_eq!(queue.next_ready().unwrap().packet_id, id(2));
        assert!(queue.next_ready().is_none() && queue.is_empty());
        queue.confirm(first, Reception::Taken); // late word about one that is gone
    }
}
