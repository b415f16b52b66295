//! Numbers that nobody outside can guess.

/// A number that nobody outside can guess: std keys its hash maps from the system's random source.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
