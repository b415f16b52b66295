//! One shard's log, as its pump has it: what is to be written next, into which file, and what came of it.
//!
//! Always holds: one write is under way at a time, into a segment that was made ready before; what was appended is durable in
//! order; after a write that failed nothing more is written, and nothing is called durable.
//! Leaves to others: the write itself (`ring`), files (`keeper`), what a record means (`store`, `shard`).

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::keeper::{Keeper, KeeperOrder, KeeperReport, OrderKind};
use super::prepare::SegmentFile;
use super::progress::{LogProgress, Taken};
use crate::limits::{STORE_LAZY_MS, STORE_SPACE_RETRY_S};
use crate::store::format::LogId;
use crate::store::{LogConfig, LogEnd, Position, RecordGroup, RecordWriter, SegmentWrite, WriteError};
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
}

/// Whether there is room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// There is.
    Enough,
    /// The disk is full.
    Short,
}

/// What a log is made of.
#[derive(Debug)]
pub struct LogParts {
    /// Which it is.
    pub config: LogConfig,
    /// Where it goes on.
    pub end: LogEnd,
    /// The segment that is written next.
    pub first: SegmentFile,
    /// Makes the others.
    pub keeper: Arc<Keeper>,
    /// What the keeper and others say.
    pub news: Receiver<LogNews>,
    /// For whoever makes checkpoints.
    pub progress: Arc<LogProgress>,
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
    writer: RecordWriter,
    /// The segment that is written, and those that are ready behind it.
    files: VecDeque<SegmentFile>,
    keeper: Arc<Keeper>,
    news: Receiver<LogNews>,
    progress: Arc<LogProgress>,
    /// Of other logs' forwards, what becomes taken over when a position is durable.
    taken: VecDeque<(u64, Taken)>,
    space: Space,
    /// A segment was ordered, and is not there yet: they are made one after the other, so that they come in order.
    is_preparing: bool,
    /// Orders that could not be given, or failed.
    again: Vec<OrderKind>,
    retry_at: Option<Deadline>,
    copies: VecDeque<(Vec<u8>, u32)>,
}

impl DiskLog {
    /// Goes on with a log.
    pub fn new(parts: LogParts) -> Self {
        let LogParts { config, end, first, keeper, news, progress } = parts;
        let mut writer = RecordWriter::new(config, end);
        let asked = writer.next_to_prepare();
        debug_assert_eq!(asked, Some(first.number), "the first one was made at the start");
        writer.segment_prepared(first.number);
        let mut log = Self {
            log: config.log,
            writer,
            files: VecDeque::from([first]),
            keeper,
            news,
            progress,
            taken: VecDeque::new(),
            space: Space::Enough,
            is_preparing: false,
            again: Vec::new(),
            retry_at: None,
            copies: VecDeque::new(),
        };
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

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> usize {
        self.writer.pending_bytes()
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
        let SegmentWrite { segment, offset, bytes, range, begins } = self.writer.next_write(Now { mono_ns, ..now })?;
        if begins.is_some() {
            while self.files.front().is_some_and(|file| file.number < segment) {
                self.files.pop_front();
            }
            // Everything before it is durable: one write is under way at a time.
            self.progress.note_begun(segment);
        }
        let file =
            self.files.front().filter(|file| file.number == segment).expect("a segment is opened as it is prepared");
        Some(FileWrite { file: Arc::clone(&file.file), offset, bytes, range })
    }

    /// A write has come to its end. Gives the position up to which everything is durable.
    pub fn written(&mut self, bytes: Vec<u8>, result: Result<usize, i32>) -> Result<Position, WriteError> {
        let durable = self.writer.written(bytes, result)?;
        while let Some(&(position, taken)) = self.taken.front()
            && position <= durable
        {
            self.taken.pop_front();
            self.progress.note_taken(taken);
        }
        self.order_segments();
        Ok(Position(durable))
    }

    /// Takes what others have said. Gives whether there is room, if that has changed.
    pub fn take_news(&mut self, now: Now) -> Option<Space> {
        let before = self.space;
        while let Ok(news) = self.news.try_recv() {
            match news {
                LogNews::Report(report) => self.take_report(report),
                LogNews::Copies { records, count } => self.copies.push_back((records, count)),
            }
        }
        if self.retry_at.is_some_and(|at| at.is_due(now)) {
            self.retry_at = None;
            for kind in std::mem::take(&mut self.again) {
                self.order(kind);
            }
        }
        self.order_segments();
        if !self.again.is_empty() {
            self.retry_at.get_or_insert(now.after_s(STORE_SPACE_RETRY_S));
        }
        (self.space != before).then_some(self.space)
    }

    /// Messages that are to be written again.
    pub fn next_copies(&mut self) -> Option<(Vec<u8>, u32)> {
        self.copies.pop_front()
    }

    /// When something has to be done that nobody else says.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let due = if self.writer.is_writing() { None } else { self.writer.due_ms().map(Deadline) };
        [due, self.retry_at].into_iter().flatten().min()
    }

    fn take_report(&mut self, KeeperReport { order, result }: KeeperReport) {
        match result {
            Ok(Some(file)) => {
                self.is_preparing = false;
                self.writer.segment_prepared(file.number);
                self.files.push_back(file);
                if self.space == Space::Short {
                    self.space = Space::Enough;
                    log::event::store_space(self.log.shard.0.into(), true, &"there is room on the disk again");
                }
            }
            Ok(None) => {}
            Err(error) => {
                if self.space == Space::Enough && matches!(order.kind, OrderKind::Prepare(_)) {
                    self.space = Space::Short;
                    log::event::store_space(self.log.shard.0.into(), false, &error);
                }
                self.again.push(order.kind);
            }
        }
    }

    fn order_segments(&mut self) {
        if !self.is_preparing
            && let Some(number) = self.writer.next_to_prepare()
        {
            self.is_preparing = true;
            self.order(OrderKind::Prepare(number));
        }
    }

    fn order(&mut self, kind: OrderKind) {
        if !self.keeper.order(KeeperOrder { log: self.log, kind }) {
            self.again.push(kind);
        }
    }
}
