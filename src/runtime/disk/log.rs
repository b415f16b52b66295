//! One shard's log, as its pump has it: what is to be written next, into which file, and what came of it.
//!
//! Always holds: one write is under way at a time, into a segment that was made ready before; what was appended is durable in
//! order; after a write that failed nothing more is written, and nothing is called durable.
//! Leaves to others: the write itself (`ring`), files (`keeper`), what a record means (`store`, `shard`).

use std::collections::VecDeque;
use std::fmt::Display;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Receiver;

use super::body_reader::{BodyReader, QueuedBodies, ReadOrder};
use super::directory::Directory;
use super::error::DirectoryError;
use super::failure::LogFailure;
use super::keeper::{Keeper, KeeperOrder, KeeperReport, OrderKind};
use super::prepare::SegmentFile;
use super::progress::{LogProgress, Taken};
use crate::limits::{
    STORE_LAZY_MS, STORE_PENDING_MAX_BYTES, STORE_SEGMENTS_PREPARED, STORE_SEGMENTS_RESERVED, STORE_SPACE_RETRY_S,
};
use crate::shard::DiskRead;
use crate::store::format::{LogId, SegmentNumber};
use crate::store::{DurableEnd, LogConfig, LogEnd, LogRoom, Position, RecordGroup, RecordWriter, SegmentWrite};
use crate::telemetry::log;
use crate::time::{Deadline, Now};

/// What others have to say to a shard's log.
#[derive(Debug)]
pub enum LogNews {
    /// The keeper has done something, or could not.
    Report(KeeperReport),
    /// Messages that are to be written again, so that the segment they are in can be used for something else.
    Copies {
        /// Encoded, one behind the other.
        records: Vec<u8>,
        /// How many they are.
        count: u32,
    },
    /// Messages that a shard has asked for.
    Bodies(QueuedBodies),
    /// The disk has failed whoever makes checkpoints.
    Failed(LogFailure),
}

/// What a log is made of.
#[derive(Debug)]
pub struct LogParts {
    /// Which it is.
    pub config: LogConfig,
    /// Where it is.
    pub directory: Arc<Directory>,
    /// Where it goes on.
    pub end: LogEnd,
    /// The segment that is written next.
    pub first: SegmentFile,
    /// Why there is no room for another one, if there is none.
    pub short: Option<DirectoryError>,
    /// Makes the others.
    pub keeper: Arc<Keeper>,
    /// Reads what has left memory.
    pub reader: Arc<BodyReader>,
    /// What the keeper and others say.
    pub news: Receiver<LogNews>,
    /// For whoever makes checkpoints.
    pub progress: Arc<LogProgress>,
    /// How many logs of the process are short of room: the first and the last of them say so.
    pub short_logs: Arc<AtomicUsize>,
}

/// Bytes to be written to a file.
#[derive(Debug)]
pub struct FileWrite {
    /// Into which.
    pub file: Arc<OwnedFd>,
    /// From its beginning.
    pub offset: u64,
    /// An allocation that holds them.
    pub bytes: Vec<u8>,
    /// Where in it they are.
    pub range: Range<usize>,
}

/// See the module's text.
#[derive(Debug)]
pub struct DiskLog {
    log: LogId,
    directory: Arc<Directory>,
    segment_bytes: u64,
    writer: RecordWriter,
    /// The segment that is written, and those that are ready behind it.
    files: VecDeque<SegmentFile>,
    keeper: Arc<Keeper>,
    reader: Arc<BodyReader>,
    news: Receiver<LogNews>,
    progress: Arc<LogProgress>,
    /// Of other logs' forwards, what becomes taken over when a position is durable.
    taken: VecDeque<(u64, Taken)>,
    /// What the shard was last told that there is room for.
    room: LogRoom,
    /// The disk is full.
    is_short: bool,
    short_logs: Arc<AtomicUsize>,
    /// Too much waits to be written.
    is_behind: bool,
    /// The segment that is to be made next. They are made one after the other, so that they come in order.
    wanted: Option<SegmentNumber>,
    /// It was ordered.
    is_preparing: bool,
    /// It could not be made, and is tried again with the others.
    is_delayed: bool,
    /// Not of the room that is left to others either.
    has_nothing_left: bool,
    /// Orders that could not be given, or failed.
    again: Vec<OrderKind>,
    /// It was told that something has to be tried again which is not for want of room.
    is_delay_told: bool,
    /// The disk has failed, other than in a write.
    failure: Option<LogFailure>,
    retry_at: Option<Deadline>,
    copies: VecDeque<(Vec<u8>, u32)>,
    bodies: VecDeque<QueuedBodies>,
    /// Where the last of them stands that is not durable yet.
    copies_end: Option<u64>,
    /// Where the write that is under way ends.
    under_way: Option<DurableEnd>,
}

