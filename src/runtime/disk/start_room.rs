//! A start on a disk without any room: what was read back is written down as checkpoints, and a segment that nobody needs then becomes the
//! one that is written next.

use crossbeam_channel::bounded;

use super::checkpoint_file::CheckpointFile;
use super::directory::Directory;
use super::error::DirectoryError;
use super::held::take_unread;
use super::medium::DirectoryMedium;
use super::pace::CheckpointPace;
use super::prepare::{move_file, remove_file};
use crate::store::format::StoreFile;
use crate::store::{Medium, RecoveredLog, needed_by};

/// Frees segments of a log that nobody writes. Returns whether there is one at least that can be used again.
pub(super) fn free_segments(directory: &Directory, recovered: &RecoveredLog) -> Result<bool, DirectoryError> {
    let RecoveredLog { log, state, scan, checkpoint, refused, .. } = recovered;
    if scan.incomplete > 0 {
        return Ok(false);
    }
    let needed = needed_by(recovered);
    let is_damaged = |number| scan.damage.iter().any(|damage| damage.segment == number);
    let mut free: Vec<_> = scan
        .segments
        .iter()
        .map(|seen| seen.number)
        .filter(|number| !needed.contains(number) && !is_damaged(*number))
        .collect();
    let Some(&last_free) = free.last() else { return Ok(false) };
    // Without the last one that was begun nobody knows how far segments were: it stays, unless it is the only one.
    free.pop_if(|number| scan.segments.last().is_some_and(|last| last.number == *number));
    let newest = refused.iter().map(|(number, _)| *number).chain(*checkpoint).max().unwrap_or(0);
    // Two, of the same state: whichever is read, it needs none of them.
    let (_open, stopped) = bounded(0);
    for (number, newest_whole) in [(newest + 1, *checkpoint), (newest + 2, Some(newest + 1))] {
        let pace = CheckpointPace::unbounded();
        let file = CheckpointFile { directory, log: *log, number, newest_whole, pace, stopped: &stopped };
        file.write(state, scan.end.position)?;
    }
    for file in DirectoryMedium::new(directory).files(*log).unwrap_or_default() {
        if matches!(file, StoreFile::Checkpoint(_, number) if number <= newest) {
            remove_file(&directory.path_of(file))?;
        }
    }
    if free.is_empty() {
        // In one step, and what stands in it says which it was.
        let next = StoreFile::Segment(*log, scan.end.segment.next());
        let last = directory.path_of(StoreFile::Segment(*log, last_free));
        let Ok(_unread) = take_unread(&last) else { return Ok(false) };
        move_file(&last, &directory.path_of(next))?;
    }
    for (at, number) in free.into_iter().enumerate() {
        let segment = directory.path_of(StoreFile::Segment(*log, number));
        // One is what is needed now; the others are room for others.
        if at == 0 {
            move_file(&segment, &directory.path_of(StoreFile::Spare(*log, 0)))?;
        } else {
            remove_file(&segment)?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::keeper::Keeper;
    use super::super::sample::{LOG, SEGMENT_BYTES, SampleLog};
    use super::*;
    use crate::store::format::SegmentNumber;
    use std::fs;

    #[test]
    fn the_only_checkpoint_that_counts_stays_until_another_is_whole() {
        let log = SampleLog::new("start-only");
        log.write_segment("t", 100);
        log.make_checkpoint(6);
        log.write_segment("t", 100);
        let good = fs::read(log.checkpoint(6)).unwrap();
        // 7 counts for nothing, and what is written over it finds no room either.
        std::os::unix::fs::symlink("/dev/full", log.checkpoint(7)).unwrap();
        log.fill_disk_for(8);
        let recovered = log.recover();
        assert_eq!((recovered.checkpoint, recovered.refused.len()), (Some(6), 1));
        assert!(free_segments(&log.directory, &recovered).is_err_and(|error| error.is_full()));
        assert_eq!(fs::read(log.checkpoint(6)).unwrap(), good);
        assert_eq!(log.files(), ["checkpoint-0000000006", "segment-0000000001", "segment-0000000002"]);
        assert_eq!(log.recover().checkpoint, Some(6));
    }

    #[test]
    fn what_counts_for_nothing_is_written_over_first_and_then_what_is_not_needed_any_more() {
        let log = SampleLog::new("start-both");
        log.write_segment("t", 100);
        log.make_checkpoint(6);
        log.make_checkpoint(7);
        log.damage_checkpoint(7);
        log.write_segment("t", 100);
        log.fill_disk_for(8);
        log.fill_disk_for(9);
        assert!(free_segments(&log.directory, &log.recover()).unwrap());
        assert_eq!(log.files()[..2], ["checkpoint-0000000008", "checkpoint-0000000009"]);
        for number in [9, 8] {
            let recovered = log.recover();
            assert_eq!((recovered.checkpoint, recovered.refused.len()), (Some(number), 0));
            assert!(recovered.scan.missing.is_empty() && recovered.state.retained.contains_key("t"));
            remove_file(&log.path_of(StoreFile::Checkpoint(LOG, number))).unwrap();
        }
    }

    /// Nobody misses a segment when the start goes no further.
    fn check_that_none_is_missing(log: &SampleLog, last: SegmentNumber) {
        let scan = log.recover().scan;
        assert_eq!((scan.missing, scan.damage, scan.end.segment), (Vec::new(), Vec::new(), last));
    }

    #[test]
    fn the_last_segment_that_was_begun_stays_where_another_can_be_used() {
        let log = SampleLog::new("start-last");
        log.write_segment("t", 100);
        log.write_segment("needed", 100);
        let last = log.write_segment("t", 0);
        assert!(free_segments(&log.directory, &log.recover()).unwrap());
        assert_eq!(log.files()[2..], ["segment-0000000002", "segment-0000000003", "spare-0000000000"]);
        check_that_none_is_missing(&log, last);
        Keeper::prepare_now(&log.directory, (SEGMENT_BYTES, u64::MAX / 2), LOG, last.next()).unwrap();
        check_that_none_is_missing(&log, last);
    }

    #[test]
    fn the_last_segment_becomes_the_next_one_where_it_is_the_only_one_that_nobody_needs() {
        let log = SampleLog::new("start-only-last");
        log.write_segment("needed", 100);
        let last = log.write_segment("t", 0);
        assert!(free_segments(&log.directory, &log.recover()).unwrap());
        assert_eq!(log.files()[2..], ["segment-0000000001", "segment-0000000003"]);
        check_that_none_is_missing(&log, last);
        Keeper::prepare_now(&log.directory, (SEGMENT_BYTES, u64::MAX / 2), LOG, last.next()).unwrap();
        check_that_none_is_missing(&log, last);
        // And so when nothing else is left.
        let log = SampleLog::new("start-only-one");
        let last = log.write_segment("t", 0);
        assert!(free_segments(&log.directory, &log.recover()).unwrap());
        check_that_none_is_missing(&log, last);
        assert_eq!(log.write_segment("t", 100), last.next());
        check_that_none_is_missing(&log, last.next());
        assert!(log.recover().state.retained.contains_key("t"));
    }
}
