//! What one flush writes: records behind a header, and how far the log has taken over what others sent to it.
//!
//! A batch begins at a block of its segment and is padded to whole blocks. The header says where it belongs (log, segment,
//! block, epoch), which positions it holds, and the checksum of the batch before it, so that nothing that was left over from
//! an earlier use of the file, or written to a wrong place, is taken for the next batch.

use super::error::FormatError;
use super::file::SegmentNumber;
use super::records::Records;
use super::{FORMAT_VERSION, POSITION_MAX, sealed};
use crate::ids::ShardId;
use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_BLOCK_BYTES};
use crate::time::Timestamp;

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    /// Whose log.
    pub shard: ShardId,
    /// Counts the broker's starts on this directory.
    pub epoch: u32,
    /// Of the log.
    pub segment: SegmentNumber,
    /// The first of its blocks, counted from the beginning of the segment.
    pub block: u32,
}

/// What stands before the records of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Where it was meant to be.
    pub place: BatchPlace,
    /// Position of the first record.
    pub first: u64,
    /// How many records there are.
    pub count: u32,
    /// When it was written.
    pub written: Timestamp,
    /// Checksum of the batch before it in the log; 0 for the first.
    pub previous: u32,
    /// It and the batch behind it are one change: without that, it counts for nothing.
    pub continues: bool,
    /// It and the batch before it are: the same holds.
    pub follows: bool,
    /// Entries behind the records.
    pub inbox: u8,
    /// Bytes of header, records and inbox, without padding.
    pub len: u32,
}

/// How many forwards of another log have been taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxCount {
    /// Where they come from.
    pub from: ShardId,
    /// The number of the last one.
    pub number: u64,
}

const MAGIC: [u8; 8] = *b"DnlBatch";
const CONTINUES: u8 = 1;
const FOLLOWS: u8 = 1 << 1;
/// Bytes of one inbox entry.
pub const INBOX_BYTES: usize = 9;

impl BatchHeader {
    /// How long it is, its checksum included.
    pub const BYTES: usize = 64;

    /// Reads a header and checks what can be checked without the rest of the batch: that one begins here, and that its length
    /// is one that is written. What comes of the bytes before [`Self::open`] has looked at them is not to be believed.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = sealed::begin(bytes, Self::BYTES, MAGIC, "batch")?;
        let what = "a batch's header";
        let shard = ShardId(reader.byte(what)?);
        let flags = reader.byte(what)?;
        let inbox = reader.byte(what)?;
        let _reserved = reader.byte(what)?;
        let len = reader.u32(what)?;
        let block = reader.u32(what)?;
        let segment = SegmentNumber(reader.u32(what)?);
        let epoch = reader.u32(what)?;
        let count = reader.u32(what)?;
        let first = reader.u64(what)?;
        let written = Timestamp(reader.u64(what)?);
        let previous = reader.u32(what)?;
        let least = Self::BYTES + usize::from(inbox) * INBOX_BYTES;
        if flags > CONTINUES | FOLLOWS
            || first > POSITION_MAX
            || (len as usize) < least
            || len as usize > STORE_BATCH_MAX_BYTES
        {
            return Err(FormatError::Invalid(what));
        }
        let place = BatchPlace { shard, epoch, segment, block };
        let (continues, follows) = (flags & CONTINUES != 0, flags & FOLLOWS != 0);
        Ok(Self { place, first, count, written, previous, continues, follows, inbox, len })
    }

    /// Checks the whole batch, of which this is the header, and gives out what is in it. `bytes` may go on behind it.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<BatchBody<'a>, FormatError> {
        let bytes = bytes.get(..self.len as usize).ok_or(FormatError::Truncated("a batch"))?;
        let checksum = sealed::check(bytes, Self::BYTES, "a batch")?;
        let inbox_bytes = usize::from(self.inbox) * INBOX_BYTES;
        let (records, inbox) = bytes[Self::BYTES..].split_at(bytes.len() - Self::BYTES - inbox_bytes);
        Ok(BatchBody { records, inbox, first: self.first, checksum })
    }

    /// Writes the header in front of records and inbox, which are in `bytes` already, and returns the checksum of all.
    /// `bytes` is as long as the batch.
    pub fn seal(&self, bytes: &mut [u8]) -> u32 {
        debug_assert_eq!(bytes.len(), self.len as usize);
        debug_assert!(bytes.len() <= STORE_BATCH_MAX_BYTES);
        let mut head = Vec::with_capacity(Self::BYTES);
        sealed::head(&mut head, MAGIC, FORMAT_VERSION);
        let flags = (u8::from(self.continues) * CONTINUES) | (u8::from(self.follows) * FOLLOWS);
        head.extend_from_slice(&[self.place.shard.0, flags, self.inbox, 0]);
        for number in [self.len, self.place.block, self.place.segment.0, self.place.epoch, self.count] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(&self.first.to_le_bytes());
        head.extend_from_slice(&self.written.0.to_le_bytes());
        head.extend_from_slice(&self.previous.to_le_bytes());
        sealed::seal(bytes, &head, Self::BYTES)
    }
}

