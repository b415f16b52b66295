//! Peers that the shard never came to know.
//!
//! Always holds: each of them is counted under its reason. Lines for the log wait here until the driver takes them; beyond
//! [`LINES_MAX`] of them there are only the counters.

use super::connections::Connections;
use super::peer::RefusedPeer;
use crate::ids::ConnectionId;
use crate::telemetry::CloseReason;

/// A driver takes them after each event, which leads to one or to as many as have run out of time.
const LINES_MAX: usize = 1024;

impl Connections {
    /// Counts a peer that is refused before the shard knows it, and has a line for it.
    pub(super) fn refuse(&mut self, id: ConnectionId, reason: CloseReason, text: &'static str) {
        self.refuse_peer(RefusedPeer { peer: self.peer(id), reason, text, level: None, client_id: None });
    }

    pub(super) fn refuse_peer(&mut self, refused: RefusedPeer) {
        self.counters.closed(refused.reason);
        if self.refused.len() < LINES_MAX {
            self.refused.push(refused);
        }
    }

    /// Those that were refused since this was last asked.
    pub fn refused(&mut self) -> impl Iterator<Item = RefusedPeer> + '_ {
        self.refused.drain(..)
    }
}
