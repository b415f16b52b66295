//! Which ranges are being closed, and how far that has come.
//!
//! Always holds: the ranges of the walks are those that are being closed, each of one walk.
//! Leaves to others: what is done on the way, and when a walk is answered (`closing`).

use std::collections::VecDeque;

use super::RequestId;
use crate::auth::AskId;
use crate::cluster::{RangeCount, RangeSet};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct ClosingRanges {
    /// Of all walks.
    pub ranges: RangeSet,
    /// How many the cluster has.
    pub count: RangeCount,
    pub walks: VecDeque<ClosingWalk>,
}

/// How far one command has come.
#[derive(Debug)]
pub(super) struct ClosingWalk {
    pub request: RequestId,
    pub ranges: RangeSet,
    /// The next slot of the table of sessions. No session of the ranges begins any more.
    pub next: u32,
    /// One more than the last.
    pub end: u32,
    /// The next question about a CONNECT that waits. One that is asked again is the newest.
    pub ask: AskId,
    pub is_over: bool,
}

impl ClosingRanges {
    /// Whether the range of a client is being closed.
    #[inline]
    pub(super) fn has(&self, client_id: &str) -> bool {
        !self.ranges.is_empty() && self.ranges.contains(self.count.range_of(client_id))
    }

    /// Whether a tick would go on.
    pub(super) fn has_work(&self) -> bool {
        self.walks.iter().any(|walk| !walk.is_over)
    }
}
