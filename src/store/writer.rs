//! The end of a log that grows: batches are filled while one is written, and one is written at a time.
//!
//! Always holds: what was appended as one group is durable as a whole or counts for nothing; nothing is durable before everything
//! in front of it is; positions and the checksums of batches go on without a gap; a segment is begun together with its first
//! batch. After a write that failed, or fell short, nothing more is written or called durable: nobody knows what is on the disk.
//! Leaves to others: files ([`SegmentWrite`] says which bytes go where), segments prepared in advance, and what to do about a failure.

use std::collections::VecDeque;
use std::ops::Range;

use super::buffer::WriteBuffer;
use super::format::{
    BatchHeader, BatchPlace, INBOX_BYTES, InboxCount, LogId, SegmentHeader, SegmentNumber, padded, record_len,
};
use crate::limits::{SHARDS_MAX, STORE_BATCH_MAX_BYTES, STORE_BLOCK_BYTES, STORE_LAZY_MS, STORE_SEGMENTS_PREPARED};
use crate::time::{Now, Timestamp};

/// Which log, of which directory, in which life of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Of the directory.
    pub node: [u8; 16],
    /// Which of the directory's.
    pub log: LogId,
    /// Counts the broker's starts on this directory.
    pub epoch: u32,
    /// Size of a segment's file.
    pub segment_bytes: u64,
    /// Most that one write takes; up to [`STORE_BATCH_MAX_BYTES`].
    pub batch_max_bytes: usize,
}

/// Where a log ends that is to be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogEnd {
    /// Of the last record; 0 if there is none.
    pub position: u64,
    /// Of the last batch; 0 if there is none.
    pub checksum: u32,
    /// The last one that was begun.
    pub segment: SegmentNumber,
}

/// How soon records have to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Urgency {
    /// Somebody waits for them.
    Awaited,
    /// Nobody does: they may wait for others, up to [`STORE_LAZY_MS`].
    #[default]
    Lazy,
}

/// Records that count together or not at all.
#[derive(Clone, Copy, Debug)]
pub struct RecordGroup<'a> {
    /// Encoded one behind the other, with the positions that they are about to get.
    pub records: &'a [u8],
    /// How many they are.
    pub count: u32,
    /// What of other logs they have taken over.
    pub inbox: &'a [InboxCount],
    /// Whether somebody waits.
    pub urgency: Urgency,
}

/// Bytes for a segment. They go to the disk as they are, in one write that is durable when it completes.
#[derive(Debug)]
pub struct SegmentWrite {
    /// Prepared before.
    pub segment: SegmentNumber,
    /// From the beginning of its file.
    pub offset: u64,
    /// An allocation that holds them.
    pub bytes: Vec<u8>,
    /// Where in it they are: aligned, and whole blocks long.
    pub range: Range<usize>,
    /// Where the segment begins that this write begins.
    pub begins: Option<u64>,
}

/// A write has failed or fell short, so that the log has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The system's error number.
    #[error("the log's disk refuses a write: error {0}")]
    Refused(i32),
    /// Not everything was taken.
    #[error("the log's disk took {taken} of {wanted} bytes")]
    Short {
        /// Bytes that were.
        taken: usize,
        /// Bytes that were to be.
        wanted: usize,
    },
}

#[derive(Debug, Default)]
struct FillingBatch {
    /// The block that a segment's header may need, the batch's header, records; behind them the inbox when it is sealed.
    buffer: WriteBuffer,
    first: u64,
    count: u32,
    inbox: Vec<InboxCount>,
    continues: bool,
    follows: bool,
    awaited: bool,
    since_ms: u64,
}

#[derive(Debug)]
struct InFlight {
    last: u64,
    bytes: usize,
}

/// See the module's text.
#[derive(Debug)]
pub struct RecordWriter {
    config: LogConfig,
    appended: u64,
    durable: u64,
    /// Of the batch that was written last.
    checksum: u32,
    filling: FillingBatch,
    full: VecDeque<FillingBatch>,
    pending_bytes: usize,
    spare: Option<Vec<u8>>,
    in_flight: Option<InFlight>,
    /// Nothing was written, or a batch without records stands behind it.
    is_final: bool,
    failed: bool,
    /// The segment that is written, and its first free block.
    open: Option<(SegmentNumber, u32)>,
    prepared: VecDeque<SegmentNumber>,
    /// The last one that was begun, and the last one that was asked for.
    written_segment: SegmentNumber,
    /// The last segment that is ready is not begun, but by what completes a change.
    keeps_last: bool,
    last_segment: SegmentNumber,
}

