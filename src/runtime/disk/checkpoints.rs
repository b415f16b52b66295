//! The thread that makes checkpoints: it reads a log as a start would, writes down what that comes to, and gives back the segments
//! that nobody needs any more.
//!
//! Always holds: only what is durable is read, so that nobody writes where it reads: segments that are complete, and on a full disk what
//! there is of the one that is written; a checkpoint counts when it is on the
//! disk as a whole; two are kept. What is found to be lost is told before a checkpoint is made without it. A segment is given back when neither of them needs anything in it: all of its records had had their
//! effect when the older one was made, and no message in it was wanted then. Shards do nothing for it, but for writing messages again that
//! lie in segments that are mostly empty.
//! Leaves to others: what a record means (`store`), files that change hands (`keeper`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::checkpoint_file::CheckpointFile;
use super::directory::Directory;
use super::failure::LogFailure;
use super::keeper::{Keeper, KeeperOrder, OrderKind};
use super::log::LogNews;
use super::medium::DirectoryMedium;
use super::pace::{CheckpointPace, PacedMedium};
use super::progress::LogProgress;
use super::sparse::SparseSegments;
use super::survey::SurveyError;
use super::tell_lost::tell_lost;
use crate::ids::ShardId;
use crate::limits::{
    STORE_CHECKPOINT_SEGMENTS, STORE_COPIES_AT_ONCE_BYTES, STORE_COPY_BYTES, STORE_REST_PER_WORK, STORE_SPACE_RETRY_S,
};
use crate::store::format::{LogId, MessageId, SegmentNumber, StoreFile};
use crate::store::{
    CompleteSegments, DurableEnd, LostParts, MadeCheckpoint, Medium, RecoveredLog, covered_by, needed_by, read_records,
    recover_log,
};
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
    /// How fast they are read and written.
    pub pace: CheckpointPace,
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
    /// What of it is lost, and was told.
    lost: LostParts,
    due: Option<Instant>,
    due_when_short: Option<Instant>,
    /// There is no attempt before, whatever is due: the last one came to nothing, or took long.
    rests_until: Option<Instant>,
    /// Another checkpoint would give segments back, even if nothing is new.
    gives_back_more: bool,
    /// Where the log was when messages were last told to be written again.
    copied_at: DurableEnd,
    /// How far the log had come when the last checkpoint was made on a full disk.
    made_at: DurableEnd,
}

/// The thread, which ends with this.
#[derive(Debug)]
pub struct CheckpointMaker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How often it looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it rests at least on a full disk, and as long as the last one took.
const SHORT_REST: Duration = Duration::from_millis(500);
/// How long it rests at least after an attempt that came to nothing.
const FAILED_REST: Duration = Duration::from_secs(STORE_SPACE_RETRY_S as u64);

impl WatchedLog {
    /// A log that was read back.
    pub fn new(recovered: &RecoveredLog, progress: Arc<LogProgress>) -> Self {
        let RecoveredLog { log, scan, .. } = recovered;
        Self {
            log: *log,
            progress,
            covered: covered_by(recovered),
            newest: None,
            lost: LostParts::of(scan),
            due: None,
            due_when_short: Some(Instant::now()),
            rests_until: None,
            gives_back_more: false,
            copied_at: DurableEnd::default(),
            made_at: DurableEnd::default(),
        }
    }

    fn complete(&self) -> SegmentNumber {
        SegmentNumber(self.progress.begun().0.saturating_sub(1))
    }

    /// Whether there is something new, and it is time, or much of it. On a full disk whatever was completed may free room.
    fn is_due(&self, now: Instant) -> bool {
        if self.rests_until.is_some_and(|until| now < until) {
            return false;
        }
        let behind = self.complete().0.saturating_sub(self.covered.0);
        let is_new = behind > 0 || (self.progress.is_short() && self.progress.durable() != self.made_at);
        let due = if self.progress.is_short() { self.due_when_short } else { self.due };
        let is_time = due.is_some_and(|due| due <= now);
        (is_time && (is_new || self.gives_back_more)) || behind >= STORE_CHECKPOINT_SEGMENTS
    }

