//! Who may use the admin API: a file of its own, apart from the users of MQTT.
//!
//! ```text
//! # name:role:stored password, or key$ and the SHA-256 of an API key
//! ann:operator:$argon2id$v=19$m=47104,t=1,p=1$...
//! prometheus:viewer:key$3q2+7w...
//! ```
//! Always holds: a file with one line that cannot be read, or with nobody in it, is none; what is compared is compared in constant
//! time; whoever is not known costs what a known user costs; `Debug` shows no hash.
//! Leaves to others: files, randomness, on which thread a password is hashed.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::password::{HashMemory, StoredError, StoredPassword};
use crate::limits::ADMIN_USERS_MAX;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Look, and change what the broker does.
    Operator,
}

impl Role {
    /// As files and answers have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator].into_iter().find(|role| role.name() == name)
    }
}

/// What proves that it is somebody.
#[derive(Clone, PartialEq, Eq)]
enum StoredSecret {
    /// Of a person.
    Password(Arc<StoredPassword>),
    /// SHA-256 of an API key: 256 random bits need no slow hash.
    Key([u8; 32]),
}

/// One who may use the API.
#[derive(Clone, PartialEq, Eq)]
struct AdminEntry {
    name: Box<str>,
    role: Role,
    secret: StoredSecret,
}

/// All who may use the API. There is at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminUsers(Vec<AdminEntry>);

/// Without secrets.
impl fmt::Debug for AdminUsers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.iter().map(|entry| (&entry.name, entry.role))).finish()
    }
}

/// Why a text is no file of admin users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminUsersError {
    /// A line with other parts.
    #[error("line {0}: this is not `name:role:secret`, as `dunlin passwd --admin` writes it")]
    Parts(usize),
    /// A role that there is not.
    #[error("line {0}: the role is viewer or operator")]
    Role(usize),
    /// A password that cannot be read.
    #[error("line {line}: {error}")]
    Password {
        /// From 1 on.
        line: usize,
        /// What is wrong.
        error: StoredError,
    },
    /// A key that is no SHA-256 in base64.
    #[error("line {0}: behind key$ there are the 32 bytes of a SHA-256 in base64")]
    Key(usize),
    /// A name that stands twice.
    #[error("line {0}: the name stands above already")]
    Twice(usize),
    /// Nobody.
    #[error("it names nobody: was it cut short?")]
    Empty,
    /// More than [`ADMIN_USERS_MAX`].
    #[error("it names more than {ADMIN_USERS_MAX}")]
    TooMany,
}

/// Somebody who has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminIdentity {
    /// As in the file.
    pub name: Box<str>,
    /// What it may do.
    pub role: Role,
}

/// Somebody who has shown a password, and what it was compared with.
#[derive(Clone, Debug)]
pub struct ProvenUser {
    /// Who.
    pub identity: AdminIdentity,
    /// As the file has it.
    pub password: Arc<StoredPassword>,
}

/// A password to be checked: this is what takes time.
pub struct AdminPasswordCheck {
    stored: Arc<StoredPassword>,
    identity: Option<AdminIdentity>,
}

/// Without the password's hash.
impl fmt::Debug for AdminPasswordCheck {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AdminPasswordCheck").finish_non_exhaustive()
    }
}

impl AdminPasswordCheck {
    /// Hashes. Whose password it is, if it is anybody's.
    pub fn run(self, password: &[u8], memory: &mut HashMemory) -> Option<ProvenUser> {
        let Self { stored, identity } = self;
        // Hashed in any case: somebody unknown costs as much.
        let is_right = stored.is_of(password, memory);
        identity.filter(|_| is_right).map(|identity| ProvenUser { identity, password: stored })
    }
}

