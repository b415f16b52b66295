//! Drives the connections of one shard: the ring's events become events of `conn`, its operations are carried out on the
//! ring.
//!
//! Owns: the plane with its sockets, and the buffers that are kept while what is in them waits.
//! Always holds: it decides nothing. Each event of the plane leads to one call of `conn`, whose operations are queued on the
//! plane before the next event is taken; a provided buffer is given back as soon as `conn` has read it or given it up.
//! Leaves to others: what becomes of a connection (`conn`), what packets mean (`shard`), system calls (`ring`), threads and
//! sleeping (`runtime`).
//!
//! Reading order: [`edge`] (the object, events in, operations out), `listener` and `listening` (where), `flush` (outboxes to sockets), `log` (lines about clients).

pub mod edge;
mod flush;
mod listener;
mod listening;
mod log;
pub(crate) mod spans;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
pub(crate) mod trace;

pub use edge::{Edge, EndedWrite};
pub use flush::Offer;
pub use listener::{ListenOn, ListenerChange, Listening, tcp_config};
pub use listening::open_socket;
