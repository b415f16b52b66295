//! The handshakes of one shard that are to be run.
//!
//! Always holds: at most [`TLS_HANDSHAKES_MAX`] are with whoever runs them; the rest waits here in its order, without those
//! whose connections have gone; and while any waits, no connection is accepted.

use std::collections::VecDeque;

use super::operation::{Operation, Operations};
use super::tls::Handshake;
use crate::ids::ConnectionId;
use crate::limits::TLS_HANDSHAKES_MAX;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    away: usize,
    waiting: VecDeque<(ConnectionId, Box<Handshake>)>,
}

impl Handshakes {
    /// Has one run, now or when another is back.
    pub(super) fn begin(&mut self, id: ConnectionId, handshake: Box<Handshake>, operations: &mut Operations) {
        self.waiting.push_back((id, handshake));
        self.go_on(operations);
    }

    /// One is back.
    pub(super) fn end(&mut self, operations: &mut Operations) {
        self.away -= 1;
        self.go_on(operations);
    }

    /// Whether so many are under way that nobody else is to come in.
    pub(super) const fn is_full(&self) -> bool {
        self.away >= TLS_HANDSHAKES_MAX
    }

    fn go_on(&mut self, operations: &mut Operations) {
        while !self.is_full()
            && let Some((connection, handshake)) = self.waiting.pop_front()
        {
            if handshake.is_wanted() {
                self.away += 1;
                operations.push_back(Operation::Handshake { connection, handshake });
            }
        }
    }
}
