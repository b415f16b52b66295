//! The data directory of the simulated process: logs on a disk of sectors, written and read back by the store's own code.
//!
//! Owns: the sectors, the manifest, and what the process has of each log: its writer, and the write that is under way.
//! Always holds: a log is written as the runtime writes it: one write at a time, into segments that were made ready, durable when it completes.
//! Leaves to others: when a write goes on, when the process dies (`crash`), and what has to survive (`durable`, `oracle`).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use dunlin::ids::{NameKey, ShardId};
use dunlin::session::Message;
use dunlin::shard::{StartRecords, read_messages, rewrite};
use dunlin::store::format::{InboxCount, LogId, Manifest, MessageId, NewestSegment, SegmentNumber, StoreFile};
use dunlin::store::{
    CompleteSegments, DurableEnd, LogConfig, LogOutput, LostParts, MadeCheckpoint, Medium, MediumError, MessageFinder,
    NewLog, NewLogFiles, Position, RecordGroup, RecordWriter, RecoveredLog, SegmentWrite, Urgency, covered_by,
    join_logs, needed_by, read_message, recover_log, write_pages,
};
use dunlin::time::{Now, Timestamp};

use crate::batches::{Batch, BatchLedger};
use crate::canary::Canary;
use crate::dice::Dice;
use crate::durable::broken;
use crate::rng::Rng;
use crate::sectors::SimDisk;

/// Of a segment's file: so small that logs go through many.
pub(crate) const SEGMENT_BYTES: u64 = 96 * 1024;
/// Most that one write takes.
const BATCH_MAX_BYTES: usize = 24 * 1024;

/// How far a segment is that is made while the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preparing {
    /// Its file is to be made.
    File(SegmentNumber),
    /// That has its name; how far segments are made is to be noted.
    Note(SegmentNumber),
    /// That is noted, and nothing of it synced.
    Sync(SegmentNumber),
}

/// The disk, for whoever reads or writes it, and what was written to it where.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedDisk(pub(crate) Rc<RefCell<SimDisk>>, pub(crate) Rc<RefCell<BatchLedger>>);

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
        disk.put(StoreFile::Newest(log), NewestSegment(number).seal());
        Ok(())
    }

    fn write(&mut self, log: LogId, write: &SegmentWrite) -> Result<(), MediumError> {
        let mut disk = self.0.borrow_mut();
        disk.write(StoreFile::Segment(log, write.segment), write.offset, &write.bytes[write.range.clone()]);
        disk.complete_of(log);
        self.1.borrow_mut().add(log, write);
        Ok(())
    }
}

/// What the process has of one log.
#[derive(Debug)]
pub(super) struct LogOnDisk {
    pub(super) log: LogId,
    writer: RecordWriter,
    preparing: Option<Preparing>,
    pub(super) under_way: Option<SegmentWrite>,
    /// Until this step the disk does not get on with it.
    pub(super) stalled_until: u64,
    /// The segment that is written.
    begun: SegmentNumber,
    /// Up to here the newest checkpoint that was found has everything.
    covered: SegmentNumber,
    /// The newest checkpoint.
    made: Option<MadeCheckpoint>,
    /// Forwards of other logs that were taken over, and in which record; those that are durable.
    taking: VecDeque<(u64, InboxCount)>,
    taken: BTreeMap<ShardId, u64>,
    /// What of it is lost, and was told.
    lost: LostParts,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Disks {
    pub(crate) rng: Rng,
    /// When names of files become durable.
    names_rng: Rng,
    pub(crate) disk: SharedDisk,
    manifest: Manifest,
    pub(super) logs: Vec<LogOnDisk>,
    canary: Canary,
    /// Something was done to the disk that is not its writers' doing.
    pub(super) is_hit: bool,
    /// Something was found to be lost since the last start, and told.
    pub(super) has_told: bool,
    /// A write under way that goes elsewhere: of which log, and where it was to go.
    pub(super) misdirected: Option<(LogId, SegmentNumber, u64, u64)>,
    /// A canary: the next start takes the first damage for the end of the log.
    pub(super) truncates: Option<(LogId, Batch)>,
}

/// A log that was read back, and is gone on with.
#[derive(Debug)]
pub(crate) struct OpenedLog {
    pub(crate) recovered: RecoveredLog,
    pub(crate) messages: Vec<(MessageId, Message)>,
    /// Those of them that are brought into memory.
    pub(crate) in_memory: Vec<(MessageId, Message)>,
    /// Messages whose bytes are lost.
    pub(crate) lost: Vec<MessageId>,
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
    /// What was lost when everything was written anew.
    pub(crate) lost: u32,
    /// Payloads of what was on its way to other logs then, and has arrived.
    pub(crate) arrived: Vec<Vec<u8>>,
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
        Self {
            rng: Rng::new(seed ^ 0xd15c_0001),
            names_rng: Rng::new(seed ^ 0xd15c_0002),
            disk: SharedDisk::default(),
            manifest,
            logs: Vec::new(),
            canary,
            is_hit: false,
            has_told: false,
            misdirected: None,
            truncates: None,
        }
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

