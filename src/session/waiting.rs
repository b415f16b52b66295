//! A SUBSCRIBE or UNSUBSCRIBE with so many filters that it takes several turns, and what its client has sent behind it.
//!
//! Always holds: what came behind is handled after it, in its order. What is kept of the packet are its own bytes, and what is kept
//! behind it is bounded by whoever puts it here.

use crate::codec::{DecodeError, ReasonCode};
use crate::ids::{PacketId, SubscriptionId};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// SUBSCRIBE, with the identifier that all of its filters get.
    Subscribe(Option<SubscriptionId>),
    /// UNSUBSCRIBE: a filter that is not subscribed to is told so in its own place.
    Unsubscribe,
}

/// A packet of which some filters are done.
#[derive(Debug)]
pub struct Request {
    /// Which packet.
    pub kind: RequestKind,
    /// Its identifier.
    pub packet_id: PacketId,
    /// The bytes of its filters.
    pub payload: Box<[u8]>,
    /// How many of these bytes have been checked: nothing takes effect before all have.
    pub checked: usize,
    /// How many have taken effect.
    pub done: usize,
    /// What the answer says so far.
    pub codes: Vec<ReasonCode>,
}

impl Request {
    /// One of which nothing is done.
    pub fn new(kind: RequestKind, packet_id: PacketId, payload: &[u8]) -> Self {
        Self { kind, packet_id, payload: payload.into(), checked: 0, done: 0, codes: Vec::new() }
    }
}

/// How a connection ended behind what waits.
#[derive(Clone, Copy, Debug)]
pub enum HeldEnd {
    /// The socket is gone.
    Closed,
    /// What followed was no packet.
    BadPacket(DecodeError),
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct RequestUnderWay {
    /// The packet that is under way; `None` once it is answered and what came behind it is being handled.
    pub request: Option<Request>,
    /// The packets behind it, whole, one after the other.
    pub held: Vec<u8>,
    /// Bytes of them that have been handled.
    pub handled: usize,
    /// What came behind those.
    pub end: Option<HeldEnd>,
}
