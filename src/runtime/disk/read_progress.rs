//! How much of a data directory has been read back, for whoever waits for it.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module's text.
#[derive(Debug, Default)]
pub struct ReadProgress {
    read: AtomicU64,
    all: AtomicU64,
}

impl ReadProgress {
    /// So many bytes more are there to be read.
    pub fn expect(&self, bytes: u64) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many more have been.
    pub fn note_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that have been read, and that there are. What is looked up a second time counts again.
    pub fn bytes(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }
}
