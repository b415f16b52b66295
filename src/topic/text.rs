//! Short strings stored in place. Topic levels and most whole topics of a fleet fit 22 bytes; a box would cost them 16
//! bytes of pointer and length, the allocator's rounding, and one more cache miss at every comparison.

/// Bytes that fit without an allocation: what makes a `Text` as large as a boxed slice and its tag, 24 bytes.
const INLINE_BYTES_MAX: usize = 22;

/// A string of any length, never changed.
#[derive(Debug)]
pub(super) enum Text {
    /// The first `len` of `bytes`.
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    /// A longer one.
    Heap(Box<[u8]>),
}

const _: () = assert!(size_of::<Text>() == 24);

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES_MAX];
        match bytes.get_mut(..text.len()) {
            Some(start) => {
                start.copy_from_slice(text.as_bytes());
                Self::Inline { len: text.len() as u8, bytes }
            }
            None => Self::Heap(text.as_bytes().into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a Text is made from a str")
    }

    /// Bytes that it holds outside of itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Inline { .. } => 0,
            Self::Heap(bytes) => bytes.len(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Inline { len: 0, bytes: [0; INLINE_BYTES_MAX] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_whatever_its_length() {
        for len in [0, 1, 21, 22, 23, 300, 65_535] {
            let text = "x".repeat(len);
            let stored = Text::new(&text);
            assert_eq!(stored.as_str(), text);
            assert_eq!(stored.heap_bytes(), if len > 22 { len } else { 0 });
        }
    }
}
