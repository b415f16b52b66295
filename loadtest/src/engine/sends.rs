//! The end of a turn: what was written goes out, and what was ordered of the plane is done.

use super::client::{State, take_blocked};
use super::crew::{Crew, Goodbye, Order};
use super::error::{EngineError, broken};
use super::turn::Turn;
use crate::plan::DropHow;
use bytes::Bytes;
use dunlin::ids::ConnectionId;
use dunlin::ring::{ShortSend, UnderWay, monotonic_ns};

impl Turn {
    /// Sends what was written, each client's in one piece.
    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        let Crew { outbox, clients, tally, .. } = &mut self.crew;
        if outbox.is_empty() {
            return Ok(());
        }
        outbox.join();
        let arena = &outbox.arena;
        outbox.pieces.retain(|piece| {
            let state = &mut clients[piece.client as usize];
            match state.busy.as_mut().and_then(|busy| busy.blocked.as_mut()) {
                Some(blocked) => {
                    blocked.extend_from_slice(&arena[piece.start..piece.end]);
                    false
                }
                None => state.socket.is_some(),
            }
        });
        if !self.transport.is_plain() {
            let transport = &mut self.transport;
            outbox.seal(|client, plain, out| {
                let is_last = clients[client as usize].state == State::Away;
                transport.seal(client, plain, is_last, out);
            });
        }
        let arena = &outbox.arena;
        let pieces = &outbox.pieces;
        let total: usize = pieces.iter().map(|piece| piece.end - piece.start).sum();
        let short = self
            .plane
            .flush(|batch| {
                for piece in pieces {
                    let state = &clients[piece.client as usize];
                    if let Some(socket) = state.socket {
                        batch.send(socket, state.connection(piece.client), &arena[piece.start..piece.end]);
                    }
                }
            })
            .map_err(broken)?;
        let short: Vec<ShortSend> = if short.is_empty() { Vec::new() } else { short.to_vec() };
        tally.outcome.traffic.bytes_sent += total as u64;
        for one in short {
            self.keep_rest(one);
        }
        self.crew.outbox.clear();
        Ok(())
    }

    /// What a send left over is the kernel's to finish; the client writes behind it meanwhile.
    fn keep_rest(&mut self, short: ShortSend) {
        let client = short.connection.slot;
        let Some(piece) = self.crew.outbox.pieces.iter().find(|piece| piece.client == client).copied() else { return };
        let rest = &self.crew.outbox.arena[piece.start + short.sent..piece.end];
        self.crew.tally.outcome.traffic.bytes_sent -= rest.len() as u64;
        if let Some(error) = short.error {
            self.crew.end_by_error(client, error);
            return;
        }
        let bytes = Bytes::copy_from_slice(rest);
        let state = &mut self.crew.clients[client as usize];
        let Some(socket) = state.socket else { return };
        state.busy().blocked = Some(Vec::new());
        self.plane.send_rest(socket, short.connection, bytes);
    }

    /// Returns whether there were any.
    pub(super) fn carry_out_orders(&mut self) -> bool {
        let any = !self.crew.orders.is_empty();
        for order in std::mem::take(&mut self.crew.orders) {
            match order {
                Order::Close { client, by, connecting } => self.close(client, by, connecting),
                Order::Retry { client } => self.retries.push_back((monotonic_ns() + self.retry_after_ns, client)),
                Order::Slow { client } | Order::Stall { client } => {
                    let state = &self.crew.clients[client as usize];
                    if let (Some(socket), true) = (state.socket, state.receiving) {
                        self.plane.stop_receiving(socket, state.connection(client));
                    }
                }
            }
        }
        any
    }

    fn close(&mut self, client: u32, by: Goodbye, connecting: bool) {
        let state = &mut self.crew.clients[client as usize];
        let connection = state.connection(client);
        let Some(socket) = state.socket.take() else { return };
        self.transport.forget(client);
        let under_way = match (connecting || state.is_blocked(), state.receiving) {
            (true, _) => UnderWay::Anything,
            (false, true) => UnderWay::Receive(connection),
            (false, false) => UnderWay::Nothing,
        };
        state.receiving = false;
        if let Some(busy) = &mut state.busy {
            busy.blocked = None;
        }
        state.tidy();
        if by == Goodbye::Reset {
            self.plane.abort(socket, under_way);
        } else {
            self.plane.close(socket, under_way);
        }
    }

    pub(super) fn send_blocked(&mut self, connection: ConnectionId) {
        let state = &mut self.crew.clients[connection.slot as usize];
        let (Some(socket), Some(busy)) = (state.socket, state.busy.as_mut()) else { return };
        if let Some(bytes) = take_blocked(busy) {
            let bytes = self.transport.sealed(connection.slot, bytes);
            self.plane.send_rest(socket, connection, bytes);
        } else {
            self.send_own(connection.slot);
            self.crew.make_eager(connection.slot);
        }
    }

    /// DISCONNECT to all that are connected.
    pub(super) fn say_goodbye(&mut self) -> Result<(), EngineError> {
        for client in 0..self.crew.cast.clients {
            if self.crew.clients[client as usize].state == State::Live {
                let before = self.crew.tally.outcome.connections.dropped;
                self.crew.part(client, DropHow::Disconnect);
                self.crew.tally.outcome.connections.dropped = before;
            }
        }
        self.flush()?;
        // The plane's end closes them all at once; one by one, each close would look for its receive among all others.
        self.crew.orders.clear();
        self.plane.submit().map_err(broken)
    }
}
