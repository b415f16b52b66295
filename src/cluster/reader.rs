//! Reads a range's log to its end.
//!
//! Always holds: every sequence from the beginning to the end was seen, and judged by `run`. What is missing or damaged is asked of the next replica,
//! [`STEP_DOWNS_MAX`] times for one place; then the log is in quarantine and nothing behind that place was given out. Nothing is
//! ever skipped: one flipped bit on one replica hid 4,977 messages behind it while the engine called itself healthy.
//! Leaves to others: the connection to the engine, and what a batch means.
//!
//! A hole may have a good reason: the log was purged while it was read. So a hole has the reader look where the log begins before it blames a
//! replica, and read anew from there.

use super::batch::RangeBatch;
use super::exchange::{LogAnswer, LogOperation, RangeClaim, RangeNews};
use super::run::{Judgement, LogDamage, RunJudge};
use crate::limits::{RANGE_LOOKS_MAX, RANGE_RETRY_MS, RANGE_SEQUENCE_MAX, STEP_DOWNS_MAX};
use crate::time::{Deadline, Now};

/// Where a log ended when it was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLogEnd {
    /// Its last sequence; 0 if it has never had one.
    pub sequence: u64,
    /// Checksum of that message.
    pub checksum: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReaderPhase {
    /// To be asked, or asked: where the log begins and ends.
    Looking,
    /// Look again then.
    Resting(Deadline),
    /// Up to this sequence.
    Reading { to: u64 },
    /// Another replica is to lead.
    SteppingDown,
    /// Everything was read.
    Ended,
    /// Nobody has it whole.
    Quarantined,
}

/// See the module's text.
#[derive(Debug)]
pub struct LogReader {
    claim: RangeClaim,
    phase: ReaderPhase,
    /// Whether what the phase asks for has been asked.
    is_asked: bool,
    read: u32,
    judge: RunJudge,
    /// Whether anything was read yet.
    has_begun: bool,
    /// A place that looked damaged, until it is known where the log begins now.
    suspect: Option<(u64, LogDamage)>,
    /// The last place that a replica was blamed for, and how many were since it was passed.
    blamed: u64,
    step_downs: u32,
    /// Looks in a row that found the log shorter than it was.
    short_looks: u32,
    news: Option<RangeNews>,
}

impl LogReader {
    /// Begins with a look at the log.
    pub const fn new(claim: RangeClaim) -> Self {
        Self {
            claim,
            phase: ReaderPhase::Looking,
            is_asked: false,
            read: 0,
            judge: RunJudge::new(claim.range, 1),
            has_begun: false,
            suspect: None,
            blamed: 0,
            step_downs: 0,
            short_looks: 0,
            news: None,
        }
    }

    /// The log goes on, at least to `floor`: reads what has come.
    pub fn go_on(&mut self, floor: u64) {
        debug_assert_eq!(self.phase, ReaderPhase::Ended);
        self.claim.floor = self.claim.floor.max(floor);
        self.enter(ReaderPhase::Looking);
    }

    /// Where the log ended; `None` while it is read.
    pub fn end(&self) -> Option<RangeLogEnd> {
        let end = RangeLogEnd { sequence: self.judge.next() - 1, checksum: self.judge.last_checksum() };
        (self.phase == ReaderPhase::Ended).then_some(end)
    }

    /// What to ask the engine next; each is said once.
    pub fn next_operation(&mut self) -> Option<LogOperation> {
        if self.is_asked {
            return None;
        }
        let operation = match self.phase {
            ReaderPhase::Looking => LogOperation::Look,
            ReaderPhase::Reading { to } => {
                self.read += 1;
                LogOperation::Read { read: self.read, from: self.judge.next(), to }
            }
            ReaderPhase::SteppingDown => LogOperation::StepDown,
            ReaderPhase::Resting(_) | ReaderPhase::Ended | ReaderPhase::Quarantined => return None,
        };
        self.is_asked = true;
        Some(operation)
    }

    /// What is to be told, once.
    pub fn next_news(&mut self) -> Option<RangeNews> {
        self.news.take()
    }

    /// When [`Self::handle_tick`] is wanted.
    pub const fn next_deadline(&self) -> Option<Deadline> {
        match self.phase {
            ReaderPhase::Resting(until) => Some(until),
            _ => None,
        }
    }

