//! What the broker does beside its shards, on threads of its own.
//!
//! Owns: the admin server ([`admin`]); what connects the broker to others ([`connectors`]), as clients of its own ([`local`]), such as
//! what carries messages to other systems ([`sinks`]).
//! Always holds: nothing here waits on a shard's thread, and no shard waits for it: questions go by the lanes of
//! `inbox`, bounded, and an answer that nobody waits for any more is dropped.
//! Leaves to others: what a question means (`shard`), when these threads start and end (`runtime`).

pub(crate) mod admin;
mod bridge;
pub(crate) mod connectors;
pub(crate) mod local;
#[allow(dead_code, reason = "its frame is not put together yet")]
pub(crate) mod sinks;
