//! Outboxes to sockets: one entry into the kernel for all, which is also the one that waits for more to do where there is
//! nothing else.

use std::io::IoSlice;
use std::net::SocketAddr;

use super::edge::Edge;
use super::listener::{ListenerSocket, OpenListener};
use crate::conn::{Flush, Outbox, ShardTurn, ShortSent};
use crate::ids::{ConnectionId, DatagramSocketId, SocketId};
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
        let Self { plane, connections, listeners, closing, .. } = self;
        let sends = || connections.sends(&flush);
        // Only outboxes with payloads by reference need pieces; mostly there is none.
        let pieces: Vec<Vec<IoSlice<'_>>> = sends()
            .filter(|(_, _, outbox)| outbox.contiguous().is_none())
            .map(|(_, _, outbox)| outbox.pieces().map(IoSlice::new).collect())
            .collect();
        let datagrams = || {
            let with_socket = |(index, to, bytes)| Some((datagram_socket(listeners, closing, index)?, to, bytes));
            connections.datagrams_to_send().filter_map(with_socket)
        };
        let short = match is_quiet {
            Some(is_quiet) => plane.flush_and_wait(is_quiet, |batch| {
                queue(batch, sends(), &pieces);
                queue_datagrams(batch, datagrams());
            })?,
            None => plane.flush(|batch| {
                queue(batch, sends(), &pieces);
                queue_datagrams(batch, datagrams());
            })?,
        };
        let short = short.to_vec();
        Ok(Offer { flush, short })
    }

    /// Closes what listeners that are no more have left, once their last clients have gone.
    fn close_unused_datagram_sockets(&mut self) {
        let Self { plane, connections, closing, .. } = self;
        closing.retain(|&(index, socket)| {
            let is_used = connections.has_datagram_clients(index);
            if !is_used {
                plane.close_datagram(socket);
            }
            is_used
        });
    }

    /// The second half: what did not leave is continued, and outboxes that are empty are given back.
    pub fn finish_offer(&mut self, core: &mut ShardTurn<'_>, offer: Offer) {
        let short = offer.short.iter().map(|short| ShortSent {
            connection: short.connection,
            sent: short.sent,
            broken: short.error.is_some(),
        });
        self.connections.finish_flush(core, offer.flush, short);
        self.close_unused_datagram_sockets();
        self.carry_out();
    }
}

/// The socket of a listener that has one for datagrams, be it one that is no more.
fn datagram_socket(
    listeners: &[Option<OpenListener>],
    closing: &[(u8, DatagramSocketId)],
    index: u8,
) -> Option<DatagramSocketId> {
    match listeners.get(usize::from(index))?.as_ref().map(|listener| listener.socket) {
        Some(ListenerSocket::Receives(socket)) => Some(socket),
        Some(ListenerSocket::Accepts(_)) => None,
        None => closing.iter().find(|(gone, _)| *gone == index).map(|(_, socket)| *socket),
    }
}

fn queue_datagrams<'env>(
    batch: &mut SendBatch<'_, 'env>,
    datagrams: impl Iterator<Item = (DatagramSocketId, SocketAddr, &'env [u8])>,
) {
    for (socket, to, bytes) in datagrams {
        batch.send_datagram(socket, to, bytes);
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
