//! Outboxes to sockets: one entry into the kernel for all, which is also the one that waits for more to do where there is
//! nothing else.

use std::io::IoSlice;

use super::edge::Edge;
use crate::conn::{Flush, Outbox, ShardTurn, ShortSent};
use crate::ids::{ConnectionId, SocketId};
use crate::ring::{RingError, SendBatch, ShortSend};

/// What was offered to the sockets: [`Edge::finish_offer`].
#[must_use = "outboxes are given back and short sends continued only by `finish_offer`"]
#[derive(Debug)]
pub struct Offer {
    flush: Flush,
    short: Vec<ShortSend>,
}

impl Edge {
    /// Gives the sockets what they take. What they do not take waits in the kernel's hands, and the shard is told how
    /// much that is.
    pub fn flush(&mut self, core: &mut ShardTurn<'_>) -> Result<(), RingError> {
        let offer = self.offer(core, None::<fn() -> bool>)?;
        self.finish_offer(core, offer);
        Ok(())
    }

    /// The first half of a flush: every outbox to its socket. With `is_quiet` it goes on to wait for the next event, or for
    /// a wake-up that makes `is_quiet` false: for when there is nothing to do but to send.
    pub fn offer(
        &mut self,
        core: &mut ShardTurn<'_>,
        is_quiet: Option<impl FnOnce() -> bool>,
    ) -> Result<Offer, RingError> {
        let flush = self.connections.begin_flush(core);
        // What the shard was told just now may have given it something to do.
        let is_quiet = is_quiet.filter(|_| !flush.shard_was_told());
        let Self { plane, connections, .. } = self;
        let sends = || connections.sends(&flush);
        // Only outboxes with payloads by reference need pieces; mostly there is none.
        let pieces: Vec<Vec<IoSlice<'_>>> = sends()
            .filter(|(_, _, outbox)| outbox.contiguous().is_none())
            .map(|(_, _, outbox)| outbox.pieces().map(IoSlice::new).collect())
            .collect();
        let short = match is_quiet {
            Some(is_quiet) => plane.flush_and_wait(is_quiet, |batch| queue(batch, sends(), &pieces))?,
            None => plane.flush(|batch| queue(batch, sends(), &pieces))?,
        };
        let short = short.to_vec();
        Ok(Offer { flush, short })
    }

    /// The second half: what did not leave is continued, and outboxes that are empty are given back.
    pub fn finish_offer(&mut self, core: &mut ShardTurn<'_>, offer: Offer) {
        let short = offer.short.iter().map(|short| ShortSent {
            connection: short.connection,
            sent: short.sent,
            broken: short.error.is_some(),
        });
        self.connections.finish_flush(core, offer.flush, short);
        self.carry_out();
    }
}

fn queue<'env>(
    batch: &mut SendBatch<'_, 'env>,
    sends: impl Iterator<Item = (ConnectionId, SocketId, &'env Outbox)>,
    pieces: &'env [Vec<IoSlice<'env>>],
) {
    let mut pieces = pieces.iter();
    for (connection, socket, outbox) in sends {
        match outbox.contiguous() {
            Some(bytes) => batch.send(socket, connection, bytes),
            None => batch.send_vectored(socket, connection, pieces.next().expect("made for each of them")),
        }
    }
}
