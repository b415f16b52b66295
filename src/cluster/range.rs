//! Which range a client id belongs to, and the names of what a cluster consists of.
//!
//! Always holds: the range of a client id depends on the id and on how many ranges there are, which never changes in the life of a cluster. A load
//! balancer computes it as well: HAProxy with `mqtt_field_value(connect,client_identifier),xxh32(0),mod(12)`.

use std::fmt;

use twox_hash::XxHash32;

use crate::limits::{MEMBER_NAME_MAX_BYTES, NODES_MAX, RANGES_DEFAULT, RANGES_MAX};

/// One range of client ids: it has one owner and one log. From 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RangeId(pub u16);

/// A set of ranges, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeSet(u64);

const _: () = assert!(RANGES_MAX <= 64);

impl RangeSet {
    /// Puts a range in.
    pub const fn insert(&mut self, range: RangeId) {
        self.0 |= 1 << range.0;
    }

    /// Whether it is in.
    pub const fn contains(self, range: RangeId) -> bool {
        range.0 < RANGES_MAX && self.0 & (1 << range.0) != 0
    }

    /// Whether none is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those that are in either.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any is in both.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What is in, the lowest number first.
    pub fn iter(self) -> impl Iterator<Item = RangeId> {
        (0..RANGES_MAX).map(RangeId).filter(move |range| self.contains(*range))
    }
}

/// How many ranges a cluster has, `1..=RANGES_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeCount(u16);

impl Default for RangeCount {
    fn default() -> Self {
        Self(RANGES_DEFAULT)
    }
}

impl RangeCount {
    /// `None` for none, and for more than there may be.
    pub const fn new(count: u16) -> Option<Self> {
        if count >= 1 && count <= RANGES_MAX { Some(Self(count)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The range that a client id belongs to: XXH32 of its bytes with seed 0, modulo the number of ranges.
    pub fn range_of(self, client_id: &str) -> RangeId {
        RangeId((XxHash32::oneshot(0, client_id.as_bytes()) % u32::from(self.0)) as u16)
    }

    /// All of them, in order.
    pub fn all(self) -> impl Iterator<Item = RangeId> {
        (0..self.0).map(RangeId)
    }

    /// Whether there is such a range.
    pub const fn has(self, range: RangeId) -> bool {
        range.0 < self.0
    }
}

/// One broker of a cluster, `1..=NODES_MAX`. It keeps its number as long as it is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u16);

impl NodeId {
    /// `None` for a number that no node has.
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 1 && number as usize <= NODES_MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of nodes, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSet(u64);

impl NodeSet {
    /// Nobody.
    pub const EMPTY: Self = Self(0);

    /// Puts a node in.
    pub const fn insert(&mut self, node: NodeId) {
        self.0 |= 1 << (node.0 - 1);
    }

    /// Whether it is in.
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << (node.0 - 1)) != 0
    }

    /// Whether nobody is.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Who is in, the lowest number first.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        (1..=NODES_MAX as u16).map(NodeId).filter(move |node| self.contains(*node))
    }
}

/// One life of a node's process: a random number that the edge draws when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u64);

/// One time that a node came to own a range: the place of its MARK in the range's log, and who wrote it. Whoever tries for the same place has
/// another mark, be it the same process that reads an old state of the log: the engine, which knows messages by their names, never takes
/// one for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The sequence that the engine gives the MARK, which is the number 0 of its run.
    pub sequence: u64,
    /// The process that wrote it.
    pub boot: BootId,
    /// Counts the times that this process tried for the range.
    pub attempt: u32,
}

impl Mark {
    /// The name that the engine knows the message with number `n` of this run by.
    pub fn message_id(self, n: u64) -> String {
        format!("{}-{:016x}-{}.{n}", self.sequence, self.boot.0, self.attempt)
    }

    /// The sequence that the message with number `n` of this run has; `None` beyond what can be counted.
    pub const fn sequence_of(self, n: u64) -> Option<u64> {
        self.sequence.checked_add(n)
    }
}

