//! The files of a log that a broker may be writing, opened so that they stay as they are while they are copied.
//!
//! Always holds: the files are those that were there at one moment, and all that was durable at a later one, when every log had been opened,
//! is in them. What a broker deletes or uses again meanwhile stays readable here. Nothing is changed.
//! Leaves to others: how they are copied, and which part of them counts.

use std::collections::BTreeMap;
use std::fs::File;

use super::backup_error::BackupError;
use super::directory::Directory;
use super::held::hold;
use super::medium::DirectoryMedium;
use crate::store::Medium;
use crate::store::format::{LogId, NewestSegment, SegmentNumber, StoreFile};

/// See the module's text.
#[derive(Debug)]
pub(super) struct HeldLog {
    pub(super) log: LogId,
    pub(super) segments: BTreeMap<SegmentNumber, File>,
    pub(super) checkpoints: BTreeMap<u32, File>,
    /// A later segment was made, and somebody has deleted it: the copy is to miss it too.
    pub(super) missing: Option<SegmentNumber>,
}

/// A broker has taken away or begun what was listed: it has to be looked at again.
#[derive(Debug)]
pub(super) struct HasChanged;

/// How often files may have changed while they were opened. They change a few times a second at most, and opening them takes less.
const ATTEMPTS: usize = 100;

impl HeldLog {
    /// Opens everything that a log has now.
    pub(super) fn open(directory: &Directory, log: LogId) -> Result<Result<Self, HasChanged>, BackupError> {
        for _ in 0..ATTEMPTS {
            // In this order: what is noted is there, or has been given back, and then there are later ones.
            let noted = std::fs::read(directory.path_of(StoreFile::Newest(log)));
            let noted = noted.ok().and_then(|block| NewestSegment::open(&block).ok()).map(|newest| newest.0);
            let files = list(directory, log)?;
            let mut held = Self { log, segments: BTreeMap::new(), checkpoints: BTreeMap::new(), missing: None };
            if held.add(directory, &files)?.is_err() {
                continue;
            }
            // A listing is made entry by entry. One that is the same later on, but for segments that were made ready, missed nothing: names are not used twice.
            let newest = held.newest();
            held.missing = noted.filter(|noted| *noted > newest);
            let later = list(directory, log)?;
            let is_new = |file: &StoreFile| matches!(file, StoreFile::Segment(_, number) if *number > newest);
            if later.into_iter().filter(|file| !is_new(file)).eq(files) {
                return Ok(Ok(held));
            }
        }
        Ok(Err(HasChanged))
    }

    /// Opens the segments that were made since, so that what was durable before this call is there.
    pub(super) fn extend(&mut self, directory: &Directory) -> Result<Result<(), HasChanged>, BackupError> {
        let newest = self.newest();
        let mut files = list(directory, self.log)?;
        files.retain(|file| matches!(file, StoreFile::Segment(_, number) if *number > newest));
        let is_next = |at: usize, file: &StoreFile| matches!(file, StoreFile::Segment(_, number) if number.0 == newest.0 + 1 + at as u32);
        if !files.iter().enumerate().all(|(at, file)| is_next(at, file)) {
            return Ok(Err(HasChanged)); // some were made, filled and given back meanwhile
        }
        self.add(directory, &files)
    }

    fn newest(&self) -> SegmentNumber {
        self.segments.last_key_value().map_or(SegmentNumber(0), |(number, _)| *number)
    }

    fn add(&mut self, directory: &Directory, files: &[StoreFile]) -> Result<Result<(), HasChanged>, BackupError> {
        for file in files {
            let path = directory.path_of(*file);
            let Some(held) = hold(&path).map_err(|error| BackupError::Unreadable { path, error })? else {
                return Ok(Err(HasChanged));
            };
            match *file {
                StoreFile::Segment(_, number) => drop(self.segments.insert(number, held)),
                StoreFile::Checkpoint(_, number) => drop(self.checkpoints.insert(number, held)),
                _ => {}
            }
        }
        Ok(Ok(()))
    }
}

/// Segments and checkpoints, sorted.
fn list(directory: &Directory, log: LogId) -> Result<Vec<StoreFile>, BackupError> {
    let mut files = DirectoryMedium::new(directory).files(log)?;
    files.retain(|file| matches!(file, StoreFile::Segment(..) | StoreFile::Checkpoint(..)));
    files.sort_unstable();
    Ok(files)
}
