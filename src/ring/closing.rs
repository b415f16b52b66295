//! Sockets that are to be closed: some with each entry into the kernel.
//!
//! To close a connection takes the kernel some 10 us, several times what it takes to learn that its client has gone. When a fleet goes at
//! once, whoever stays would wait until all of them are closed; so what has arrived is heard first.
//!
//! Always holds: what was asked first is done first; nothing else is asked of a socket that waits here; the more of them wait,
//! the more go at once, so that they cannot grow without bound while others come. Nobody sleeps while one waits.

use std::collections::{HashSet, VecDeque};

use io_uring::opcode;
use io_uring::types::{CancelBuilder, Fixed};

use super::rings::Rings;
use super::user_data::Op;
use crate::ids::{ConnectionId, SocketId};
use crate::limits::{CLOSES_PER_ENTRY, CLOSES_WAITING_SHARE};

/// What has to be ended before a socket can close: an operation that stays under way would keep the socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderWay {
    /// Neither a receive nor a send.
    Nothing,
    /// A receive at most, of this connection. The kernel finds it by its name.
    Receive(ConnectionId),
    /// A `connect` of this connection. The kernel finds it by its name.
    Connect(ConnectionId),
    /// A `send_rest` or `connect`, and perhaps a receive. The kernel looks at every operation of the ring to find them, so the cost
    /// grows with the number of connections.
    Anything,
}

/// What becomes of what the peer has not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The kernel goes on to deliver it.
    Delivered,
    /// It is thrown away, and the connection reset.
    ThrownAway,
}

#[derive(Debug)]
struct Close {
    socket: SocketId,
    under_way: UnderWay,
    unsent: Unsent,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Closing {
    waiting: VecDeque<Close>,
    /// Those of them whose receive is under way, as far as is known.
    receiving: HashSet<ConnectionId>,
}

/// Read by the kernel when an abort is submitted: a close that throws away what was not sent and sends RST.
static LINGER_NOW: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

impl Closing {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> u32 {
        self.waiting.len() as u32
    }

    /// One more waits.
    pub(super) fn add(&mut self, socket: SocketId, under_way: UnderWay, unsent: Unsent) {
        if let UnderWay::Receive(connection) = under_way {
            self.receiving.insert(connection);
        }
        self.waiting.push_back(Close { socket, under_way, unsent });
    }

    /// A connection's receive has ended by itself: there is nothing to be ended of one that waits. The kernel would look for it among
    /// those of many others.
    pub(super) fn receive_ended(&mut self, connection: ConnectionId) {
        if !self.receiving.is_empty() {
            self.receiving.remove(&connection);
        }
    }

    /// Whether one waits whose receive is to be ended.
    #[cfg(test)]
    pub(super) fn is_receiving(&self, connection: ConnectionId) -> bool {
        self.receiving.contains(&connection)
    }

    /// Queues the closes of one entry into the kernel.
    pub(super) fn queue(&mut self, rings: &mut Rings) {
        let count = CLOSES_PER_ENTRY + self.waiting.len() / CLOSES_WAITING_SHARE;
        for _ in 0..count {
            let Some(close) = self.waiting.pop_front() else { return };
            self.queue_one(rings, &close);
        }
    }

    fn queue_one(&mut self, rings: &mut Rings, close: &Close) {
        let Close { socket, under_way, unsent } = *close;
        if unsent == Unsent::ThrownAway {
            let entry = opcode::SetSockOpt::new(
                Fixed(socket.slot()),
                libc::SOL_SOCKET as u32,
                libc::SO_LINGER as u32,
                (&raw const LINGER_NOW).cast(),
                size_of::<libc::linger>() as u32,
            )
            .build();
            // SAFETY: the option's value is static.
            unsafe { rings.push_ignored(socket.ring(), entry) };
        }
        match under_way {
            UnderWay::Nothing => {}
            UnderWay::Receive(connection) => {
                if self.receiving.remove(&connection) {
                    rings.cancel(socket.ring(), CancelBuilder::user_data(Op::Receive.of_connection(connection)));
                }
            }
            UnderWay::Connect(connection) => {
                rings.cancel(socket.ring(), CancelBuilder::user_data(Op::Connect.of_connection(connection)));
            }
            UnderWay::Anything => rings.cancel(socket.ring(), CancelBuilder::fd(Fixed(socket.slot())).all()),
        }
        rings.free_slot(socket);
    }
}
