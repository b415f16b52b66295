//! Sampled messages: what this shard does with them, as spans of OpenTelemetry.
//!
//! Owns: which messages are sampled, their ids, and the spans that have begun: of publishers that wait for an acknowledgement, of
//! deliveries that are in flight.
//! Always holds: what is under way is bounded in number, in bytes and in time; what goes beyond is counted. Ids follow from the keys
//! that the edge gives, so one seed gives one run.
//! Leaves to others: when something begins and ends (`span_points`); when a span's end was, by the clock, and who is told of it (`net`,
//! `services`).

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::sampled::{SampledMessage, Span, SpanEnd, SpanKind};
use super::{Effects, Event, Turn};
use crate::codec::{Forwarded, Property, ReasonCode};
use crate::ids::{ClientKey, PacketId, Qos, SessionId, ShardId};
use crate::limits::{
    SAMPLED_DELIVERIES_MAX, SAMPLED_KEPT_MAX_BYTES, SAMPLED_PER_S_MAX, SPAN_MAX_S, SPANS_UNDER_WAY_MAX,
};
use crate::session::Message;
use crate::telemetry::{TraceContext, checked_trace_state};
use crate::time::Now;

/// A sampled message that is being routed or sent just now.
#[derive(Debug)]
pub(super) struct SampledNow {
    pub(super) message: Arc<SampledMessage>,
    /// So many more deliveries have a span.
    left: u8,
    /// How its publisher's packet will be answered, where that is an error.
    pub(super) refused: Option<ReasonCode>,
    /// What it is kept as.
    kept_as: Option<usize>,
}

/// One that waits in a queue, or for subscribers of a later turn. The message stays, so that nothing else has its address meanwhile.
#[derive(Debug)]
struct KeptSample {
    _message: Message,
    bytes: u64,
    sampled: Arc<SampledMessage>,
    left: u8,
    since_s: u32,
}

/// A span that has begun. The key tells whether the session's slot is another's meanwhile.
#[derive(Debug)]
pub(super) struct SpanBegun {
    pub(super) message: Arc<SampledMessage>,
    pub(super) key: ClientKey,
    pub(super) client_id: Box<str>,
    pub(super) qos: Qos,
    pub(super) began_ns: u64,
}

/// By session and packet identifier.
type SpansBegun = BTreeMap<(SessionId, u16), SpanBegun>;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// What is routed or sent in this moment, if it is sampled.
    now: Option<SampledNow>,
    /// Ids given.
    number: u64,
    /// The second in which messages are counted, and how many it had.
    second: (u32, u32),
    acks: SpansBegun,
    deliveries: SpansBegun,
    kept: BTreeMap<usize, KeptSample>,
    kept_bytes: u64,
}

impl Spans {
    /// Begins with a message of a client, which is sampled or not.
    pub(super) fn begin(
        &mut self,
        turn: &mut Turn<'_>,
        shard: ShardId,
        topic: &str,
        published: Forwarded<'_>,
        payload_bytes: u64,
    ) {
        let Some(sampling) = turn.fx.sampling.as_deref().copied() else { return };
        let parent = context_of(published);
        let trace_id = match parent {
            Some(parent) if parent.is_sampled => parent.trace_id,
            Some(_) => return,
            None => {
                let low = self.next_id(sampling.keys, shard);
                if u64::from_be_bytes(low) >> 1 >= sampling.below {
                    return;
                }
                join(self.next_id(sampling.keys, shard), low)
            }
        };
        if self.second.0 != turn.now.s() {
            self.second = (turn.now.s(), 0);
        }
        if self.second.1 >= SAMPLED_PER_S_MAX {
            turn.fx.spans_lost += 1;
            return;
        }
        self.second.1 += 1;
        let message = SampledMessage {
            trace_id,
            receive_id: self.next_id(sampling.keys, shard),
            sent_by: parent.map(|parent| parent.parent_id),
            trace_state: parent.and_then(|_| state_of(published)),
            topic: topic.into(),
            payload_bytes,
        };
        self.enter(Arc::new(message));
    }

    /// A sampled message is routed from now on. Returns what was before.
    pub(super) fn enter(&mut self, message: Arc<SampledMessage>) -> Option<SampledNow> {
        self.now.replace(SampledNow { message, left: SAMPLED_DELIVERIES_MAX, refused: None, kept_as: None })
    }

    /// The same of one that was kept, or is not sampled.
    pub(super) fn enter_kept(&mut self, message: &Message) -> Option<SampledNow> {
        let (address, before) = (message.address(), self.now.take());
        self.now = self.kept.get(&address).map(|kept| SampledNow {
            message: Arc::clone(&kept.sampled),
            left: kept.left,
            refused: None,
            kept_as: Some(address),
        });
        before
    }

    /// It is not any more, and what was before is.
    pub(super) fn leave(&mut self, before: Option<SampledNow>) -> Option<SampledNow> {
        let left = std::mem::replace(&mut self.now, before)?;
        if let Some(address) = left.kept_as {
            if left.left == 0 {
                self.forget(address);
            } else if let Some(kept) = self.kept.get_mut(&address) {
                kept.left = left.left;
            }
        }
        Some(left)
    }

