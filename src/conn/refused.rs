//! Peers that the shard never came to know.
//!
//! Always holds: each of them is counted under its reason. Lines for the log wait here until the driver takes them; beyond
//! [`LINES_MAX`] of them there are only the counters.

use super::connections::Connections;
use super::peer::RefusedPeer;
use crate::ids::{ConnectionId, INTERNAL_LISTENER};
use crate::telemetry::CloseReason;

/// A driver takes them after each event, which leads to one or to as many as have run out of time.
const LINES_MAX: usize = 1024;

impl Connections {
    /// Counts a peer that is refused before the shard knows it, and has a line for it.
    pub(super) fn refuse(&mut self, id: ConnectionId, reason: CloseReason, text: &'static str) {
        let refused = RefusedPeer { peer: self.peer(id), reason, text, level: None, client_id: None };
        self.refuse_peer(self.listener_of(id), refused);
    }

    /// The listener that a connection came by; for one that has gone an index that none has.
    pub(super) fn listener_of(&self, id: ConnectionId) -> u8 {
        self.table.get(id).map_or(INTERNAL_LISTENER, |connection| connection.listener)
    }

    /// The same of a peer that came by this listener.
    pub(super) fn refuse_peer(&mut self, listener: u8, refused: RefusedPeer) {
        self.counters.refused(listener, refused.reason);
        if self.refused.len() < LINES_MAX {
            self.refused.push(refused);
        }
    }

    /// Those that were refused since this was last asked.
    pub fn refused(&mut self) -> impl Iterator<Item = RefusedPeer> + '_ {
        self.refused.drain(..)
    }
}
