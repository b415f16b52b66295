//! A store without a medium: what is appended is as durable as it will get at once.

use super::record::{LogOutput, Position};

/// Answers "durable" for everything it was given, as soon as it is asked.
#[derive(Debug, Default)]
pub struct MemoryStore {
    appended: Position,
}

impl MemoryStore {
    /// Takes what one turn wrote.
    ///
    /// # Panics
    /// When positions do not ascend by one a record: the shard lost count, and what it acknowledges would be a lie.
    pub fn append(&mut self, output: &LogOutput) {
        let appended = Position(self.appended.0 + u64::from(output.count));
        assert_eq!(appended, output.last, "the shard and its store disagree about the log's length");
        self.appended = appended;
    }

    /// Everything up to here is durable.
    pub const fn durable(&self) -> Position {
        self.appended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_durable() {
        let mut store = MemoryStore::default();
        store.append(&LogOutput { count: 2, last: Position(2), ..LogOutput::default() });
        assert_eq!(store.durable(), Position(2));
    }

    #[test]
    #[should_panic(expected = "disagree")]
    fn a_gap_in_the_log_is_never_accepted() {
        let mut store = MemoryStore::default();
        store.append(&LogOutput { count: 1, last: Position(2), ..LogOutput::default() });
    }
}