/// Whether a cluster, a node, an address or a version may be called so: it stands in lines of the log.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MEMBER_NAME_MAX_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_xxh32_by_its_published_vectors() {
        // xxhash 0.8, `XSUM_XXH32_testdata`: the first bytes of a buffer that its generator fills, with seeds 0 and 2654435761.
        let mut generator = 2_654_435_761_u64;
        let buffer: Vec<u8> = (0..222)
            .map(|_| {
                let byte = (generator >> 56) as u8;
                generator = generator.wrapping_mul(11_400_714_785_074_694_797);
                byte
            })
            .collect();
        let vectors = [
            (0, 0, 0x02CC_5D05),
            (0, 2_654_435_761, 0x36B7_8AE7),
            (1, 0, 0xCF65_B03E),
            (1, 2_654_435_761, 0xB454_5AA4),
            (14, 0, 0x1208_E7E2),
            (14, 2_654_435_761, 0x6AF1_D1FE),
            (222, 0, 0x5BD1_1DBD),
            (222, 2_654_435_761, 0x5880_3C5F),
        ];
        for (len, seed, hash) in vectors {
            assert_eq!(XxHash32::oneshot(seed, &buffer[..len]), hash, "{len} bytes, seed {seed}");
        }
    }

    #[test]
    fn a_load_balancer_that_hashes_client_ids_finds_the_same_range() {
        // As HAProxy 2.6.12 logged `mqtt_field_value(connect,client_identifier)` with `xxh32(0)`, and with `mod(12)` behind it, for CONNECTs of
        // 3.1.1 and 5.0.
        let logged = [
            ("a", 1_426_945_110, 6),
            ("abc", 852_579_327, 3),
            ("sensor-0001", 3_036_511_393, 1),
            ("sensor-0002", 2_785_989_926, 2),
            ("meter/7", 4_187_789_146, 10),
            ("0123456789abcdef", 3_267_648_361, 1),
            ("Zähler-Ä", 3_792_748_549, 1),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 4_129_382_658, 6),
            ("Nobody inspects the spammish repetition", 3_794_352_943, 7),
            ("device:00:1B:44:11:3A:B7", 3_501_819_954, 6),
        ];
        for (client_id, hash, range) in logged {
            assert_eq!(XxHash32::oneshot(0, client_id.as_bytes()), hash, "{client_id}");
            assert_eq!(RangeCount::default().range_of(client_id), RangeId(range), "{client_id}");
        }
    }

    #[test]
    fn there_is_a_range_for_every_client_id_and_no_other() {
        assert_eq!((RangeCount::new(0), RangeCount::new(RANGES_MAX + 1)), (None, None));
        for count in [1, 12, RANGES_MAX] {
            let ranges = RangeCount::new(count).unwrap();
            let mut met = vec![0_u32; usize::from(count)];
            for client in 0..10_000 {
                let range = ranges.range_of(&format!("client-{client}"));
                assert!(ranges.has(range));
                met[usize::from(range.0)] += 1;
            }
            let even = 10_000 / u32::from(count);
            assert!(met.iter().all(|met| *met > even / 2 && *met < even * 2), "{met:?}");
            assert!(!ranges.has(RangeId(count)));
        }
    }

    #[test]
    fn a_set_holds_the_first_node_and_the_last() {
        let (first, last) = (NodeId::new(1).unwrap(), NodeId::new(NODES_MAX as u16).unwrap());
        assert_eq!((NodeId::new(0), NodeId::new(NODES_MAX as u16 + 1)), (None, None));
        let mut nodes = NodeSet::default();
        assert!(nodes.is_empty());
        nodes.insert(last);
        nodes.insert(first);
        assert_eq!(nodes.iter().collect::<Vec<_>>(), [first, last]);
        assert!(!nodes.contains(NodeId::new(2).unwrap()));
    }

    #[test]
    fn a_set_of_ranges_holds_the_first_and_the_last() {
        let mut ranges = RangeSet::default();
        assert!(ranges.is_empty());
        for range in [RANGES_MAX - 1, 0, 5] {
            ranges.insert(RangeId(range));
        }
        let mut five = RangeSet::default();
        five.insert(RangeId(5));
        let left = ranges.without(five);
        assert_eq!(left.iter().collect::<Vec<_>>(), [RangeId(0), RangeId(RANGES_MAX - 1)]);
        assert!(ranges.contains(RangeId(5)) && !left.contains(RangeId(5)) && !left.contains(RangeId(RANGES_MAX)));
        assert!(
            ranges.meets(five) && !left.meets(five) && left.with(five) == ranges && !ranges.meets(RangeSet::default())
        );
    }

    #[test]
    fn two_nodes_that_try_for_one_place_have_two_names_for_it() {
        let [one, other] = [7, 8].map(|boot| Mark { sequence: 41, boot: BootId(boot), attempt: 1 });
        assert_eq!(one.message_id(0), "41-0000000000000007-1.0");
        assert_ne!(one.message_id(0), other.message_id(0));
        assert_ne!(one.message_id(0), Mark { attempt: 2, ..one }.message_id(0));
        assert_eq!(one.sequence_of(3), Some(44));
        assert_eq!(Mark { sequence: u64::MAX, ..one }.sequence_of(1), None);
    }
}
