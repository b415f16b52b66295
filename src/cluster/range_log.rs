//! The log of one range that a node claims: read to its end, marked, written.
//!
//! Always holds: a node serves a range from [`RangeNews::Owned`] to [`RangeNews::Lost`]; what it was given of the log before that is all that counts in it.
//! A MARK that is refused has the reader go on where it ended.
//! Leaves to others: asking the engine. Each operation is to be answered, by a time-out if by nothing else.

use super::batch::RangeBatch;
use super::exchange::{LogAnswer, LogOperation, LossReason, RangeClaim, RangeNews};
use super::owner::LogOwner;
use super::range::RangeId;
use super::reader::LogReader;
use crate::time::{Deadline, Now};

/// See the module's text.
#[derive(Debug)]
pub struct RangeLog {
    claim: RangeClaim,
    reader: LogReader,
    /// From when everything was read.
    owner: Option<LogOwner>,
    /// It was given up before that: whether this was told.
    released: Option<bool>,
}

impl RangeLog {
    /// Begins to read.
    pub const fn new(claim: RangeClaim) -> Self {
        Self { claim, reader: LogReader::new(claim), owner: None, released: None }
    }

    /// Whose log.
    pub const fn range(&self) -> RangeId {
        self.claim.range
    }

    /// The writing half, once everything was read.
    pub const fn owner(&mut self) -> Option<&mut LogOwner> {
        self.owner.as_mut()
    }

    /// Whether nothing that was appended still waits for the engine.
    pub fn is_idle(&self) -> bool {
        self.owner.as_ref().is_none_or(LogOwner::is_idle)
    }

    /// Gives the range up.
    pub fn release(&mut self) {
        match &mut self.owner {
            Some(owner) => owner.release(),
            None => self.released = self.released.or(Some(false)),
        }
    }

    /// What to ask the engine next; each is said once.
    pub fn next_operation(&mut self, now: Now) -> Option<LogOperation> {
        match &mut self.owner {
            Some(owner) => owner.next_operation(now),
            None if self.released.is_some() => None,
            None => self.reader.next_operation(),
        }
    }

    /// What is to be told next.
    pub fn next_news(&mut self) -> Option<RangeNews> {
        if self.released == Some(false) {
            self.released = Some(true);
            return Some(RangeNews::Lost { reason: LossReason::Released });
        }
        self.reader.next_news().or_else(|| self.owner.as_mut()?.next_news())
    }

    /// When [`Self::handle_tick`] is wanted.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.owner.as_ref().map_or_else(|| self.reader.next_deadline(), LogOwner::next_deadline)
    }

    /// Time has passed.
    pub fn handle_tick(&mut self, now: Now) {
        self.reader.handle_tick(now);
    }

    /// A message of a read, and what it says if that is needed.
    pub fn handle_message<'a>(&mut self, read: u32, sequence: u64, bytes: &'a [u8]) -> Option<RangeBatch<'a>> {
        let batch = self.reader.handle_message(read, sequence, bytes);
        self.claim_at_end();
        batch
    }

    /// The engine has answered.
    pub fn handle_answer(&mut self, answer: LogAnswer, now: Now) {
        let Some(owner) = &mut self.owner else {
            self.reader.handle_answer(answer, now);
            self.claim_at_end();
            return;
        };
        owner.handle_answer(answer, now);
        if owner.was_too_late() {
            let floor = owner.mark().sequence;
            self.owner = None;
            self.reader.go_on(floor);
        }
    }

    fn claim_at_end(&mut self) {
        if self.owner.is_none()
            && self.released.is_none()
            && let Some(end) = self.reader.end()
        {
            self.owner = Some(LogOwner::new(self.claim, end));
        }
    }
}
