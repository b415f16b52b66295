//! What a scenario says to a client and what it hears from it: one language for every client.
//!
//! A driver is a program (or a thread) around one client library. It reads commands and writes events, one JSON object a
//! line, `{"do": "publish", ...}` and `{"event": "message", ...}`. Every command has exactly one answer: `connack`,
//! `suback`, `unsuback`, `published`, `closed`, or `failed` with the library's own words. `message` and `disconnected`
//! come when they come. Bytes are written as text with one character per byte (Latin-1), so that a report can be read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::stage::Transport;

/// The protocol's version, by its level in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1, which says `MQIsdp`.
    V31 = 3,
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// What a driver is told.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Answered by `connack`, or `failed` where the library does not say with which code it was refused.
    Connect(Connect),
    /// Answered by `suback`, or `closed`.
    Subscribe {
        /// In one packet.
        subscriptions: Vec<Subscription>,
        /// The subscription identifier of all of them.
        id: Option<u32>,
    },
    /// Answered by `unsuback`.
    Unsubscribe {
        /// In one packet.
        filters: Vec<String>,
    },
    /// Answered by `published` when the last packet of its QoS has come, for QoS 0 when it was given to the socket.
    Publish(Message),
    /// DISCONNECT with reason 0, answered by `closed`.
    Disconnect,
}

/// What a driver is to connect with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Connect {
    pub(crate) transport: Transport,
    /// A literal address of loopback, or the path of a Unix socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The file with the certificate to trust, where the transport has TLS.
    pub(crate) ca: Option<String>,
    pub(crate) version: Version,
    pub(crate) id: String,
    /// Clean session, or clean start.
    pub(crate) clean: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) topic_alias_maximum: Option<u16>,
    pub(crate) will: Option<Will>,
}

/// The will in a CONNECT.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Will {
    pub(crate) message: Message,
    pub(crate) delay_s: Option<u32>,
}

/// One filter of a SUBSCRIBE with its options; those after `qos` are MQTT 5.0's.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: u8,
}

/// PUBLISH, either way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) topic: String,
    #[serde(with = "latin1")]
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub(crate) properties: Properties,
}

impl Message {
    pub(crate) fn new(topic: impl Into<String>, payload: impl AsRef<[u8]>, qos: u8) -> Self {
        Self { topic: topic.into(), payload: payload.as_ref().to_vec(), qos, ..Self::default() }
    }

    pub(crate) fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    pub(crate) fn with(self, properties: Properties) -> Self {
        Self { properties, ..self }
    }

    /// The payload, for what is known to be text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap_or("(no text)")
    }
}

/// The properties of a PUBLISH (MQTT 5.0).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Properties {
    pub(crate) payload_format: Option<u8>,
    pub(crate) message_expiry_s: Option<u32>,
    pub(crate) content_type: Option<String>,
    pub(crate) response_topic: Option<String>,
    #[serde(with = "latin1_option")]
    pub(crate) correlation_data: Option<Vec<u8>>,
    /// In their order.
    pub(crate) user: Vec<(String, String)>,
    /// What the server says; nothing that a client may send.
    pub(crate) subscription_ids: Vec<u32>,
    /// For a client's own PUBLISH. Drivers resolve a server's alias and leave it out.
    pub(crate) topic_alias: Option<u16>,
}

impl Properties {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a driver tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    Connack {
        reason: u8,
        /// 3.1 has no such flag; whatever stood in its byte.
        session_present: bool,
        #[serde(default)]
        assigned_id: Option<String>,
        #[serde(default)]
        topic_alias_maximum: Option<u16>,
    },
    Suback {
        reasons: Vec<u8>,
    },
    Unsuback {
        /// Empty before MQTT 5.0.
        reasons: Vec<u8>,
    },
    Published {
        /// Of PUBACK, PUBREC or PUBCOMP; `None` where the library does not tell.
        #[serde(default)]
        reason: Option<u8>,
    },
    Message(Message),
    /// The server's DISCONNECT.
    Disconnected {
        reason: u8,
    },
    /// The connection is gone, whoever ended it.
    Closed,
    /// The library refused the command or lost the connection over it.
    Failed {
        why: String,
    },
}

/// Bytes as text of one character each.
mod latin1 {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn to_text(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| char::from(*byte)).collect()
    }

    pub(crate) fn to_bytes(text: &str) -> Option<Vec<u8>> {
        text.chars().map(|c| u8::try_from(c).ok()).collect()
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_text(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        to_bytes(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("a character above 255"))
    }
}

mod latin1_option {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option)] // the shape that serde calls
    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(super::latin1::to_text).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let bytes =
            |text: String| super::latin1::to_bytes(&text).ok_or_else(|| D::Error::custom("a character above 255"));
        text.map(bytes).transpose()
    }
}
