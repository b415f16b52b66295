//! MQTT-SN 1.2: a translator between datagrams and MQTT packets.
//!
//! Owns: the messages of MQTT-SN as octets ([`SnMessage`]), and for each client what MQTT does not know of it: topic ids, the dialogue
//! about its will, whether it sleeps, and what is sent again until it is acknowledged ([`SnClient`]).
//! Always holds: a client's datagrams become packets of an MQTT 5.0 client and nothing else, so sessions, wills, rules, limits and
//! counters are those of every client; what a datagram leads to is bounded before it is kept; towards a client there is one PUBLISH
//! with QoS 1 or 2 and one REGISTER under way at a time. A peer without a connection is never sent more octets than it has sent.
//! Leaves to others: which shard a peer belongs to and who may come (`conn::datagrams`), what packets mean (`shard`), sockets (`net`),
//! the clock.
//!
//! Reading order: `flags` and `message` (the octets), `topics` (ids), `client` (one client), `inbound` (datagrams to packets),
//! `outbound` (packets to datagrams), `under_way` and `retry` (what is sent again).

mod client;
mod flags;
mod inbound;
mod message;
mod outbound;
mod retry;
#[cfg(test)]
mod tests;
mod topics;
mod under_way;

pub use client::{SnClient, SnConnect, SnEnd, SnOut, SnRenewal, SnState, SnTurn, SnWillChange};
pub use flags::{ReturnCode, SnFlags, TopicKind};
pub use inbound::Reconnect;
pub use message::{SnError, SnMessage, TopicOrName, TopicRef, split};
