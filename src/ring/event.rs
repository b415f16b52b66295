//! All that a plane can tell its caller.

use super::buffers::Buffer;
use crate::ids::{ConnectionId, DatagramSocketId, ListenerId, PeerAddress, SocketId, Ticket};
use bytes::Bytes;
use std::net::SocketAddr;

/// One thing that happened. Every variant that names a connection may concern one that the caller has closed since:
/// compare the generation first.
#[derive(Debug)]
pub enum SocketEvent {
    /// A peer connected. Nothing is received until the caller asks for it.
    Accepted {
        /// Where.
        listener: ListenerId,
        /// Its place in a ring's table, for every call about it.
        socket: SocketId,
        /// Who connected.
        peer: PeerAddress,
    },
    /// A connection was lost on its way in, or none could be taken: for a counter. Accepting goes on with the next
    /// `accept_more`, after `limits::ACCEPT_PAUSE_MS` if the system is out of something.
    AcceptFailed {
        /// Where.
        listener: ListenerId,
        /// The kernel's error number; ENFILE when the table of sockets is full.
        errno: i32,
    },
    /// A `connect` is finished.
    Connected {
        /// The one that `connect` named.
        connection: ConnectionId,
        /// Why it failed: the kernel's error number. The socket is to be closed all the same.
        error: Option<i32>,
    },
    /// Bytes arrived. The buffer must be given back.
    Received {
        /// The one that asked for it.
        connection: ConnectionId,
        /// The bytes.
        buffer: Buffer,
        /// Whether more will come without asking again. False after `receive_once`, and now and then (when the
        /// kernel's queue was full) after `receive_multi`, which must then be called again.
        more: bool,
    },
    /// Nothing more will be received without asking again.
    ReceiveEnded {
        /// The one that had asked for it.
        connection: ConnectionId,
        /// Why.
        cause: EndCause,
    },
    /// A `send_rest` is finished and its bytes are back.
    Sent {
        /// The one that `send_rest` named.
        connection: ConnectionId,
        /// The bytes that were to be sent.
        bytes: Bytes,
        /// How many of them went out.
        sent: usize,
        /// Why not all: the kernel's error number, or `None` when all did.
        error: Option<i32>,
    },
    /// A datagram came. The buffer must be given back.
    Datagram {
        /// Where.
        socket: DatagramSocketId,
        /// Who sent it, as `send_datagram` takes it.
        from: SocketAddr,
        /// Its bytes; there may be none.
        buffer: Buffer,
        /// Whether these are all of them.
        completeness: Completeness,
        /// Whether more will come without asking again. False behind an empty datagram, and when the kernel's queue was
        /// full: then `receive_datagrams` must be called again.
        more: bool,
    },
    /// No more datagrams will be told of without asking again.
    DatagramsEnded {
        /// Where.
        socket: DatagramSocketId,
        /// Why; never `Eof`.
        cause: EndCause,
    },
    /// A `send_datagram` was refused, and the datagram is lost.
    DatagramNotSent {
        /// From where.
        socket: DatagramSocketId,
        /// The kernel's error number; EAGAIN when the socket's send buffer is full.
        errno: i32,
    },
    /// A `finish_sending` is done, or found the connection broken: the socket may be closed.
    Finished {
        /// The one that `finish_sending` named.
        connection: ConnectionId,
    },
    /// Another plane handed a socket over; the message about its connection carries the same ticket.
    Adopted {
        /// What its former owner called the transfer.
        ticket: Ticket,
        /// Its socket here.
        socket: SocketId,
    },
    /// A socket was handed over and is no longer ours.
    HandedOver {
        /// The transfer.
        ticket: Ticket,
    },
    /// A socket could not be handed over and is still ours.
    HandOverFailed {
        /// The transfer.
        ticket: Ticket,
        /// Nothing about it has changed.
        socket: SocketId,
        /// The kernel's error number; ENFILE when the target's table is full.
        errno: i32,
    },
    /// A `write_durable` is finished and its bytes are back.
    Written {
        /// The allocation that held them.
        bytes: Vec<u8>,
        /// How many of them are durable, or the kernel's error number.
        result: Result<usize, i32>,
    },
    /// The timeout fired, possibly early: look at the clock and set the next one.
    Timeout,
}

/// Whether a datagram fitted into its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All of it is there.
    Whole,
    /// Its end is lost.
    Truncated,
}

/// Why receiving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The peer sends no more.
    Eof,
    /// All buffers are on loan: receive again once `buffers_free` is not zero.
    OutOfBuffers,
    /// `stop_receiving`, `close` or `abort` ended it.
    Cancelled,
    /// The connection broke: the kernel's error number.
    Error(i32),
}

impl EndCause {
    /// Why a receive ended that brought no bytes: `result` is the kernel's.
    pub(super) const fn of(result: i32) -> Self {
        match -result {
            0 => Self::Eof,
            libc::ENOBUFS => Self::OutOfBuffers,
            libc::ECANCELED => Self::Cancelled,
            errno => Self::Error(errno),
        }
    }
}
