//! What the broker does beside its shards, on threads of its own.
//!
//! Owns: the admin server ([`admin`]); what tells a collector of sampled messages ([`otlp`]); what connects the broker to others ([`connectors`]), as clients of
//! its own ([`local`]): what carries messages to other systems ([`sinks`]), and what brings theirs (`sources`); the engine of a cluster (`cluster`).
//! Always holds: nothing here waits on a shard's thread, and no shard waits for it: questions go by the lanes of
//! `inbox`, bounded, and an answer that nobody waits for any more is dropped.
//! Leaves to others: what a question means (`shard`), when these threads start and end (`runtime`).

pub(crate) mod admin;
mod bridge;
#[cfg(feature = "nats")]
pub mod cluster;
pub(crate) mod connectors;
#[cfg(feature = "kafka")]
mod kafka;
pub(crate) mod local;
#[cfg(feature = "nats")]
mod nats;
pub(crate) mod otlp;
pub(crate) mod sinks;
mod sources;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the suites that run the built binary")]
mod test_servers;
#[cfg(any(feature = "nats", feature = "postgres"))]
mod tls_client;
