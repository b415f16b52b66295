//! Connections of the broker's own services: bridges, sinks and sources, each over a pair of sockets inside the process.
//!
//! Always holds: they are no listener's, and no limit of connections counts them: each was configured by name.

use super::connection::{Connection, Phase};
use super::connections::{Connections, ListenerEntry};
use super::layers::Wire;
use super::operation::Operation;
use crate::ids::{INTERNAL_LISTENER, SocketId};

impl Connections {
    /// A service of this process has connected.
    pub fn accepted_internal(&mut self, socket: SocketId) {
        self.counters.sockets += 1;
        let mut connection = Connection::new(socket, Phase::AwaitingConnect, Wire::Plain);
        connection.listener = INTERNAL_LISTENER;
        let id = self.table.insert(connection);
        self.operations.push_back(Operation::ReceiveOnce { socket, connection: id });
    }

    /// The listener that connections with this index have come by.
    pub(super) fn entry(&self, listener: u8) -> &ListenerEntry {
        if listener == INTERNAL_LISTENER { &self.internal } else { &self.listeners[usize::from(listener)] }
    }
}
