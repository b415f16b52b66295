//! The strings of the index, stored in place while they are short: topic levels and most whole topics of a fleet fit 24
//! bytes. A box would cost them 16 bytes of pointer and length, the allocator's rounding, and one more cache miss at
//! every comparison.

use compact_str::CompactString;

/// A string of any length, never changed.
#[derive(Debug, Default)]
pub(super) struct Text(CompactString);

const _: () = assert!(size_of::<Option<Text>>() == 24);

impl Text {
    pub(super) fn new(text: &str) -> Self {
        Self(CompactString::new(text))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Bytes that it holds outside of itself.
    pub(super) fn heap_bytes(&self) -> usize {
        if self.0.is_heap_allocated() { self.0.capacity() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_elsewhere_is_counted() {
        for (len, held) in [(0, 0), (24, 0), (25, 32), (32, 32), (33, 33), (65_535, 65_535)] {
            let text = "x".repeat(len);
            assert_eq!((Text::new(&text).as_str(), Text::new(&text).heap_bytes()), (text.as_str(), held));
        }
    }
}
