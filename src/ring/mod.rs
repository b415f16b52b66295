//! The socket plane: one shard's sockets on `io_uring` rings of its own, over TCP, Unix paths and UDP.
//!
//! It knows sockets, buffers and the 56 bits by which the caller names a connection; nothing of MQTT, of connections'
//! states or of time. It owns the rings, the tables of direct descriptors, the provided buffers, the listeners, and the
//! memory of operations that outlast a turn. It is, with `runtime`, the only place for `unsafe`. `plane.rs` lists its parts.
//!
//! What always holds:
//!
//! - A plane is used by the thread that made it. Everybody else has a [`PlaneHandle`].
//! - Nothing that was queued is lost: a full submission queue is submitted, a full completion queue is kept by the
//!   kernel, and both are emptied before [`Plane::submit`] or [`Plane::flush`] returns.
//! - The kernel sees borrowed bytes only within `flush`; what it needs longer, the plane owns.
//! - A silent connection costs the plane nothing but its slot in the kernel's table: no buffer, no heap memory.
//! - Completions carry the caller's [`ConnectionId`](crate::ids::ConnectionId); a late one is told by its generation. The plane keeps no table of
//!   connections and cannot filter them: the caller checks every event that names one first.
//!
//! # A pump's turn
//!
//! ```text
//! loop {
//!     while let Some(event) = plane.next_event() {        // 1. what happened; the clock was read once before
//!         match event {
//!             Accepted { socket, .. }  => new connection; plane.receive_once(socket, connection)
//!             Received { buffer, .. }  => feed(plane.bytes(&buffer)); plane.give_back(buffer); receive again if !more
//!             ReceiveEnded { OutOfBuffers } => remember; receive_multi once plane.buffers_free(socket) > 0
//!             Adopted { ticket, .. }   => join with the message that carries the ticket; plane.receive_multi(..)
//!             Sent { bytes, .. }       => the slow connection may send again, what is queued behind goes first
//!             ...
//!         }
//!     }
//!     the mesh, the shard's timers                        // 2. what others want
//!     plane.accept_more()                                 //    unless others must be served first
//!     plane.set_timeout(next deadline)
//!     let short = plane.flush_and_wait(|| the mesh is still empty,                                          // 3.
//!         |batch| for each dirty connection { batch.send(socket, connection, &outbox) })?;   // `flush` if there is more to do
//!     for each short: keep what is left, plane.send_rest(socket, connection, rest) (sent with the next submit)
//!     drop what the outboxes held
//!     plane.submit()?                                     // 4. collects, when there is something to collect
//! }
//! ```
//!
//! Where many send to few, that wait goes on for several arrivals, 64 us at most (`coalescing.rs`).
//!
//! A client opens its connections with `connect`, and may use them from `Connected` on.
//!
//! A connection has at most one receive and one send under way. From a short send until `Sent`, its bytes wait in its
//! outbox. Before a hand-over it has neither: receive with `receive_once` until it is known who owns the session.
//! To slow a peer down, call `stop_receiving`, or hold its buffer: TCP does the rest.
//! Last words that must arrive are sent, then `finish_sending`, then `close` at the peer's `Eof` or a deadline, but not
//! before `Finished`.
//! What must be on a disk is given to `write_durable`, and leaves with the same entry into the kernel; `Written` says how that went.
//! A datagram socket is taken in with `adopt_datagram`, receives from `receive_datagrams` until its events say that it ended,
//! and answers with `send_datagram` in a flush. What finds no room is lost, as in any network, and counted.
//!
//! After `close`, `abort`, or `HandedOver` the `SocketId` is forgotten: its number is used again at once.

mod accept;
mod address;
mod buffers;
mod closing;
mod coalescing;
mod config;
mod connect;
mod datagram;
mod disk;
mod error;
mod event;
mod handle;
mod headers;
mod listen;
mod next;
mod one;
mod options;
mod pending;
mod plane;
pub mod probe;
mod rings;
mod send;
mod stream;
mod table;
mod timeout;
mod udp;
mod unix;
mod user_data;
mod wait;
mod wakes;

#[cfg(test)]
mod tests;

pub use buffers::Buffer;
pub use closing::UnderWay;
pub use config::PlaneConfig;
pub use datagram::DatagramConfig;
pub use disk::{Durability, WriteAt};
pub use error::RingError;
pub use event::{Completeness, EndCause, SocketEvent};
pub use handle::PlaneHandle;
pub use listen::ListenConfig;
pub use options::TcpKeepAlive;
pub use plane::Plane;
pub use rings::{PlaneCounters, ShortSend};
pub use send::SendBatch;
pub use unix::{SharedUnixListener, UnixAccess, UnixPlace};
pub use wait::monotonic_ns;
