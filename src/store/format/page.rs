//! A page of a checkpoint: records that rebuild what some slots, or some topics, held at one position.
//!
//! A page of sessions says which slots it is about and as of which position: whoever replays the log passes over older
//! records of these slots, and a slot in the range that the page does not name was vacant then.

use super::error::FormatError;
use super::records::Records;
use super::{FORMAT_VERSION, POSITION_MAX, sealed};
use crate::ids::ShardId;
use crate::limits::STORE_BATCH_MAX_BYTES;

/// What a page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PageKind {
    /// The first one: as of where the walk began, from which the log is replayed.
    Begin = 1,
    /// Sessions in the slots from `first` to before `end`.
    Sessions = 2,
    /// Retained messages.
    Retained = 3,
    /// Messages on their way to other logs, and the counts of both directions.
    Outbox = 4,
    /// The last one: without it the checkpoint counts for nothing.
    End = 5,
}

/// What stands before the records of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// What it is about.
    pub kind: PageKind,
    /// Of whose log.
    pub shard: ShardId,
    /// As the manifest counts them.
    pub generation: u32,
    /// Of which checkpoint of the log.
    pub checkpoint: u32,
    /// Counts the pages of the checkpoint, from 0.
    pub number: u32,
    /// Every record up to this position has had its effect on what is here.
    pub as_of: u64,
    /// The first slot that it is about.
    pub first: u32,
    /// The first slot behind them.
    pub end: u32,
    /// Checksum of the page before it; 0 for the first.
    pub previous: u32,
    /// Bytes of header and records, without padding.
    pub len: u32,
}

const MAGIC: [u8; 8] = *b"DnlCkptP";

impl PageHeader {
    /// How long it is, its checksum included.
    pub const BYTES: usize = 64;

    /// Reads a header and checks what can be checked without the rest of the page, as
    /// [`BatchHeader::read`](super::BatchHeader::read) does.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let what = "page";
        let mut reader = sealed::begin(bytes, Self::BYTES, MAGIC, what)?;
        let kind = match reader.byte(what)? {
            1 => PageKind::Begin,
            2 => PageKind::Sessions,
            3 => PageKind::Retained,
            4 => PageKind::Outbox,
            5 => PageKind::End,
            _ => return Err(FormatError::Invalid("a page's kind")),
        };
        let shard = ShardId(reader.byte(what)?);
        let _reserved = reader.u16(what)?;
        let generation = reader.u32(what)?;
        let checkpoint = reader.u32(what)?;
        let number = reader.u32(what)?;
        let first = reader.u32(what)?;
        let end = reader.u32(what)?;
        let previous = reader.u32(what)?;
        let len = reader.u32(what)?;
        let as_of = reader.u64(what)?;
        if (len as usize) < Self::BYTES || len as usize > STORE_BATCH_MAX_BYTES || first > end || as_of > POSITION_MAX {
            return Err(FormatError::Invalid("a page's header"));
        }
        Ok(Self { kind, shard, generation, checkpoint, number, as_of, first, end, previous, len })
    }

    /// Checks the whole page and gives out its records and its checksum. `bytes` may go on behind it.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<(Records<'a>, u32), FormatError> {
        let bytes = bytes.get(..self.len as usize).ok_or(FormatError::Truncated("a page"))?;
        let checksum = sealed::check(bytes, Self::BYTES, "a page")?;
        Ok((Records::of_page(&bytes[Self::BYTES..], self.as_of), checksum))
    }

    /// Writes the header in front of the records, which are in `bytes` already, and returns the checksum of all.
    pub fn seal(&self, bytes: &mut [u8]) -> u32 {
        debug_assert_eq!(bytes.len(), self.len as usize);
        let mut head = Vec::with_capacity(Self::BYTES);
        sealed::head(&mut head, MAGIC, FORMAT_VERSION);
        head.extend_from_slice(&[self.kind as u8, self.shard.0, 0, 0]);
        for number in [self.generation, self.checkpoint, self.number, self.first, self.end, self.previous, self.len] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(&self.as_of.to_le_bytes());
        sealed::seal(bytes, &head, Self::BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;
    use crate::store::format::LogRecord;

    #[test]
    fn a_page_reads_back_and_no_changed_bit_goes_unnoticed() {
        let mut bytes = vec![0; PageHeader::BYTES];
        LogRecord::Connected { session: SessionId(300) }.encode(99, &mut bytes);
        let header = PageHeader {
            kind: PageKind::Sessions,
            shard: ShardId(5),
            generation: 1,
            checkpoint: 2,
            number: 3,
            as_of: 99,
            first: 256,
            end: 512,
            previous: 4,
            len: bytes.len() as u32,
        };
        let checksum = header.seal(&mut bytes);
        assert_eq!(PageHeader::read(&bytes), Ok(header));
        let (records, sum) = header.open(&bytes).unwrap();
        assert_eq!((records.count(), sum), (1, checksum));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = PageHeader::read(&bytes).and_then(|header| header.open(&bytes).map(|_| ()));
            assert!(read.is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
