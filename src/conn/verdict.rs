//! Connections whose CONNECT waits for somebody else's verdict, and connections that are heard again after a wait.
//!
//! Always holds: what the client sends behind CONNECT is kept, not heard, and bounded by what one receive brings: when that
//! has come, nothing more is received until the verdict. Until then the one receive also shows whether the peer goes away;
//! what it had sent before is heard before its end.
//!
//! A client whose last packet takes its shard several turns is held by `budget`: what it has sent behind that packet is kept in
//! the buffers that it came in, and the rest of the one buffer here. So is one whose messages have led to as many deliveries as a turn
//! makes, until the next turn.

use super::budget::{Deferred, DeferredEvent};
use super::connection::{Hearing, Phase};
use super::connections::{Connections, InputHandler};
use super::operation::{Operation, ReceiveEnd};
use super::receiving::{Fed, FeedLimits, feed_shard};
use crate::ids::ConnectionId;
use crate::shard::Input;

impl Connections {
    /// The shard has asked about the CONNECT that it was told: what came behind it is kept.
    pub(super) fn await_verdict(&mut self, id: ConnectionId, rest: &[u8]) {
        let Some(connection) = self.table.get_mut(id) else { return };
        connection.phase = Phase::AwaitingVerdict(Hearing::Once);
        if !rest.is_empty() {
            connection.partial.extend(rest);
        }
    }

    /// Bytes of a client that waits.
    pub(super) fn keep_until_verdict(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.table.get_mut(id) else { return };
        if bytes.is_empty() {
            return; // a layer is not through with them
        }
        connection.partial.extend(bytes);
        connection.phase = Phase::AwaitingVerdict(Hearing::Nothing);
    }

    /// The peer sends no more. Returns whether that is kept, too: behind what it has sent.
    pub(super) fn keep_end(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.table.get_mut(id) else { return false };
        let is_kept = !connection.partial.is_empty();
        if is_kept {
            connection.phase = Phase::AwaitingVerdict(Hearing::Ended);
        }
        is_kept
    }

    /// What a client waited for has happened. What it has sent is heard with [`Self::hear_resumed`].
    pub(super) fn resume(&mut self, id: ConnectionId) {
        self.resumed.push_back(id);
    }

    /// Hears the next client, or link, that has waited. Returns whether there was one; to be asked before the rest of what has been
    /// received is handled.
    pub fn hear_resumed(&mut self, core: &mut impl InputHandler) -> bool {
        if self.is_paused {
            return false;
        }
        let Some(id) = self.resumed.pop_front() else { return false };
        let Some(connection) = self.table.get_mut(id) else { return true };
        let hearing = match connection.phase {
            Phase::AwaitingVerdict(hearing) => Some(hearing),
            Phase::Open => None, // it was held
            Phase::Link => {
                self.hear_link_on(core, id);
                return true;
            }
            _ => return true,
        };
        connection.phase = Phase::Open;
        let kept = connection.partial.take();
        if hearing == Some(Hearing::Nothing) {
            self.operations.push_back(Operation::Receive { socket: connection.socket, connection: id });
        }
        let limits = FeedLimits { settings: &self.config.settings, bounds: &self.packet_bounds };
        let fed = kept.map_or(Fed::All, |kept| feed_shard(core, id, connection, &kept, limits));
        match fed {
            Fed::All => self.budgets.release(id),
            Fed::Held | Fed::Spent => self.keep_back(id, fed),
        }
        match (hearing, fed) {
            (Some(Hearing::Ended), Fed::All) => core.handle(Input::Closed { connection: id }),
            (None, Fed::All) => self.finish_layers(core, id),
            (Some(Hearing::Ended), Fed::Held | Fed::Spent) => {
                let what = DeferredEvent::Ended(ReceiveEnd::PeerGone);
                self.budgets.defer(Deferred { connection: id, what });
            }
            _ => {}
        }
        true
    }
}
