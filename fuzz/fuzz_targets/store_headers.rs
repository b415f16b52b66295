//! Any bytes taken for a batch, a page, a segment's first block or a manifest; as they are, and with a checksum that fits.

#![no_main]

use dunlin::store::format::{BatchHeader, Manifest, PageHeader, SegmentHeader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    let _ = (SegmentHeader::open(&bytes), Manifest::open(&bytes));
    if let Ok(header) = BatchHeader::read(&bytes) {
        if let Ok(body) = header.open(&bytes) {
            body.records().for_each(drop);
        }
        if let Some(batch) = bytes.get_mut(..header.len as usize) {
            let sum = header.seal(batch);
            let again = BatchHeader::read(&bytes).expect("it was sealed");
            assert_eq!(again, header);
            let body = again.open(&bytes).expect("its checksum fits");
            assert_eq!(body.checksum, sum);
            assert_eq!(body.inbox().count(), usize::from(header.inbox));
            body.records().for_each(drop);
        }
    }
    if let Ok(header) = PageHeader::read(&bytes)
        && let Some(page) = bytes.get_mut(..header.len as usize)
    {
        let sum = header.seal(page);
        let again = PageHeader::read(&bytes).expect("it was sealed");
        assert_eq!(again, header);
        let (records, stored) = again.open(&bytes).expect("its checksum fits");
        assert_eq!(stored, sum);
        records.for_each(drop);
    }
});
