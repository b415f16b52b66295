//! Whether the generator itself was late: with its messages, or in its handshakes.

use super::Outcome;

/// A generator's own delay counts from so much of the whole on, where it is worth a word at all.
const DELAY_SHARE: f64 = 0.25;
const DELAY_NS: u64 = 1_000_000;

impl Outcome {
    /// Whether the latency is in a large part the generator's own delay: it sent late, and no window made it.
    pub fn sends_late(&self) -> bool {
        let timings = &self.timings;
        let (own, latency) = (timings.own_delay.percentile_ns(99.0), timings.latency_intended.percentile_ns(99.0));
        let acknowledgement = timings.acknowledged.percentile_ns(99.0);
        // Where nobody of the run subscribes, what a message took is its delay and the way to its acknowledgement.
        let whole = if latency > 0 { latency } else { own + acknowledgement };
        is_much(own, whole) && (latency > 0 || acknowledgement > 0)
    }

    /// Whether handshakes of TLS took the time that they did in a large part because the generator was busy with others.
    pub fn shakes_late(&self) -> bool {
        is_much(self.timings.own_handshake.percentile_ns(99.0), self.handshake_p99_ns())
    }

    /// Of handshakes of both kinds.
    pub fn handshake_p99_ns(&self) -> u64 {
        let mut whole = self.timings.tls_handshake.clone();
        whole.merge(&self.timings.tls_resumption);
        whole.percentile_ns(99.0)
    }
}

fn is_much(own_ns: u64, whole_ns: u64) -> bool {
    own_ns >= DELAY_NS && own_ns as f64 >= whole_ns as f64 * DELAY_SHARE
}
