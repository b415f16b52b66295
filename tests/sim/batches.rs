//! What was written where: which batches a fault has hit, and which records are gone with them.

use std::collections::BTreeMap;

use dunlin::store::format::{BatchHeader, LogId, SegmentNumber};
use dunlin::store::{Damage, SegmentWrite};

use crate::rng::Rng;

/// One batch of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) segment: SegmentNumber,
    /// Of its first byte, the segment's header not included.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Positions of its first record, and of the one behind its last.
    pub(crate) first: u64,
    pub(crate) next: u64,
    /// It is one change with the batch before it.
    follows: bool,
    pub(crate) is_hit: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct BatchLedger(BTreeMap<LogId, Vec<Batch>>);

const BLOCK: u64 = 4_096;

impl BatchLedger {
    /// A write is durable, as far as its writer knows.
    pub(crate) fn add(&mut self, log: LogId, write: &SegmentWrite) {
        let skipped = if write.begins.is_some() { BLOCK } else { 0 };
        let bytes = &write.bytes[write.range.clone()][skipped as usize..];
        let header = BatchHeader::read(bytes).expect("a write is a batch");
        let batches = self.0.entry(log).or_default();
        let offset = write.offset + skipped;
        batches.push(Batch {
            segment: write.segment,
            offset,
            bytes: bytes.len() as u64,
            first: header.first,
            next: header.first + u64::from(header.count),
            follows: header.follows,
            is_hit: false,
        });
    }

    /// A segment is not needed any more.
    pub(crate) fn forget(&mut self, log: LogId, number: SegmentNumber) {
        if let Some(batches) = self.0.get_mut(&log) {
            batches.retain(|batch| batch.segment != number);
        }
    }

    /// Logs before this generation are gone.
    pub(crate) fn forget_before(&mut self, generation: u32) {
        self.0.retain(|log, _| log.generation >= generation);
    }

    /// Any batch but the last of its log, behind which something has to stand for damage to be told.
    pub(crate) fn pick(&self, rng: &mut Rng) -> Option<(LogId, Batch)> {
        let logs: Vec<_> = self.0.iter().filter(|(_, batches)| batches.len() > 1).collect();
        if logs.is_empty() {
            return None;
        }
        let (log, batches) = *rng.pick(&logs);
        Some((*log, *rng.pick(&batches[..batches.len() - 1])))
    }

    /// Bytes of a segment are not what was written.
    pub(crate) fn hit(&mut self, log: LogId, segment: SegmentNumber, offset: u64, bytes: u64) {
        for batch in self.0.entry(log).or_default().iter_mut().filter(|batch| batch.segment == segment) {
            batch.is_hit |= batch.offset < offset + bytes && offset < batch.offset + batch.bytes;
        }
    }

    /// Whether the last batch of a log was hit: nobody can tell that from a write that was cut off.
    pub(crate) fn is_end_hit(&self) -> bool {
        self.0.values().any(|batches| batches.last().is_some_and(|batch| batch.is_hit))
    }

    /// Whether a position is one of a batch that was hit, or of the same change.
    pub(crate) fn is_hit(&self, log: LogId, position: u64) -> bool {
        // A write that was cut off, and is there all the same, is none that its writer knew to be.
        let Some(batches) = self.0.get(&log) else { return true };
        let Some(at) = batches.iter().position(|batch| (batch.first..batch.next).contains(&position)) else {
            return true;
        };
        let begin = (0..=at).rev().find(|&at| !batches[at].follows).unwrap_or(0);
        let behind = batches[at + 1..].iter().take_while(|batch| batch.follows).count();
        batches[begin..=at + behind].iter().any(|batch| batch.is_hit)
    }

    /// What is told to be lost and was not hit.
    pub(crate) fn too_much(&self, log: LogId, damage: &[Damage]) -> Option<u64> {
        let mut told = damage.iter().flat_map(|damage| damage.first..damage.next);
        told.find(|position| !self.is_hit(log, *position))
    }
}
