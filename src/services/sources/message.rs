//! A message of another system, and what that system knows it by.
//!
//! Always holds: whoever has a message has its mark, by which its feed is told that it was taken.
//! Leaves to others: reading it (`kafka`, `nats`), publishing it (`publish`).

use std::fmt;

use bytes::Bytes;

/// A message of another system.
pub(super) struct FeedMessage {
    /// The topic or subject that it has there.
    pub(super) place: String,
    pub(super) key: Option<Bytes>,
    pub(super) payload: Bytes,
    /// In their order; a name may stand twice.
    pub(super) headers: Vec<(String, String)>,
    /// When it came there, in milliseconds since 1970.
    pub(super) time_ms: Option<u64>,
    pub(super) mark: FeedPosition,
}

/// By which the other system knows a message.
pub(super) enum FeedPosition {
    /// Place, partition and offset.
    #[cfg(feature = "kafka")]
    Kafka { topic: String, partition: i32, offset: i64 },
    /// Stream and place in it, and who is told.
    #[cfg(feature = "nats")]
    Nats { sequence: u64, acker: Box<async_nats::jetstream::message::Acker> },
}

/// For messages about it.
impl fmt::Display for FeedPosition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka { topic, partition, offset } => {
                write!(out, "message {offset} of {topic}, partition {partition}")
            }
            #[cfg(feature = "nats")]
            Self::Nats { sequence, .. } => write!(out, "message {sequence} of the stream"),
            #[cfg(not(any(feature = "kafka", feature = "nats")))]
            _ => write!(out, "a message"),
        }
    }
}
