//! The QoS 1 and 2 messages that were sent to a client and are not completed yet, in the order they were sent.
//!
//! Owns: packet identifiers of the server's own PUBLISH packets. Always holds: no identifier is used twice at a time
//! [MQTT-2.2.1-4]; `live <= entries.len()`; the first entry is never a completed one.
//!
//! Identifiers are handed out in ascending order and wrap, so the entries are sorted by "identifier minus first
//! identifier", and an acknowledgement finds its entry by bisection. Only when a client leaves its oldest message
//! uncompleted for 65,535 later ones does the order break; then the search is linear until the window is empty again.

use std::collections::VecDeque;

use super::delivery::Delivery;
use crate::ids::{PacketId, Qos};
use crate::time::ShortInstant;

/// How far the exchange of one message has come.
#[derive(Debug)]
pub enum Exchange {
    /// QoS 1: PUBLISH sent, PUBACK awaited. QoS 2: PUBLISH sent, PUBREC awaited.
    Published(Delivery),
    /// QoS 2: PUBREL sent, PUBCOMP awaited. The message itself is no longer needed [MQTT-4.3.3-6].
    Released,
    /// Completed out of order; waits for those before it to be completed.
    Completed,
}

#[derive(Debug)]
struct Entry {
    packet_id: PacketId,
    /// When it was last sent. It takes what alignment leaves over.
    sent: ShortInstant,
    exchange: Exchange,
}

const _: () = assert!(size_of::<Entry>() == 48, "a million messages in flight are forty-eight megabytes");

/// See the module's text.
#[derive(Debug)]
pub struct Window {
    entries: VecDeque<Entry>,
    live: u16,
    next_id: PacketId,
    disordered: bool,
}

impl Default for Window {
    fn default() -> Self {
        Self { entries: VecDeque::new(), live: 0, next_id: PacketId::MIN, disordered: false }
    }
}

impl Window {
    /// Messages in flight.
    pub const fn len(&self) -> u16 {
        self.live
    }

    /// When the first of what is in flight was last sent. After a restart it is not known until it is sent again.
    pub fn oldest_sent(&self) -> Option<ShortInstant> {
        self.entries.front().map(|entry| entry.sent).filter(|sent| *sent != ShortInstant::default())
    }

    /// Whether nothing is in flight.
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The identifier that the next new message would start looking from. Kept when everything else is given back.
    pub const fn next_id(&self) -> PacketId {
        self.next_id
    }

    /// A window that goes on after the identifiers of an earlier one.
    pub fn continuing_at(next_id: PacketId) -> Self {
        Self { next_id, ..Self::default() }
    }

    /// Takes a message into flight and gives it an identifier. The caller keeps `len() < u16::MAX`.
    pub fn push(&mut self, delivery: Delivery, sent: ShortInstant) -> PacketId {
        assert!(self.live < u16::MAX, "the window's limit is below the number of identifiers");
        let mut id = self.next_id;
        if let Some(first) = self.entries.front() {
            if self.disordered || id == first.packet_id {
                self.disordered = true;
                while self.entries.iter().any(|entry| entry.packet_id == id) {
                    id = following(id);
                }
            }
        } else {
            self.disordered = false;
        }
        self.next_id = following(id);
        self.entries.push_back(Entry { packet_id: id, sent, exchange: Exchange::Published(delivery) });
        self.live += 1;
        id
    }

    /// Takes what was in flight before a restart into flight again, under its own identifier. In the order in which it was
    /// sent. `false`: the identifier is in use.
    pub fn restore(&mut self, id: PacketId, exchange: Exchange) -> bool {
        if self.live == u16::MAX || self.entries.iter().any(|entry| entry.packet_id == id) {
            return false;
        }
        if let (Some(first), Some(last)) = (self.entries.front(), self.entries.back()) {
            self.disordered |= distance(first.packet_id, id) < distance(first.packet_id, last.packet_id);
        }
        self.next_id = following(id);
        self.entries.push_back(Entry { packet_id: id, sent: ShortInstant::default(), exchange });
        self.live += 1;
        true
    }

    /// The exchange of `id`, if one is open.
    pub fn get_mut(&mut self, id: PacketId) -> Option<&mut Exchange> {
        let index = self.find(id)?;
        Some(&mut self.entries[index].exchange)
    }

    /// Notes that the message of `id` is sent, for the first time or again.
    pub fn note_sent(&mut self, id: PacketId, sent: ShortInstant) {
        if let Some(index) = self.find(id) {
            self.entries[index].sent = sent;
        }
    }

    /// When the message of `id` was last sent, if it has not been received.
    pub fn sent(&self, id: PacketId) -> Option<ShortInstant> {
        let entry = &self.entries[self.find(id)?];
        let is_known = entry.sent != ShortInstant::default(); // after a restart it is not, until it is sent again
        (is_known && matches!(entry.exchange, Exchange::Published(_))).then_some(entry.sent)
    }

    /// Ends the exchange of `id` and gives back what it was.
    pub fn complete(&mut self, id: PacketId) -> Option<Exchange> {
        let index = self.find(id)?;
        self.live -= 1;
        let exchange = match index {
            0 => self.entries.pop_front()?.exchange,
            _ => std::mem::replace(&mut self.entries[index].exchange, Exchange::Completed),
        };
        while matches!(self.entries.front(), Some(Entry { exchange: Exchange::Completed, .. })) {
            self.entries.pop_front();
        }
        // A client that completes everything but its oldest message must not make the completed ones pile up.
        if self.entries.len() > 64 && self.entries.len() > 4 * usize::from(self.live) {
            self.entries.retain(|entry| !matches!(entry.exchange, Exchange::Completed));
        }
        Some(exchange)
    }