/// Where the batch's header stands in its buffer.
const HEADER_AT: usize = STORE_BLOCK_BYTES;
/// What a batch has besides its records, at most.
const AROUND_BYTES: usize = BatchHeader::BYTES + SHARDS_MAX * INBOX_BYTES;

impl RecordWriter {
    /// Goes on behind `end`, in a new segment.
    pub fn new(config: LogConfig, end: LogEnd) -> Self {
        assert!(config.batch_max_bytes <= STORE_BATCH_MAX_BYTES && config.batch_max_bytes > 2 * AROUND_BYTES);
        assert!(
            config.segment_bytes as usize >= config.batch_max_bytes + 2 * STORE_BLOCK_BYTES,
            "a batch fits into a segment"
        );
        Self {
            config,
            appended: end.position,
            durable: end.position,
            checksum: end.checksum,
            filling: FillingBatch::default(),
            full: VecDeque::new(),
            pending_bytes: 0,
            spare: None,
            in_flight: None,
            is_final: true,
            failed: false,
            open: None,
            prepared: VecDeque::new(),
            written_segment: end.segment,
            keeps_last: false,
            last_segment: end.segment,
        }
    }

    /// Position of the last record that was appended.
    pub const fn appended(&self) -> u64 {
        self.appended
    }

    /// Every record up to here is durable.
    pub const fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes that wait to be written, those on their way not included: what slows a publisher down when the disk is slow.
    pub const fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether a write is under way.
    pub const fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Appends a group and returns the position of its last record.
    pub fn append(&mut self, now: Now, group: RecordGroup<'_>) -> u64 {
        debug_assert!(group.count > 0 && !group.records.is_empty());
        let room = self.config.batch_max_bytes - AROUND_BYTES;
        if self.filling.count > 0 && self.filling.records_bytes() + group.records.len() > room {
            self.close_batch(false);
        }
        let (mut records, mut count) = (group.records, group.count);
        let is_cut = records.len() > room;
        // Only what is larger than a batch is cut, between records; the batches of one group are marked.
        while records.len() > room {
            let (len, records_in_it) = fitting(records, room);
            let (now_written, later) = records.split_at(len);
            self.fill(now, now_written, records_in_it, group.urgency);
            self.close_batch(true);
            self.filling.follows = true;
            (records, count) = (later, count - records_in_it);
        }
        self.fill(now, records, count, group.urgency);
        self.filling.note_inbox(group.inbox);
        if is_cut {
            // So that nothing else goes with it when a part of it is damaged.
            self.close_batch(false);
        }
        self.appended
    }

    fn fill(&mut self, now: Now, records: &[u8], count: u32, urgency: Urgency) {
        let batch = &mut self.filling;
        if batch.count == 0 {
            batch.buffer = WriteBuffer::reuse(self.spare.take().unwrap_or_default());
            batch.buffer.resize(HEADER_AT + BatchHeader::BYTES);
            batch.first = self.appended + 1;
            batch.since_ms = now.ms();
        }
        batch.buffer.extend(records);
        batch.count += count;
        batch.awaited |= urgency == Urgency::Awaited;
        self.appended += u64::from(count);
        self.pending_bytes += records.len();
        self.is_final = false;
    }

    fn close_batch(&mut self, continues: bool) {
        if self.filling.count > 0 {
            let batch = std::mem::take(&mut self.filling);
            self.full.push_back(FillingBatch { continues, ..batch });
        }
    }