    /// One was made, or it came to nothing, which took so long.
    fn note_tried(&mut self, interval: Duration, took: Duration, is_made: bool) {
        let now = Instant::now();
        // However much is new, the disk is others' for half of the time.
        let is_paced = !self.progress.is_short();
        let rest = if is_made { took } else { FAILED_REST.max(took * STORE_REST_PER_WORK) };
        self.rests_until = (!is_made || is_paced).then_some(now + rest);
        self.due = Some(now + interval.max(took * STORE_REST_PER_WORK));
        self.due_when_short = Some(now + took.max(SHORT_REST));
    }
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
                let made = self.make(watched, &taken, stopped);
                match &made {
                    Err(SurveyError::Directory(error)) if error.is_fatal() => {
                        let failure = LogFailure::new(self.directory.path(), watched.log, error);
                        (self.tell)(own, LogNews::Failed(failure));
                    }
                    Err(error) => log::event::store_warning(&format_args!("{}: no checkpoint: {error}", watched.log)),
                    Ok(_) => {}
                }
                watched.note_tried(self.interval, begun.elapsed(), made.unwrap_or(false));
            }
        }
    }

    /// Makes a checkpoint of all that is complete, and gives back what neither it nor the one before needs. `false`: there is none.
    fn make(
        &self,
        watched: &mut WatchedLog,
        taken: &[(ShardId, u64)],
        stopped: &Receiver<()>,
    ) -> Result<bool, SurveyError> {
        // In this order: what is durable meanwhile is in segments that are complete by then.
        let end = if watched.progress.is_short() { watched.progress.durable() } else { DurableEnd::default() };
        let (log, complete) = (watched.log, watched.complete());
        let pace = if watched.progress.is_short() { CheckpointPace::unbounded() } else { self.pace };
        let mut recovered = self.read(log, (complete, end), (pace, stopped))?;
        if recovered.scan.incomplete > 0 && end.segment > complete {
            // A change is being written: without it there is what is complete.
            recovered = self.read(log, (complete, DurableEnd::default()), (pace, stopped))?;
        }
        let new = watched.lost.learn(&recovered.scan);
        if !new.is_empty() {
            // A start from the checkpoint would know of nothing that is lost. The disk may have it the next time.
            tell_lost(log, &new);
            return Ok(false);
        }
        for (by, number) in taken {
            recovered.note_taken_over(*by, *number);
        }
        if recovered.scan.incomplete > 0 {
            watched.made_at = end;
            return Ok(false); // a change goes on in the next segment: with that one
        }
        if watched.newest.is_none()
            && let Some(number) = recovered.checkpoint
        {
            let covered = watched.covered;
            let needed = needed_by(&self.read(log, (covered, DurableEnd::default()), (pace, stopped))?);
            watched.newest = Some(MadeCheckpoint { number, covered, needed });
        }
        let number = recovered.checkpoint.max(watched.newest.as_ref().map(|made| made.number)).unwrap_or(0) + 1;
        let newest_whole = recovered.checkpoint;
        let file = CheckpointFile { directory: &self.directory, log, number, newest_whole, pace, stopped };
        if !file.write(&recovered.state, recovered.scan.end.position)? {
            return Ok(false); // the broker stops
        }
        watched.made_at = end;
        watched.covered = complete;
        let made = MadeCheckpoint { number, covered: complete, needed: needed_by(&recovered) };
        // One that cannot be read any more needs nothing, and what the one before it needs stays until there are two again.
        let older = watched.newest.take().filter(|older| newest_whole == Some(older.number));
        watched.gives_back_more =
            older.as_ref().is_none_or(|older| older.covered < complete || !older.needed.is_subset(&made.needed));
        if let Some(older) = older {
            self.give_back(watched, &older, &made)?;
        }
        watched.newest = Some(made);
        self.copy_out(watched, &recovered)?;
        Ok(true)
    }

    /// What a log comes to up to there.
    fn read(
        &self,
        log: LogId,
        (until, end): (SegmentNumber, DurableEnd),
        (pace, stopped): (CheckpointPace, &Receiver<()>),
    ) -> Result<RecoveredLog, SurveyError> {
        let medium = PacedMedium { medium: DirectoryMedium::new(&self.directory), work: pace.read(), stopped };
        Ok(recover_log(&mut CompleteSegments { medium, until, end }, self.node, log)?)
    }

    fn give_back(
        &self,
        watched: &WatchedLog,
        older: &MadeCheckpoint,
        newer: &MadeCheckpoint,
    ) -> Result<(), SurveyError> {
        let order = |kind| _ = self.keeper.order(KeeperOrder { log: watched.log, kind });
        let files = DirectoryMedium::new(&self.directory).files(watched.log)?;
        for file in older.unneeded(newer, files) {
            match file {
                StoreFile::Checkpoint(_, number) => order(OrderKind::DropCheckpoint(number)),
                StoreFile::Segment(_, number) if watched.lost.has(number) => {
                    order(OrderKind::PutAside(number));
                }
                StoreFile::Segment(_, number) => order(OrderKind::Recycle(number)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Messages in segments that are mostly empty are written again, at the end of the log.
    fn copy_out(&self, watched: &mut WatchedLog, recovered: &RecoveredLog) -> Result<(), SurveyError> {
        let is_short = watched.progress.is_short();
        // What was told before is on its way, until a checkpoint has read it. On a full disk that is the next one but one.
        let is_on_its_way = if is_short {
            watched.progress.durable() == watched.copied_at || watched.gives_back_more
        } else {
            watched.covered.0 < watched.copied_at.segment.0 + 2
        };
        if watched.copied_at.segment.0 > 0 && is_on_its_way {
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
        let wanted = SparseSegments { wanted_bytes, segment_bytes: self.segment_bytes, last: watched.covered };
        let sparse = if is_short { wanted.that_free_more_than_they_take() } else { wanted.below_half() };
        let mut medium = DirectoryMedium::new(&self.directory);
        let (mut records, mut count, mut left_bytes) = (Vec::new(), 0, STORE_COPY_BYTES);
        for (segment, id) in ids {
            if !sparse.contains(&segment) {
                continue;
            }
            let Some((bytes, more)) = read_records(&mut medium, watched.log, state, id)? else { continue };
            left_bytes = left_bytes.saturating_sub(bytes.len());
            records.extend(bytes);
            count += more;
            if records.len() >= STORE_COPIES_AT_ONCE_BYTES {
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
            watched.copied_at = DurableEnd { segment: watched.progress.begun(), ..watched.progress.durable() };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{BATCH_BYTES, LOG, NODE, SEGMENT_BYTES, SampleLog};
    use super::*;
    use crate::limits::STORE_BLOCK_BYTES;
    use std::fs;

    fn parts(log: &SampleLog) -> CheckpointParts {
        CheckpointParts {
            directory: Arc::clone(&log.directory),
            node: NODE,
            segment_bytes: SEGMENT_BYTES,
            interval: Duration::from_secs(60),
            pace: CheckpointPace::unbounded(),
            keeper: Arc::new(Keeper::start(Arc::clone(&log.directory), SEGMENT_BYTES, 0, |_| {}).unwrap()),
            logs: Vec::new(),
            tell: Box::new(|_, _| {}),
        }
    }

    /// A log whose last segment is written, up to `bytes`, on a full disk.
    fn watched(log: &SampleLog, bytes: u64) -> WatchedLog {
        let recovered = log.recover();
        let segment = recovered.scan.end.segment;
        let progress = Arc::new(LogProgress::new(segment, std::iter::once(0)));
        progress.note_durable(DurableEnd { segment, bytes });
        progress.set_short(true);
        WatchedLog::new(&recovered, progress)
    }

    #[test]
    fn the_only_checkpoint_that_counts_is_not_written_over_when_the_newest_goes_bad() {
        let log = SampleLog::new("running-only");
        // All of them are needed: none is to spare.
        for topic in ["a", "b", "c"] {
            log.write_segment(topic, 100);
        }
        log.make_checkpoint(5);
        log.make_checkpoint(6);
        let (parts, (_open, stopped)) = (parts(&log), bounded(0));
        let mut watched = watched(&log, SEGMENT_BYTES);
        parts.make(&mut watched, &[], &stopped).unwrap();
        assert_eq!(watched.newest.as_ref().map(|made| made.number), Some(7));
        log.damage_checkpoint(7);
        let good = fs::read(log.checkpoint(6)).unwrap();
        log.fill_disk_for(8);
        parts.make(&mut watched, &[], &stopped).unwrap();
        // The keeper has done what it was told.
        drop(parts);
        assert_eq!(fs::read(log.checkpoint(6)).unwrap(), good, "two that count are kept");
        assert_eq!(log.recover().checkpoint, Some(8));
        fs::remove_file(log.checkpoint(8)).unwrap();
        let recovered = log.recover();
        assert_eq!((recovered.log, recovered.checkpoint), (LOG, Some(6)));
        assert!(recovered.scan.damage.is_empty() && recovered.state.retained.contains_key("c"));
    }

    #[test]
    fn what_is_found_to_be_lost_is_known_before_a_checkpoint_is_made_without_it() {
        let log = SampleLog::new("running-lost");
        let numbers = ["a", "b", "c"].map(|topic| log.write_segment(topic, 100));
        let (parts, (_open, stopped)) = (parts(&log), bounded(0));
        let mut watched = watched(&log, SEGMENT_BYTES);
        // Its second segment goes bad while the broker runs.
        let path = log.path_of(StoreFile::Segment(LOG, numbers[1]));
        let mut bytes = fs::read(&path).unwrap();
        bytes[STORE_BLOCK_BYTES + 50] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(!parts.make(&mut watched, &[], &stopped).unwrap(), "it is told, and looked at once more");
        assert!(watched.lost.has(numbers[1]) && log.recover().checkpoint.is_none());
        assert!(parts.make(&mut watched, &[], &stopped).unwrap());
        let recovered = log.recover();
        assert_eq!(recovered.state.retained.keys().map(|topic| &**topic).collect::<Vec<_>>(), ["a", "c"]);
        assert!(recovered.scan.damage.is_empty(), "nobody would be told by a start: {:?}", recovered.scan);
    }

    /// A change of which the end is not durable yet, or never will be for want of room, keeps nobody waiting.
    #[test]
    fn a_change_that_is_being_written_is_left_out() {
        let log = SampleLog::new("running-cut");
        log.write_segment("t", 100);
        log.write_segment("large", 2 * BATCH_BYTES);
        let (parts, (_open, stopped)) = (parts(&log), bounded(0));
        // The segment's header and the first of its batches.
        let mut watched = watched(&log, 4 * STORE_BLOCK_BYTES as u64);
        assert!(parts.make(&mut watched, &[], &stopped).unwrap());
        assert_eq!(watched.covered, SegmentNumber(1));
        fs::remove_file(log.path_of(StoreFile::Segment(LOG, SegmentNumber(2)))).unwrap();
        let recovered = log.recover();
        assert_eq!((recovered.checkpoint, recovered.replayed_from), (Some(1), 3));
        assert_eq!(recovered.state.retained.keys().map(|topic| &**topic).collect::<Vec<_>>(), ["t"]);
    }

    /// What failed is tried again even if nothing happens meanwhile, after a rest that nothing cuts short.
    #[test]
    fn a_checkpoint_that_fails_is_tried_again_and_not_all_the_time() {
        let log = SampleLog::new("running-fails");
        (0..STORE_CHECKPOINT_SEGMENTS).for_each(|_| _ = log.write_segment("t", 100));
        let (parts, (_open, stopped)) = (parts(&log), bounded(0));
        let mut watched = watched(&log, SEGMENT_BYTES);
        let soon = || Instant::now() + SHORT_REST * 3 / 2;
        let later = || Instant::now() + FAILED_REST * 2;
        let attempt = |watched: &mut WatchedLog| {
            let made = parts.make(watched, &[], &stopped);
            watched.note_tried(parts.interval, Duration::from_millis(1), *made.as_ref().unwrap_or(&false));
            made.map_err(|error| error.to_string())
        };
        // All that is complete has been seen; only what is durable of the last one is new.
        watched.covered = watched.complete();
        assert!(watched.is_due(Instant::now()));
        log.fill_disk_for(1);
        assert!(attempt(&mut watched).is_err_and(|text| text.contains("No space left")));
        assert!(!watched.is_due(soon()) && watched.is_due(later()), "{watched:?}");
        // Much of it is new: a checkpoint would be due at once.
        watched.covered = SegmentNumber(0);
        watched.progress.note_begun(SegmentNumber(STORE_CHECKPOINT_SEGMENTS + 1));
        assert!(!watched.is_due(soon()) && watched.is_due(later()), "{watched:?}");
        assert_eq!(attempt(&mut watched), Ok(true));
        watched.gives_back_more = false;
        assert!(!watched.is_due(later()), "nothing is new: {watched:?}");
        watched.covered = SegmentNumber(0);
        assert!(watched.is_due(Instant::now()), "and what is much does not wait: {watched:?}");
    }
}