impl DiskLog {
    /// Goes on with a log.
    pub fn new(parts: LogParts) -> Self {
        let LogParts { config, directory, end, first, short, keeper, reader, news, progress, short_logs } = parts;
        let mut writer = RecordWriter::new(config, end);
        let asked = writer.next_to_prepare();
        debug_assert_eq!(asked, Some(first.number), "the first one was made at the start");
        writer.segment_prepared(first.number);
        let mut log = Self {
            log: config.log,
            directory,
            segment_bytes: config.segment_bytes,
            writer,
            files: VecDeque::from([first]),
            keeper,
            reader,
            news,
            progress,
            taken: VecDeque::new(),
            room: LogRoom::Enough,
            is_short: false,
            short_logs,
            is_behind: false,
            wanted: None,
            is_preparing: false,
            is_delayed: false,
            has_nothing_left: false,
            again: Vec::new(),
            is_delay_told: false,
            failure: None,
            retry_at: None,
            copies: VecDeque::new(),
            bodies: VecDeque::new(),
            copies_end: None,
            under_way: None,
        };
        if let Some(error) = short {
            log.set_short(true, &error);
        }
        log.order_segments();
        log
    }

    /// Takes the records of one turn.
    pub fn append(&mut self, now: Now, group: RecordGroup<'_>) -> Position {
        let position = self.writer.append(now, group);
        self.taken.extend(group.inbox.iter().map(|count| (position, Taken { from: count.from, number: count.number })));
        Position(position)
    }

    /// Somebody waits from now on for what was appended before.
    pub const fn hurry(&mut self) {
        self.writer.hurry();
    }

    /// Position of the last record that was appended.
    pub fn appended(&self) -> Position {
        Position(self.writer.appended())
    }

    /// Whether everything is durable.
    pub fn is_durable(&self) -> bool {
        self.writer.durable() == self.writer.appended() && !self.writer.is_writing()
    }

    /// Whether others have said something.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The next write, if there is one: to be handed to the ring. Where the broker stops nothing waits for company.
    pub fn next_write(&mut self, now: Now, is_stopping: bool) -> Option<FileWrite> {
        let mono_ns = now.mono_ns + if is_stopping { STORE_LAZY_MS * 1_000_000 } else { 0 };
        let write = self.writer.next_write(Now { mono_ns, ..now })?;
        Some(self.begin_write(write))
    }

    /// The very last write, when everything is durable; `None` when it has been made.
    pub fn next_final(&mut self, now: Now) -> Option<FileWrite> {
        let write = self.writer.next_final(now)?;
        Some(self.begin_write(write))
    }

    /// Whether nothing is left to be written, the last write included.
    pub const fn is_final(&self) -> bool {
        self.writer.is_final()
    }

    fn begin_write(&mut self, write: SegmentWrite) -> FileWrite {
        let SegmentWrite { segment, offset, bytes, range, begins } = write;
        if begins.is_some() {
            while self.files.front().is_some_and(|file| file.number < segment) {
                self.files.pop_front();
            }
            // Everything before it is durable: one write is under way at a time.
            self.progress.note_begun(segment);
        }
        let file =
            self.files.front().filter(|file| file.number == segment).expect("a segment is opened as it is prepared");
        self.under_way = Some(DurableEnd { segment, bytes: offset + range.len() as u64 });
        FileWrite { file: Arc::clone(&file.file), offset, bytes, range }
    }

    /// A write has come to its end. Gives the position up to which everything is durable.
    pub fn written(&mut self, bytes: Vec<u8>, result: Result<usize, i32>) -> Result<Position, LogFailure> {
        let failed = |error| LogFailure::of_write(self.directory.path(), self.log, error);
        let durable = self.writer.written(bytes, result).map_err(failed)?;
        while let Some(&(position, taken)) = self.taken.front()
            && position <= durable
        {
            self.taken.pop_front();
            self.progress.note_taken(taken);
        }
        if let Some(end) = self.under_way.take() {
            self.progress.note_durable(end);
        }
        if self.copies_end.is_some_and(|end| end <= durable) {
            self.copies_end = None;
            self.writer.set_keeps_last(self.is_short);
        }
        self.order_segments();
        Ok(Position(durable))
    }

