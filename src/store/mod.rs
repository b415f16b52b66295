//! The log: what must be on stable storage before it is acknowledged.
//!
//! Owns: how a record is written down ([`format`]) and its position ([`Position`]); what a turn of a shard writes ([`LogOutput`]), in which batches
//! ([`RecordWriter`]), how it is read back ([`scan_log`]) and what it comes to ([`state`], [`recover_log`]). The shard encodes records and holds back every
//! acknowledgement for one until the store says that it is durable.
//! Always holds: positions ascend; "durable up to P" means every record at or before P.
//! Leaves to others: when there is a record (`shard`), the disk (`runtime`).
//!
//! Where nothing is to be kept ([`LogKeeping`]), nothing is written; whatever stands in for a log there ([`MemoryStore`]) is durable at once.

mod buffer;
mod checkpoint;
mod cut;
mod finder;
pub mod format;
mod lost_parts;
mod medium;
pub mod memory;
pub mod mosquitto_db;
mod new_log;
pub mod record;
mod recovery;
mod scan;
mod segment_index;
pub mod state;
mod upkeep;
mod writer;

pub use buffer::WriteBuffer;
pub use checkpoint::{CheckpointError, CheckpointWriter, PageWrite};
pub use cut::{CutPlace, LogTrace, consistent_cuts};
pub use finder::MessageFinder;
pub use lost_parts::LostParts;
pub use medium::{Medium, MediumError};
pub use memory::MemoryStore;
pub use new_log::{NewLog, NewLogFiles};
pub use record::{LogKeeping, LogOutput, LogRoom, LogStart, Position};
pub use recovery::{RecoveredLog, StoredMessage, join_logs, read_message, read_records, recover_log, recover_log_with};
pub use scan::{BatchSeen, Damage, LogScan, SegmentSeen, scan_log};
pub use upkeep::{CompleteSegments, DurableEnd, MadeCheckpoint, covered_by, needed_by, write_pages};
pub use writer::{LogConfig, LogEnd, RecordGroup, RecordWriter, SegmentWrite, Urgency, WriteError};
