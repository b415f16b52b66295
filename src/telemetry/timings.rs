//! What is timed: on the way of messages by the shard, on its loop and its disk by whoever runs it.

use super::duration_histogram::{DURATION_BUCKETS, DurationHistogram};

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// A turn is to take no millisecond.
const TURN_ENDS_NS: [u64; DURATION_BUCKETS] =
    [50 * US, 100 * US, 250 * US, 500 * US, MS, 2 * MS, 5 * MS, 20 * MS, 100 * MS, S];
/// From a good disk to one that hangs.
const LOG_WRITE_ENDS_NS: [u64; DURATION_BUCKETS] =
    [100 * US, 250 * US, 500 * US, MS, 5 * MS, 10 * MS, 50 * MS, 250 * MS, S, 5 * S];
/// From the next turn, over a sync of the disk and a mobile network, to a client that does not answer.
const ACK_ENDS_NS: [u64; DURATION_BUCKETS] =
    [100 * US, 500 * US, MS, 5 * MS, 10 * MS, 50 * MS, 250 * MS, S, 5 * S, 30 * S];
/// From a full window to a client that was away for days.
const QUEUE_ENDS_NS: [u64; DURATION_BUCKETS] =
    [100 * MS, 500 * MS, S, 5 * S, 10 * S, 60 * S, 600 * S, 3_600 * S, 21_600 * S, 86_400 * S];

/// What a shard times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTimings {
    /// From a place in a queue to the client.
    pub queued: DurationHistogram,
    /// From PUBLISH with QoS 1 or 2 to the client's PUBACK or PUBREC.
    pub client_acks: DurationHistogram,
    /// From a client's PUBLISH with QoS 1 or 2 to the broker's PUBACK or PUBREC.
    pub own_acks: DurationHistogram,
}

impl Default for MessageTimings {
    fn default() -> Self {
        Self {
            queued: DurationHistogram::new(&QUEUE_ENDS_NS),
            client_acks: DurationHistogram::new(&ACK_ENDS_NS),
            own_acks: DurationHistogram::new(&ACK_ENDS_NS),
        }
    }
}

impl MessageTimings {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.queued.add(&other.queued);
        self.client_acks.add(&other.client_acks);
        self.own_acks.add(&other.own_acks);
    }
}

/// What whoever runs a shard knows of its loop, its rings and its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopFigures {
    /// Turns, from the look at the clock to the entry into the kernel that ends them.
    pub turns: DurationHistogram,
    /// Writes into the log, from when they are given to the kernel until they are known to be durable.
    pub log_writes: DurationHistogram,
    /// Bytes of those.
    pub log_bytes: u64,
    /// Entries into the kernel.
    pub ring_enters: u64,
    /// Completions taken from the rings.
    pub ring_completions: u64,
    /// Submission queues that were full in the middle of a turn.
    pub ring_queue_full: u64,
    /// Receives that found no buffer free.
    pub ring_out_of_buffers: u64,
    /// Sends that the socket did not take whole.
    pub ring_short_sends: u64,
    /// Connections lost on their way in, or refused for want of a descriptor or of memory.
    pub ring_accept_failures: u64,
    /// Datagrams that the system did not take.
    pub ring_datagrams_not_sent: u64,
}

impl Default for LoopFigures {
    fn default() -> Self {
        Self {
            turns: DurationHistogram::new(&TURN_ENDS_NS),
            log_writes: DurationHistogram::new(&LOG_WRITE_ENDS_NS),
            log_bytes: 0,
            ring_enters: 0,
            ring_completions: 0,
            ring_queue_full: 0,
            ring_out_of_buffers: 0,
            ring_short_sends: 0,
            ring_accept_failures: 0,
            ring_datagrams_not_sent: 0,
        }
    }
}

impl LoopFigures {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.turns.add(&other.turns);
        self.log_writes.add(&other.log_writes);
        self.log_bytes += other.log_bytes;
        self.ring_enters += other.ring_enters;
        self.ring_completions += other.ring_completions;
        self.ring_queue_full += other.ring_queue_full;
        self.ring_out_of_buffers += other.ring_out_of_buffers;
        self.ring_short_sends += other.ring_short_sends;
        self.ring_accept_failures += other.ring_accept_failures;
        self.ring_datagrams_not_sent += other.ring_datagrams_not_sent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_ascend() {
        for ends_ns in [TURN_ENDS_NS, LOG_WRITE_ENDS_NS, ACK_ENDS_NS, QUEUE_ENDS_NS] {
            assert!(ends_ns.is_sorted_by(|left, right| left < right), "{ends_ns:?}");
        }
    }
}
