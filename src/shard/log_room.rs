//! What the logs of all shards say of their room, and the publishers that are not read for it.
//!
//! Always holds: one log that is short is enough: they are on one disk, and a message that has crossed cannot be refused any more.
//! Leaves to others: what follows from it (`full_disk`), and when a log is short (`runtime`).

use std::collections::VecDeque;

use crate::ids::{ConnectionId, ShardId, ShardSet};
use crate::store::LogRoom;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct LogRooms {
    short: ShardSet,
    behind: ShardSet,
    /// Connections of publishers that are not read. Some may have ended.
    pub held: VecDeque<ConnectionId>,
}

impl LogRooms {
    /// A shard's log has room for this from now on.
    pub(super) const fn note(&mut self, shard: ShardId, room: LogRoom) {
        self.short.remove(shard);
        self.behind.remove(shard);
        match room {
            LogRoom::Enough => {}
            LogRoom::Behind => self.behind.insert(shard),
            LogRoom::Short => self.short.insert(shard),
        }
    }

    /// Whether a disk is full: nothing more is kept.
    #[inline]
    pub(super) const fn is_short(&self) -> bool {
        !self.short.is_empty()
    }

    /// Whether the log of this shard is what finds no room.
    pub(super) const fn is_short_at(&self, shard: ShardId) -> bool {
        self.short.contains(shard)
    }

    /// Whether a disk is slower than what is published.
    #[inline]
    pub(super) const fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }
}