    /// The next write, if there is something to write, nothing is being written, and a segment has room.
    pub fn next_write(&mut self, now: Now) -> Option<SegmentWrite> {
        if self.failed || self.in_flight.is_some() {
            return None;
        }
        if self.full.is_empty() {
            if self.filling.count == 0 || (!self.filling.awaited && now.ms() < self.filling.since_ms + STORE_LAZY_MS) {
                return None;
            }
            self.close_batch(false);
        }
        let blocks = padded(self.full.front()?.len()) / STORE_BLOCK_BYTES;
        let fits = |&(_, next): &(SegmentNumber, u32)| {
            (u64::from(next) + blocks as u64) * STORE_BLOCK_BYTES as u64 <= self.config.segment_bytes
        };
        let begins = !self.open.as_ref().is_some_and(fits);
        if begins {
            // Until all of a change is there, no checkpoint can have any of it, and what stands in front of it is not freed.
            let follows = self.full.front().is_some_and(|batch| batch.follows);
            if self.keeps_last && !follows && self.open.is_some() && self.prepared.len() < 2 {
                return None;
            }
            self.written_segment = self.prepared.pop_front()?;
            self.open = Some((self.written_segment, 1));
        }
        let (segment, block) = self.open?;
        self.open = Some((segment, block + blocks as u32));
        let batch = self.full.pop_front()?;
        Some(self.seal(batch, now, (segment, block), begins))
    }

    /// The very last write: a batch without records, so that damage in the last one that has some can be told from a write that was cut
    /// off. Where there is no room for it, it is left out.
    pub fn next_final(&mut self, now: Now) -> Option<SegmentWrite> {
        let is_idle = self.in_flight.is_none() && self.full.is_empty() && self.filling.count == 0;
        if self.is_final || self.failed || !is_idle {
            return None;
        }
        self.is_final = true;
        let (segment, block) = self.open.filter(|_| self.left_bytes() >= STORE_BLOCK_BYTES as u64)?;
        self.open = Some((segment, block + 1));
        let mut batch = FillingBatch { first: self.appended + 1, ..FillingBatch::default() };
        batch.buffer.resize(HEADER_AT + BatchHeader::BYTES);
        Some(self.seal(batch, now, (segment, block), false))
    }

    /// Whether there is nothing left to write, the last batch included.
    pub const fn is_final(&self) -> bool {
        self.is_final && self.in_flight.is_none()
    }

    fn seal(
        &mut self,
        mut batch: FillingBatch,
        now: Now,
        (segment, block): (SegmentNumber, u32),
        begins: bool,
    ) -> SegmentWrite {
        let LogConfig { node, log: LogId { generation, shard }, epoch, .. } = self.config;
        let written = Timestamp(now.unix_ms);
        let len = batch.len();
        let mut inbox = Vec::new();
        batch.inbox.iter().for_each(|entry| entry.put(&mut inbox));
        batch.buffer.extend(&inbox);
        batch.buffer.resize(HEADER_AT + padded(len));
        let (front, rest) = batch.buffer.bytes_mut().split_at_mut(HEADER_AT);
        if begins {
            let (first, previous) = (batch.first, self.checksum);
            let blocks = (self.config.segment_bytes / STORE_BLOCK_BYTES as u64) as u32;
            SegmentHeader { node, generation, shard, number: segment, epoch, first, previous, begun: written, blocks }
                .seal(front);
        }
        let header = BatchHeader {
            place: BatchPlace { shard, epoch, segment, block },
            first: batch.first,
            count: batch.count,
            written,
            previous: self.checksum,
            continues: batch.continues,
            follows: batch.follows,
            inbox: batch.inbox.len() as u8,
            len: len as u32,
        };
        self.checksum = header.seal(&mut rest[..len]);
        let (bytes, range) = batch.buffer.into_parts();
        let range = if begins { range } else { range.start + HEADER_AT..range.end };
        let last = batch.first + u64::from(batch.count) - 1;
        self.in_flight = Some(InFlight { last, bytes: range.len() });
        self.pending_bytes -= len - BatchHeader::BYTES - inbox.len();
        let offset = if begins { 0 } else { u64::from(block) * STORE_BLOCK_BYTES as u64 };
        SegmentWrite { segment, offset, bytes, range, begins: begins.then_some(batch.first) }
    }

    /// The write under way has come to its end: bytes that were taken, or the system's error number. Returns the position up
    /// to which everything is durable now.
    pub fn written(&mut self, bytes: Vec<u8>, result: Result<usize, i32>) -> Result<u64, WriteError> {
        let InFlight { last, bytes: wanted } = self.in_flight.take().expect("a write is under way");
        self.spare = Some(bytes);
        match result {
            Ok(taken) if taken == wanted => {
                self.durable = last;
                Ok(last)
            }
            Ok(taken) => {
                self.failed = true;
                Err(WriteError::Short { taken, wanted })
            }
            Err(errno) => {
                self.failed = true;
                Err(WriteError::Refused(errno))
            }
        }
    }

