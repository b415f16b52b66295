//! Retained messages. Every shard holds all of them: the index is copied, topics and payloads are shared.
//!
//! Always holds: all shards come to the same message for a topic, the one with the highest [`WriteStamp`]; a replay never
//! waits for another shard. A deletion, or an expiry, leaves a tombstone for a while, so that an older write that is still
//! on its way cannot bring anything back.
//! Decided in `docs/decisions/2026-11-22-retained-copies.md`.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::mesh::StampClock;
use crate::ids::{ShardId, WriteStamp};
use crate::limits::{TOMBSTONE_S, TOMBSTONES_MAX};
use crate::session::Message;
use crate::time::{Deadline, Now};
use crate::topic::{Cursor, RetainedTree, Scan, TopicFilter, TopicOwner};

#[derive(Debug)]
struct Retained {
    /// `None` for a deleted one.
    message: Option<Message>,
    stamp: WriteStamp,
    /// The store's count of writes after this one.
    written: u64,
}

/// A topic without a message that is still remembered.
#[derive(Debug)]
struct Tombstone {
    due: Deadline,
    /// Of the write that the entry still has, unless a later one has come.
    stamp: WriteStamp,
    topic: Box<str>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct RetainedStore {
    tree: RetainedTree<Retained>,
    tombstones: VecDeque<Tombstone>,
    live: usize,
    /// What counts against the operator's limits: the live messages that are not on the broker's own topics.
    charged: Charged,
    expiring: usize,
    written: u64,
    stamps: StampClock,
    expiry_cursor: Cursor,
}

/// Retained messages that clients answer for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charged {
    /// How many there are.
    pub messages: usize,
    /// Topic, properties and payload of each.
    pub bytes: u64,
}

/// What one scan looks at.
#[derive(Debug)]
pub(super) struct Page<'a> {
    /// Which topics are visited.
    pub filter: TopicFilter<'a>,
    /// Where the page before it ended; moved to where this one does.
    pub cursor: &'a mut Cursor,
    /// Entries looked at, at most.
    pub budget: usize,
    /// Entries written after this count ([`RetainedStore::written`]) are passed over.
    pub as_of: u64,
}

/// How many entries one step towards expiry looks at.
const EXPIRY_STEP: usize = 1_000;

impl RetainedStore {
    /// Nothing retained.
    pub(super) fn new(stamps: StampClock) -> Self {
        Self {
            tree: RetainedTree::default(),
            tombstones: VecDeque::new(),
            live: 0,
            charged: Charged::default(),
            expiring: 0,
            written: 0,
            stamps,
            expiry_cursor: Cursor::default(),
        }
    }

    /// A stamp later than every stamp this shard has given or seen.
    pub(super) fn stamp(&mut self, now: Now, shard: ShardId) -> WriteStamp {
        WriteStamp { time_ns: self.stamps.next_ns(now), shard: shard.0 }
    }

    /// Retained messages.
    pub(super) const fn len(&self) -> usize {
        self.live
    }

    /// What counts against the operator's limits.
    pub(super) const fn charged(&self) -> Charged {
        self.charged
    }

    /// Whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Topics held, deleted ones that are still remembered included.
    pub(super) fn entries(&self) -> usize {
        self.tree.len()
    }

    /// Writes so far. A replay that begins now shows entries written up to this count.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of the retained message of `topic`, if it has one.
    pub(super) fn bytes_of(&self, topic: &str) -> Option<u64> {
        self.tree.get(topic)?.message.as_ref().map(Message::len_bytes)
    }

    /// The latest write on a topic that is remembered, and whether something is retained.
    #[cfg(test)]
    pub(super) fn state_of(&self, topic: &str) -> Option<(WriteStamp, bool)> {
        self.tree.get(topic).map(|entry| (entry.stamp, entry.message.is_some()))
    }

    /// Writes `message`, or deletes with `None`. A write that is older than what is there changes nothing; returns
    /// whether it took effect.
    pub(super) fn write(&mut self, now: Now, topic: &str, message: Option<Message>, stamp: WriteStamp) -> bool {
        self.stamps.seen(stamp.time_ns);
        self.written += 1;
        let written = self.written;
        let expires = message.as_ref().is_some_and(|message| message.expires().is_some());
        let bytes = message.as_ref().map(Message::len_bytes);
        if let Some(entry) = self.tree.get_mut(topic) {
            if entry.stamp >= stamp {
                return false;
            }
            let old = std::mem::replace(entry, Retained { message, stamp, written }).message;
            self.forget(topic, old.as_ref());
        } else {
            self.tree.insert(topic, Retained { message, stamp, written });
        }
        match bytes {
            Some(bytes) => {
                self.live += 1;
                if is_charged(topic) {
                    self.charged.messages += 1;
                    self.charged.bytes += bytes;
                }
                self.expiring += usize::from(expires);
            }
            None => self.add_tombstone(now, topic, stamp),
        }
        true
    }

