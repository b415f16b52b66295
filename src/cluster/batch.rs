//! One message of a range's log: a header, and records as `store` encodes them.
//!
//! Always holds: a batch says whose it is (range, mark, node), where it belongs (its number in the run of its mark) and what stood before it
//! (the checksum of the message before), so that neither a message of a deposed owner nor one at a wrong place nor one behind a changed one is
//! taken for the next. Bytes that a replica has damaged never panic, and nothing is allocated for them.

use super::range::{BootId, Mark, NodeId, RangeId};
use crate::limits::RANGE_BATCH_MAX_BYTES;

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// A node owns the range from here on. Number 0 of its run, without records.
    Mark,
    /// What has happened.
    Records,
    /// A part of what everything before it comes to, so that what is before its first page can be purged.
    State(StatePage),
}

/// Which part of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatePage {
    /// From 0.
    pub page: u32,
    /// Whether the state is complete with it.
    pub is_last: bool,
}

/// What stands before the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeBatchHeader {
    /// Whose log.
    pub range: RangeId,
    /// The run that it is of.
    pub mark: Mark,
    /// The node that wrote it.
    pub node: NodeId,
    /// Its number in that run.
    pub n: u64,
    /// What it is for.
    pub kind: BatchKind,
    /// How many records.
    pub count: u32,
    /// Checksum of the message before it in the log; 0 where there is none.
    pub previous: u32,
}

/// A batch that is as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeBatch<'a> {
    /// What it says of itself.
    pub header: RangeBatchHeader,
    /// Encoded records.
    pub records: &'a [u8],
    /// What the next one has as `previous`.
    pub checksum: u32,
}

/// Why a message is no batch of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeBatchError {
    /// Shorter than a header, longer than a batch may be, or not as long as it says.
    #[error("its length is wrong")]
    Length,
    /// It does not begin as a batch does.
    #[error("it is no batch")]
    NotFound,
    /// It was changed since it was written.
    #[error("its checksum does not fit")]
    Checksum,
    /// A later dunlin wrote it.
    #[error("it has format {0}, and this dunlin knows formats up to {RANGE_BATCH_FORMAT}")]
    Newer(u16),
    /// A value that nothing of this format writes.
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

/// The format that is written; the only one so far.
pub const RANGE_BATCH_FORMAT: u16 = 1;

const MAGIC: [u8; 8] = *b"DnlRange";
const KIND_MARK: u8 = 0;
const KIND_RECORDS: u8 = 1;
const KIND_STATE: u8 = 2;
const LAST_PAGE: u8 = 1;

impl RangeBatchHeader {
    /// How long it is, its checksum included.
    pub const BYTES: usize = 64;
    /// Records that fit behind it.
    pub const RECORDS_MAX_BYTES: usize = RANGE_BATCH_MAX_BYTES - Self::BYTES;

    /// The whole message, and its checksum. `records` are at most [`Self::RECORDS_MAX_BYTES`].
    pub fn seal(&self, records: &[u8]) -> (Vec<u8>, u32) {
        assert!(records.len() <= Self::RECORDS_MAX_BYTES, "whoever makes a batch cuts it to size");
        let (kind, flags, page) = match self.kind {
            BatchKind::Mark => (KIND_MARK, 0, 0),
            BatchKind::Records => (KIND_RECORDS, 0, 0),
            BatchKind::State(StatePage { page, is_last }) => (KIND_STATE, u8::from(is_last) * LAST_PAGE, page),
        };
        let mut bytes = Vec::with_capacity(Self::BYTES + records.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&RANGE_BATCH_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[kind, flags]);
        for number in [self.range.0, self.node.get()] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.mark.sequence, self.mark.boot.0, self.n] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.mark.attempt, self.count, page, records.len() as u32, self.previous] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), records);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        debug_assert_eq!(bytes.len(), Self::BYTES);
        bytes.extend_from_slice(records);
        (bytes, checksum)
    }
}

impl<'a> RangeBatch<'a> {
    /// Reads a message of the engine.
    pub fn read(message: &'a [u8]) -> Result<Self, RangeBatchError> {
        if message.len() > RANGE_BATCH_MAX_BYTES {
            return Err(RangeBatchError::Length);
        }
        let (header, records) =
            message.split_first_chunk::<{ RangeBatchHeader::BYTES }>().ok_or(RangeBatchError::Length)?;
        let (fields, stored) = header.split_at(RangeBatchHeader::BYTES - 4);
        let mut fields = BatchFields(fields);
        if fields.array::<8>()? != MAGIC {
            return Err(RangeBatchError::NotFound);
        }
        match u16::from_le_bytes(fields.array()?) {
            RANGE_BATCH_FORMAT => {}
            newer if newer > RANGE_BATCH_FORMAT => return Err(RangeBatchError::Newer(newer)),
            _ => return Err(RangeBatchError::Invalid("a format")),
        }
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[..RangeBatchHeader::BYTES - 4]), records);
        if stored != checksum.to_le_bytes() {
            return Err(RangeBatchError::Checksum);
        }
        let [kind, flags] = fields.array()?;
        let range = RangeId(u16::from_le_bytes(fields.array()?));
        let node = NodeId::new(u16::from_le_bytes(fields.array()?)).ok_or(RangeBatchError::Invalid("a node"))?;
        let sequence = fields.u64()?;
        let boot = BootId(fields.u64()?);
        let n = fields.u64()?;
        let mark = Mark { sequence, boot, attempt: fields.u32()? };
        let [count, page, len, previous] = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
        if len as usize != records.len() || count as usize > records.len() {
            return Err(RangeBatchError::Length);
        }
        let kind = kind_of(kind, flags, page).ok_or(RangeBatchError::Invalid("a kind"))?;
        // A MARK is the first of its run, and nothing else is.
        if (kind == BatchKind::Mark) != (n == 0) || (kind == BatchKind::Mark && len > 0) {
            return Err(RangeBatchError::Invalid("a number"));
        }
        Ok(Self { header: RangeBatchHeader { range, mark, node, n, kind, count, previous }, records, checksum })
    }
}

