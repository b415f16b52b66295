//! What limited the rate of a run, judged from its outcome.

use crate::outcome::{BUSY_SHARE, Bottleneck, Outcome};
use crate::plan::LoopKind;

/// A generator's own delay counts from so much of the latency on, where it is worth a word at all.
const DELAY_SHARE: f64 = 0.25;
const DELAY_NS: u64 = 1_000_000;

/// What limited the rate.
pub(super) fn bottleneck(outcome: &Outcome) -> Bottleneck {
    let share = outcome.generator.worker_share_measured;
    let unsent = outcome.verdict.all_messages().unsent;
    if share >= BUSY_SHARE || sends_late(outcome) {
        Bottleneck::Generator
    } else if outcome.measured.messages_sent > 0 && (outcome.loop_kind == LoopKind::Closed || unsent > 0) {
        Bottleneck::Broker
    } else {
        Bottleneck::None
    }
}

/// Whether the latency is in a large part the generator's own delay: it sent late, and no window made it.
fn sends_late(outcome: &Outcome) -> bool {
    let timings = &outcome.timings;
    let (own, latency) = (timings.own_delay.percentile_ns(99.0), timings.latency_intended.percentile_ns(99.0));
    let acknowledgement = timings.acknowledged.percentile_ns(99.0);
    // Where nobody of the run subscribes, what a message took is its delay and the way to its acknowledgement.
    let whole = if latency > 0 { latency } else { own + acknowledgement };
    own >= DELAY_NS && own as f64 >= whole as f64 * DELAY_SHARE && (latency > 0 || acknowledgement > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open loop whose generator and whose messages were late by so much.
    fn late(own_ms: u64, latency_ms: u64) -> Outcome {
        let mut outcome = Outcome { loop_kind: LoopKind::Open, measured_s: 1.0, ..Outcome::default() };
        outcome.timings.own_delay.record(own_ms * 1_000_000);
        outcome.timings.latency_intended.record(latency_ms * 1_000_000);
        outcome
    }

    #[test]
    fn a_generator_that_sends_late_is_the_bottleneck_where_that_is_much_of_the_latency() {
        for (own_ms, latency_ms, expected) in [
            (66, 157, Bottleneck::Generator),
            (30, 157, Bottleneck::None),
            (0, 1, Bottleneck::None),
            (2, 3, Bottleneck::Generator),
        ] {
            assert_eq!(bottleneck(&late(own_ms, latency_ms)), expected, "{own_ms} of {latency_ms} ms");
        }
        let mut held_up = late(0, 157);
        held_up.timings.send_delay.record(140_000_000);
        assert_eq!(bottleneck(&held_up), Bottleneck::None, "a full window is not the generator's");
        held_up.generator.worker_share_measured = 0.95;
        assert_eq!(bottleneck(&held_up), Bottleneck::Generator);
    }
}