    /// Why the log cannot go on, if what was to be done about its files has shown that.
    pub const fn take_failure(&mut self) -> Option<LogFailure> {
        self.failure.take()
    }

    /// What there is room for, if that has changed since it was asked last.
    pub fn take_room(&mut self) -> Option<LogRoom> {
        let pending = self.writer.pending_bytes();
        self.is_behind = pending > if self.is_behind { STORE_PENDING_MAX_BYTES / 2 } else { STORE_PENDING_MAX_BYTES };
        // The segments that are ready are kept for what frees room: it is waited for whether there is any.
        let is_using_last = self.is_preparing && self.writer.prepared() == 0 && self.is_half_full();
        let room = match (self.is_short, self.is_behind || is_using_last) {
            (true, _) => LogRoom::Short,
            (false, true) => LogRoom::Behind,
            (false, false) => LogRoom::Enough,
        };
        (std::mem::replace(&mut self.room, room) != room).then_some(room)
    }

    fn is_half_full(&self) -> bool {
        self.writer.left_bytes() < self.segment_bytes / 2
    }

    /// Takes what others have said.
    pub fn take_news(&mut self, now: Now) {
        while let Ok(news) = self.news.try_recv() {
            match news {
                LogNews::Report(report) => self.take_report(report),
                LogNews::Copies { records, count } => {
                    // They free more than they take.
                    self.writer.set_keeps_last(false);
                    self.copies.push_back((records, count));
                }
                LogNews::Bodies(bodies) => self.bodies.push_back(bodies),
                LogNews::Failed(failure) => self.failure = Some(failure),
            }
        }
        if self.retry_at.is_some_and(|at| at.is_due(now)) {
            (self.retry_at, self.is_delayed, self.has_nothing_left) = (None, false, false);
            for kind in std::mem::take(&mut self.again) {
                self.order(kind);
            }
        }
        self.order_segments();
        if self.is_delayed || !self.again.is_empty() {
            self.retry_at.get_or_insert(now.after_s(STORE_SPACE_RETRY_S));
        }
    }

    /// Messages that are to be written again, by the next records that are appended.
    pub fn next_copies(&mut self) -> Option<(Vec<u8>, u32)> {
        let copies = self.copies.pop_front()?;
        self.copies_end = Some(self.writer.appended() + u64::from(copies.1));
        Some(copies)
    }

    /// Has messages read that are durable.
    pub fn read(&self, DiskRead { session, messages }: DiskRead) {
        self.reader.read(ReadOrder { log: self.log, session, messages });
    }

    /// Messages that have been read.
    pub fn next_bodies(&mut self) -> Option<QueuedBodies> {
        self.bodies.pop_front()
    }

