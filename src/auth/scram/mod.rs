//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677) as enhanced authentication: passwords that never leave the client.
//!
//! Owns: what a file stores of a user, the table of users that a file becomes, and the two steps of an exchange.
//! Always holds: what is stored does not let anybody in who has it (but for guessing); proofs are compared in constant time; a user
//! that is not known gets a salt that looks like a known one's and stays the same, costs the same, and is told the same in the end;
//! `Debug` shows no key.
//! Leaves to others: AUTH packets (`shard`), whose exchange it is ([`super::Authenticator`]), randomness (passed in).
//!
//! Reading order: `stored`, `users`, `exchange`.

mod exchange;
mod stored;
mod users;

pub use exchange::{ScramError, ScramExchange, ScramProof};
pub use stored::{Mechanism, StoredScram};
pub use users::{ScramUsers, ScramUsersError, delete_scram_user, set_scram_user};
