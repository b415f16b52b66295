//! The log: what must be on stable storage before it is acknowledged.
//!
//! Owns: what a record is ([`Record`]) and its position ([`Position`]); how it is written down ([`format`]), in which batches
//! ([`RecordWriter`]), how it is read back ([`scan_log`]) and what it comes to ([`state`], [`recover_log`]). The shard appends records and holds back every
//! acknowledgement for one until the store says that it is durable; this seam is in use from the first day,
//! whatever store stands behind it.
//! Always holds: positions ascend; "durable up to P" means every record at or before P.
//! Leaves to others: when there is a record (`shard`), the disk (`runtime`).
//!
//! The store that is in use is [`MemoryStore`]: it keeps nothing beyond the shard's own state and is durable at once, for as
//! long as the process lives. The log takes its place behind the same three calls.

mod buffer;
mod checkpoint;
pub mod format;
mod medium;
pub mod memory;
pub mod record;
mod recovery;
mod scan;
mod segments;
pub mod state;
mod writer;

pub use buffer::WriteBuffer;
pub use checkpoint::{CheckpointError, CheckpointWriter, PageWrite};
pub use medium::{Medium, MediumError};
pub use memory::MemoryStore;
pub use record::{Position, Record};
pub use recovery::{RecoveredLog, StoredMessage, join_logs, read_message, recover_log};
pub use scan::{BatchSeen, Damage, LogScan, SegmentSeen, scan_log};
pub use segments::{SegmentEnd, SegmentTable};
pub use writer::{LogConfig, LogEnd, RecordGroup, RecordWriter, SegmentWrite, Urgency, WriteError};
