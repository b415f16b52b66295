//! The one slot table of the house: values under small numbers that stay valid until the value is removed.
//!
//! Owns: which slots are free, and, for [`GenerationalSlab`], how many values a slot has held.
//!
//! What always holds:
//! - Growing never copies more than one chunk, so a shard with a million sessions has no pause for it.
//! - A slot costs the size of `Option<T>` and one bit: a `T` with a niche (a box, a string, an enum) pays for no tag.
//! - Nothing is held in reserve beyond one chunk. A chunk whose slots are all free is given back at once, except the
//!   first, which grows by doubling: a small table is small, and one that empties and fills does not allocate.
//!
//! Leaves to others: what a number means. A plain [`Slab`] is for whoever removes a number from everywhere before the
//! value goes; a [`GenerationalSlab`] is for numbers that travel (through the kernel, to another shard) and may come
//! back late. Crates keep their slots in one `Vec` and copy them all when it is full:
//! `docs/decisions/2026-11-29-one-slab.md`.

use crate::ids::ConnectionId;

const CHUNK_BITS: u32 = 10;
const CHUNK_SLOTS: usize = 1 << CHUNK_BITS;

/// Values under `u32` numbers. Reading takes two loads, inserting and removing constant time.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<FreeSlots>,
    /// Every chunk that has a free slot, each once; the last is filled first.
    roomy: Vec<u32>,
    len: usize,
}

/// Which slots below the chunk's length are free, a bit a slot, and how many are not.
#[derive(Debug)]
struct FreeSlots {
    bits: [u64; CHUNK_SLOTS / 64],
    used: usize,
}

