//! Newtypes for what is counted, indexed or named, so that one kind of number cannot be taken for another.

use core::net::SocketAddr;
use std::fmt;
use std::hash::Hasher;
use std::num::{NonZeroU16, NonZeroU32};

use siphasher::sip::SipHasher13;

/// Quality of service (MQTT 5.0, 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Qos {
    /// Sent once and forgotten.
    #[default]
    AtMostOnce = 0,
    /// Kept and sent again until PUBACK comes: it may arrive twice.
    AtLeastOnce = 1,
    /// Arrives once: PUBREC, PUBREL and PUBCOMP say who has it.
    ExactlyOnce = 2,
}

impl Qos {
    /// The two bits of a header; `None` for 3, which no packet may carry [MQTT-3.3.1-4].
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Packet identifier: never zero (MQTT 5.0, 2.2.1).
pub type PacketId = NonZeroU16;
/// Subscription identifier: 1 to 268,435,455 (MQTT 5.0, 3.8.2.1.2).
pub type SubscriptionId = NonZeroU32;
/// Topic alias: never zero (MQTT 5.0, 3.3.2.3.4).
pub type TopicAlias = NonZeroU16;

/// The index of the listener that the broker's own services come by: behind those of all others.
pub const INTERNAL_LISTENER: u8 = crate::limits::LISTENER_INDEXES_MAX as u8;

/// Whether a client id is one that only a service of the broker's own may have: a bridge, a sink or a source.
pub fn is_of_service(client_id: &str) -> bool {
    client_id.starts_with('$') && ["$bridge/", "$sink/", "$source/"].iter().any(|kind| client_id.starts_with(kind))
}

/// One shard of the process: one core, one executor, one partition of the sessions. `0..limits::SHARDS_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

impl ShardId {
    /// The shard that owns a client's session. Stable across restarts, because a session's log lies with its shard.
    /// FNV-1a, then a multiply-shift onto the range (Lemire, "Fast random integer generation in an interval", 2019).
    pub fn owner_of(client_id: &str, shards: usize) -> Self {
        debug_assert!((1..=crate::limits::SHARDS_MAX).contains(&shards));
        let hash = client_id
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // FNV's high bits are weak for short keys; one round of mixing spreads them.
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(((u128::from(mixed) * shards as u128) >> 64) as u8)
    }

    /// As an index into a table with one row per shard.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The shard that speaks for its node to others of a cluster, and is told of the cluster.
    pub const SPEAKER: Self = Self(0);

    /// Whether this stands for the process of another node of a cluster, on a node with so many `shards`.
    pub const fn is_slot(self, shards: usize) -> bool {
        self.index() >= shards
    }
}

/// A set of shards, one bit each. Where a broker is a node of a cluster, the numbers behind its own shards stand for other nodes' processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct ShardSet(pub u64);

impl ShardSet {
    /// The first `shards`: those of this process, without what stands for other nodes.
    pub const fn first(shards: usize) -> Self {
        Self(if shards == 64 { u64::MAX } else { (1 << shards) - 1 })
    }

    /// Every shard of `shards` except `own`.
    pub const fn all_but(own: ShardId, shards: usize) -> Self {
        let mut set = Self::first(shards);
        set.remove(own);
        set
    }

    /// Whether no shard is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Whether `shard` is in it.
    pub const fn contains(self, shard: ShardId) -> bool {
        self.0 >> shard.0 & 1 == 1
    }
    /// Adds `shard`.
    pub const fn insert(&mut self, shard: ShardId) {
        self.0 |= 1 << shard.0;
    }
    /// Takes `shard` out.
    pub const fn remove(&mut self, shard: ShardId) {
        self.0 &= !(1 << shard.0);
    }
    /// Adds every shard of `other`.
    pub const fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }
    /// The shards that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// The shards that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// The shards in ascending order.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let next = (bits != 0).then(|| ShardId(bits.trailing_zeros() as u8))?;
            bits &= bits - 1;
            Some(next)
        })
    }
}

/// A connection of one shard: the slot that holds it and how many connections the slot has held, so that a late word
/// about an earlier connection in the same slot is recognised and ignored.
///
/// It fits into 56 bits, which go through the kernel with every operation on the connection's socket and come back with
/// its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index of the slot.
    pub slot: u32,
    generation: u32,
}

impl ConnectionId {
    /// Bits of a generation that fit beside slot and operation. It takes 16,777,216 connections in one slot while one
    /// completion is outstanding to take one for the other.
    pub const GENERATION_BITS: u32 = 24;

    /// Names the connection in `slot`; of `generation` the low 24 bits count.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation: generation & ((1 << Self::GENERATION_BITS) - 1) }
    }

    /// In place of a connection where shards of this node confirm what another node has asked. No connection has it: slots are fewer.
    pub const OF_NODE: Self = Self::new(u32::MAX, u32::MAX);

    /// In place of a connection where another node waits for an answer: one of its shards.
    pub const fn of_node(shard: u8) -> Self {
        Self::new(shard as u32, u32::MAX)
    }

    /// The generation, 24 bits.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// As 56 bits.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// From what [`Self::to_bits`] gave.
    pub const fn from_bits(bits: u64) -> Self {
        Self::new(bits as u32, (bits >> 32) as u32)
    }
}

