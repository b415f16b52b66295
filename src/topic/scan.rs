//! Looking for single bytes eight at a time. Every PUBLISH is checked and cut into levels, and a byte at a time that
//! costs more instructions than the rest of an exact match.

const WORD: usize = size_of::<u64>();
const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// What a topic consists of besides text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) slashes: usize,
    pub(super) has_nul: bool,
    /// `+` or `#` anywhere.
    pub(super) has_wildcard: bool,
}

/// Counts slashes and looks for the bytes that are forbidden or have a meaning.
pub(super) fn census(bytes: &[u8]) -> Census {
    let (mut slashes, mut nul, mut wildcard) = (0, 0, 0);
    for word in words(bytes) {
        nul |= zeros(word);
        wildcard |= zeros(word ^ each(b'+')) | zeros(word ^ each(b'#'));
        // One bit a byte; the multiplication adds them up in the highest byte.
        slashes += ((zeros(word ^ each(b'/')) >> 7).wrapping_mul(LOW) >> 56) as usize;
    }
    Census { slashes, has_nul: nul != 0, has_wildcard: wildcard != 0 }
}

/// Where the first slash is, or the length.
#[inline]
pub(super) fn first_slash(bytes: &[u8]) -> usize {
    for (number, word) in words(bytes).enumerate() {
        let slashes = zeros(word ^ each(b'/'));
        if slashes != 0 {
            return number * WORD + slashes.trailing_zeros() as usize / 8;
        }
    }
    bytes.len()
}

/// The bytes in words, the last filled up with spaces.
#[inline]
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = bytes.as_chunks::<WORD>();
    let last =
        (!rest.is_empty()).then(|| rest.iter().rev().fold(each(b' '), |word, &byte| word << 8 | u64::from(byte)));
    whole.iter().map(|word| u64::from_le_bytes(*word)).chain(last)
}

/// A word of nothing else.
const fn each(byte: u8) -> u64 {
    LOW * byte as u64
}

/// The highest bit of each byte that is zero, and no other.
#[inline]
const fn zeros(word: u64) -> u64 {
    !(((word & !HIGH) + !HIGH) | word) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_agree_with_bytes() {
        let mut random = 1_u64;
        for len in (0..40).chain(0..40).chain([1_000]) {
            let bytes: Vec<u8> = (0..len)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    // Neighbours of what is looked for, and bytes with the highest bit set.
                    b"a.0/*,+\"$#\0\x01\x80\xff\xaf "[(random >> 60) as usize]
                })
                .collect();
            // Every tail, so that each byte comes first once and the interesting ones are missing in some.
            for start in 0..=bytes.len() {
                let bytes = &bytes[start..];
                let expected = Census {
                    slashes: bytes.split(|byte| *byte == b'/').count() - 1,
                    has_nul: bytes.contains(&0),
                    has_wildcard: bytes.contains(&b'+') || bytes.contains(&b'#'),
                };
                assert_eq!(census(bytes), expected, "{bytes:?}");
                let slash = bytes.iter().position(|byte| *byte == b'/').unwrap_or(bytes.len());
                assert_eq!(first_slash(bytes), slash, "{bytes:?}");
            }
        }
    }
}
