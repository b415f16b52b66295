//! What of another system's message is published here.
//!
//! Always holds: what comes out is a PUBLISH that MQTT allows, or the reason why there is none.
//! Leaves to others: sending it (`super`).

use minijinja::{Value, context};

use super::message::FeedMessage;
use crate::codec::Property;
use crate::config::SourceSettings;
use crate::limits::{TEMPLATE_INPUT_MAX_BYTES, TOPIC_LEVELS_MAX};
use crate::services::local::{LocalConnack, OwnedPublish};
use crate::topic::TopicName;

/// Headers of sinks of ours: what they say stands in the message itself, or names who had published it.
const OF_SINKS: &str = "mqtt-";

/// The message as it is published.
pub(super) fn publish_of(
    settings: &SourceSettings,
    message: &FeedMessage,
    told: &LocalConnack,
) -> Result<OwnedPublish, String> {
    let topic = settings.topic.render_text(&values_of(message))?;
    if let Err(error) = TopicName::parse(&topic, TOPIC_LEVELS_MAX) {
        return Err(format!("{topic:?} is no topic: {error}"));
    }
    let mut publish = OwnedPublish {
        qos: settings.qos,
        retain: settings.retain,
        message_expiry_s: settings.message_expiry_s,
        properties: properties_of(message).into(),
        ..OwnedPublish::new(&topic, message.payload.clone())
    };
    told.lower(&mut publish);
    told.check_size(&publish)?;
    Ok(publish)
}

/// What the topic's template sees.
fn values_of(message: &FeedMessage) -> Value {
    let is_short = message.payload.len() <= TEMPLATE_INPUT_MAX_BYTES;
    let payload = match is_short.then(|| serde_json::from_slice::<Value>(&message.payload)) {
        Some(Ok(json)) => json,
        Some(Err(_)) => text_or_bytes(&message.payload),
        None => Value::UNDEFINED,
    };
    let headers = Value::from_pairs(message.headers.clone());
    context! {
        place => message.place.as_str(),
        key => message.key.as_deref().map(text_or_bytes),
        payload => payload,
        headers => headers,
        time_ms => message.time_ms,
    }
}

fn text_or_bytes(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| Value::from_bytes(bytes.to_vec()), Value::from)
}

/// Headers as user properties, the content type as what MQTT has for it.
fn properties_of(message: &FeedMessage) -> Vec<u8> {
    let mut block = Vec::new();
    let mut has_content_type = false;
    let fits = |text: &str| u16::try_from(text.len()).is_ok() && !text.contains('\0');
    for (name, value) in message.headers.iter().filter(|(name, value)| fits(name) && fits(value)) {
        let begins = |with: &str| name.get(..with.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(with));
        if name.eq_ignore_ascii_case("content-type") {
            // MQTT has one.
            if std::mem::replace(&mut has_content_type, true) {
                continue;
            }
            Property::ContentType(value).write_to(&mut block);
        } else if !begins(OF_SINKS) && !begins("nats-") {
            Property::UserProperty(name, value).write_to(&mut block);
        }
    }
    block
}