impl<T> Slab<T> {
    /// An empty slab, without an allocation.
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), roomy: Vec::new(), len: 0 }
    }

    /// How many values it holds.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no value.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Above every slot that is in use: where a walk by number ends.
    pub const fn slots(&self) -> u32 {
        match self.chunks.as_slice() {
            [] => 0,
            [before @ .., last] => ((before.len() << CHUNK_BITS) + last.len()) as u32,
        }
    }

    /// Puts `value` into a free slot and returns its number. Panics beyond 2^32 slots, which no memory reaches.
    pub fn insert(&mut self, value: T) -> u32 {
        let chunk = match self.roomy.last() {
            Some(&chunk) => chunk as usize,
            None => self.add_chunk(),
        };
        let (slots, free) = (&mut self.chunks[chunk], &mut self.free[chunk]);
        let slot = if free.used < slots.len() {
            let slot = free.take_first();
            slots[slot] = Some(value);
            slot
        } else {
            if slots.len() == slots.capacity() {
                let wanted = if chunk > 0 { CHUNK_SLOTS } else { (2 * slots.len()).clamp(4, CHUNK_SLOTS) };
                slots.reserve_exact(wanted - slots.len());
            }
            slots.push(Some(value));
            slots.len() - 1
        };
        free.used += 1;
        if free.used == CHUNK_SLOTS {
            self.roomy.pop();
        }
        self.len += 1;
        (chunk << CHUNK_BITS | slot) as u32
    }

    /// Puts `value` into a slot that is free: what is rebuilt keeps its numbers. Those below it that were never used are free
    /// from now on.
    pub fn insert_at(&mut self, slot: u32, value: T) {
        let (chunk, at) = split(slot);
        while self.chunks.len() <= chunk {
            self.add_chunk();
        }
        let (slots, free) = (&mut self.chunks[chunk], &mut self.free[chunk]);
        while slots.len() <= at {
            let next = slots.len();
            free.bits[next / 64] |= 1 << (next % 64);
            slots.push(None);
        }
        assert!(slots[at].is_none(), "one value has a slot");
        free.bits[at / 64] &= !(1 << (at % 64));
        slots[at] = Some(value);
        free.used += 1;
        if free.used == CHUNK_SLOTS {
            self.roomy.retain(|&roomy| roomy as usize != chunk);
        }
        self.len += 1;
    }

    /// The value in `slot`; `None` if the slot is free or was never used.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&T> {
        let (chunk, slot) = split(slot);
        self.chunks.get(chunk)?.get(slot)?.as_ref()
    }

    /// As [`Self::get`], to be changed in place.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (chunk, slot) = split(slot);
        self.chunks.get_mut(chunk)?.get_mut(slot)?.as_mut()
    }

    /// Takes the value out of `slot` and frees the slot; `None` if it was free already.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let (chunk, slot) = split(slot);
        let value = self.chunks.get_mut(chunk)?.get_mut(slot)?.take()?;
        let free = &mut self.free[chunk];
        free.bits[slot / 64] |= 1 << (slot % 64);
        if free.used == CHUNK_SLOTS {
            self.roomy.push(chunk as u32);
        }
        free.used -= 1;
        if free.used == 0 && chunk > 0 {
            free.bits = [0; CHUNK_SLOTS / 64];
            self.chunks[chunk] = Vec::new();
        }
        self.len -= 1;
        Some(value)
    }

    /// All values with their slots, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.iter_from(0)
    }

    /// The values in `first` and the slots after it: goes on where an earlier walk stopped, whatever came and went
    /// between the two.
    pub fn iter_from(&self, first: u32) -> impl Iterator<Item = (u32, &T)> {
        let (first_chunk, first_slot) = split(first);
        self.chunks.iter().enumerate().skip(first_chunk).flat_map(move |(chunk, slots)| {
            let skipped = if chunk == first_chunk { first_slot } else { 0 };
            let slots = slots.iter().enumerate().skip(skipped);
            slots.filter_map(move |(slot, value)| Some(((chunk << CHUNK_BITS | slot) as u32, value.as_ref()?)))
        })
    }

    /// Bytes allocated for the slots and for the record of the free ones; not what the values hold elsewhere. Takes
    /// time in the number of chunks.
    pub fn memory_bytes(&self) -> usize {
        let slots: usize = self.chunks.iter().map(Vec::capacity).sum();
        slots * size_of::<Option<T>>()
            + self.chunks.capacity() * size_of::<Vec<Option<T>>>()
            + self.free.capacity() * size_of::<FreeSlots>()
            + self.roomy.capacity() * size_of::<u32>()
    }

    fn add_chunk(&mut self) -> usize {
        let chunk = self.chunks.len();
        assert!(chunk < 1 << (u32::BITS - CHUNK_BITS), "slots have 32 bits");
        self.chunks.push(Vec::new());
        self.free.push(FreeSlots { bits: [0; CHUNK_SLOTS / 64], used: 0 });
        self.roomy.push(chunk as u32);
        chunk
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// For slots that are known to be in use. Panics otherwise: a broken invariant of the owner's.
impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: u32) -> &T {
        let (chunk, slot) = split(slot);
        self.chunks[chunk][slot].as_ref().expect(IN_USE)
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut T {
        let (chunk, slot) = split(slot);
        self.chunks[chunk][slot].as_mut().expect(IN_USE)
    }
}

const IN_USE: &str = "whoever names a slot knows that it is in use";

impl FreeSlots {
    fn take_first(&mut self) -> usize {
        let word = self.bits.iter().position(|&bits| bits != 0).expect("fewer slots are used than there are");
        let bit = self.bits[word].trailing_zeros() as usize;
        self.bits[word] &= self.bits[word] - 1;
        word * 64 + bit
    }
}

const fn split(slot: u32) -> (usize, usize) {
    ((slot >> CHUNK_BITS) as usize, slot as usize & (CHUNK_SLOTS - 1))
}

/// Values under ids that say which use of the slot they mean: the id of a value that has gone finds nothing, whoever has
/// the slot now. Costs 4 bytes a slot more than a [`Slab`], and these are kept when the values go.
#[derive(Debug)]
pub struct GenerationalSlab<T> {
    values: Slab<T>,
    /// How many values each slot has held, in chunks like the values.
    generations: Vec<Box<[u32; CHUNK_SLOTS]>>,
}

impl<T> GenerationalSlab<T> {
    /// An empty slab, without an allocation.
    pub const fn new() -> Self {
        Self { values: Slab::new(), generations: Vec::new() }
    }