    /// Visits the live messages that match a page's filter, from its cursor on.
    pub(super) fn scan(&self, now: Now, page: Page<'_>, mut visit: impl FnMut(&Message) -> ControlFlow<()>) -> Scan {
        let Page { filter, cursor, budget, as_of } = page;
        self.tree.scan(filter, cursor, budget, |_, entry| match &entry.message {
            Some(message) if entry.written <= as_of && !message.is_expired(now) => visit(message),
            _ => ControlFlow::Continue(()),
        })
    }

    /// Whether what was written with this stamp was deleted by a later one, as far as that is remembered.
    pub(super) fn is_deleted_since(&self, topic: &str, stamp: WriteStamp) -> bool {
        self.tree.get(topic).is_some_and(|entry| entry.message.is_none() && entry.stamp > stamp)
    }

    /// One small step of housekeeping: tombstones that have served their time, messages that have expired. `waiting` is the oldest write that has
    /// not left this shard: what was deleted since is remembered.
    pub(super) fn tidy(&mut self, now: Now, waiting: Option<WriteStamp>) {
        let is_of_use = |tombstone: &Tombstone| waiting.is_some_and(|waiting| waiting < tombstone.stamp);
        while self.tombstones.front().is_some_and(|oldest| oldest.due.is_due(now) && !is_of_use(oldest)) {
            self.remove_oldest_tombstone();
        }
        if self.expiring > 0 {
            self.drop_expired(now);
        }
    }

    fn add_tombstone(&mut self, now: Now, topic: &str, stamp: WriteStamp) {
        self.tombstones.push_back(Tombstone { due: now.after_s(TOMBSTONE_S), stamp, topic: topic.into() });
        if self.tombstones.len() > TOMBSTONES_MAX {
            self.remove_oldest_tombstone();
        }
    }

    fn remove_oldest_tombstone(&mut self) {
        let Some(Tombstone { stamp, topic, .. }) = self.tombstones.pop_front() else { return };
        // A topic that was written again, or deleted again later, is not this tombstone's any more.
        if self.tree.get(&topic).is_some_and(|entry| entry.message.is_none() && entry.stamp == stamp) {
            self.tree.remove(&topic);
        }
    }

    fn drop_expired(&mut self, now: Now) {
        let everything = TopicFilter::parse("#", u16::MAX).expect("`#` is a filter");
        let mut expired: Vec<Box<str>> = Vec::new();
        let mut cursor = std::mem::take(&mut self.expiry_cursor);
        let scan = self.tree.scan(everything, &mut cursor, EXPIRY_STEP, |topic, entry| {
            if entry.message.as_ref().is_some_and(|message| message.is_expired(now)) {
                expired.push(topic.into());
            }
            ControlFlow::Continue(())
        });
        self.expiry_cursor = if matches!(scan, Scan::Done) { Cursor::default() } else { cursor };
        for topic in expired {
            // Every shard's copy expires by the same clock: nothing has to be told.
            let Some(entry) = self.tree.get_mut(&topic) else { continue };
            let (old, stamp) = (entry.message.take(), entry.stamp);
            self.forget(&topic, old.as_ref());
            self.add_tombstone(now, &topic, stamp);
        }
    }

    fn forget(&mut self, topic: &str, message: Option<&Message>) {
        if let Some(message) = message {
            self.live -= 1;
            if is_charged(topic) {
                self.charged.messages -= 1;
                self.charged.bytes -= message.len_bytes();
            }
            self.expiring -= usize::from(message.expires().is_some());
        }
    }
}

