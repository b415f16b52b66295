//! Which segments a log has, how much of each is still wanted, and when one may be used for something else.
//!
//! Always holds: a segment is given back when a recovery from either of the two checkpoints that are kept needs nothing in it:
//! all of its records have had their effect before the older one began, and nobody has wanted a message in it since. The segment
//! that is written is never given back, and neither is a damaged one: it is put aside.
//! Leaves to others: files (`runtime`), copying messages out of segments that are mostly empty (the walk of a checkpoint).

use std::collections::VecDeque;

use super::format::SegmentNumber;

/// See the module's text.
#[derive(Debug, Default)]
pub struct SegmentTable {
    /// In their order; the last one is written.
    segments: VecDeque<SegmentUse>,
    /// Messages that were appended and are not in a segment yet: position and bytes, ascending.
    unwritten: VecDeque<(u64, u32)>,
}

#[derive(Debug)]
struct SegmentUse {
    number: SegmentNumber,
    /// Position of its first record.
    first: u64,
    message_bytes: u64,
    wanted_bytes: u64,
    /// How far the log had come when the last message in it was not wanted any more; 0 for one that had none.
    unwanted_since: u64,
    is_damaged: bool,
}

/// What becomes of a segment that nobody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentEnd {
    /// It may become another one.
    Recycle(SegmentNumber),
    /// Somebody may want to look at it.
    PutAside(SegmentNumber),
}

impl SegmentTable {
    /// A segment begins with the record at `first`.
    pub fn begin(&mut self, number: SegmentNumber, first: u64) {
        debug_assert!(self.segments.back().is_none_or(|last| last.number < number && last.first <= first));
        self.segments.push_back(SegmentUse {
            number,
            first,
            message_bytes: 0,
            wanted_bytes: 0,
            unwanted_since: 0,
            is_damaged: false,
        });
    }

    /// Recovery has found damage in a segment.
    pub fn note_damage(&mut self, number: SegmentNumber) {
        if let Some(found) = self.segments.iter_mut().find(|segment| segment.number == number) {
            found.is_damaged = true;
        }
    }

    /// A message, or a copy of one, was appended at `position`, and somebody wants it.
    pub fn add(&mut self, position: u64, bytes: u32) {
        debug_assert!(self.unwritten.back().is_none_or(|(last, _)| *last < position));
        self.unwritten.push_back((position, bytes));
    }

    /// Everything up to `position` is in the segment that was begun last.
    pub fn written(&mut self, position: u64) {
        let Some(last) = self.segments.back_mut() else { return };
        let now_written = self.unwritten.partition_point(|(at, _)| *at <= position);
        for (_, bytes) in self.unwritten.drain(..now_written) {
            last.message_bytes += u64::from(bytes);
            last.wanted_bytes += u64::from(bytes);
        }
    }

    /// Nobody wants the message at `position` any more, or it was copied; the log has come to `now`.
    pub fn release(&mut self, position: u64, bytes: u32, now: u64) {
        if let Ok(at) = self.unwritten.binary_search_by_key(&position, |(position, _)| *position) {
            self.unwritten.remove(at);
            return;
        }
        if let Some(found) = self.find(position) {
            let segment = &mut self.segments[found];
            debug_assert!(segment.wanted_bytes >= u64::from(bytes), "released twice");
            segment.wanted_bytes = segment.wanted_bytes.saturating_sub(bytes.into());
            segment.unwanted_since = segment.unwanted_since.max(now);
        }
    }

    /// Whether a message at `position` should be copied to the end of the log: its segment is written to its end, and less than
    /// half of it is wanted.
    pub fn is_worth_copying(&self, position: u64) -> bool {
        let Some(found) = self.find(position) else { return false };
        let segment = &self.segments[found];
        found + 1 < self.segments.len() && segment.wanted_bytes * 2 < segment.message_bytes
    }

