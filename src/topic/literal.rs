//! Filters without `+`: one hash table lookup each, whatever their number.
//!
//! Two forms: exact ones (`a/b`), found by the whole topic, and those that end in `#` after literal levels (`a/b/#`),
//! found by the topic's first levels; `depths` says at which depths there are any, so that a topic is looked up only as
//! often as there are different depths.
//!
//! Filters of other shards are kept as 82-bit fingerprints instead of strings, one 12-byte slot per filter and shard:
//! every shard has one for every filter of the whole process, so this is what an idle client costs times the number of
//! shards. Two filters with the same fingerprint (one chance in 9 x 10^12 among a million) would make one shard's interest
//! end early; nothing a peer does can bring it about, since the hash keys are secret. What a fingerprint is of cannot be told from
//! it, but for the depth of its `#`: so all of a shard that is gone can be forgotten without its saying so.

use crate::ids::{ShardId, ShardSet};
use crate::limits::SHARDS_MAX;
use crate::slab::Slab;

use super::entry::{EntryId, Stored};
use super::filter::TopicFilter;
use super::matches::Matches;
use super::name::TopicName;
use super::scan::first_slash;
use super::subscribers::{SubscriberLists, Subscribers};
use super::table::{Keys, StripedTable};
use super::text::Text;

/// Deepest literal part of a filter with `#` that this store takes, in levels: one bit of a word each. Deeper ones go to
/// the trie.
const DEPTH_MAX: usize = 63;

/// What a literal filter is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LiteralKey<'a> {
    /// The whole of an exact filter; else the levels before `/#`. `#` alone is found by `#`, which no topic contains:
    /// the empty string is what `/#` is found by.
    bytes: &'a [u8],
    /// Whether the filter ends in `#`.
    below: bool,
}

/// One filter that this shard's own sessions subscribe to: 40 bytes.
#[derive(Debug)]
struct Literal {
    filter: Text,
    subscribers: Subscribers,
}

/// The interest of one other shard in one filter: 12 bytes.
#[derive(Clone, Copy, Debug)]
struct Remote {
    /// The hash by which the table finds it, in two halves so that four bytes align it.
    hash: [u32; 2],
    /// 18 bits of an independent hash; seven of the depth of its `#`, from 1, or 0 without one; one that says durable; six of the shard.
    check_and_shard: u32,
}

const DURABLE_SHIFT: u32 = 6;
const DEPTH_SHIFT: u32 = 7;
const CHECK_SHIFT: u32 = 14;

const _: () = assert!(size_of::<Option<Literal>>() == 40 && size_of::<Remote>() == 12);
const _: () = assert!(SHARDS_MAX <= 1 << DURABLE_SHIFT && DEPTH_MAX + 1 < 1 << (CHECK_SHIFT - DEPTH_SHIFT));

/// The filters without `+` of this shard, by text, and of the others, by fingerprint.
#[derive(Debug)]
pub(super) struct Literals {
    entries: Slab<Literal>,
    by_key: StripedTable<u32>,
    remote: StripedTable<Remote>,
    depths: Depths,
    /// Distinct filters, of this shard or others.
    distinct: usize,
    heap_bytes: usize,
}

