//! How large packets of each connection may be. A connection has room for one byte, which names one of the bounds that there are.
//!
//! Always holds: no bound is above that of all clients; one that finds no place is that of all, and profiles name fewer.

use crate::limits::{CONNECT_SIZE_MAX_BYTES, PROFILES_MAX};

/// Names a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PacketBound(u8);

impl PacketBound {
    /// That of all clients.
    pub(super) const OF_ALL: Self = Self(0);
    /// That of a client in the middle of enhanced authentication: nobody knows it yet, and it may send little.
    pub(super) const AUTHENTICATING: Self = Self(u8::MAX);
}

/// Bounds that hold for some clients only.
#[derive(Debug, Default)]
pub(super) struct PacketBounds(Vec<u32>);

/// Bounds that have a name.
const NAMED_MAX: usize = u8::MAX as usize - 1;
const _: () = assert!(PROFILES_MAX < NAMED_MAX / 2, "a reload brings others, and a byte names them all");

impl PacketBounds {
    /// The bound of a client whose packets may have so many bytes, fixed header included.
    pub(super) fn name(&mut self, max_bytes: u32) -> PacketBound {
        let known = self.0.iter().position(|&known| known == max_bytes);
        match known {
            Some(at) => PacketBound(at as u8 + 1),
            None if self.0.len() < NAMED_MAX => {
                self.0.push(max_bytes);
                PacketBound(self.0.len() as u8)
            }
            None => PacketBound::OF_ALL,
        }
    }

    /// What a name stands for, in a broker that takes no larger packets than `most_bytes`.
    #[inline]
    pub(super) fn get(&self, bound: PacketBound, most_bytes: u32) -> u32 {
        match bound {
            PacketBound::OF_ALL => most_bytes,
            PacketBound::AUTHENTICATING => most_bytes.min(CONNECT_SIZE_MAX_BYTES),
            PacketBound(name) => self.0.get(usize::from(name) - 1).map_or(most_bytes, |&own| own.min(most_bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_names_and_none_is_above_that_of_all() {
        let mut bounds = PacketBounds::default();
        let (small, large) = (bounds.name(2_048), bounds.name(1 << 20));
        assert!(bounds.name(2_048) == small && small != large);
        let all = PacketBound::OF_ALL;
        assert_eq!((bounds.get(all, 4_096), bounds.get(small, 4_096), bounds.get(large, 4_096)), (4_096, 2_048, 4_096));
        assert_eq!(bounds.get(PacketBound::AUTHENTICATING, u32::MAX), CONNECT_SIZE_MAX_BYTES);
        for size in 0..1_000 {
            let bound = bounds.name(10_000 + size);
            let expected = if bound == all { 4_000_000 } else { 10_000 + size };
            assert_eq!(bounds.get(bound, 4_000_000), expected);
        }
        assert_eq!(bounds.name(2_048), small);
    }
}
