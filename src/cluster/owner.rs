//! Writes a range's log: the MARK, then batches, a few at a time.
//!
//! Always holds: message `n` of a run is appended only where the log ends with message `n - 1`, so that it gets the mark's sequence plus `n` or is
//! refused. Messages become durable strictly in order, whatever order their answers come in; a refusal ends the run, and voids every
//! message behind it that may have been acknowledged meanwhile. After a failure the same is said again, byte for byte and with the same name.
//! Leaves to others: reading (`reader`), and what the batches say.
//!
//! A refusal counts if everything before the message was acknowledged when it was sent. Else the message before it may simply have got lost on
//! its way: it is said again when its turn has come, which is just as safe, because nobody else can have come between if that is taken.

use std::collections::VecDeque;

use super::batch::{BatchKind, RangeBatchHeader, StatePage};
use super::exchange::{AppendId, LogAnswer, LogOperation, LossReason, RangeClaim, RangeNews};
use super::range::Mark;
use super::reader::RangeLogEnd;
use crate::limits::{RANGE_APPENDS_IN_FLIGHT_MAX, RANGE_RETRY_MS};
use crate::time::{Deadline, Now};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnerPhase {
    /// The MARK is on its way.
    Marking,
    /// Its range is its own as far as it knows.
    Serving,
    /// It is not, or not any more.
    Over,
}

/// What is known of a message that is not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppendPhase {
    /// To be said, once this time has come.
    Waiting(Option<Deadline>),
    /// Said. `is_decisive`: everything before it was acknowledged then.
    Sent { is_decisive: bool },
    /// Refused, which says nothing as long as something before it is not acknowledged.
    Held,
    /// Stored at its place; something before it is not.
    Acknowledged,
}

#[derive(Debug)]
struct PendingAppend {
    id: AppendId,
    bytes: Vec<u8>,
    phase: AppendPhase,
}

/// How far the making of a state has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compaction {
    /// Nobody makes one.
    Idle,
    /// Pages from the message `first` on; the next is `page`.
    Writing { first: u64, page: u32 },
    /// All pages are appended, the last as message `last`.
    Written { first: u64, last: u64 },
    /// They are durable: what is before message `first` may go.
    Purging { first: u64, is_asked: bool, retry: Option<Deadline> },
}

/// See the module's text.
#[derive(Debug)]
pub struct LogOwner {
    claim: RangeClaim,
    mark: Mark,
    phase: OwnerPhase,
    pending: VecDeque<PendingAppend>,
    next_n: u64,
    /// Of the last message that was appended.
    checksum: u32,
    compaction: Compaction,
    is_too_late: bool,
    news: VecDeque<RangeNews>,
}

impl LogOwner {
    /// Claims the range, whose log was read to `end`.
    pub fn new(claim: RangeClaim, end: RangeLogEnd) -> Self {
        let mark = Mark { sequence: end.sequence + 1, boot: claim.boot, attempt: claim.attempt };
        let mut owner = Self {
            claim,
            mark,
            phase: OwnerPhase::Marking,
            pending: VecDeque::new(),
            next_n: 0,
            checksum: end.checksum,
            compaction: Compaction::Idle,
            is_too_late: false,
            news: VecDeque::new(),
        };
        owner.push(BatchKind::Mark, 0, &[]);
        owner
    }

    /// Of its run.
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether another batch may be appended now.
    pub fn has_room(&self) -> bool {
        self.phase == OwnerPhase::Serving && self.pending.len() < RANGE_APPENDS_IN_FLIGHT_MAX
    }

    /// Appends `count` encoded records and tells the number that [`RangeNews::Durable`] will name; only where [`Self::has_room`].
    pub fn append(&mut self, count: u32, records: &[u8]) -> u64 {
        assert!(self.has_room(), "whoever appends has asked for room");
        self.push(BatchKind::Records, count, records)
    }

    /// Appends the next page of what everything so far comes to; only where [`Self::has_room`]. Once the last is durable, what is before the
    /// first is purged. A page says how things are at its own place in the log.
    pub fn append_state(&mut self, is_last: bool, count: u32, records: &[u8]) -> u64 {
        assert!(self.has_room(), "whoever appends has asked for room");
        let (first, page) = match self.compaction {
            Compaction::Writing { first, page } => (first, page),
            Compaction::Idle | Compaction::Written { .. } | Compaction::Purging { .. } => (self.next_n, 0),
        };
        let n = self.push(BatchKind::State(StatePage { page, is_last }), count, records);
        self.compaction = if is_last {
            Compaction::Written { first, last: n }
        } else {
            Compaction::Writing { first, page: page.saturating_add(1) }
        };
        n
    }

    /// Whether the log still has what an earlier state stands for.
    pub fn is_compacting(&self) -> bool {
        self.compaction != Compaction::Idle
    }

    /// Gives the range up: nothing more is appended, and what is not durable may be in the log or not.
    pub fn release(&mut self) {
        self.end(LossReason::Released);
    }

    /// Whether everything that was appended is durable.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the MARK was refused: the log goes on behind what was read, and the claim can be made anew.
    pub fn was_too_late(&self) -> bool {
        self.is_too_late
    }