    /// When something has to be done that nobody else says.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let due = if self.writer.is_writing() { None } else { self.writer.due_ms().map(Deadline) };
        [due, self.retry_at].into_iter().flatten().min()
    }

    fn take_report(&mut self, KeeperReport { order, result }: KeeperReport) {
        let is_segment = matches!(order.kind, OrderKind::Prepare(_) | OrderKind::PrepareReserved(_));
        self.is_preparing &= !is_segment;
        self.is_delay_told &= result.is_err();
        match result {
            Ok(Some(file)) => {
                self.wanted = None;
                self.writer.segment_prepared(file.number);
                self.files.push_back(file);
                if self.is_short && self.writer.prepared() >= STORE_SEGMENTS_PREPARED {
                    self.set_short(false, &"there is room on the disk again");
                }
            }
            Ok(None) => {}
            // A file that cannot be given back is one file's rot; it is told, and tried again.
            Err(error) if if is_segment { error.is_fatal() } else { error.is_of_the_whole_disk() } => {
                self.failure = Some(LogFailure::new(self.directory.path(), self.log, &error));
            }
            Err(error) if is_segment && error.is_full() => {
                self.has_nothing_left |= matches!(order.kind, OrderKind::PrepareReserved(_));
                self.is_delayed = true;
                if !self.is_short {
                    self.set_short(true, &error);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_delay_told, true) {
                    log::event::store_delayed(self.log.shard.0.into(), &error);
                }
                if is_segment {
                    self.is_delayed = true;
                } else {
                    self.again.push(order.kind);
                }
            }
        }
    }

    fn set_short(&mut self, is_short: bool, text: &dyn Display) {
        self.is_short = is_short;
        self.writer.set_keeps_last(is_short);
        self.progress.set_short(is_short);
        let is_for_all = if is_short {
            self.short_logs.fetch_add(1, Ordering::AcqRel) == 0
        } else {
            self.short_logs.fetch_sub(1, Ordering::AcqRel) == 1
        };
        if is_for_all {
            log::event::store_space(self.log.shard.0.into(), !is_short, text);
        }
    }

    fn order_segments(&mut self) {
        if self.is_preparing {
            return;
        }
        if self.wanted.is_none() {
            self.wanted = self.writer.next_to_prepare();
        }
        let Some(number) = self.wanted else { return };
        let is_reserved = self.is_short && self.writer.prepared() < STORE_SEGMENTS_RESERVED;
        if self.is_delayed && (!is_reserved || self.has_nothing_left) {
            return;
        }
        let kind = if is_reserved { OrderKind::PrepareReserved(number) } else { OrderKind::Prepare(number) };
        self.is_preparing = self.keeper.order(KeeperOrder { log: self.log, kind });
        self.is_delayed |= !self.is_preparing;
    }

    fn order(&mut self, kind: OrderKind) {
        if !self.keeper.order(KeeperOrder { log: self.log, kind }) {
            self.again.push(kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;
    use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_SEGMENT_MIN_BYTES};
    use crate::runtime::disk::{Access, Directory};
    use crate::store::Urgency;
    use crate::store::format::{LogRecord, MessageId};
    use std::time::{Duration, Instant};

    const ID: LogId = LogId { generation: 1, shard: ShardId(0) };

    fn at(s: u64) -> Now {
        Now { mono_ns: s * 1_000_000_000, unix_ms: 0 }
    }

    /// A log on the disk that is there, of which so much has to stay free.
    fn log(name: &str, left_to_others_bytes: u64) -> (DiskLog, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("dunlin-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let directory = Arc::new(Directory::open(&path, Access::Write).unwrap());
        directory.make_log(ID).unwrap();
        let (tell, news) = crossbeam_channel::unbounded();
        let report = move |report| _ = tell.send(LogNews::Report(report));
        let keeper = Keeper::start(Arc::clone(&directory), STORE_SEGMENT_MIN_BYTES, left_to_others_bytes, report);
        let first = Keeper::prepare_now(&directory, (STORE_SEGMENT_MIN_BYTES, 0), ID, SegmentNumber(1)).unwrap();
        let config = LogConfig {
            node: [1; 16],
            log: ID,
            epoch: 1,
            segment_bytes: STORE_SEGMENT_MIN_BYTES,
            batch_max_bytes: STORE_BATCH_MAX_BYTES,
        };
        let progress = Arc::new(LogProgress::new(first.number, std::iter::once(0)));
        let (end, short_logs) = (LogEnd::default(), Arc::new(AtomicUsize::new(0)));
        let (keeper, reader) =
            (Arc::new(keeper.unwrap()), BodyReader::start(Arc::clone(&directory), [1; 16], 1, |_, _| {}));
        let reader = Arc::new(reader.unwrap());
        let parts = LogParts { config, directory, end, first, short: None, keeper, reader, news, progress, short_logs };
        (DiskLog::new(parts), path)
    }

    fn append(log: &mut DiskLog, bytes: usize) {
        let mut records = Vec::new();
        let part = vec![7; bytes];
        LogRecord::MessagePart { message: MessageId(1), bytes: &part }.encode(log.appended().0 + 1, &mut records);
        log.append(at(0), RecordGroup { records: &records, count: 1, inbox: &[], urgency: Urgency::Awaited });
    }

    fn write(log: &mut DiskLog) -> bool {
        let Some(FileWrite { bytes, range, .. }) = log.next_write(at(0), false) else { return false };
        let len = range.len();
        log.written(bytes, Ok(len)).unwrap();
        true
    }

    /// Takes what the keeper says until that holds.
    fn until(log: &mut DiskLog, now: Now, holds: impl Fn(&mut DiskLog) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(log) {
            assert!(Instant::now() < deadline, "{log:?}");
            log.take_news(now);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_log_is_behind_while_much_waits_to_be_written() {
        let (mut log, path) = log("behind", 0);
        until(&mut log, at(0), |log| log.writer.prepared() == STORE_SEGMENTS_PREPARED);
        assert_eq!(log.take_room(), None, "there is room at first");
        let part = 256 * 1024;
        for _ in 0..STORE_PENDING_MAX_BYTES / part {
            append(&mut log, part - 64);
        }
        assert_eq!(log.take_room(), None);
        append(&mut log, part);
        assert_eq!((log.take_room(), log.take_room()), (Some(LogRoom::Behind), None), "it is said once");
        while log.writer.pending_bytes() > STORE_PENDING_MAX_BYTES / 2 {
            assert_eq!(log.take_room(), None, "until half of it is written");
            until(&mut log, at(0), |log| log.writer.prepared() > 0);
            write(&mut log);
        }
        assert_eq!(log.take_room(), Some(LogRoom::Enough));
        drop(log);
        std::fs::remove_dir_all(path).unwrap();
    }

    fn report(number: u32, error: DirectoryError) -> KeeperReport {
        let order = KeeperOrder { log: ID, kind: OrderKind::Prepare(SegmentNumber(number)) };
        KeeperReport { order, result: Err(error) }
    }

    #[test]
    fn what_keeps_a_segment_from_being_made_is_told_apart() {
        let (mut log, path) = log("kinds", 0);
        until(&mut log, at(0), |log| log.writer.prepared() == STORE_SEGMENTS_PREPARED);
        let of = |errno| DirectoryError::of(&path, std::io::Error::from_raw_os_error(errno));
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EACCES] {
            log.take_report(report(9, of(errno)));
            assert!(!log.is_short && log.take_failure().is_none() && log.is_delayed && log.is_delay_told, "{errno}");
            // It is tried again, and tells the next time again.
            log.take_news(at(5));
            log.take_news(at(7));
            assert!(!log.is_delayed && log.retry_at.is_none(), "{errno}");
            log.take_report(KeeperReport { order: report(9, of(errno)).order, result: Ok(None) });
            assert!(!log.is_delay_told, "{errno}");
        }
        for errno in [libc::ENOSPC, libc::EDQUOT] {
            log.take_report(report(9, of(errno)));
            assert!(log.is_short && log.take_failure().is_none(), "{errno}");
            log.set_short(false, &"for the next one");
        }
        let error = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let unsynced = DirectoryError::Unsynced { path: path.clone(), error };
        for error in [of(libc::EIO), of(libc::EROFS), of(libc::EUCLEAN), unsynced] {
            log.take_report(report(9, error));
            let text = log.take_failure().expect("it cannot go on").to_string();
            assert!(!log.is_short && text.starts_with("shard 0: ") && text.contains(path.to_str().unwrap()), "{text}");
        }
        let recycle = |errno| KeeperReport {
            order: KeeperOrder { log: ID, kind: OrderKind::Recycle(SegmentNumber(1)) },
            result: Err(of(errno)),
        };
        log.take_report(recycle(libc::EIO));
        assert!(log.take_failure().is_none() && log.again.len() == 1, "one file is one file");
        log.take_report(recycle(libc::EROFS));
        assert!(log.take_failure().is_some() && log.again.len() == 1);
        drop(log);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_log_without_room_is_short_and_keeps_two_segments_ready() {
        let (mut log, path) = log("short", u64::MAX / 2);
        append(&mut log, 100);
        assert!(write(&mut log), "the first segment was there");
        until(&mut log, at(0), |log| log.is_short && log.writer.prepared() == STORE_SEGMENTS_RESERVED);
        assert_eq!(log.take_room(), Some(LogRoom::Short));
        assert!(log.progress.is_short() && log.short_logs.load(Ordering::Relaxed) == 1);
        // Both are used, of what is left to others, but the last is for who frees others.
        for _ in 0..2 {
            append(&mut log, 200 * 1024);
            while log.writer.left_bytes() > 300 * 1024 && write(&mut log) {
                append(&mut log, 200 * 1024);
            }
        }
        until(&mut log, at(2), |log| log.writer.prepared() == STORE_SEGMENTS_RESERVED);
        assert_eq!((log.take_room(), log.is_short), (None, true), "that is no room for others");
        drop(log);
        std::fs::remove_dir_all(path).unwrap();
    }
}