/// A socket of one plane: which ring, and which slot of that ring's table of direct descriptors.
///
/// Valid from `Accepted` or `Adopted` until `close`, `abort` or `hand_over`. The slot is used again afterwards, so a
/// connection forgets its `SocketId` when it calls one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(u32);

impl SocketId {
    const SLOT_BITS: u32 = 24;
    /// That of a connection which has none of its own: its client comes in datagrams. No ring has such a table.
    pub const NONE: Self = Self(u32::MAX);

    /// Whether it is [`Self::NONE`].
    pub const fn is_none(self) -> bool {
        self.0 == u32::MAX
    }

    /// Names the socket in `slot` of `ring`.
    pub const fn new(ring: usize, slot: u32) -> Self {
        debug_assert!(slot < 1 << Self::SLOT_BITS && ring < 256);
        Self((ring as u32) << Self::SLOT_BITS | slot)
    }

    /// Index of the ring.
    pub const fn ring(self) -> usize {
        (self.0 >> Self::SLOT_BITS) as usize
    }

    /// Index in the ring's table.
    pub const fn slot(self) -> u32 {
        self.0 & ((1 << Self::SLOT_BITS) - 1)
    }
}

/// Names one socket on its way between two planes: 56 bits that the source chooses so that no two sources choose the
/// same (its shard number and a counter), and that the target finds in the message about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// Of `bits` the low 56 count.
    pub const fn new(bits: u64) -> Self {
        Self(bits & ((1 << 56) - 1))
    }

    /// The 56 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// Names a listener of one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u8);

/// Names a datagram socket of one plane. No other of the plane's sockets is ever named so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DatagramSocketId(pub u16);

/// Who is at the other end of a socket, as far as the system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// Address and port; those of a dual-stack socket's IPv4 peers are IPv4.
    Ip(SocketAddr),
    /// A process of this machine.
    Unix(UnixPeer),
}

/// Who has connected to a Unix path, noted by the system at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnixPeer {
    /// `None` for a process that this one cannot name: it is in another container.
    pub process_id: Option<u32>,
    /// Whose process it is.
    pub user_id: u32,
    /// Its first group.
    pub group_id: u32,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Unix(UnixPeer { process_id: Some(pid), user_id, .. }) => write!(out, "unix:uid={user_id},pid={pid}"),
            Self::Unix(UnixPeer { user_id, .. }) => write!(out, "unix:uid={user_id}"),
        }
    }
}

/// A session of one shard: the slot that holds it. Whoever keeps one across turns also keeps a reason why the session
/// still exists (the subscription index does: subscriptions go when the session goes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

impl SessionId {
    /// As an index into the shard's table of sessions.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A client id reduced to 64 bits under a [`NameKey`]: tells across shards, and across restarts, whether two messages and
/// sessions belong to the same client (no-local) without carrying the string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(pub u64);

/// Orders the writes to one retained topic, across shards and across restarts: a hybrid logical clock (Kulkarni and others, 2014).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WriteStamp {
    /// Nanoseconds since 1970-01-01 UTC, later than every one given or seen before.
    pub time_ns: u64,
    /// The shard that gave it, so that no two are equal.
    pub shard: u8,
}

/// Names a message within a log: the position of the record that first held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MessageId(pub u64);

impl MessageId {
    /// That of a message which is in no log.
    pub const NONE: Self = Self(0);
}

/// The secret under which names are reduced to 64 bits wherever the result may outlive the process or leave it: client
/// ids, and shared subscriptions. SipHash-1-3 (Aumasson, Bernstein 2012), which every build computes alike.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NameKey {
    /// The first 64 bits.
    pub first: u64,
    /// The other 64 bits.
    pub second: u64,
}

impl NameKey {
    /// Reduces a client id.
    pub fn client(self, client_id: &str) -> ClientKey {
        ClientKey(self.hash(b'c', client_id, ""))
    }

    /// Reduces a shared subscription: its share name and its filter.
    pub fn group(self, share: &str, filter: &str) -> u64 {
        self.hash(b'g', share, filter)
    }

    fn hash(self, kind: u8, name: &str, rest: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.first, self.second);
        hasher.write(&[kind]);
        hasher.write(name.as_bytes());
        hasher.write(&[0]); // no name has this byte, so where it ends is part of what is hashed
        hasher.write(rest.as_bytes());
        hasher.finish()
    }
}

impl std::fmt::Debug for NameKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("NameKey(secret)")
    }
}

/// What all hashing of a process is keyed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKeys {
    /// For tables that live and die with the process. Random.
    pub tables: u64,
    /// For what is written down or told to others.
    pub names: NameKey,
}

