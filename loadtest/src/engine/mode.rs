//! How a group publishes in the stage that is going on.

use super::schedule::Schedule;

/// How a role publishes just now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Silent,
    Open(Schedule),
    Closed {
        window: u32,
        limit: u64,
    },
    /// As fast as the broker acknowledges.
    Burst {
        limit: u64,
    },
}
