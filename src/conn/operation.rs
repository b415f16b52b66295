//! What connections ask of whoever drives them, and what they are told in numbers and words of no ring.

use core::net::SocketAddr;
use std::collections::VecDeque;

use bytes::Bytes;

#[cfg(feature = "tls")]
use super::tls::Handshake;
use crate::ids::{ConnectionId, ShardId, SocketId, Ticket};

/// One thing to do with a socket. They are to be carried out in their order.
#[derive(Debug)]
pub enum Operation {
    /// Receive once: nothing else is in flight afterwards, so that the socket can be handed over.
    ReceiveOnce {
        /// From where.
        socket: SocketId,
        /// For whom.
        connection: ConnectionId,
    },
    /// Receive until it ends.
    Receive {
        /// From where.
        socket: SocketId,
        /// For whom.
        connection: ConnectionId,
    },
    /// End the receive that is under way: [`ReceiveEnd::Stopped`] follows unless it had ended already.
    StopReceiving {
        /// From where.
        socket: SocketId,
        /// For whom.
        connection: ConnectionId,
    },
    /// Send what a flush left over, however long it takes: `Connections::sent` follows.
    Send {
        /// To where.
        socket: SocketId,
        /// For whom.
        connection: ConnectionId,
        /// What is left.
        bytes: Bytes,
    },
    /// Send FIN behind everything else: `Connections::finished` follows, and no close comes before.
    FinishSending {
        /// To where.
        socket: SocketId,
        /// For whom.
        connection: ConnectionId,
    },
    /// End what is under way and close. The kernel still delivers what was sent.
    Close {
        /// Which.
        socket: SocketId,
        /// What has to be ended first.
        under_way: UnderWayOn,
    },
    /// Close, and throw away what the peer has not taken.
    Abort {
        /// Which.
        socket: SocketId,
        /// What has to be ended first.
        under_way: UnderWayOn,
    },
    /// Open a connection: `Connections::connected` follows, unless it is given up.
    Dial {
        /// Whom.
        to: SocketAddr,
        /// For whom.
        connection: ConnectionId,
    },
    /// Close what [`Self::Dial`] has begun for this connection. Nothing follows.
    GiveUpDial {
        /// For whom.
        connection: ConnectionId,
    },
    /// Hand the socket to another shard's plane: `Connections::handed_over` or `hand_over_failed` follows here, and
    /// `adopted` there.
    HandOver {
        /// Which.
        socket: SocketId,
        /// Joins it with the message about it.
        ticket: Ticket,
        /// Whose.
        target: ShardId,
    },
    /// Run a handshake, on a thread that is no shard's: `Connections::handshaken` follows, whatever became of it and of
    /// the connection.
    #[cfg(feature = "tls")]
    Handshake {
        /// Whose.
        connection: ConnectionId,
        /// What is to be run.
        handshake: Box<Handshake>,
    },
}

impl Operation {
    /// Whether it is asked for a connection that has no socket.
    const fn has_no_socket(&self) -> bool {
        match self {
            Self::ReceiveOnce { socket, .. }
            | Self::Receive { socket, .. }
            | Self::StopReceiving { socket, .. }
            | Self::Send { socket, .. }
            | Self::FinishSending { socket, .. }
            | Self::Close { socket, .. }
            | Self::Abort { socket, .. }
            | Self::HandOver { socket, .. } => socket.is_none(),
            Self::Dial { .. } | Self::GiveUpDial { .. } => false,
            #[cfg(feature = "tls")]
            Self::Handshake { .. } => false,
        }
    }
}

/// What is to be done with sockets, in order. Connections without one of their own ask for nothing.
#[derive(Debug, Default)]
pub(super) struct Operations(VecDeque<Operation>);

impl Operations {
    #[inline]
    pub(super) fn push_back(&mut self, operation: Operation) {
        if !operation.has_no_socket() {
            self.0.push_back(operation);
        }
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Operation> {
        self.0.pop_front()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is under way on a socket that is to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderWayOn {
    /// It was never received from, and nothing was sent.
    Nothing,
    /// A receive at most, of this connection.
    Receive(ConnectionId),
    /// A send, and perhaps a receive.
    Anything,
}

/// Why nothing more is received without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer sends no more, or the connection broke.
    PeerGone,
    /// All buffers are in use.
    OutOfBuffers,
    /// [`Operation::StopReceiving`] ended it.
    Stopped,
}

/// A socket took less of an outbox than it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortSent {
    /// Whose.
    pub connection: ConnectionId,
    /// Bytes that went out.
    pub sent: usize,
    /// The connection is broken, not just slow.
    pub broken: bool,
}
