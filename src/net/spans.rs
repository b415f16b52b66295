//! Spans of sampled messages, on their way from the shards to whoever tells a collector of them.
//!
//! Owns: which messages are sampled, for all shards, and the lane that spans go by.
//! Always holds: a shard never waits: what the lane has no room for is counted and forgotten. While nobody takes spans, a turn costs one look at
//! whether somebody does.
//! Leaves to others: what is sampled and when a span begins and ends (`shard`); who takes them (`services`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::time::{ClockId, clock_gettime};

use crate::limits::SPANS_QUEUED_MAX;
use crate::shard::{Span, SpanSampling};

/// A span with its end, in monotonic nanoseconds.
pub(crate) struct EndedSpan {
    pub(crate) span: Box<Span>,
    pub(crate) ended_ns: u64,
}

struct SpanLane {
    sampling: Arc<SpanSampling>,
    to: Sender<EndedSpan>,
}

static LANE: LazyLock<ArcSwapOption<SpanLane>> = LazyLock::new(ArcSwapOption::empty);
static IS_ON: AtomicBool = AtomicBool::new(false);
/// Sampled messages and spans of which nobody is told, because a shard or the lane had no room.
static LOST: AtomicU64 = AtomicU64::new(0);

/// From now on messages are sampled like this, and whoever has the other end is told. The one before is told nothing more.
pub(crate) fn begin(sampling: SpanSampling) -> Receiver<EndedSpan> {
    let (to, from) = bounded(SPANS_QUEUED_MAX);
    LANE.store(Some(Arc::new(SpanLane { sampling: Arc::new(sampling), to })));
    IS_ON.store(true, Ordering::Relaxed);
    from
}

/// Nobody is told any more.
pub(crate) fn end() {
    IS_ON.store(false, Ordering::Relaxed);
    LANE.store(None);
}

/// What a shard is to sample in this turn.
pub(crate) fn sampling() -> Option<Arc<SpanSampling>> {
    if !IS_ON.load(Ordering::Relaxed) {
        return None;
    }
    LANE.load().as_deref().map(|lane| Arc::clone(&lane.sampling))
}

/// A shard had no room for so many.
pub(crate) fn lost(spans: u64) {
    LOST.fetch_add(spans, Ordering::Relaxed);
}

/// Of how many nobody was told.
pub(crate) fn lost_total() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// One has ended.
#[cold]
pub(super) fn note(span: Box<Span>) {
    let lane = LANE.load();
    let Some(lane) = lane.as_deref() else { return };
    if lane.to.try_send(EndedSpan { span, ended_ns: mono_ns() }).is_err() {
        lost(1);
    }
}

/// The clock that shards go by.
pub(crate) fn mono_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ReasonCode;
    use crate::ids::{Qos, ShardId};
    use crate::shard::{SampledMessage, SpanEnd, SpanKind};

    #[test]
    fn a_lane_that_nobody_reads_costs_spans_and_no_time() {
        let message = Arc::new(SampledMessage {
            trace_id: [1; 16],
            receive_id: [2; 8],
            sent_by: None,
            trace_state: None,
            topic: "t".into(),
            payload_bytes: 0,
        });
        let span = Span {
            message,
            kind: SpanKind::Receive,
            id: [2; 8],
            began_ns: mono_ns(),
            client_id: "c".into(),
            qos: Qos::AtMostOnce,
            end: SpanEnd::Code(ReasonCode::Success),
            shard: ShardId(0),
        };
        let from = begin(SpanSampling { below: 0, keys: [1, 2] });
        assert!(sampling().is_some());
        let before = lost_total();
        (0..SPANS_QUEUED_MAX + 3).for_each(|_| note(Box::new(span.clone())));
        assert_eq!((from.len(), lost_total() - before), (SPANS_QUEUED_MAX, 3));
        let ended = from.recv().unwrap();
        assert!(ended.ended_ns >= ended.span.began_ns);
        end();
        assert!(sampling().is_none());
        let left = from.iter().count();
        assert_eq!(left, SPANS_QUEUED_MAX - 1, "what is there can be taken to the end");
    }
}
