//! One stored password, as text and as what is computed with it.
//!
//! ```text
//! $6$<salt>$<hash>                               SHA-512 of password and salt (Mosquitto 1.6 and before)
//! $7$<iterations>$<salt>$<hash>                  PBKDF2-HMAC-SHA512 (Mosquitto 2.0)
//! $argon2id$v=19$m=<KiB>,t=<n>,p=<n>$<salt>$<hash>    argon2id (Mosquitto 2.1, and what is written here)
//! ```
//! Salts and hashes are base64, padded in the first two and not in the third (PHC string format).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_MAX_KIB, ARGON2_PASSES_MAX, PBKDF2_ITERATIONS_MAX, STORED_HASH_MAX_BYTES,
};

/// How a stored password was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Derivation {
    /// One SHA-512. Fast, so easy to guess from a file that leaks; read because old files hold it.
    Sha512,
    /// PBKDF2 with HMAC-SHA512.
    Pbkdf2 {
        /// Rounds.
        iterations: u32,
    },
    /// argon2id, version 1.3.
    Argon2id {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
        /// How many parts of the memory could be filled side by side.
        lanes: u32,
    },
}

/// A password as a file holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPassword {
    pub(super) derivation: Derivation,
    pub(super) salt: Box<[u8]>,
    pub(super) hash: Box<[u8]>,
}

/// Why a text is no stored password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// It does not begin with `$`.
    #[error("the password is not hashed: `dunlin passwd -U FILE` hashes all of a file's")]
    Plain,
    /// Another scheme.
    #[error("the scheme is none of $6$, $7$ and $argon2id$")]
    UnknownScheme,
    /// Parts are missing, or too many.
    #[error("a part of the hash is missing or too many: was the line cut short?")]
    Parts,
    /// A part is no base64.
    #[error("salt or hash is no base64")]
    Base64,
    /// Salt or hash have another length than the scheme's.
    #[error("salt or hash have a length that the scheme does not have")]
    Length,
    /// Costs that are no numbers, or beyond what a broker should spend on one login.
    #[error("the costs are no numbers, or higher than one login may cost")]
    Costs,
}

impl StoredPassword {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, StoredError> {
        let rest = text.strip_prefix('$').ok_or(StoredError::Plain)?;
        let (scheme, rest) = rest.split_once('$').ok_or(StoredError::UnknownScheme)?;
        let parts: Vec<&str> = rest.split('$').collect();
        match (scheme, parts.as_slice()) {
            ("6", [salt, hash]) => Self::of_sha512(Derivation::Sha512, salt, hash),
            ("7", [iterations, salt, hash]) => {
                let iterations = cost(iterations, 1, PBKDF2_ITERATIONS_MAX)?;
                Self::of_sha512(Derivation::Pbkdf2 { iterations }, salt, hash)
            }
            ("argon2id", ["v=19", costs, salt, hash]) => Self::of_argon2id(costs, salt, hash),
            ("6" | "7" | "argon2id", _) => Err(StoredError::Parts),
            _ => Err(StoredError::UnknownScheme),
        }
    }

    /// What it was hashed with.
    pub(in crate::auth) fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// What came of it.
    pub(in crate::auth) fn hash(&self) -> &[u8] {
        &self.hash
    }

    fn of_sha512(derivation: Derivation, salt: &str, hash: &str) -> Result<Self, StoredError> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| StoredError::Base64);
        let (salt, hash) = (decode(salt)?, decode(hash)?);
        // 12 bytes by Mosquitto 2.0 and before, 64 since.
        if !matches!(salt.len(), 12 | 64) || hash.len() != SHA512_BYTES {
            return Err(StoredError::Length);
        }
        Ok(Self { derivation, salt: salt.into(), hash: hash.into() })
    }

    fn of_argon2id(costs: &str, salt: &str, hash: &str) -> Result<Self, StoredError> {
        let costs: Vec<&str> = costs.split(',').collect();
        let [memory, passes, lanes] = costs[..] else { return Err(StoredError::Costs) };
        let number =
            |text: &str, name: &str, least, most| cost(text.strip_prefix(name).ok_or(StoredError::Costs)?, least, most);
        let lanes = number(lanes, "p=", 1, ARGON2_LANES_MAX)?;
        let derivation = Derivation::Argon2id {
            memory_kib: number(memory, "m=", 8 * lanes, ARGON2_MEMORY_MAX_KIB)?,
            passes: number(passes, "t=", 1, ARGON2_PASSES_MAX)?,
            lanes,
        };
        let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| StoredError::Base64);
        let (salt, hash) = (decode(salt)?, decode(hash)?);
        if !(8..=STORED_HASH_MAX_BYTES).contains(&salt.len()) || !(16..=STORED_HASH_MAX_BYTES).contains(&hash.len()) {
            return Err(StoredError::Length);
        }
        Ok(Self { derivation, salt: salt.into(), hash: hash.into() })
    }
}

