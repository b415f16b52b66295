//! Which topics are published most, and which last: a bounded sketch (Space-Saving).
//!
//! Always holds: no more than [`TOPICS_SEEN_MAX`] topics of [`TOPIC_SEEN_MAX_BYTES`] are kept, whatever is published; a topic with more messages
//! than one in so many of all is among them; the one with fewest messages gives way to a new one, which therefore counts too many, and says how many at
//! most. A message costs a search among those, and no more than a few steps beside it on average.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shown::{TopicRow, TopicsBy};
use crate::ids::ClientKey;
use crate::limits::{TOPIC_SEEN_MAX_BYTES, TOPICS_SEEN_MAX};
use crate::time::Now;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct TopicsSeen {
    by_topic: BTreeMap<Arc<str>, u16>,
    topics: Vec<SeenTopic>,
    /// Of those that had fewest messages when it was last looked, the ones that may still have no more.
    victims: Vec<u16>,
    /// How many that was.
    fewest: u64,
    /// The place of the latest one: many publish several times in a row.
    latest: u16,
}

#[derive(Debug)]
struct SeenTopic {
    topic: Arc<str>,
    messages: u64,
    overcount: u64,
    bytes: u64,
    first_ms: u64,
    last_ms: u64,
    publishers: u64,
}

impl TopicsSeen {
    /// A message was published.
    pub(super) fn note(&mut self, now: Now, topic: &str, bytes: u64, publisher: ClientKey) {
        if topic.len() > TOPIC_SEEN_MAX_BYTES {
            return;
        }
        let is_latest = self.topics.get(usize::from(self.latest)).is_some_and(|latest| *latest.topic == *topic);
        let at = if is_latest { Some(self.latest) } else { self.by_topic.get(topic).copied() };
        let at = at.unwrap_or_else(|| self.take_place(now, topic));
        self.latest = at;
        let seen = &mut self.topics[usize::from(at)];
        seen.messages += 1;
        seen.bytes += bytes;
        seen.last_ms = now.ms();
        seen.publishers |= 1 << (publisher.0 >> 58);
    }

    /// A place for a topic that has none.
    fn take_place(&mut self, now: Now, topic: &str) -> u16 {
        let topic: Arc<str> = topic.into();
        let new = SeenTopic {
            topic: Arc::clone(&topic),
            messages: 0,
            overcount: 0,
            bytes: 0,
            first_ms: now.ms(),
            last_ms: now.ms(),
            publishers: 0,
        };
        let at = if self.topics.len() < TOPICS_SEEN_MAX {
            self.topics.push(new);
            (self.topics.len() - 1) as u16
        } else {
            let at = self.next_victim();
            let old = &mut self.topics[usize::from(at)];
            self.by_topic.remove(&old.topic);
            let messages = old.messages;
            *old = SeenTopic { messages, overcount: messages, ..new };
            at
        };
        self.by_topic.insert(topic, at);
        at
    }

    /// One of those with fewest messages.
    fn next_victim(&mut self) -> u16 {
        loop {
            while let Some(at) = self.victims.pop() {
                if self.topics[usize::from(at)].messages == self.fewest {
                    return at;
                }
            }
            self.fewest = self.topics.iter().map(|seen| seen.messages).min().unwrap_or_default();
            let fewest = (0_u16..).zip(&self.topics).filter(|(_, seen)| seen.messages == self.fewest);
            self.victims = fewest.map(|(at, _)| at).collect();
        }
    }

    /// The first of them in an order.
    pub(super) fn first(&self, now: Now, by: TopicsBy, limit: usize) -> Vec<TopicRow> {
        let value = |seen: &SeenTopic| match by {
            TopicsBy::Messages => seen.messages,
            TopicsBy::Bytes => seen.bytes,
            TopicsBy::Last => seen.last_ms,
        };
        let mut all: Vec<&SeenTopic> = self.topics.iter().collect();
        all.sort_unstable_by(|left, right| value(right).cmp(&value(left)).then_with(|| left.topic.cmp(&right.topic)));
        let row = |seen: &SeenTopic| TopicRow {
            topic: (*seen.topic).into(),
            messages: seen.messages,
            overcount: seen.overcount,
            bytes: seen.bytes,
            seen_for_ms: now.ms().saturating_sub(seen.first_ms),
            last_ago_ms: now.ms().saturating_sub(seen.last_ms),
            publishers: seen.publishers,
        };
        all.into_iter().take(limit).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono_ns: ms * 1_000_000, unix_ms: 0 }
    }

    #[test]
    fn busy_topics_stay_whatever_else_is_published_and_nothing_grows() {
        let mut seen = TopicsSeen::default();
        let all = 40 * TOPICS_SEEN_MAX as u64;
        for n in 0..all {
            seen.note(at(n), &format!("once/{n}"), 10, ClientKey(n << 58));
            if n % 16 == 0 {
                seen.note(at(n), "busy", 100, ClientKey(1 << 58));
            }
        }
        seen.note(at(all), &"x".repeat(TOPIC_SEEN_MAX_BYTES + 1), 1, ClientKey(1));
        assert_eq!((seen.topics.len(), seen.by_topic.len()), (TOPICS_SEEN_MAX, TOPICS_SEEN_MAX));
        assert!(seen.victims.capacity() <= 2 * TOPICS_SEEN_MAX);
        let busiest = seen.first(at(all + 5), TopicsBy::Messages, 3);
        let (first, second) = (&busiest[0], &busiest[1]);
        assert_eq!((&*first.topic, first.messages - first.overcount, first.bytes), ("busy", all / 16, 100 * all / 16));
        assert_eq!(first.publishers.count_ones(), 1);
        assert!(second.messages <= first.messages && second.messages - second.overcount == 1, "{second:?}");
        // No topic counts fewer than it has, and what it counts too many is at most one in so many of all.
        assert!(second.overcount <= (all + all / 16) / TOPICS_SEEN_MAX as u64 + 1, "{second:?}");
        let last = seen.first(at(all + 5), TopicsBy::Last, 1);
        assert_eq!((&*last[0].topic, last[0].last_ago_ms), (&*format!("once/{}", all - 1), 6));
        assert_eq!(&*seen.first(at(all), TopicsBy::Bytes, 1)[0].topic, "busy");
    }
}
