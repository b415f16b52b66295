//! The log: what must be on stable storage before it is acknowledged.
//!
//! Owns: what a record is ([`Record`]) and its position ([`Position`]); how it is written down ([`format`]). The shard appends records and holds back every
//! acknowledgement for one until the store says that it is durable; this seam is in use from the first day,
//! whatever store stands behind it.
//! Always holds: positions ascend; "durable up to P" means every record at or before P.
//! Leaves to others: when there is a record (`shard`), the disk (`runtime`).
//!
//! The store that exists is [`MemoryStore`]: it keeps nothing beyond the shard's own state and is durable at once, for as
//! long as the process lives. A write-ahead log takes its place behind the same three calls.

pub mod format;
pub mod memory;
pub mod record;

pub use memory::MemoryStore;
pub use record::{Position, Record};
