//! Copying one file into a backup: a complete one as it is, and the segment that is written so that the copy has no holes.
//!
//! Always holds: a copy is as long as its file, and durable. Of a segment that is written, no block is in the copy without all those before it
//! that were written earlier. What the disk does not give back is zeros in the copy, which are nothing, and are told as damage where something was.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::backup_error::BackupError;
use crate::limits::STORE_BLOCK_BYTES;
use crate::store::format::{BatchHeader, SegmentHeader, SegmentNumber};

/// Bytes that are copied at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Copies a file that nobody writes.
pub(super) fn copy_complete(from: &File, path: &Path, to: &Path) -> Result<(), BackupError> {
    let of_source = |error| BackupError::Unreadable { path: path.to_owned(), error };
    let of_copy = |error| BackupError::of_copy(to, error);
    let len = from.metadata().map_err(of_source)?.len();
    let copy = create(to).map_err(of_copy)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < len {
        let chunk = &mut chunk[..CHUNK_BYTES.min((len - at) as usize)];
        read_all(from, at, chunk).map_err(of_source)?;
        write_some(&copy, at, chunk).map_err(of_copy)?;
        at += chunk.len() as u64;
    }
    finish(&copy, len).map_err(of_copy)
}

/// Copies a segment that may be written meanwhile. Returns whether it was begun; if not, the copy is of no use.
///
/// Its blocks are read from the last to the first, one at a time: they are written from the first to the last, each write when the one before is durable.
/// So whatever was written before a block that was read is there when it is read itself.
pub(super) fn copy_written(
    from: &File,
    number: SegmentNumber,
    (path, to): (&Path, &Path),
) -> Result<bool, BackupError> {
    let of_source = |error| BackupError::Unreadable { path: path.to_owned(), error };
    let of_copy = |error| BackupError::of_copy(to, error);
    let len = from.metadata().map_err(of_source)?.len();
    let copy = create(to).map_err(of_copy)?;
    read_ahead(from, len);
    let mut block = [0; STORE_BLOCK_BYTES];
    let mut is_begun = false;
    for at in (0..len / STORE_BLOCK_BYTES as u64).rev() {
        let at = at * STORE_BLOCK_BYTES as u64;
        read_all(from, at, &mut block).map_err(of_source)?;
        is_begun |= BatchHeader::read(&block).is_ok_and(|header| header.place.segment == number)
            || SegmentHeader::open(&block).is_ok_and(|header| header.number == number);
        write_some(&copy, at, &block).map_err(of_copy)?;
    }
    finish(&copy, len).map_err(of_copy)?;
    Ok(is_begun)
}

/// Has the kernel read a file in large pieces: one block after the other, from the end, is a wait for the disk each. What is written meanwhile past
/// its cache it reads again.
fn read_ahead(file: &File, len: u64) {
    let mut chunk = vec![0; CHUNK_BYTES];
    for at in (0..len).step_by(CHUNK_BYTES) {
        // Whatever is wrong is found by who needs the bytes.
        let _ = file.read_at(&mut chunk, at);
    }
}

/// Leaves out of a copied segment all that begins at a block, or behind it.
pub(super) fn cut_off(path: &Path, block: u32) -> Result<(), BackupError> {
    let cut = || {
        let file = OpenOptions::new().write(true).open(path)?;
        let len = file.metadata()?.len();
        file.set_len(len.min(u64::from(block) * STORE_BLOCK_BYTES as u64))?;
        finish(&file, len)
    };
    cut().map_err(|error| BackupError::of_copy(path, error))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn finish(copy: &File, len: u64) -> io::Result<()> {
    copy.set_len(len)?;
    copy.sync_all()
}

/// Zeros need no room: what was not written reads as such.
fn write_some(copy: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { copy.write_all_at(bytes, at) }
}

/// Reads all of it. Blocks that the disk does not give back are zeros.
fn read_all(file: &File, at: u64, into: &mut [u8]) -> io::Result<()> {
    let is_unreadable =
        |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADMSG | libc::EUCLEAN));
    match file.read_exact_at(into, at) {
        Err(error) if is_unreadable(&error) && into.len() > STORE_BLOCK_BYTES => {
            let blocks = into.chunks_mut(STORE_BLOCK_BYTES).enumerate();
            blocks
                .into_iter()
                .try_for_each(|(index, block)| read_all(file, at + (index * STORE_BLOCK_BYTES) as u64, block))
        }
        Err(error) if is_unreadable(&error) => {
            into.fill(0);
            Ok(())
        }
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{BATCH_BYTES, LOG, SampleLog};
    use super::*;
    use crate::store::format::StoreFile;
    use std::fs;

    #[test]
    fn a_copy_is_the_same_and_says_whether_the_segment_was_begun() {
        let log = SampleLog::new("copy");
        log.write_segment("t", BATCH_BYTES);
        let path = log.path_of(StoreFile::Segment(LOG, SegmentNumber(1)));
        let (first, second) = (path.with_extension("first"), path.with_extension("second"));
        let file = File::open(&path).unwrap();
        copy_complete(&file, &path, &first).unwrap();
        assert!(copy_written(&file, SegmentNumber(1), (&path, &second)).unwrap());
        let whole = fs::read(&path).unwrap();
        assert!(fs::read(&first).unwrap() == whole && fs::read(&second).unwrap() == whole);
        cut_off(&second, 2).unwrap();
        let cut = fs::read(&second).unwrap();
        assert!(cut.len() == whole.len() && cut[..2 * STORE_BLOCK_BYTES] == whole[..2 * STORE_BLOCK_BYTES]);
        assert!(cut[2 * STORE_BLOCK_BYTES..].iter().all(|byte| *byte == 0));
        // The same bytes in a file that is to become another segment.
        fs::remove_file(&second).unwrap();
        assert!(!copy_written(&file, SegmentNumber(2), (&path, &second)).unwrap());
        assert!(matches!(copy_complete(&file, &path, &first), Err(BackupError::Copy { .. })), "nothing is replaced");
    }
}
