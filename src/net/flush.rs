//! Outboxes to sockets: once a turn, every connection that has something to send, one entry into the kernel for all, which
//! is also the one that waits for more to do where there is nothing else.

use crate::ids::{ConnectionId, SocketId};
use std::io::IoSlice;

use super::edge::Edge;
use super::outbox::Outbox;
use super::table::Phase;
use crate::ring::{Batch, RingError, ShortSend};
use crate::shard::{Effects, Input, Shard, Turn};
use crate::time::Now;

/// What was offered to the sockets and is to be settled: [`Edge::settle_offer`].
#[must_use = "outboxes are given back and short sends continued only by `settle_offer`"]
pub struct Offer {
    dirty: Vec<ConnectionId>,
    short: Vec<ShortSend>,
}

impl Edge {
    /// Gives the sockets what they take. What they do not take waits in the kernel's hands, and the shard is told how
    /// much that is.
    pub fn flush(&mut self, now: Now, shard: &mut Shard, fx: &mut Effects) -> Result<(), RingError> {
        let offer = self.offer(now, None::<fn() -> bool>, shard, fx)?;
        self.settle_offer(now, offer, shard, fx);
        Ok(())
    }

    /// The first half of a flush: every outbox to its socket. With `is_quiet` it goes on to wait for the next event, or for
    /// a wake-up that makes `is_quiet` false: for when there is nothing to do but to send.
    pub fn offer(
        &mut self,
        now: Now,
        is_quiet: Option<impl FnOnce() -> bool>,
        shard: &mut Shard,
        fx: &mut Effects,
    ) -> Result<Offer, RingError> {
        let mut dirty = std::mem::take(&mut self.dirty);
        let wanted = dirty.len();
        // Behind a send that is still under way: waits for its end, which puts it back on the list.
        dirty.retain(|&token| match self.table.get_mut(token) {
            Some(connection) if connection.rest_bytes > 0 => {
                connection.dirty = false;
                let bytes = connection.waiting_bytes();
                report(now, token, bytes, shard, fx);
                false
            }
            Some(connection) => connection.outbox.is_some(),
            None => false,
        });
        // What the shard was told just now may have given it something to do.
        let is_quiet = is_quiet.filter(|_| dirty.len() == wanted);
        let short = self.send(&dirty, is_quiet)?;
        Ok(Offer { dirty, short })
    }

    /// The second half: what did not leave is continued, and outboxes that are empty are given back.
    pub fn settle_offer(&mut self, now: Now, offer: Offer, shard: &mut Shard, fx: &mut Effects) {
        let Offer { mut dirty, short } = offer;
        shard.handle(&mut Turn { now, fx }, Input::Flushed);
        // These first: it leaves the others, which were sent whole, with their outboxes.
        for short in short {
            self.handle_short_send(now, short, shard, fx);
        }
        for &token in &dirty {
            let Some(connection) = self.table.get_mut(token) else { continue };
            connection.dirty = false;
            if let Some(outbox) = connection.outbox.take() {
                self.counters.bytes_sent += outbox.len() as u64;
                self.recycle(outbox);
            }
        }
        dirty.clear();
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
        self.part(now);
    }

    fn send(
        &mut self,
        dirty: &[ConnectionId],
        is_quiet: Option<impl FnOnce() -> bool>,
    ) -> Result<Vec<ShortSend>, RingError> {
        let Self { plane, table, .. } = self;
        let table = &*table;
        let sends = || {
            dirty.iter().filter_map(|&token| {
                let connection = table.get(token)?;
                Some((token, connection.socket, connection.outbox.as_deref()?))
            })
        };
        // Only outboxes with payloads by reference need pieces; mostly there is none.
        let pieces: Vec<Vec<IoSlice<'_>>> = sends()
            .filter(|(_, _, outbox)| outbox.contiguous().is_none())
            .map(|(_, _, outbox)| outbox.pieces())
            .collect();
        let short = match is_quiet {
            Some(is_quiet) => plane.flush_and_wait(is_quiet, |batch| queue(batch, sends(), &pieces))?,
            None => plane.flush(|batch| queue(batch, sends(), &pieces))?,
        };
        Ok(short.to_vec())
    }

    /// The socket took less than it was given.
    fn handle_short_send(&mut self, now: Now, short: ShortSend, shard: &mut Shard, fx: &mut Effects) {
        let token = short.connection;
        let Some(connection) = self.table.get_mut(token) else { return };
        let Some(outbox) = connection.outbox.take() else { return };
        self.counters.bytes_sent += short.sent as u64;
        if short.error.is_some() {
            self.recycle(outbox);
            self.handle_broken(now, token, shard, fx);
            return;
        }
        let rest = outbox.into_rest(short.sent);
        connection.rest_bytes = rest.len() as u32;
        let socket = connection.socket;
        report(now, token, rest.len() as u32, shard, fx);
        self.plane.send_rest(socket, token, rest);
    }

    /// The kernel has sent, or given up on, what an earlier flush left over.
    pub(super) fn handle_sent(
        &mut self,
        now: Now,
        token: ConnectionId,
        broken: bool,
        shard: &mut Shard,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.table.get_mut(token) else { return };
        self.counters.bytes_sent += u64::from(connection.rest_bytes);
        connection.rest_bytes = 0;
        if broken {
            self.handle_broken(now, token, shard, fx);
            return;
        }
        if connection.outbox.is_some() {
            if !connection.dirty {
                connection.dirty = true;
                self.dirty.push(token);
            }
        } else if matches!(connection.phase, Phase::Parting(_)) {
            self.partings.push(token);
        }
        // What waits in the outbox is offered to the socket in this turn's flush; if it takes it, nothing is blocked.
        report(now, token, 0, shard, fx);
    }

    /// Nothing can be sent any more. A shard that knows the connection hears that it is gone.
    fn handle_broken(&mut self, now: Now, token: ConnectionId, shard: &mut Shard, fx: &mut Effects) {
        match self.table.get(token).map(|connection| connection.phase) {
            Some(Phase::Open) => shard.handle(&mut Turn { now, fx }, Input::Closed { connection: token }),
            Some(_) => self.close(token),
            None => {}
        }
    }
}

fn queue<'env>(
    batch: &mut Batch<'_, 'env>,
    sends: impl Iterator<Item = (ConnectionId, SocketId, &'env Outbox)>,
    pieces: &'env [Vec<IoSlice<'env>>],
) {
    let mut pieces = pieces.iter();
    for (token, socket, outbox) in sends {
        match outbox.contiguous() {
            Some(bytes) => batch.send(socket, token, bytes),
            None => batch.send_vectored(socket, token, pieces.next().expect("made for each of them")),
        }
    }
}

fn report(now: Now, token: ConnectionId, bytes: u32, shard: &mut Shard, fx: &mut Effects) {
    shard.handle(&mut Turn { now, fx }, Input::Blocked { connection: token, bytes });
}
