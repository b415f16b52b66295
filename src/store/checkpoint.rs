//! Checkpoints: what a log comes to, in pages that are written while the log goes on.
//!
//! Always holds: a page says as of which position it is; slots and positions of pages ascend; a checkpoint counts when its last page is
//! there and every page before it names the checksum of the one before. A file that is cut off, or damaged anywhere, counts
//! for nothing.
//! Leaves to others: which sessions are in a page, how fast pages are written (`shard`, `runtime`).

use std::ops::Range;

use super::buffer::WriteBuffer;
use super::format::{FormatError, LogId, PageHeader, PageKind, StoreFile, padded, record_len};
use super::medium::{BlockReader, Medium, MediumError};
use super::state::LogState;
use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_BLOCK_BYTES};

/// Bytes for a checkpoint's file, one page behind the other.
#[derive(Debug)]
pub struct PageWrite {
    /// From the beginning of the file.
    pub offset: u64,
    /// An allocation that holds them.
    pub bytes: Vec<u8>,
    /// Where in it they are: aligned, and whole blocks long.
    pub range: Range<usize>,
}

/// Makes the pages of one checkpoint, in order.
#[derive(Debug)]
pub struct CheckpointWriter {
    log: LogId,
    checkpoint: u32,
    pages: u32,
    previous: u32,
    offset: u64,
}

impl CheckpointWriter {
    /// Begins checkpoint `number` of a log whose records up to `position` have had their effect; the log is replayed from
    /// there. Returns the first page.
    pub fn begin(log: LogId, number: u32, position: u64) -> (Self, PageWrite) {
        let mut writer = Self { log, checkpoint: number, pages: 0, previous: 0, offset: 0 };
        let page = writer.page(PageKind::Begin, position, 0..0, &[]);
        (writer, page)
    }

    /// Sessions in `slots` as of `position`, by their records. What does not fit into a page makes several.
    pub fn sessions(&mut self, position: u64, slots: Range<u32>, records: &[u8]) -> Vec<PageWrite> {
        let mut pages = Vec::new();
        let mut rest = records;
        while let Some((page, behind)) = cut(rest) {
            // These slots are covered by the last of the pages: only with it all of their records are there.
            pages.push(self.page(PageKind::Sessions, position, slots.start..slots.start, page));
            rest = behind;
        }
        pages.push(self.page(PageKind::Sessions, position, slots, rest));
        pages
    }

    /// Retained messages, or what is in the mailbox, by their records.
    pub fn others(&mut self, kind: PageKind, position: u64, records: &[u8]) -> Vec<PageWrite> {
        debug_assert!(matches!(kind, PageKind::Retained | PageKind::Outbox));
        let mut pages = Vec::new();
        let mut rest = records;
        while let Some((page, behind)) = cut(rest) {
            pages.push(self.page(kind, position, 0..0, page));
            rest = behind;
        }
        pages.push(self.page(kind, position, 0..0, rest));
        pages
    }

    /// The last page. The checkpoint counts once it is on the disk, and everything before it.
    pub fn end(mut self, position: u64) -> PageWrite {
        self.page(PageKind::End, position, 0..0, &[])
    }

    fn page(&mut self, kind: PageKind, as_of: u64, slots: Range<u32>, records: &[u8]) -> PageWrite {
        let len = PageHeader::BYTES + records.len();
        let mut buffer = WriteBuffer::default();
        buffer.resize(PageHeader::BYTES);
        buffer.extend(records);
        buffer.resize(padded(len));
        let header = PageHeader {
            kind,
            shard: self.log.shard,
            generation: self.log.generation,
            checkpoint: self.checkpoint,
            number: self.pages,
            as_of,
            first: slots.start,
            end: slots.end,
            previous: self.previous,
            len: len as u32,
        };
        self.previous = header.seal(&mut buffer.bytes_mut()[..len]);
        self.pages += 1;
        let offset = self.offset;
        self.offset += padded(len) as u64;
        let (bytes, range) = buffer.into_parts();
        PageWrite { offset, bytes, range }
    }
}

/// The records that fit into a page, and those behind; `None` if all fit.
fn cut(records: &[u8]) -> Option<(&[u8], &[u8])> {
    const ROOM: usize = STORE_BATCH_MAX_BYTES - PageHeader::BYTES;
    if records.len() <= ROOM {
        return None;
    }
    let mut len = 0;
    while let Some(next) = record_len(&records[len..]).filter(|next| len + next <= ROOM) {
        len += next;
    }
    assert!(len > 0, "no record is longer than a page");
    Some(records.split_at(len))
}

/// Why a checkpoint counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A page is not what was written, or not there.
    #[error("page {page} of it: {error}")]
    Page {
        /// Counted from 0.
        page: u32,
        /// What is wrong with it.
        error: FormatError,
    },
    /// The file ends before the last page.
    #[error("it was never completed")]
    Incomplete,
    /// It cannot be read.
    #[error(transparent)]
    Medium(#[from] MediumError),
}

/// What was read of a checkpoint.
#[derive(Debug)]
pub(super) struct LoadedCheckpoint {
    pub(super) state: LogState,
    /// The log is replayed behind this position.
    pub(super) position: u64,
}

/// Reads a checkpoint into a state of its own.
pub(super) fn load_checkpoint<M: Medium>(
    medium: &mut M,
    log: LogId,
    number: u32,
) -> Result<LoadedCheckpoint, CheckpointError> {
    let mut reader = BlockReader::open(medium, StoreFile::Checkpoint(log, number))?;
    let mut loaded = LoadedCheckpoint { state: LogState::default(), position: 0 };
    let (mut block, mut page, mut previous) = (0, 0, 0);
    while block < reader.blocks() {
        let bytes = reader.block_at(block)?;
        let fails = |error| CheckpointError::Page { page, error };
        let header = PageHeader::read(bytes).map_err(fails)?;
        let is_first = header.kind == PageKind::Begin;
        let is_here = (header.shard, header.generation, header.checkpoint) == (log.shard, log.generation, number)
            && (header.number, header.previous) == (page, previous);
        if !is_here || is_first != (page == 0) {
            return Err(fails(FormatError::NotFound("page of this place")));
        }
        let (records, checksum) = header.open(bytes).map_err(fails)?;
        match header.kind {
            PageKind::Begin => {
                loaded.position = header.as_of;
                loaded.state.begin_checkpoint(header.as_of);
            }
            PageKind::Sessions => loaded.state.cover(header.first..header.end, header.as_of),
            PageKind::Retained | PageKind::Outbox => {}
            PageKind::End => return Ok(loaded),
        }
        for record in records {
            loaded.state.apply_page(&record.map_err(fails)?);
        }
        block += (padded(header.len as usize) / STORE_BLOCK_BYTES) as u32;
        previous = checksum;
        page += 1;
    }
    Err(CheckpointError::Incomplete)
}
