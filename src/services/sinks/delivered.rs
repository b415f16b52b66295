//! What comes of a batch that a target was given.
//!
//! Always holds: a target is given a batch that is to be tried again whole, and may leave out what it knows to be done.

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

impl Delivered {
    /// How many of so many rows it has.
    pub(crate) fn taken_of(&self, rows: usize) -> usize {
        match self {
            Self::All => rows,
            Self::Some { rejected } => rows.saturating_sub(rejected.len()),
        }
    }
}

/// Why a batch has to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeliverError {
    /// The target cannot take it now, or not all of it; in order, and given whole.
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
    #[expect(clippy::needless_pass_by_value, reason = "whoever fails has its error to give away")]
    pub(crate) fn retry(why: impl ToString) -> Self {
        Self::Retry { why: why.to_string(), after: None }
    }
}
