//! What a source reads from, whichever system it is.
//!
//! Always holds: what [`Feed::taken`] was not called for comes again when the feed is opened anew.
//! Leaves to others: each system's own way of that (`kafka`, `nats`); reading a feed beside looking how it does ([`FeedWatch`]).

use super::message::{FeedMessage, FeedPosition};
use crate::config::sources::FeedSettings;

#[cfg(feature = "kafka")]
use super::kafka::KafkaFeed;
#[cfg(feature = "nats")]
use super::nats::{self, NatsFeed};
#[cfg(feature = "kafka")]
use crate::services::kafka::ConsumerNews;

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

    /// What looks how it does, while others read it.
    pub(super) fn watch(&self) -> FeedWatch {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => FeedWatch::Kafka(kafka.news()),
            #[cfg(feature = "nats")]
            Self::Nats(nats) => FeedWatch::Nats(Box::new(nats.consumer())),
            #[cfg(not(any(feature = "kafka", feature = "nats")))]
            _ => FeedWatch::Absent,
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

/// Whether a feed has what it reads from, and how much waits there.
pub(super) enum FeedWatch {
    #[cfg(feature = "kafka")]
    Kafka(ConsumerNews),
    #[cfg(feature = "nats")]
    Nats(Box<async_nats::jetstream::consumer::Consumer<async_nats::jetstream::consumer::pull::Config>>),
    #[cfg(not(any(feature = "kafka", feature = "nats")))]
    Absent,
}

impl FeedWatch {
    /// Until the other system has taken it for a reader. It has to be read meanwhile.
    pub(super) async fn connected(&self) {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(news) => news.joined().await,
            // It is opened by asking the server.
            #[cfg(feature = "nats")]
            Self::Nats(_) => {}
            #[cfg(not(any(feature = "kafka", feature = "nats")))]
            Self::Absent => std::future::pending().await,
        }
    }

    /// Messages that wait there or are not acknowledged; `None` where nobody knows.
    pub(super) async fn lag(&mut self) -> Option<u64> {
        match self {
            #[cfg(feature = "kafka")]
            Self::Kafka(news) => news.lag(),
            #[cfg(feature = "nats")]
            Self::Nats(consumer) => nats::lag(consumer).await,
            #[cfg(not(any(feature = "kafka", feature = "nats")))]
            Self::Absent => None,
        }
    }
}
