//! How sinks and sources reach a Kafka cluster, by librdkafka.
//!
//! Owns: what the configuration comes to as properties of librdkafka, and what a client has said of itself.
//! Always holds: properties of the configuration that would break a promise of ours are not taken ([`OURS`]).
//! Leaves to others: producing (`sinks::kafka`), consuming (`sources::kafka`).

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;

use crate::config::targets::KafkaClusterSettings;

/// What librdkafka said last, for whoever is told that something took too long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complaints(Arc<Mutex<Option<String>>>);

impl Complaints {
    /// The words of `error`, and what was said before it.
    pub(crate) fn beside(&self, error: &KafkaError) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map_or_else(|| error.to_string(), |last| format!("{error} ({last})"))
    }
}

impl ClientContext for Complaints {
    // Its log would be one more; errors come by the other way.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let _ = error;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ConsumerContext for Complaints {}

/// What a consumer of a group says: its complaints, that it is in the group, and how far behind it is.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerNews {
    pub(crate) complaints: Complaints,
    has_joined: watch::Sender<bool>,
    /// As of the last statistics, which the consumer has to be asked to make.
    lag: Arc<Mutex<Option<u64>>>,
}

impl ConsumerNews {
    pub(crate) fn new() -> Self {
        Self { complaints: Complaints::default(), has_joined: watch::Sender::new(false), lag: Arc::default() }
    }

    /// Until it is in the group.
    pub(crate) async fn joined(&self) {
        // The sender is here.
        let _ = self.has_joined.subscribe().wait_for(|joined| *joined).await;
    }

    /// Messages that the cluster has for it and that are not acknowledged, over all partitions that it has.
    pub(crate) fn lag(&self) -> Option<u64> {
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ConsumerNews {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.complaints.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = lag_of(&statistics);
    }
}

impl ConsumerContext for ConsumerNews {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.has_joined.send_replace(true);
        }
    }
}

/// Behind the offset that is to be committed, or was, or behind what is fetched next where the group has read nothing yet. Partitions that
/// are not read here, and those whose end is not known yet, are left out; without any, nobody knows.
fn lag_of(statistics: &Statistics) -> Option<u64> {
    let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
    let read = partitions.filter(|partition| partition.fetch_state == "active" && partition.hi_offset >= 0);
    let lags = read.filter_map(|partition| {
        let places = [partition.stored_offset, partition.committed_offset, partition.next_offset];
        let from = places.into_iter().find(|offset| *offset >= 0)?;
        Some(u64::try_from(partition.hi_offset.saturating_sub(from)).unwrap_or(0))
    });
    lags.reduce(u64::saturating_add)
}

/// What every client of a cluster is made with.
pub(crate) fn client_config(settings: &KafkaClusterSettings) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::new();
    for (name, value) in &settings.properties {
        config.set(name, value);
    }
    let protocol = match (&settings.tls, &settings.login) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("bootstrap.servers", settings.brokers.join(",")).set("security.protocol", protocol);
    config.set("client.id", "dunlin").set("log_level", "0");
    if let Some(tls) = &settings.tls {
        if let Some(ca) = &tls.ca {
            config.set("ssl.ca.location", ca.to_string_lossy());
        } else {
            let system = crate::http::SYSTEM_AUTHORITIES.iter().find(|path| std::path::Path::new(path).exists());
            config.set("ssl.ca.location", *system.unwrap_or(&"probe"));
        }
        if let Some((certificate, key)) = &tls.identity {
            config.set("ssl.certificate.location", certificate.to_string_lossy());
            config.set("ssl.key.location", key.to_string_lossy());
        }
    }
    if let Some(login) = &settings.login {
        config.set("sasl.mechanism", &login.mechanism).set("sasl.username", &login.user);
        config.set("sasl.password", login.password.read()?);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Partition, Topic};

    use super::*;

    fn partition(fetch_state: &str, [stored, committed, next, high]: [i64; 4]) -> Partition {
        Partition {
            fetch_state: fetch_state.to_owned(),
            stored_offset: stored,
            committed_offset: committed,
            next_offset: next,
            hi_offset: high,
            ..Partition::default()
        }
    }

    #[test]
    fn a_lag_is_that_of_the_partitions_that_are_read_and_unknown_without_any() {
        let lag = |partitions: Vec<Partition>| {
            let partitions = (0..).zip(partitions).collect();
            let topic = Topic { partitions, ..Topic::default() };
            lag_of(&Statistics { topics: [("t".to_owned(), topic)].into(), ..Statistics::default() })
        };
        assert_eq!(lag(vec![]), None);
        assert_eq!(lag(vec![partition("none", [5, 5, 5, 100]), partition("active", [-1001, -1001, -1001, 9])]), None);
        assert_eq!(lag(vec![partition("active", [5, 3, 8, -1001])]), None);
        assert_eq!(lag(vec![partition("active", [7, 3, 9, 10]), partition("active", [-1001, 3, 9, 10])]), Some(10));
        assert_eq!(lag(vec![partition("active", [-1001, -1001, 9, 10]), partition("stopped", [0, 0, 0, 50])]), Some(1));
        assert_eq!(lag(vec![partition("active", [12, 12, 12, 10])]), Some(0), "the end is told later");
    }
}
