//! Why a data directory was not copied, in one line.

use std::io;
use std::path::{Path, PathBuf};

use super::error::DirectoryError;
use super::survey::SurveyError;
use crate::store::MediumError;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What is to be copied, or what was.
    #[error(transparent)]
    Store(#[from] SurveyError),
    /// There is something already where the copy is to be.
    #[error("{} has something in it already: a backup needs a directory of its own", .0.display())]
    Exists(PathBuf),
    /// It would be copied into itself.
    #[error("{} lies within the directory that is to be copied: choose another place", .0.display())]
    Within(PathBuf),
    /// There is not enough room where the copy is to be.
    #[error("{} has no room: {} MB are free and {} MB are needed", path.display(), free_bytes / 1_000_000, needed_bytes.div_ceil(1_000_000))]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// What there is.
        free_bytes: u64,
        /// What the rest of the copy takes.
        needed_bytes: u64,
    },
    /// A file of the directory.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file of the copy.
    #[error("{} cannot be written: {error}", path.display())]
    Copy {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A broker was started or stopped meanwhile, again and again.
    #[error("{} is used by a broker that starts again and again: nothing was copied, try again when it stays", .0.display())]
    Changing(PathBuf),
}

impl BackupError {
    pub(super) fn of_copy(path: &Path, error: io::Error) -> Self {
        Self::Copy { path: path.to_owned(), error }
    }
}

impl From<DirectoryError> for BackupError {
    fn from(error: DirectoryError) -> Self {
        Self::Store(error.into())
    }
}

impl From<MediumError> for BackupError {
    fn from(error: MediumError) -> Self {
        Self::Store(error.into())
    }
}