    /// A process starts, with so many shards, whose queues may take so many bytes of memory each: everything is read back.
    pub(crate) fn open(&mut self, shards: usize, queued_bytes: u64, now: Now) -> Result<Opened, String> {
        if let Some((log, batch)) = self.truncates.take() {
            self.truncate(log, batch);
        }
        let before = self.recover()?;
        let mut recovered = before.clone();
        if self.canary != Canary::ReplayTwice {
            join_logs(&mut recovered);
        }
        let (mut lost_before, mut arrived) = (0, Vec::new());
        if usize::from(self.manifest.shards) != shards {
            arrived = self.on_their_way(&recovered)?;
            lost_before = self.write_anew(shards, now, &recovered)?;
            recovered = self.recover()?;
        }
        self.manifest.epoch += 1;
        let stamps = recovered.iter().flat_map(|log| log.state.retained.values()).map(|found| found.stamp.time_ns);
        self.manifest.last_stamp_ns = stamps.fold(self.manifest.last_stamp_ns, u64::max);
        self.logs.clear();
        let mut logs = Vec::new();
        for (shard, recovered) in recovered.into_iter().enumerate() {
            let mut read = |queued_bytes| {
                read_messages(&mut self.disk, &recovered, queued_bytes, now).map_err(|error| error.to_string())
            };
            let (messages, lost) = read(u64::MAX)?;
            let (in_memory, _) = read(queued_bytes)?;
            let end = recovered.scan.end;
            let start = StartRecords::of(&recovered.state, &lost, end.position, Timestamp(now.unix_ms));
            let mut writer = RecordWriter::new(Self::config(&self.manifest, shard), end);
            writer.append(now, start.group());
            self.logs.push(LogOnDisk {
                log: recovered.log,
                writer,
                preparing: None,
                under_way: None,
                stalled_until: 0,
                begun: end.segment.next(),
                covered: covered_by(&recovered),
                made: None,
                taking: VecDeque::new(),
                taken: recovered.state.mailbox.taken().collect(),
                lost: LostParts::of(&recovered.scan),
            });
            logs.push(OpenedLog { recovered, messages, in_memory, lost, start });
        }
        Ok(Opened { before, logs, last_stamp_ns: self.manifest.last_stamp_ns, lost: lost_before, arrived })
    }

    /// Payloads of what is on its way to other logs.
    fn on_their_way(&mut self, logs: &[RecoveredLog]) -> Result<Vec<Vec<u8>>, String> {
        let mut payloads = Vec::new();
        for RecoveredLog { log, state, .. } in logs {
            let forwards = state.mailbox.numbered().flat_map(|(to, _)| state.mailbox.forwards(to));
            for forward in forwards {
                let found = read_message(&mut self.disk, *log, state, forward.message).map_err(|e| e.to_string())?;
                payloads.extend(found.map(|message| message.payload().to_vec()));
            }
        }
        Ok(payloads)
    }

    /// As a reader would that takes the first damage for the end: nothing behind it is there.
    fn truncate(&mut self, log: LogId, batch: Batch) {
        let mut disk = self.disk.0.borrow_mut();
        for file in disk.names().collect::<Vec<_>>() {
            match file {
                StoreFile::Segment(of, number) if of == log && number == batch.segment => {
                    disk.bytes_mut(file)[batch.offset as usize..].fill(0);
                }
                StoreFile::Segment(of, number) if of == log && number > batch.segment => disk.bytes_mut(file).fill(0),
                _ => {}
            }
        }
    }