const fn kind_of(kind: u8, flags: u8, page: u32) -> Option<BatchKind> {
    match (kind, flags) {
        (KIND_MARK, 0) if page == 0 => Some(BatchKind::Mark),
        (KIND_RECORDS, 0) if page == 0 => Some(BatchKind::Records),
        (KIND_STATE, 0 | LAST_PAGE) => Some(BatchKind::State(StatePage { page, is_last: flags == LAST_PAGE })),
        _ => None,
    }
}

/// What of a header has not been read.
struct BatchFields<'a>(&'a [u8]);

impl BatchFields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RangeBatchError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(RangeBatchError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, RangeBatchError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RangeBatchError> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: BatchKind, n: u64) -> RangeBatchHeader {
        let mark = Mark { sequence: 1_000, boot: BootId(0xfeed), attempt: 5 };
        RangeBatchHeader { range: RangeId(3), mark, node: NodeId::new(2).unwrap(), n, kind, count: 2, previous: 0xabcd }
    }

    #[test]
    fn a_batch_reads_back_and_no_changed_bit_goes_unnoticed() {
        let state = BatchKind::State(StatePage { page: 7, is_last: true });
        for header in [header(BatchKind::Records, 4), header(state, 9), header(BatchKind::Records, u64::MAX)] {
            let (mut bytes, checksum) = header.seal(b"two records");
            assert_eq!(RangeBatch::read(&bytes), Ok(RangeBatch { header, records: b"two records", checksum }));
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(RangeBatch::read(&bytes).is_err(), "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn no_message_that_is_cut_off_or_has_bytes_behind_it_is_a_batch() {
        let (mut bytes, _) = header(BatchKind::Records, 1).seal(b"records");
        for len in 0..bytes.len() {
            assert!(RangeBatch::read(&bytes[..len]).is_err(), "{len}");
        }
        bytes.push(0);
        assert!(RangeBatch::read(&bytes).is_err());
        assert_eq!(RangeBatch::read(&vec![0; RANGE_BATCH_MAX_BYTES + 1]), Err(RangeBatchError::Length));
    }

    #[test]
    fn the_longest_batch_is_as_long_as_one_may_be() {
        let records = vec![1; RangeBatchHeader::RECORDS_MAX_BYTES];
        let (bytes, _) = header(BatchKind::Records, 1).seal(&records);
        assert_eq!(bytes.len(), RANGE_BATCH_MAX_BYTES);
        assert_eq!(RangeBatch::read(&bytes).unwrap().records, records);
    }

    /// With a checksum that fits: what somebody else writes into the log.
    fn forged(change: impl Fn(&mut Vec<u8>)) -> Result<(), RangeBatchError> {
        let (mut bytes, _) = header(BatchKind::Records, 1).seal(b"records");
        change(&mut bytes);
        let end = RangeBatchHeader::BYTES - 4;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..end]), &bytes[end + 4..]);
        bytes[end..end + 4].copy_from_slice(&sum.to_le_bytes());
        RangeBatch::read(&bytes).map(|_| ())
    }

    #[test]
    fn values_that_nobody_writes_are_refused_also_with_a_checksum_that_fits() {
        assert_eq!(forged(|_| {}), Ok(()));
        let invalid = RangeBatchError::Invalid;
        assert_eq!(forged(|bytes| bytes[8] = 2), Err(RangeBatchError::Newer(2)));
        assert_eq!(forged(|bytes| bytes[8] = 0), Err(invalid("a format")));
        assert_eq!(forged(|bytes| bytes[10] = 3), Err(invalid("a kind")));
        assert_eq!(forged(|bytes| bytes[11] = 1), Err(invalid("a kind")));
        assert_eq!(forged(|bytes| bytes[10] = KIND_MARK), Err(invalid("a number")));
        assert_eq!(forged(|bytes| bytes[32] = 0), Err(invalid("a number")));
        assert_eq!(forged(|bytes| bytes[14..16].fill(0)), Err(invalid("a node")));
        assert_eq!(forged(|bytes| bytes[44..48].fill(0xff)), Err(RangeBatchError::Length));
        assert_eq!(forged(|bytes| bytes[52] = 1), Err(RangeBatchError::Length));
    }
}
