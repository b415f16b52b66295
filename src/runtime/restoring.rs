//! Where shards wait for each other when what was read back is theirs again: nobody is served before every shard knows what the
//! sessions of all are subscribed to.

use std::sync::atomic::{AtomicUsize, Ordering};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Restoring {
    left: AtomicUsize,
}

impl Restoring {
    /// So many shards are to be waited for.
    pub(super) const fn new(shards: usize) -> Self {
        Self { left: AtomicUsize::new(shards) }
    }

    /// One of them is ready. Once.
    pub(super) fn arrive(&self) {
        self.left.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether all are.
    pub(super) fn is_over(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }
}
