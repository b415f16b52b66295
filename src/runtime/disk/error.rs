//! Why a data directory cannot be used, in one line that says what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::format::FormatError;

/// See the module's text.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It does not exist, or is no directory.
    #[error("{} is no data directory: {reason}", path.display())]
    NotThere {
        /// As it was given.
        path: PathBuf,
        /// What is there instead.
        reason: String,
    },
    /// Another process has it.
    #[error("{} is in use by another dunlin: stop that first; another broker needs a directory of its own (--data-dir) or none (--storage memory)", .0.display())]
    InUse(PathBuf),
    /// A later dunlin wrote it.
    #[error("{} was written by a newer dunlin: {error}; start that one, or choose another directory", path.display())]
    Newer {
        /// As it was given.
        path: PathBuf,
        /// Names the version, and the latest that is known here.
        error: FormatError,
    },
    /// It is another node's.
    #[error("{} belongs to node {found:?} and this is node {own:?}; give this one its own directory, or the other's name with --node-name", path.display())]
    OtherNode {
        /// As it was given.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asks.
        own: String,
    },
    /// Nothing can be written there.
    #[error("{} cannot be written to: {error}; choose another data directory (--data-dir) or none (--storage memory)", path.display())]
    NotWritable {
        /// The directory, or what is in it.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// There is no room for another file of the log.
    #[error("{} has no room: {} MB are free and {} MB are needed, for a file of the log (--segment-size) and what is left to others \
             (--free-space-min); make room, or choose another directory (--data-dir) or none (--storage memory)", path.display(), free_bytes / 1_000_000, needed_bytes.div_ceil(1_000_000))]
    Full {
        /// The directory.
        path: PathBuf,
        /// What there is.
        free_bytes: u64,
        /// What there has to be.
        needed_bytes: u64,
    },
    /// Nobody has said where it is.
    #[error(
        "there is no place for a data directory, HOME is not set: choose one (--data-dir) or none (--storage memory)"
    )]
    Unknown,
    /// It has logs, and nobody knows whose they are.
    #[error("{} has logs and no manifest, without which they cannot be read: put its manifest back, or choose another directory", .0.display())]
    NoManifest(PathBuf),
    /// Its manifest is not what was written.
    #[error("{} is damaged: {error}", path.display())]
    Manifest {
        /// Of the manifest.
        path: PathBuf,
        /// What is wrong.
        error: FormatError,
    },
    /// Nobody knows which of its names are on the disk.
    #[error("{}: which files are in it could not be made durable: {error}", path.display())]
    Unsynced {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Something else about it.
    #[error("{}: {error}", path.display())]
    Other {
        /// Of what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl DirectoryError {
    /// Whether there is no room.
    pub(in crate::runtime) fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::NotWritable { error, .. } => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// Whether nothing can be written any more: that is never tried again. A sync that failed may be said to have gone well the next time, without having
    /// done anything.
    pub(in crate::runtime) fn is_of_the_whole_disk(&self) -> bool {
        let errno = self.errno();
        matches!(self, Self::Unsynced { .. }) || matches!(errno, Some(libc::EROFS | libc::ENXIO | libc::ENODEV))
    }

    /// Whether the disk has failed what was to be written.
    pub(in crate::runtime) fn is_fatal(&self) -> bool {
        self.is_of_the_whole_disk() || matches!(self.errno(), Some(libc::EIO | libc::EBADMSG | libc::EUCLEAN))
    }

    fn errno(&self) -> Option<i32> {
        match self {
            Self::NotWritable { error, .. } | Self::Other { error, .. } => error.raw_os_error(),
            _ => None,
        }
    }

    /// What happened to `path`: whether it cannot be written to is told apart.
    pub(in crate::runtime) fn of(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded => Self::NotWritable { path, error },
            _ => Self::Other { path, error },
        }
    }
}
