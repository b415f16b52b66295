//! Reading a log from its beginning to its end, and telling a write that the end of the power cut off from damage.
//!
//! Always holds: a batch is given out when everything about it fits, in the order of positions, and each once; one that
//! continues only together with those that complete it. What does not fit and has something behind it is damage: it is told,
//! passed over, and nothing behind it is lost for it. A segment that is not there is no damage where nothing of it is needed. Nothing is written.
//! Leaves to others: what the records mean, and what becomes of a damaged file.

use super::format::{
    BatchBody, BatchHeader, BatchPlace, FormatError, LogId, NewestSegment, SEGMENT_BLOCKS_MAX, SegmentHeader,
    SegmentNumber, StoreFile, padded,
};
use super::medium::{BlockReader, Medium, MediumError};
use super::writer::LogEnd;
use crate::limits::STORE_BLOCK_BYTES;
use crate::time::Timestamp;

/// Records that were written, and are not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where they were, or the last one before.
    pub segment: SegmentNumber,
    /// The first block that does not fit.
    pub block: u32,
    /// Position of the first record that is lost.
    pub first: u64,
    /// Position of the first one behind that is not.
    pub next: u64,
}

/// A segment that is part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSeen {
    /// Its place in the log.
    pub number: SegmentNumber,
    /// Position of its first record.
    pub first: u64,
    /// Blocks that hold what fits.
    pub blocks: u32,
}

/// What a scan has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogScan {
    /// Where the log ends.
    pub end: LogEnd,
    /// When the last batch was written.
    pub last_written: Option<Timestamp>,
    /// Segments with something in them, in order.
    pub segments: Vec<SegmentSeen>,
    /// Segments that were prepared and never begun.
    pub prepared: Vec<SegmentNumber>,
    /// What is lost.
    pub damage: Vec<Damage>,
    /// Segments whose files are shorter than they were made.
    pub cut_off: Vec<SegmentNumber>,
    /// Segments of which the disk gives back nothing.
    pub unreadable: Vec<SegmentNumber>,
    /// Segments that were made and are not there. What was in them is lost, if anything was.
    pub missing: Vec<SegmentNumber>,
    /// The last write was under way when the power went: it was never acknowledged.
    pub is_torn: bool,
    /// Batches that belong to a change that was never completed.
    pub incomplete: usize,
    /// Records in what was given out.
    pub records: u64,
}

/// One batch, as it is given out.
#[derive(Clone, Copy, Debug)]
pub struct BatchSeen<'a> {
    /// What its header says.
    pub header: BatchHeader,
    /// What is in it.
    pub body: BatchBody<'a>,
}