    /// Ends the oldest exchange, whatever its state, and gives back what it was.
    pub fn give_up_oldest(&mut self) -> Option<Exchange> {
        loop {
            match self.entries.pop_front()?.exchange {
                Exchange::Completed => {}
                exchange => {
                    self.live -= 1;
                    return Some(exchange);
                }
            }
        }
    }

    /// Everything in flight, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, &Exchange)> {
        self.entries
            .iter()
            .filter(|entry| !matches!(entry.exchange, Exchange::Completed))
            .map(|entry| (entry.packet_id, &entry.exchange))
    }

    /// Whether a QoS 2 message is in flight.
    pub fn has_qos_2(&self) -> bool {
        self.entries.iter().any(|entry| match &entry.exchange {
            Exchange::Published(delivery) => delivery.qos == Qos::ExactlyOnce,
            Exchange::Released => true,
            Exchange::Completed => false,
        })
    }

    /// Where the exchange of `id` is, if it is open.
    #[inline]
    fn find(&self, id: PacketId) -> Option<usize> {
        // Mostly the oldest is completed first, and the first entry is an open one.
        if self.entries.front()?.packet_id == id { Some(0) } else { self.find_behind_first(id) }
    }

    fn find_behind_first(&self, id: PacketId) -> Option<usize> {
        let index = if self.disordered {
            self.entries.iter().position(|entry| entry.packet_id == id)?
        } else {
            let first = self.entries.front()?.packet_id;
            let distance = distance(first, id);
            match self.entries.get(usize::from(distance)) {
                // Mostly no entry is missing between the first and this one.
                Some(entry) if entry.packet_id == id => usize::from(distance),
                _ => {
                    self.entries.binary_search_by_key(&distance, |entry| self::distance(first, entry.packet_id)).ok()?
                }
            }
        };
        (!matches!(self.entries[index].exchange, Exchange::Completed)).then_some(index)
    }
}

/// The identifier after `id`: 65,535 is followed by 1.
const fn following(id: PacketId) -> PacketId {
    match id.checked_add(1) {
        Some(next) => next,
        None => PacketId::MIN,
    }
}

/// Steps of `following` from `first` to `id`.
const fn distance(first: PacketId, id: PacketId) -> u16 {
    let (first, id) = (first.get(), id.get());
    if id >= first { id - first } else { u16::MAX - first + id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::delivery::tests::delivery;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    #[test]
    fn identifiers_ascend_from_one_and_wrap_past_zero() {
        let mut window = Window::default();
        for expected in (1..=u16::MAX).chain([1, 2]) {
            let given = window.push(delivery("t"), ShortInstant::default());
            assert_eq!(given.get(), expected);
            assert!(window.complete(given).is_some());
        }
        assert!(window.is_empty());
    }

    #[test]
    fn an_identifier_in_use_is_never_given_again() {
        let mut window = Window::default();
        let stuck = window.push(delivery("stuck"), ShortInstant::default());
        let second = window.push(delivery("second"), ShortInstant::default());
        for _ in 0..200_000_u32 {
            let given = window.push(delivery("t"), ShortInstant::default());
            assert!(given != stuck && given != second);
            assert!(window.complete(given).is_some());
        }
        assert_eq!(window.len(), 2);
        assert!(window.entries.len() <= 128, "{} entries are held for 2 messages", window.entries.len());
        assert!(window.complete(second).is_some() && window.complete(stuck).is_some());
        let _ = window.push(delivery("t"), ShortInstant::default());
        assert!(!window.disordered, "an empty window forgets the disorder");
    }

    #[test]
    fn acknowledgements_may_come_in_any_order_and_only_once() {
        let mut window = Window::default();
        let ids: Vec<_> = (0..10).map(|_| window.push(delivery("t"), ShortInstant::default())).collect();
        for &index in &[9, 0, 5, 1, 2, 8, 3, 4, 7, 6] {
            assert!(window.complete(ids[index]).is_some());
            assert!(window.complete(ids[index]).is_none(), "completed twice");
        }
        assert!(window.is_empty() && window.entries.is_empty());
    }

    #[test]
    fn what_was_in_flight_before_a_restart_keeps_its_identifiers() {
        for ids in [[7, 8, 9], [65_534, 65_535, 1], [9, 7, 8]] {
            let mut window = Window::default();
            for number in ids {
                assert!(window.restore(id(number), Exchange::Published(delivery("t"))));
                assert!(!window.restore(id(number), Exchange::Released), "an identifier is used once");
            }
            let next = window.push(delivery("new"), ShortInstant::default());
            assert!(!ids.contains(&next.get()), "{ids:?}: {next}");
            assert!(window.iter().map(|(id, _)| id.get()).eq(ids.into_iter().chain([next.get()])));
            assert!(ids.into_iter().rev().all(|number| window.complete(id(number)).is_some()), "{ids:?}");
            assert_eq!(window.len(), 1);
        }
    }

    #[test]
    fn an_unknown_identifier_changes_nothing() {
        let mut window = Window::default();
        assert!(window.complete(id(7)).is_none());
        let first = window.push(delivery("t"), ShortInstant::default());
        assert!(window.complete(id(9)).is_none());
        assert_eq!(window.len(), 1);
        assert!(window.get_mut(first).is_some());
    }
}
