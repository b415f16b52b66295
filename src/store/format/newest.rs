//! How far the segments of a log have been made: which is the newest.

use super::error::FormatError;
use super::file::SegmentNumber;
use super::{FORMAT_VERSION, sealed};
use crate::limits::STORE_BLOCK_BYTES;

/// See the module's text. It is one block of a file of its own, replaced whenever a segment has been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewestSegment(pub SegmentNumber);

const MAGIC: [u8; 8] = *b"DnlNewst";
const BYTES: usize = 64;

impl NewestSegment {
    /// The block of it.
    pub fn seal(self) -> Vec<u8> {
        let mut head = Vec::with_capacity(BYTES);
        sealed::head(&mut head, MAGIC, FORMAT_VERSION);
        head.extend_from_slice(&self.0.0.to_le_bytes());
        let mut block = vec![0; STORE_BLOCK_BYTES];
        sealed::seal(&mut block[..BYTES], &head, BYTES);
        block
    }

    /// Reads what [`Self::seal`] wrote, and checks it.
    pub fn open(block: &[u8]) -> Result<Self, FormatError> {
        let what = "newest segment";
        let mut reader = sealed::begin(block, BYTES, MAGIC, what)?;
        sealed::check(&block[..BYTES], BYTES, what)?;
        Ok(Self(SegmentNumber(reader.u32(what)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_no_changed_bit_goes_unnoticed() {
        let mut block = NewestSegment(SegmentNumber(7)).seal();
        assert_eq!(NewestSegment::open(&block), Ok(NewestSegment(SegmentNumber(7))));
        for bit in 0..BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(NewestSegment::open(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(NewestSegment::open(&[]).is_err());
    }
}
