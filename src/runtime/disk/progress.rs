//! How far a shard's log has come, for whoever makes its checkpoints.
//!
//! Always holds: what is said here is durable.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::ids::ShardId;
use crate::limits::STORE_BLOCK_BYTES;
use crate::store::DurableEnd;
use crate::store::format::SegmentNumber;

/// See the module's text.
#[derive(Debug, Default)]
pub struct LogProgress {
    /// The segment that is written. All before it are complete.
    begun: AtomicU32,
    /// By shard: the last of its forwards that was taken over.
    taken: Box<[AtomicU64]>,
    /// Segment and blocks of it, in one number so that they fit together.
    durable: AtomicU64,
    /// The disk is full.
    is_short: AtomicBool,
}

/// So many forwards of another log have been taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Of which.
    pub from: ShardId,
    /// The last one.
    pub number: u64,
}

impl LogProgress {
    /// Of a log whose next segment is `next`, and that has taken over so much of each shard's.
    pub fn new(next: SegmentNumber, taken: impl Iterator<Item = u64>) -> Self {
        Self { begun: AtomicU32::new(next.0), taken: taken.map(AtomicU64::new).collect(), ..Self::default() }
    }

    /// Its first batch is about to be written, so all before it are complete.
    pub fn note_begun(&self, segment: SegmentNumber) {
        self.begun.store(segment.0, Ordering::Release);
    }

    /// The segment that is written.
    pub fn begun(&self) -> SegmentNumber {
        SegmentNumber(self.begun.load(Ordering::Acquire))
    }

    /// Everything up to here is durable.
    pub fn note_durable(&self, DurableEnd { segment, bytes }: DurableEnd) {
        self.durable.store((u64::from(segment.0) << 32) | (bytes / STORE_BLOCK_BYTES as u64), Ordering::Release);
    }

    /// Up to where everything is durable; segment 0 before anything was written.
    pub fn durable(&self) -> DurableEnd {
        let number = self.durable.load(Ordering::Acquire);
        let bytes = (number & u64::from(u32::MAX)) * STORE_BLOCK_BYTES as u64;
        DurableEnd { segment: SegmentNumber((number >> 32) as u32), bytes }
    }

    /// The disk is full, or is not any more.
    pub fn set_short(&self, is_short: bool) {
        self.is_short.store(is_short, Ordering::Release);
    }

    /// Whether the disk is full.
    pub fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Acquire)
    }

    /// Forwards of another log have been taken over.
    pub fn note_taken(&self, Taken { from, number }: Taken) {
        if let Some(known) = self.taken.get(from.index()) {
            known.fetch_max(number, Ordering::Release);
        }
    }

    /// The last forward of a log that was taken over.
    pub fn taken(&self, from: ShardId) -> u64 {
        self.taken.get(from.index()).map_or(0, |known| known.load(Ordering::Acquire))
    }
}
