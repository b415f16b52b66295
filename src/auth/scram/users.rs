//! The users of a file: a line for each mechanism of each of them, and what unknown users are told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::stored::{Mechanism, StoredScram};
use crate::limits::{SCRAM_ITERATIONS, USERS_MAX};

/// Users and what is stored of them. There is at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramUsers {
    by_name: BTreeMap<Box<str>, [Option<Arc<StoredScram>>; Mechanism::ALL.len()]>,
    /// What the salts of unknown users follow from. It stands in the file, so that they outlive a restart as those of known users do.
    decoy_key: Box<[u8]>,
    /// How many iterations most users have.
    iterations: NonZeroU32,
}

/// Without the keys.
impl std::fmt::Debug for ScramUsers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ScramUsers").field("users", &self.by_name.len()).finish_non_exhaustive()
    }
}

/// Why a text is no file of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramUsersError {
    /// A line that cannot be read.
    #[error("line {0}: this is not `user:SCRAM-SHA-256$iterations:salt$key:key`, as dunlin passwd --scram writes it")]
    Line(usize),
    /// A user and mechanism that stand twice.
    #[error("line {0}: this user has a line for this mechanism already")]
    Twice(usize),
    /// No user at all.
    #[error("it names no user: was it cut short? With no user nobody could come in")]
    Empty,
    /// More than [`USERS_MAX`].
    #[error("it names more than {USERS_MAX} users")]
    TooMany,
}

/// Before the key from which the salts of unknown users follow.
const DECOYS: &str = "# decoys: ";

impl ScramUsers {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, ScramUsersError> {
        let mut by_name: BTreeMap<Box<str>, [Option<Arc<StoredScram>>; Mechanism::ALL.len()]> = BTreeMap::new();
        let mut decoy_key = None;
        let mut counts = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(key) = line.strip_prefix(DECOYS) {
                decoy_key = STANDARD.decode(key.trim()).ok().filter(|key| key.len() >= DECOY_KEY_BYTES);
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, stored) = line.split_once(":SCRAM-").ok_or(ScramUsersError::Line(number))?;
            let stored = StoredScram::parse(line[line.len() - stored.len() - 6..].trim_end())
                .ok_or(ScramUsersError::Line(number))?;
            if user.is_empty() {
                return Err(ScramUsersError::Line(number));
            }
            *counts.entry(stored.iterations).or_insert(0) += 1;
            let slot = &mut by_name.entry(user.into()).or_default()[stored.mechanism as usize];
            if slot.replace(Arc::new(stored)).is_some() {
                return Err(ScramUsersError::Twice(number));
            }
        }
        if by_name.len() > USERS_MAX {
            return Err(ScramUsersError::TooMany);
        }
        let (iterations, _) = counts.into_iter().max_by_key(|&(_, count)| count).ok_or(ScramUsersError::Empty)?;
        // A file that others wrote has no key: then it follows from all that is in it.
        let decoy_key = decoy_key.unwrap_or_else(|| digest(&SHA256, text.as_bytes()).as_ref().to_vec()).into();
        Ok(Self { by_name, decoy_key, iterations })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Never: a file without users is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// What is stored of a user, or what looks like it: then the proof is worth nothing.
    pub(super) fn find(&self, user: &str, mechanism: Mechanism) -> (Arc<StoredScram>, bool) {
        let known = self.by_name.get(user).and_then(|stored| stored[mechanism as usize].as_ref());
        // Made for known users as well, so that both take as long.
        let decoy = self.decoy(user, mechanism);
        known.map_or((decoy, false), |stored| (Arc::clone(stored), true))
    }

    fn decoy(&self, user: &str, mechanism: Mechanism) -> Arc<StoredScram> {
        let name = format!("{} {user}", mechanism.name());
        let derived = Mechanism::Sha512.sign(&self.decoy_key, name.as_bytes());
        let key = mechanism.sign(&self.decoy_key, &derived);
        Arc::new(StoredScram {
            mechanism,
            iterations: self.iterations,
            salt: derived[..SALT_BYTES].into(),
            stored_key: key.clone(),
            server_key: key,
        })
    }
}

/// Bytes of a salt that is written here.
const SALT_BYTES: usize = 16;
/// Bytes of the key from which salts of unknown users follow.
const DECOY_KEY_BYTES: usize = 32;
const _: () = assert!(SCRAM_ITERATIONS > 0);