impl AdminUsers {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, AdminUsersError> {
        let mut entries: Vec<AdminEntry> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() || text.starts_with('#') {
                continue;
            }
            let entry = parse_line(line, text.trim_end())?;
            if entries.iter().any(|other| other.name == entry.name) {
                return Err(AdminUsersError::Twice(line));
            }
            entries.push(entry);
        }
        match entries.len() {
            0 => Err(AdminUsersError::Empty),
            1..=ADMIN_USERS_MAX => Ok(Self(entries)),
            _ => Err(AdminUsersError::TooMany),
        }
    }

    /// One operator with a password.
    pub fn single(name: &str, password: StoredPassword) -> Self {
        Self(vec![AdminEntry {
            name: name.into(),
            role: Role::Operator,
            secret: StoredSecret::Password(Arc::new(password)),
        }])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a file without users is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The check of a password. `None` where nobody has one.
    pub fn check(&self, name: &str) -> Option<AdminPasswordCheck> {
        let passwords = || {
            self.0.iter().filter_map(|entry| match &entry.secret {
                StoredSecret::Password(stored) => Some((entry, stored)),
                StoredSecret::Key(_) => None,
            })
        };
        let known = passwords().find(|(entry, _)| &*entry.name == name);
        let (entry, stored) = known.or_else(|| passwords().next())?;
        let identity = known.is_some().then(|| AdminIdentity { name: entry.name.clone(), role: entry.role });
        Some(AdminPasswordCheck { stored: Arc::clone(stored), identity })
    }

    /// Whose API key this is. It costs no slow hash.
    pub fn find_key(&self, key: &str) -> Option<AdminIdentity> {
        let digest = digest_of_key(key);
        let mut found = None;
        // All are compared: how long it takes tells nothing of which.
        for entry in &self.0 {
            if let StoredSecret::Key(stored) = &entry.secret
                && verify_slices_are_equal(stored, &digest).is_ok()
            {
                found = Some(AdminIdentity { name: entry.name.clone(), role: entry.role });
            }
        }
        found
    }

    /// What somebody may do now who has shown this password; `None` for one who is no longer there, or has another.
    pub fn role_of(&self, name: &str, password: &StoredPassword) -> Option<Role> {
        let is_shown =
            |secret: &StoredSecret| matches!(secret, StoredSecret::Password(stored) if **stored == *password);
        self.0.iter().find(|entry| &*entry.name == name && is_shown(&entry.secret)).map(|entry| entry.role)
    }

    /// What is said of somebody in the file, whatever the secret.
    pub fn written_role(&self, name: &str) -> Option<Role> {
        self.0.iter().find(|entry| &*entry.name == name).map(|entry| entry.role)
    }
}

fn parse_line(line: usize, text: &str) -> Result<AdminEntry, AdminUsersError> {
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(role), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(AdminUsersError::Parts(line));
    };
    if !is_name(name) {
        return Err(AdminUsersError::Parts(line));
    }
    let role = Role::parse(role).ok_or(AdminUsersError::Role(line))?;
    let secret = if let Some(digest) = secret.strip_prefix("key$") {
        let bytes = STANDARD.decode(digest).map_err(|_| AdminUsersError::Key(line))?;
        StoredSecret::Key(bytes.try_into().map_err(|_| AdminUsersError::Key(line))?)
    } else {
        let stored = StoredPassword::parse(secret).map_err(|error| AdminUsersError::Password { line, error })?;
        StoredSecret::Password(Arc::new(stored))
    };
    Ok(AdminEntry { name: name.into(), role, secret })
}

/// Whether somebody can be called so.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX_BYTES && !name.starts_with('#') && name.chars().all(is_of_name)
}

const NAME_MAX_BYTES: usize = 128;

const fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@')
}

