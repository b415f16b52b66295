//! Connections, from accept to close: bytes to packets to inputs of the shard, effects of the shard to bytes.
//!
//! Owns: the table of one shard's connections, what of a packet has come so far, what of the answers has not left yet,
//! the layers between socket and MQTT, and every decision about a connection: whether it comes in, how long it may take
//! to its CONNECT, which shard it belongs to, how much of a turn it has, when receiving stops and goes on, how it closes.
//! Always holds: a silent connection holds no buffer; a connection has at most one receive and one send under way; what
//! the shard encoded leaves in its order or the connection ends; nothing is allocated for what a peer merely announces;
//! a connection is handed over at most once, before its shard knows it, and only while nothing of it is under way.
//! Leaves to others: what packets mean (`shard`), sockets and buffers (`net` carries out each [`Operation`]), the clock.
//!
//! It is driven by events: [`Connections::accepted`], [`Connections::received`], [`Connections::receive_ended`],
//! [`Connections::sent`], [`Connections::finished`], [`Connections::adopted`], [`Connections::handed_over`],
//! [`Connections::hand_over_failed`], [`Connections::take_handover`], [`Connections::connected`], [`Connections::apply`], [`Connections::hear_resumed`] and
//! [`Connections::handle_deadlines`]. What follows for the shard goes to an [`InputHandler`] at once; what follows for
//! sockets waits in [`Connections::next_operation`].
//!
//! Reading order: [`connections`] (the object), `sources` and `rates` (who may come), `connecting`, `handover` and `full` (from accept to the shard that owns the
//! client id, and to a place there), `belonging` and `range_waiters` (who is another node's), `verdict` (those who wait to be let in), `receiving`, `budget`, `packet_bounds`, `partial_packet` (bytes in),
//! `apply`, `sending` (bytes out), `lingering`, `refused` (the end), `layer`, [`layers`], `layered`, `proxied` and [`proxy_header`],
//! [`websocket`], [`tls`], `nodes` (other nodes of a cluster).

mod apply;
mod belonging;
mod budget;
mod connecting;
pub mod connection;
pub mod connections;
mod full;
mod handed_over;
mod handover;
#[cfg(feature = "tls")]
mod handshakes;
mod internal;
mod inverting;
mod layer;
mod layered;
pub mod layers;
mod lingering;
mod nodes;
mod operation;
mod outbox;
mod packet_bounds;
mod partial_packet;
mod peer;
mod proxied;
pub mod proxy_header;
mod range_waiters;
mod rates;
mod receiving;
mod refused;
mod sending;
pub mod sn;
mod sn_handling;
mod sn_peers;
mod sources;
mod spoken;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
pub mod tls;
mod verdict;
pub mod websocket;

pub use budget::{Deferred, KeptBuffer};
pub use connections::{Connections, ConnectionsConfig, InputHandler, ShardTurn};
pub use handed_over::{ArrivedClient, ArrivedLink, DatagramSource, ForwardedDatagram, HandedOver, Handover};
pub use layers::{DialLayers, ListenerLayers};
pub use nodes::{LinkNews, LinkTerms, LinkWord};
pub use operation::{Operation, ReceiveEnd, ShortSent, UnderWayOn};
pub use outbox::Outbox;
pub use peer::{Peer, RefusedPeer};
pub use rates::ConnectRates;
pub use sending::Flush;
