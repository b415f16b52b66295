//! The data directory of the simulated process: logs on a disk of sectors, written and read back by the store's own code.
//!
//! Owns: the sectors, the manifest, and what the process has of each log: its writer, and the write that is under way.
//! Always holds: a log is written as the runtime writes it: one write at a time, into segments that were made ready, durable when it completes.
//! Leaves to others: when a write goes on, when the process dies (`crash`), and what has to survive (`durable`, `oracle`).

use std::cell::RefCell;
use std::rc::Rc;

use dunlin::ids::{NameKey, ShardId};
use dunlin::session::Message;
use dunlin::shard::{StartRecords, read_messages, rewrite};
use dunlin::store::format::{LogId, Manifest, MessageId, NewestSegment, SegmentNumber, StoreFile};
use dunlin::store::{
    LogConfig, LogOutput, Medium, MediumError, NewLog, NewLogFiles, Position, RecordGroup, RecordWriter, RecoveredLog,
    SegmentWrite, Urgency, join_logs, recover_log,
};
use dunlin::time::{Now, Timestamp};

use crate::canary::Canary;
use crate::dice::Dice;
use crate::durable::broken;
use crate::rng::Rng;
use crate::sectors::SimDisk;

/// Of a segment's file: so small that logs go through many.
const SEGMENT_BYTES: u64 = 96 * 1024;
/// Most that one write takes.
const BATCH_MAX_BYTES: usize = 24 * 1024;

/// The disk, for whoever reads or writes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedDisk(pub(crate) Rc<RefCell<SimDisk>>);

impl Medium for SharedDisk {
    fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        self.0.borrow_mut().files(log)
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        self.0.borrow_mut().len(file)
    }

    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        self.0.borrow_mut().read(file, offset, into)
    }
}

impl NewLogFiles for SharedDisk {
    type Error = MediumError;

    fn prepare(&mut self, log: LogId, number: SegmentNumber) -> Result<(), MediumError> {
        let mut disk = self.0.borrow_mut();
        let file = StoreFile::Segment(log, number);
        if !disk.has(file) {
            let spare = disk.names().find(|name| matches!(name, StoreFile::Spare(of, _) if *of == log));
            match spare {
                Some(spare) => disk.rename(spare, file),
                None => assert!(disk.create(file, SEGMENT_BYTES), "nobody has bounded the disk"),
            }
        }
        disk.put(StoreFile::Newest(log), NewestSegment(number).seal().to_vec());
        Ok(())
    }

    fn write(&mut self, log: LogId, write: &SegmentWrite) -> Result<(), MediumError> {
        let mut disk = self.0.borrow_mut();
        disk.write(StoreFile::Segment(log, write.segment), write.offset, &write.bytes[write.range.clone()]);
        disk.complete_of(log);
        Ok(())
    }
}

/// What the process has of one log.
#[derive(Debug)]
struct LogOnDisk {
    log: LogId,
    writer: RecordWriter,
    under_way: Option<SegmentWrite>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Disks {
    pub(crate) rng: Rng,
    pub(crate) disk: SharedDisk,
    manifest: Manifest,
    logs: Vec<LogOnDisk>,
    canary: Canary,
}

/// A log that was read back, and is gone on with.
#[derive(Debug)]
pub(crate) struct OpenedLog {
    pub(crate) recovered: RecoveredLog,
    pub(crate) messages: Vec<(MessageId, Message)>,
    /// What the start writes down first.
    pub(crate) start: StartRecords,
}

/// What a start has found.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The logs as they were, each by itself.
    pub(crate) before: Vec<RecoveredLog>,
    /// Those that are gone on with, one a shard.
    pub(crate) logs: Vec<OpenedLog>,
    pub(crate) last_stamp_ns: u64,
}

impl Disks {
    /// An empty disk.
    pub(crate) fn new(seed: u64, shards: usize, names: NameKey, now: Now, canary: Canary) -> Self {
        let manifest = Manifest {
            node: [7; 16],
            node_name: "simulated".to_owned(),
            made: Timestamp(now.unix_ms),
            generation: 1,
            shards: shards as u16,
            epoch: 0,
            names,
            last_stamp_ns: 0,
            segment_bytes: SEGMENT_BYTES,
        };
        let rng = Rng::new(seed ^ 0xd15c_0001);
        Self { rng, disk: SharedDisk::default(), manifest, logs: Vec::new(), canary }
    }

    fn config(manifest: &Manifest, shard: usize) -> LogConfig {
        LogConfig {
            node: manifest.node,
            log: LogId { generation: manifest.generation, shard: ShardId(shard as u8) },
            epoch: manifest.epoch,
            segment_bytes: SEGMENT_BYTES,
            batch_max_bytes: BATCH_MAX_BYTES,
        }
    }

