//! A log of several files, of any records and in any order, with checksums that fit but where something was damaged on purpose: reading it back does no
//! harm, and gives out what was put in and nothing else.
//!
//! The input is a list of steps: a segment begins, a batch or a page is put behind the one before, something is damaged. Headers are right unless the input
//! changes them, or nothing would get past the first look.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use dunlin::ids::ShardId;
use dunlin::store::format::{
    BatchHeader, BatchPlace, InboxCount, LogId, LogRecord, MessageId, NewestSegment, PageHeader, PageKind, Records,
    SegmentHeader, SegmentNumber, StoreFile, padded,
};
use dunlin::store::{
    LogScan, Medium, MediumError, MessageFinder, RecoveredLog, join_logs, read_message, recover_log_with,
};
use dunlin::time::Timestamp;
use libfuzzer_sys::fuzz_target;

const LOG: LogId = LogId { generation: 1, shard: ShardId(0) };
const NODE: [u8; 16] = [1; 16];
const BLOCK: usize = 4096;
const FILES_MAX: u32 = 8;

#[derive(Clone, Default)]
struct Files {
    bytes: BTreeMap<StoreFile, Vec<u8>>,
    unreadable: BTreeSet<(StoreFile, u64)>,
}

impl Medium for Files {
    fn files(&mut self, _log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        Ok(self.bytes.keys().copied().collect())
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        Ok(self.bytes[&file].len() as u64)
    }

    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        let blocks = offset / BLOCK as u64..(offset + into.len() as u64).div_ceil(BLOCK as u64);
        if self.unreadable.range((file, blocks.start)..(file, blocks.end)).next().is_some() {
            return Err(MediumError::Unreadable { file, offset });
        }
        let rest = self.bytes[&file].get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// What is left of the input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn bytes(&mut self) -> &'a [u8] {
        let wanted = usize::from(self.byte().unwrap_or(0)) * 2;
        let (bytes, rest) = self.0.split_at(wanted.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// A log that is put together.
#[derive(Default)]
struct Builder {
    files: Files,
    segment: u32,
    checkpoint: u32,
    pages: u32,
    page_sum: u32,
    first: u64,
    previous: u32,
    epoch: u32,
    /// By place, batches as they were put down: several where a file was cut off between them.
    batches: BTreeMap<(SegmentNumber, u32), Vec<Vec<u8>>>,
    /// What each message that is whole in its first record may be.
    messages: BTreeSet<(MessageId, Vec<u8>)>,
}

impl Builder {
    fn file(&self) -> StoreFile {
        StoreFile::Segment(LOG, SegmentNumber(self.segment))
    }

    fn begin_segment(&mut self, choice: u8) {
        if self.segment >= FILES_MAX {
            return;
        }
        // Some are not there.
        self.segment += 1 + u32::from(choice & 3 == 3);
        self.epoch += u32::from(choice & 4 != 0);
        self.first += u64::from(choice >> 5);
        let header = SegmentHeader {
            node: NODE,
            generation: 1,
            shard: LOG.shard,
            number: SegmentNumber(self.segment),
            epoch: self.epoch,
            first: self.first + 1,
            previous: self.previous,
            begun: Timestamp(1),
            blocks: u32::from(choice & 8 != 0) * 4,
        };
        let mut block = vec![0; BLOCK];
        header.seal(&mut block);
        self.files.bytes.insert(self.file(), block);
        self.files.bytes.insert(StoreFile::Newest(LOG), NewestSegment(SegmentNumber(self.segment)).seal());
    }

    /// Records as they would have been written: those that can be read, with checksums of their own that fit, and what is behind them.
    fn records(&mut self, bytes: &[u8], base: Option<u64>, as_of: u64) -> (Vec<u8>, u32) {
        let (mut mended, mut count, mut read) = (Vec::new(), 0, 0);
        let records = base.map_or(Records::of_page(bytes, as_of), |base| Records::of_batch(bytes, base));
        for found in records.flatten() {
            found.record.encode(found.base, &mut mended);
            count += 1;
            read += found.bytes.len();
            if let LogRecord::Message(message) = found.record
                && message.later_bytes == 0
            {
                self.messages.insert((message.id, [message.properties, message.payload].concat()));
            }
        }
        mended.extend_from_slice(&bytes[read..]);
        (mended, count)
    }

    fn put_batch(&mut self, flags: u8, input: &[u8]) {
        let file = self.file();
        let Some(bytes) = self.files.bytes.get_mut(&file) else { return };
        bytes.resize(padded(bytes.len()), 0);
        let block = (bytes.len() / BLOCK) as u32;
        self.first += u64::from(flags >> 6);
        let first = self.first + 1;
        let (records, count) = self.records(input, Some(first), 0);
        let mut bytes = vec![0; BatchHeader::BYTES];
        bytes.extend_from_slice(&records);
        let inbox = flags >> 4 & 1;
        if inbox > 0 {
            InboxCount { from: ShardId(flags & 1), number: u64::from(flags) }.put(&mut bytes);
        }
        let header = BatchHeader {
            place: BatchPlace { shard: LOG.shard, epoch: self.epoch, segment: SegmentNumber(self.segment), block },
            first,
            count: count + u32::from(flags & 8 != 0),
            written: Timestamp(2),
            previous: self.previous,
            continues: flags & 1 != 0,
            follows: flags & 2 != 0,
            inbox,
            len: bytes.len() as u32,
        };
        self.previous = header.seal(&mut bytes);
        self.first += u64::from(header.count);
        self.batches.entry((header.place.segment, block)).or_default().push(bytes.clone());
        bytes.resize(padded(bytes.len()), 0);
        self.files.bytes.entry(self.file()).or_default().extend(bytes);
    }

    fn put_page(&mut self, choice: u8, input: &[u8]) {
        let kinds = [PageKind::Begin, PageKind::Sessions, PageKind::Retained, PageKind::Outbox, PageKind::End];
        let kind = kinds[usize::from(choice) % kinds.len()];
        if kind == PageKind::Begin {
            if self.checkpoint >= FILES_MAX {
                return;
            }
            (self.checkpoint, self.pages, self.page_sum) = (self.checkpoint + 1, 0, 0);
        }
        let as_of = self.first;
        let (records, _) = self.records(input, None, as_of);
        let mut bytes = vec![0; PageHeader::BYTES];
        bytes.extend_from_slice(&records);
        let header = PageHeader {
            kind,
            shard: LOG.shard,
            generation: 1,
            checkpoint: self.checkpoint,
            number: self.pages,
            as_of,
            first: u32::from(choice >> 4),
            end: u32::from(choice),
            previous: self.page_sum,
            len: bytes.len() as u32,
        };
        self.page_sum = header.seal(&mut bytes);
        self.pages += 1;
        bytes.resize(padded(bytes.len()), 0);
        self.files.bytes.entry(StoreFile::Checkpoint(LOG, self.checkpoint)).or_default().extend(bytes);
    }

    /// A byte changes, a block cannot be read, a file ends early or goes.
    fn damage(&mut self, choice: u8, input: &[u8]) {
        let names: Vec<StoreFile> = self.files.bytes.keys().copied().collect();
        let (Some(&[which, block, at, value]), false) = (input.first_chunk(), names.is_empty()) else { return };
        let file = names[usize::from(which) % names.len()];
        let bytes = self.files.bytes.get_mut(&file).expect("it was listed");
        match choice % 4 {
            0 => {
                let at = usize::from(block) * BLOCK + usize::from(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= value;
                }
            }
            1 => _ = self.files.unreadable.insert((file, u64::from(block))),
            2 => bytes.truncate(usize::from(block) * BLOCK + usize::from(at)),
            _ => _ = self.files.bytes.remove(&file),
        }
    }

    fn build(input: &[u8]) -> Self {
        let (mut built, mut input) = (Self { epoch: 1, ..Self::default() }, Input(input));
        built.begin_segment(0);
        while let Some(choice) = input.byte() {
            let rest = choice >> 3;
            match choice & 7 {
                0 => built.begin_segment(rest),
                1 | 2 => built.put_page(rest, input.bytes()),
                3 => built.damage(rest, input.bytes()),
                _ => {
                    let flags = input.byte().unwrap_or(0);
                    built.put_batch(flags, input.bytes());
                }
            }
        }
        built
    }

    /// Reads all of it back, and holds what is given out against what was put in.
    fn recover(&mut self) -> RecoveredLog {
        let (batches, mut files, mut next) = (&self.batches, self.files.clone(), 0);
        let mut given = Vec::new();
        let recovered = recover_log_with(&mut files, NODE, LOG, |batch| {
            let BatchHeader { place, first, count, .. } = batch.header;
            assert!(first >= next, "records are given out twice, or out of order");
            next = first + u64::from(count);
            // One without a record is where nothing is.
            given.extend((first < next).then_some(first..next));
            let is_it = |put: &Vec<u8>| {
                let header = BatchHeader::read(put).expect("it was put down");
                (header, header.open(put).expect("it was sealed").bytes()) == (batch.header, batch.body.bytes())
            };
            assert!(batches[&(place.segment, place.block)].iter().any(is_it), "nobody put down {batch:?}");
        });
        let recovered = recovered.expect("memory can be read");
        check_scan(&recovered.scan);
        for damage in &recovered.scan.damage {
            let is_given = |given: &std::ops::Range<u64>| given.start < damage.next && damage.first < given.end;
            assert!(!given.iter().any(is_given), "{damage:?} is told to be lost, and given out");
        }
        recovered
    }

    fn check_message(&self, id: MessageId, found: &dunlin::store::StoredMessage, is_in_parts: bool) {
        let content = [found.properties(), found.payload()].concat();
        assert!(is_in_parts || self.messages.contains(&(id, content)), "{id:?} was never put down like this");
    }
}

fn check_scan(scan: &LogScan) {
    assert!(scan.damage.iter().all(|damage| damage.first < damage.next && damage.next <= scan.end.position + 1));
    assert!(scan.damage.is_sorted_by(|one, next| one.next <= next.first), "{:?}", scan.damage);
    assert!(scan.segments.is_sorted_by(|one, next| one.number < next.number));
    let is_begun = |number: &SegmentNumber| scan.segments.iter().any(|seen| seen.number == *number);
    assert!(!scan.prepared.iter().chain(&scan.missing).any(is_begun), "{scan:?}");
}

fuzz_target!(|input: &[u8]| {
    let mut built = Builder::build(input);
    let recovered = built.recover();
    let again = built.recover();
    assert_eq!(
        (&recovered.scan, recovered.checkpoint),
        (&again.scan, again.checkpoint),
        "the same bytes are read alike"
    );
    let mut logs = vec![recovered];
    join_logs(&mut logs);
    let state = &logs[0].state;
    assert_eq!(state.sessions_len(), state.sessions().count());
    let mut finder = MessageFinder::new(NODE, LOG);
    for (id, wanted) in state.messages.iter() {
        assert!(wanted > 0);
        let is_in_parts = !state.messages.parts(id).is_empty();
        let mut files = built.files.clone();
        if let Some(found) = read_message(&mut files, LOG, state, id).expect("what cannot be read is lost") {
            built.check_message(id, &found, is_in_parts);
        }
        match finder.find(&mut files, id) {
            Ok(found) => found.iter().for_each(|found| built.check_message(id, found, true)),
            Err(error) => assert!(matches!(error, MediumError::Unreadable { .. }), "{error}"),
        }
    }
});
