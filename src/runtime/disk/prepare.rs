//! Files made whole and durable before they count. Each call may take as long as the disk does.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::error::DirectoryError;
use super::held::take_unread;
use crate::store::WriteBuffer;
use crate::store::format::SegmentNumber;

/// Bytes of zeros that are written at a time.
const ZEROS_BYTES: usize = 1024 * 1024;

/// Makes `path` a segment of `bytes`: of `spare` if there is one that nobody reads, whose bytes stay, or of a new file that is filled with
/// zeros. A file that was filled once is written to without the file system having to note anything, which is what makes
/// a durable write cheap.
pub fn make_segment(path: &Path, spare: Option<&Path>, bytes: u64) -> Result<(), DirectoryError> {
    if let Some(spare) = spare {
        let unread = take_unread(spare);
        let is_right = unread.is_ok() && fs::metadata(spare).is_ok_and(|found| found.len() == bytes);
        if is_right && fs::rename(spare, path).is_ok() {
            return sync_folder_of(path);
        }
    }
    let partial = path.with_extension("new");
    let of = |error| DirectoryError::of(&partial, error);
    let filled = fill(&partial, bytes);
    if let Err(error) = filled {
        // A file that could not be filled takes room from those that can.
        let _ = fs::remove_file(&partial);
        return Err(of(error));
    }
    fs::rename(&partial, path).map_err(of)?;
    sync_folder_of(path)
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    // Past the page cache, which has better uses; where a file system does not know that, with it.
    let direct = options.clone().custom_flags(libc::O_DIRECT).open(path);
    let file = match direct {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => options.open(path)?,
        Err(error) => return Err(error),
    };
    let mut zeros = WriteBuffer::default();
    zeros.resize(ZEROS_BYTES.min(bytes as usize));
    let mut at = 0;
    while at < bytes {
        let len = (bytes - at).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros.bytes_mut()[..len], at)?;
        at += len as u64;
    }
    file.sync_all()
}

/// Replaces a small file with these bytes: whoever reads it finds the old ones or the new ones, whatever happens meanwhile. On a full
/// disk one that is as long is written over where it is; what is in it may then be neither.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), DirectoryError> {
    match replace_whole_file(path, bytes) {
        Err(error) if error.is_full() && overwrite_file(path, bytes) => Ok(()),
        replaced => replaced,
    }
}

/// The same, but that on a full disk the old bytes stay.
pub fn replace_whole_file(path: &Path, bytes: &[u8]) -> Result<(), DirectoryError> {
    let partial = path.with_extension("new");
    let of = |error| DirectoryError::of(&partial, error);
    let replaced = write_file(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if let Err(error) = replaced {
        let _ = fs::remove_file(&partial);
        return Err(of(error));
    }
    sync_folder_of(path)
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()
}

/// Returns whether it could be done.
fn overwrite_file(path: &Path, bytes: &[u8]) -> bool {
    let is_as_long = fs::metadata(path).is_ok_and(|found| found.len() == bytes.len() as u64);
    let write = |file: File| file.write_all_at(bytes, 0).and_then(|()| file.sync_all());
    is_as_long && OpenOptions::new().write(true).open(path).and_then(write).is_ok()
}

/// A segment's file, open for the writes that acknowledgements wait for.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    /// Which.
    pub number: SegmentNumber,
    /// Open for writing.
    pub file: Arc<OwnedFd>,
    /// Whether writes go past the page cache.
    pub is_direct: bool,
}

/// Opens a segment that was made before. Where the file system does not know writes past the page cache, they go through it, and
/// the sync behind each of them has more to do.
pub(super) fn open_segment(path: &Path, number: SegmentNumber) -> Result<SegmentFile, DirectoryError> {
    let mut options = OpenOptions::new();
    options.write(true);
    let (file, is_direct) = match options.clone().custom_flags(libc::O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (options.open(path), false),
        file => (file, true),
    };
    let file = Arc::new(file.map_err(|error| DirectoryError::of(path, error))?.into());
    Ok(SegmentFile { number, file, is_direct })
}

/// Gives a file another name in the same directory tree, for good.
pub(super) fn move_file(from: &Path, to: &Path) -> Result<(), DirectoryError> {
    fs::rename(from, to).map_err(|error| DirectoryError::of(from, error))?;
    sync_folder_of(to)?;
    sync_folder_of(from)
}

/// Deletes a file for good; one that is not there is fine.
pub fn remove_file(path: &Path) -> Result<(), DirectoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DirectoryError::of(path, error)),
        _ => sync_folder_of(path),
    }
}

pub(super) fn sync_folder_of(path: &Path) -> Result<(), DirectoryError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or_else(|| Path::new(".")))
}

/// Makes durable which files are in a folder.
pub(super) fn sync_folder(path: &Path) -> Result<(), DirectoryError> {
    let folder = File::open(path).map_err(|error| DirectoryError::of(path, error))?;
    folder.sync_all().map_err(|error| DirectoryError::Unsynced { path: path.to_owned(), error })
}
