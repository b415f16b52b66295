//! The thread that makes checkpoints: it reads a log as a start would, writes down what that comes to, and gives back the segments
//! that nobody needs any more.
//!
//! Always holds: only segments that are complete are read, so that nobody writes where it reads; a checkpoint counts when it is on the
//! disk as a whole; two are kept. A segment is given back when neither of them needs anything in it: all of its records had had their
//! effect when the older one was made, and no message in it was wanted then. Shards do nothing for it, but for writing messages again that
//! lie in segments that are mostly empty.
//! Leaves to others: what a record means (`store`), files that change hands (`keeper`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::checkpoint_file::{CheckpointFile, CompleteSegments};
use super::directory::Directory;
use super::keeper::{Keeper, KeeperOrder, OrderKind};
use super::log::LogNews;
use super::medium::DirectoryMedium;
use super::progress::LogProgress;
use super::survey::SurveyError;
use crate::ids::ShardId;
use crate::limits::{STORE_CHECKPOINT_SEGMENTS, STORE_COPY_BYTES};
use crate::store::format::{LogId, MessageId, SegmentNumber, StoreFile};
use crate::store::{Medium, RecoveredLog, read_records, recover_log};
use crate::telemetry::log;

/// What the thread is to look after.
pub struct CheckpointParts {
    /// Where the logs are.
    pub directory: Arc<Directory>,
    /// As its manifest has it.
    pub node: [u8; 16],
    /// Size of a segment's file.
    pub segment_bytes: u64,
    /// Least time between two checkpoints of a log.
    pub interval: Duration,
    /// Gives files back.
    pub keeper: Arc<Keeper>,
    /// How far each log has come.
    pub logs: Vec<WatchedLog>,
    /// Tells a shard what it is to write again.
    pub tell: Box<dyn Fn(ShardId, LogNews) + Send>,
}

impl std::fmt::Debug for CheckpointParts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CheckpointParts").field("logs", &self.logs).finish_non_exhaustive()
    }
}

/// One log that checkpoints are made of.
#[derive(Debug)]
pub struct WatchedLog {
    log: LogId,
    progress: Arc<LogProgress>,
    /// Up to here the newest checkpoint has everything.
    covered: SegmentNumber,
    /// What the newest checkpoint needs, once that is known.
    newest: Option<MadeCheckpoint>,
    /// Segments that were found damaged.
    damaged: BTreeSet<SegmentNumber>,
    due: Option<Instant>,
    /// Another checkpoint would give segments back, even if nothing is new.
    gives_back_more: bool,
    /// Where the log was when messages were last told to be written again.
    copied_at: SegmentNumber,
}

/// What a checkpoint needs besides itself.
#[derive(Debug)]
struct MadeCheckpoint {
    number: u32,
    covered: SegmentNumber,
    /// Segments with messages that it refers to.
    needed: BTreeSet<SegmentNumber>,
}

/// The thread, which ends with this.
#[derive(Debug)]
pub struct CheckpointMaker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How often it looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// So much longer than a checkpoint took, at least, until the next one of the log: reading and writing it is a tenth of a core's work and of
/// a disk's at most.
const REST_PER_WORK: u32 = 10;

impl WatchedLog {
    /// A log that was read back.
    pub fn new(recovered: &RecoveredLog, progress: Arc<LogProgress>) -> Self {
        let RecoveredLog { log, scan, .. } = recovered;
        Self {
            log: *log,
            progress,
            covered: covered_by(recovered),
            newest: None,
            damaged: scan.damage.iter().map(|damage| damage.segment).collect(),
            due: None,
            gives_back_more: false,
            copied_at: SegmentNumber(0),
        }
    }

    fn complete(&self) -> SegmentNumber {
        SegmentNumber(self.progress.begun().0.saturating_sub(1))
    }

    /// Whether there is something new, and it is time, or much of it.
    fn is_due(&self, now: Instant) -> bool {
        let behind = self.complete().0.saturating_sub(self.covered.0);
        let is_time = self.due.is_some_and(|due| due <= now);
        (is_time && (behind > 0 || self.gives_back_more)) || behind >= STORE_CHECKPOINT_SEGMENTS
    }
}

/// The last segment of which the checkpoint that was recovered from has everything.
fn covered_by(recovered: &RecoveredLog) -> SegmentNumber {
    let segments = &recovered.scan.segments;
    // Checkpoints are made where a segment ends.
    let later = segments.iter().find(|segment| segment.first > recovered.replayed_from);
    let next = later.map_or(recovered.scan.end.segment.next(), |segment| segment.number);
    SegmentNumber(next.0.saturating_sub(1))
}

