//! A start on a disk without any room: what was read back is written down as checkpoints, and a segment that nobody needs then becomes the
//! one that is written next.

use crossbeam_channel::bounded;

use super::checkpoint_file::CheckpointFile;
use super::checkpoints::needed_by;
use super::directory::Directory;
use super::error::DirectoryError;
use super::medium::DirectoryMedium;
use super::prepare::{move_file, remove_file};
use crate::store::format::StoreFile;
use crate::store::{Medium, RecoveredLog};

/// Frees segments of a log that nobody writes. Returns whether there is one at least that can be used again.
pub(super) fn free_segments(directory: &Directory, recovered: &RecoveredLog) -> Result<bool, DirectoryError> {
    let RecoveredLog { log, state, scan, checkpoint, refused, .. } = recovered;
    if scan.incomplete > 0 {
        return Ok(false);
    }
    let needed = needed_by(recovered);
    let is_damaged = |number| scan.damage.iter().any(|damage| damage.segment == number);
    let free: Vec<_> = scan
        .segments
        .iter()
        .map(|seen| seen.number)
        .filter(|number| !needed.contains(number) && !is_damaged(*number))
        .collect();
    if free.is_empty() {
        return Ok(false);
    }
    let newest = refused.iter().map(|(number, _)| *number).chain(*checkpoint).max().unwrap_or(0);
    // Two, of the same state: whichever is read, it needs none of them.
    let (_open, stopped) = bounded(0);
    for number in [newest + 1, newest + 2] {
        CheckpointFile { directory, log: *log, number, stopped: &stopped }.write(state, scan.end.position)?;
    }
    for file in DirectoryMedium::new(directory).files(*log).unwrap_or_default() {
        if matches!(file, StoreFile::Checkpoint(_, number) if number <= newest) {
            remove_file(&directory.path_of(file))?;
        }
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
