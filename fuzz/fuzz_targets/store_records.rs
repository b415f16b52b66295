//! Any bytes taken for records: no harm is done, and what is read has one form only.

#![no_main]

use dunlin::store::format::{LogRecord, MessageId, Records, read_alone};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let base = [0, 300, 1 << 40, u64::MAX][usize::from(choice % 4)];
    let records = if choice & 4 == 0 { Records::of_batch(bytes, base) } else { Records::of_page(bytes, base) };
    let mut again = Vec::new();
    for found in records.flatten() {
        again.clear();
        found.record.encode(found.base, &mut again);
        assert_eq!(again.len(), found.bytes.len());
        // A checksum is looked at by those alone who read a message alone.
        if !matches!(found.record, LogRecord::Message(_) | LogRecord::MessagePart { .. }) {
            assert_eq!(again, found.bytes);
        }
    }
    let _ = read_alone(bytes, MessageId(base));
});
