//! A model of the engine: one log a range, with three replicas of which one is read from, and one store of documents with an order of events.
//!
//! What is stored is agreed upon by all replicas; what a replica gives out may be damaged, missing or behind. Whether a request or its answer
//! arrives, and when, is the world's business.

use std::collections::BTreeMap;

use dunlin::cluster::{ControlKey, RangeBatch};

pub(crate) const REPLICAS: usize = 3;

/// How a replica has lost a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Flipped(u64),
    Missing,
}

/// What the engine says to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    At(u64),
    Refused,
}

#[derive(Debug, Default)]
pub(crate) struct EngineLog {
    pub(crate) first: u64,
    /// All that were ever stored, the purged included: the message with sequence 1 is the first.
    pub(crate) messages: Vec<Vec<u8>>,
    /// Names by which a repetition is known, and until when.
    names: BTreeMap<String, (u64, u64)>,
    pub(crate) leader: usize,
    faults: [BTreeMap<u64, Fault>; REPLICAS],
    /// How many of the last messages a replica has not got yet, and until when.
    pub(crate) behind: [(u64, u64); REPLICAS],
    /// Nothing leads, until then.
    pub(crate) leaderless_until: u64,
}

impl EngineLog {
    pub(crate) fn new() -> Self {
        Self { first: 1, ..Self::default() }
    }

    pub(crate) fn last(&self) -> u64 {
        self.messages.len() as u64
    }

    /// Where the log ends for whoever asks the leader now.
    pub(crate) fn seen_last(&self, now: u64) -> u64 {
        let (behind, until) = self.behind[self.leader];
        if now < until { self.last().saturating_sub(behind).max(self.first - 1) } else { self.last() }
    }

    /// Stores a message if the log ends as expected, or finds it there already.
    pub(crate) fn append(&mut self, expected: Option<u64>, name: &str, bytes: &[u8], times: (u64, u64)) -> Stored {
        let (now, keeps) = times;
        if let Some((sequence, _)) = self.names.get(name).filter(|(_, until)| now < *until) {
            return Stored::At(*sequence);
        }
        if expected.is_some_and(|expected| expected != self.last()) {
            return Stored::Refused;
        }
        self.messages.push(bytes.to_vec());
        self.names.insert(name.to_owned(), (self.last(), now + keeps));
        Stored::At(self.last())
    }

    pub(crate) fn purge(&mut self, before: u64) {
        self.first = self.first.max(before.min(self.last() + 1));
    }

    /// Damages what one replica has of a message.
    pub(crate) fn damage(&mut self, replica: usize, sequence: u64, fault: Fault) {
        self.faults[replica].insert(sequence, fault);
    }

    /// Whether a message is damaged on so many replicas.
    pub(crate) fn is_damaged_on(&self, sequence: u64, replicas: usize) -> bool {
        self.faults.iter().filter(|faults| faults.contains_key(&sequence)).count() >= replicas
    }

    /// On how many replicas a message is damaged, or has not come yet.
    pub(crate) fn lacks(&self, sequence: u64, now: u64) -> usize {
        let is_behind = |replica: usize| {
            let (behind, until) = self.behind[replica];
            now < until && sequence + behind > self.last()
        };
        (0..REPLICAS).filter(|replica| is_behind(*replica) || self.faults[*replica].contains_key(&sequence)).count()
    }

    /// A message as the leader gives it out: `None` where it has none.
    pub(crate) fn read(&self, sequence: u64, now: u64) -> Option<Vec<u8>> {
        if sequence < self.first || sequence > self.seen_last(now) {
            return None;
        }
        let mut bytes = self.messages[sequence as usize - 1].clone();
        match self.faults[self.leader].get(&sequence) {
            Some(Fault::Missing) => return None,
            Some(Fault::Flipped(bit)) => {
                let bit = *bit as usize % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            None => {}
        }
        Some(bytes)
    }

    /// A message that is as it should be and does not count, for a reader that is to skip one.
    pub(crate) fn void_instead_of(&self, sequence: u64) -> Vec<u8> {
        let batch = RangeBatch::read(&self.messages[sequence as usize - 1]).expect("what was stored is whole");
        let mut header = batch.header;
        (header.mark.attempt, header.n, header.kind) = (u32::MAX, header.n + 1, dunlin::cluster::BatchKind::Records);
        header.count = 0;
        header.seal(b"").0
    }

    /// All replicas lose the last messages, as when the power fails and nothing was synced.
    pub(crate) fn lose_tail(&mut self, count: u64) {
        self.messages.truncate(self.last().saturating_sub(count).max(self.first) as usize);
        let last = self.last();
        self.names.retain(|_, (sequence, _)| *sequence <= last);
    }
}

/// The documents, in the order in which they were stored.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) events: Vec<(ControlKey, Vec<u8>)>,
    revisions: BTreeMap<ControlKey, u64>,
}

impl Control {
    /// Stores a document if the one that is there is the expected one. The revision is the number of the event, from 1.
    pub(crate) fn put(&mut self, key: ControlKey, expected: u64, bytes: &[u8]) -> bool {
        if self.revisions.get(&key).copied().unwrap_or(0) != expected {
            return false;
        }
        self.events.push((key, bytes.to_vec()));
        self.revisions.insert(key, self.events.len() as u64);
        true
    }
}