    /// Somebody waits from now on for what was appended before.
    pub const fn hurry(&mut self) {
        self.filling.awaited |= self.filling.count > 0;
    }

    /// When a write is due that nobody waits for, in monotonic milliseconds.
    pub fn due_ms(&self) -> Option<u64> {
        (self.filling.count > 0 && !self.filling.awaited).then_some(self.filling.since_ms + STORE_LAZY_MS)
    }

    /// Whether the log stands still for want of a segment.
    pub fn is_out_of_segments(&self) -> bool {
        self.prepared.is_empty() && !self.failed && self.in_flight.is_none() && !self.full.is_empty()
    }

    /// Segments that are ready and have not been begun.
    pub fn prepared(&self) -> usize {
        self.prepared.len()
    }

    /// How much of the segment that is written is left, in bytes.
    pub fn left_bytes(&self) -> u64 {
        let used = self.open.map_or(self.config.segment_bytes, |(_, next)| u64::from(next) * STORE_BLOCK_BYTES as u64);
        self.config.segment_bytes.saturating_sub(used)
    }

    /// Whether the last segment that is ready is kept for what frees others, and not begun but to complete a change.
    pub const fn set_keeps_last(&mut self, keeps_last: bool) {
        self.keeps_last = keeps_last;
    }

    /// The next segment to be prepared, if there are too few. It is asked for once.
    pub fn next_to_prepare(&mut self) -> Option<SegmentNumber> {
        let ahead = self.last_segment.0 - self.written_segment.0;
        if ahead as usize >= STORE_SEGMENTS_PREPARED {
            return None;
        }
        self.last_segment = self.last_segment.next();
        Some(self.last_segment)
    }

    /// A segment's file is there, full of nothing that counts. They are given in order.
    pub fn segment_prepared(&mut self, segment: SegmentNumber) {
        debug_assert!(self.prepared.back().is_none_or(|last| *last < segment));
        self.last_segment = self.last_segment.max(segment);
        self.prepared.push_back(segment);
    }
}

impl FillingBatch {
    /// Of header, records and inbox.
    fn len(&self) -> usize {
        self.buffer.len() - HEADER_AT + self.inbox.len() * INBOX_BYTES
    }

    fn records_bytes(&self) -> usize {
        self.buffer.len() - HEADER_AT - BatchHeader::BYTES
    }

    fn note_inbox(&mut self, counts: &[InboxCount]) {
        for count in counts {
            match self.inbox.iter_mut().find(|known| known.from == count.from) {
                Some(known) => known.number = known.number.max(count.number),
                None => self.inbox.push(*count),
            }
        }
    }
}