impl Literals {
    pub(super) fn new() -> Self {
        Self {
            entries: Slab::new(),
            by_key: StripedTable::new(),
            remote: StripedTable::new(),
            depths: Depths::default(),
            distinct: 0,
            heap_bytes: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.distinct
    }

    pub(super) fn find(&self, key: LiteralKey<'_>, keys: &Keys) -> Option<u32> {
        self.find_hashed(key, key.hash(keys))
    }

    /// Finds the filter's entry, or makes it.
    pub(super) fn ensure(&mut self, filter: TopicFilter<'_>, key: LiteralKey<'_>, keys: &Keys) -> u32 {
        let hash = key.hash(keys);
        if let Some(id) = self.find_hashed(key, hash) {
            return id;
        }
        if !self.has_remote(hash, key, keys) {
            self.distinct += 1;
        }
        let text = Text::new(filter.as_str());
        self.heap_bytes += text.heap_bytes();
        let id = self.entries.insert(Literal { filter: text, subscribers: Subscribers::None });
        let entries = &self.entries;
        self.by_key.insert(hash, id, |&id| LiteralKey::of_text(&entries[id].filter).hash(keys));
        self.depths.add(key.depth());
        id
    }

    /// Frees an entry that has no subscriber left.
    pub(super) fn free(&mut self, id: u32, keys: &Keys) {
        let literal = self.entries.remove(id).expect("an entry is freed once");
        assert!(matches!(literal.subscribers, Subscribers::None), "an entry goes after its subscribers");
        let key = LiteralKey::of_text(&literal.filter);
        let hash = key.hash(keys);
        self.by_key.remove(hash, |&found| found == id).expect("every entry is in the table");
        self.depths.subtract(key.depth());
        self.heap_bytes -= literal.filter.heap_bytes();
        if !self.has_remote(hash, key, keys) {
            self.distinct -= 1;
        }
    }

    pub(super) fn filter(&self, id: u32) -> &str {
        self.entries[id].filter.as_str()
    }

    pub(super) fn subscribers(&self, id: u32) -> &Subscribers {
        &self.entries[id].subscribers
    }

    pub(super) fn subscribers_mut(&mut self, id: u32) -> &mut Subscribers {
        &mut self.entries[id].subscribers
    }

    /// Notes another shard's interest: whether it is a durable one, or `None` where it has ended.
    pub(super) fn apply_remote(&mut self, shard: ShardId, key: LiteralKey<'_>, durable: Option<bool>, keys: &Keys) {
        let hash = key.hash(keys);
        let told = Remote::new(hash, keys.check(key.bytes)).told(shard, durable == Some(true), key.depth());
        let of_same_shard = |found: &Remote| found.is_same_filter(&told) && found.shard() == shard;
        if durable.is_none() {
            if self.remote.remove(hash, of_same_shard).is_some() {
                self.depths.subtract(key.depth());
                if !self.has_remote(hash, key, keys) && self.find_hashed(key, hash).is_none() {
                    self.distinct -= 1;
                }
            }
        } else if let Some(known) = self.remote.find_mut(hash, of_same_shard) {
            *known = told;
        } else {
            if !self.has_remote(hash, key, keys) && self.find_hashed(key, hash).is_none() {
                self.distinct += 1;
            }
            self.remote.insert(hash, told, Remote::hash);
            self.depths.add(key.depth());
        }
    }

    /// Whether a slot holds an entry.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.entries.get(slot).is_some()
    }

    /// One more than the highest slot that was used.
    pub(super) const fn slots(&self) -> u32 {
        self.entries.slots()
    }

    /// Which other shards are interested in a filter, and for which of them durably.
    pub(super) fn interested(&self, key: LiteralKey<'_>, keys: &Keys) -> (ShardSet, ShardSet) {
        let hash = key.hash(keys);
        let wanted = Remote::new(hash, keys.check(key.bytes));
        let (mut shards, mut durable) = (ShardSet::default(), ShardSet::default());
        for remote in self.remote.candidates(hash).filter(|remote| remote.is_same_filter(&wanted)) {
            shards.insert(remote.shard());
            if remote.is_durable() {
                durable.insert(remote.shard());
            }
        }
        (shards, durable)
    }

    /// Into how many parts other shards' filters are cut.
    pub(super) const fn remote_stripes(&self) -> u32 {
        self.remote.stripes() as u32
    }

    /// Filters of other shards in one of these.
    pub(super) fn remote_in_stripe(&self, stripe: usize) -> usize {
        self.remote.len_of_stripe(stripe)
    }

    /// Forgets a shard's filters in one of these, `max` at most, and says how many these were.
    pub(super) fn forget_in_stripe(&mut self, shard: ShardId, stripe: usize, max: usize, keys: &Keys) -> usize {
        let gone = self.remote.take_from_stripe(stripe, max, |remote| remote.shard() == shard);
        for remote in &gone {
            self.depths.subtract(remote.depth());
            let is_of = |&id: &u32| {
                let key = LiteralKey::of_text(&self.entries[id].filter);
                remote.is_same_filter(&Remote::new(key.hash(keys), keys.check(key.bytes)))
            };
            let is_elsewhere = self.remote.find(remote.hash(), |other| other.is_same_filter(remote)).is_some();
            if !is_elsewhere && self.by_key.find(remote.hash(), is_of).is_none() {
                self.distinct -= 1;
            }
        }
        gone.len()
    }

