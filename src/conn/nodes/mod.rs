//! Connections between the nodes of a cluster: dialled and accepted, until it is known who is at the other end.
//!
//! Owns: what this node says of itself where a link begins ([`LinkTerms`]), the layer of a link (`layer`), and when a connection
//! that is not made, or whose peer is not known, is given up.
//! Always holds: a link is no listener's, and no limit of clients counts it. A dial ends within [`LINK_DIAL_MS`], and a peer is known within
//! [`LINK_HELLO_MS`] of it, or the connection ends, however much or little comes of it. Of those that have come and are not known there are
//! [`PEERS_UNKNOWN_MAX`] at most. Each that ends is counted by its reason and has a line for the log.
//! Leaves to others: the handshake itself and what frames mean (`cluster`), sockets (`net`).
//!
//! [`LINK_DIAL_MS`]: crate::limits::LINK_DIAL_MS
//! [`LINK_HELLO_MS`]: crate::limits::LINK_HELLO_MS
//! [`PEERS_UNKNOWN_MAX`]: crate::limits::PEERS_UNKNOWN_MAX

mod dialling;
mod ending;
mod layer;
mod links;

pub(super) use layer::LinkLayer;
pub use links::LinkTerms;
pub(super) use links::NodeLinks;
