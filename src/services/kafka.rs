//! How sinks and sources reach a Kafka cluster, by librdkafka.
//!
//! Owns: what the configuration comes to as properties of librdkafka, and the last thing that a client complained of.
//! Always holds: properties of the configuration that would break a promise of ours are not taken ([`OURS`]).
//! Leaves to others: producing (`sinks::kafka`), consuming (`sources::kafka`).

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

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