    /// What is sampled now.
    pub(super) fn sampled(&self) -> Option<&Arc<SampledMessage>> {
        self.now.as_ref().map(|now| &now.message)
    }

    /// The publisher's packet is refused.
    pub(super) fn note_refused(&mut self, code: ReasonCode) {
        if let Some(now) = &mut self.now {
            now.refused = Some(code);
        }
    }

    /// What is sampled now is sent later, or to others.
    pub(super) fn keep(&mut self, turn: &mut Turn<'_>, message: &Message) {
        let address = message.address();
        let Some(now) = self.now.as_mut().filter(|now| now.left > 0 && now.kept_as.is_none()) else { return };
        let bytes = message.memory_bytes();
        if self.kept.len() >= SPANS_UNDER_WAY_MAX || self.kept_bytes + bytes > SAMPLED_KEPT_MAX_BYTES {
            turn.fx.spans_lost += 1;
            return;
        }
        now.kept_as = Some(address);
        let (sampled, since_s) = (Arc::clone(&now.message), turn.now.s());
        let kept = KeptSample { _message: message.clone(), bytes, sampled, left: now.left, since_s };
        if self.kept.insert(address, kept).is_none() {
            self.kept_bytes += bytes;
        }
    }

    fn forget(&mut self, address: usize) {
        if let Some(kept) = self.kept.remove(&address) {
            self.kept_bytes -= kept.bytes;
        }
    }

    /// One delivery more of what is sampled now, if it is to have a span and is this message.
    pub(super) fn take_delivery(&mut self, topic: &str) -> Option<Arc<SampledMessage>> {
        // A will may leave in between: it is another message.
        let now = self.now.as_mut().filter(|now| &*now.message.topic == topic)?;
        now.left = now.left.checked_sub(1)?;
        Some(Arc::clone(&now.message))
    }

    /// A publisher waits for its acknowledgement.
    pub(super) fn begin_ack(&mut self, fx: &mut Effects, id: SessionId, packet_id: PacketId, begun: SpanBegun) {
        add(&mut self.acks, fx, id, packet_id, begun);
    }

    /// It leaves.
    pub(super) fn end_ack(&mut self, id: SessionId, packet_id: PacketId) -> Option<SpanBegun> {
        self.acks.remove(&(id, packet_id.get()))
    }

    /// A delivery is in flight.
    pub(super) fn begin_delivery(&mut self, fx: &mut Effects, id: SessionId, packet_id: PacketId, begun: SpanBegun) {
        add(&mut self.deliveries, fx, id, packet_id, begun);
    }

    /// It has ended.
    pub(super) fn end_delivery(&mut self, id: SessionId, packet_id: PacketId) -> Option<SpanBegun> {
        self.deliveries.remove(&(id, packet_id.get()))
    }

    /// Tells of a span, which ends now.
    pub(super) fn tell(&mut self, fx: &mut Effects, shard: ShardId, kind: SpanKind, begun: SpanBegun, end: SpanEnd) {
        // Without it nothing is sampled any more, and what is under way is told to nobody.
        let Some(keys) = fx.sampling.as_deref().map(|sampling| sampling.keys) else { return };
        let SpanBegun { message, client_id, qos, began_ns, .. } = begun;
        let id = if kind == SpanKind::Receive { message.receive_id } else { self.next_id(keys, shard) };
        fx.events.push(Event::Span(Box::new(Span { message, kind, id, began_ns, client_id, qos, end, shard })));
    }

    /// Gives up what takes too long, and everything where nothing is sampled any more.
    pub(super) fn tidy(&mut self, turn: &mut Turn<'_>, shard: ShardId) {
        if turn.fx.sampling.is_none() {
            (self.acks, self.deliveries, self.kept, self.kept_bytes) = Default::default();
            return;
        }
        for (_, begun) in take_old(&mut self.acks, turn.now) {
            self.tell(turn.fx, shard, SpanKind::Receive, begun, SpanEnd::GivenUp);
        }
        for (_, begun) in take_old(&mut self.deliveries, turn.now) {
            self.tell(turn.fx, shard, SpanKind::Send, begun, SpanEnd::GivenUp);
        }
        self.forget_old(turn.now);
    }

    fn forget_old(&mut self, now: Now) {
        let is_old = |kept: &KeptSample| now.s().saturating_sub(kept.since_s) > SPAN_MAX_S;
        self.kept.retain(|_, kept| !is_old(kept));
        self.kept_bytes = self.kept.values().map(|kept| kept.bytes).sum();
    }

    fn next_id(&mut self, keys: [u64; 2], shard: ShardId) -> [u8; 8] {
        self.number += 1;
        id_of(keys, shard, self.number)
    }
}

