//! The engine of a cluster, as one node reaches it: servers of NATS with `JetStream`.
//!
//! Owns: connections to it, two for each node (`ways`), and whether it is one that a cluster can rest on ([`Engine`]): versions, syncs, accounts, replicas; the
//! streams of a cluster (`assets`); the documents that all nodes read ([`ControlStore`]); the thread in which a node lives ([`start_node`]).
//! Always holds: an [`Engine`] that exists was asked by both logins: each server that may hold a replica syncs what it acknowledges.
//! Leaves to others: what is said to it (`cluster`), which settings there are (`config`).
//!
//! Nothing starts it yet: `tests/cluster` runs it against real servers.

mod assets;
mod control_order;
mod control_store;
mod driver;
mod engine;
mod engine_answers;
mod engine_fault;
mod engine_servers;
mod lanes;
mod log_asks;
mod thread;
mod ways;

pub use control_store::{ControlAnswer, ControlEvent, ControlStore};
pub use engine::Engine;
pub use engine_fault::EngineFault;
pub use lanes::{ClusterAppend, ClusterDoor, ClusterNews, ClusterWord};
pub use thread::{ClusterStart, start_node};
