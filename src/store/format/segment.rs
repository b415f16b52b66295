//! The first block of a segment: which part of which log this file is.

use super::error::FormatError;
use super::file::SegmentNumber;
use super::{FORMAT_VERSION, POSITION_MAX, sealed};
use crate::ids::ShardId;
use crate::limits::STORE_BLOCK_BYTES;
use crate::time::Timestamp;

/// See the module's text. It is written together with the segment's first batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Of whose directory.
    pub node: [u8; 16],
    /// As the manifest counts them.
    pub generation: u32,
    /// Whose log.
    pub shard: ShardId,
    /// Its place in the log.
    pub number: SegmentNumber,
    /// Counts the broker's starts on this directory.
    pub epoch: u32,
    /// Position of the first record in it: all before it are in earlier segments.
    pub first: u64,
    /// Checksum of the last batch before it; 0 if there is none.
    pub previous: u32,
    /// When it was begun.
    pub begun: Timestamp,
    /// Blocks of its file; 0 where nobody has noted that.
    pub blocks: u32,
}

const MAGIC: [u8; 8] = *b"DnlSegmt";

impl SegmentHeader {
    /// How long it is; what follows in its block is nothing.
    pub const BYTES: usize = 96;

    /// Fills the segment's first block.
    pub fn seal(&self, block: &mut [u8]) {
        debug_assert_eq!(block.len(), STORE_BLOCK_BYTES);
        let mut head = Vec::with_capacity(Self::BYTES);
        sealed::head(&mut head, MAGIC, FORMAT_VERSION);
        head.extend_from_slice(&[self.shard.0, 0, 0, 0]);
        head.extend_from_slice(&self.node);
        for number in [self.generation, self.number.0, self.epoch, self.previous] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(&self.first.to_le_bytes());
        head.extend_from_slice(&self.begun.0.to_le_bytes());
        head.extend_from_slice(&self.blocks.to_le_bytes());
        block.fill(0);
        sealed::seal(&mut block[..Self::BYTES], &head, Self::BYTES);
    }

    /// Reads what [`Self::seal`] wrote, and checks it.
    pub fn open(block: &[u8]) -> Result<Self, FormatError> {
        let what = "segment";
        let mut reader = sealed::begin(block, Self::BYTES, MAGIC, what)?;
        sealed::check(&block[..Self::BYTES], Self::BYTES, "a segment's header")?;
        let shard = ShardId(reader.byte(what)?);
        reader.take(3, what)?;
        let mut node = [0; 16];
        node.copy_from_slice(reader.take(16, what)?);
        let generation = reader.u32(what)?;
        let number = SegmentNumber(reader.u32(what)?);
        let epoch = reader.u32(what)?;
        let previous = reader.u32(what)?;
        let first = reader.u64(what)?;
        let begun = Timestamp(reader.u64(what)?);
        let blocks = reader.u32(what)?;
        if first > POSITION_MAX {
            return Err(FormatError::Invalid("a segment's header"));
        }
        Ok(Self { node, generation, shard, number, epoch, first, previous, begun, blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_header_reads_back_and_no_changed_bit_goes_unnoticed() {
        let header = SegmentHeader {
            node: [7; 16],
            generation: 1,
            shard: ShardId(2),
            number: SegmentNumber(3),
            epoch: 4,
            first: 5,
            previous: 6,
            begun: Timestamp(7),
            blocks: 8,
        };
        let mut block = vec![0xee; STORE_BLOCK_BYTES];
        header.seal(&mut block);
        assert_eq!(SegmentHeader::open(&block), Ok(header));
        for bit in 0..SegmentHeader::BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::open(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(SegmentHeader::open(&[]), Err(FormatError::Truncated("segment")));
    }
}
