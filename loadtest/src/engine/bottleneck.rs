//! What limited the rate of a run, judged from its outcome.

use crate::outcome::{BUSY_SHARE, Bottleneck, Outcome};
use crate::plan::LoopKind;

/// What limited the rate.
pub(super) fn bottleneck(outcome: &Outcome) -> Bottleneck {
    let share = outcome.generator.worker_share_measured;
    let unsent = outcome.verdict.all_messages().unsent;
    // Where messages were measured, handshakes say nothing of their rate.
    let is_bound_by_handshakes = outcome.loop_kind == LoopKind::None && outcome.shakes_late();
    if share >= BUSY_SHARE || outcome.sends_late() || is_bound_by_handshakes {
        Bottleneck::Generator
    } else if outcome.measured.messages_sent > 0 && (outcome.loop_kind == LoopKind::Closed || unsent > 0) {
        Bottleneck::Broker
    } else {
        Bottleneck::None
    }
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
        for (whole_ms, own_ms, expected) in
            [(20, 15, Bottleneck::Generator), (20, 2, Bottleneck::None), (1, 0, Bottleneck::None)]
        {
            let mut shaken = Outcome { loop_kind: LoopKind::None, ..Outcome::default() };
            shaken.timings.tls_handshake.record(whole_ms * 1_000_000);
            shaken.timings.own_handshake.record(own_ms * 1_000_000);
            assert_eq!(bottleneck(&shaken), expected, "{own_ms} of {whole_ms} ms in handshakes");
        }
        held_up.generator.worker_share_measured = 0.95;
        assert_eq!(bottleneck(&held_up), Bottleneck::Generator);
    }
}
