//! Where the records of one segment begin, known every few kilobytes: enough to read one record without reading its batch.
//!
//! Owns: a list of places that grows as the segment does, and which messages in it were written before, in segments that may be gone.
//! Always holds: only batches that are whole are in it; each batch's first record is; memory is some hundredth of a percent of what is on the disk.
//! Leaves to others: whether what stands at a place is what is looked for (its checksum says so), and which segments there are (`finder`).

use super::format::{
    BatchHeader, LogId, MessageId, SEGMENT_BLOCKS_MAX, SegmentHeader, SegmentNumber, StoreFile, message_id, padded,
    record_len,
};
use super::medium::{Medium, MediumAround, MediumError};
use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_BLOCK_BYTES, STORE_READ_ATTEMPTS};

/// See the module's text.
#[derive(Debug)]
pub(super) struct SegmentIndex {
    header: SegmentHeader,
    /// Ascending.
    known: Vec<KnownRecord>,
    /// Messages that were written again here, by ascending id: where.
    copies: Vec<(MessageId, u64)>,
    /// The first block that was not looked at.
    next_block: u32,
    /// Behind the last record that is known of.
    next: u64,
    /// Nothing more comes.
    is_whole: bool,
    /// The disk did not give all of it back, for this reason: something may be missing here.
    doubt: Option<MediumError>,
    /// How often it was begun again for that.
    attempts: u32,
}

/// How far a segment is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// To its end: the log goes on in another one.
    Complete,
    /// To the end of what is written, which is where nothing fits.
    Written,
    /// The same, and what stands behind does fit: what is looked for is durable, so something in front of it is damaged.
    PastDamage,
}

/// A record whose place is known.
#[derive(Clone, Copy, Debug)]
struct KnownRecord {
    /// Positions behind the segment's first.
    ordinal: u32,
    /// From the beginning of the file.
    offset: u32,
}

/// So many bytes may lie between two records whose places are known, unless one record is longer.
const KNOWN_EVERY_BYTES: usize = 4096;
/// What is read at a time of a segment that is looked through, and of one record and those in front of it.
const WINDOW_BYTES: usize = 256 * 1024;
const RECORD_READ_BYTES: usize = 2 * KNOWN_EVERY_BYTES;

impl SegmentIndex {
    /// Of a segment that was begun and not looked at yet.
    pub(super) const fn new(header: SegmentHeader) -> Self {
        let next = header.first;
        Self {
            header,
            known: Vec::new(),
            copies: Vec::new(),
            next_block: 1,
            next,
            is_whole: false,
            doubt: None,
            attempts: 1,
        }
    }

    /// Position of the segment's first record.
    pub(super) const fn first(&self) -> u64 {
        self.header.first
    }

    /// Whether the place of this record is known.
    pub(super) const fn reaches(&self, position: u64) -> bool {
        position < self.next
    }

