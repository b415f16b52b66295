//! The broker, and what every client says to it.

use super::Template;
use serde::{Deserialize, Serialize};

/// Where the broker is and how clients greet it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// Plain TCP.
    pub port: u16,
    /// Protocol.
    pub version: MqttVersion,
    /// `%i` and `%c` stand for the client's number and id.
    pub username: Option<Template>,
    /// As it is.
    pub password: Option<String>,
    /// Seconds; 0 turns it off, and with it the pings.
    pub keep_alive_s: u16,
    /// From the first packet to CONNACK, and from SUBSCRIBE to SUBACK.
    pub connect_timeout_s: u16,
    /// How often a client that could not connect tries again before it has failed.
    pub retries: u16,
    /// How long it waits before each of them.
    pub retry_after_ms: u32,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 1883,
            version: MqttVersion::V5,
            username: None,
            password: None,
            keep_alive_s: 300,
            connect_timeout_s: 30,
            retries: 0,
            retry_after_ms: 1_000,
        }
    }
}

/// A version of MQTT, written as users write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MqttVersion {
    /// MQTT 3.1.
    #[serde(rename = "3.1")]
    V31,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.0.
    #[default]
    #[serde(rename = "5.0", alias = "5")]
    V5,
}
