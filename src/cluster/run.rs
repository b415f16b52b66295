//! Which messages of a range's log count.
//!
//! Always holds: behind a MARK that stands where it says, only the unbroken run 0, 1, 2, ... of that mark counts, each at the mark's sequence plus
//! its number. The first message at another's place ends the run: it and what follows is void, until the next MARK. A message whose bytes do not
//! fit (checksum, range, what stood before it) is never void but damage, since an engine that works stores no such thing.
//! Leaves to others: what to do about damage (`reader`).
//!
//! A deposed owner's messages do get into a log: with two on their way, a MARK of another node takes the place of the first, and
//! the second, which expects the sequence that this MARK now has, is stored behind it. It is void, and so is all that the new owner appends before it
//! has claimed the range again, which it has to, as its own message for that place is refused.

use super::batch::{BatchKind, RangeBatch, RangeBatchError};
use super::range::{Mark, RangeId};

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogDamage {
    /// A message that cannot be read.
    #[error("a message is damaged: {0}")]
    Message(#[from] RangeBatchError),
    /// A message of another range's log.
    #[error("a message belongs to another range")]
    ForeignRange,
    /// A message that was written behind another one than the one that is there.
    #[error("a message does not continue the one before it")]
    Chain,
    /// A sequence is not there.
    #[error("a message is missing")]
    Hole,
    /// The log ends before a sequence that it has had.
    #[error("the end of the log is missing")]
    Short,
    /// The log begins neither at 1 nor with a state.
    #[error("the beginning of the log is missing")]
    Beginning,
    /// A state that the log begins with has not all of its pages.
    #[error("the state that the log begins with is not complete")]
    State,
}

/// What comes of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement<'a> {
    /// It counts, and is needed to know what has happened.
    Counts(RangeBatch<'a>),
    /// It counts, and says nothing new: a MARK, or a page of a state that was made of what has been read.
    CountsOnly,
    /// It does not count.
    Void,
}

/// What has been read of a log, as far as the next message needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunJudge {
    range: RangeId,
    /// The sequence of the next message.
    next: u64,
    /// Checksum of the message before it; `None` where that was purged.
    previous: Option<u32>,
    /// The run that goes on, and the number that it goes on with.
    open: Option<(Mark, u64)>,
    /// The next page of the state that the log begins with; `None` once it is complete, or where there is none.
    page: Option<u32>,
}

impl RunJudge {
    /// Of a log that begins with the message `first`.
    pub(super) const fn new(range: RangeId, first: u64) -> Self {
        let (previous, page) = if first <= 1 { (Some(0), None) } else { (None, Some(0)) };
        Self { range, next: first, previous, open: None, page }
    }

    /// The sequence that comes next.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Checksum of the last message; 0 if there was none.
    pub(super) fn last_checksum(&self) -> u32 {
        self.previous.unwrap_or(0)
    }

    /// Whether the log may end here.
    pub(super) const fn may_end(&self) -> Result<(), LogDamage> {
        if self.page.is_some() { Err(LogDamage::State) } else { Ok(()) }
    }

    /// Takes the message with the sequence [`Self::next`]. What is damaged changes nothing.
    pub(super) fn judge<'a>(&mut self, bytes: &'a [u8]) -> Result<Judgement<'a>, LogDamage> {
        let batch = RangeBatch::read(bytes)?;
        if batch.header.range != self.range {
            return Err(LogDamage::ForeignRange);
        }
        let judgement = self.judge_batch(batch)?;
        self.previous = Some(batch.checksum);
        self.next += 1;
        Ok(judgement)
    }

    fn judge_batch<'a>(&mut self, batch: RangeBatch<'a>) -> Result<Judgement<'a>, LogDamage> {
        let header = batch.header;
        let begins_the_log = self.previous.is_none();
        let stands_right = header.mark.sequence_of(header.n) == Some(self.next);
        let continues = match (header.kind, self.open) {
            (BatchKind::Mark, _) => stands_right,
            (_, Some((mark, n))) => stands_right && mark == header.mark && n == header.n,
            (BatchKind::State(page), None) => stands_right && begins_the_log && page.page == 0,
            (BatchKind::Records, None) => false,
        };
        if begins_the_log && !(continues && header.kind != BatchKind::Mark) {
            return Err(LogDamage::Beginning);
        }
        if !continues || header.kind == BatchKind::Mark {
            // A state that a log begins with was complete before the rest was purged.
            self.may_end()?;
        }
        if !continues {
            self.open = None;
            return Ok(Judgement::Void);
        }
        if self.previous.is_some_and(|previous| previous != header.previous) {
            return Err(LogDamage::Chain);
        }
        let judgement = self.counts(batch)?;
        self.open = Some((header.mark, header.n + 1));
        Ok(judgement)
    }

    fn counts<'a>(&mut self, batch: RangeBatch<'a>) -> Result<Judgement<'a>, LogDamage> {
        match (batch.header.kind, self.page) {
            (BatchKind::Mark, _) | (BatchKind::State(_), None) => Ok(Judgement::CountsOnly),
            (BatchKind::Records, _) => Ok(Judgement::Counts(batch)),
            (BatchKind::State(state), Some(page)) if state.page == page => {
                self.page = if state.is_last { None } else { Some(page.saturating_add(1)) };
                Ok(Judgement::Counts(batch))
            }
            (BatchKind::State(_), Some(_)) => Err(LogDamage::State),
        }
    }
}