    /// How many values it holds.
    pub const fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it holds no value.
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Puts `value` into a free slot and returns its id. No two ids are equal until a slot has held 2^24 values.
    pub fn insert(&mut self, value: T) -> ConnectionId {
        let slot = self.values.insert(value);
        let (chunk, at) = split(slot);
        if chunk == self.generations.len() {
            self.generations.push(Box::new([0; CHUNK_SLOTS]));
        }
        let generation = &mut self.generations[chunk][at];
        *generation = generation.wrapping_add(1);
        ConnectionId::new(slot, *generation)
    }

    /// The value of `id`, unless it has gone.
    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&T> {
        if self.is_latest(id) { self.values.get(id.slot) } else { None }
    }

    /// As [`Self::get`], to be changed in place.
    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        if self.is_latest(id) { self.values.get_mut(id.slot) } else { None }
    }

    /// Takes the value of `id` out, unless it has gone.
    pub fn remove(&mut self, id: ConnectionId) -> Option<T> {
        if self.is_latest(id) { self.values.remove(id.slot) } else { None }
    }

    /// All values with their ids, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.iter_from(0)
    }

    /// The values in `first` and the slots after it: see [`Slab::iter_from`].
    pub fn iter_from(&self, first: u32) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.values.iter_from(first).map(|(slot, value)| {
            let (chunk, at) = split(slot);
            (ConnectionId::new(slot, self.generations[chunk][at]), value)
        })
    }

    /// Bytes allocated for the slots and their generations; not what the values hold elsewhere.
    pub fn memory_bytes(&self) -> usize {
        let (chunks, chunk) = (self.generations.len(), size_of::<[u32; CHUNK_SLOTS]>());
        self.values.memory_bytes() + self.generations.capacity() * size_of::<usize>() + chunks * chunk
    }

    /// Whether no value has come into the slot of `id` since that of `id`, which may have gone.
    #[inline]
    fn is_latest(&self, id: ConnectionId) -> bool {
        let (chunk, at) = split(id.slot);
        self.generations.get(chunk).is_some_and(|generations| ConnectionId::new(id.slot, generations[at]) == id)
    }
}

