//! The directory as recovery reads it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::directory::Directory;
use super::read_progress::ReadProgress;
use crate::store::format::{LogId, StoreFile};
use crate::store::{Medium, MediumError};

/// See the module's text. Files stay open from one read to the next.
#[derive(Debug)]
pub struct DirectoryMedium<'a> {
    directory: &'a Directory,
    progress: Option<&'a ReadProgress>,
    open: HashMap<StoreFile, File>,
}

/// Files that are kept open; a log of a terabyte has more segments than a process may have files.
const OPEN_MAX: usize = 64;

impl<'a> DirectoryMedium<'a> {
    /// Reads from this directory.
    pub fn new(directory: &'a Directory) -> Self {
        Self { directory, progress: None, open: HashMap::new() }
    }

    /// Reads from this directory, and says how much it has read.
    pub fn with_progress(directory: &'a Directory, progress: &'a ReadProgress) -> Self {
        Self { progress: Some(progress), ..Self::new(directory) }
    }

    fn file(&mut self, name: StoreFile) -> Result<&File, MediumError> {
        if self.open.len() > OPEN_MAX {
            self.open.clear();
        }
        if !self.open.contains_key(&name) {
            let path = self.directory.path_of(name);
            let file = File::open(&path).map_err(|error| failed_at(&path, (name, 0), &error))?;
            self.open.insert(name, file);
        }
        Ok(&self.open[&name])
    }
}

/// Whether the disk itself refuses, or the file system that finds its own checksum wrong: that is one file's, or one block's.
fn is_unreadable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADMSG | libc::EUCLEAN))
}

fn failed_at(path: &std::path::Path, (file, offset): (StoreFile, u64), error: &io::Error) -> MediumError {
    if is_unreadable(error) { MediumError::Unreadable { file, offset } } else { failed(path, error) }
}

fn failed(path: &std::path::Path, error: &io::Error) -> MediumError {
    MediumError::Failed(format!("{}: {error}", path.display()))
}

impl Medium for DirectoryMedium<'_> {
    fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        let path: PathBuf = self.directory.path().join(log.to_string());
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&path, &error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| failed(&path, &error))?.file_name();
            files.extend(name.to_str().and_then(|name| StoreFile::parse(&format!("{log}/{name}"))));
        }
        Ok(files)
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        let path = self.directory.path_of(file);
        self.file(file)?.metadata().map(|found| found.len()).map_err(|error| failed_at(&path, (file, 0), &error))
    }

    fn read(&mut self, name: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        let path = self.directory.path_of(name);
        let file = self.file(name)?;
        let mut read = 0;
        while read < into.len() {
            match file.read_at(&mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed_at(&path, (name, offset), &error)),
            }
        }
        if let Some(progress) = self.progress {
            progress.note_read(read as u64);
        }
        Ok(read)
    }
}
