//! `dunlin store import`: what a data directory that is made of an export begins with.

use std::io::BufRead;
use std::path::Path;

use super::clock;
use super::disk::{ImportError, StoreRequest, import as import_lines};
use super::random::random;
use crate::limits::{STORE_CHECKPOINT_DEFAULT_S, STORE_PACE_DEFAULT_BYTES, STORE_SEGMENT_DEFAULT_BYTES};

/// Makes a data directory of the lines that `dunlin store export` wrote, or of a `mosquitto.db`. Gives what could not be carried over.
pub fn import(path: &Path, node_name: Option<&str>, input: &mut dyn BufRead) -> Result<Vec<String>, ImportError> {
    let request = StoreRequest {
        path: path.to_owned(),
        node_name: node_name.unwrap_or_default().to_owned(), // else the lines say it
        is_named: node_name.is_some(),
        shards: 1, // likewise
        segment_bytes: STORE_SEGMENT_DEFAULT_BYTES,
        reserve_bytes: 0,
        checkpoint_interval_s: STORE_CHECKPOINT_DEFAULT_S,
        checkpoint_pace_bytes: STORE_PACE_DEFAULT_BYTES,
        queued_memory_bytes: 0, // nobody is served
        random: [random(), random(), random(), random()],
        now: clock::now(),
        progress: std::sync::Arc::default(),
    };
    import_lines(&request, input)
}
