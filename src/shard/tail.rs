//! Messages that an operator watches as they are routed: a live tail.
//!
//! Owns: the filters that are watched, and what is told of a message.
//! Always holds: what is no topic filter watches nothing.
//! Leaves to others: when a message is told, and how many of a turn (`report`); who may watch, which of several watchers a message is for, and how many a second each is told (`net`, `services`).

use super::ShownProperties;
use crate::ids::Qos;
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
    /// What it says about its payload, and what its publisher adds.
    pub properties: ShownProperties,
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