fn take_old(spans: &mut SpansBegun, now: Now) -> SpansBegun {
    let is_old = |begun: &SpanBegun| now.mono_ns.saturating_sub(begun.began_ns) > u64::from(SPAN_MAX_S) * 1_000_000_000;
    if !spans.values().any(is_old) {
        return SpansBegun::new();
    }
    let (old, young) = std::mem::take(spans).into_iter().partition(|(_, begun)| is_old(begun));
    *spans = young;
    old
}

fn add(spans: &mut SpansBegun, fx: &mut Effects, id: SessionId, packet_id: PacketId, begun: SpanBegun) {
    if spans.len() < SPANS_UNDER_WAY_MAX {
        spans.insert((id, packet_id.get()), begun);
    } else {
        fx.spans_lost += 1;
    }
}

/// An id that nobody has seen: not zero, which means none.
fn id_of([first, second]: [u64; 2], shard: ShardId, number: u64) -> [u8; 8] {
    let mut hasher = SipHasher13::new_with_keys(first, second);
    hasher.write_u8(shard.0);
    hasher.write_u64(number);
    hasher.finish().max(1).to_be_bytes()
}

fn join(high: [u8; 8], low: [u8; 8]) -> [u8; 16] {
    (u128::from(u64::from_be_bytes(high)) << 64 | u128::from(u64::from_be_bytes(low))).to_be_bytes()
}

/// What a message says of the trace that it belongs to: nothing, if it says it twice.
fn context_of(properties: Forwarded<'_>) -> Option<TraceContext> {
    let mut values = values_of(properties, "traceparent");
    let first = values.next()?;
    if values.next().is_some() { None } else { TraceContext::parse(first) }
}

/// What goes with it: several are one list.
fn state_of(properties: Forwarded<'_>) -> Option<Box<str>> {
    let mut all = String::new();
    for value in values_of(properties, "tracestate") {
        let value = checked_trace_state(value)?;
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(value);
        checked_trace_state(&all)?;
    }
    (!all.is_empty()).then(|| all.into())
}

fn values_of<'a>(properties: Forwarded<'a>, wanted: &'static str) -> impl Iterator<Item = &'a str> {
    properties.iter().filter_map(move |property| match property {
        Property::UserProperty(name, value) if name == wanted => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::MessageRef;
    use crate::shard::SpanSampling;

    #[test]
    fn what_is_under_way_is_bounded_in_number_and_in_bytes() {
        let (mut spans, mut fx) = (Spans::default(), Effects::default());
        let now = Now { mono_ns: 0, unix_ms: 0 };
        let sampled = Arc::new(SampledMessage {
            trace_id: [1; 16],
            receive_id: [2; 8],
            sent_by: None,
            trace_state: None,
            topic: "t".into(),
            payload_bytes: 0,
        });
        let begun = || SpanBegun {
            message: Arc::clone(&sampled),
            key: ClientKey(1),
            client_id: "c".into(),
            qos: Qos::AtLeastOnce,
            began_ns: 0,
        };
        for number in 0..SPANS_UNDER_WAY_MAX as u32 + 2 {
            spans.begin_delivery(&mut fx, SessionId(number), PacketId::MIN, begun());
            spans.begin_ack(&mut fx, SessionId(number), PacketId::MIN, begun());
        }
        assert_eq!(
            (spans.deliveries.len(), spans.acks.len(), fx.spans_lost),
            (SPANS_UNDER_WAY_MAX, SPANS_UNDER_WAY_MAX, 4)
        );
        fx.spans_lost = 0;
        let keep = |spans: &mut Spans, fx: &mut Effects, payload: &[u8]| {
            let message = Message::new(&MessageRef {
                topic: "t",
                qos: Qos::AtLeastOnce,
                retain: false,
                expires: None,
                publisher: None,
                properties: Forwarded::EMPTY,
                payload,
            });
            spans.enter(Arc::clone(&sampled));
            spans.keep(&mut Turn { now, fx }, &message);
            spans.leave(None);
        };
        let quarter = vec![0; SAMPLED_KEPT_MAX_BYTES as usize / 4];
        (0..5).for_each(|_| keep(&mut spans, &mut fx, &quarter));
        assert_eq!((spans.kept.len(), fx.spans_lost), (3, 2), "a message takes a little more than its payload");
        assert!(spans.kept_bytes <= SAMPLED_KEPT_MAX_BYTES);
        fx.watch(crate::telemetry::Verbosity::Info, Some(Arc::new(SpanSampling { below: 0, keys: [1, 2] })));
        let later = Now { mono_ns: u64::from(SPAN_MAX_S + 1) * 1_000_000_000, unix_ms: 0 };
        spans.tidy(&mut Turn { now: later, fx: &mut fx }, ShardId(0));
        assert_eq!(fx.events.len(), 2 * SPANS_UNDER_WAY_MAX, "those that began are given up");
        assert_eq!((spans.kept.len(), spans.kept_bytes, spans.deliveries.len(), spans.acks.len()), (0, 0, 0, 0));
    }
}
