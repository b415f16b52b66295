//! How a service of this process comes into the broker: as a client of MQTT 5.0, over a pair of sockets of which a shard has one end.
//!
//! Owns: that pair, the client's side of MQTT over any stream of bytes ([`MqttStream`]), packets that own what they hold.
//! Always holds: to the shard it is a client as any other, with a session of its own that is kept, bounded and shown like any
//! other; its client id begins with `$bridge/`, `$sink/` or `$source/`, which nobody else's may; no rule, rate, or number of
//! connections holds for it. What was begun and cut off (a future that is dropped) loses nothing.
//! Leaves to others: what a service does with its messages, and that it comes again when the connection ends.

mod client;
mod packets;
mod stream;

pub(crate) use client::{LocalClient, LocalConnack, LocalConnect, LocalDoor, LocalError, LocalWill};
pub(crate) use packets::{OwnedAck, OwnedConnack, OwnedPacket, OwnedPublish};
pub(crate) use stream::{MqttStream, StreamError};