/// The text for a file.
impl fmt::Display for StoredPassword {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, hash) = (&self.salt, &self.hash);
        match self.derivation {
            Derivation::Sha512 => write!(out, "$6${}${}", STANDARD.encode(salt), STANDARD.encode(hash)),
            Derivation::Pbkdf2 { iterations } => {
                write!(out, "$7${iterations}${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            Derivation::Argon2id { memory_kib, passes, lanes } => {
                let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
                write!(out, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
            }
        }
    }
}

/// Without salt and hash.
impl fmt::Debug for StoredPassword {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StoredPassword").field("derivation", &self.derivation).finish_non_exhaustive()
    }
}

fn cost(text: &str, least: u32, most: u32) -> Result<u32, StoredError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_number && (least..=most).contains(number));
    number.ok_or(StoredError::Costs)
}

pub(super) const SHA512_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &str = "AAECAwQFBgcICQoL";

    fn hash() -> String {
        STANDARD.encode([7; 64])
    }

    #[test]
    fn what_is_read_is_written_again() {
        let hash = hash();
        let bare = hash.trim_end_matches('=');
        for text in [
            format!("$6${SALT}${hash}"),
            format!("$7$101${SALT}${hash}"),
            format!("$7$1000${hash}${hash}"),
            format!("$argon2id$v=19$m=47104,t=1,p=1${bare}${bare}"),
        ] {
            assert_eq!(StoredPassword::parse(&text).map(|stored| stored.to_string()), Ok(text));
        }
    }

    #[test]
    fn what_is_no_stored_password_says_why() {
        let hash = hash();
        let bare = hash.trim_end_matches('=').to_owned();
        let argon2 = |costs: &str| format!("$argon2id$v=19${costs}${bare}${bare}");
        let table = [
            (String::new(), StoredError::Plain),
            ("secret".into(), StoredError::Plain),
            ("$".into(), StoredError::UnknownScheme),
            ("$6".into(), StoredError::UnknownScheme),
            (format!("$1${SALT}${hash}"), StoredError::UnknownScheme),
            (format!("$2b$12${SALT}"), StoredError::UnknownScheme),
            (format!("$6${SALT}"), StoredError::Parts),
            (format!("$6${SALT}${hash}$"), StoredError::Parts),
            (format!("$7${SALT}${hash}"), StoredError::Parts),
            (format!("$argon2id$v=16$m=8,t=1,p=1${bare}${bare}"), StoredError::Parts),
            (format!("$6${SALT}${}", &hash[..20]), StoredError::Length),
            (format!("$6$AAAA${hash}"), StoredError::Length),
            (format!("$6$?${hash}"), StoredError::Base64),
            (format!("$7$0${SALT}${hash}"), StoredError::Costs),
            (format!("$7$-1${SALT}${hash}"), StoredError::Costs),
            (format!("$7$+1${SALT}${hash}"), StoredError::Costs),
            (format!("$7$99999999999${SALT}${hash}"), StoredError::Costs),
            (argon2("m=8,t=1"), StoredError::Costs),
            (argon2("m=7,t=1,p=1"), StoredError::Costs),
            (argon2("m=4294967295,t=1,p=1"), StoredError::Costs),
            (argon2("m=64,t=0,p=1"), StoredError::Costs),
            (argon2("m=64,t=1,p=0"), StoredError::Costs),
            (argon2("m=64,t=65,p=1"), StoredError::Costs),
            (argon2("m=8192,t=1,p=65"), StoredError::Costs),
            (format!("$argon2id$v=19$m=8,t=1,p=1${bare}${}", "A".repeat(174)), StoredError::Length),
            (argon2("t=1,m=64,p=1"), StoredError::Costs),
        ];
        for (text, error) in table {
            assert_eq!(StoredPassword::parse(&text).map(|_| ()), Err(error), "{text}");
        }
    }
}
