//! Who is heard again, where several things may hold one client.
//!
//! Always holds: whatever ends what a client waits for asks here; a client is heard when nothing holds it any more. Until then it is not
//! silent, and from then on it has all of its keep alive.
//! Leaves to others: what holds it (`requests`, `room`, `full_disk`, `crowd`, `held_packets`, `pauses`), and bytes that come meanwhile (`conn`).

use super::clients::Clients;
use super::{Effect, Turn};
use crate::ids::SessionId;

impl Clients {
    /// Whether nothing holds a client that is connected.
    pub(super) fn is_heard(&self, id: SessionId) -> bool {
        let link = self.sessions.try_get(id).and_then(|session| session.link.as_deref());
        link.is_some_and(|link| !link.is_held()) && !self.is_paused_as_publisher(id)
    }

    /// Something that held a client is over: it is heard again, unless something else holds it.
    pub(super) fn hear_again(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        if !self.is_heard(id) {
            return;
        }
        let link = self.sessions.get_mut(id).link.as_deref_mut().expect("who is heard has one");
        link.note_received(turn.now);
        turn.fx.list.push(Effect::Resume { connection: link.connection });
    }
}
