//! One log, what was put into it, and how much of that was called durable.
//!
//! Owns: the disk, the writer while the broker lives, and the ledger: every group that was ever appended, with its position and bytes.
//! [`World::recover`] reads the log back and holds it against the ledger.

use std::collections::BTreeMap;

use dunlin::ids::{SessionId, ShardId};
use dunlin::store::format::{InboxCount, LogId, LogRecord, MessageId, SegmentNumber, StoreFile};
use dunlin::store::{LogConfig, LogEnd, LogScan, RecordGroup, RecordWriter, SegmentWrite, Urgency, scan_log};
use dunlin::time::Now;

use crate::dice::Dice;
use crate::disk::SimDisk;

/// The directory's.
pub(crate) const NODE: [u8; 16] = *b"a node of a test";
/// One of three, or more.
pub(crate) const LOG: LogId = LogId { generation: 1, shard: ShardId(3) };
/// Of a segment's file.
pub(crate) const SEGMENT_BYTES: u64 = 96 * 1024;
/// So that a few records fill one.
pub(crate) const BATCH_MAX_BYTES: usize = 24 * 1024;

/// Records that count together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Each with its bytes.
    pub(crate) records: Vec<Vec<u8>>,
}

/// See the module's text.
pub(crate) struct World {
    /// All chance.
    pub(crate) dice: Dice,
    /// All bytes.
    pub(crate) disk: SimDisk,
    /// The broker's end of the log.
    pub(crate) writer: RecordWriter,
    /// Everything that was appended, by the position of the first record. What a dead broker had not written is not in it.
    pub(crate) ledger: BTreeMap<u64, Group>,
    /// Up to here it was acknowledged.
    pub(crate) acknowledged: u64,
    /// Where each batch that was completed lies: segment, offset, length, first position and the one behind the last.
    pub(crate) batches: Vec<(SegmentNumber, u64, u64, u64, u64)>,
    /// The first position that has to be there.
    pub(crate) from: u64,
    /// The last inbox count that was acknowledged.
    pub(crate) inbox: u64,
    epoch: u32,
    ms: u64,
}

impl World {
    /// An empty directory.
    pub(crate) fn new(seed: u64) -> Self {
        let writer = RecordWriter::new(config(1), LogEnd::default());
        Self {
            dice: Dice::new(seed),
            disk: SimDisk::default(),
            writer,
            ledger: BTreeMap::new(),
            acknowledged: 0,
            batches: Vec::new(),
            from: 1,
            inbox: 0,
            epoch: 1,
            ms: 1_000,
        }
    }

    /// The time, which goes on.
    pub(crate) fn now(&mut self) -> Now {
        self.ms += 1 + self.dice.below(20);
        Now { mono_ns: self.ms * 1_000_000, unix_ms: 1_800_000_000_000 + self.ms }
    }

    /// Appends a group of records, which nobody but the ledger knows.
    pub(crate) fn append(&mut self) {
        let first = self.writer.appended() + 1;
        // One that does not fit into a batch now and then.
        let is_large = self.dice.once_in(15);
        let count = if is_large { 12 } else { 1 + self.dice.below(5) };
        let mut records = Vec::new();
        for position in first..first + count {
            let mut bytes = Vec::new();
            let len = if is_large { 5_001 } else { [3_000, self.dice.below(40)][usize::from(!self.dice.once_in(10))] }
                as usize;
            let body = vec![position as u8; len];
            if len.is_multiple_of(2) {
                let session = SessionId(position as u32);
                LogRecord::SessionExpiry { session, expiry_s: len as u32 }.encode(position, &mut bytes);
            } else {
                LogRecord::MessagePart { message: MessageId(position), bytes: &body }.encode(position, &mut bytes);
            }
            records.push(bytes);
        }
        let all = records.concat();
        let urgency = if self.dice.once_in(5) { Urgency::Lazy } else { Urgency::Awaited };
        let now = self.now();
        let inbox = [InboxCount { from: ShardId(9), number: first }];
        let group = RecordGroup { records: &all, count: count as u32, inbox: &inbox, urgency };
        let last = self.writer.append(now, group);
        assert_eq!(last, first + count - 1);
        self.ledger.insert(first, Group { records });
    }

    /// Prepares segments as a keeper would: new files, and old ones under new names.
    pub(crate) fn prepare_segments(&mut self) {
        while let Some(number) = self.writer.next_to_prepare() {
            let file = StoreFile::Segment(LOG, number);
            let spare = self.disk.names().find(|file| matches!(file, StoreFile::Spare(..)));
            match spare {
                Some(spare) => self.disk.rename(spare, file),
                None => assert!(self.disk.create(file, SEGMENT_BYTES)),
            }
            self.writer.segment_prepared(number);
        }
    }

