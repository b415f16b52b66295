//! Where shards wait for each other when what was read back becomes theirs again, twice: what was on its way comes back when every shard knows what the
//! sessions of all are subscribed to, and nobody is served, nor hears of what others do, before every shard has it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Restoring {
    unknown: AtomicUsize,
    left: AtomicUsize,
}

impl Restoring {
    /// So many shards are to be waited for.
    pub(super) const fn new(shards: usize) -> Self {
        Self { unknown: AtomicUsize::new(shards), left: AtomicUsize::new(shards) }
    }

    /// All others know what the sessions of one of them are subscribed to. Once.
    pub(super) fn note_known(&self) {
        self.unknown.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether they know that of all.
    pub(super) fn are_all_known(&self) -> bool {
        self.unknown.load(Ordering::Acquire) == 0
    }

    /// One of them has everything. Once.
    pub(super) fn arrive(&self) {
        self.left.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether all have.
    pub(super) fn is_over(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }
}
