//! Which segments are worth being emptied: what somebody wants in them is written again elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::format::SegmentNumber;

/// What is wanted in the complete segments of a log.
#[derive(Debug)]
pub(super) struct SparseSegments {
    /// Bytes of messages, by segment. Where nothing is wanted there is no entry.
    pub(super) wanted_bytes: BTreeMap<SegmentNumber, u64>,
    /// Size of a segment's file.
    pub(super) segment_bytes: u64,
    /// The newest one that is complete.
    pub(super) last: SegmentNumber,
}

impl SparseSegments {
    /// Those of which less than half is wanted. The newest may not have been filled for want of time.
    pub(super) fn below_half(&self) -> BTreeSet<SegmentNumber> {
        let sparse =
            self.wanted_bytes.iter().filter(|(number, bytes)| **number < self.last && **bytes * 2 < self.segment_bytes);
        sparse.map(|(number, _)| *number).collect()
    }

    /// The emptiest of them, as many as fit into three quarters of one segment: that one is used up for it, so unless they are two at
    /// least, none is.
    pub(super) fn that_free_more_than_they_take(&self) -> BTreeSet<SegmentNumber> {
        let mut by_bytes: Vec<(u64, SegmentNumber)> = self
            .wanted_bytes
            .iter()
            .filter(|(number, _)| **number <= self.last)
            .map(|(number, bytes)| (*bytes, *number))
            .collect();
        by_bytes.sort_unstable();
        let mut left_bytes = self.segment_bytes / 4 * 3;
        let mut chosen = BTreeSet::new();
        for (bytes, number) in by_bytes {
            let Some(left) = left_bytes.checked_sub(bytes) else { break };
            left_bytes = left;
            chosen.insert(number);
        }
        if chosen.len() < 2 { BTreeSet::new() } else { chosen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wanted: &[(u32, u64)], last: u32) -> SparseSegments {
        let wanted_bytes = wanted.iter().map(|(number, bytes)| (SegmentNumber(*number), *bytes)).collect();
        SparseSegments { wanted_bytes, segment_bytes: 1_000, last: SegmentNumber(last) }
    }

    fn numbers(chosen: &BTreeSet<SegmentNumber>) -> Vec<u32> {
        chosen.iter().map(|number| number.0).collect()
    }

    #[test]
    fn with_room_all_that_are_mostly_empty_are_emptied_and_without_those_that_free_two() {
        let some = of(&[(1, 499), (2, 500), (3, 10), (4, 20), (5, 0)], 4);
        assert_eq!(numbers(&some.below_half()), [1, 3]);
        assert_eq!(numbers(&some.that_free_more_than_they_take()), [1, 3, 4]);
        assert_eq!(
            numbers(&of(&[(1, 400), (2, 360)], 2).that_free_more_than_they_take()),
            [] as [u32; 0],
            "one for one"
        );
        assert_eq!(numbers(&of(&[(1, 400), (2, 350), (3, 360)], 3).that_free_more_than_they_take()), [2, 3]);
    }
}
