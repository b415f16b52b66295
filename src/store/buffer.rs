//! Memory that a disk takes without copying: aligned to blocks, and whole blocks long.

use crate::limits::STORE_BLOCK_BYTES;
use std::ops::Range;

/// See the module's text. It grows by doubling, and keeps its size when it is emptied.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    /// Longer than is used, so that an aligned part of it can be.
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl WriteBuffer {
    /// Bytes in use.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is in use.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it has without growing.
    pub fn capacity(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// Appends bytes.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.reserve(end);
        self.bytes[self.start..][self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Makes it `len` bytes long, with zeros where it grows.
    pub fn resize(&mut self, len: usize) {
        self.reserve(len);
        if len > self.len {
            self.bytes[self.start..][self.len..len].fill(0);
        }
        self.len = len;
    }

    /// What is in it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }

    /// Takes it apart: an allocation, and where in it the aligned bytes are.
    pub fn into_parts(self) -> (Vec<u8>, Range<usize>) {
        (self.bytes, self.start..self.start + self.len)
    }

    /// An empty one with the memory of an earlier one.
    pub fn reuse(bytes: Vec<u8>) -> Self {
        let start = bytes.as_ptr().align_offset(STORE_BLOCK_BYTES);
        if start > bytes.len() { Self::default() } else { Self { bytes, start, len: 0 } }
    }

    fn reserve(&mut self, len: usize) {
        if len <= self.capacity() {
            return;
        }
        let capacity = len.next_power_of_two().max(16 * STORE_BLOCK_BYTES);
        let bytes = vec![0; capacity + STORE_BLOCK_BYTES - 1];
        let start = bytes.as_ptr().align_offset(STORE_BLOCK_BYTES);
        let old = std::mem::replace(self, Self { bytes, start, len: 0 });
        self.bytes[start..start + old.len].copy_from_slice(&old.bytes[old.start..][..old.len]);
        self.len = old.len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_whatever_it_holds_and_keeps_it_while_it_grows() {
        let mut buffer = WriteBuffer::default();
        let mut model = Vec::new();
        for round in 0..2_000_usize {
            let piece = vec![round as u8; 1 + round % 700];
            buffer.extend(&piece);
            model.extend_from_slice(&piece);
            assert!(buffer.bytes_mut().as_ptr().align_offset(STORE_BLOCK_BYTES) == 0);
        }
        assert_eq!(buffer.bytes_mut(), model);
        buffer.resize(model.len() + 10);
        assert_eq!(buffer.bytes_mut()[model.len()..], [0; 10]);
        let capacity = buffer.capacity();
        let (bytes, range) = buffer.into_parts();
        assert_eq!(bytes[range][..model.len()], model);
        let again = WriteBuffer::reuse(bytes);
        assert_eq!((again.len(), again.capacity()), (0, capacity));
        assert_eq!(WriteBuffer::reuse(Vec::new()).capacity(), 0);
    }
}