impl CheckpointMaker {
    /// Starts the thread.
    pub fn start(mut parts: CheckpointParts) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let first = Instant::now() + parts.interval;
        parts.logs.iter_mut().for_each(|log| log.due = Some(first));
        let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(move || parts.run(&stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for CheckpointMaker {
    /// A checkpoint under way is given up: the log has all that it would have.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl CheckpointParts {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut logs = std::mem::take(&mut self.logs);
        let others: Vec<_> = logs.iter().map(|watched| (watched.log.shard, Arc::clone(&watched.progress))).collect();
        while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            for watched in &mut logs {
                let begun = Instant::now();
                if !watched.is_due(begun) {
                    continue;
                }
                let own = watched.log.shard;
                let taken = others.iter().map(|(shard, progress)| (*shard, progress.taken(own))).collect::<Vec<_>>();
                if let Err(error) = self.make(watched, &taken, stopped) {
                    log::event::store_warning(&format_args!("{}: no checkpoint: {error}", watched.log));
                }
                let rest = self.interval.max(begun.elapsed() * REST_PER_WORK);
                watched.due = Some(Instant::now() + rest);
            }
        }
    }

    /// Makes a checkpoint of all that is complete, and gives back what neither it nor the one before needs.
    fn make(
        &self,
        watched: &mut WatchedLog,
        taken: &[(ShardId, u64)],
        stopped: &Receiver<()>,
    ) -> Result<(), SurveyError> {
        let (log, complete) = (watched.log, watched.complete());
        let mut recovered = self.read(log, complete)?;
        for (by, number) in taken {
            recovered.note_taken_over(*by, *number);
        }
        if recovered.scan.incomplete > 0 {
            return Ok(()); // a change goes on in the next segment: with that one
        }
        if watched.newest.is_none()
            && let Some(number) = recovered.checkpoint
        {
            let covered = watched.covered;
            let needed = needed_by(&self.read(log, covered)?);
            watched.newest = Some(MadeCheckpoint { number, covered, needed });
        }
        let number = recovered.checkpoint.max(watched.newest.as_ref().map(|made| made.number)).unwrap_or(0) + 1;
        let file = CheckpointFile { directory: &self.directory, log, number, stopped };
        if !file.write(&recovered.state, recovered.scan.end.position)? {
            return Ok(()); // the broker stops
        }
        watched.covered = complete;
        let made = MadeCheckpoint { number, covered: complete, needed: needed_by(&recovered) };
        let older = watched.newest.take();
        watched.gives_back_more = older.as_ref().is_none_or(|older| older.covered < complete);
        if let Some(older) = older {
            self.give_back(watched, &older, &made)?;
        }
        watched.newest = Some(made);
        self.copy_out(watched, &recovered)
    }

    fn read(&self, log: LogId, until: SegmentNumber) -> Result<RecoveredLog, SurveyError> {
        let mut medium = CompleteSegments { medium: DirectoryMedium::new(&self.directory), until };
        Ok(recover_log(&mut medium, self.node, log)?)
    }

    fn give_back(
        &self,
        watched: &WatchedLog,
        older: &MadeCheckpoint,
        newer: &MadeCheckpoint,
    ) -> Result<(), SurveyError> {
        let order = |kind| _ = self.keeper.order(KeeperOrder { log: watched.log, kind });
        for file in DirectoryMedium::new(&self.directory).files(watched.log)? {
            match file {
                StoreFile::Checkpoint(_, number) if number < older.number => order(OrderKind::DropCheckpoint(number)),
                StoreFile::Segment(_, number)
                    if number <= older.covered
                        && !older.needed.contains(&number)
                        && !newer.needed.contains(&number) =>
                {
                    let is_damaged = watched.damaged.contains(&number);
                    order(if is_damaged { OrderKind::PutAside(number) } else { OrderKind::Recycle(number) });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Messages in segments that are mostly empty are written again, at the end of the log.
    fn copy_out(&self, watched: &mut WatchedLog, recovered: &RecoveredLog) -> Result<(), SurveyError> {
        // What was told before is on its way, until a checkpoint has read it.
        if watched.covered <= SegmentNumber(watched.copied_at.0 + 1) && watched.copied_at.0 > 0 {
            return Ok(());
        }
        let state = &recovered.state;
        let mut ids: Vec<(SegmentNumber, MessageId)> = Vec::new();
        let mut wanted_bytes = BTreeMap::<SegmentNumber, u64>::new();
        for (id, _) in state.messages.iter() {
            let Some(first) = state.messages.place(id) else { continue };
            for place in state.messages.parts(id).iter().chain([&first]) {
                *wanted_bytes.entry(place.segment).or_default() += u64::from(place.len);
            }
            ids.push((first.segment, id));
        }
        ids.sort_unstable();
        let mut medium = DirectoryMedium::new(&self.directory);
        let (mut records, mut count, mut left_bytes) = (Vec::new(), 0, STORE_COPY_BYTES);
        for (segment, id) in ids {
            // The newest of them may not have been filled for want of time.
            let is_mostly_empty = wanted_bytes.get(&segment).is_some_and(|bytes| *bytes * 2 < self.segment_bytes);
            if !is_mostly_empty || segment >= watched.covered {
                continue;
            }
            let Some((bytes, more)) = read_records(&mut medium, watched.log, state, id)? else { continue };
            left_bytes = left_bytes.saturating_sub(bytes.len());
            records.extend(bytes);
            count += more;
            if records.len() >= COPIES_AT_ONCE_BYTES {
                (self.tell)(watched.log.shard, LogNews::Copies { records: std::mem::take(&mut records), count });
                count = 0;
            }
            if left_bytes == 0 {
                break;
            }
        }
        if count > 0 {
            (self.tell)(watched.log.shard, LogNews::Copies { records, count });
        }
        if left_bytes < STORE_COPY_BYTES {
            watched.copied_at = watched.progress.begun();
        }
        Ok(())
    }
}

/// Copies that a shard is told of at once: a turn writes no more.
const COPIES_AT_ONCE_BYTES: usize = 64 * 1024;

/// Segments in which there is something that somebody wants.
fn needed_by(recovered: &RecoveredLog) -> BTreeSet<SegmentNumber> {
    let messages = &recovered.state.messages;
    let parts = messages.iter().flat_map(|(id, _)| messages.parts(id).iter().copied().chain(messages.place(id)));
    parts.map(|place| place.segment).collect()
}
