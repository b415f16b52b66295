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

#[cfg(test)]
#[cfg(feature = "kafka")]
mod tests {
    use std::time::Duration;

    use super::super::message::FeedPosition;
    use super::*;
    use crate::config::sources::{FeedSettings, NatsFeedSettings};
    use crate::config::targets::{NatsLogin, NatsServerSettings};
    use crate::ids::Qos;
    use crate::limits::USER_PROPERTIES_MAX;
    use crate::template::Template;

    fn settings() -> SourceSettings {
        let server = NatsServerSettings {
            servers: Vec::new(),
            login: NatsLogin::None,
            tls: None,
            timeout: Duration::from_secs(1),
        };
        let (stream, consumer, subjects) = (String::new(), String::new(), Vec::new());
        SourceSettings {
            name: "s".into(),
            topic: Template::parse("in/{{ place }}").unwrap(),
            qos: Qos::AtLeastOnce,
            retain: true,
            message_expiry_s: None,
            inflight_max: 1,
            feed: FeedSettings::Nats(NatsFeedSettings { server, stream, consumer, subjects, from_start: true }),
        }
    }

    fn message(headers: usize, bytes: usize) -> FeedMessage {
        FeedMessage {
            place: "p".to_owned(),
            key: None,
            payload: vec![b'x'; bytes].into(),
            headers: vec![("k".to_owned(), "v".to_owned()); headers],
            time_ms: None,
            mark: FeedPosition::Kafka { topic: "p".to_owned(), partition: 0, offset: 7 },
        }
    }

    fn told(packet_size_max_bytes: u32, qos_max: Qos, retain_available: bool) -> LocalConnack {
        LocalConnack { session_present: false, receive_maximum: 1, packet_size_max_bytes, qos_max, retain_available }
    }

    #[test]
    fn what_this_broker_never_takes_is_no_publish_and_the_rest_is_lowered_to_what_it_takes() {
        let settings = settings();
        let all = told(1_000_000, Qos::ExactlyOnce, true);
        let publish = publish_of(&settings, &message(USER_PROPERTIES_MAX, 10), &all).unwrap();
        assert_eq!((&*publish.topic, publish.qos, publish.retain), ("in/p", Qos::AtLeastOnce, true));
        let why = publish_of(&settings, &message(USER_PROPERTIES_MAX + 1, 10), &all).unwrap_err();
        assert!(why.contains("user properties"), "{why}");
        let why = publish_of(&settings, &message(0, 2_000), &told(2_000, Qos::ExactlyOnce, true)).unwrap_err();
        assert!(why.contains("max_packet_size"), "{why}");
        let publish = publish_of(&settings, &message(1, 10), &told(2_000, Qos::AtMostOnce, false)).unwrap();
        assert_eq!((publish.qos, publish.retain), (Qos::AtMostOnce, false));
    }
}