    /// Another number of shards.
    fn write_anew(&mut self, shards: usize, now: Now, recovered: &[RecoveredLog]) -> Result<u32, String> {
        let next = self.manifest.next_generation(shards as u16, SEGMENT_BYTES);
        let new = (0..shards).map(|shard| NewLog::begin(Self::config(&next, shard), self.disk.clone(), now)).collect();
        let at = Timestamp(now.unix_ms);
        let lost = rewrite(&mut self.disk, recovered, &next.names, at, new).map_err(|error| error.to_string())?;
        self.manifest = next;
        let mut disk = self.disk.0.borrow_mut();
        let old = disk.names().filter(|file| file.log().is_some_and(|log| log.generation != self.manifest.generation));
        for file in old.collect::<Vec<_>>() {
            disk.remove(file);
        }
        self.disk.1.borrow_mut().forget_before(self.manifest.generation);
        Ok(lost)
    }

    /// Whether something has happened to the disk where a message was written.
    pub(crate) fn is_lost(&self, shard: usize, id: MessageId) -> bool {
        self.is_hit && self.disk.1.borrow().is_hit(self.logs[shard].log, id.0)
    }

    /// What finds messages of a shard's log.
    pub(crate) const fn finder(&self, shard: usize) -> MessageFinder {
        let Manifest { node, generation, .. } = self.manifest;
        MessageFinder::new(node, LogId { generation, shard: ShardId(shard as u8) })
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
        let LogOnDisk { writer, taking, .. } = &mut self.logs[shard];
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
        taking.extend(log.inbox.iter().map(|count| (last, *count)));
        assert_eq!(Position(last), log.last, "a shard and its log disagree about the log's length");
    }

    /// Position of the last record of a log.
    pub(crate) fn appended(&self, shard: usize) -> Position {
        Position(self.logs[shard].writer.appended())
    }

    /// Begins a write, if there is one to begin. Where nobody waits any more for company, everything is written.
    pub(crate) fn begin_write(&mut self, shard: usize, now: Now, is_hurried: bool) {
        self.prepare_segments(shard, is_hurried);
        let LogOnDisk { log, writer, under_way, begun, .. } = &mut self.logs[shard];
        let mono_ns = now.mono_ns + if is_hurried { 3_600_000_000_000 } else { 0 };
        if let Some(write) = writer.next_write(Now { mono_ns, ..now }) {
            let bytes = &write.bytes[write.range.clone()];
            self.disk.0.borrow_mut().write(StoreFile::Segment(*log, write.segment), write.offset, bytes);
            if write.begins.is_some() {
                *begun = write.segment;
            }
            *under_way = Some(write);
        }
    }

    /// Makes segments as the keeper of files does, one step after the other, and no more than a log can do without where nobody is in a hurry.
    fn prepare_segments(&mut self, shard: usize, is_hurried: bool) {
        let LogOnDisk { log, writer, preparing, .. } = &mut self.logs[shard];
        while let Some(step) = preparing.take().or_else(|| writer.next_to_prepare().map(Preparing::File)) {
            let mut disk = self.disk.0.borrow_mut();
            match step {
                Preparing::File(number) => {
                    let file = StoreFile::Segment(*log, number);
                    if !disk.has(file) {
                        let spare = disk.names().find(|name| matches!(name, StoreFile::Spare(of, _) if of == log));
                        let files = spare.into_iter().chain([file]).collect::<Vec<_>>();
                        disk.change_names(*log, &files, |disk| match spare {
                            Some(spare) => disk.rename(spare, file),
                            None => assert!(disk.create(file, SEGMENT_BYTES), "nobody has bounded the disk"),
                        });
                    }
                    if self.canary == Canary::ForgetNames {
                        disk.forgotten.insert(file);
                    }
                    *preparing = Some(Preparing::Note(number));
                }
                Preparing::Note(number) => {
                    let note = StoreFile::Newest(*log);
                    let put = |disk: &mut SimDisk| disk.put(note, NewestSegment(number).seal());
                    disk.change_names(*log, &[note], put);
                    *preparing = Some(Preparing::Sync(number));
                }
                Preparing::Sync(number) => {
                    disk.sync_names(*log);
                    writer.segment_prepared(number);
                }
            }
            if preparing.is_some() && writer.prepared() > 0 && !is_hurried && self.names_rng.percent(50) {
                return;
            }
        }
    }