/// What is in a batch that is as it was written.
#[derive(Clone, Copy, Debug)]
pub struct BatchBody<'a> {
    records: &'a [u8],
    inbox: &'a [u8],
    first: u64,
    /// Of the whole batch: what the next one has as `previous`.
    pub checksum: u32,
}

impl<'a> BatchBody<'a> {
    /// The bytes of its records.
    pub const fn bytes(&self) -> &'a [u8] {
        self.records
    }

    /// The records in their order.
    pub const fn records(&self) -> Records<'a> {
        Records::of_batch(self.records, self.first)
    }

    /// How far the log has come with what others sent.
    pub fn inbox(&self) -> impl Iterator<Item = InboxCount> + use<'a> {
        self.inbox.chunks_exact(INBOX_BYTES).filter_map(|entry| {
            let (&from, number) = entry.split_first()?;
            Some(InboxCount { from: ShardId(from), number: u64::from_le_bytes(number.try_into().ok()?) })
        })
    }
}

impl InboxCount {
    /// Appends it, as it stands behind the records of a batch.
    pub fn put(self, out: &mut Vec<u8>) {
        out.push(self.from.0);
        out.extend_from_slice(&self.number.to_le_bytes());
    }
}

/// `len`, rounded up to whole blocks.
pub const fn padded(len: usize) -> usize {
    len.next_multiple_of(STORE_BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;
    use crate::store::format::LogRecord;

    fn batch() -> (BatchHeader, Vec<u8>) {
        let mut bytes = vec![0; BatchHeader::BYTES];
        LogRecord::SessionEnded { session: SessionId(1) }.encode(9, &mut bytes);
        LogRecord::Connected { session: SessionId(2) }.encode(10, &mut bytes);
        InboxCount { from: ShardId(3), number: 77 }.put(&mut bytes);
        let place = BatchPlace { shard: ShardId(1), epoch: 2, segment: SegmentNumber(3), block: 4 };
        let header = BatchHeader {
            place,
            first: 9,
            count: 2,
            written: Timestamp(5),
            previous: 6,
            continues: true,
            follows: false,
            inbox: 1,
            len: bytes.len() as u32,
        };
        header.seal(&mut bytes);
        (header, bytes)
    }

    #[test]
    fn a_batch_reads_back_and_no_changed_bit_goes_unnoticed() {
        let (header, mut bytes) = batch();
        bytes.resize(STORE_BLOCK_BYTES, 0);
        assert_eq!(BatchHeader::read(&bytes), Ok(header));
        let body = header.open(&bytes).unwrap();
        assert_eq!(body.records().map(|record| record.unwrap().base).collect::<Vec<_>>(), [9, 10]);
        assert_eq!(body.inbox().collect::<Vec<_>>(), [InboxCount { from: ShardId(3), number: 77 }]);
        for bit in 0..header.len as usize * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = BatchHeader::read(&bytes).and_then(|header| header.open(&bytes).map(|_| ()));
            assert!(read.is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_length_that_lies_is_refused_before_it_is_used() {
        let (header, bytes) = batch();
        for len in [0, BatchHeader::BYTES as u32 + 8, STORE_BATCH_MAX_BYTES as u32 + 1, u32::MAX] {
            let mut lying = bytes.clone();
            lying[16..20].copy_from_slice(&len.to_le_bytes());
            assert!(BatchHeader::read(&lying).is_err(), "{len}");
        }
        assert_eq!(header.open(&bytes[..bytes.len() - 1]).err(), Some(FormatError::Truncated("a batch")));
        let mut newer = bytes.clone();
        newer[8..10].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
        assert_eq!(BatchHeader::read(&newer), Err(FormatError::Newer(FORMAT_VERSION + 1)));
    }
}
