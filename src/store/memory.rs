//! A store without a medium: what is appended is as durable as it will get at once.

use super::record::{Position, Record};

/// Answers "durable" for everything it was given, as soon as it is asked.
#[derive(Debug, Default)]
pub struct MemoryStore {
    appended: Position,
}

impl MemoryStore {
    /// Takes the records of one turn, in order; `last` is the position of the last one.
    ///
    /// # Panics
    /// When positions do not ascend by one a record: the shard lost count, and what it acknowledges would be a lie.
    pub fn append<M>(&mut self, records: impl ExactSizeIterator<Item = Record<M>>, last: Position) {
        let count = records.len() as u64;
        assert_eq!(self.appended.0 + count, last.0, "the shard and its store disagree about the log's length");
        drop(records);
        self.appended = last;
    }

    /// Everything up to here is durable.
    pub const fn durable(&self) -> Position {
        self.appended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;

    #[test]
    fn what_was_appended_is_durable() {
        let mut store = MemoryStore::default();
        let record = || Record::<()>::SessionEnded { session: SessionId(0) };
        store.append(vec![record(), record()].into_iter(), Position(2));
        assert_eq!(store.durable(), Position(2));
    }

    #[test]
    #[should_panic(expected = "disagree")]
    fn a_gap_in_the_log_is_never_accepted() {
        let mut store = MemoryStore::default();
        store.append(vec![Record::<()>::SessionEnded { session: SessionId(0) }].into_iter(), Position(2));
    }
}