/// Whether the message of a topic counts against the operator's limits: nobody answers for what the broker tells of itself.
fn is_charged(topic: &str) -> bool {
    TopicOwner::of(topic) != TopicOwner::Broker
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Forwarded;
    use crate::ids::Qos;
    use crate::session::MessageRef;

    const NOW: Now = Now { mono_ns: 1_000_000_000, unix_ms: 0 };

    #[expect(clippy::unnecessary_wraps, reason = "what a write takes")]
    fn message(topic: &str, payload: &[u8], expires: Option<Deadline>) -> Option<Message> {
        Some(Message::new(&MessageRef {
            topic,
            qos: Qos::AtMostOnce,
            retain: true,
            expires,
            publisher: None,
            properties: Forwarded::EMPTY,
            payload,
        }))
    }

    fn stamp(time_ns: u64, shard: u8) -> WriteStamp {
        WriteStamp { time_ns, shard }
    }

    fn read(store: &RetainedStore, now: Now, as_of: u64) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        let filter = TopicFilter::parse("#", 8).unwrap();
        let page = Page { filter, cursor: &mut Cursor::default(), budget: 100, as_of };
        let scan = store.scan(now, page, |message| {
            seen.push(message.borrow().payload.to_vec());
            ControlFlow::Continue(())
        });
        assert!(matches!(scan, Scan::Done));
        seen
    }

    #[test]
    fn the_later_stamp_wins_in_whatever_order_the_writes_arrive() {
        for reversed in [false, true] {
            let mut writes = [(stamp(5, 0), b"old"), (stamp(5, 1), b"new")];
            if reversed {
                writes.reverse();
            }
            let mut store = RetainedStore::new(StampClock::new(NOW, 0));
            for (stamp, payload) in writes {
                store.write(NOW, "t", message("t", payload, None), stamp);
            }
            assert_eq!(read(&store, NOW, u64::MAX), [b"new"]);
            assert_eq!(store.len(), 1);
        }
    }

    #[test]
    fn a_late_write_cannot_bring_a_deleted_message_back() {
        let mut store = RetainedStore::new(StampClock::new(NOW, 0));
        assert!(store.write(NOW, "t", None, stamp(9, 0)));
        assert!(!store.write(NOW, "t", message("t", b"late", None), stamp(8, 1)));
        assert!(store.is_empty() && read(&store, NOW, u64::MAX).is_empty());
        let later = Now { mono_ns: NOW.mono_ns + 61_000_000_000, unix_ms: 0 };
        store.tidy(later, Some(stamp(8, 1)));
        assert_eq!(store.tree.len(), 1, "an older write has not left yet");
        store.tidy(later, None);
        assert_eq!(store.tree.len(), 0, "the tombstone has gone");
    }

    #[test]
    fn the_brokers_own_topics_are_charged_to_nobody() {
        let mut store = RetainedStore::new(StampClock::new(NOW, 0));
        let topics = ["$SYS/broker/uptime", "$SYS/broker/connection/b/state", "t"];
        for (number, topic) in (1..).zip(topics) {
            store.write(NOW, topic, message(topic, b"xy", None), stamp(number, 0));
        }
        let bytes = (topics[1].len() + topics[2].len() + 4) as u64;
        assert_eq!((store.len(), store.charged()), (3, Charged { messages: 2, bytes }));
        for (number, topic) in (9..).zip(topics) {
            store.write(NOW, topic, None, stamp(number, 0));
        }
        assert_eq!((store.len(), store.charged()), (0, Charged::default()));
    }

    #[test]
    fn a_stamp_follows_every_stamp_seen_before() {
        let mut store = RetainedStore::new(StampClock::new(NOW, 0));
        store.write(NOW, "t", message("t", b"x", None), stamp(NOW.mono_ns + 50, 3));
        assert!(store.stamp(NOW, ShardId(0)) > stamp(NOW.mono_ns + 50, 3));
    }

    #[test]
    fn stamps_tell_the_wall_clock_and_go_on_after_those_of_an_earlier_process() {
        let now = Now { mono_ns: 5_000_000_000, unix_ms: 1_700_000_000_000 };
        let unix_ns = 1_700_000_000_000_000_000;
        let mut store = RetainedStore::new(StampClock::new(now, 0));
        let later = Now { mono_ns: 6_000_000_000, unix_ms: 3 }; // somebody has set the clock meanwhile
        assert_eq!(store.stamp(now, ShardId(1)), stamp(unix_ns, 1));
        assert_eq!(store.stamp(later, ShardId(1)), stamp(unix_ns + 1_000_000_000, 1));
        let ahead = unix_ns + 60_000_000_000;
        let mut restarted = RetainedStore::new(StampClock::new(now, ahead));
        assert_eq!(restarted.stamp(now, ShardId(0)), stamp(ahead + 1, 0), "its clock was a minute ahead");
    }

    #[test]
    fn a_replay_passes_over_what_was_written_after_it_began() {
        let mut store = RetainedStore::new(StampClock::new(NOW, 0));
        store.write(NOW, "a", message("a", b"a1", None), stamp(1, 0));
        let as_of = store.written();
        store.write(NOW, "a", message("a", b"a2", None), stamp(2, 0));
        store.write(NOW, "b", message("b", b"b1", None), stamp(3, 0));
        assert!(read(&store, NOW, as_of).is_empty());
        assert_eq!(read(&store, NOW, store.written()).len(), 2);
    }

    #[test]
    fn expired_messages_are_neither_shown_nor_kept() {
        let mut store = RetainedStore::new(StampClock::new(NOW, 0));
        store.write(NOW, "a", message("a", b"x", Some(NOW.after_s(5))), stamp(1, 0));
        let later = Now { mono_ns: 7_000_000_000, unix_ms: 0 };
        assert_eq!(read(&store, NOW, u64::MAX).len(), 1);
        assert!(read(&store, later, u64::MAX).is_empty());
        store.tidy(later, None);
        assert_eq!((store.len(), store.expiring), (0, 0));
        store.tidy(Now { mono_ns: later.mono_ns + 61_000_000_000, unix_ms: 0 }, None);
        assert_eq!(store.tree.len(), 0, "the tombstone has gone");
    }
}
