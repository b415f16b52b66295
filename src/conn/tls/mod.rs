//! TLS as a layer of a connection. rustls does the handshake, certificates and key schedule; the records are ours.
//!
//! Owns: what is kept of a TLS connection: while it shakes hands, what has come; afterwards two keys, their sequence
//! numbers, and the secrets of the next keys. A buffered connection of rustls would hold 7 KB while it is silent.
//! Always holds: what is no TLS, or a record too long, costs no handshake; a handshake is never run by the shard, and while it is
//! away nothing is received; one that nobody waits for is not run. After a failure or a goodbye nothing is sent.
//! Leaves to others: running handshakes ([`Handshake::run`]), certificates and settings ([`ServerConfig`] and [`ClientConfig`], made by
//! `runtime`), what an identity may do.
//!
//! Reading order: `record`, `alert`, `secrets`, `traffic` (after the handshake), `handshake`, `shaking`, `failure`, `identity`, and the layer
//! below. `client` is the other end, for loadtest and for `dial`, the layer of a link that this node has dialled; `authority` and `dial_failure` are about the node there.

mod alert;
mod authority;
mod client;
#[cfg(test)]
mod client_tests;
mod dial;
mod dial_failure;
#[cfg(test)]
mod dial_tests;
mod encoding;
mod failure;
mod handshake;
mod identity;
mod layer;
mod parameters;
mod record;
mod secrets;
mod shaking;
#[cfg(test)]
pub(crate) mod tests;
mod traffic;

pub use authority::NodeAuthority;
pub use client::{AgreedTls, ClientHandshake, ClientRecords, RecordsEnd};
pub(super) use dial::TlsDial;
pub use dial::TlsDialler;
pub use handshake::Handshake;
pub(super) use layer::Tls;
pub use layer::TlsListener;
pub use parameters::TlsParameters;
#[doc(no_inline)]
pub use rustls::{ClientConfig, ServerConfig};
