//! What a source reads from, whichever system it is.
//!
//! Always holds: what [`Feed::taken`] was not called for comes again when the feed is opened anew.
//! Leaves to others: each system's own way of that (`kafka`, `nats`).

use std::fmt;

use bytes::Bytes;

use crate::config::sources::FeedSettings;

#[cfg(feature = "kafka")]
use super::kafka::KafkaFeed;
#[cfg(feature = "nats")]
use super::nats::NatsFeed;

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
    pub(super) mark: Mark,
}

/// By which the other system knows a message.
pub(super) enum Mark {
    /// Place, partition and offset.
    #[cfg(feature = "kafka")]
    Kafka { topic: String, partition: i32, offset: i64 },
    /// Stream and place in it, and who is told.
    #[cfg(feature = "nats")]
    Nats { sequence: u64, acker: Box<async_nats::jetstream::message::Acker> },
}

/// For messages about it.
impl fmt::Display for Mark {
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

/// An open one.
pub(super) enum Feed {
    #[cfg(feature = "kafka")]
    Kafka(KafkaFeed),
    #[cfg(feature = "nats")]
    Nats(Box<NatsFeed>),
}

impl Feed {
    pub(super) async fn open(settings: &FeedSettings) -> Result<Self, String> {
        match settings {
            #[cfg(feature = "kafka")]
            FeedSettings::Kafka(kafka) => KafkaFeed::open(kafka).map(Self::Kafka),
            #[cfg(feature = "nats")]
            FeedSettings::Nats(nats) => Ok(Self::Nats(Box::new(NatsFeed::open(nats).await?))),
            #[cfg(not(all(feature = "kafka", feature = "nats")))]
            _ => Err("this dunlin was built without it".to_owned()),
        }
    }

    /// What it reads from, for people.
    pub(super) fn address(&self) -> String {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => kafka.address(),
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.address(),
            #[cfg(not(any(feature = "kafka", feature = "nats")))]
            _ => String::new(),
        }
    }

    /// The next message. Dropped before it is done, it loses nothing.
    pub(super) async fn next(&mut self) -> Result<FeedMessage, String> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => kafka.next().await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => nats.next().await,
            #[cfg(not(any(feature = "kafka", feature = "nats")))]
            _ => std::future::pending().await,
        }
    }

    /// This one is here: it need not come again.
    pub(super) async fn taken(&mut self, mark: Mark) -> Result<(), String> {
        match (self, mark) {
            #[cfg(feature = "kafka")]
            (Self::Kafka(kafka), Mark::Kafka { topic, partition, offset }) => kafka.taken(topic, partition, offset),
            #[cfg(feature = "nats")]
            (Self::Nats(_), Mark::Nats { acker, .. }) => acker.ack().await.map_err(|error| error.to_string()),
            #[cfg(not(all(feature = "kafka", not(feature = "nats"))))]
            #[allow(unreachable_patterns, reason = "with one kind of feed a mark is always its own")]
            _ => unreachable!("a mark goes to the feed that it came from"),
        }
    }
}
