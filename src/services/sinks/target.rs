//! Where a sink's rows go: one kind of target behind another, and what comes of a batch.
//!
//! Always holds: rows of one batch are given to the target in their order. A batch that is to be tried again is given to it whole, so it
//! gets each row at least once; it may leave out rows that it knows to be done. It says nothing of a batch before it has all of it as safely as it can.
//! Leaves to others: how long to wait before the next attempt, dead letters and acknowledgements (`lane`, `session`).

use super::delivered::{DeliverError, Delivered};
use super::file::FileTarget;
use super::http::HttpTarget;
#[cfg(feature = "kafka")]
use super::kafka::KafkaTarget;
#[cfg(feature = "nats")]
use super::nats::NatsTarget;
#[cfg(feature = "parquet")]
use super::parquet::ParquetTarget;
#[cfg(feature = "postgres")]
use super::postgres::PostgresTarget;
use super::republish::RepublishTarget;
use super::row::Row;
use crate::config::SinkSettings;
use crate::config::sink_targets::TargetSettings;
use crate::services::local::LocalDoor;

/// A connected target, or one that connects with the next batch.
#[derive(Debug)]
pub(crate) enum Target {
    /// A server of HTTP.
    Http(HttpTarget),
    /// Lines in a folder of this machine.
    File(FileTarget),
    /// Other topics of this broker.
    Republish(RepublishTarget),
    /// Topics of a Kafka cluster.
    #[cfg(feature = "kafka")]
    Kafka(KafkaTarget),
    /// Subjects of NATS.
    #[cfg(feature = "nats")]
    Nats(NatsTarget),
    /// A table of PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresTarget>),
    /// Files of Parquet.
    #[cfg(feature = "parquet")]
    Parquet(ParquetTarget),
    /// What this build has no part for; the configuration refuses it before.
    #[cfg(not(all(feature = "kafka", feature = "nats", feature = "parquet", feature = "postgres")))]
    Absent,
}

impl Target {
    /// For one worker of a sink; nothing is opened yet.
    pub(crate) fn new(sink: &SinkSettings, worker: usize, door: &LocalDoor) -> Self {
        match &sink.target {
            TargetSettings::Http(settings) => Self::Http(HttpTarget::new(settings.clone())),
            TargetSettings::File(settings) => Self::File(FileTarget::new(settings.clone(), worker)),
            TargetSettings::Republish(settings) => {
                let client_id = format!("$sink/{}/{worker}", sink.name);
                Self::Republish(RepublishTarget::new(settings.clone(), door.clone(), client_id))
            }
            #[cfg(feature = "kafka")]
            TargetSettings::Kafka(settings) => Self::Kafka(KafkaTarget::new((**settings).clone())),
            #[cfg(feature = "nats")]
            TargetSettings::Nats(settings) => Self::Nats(NatsTarget::new((**settings).clone())),
            #[cfg(feature = "postgres")]
            TargetSettings::Postgres(settings) => Self::Postgres(Box::new(PostgresTarget::new((**settings).clone()))),
            #[cfg(feature = "parquet")]
            TargetSettings::Parquet(settings) => Self::Parquet(ParquetTarget::new((**settings).clone())),
            #[cfg(not(all(feature = "kafka", feature = "nats", feature = "parquet", feature = "postgres")))]
            _ => Self::Absent,
        }
    }

    /// Gives it a batch, which is not empty. Dropping the future gives the attempt up: the batch is delivered again.
    pub(crate) async fn deliver(&mut self, batch: &[Row]) -> Result<Delivered, DeliverError> {
        debug_assert!(!batch.is_empty());
        match self {
            Self::Http(target) => target.deliver(batch).await,
            Self::File(target) => target.deliver(batch).await,
            Self::Republish(target) => target.deliver(batch).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(target) => target.deliver(batch).await,
            #[cfg(feature = "nats")]
            Self::Nats(target) => target.deliver(batch).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(target) => target.deliver(batch).await,
            #[cfg(feature = "parquet")]
            Self::Parquet(target) => target.deliver(batch).await,
            #[cfg(not(all(feature = "kafka", feature = "nats", feature = "parquet", feature = "postgres")))]
            Self::Absent => Err(DeliverError::retry("this dunlin was built without it")),
        }
    }
}
