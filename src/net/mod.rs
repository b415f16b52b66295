//! Connections: bytes to packets to inputs of the shard, effects of the shard to bytes.
//!
//! Owns: the table of one shard's connections, what of a packet has come so far, what of the answers has not left yet,
//! and a connection's life from accept to close: greeting (until CONNECT says whose it is), a possible move to
//! the shard that owns the session, open, parting.
//! Always holds: a silent connection holds no buffer; a connection has at most one receive and one send under way; what
//! the shard encoded leaves in its order or the connection ends; nothing is allocated for what a peer merely announces;
//! what one connection sends at once is handled in shares, others in between.
//! Leaves to others: what packets mean (`shard`), system calls (`ring`), threads and sleeping (`runtime`).
//!
//! Reading order: [`edge`] (the object, and events in), `share`, `greeting`, `feed`, `apply` (effects in), `flush` (bytes
//! out), `parting`.

mod apply;
pub mod edge;
mod feed;
mod flush;
mod greeting;
mod outbox;
mod parting;
mod share;
mod table;
#[cfg(test)]
mod tests;

pub use edge::{Edge, EdgeConfig, Listening};
pub use greeting::Handover;
