//! How a connection ends: its last words leave, then it closes.
//!
//! A peer that is told why it is refused or closed (CONNACK, DISCONNECT) gets FIN behind that, and time to read it: closing
//! a socket with unread bytes in it would reset the connection and could take the words back. So does a peer that is to answer a
//! layer's goodbye.

use super::connection::{Connection, Fin, Phase};
use super::connections::Connections;
use super::operation::Operation;
use crate::ids::ConnectionId;
use crate::limits::LINGER_MS;
use crate::telemetry::CloseReason;
use crate::time::Now;

impl Connections {
    /// Ends a connection that the shard never knew, with last words.
    pub(super) fn linger_with(&mut self, id: ConnectionId, reason: CloseReason, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(connection) = self.table.get_mut(id) else { return };
        let mut outbox = self.pool.pop().unwrap_or_default();
        write(outbox.bytes_mut());
        connection.phase = Phase::Lingering(reason);
        connection.wire.end(reason);
        self.lingering.push(id);
        let unused = if outbox.is_empty() { Some(outbox) } else { connection.outbox.replace(outbox) };
        let has_words = connection.has_words();
        if let Some(unused) = unused {
            self.release(unused);
        }
        if has_words {
            self.mark_dirty(id);
        }
    }

    /// Takes the next step with every connection that is to close.
    pub(super) fn linger(&mut self, now: Now) {
        for id in std::mem::take(&mut self.lingering) {
            let Some(connection) = self.table.get_mut(id) else { continue };
            let Phase::Lingering(reason) = connection.phase else { continue };
            if reason == CloseReason::SocketClosed && !connection.wire.has_own_bytes() {
                self.close(id); // there is nobody to hear anything
                continue;
            }
            if connection.socket.is_none() && !connection.has_words() {
                self.close(id); // it has no end that a peer could see
            } else if connection.rest_bytes > 0 {
                // Words are under way, and the last of them perhaps behind those; `sent` brings it back here.
                self.linger_deadlines.push_back((now.after_ms(LINGER_MS), id));
            } else if connection.has_words() {
                self.lingering.push(id); // its last words go with the next flush
            } else if connection.fin == Fin::NotSent && has_time(connection, reason) {
                connection.fin = Fin::UnderWay;
                let socket = connection.socket;
                self.operations.push_back(Operation::FinishSending { socket, connection: id });
                self.linger_deadlines.push_back((now.after_ms(LINGER_MS), id));
            } else if connection.fin == Fin::NotSent {
                self.close(id);
            }
        }
    }

    /// FIN has been sent: the socket may be closed, now or when the peer's comes.
    pub fn finished(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.get_mut(id) else { return };
        let closes = connection.fin == Fin::UnderWayThenClose;
        connection.fin = Fin::Sent;
        if closes {
            self.close(id);
        }
    }

    /// The peer has had its time to read the last words.
    pub(super) fn end_lingering(&mut self, id: ConnectionId) {
        match self.table.get_mut(id) {
            Some(connection) if matches!(connection.fin, Fin::UnderWay | Fin::UnderWayThenClose) => {
                connection.fin = Fin::UnderWayThenClose;
            }
            Some(_) => {
                let Some(connection) = self.table.remove(id) else { return };
                self.uncount(connection.listener);
                self.note_shaken(connection.listener, id);
                self.forget_peer(id, &connection);
                let under_way = connection.under_way(id);
                self.operations.push_back(Operation::Abort { socket: connection.socket, under_way });
            }
            None => {}
        }
    }
}

/// Whether the socket stays until the peer has closed, or has had its time to.
fn has_time(connection: &Connection, reason: CloseReason) -> bool {
    is_told(reason) || reason != CloseReason::ServerShutdown && connection.wire.awaits_goodbye()
}

/// Whether the peer hears why it is cut off, and so needs time to read it. When the broker stops, all of them are told
/// at once and have read all they sent: a plain close delivers it.
const fn is_told(reason: CloseReason) -> bool {
    !matches!(
        reason,
        CloseReason::ClientDisconnect
            | CloseReason::ClientDisconnectWithWill
            | CloseReason::SocketClosed
            | CloseReason::ServerShutdown
    )
}
