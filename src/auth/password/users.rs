//! The users of a password file.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::hash::HashMemory;
use super::stored::{StoredError, StoredPassword};
use crate::limits::USERS_MAX;

/// Users and their passwords. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users {
    by_name: BTreeMap<Box<str>, Arc<StoredPassword>>,
    /// All stored passwords: what somebody who is not known is checked against.
    decoys: Vec<Arc<StoredPassword>>,
    /// Which of them, nobody outside can tell.
    decoy_key: (u64, u64),
}

/// A password to be checked. This is what takes time.
#[derive(Clone)]
pub struct PasswordCheck {
    stored: Arc<StoredPassword>,
    password: Box<[u8]>,
    is_known: bool,
}

/// Without the password.
impl std::fmt::Debug for PasswordCheck {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PasswordCheck").field("stored", &self.stored).finish_non_exhaustive()
    }
}

/// Why a text is no password file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// A line cannot be read.
    #[error("line {line}: {error}")]
    Stored {
        /// From 1 on.
        line: usize,
        /// What is wrong.
        error: StoredError,
    },
    /// A line is no `user:password`.
    #[error("line {0}: this is not `user:hashed password`")]
    NoPair(usize),
    /// A user name that stands twice.
    #[error("line {line}: {user:?} stands in line {first} already")]
    Twice {
        /// From 1 on.
        line: usize,
        /// The line before.
        first: usize,
        /// Who.
        user: Box<str>,
    },
    /// No user at all.
    #[error("it names no user: was it cut short? With no user nobody could come in")]
    Empty,
    /// More than [`USERS_MAX`].
    #[error("it names more than {USERS_MAX} users")]
    TooMany,
}

/// A line of a password file: nothing, or a user with the text of the password.
pub(super) fn split_line(line: &str) -> Option<Result<(&str, &str), ()>> {
    let line = line.trim_end_matches(['\r', '\n']);
    if line.trim().is_empty() || line.starts_with('#') {
        return None;
    }
    let pair = line.split_once(':').map(|(user, stored)| (user.trim(), stored.trim()));
    Some(pair.filter(|(user, stored)| !user.is_empty() && !stored.is_empty()).ok_or(()))
}

impl Users {
    /// Reads the text of a password file. `decoy_key` is random.
    pub fn parse(text: &str, decoy_key: (u64, u64)) -> Result<Self, UsersError> {
        let mut by_name = BTreeMap::new();
        let mut lines = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let Some(pair) = split_line(text) else { continue };
            let (user, stored) = pair.map_err(|()| UsersError::NoPair(line))?;
            let stored = StoredPassword::parse(stored).map_err(|error| UsersError::Stored { line, error })?;
            if let Some(first) = lines.insert(user, line) {
                return Err(UsersError::Twice { line, first, user: user.into() });
            }
            by_name.insert(user.into(), Arc::new(stored));
        }
        if by_name.is_empty() {
            return Err(UsersError::Empty);
        }
        if by_name.len() > USERS_MAX {
            return Err(UsersError::TooMany);
        }
        let decoys = by_name.values().cloned().collect();
        Ok(Self { by_name, decoys, decoy_key })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Never: a file without users is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// What a user's password is stored as.
    pub fn get(&self, user: &str) -> Option<&Arc<StoredPassword>> {
        self.by_name.get(user)
    }

    /// The check of a password. For somebody who is not known it is as expensive as for somebody who is: the same name always
    /// meets the same decoy.
    pub fn check(&self, user: &str, password: &[u8]) -> PasswordCheck {
        let known = self.get(user);
        let stored = known.cloned().unwrap_or_else(|| {
            let mut hasher = SipHasher13::new_with_keys(self.decoy_key.0, self.decoy_key.1);
            hasher.write(user.as_bytes());
            let at = hasher.finish() % self.decoys.len() as u64;
            Arc::clone(&self.decoys[at as usize])
        });
        PasswordCheck { stored, password: password.into(), is_known: known.is_some() }
    }
}

