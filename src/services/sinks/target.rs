//! Where a sink's rows go: one kind of target behind another, and what comes of a batch.
//!
//! Always holds: rows of one batch are given to the target in their order. A batch that is to be tried again is tried again whole, so a
//! target gets each row at least once, and says nothing of a batch before it has all of it as safely as it can.
//! Leaves to others: how long to wait before the next attempt, dead letters and acknowledgements (`worker`).

use std::time::Duration;

use super::row::Row;

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

/// A connected target, or one that connects with the next batch.
#[derive(Debug)]
pub(crate) enum Target {}

impl Target {
    /// Gives it a batch, which is not empty. Dropping the future gives the attempt up: the batch is delivered again.
    pub(crate) async fn deliver(&mut self, batch: &[Row]) -> Result<Delivered, DeliverError> {
        debug_assert!(!batch.is_empty());
        match *self {}
    }
}
