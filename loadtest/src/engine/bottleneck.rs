//! What limited the rate of a run, judged from its outcome.

use crate::outcome::{Bottleneck, Outcome};
use crate::plan::LoopKind;

/// A generator that is busy for so much of its time is the bottleneck.
const BUSY_SHARE: f64 = 0.9;

/// What limited the rate.
pub(super) fn bottleneck(outcome: &Outcome) -> Bottleneck {
    let share = outcome.generator.worker_share_measured;
    let unsent = outcome.verdict.all_messages().unsent;
    if share >= BUSY_SHARE {
        Bottleneck::Generator
    } else if outcome.measured.messages_sent > 0 && (outcome.loop_kind == LoopKind::Closed || unsent > 0) {
        Bottleneck::Broker
    } else {
        Bottleneck::None
    }
}
