//! Connections between the nodes of a cluster, and what they carry.
//!
//! Owns: what this node says of itself where a link begins ([`LinkTerms`]), the layer of a link (`layer`), when a connection
//! is made, given up and made again (`dialling`, `ending`), which process is at its other end and what that has and has not (`streams`), what it
//! says (`frames`) and is told (`lane`), which shard hears it (`handover`), and clients that another node forwards (`forward`).
//! Always holds: a link is no listener's, and no limit of clients counts it. A dial ends within [`LINK_DIAL_MS`], and a peer is known within
//! [`LINK_HELLO_MS`] of it, or the connection ends, however much or little comes of it. Of those that have come and are not known there are
//! [`PEERS_UNKNOWN_MAX`] at most. Each that ends by itself is counted by its reason and has a line for the log. From this
//! shard goes one link to each process that the view has, and what is said there arrives once and in order while both processes live.
//! Leaves to others: the handshake itself and what frames mean (`cluster`), sockets (`net`).
//!
//! [`LINK_DIAL_MS`]: crate::limits::LINK_DIAL_MS
//! [`LINK_HELLO_MS`]: crate::limits::LINK_HELLO_MS
//! [`PEERS_UNKNOWN_MAX`]: crate::limits::PEERS_UNKNOWN_MAX

mod dialling;
mod ending;
mod forward;
mod frames;
mod handover;
mod lane;
mod layer;
mod links;
mod streams;

pub(super) use layer::{ForwardedClient, LinkLayer};
pub use links::LinkTerms;
pub(super) use links::NodeLinks;
pub use streams::{LinkNews, LinkWord};
