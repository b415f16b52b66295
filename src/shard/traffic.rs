//! What each client sends and is sent, and which topics are published: counted only while somebody looks, or where a setting says so.
//!
//! Owns: counters by slot of the session, in pieces that are made when one of their sessions is counted; the sketch of topics.
//! Always holds: while nobody looks, a message costs one look at whether somebody does, and no session a byte. Counting ends by itself
//! [`TRAFFIC_COUNTED_S`] after the last question; the memory is given back a part at a time.
//! Leaves to others: what is counted for all together (`telemetry`).

use super::shown::{ClientTraffic, TopicRow, TopicsBy};
use super::topics_seen::TopicsSeen;
use crate::ids::{ClientKey, SessionId};
use crate::limits::TRAFFIC_COUNTED_S;
use crate::telemetry::DropReason;
use crate::time::{Deadline, Now};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct TrafficCounts {
    counting: Option<Box<Counting>>,
    /// What is left of an earlier counting.
    ending: Vec<Option<CountedPiece>>,
}

#[derive(Debug)]
struct Counting {
    since_ms: u64,
    until: Deadline,
    pieces: Vec<Option<CountedPiece>>,
    topics: TopicsSeen,
}

/// So many are counted in memory that is taken in one go.
const PIECE_SESSIONS: usize = 64;
/// Pieces that are given back in one go.
const PIECES_FREED: usize = 64;

type CountedPiece = Box<[Counted; PIECE_SESSIONS]>;

/// Of one session. A slot may be another's later: the key tells.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    key: u64,
    traffic: ClientTraffic,
}

impl TrafficCounts {
    /// Whether anything is counted.
    #[inline]
    pub(super) const fn is_counted(&self) -> bool {
        self.counting.is_some()
    }

    /// Somebody looks: counting begins, or goes on.
    pub(super) fn look(&mut self, now: Now) {
        let until = now.after_s(TRAFFIC_COUNTED_S);
        let begin = || {
            let (pieces, topics) = (Vec::new(), TopicsSeen::default());
            Box::new(Counting { since_ms: now.ms(), until, pieces, topics })
        };
        self.counting.get_or_insert_with(begin).until = until;
    }

    /// Ends counting for which nobody has asked for long, unless it is always done.
    pub(super) fn tidy(&mut self, now: Now, always: bool) {
        if always {
            self.look(now);
        }
        if let Some(ended) = self.counting.take_if(|counting| counting.until.is_due(now)) {
            self.ending = ended.pieces;
        }
    }

    /// Whether memory is still to be given back.
    pub(super) const fn is_ending(&self) -> bool {
        !self.ending.is_empty()
    }

    /// Gives a part of it back.
    pub(super) fn end_some(&mut self) {
        let left = self.ending.len().saturating_sub(PIECES_FREED);
        self.ending.truncate(left);
        if left == 0 {
            self.ending = Vec::new();
        }
    }

    /// How long it has been counted, in milliseconds.
    pub(super) fn counted_ms(&self, now: Now) -> u64 {
        self.counting.as_deref().map_or(0, |counting| now.ms().saturating_sub(counting.since_ms))
    }

    /// What was counted of one session, if anything is counted.
    pub(super) fn of(&self, id: SessionId, key: ClientKey) -> Option<ClientTraffic> {
        let counting = self.counting.as_deref()?;
        let piece = counting.pieces.get(id.index() / PIECE_SESSIONS).and_then(Option::as_deref);
        let counted = piece.map(|piece| &piece[id.index() % PIECE_SESSIONS]).filter(|counted| counted.key == key.0);
        Some(counted.map_or_else(ClientTraffic::default, |counted| counted.traffic))
    }

    /// The first topics in an order.
    pub(super) fn topics(&self, now: Now, by: TopicsBy, limit: usize) -> Vec<TopicRow> {
        self.counting.as_deref().map(|counting| counting.topics.first(now, by, limit)).unwrap_or_default()
    }

    /// A client has published.
    #[cold]
    pub(super) fn note_received(&mut self, now: Now, (id, key): (SessionId, ClientKey), topic: &str, bytes: u64) {
        let Some(counting) = self.counting.as_deref_mut() else { return };
        counting.topics.note(now, topic, bytes, key);
        let traffic = counting.session(id, key);
        traffic.received = traffic.received.saturating_add(1);
        traffic.received_bytes += bytes;
    }

    /// A message was sent to a client.
    #[cold]
    pub(super) fn note_sent(&mut self, id: SessionId, key: ClientKey, bytes: u64) {
        let Some(counting) = self.counting.as_deref_mut() else { return };
        let traffic = counting.session(id, key);
        traffic.sent = traffic.sent.saturating_add(1);
        traffic.sent_bytes += bytes;
    }

    /// A message for a client was dropped.
    #[cold]
    pub(super) fn note_dropped(&mut self, id: SessionId, key: ClientKey, reason: DropReason) {
        let Some(counting) = self.counting.as_deref_mut() else { return };
        let drops = &mut counting.session(id, key).drops[reason as usize];
        *drops = drops.saturating_add(1);
    }
}

impl Counting {
    fn session(&mut self, id: SessionId, key: ClientKey) -> &mut ClientTraffic {
        let at = id.index() / PIECE_SESSIONS;
        if self.pieces.len() <= at {
            self.pieces.resize_with(at + 1, || None);
        }
        let piece = self.pieces[at].get_or_insert_with(|| Box::new([Counted::default(); PIECE_SESSIONS]));
        let counted = &mut piece[id.index() % PIECE_SESSIONS];
        if counted.key != key.0 {
            *counted = Counted { key: key.0, ..Counted::default() };
        }
        &mut counted.traffic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Now {
        Now { mono_ns: s * 1_000_000_000, unix_ms: 0 }
    }

    #[test]
    fn it_is_counted_while_somebody_looks_and_a_slots_next_session_begins_anew() {
        let (id, ann, bob) = (SessionId(1_000), ClientKey(7), ClientKey(8));
        let mut traffic = TrafficCounts::default();
        traffic.note_received(at(1), (id, ann), "t", 5);
        assert!(!traffic.is_counted() && traffic.of(id, ann).is_none());
        traffic.look(at(1));
        traffic.note_received(at(2), (id, ann), "t", 5);
        traffic.note_sent(id, ann, 7);
        traffic.note_dropped(id, ann, DropReason::QueueFull);
        let counted = traffic.of(id, ann).unwrap();
        assert_eq!((counted.received, counted.received_bytes, counted.sent, counted.sent_bytes), (1, 5, 1, 7));
        assert_eq!(counted.drops[DropReason::QueueFull as usize], 1);
        assert_eq!(traffic.of(id, bob), Some(ClientTraffic::default()), "it was another's");
        traffic.note_sent(id, bob, 1);
        assert_eq!(traffic.of(id, bob).unwrap().sent, 1);
        assert_eq!((traffic.of(id, ann), traffic.counted_ms(at(3))), (Some(ClientTraffic::default()), 2_000));
        assert_eq!(traffic.topics(at(3), TopicsBy::Last, 9).len(), 1);
        let last = at(1 + u64::from(TRAFFIC_COUNTED_S));
        traffic.tidy(last, true);
        assert!(traffic.is_counted(), "where it is always counted");
        traffic.tidy(at(2 + 2 * u64::from(TRAFFIC_COUNTED_S)), false);
        assert!(!traffic.is_counted() && traffic.is_ending());
        traffic.end_some();
        assert!(!traffic.is_ending());
    }
}