    fn recover(&mut self) -> Result<Vec<RecoveredLog>, String> {
        let Manifest { node, generation, shards, .. } = self.manifest;
        let logs = (0..shards).map(|shard| LogId { generation, shard: ShardId(shard as u8) });
        logs.map(|log| recover_log(&mut self.disk, node, log)).collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    /// A process starts, with so many shards: everything is read back.
    pub(crate) fn open(&mut self, shards: usize, now: Now) -> Result<Opened, String> {
        let before = self.recover()?;
        let mut recovered = before.clone();
        if self.canary != Canary::ReplayTwice {
            join_logs(&mut recovered);
        }
        if usize::from(self.manifest.shards) != shards {
            self.write_anew(shards, now, &recovered)?;
            recovered = self.recover()?;
        }
        self.manifest.epoch += 1;
        let stamps = recovered.iter().flat_map(|log| log.state.retained.values()).map(|found| found.stamp.time_ns);
        self.manifest.last_stamp_ns = stamps.fold(self.manifest.last_stamp_ns, u64::max);
        self.logs.clear();
        let mut logs = Vec::new();
        for (shard, recovered) in recovered.into_iter().enumerate() {
            let read = read_messages(&mut self.disk, &recovered, now).map_err(|error| error.to_string())?;
            let (messages, lost) = read;
            let end = recovered.scan.end;
            let start = StartRecords::of(&recovered.state, &lost, end.position, Timestamp(now.unix_ms));
            let mut writer = RecordWriter::new(Self::config(&self.manifest, shard), end);
            writer.append(now, start.group());
            self.logs.push(LogOnDisk { log: recovered.log, writer, under_way: None });
            logs.push(OpenedLog { recovered, messages, start });
        }
        Ok(Opened { before, logs, last_stamp_ns: self.manifest.last_stamp_ns })
    }

    /// Another number of shards.
    fn write_anew(&mut self, shards: usize, now: Now, recovered: &[RecoveredLog]) -> Result<(), String> {
        let next = self.manifest.next_generation(shards as u16, SEGMENT_BYTES);
        let new = (0..shards).map(|shard| NewLog::begin(Self::config(&next, shard), self.disk.clone(), now)).collect();
        let at = Timestamp(now.unix_ms);
        rewrite(&mut self.disk, recovered, &next.names, at, new).map_err(|error| error.to_string())?;
        self.manifest = next;
        let mut disk = self.disk.0.borrow_mut();
        let old = disk.names().filter(|file| file.log().is_some_and(|log| log.generation != self.manifest.generation));
        for file in old.collect::<Vec<_>>() {
            disk.remove(file);
        }
        Ok(())
    }

    /// The process dies; the power may be gone as well.
    pub(crate) fn cut_power(&mut self) {
        self.logs.clear();
        let mut dice = Dice::new(self.rng.next());
        self.disk.0.borrow_mut().cut_power(&mut dice);
    }

    /// Takes what a turn wrote down.
    pub(crate) fn append(&mut self, shard: usize, now: Now, log: &LogOutput) {
        let canary = self.canary;
        let writer = &mut self.logs[shard].writer;
        if log.is_empty() {
            if log.urgency == Urgency::Awaited {
                writer.hurry();
            }
            return;
        }
        let mut group = log.group();
        let changed = broken(&log.bytes, writer.appended() + 1, canary);
        if matches!(canary, Canary::ForgetReleasedOnDisk | Canary::SkipInboxOnDisk) {
            group = RecordGroup { records: &changed, ..group };
        }
        if canary == Canary::SkipInboxOnDisk {
            group = RecordGroup { inbox: &[], ..group };
        }
        let last = writer.append(now, group);
        assert_eq!(Position(last), log.last, "a shard and its log disagree about the log's length");
    }

    /// Position of the last record of a log.
    pub(crate) fn appended(&self, shard: usize) -> Position {
        Position(self.logs[shard].writer.appended())
    }

    /// Begins a write, if there is one to begin. Where nobody waits any more for company, everything is written.
    pub(crate) fn begin_write(&mut self, shard: usize, now: Now, is_hurried: bool) {
        let LogOnDisk { log, writer, under_way } = &mut self.logs[shard];
        while let Some(number) = writer.next_to_prepare() {
            self.disk.prepare(*log, number).expect("the disk makes files");
            writer.segment_prepared(number);
        }
        let mono_ns = now.mono_ns + if is_hurried { 3_600_000_000_000 } else { 0 };
        if let Some(write) = writer.next_write(Now { mono_ns, ..now }) {
            let bytes = &write.bytes[write.range.clone()];
            self.disk.0.borrow_mut().write(StoreFile::Segment(*log, write.segment), write.offset, bytes);
            *under_way = Some(write);
        }
    }

    /// The write under way comes to its end, if there is one: up to where everything is durable.
    pub(crate) fn end_write(&mut self, shard: usize) -> Option<Position> {
        let LogOnDisk { log, writer, under_way } = &mut self.logs[shard];
        let write = under_way.take()?;
        self.disk.0.borrow_mut().complete_of(*log);
        let len = write.range.len();
        Some(Position(writer.written(write.bytes, Ok(len)).expect("all of it was taken")))
    }
}
