//! A record's place, what a turn writes down, and where a shard's log begins.

use super::format::InboxCount;
use super::writer::{RecordGroup, Urgency};

/// Place of a record in its shard's log, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Position(pub u64);

/// Whether a shard's records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogKeeping {
    /// They are not written: nothing survives the process.
    #[default]
    Memory,
    /// They are encoded, and go to a disk.
    Disk,
}

/// What a log has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogRoom {
    /// For whatever comes.
    #[default]
    Enough,
    /// For whatever comes, but what came before waits to be written: who publishes what is kept is not read meanwhile.
    Behind,
    /// For what frees room alone: the disk is full.
    Short,
}

/// Where a shard's log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogStart {
    /// Whether its records are kept.
    pub keeping: LogKeeping,
    /// Position of the last record that was recovered; 0 if there is none.
    pub last: Position,
}

/// What a shard has to write down, since it was last taken: one group, which counts as a whole or not at all.
#[derive(Debug, Default)]
pub struct LogOutput {
    /// Encoded records, one behind the other, with the positions that they are about to get.
    pub bytes: Vec<u8>,
    /// How many records there are.
    pub count: u32,
    /// The position of the last of them.
    pub last: Position,
    /// How far what other logs sent has been taken over.
    pub inbox: Vec<InboxCount>,
    /// Whether somebody waits. Without any record: for what was written before.
    pub urgency: Urgency,
}

impl LogOutput {
    /// Whether there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of it, as a log takes it.
    pub fn group(&self) -> RecordGroup<'_> {
        RecordGroup { records: &self.bytes, count: self.count, inbox: &self.inbox, urgency: self.urgency }
    }

    /// It has been taken. The memory is kept unless a turn was exceptionally large; so is the last position.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_MAX_BYTES);
        self.count = 0;
        self.inbox.clear();
        self.urgency = Urgency::Lazy;
    }
}

/// A turn that wrote more than this gives the excess back.
const KEPT_MAX_BYTES: usize = 1024 * 1024;