    /// What to ask the engine next; each is said once.
    pub fn next_operation(&mut self, now: Now) -> Option<LogOperation> {
        if self.phase == OwnerPhase::Over {
            return None;
        }
        let is_due = |pending: &PendingAppend| match pending.phase {
            AppendPhase::Waiting(at) => at.is_none_or(|at| at.is_due(now)),
            AppendPhase::Sent { .. } | AppendPhase::Held | AppendPhase::Acknowledged => false,
        };
        if let Some(at) = self.pending.iter().position(is_due) {
            let pending = &mut self.pending[at];
            pending.phase = AppendPhase::Sent { is_decisive: at == 0 };
            pending.id.attempt = pending.id.attempt.saturating_add(1);
            let n = pending.id.n;
            return Some(LogOperation::Append {
                id: pending.id,
                expected_last: self.mark.sequence + n - 1,
                message_id: self.mark.message_id(n),
                bytes: pending.bytes.clone(),
            });
        }
        let Compaction::Purging { first, is_asked: false, retry } = self.compaction else { return None };
        if !retry.is_none_or(|at| at.is_due(now)) {
            return None;
        }
        self.compaction = Compaction::Purging { first, is_asked: true, retry: None };
        Some(LogOperation::Purge { before: self.mark.sequence + first })
    }

    /// What is to be told next.
    pub fn next_news(&mut self) -> Option<RangeNews> {
        self.news.pop_front()
    }

    /// When there will be something to ask for without an answer before.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let appends = self.pending.iter().filter_map(|pending| match pending.phase {
            AppendPhase::Waiting(at) => at,
            AppendPhase::Sent { .. } | AppendPhase::Held | AppendPhase::Acknowledged => None,
        });
        let purge = match self.compaction {
            Compaction::Purging { retry, .. } => retry,
            _ => None,
        };
        appends.chain(purge).min().filter(|_| self.phase != OwnerPhase::Over)
    }

    /// The engine has answered. What answers an earlier attempt, or nothing, is late, and does nothing unless it says that the message is stored.
    pub fn handle_answer(&mut self, answer: LogAnswer, now: Now) {
        if self.phase == OwnerPhase::Over {
            return;
        }
        match answer {
            LogAnswer::Appended { id, sequence } => self.handle_appended(id, sequence),
            LogAnswer::Refused { id } => self.handle_refused(id),
            LogAnswer::Failed { id } => {
                if let Some(at) = self.sent(id) {
                    self.pending[at].phase = AppendPhase::Waiting(Some(now.after_ms(RANGE_RETRY_MS)));
                }
            }
            LogAnswer::Purged => {
                if let Compaction::Purging { is_asked: true, .. } = self.compaction {
                    self.compaction = Compaction::Idle;
                }
            }
            LogAnswer::PurgeFailed => {
                if let Compaction::Purging { first, is_asked: true, .. } = self.compaction {
                    let retry = Some(now.after_ms(RANGE_RETRY_MS));
                    self.compaction = Compaction::Purging { first, is_asked: false, retry };
                }
            }
            LogAnswer::Info { .. } | LogAnswer::LookFailed | LogAnswer::ReadEnded { .. } | LogAnswer::SteppedDown => {}
        }
    }

    fn handle_appended(&mut self, id: AppendId, sequence: u64) {
        let Some(at) = self.pending.iter().position(|pending| pending.id.n == id.n) else { return };
        if self.mark.sequence_of(id.n) != Some(sequence) {
            self.end(LossReason::Misplaced);
            return;
        }
        // Whichever attempt it answers, the message is at its place.
        self.pending[at].phase = AppendPhase::Acknowledged;
        let mut durable = None;
        while self.pending.front().is_some_and(|front| front.phase == AppendPhase::Acknowledged) {
            durable = self.pending.pop_front().map(|front| front.id.n);
        }
        let Some(n) = durable else { return };
        if self.phase == OwnerPhase::Marking {
            self.phase = OwnerPhase::Serving;
            self.news.push_back(RangeNews::Owned { mark: self.mark });
        } else {
            self.news.push_back(RangeNews::Durable { n });
        }
        if let Compaction::Written { first, last } = self.compaction
            && last <= n
        {
            self.compaction = Compaction::Purging { first, is_asked: false, retry: None };
        }
        if let Some(front) = self.pending.front_mut()
            && front.phase == AppendPhase::Held
        {
            front.phase = AppendPhase::Waiting(None);
        }
    }

    fn handle_refused(&mut self, id: AppendId) {
        let Some(at) = self.sent(id) else { return };
        match (self.pending[at].phase, at) {
            (AppendPhase::Sent { is_decisive: true }, _) => self.end(LossReason::Refused),
            // Its turn has come meanwhile.
            (_, 0) => self.pending[0].phase = AppendPhase::Waiting(None),
            _ => self.pending[at].phase = AppendPhase::Held,
        }
    }

    /// The place of the message whose latest attempt this is, and which has no answer yet.
    fn sent(&self, id: AppendId) -> Option<usize> {
        let is_it = |pending: &PendingAppend| pending.id == id && matches!(pending.phase, AppendPhase::Sent { .. });
        self.pending.iter().position(is_it)
    }

    fn push(&mut self, kind: BatchKind, count: u32, records: &[u8]) -> u64 {
        let n = self.next_n;
        let header = RangeBatchHeader {
            range: self.claim.range,
            mark: self.mark,
            node: self.claim.node,
            n,
            kind,
            count,
            previous: self.checksum,
        };
        let (bytes, checksum) = header.seal(records);
        self.checksum = checksum;
        self.next_n += 1;
        self.pending.push_back(PendingAppend {
            id: AppendId { n, attempt: 0 },
            bytes,
            phase: AppendPhase::Waiting(None),
        });
        n
    }

    fn end(&mut self, reason: LossReason) {
        if self.phase == OwnerPhase::Over {
            return;
        }
        self.is_too_late = self.phase == OwnerPhase::Marking && reason == LossReason::Refused;
        self.phase = OwnerPhase::Over;
        self.pending.clear();
        if !self.is_too_late {
            self.news.push_back(RangeNews::Lost { reason });
        }
    }
}
