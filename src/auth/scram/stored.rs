//! What is stored of one user for one mechanism.
//!
//! ```text
//! SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
//! ```
//! Salt and keys are base64: what RFC 5803 stores, as `PostgreSQL` writes it.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits::{PBKDF2_ITERATIONS_MAX, SCRAM_ITERATIONS, SCRAM_ITERATIONS_MIN, STORED_HASH_MAX_BYTES};

/// A hash that SCRAM is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl Mechanism {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// As IANA lists it, and as CONNECT names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The mechanism of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    /// Bytes of a key.
    pub(super) const fn key_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// HMAC of `data` under `key`.
    pub(super) fn sign(self, key: &[u8], data: &[u8]) -> Box<[u8]> {
        hmac::sign(&hmac::Key::new(self.hmac(), key), data).as_ref().into()
    }

    /// SHA-256 or SHA-512 of `data`.
    pub(super) fn hash(self, data: &[u8]) -> Box<[u8]> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().into()
    }

    /// `Hi` of RFC 5802: the password, salted.
    pub(super) fn salt_password(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Box<[u8]> {
        let algorithm = match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = vec![0; self.key_len()].into_boxed_slice();
        pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
        salted
    }
}

/// See the module's text.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredScram {
    pub(super) mechanism: Mechanism,
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Box<[u8]>,
    pub(super) stored_key: Box<[u8]>,
    pub(super) server_key: Box<[u8]>,
}

/// Without the keys.
impl fmt::Debug for StoredScram {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StoredScram").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl StoredScram {
    /// Of a new password. `salt` is random.
    pub fn new(mechanism: Mechanism, password: &str, salt: &[u8]) -> Self {
        const { assert!(SCRAM_ITERATIONS >= SCRAM_ITERATIONS_MIN) };
        let iterations = NonZeroU32::new(SCRAM_ITERATIONS).expect("it is more than none");
        Self::derive(mechanism, password, salt, iterations)
    }

    /// With a cost of somebody else's choice.
    pub(super) fn derive(mechanism: Mechanism, password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        // What cannot be prepared is taken as it is, as RFC 5802 leaves open for passwords that are no text of today.
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let salted = mechanism.salt_password(prepared.as_bytes(), salt, iterations);
        let stored_key = mechanism.hash(&mechanism.sign(&salted, b"Client Key"));
        let server_key = mechanism.sign(&salted, b"Server Key");
        Self { mechanism, iterations, salt: salt.into(), stored_key, server_key }
    }

    /// Reads the text of a file; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (mechanism, rest) = text.split_once('$')?;
        let mechanism = Mechanism::named(mechanism)?;
        let (costs, keys) = rest.split_once('$')?;
        let ((iterations, salt), (stored, server)) = (costs.split_once(':')?, keys.split_once(':')?);
        let is_number = !iterations.is_empty() && iterations.bytes().all(|byte| byte.is_ascii_digit());
        let iterations = iterations
            .parse()
            .ok()
            .filter(|count| is_number && (SCRAM_ITERATIONS_MIN..=PBKDF2_ITERATIONS_MAX).contains(count))?;
        let decode = |text: &str| STANDARD.decode(text).ok();
        let (salt, stored_key, server_key) = (decode(salt)?, decode(stored)?, decode(server)?);
        let has_lengths = (8..=STORED_HASH_MAX_BYTES).contains(&salt.len())
            && stored_key.len() == mechanism.key_len()
            && server_key.len() == mechanism.key_len();
        has_lengths.then(|| Self {
            mechanism,
            iterations: NonZeroU32::new(iterations).expect("it is not below the least"),
            salt: salt.into(),
            stored_key: stored_key.into(),
            server_key: server_key.into(),
        })
    }
}

impl fmt::Display for StoredScram {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mechanism, iterations, salt, stored_key, server_key } = self;
        let (salt, stored, server) = (STANDARD.encode(salt), STANDARD.encode(stored_key), STANDARD.encode(server_key));
        write!(out, "{}${iterations}:{salt}${stored}:{server}", mechanism.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_anything_else_is_not() {
        for mechanism in Mechanism::ALL {
            let stored = StoredScram::new(mechanism, "pencil", b"0123456789abcdef");
            let text = stored.to_string();
            assert_eq!(StoredScram::parse(&text), Some(stored));
            for broken in [
                text.replace("SCRAM", "SCRUM"),
                text.replace('$', ":"),
                text.replace("15000", "4095"),
                text.replace("15000", "+15000"),
                text.replace("15000", "99999999999"),
                text[..text.len() - 4].to_owned(),
                text.replace(':', "?"),
                String::new(),
            ] {
                assert_eq!(StoredScram::parse(&broken), None, "{broken}");
            }
        }
    }

    /// Of the password, the salt and the iterations of RFC 7677, 3, which gives the exchange and not the keys: others compute these.
    #[test]
    fn keys_are_those_of_the_specification() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let stored = StoredScram::derive(Mechanism::Sha256, "pencil", &salt, NonZeroU32::new(4_096).unwrap());
        assert_eq!(STANDARD.encode(&stored.stored_key), "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
        assert_eq!(STANDARD.encode(&stored.server_key), "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
    }

    #[test]
    fn a_password_is_prepared_as_clients_prepare_it() {
        let salt = b"0123456789abcdef";
        let stored =
            |password: &str| StoredScram::derive(Mechanism::Sha256, password, salt, NonZeroU32::new(4_096).unwrap());
        // RFC 4013, 3: a soft hyphen is mapped to nothing, a compatibility character to what it stands for.
        assert_eq!(stored("I\u{ad}X"), stored("IX"));
        assert_eq!(stored("\u{2168}"), stored("IX"));
        assert_ne!(stored("ix"), stored("IX"));
    }
}
