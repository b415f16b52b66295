//! The engine of a cluster, as one node reaches it: servers of NATS with `JetStream`.
//!
//! Owns: connections to it, and whether it is one that a cluster can rest on ([`Engine`]): versions, syncs, accounts, replicas; the streams of a cluster
//! (`assets`); the documents that all nodes read ([`ControlStore`]).
//! Always holds: an [`Engine`] that exists was asked by both logins: each server that may hold a replica syncs what it acknowledges.
//! Leaves to others: what is said to it (`cluster`), which settings there are (`config`).
//!
//! Nothing starts it yet: `tests/cluster` runs it against real servers.

mod assets;
mod control_order;
mod control_store;
mod engine;
mod engine_fault;
mod engine_servers;

pub use control_store::{ControlAnswer, ControlEvent, ControlStore};
pub use engine::Engine;
pub use engine_fault::EngineFault;
