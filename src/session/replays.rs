//! The replays of retained messages to new subscriptions that wait for their turn, and the one that is under way.
//!
//! Always holds: a replay shows the store as it was when the subscription was made. What was written to the store
//! afterwards (`written > as_of`) reached the subscription as a live message and is passed over; so nothing is missed
//! and nothing comes twice. A replay ends with its subscription, and lies among 100,000 others no dearer than among two;
//! it holds nothing but numbers, so that all of them go at once when a session does.

use hashbrown::HashTable;

use crate::ids::{Qos, SubscriptionId};
use crate::topic::{Cursor, EntryId};

/// Retained messages that are to be shown to one new subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The subscription's entry in the index, which knows its filter.
    pub entry: EntryId,
    /// The store's count of writes when the subscription was made.
    pub as_of: u64,
    /// The SUBACK that it waits for, by the shard's count of them.
    pub suback: u64,
    /// Granted QoS.
    pub qos: Qos,
    /// The session's own messages are left out.
    pub no_local: bool,
    /// Identifier of the subscription.
    pub id: Option<SubscriptionId>,
}

/// Those of one session, the oldest first: a list through a table, because any of them may end at any time.
#[derive(Debug, Default)]
pub struct Replays {
    nodes: Vec<Node>,
    /// Numbers in `nodes`, by entry: one subscription may have several. Empty while they are few.
    by_entry: HashTable<u32>,
    /// The first and the last, if there is any.
    ends: Option<(u32, u32)>,
    /// The first of the free nodes, which are linked by `next`.
    free: Option<u32>,
    len: usize,
    /// How many have a QoS above 0.
    acknowledged: usize,
    /// How far the first one has come.
    pub cursor: Cursor,
}

#[derive(Debug)]
struct Node {
    replay: Replay,
    before: Option<u32>,
    next: Option<u32>,
}

/// Up to this many are searched one by one.
const FEW_MAX: usize = 16;

impl Replays {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether one of them has a QoS above 0, and so is part of the session's state.
    pub const fn any_acknowledged(&self) -> bool {
        self.acknowledged > 0
    }

    /// The oldest.
    pub fn first(&self) -> Option<&Replay> {
        self.ends.map(|(first, _)| &self.nodes[first as usize].replay)
    }

    /// Appends one.
    pub fn push(&mut self, replay: Replay) {
        let before = self.ends.map(|(_, last)| last);
        let node = Node { replay, before, next: None };
        let at = if let Some(free) = self.free {
            self.free = self.nodes[free as usize].next;
            self.nodes[free as usize] = node;
            free
        } else {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        };
        if let Some(before) = before {
            self.nodes[before as usize].next = Some(at);
        }
        self.ends = Some((self.ends.map_or(at, |(first, _)| first), at));
        self.len += 1;
        self.acknowledged += usize::from(replay.qos > Qos::AtMostOnce);
        if !self.by_entry.is_empty() {
            self.file(at);
        } else if self.len > FEW_MAX {
            let mut next = self.ends.map(|(first, _)| first);
            while let Some(at) = next {
                self.file(at);
                next = self.nodes[at as usize].next;
            }
        }
    }

    /// Takes the oldest out: it is finished.
    pub fn finish_first(&mut self) {
        if let Some((first, _)) = self.ends {
            self.take_out(first);
        }
    }

    /// Takes all of a subscription out, which has ended.
    pub fn end(&mut self, entry: EntryId) {
        while let Some(at) = self.find(entry) {
            self.take_out(at);
        }
    }

    /// Whether there is one of this subscription.
    pub fn has(&self, entry: EntryId) -> bool {
        self.find(entry).is_some()
    }

    fn find(&self, entry: EntryId) -> Option<u32> {
        if !self.by_entry.is_empty() {
            return self.by_entry.find(entry.hash(), |&at| self.nodes[at as usize].replay.entry == entry).copied();
        }
        let mut next = self.ends.map(|(first, _)| first);
        while let Some(at) = next {
            let node = &self.nodes[at as usize];
            if node.replay.entry == entry {
                break;
            }
            next = node.next;
        }
        next
    }

    fn file(&mut self, at: u32) {
        let nodes = &self.nodes;
        let hash = |&at: &u32| nodes[at as usize].replay.entry.hash();
        self.by_entry.insert_unique(hash(&at), at, hash);
    }

    fn take_out(&mut self, at: u32) {
        let Node { replay, before, next } = self.nodes[at as usize];
        let (first, last) = self.ends.expect("it is one of them");
        if first == at {
            self.cursor = Cursor::default();
        }
        if let Ok(filed) = self.by_entry.find_entry(replay.entry.hash(), |&other| other == at) {
            filed.remove();
        }
        if let Some(before) = before {
            self.nodes[before as usize].next = next;
        }
        if let Some(next) = next {
            self.nodes[next as usize].before = before;
        }
        self.ends = match (before, next) {
            (None, None) => None,
            (None, Some(next)) => Some((next, last)),
            (Some(before), None) => Some((first, before)),
            (Some(_), Some(_)) => self.ends,
        };
        self.nodes[at as usize].next = self.free;
        self.free = Some(at);
        self.len -= 1;
        self.acknowledged -= usize::from(replay.qos > Qos::AtMostOnce);
        if self.len == 0 {
            *self = Self::default(); // gives the memory back
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::subscriptions::tests::entries;

    #[test]
    fn they_come_in_their_order_and_end_with_their_subscription() {
        for kinds in [3, 40] {
            let entries = entries(kinds);
            let (mut replays, mut model) = (Replays::default(), Vec::<Replay>::new());
            let mut random = 7_u64;
            for step in 0..20_000_u64 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let entry = entries[(random >> 33) as usize % kinds];
                let qos = if random >> 63 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                let growing = step / 1_000 % 2 == 0;
                match (random >> 20) % 8 {
                    choice if choice < if growing { 6 } else { 2 } => {
                        let replay = Replay { entry, as_of: step, suback: step, qos, no_local: false, id: None };
                        replays.push(replay);
                        model.push(replay);
                    }
                    choice if choice < 7 => {
                        replays.finish_first();
                        model.drain(..model.len().min(1));
                    }
                    _ => {
                        replays.end(entry);
                        model.retain(|replay| replay.entry != entry);
                    }
                }
                assert_eq!((replays.len(), replays.first()), (model.len(), model.first()), "step {step}");
                assert_eq!(replays.is_empty(), model.is_empty());
                assert_eq!(replays.any_acknowledged(), model.iter().any(|replay| replay.qos > Qos::AtMostOnce));
                assert!(replays.nodes.len() <= 2_000, "free nodes are used again");
            }
            for replay in &model {
                assert_eq!(replays.first(), Some(replay));
                replays.finish_first();
            }
            assert!(replays.is_empty() && replays.nodes.capacity() == 0 && replays.by_entry.capacity() == 0);
        }
    }
}
