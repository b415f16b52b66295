//! Each connection's share of a turn. What one has sent beyond it waits here until the others of the shard have been served, so
//! that whoever writes ten thousand messages at once delays its own and nobody else's.
//!
//! What always holds: a connection's events are handled in the order in which they came, so while some of them wait, all
//! that come after them do too. Connections that wait go on by turns. Beyond [`PUT_OFF_BUFFERS_MAX`] buffers no more are
//! kept for whoever sends: its receive is to be stopped, and TCP slows it down.
//!
//! It knows events and their sizes; what is done with them is `edge`'s.

use crate::ids::ConnectionId;
use std::collections::{HashMap, VecDeque};

use crate::limits::{PUT_OFF_BUFFERS_MAX, PUT_OFF_TURN_BYTES, TURN_SHARE_BYTES};
use crate::ring::Event;

/// Receive events that wait.
#[derive(Debug, Default)]
pub struct Shares {
    /// Who sent last, and how many bytes in a row.
    last: Option<ConnectionId>,
    last_bytes: usize,
    queues: HashMap<ConnectionId, Queue>,
    /// Whose queues these are, in the order of their turns.
    order: VecDeque<ConnectionId>,
    /// Buffers on loan to the events that wait.
    buffers: usize,
    /// Bytes taken from the first in order, and from all of them, since the turn began.
    first_bytes: usize,
    turn_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Whether receiving was stopped.
    stopped: bool,
}

/// What becomes of an event.
#[derive(Debug)]
pub enum Admission {
    /// It is to be handled.
    Now(Event),
    /// It waits. With a token: so much waits that this connection is to receive no more until it has been handled.
    Later(Option<ConnectionId>),
}

impl Shares {
    /// A turn begins: everybody has a share again.
    pub fn begin_turn(&mut self) {
        self.last = None;
        self.turn_bytes = 0;
    }

    /// Keeps `event` if it is a receive of somebody who has had a share.
    pub fn admit(&mut self, event: Event) -> Admission {
        let Some((token, bytes)) = received(&event) else { return Admission::Now(event) };
        let waits = !self.queues.is_empty() && self.queues.contains_key(&token);
        if self.last != Some(token) {
            self.last = Some(token);
            self.last_bytes = 0;
        }
        if !waits && self.last_bytes < TURN_SHARE_BYTES {
            self.last_bytes += bytes;
            return Admission::Now(event);
        }
        self.buffers += usize::from(bytes > 0);
        let is_full = self.buffers > PUT_OFF_BUFFERS_MAX;
        let order = &mut self.order;
        let queue = self.queues.entry(token).or_insert_with(|| {
            order.push_back(token);
            Queue::default()
        });
        queue.events.push_back(event);
        let stops = is_full && !queue.stopped;
        queue.stopped |= stops;
        Admission::Later(stops.then_some(token))
    }

    /// The next of those that wait, until the turn has had enough of them.
    pub fn next(&mut self) -> Option<Event> {
        if self.turn_bytes >= PUT_OFF_TURN_BYTES {
            return None;
        }
        let token = *self.order.front()?;
        let queue = self.queues.get_mut(&token).expect("who is in order has a queue");
        let event = queue.events.pop_front().expect("a queue goes with its last event");
        let bytes = received(&event).map_or(0, |(_, bytes)| bytes);
        self.buffers -= usize::from(bytes > 0);
        self.turn_bytes += bytes;
        self.first_bytes += bytes;
        if queue.events.is_empty() {
            self.queues.remove(&token);
            self.order.pop_front();
            self.first_bytes = 0;
        } else if self.first_bytes >= TURN_SHARE_BYTES {
            self.order.rotate_left(1);
            self.first_bytes = 0;
        }
        Some(event)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// Whose receive an event is, and of how many bytes.
const fn received(event: &Event) -> Option<(ConnectionId, usize)> {
    match event {
        Event::Received { connection: token, buffer, .. } => Some((*token, buffer.len())),
        Event::ReceiveEnded { connection: token, .. } => Some((*token, 0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Buffer, EndCause};

    const PAGE: usize = 4096;
    const PAGES_PER_SHARE: usize = TURN_SHARE_BYTES / PAGE;

    fn page(slot: u32) -> Event {
        Event::Received { connection: ConnectionId::new(slot, 0), buffer: Buffer::of_no_ring(PAGE as u32), more: true }
    }

    fn end(slot: u32) -> Event {
        Event::ReceiveEnded { connection: ConnectionId::new(slot, 0), cause: EndCause::Eof }
    }

    /// Whether it is handled at once.
    fn admits(shares: &mut Shares, event: Event) -> bool {
        matches!(shares.admit(event), Admission::Now(_))
    }

    /// Whose events the turn goes on with, and whether it is the end.
    fn rest_of_turn(shares: &mut Shares) -> Vec<(u32, bool)> {
        std::iter::from_fn(|| shares.next())
            .map(|event| match event {
                Event::Received { connection: token, .. } => (token.slot, false),
                Event::ReceiveEnded { connection: token, .. } => (token.slot, true),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn who_has_had_a_share_waits_and_others_do_not() {
        let mut shares = Shares::default();
        for _ in 0..PAGES_PER_SHARE {
            assert!(admits(&mut shares, page(1)));
        }
        assert!(!admits(&mut shares, page(1)));
        assert!(admits(&mut shares, page(2)), "another");
        assert!(!admits(&mut shares, page(1)), "it has not gone on yet");
        assert!(!admits(&mut shares, end(1)), "the end comes last");
        assert!(admits(&mut shares, Event::Timeout));
        assert_eq!(rest_of_turn(&mut shares), [(1, false), (1, false), (1, true)]);
        assert!(shares.is_empty());
        shares.begin_turn();
        assert!(admits(&mut shares, page(1)));
    }

    #[test]
    fn those_who_wait_go_on_by_turns_and_so_much_a_turn() {
        let mut shares = Shares::default();
        let pages = 100;
        for slot in [1, 2, 3] {
            for _ in 0..pages {
                let _ = shares.admit(page(slot));
            }
        }
        let mut order: Vec<u32> = Vec::new();
        while !shares.is_empty() {
            shares.begin_turn();
            let turn = rest_of_turn(&mut shares);
            assert!(turn.len() * PAGE <= PUT_OFF_TURN_BYTES && !turn.is_empty());
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
    fn beyond_what_may_wait_each_sender_is_stopped_once_until_its_own_has_been_handled() {
        let mut shares = Shares::default();
        let mut stopped = Vec::new();
        for _ in 0..PAGES_PER_SHARE + PUT_OFF_BUFFERS_MAX + 10 {
            if let Admission::Later(Some(token)) = shares.admit(page(1)) {
                stopped.push((token.slot, shares.buffers));
            }
        }
        assert_eq!(stopped, [(1, PUT_OFF_BUFFERS_MAX + 1)]);
        for _ in 0..PAGES_PER_SHARE {
            let _ = shares.admit(page(2));
        }
        assert!(matches!(shares.admit(page(2)), Admission::Later(Some(_))), "another that sends too much");
        while !shares.is_empty() {
            shares.begin_turn();
            rest_of_turn(&mut shares);
        }
        assert_eq!(shares.buffers, 0);
        shares.begin_turn();
        assert!(admits(&mut shares, page(1)));
    }
}
