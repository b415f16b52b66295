//! Any bytes as the files of a log: reading them back does no harm, and gives out nothing that fails its checksum.
//!
//! What looks like a batch or a page is given a checksum that fits, or else nothing would get past the first look.

#![no_main]

use std::collections::BTreeMap;

use dunlin::ids::ShardId;
use dunlin::store::format::{BatchHeader, LogId, PageHeader, SegmentHeader, SegmentNumber, StoreFile};
use dunlin::store::{Medium, MediumError, join_logs, read_message, recover_log};
use dunlin::time::Timestamp;
use libfuzzer_sys::fuzz_target;

const LOG: LogId = LogId { generation: 1, shard: ShardId(0) };
const NODE: [u8; 16] = [1; 16];
const BLOCK: usize = 4096;
/// Input that a block is made of; the rest of it is zeros.
const PIECE: usize = 512;

struct Files(BTreeMap<StoreFile, Vec<u8>>);

impl Medium for Files {
    fn files(&mut self, _log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        Ok(self.0.keys().copied().collect())
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        Ok(self.0[&file].len() as u64)
    }

    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        let rest = self.0[&file].get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

fn seal(bytes: &mut [u8]) {
    for block in 0..bytes.len() / BLOCK {
        let here = &mut bytes[block * BLOCK..];
        if let Ok(header) = BatchHeader::read(here)
            && let Some(batch) = here.get_mut(..header.len as usize)
        {
            header.seal(batch);
        } else if let Ok(header) = PageHeader::read(here)
            && let Some(page) = here.get_mut(..header.len as usize)
        {
            header.seal(page);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let mut files = Files(BTreeMap::new());
    for (index, part) in rest.chunks(8 * PIECE).enumerate().take(4) {
        let mut bytes: Vec<u8> = part
            .chunks(PIECE)
            .flat_map(|piece| piece.iter().copied().chain(std::iter::repeat(0)).take(BLOCK))
            .collect();
        seal(&mut bytes);
        let number = index as u32 + 1;
        if choice >> index & 1 == 0 {
            let mut block = vec![0; BLOCK];
            let header = SegmentHeader {
                node: NODE,
                generation: 1,
                shard: LOG.shard,
                number: SegmentNumber(number),
                epoch: 1,
                first: 1,
                previous: 0,
                begun: Timestamp(1),
                blocks: 0,
            };
            header.seal(&mut block);
            block.extend_from_slice(&bytes);
            files.0.insert(StoreFile::Segment(LOG, SegmentNumber(number)), block);
        } else {
            files.0.insert(StoreFile::Checkpoint(LOG, number), bytes);
        }
    }
    let mut logs = vec![recover_log(&mut files, NODE, LOG).expect("memory can be read")];
    join_logs(&mut logs);
    for (id, wanted) in logs[0].state.messages.iter() {
        assert!(wanted > 0);
        let _ = read_message(&mut files, LOG, &logs[0].state, id);
    }
});
