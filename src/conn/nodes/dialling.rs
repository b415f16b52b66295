//! Connections that this node opens, until they have sockets.
//!
//! Always holds: a connection without a socket is asked for nothing but to be given up, and is told nothing but how it ended.

use core::net::SocketAddr;

use crate::cluster::LinkSide;
use crate::conn::connection::{Connection, Phase};
use crate::conn::connections::Connections;
use crate::conn::layers::Wire;
use crate::conn::operation::Operation;
use crate::conn::peer::Peer;
use crate::ids::{ConnectionId, INTERNAL_LISTENER, PeerAddress, SocketId};
use crate::limits::{LINK_DIAL_MS, LINK_HELLO_MS};
use crate::telemetry::CloseReason;
use crate::time::Now;

impl Connections {
    /// Connects to where another node accepts links. `None` without a cluster.
    pub(in crate::conn) fn dial(&mut self, now: Now, to: SocketAddr) -> Option<ConnectionId> {
        let links = self.links.as_deref_mut()?;
        let mut connection = Connection::new(SocketId::NONE, Phase::Dialling, Wire::Plain);
        connection.listener = INTERNAL_LISTENER;
        connection.peer = Peer::from(PeerAddress::Ip(to));
        let id = self.table.insert(connection);
        links.dialling.push_back((now.after_ms(LINK_DIAL_MS), id));
        links.dialled.push_back((now.after_ms(LINK_HELLO_MS), id));
        self.operations.push_back(Operation::Dial { to, connection: id });
        Some(id)
    }

    /// How [`Operation::Dial`] ended: with a socket, or with the system's error number.
    pub fn connected(&mut self, id: ConnectionId, result: Result<SocketId, i32>) {
        let dialling = self.table.get_mut(id).filter(|connection| connection.phase == Phase::Dialling);
        let (connection, links) = match (dialling, self.links.as_deref_mut(), result) {
            (Some(connection), Some(links), Ok(socket)) => {
                connection.socket = socket;
                (connection, links)
            }
            (_, _, Ok(socket)) => return self.close_unused(socket),
            (Some(connection), _, Err(errno)) => {
                connection.phase = Phase::AwaitingPeer; // there is nothing left to be given up
                return self.end_link(id, CloseReason::LinkUnreachable, text_of(errno));
            }
            (None, _, Err(_)) => return,
        };
        connection.phase = Phase::AwaitingPeer;
        let to = connection.peer.ip().expect("nodes are dialled by address");
        connection.wire = links.terms.dials.begin(to).with_link(links.layer(LinkSide::Dials));
        #[cfg(feature = "tls")]
        self.begin_handshake(id);
        if self.table.get(id).is_some_and(|connection| !connection.wire.is_away()) {
            self.mark_dirty(id); // else what it says first comes with the handshake
        }
        self.receive_again(id);
    }
}

/// Linux's numbers for why a connection was not made.
const fn text_of(errno: i32) -> &'static str {
    match errno {
        23 | 24 => "there is no descriptor left for a connection to it",
        101 | 113 => "no way leads there",
        110 => "it does not answer",
        111 => "nobody accepts connections where it should",
        _ => "the system makes no connection to it",
    }
}
