//! Which shard a client identifier belongs to, so that tests can put two clients on one shard or on two.
//!
//! A second writing of the broker's rule (FNV-1a over the identifier, folded, spread by a multiplication): if the
//! broker's rule changes, the tests still hold but no longer place what they say, so the two must change together.

/// The shard of `shards` that owns the session of this client identifier.
pub(crate) fn shard_of(client_id: &str, shards: usize) -> usize {
    let hash = fnv1a(client_id.as_bytes());
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((u128::from(mixed) * shards as u128) >> 64) as usize
}

/// An identifier that begins with `stem` and belongs to `shard`.
pub(crate) fn id_on(shard: usize, shards: usize, stem: &str) -> String {
    (0..10_000)
        .map(|salt: u32| format!("{stem}{salt}"))
        .find(|id| shard_of(id, shards) == shard)
        .expect("ten thousand tries reach each of at most 64 shards")
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn the_hash_gives_the_published_fnv_1a_values() {
    for (text, hash) in [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)] {
        assert_eq!(fnv1a(text.as_bytes()), hash, "{text:?}");
    }
}

#[test]
fn identifiers_can_be_found_for_every_shard() {
    for shards in [1, 2, 5, 64] {
        for shard in 0..shards {
            assert_eq!(shard_of(&id_on(shard, shards, "probe"), shards), shard);
        }
    }
}