/// The text of a file after a password was set, or a key.
pub fn set_admin_user(text: &str, name: &str, role: Role, secret: &AdminSecret) -> String {
    let mut lines: Vec<String> = text.lines().filter(|line| !is_line_of(line, name)).map(str::to_owned).collect();
    let secret = match secret {
        AdminSecret::Password(stored) => stored.to_string(),
        AdminSecret::Key(key) => format!("key${}", STANDARD.encode(digest_of_key(key))),
    };
    lines.push(format!("{name}:{}:{secret}", role.name()));
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// The text of a file after somebody was taken out; `None` if nobody is called so.
pub fn delete_admin_user(text: &str, name: &str) -> Option<String> {
    text.lines()
        .any(|line| is_line_of(line, name))
        .then(|| text.lines().filter(|line| !is_line_of(line, name)).flat_map(|line| [line, "\n"]).collect())
}

fn is_line_of(line: &str, name: &str) -> bool {
    !line.starts_with('#') && line.split(':').next() == Some(name)
}

/// What a new line of the file is made of.
#[derive(Debug)]
pub enum AdminSecret {
    /// Of a person.
    Password(StoredPassword),
    /// Of a program, in plain.
    Key(String),
}

/// An API key of 32 random bytes.
pub fn api_key(random: [u8; 32]) -> String {
    format!("dunlin_{}", URL_SAFE_NO_PAD.encode(random))
}

fn digest_of_key(key: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::password::{SALT_BYTES, Scheme};
    use super::*;

    fn password(text: &str) -> AdminSecret {
        AdminSecret::Password(StoredPassword::new(Scheme::Sha512, text.as_bytes(), [1; SALT_BYTES]))
    }

    fn check(users: &AdminUsers, name: &str, password: &str) -> Option<(Box<str>, Role)> {
        let proven = users.check(name)?.run(password.as_bytes(), &mut HashMemory::default())?;
        assert_eq!(users.role_of(name, &proven.password), Some(proven.identity.role));
        Some((proven.identity.name, proven.identity.role))
    }

    #[test]
    fn whom_the_command_writes_the_broker_knows() {
        let key = api_key([7; 32]);
        let text = set_admin_user("# people\n", "ann", Role::Operator, &password("a"));
        let text = set_admin_user(&text, "grafana", Role::Viewer, &AdminSecret::Key(key.clone()));
        let text = set_admin_user(&text, "ann", Role::Viewer, &password("b"));
        assert!(text.starts_with("# people\n") && text.lines().count() == 3, "{text}");
        let users = AdminUsers::parse(&text).unwrap();
        assert_eq!(check(&users, "ann", "b"), Some(("ann".into(), Role::Viewer)));
        assert_eq!(check(&users, "ann", "a"), None);
        let other = StoredPassword::new(Scheme::Sha512, b"a", [1; SALT_BYTES]);
        assert_eq!(users.role_of("ann", &other), None, "a login with the password before has ended");
        assert_eq!(check(&users, "bob", "b"), None, "somebody else's password");
        assert_eq!(check(&users, "grafana", &key), None, "a key is no password");
        assert_eq!(users.find_key(&key).map(|found| found.role), Some(Role::Viewer));
        assert_eq!(users.find_key(&api_key([8; 32])), None);
        let text = delete_admin_user(&text, "grafana").unwrap();
        assert_eq!(AdminUsers::parse(&text).unwrap().find_key(&key), None);
        assert_eq!(delete_admin_user(&text, "grafana"), None);
    }

    #[test]
    fn a_file_with_anything_wrong_is_none() {
        let good = set_admin_user("", "ann", Role::Viewer, &password("a"));
        let table = [
            (String::new(), AdminUsersError::Empty),
            ("# nobody\n".into(), AdminUsersError::Empty),
            (format!("{good}bob:viewer\n"), AdminUsersError::Parts(2)),
            (format!("{good}:viewer:x\n"), AdminUsersError::Parts(2)),
            (format!("{good}b b:viewer:x\n"), AdminUsersError::Parts(2)),
            (format!("{good}bob:root:x\n"), AdminUsersError::Role(2)),
            (format!("{good}bob:viewer:x\n"), AdminUsersError::Password { line: 2, error: StoredError::Plain }),
            (format!("{good}bob:viewer:key$x\n"), AdminUsersError::Key(2)),
            (format!("{good}bob:viewer:key$AAAA\n"), AdminUsersError::Key(2)),
            (format!("{good}{good}"), AdminUsersError::Twice(2)),
        ];
        for (text, expected) in table {
            assert_eq!(AdminUsers::parse(&text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn a_file_names_so_many_and_no_more() {
        let line = |n: usize| format!("robot-{n}:viewer:key${}\n", STANDARD.encode([0; 32]));
        let full: String = (0..ADMIN_USERS_MAX).map(line).collect();
        assert_eq!(AdminUsers::parse(&full).unwrap().len(), ADMIN_USERS_MAX);
        assert_eq!(AdminUsers::parse(&(full + &line(ADMIN_USERS_MAX))).unwrap_err(), AdminUsersError::TooMany);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let users = AdminUsers::parse(&set_admin_user("", "ann", Role::Viewer, &password("a"))).unwrap();
        assert_eq!(format!("{users:?}"), r#"[("ann", Viewer)]"#);
    }
}