    /// Where a message was written again in this segment.
    pub(super) fn copy_of(&self, id: MessageId) -> Option<u64> {
        let at = self.copies.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.copies[at].1)
    }

    /// Looks at what has come since it was looked at last.
    pub(super) fn extend<M: Medium>(
        &mut self,
        medium: &mut MediumAround<'_, M>,
        log: LogId,
        extent: Extent,
    ) -> Result<(), MediumError> {
        if self.is_whole {
            return Ok(());
        }
        let file = StoreFile::Segment(log, self.header.number);
        let refusals = medium.refusals();
        let blocks = (medium.len(file)? / STORE_BLOCK_BYTES as u64).min(SEGMENT_BLOCKS_MAX.into()) as u32;
        let mut window = FileWindow { file, at: 0, bytes: Vec::new() };
        let (copies, mut block) = (self.copies.len(), self.next_block);
        while block < blocks {
            if let Some(taken) = self.take_batch(window.batch_at(medium, block)?, log, block) {
                block += taken;
                self.next_block = block;
            } else if extent == Extent::Written {
                break;
            } else {
                block += 1; // it is damaged, or nothing was written here
            }
        }
        self.is_whole = extent == Extent::Complete;
        if self.copies.len() > copies {
            self.copies.sort_unstable();
            // The latest counts, though each is the same message.
            self.copies.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        if self.is_whole {
            self.known.shrink_to_fit();
            self.copies.shrink_to_fit();
        }
        if medium.refusals() > refusals {
            self.doubt = medium.refused().cloned();
        }
        Ok(())
    }

    /// Something was not found. Where the disk did not give everything back, which is said, all is looked at again, some times.
    pub(super) fn look_again(&mut self) -> Option<MediumError> {
        if self.attempts >= STORE_READ_ATTEMPTS {
            return None;
        }
        let doubt = self.doubt.take()?;
        *self = Self { attempts: self.attempts + 1, ..Self::new(self.header) };
        Some(doubt)
    }

    /// Notes the records of a batch that begins with these bytes. Returns how many blocks it has; `None`: there is none of this segment.
    fn take_batch(&mut self, bytes: &[u8], log: LogId, block: u32) -> Option<u32> {
        let header = BatchHeader::read(bytes).ok()?;
        let place = header.place;
        let is_own = (place.shard, place.segment, place.block, place.epoch)
            == (log.shard, self.header.number, block, self.header.epoch);
        if !is_own || header.first < self.next {
            return None;
        }
        let records = header.open(bytes).ok()?.bytes();
        let records_at = block as usize * STORE_BLOCK_BYTES + BatchHeader::BYTES;
        let (mut at, mut position, mut known_at) = (0, header.first, None);
        while let Some(len) = record_len(&records[at..]) {
            if known_at.is_none_or(|known_at| at - known_at >= KNOWN_EVERY_BYTES) {
                let (ordinal, offset) = ((position - self.header.first) as u32, (records_at + at) as u32);
                self.known.push(KnownRecord { ordinal, offset });
                known_at = Some(at);
            }
            if let Some(id) = message_id(&records[at..at + len]).filter(|id| id.0 != position) {
                self.copies.push((id, position));
            }
            at += len;
            position += 1;
        }
        self.next = header.first + u64::from(header.count);
        Some((padded(header.len as usize) / STORE_BLOCK_BYTES) as u32)
    }

    /// The bytes that stand where a record is to be, put into `out`. `false`: there are none.
    pub(super) fn read_record<M: Medium>(
        &self,
        medium: &mut M,
        log: LogId,
        position: u64,
        out: &mut Vec<u8>,
    ) -> Result<bool, MediumError> {
        out.clear();
        let Some(ordinal) = position.checked_sub(self.header.first).filter(|_| self.reaches(position)) else {
            return Ok(false);
        };
        let behind = self.known.partition_point(|known| u64::from(known.ordinal) <= ordinal);
        let Some(known) = behind.checked_sub(1).map(|at| self.known[at]) else { return Ok(false) };
        let file = StoreFile::Segment(log, self.header.number);
        let (mut skip, mut from) = (ordinal - u64::from(known.ordinal), 0);
        let mut wanted = RECORD_READ_BYTES;
        loop {
            let had = out.len();
            out.resize(wanted, 0);
            let read = medium.read(file, u64::from(known.offset) + had as u64, &mut out[had..])?;
            out.truncate(had + read);
            while let Some(len) = record_len(&out[from..]) {
                if skip == 0 {
                    out.truncate(from + len);
                    out.drain(..from);
                    return Ok(true);
                }
                (from, skip) = (from + len, skip - 1);
            }
            if read == 0 || wanted >= 2 * STORE_BATCH_MAX_BYTES {
                return Ok(false);
            }
            wanted *= 4;
        }
    }

    /// Which it is.
    pub(super) const fn number(&self) -> SegmentNumber {
        self.header.number
    }
}

/// Part of a file that is gone through.
struct FileWindow {
    file: StoreFile,
    at: u64,
    bytes: Vec<u8>,
}

impl FileWindow {
    /// The bytes from a block on: a whole batch, if one begins there.
    fn batch_at<M: Medium>(&mut self, medium: &mut M, block: u32) -> Result<&[u8], MediumError> {
        let from = u64::from(block) * STORE_BLOCK_BYTES as u64;
        self.see_to(medium, from, STORE_BLOCK_BYTES)?;
        let start = (from - self.at) as usize;
        if let Ok(header) = BatchHeader::read(&self.bytes[start..]) {
            self.see_to(medium, from, header.len as usize)?;
        }
        Ok(&self.bytes[(from - self.at) as usize..])
    }

    /// Sees that so many bytes from `from` on are there, or all that the file has.
    fn see_to<M: Medium>(&mut self, medium: &mut M, from: u64, len: usize) -> Result<(), MediumError> {
        if from >= self.at && from + len as u64 <= self.at + self.bytes.len() as u64 {
            return Ok(());
        }
        self.at = from;
        self.bytes.resize(WINDOW_BYTES.max(len), 0);
        let read = medium.read(self.file, from, &mut self.bytes)?;
        self.bytes.truncate(read);
        Ok(())
    }
}
