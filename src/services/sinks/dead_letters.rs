//! Messages that their target never takes, as messages on a topic of their own.
//!
//! Always holds: a dead letter has the payload as it was published, and says in its user properties where it was published, which sink
//! has given it up, and why.
//! Leaves to others: who reads them; where nobody has subscribed they are gone like any message.

use bytes::Bytes;

use crate::codec::Property;
use crate::config::SinkSettings;
use crate::ids::PacketId;
use crate::limits::DEAD_LETTER_REASON_MAX_BYTES;
use crate::services::local::OwnedPublish;

/// See the module's text.
#[derive(Debug)]
pub(super) struct DeadLetter {
    /// Where it was published.
    pub(super) topic: String,
    /// As it was published.
    pub(super) payload: Bytes,
    pub(super) why: String,
    /// What its message is acknowledged by.
    pub(super) packet_id: Option<PacketId>,
}

impl DeadLetter {
    /// As it is published.
    pub(super) fn publish(&self, sink: &SinkSettings) -> OwnedPublish {
        let mut end = self.why.len().min(DEAD_LETTER_REASON_MAX_BYTES);
        while !self.why.is_char_boundary(end) {
            end -= 1;
        }
        // A control character has no place in a text of MQTT.
        let why: String = self.why[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut block = Vec::new();
        for (name, value) in [("sink", &*sink.name), ("topic", &*self.topic), ("reason", &*why)] {
            Property::UserProperty(name, value).write_to(&mut block);
        }
        let mut publish = OwnedPublish::new(&sink.dead_letters, self.payload.clone());
        publish.properties = block.into();
        publish
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sink_targets::{FileSinkSettings, TargetSettings};
    use crate::config::sinks::{BatchBounds, SinkFormat};
    use crate::ids::Qos;

    #[test]
    fn a_reason_is_cut_between_characters_and_has_no_control_characters() {
        let file = FileSinkSettings {
            folder: "/x".into(),
            prefix: "p".to_owned(),
            rotate_bytes: 1,
            rotate_s: 1,
            keep_files: 1,
        };
        let sink = SinkSettings {
            name: "s".into(),
            topics: Vec::new(),
            qos: Qos::AtLeastOnce,
            workers: 1,
            order_by: None,
            condition: None,
            format: SinkFormat::Raw,
            batch: BatchBounds { messages: 1, bytes: 1, time_ms: 1 },
            dead_letters: "$dead/s".into(),
            session_expiry_s: 60,
            inflight_max: 1,
            target: TargetSettings::File(file),
        };
        let why = format!("x{}", "é\n".repeat(DEAD_LETTER_REASON_MAX_BYTES));
        let dead = DeadLetter { topic: "t/1".to_owned(), payload: Bytes::from_static(b"\xff"), why, packet_id: None };
        let publish = dead.publish(&sink);
        assert_eq!((&*publish.topic, &publish.payload[..]), ("$dead/s", &b"\xff"[..]));
        let properties: Vec<(String, String)> = publish
            .forwarded()
            .iter()
            .filter_map(|property| match property {
                Property::UserProperty(name, value) => Some((name.to_owned(), value.to_owned())),
                _ => None,
            })
            .collect();
        assert_eq!((properties[0].1.as_str(), properties[1].1.as_str()), ("s", "t/1"));
        let reason = &properties[2].1;
        assert!(reason.starts_with("xé é ") && reason.len() <= DEAD_LETTER_REASON_MAX_BYTES && reason.len() > 900);
    }
}
