//! TLS as a layer of a connection. rustls does the handshake, certificates and key schedule; the records are ours.
//!
//! Owns: what is kept of a TLS connection: while it shakes hands, what has come; afterwards two keys, their sequence
//! numbers, and the secrets of the next keys. A buffered connection of rustls would hold 7 KB while it is silent.
//! Always holds: what is no TLS, or a record too long, costs no handshake; a handshake is never run by the shard, and while it is
//! away nothing is received; one that nobody waits for is not run. After a failure or a goodbye nothing is sent.
//! Leaves to others: running handshakes ([`Handshake::run`]), certificates and settings ([`ServerConfig`], made by
//! `runtime`), what an identity may do.
//!
//! Reading order: `record`, `alert`, `secrets`, `traffic` (after the handshake), `handshake`, `failure`, `identity`, and the layer
//! below; `client` is the other end, for loadtest.

mod alert;
mod client;
#[cfg(test)]
mod client_tests;
mod failure;
mod handshake;
mod identity;
mod layer;
mod parameters;
mod record;
mod secrets;
#[cfg(test)]
pub(in crate::conn) mod tests;
mod traffic;

pub use client::{AgreedTls, ClientHandshake, ClientRecords, RecordsEnd};
pub use handshake::Handshake;
pub(super) use layer::Tls;
pub use layer::TlsListener;
pub use parameters::TlsParameters;
#[doc(no_inline)]
pub use rustls::ServerConfig;
