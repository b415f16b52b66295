//! What a broker asks for when it starts on a data directory.

use std::path::PathBuf;
use std::sync::Arc;

use super::read_progress::ReadProgress;
use crate::time::Now;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct StoreRequest {
    /// Where.
    pub path: PathBuf,
    /// What this node is called.
    pub node_name: String,
    /// Whether the operator chose that name: then another node's directory is refused.
    pub is_named: bool,
    /// How many logs there are to be.
    pub shards: usize,
    /// Size of a segment's file.
    pub segment_bytes: u64,
    /// Room on the disk that is left to others.
    pub reserve_bytes: u64,
    /// Least time between two checkpoints of a log.
    pub checkpoint_interval_s: u32,
    /// What checkpoints write in a second.
    pub checkpoint_pace_bytes: u64,
    /// How much of what is queued is to be in memory at once.
    pub queued_memory_bytes: u64,
    /// Drawn by whoever asks: names a directory that is made, and keys the names in it.
    pub random: [u64; 4],
    /// When the broker starts.
    pub now: Now,
    /// Told how far reading back has come.
    pub progress: Arc<ReadProgress>,
}
