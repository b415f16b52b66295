//! How a connection ends: its last words leave, then it closes.
//!
//! A peer that is told why it is cut off (CONNACK, DISCONNECT) gets FIN behind that, and time to read it: closing a
//! socket with unread bytes in it would reset the connection and could take the words back.

use super::edge::Edge;
use super::table::{Fin, Phase};
use crate::ids::ConnectionId;
use crate::limits::PARTING_MS;
use crate::telemetry::CloseReason;
use crate::time::Now;

impl Edge {
    /// Lets a connection go that the shard never knew, with last words.
    pub(super) fn part_with(&mut self, token: ConnectionId, reason: CloseReason, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(connection) = self.table.get_mut(token) else { return };
        let mut outbox = self.pool.pop().unwrap_or_default();
        write(outbox.bytes_mut());
        connection.phase = Phase::Parting(reason);
        self.partings.push(token);
        if outbox.len() == 0 {
            self.recycle(outbox);
            return;
        }
        connection.outbox = Some(outbox);
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(token);
        }
    }

    /// Takes the next step with every connection that was let go.
    pub(super) fn part(&mut self, now: Now) {
        for token in std::mem::take(&mut self.partings) {
            let Some(connection) = self.table.get_mut(token) else { continue };
            let Phase::Parting(reason) = connection.phase else { continue };
            if reason == CloseReason::SocketClosed {
                self.close(token); // there is nobody to hear anything
                continue;
            }
            if connection.outbox.is_some() {
                self.partings.push(token); // its last words go with the next flush
            } else if connection.rest_bytes > 0 {
                // They are under way; `handle_sent` brings it back here.
                self.lingering.push_back((now.after_ms(PARTING_MS), token));
            } else if is_told(reason) && connection.fin == Fin::NotSent {
                connection.fin = Fin::UnderWay;
                let socket = connection.socket;
                self.plane.finish_sending(socket, token);
                self.lingering.push_back((now.after_ms(PARTING_MS), token));
            } else if connection.fin == Fin::NotSent {
                self.close(token);
            }
        }
    }
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
