//! What holds for a whole data directory: whose it is, how many logs it has, and the secrets that stored names are keyed with.

use super::error::FormatError;
use super::fields::{put_bytes, text};
use super::{FORMAT_VERSION, SEGMENT_BLOCKS_MAX, sealed};
use crate::ids::NameKey;
use crate::limits::{SHARDS_MAX, STORE_BLOCK_BYTES};
use crate::time::Timestamp;

/// See the module's text. It is one block, replaced as a whole, and readable by its owner alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Drawn once, when the directory was made: its segments have it too.
    pub node: [u8; 16],
    /// As the settings named the node.
    pub node_name: String,
    /// When the directory was made.
    pub made: Timestamp,
    /// Which logs count. Those of other generations are being written, or to be deleted.
    pub generation: u32,
    /// How many logs that generation has.
    pub shards: u16,
    /// Counts the broker's starts on this directory.
    pub epoch: u32,
    /// What client ids and shared subscriptions are reduced with.
    pub names: NameKey,
    /// No stamp up to this one is given again.
    pub last_stamp_ns: u64,
    /// Size of a segment's file.
    pub segment_bytes: u64,
}

const MAGIC: [u8; 8] = *b"DnlStore";
const NODE_NAME_MAX_BYTES: usize = 1024;

impl Manifest {
    /// That of a directory whose logs are written anew, as so many.
    #[must_use]
    pub fn next_generation(&self, shards: u16, segment_bytes: u64) -> Self {
        Self { generation: self.generation + 1, shards, epoch: self.epoch + 1, segment_bytes, ..self.clone() }
    }

    /// The block of it. A name that is too long is cut: it is for people.
    pub fn seal(&self) -> Vec<u8> {
        let mut name = self.node_name.as_str();
        while name.len() > NODE_NAME_MAX_BYTES {
            name = &name[..name.len() - 1 - usize::from(!name.is_char_boundary(name.len() - 1))];
        }
        let mut head = Vec::with_capacity(STORE_BLOCK_BYTES);
        sealed::head(&mut head, MAGIC, FORMAT_VERSION);
        head.extend_from_slice(&self.node);
        head.extend_from_slice(&self.generation.to_le_bytes());
        head.extend_from_slice(&self.epoch.to_le_bytes());
        head.extend_from_slice(&self.shards.to_le_bytes());
        for number in [self.made.0, self.names.first, self.names.second, self.last_stamp_ns, self.segment_bytes] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        put_bytes(&mut head, name.as_bytes());
        let mut block = vec![0; STORE_BLOCK_BYTES];
        sealed::seal(&mut block, &head, STORE_BLOCK_BYTES);
        block
    }

    /// Reads what [`Self::seal`] wrote, and checks it.
    pub fn open(block: &[u8]) -> Result<Self, FormatError> {
        let what = "manifest";
        let mut reader = sealed::begin(block, STORE_BLOCK_BYTES, MAGIC, what)?;
        if block.len() != STORE_BLOCK_BYTES {
            return Err(FormatError::Invalid("a manifest's length"));
        }
        sealed::check(block, STORE_BLOCK_BYTES, "a manifest")?;
        let mut node = [0; 16];
        node.copy_from_slice(reader.take(16, what)?);
        let generation = reader.u32(what)?;
        let epoch = reader.u32(what)?;
        let shards = reader.u16(what)?;
        let made = Timestamp(reader.u64(what)?);
        let names = NameKey { first: reader.u64(what)?, second: reader.u64(what)? };
        let last_stamp_ns = reader.u64(what)?;
        let segment_bytes = reader.u64(what)?;
        let node_name = text(reader.bytes(what)?, "a node's name")?.to_owned();
        let blocks = segment_bytes / STORE_BLOCK_BYTES as u64;
        let whole_blocks = segment_bytes.is_multiple_of(STORE_BLOCK_BYTES as u64)
            && (2..=u64::from(SEGMENT_BLOCKS_MAX)).contains(&blocks);
        if !(1..=SHARDS_MAX).contains(&usize::from(shards)) || !whole_blocks {
            return Err(FormatError::Invalid("a manifest's numbers"));
        }
        Ok(Self { node, node_name, made, generation, shards, epoch, names, last_stamp_ns, segment_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back_and_no_changed_bit_goes_unnoticed() {
        let manifest = Manifest {
            node: *b"0123456789abcdef",
            node_name: "dünlin-1".into(),
            made: Timestamp(1),
            generation: 2,
            shards: 64,
            epoch: 3,
            names: NameKey { first: 4, second: 5 },
            last_stamp_ns: 6,
            segment_bytes: 64 << 20,
        };
        let mut block = manifest.seal();
        assert_eq!(Manifest::open(&block), Ok(manifest.clone()));
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::open(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Manifest::open(&[]), Err(FormatError::Truncated("manifest")));
        let long = Manifest { node_name: "ü".repeat(2_000), ..manifest };
        assert_eq!(Manifest::open(&long.seal()).unwrap().node_name, "ü".repeat(NODE_NAME_MAX_BYTES / 2));
    }
}
