//! A checkpoint of a log that goes on: what it is made of, its pages, and which files nobody needs any more once it is there.
//!
//! Always holds: two checkpoints are kept. A segment is given back when neither of them needs anything in it: all of its records had had their
//! effect when the older one was made, and no message in it was wanted then.
//! Leaves to others: when a checkpoint is made, and what becomes of a file.

use std::collections::BTreeSet;

use super::format::{LogId, PageKind, SegmentNumber, StoreFile};
use super::medium::{Medium, MediumError};
use super::recovery::RecoveredLog;
use super::state::LogState;
use super::{CheckpointWriter, PageWrite};

/// What a checkpoint needs besides itself.
#[derive(Debug)]
pub struct MadeCheckpoint {
    /// Which.
    pub number: u32,
    /// Up to this segment it has everything.
    pub covered: SegmentNumber,
    /// Segments with messages that it refers to.
    pub needed: BTreeSet<SegmentNumber>,
}

impl MadeCheckpoint {
    /// Of `files`, what is not needed any more when `newer` is there besides this one.
    pub fn unneeded(&self, newer: &Self, mut files: Vec<StoreFile>) -> Vec<StoreFile> {
        files.retain(|file| match *file {
            StoreFile::Checkpoint(_, number) => number < self.number,
            StoreFile::Segment(_, number) => {
                number <= self.covered && !self.needed.contains(&number) && !newer.needed.contains(&number)
            }
            _ => false,
        });
        files
    }
}

/// The last segment of which the checkpoint that a log was recovered from has everything.
pub fn covered_by(recovered: &RecoveredLog) -> SegmentNumber {
    let RecoveredLog { scan, replayed_from, .. } = recovered;
    let ends = scan.segments.iter().skip(1).map(|next| next.first).chain([scan.end.position + 1]);
    let later = scan.segments.iter().zip(ends).find(|(_, end)| *end > replayed_from + 1);
    let next = later.map_or(scan.end.segment.next(), |(segment, _)| segment.number);
    SegmentNumber(next.0.saturating_sub(1))
}

/// Segments in which there is something that somebody wants.
pub fn needed_by(recovered: &RecoveredLog) -> BTreeSet<SegmentNumber> {
    let messages = &recovered.state.messages;
    let parts = messages.iter().flat_map(|(id, _)| messages.parts(id).iter().copied().chain(messages.place(id)));
    parts.map(|place| place.segment).collect()
}

/// Sessions that one page has, unless they are long.
const SESSIONS_PER_PAGE: usize = 1_000;

/// Gives out the pages of checkpoint `number` of a log that comes to `state` as of `position`, some at a time. Ends early where `each` says `false`, which
/// is what it then says itself.
pub fn write_pages<E>(
    (log, number): (LogId, u32),
    (state, position): (&LogState, u64),
    mut each: impl FnMut(Vec<PageWrite>) -> Result<bool, E>,
) -> Result<bool, E> {
    let (mut writer, first) = CheckpointWriter::begin(log, number, position);
    let mut pages = vec![first];
    let mut slots: Vec<_> = state.sessions().collect();
    slots.sort_unstable_by_key(|(slot, _)| *slot);
    let mut begin = 0;
    for chunk in slots.chunks(SESSIONS_PER_PAGE) {
        let mut records = Vec::new();
        for (slot, session) in chunk {
            session.encode(*slot, position, &mut records);
        }
        let end = chunk.last().map_or(begin, |(slot, _)| slot.0 + 1);
        pages.extend(writer.sessions(position, begin..end, &records));
        begin = end;
        if !each(std::mem::take(&mut pages))? {
            return Ok(false);
        }
    }
    let mut records = Vec::new();
    state.encode_retained(position, &mut records);
    pages.extend(writer.others(PageKind::Retained, position, &records));
    records.clear();
    state.encode_mailbox(position, &mut records);
    pages.extend(writer.others(PageKind::Outbox, position, &records));
    pages.push(writer.end(position));
    each(pages)
}

/// Where what is durable ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurableEnd {
    /// The segment that was written last.
    pub segment: SegmentNumber,
    /// Whole blocks from its beginning.
    pub bytes: u64,
}

/// A log up to a segment, and what is durable of the one that is written: nobody writes there any more.
#[derive(Debug)]
pub struct CompleteSegments<M> {
    /// Where it is.
    pub medium: M,
    /// The last segment that is complete.
    pub until: SegmentNumber,
    /// What is durable of the one behind it; segment 0 where that is not to be read.
    pub end: DurableEnd,
}

impl<M: Medium> Medium for CompleteSegments<M> {
    fn files(&mut self, log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        let mut files = self.medium.files(log)?;
        let is_durable = |number: SegmentNumber| number <= self.until || number == self.end.segment;
        files.retain(|file| !matches!(file, StoreFile::Segment(_, number) if !is_durable(*number)));
        Ok(files)
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        let len = self.medium.len(file)?;
        let is_written = matches!(file, StoreFile::Segment(_, number) if number > self.until);
        Ok(if is_written { len.min(self.end.bytes) } else { len })
    }

    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        self.medium.read(file, offset, into)
    }
}
