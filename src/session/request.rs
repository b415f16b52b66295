//! A SUBSCRIBE or UNSUBSCRIBE with so many filters that it takes several turns. What is kept of it are its own bytes.

use crate::codec::ReasonCode;
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