    /// Everybody whose literal filter matches.
    pub(super) fn matches(&self, topic: TopicName<'_>, lists: &SubscriberLists, keys: &Keys, out: &mut Matches) {
        if self.distinct == 0 {
            return;
        }
        let bytes = topic.as_str().as_bytes();
        self.take(LiteralKey { bytes, below: false }, lists, keys, out);
        let depths = self.depths.present;
        if depths == 0 {
            return;
        }
        if depths & 1 == 1 && !topic.is_dollar() {
            self.take(LiteralKey { bytes: b"#", below: true }, lists, keys, out); // [MQTT-4.7.2-1]
        }
        let mut end = 0;
        for depth in 1..=DEPTH_MAX {
            end += first_slash(&bytes[end..]);
            if depths >> depth & 1 == 1 {
                self.take(LiteralKey { bytes: &bytes[..end], below: true }, lists, keys, out);
            }
            if end == bytes.len() || depths >> depth <= 1 {
                break;
            }
            end += 1;
        }
    }

    #[cfg(test)]
    pub(super) const fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.memory_bytes() + self.by_key.memory_bytes() + self.remote.memory_bytes() + self.heap_bytes
    }

    #[inline]
    fn take(&self, key: LiteralKey<'_>, lists: &SubscriberLists, keys: &Keys, out: &mut Matches) {
        let hash = key.hash(keys);
        if self.by_key.len() > 0
            && let Some(id) = self.find_hashed(key, hash)
        {
            out.take(EntryId::new(Stored::Literal(id)), &self.entries[id].subscribers, lists);
        }
        if self.remote.len() > 0 {
            self.take_remote(key, hash, keys, out);
        }
    }

    #[inline]
    fn take_remote(&self, key: LiteralKey<'_>, hash: u64, keys: &Keys, out: &mut Matches) {
        // The second hash is worth its price only where the first agrees.
        let mut wanted = None;
        for remote in self.remote.candidates(hash).filter(|remote| remote.hash() == hash) {
            let wanted = wanted.get_or_insert_with(|| Remote::new(hash, keys.check(key.bytes)));
            if remote.is_same_filter(wanted) {
                out.shards.insert(remote.shard());
                if remote.is_durable() {
                    out.durable_shards.insert(remote.shard());
                }
            }
        }
    }

    #[inline]
    fn find_hashed(&self, key: LiteralKey<'_>, hash: u64) -> Option<u32> {
        self.by_key.find(hash, |&id| key.is_of(&self.entries[id].filter)).copied()
    }

    fn has_remote(&self, hash: u64, key: LiteralKey<'_>, keys: &Keys) -> bool {
        let wanted = Remote::new(hash, keys.check(key.bytes));
        self.remote.find(hash, |found| found.is_same_filter(&wanted)).is_some()
    }
}

impl<'a> LiteralKey<'a> {
    /// The key of `filter`, if it is one for this store.
    pub(super) fn of(filter: TopicFilter<'a>) -> Option<Self> {
        let bytes = filter.as_str().as_bytes();
        let key = Self::of_bytes(bytes);
        (!bytes.contains(&b'+') && key.depth().is_none_or(|depth| depth <= DEPTH_MAX)).then_some(key)
    }

    fn of_text(filter: &'a Text) -> Self {
        Self::of_bytes(filter.as_bytes())
    }

    fn of_bytes(filter: &'a [u8]) -> Self {
        match filter.strip_suffix(b"/#") {
            Some(bytes) => Self { bytes, below: true },
            None => Self { bytes: filter, below: filter == b"#" },
        }
    }

    /// Whether `filter` is the filter that this is the key of.
    #[inline]
    fn is_of(self, filter: &Text) -> bool {
        let filter = filter.as_bytes();
        if self.below && self.bytes != b"#" {
            filter.strip_suffix(b"/#") == Some(self.bytes)
        } else {
            filter == self.bytes
        }
    }

    #[inline]
    fn hash(self, keys: &Keys) -> u64 {
        if self.below { keys.below(self.bytes) } else { keys.exact(self.bytes) }
    }

    /// Levels before the `#`, if that is how it ends.
    fn depth(self) -> Option<usize> {
        self.below.then(|| match self.bytes {
            b"#" => 0,
            bytes => bytes.split(|&byte| byte == b'/').count(),
        })
    }
}

impl Remote {
    /// What is compared with others: of a filter, and of no shard yet.
    #[inline]
    fn new(hash: u64, check: u64) -> Self {
        Self { hash: [hash as u32, (hash >> 32) as u32], check_and_shard: (check as u32) << CHECK_SHIFT }
    }

