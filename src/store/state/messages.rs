//! Which messages are still wanted, by how many, and where their bytes are.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use crate::store::format::{MessageId, SegmentNumber};

/// Where a record's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPlace {
    /// In which segment of the log.
    pub segment: SegmentNumber,
    /// From the beginning of its file.
    pub offset: u32,
    /// Bytes of the record.
    pub len: u32,
}

#[derive(Clone, Copy, Debug)]
struct WantedMessage {
    id: MessageId,
    /// Of segment 0, which there is not, while nothing but references has been seen.
    place: RecordPlace,
    wanted: u32,
}

/// See the module's text. In a log the ids of new messages ascend, so most are found by bisection in a list that only grows at
/// its end; only what a checkpoint refers to comes in any order. Ids are positions of ours: no key of a peer's choice is hashed.
#[derive(Clone, Debug, Default)]
pub struct MessageTable {
    /// With ascending ids. Those that nobody wants any more are taken out when they are as many as the others.
    ascending: Vec<WantedMessage>,
    others: HashTable<WantedMessage>,
    /// How often a message was wanted for the last time, since any were taken out; and those of the others.
    released: usize,
    released_others: Vec<MessageId>,
    /// Where the later parts of long messages are.
    parts: BTreeMap<MessageId, Vec<RecordPlace>>,
}

const fn hash(id: MessageId) -> u64 {
    let mixed = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

impl MessageTable {
    /// Messages that are wanted, once the state is whole.
    pub fn len(&self) -> usize {
        self.ascending.len() + self.others.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a message's first record is; `None` for one whose bytes have not been seen.
    pub fn place(&self, id: MessageId) -> Option<RecordPlace> {
        let known = match self.find_ascending(id) {
            Some(at) => &self.ascending[at],
            None => self.others.find(hash(id), |known| known.id == id)?,
        };
        (known.place != UNSEEN).then_some(known.place)
    }

    /// Where its later parts are, in order.
    pub fn parts(&self, id: MessageId) -> &[RecordPlace] {
        self.parts.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Ids of all that are wanted, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (MessageId, u32)> {
        let all = self.ascending.iter().chain(&self.others);
        all.map(|known| (known.id, known.wanted)).filter(|(_, wanted)| *wanted > 0)
    }

    /// Ids of those that are wanted and whose bytes have not been seen.
    pub fn unseen(&self) -> impl Iterator<Item = MessageId> {
        let all = self.ascending.iter().chain(&self.others);
        all.filter(|known| known.wanted > 0 && known.place == UNSEEN).map(|known| known.id)
    }

    /// A record of a message has been seen: the latest one counts.
    #[inline]
    pub(super) fn seen(&mut self, id: MessageId, place: RecordPlace) {
        if self.ascending.last().is_none_or(|last| last.id < id) && self.others.is_empty() {
            self.ascending.push(WantedMessage { id, place, wanted: 0 });
            return;
        }
        let known = self.get_or_insert(id);
        if std::mem::replace(&mut known.place, place) != UNSEEN {
            self.parts.remove(&id);
        }
    }

    /// The same, of one that nobody may want: it is noted only if somebody does already.
    pub(super) fn seen_if_wanted(&mut self, id: MessageId, place: RecordPlace) {
        if self.get_mut(id).is_some() {
            self.seen(id, place);
        }
    }

    /// A later part of a message has been seen.
    pub(super) fn seen_part(&mut self, id: MessageId, place: RecordPlace) {
        if self.get_mut(id).is_some() {
            self.parts.entry(id).or_default().push(place);
        }
    }

    /// One more wants it.
    #[inline]
    pub(super) fn want(&mut self, id: MessageId) {
        self.get_or_insert(id).wanted += 1;
    }

    /// One does not want it any more.
    pub(super) fn release(&mut self, id: MessageId) {
        let Some(known) = self.get_mut(id) else { return };
        known.wanted = known.wanted.saturating_sub(1);
        if known.wanted == 0 {
            self.released += 1;
            if self.find_ascending(id).is_none() {
                self.released_others.push(id);
            }
        }
    }

    /// A change has ended: whoever wants a message wants it by now. What nobody wants is forgotten, not each time.
    #[inline]
    pub(super) fn end_change(&mut self) {
        if self.released > 1_024 && self.released > self.ascending.len() / 2 {
            self.drop_released();
        }
    }

    fn drop_released(&mut self) {
        self.ascending.retain(|known| known.wanted > 0);
        for id in std::mem::take(&mut self.released_others) {
            if let Ok(found) = self.others.find_entry(hash(id), |known| known.id == id && known.wanted == 0) {
                found.remove();
            }
        }
        self.released = 0;
        let mut parts = std::mem::take(&mut self.parts);
        parts.retain(|id, _| self.get_mut(*id).is_some());
        self.parts = parts;
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self) {
        self.others.retain(|known| known.wanted > 0);
        self.released_others.clear();
        self.drop_released();
    }

    #[inline]
    fn find_ascending(&self, id: MessageId) -> Option<usize> {
        let last = self.ascending.len().checked_sub(1)?;
        if self.ascending[last].id == id {
            return Some(last);
        }
        self.ascending.binary_search_by_key(&id, |known| known.id).ok()
    }

    fn get_mut(&mut self, id: MessageId) -> Option<&mut WantedMessage> {
        match self.find_ascending(id) {
            Some(at) => Some(&mut self.ascending[at]),
            None => self.others.find_mut(hash(id), |known| known.id == id),
        }
    }

    #[inline]
    fn get_or_insert(&mut self, id: MessageId) -> &mut WantedMessage {
        if let Some(at) = self.find_ascending(id) {
            return &mut self.ascending[at];
        }
        let new = || WantedMessage { id, place: UNSEEN, wanted: 0 };
        self.others.entry(hash(id), |known| known.id == id, |known| hash(known.id)).or_insert_with(new).into_mut()
    }
}

const UNSEEN: RecordPlace = RecordPlace { segment: SegmentNumber(0), offset: 0, len: 0 };

const _: () = assert!(size_of::<WantedMessage>() == 24, "there are millions");