    /// The write under way comes to its end, if there is one: up to where everything is durable.
    pub(crate) fn end_write(&mut self, shard: usize) -> Option<Position> {
        let LogOnDisk { log, writer, under_way, taking, taken, .. } = &mut self.logs[shard];
        let write = under_way.take()?;
        self.disk.0.borrow_mut().complete_of(*log);
        self.disk.1.borrow_mut().add(*log, &write);
        if let Some((log, segment, offset, bytes)) = self.misdirected.take_if(|(of, ..)| of == log) {
            self.disk.1.borrow_mut().hit(log, segment, offset, bytes);
        }
        let len = write.range.len();
        let durable = writer.written(write.bytes, Ok(len)).expect("all of it was taken");
        let now_durable = taking.partition_point(|(position, _)| *position <= durable);
        for (_, count) in taking.drain(..now_durable) {
            let known = taken.entry(count.from).or_default();
            *known = count.number.max(*known);
        }
        Some(Position(durable))
    }

    /// The disk refuses the write under way, if there is one: nothing more is written.
    pub(crate) fn fail_write(&mut self, shard: usize) -> bool {
        let LogOnDisk { writer, under_way, .. } = &mut self.logs[shard];
        let Some(write) = under_way.take() else { return false };
        assert!(writer.written(write.bytes, Err(5)).is_err(), "it failed");
        assert!(
            writer.next_write(Now { mono_ns: u64::MAX / 2, unix_ms: 0 }).is_none(),
            "nobody knows what is on the disk"
        );
        true
    }

    /// Makes a checkpoint of what is complete of a log, and gives back what nobody needs any more, as the runtime does.
    pub(crate) fn checkpoint(&mut self, shard: usize) -> Result<bool, String> {
        let (log, begun) = (self.logs[shard].log, self.logs[shard].begun);
        let complete = SegmentNumber(begun.0.saturating_sub(1));
        let node = self.manifest.node;
        let read = |disk: &SharedDisk, until| {
            let mut medium = CompleteSegments { medium: disk.clone(), until, end: DurableEnd::default() };
            recover_log(&mut medium, node, log).map_err(|error| error.to_string())
        };
        let mut recovered = read(&self.disk, complete)?;
        let new = self.logs[shard].lost.learn(&recovered.scan);
        if !new.is_empty() {
            if let Some(position) = self.disk.1.borrow().too_much(log, &new.damage) {
                return Err(format!("record {position} of {log} is lost, and nothing has hit it: {new:?}"));
            }
            self.has_told = true;
            return Ok(false);
        }
        if recovered.scan.incomplete > 0 || complete.0 == 0 {
            return Ok(false);
        }
        let own = log.shard;
        for other in &self.logs {
            recovered.note_taken_over(other.log.shard, other.taken.get(&own).copied().unwrap_or(0));
        }
        let covered = self.logs[shard].covered;
        let made = &mut self.logs[shard].made;
        if made.is_none()
            && let Some(number) = recovered.checkpoint
        {
            *made = Some(MadeCheckpoint { number, covered, needed: needed_by(&read(&self.disk, covered)?) });
        }
        let number = recovered.checkpoint.max(made.as_ref().map(|made| made.number)).unwrap_or(0) + 1;
        let mut bytes = Vec::new();
        let written = write_pages((log, number), (&recovered.state, recovered.scan.end.position), |pages| {
            for page in &pages {
                bytes.extend_from_slice(&page.bytes[page.range.clone()]);
            }
            Ok::<_, String>(true)
        });
        assert_eq!(written, Ok(true));
        let file = StoreFile::Checkpoint(log, number);
        self.disk.0.borrow_mut().change_names(log, &[file], |disk| disk.put(file, bytes));
        let newer = MadeCheckpoint { number, covered: complete, needed: needed_by(&recovered) };
        let older = made.take().filter(|older| recovered.checkpoint == Some(older.number));
        if let Some(older) = older {
            let files = self.disk.files(log).map_err(|error| error.to_string())?;
            let mut disk = self.disk.0.borrow_mut();
            for file in older.unneeded(&newer, files) {
                match file {
                    StoreFile::Segment(_, number) => {
                        self.disk.1.borrow_mut().forget(log, number);
                        let free = (0..4).map(|spare| StoreFile::Spare(log, spare)).find(|spare| !disk.has(*spare));
                        let files = free.into_iter().chain([file]).collect::<Vec<_>>();
                        disk.change_names(log, &files, |disk| match free {
                            Some(spare) => disk.rename(file, spare),
                            None => disk.remove(file),
                        });
                    }
                    file => disk.change_names(log, &[file], |disk| disk.remove(file)),
                }
            }
        }
        self.logs[shard].made = Some(newer);
        Ok(true)
    }
}