    /// With what its shard says.
    fn told(self, shard: ShardId, durable: bool, depth: Option<usize>) -> Self {
        let depth = depth.map_or(0, |depth| depth as u32 + 1);
        let told = depth << DEPTH_SHIFT | u32::from(durable) << DURABLE_SHIFT | u32::from(shard.0);
        Self { check_and_shard: self.check_and_shard | told, ..self }
    }

    #[inline]
    fn is_same_filter(&self, other: &Self) -> bool {
        self.hash == other.hash && self.check_and_shard >> CHECK_SHIFT == other.check_and_shard >> CHECK_SHIFT
    }

    /// Levels before its `#`, if that is how it ends.
    const fn depth(&self) -> Option<usize> {
        (self.check_and_shard as usize >> DEPTH_SHIFT & 0x7f).checked_sub(1)
    }

    #[inline]
    const fn hash(&self) -> u64 {
        self.hash[0] as u64 | (self.hash[1] as u64) << 32
    }

    #[inline]
    const fn shard(&self) -> ShardId {
        ShardId(self.check_and_shard as u8 & 0x3f)
    }

    #[inline]
    const fn is_durable(&self) -> bool {
        self.check_and_shard >> DURABLE_SHIFT & 1 == 1
    }
}

/// At which depths there are filters that end in `#`.
#[derive(Debug)]
struct Depths {
    counts: [u32; DEPTH_MAX + 1],
    /// One bit for each count that is not zero.
    present: u64,
}

impl Depths {
    fn add(&mut self, depth: Option<usize>) {
        if let Some(depth) = depth {
            self.counts[depth] += 1;
            self.present |= 1 << depth;
        }
    }

    fn subtract(&mut self, depth: Option<usize>) {
        if let Some(depth) = depth {
            self.counts[depth] = self.counts[depth].checked_sub(1).expect("no more filters go than came");
            self.present &= !(u64::from(self.counts[depth] == 0) << depth);
        }
    }
}

impl Default for Depths {
    fn default() -> Self {
        Self { counts: [0; DEPTH_MAX + 1], present: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HashKeys;

    fn key(filter: &str) -> Option<LiteralKey<'_>> {
        LiteralKey::of(TopicFilter::parse(filter, u16::MAX).unwrap())
    }

    #[test]
    fn filters_without_plus_have_a_key_of_their_own() {
        let table: &[(&str, Option<usize>)] = &[
            ("a/b", None),
            ("/", None),
            ("#", Some(0)),
            ("/#", Some(1)),
            ("a/#", Some(1)),
            ("//#", Some(2)),
            ("a/b/#", Some(2)),
        ];
        for (filter, depth) in table {
            assert_eq!(key(filter).unwrap().depth(), *depth, "{filter}");
            for (other, _) in table {
                assert_eq!(key(filter).unwrap().is_of(&Text::new(other)), filter == other, "{filter} {other}");
                assert_eq!(key(filter) == key(other), filter == other, "{filter} {other}");
            }
        }
        for filter in ["+", "a/+", "a/+/#", "+/#"] {
            assert_eq!(key(filter), None, "{filter}");
        }
        let deep = |levels: usize| format!("{}#", "a/".repeat(levels));
        assert!(key(&deep(DEPTH_MAX)).is_some() && key(&deep(DEPTH_MAX + 1)).is_none());
    }

    #[test]
    fn a_fingerprint_keeps_its_shard_and_flag_apart_from_the_filter() {
        let keys = Keys::new(HashKeys::from(3));
        let of = |text: &[u8], shard, durable, depth| {
            Remote::new(keys.exact(text), keys.check(text)).told(ShardId(shard), durable, depth)
        };
        let told = of(b"a", 63, true, Some(DEPTH_MAX));
        assert_eq!((told.shard(), told.is_durable(), told.hash()), (ShardId(63), true, keys.exact(b"a")));
        assert_eq!(told.depth(), Some(DEPTH_MAX));
        assert!(told.is_same_filter(&of(b"a", 0, false, None)) && !told.is_same_filter(&of(b"b", 63, true, None)));
        for (shard, durable, depth) in [(0, false, None), (62, false, Some(0)), (1, true, Some(33))] {
            let told = of(b"a", shard, durable, depth);
            assert_eq!((told.shard(), told.is_durable(), told.depth()), (ShardId(shard), durable, depth));
        }
    }
}
