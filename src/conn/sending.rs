//! Outboxes to sockets: once a turn, every connection that has something to send.

use super::connection::Phase;
use super::connections::{Connections, InputHandler};
use super::layers::Wire;
use super::operation::{Operation, ShortSent};
use super::outbox::Outbox;
use crate::ids::{ConnectionId, SocketId};
use crate::shard::Input;

/// Whose outboxes the sockets are being given. It ends with [`Connections::finish_flush`].
#[derive(Debug)]
#[must_use = "outboxes are given back and short sends continued only by `finish_flush`"]
pub struct Flush {
    dirty: Vec<ConnectionId>,
    shard_was_told: bool,
}

impl Flush {
    /// Whether the shard has been told something, and may have something to do.
    pub const fn shard_was_told(&self) -> bool {
        self.shard_was_told
    }
}

impl Connections {
    /// Begins a flush: [`Self::sends`] says what the sockets are to be given.
    pub fn begin_flush(&mut self, core: &mut impl InputHandler) -> Flush {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut shard_was_told = self.has_datagram_peers() && self.flush_datagrams(core, &mut dirty);
        // Behind a send that is still under way, or held: waits for the end of that, which puts it back on the list.
        dirty.retain(|&id| match self.table.get_mut(id) {
            Some(connection) if connection.rest_bytes > 0 || connection.is_held => {
                connection.is_dirty = false;
                let bytes = connection.waiting_bytes();
                core.handle(Input::Blocked { connection: id, bytes });
                shard_was_told = true;
                false
            }
            Some(connection) => {
                if connection.has_words()
                    && let Wire::Layered(layers) = &mut connection.wire
                {
                    let outbox = connection.outbox.get_or_insert_with(|| self.pool.pop().unwrap_or_default());
                    layers.seal(outbox, &mut self.plain);
                }
                connection.is_dirty = connection.outbox.is_some();
                connection.is_dirty
            }
            None => false,
        });
        Flush { dirty, shard_was_told }
    }

    /// What the sockets are to be given.
    pub fn sends<'a>(&'a self, flush: &'a Flush) -> impl Iterator<Item = (ConnectionId, SocketId, &'a Outbox)> {
        flush.dirty.iter().filter_map(|&id| {
            let connection = self.table.get(id)?;
            Some((id, connection.socket, connection.outbox.as_deref()?))
        })
    }

    /// Ends a flush: what did not leave is continued, and outboxes that are empty are given back.
    pub fn finish_flush(&mut self, core: &mut impl InputHandler, flush: Flush, short: impl Iterator<Item = ShortSent>) {
        let Flush { mut dirty, .. } = flush;
        self.counters.bytes_sent += self.sn.forget_sent();
        core.handle(Input::Flushed);
        // These first: it leaves the others, which were sent whole, with their outboxes.
        for short in short {
            self.handle_short_sent(core, short);
        }
        for &id in &dirty {
            let Some(connection) = self.table.get_mut(id) else { continue };
            connection.is_dirty = false;
            if let Some(outbox) = connection.outbox.take() {
                self.counters.bytes_sent += outbox.len() as u64;
                self.release(outbox);
            }
        }
        dirty.clear();
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
        if !self.lingering.is_empty() {
            self.linger(core.now());
        }
    }

    /// The socket took less than it was given.
    fn handle_short_sent(&mut self, core: &mut impl InputHandler, short: ShortSent) {
        let id = short.connection;
        let Some(connection) = self.table.get_mut(id) else { return };
        let Some(outbox) = connection.outbox.take() else { return };
        self.counters.bytes_sent += short.sent as u64;
        if short.broken {
            self.release(outbox);
            self.handle_broken(core, id);
            return;
        }
        let rest = outbox.into_rest(short.sent);
        connection.rest_bytes = rest.len() as u32;
        let socket = connection.socket;
        core.handle(Input::Blocked { connection: id, bytes: rest.len() as u32 });
        self.operations.push_back(Operation::Send { socket, connection: id, bytes: rest });
    }

    /// The kernel has sent, or given up on, what an earlier flush left over.
    pub fn sent(&mut self, core: &mut impl InputHandler, id: ConnectionId, broken: bool) {
        let Some(connection) = self.table.get_mut(id) else { return };
        self.counters.bytes_sent += u64::from(connection.rest_bytes);
        connection.rest_bytes = 0;
        if broken {
            self.handle_broken(core, id);
            return;
        }
        let (has_more, phase) = (connection.has_words(), connection.phase);
        if has_more {
            self.mark_dirty(id);
        }
        match phase {
            Phase::Lingering(_) => self.lingering.push(id),
            Phase::HandingOver => return self.begin_held_handover(id),
            _ => {}
        }
        // What waits in the outbox is offered to the socket in this turn's flush; if it takes it, nothing is blocked.
        core.handle(Input::Blocked { connection: id, bytes: 0 });
    }

    /// Nothing can be sent any more. A shard that knows the connection hears that it is gone.
    fn handle_broken(&mut self, core: &mut impl InputHandler, id: ConnectionId) {
        if let Some(connection) = self.table.get_mut(id) {
            connection.wire.silence();
        }
        match self.table.get(id).map(|connection| connection.phase) {
            Some(Phase::Open | Phase::AwaitingVerdict(_)) => core.handle(Input::Closed { connection: id }),
            Some(Phase::AwaitingPeer | Phase::Link) => self.end_gone_link(id),
            Some(_) => self.close(id),
            None => {}
        }
    }
}
