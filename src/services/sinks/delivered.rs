//! What comes of a batch that a target was given.
//!
//! Always holds: a batch that is to be tried again is tried again whole.

use std::time::Duration;

/// What came of a batch that the target has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It has every row.
    All,
    /// It has every row but those that it never takes.
    Some {
        /// The row's place in the batch, and why: it goes to the dead letters.
        rejected: Vec<(usize, String)>,
    },
}

/// Why a batch has to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeliverError {
    /// The target cannot take it now; in order, and whole.
    #[error("{why}")]
    Retry {
        /// For the log and whoever asks for the sink's state.
        why: String,
        /// What the target itself asks to wait for.
        after: Option<Duration>,
    },
}

impl DeliverError {
    /// Cannot be taken now.
    pub(crate) fn retry(why: impl ToString) -> Self {
        Self::Retry { why: why.to_string(), after: None }
    }
}
