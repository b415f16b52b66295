//! The hash tables of the index, and the keys that they hash with.
//!
//! What is hashed comes from peers, so the keys are random and secret: nobody can aim at one bucket. A table is cut into
//! stripes that grow one by one: a single table of a million entries would stop the shard for some 100 ms at the moment
//! it doubles, a stripe's share of that is about one millisecond at most.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

use crate::ids::{HashKeys, NameKey};
use hashbrown::HashTable;

/// Stripes of a table. Not a power of two, so that a million entries (the default of `--max-connections`) find every
/// stripe at 3,125 +- 56 of the 3,584 that its 4,096 buckets admit, rather than just after a doubling.
const STRIPES: u64 = 320;

/// A hash table that grows a stripe at a time. `T` is an id or a fingerprint, never the key itself.
#[derive(Debug)]
pub(super) struct StripedTable<T> {
    stripes: Box<[HashTable<T>]>,
    len: usize,
}

impl<T> StripedTable<T> {
    pub(super) fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| HashTable::new()).collect(), len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.stripes[stripe_of(hash)].find(hash, is_it)
    }

    /// Everything that may have this hash: the caller compares what it stored.
    #[inline]
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = &T> {
        self.stripes[stripe_of(hash)].iter_hash(hash)
    }

    pub(super) fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.stripes[stripe_of(hash)].find_mut(hash, is_it)
    }

    pub(super) fn insert(&mut self, hash: u64, value: T, hash_of: impl Fn(&T) -> u64) {
        self.stripes[stripe_of(hash)].insert_unique(hash, value, hash_of);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let found = self.stripes[stripe_of(hash)].find_entry(hash, is_it).ok()?;
        self.len -= 1;
        Some(found.remove().0)
    }

    /// How many stripes there are, full or empty.
    pub(super) const fn stripes(&self) -> usize {
        self.stripes.len()
    }

    /// How many a stripe holds.
    pub(super) fn len_of_stripe(&self, stripe: usize) -> usize {
        self.stripes[stripe].len()
    }

    /// Takes what `is_it` says out of a stripe, `max` at most.
    pub(super) fn take_from_stripe(&mut self, stripe: usize, max: usize, is_it: impl Fn(&T) -> bool) -> Vec<T> {
        let taken: Vec<T> = self.stripes[stripe].extract_if(|value| is_it(value)).take(max).collect();
        self.len -= taken.len();
        taken
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.stripes) + self.stripes.iter().map(HashTable::allocation_size).sum::<usize>()
    }
}

/// Which stripe, from bits that neither the bucket (the low ones) nor the tag (the highest seven) is made of.
#[inline]
const fn stripe_of(hash: u64) -> usize {
    (((hash >> 20 & 0xffff_ffff) * STRIPES) >> 32) as usize
}

/// The secret keys of one index. The same seed gives the same keys: on every shard of a process, so that they agree on
/// a group's key, and in every run of a simulation.
pub(super) struct Keys {
    exact: RandomState,
    below: RandomState,
    check: RandomState,
    level: RandomState,
    names: NameKey,
    edge: u64,
}

impl Keys {
    pub(super) fn new(keys: HashKeys) -> Self {
        let mut state = keys.tables;
        // splitmix64 (Steele, Lea, Flood 2014): one word of seed stretched to as many as are needed.
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let mut random_state = || RandomState::with_seeds(next(), next(), next(), next());
        Self {
            exact: random_state(),
            below: random_state(),
            check: random_state(),
            level: random_state(),
            names: keys.names,
            edge: next() | 1,
        }
    }

    /// A filter without wildcards, or a topic looked up as one.
    #[inline]
    pub(super) fn exact(&self, text: &[u8]) -> u64 {
        hash(&self.exact, text)
    }

    /// The literal part of a filter that ends in `#`, or that much of a topic.
    #[inline]
    pub(super) fn below(&self, prefix: &[u8]) -> u64 {
        hash(&self.below, prefix)
    }

    /// A second opinion on either of the two, for a table that keeps fingerprints only.
    #[inline]
    pub(super) fn check(&self, text: &[u8]) -> u64 {
        hash(&self.check, text)
    }

    /// The text between two slashes, without them.
    #[inline]
    pub(super) fn level(&self, level: &[u8]) -> u64 {
        hash(&self.level, level)
    }

    /// The edge to a level from a node.
    #[inline]
    pub(super) const fn edge(&self, parent: u32, level_hash: u64) -> u64 {
        let product = (level_hash ^ (parent as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) as u128 * self.edge as u128;
        (product as u64) ^ (product >> 64) as u64
    }

    /// A share name and its filter.
    pub(super) fn group(&self, share: &str, filter: &str) -> u64 {
        self.names.group(share, filter)
    }
}

#[inline]
fn hash(state: &RandomState, bytes: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_share_the_load_evenly() {
        let keys = Keys::new(HashKeys::from(1));
        let mut table = StripedTable::new();
        for n in 0..100_000_u32 {
            table.insert(keys.exact(&n.to_le_bytes()), n, |n| keys.exact(&n.to_le_bytes()));
        }
        let most = table.stripes.iter().map(HashTable::len).max().unwrap();
        assert!(most < 100_000 / STRIPES as usize * 3 / 2, "{most}");
        let probe = |n: u32| table.find(keys.exact(&n.to_le_bytes()), |&found| found == n).copied();
        assert_eq!((probe(77), probe(100_000)), (Some(77), None));
    }

    #[test]
    fn one_seed_gives_one_set_of_keys() {
        assert_eq!(Keys::new(HashKeys::from(5)).group("g", "a/+"), Keys::new(HashKeys::from(5)).group("g", "a/+"));
        assert_ne!(Keys::new(HashKeys::from(5)).group("g", "a/+"), Keys::new(HashKeys::from(6)).group("g", "a/+"));
        assert_ne!(Keys::new(HashKeys::from(5)).exact(b"a"), Keys::new(HashKeys::from(5)).below(b"a"));
    }
}
