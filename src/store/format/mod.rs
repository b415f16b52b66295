//! The bytes that the store puts on a disk, and nothing of how they get there.
//!
//! Owns: every layout ([`LogRecord`], [`BatchHeader`], [`SegmentHeader`], [`PageHeader`], [`NewestSegment`], [`Manifest`]), the version of all of
//! them ([`FORMAT_VERSION`]) and the names of files ([`StoreFile`]). `docs/STORAGE-FORMAT.md` describes them, and a test holds
//! it to this module.
//! Always holds: what was encoded decodes to the same value; any other bytes give a [`FormatError`], never a panic and never
//! an allocation that was not checked against the bytes that are there. Nothing depends on a seed of the process, on
//! its monotonic clock or, beyond the name of a log, on the number of shards.
//! Leaves to others: what a record means (`state`), the order of batches (`scan`), the disk (`runtime`).

mod batch;
mod encoding;
mod error;
mod fields;
mod file;
mod forward;
mod id;
mod list;
mod manifest;
mod message;
mod newest;
mod owner;
mod page;
mod queued;
mod record;
mod records;
mod sealed;
mod segment;
#[cfg(test)]
pub(in crate::store) mod tests;

pub use batch::{BatchBody, BatchHeader, BatchPlace, INBOX_BYTES, InboxCount, padded};
pub use error::FormatError;
pub use file::{LogId, SegmentNumber, StoreFile};
pub use forward::ForwardTarget;
pub use list::{Element, ListOf};
pub use manifest::Manifest;
pub use message::MessageRecord;
pub use newest::NewestSegment;
pub use owner::{BackEndDecision, SessionOwner};
pub use page::{PageHeader, PageKind};
pub use queued::QueuedRecord;
pub use record::{KINDS, LogRecord};
pub use records::{RecordAt, Records, message_id, read_alone, record_len};
pub use segment::SegmentHeader;

pub use crate::ids::{MessageId, WriteStamp};

/// Version of every layout in this module. A directory of a newer one is refused; an older one is read, and is of this one from then on.
///
/// Version 2 knows whose a session is (kinds 24 to 26); nothing else has changed.
pub const FORMAT_VERSION: u16 = 2;

/// The oldest version that is read.
const FORMAT_VERSION_MIN: u16 = 1;

/// A position that no log comes to: at a thousand million records a second it would take a century.
const POSITION_MAX: u64 = 1 << 62;

/// Blocks of a segment's file at most: what is in it is found by 32 bits.
pub const SEGMENT_BLOCKS_MAX: u32 = 1 << 20;