/// Reads all of a log, from the segments that are there, and gives out its batches. Of the records before position `from` there
/// need not be any.
pub fn scan_log<M: Medium>(
    medium: &mut M,
    node: [u8; 16],
    log: LogId,
    from: u64,
    mut each: impl FnMut(BatchSeen<'_>),
) -> Result<LogScan, MediumError> {
    let files = medium.files(log)?;
    let of_segment = |file: &StoreFile| if let StoreFile::Segment(_, number) = file { Some(*number) } else { None };
    let mut numbers: Vec<SegmentNumber> = files.iter().filter_map(of_segment).collect();
    numbers.sort_unstable();
    let mut begun = Vec::new();
    let (mut cut_off, mut unreadable) = (Vec::new(), Vec::new());
    // A segment that nobody needed becomes a later one, and what stands in it until that is begun says which it was.
    let mut reused = SegmentNumber::default();
    for &number in &numbers {
        let header = header_of(medium, node, log, number)?;
        reused = reused.max(header.map_or(reused, |header| header.number));
        let header = header.filter(|header| header.number == number);
        let blocks = match medium.len(StoreFile::Segment(log, number)) {
            Err(MediumError::Unreadable { .. }) => {
                unreadable.push(number);
                begun.push(None);
                continue;
            }
            len => len? / STORE_BLOCK_BYTES as u64,
        };
        if blocks < header.map_or(1, |header| header.blocks.into()) {
            cut_off.push(number);
        }
        begun.push(header);
    }
    let newest = if files.contains(&StoreFile::Newest(log)) { newest_of(medium, log)? } else { None };
    // Segments are begun in order. One without a header was never begun, unless others behind it were, or it is the next one: its
    // first blocks may be damaged, and all that is behind them is still there.
    let last_begun = begun.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    for (number, header) in numbers.iter().zip(&mut begun).take(last_begun + 1).filter(|(_, header)| header.is_none()) {
        *header = header_from_batch(medium, node, log, *number)?;
    }
    let mut scan = Scanner::new(log, from);
    // What is in their place is not to be looked for again: the log goes on behind them.
    let behind_unreadable = unreadable.last().copied().unwrap_or_default();
    (scan.found.cut_off, scan.found.unreadable) = (cut_off, unreadable);
    let last = begun.iter().rposition(Option::is_some).map(|at| numbers[at]);
    scan.found.missing = missing(&numbers, last.max(Some(reused).filter(|reused| reused.0 > 0)), newest);
    let last_begun = begun.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    scan.found.prepared = numbers.split_off(last_begun);
    scan.found.prepared.retain(|number| !scan.found.unreadable.contains(number));
    let headers: Vec<SegmentHeader> = begun.into_iter().flatten().collect();
    for (index, header) in headers.iter().enumerate() {
        let next_first = headers.get(index + 1).map(|next| next.first);
        scan.begin_segment(header, &mut each);
        let file = StoreFile::Segment(log, header.number);
        let mut reader = BlockReader::open(medium, file)?;
        scan.read_segment(&mut reader, header, next_first, &mut each)?;
    }
    let mut found = scan.finish();
    found.end.segment = found.end.segment.max(reused).max(behind_unreadable);
    if !found.missing.is_empty() {
        // What is missing is told once: the log goes on behind it.
        found.end.segment = found.end.segment.max(newest.unwrap_or_default());
    }
    Ok(found)
}

/// The newest segment that was made, if its note can be read.
fn newest_of<M: Medium>(medium: &mut M, log: LogId) -> Result<Option<SegmentNumber>, MediumError> {
    let mut reader = BlockReader::open(medium, StoreFile::Newest(log))?;
    Ok(NewestSegment::open(reader.block_at(0)?).ok().map(|newest| newest.0))
}

/// Which of the segments that were made are not there, of those that nobody can have given back: the newest that was begun, and those that are
/// ready behind it, are always there.
fn missing(
    numbers: &[SegmentNumber],
    last_begun: Option<SegmentNumber>,
    newest: Option<SegmentNumber>,
) -> Vec<SegmentNumber> {
    let Some(newest) = newest.or(numbers.last().copied()) else { return Vec::new() };
    let first = last_begun.map_or(newest, SegmentNumber::next);
    let all = (first.0..=newest.0).map(SegmentNumber);
    all.filter(|number| numbers.binary_search(number).is_err()).collect()
}

/// The header of a segment that was begun; that of an earlier one if it is a file that was used before.
fn header_of<M: Medium>(
    medium: &mut M,
    node: [u8; 16],
    log: LogId,
    number: SegmentNumber,
) -> Result<Option<SegmentHeader>, MediumError> {
    let mut reader = BlockReader::open(medium, StoreFile::Segment(log, number))?;
    let header = SegmentHeader::open(reader.block_at(0)?).ok();
    Ok(header.filter(|header| {
        (header.node, header.generation, header.shard) == (node, log.generation, log.shard) && header.number <= number
    }))
}

/// What the header of a segment must have been, from the first of its batches that is whole; `None` if there is none.
pub(super) fn header_from_batch<M: Medium>(
    medium: &mut M,
    node: [u8; 16],
    log: LogId,
    number: SegmentNumber,
) -> Result<Option<SegmentHeader>, MediumError> {
    let mut reader = BlockReader::open(medium, StoreFile::Segment(log, number))?;
    let LogId { generation, shard } = log;
    for block in 1..blocks_of(&reader) {
        let bytes = reader.block_at(block)?;
        let Ok(BatchHeader { place, first, previous, written, .. }) =
            BatchHeader::read(bytes).and_then(|header| header.open(bytes).map(|_| header))
        else {
            continue;
        };
        if (place.shard, place.segment, place.block) == (shard, number, block) {
            let epoch = place.epoch;
            return Ok(Some(SegmentHeader {
                node,
                generation,
                shard,
                number,
                epoch,
                first,
                previous,
                begun: written,
                blocks: 0,
            }));
        }
    }
    Ok(None)
}

struct Scanner {
    log: LogId,
    found: LogScan,
    from: u64,
    /// The next position; `None` before the first segment.
    expected: Option<u64>,
    /// Checksum that the next batch names; `None` where that is not known.
    chain: Option<u32>,
    /// Batches that continue, until the last one of them has come.
    pending: Vec<(BatchHeader, Vec<u8>)>,
    /// The beginning of a change was lost: what follows it counts for nothing.
    is_headless: bool,
    epoch: u32,
}

impl Scanner {
    fn new(log: LogId, from: u64) -> Self {
        let found = LogScan::default();
        Self { log, found, from, expected: None, chain: None, pending: Vec::new(), is_headless: false, epoch: 0 }
    }

    fn begin_segment(&mut self, header: &SegmentHeader, each: &mut impl FnMut(BatchSeen<'_>)) {
        let expected = *self.expected.get_or_insert(header.first.min(self.from));
        // A segment between that nobody needs was given back: all that was in it has had its effect.
        let is_given_back = header.first > expected && header.first <= self.from;
        if is_given_back {
            self.give_out_pending(each);
        } else if header.epoch == self.epoch && header.first > expected {
            self.lose_pending(header.number);
        }
        if header.epoch != self.epoch || header.first != expected {
            // Who wrote them was stopped before the rest: a broker that starts does not complete what another began.
            self.drop_pending();
            self.epoch = header.epoch;
        }
        if header.first > expected && !is_given_back {
            let (segment, block) =
                self.found.segments.last().map_or((header.number, 0), |last| (last.number, last.blocks));
            self.lose(Damage { segment, block, first: expected.max(self.from), next: header.first });
        }
        if header.first != expected || self.chain != Some(header.previous) {
            self.chain = None;
        }
        self.expected = Some(expected.max(header.first));
        self.found.is_torn = false;
        self.found.segments.push(SegmentSeen { number: header.number, first: header.first, blocks: 1 });
    }

    fn read_segment<M: Medium>(
        &mut self,
        reader: &mut BlockReader<'_, M>,
        segment: &SegmentHeader,
        next_first: Option<u64>,
        each: &mut impl FnMut(BatchSeen<'_>),
    ) -> Result<(), MediumError> {
        let mut block = 1;
        while block < blocks_of(reader) {
            // The next segment goes on right here. What is left over behind the end was never acknowledged; it may even be whole, when
            // the disk took it after the next broker had looked.
            if next_first.is_some() && next_first == self.expected {
                return Ok(());
            }
            let bytes = reader.block_at(block)?;
            if let Ok(batch) = self.check(bytes, segment, block, Succession::Strict) {
                block += (padded(batch.header.len as usize) / STORE_BLOCK_BYTES) as u32;
                self.take(batch, bytes, each);
                self.note_blocks(block);
                continue;
            }
            let looks_begun = is_begun(bytes, segment, block);
            let Some((found, next)) = self.find_next(reader, segment, block, next_first)? else {
                self.found.is_torn = looks_begun;
                return Ok(());
            };
            let first = self.expected.unwrap_or(next);
            self.lose_pending(segment.number);
            self.lose(Damage { segment: segment.number, block, first, next });
            (self.expected, self.chain) = (Some(next), None);
            block = found;
        }
        Ok(())
    }

    /// Whether a whole batch begins here that is the next one, or any later one.
    fn check<'b>(
        &self,
        bytes: &'b [u8],
        segment: &SegmentHeader,
        block: u32,
        chain: Succession,
    ) -> Result<BatchSeen<'b>, FormatError> {
        let header = BatchHeader::read(bytes)?;
        let place = header.place;
        if (place.shard, place.segment, place.block) != (self.log.shard, segment.number, block)
            || place.epoch != segment.epoch
        {
            return Err(FormatError::NotFound("batch of this place"));
        }
        let expected = self.expected.unwrap_or(segment.first);
        let is_next = match chain {
            Succession::Strict => header.first == expected && self.chain.is_none_or(|chain| chain == header.previous),
            Succession::Later => header.first >= expected,
        };
        if !is_next {
            return Err(FormatError::NotFound("batch that is the next"));
        }
        Ok(BatchSeen { header, body: header.open(bytes)? })
    }

    /// The next block behind `block` at which a later batch begins.
    fn find_next<M: Medium>(
        &self,
        reader: &mut BlockReader<'_, M>,
        segment: &SegmentHeader,
        block: u32,
        next_first: Option<u64>,
    ) -> Result<Option<(u32, u64)>, MediumError> {
        for later in block + 1..blocks_of(reader) {
            let bytes = reader.block_at(later)?;
            if let Ok(BatchSeen { header, .. }) = self.check(bytes, segment, later, Succession::Later)
                && next_first.is_none_or(|next_first| header.first < next_first)
            {
                return Ok(Some((later, header.first)));
            }
        }
        Ok(None)
    }

    /// A batch that is the next one.
    fn take(&mut self, batch: BatchSeen<'_>, bytes: &[u8], each: &mut impl FnMut(BatchSeen<'_>)) {
        let BatchSeen { header, body } = batch;
        let next = header.first + u64::from(header.count);
        (self.expected, self.chain) = (Some(next), Some(body.checksum));
        self.found.end.position = next - 1;
        self.found.end.checksum = body.checksum;
        self.found.last_written = Some(header.written);
        self.is_headless &= header.follows;
        if self.is_headless {
            let BatchPlace { segment, block, .. } = header.place;
            self.lose(Damage { segment, block, first: header.first, next });
            return;
        }
        if header.continues {
            self.pending.push((header, bytes[..header.len as usize].to_vec()));
            return;
        }
        self.give_out_pending(each);
        self.found.records += u64::from(header.count);
        each(batch);
    }

    fn give_out_pending(&mut self, each: &mut impl FnMut(BatchSeen<'_>)) {
        for (header, bytes) in std::mem::take(&mut self.pending) {
            if let Ok(body) = header.open(&bytes) {
                self.found.records += u64::from(header.count);
                each(BatchSeen { header, body });
            }
        }
    }

    fn note_blocks(&mut self, blocks: u32) {
        if let Some(last) = self.found.segments.last_mut() {
            last.blocks = blocks;
        }
    }

    /// Records are lost.
    fn lose(&mut self, damage: Damage) {
        self.is_headless = true;
        match self.found.damage.last_mut() {
            Some(last) if last.next == damage.first => last.next = damage.next,
            _ if damage.next > damage.first => self.found.damage.push(damage),
            _ => {}
        }
    }

    /// The end of a change is lost, and so is all of it.
    fn lose_pending(&mut self, segment: SegmentNumber) {
        if let Some((header, _)) = self.pending.first() {
            let (first, next) = (header.first, self.expected.unwrap_or(header.first));
            self.lose(Damage { segment, block: header.place.block, first, next });
        }
        self.drop_pending();
    }

    /// A change whose end never came.
    fn drop_pending(&mut self) {
        self.found.incomplete += self.pending.len();
        self.pending.clear();
    }

    fn finish(mut self) -> LogScan {
        self.drop_pending();
        if let Some(last) = self.found.segments.last() {
            self.found.end.segment = last.number;
        }
        // Whatever became of the segments, positions go on behind those that a checkpoint has.
        let behind = self.expected.unwrap_or(1).max(self.from) - 1;
        self.found.end.position = self.found.end.position.max(behind);
        self.found
    }
}

/// Which batches fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Succession {
    /// The very next.
    Strict,
    /// Any later one of the same segment.
    Later,
}

/// Whether the next batch was begun here and is not whole.
fn is_begun(bytes: &[u8], segment: &SegmentHeader, block: u32) -> bool {
    BatchHeader::read(bytes).is_ok_and(|header| {
        (header.place.segment, header.place.block, header.place.epoch) == (segment.number, block, segment.epoch)
    })
}

/// Blocks of a segment that are looked at.
fn blocks_of<M: Medium>(reader: &BlockReader<'_, M>) -> u32 {
    reader.blocks().min(SEGMENT_BLOCKS_MAX)
}