    /// Time has passed.
    pub fn handle_tick(&mut self, now: Now) {
        if self.next_deadline().is_some_and(|until| until.is_due(now)) {
            self.enter(ReaderPhase::Looking);
        }
    }

    /// The engine has answered. What answers nothing that is asked is late, and does nothing.
    pub fn handle_answer(&mut self, answer: LogAnswer, now: Now) {
        match (self.phase, answer) {
            (ReaderPhase::Looking, LogAnswer::Info { first, last }) if self.is_asked => {
                self.handle_info(first, last, now);
            }
            (ReaderPhase::Reading { .. }, LogAnswer::ReadEnded { read, is_whole }) if read == self.read => {
                if is_whole {
                    self.suspect(LogDamage::Hole);
                } else {
                    self.rest(now);
                }
            }
            (ReaderPhase::Looking, LogAnswer::LookFailed) | (ReaderPhase::SteppingDown, LogAnswer::SteppedDown)
                if self.is_asked =>
            {
                self.rest(now);
            }
            _ => {}
        }
    }

    /// A message of a read. What it says, if it counts and is needed.
    pub fn handle_message<'a>(&mut self, read: u32, sequence: u64, bytes: &'a [u8]) -> Option<RangeBatch<'a>> {
        let ReaderPhase::Reading { to } = self.phase else { return None };
        if read != self.read || sequence < self.judge.next() || sequence > to {
            return None;
        }
        if sequence > self.judge.next() {
            self.suspect(LogDamage::Hole);
            return None;
        }
        match self.judge.judge(bytes) {
            Ok(judgement) => {
                self.has_begun = true;
                if sequence >= self.blamed {
                    self.step_downs = 0;
                }
                if self.judge.next() > to {
                    self.finish();
                }
                match judgement {
                    Judgement::Counts(batch) => Some(batch),
                    Judgement::CountsOnly | Judgement::Void => None,
                }
            }
            Err(damage) => {
                self.suspect(damage);
                None
            }
        }
    }

    fn handle_info(&mut self, first: u64, last: u64, now: Now) {
        if last > RANGE_SEQUENCE_MAX {
            self.rest(now);
            return;
        }
        if last < self.claim.floor.max(self.judge.next() - 1) || (first > last && last > 0) {
            // It may be the word of a replica that is behind.
            self.short_looks += 1;
            if self.short_looks <= RANGE_LOOKS_MAX {
                self.rest(now);
            } else {
                self.short_looks = 0;
                self.blame(last.saturating_add(1), LogDamage::Short);
            }
            return;
        }
        self.short_looks = 0;
        if first > self.judge.next() || !self.has_begun {
            if self.has_begun {
                self.news = Some(RangeNews::BegunAnew);
            }
            self.judge = RunJudge::new(self.claim.range, first.max(1));
            self.has_begun = false;
        }
        match self.suspect.take() {
            Some((place, damage)) if place >= first => self.blame(place, damage),
            _ if self.judge.next() <= last => self.enter(ReaderPhase::Reading { to: last }),
            _ => self.finish(),
        }
    }

    /// Everything up to the end was read.
    fn finish(&mut self) {
        match self.judge.may_end() {
            Ok(()) => self.enter(ReaderPhase::Ended),
            Err(damage) => self.blame(self.judge.next(), damage),
        }
    }

    /// The next message is not as it should be: looks whether that has a good reason.
    fn suspect(&mut self, damage: LogDamage) {
        self.suspect = Some((self.judge.next(), damage));
        self.enter(ReaderPhase::Looking);
    }

    /// It has none: the next replica may know better, unless all have been asked.
    fn blame(&mut self, sequence: u64, damage: LogDamage) {
        self.blamed = self.blamed.max(sequence);
        if self.step_downs >= STEP_DOWNS_MAX {
            self.news = Some(RangeNews::Quarantined { sequence, damage });
            self.enter(ReaderPhase::Quarantined);
        } else {
            self.step_downs += 1;
            self.enter(ReaderPhase::SteppingDown);
        }
    }

    fn rest(&mut self, now: Now) {
        self.enter(ReaderPhase::Resting(now.after_ms(RANGE_RETRY_MS)));
    }

    const fn enter(&mut self, phase: ReaderPhase) {
        self.phase = phase;
        self.is_asked = false;
    }
}