/// Adds a user, or changes the password: a line for each mechanism. `random` makes salts, and the key of a new file.
pub fn set_scram_user(text: &str, user: &str, password: &str, mut random: impl FnMut() -> [u8; 32]) -> Option<String> {
    let is_odd = |c: char| c == ':' || c.is_control();
    if user.is_empty() || user.starts_with('#') || user.trim() != user || user.contains(is_odd) {
        return None;
    }
    let mut edited = without(text, user);
    if !edited.lines().any(|line| line.starts_with(DECOYS)) {
        edited.insert_str(0, &format!("{DECOYS}{}\n", STANDARD.encode(random())));
    }
    for mechanism in Mechanism::ALL {
        let stored = StoredScram::new(mechanism, password, &random()[..SALT_BYTES]);
        let _ = writeln!(edited, "{user}:{stored}");
    }
    Some(edited)
}

/// Takes a user out; `None` if there is none of that name.
pub fn delete_scram_user(text: &str, user: &str) -> Option<String> {
    let edited = without(text, user);
    (edited.lines().count() < text.lines().count()).then_some(edited)
}

fn without(text: &str, user: &str) -> String {
    let is_its = |line: &&str| !line.strip_prefix(user).is_some_and(|rest| rest.starts_with(":SCRAM-"));
    text.lines().filter(is_its).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> impl FnMut() -> [u8; 32] {
        let mut next = 0;
        move || {
            next += 1;
            [next; 32]
        }
    }

    fn file() -> String {
        let text = set_scram_user("# people\n", "ann", "a", random()).unwrap();
        set_scram_user(&text, "bob", "b", random()).unwrap()
    }

    #[test]
    fn users_are_added_changed_and_taken_out_and_the_rest_stays() {
        let text = file();
        let users = ScramUsers::parse(&text).unwrap();
        assert_eq!((users.len(), text.lines().count()), (2, 6));
        assert!(text.starts_with("# decoys: ") && text.contains("\n# people\nann:SCRAM-SHA-256$15000:"), "{text}");
        let changed = set_scram_user(&text, "ann", "other", random()).unwrap();
        assert_ne!(ScramUsers::parse(&changed).unwrap(), users);
        assert_eq!(changed.lines().count(), 6);
        let gone = delete_scram_user(&changed, "ann").unwrap();
        assert_eq!((gone.lines().count(), delete_scram_user(&gone, "ann")), (4, None));
        for name in ["", "#x", " x", "a:b", "a\nb"] {
            assert_eq!(set_scram_user("", name, "x", random()), None);
        }
    }

    #[test]
    fn an_unknown_user_gets_a_salt_that_stays_and_is_like_others() {
        let text = file();
        let (users, again) = (ScramUsers::parse(&text).unwrap(), ScramUsers::parse(&text).unwrap());
        let grown = ScramUsers::parse(&set_scram_user(&text, "eve", "e", random()).unwrap()).unwrap();
        for mechanism in Mechanism::ALL {
            let (known, is_known) = users.find("ann", mechanism);
            let (decoy, decoy_is_known) = users.find("mallory", mechanism);
            assert!(is_known && !decoy_is_known);
            assert_eq!((decoy.salt.len(), decoy.iterations), (known.salt.len(), known.iterations));
            for other in [&again, &grown] {
                assert_eq!(
                    other.find("mallory", mechanism).0,
                    decoy,
                    "after a restart, and after a change of the file"
                );
            }
            assert_ne!(users.find("trudy", mechanism).0.salt, decoy.salt);
        }
    }

    #[test]
    fn a_file_with_anything_wrong_is_no_file() {
        let text = file();
        let line = text.lines().find(|line| line.starts_with("ann:SCRAM-SHA-256")).unwrap();
        for (text, error) in [
            (String::new(), ScramUsersError::Empty),
            ("# nobody\n".into(), ScramUsersError::Empty),
            (format!("{line}\nbob\n"), ScramUsersError::Line(2)),
            (format!("{line}\nbob:$6$x$y\n"), ScramUsersError::Line(2)),
            (line[3..].to_owned(), ScramUsersError::Line(1)),
            (line[..line.len() - 5].to_owned(), ScramUsersError::Line(1)),
            (format!("{line}\n{line}\n"), ScramUsersError::Twice(2)),
        ] {
            assert_eq!(ScramUsers::parse(&text).map(|_| ()), Err(error), "{text}");
        }
    }
}