impl PasswordCheck {
    /// Whether the user is one of the file's. Not to be told to anybody outside.
    pub const fn is_of_known_user(&self) -> bool {
        self.is_known
    }

    /// What it is checked against.
    pub const fn stored(&self) -> &Arc<StoredPassword> {
        &self.stored
    }

    /// What is checked.
    pub const fn password(&self) -> &[u8] {
        &self.password
    }

    /// The same without what is checked, to be kept.
    pub(in crate::auth) fn without_password(&self) -> Self {
        Self { stored: Arc::clone(&self.stored), password: Box::default(), is_known: self.is_known }
    }

    /// Hashes, and says whether it is the password of that user.
    pub fn run(&self, memory: &mut HashMemory) -> bool {
        self.stored.is_of(&self.password, memory) && self.is_known
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::{SALT_BYTES, Scheme};
    use super::*;

    fn line(user: &str, password: &str) -> String {
        format!("{user}:{}\n", StoredPassword::new(Scheme::Sha512, password.as_bytes(), [1; SALT_BYTES]))
    }

    fn users(text: &str) -> Result<Users, UsersError> {
        Users::parse(text, (1, 2))
    }

    #[test]
    fn users_are_read_with_remarks_and_blank_lines_between_them() {
        let text = format!("# people\n\n{}\r\n{}", line("ann", "a").trim(), line(" bob ", "b"));
        let users = users(&text).unwrap();
        assert_eq!(users.len(), 2);
        let mut memory = HashMemory::default();
        assert!(users.check("ann", b"a").run(&mut memory));
        assert!(users.check("bob", b"b").run(&mut memory));
        for (user, password) in [("ann", "b"), ("bob", "a"), ("eve", "a"), ("", "a"), ("ann", "")] {
            assert!(!users.check(user, password.as_bytes()).run(&mut memory), "{user} {password}");
        }
    }

    #[test]
    fn a_file_with_anything_wrong_is_no_file() {
        let good = line("ann", "a");
        let table = [
            (String::new(), "it names no user"),
            ("# nothing\n\n".into(), "it names no user"),
            (format!("{good}bob\n"), "line 2: this is not `user:hashed password`"),
            (format!("{good}:x\n"), "line 2: this is not"),
            (format!("{good}bob:\n"), "line 2: this is not"),
            (format!("{good}bob:secret\n"), "line 2: the password is not hashed: `dunlin passwd -U FILE`"),
            (good[..good.len() - 8].to_owned(), "line 1: salt or hash is no base64"),
            (good[..good.len() - 9].to_owned(), "line 1: salt or hash have a length"),
            (format!("{good}{good}"), "line 2: \"ann\" stands in line 1 already"),
        ];
        for (text, expected) in table {
            let error = users(&text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn somebody_unknown_meets_one_and_the_same_of_the_files_passwords() {
        let pbkdf2 = |user: &str| {
            format!("{user}:{}\n", StoredPassword::new(Scheme::Sha512Pbkdf2, user.as_bytes(), [1; SALT_BYTES]))
        };
        let users = users(&format!("{}{}", line("ann", "a"), pbkdf2("bob"))).unwrap();
        let decoys: Vec<_> = (0..64).map(|n| users.check(&format!("nobody-{n}"), b"x").stored().clone()).collect();
        let slow = decoys.iter().filter(|stored| stored.to_string().starts_with("$7$")).count();
        assert!((16..48).contains(&slow), "unknown users cost what known ones cost on the average: {slow} of 64");
        for (n, decoy) in decoys.iter().enumerate() {
            assert_eq!(users.check(&format!("nobody-{n}"), b"y").stored(), decoy);
        }
        // The decoy's own password opens nothing.
        let mut memory = HashMemory::default();
        assert!((0..64).all(|n| !users.check(&format!("nobody-{n}"), b"a").run(&mut memory)));
    }
}
