//! How many pages of queues are being read from the disk, and whose queues wait for their turn.
//!
//! Always holds: no more than [`DISK_PAGES_MAX`] are on their way. Who waits may have gone meanwhile.
//! Leaves to others: what is asked for (`disk_queues`).

use std::collections::VecDeque;

use crate::ids::SessionId;
use crate::limits::DISK_PAGES_MAX;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct DiskReads {
    under_way: usize,
    waiting: VecDeque<SessionId>,
}

impl DiskReads {
    /// Whether as many are on their way as may be.
    pub(super) const fn are_enough(&self) -> bool {
        self.under_way >= DISK_PAGES_MAX
    }

    /// One more is.
    pub(super) const fn begin(&mut self) {
        self.under_way += 1;
    }

    /// One has come.
    pub(super) const fn end(&mut self) {
        self.under_way -= 1;
    }

    /// A session is told when it is its turn.
    pub(super) fn wait(&mut self, id: SessionId) {
        self.waiting.push_back(id);
    }

    /// Whose turn it is, if there is room.
    pub(super) fn next_waiting(&mut self) -> Option<SessionId> {
        if self.are_enough() { None } else { self.waiting.pop_front() }
    }
}
