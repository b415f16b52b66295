//! What a source reads from, whichever system it is.
//!
//! Always holds: what [`Feed::taken`] was not called for comes again when the feed is opened anew.
//! Leaves to others: each system's own way of that (`kafka`, `nats`).

use super::message::{FeedMessage, FeedPosition};
use crate::config::sources::FeedSettings;

#[cfg(feature = "kafka")]
use super::kafka::KafkaFeed;
#[cfg(feature = "nats")]
use super::nats::NatsFeed;

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
    pub(super) async fn taken(&mut self, mark: FeedPosition) -> Result<(), String> {
        match (self, mark) {
            #[cfg(feature = "kafka")]
            (Self::Kafka(kafka), FeedPosition::Kafka { topic, partition, offset }) => {
                kafka.taken(&topic, partition, offset)
            }
            #[cfg(feature = "nats")]
            (Self::Nats(_), FeedPosition::Nats { acker, .. }) => acker.ack().await.map_err(|error| error.to_string()),
            #[cfg(not(all(feature = "kafka", not(feature = "nats"))))]
            #[allow(unreachable_patterns, reason = "with one kind of feed a mark is always its own")]
            _ => unreachable!("a mark goes to the feed that it came from"),
        }
    }
}
