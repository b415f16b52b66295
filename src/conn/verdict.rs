//! Connections whose CONNECT waits for somebody else's verdict.
//!
//! Always holds: what the client sends behind CONNECT is kept, not heard, and bounded by what one receive brings: when that
//! has come, nothing more is received until the verdict. Until then the one receive also shows whether the peer goes away;
//! what it had sent before is heard before its end.

use super::connection::{Hearing, Phase};
use super::connections::{Connections, InputHandler};
use super::operation::Operation;
use super::receiving::feed_shard;
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

    /// The shard has let a client in that waited. What it has sent is heard with [`Self::hear_resumed`].
    pub(super) fn resume(&mut self, id: ConnectionId) {
        self.resumed.push_back(id);
    }

    /// Hears the next client that has waited and was let in. Returns whether there was one; to be asked before the rest of
    /// what has been received is handled.
    pub fn hear_resumed(&mut self, core: &mut impl InputHandler) -> bool {
        if self.is_paused {
            return false;
        }
        let Some(id) = self.resumed.pop_front() else { return false };
        let Some(connection) = self.table.get_mut(id) else { return true };
        let Phase::AwaitingVerdict(hearing) = connection.phase else { return true };
        connection.phase = Phase::Open;
        let kept = connection.partial.take();
        if hearing == Hearing::Nothing {
            self.operations.push_back(Operation::Receive { socket: connection.socket, connection: id });
        }
        if let Some(kept) = kept {
            feed_shard(core, id, connection, &kept, self.config.settings.packet_size_max_bytes);
        }
        if hearing == Hearing::Ended {
            core.handle(Input::Closed { connection: id });
        }
        true
    }
}
