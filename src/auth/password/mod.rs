//! Passwords as files hold them: in Mosquitto's format, read, checked and written.
//!
//! Owns: the three schemes (`$6$`, `$7$`, `$argon2id$`), the table of users that a file becomes, and the edits that `dunlin
//! passwd` makes in such a file.
//! Always holds: hashes are compared in constant time; a user that is not known costs what a known one costs; a file with one
//! line that cannot be read, or with no user at all, is no table; `Debug` shows no hash and no password.
//! Leaves to others: files, randomness and time (passed in), and on which thread a password is hashed (`runtime`).
//!
//! Reading order: `stored`, `hash`, `users`, `edit`.

mod edit;
mod hash;
mod stored;
mod users;

pub use edit::{EditError, delete_user, hash_plain_file, set_user};
pub use hash::{HashMemory, SALT_BYTES, Scheme};
pub use stored::{StoredError, StoredPassword};
pub use users::{PasswordCheck, Users, UsersError};
