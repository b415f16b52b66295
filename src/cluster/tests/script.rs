//! A log that answers as a test says, and what a range's log asks of it.

use crate::cluster::{
    BatchKind, BootId, LogAnswer, LogOperation, Mark, NodeId, RangeBatchHeader, RangeClaim, RangeId, RangeLog,
    RangeNews,
};
use crate::time::Now;

pub(super) const RANGE: RangeId = RangeId(3);

pub(super) fn at(ms: u64) -> Now {
    Now { mono_ns: ms * 1_000_000, unix_ms: 1_700_000_000_000 + ms }
}

pub(super) fn claim(boot: u64) -> RangeClaim {
    RangeClaim { range: RANGE, node: NodeId::new(1).unwrap(), boot: BootId(boot), attempt: 1, floor: 0 }
}

/// The messages of a log from sequence `first` on; what a reader is given of them.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) first: u64,
    pub(super) messages: Vec<Vec<u8>>,
    checksum: u32,
}

impl Script {
    pub(super) fn new() -> Self {
        Self { first: 1, messages: Vec::new(), checksum: 0 }
    }

    pub(super) fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    /// Appends a message with the number `n` of a run.
    pub(super) fn append(&mut self, mark: Mark, n: u64, kind: BatchKind, records: &[u8]) {
        let node = NodeId::new(2).unwrap();
        let count = u32::from(!records.is_empty());
        let header = RangeBatchHeader { range: RANGE, mark, node, n, kind, count, previous: self.checksum };
        let (bytes, checksum) = header.seal(records);
        self.checksum = checksum;
        self.messages.push(bytes);
    }

    /// Appends a MARK and so many batches, each with its number as record.
    pub(super) fn run(&mut self, boot: u64, batches: u64) -> Mark {
        let mark = Mark { sequence: self.last() + 1, boot: BootId(boot), attempt: 1 };
        self.append(mark, 0, BatchKind::Mark, b"");
        for n in 1..=batches {
            self.append(mark, n, BatchKind::Records, format!("{boot}.{n}").as_bytes());
        }
        mark
    }

    pub(super) fn purge(&mut self, before: u64) {
        self.messages.drain(..(before - self.first) as usize);
        self.first = before;
    }

    pub(super) fn info(&self) -> LogAnswer {
        LogAnswer::Info { first: self.first, last: self.last() }
    }

    /// Answers a read, without the sequences that are to be missing.
    pub(super) fn serve(&self, log: &mut RangeLog, operation: &LogOperation, missing: &[u64]) -> Vec<String> {
        let LogOperation::Read { read, from, to } = *operation else { panic!("no read but {operation:?}") };
        let mut records = Vec::new();
        for sequence in (from.max(self.first)..=to).filter(|sequence| !missing.contains(sequence)) {
            let bytes = &self.messages[(sequence - self.first) as usize];
            let batch = log.handle_message(read, sequence, bytes);
            records.extend(batch.map(|batch| String::from_utf8(batch.records.to_vec()).unwrap()));
        }
        log.handle_answer(LogAnswer::ReadEnded { read, is_whole: true }, at(0));
        records
    }
}

/// The next operation, after as much time as it wants.
pub(super) fn next(log: &mut RangeLog) -> LogOperation {
    let soon = at(1_000_000);
    log.handle_tick(soon);
    log.next_operation(soon).expect("something to ask")
}

/// Reads all of a log that is as it should be, up to where the MARK is to be appended.
pub(super) fn read_whole(log: &mut RangeLog, script: &Script) -> Vec<String> {
    assert_eq!(next(log), LogOperation::Look);
    log.handle_answer(script.info(), at(0));
    if script.messages.is_empty() {
        return Vec::new();
    }
    let read = next(log);
    script.serve(log, &read, &[])
}

/// A log that is owned, with the mark's sequence.
pub(super) fn owned(script: &Script) -> (RangeLog, u64) {
    let mut log = RangeLog::new(claim(9));
    read_whole(&mut log, script);
    let LogOperation::Append { id, expected_last, .. } = next(&mut log) else { panic!("a MARK") };
    log.handle_answer(LogAnswer::Appended { id, sequence: expected_last + 1 }, at(0));
    let Some(RangeNews::Owned { mark }) = log.next_news() else { panic!("owned") };
    assert_eq!(mark.sequence, expected_last + 1);
    (log, mark.sequence)
}
