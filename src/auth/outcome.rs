//! What one method of a chain comes to.

use super::{Admission, RefusalCause};

/// What a method says of a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MethodOutcome {
    /// It comes in.
    Admit,
    /// It comes in, and this is known of it.
    AdmitAs(Box<Admission>),
    /// It does not.
    Refuse(RefusalCause),
    /// This method has nothing to say about it: the next one decides.
    Ignore,
    /// Somebody who must be asked does not answer.
    Unavailable,
}
