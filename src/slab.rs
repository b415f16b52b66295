//! A slab in chunks: growing it never copies what it holds, so a shard with a million sessions has no pause for it.

const CHUNK: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Box<[Option<T>]>>,
    free: Vec<u32>,
    len: usize,
    fresh: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0, fresh: 0 }
    }
}

impl<T> Slab<T> {
    /// Values held.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more than the highest slot that has ever been used.
    pub const fn slots(&self) -> u32 {
        self.fresh
    }

    /// Puts `value` into a free slot and tells which.
    pub fn insert(&mut self, value: T) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.fresh;
            self.fresh += 1;
            if slot as usize / CHUNK == self.chunks.len() {
                self.chunks.push(std::iter::repeat_with(|| None).take(CHUNK).collect());
            }
            slot
        });
        let place = &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK];
        assert!(place.is_none(), "a free slot holds nothing");
        *place = Some(value);
        self.len += 1;
        slot
    }

    /// The value in `slot`.
    pub fn get(&self, slot: u32) -> Option<&T> {
        self.chunks.get(slot as usize / CHUNK)?[slot as usize % CHUNK].as_ref()
    }

    /// The value in `slot`.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.chunks.get_mut(slot as usize / CHUNK)?[slot as usize % CHUNK].as_mut()
    }

    /// Takes the value out of `slot`.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.chunks.get_mut(slot as usize / CHUNK)?[slot as usize % CHUNK].take()?;
        self.free.push(slot);
        self.len -= 1;
        Some(value)
    }

    /// All values with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let slots = self.chunks.iter().flat_map(|chunk| chunk.iter());
        slots.enumerate().filter_map(|(slot, value)| Some((slot as u32, value.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_and_values_stay_where_they_are() {
        let mut slab = Slab::default();
        let slots: Vec<u32> = (0..3000).map(|n| slab.insert(n)).collect();
        assert_eq!(slab.remove(slots[1500]), Some(1500));
        assert_eq!(slab.remove(slots[1500]), None);
        assert_eq!(slab.get(slots[2999]), Some(&2999));
        assert_eq!(slab.insert(7), slots[1500]);
        assert_eq!((slab.len(), slab.iter().count()), (3000, 3000));
        assert_eq!(slab.get(1_000_000), None);
    }
}