    /// Begins a write, if there is one to begin.
    pub(crate) fn begin_write(&mut self) -> Option<SegmentWrite> {
        self.prepare_segments();
        let now = self.now();
        let write = self.writer.next_write(now)?;
        self.disk.write(StoreFile::Segment(LOG, write.segment), write.offset, &write.bytes[write.range.clone()]);
        Some(write)
    }

    /// The write under way is durable.
    pub(crate) fn complete(&mut self, write: SegmentWrite) {
        self.disk.complete();
        let (len, offset, segment) = (write.range.len() as u64, write.offset, write.segment);
        let before = self.writer.durable();
        let durable = self.writer.written(write.bytes, Ok(len as usize)).expect("it went well");
        self.batches.push((segment, offset, len, before + 1, durable + 1));
        self.acknowledged = durable;
        let whole =
            self.ledger.range(..=durable).rfind(|(first, group)| *first + group.records.len() as u64 - 1 <= durable);
        self.inbox = whole.map_or(0, |(first, _)| *first);
    }

    /// So many steps of an ordinary life.
    pub(crate) fn live(&mut self, steps: u64) {
        let mut write = None;
        for _ in 0..steps {
            match self.dice.below(3) {
                0 if write.is_some() => self.complete(write.take().expect("just seen")),
                1 if write.is_none() => write = self.begin_write(),
                _ => self.append(),
            }
        }
        if let Some(write) = write {
            self.complete(write);
        }
    }

    /// Everything that was appended becomes durable.
    pub(crate) fn flush(&mut self) {
        while self.writer.durable() < self.writer.appended() {
            self.ms += 2_000;
            if let Some(write) = self.begin_write() {
                self.complete(write);
            }
        }
    }

    /// Reads the log back: its records by position, how far the other log's were taken over, and what the scan says.
    pub(crate) fn read(&mut self) -> (BTreeMap<u64, Vec<u8>>, u64, LogScan) {
        let (mut found, mut inbox, mut last) = (BTreeMap::new(), 0, 0);
        let scan = scan_log(&mut self.disk, NODE, LOG, self.from, |batch| {
            let mut count = 0;
            for record in batch.body.records() {
                let record = record.expect("what fits its checksum is records");
                assert!(record.base > last, "{} came behind {last}", record.base);
                last = record.base;
                count += 1;
                found.insert(record.base, record.bytes.to_vec());
            }
            assert_eq!(count, batch.header.count);
            batch.body.inbox().for_each(|entry| inbox = inbox.max(entry.number));
        });
        (found, inbox, scan.expect("the disk can be read"))
    }

    /// The broker starts again, on what [`Self::read`] has found.
    pub(crate) fn restart(&mut self, scan: &LogScan) {
        self.epoch += 1;
        self.writer = RecordWriter::new(config(self.epoch), scan.end);
        for number in &scan.prepared {
            self.writer.segment_prepared(*number);
        }
    }

    /// Reads the log back, holds it against the ledger, and starts again. Nothing was damaged: what was acknowledged is there, what
    /// was not is there as a whole group or not at all.
    pub(crate) fn recover(&mut self) {
        let (found, inbox, scan) = self.read();
        assert_eq!(scan.damage, [], "nothing was damaged");
        assert!(scan.end.position >= self.acknowledged);
        assert!(inbox >= self.inbox, "{inbox} is less than what was acknowledged, {}", self.inbox);
        self.compare(&found);
        let mut kept = 0;
        self.ledger.retain(|first, _| found.contains_key(first));
        self.ledger.values().for_each(|group| kept += group.records.len());
        assert_eq!(kept, found.len(), "something is there that nobody wrote");
        self.restart(&scan);
    }

    fn compare(&self, found: &BTreeMap<u64, Vec<u8>>) {
        let mut all_so_far = true;
        for (first, group) in &self.ledger {
            let positions = *first..*first + group.records.len() as u64;
            let there = found.range(positions.clone()).count();
            assert!(there == 0 || there == group.records.len(), "half of the group at {first} is there");
            assert!(there > 0 || positions.end - 1 > self.acknowledged, "the group at {first} was acknowledged");
            assert!(all_so_far || there == 0, "the group at {first} is there, and one before it is not");
            all_so_far &= there > 0;
            for (position, bytes) in positions.zip(&group.records) {
                assert!(there == 0 || found[&position] == *bytes, "record {position} has changed");
            }
        }
    }
}

fn config(epoch: u32) -> LogConfig {
    LogConfig { node: NODE, log: LOG, epoch, segment_bytes: SEGMENT_BYTES, batch_max_bytes: BATCH_MAX_BYTES }
}
