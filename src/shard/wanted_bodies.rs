//! Which messages a start brings into memory, and which stay on the disk until their client can take them.
//!
//! Always holds: what is retained, in flight, a will, or on its way to another log is brought into memory; of what is queued as much as queues may
//! take there.

use crate::ids::MessageId;
use crate::store::state::LogState;

/// See the module's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WantedBodies {
    /// By ascending id, as they lie on the disk.
    pub in_memory: Vec<MessageId>,
    /// Of which nothing is there, by ascending id.
    pub lost: Vec<MessageId>,
}

/// What a queued message takes in memory besides its record, near enough.
const AROUND_BYTES: u64 = 192;

impl WantedBodies {
    /// Of a log that was read back, whose queues may take so many bytes of memory.
    pub(super) fn of(state: &LogState, queued_bytes: u64) -> Self {
        let mut left_bytes = queued_bytes;
        let mut in_memory: Vec<MessageId> = Vec::new();
        in_memory.extend(state.retained.values().filter_map(|retained| retained.message));
        for (to, _) in state.mailbox.numbered() {
            in_memory.extend(state.mailbox.forwards(to).map(|forward| forward.message));
        }
        for (_, session) in state.sessions() {
            in_memory.extend(session.will.as_deref().map(|will| will.message));
            let mut is_full = false;
            for delivery in &session.deliveries {
                let Some(id) = delivery.message else { continue };
                if delivery.packet_id.is_none() {
                    // Behind the first one that stays on the disk all others do. Where nothing fits, nothing is looked up: a
                    // start may have ten million to go through.
                    is_full |= left_bytes < AROUND_BYTES;
                    if is_full {
                        continue;
                    }
                    let len = state.messages.place(id).map_or(0, |place| u64::from(place.len));
                    let bytes = len + AROUND_BYTES;
                    is_full = bytes > left_bytes;
                    if is_full {
                        continue;
                    }
                    left_bytes -= bytes;
                }
                in_memory.push(id);
            }
        }
        in_memory.sort_unstable();
        in_memory.dedup();
        in_memory.retain(|id| state.messages.place(*id).is_some());
        let mut lost: Vec<MessageId> = state.messages.unseen().collect();
        lost.sort_unstable();
        Self { in_memory, lost }
    }
}
