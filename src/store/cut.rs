//! Where logs that were read while a broker wrote them are cut, so that together they are what one moment can have left behind.
//!
//! Each log was read up to some place of its own. What one of them has taken over of another's forwards must be in what was read of the other,
//! or that one would send it again under a number that counts as seen.
//! Always holds: a cut lies between two changes; no log has taken over more than the others have sent; nothing is cut off that was durable
//! before the reading began. For a forward is durable before anybody takes it over: so what was durable at one moment depends on nothing
//! else, and the longest beginnings that do not depend on anything else contain it.
//! Leaves to others: reading, and the files.

use std::collections::BTreeMap;

use super::format::{LogId, LogRecord, SegmentNumber};
use super::recovery::RecoveredLog;
use super::scan::BatchSeen;
use crate::ids::ShardId;

/// A place in a log at which a change begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CutPlace {
    /// All behind it are cut off as wholes.
    pub segment: SegmentNumber,
    /// The first block that is cut off.
    pub block: u32,
}

/// What a log has to do with others, in its order.
#[derive(Clone, Debug)]
pub struct LogTrace {
    log: LogId,
    steps: Vec<TraceStep>,
    change: CutPlace,
    /// The last number that was given, by the log that it went to.
    numbered: BTreeMap<ShardId, u64>,
    /// Something of it is lost: what it had sent is not known.
    is_damaged: bool,
}

/// A step, and the change that it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TraceStep {
    change: CutPlace,
    other: ShardId,
    number: u64,
    is_taken: bool,
}

impl LogTrace {
    /// Of a log of which nothing was read yet.
    pub const fn new(log: LogId) -> Self {
        let change = CutPlace { segment: SegmentNumber(0), block: 0 };
        Self { log, steps: Vec::new(), change, numbered: BTreeMap::new(), is_damaged: false }
    }

    /// The next batch that was read.
    pub fn note(&mut self, batch: &BatchSeen<'_>) {
        if !batch.header.follows {
            let place = batch.header.place;
            self.change = CutPlace { segment: place.segment, block: place.block };
        }
        for record in batch.body.records().map_while(Result::ok) {
            match record.record {
                LogRecord::Forward(target) => self.push(target.to, target.number, false),
                LogRecord::InboxTaken { from, number } => self.push(from, number, true),
                _ => {}
            }
        }
        batch.body.inbox().for_each(|count| self.push(count.from, count.number, true));
    }

    fn push(&mut self, other: ShardId, number: u64, is_taken: bool) {
        self.steps.push(TraceStep { change: self.change, other, number, is_taken });
    }

    /// All of it was read.
    pub fn finish(&mut self, recovered: &RecoveredLog) {
        self.numbered = recovered.state.mailbox.numbered().collect();
        let scan = &recovered.scan;
        let is_whole = scan.damage.is_empty() && scan.missing.is_empty() && scan.unreadable.is_empty();
        self.is_damaged = !(is_whole && recovered.refused.is_empty());
    }

    /// The last number that was given to what went to a log before step `end`.
    fn sent(&self, to: ShardId, end: usize) -> u64 {
        if self.is_damaged {
            return u64::MAX;
        }
        let later = self.steps[end..].iter().find(|step| !step.is_taken && step.other == to);
        let last = self.numbered.get(&to).copied().unwrap_or(0);
        later.map_or(last, |step| step.number.saturating_sub(1))
    }
}

/// Where each log is cut; `None` for one that is kept as far as it was read.
pub fn consistent_cuts(traces: &[LogTrace]) -> Vec<Option<CutPlace>> {
    let mut ends: Vec<usize> = traces.iter().map(|trace| trace.steps.len()).collect();
    let mut is_cut = true;
    while is_cut {
        is_cut = false;
        for (at, trace) in traces.iter().enumerate() {
            let sent: BTreeMap<ShardId, u64> = traces
                .iter()
                .zip(&ends)
                .map(|(other, end)| (other.log.shard, other.sent(trace.log.shard, *end)))
                .collect();
            let is_ahead =
                |step: &TraceStep| step.is_taken && sent.get(&step.other).is_some_and(|sent| step.number > *sent);
            let Some(found) = trace.steps[..ends[at]].iter().position(is_ahead) else { continue };
            let change = trace.steps[found].change;
            ends[at] = trace.steps.partition_point(|step| step.change < change);
            is_cut = true;
        }
    }
    traces.iter().zip(ends).map(|(trace, end)| trace.steps.get(end).map(|step| step.change)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(block: u32) -> CutPlace {
        CutPlace { segment: SegmentNumber(1), block }
    }

    /// A log in which a change begins at each block: `(block, other, number, is_taken)`.
    fn trace(shard: u8, before: &[(u8, u64)], steps: &[(u32, u8, u64, bool)]) -> LogTrace {
        let mut trace = LogTrace::new(LogId { generation: 1, shard: ShardId(shard) });
        trace.numbered = before.iter().map(|(to, number)| (ShardId(*to), *number)).collect();
        for &(block, other, number, is_taken) in steps {
            trace.change = place(block);
            trace.push(ShardId(other), number, is_taken);
            if !is_taken {
                trace.numbered.insert(ShardId(other), number);
            }
        }
        trace
    }

    #[test]
    fn logs_that_fit_together_are_kept_as_they_are() {
        let first = trace(0, &[(1, 4)], &[(1, 1, 5, false), (2, 1, 6, false), (3, 1, 2, true)]);
        let second = trace(1, &[(0, 2)], &[(1, 0, 5, true), (2, 0, 6, true)]);
        assert_eq!(consistent_cuts(&[first, second]), [None, None]);
    }

    #[test]
    fn what_was_taken_over_and_is_not_in_the_other_is_cut_off_with_all_behind_it() {
        let first = trace(0, &[(1, 4)], &[(7, 1, 5, false)]);
        let second = trace(1, &[], &[(1, 0, 5, true), (4, 2, 9, false), (4, 0, 6, true), (6, 0, 7, true)]);
        let third = trace(2, &[], &[]);
        assert_eq!(consistent_cuts(&[first, second, third]), [None, Some(place(4)), None]);
    }

    #[test]
    fn a_cut_leads_to_others() {
        // 1 has taken what 0 had not sent, and sent something after it that 2 has taken, who sent something to 0.
        let first = trace(0, &[], &[(1, 1, 1, false), (2, 2, 1, true), (3, 2, 2, true)]);
        let second = trace(1, &[], &[(1, 0, 1, true), (2, 0, 2, true), (3, 2, 1, false)]);
        let third = trace(2, &[], &[(1, 0, 1, false), (2, 1, 1, true), (2, 0, 2, false)]);
        let cuts = consistent_cuts(&[first, second, third]);
        assert_eq!(cuts, [Some(place(3)), Some(place(2)), Some(place(2))]);
    }

    #[test]
    fn nothing_is_cut_off_for_a_log_that_is_damaged() {
        let mut first = trace(0, &[], &[]);
        let second = trace(1, &[], &[(1, 0, 5, true)]);
        assert_eq!(consistent_cuts(&[first.clone(), second.clone()]), [None, Some(place(1))]);
        first.is_damaged = true;
        assert_eq!(consistent_cuts(&[first, second]), [None, None]);
    }
}
