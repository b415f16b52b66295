//! Rows into topics of a Kafka cluster.
//!
//! Owns: one producer of librdkafka, with its thread.
//! Always holds: a row is delivered when all in-sync replicas have it (`acks=all`). The producer is idempotent: what it sends again by
//! itself does not stand there twice, and rows of one partition keep their order. A batch that is tried again after a failure may.
//! Leaves to others: how a cluster is reached (`services::kafka`), what goes beside a payload (`headers`).

use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::{DeliveryFuture, FutureProducerContext};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::delivered::{DeliverError, Delivered};
use super::headers::headers_of;
use super::row::Row;
use super::values::values_of;
use crate::config::targets::KafkaSinkSettings;
use crate::services::kafka::{Complaints, client_config};

/// Opened with the next batch, and again after a failure.
#[derive(Debug)]
pub(crate) struct KafkaTarget {
    settings: KafkaSinkSettings,
    producer: Option<HeldProducer>,
}

/// A producer; what it still holds at its end is given up on a thread of its own, because that takes half a second.
struct HeldProducer {
    producer: Option<FutureProducer<Complaints>>,
    complaints: Complaints,
}

impl std::fmt::Debug for HeldProducer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HeldProducer").finish_non_exhaustive()
    }
}

impl Drop for HeldProducer {
    fn drop(&mut self) {
        let producer = self.producer.take();
        // Where no thread can be had, this one waits.
        let _ = std::thread::Builder::new().name("kafka-end".to_owned()).spawn(move || drop(producer));
    }
}

impl HeldProducer {
    fn producer(&self) -> &FutureProducer<Complaints> {
        self.producer.as_ref().expect("it is taken at the end only")
    }

    fn fatal(&self) -> Option<String> {
        let client: &Client<FutureProducerContext<Complaints>> = self.producer().client();
        client.fatal_error().map(|(_, words)| words)
    }
}

impl KafkaTarget {
    pub(crate) const fn new(settings: KafkaSinkSettings) -> Self {
        Self { settings, producer: None }
    }

    pub(crate) async fn deliver(&mut self, batch: &[Row]) -> Result<Delivered, DeliverError> {
        // After a failure there is another producer: what the old one holds must not come after what is sent again.
        let held = match self.producer.take() {
            Some(held) => held,
            None => self.open().map_err(DeliverError::retry)?,
        };
        let mut rejected = Vec::new();
        let mut sent: Vec<(usize, DeliveryFuture)> = Vec::with_capacity(batch.len());
        for (at, row) in batch.iter().enumerate() {
            match self.send(held.producer(), row) {
                Ok(delivery) => sent.push((at, delivery)),
                Err(SendFault::OfRow(why)) => rejected.push((at, why)),
                Err(SendFault::OfCluster(error)) => self.blame(&held, at, &error, &mut rejected)?,
            }
        }
        for (at, delivery) in sent {
            match delivery.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => self.blame(&held, at, &error, &mut rejected)?,
                Err(_) => return Err(DeliverError::retry("the producer has ended")),
            }
        }
        self.producer = Some(held);
        rejected.sort_unstable();
        Ok(if rejected.is_empty() { Delivered::All } else { Delivered::Some { rejected } })
    }

    fn open(&self) -> Result<HeldProducer, String> {
        let complaints = Complaints::default();
        let mut config = client_config(&self.settings.cluster)?;
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", self.settings.cluster.timeout.as_millis().to_string());
        let producer = config.create_with_context(complaints.clone()).map_err(|error| error.to_string())?;
        Ok(HeldProducer { producer: Some(producer), complaints })
    }

    fn send(&self, producer: &FutureProducer<Complaints>, row: &Row) -> Result<DeliveryFuture, SendFault> {
        let values = values_of(row);
        let topic = self.settings.topic.render_text(&values).map_err(SendFault::OfRow)?;
        let key = match &self.settings.key {
            Some(template) => Some(template.render(&values).map_err(SendFault::OfRow)?),
            None => row.key.as_ref().map(|key| key.to_vec()),
        };
        let headers = headers_of(row);
        let headers = headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (name, value)| {
            // A NUL would end the name.
            let name = name.replace('\0', "_");
            all.insert(Header { key: &name, value: Some(value) })
        });
        let record = FutureRecord::to(&topic).payload(&*row.payload).headers(headers);
        let record = record.timestamp(i64::try_from(row.received_ms).unwrap_or(i64::MAX));
        let record = match &key {
            Some(key) => record.key(key),
            None => record,
        };
        if topic.is_empty() || topic.contains('\0') {
            return Err(SendFault::OfRow(format!("{topic:?} is no topic of Kafka")));
        }
        producer.send_result(record).map_err(|(error, _)| SendFault::OfCluster(error))
    }

    /// Rejects a row that is to blame, or gives the whole batch up for now.
    fn blame(
        &self,
        held: &HeldProducer,
        at: usize,
        error: &KafkaError,
        rejected: &mut Vec<(usize, String)>,
    ) -> Result<(), DeliverError> {
        if let Some(words) = held.fatal() {
            return Err(DeliverError::retry(words));
        }
        if is_fault_of_row(error, self.settings.topic.source().contains("{{")) {
            rejected.push((at, error.to_string()));
            return Ok(());
        }
        Err(DeliverError::retry(held.complaints.beside(error)))
    }
}

/// Why a row could not be handed to the producer.
enum SendFault {
    OfRow(String),
    OfCluster(KafkaError),
}

/// Whether the cluster never takes the row. A topic that the message chose and that is not there is the message's fault.
fn is_fault_of_row(error: &KafkaError, chooses_topics: bool) -> bool {
    use RDKafkaErrorCode::{
        InvalidMessageSize, InvalidRecord, InvalidTopic, MessageSizeTooLarge, UnknownTopic, UnknownTopicOrPartition,
    };
    let KafkaError::MessageProduction(code) = error else { return false };
    match code {
        MessageSizeTooLarge | InvalidMessageSize | InvalidRecord => true,
        InvalidTopic | UnknownTopic | UnknownTopicOrPartition => chooses_topics,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