/// How many bytes and records of these fit into `room`, in whole records.
fn fitting(records: &[u8], room: usize) -> (usize, u32) {
    let (mut len, mut count) = (0, 0);
    while let Some(next) = record_len(&records[len..]).filter(|next| len + next <= room) {
        len += next;
        count += 1;
    }
    assert!(count > 0, "no record is longer than a batch");
    (len, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SessionId, ShardId};
    use crate::store::format::LogRecord;

    fn writer(batch_max_bytes: usize) -> RecordWriter {
        let log = LogId { generation: 1, shard: ShardId(0) };
        let config = LogConfig { node: [1; 16], log, epoch: 1, segment_bytes: 64 * 1024, batch_max_bytes };
        let mut writer = RecordWriter::new(config, LogEnd::default());
        while let Some(segment) = writer.next_to_prepare() {
            writer.segment_prepared(segment);
        }
        writer
    }

    fn at(ms: u64) -> Now {
        Now { mono_ns: ms * 1_000_000, unix_ms: ms }
    }

    fn append(writer: &mut RecordWriter, now: Now, count: u32, urgency: Urgency) {
        let mut records = Vec::new();
        for index in 0..count {
            let base = writer.appended() + 1 + u64::from(index);
            LogRecord::SessionEnded { session: SessionId(index) }.encode(base, &mut records);
        }
        writer.append(now, RecordGroup { records: &records, count, inbox: &[], urgency });
    }

    fn complete(writer: &mut RecordWriter, write: SegmentWrite) -> u64 {
        let len = write.range.len();
        writer.written(write.bytes, Ok(len)).expect("it went well")
    }

    #[test]
    fn one_write_is_under_way_at_a_time_and_takes_all_that_waits() {
        let mut writer = writer(16 * 1024);
        append(&mut writer, at(0), 1, Urgency::Awaited);
        let write = writer.next_write(at(0)).expect("somebody waits");
        assert_eq!((write.offset, write.range.len(), write.begins), (0, 8192, Some(1)));
        append(&mut writer, at(1), 2, Urgency::Awaited);
        append(&mut writer, at(1), 3, Urgency::Lazy);
        assert!(writer.next_write(at(1)).is_none() && writer.is_writing());
        assert_eq!((complete(&mut writer, write), writer.durable(), writer.appended()), (1, 1, 6));
        let write = writer.next_write(at(2)).expect("somebody waits");
        assert_eq!((write.offset, write.range.len(), write.begins), (8192, 4096, None));
        assert_eq!((complete(&mut writer, write), writer.pending_bytes()), (6, 0));
        assert!(writer.next_write(at(3)).is_none(), "there is nothing to write");
    }

    #[test]
    fn what_nobody_waits_for_waits_for_others_but_not_for_ever() {
        let mut writer = writer(16 * 1024);
        append(&mut writer, at(10), 1, Urgency::Lazy);
        assert_eq!(writer.due_ms(), Some(10 + STORE_LAZY_MS));
        assert!(writer.next_write(at(9 + STORE_LAZY_MS)).is_none());
        let write = writer.next_write(at(10 + STORE_LAZY_MS)).expect("it has waited long enough");
        complete(&mut writer, write);
        writer.hurry();
        assert!(writer.next_write(at(20 + STORE_LAZY_MS)).is_none(), "there is nothing to write");
        append(&mut writer, at(30 + STORE_LAZY_MS), 1, Urgency::Lazy);
        writer.hurry();
        assert!(writer.next_write(at(30 + STORE_LAZY_MS)).is_some(), "somebody waits after all");
    }

    #[test]
    fn after_a_write_that_failed_or_fell_short_nothing_more_is_written() {
        let failures = [Ok(0), Ok(4096), Err(5)];
        for failure in failures {
            let mut writer = writer(16 * 1024);
            append(&mut writer, at(0), 1, Urgency::Awaited);
            let write = writer.next_write(at(0)).expect("somebody waits");
            append(&mut writer, at(0), 1, Urgency::Awaited);
            assert!(writer.written(write.bytes, failure).is_err());
            assert!(writer.next_write(at(5_000)).is_none(), "{failure:?}");
            assert_eq!(writer.durable(), 0);
        }
    }

    #[test]
    fn so_many_segments_are_kept_ready_and_without_one_the_log_waits() {
        let mut writer =
            RecordWriter::new(writer(16 * 1024).config, LogEnd { segment: SegmentNumber(7), ..LogEnd::default() });
        let asked: Vec<u32> = std::iter::from_fn(|| writer.next_to_prepare()).map(|segment| segment.0).collect();
        assert_eq!(asked, (8..8 + STORE_SEGMENTS_PREPARED as u32).collect::<Vec<_>>());
        append(&mut writer, at(0), 1, Urgency::Awaited);
        assert!(writer.next_write(at(0)).is_none() && writer.is_out_of_segments());
        writer.segment_prepared(SegmentNumber(8));
        assert!(!writer.is_out_of_segments());
        assert_eq!(writer.next_write(at(0)).map(|write| write.segment), Some(SegmentNumber(8)));
        assert_eq!(writer.next_to_prepare().map(|segment| segment.0), Some(8 + STORE_SEGMENTS_PREPARED as u32));
    }

    #[test]
    fn a_batch_without_records_stands_behind_all_others_when_the_log_ends() {
        let mut writer = writer(16 * 1024);
        assert!(writer.is_final() && writer.next_final(at(0)).is_none(), "nothing was written");
        append(&mut writer, at(0), 2, Urgency::Awaited);
        assert!(!writer.is_final() && writer.next_final(at(0)).is_none(), "something waits");
        let write = writer.next_write(at(0)).expect("somebody waits");
        assert!(writer.next_final(at(0)).is_none(), "something is written");
        complete(&mut writer, write);
        let write = writer.next_final(at(0)).expect("all is written");
        let header = BatchHeader::read(&write.bytes[write.range.start..]).expect("a batch");
        assert_eq!((header.first, header.count, write.range.len()), (3, 0, STORE_BLOCK_BYTES));
        assert!(!writer.is_final(), "it is under way");
        assert_eq!((complete(&mut writer, write), writer.is_final(), writer.pending_bytes()), (2, true, 0));
        append(&mut writer, at(0), 1, Urgency::Awaited);
        assert!(!writer.is_final(), "it goes on after all");
    }

    #[test]
    fn the_last_segment_is_kept_for_who_is_to_have_it() {
        let mut writer = writer(16 * 1024);
        writer.set_keeps_last(true);
        let fill = |writer: &mut RecordWriter| {
            while writer.left_bytes() > 0 || writer.prepared() == STORE_SEGMENTS_PREPARED {
                append(writer, at(0), 1, Urgency::Awaited);
                let Some(write) = writer.next_write(at(0)) else { break };
                complete(writer, write);
            }
        };
        for left in (1..STORE_SEGMENTS_PREPARED).rev() {
            fill(&mut writer);
            assert_eq!((writer.prepared(), writer.left_bytes()), (left, 0));
            append(&mut writer, at(0), 1, Urgency::Awaited);
            let write = writer.next_write(at(0));
            assert_eq!(write.is_some(), left > 1, "{left} are ready");
            if let Some(write) = write {
                assert!(write.begins.is_some());
                complete(&mut writer, write);
            }
        }
        writer.set_keeps_last(false);
        assert!(writer.next_write(at(0)).is_some_and(|write| write.begins.is_some()));
        let mut started = RecordWriter::new(writer.config, LogEnd::default());
        started.segment_prepared(SegmentNumber(1));
        started.set_keeps_last(true);
        append(&mut started, at(0), 1, Urgency::Awaited);
        assert!(started.next_write(at(0)).is_some(), "a start needs one");
    }

    #[test]
    fn the_last_segment_is_begun_to_complete_what_was_begun_before() {
        let mut writer = writer(16 * 1024);
        append(&mut writer, at(0), 1, Urgency::Awaited);
        let write = writer.next_write(at(0)).expect("somebody waits");
        complete(&mut writer, write);
        writer.prepared.truncate(1);
        writer.set_keeps_last(true);
        let mut record = Vec::new();
        LogRecord::SessionEnded { session: SessionId(5_000) }.encode(5_000, &mut record);
        let count = 70 * 1024 / record.len() as u32;
        append(&mut writer, at(0), count, Urgency::Awaited);
        let mut segments = Vec::new();
        while let Some(write) = writer.next_write(at(0)) {
            segments.push(write.segment.0);
            complete(&mut writer, write);
        }
        assert_eq!((segments.first(), segments.last()), (Some(&1), Some(&2)), "{segments:?}");
        assert_eq!(writer.durable(), u64::from(count) + 1);
    }

    #[test]
    fn a_group_that_is_larger_than_a_batch_is_cut_and_its_parts_are_marked() {
        let mut writer = writer(4 * 1024);
        append(&mut writer, at(0), 1, Urgency::Awaited);
        append(&mut writer, at(0), 2_000, Urgency::Awaited);
        append(&mut writer, at(0), 1, Urgency::Awaited);
        let mut marks = Vec::new();
        while let Some(write) = writer.next_write(at(0)) {
            let header_at = write.range.start + if write.begins.is_some() { STORE_BLOCK_BYTES } else { 0 };
            let header = BatchHeader::read(&write.bytes[header_at..]).expect("a batch");
            marks.push((header.follows, header.continues, header.first));
            assert!(header.len <= 4 * 1024);
            complete(&mut writer, write);
        }
        assert_eq!((marks[0], marks[1].0, marks[1].1), ((false, false, 1), false, true));
        assert!(marks[2..marks.len() - 2].iter().all(|(follows, continues, _)| *follows && *continues));
        assert_eq!(
            marks[marks.len() - 2..].iter().map(|mark| (mark.0, mark.1)).collect::<Vec<_>>(),
            [(true, false), (false, false)]
        );
        assert_eq!(marks[marks.len() - 1].2, 2_002, "nothing else is in the last part's batch");
    }
}
