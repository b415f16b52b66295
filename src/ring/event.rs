//! All that a plane can tell its caller, and how completions become that.

use super::Buffer;
use super::one::Completion;
use super::plane::{Pending, Plane};
use super::user_data::{Op, connection_of, payload_of};
use crate::ids::{ConnectionId, ListenerId, SocketId, Ticket};
use bytes::Bytes;
use io_uring::cqueue;
use std::net::SocketAddr;

/// One thing that happened. Every variant that names a connection may concern one that the caller has closed since:
/// compare the generation first.
#[derive(Debug)]
pub enum Event {
    /// A peer connected. Nothing is received until the caller asks for it.
    Accepted {
        /// Where.
        listener: ListenerId,
        /// The connection's socket.
        socket: SocketId,
        /// Who connected; `None` for a family that nobody speaks here.
        peer: Option<SocketAddr>,
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
        /// The connection.
        connection: ConnectionId,
        /// Why it failed: the kernel's error number. The socket is to be closed all the same.
        error: Option<i32>,
    },
    /// Bytes arrived. The buffer must be given back.
    Received {
        /// The connection.
        connection: ConnectionId,
        /// The bytes.
        buffer: Buffer,
        /// Whether more will come without asking again. False after `receive_once`, and now and then (when the
        /// kernel's queue was full) after `receive_multi`, which must then be called again.
        more: bool,
    },
    /// Nothing more will be received without asking again.
    ReceiveEnded {
        /// The connection.
        connection: ConnectionId,
        /// Why.
        cause: EndCause,
    },
    /// A `send_rest` is finished and its bytes are back.
    Sent {
        /// The connection.
        connection: ConnectionId,
        /// The bytes that were to be sent.
        bytes: Bytes,
        /// How many of them went out.
        sent: usize,
        /// Why not all: the kernel's error number, or `None` when all did.
        error: Option<i32>,
    },
    /// A `finish_sending` is done, or found the connection broken: the socket may be closed.
    Finished {
        /// The connection.
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
        /// The socket, as it was.
        socket: SocketId,
        /// The kernel's error number; ENFILE when the target's table is full.
        errno: i32,
    },
    /// The timeout fired, possibly early: look at the clock and set the next one.
    Timeout,
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

fn on_connected(completion: Completion) -> Event {
    let error = (completion.result < 0).then_some(-completion.result);
    Event::Connected { connection: connection_of(completion.user_data), error }
}

impl Plane {
    /// The next thing that happened, `None` when all is told: then queue what follows from it and `submit`.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let completion = self.ready.pop_front()?;
            let user_data = completion.user_data;
            let event = match Op::of(user_data) {
                Op::Receive => Some(self.on_receive(completion)),
                Op::Accept => self.on_accept(completion),
                Op::AcceptPause => {
                    self.on_rested(payload_of(user_data) as usize);
                    None
                }
                Op::SendRest => Some(self.on_sent(completion)),
                Op::HandOver => Some(self.on_handed_over(completion)),
                Op::Finish => Some(Event::Finished { connection: connection_of(user_data) }),
                Op::Adopted => Some(self.on_adopted(completion)),
                Op::Connect => Some(on_connected(completion)),
                Op::Woken => {
                    self.wake_armed = false;
                    None
                }
                Op::Timeout => {
                    self.timeout_armed = None;
                    Some(Event::Timeout)
                }
                Op::Nudge => {
                    self.neighbours[payload_of(user_data) as usize].signal();
                    None
                }
                // `Send` is taken out as completions are reaped, `Install` where it is waited for.
                Op::Send | Op::Ignored | Op::Install | Op::Nudged => None,
            };
            if event.is_some() {
                return event;
            }
        }
    }

    fn on_receive(&mut self, completion: Completion) -> Event {
        let connection = connection_of(completion.user_data);
        let buffer = cqueue::buffer_select(completion.flags).map(|id| {
            self.rings[usize::from(completion.ring)].buffers.take(id);
            Buffer { ring: completion.ring, id, bytes: completion.value() }
        });
        match (buffer, completion.result) {
            (Some(buffer), 1..) => {
                self.turn.receives += 1;
                Event::Received { connection, buffer, more: cqueue::more(completion.flags) }
            }
            (buffer, result) => {
                if let Some(buffer) = buffer {
                    self.give_back(buffer);
                }
                let cause = match -result {
                    0 => EndCause::Eof,
                    libc::ENOBUFS => {
                        self.counters.out_of_buffers += 1;
                        EndCause::OutOfBuffers
                    }
                    libc::ECANCELED => EndCause::Cancelled,
                    errno => EndCause::Error(errno),
                };
                Event::ReceiveEnded { connection, cause }
            }
        }
    }

    fn on_sent(&mut self, completion: Completion) -> Event {
        let Pending::Send { connection, bytes } = self.pending.remove(payload_of(completion.user_data)) else {
            unreachable!("the index of a send names a send");
        };
        let sent = completion.value() as usize;
        let error = match completion.result {
            result if result < 0 => Some(-result),
            // The kernel went on until there was an error, reported what had gone out, and kept the error.
            _ if sent < bytes.len() => Some(libc::EPIPE),
            _ => None,
        };
        Event::Sent { connection, bytes, sent, error }
    }

    fn on_handed_over(&mut self, completion: Completion) -> Event {
        let Pending::HandOver { ticket, socket } = self.pending.remove(payload_of(completion.user_data)) else {
            unreachable!("the index of a transfer names one");
        };
        if completion.result < 0 {
            return Event::HandOverFailed { ticket, socket, errno: -completion.result };
        }
        self.free_slot(socket);
        Event::HandedOver { ticket }
    }

    fn on_adopted(&mut self, completion: Completion) -> Event {
        let ring = usize::from(completion.ring);
        self.rings[ring].open += 1;
        if self.rings[ring].room() <= self.rings[ring].reserve() {
            self.choose_adopting();
        }
        let socket = SocketId::new(ring, completion.value());
        Event::Adopted { ticket: Ticket::new(payload_of(completion.user_data)), socket }
    }
}
