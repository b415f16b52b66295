//! Where a shard's records go: to a disk, or no further than this process.
//!
//! Always holds: what was appended becomes durable in order; after a write that failed nothing does.
//! Leaves to others: when there is a record and who waits for it (`shard`), the write itself (`ring`), files (`disk`).

use super::disk::{DiskLog, FileWrite, LogFailure, QueuedBodies};
use crate::net::EndedWrite;
use crate::shard::DiskRead;
use crate::store::{LogOutput, LogRoom, MemoryStore, Position, Urgency};
use crate::time::{Deadline, Now};

/// See the module's text.
#[derive(Debug)]
pub(super) enum ShardStore {
    /// Nothing survives the process.
    Memory(MemoryStore),
    /// Everything that is acknowledged does.
    Disk(Box<DiskLog>),
}

impl ShardStore {
    /// Takes what a turn wrote down. What is durable at once is said.
    pub(super) fn append(&mut self, now: Now, output: &LogOutput) {
        match self {
            Self::Disk(log) if output.is_empty() && output.urgency == Urgency::Awaited => log.hurry(),
            _ if output.is_empty() => {}
            Self::Memory(store) => store.append(output),
            Self::Disk(log) => {
                let position = log.append(now, output.group());
                assert_eq!(position, output.last, "the shard and its store disagree about the log's length");
            }
        }
    }

    /// What a memory has is as durable as it will get.
    pub(super) const fn durable_at_once(&self) -> Option<Position> {
        match self {
            Self::Memory(store) => Some(store.durable()),
            Self::Disk(_) => None,
        }
    }

    /// What came of the write under way: the position up to which everything is durable now.
    pub(super) fn written(&mut self, EndedWrite { bytes, result }: EndedWrite) -> Result<Position, LogFailure> {
        match self {
            Self::Disk(log) => log.written(bytes, result),
            Self::Memory(_) => unreachable!("nothing was written"),
        }
    }

    /// The next write, if there is one.
    pub(super) fn next_write(&mut self, now: Now, is_stopping: bool) -> Option<FileWrite> {
        match self {
            Self::Disk(log) => log.next_write(now, is_stopping),
            Self::Memory(_) => None,
        }
    }

    /// The very last write, when everything is durable; `None` when it has been made.
    pub(super) fn next_final(&mut self, now: Now) -> Option<FileWrite> {
        match self {
            Self::Disk(log) => log.next_final(now),
            Self::Memory(_) => None,
        }
    }

    /// Whether nothing is left to be written, the last write included.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Disk(log) => log.is_final(),
            Self::Memory(_) => true,
        }
    }

    /// Takes what the keeper of files says.
    pub(super) fn take_news(&mut self, now: Now) {
        if let Self::Disk(log) = self {
            log.take_news(now);
        }
    }

    /// Why nothing can be written any more, if what was to be done about files has shown that.
    pub(super) const fn take_failure(&mut self) -> Option<LogFailure> {
        match self {
            Self::Disk(log) => log.take_failure(),
            Self::Memory(_) => None,
        }
    }

    /// What there is room for, if that has changed.
    pub(super) fn take_room(&mut self) -> Option<LogRoom> {
        match self {
            Self::Disk(log) => log.take_room(),
            Self::Memory(_) => None,
        }
    }

    /// Messages that are to be written again.
    pub(super) fn next_copies(&mut self) -> Option<(Vec<u8>, u32)> {
        match self {
            Self::Disk(log) => log.next_copies(),
            Self::Memory(_) => None,
        }
    }

    /// Has messages read that have left memory.
    pub(super) fn read(&self, read: DiskRead) {
        match self {
            Self::Disk(log) => log.read(read),
            Self::Memory(_) => unreachable!("nothing leaves memory where nothing is kept"),
        }
    }

    /// Messages that have been read.
    pub(super) fn next_bodies(&mut self) -> Option<QueuedBodies> {
        match self {
            Self::Disk(log) => log.next_bodies(),
            Self::Memory(_) => None,
        }
    }

    /// Whether nobody has said anything.
    pub(super) fn is_quiet(&self) -> bool {
        match self {
            Self::Disk(log) => !log.has_news(),
            Self::Memory(_) => true,
        }
    }

    /// Whether everything is durable.
    pub(super) fn is_durable(&self) -> bool {
        match self {
            Self::Disk(log) => log.is_durable(),
            Self::Memory(_) => true,
        }
    }

    /// When something has to be done that nobody else says.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        match self {
            Self::Disk(log) => log.next_deadline(),
            Self::Memory(_) => None,
        }
    }
}
