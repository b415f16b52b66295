//! What recovery reads: files, by name, block by block. The broker has a directory behind it, tests have sectors.

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
        let len = medium.len(file)?;
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
        match self.medium.read(self.file, from, &mut self.window) {
            Ok(read) => self.window.truncate(read),
            Err(MediumError::Unreadable { .. }) => {
                for (index, block) in self.window.chunks_mut(STORE_BLOCK_BYTES).enumerate() {
                    let offset = from + (index * STORE_BLOCK_BYTES) as u64;
                    match self.medium.read(self.file, offset, block) {
                        Ok(_) => {}
                        Err(MediumError::Unreadable { .. }) => block.fill(0),
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