    /// Two checkpoints are kept, and the older one began at `begin`: the segments that neither of them needs.
    pub fn take_unneeded(&mut self, begin: u64) -> Vec<SegmentEnd> {
        let mut ends = Vec::new();
        let firsts: Vec<u64> = self.segments.iter().skip(1).map(|next| next.first).collect();
        let mut index = 0;
        self.segments.retain(|segment| {
            let end = firsts.get(index).copied();
            index += 1;
            // `end` is the first position behind it; the one that is written has none.
            let is_covered = end.is_some_and(|end| end <= begin + 1);
            if !is_covered || segment.wanted_bytes > 0 || segment.unwanted_since > begin {
                return true;
            }
            let number = segment.number;
            ends.push(if segment.is_damaged { SegmentEnd::PutAside(number) } else { SegmentEnd::Recycle(number) });
            false
        });
        ends
    }

    /// How many there are, the one that is written included.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether none was begun.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    fn find(&self, position: u64) -> Option<usize> {
        self.segments.partition_point(|segment| segment.first <= position).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three segments of ten messages each, and a fourth that is written.
    fn table() -> SegmentTable {
        let mut table = SegmentTable::default();
        for number in 1..=4_u32 {
            let first = u64::from(number - 1) * 10 + 1;
            table.begin(SegmentNumber(number), first);
            (first..first + 10).for_each(|position| table.add(position, 100));
            table.written(first + 9);
        }
        table
    }

    fn release(table: &mut SegmentTable, positions: std::ops::RangeInclusive<u64>, now: u64) {
        positions.for_each(|position| table.release(position, 100, now));
    }

    #[test]
    fn a_segment_goes_when_both_checkpoints_are_behind_it_and_behind_the_last_who_wanted_it() {
        let mut table = table();
        release(&mut table, 1..=10, 35);
        assert_eq!(table.take_unneeded(9), [], "its last record is behind the checkpoint's begin");
        assert_eq!(table.take_unneeded(34), [], "the checkpoint may name a message in it");
        assert_eq!(table.take_unneeded(35), [SegmentEnd::Recycle(SegmentNumber(1))]);
        assert_eq!(table.take_unneeded(1_000), [], "the others are wanted");
        release(&mut table, 11..=19, 36);
        assert_eq!(table.take_unneeded(1_000), [], "one message is left");
        release(&mut table, 20..=40, 37);
        let ends = table.take_unneeded(1_000);
        assert_eq!(ends, [SegmentEnd::Recycle(SegmentNumber(2)), SegmentEnd::Recycle(SegmentNumber(3))]);
        assert_eq!(table.len(), 1, "the one that is written stays");
    }

    #[test]
    fn what_is_mostly_empty_is_worth_copying_and_a_copy_lets_it_go() {
        let mut table = table();
        release(&mut table, 1..=5, 40);
        assert!(!table.is_worth_copying(6), "half of it is wanted");
        release(&mut table, 6..=6, 40);
        assert!(table.is_worth_copying(7) && !table.is_worth_copying(20) && !table.is_worth_copying(39));
        for position in 7..=10 {
            table.add(34 + position, 100);
            table.release(position, 100, 34 + position);
        }
        table.begin(SegmentNumber(5), 41);
        table.written(44);
        assert_eq!(table.take_unneeded(44), [SegmentEnd::Recycle(SegmentNumber(1))]);
        assert!(!table.is_worth_copying(41), "it is where the log is written");
    }

    #[test]
    fn a_message_that_is_released_before_it_is_written_leaves_nothing_behind() {
        let mut table = SegmentTable::default();
        table.begin(SegmentNumber(1), 1);
        table.add(1, 100);
        table.add(2, 100);
        table.release(1, 100, 2);
        table.written(2);
        table.begin(SegmentNumber(2), 3);
        assert_eq!(table.take_unneeded(10), []);
        table.release(2, 100, 4);
        assert_eq!(table.take_unneeded(10), [SegmentEnd::Recycle(SegmentNumber(1))]);
    }

    #[test]
    fn a_damaged_segment_is_put_aside() {
        let mut table = table();
        table.note_damage(SegmentNumber(1));
        release(&mut table, 1..=20, 40);
        let ends = table.take_unneeded(40);
        assert_eq!(ends, [SegmentEnd::PutAside(SegmentNumber(1)), SegmentEnd::Recycle(SegmentNumber(2))]);
    }
}
