//! Hashing: to check a password, and to make what a file stores.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, pbkdf2};

use super::stored::{Derivation, SHA512_BYTES, StoredPassword};
use std::num::NonZeroU32;

/// Memory that argon2id works in, kept by whoever hashes often: tens of megabytes, written all over each time.
#[derive(Default)]
pub struct HashMemory(Vec<Block>);

impl std::fmt::Debug for HashMemory {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HashMemory").field("blocks", &self.0.len()).finish()
    }
}

/// What new passwords are hashed with, with Mosquitto's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// argon2id at Mosquitto 2.1's cost.
    #[default]
    Argon2id,
    /// PBKDF2, for brokers before Mosquitto 2.1.
    Sha512Pbkdf2,
    /// One SHA-512, for brokers before Mosquitto 2.0.
    Sha512,
}

impl Scheme {
    /// As `-H` has it.
    pub const ALL: [(&'static str, Self); 3] =
        [("argon2id", Self::Argon2id), ("sha512-pbkdf2", Self::Sha512Pbkdf2), ("sha512", Self::Sha512)];

    const fn derivation(self) -> Derivation {
        match self {
            Self::Argon2id => Derivation::Argon2id { memory_kib: 47_104, passes: 1, lanes: 1 },
            // OWASP's figure for PBKDF2-HMAC-SHA512 (2023); a broker of Mosquitto's reads any.
            Self::Sha512Pbkdf2 => Derivation::Pbkdf2 { iterations: 210_000 },
            Self::Sha512 => Derivation::Sha512,
        }
    }

    /// Bytes of the salt, of those that are given: Mosquitto before 2.1 takes no others.
    const fn salt_len(self) -> usize {
        match self {
            Self::Argon2id => 16,
            Self::Sha512Pbkdf2 | Self::Sha512 => 12,
        }
    }
}

impl StoredPassword {
    /// Hashes a new password. `salt` is random.
    pub fn new(scheme: Scheme, password: &[u8], salt: [u8; SALT_BYTES]) -> Self {
        let (derivation, salt) = (scheme.derivation(), salt[..scheme.salt_len()].into());
        let bytes = if scheme == Scheme::Argon2id { 32 } else { SHA512_BYTES };
        let mut stored = Self { derivation, salt, hash: vec![0; bytes].into() };
        stored.hash = stored.derive(password, &mut HashMemory::default());
        stored
    }

    /// Whether this is the password. Takes as long as the scheme is expensive, whatever the answer.
    pub fn is_of(&self, password: &[u8], memory: &mut HashMemory) -> bool {
        verify_slices_are_equal(&self.derive(password, memory), &self.hash).is_ok()
    }

    /// The hash of `password` in the manner of this one.
    fn derive(&self, password: &[u8], memory: &mut HashMemory) -> Box<[u8]> {
        let mut derived = vec![0; self.hash.len()].into_boxed_slice();
        match self.derivation {
            Derivation::Sha512 => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(&self.salt);
                derived.copy_from_slice(context.finish().as_ref());
            }
            Derivation::Pbkdf2 { iterations } => {
                let iterations = NonZeroU32::new(iterations).expect("checked when it was read");
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, &self.salt, password, &mut derived);
            }
            Derivation::Argon2id { memory_kib, passes, lanes } => {
                let params = Params::new(memory_kib, passes, lanes, Some(derived.len()));
                let params = params.expect("costs and lengths were checked when they were read");
                let blocks = params.block_count();
                if memory.0.len() < blocks {
                    memory.0.resize(blocks, Block::default());
                }
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let hashed =
                    argon2.hash_password_into_with_memory(password, &self.salt, &mut derived, &mut memory.0[..blocks]);
                hashed.expect("a CONNECT holds no password that is too long, a file no salt that is too short");
            }
        }
        derived
    }
}

/// Random bytes that a new password takes; a scheme may use fewer of them.
pub const SALT_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `mosquitto_passwd` of Mosquitto 2.0.11 (-H sha512, -H sha512-pbkdf2) for the password `sesame`.
    const WRITTEN_BY_OTHERS: [&str; 2] = [SHA512, PBKDF2];
    const SHA512: &str =
        "$6$Ioi0S9tGiXMHzzzO$EUr3PQNM5tXvITZ/uVM8bn3TOECg4QGRZn9GwvFj0jmqXlztCGt0uNsajKU9jEzCn0UolIbXZsBlomJIavy73g==";
    const PBKDF2: &str = "$7$101$gwuvGomh9fmaQWOc$zYQW70d6BEeRTTon6nIMQqSMvkBHclqnwyzUpqvcgz/28AvYf0bt1O3OciHjKoHMFANqQxL/9AIM89rC4uTFpw==";

    #[test]
    fn passwords_that_others_hashed_are_known_again() {
        let mut memory = HashMemory::default();
        for text in WRITTEN_BY_OTHERS {
            let stored = StoredPassword::parse(text).unwrap();
            assert!(stored.is_of(b"sesame", &mut memory), "{text}");
            for wrong in [b"sesam".as_slice(), b"sesame ", b"", b"Sesame"] {
                assert!(!stored.is_of(wrong, &mut memory), "{text} {wrong:?}");
            }
        }
    }

    #[test]
    fn what_is_hashed_is_known_again_with_each_scheme() {
        let mut memory = HashMemory::default();
        for (name, scheme) in Scheme::ALL {
            let stored = StoredPassword::new(scheme, b"open", [9; SALT_BYTES]);
            let read = StoredPassword::parse(&stored.to_string()).unwrap();
            assert_eq!(read, stored, "{name}");
            assert!(read.is_of(b"open", &mut memory) && !read.is_of(b"shut", &mut memory), "{name}");
            let salted = StoredPassword::new(scheme, b"open", [8; SALT_BYTES]);
            assert_ne!(salted.hash, stored.hash, "{name}");
        }
    }

    #[test]
    fn argon2id_is_what_the_reference_computes() {
        // From the reference's own src/test.c.
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let stored = StoredPassword::parse(text).unwrap();
        assert!(stored.is_of(b"password", &mut HashMemory::default()));
    }
}
