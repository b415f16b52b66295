//! What recovery reads: files, by name, block by block. The broker has a directory behind it, tests have sectors.
//!
//! Always holds: what the disk does not give back costs the blocks that it stands in and no others, whoever reads.

use super::format::{LogId, StoreFile};
use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_BLOCK_BYTES};

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediumError {
    /// The disk does not give these bytes back.
    #[error("the disk cannot read {file} at byte {offset}")]
    Unreadable {
        /// Which.
        file: StoreFile,
        /// From where on.
        offset: u64,
    },
    /// Anything else: nothing can be recovered before somebody has mended it.
    #[error("{0}")]
    Failed(String),
}

/// See the module's text.
pub trait Medium {
    /// The files of a log, in any order.
    fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError>;
    /// How long a file is.
    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError>;
    /// Reads up to as many bytes as there is room for; fewer only at the end of the file.
    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError>;
}

/// A file that is gone through from its beginning to its end, with room for the largest thing in it.
pub(super) struct BlockReader<'a, M: Medium> {
    medium: &'a mut M,
    file: StoreFile,
    len: u64,
    window: Vec<u8>,
    at: u64,
}

/// Bytes that are read at a time.
const WINDOW_BYTES: usize = 4 * STORE_BATCH_MAX_BYTES;

impl<'a, M: Medium> BlockReader<'a, M> {
    pub(super) fn open(medium: &'a mut M, file: StoreFile) -> Result<Self, MediumError> {
        // Of one that cannot be opened nothing can be read.
        let len = match medium.len(file) {
            Err(MediumError::Unreadable { .. }) => 0,
            len => len?,
        };
        Ok(Self { medium, file, len, window: Vec::new(), at: 0 })
    }

    /// Whole blocks of the file.
    pub(super) const fn blocks(&self) -> u32 {
        (self.len / STORE_BLOCK_BYTES as u64) as u32
    }

    /// The bytes from a block on, as many as the largest batch may have, or as there are. Blocks that the disk does not give
    /// back are zeros, which are nothing.
    pub(super) fn block_at(&mut self, block: u32) -> Result<&[u8], MediumError> {
        let from = u64::from(block) * STORE_BLOCK_BYTES as u64;
        let wanted = (self.len.saturating_sub(from)).min(STORE_BATCH_MAX_BYTES as u64);
        let is_there = from >= self.at && from + wanted <= self.at + self.window.len() as u64;
        if !is_there {
            self.fill(from)?;
        }
        let start = (from - self.at) as usize;
        Ok(&self.window[start..(start + wanted as usize).min(self.window.len())])
    }

    fn fill(&mut self, from: u64) -> Result<(), MediumError> {
        let len = (self.len.saturating_sub(from)).min(WINDOW_BYTES as u64) as usize;
        self.window.resize(len, 0);
        self.at = from;
        let (read, _) = read_around(self.medium, self.file, from, &mut self.window)?;
        self.window.truncate(read);
        Ok(())
    }
}

/// Reads as [`Medium::read`] does, and once more block by block where the disk refuses: blocks that it does not give back are zeros, which are
/// nothing. Gives what was wrong with the first of them, too.
pub(super) fn read_around<M: Medium>(
    medium: &mut M,
    file: StoreFile,
    offset: u64,
    into: &mut [u8],
) -> Result<(usize, Option<MediumError>), MediumError> {
    match medium.read(file, offset, into) {
        Err(MediumError::Unreadable { .. }) => {}
        read => return read.map(|read| (read, None)),
    }
    let (mut at, mut refused) = (0, None);
    while at < into.len() {
        let from = offset + at as u64;
        let left_of_block = STORE_BLOCK_BYTES - (from % STORE_BLOCK_BYTES as u64) as usize;
        let end = into.len().min(at + left_of_block);
        match medium.read(file, from, &mut into[at..end]) {
            Ok(read) if read < end - at => return Ok((at + read, refused)),
            Ok(_) => {}
            Err(error @ MediumError::Unreadable { .. }) => {
                into[at..end].fill(0);
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
        at = end;
    }
    Ok((at, refused))
}

/// A medium that is read as by [`read_around`], and what it has refused.
pub(super) struct MediumAround<'a, M> {
    medium: &'a mut M,
    refused: Option<MediumError>,
    refusals: u32,
}

impl<'a, M: Medium> MediumAround<'a, M> {
    pub(super) const fn new(medium: &'a mut M) -> Self {
        Self { medium, refused: None, refusals: 0 }
    }

    /// What was wrong with the first block that the disk did not give back.
    pub(super) const fn refused(&self) -> Option<&MediumError> {
        self.refused.as_ref()
    }

    /// How many reads it did not give everything back of.
    pub(super) const fn refusals(&self) -> u32 {
        self.refusals
    }

    fn note<T>(&mut self, (value, refused): (T, Option<MediumError>)) -> T {
        self.refusals += u32::from(refused.is_some());
        self.refused = self.refused.take().or(refused);
        value
    }
}

impl<M: Medium> Medium for MediumAround<'_, M> {
    fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        self.medium.files(log)
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        let len = match self.medium.len(file) {
            Err(error @ MediumError::Unreadable { .. }) => (0, Some(error)),
            len => (len?, None),
        };
        Ok(self.note(len))
    }

    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        let read = read_around(self.medium, file, offset, into)?;
        Ok(self.note(read))
    }
}
