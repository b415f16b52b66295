//! JSON Web Tokens (RFC 7519): whose they are, whether they hold, and what they allow.
//!
//! Owns: the keys that tokens are verified with (from files and from a key set), the check of one token, and what follows from its claims.
//! Always holds: a key verifies the algorithms of its own kind only, so no public key ever serves as a secret; `none` is no algorithm; a
//! token without an end is none; nothing of a token is believed before its signature was verified; `Debug` shows no key and no token.
//! Leaves to others: where keys come from (`config`, `runtime`), on which thread a token is checked (`runtime`), time (passed in).
//!
//! Reading order: `keys`, `claims`, `check`.

mod check;
mod claims;
mod keys;
#[cfg(test)]
mod tests;

pub use check::{TokenCheck, TokenFinding, TokenMethod};
pub use claims::{TokenPolicy, TokenProblem};
pub use keys::{KeyFileError, TokenKeys};
