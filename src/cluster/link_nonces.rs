//! Nonces for HELLOs, made of a seed that nobody else knows.
//!
//! Always holds: no two are the same, and none can be told before it was sent: whoever knew that of this node could have a proof made for it elsewhere.
//! Leaves to others: where the seed comes from. It is random and of one shard of one process alone.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::link_frame::LINK_NONCE_BYTES;

/// See the module's text.
#[derive(Clone)]
pub struct LinkNonces {
    seed: [u8; 32],
    count: u64,
}

impl std::fmt::Debug for LinkNonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkNonces({})", self.count)
    }
}

impl LinkNonces {
    /// Of 32 random bytes.
    pub const fn new(seed: [u8; 32]) -> Self {
        Self { seed, count: 0 }
    }

    /// One that was never used.
    pub fn take(&mut self) -> [u8; LINK_NONCE_BYTES] {
        self.count += 1;
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(&self.seed).expect("HMAC takes a key of any length");
        mac.update(&self.count.to_le_bytes());
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nonce_comes_twice_and_none_shows_the_seed() {
        let (mut nonces, mut others) = (LinkNonces::new([7; 32]), LinkNonces::new([8; 32]));
        let mut seen: Vec<_> = (0..100).flat_map(|_| [nonces.take(), others.take()]).collect();
        assert!(!seen.contains(&[7; 32]));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 200);
        assert_eq!(format!("{nonces:?}"), "LinkNonces(100)");
    }
}