/// Everything from one number, as simulations and tests have it.
impl From<u64> for HashKeys {
    fn from(seed: u64) -> Self {
        let first = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { tables: seed, names: NameKey { first, second: !first.rotate_left(32) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_spread_evenly() {
        for shards in [2_usize, 3, 5, 64] {
            let mut counts = vec![0_u32; shards];
            for n in 0..64_000 {
                counts[ShardId::owner_of(&format!("device-{n}"), shards).index()] += 1;
            }
            let fair = 64_000 / shards as u32;
            assert!(
                counts.iter().all(|&count| count > fair * 8 / 10 && count < fair * 12 / 10),
                "{shards}: {counts:?}"
            );
        }
    }

    #[test]
    fn owners_are_stable_across_builds() {
        assert_eq!(ShardId::owner_of("device-1", 1), ShardId(0));
        let owners: Vec<u8> = ["a", "b", "device-1", ""].iter().map(|id| ShardId::owner_of(id, 64).0).collect();
        assert_eq!(owners, OWNERS_OF_64);
    }

    /// Written down when the hash was chosen: changing it would orphan every stored session.
    const OWNERS_OF_64: [u8; 4] = [32, 18, 58, 33];

    #[test]
    fn a_connection_fits_into_56_bits_and_its_generation_wraps() {
        for (slot, generation) in [(0, 0), (u32::MAX, 0x00ff_ffff), (7, 0x0012_3456)] {
            let connection = ConnectionId::new(slot, generation);
            assert_eq!(connection.to_bits() >> 56, 0);
            assert_eq!(ConnectionId::from_bits(connection.to_bits()), connection);
        }
        assert_eq!(ConnectionId::new(5, 0x0100_0001).generation(), 1);
    }

    #[test]
    fn names_are_reduced_alike_by_every_build_and_apart_by_every_key() {
        let key = NameKey { first: 0x0706_0504_0302_0100, second: 0x0f0e_0d0c_0b0a_0908 };
        // Written down when the hash was chosen: another value would make strangers of a client and its messages.
        assert_eq!((key.client("device-1").0, key.group("g", "a/#")), NAMES);
        let other = NameKey { first: key.first + 1, ..key };
        assert_ne!(key.client("device-1"), other.client("device-1"));
        assert_ne!(key.client("device-1").0, key.group("device-1", ""));
    }

    const NAMES: (u64, u64) = (7_539_048_260_043_582_712, 9_505_624_904_275_223_755);

    #[test]
    fn where_a_share_name_ends_is_part_of_its_key() {
        let key = HashKeys::from(1).names;
        assert_ne!(key.group("ab", "c"), key.group("a", "bc"));
    }

    #[test]
    fn a_peer_is_shown_as_what_it_is() {
        let unix = UnixPeer { process_id: Some(42), user_id: 1000, group_id: 100 };
        let cases = [
            (PeerAddress::Ip("[::1]:1883".parse().unwrap()), "[::1]:1883"),
            (PeerAddress::Unix(unix), "unix:uid=1000,pid=42"),
            (PeerAddress::Unix(UnixPeer { process_id: None, ..unix }), "unix:uid=1000"),
        ];
        for (peer, shown) in cases {
            assert_eq!(peer.to_string(), shown);
        }
        assert_eq!(size_of::<PeerAddress>(), size_of::<SocketAddr>(), "a connection that has one grows by nothing");
    }

    #[test]
    fn a_socket_names_ring_and_slot() {
        let socket = SocketId::new(63, 0x00ab_cdef);
        assert_eq!((socket.ring(), socket.slot()), (63, 0x00ab_cdef));
    }

    #[test]
    fn shard_set_lists_its_members_in_order() {
        let mut set = ShardSet::default();
        for shard in [63, 0, 5] {
            set.insert(ShardId(shard));
        }
        set.remove(ShardId(5));
        assert_eq!(set.iter().map(|shard| shard.0).collect::<Vec<_>>(), [0, 63]);
        assert!(set.contains(ShardId(63)) && !set.contains(ShardId(5)));
    }

    #[test]
    fn what_stands_for_other_nodes_is_behind_the_shards() {
        for shards in [1, 2, 63, 64] {
            let own = ShardSet::first(shards);
            assert_eq!(own.iter().map(ShardId::index).collect::<Vec<_>>(), (0..shards).collect::<Vec<_>>());
            let slots = ShardSet(u64::MAX).without(own);
            assert!(own.and(slots).is_empty());
            assert!(slots.iter().all(|slot| slot.is_slot(shards)) && !own.iter().any(|shard| shard.is_slot(shards)));
            assert_eq!(ShardSet(own.0 | slots.0), ShardSet(u64::MAX));
            assert_eq!(ShardSet::all_but(ShardId(0), shards), own.without(ShardSet(1)));
        }
    }
}