impl<T> Default for GenerationalSlab<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_slots_are_used_again_and_values_stay_where_they_are() {
        let mut slab = Slab::<u64>::new();
        let slots: Vec<u32> = (0..10_000).map(|value| slab.insert(value)).collect();
        assert!(slots.iter().enumerate().all(|(value, &slot)| slab[slot] == value as u64));
        assert_eq!(slab.slots(), 10_000);
        let chunks = slab.chunks.len();
        for &slot in slots.iter().step_by(2) {
            assert_eq!(slab.remove(slot), Some(u64::from(slot)));
            assert!(slab.remove(slot).is_none() && slab.get(slot).is_none());
        }
        for value in 0..5_000 {
            slab.insert(value);
        }
        assert_eq!((slab.len(), slab.chunks.len()), (10_000, chunks), "every freed slot was found");
        assert!(slots.iter().enumerate().skip(1).step_by(2).all(|(value, &slot)| slab[slot] == value as u64));
        assert!(slab.get(1_000_000).is_none() && slab.remove(1_000_000).is_none());
    }

    #[test]
    fn empty_chunks_are_given_back_and_a_small_slab_is_small() {
        let mut slab = Slab::<u64>::new();
        assert_eq!(slab.memory_bytes(), 0);
        slab.insert(0);
        let small = slab.memory_bytes();
        assert!(small < 1_024, "{small}");
        for value in 1..10_000 {
            slab.insert(value);
        }
        for slot in 1..10_000 {
            slab.remove(slot);
        }
        let (held, one_chunk) = (slab.memory_bytes(), CHUNK_SLOTS * size_of::<Option<u64>>());
        assert!(held < one_chunk + 16 * 200, "{held} bytes for one value");
        assert_eq!((slab.len(), slab.is_empty()), (1, false));
    }

    #[test]
    fn a_slab_that_empties_and_fills_keeps_its_first_chunk() {
        let mut slab = Slab::new();
        assert_eq!(slab.insert("a"), 0);
        let held = slab.memory_bytes();
        for _ in 0..3 {
            assert_eq!(slab.remove(0), Some("a"));
            assert_eq!((slab.memory_bytes(), slab.is_empty()), (held, true));
            assert_eq!(slab.insert("a"), 0);
        }
    }

    #[test]
    fn what_is_rebuilt_keeps_its_slots_and_those_between_are_free() {
        let kept: Vec<u32> = vec![0, 3, 64, 1_023, 1_024, 5_000];
        let mut slab = Slab::<u32>::new();
        for &slot in &kept {
            slab.insert_at(slot, slot);
        }
        assert!(slab.iter().map(|(slot, _)| slot).eq(kept.iter().copied()));
        assert_eq!((slab.len(), slab.slots()), (kept.len(), 5_001));
        let added: Vec<u32> = (0..10_000).map(|value| slab.insert(value)).collect();
        let distinct: std::collections::BTreeSet<u32> = added.iter().chain(&kept).copied().collect();
        assert_eq!((distinct.len(), slab.len()), (10_000 + kept.len(), 10_000 + kept.len()));
        assert!(kept.iter().all(|&slot| slab[slot] == slot), "nobody was overwritten");
        for slot in distinct {
            assert!(slab.remove(slot).is_some());
        }
        assert!(slab.is_empty());
    }

    #[test]
    fn a_niche_makes_the_tag_free() {
        assert_eq!(size_of::<Option<Box<u8>>>(), size_of::<Box<u8>>());
        let mut slab = Slab::new();
        for _ in 0..100 * CHUNK_SLOTS {
            slab.insert(Box::new(1_u8));
        }
        let (held, values) = (slab.memory_bytes(), slab.len());
        assert!(10 * held < 83 * values, "{held} bytes for {values} boxes of 8");
    }

    #[test]
    fn a_walk_goes_on_where_an_earlier_one_stopped() {
        let mut slab = Slab::new();
        for value in 0..3_000_u32 {
            slab.insert(value);
        }
        for slot in 1_000..2_100 {
            slab.remove(slot);
        }
        let expected: Vec<u32> = (0..1_000).chain(2_100..3_000).collect();
        let (mut seen, mut next) = (Vec::new(), 0);
        while let Some((last, _)) = slab.iter_from(next).take(7).inspect(|(_, value)| seen.push(**value)).last() {
            next = last + 1;
        }
        assert_eq!(seen, expected);
        assert!(slab.iter().map(|(slot, _)| slot).eq(expected));
        assert_eq!(slab.iter_from(1 << 20).count(), 0);
    }

    #[test]
    fn the_id_of_a_value_that_has_gone_finds_nothing() {
        let mut slab = GenerationalSlab::<&str>::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        assert!(slab.get(first).is_none() && slab.remove(first).is_none());
        let second = slab.insert("second");
        assert_eq!(second.slot, first.slot);
        assert!(slab.get(first).is_none() && slab.get_mut(first).is_none() && slab.remove(first).is_none());
        assert_eq!((slab.get(second), slab.len(), slab.is_empty()), (Some(&"second"), 1, false));
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(second, &"second")]);
        assert_eq!(slab.get(ConnectionId::new(1 << 20, 1)), None);
    }

    #[test]
    fn a_generation_wraps_and_outlives_its_chunk() {
        let mut slab = GenerationalSlab::<u32>::new();
        let ids: Vec<ConnectionId> = (0..=CHUNK_SLOTS as u32).map(|value| slab.insert(value)).collect();
        let last = ids[CHUNK_SLOTS];
        assert_eq!(slab.remove(last), Some(CHUNK_SLOTS as u32));
        assert!(slab.values.chunks[1].is_empty(), "the chunk was given back");
        let again = slab.insert(7);
        assert_eq!(again.slot, last.slot);
        assert!(again != last && slab.get(last).is_none());
        slab.generations[0][0] = u32::MAX >> (32 - ConnectionId::GENERATION_BITS);
        slab.remove(ids[0]);
        let before = ConnectionId::new(0, (1 << ConnectionId::GENERATION_BITS) - 1);
        assert_eq!(slab.remove(before), Some(0));
        assert_eq!(slab.insert(8), ConnectionId::new(0, 0));
    }
}
