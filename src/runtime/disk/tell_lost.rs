//! The lines of the log that say what of a shard's log is lost.

use crate::store::LostParts;
use crate::store::format::LogId;
use crate::telemetry::log::event::store_damaged;

/// One line for each part.
pub fn tell_lost(log: LogId, lost: &LostParts) {
    for found in &lost.damage {
        store_damaged(&format_args!(
            "{log}: records {} to {} are lost, in segment {} from block {} on",
            found.first,
            found.next - 1,
            found.segment.0,
            found.block
        ));
    }
    for number in &lost.missing {
        store_damaged(&format_args!("{log}: segment {} is not there, and what was in it is lost", number.0));
    }
    for number in &lost.unreadable {
        store_damaged(&format_args!("{log}: segment {} cannot be read, and what was in it is lost", number.0));
    }
    for number in &lost.cut_off {
        store_damaged(&format_args!("{log}: segment {} is shorter than it was made", number.0));
    }
}
