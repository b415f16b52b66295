//! The number of an entry: one per distinct (share name, filter).

/// No node, no entry, no position: what the fields of the index hold where there is none, in 4 bytes instead of 8.
pub(super) const NONE: u32 = u32::MAX;

/// One entry of the index: a filter, or a share name and filter. Valid as long as this shard has a subscriber or member
/// in it; for shared subscriptions and filters with `+`, also as long as another shard announces interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u32);

/// Which of the index's stores an entry is in, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// A plain filter without `+`, in the hash table.
    Literal(u32),
    /// A plain filter with `+`, in the trie.
    Wildcard(u32),
    /// A share name and its filter, in the trie.
    Group(u32),
}

/// A shared subscription as what went to one of its members remembers it: for as long as the message is kept, and no longer
/// than the group lasts. In 6 bytes that need no alignment, because every message in every queue has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupTag([u16; 3]);

impl GroupTag {
    /// That of a plain subscription.
    pub const NONE: Self = Self([u16::MAX; 3]);

    /// `epoch` tells the groups apart that have the same number one after another.
    pub(super) const fn new(number: u32, epoch: u16) -> Self {
        Self([number as u16, (number >> 16) as u16, epoch])
    }

    pub(super) const fn number(self) -> u32 {
        self.0[0] as u32 | (self.0[1] as u32) << 16
    }

    pub(super) const fn epoch(self) -> u16 {
        self.0[2]
    }
}

const KIND_SHIFT: u32 = 30;
const NUMBER_MASK: u32 = (1 << KIND_SHIFT) - 1;

impl EntryId {
    pub(super) const fn new(stored: Stored) -> Self {
        let (kind, number) = match stored {
            Stored::Literal(number) => (0, number),
            Stored::Wildcard(number) => (1, number),
            Stored::Group(number) => (2, number),
        };
        assert!(number <= NUMBER_MASK, "a store has at most 2^30 entries");
        Self(kind << KIND_SHIFT | number)
    }

    /// Its place in an order that no change of others touches, for lists that are gone on with later.
    pub const fn order(self) -> u32 {
        self.0
    }

    pub(super) const fn stored(self) -> Stored {
        let number = self.0 & NUMBER_MASK;
        match self.0 >> KIND_SHIFT {
            0 => Stored::Literal(number),
            1 => Stored::Wildcard(number),
            _ => Stored::Group(number),
        }
    }

    /// For a table with these as keys. They are given out by the index and not by peers: nothing secret is in it.
    pub const fn hash(self) -> u64 {
        let spread = (self.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15); // 2^64 by the golden section
        spread ^ (spread >> 32)
    }

    /// Whether it is a shared subscription.
    pub const fn is_shared(self) -> bool {
        matches!(self.stored(), Stored::Group(_))
    }
}
