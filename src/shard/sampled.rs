//! What is told of sampled messages: which are, what they are known by on all shards, and their spans.
//!
//! Always holds: these are values; a message and what is told of it share one [`SampledMessage`].
//! Leaves to others: which spans there are at a time (`spans`), and when they begin and end (`span_points`).

use std::sync::Arc;

use crate::codec::ReasonCode;
use crate::ids::{Qos, ShardId};

/// Which messages are sampled: set by whoever carries out what a shard wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanSampling {
    /// Of messages that say nothing about it: those whose ids lie below, of 2^63. Of the others those whose sender is sampled.
    pub below: u64,
    /// Two random numbers, from which ids follow.
    pub keys: [u64; 2],
}

/// A sampled message, as all shards that it comes to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledMessage {
    /// The trace that it belongs to.
    pub trace_id: [u8; 16],
    /// Of the span of its receipt, which the others are children of.
    pub receive_id: [u8; 8],
    /// The span that has sent it, if it says so.
    pub sent_by: Option<[u8; 8]>,
    /// What goes with the trace.
    pub trace_state: Option<Box<str>>,
    /// Where it was published to, a mount point included.
    pub topic: Box<str>,
    /// How much was published.
    pub payload_bytes: u64,
}

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A PUBLISH of a client, from its coming to its acknowledgement; with QoS 0 until it is routed.
    Receive,
    /// What its acknowledgement waited for: stable storage, here and on other shards.
    Store,
    /// A delivery, until the client has acknowledged it; with QoS 0 until it is sent.
    Send,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanEnd {
    /// With this code, as the packet that ended it has it.
    Code(ReasonCode),
    /// Not within the time that a span may take.
    GivenUp,
}

/// What has happened with a sampled message. It ends when it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Whose it is.
    pub message: Arc<SampledMessage>,
    /// Of what.
    pub kind: SpanKind,
    /// Names it.
    pub id: [u8; 8],
    /// When it began, in monotonic nanoseconds.
    pub began_ns: u64,
    /// Who published, or who is sent it.
    pub client_id: Box<str>,
    /// Of this packet.
    pub qos: Qos,
    /// How it ended.
    pub end: SpanEnd,
    /// Where.
    pub shard: ShardId,
}
