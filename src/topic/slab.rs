//! Numbered slots in chunks: an id stays valid until it is removed, and freed slots are used again.
//!
//! Chunks rather than one `Vec`: growth never copies what is there (a shard must not stop for a 50 MB move), nothing is
//! held in reserve beyond one chunk, and a chunk whose slots are all free is given back at once.

/// Slots of one chunk: 40 to 64 KB of what the index stores.
const CHUNK_SLOTS: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 10;

/// Slots addressed by `u32`.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<FreeSlots>,
    /// Every chunk that has room, each once; the last is filled first.
    roomy: Vec<u32>,
    len: usize,
}

/// Which slots below the chunk's length are free: one bit a slot, so that `T` needs no room for a tag or a link.
#[derive(Debug)]
struct FreeSlots {
    bits: [u64; CHUNK_SLOTS / 64],
    used: usize,
}

impl<T: Default> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), roomy: Vec::new(), len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        let chunk = match self.roomy.last() {
            Some(&chunk) => chunk as usize,
            None => self.add_chunk(),
        };
        let (slots, free) = (&mut self.chunks[chunk], &mut self.free[chunk]);
        let slot = if free.used < slots.len() {
            let slot = free.take_first();
            slots[slot] = value;
            slot
        } else {
            if slots.len() == slots.capacity() {
                // The first chunk grows as it is used, so that a small index is small.
                let wanted = if chunk > 0 { CHUNK_SLOTS } else { (2 * slots.len()).clamp(4, CHUNK_SLOTS) };
                slots.reserve_exact(wanted - slots.len());
            }
            slots.push(value);
            slots.len() - 1
        };
        free.used += 1;
        if free.used == CHUNK_SLOTS {
            self.roomy.pop();
        }
        self.len += 1;
        (chunk << CHUNK_BITS | slot) as u32
    }

    /// Takes the value out and frees its slot.
    pub(super) fn remove(&mut self, id: u32) -> T {
        let (chunk, slot) = split(id);
        let free = &mut self.free[chunk];
        let bit = 1 << (slot % 64);
        assert!(free.bits[slot / 64] & bit == 0, "a slot is freed once");
        let value = std::mem::take(&mut self.chunks[chunk][slot]);
        free.bits[slot / 64] |= bit;
        if free.used == CHUNK_SLOTS {
            self.roomy.push(chunk as u32);
        }
        free.used -= 1;
        if free.used == 0 {
            free.bits = [0; CHUNK_SLOTS / 64];
            self.chunks[chunk] = Vec::new();
        }
        self.len -= 1;
        value
    }

    /// Gives back what is free at the end: of the chunks, and of each chunk.
    pub(super) fn shrink(&mut self) {
        for (slots, free) in self.chunks.iter_mut().zip(&mut self.free) {
            while let Some(last) = slots.len().checked_sub(1)
                && free.bits[last / 64] >> (last % 64) & 1 == 1
            {
                slots.pop();
                free.bits[last / 64] &= !(1 << (last % 64));
            }
            slots.shrink_to_fit();
        }
        while self.free.last().is_some_and(|free| free.used == 0) {
            self.free.pop();
            self.chunks.pop();
        }
        let chunks = self.chunks.len();
        self.roomy.retain(|&chunk| (chunk as usize) < chunks);
        self.roomy.shrink_to_fit();
        self.free.shrink_to_fit();
        self.chunks.shrink_to_fit();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let slots: usize = self.chunks.iter().map(Vec::capacity).sum();
        slots * size_of::<T>()
            + self.chunks.capacity() * size_of::<Vec<T>>()
            + self.free.capacity() * size_of::<FreeSlots>()
            + self.roomy.capacity() * size_of::<u32>()
    }

    fn add_chunk(&mut self) -> usize {
        let chunk = self.chunks.len();
        assert!(chunk < 1 << (u32::BITS - CHUNK_BITS), "ids have 32 bits");
        self.chunks.push(Vec::new());
        self.free.push(FreeSlots { bits: [0; CHUNK_SLOTS / 64], used: 0 });
        self.roomy.push(chunk as u32);
        chunk
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: u32) -> &T {
        let (chunk, slot) = split(id);
        &self.chunks[chunk][slot]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        let (chunk, slot) = split(id);
        &mut self.chunks[chunk][slot]
    }
}

impl FreeSlots {
    fn take_first(&mut self) -> usize {
        let word = self.bits.iter().position(|&bits| bits != 0).expect("fewer slots are used than there are");
        let bit = self.bits[word].trailing_zeros() as usize;
        self.bits[word] &= self.bits[word] - 1;
        word * 64 + bit
    }
}

const fn split(id: u32) -> (usize, usize) {
    ((id >> CHUNK_BITS) as usize, id as usize & (CHUNK_SLOTS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_slots_are_used_again_and_empty_chunks_given_back() {
        let mut slab = Slab::<u64>::new();
        let ids: Vec<u32> = (0..10_000).map(|value| slab.insert(value)).collect();
        assert!(ids.iter().enumerate().all(|(value, &id)| slab[id] == value as u64));
        let chunks = slab.chunks.len();
        for &id in ids.iter().step_by(2) {
            slab.remove(id);
        }
        for value in 0..5_000 {
            slab.insert(value);
        }
        assert_eq!((slab.len(), slab.chunks.len()), (10_000, chunks), "every freed slot was found");
        assert!(ids.iter().enumerate().skip(1).step_by(2).all(|(value, &id)| slab[id] == value as u64));
        for id in 0..10_000 {
            slab.remove(id);
        }
        assert_eq!(slab.len(), 0);
        slab.shrink();
        assert_eq!(slab.memory_bytes(), 0);
        assert_eq!(slab.insert(7), 0);
    }
}
