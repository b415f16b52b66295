//! A checkpoint's file, from the state that it is of.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::directory::Directory;
use super::error::DirectoryError;
use super::held::take_unread;
use super::medium::DirectoryMedium;
use super::pace::{CheckpointPace, PacedWork};
use super::prepare::{move_file, remove_file};
use crate::store::format::{LogId, StoreFile};
use crate::store::state::LogState;
use crate::store::{Medium, PageWrite, write_pages};

/// A file that is to be made.
pub(super) struct CheckpointFile<'a> {
    pub(super) directory: &'a Directory,
    pub(super) log: LogId,
    pub(super) number: u32,
    /// The newest one that counts: what the state was recovered from, if it was from one. It is never written over.
    pub(super) newest_whole: Option<u32>,
    /// How fast it is written.
    pub(super) pace: CheckpointPace,
    /// Closed when the broker stops.
    pub(super) stopped: &'a Receiver<()>,
}

/// Bytes that are written without a rest.
const STEP_BYTES: u64 = 1024 * 1024;

impl CheckpointFile<'_> {
    /// Writes all of it, durably. `false`: it was given up.
    pub(super) fn write(&self, state: &LogState, position: u64) -> Result<bool, DirectoryError> {
        let path = self.directory.path_of(StoreFile::Checkpoint(self.log, self.number));
        let partial = path.with_extension("new");
        let of = |error| DirectoryError::of(&partial, error);
        let mut written = self.write_file(&partial, true, (state, position));
        let is_full = written.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull);
        if is_full && self.take_old_file(&partial) {
            written = self.write_file(&partial, false, (state, position));
        }
        match written {
            Ok(true) => move_file(&partial, &path).map(|()| true),
            Ok(false) => remove_file(&partial).map(|()| false),
            Err(error) => {
                // A file that could not be written takes room from those that can.
                let _ = remove_file(&partial);
                Err(of(error))
            }
        }
    }

    fn write_file(&self, path: &Path, is_new: bool, (state, position): (&LogState, u64)) -> io::Result<bool> {
        let mut options = OpenOptions::new();
        options.write(true).create(is_new).truncate(is_new).mode(0o600);
        let file = options.open(path)?;
        let Some(bytes) = self.write_pages(&file, state, position)? else { return Ok(false) };
        file.set_len(bytes)?;
        file.sync_all()?;
        Ok(true)
    }

    /// On a full disk a file that is not needed becomes this one: what is written over takes no room. A spare segment; else a checkpoint:
    /// one that counts for nothing, or the oldest. Until this one is durable the newest that counts is the only one that is sure.
    fn take_old_file(&self, partial: &Path) -> bool {
        let files = DirectoryMedium::new(self.directory).files(self.log).unwrap_or_default();
        let is_unread = |file: &&StoreFile| take_unread(&self.directory.path_of(**file)).is_ok();
        let spare = files.iter().filter(|file| matches!(file, StoreFile::Spare(..))).find(is_unread);
        let rank = |file: &&StoreFile| match file {
            StoreFile::Checkpoint(_, number) if Some(*number) != self.newest_whole => {
                Some((self.newest_whole.is_some_and(|newest| *number < newest), *number))
            }
            _ => None,
        };
        let old = spare.or_else(|| files.iter().filter(|file| rank(file).is_some()).filter(is_unread).min_by_key(rank));
        let Some(path) = old.map(|file| self.directory.path_of(*file)) else { return false };
        // Nobody comes to read it before it has another name.
        take_unread(&path).is_ok_and(|_unread| std::fs::rename(&path, partial).is_ok())
    }

    /// Gives the length of all; `None`: it was given up.
    fn write_pages(&self, file: &File, state: &LogState, position: u64) -> io::Result<Option<u64>> {
        let (mut written_bytes, mut work) = (0, self.pace.write());
        let is_written = write_pages((self.log, self.number), (state, position), |pages| {
            self.write_out(file, pages, (&mut written_bytes, &mut work))
        });
        Ok(is_written?.then_some(written_bytes))
    }

    /// Writes pages, no faster than the log can spare. `false`: the broker stops.
    fn write_out(
        &self,
        file: &File,
        pages: Vec<PageWrite>,
        (written_bytes, work): (&mut u64, &mut PacedWork),
    ) -> io::Result<bool> {
        for PageWrite { offset, bytes, range } in pages {
            let end = offset + range.len() as u64;
            file.write_all_at(&bytes[range.clone()], offset)?;
            *written_bytes = end;
            let rest = work.rest_after(range.len() as u64, Instant::now());
            if offset / STEP_BYTES < end / STEP_BYTES {
                // Its pages leave the cache now, and not all together at the end.
                file.sync_data()?;
                if self.stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
