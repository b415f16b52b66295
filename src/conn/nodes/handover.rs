//! Accepted links on their way to the shard that hears them.
//!
//! Always holds: whichever shard has accepted it, shard s of another node is heard by shard s modulo the number of ours. So each shard of ours
//! has one link from each of theirs that it hears, and what it was told before is known where it is told more.
//! Leaves to others: the way (`conn/handover`).

use crate::conn::connection::{Connection, Phase};
use crate::conn::connections::{Connections, InputHandler};
use crate::conn::handed_over::{ArrivedLink, HandedOver};
use crate::conn::layers::Wire;
use crate::ids::{ConnectionId, INTERNAL_LISTENER, ShardId, SocketId};

impl Connections {
    /// The peer of an accepted link is known, and another shard hears it. `rest` came behind its proof.
    pub(super) fn hand_link_over(&mut self, id: ConnectionId, hearer: ShardId, rest: &[u8]) {
        let Some(connection) = self.table.get(id) else { return };
        let link = ArrivedLink { rest: rest.to_vec(), peer: connection.peer, wire: Wire::Plain };
        self.begin_handover(id, hearer, HandedOver::Link(Box::new(link)));
    }

    /// A link that another shard has accepted.
    pub(in crate::conn) fn adopt_link(&mut self, core: &mut impl InputHandler, socket: SocketId, link: ArrivedLink) {
        let ArrivedLink { rest, peer, wire } = link;
        if self.links.is_none() {
            return self.close_unused(socket); // the broker stops
        }
        let mut connection = Connection::new(socket, Phase::AwaitingPeer, wire);
        connection.listener = INTERNAL_LISTENER;
        connection.peer = peer;
        let has_words = connection.has_words();
        let id = self.table.insert(connection);
        if has_words {
            self.mark_dirty(id);
        }
        self.take_link_bytes(core, id, &rest);
        self.finish_layers(core, id);
        self.receive_again(id);
    }

    /// Whether it is to be handed over, and its socket has not taken what its layers have said.
    pub(super) fn is_held_link(&self, id: ConnectionId) -> bool {
        self.held_handovers.get(&id).is_some_and(|(_, handed_over)| handed_over.is_link())
    }
}
