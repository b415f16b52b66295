//! The broker stops: connections are closed, so many a tick.

use super::{Shard, Turn};
use crate::codec::ReasonCode;
use crate::ids::SessionId;
use crate::limits::CLOSED_PER_TICK;
use crate::telemetry::CloseReason;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// Nobody has asked for it.
    No,
    /// Connections are being closed; those of sessions below this slot are.
    Closing(u32),
    /// Nobody is connected any more, and nobody comes in.
    Closed,
}

impl Shard {
    /// Goes on with closing connections, so many a tick.
    pub(super) fn close_for_shutdown(&mut self, turn: &mut Turn<'_>) {
        let Shutdown::Closing(from) = self.shutdown else { return };
        self.refuse_pending(turn);
        let slots = self.clients.sessions.slots();
        let (mut next, mut closed) = (from, 0);
        while next < slots.min(from.saturating_add(SLOTS_PER_TICK)) && closed < CLOSED_PER_TICK {
            let id = SessionId(next);
            next += 1;
            if self.clients.sessions.try_get(id).is_some_and(|session| session.link.is_some()) {
                closed += 1;
                // A will that this publishes may reach sessions that are still to be told.
                let reason = ReasonCode::ServerShuttingDown;
                self.close(turn, id, reason, CloseReason::ServerShutdown, "the broker stops");
            }
        }
        let is_done = next >= slots && self.pending.is_empty();
        self.shutdown = if is_done { Shutdown::Closed } else { Shutdown::Closing(next) };
    }
}

/// Slots of the table of sessions that one tick looks at where all of them have to be.
pub(super) const SLOTS_PER_TICK: u32 = 4_096;
