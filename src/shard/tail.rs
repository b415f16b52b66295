//! Messages that an operator watches as they are routed: a live tail.
//!
//! Owns: the filters that are watched, and how much of it a turn may tell.
//! Always holds: while nobody watches, a message costs one look at whether somebody does; a turn tells [`TAIL_MESSAGES_PER_TURN`] at most and
//! counts the others; of a payload it copies [`TAIL_PAYLOAD_MAX_BYTES`].
//! Leaves to others: who may watch, which of several watchers a message is for, and how many a second each is told (`net`, `services`).

use super::clients::Clients;
use super::{Event, Turn};
use crate::ids::{Qos, SessionId};
use crate::limits::{TAIL_MESSAGES_PER_TURN, TAIL_PAYLOAD_MAX_BYTES};
use crate::session::MessageRef;
use crate::topic::{TopicFilter, TopicName, matches};

/// The filters that somebody watches. Set by whoever writes the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailFilters(Vec<Box<str>>);

/// A message that was routed, and that somebody watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailedMessage {
    /// Its topic name, a mount point included.
    pub topic: Box<str>,
    /// Quality of service of its publisher.
    pub qos: Qos,
    /// Whether RETAIN is set.
    pub retain: bool,
    /// Who published it; `None` is the broker, or an operator.
    pub client_id: Option<Box<str>>,
    /// The begin of its payload.
    pub payload: Box<[u8]>,
    /// How long the whole payload is.
    pub payload_bytes: u64,
}

impl TailFilters {
    /// Those of `filters` that are topic filters.
    pub fn new(filters: impl IntoIterator<Item = Box<str>>) -> Self {
        Self(filters.into_iter().filter(|filter| TopicFilter::parse(filter, u16::MAX).is_ok()).collect())
    }

    /// Whether one of them matches a topic name.
    pub fn wants(&self, topic: &str) -> bool {
        self.0.iter().any(|filter| is_watched(filter, topic))
    }
}

/// Whether a filter matches a topic name: texts that are none match nothing.
pub fn is_watched(filter: &str, topic: &str) -> bool {
    let (Ok(filter), Ok(topic)) = (TopicFilter::parse(filter, u16::MAX), TopicName::parse(topic, u16::MAX)) else {
        return false;
    };
    matches(filter, topic)
}

impl Clients {
    /// Tells of a message, if somebody watches its topic.
    #[cold]
    pub(super) fn tell_tail(&self, turn: &mut Turn<'_>, publisher: Option<SessionId>, message: &MessageRef<'_>) {
        if !turn.fx.tails.as_deref().is_some_and(|tails| tails.wants(message.topic)) {
            return;
        }
        let Some(left) = turn.fx.tail_told.checked_add(1).filter(|told| *told <= TAIL_MESSAGES_PER_TURN) else {
            turn.fx.tail_skipped += 1;
            return;
        };
        turn.fx.tail_told = left;
        let shown = message.payload.len().min(TAIL_PAYLOAD_MAX_BYTES);
        turn.fx.events.push(Event::Tailed(TailedMessage {
            topic: message.topic.into(),
            qos: message.qos,
            retain: message.retain,
            client_id: publisher.map(|id| self.sessions.get(id).client_id.clone()),
            payload: message.payload[..shown].into(),
            payload_bytes: message.payload.len() as u64,
        }));
    }
}
