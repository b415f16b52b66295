//! Messages that their target never takes, as messages on a topic of their own.
//!
//! Always holds: a dead letter has the payload as it was published, and says in its user properties where it was published, which sink
//! has given it up, and why. Where that is more than a packet holds it says less, and then has less of the payload and says that: it holds
//! up nothing.
//! Leaves to others: who reads them; where nobody has subscribed they are gone like any message.

use bytes::Bytes;

use crate::codec::{Property, Version};
use crate::config::SinkSettings;
use crate::ids::{PacketId, Qos};
use crate::limits::{DEAD_LETTER_REASON_MAX_BYTES, DEAD_LETTER_SHORT_REASON_MAX_BYTES};
use crate::services::local::{LocalConnack, OwnedPublish};

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
    /// The broker does not take a payload of this length on that topic.
    pub(super) is_refused: bool,
}

impl DeadLetter {
    /// Bytes of memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.payload.len() + self.why.len()
    }

    /// As it is published, to a broker that has announced this: whole, or with a shorter reason, or without what it says of itself, or
    /// with as much of its payload as a packet holds. `None`: it cannot be at all.
    pub(super) fn publish(&self, sink: &SinkSettings, told: &LocalConnack) -> Option<OwnedPublish> {
        let long = self.reason(DEAD_LETTER_REASON_MAX_BYTES);
        let short = self.reason(DEAD_LETTER_SHORT_REASON_MAX_BYTES);
        let (name, topic) = (("sink", &*sink.name), ("topic", &*self.topic));
        let truncated = self.payload.len().to_string();
        let truncated = ("truncated", &*truncated);
        let wholes: [&[(&str, &str)]; 4] =
            [&[name, topic, ("reason", &long)], &[name, topic, ("reason", &short)], &[name, topic], &[name]];
        let of = |properties: &[(&str, &str)], payload: Bytes| {
            let mut block = Vec::new();
            for (name, value) in properties {
                Property::UserProperty(name, value).write_to(&mut block);
            }
            let mut publish = OwnedPublish::new(&sink.dead_letters, payload);
            publish.qos = Qos::AtLeastOnce;
            // There is one when it is sent: it counts.
            publish.packet_id = Some(PacketId::MAX);
            publish.properties = block.into();
            told.lower(&mut publish);
            publish
        };
        let fits = |publish: &OwnedPublish| told.check_size(publish).is_ok();
        if !self.is_refused {
            let mut wholes = wholes.iter().map(|properties| of(properties, self.payload.clone()));
            if let Some(publish) = wholes.find(fits) {
                return Some(publish);
            }
        }
        let cuts: [&[(&str, &str)]; 3] =
            [&[name, topic, ("reason", &short), truncated], &[name, truncated], &[truncated]];
        let mut cuts = cuts.iter().map(|properties| of(properties, Bytes::new()));
        let mut cut = cuts.find(fits)?;
        if !self.is_refused {
            // The length in its header may take three octets more.
            let taken = cut.out(Version::V5).encoded_len() + 3;
            let room = (told.packet_size_max_bytes as usize).saturating_sub(taken);
            cut.payload = self.payload.slice(..room.min(self.payload.len()));
        }
        Some(cut)
    }

    /// Why, in no more than so many bytes.
    fn reason(&self, most_bytes: usize) -> String {
        let mut end = self.why.len().min(most_bytes);
        while !self.why.is_char_boundary(end) {
            end -= 1;
        }
        // A control character has no place in a text of MQTT.
        self.why[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sink_targets::{FileSinkSettings, TargetSettings};
    use crate::config::sinks::{BatchBounds, SinkFormat};
    use crate::ids::Qos;

    fn sink() -> SinkSettings {
        let file = FileSinkSettings {
            folder: "/x".into(),
            prefix: "p".to_owned(),
            rotate_bytes: 1,
            rotate_s: 1,
            keep_files: 1,
        };
        SinkSettings {
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
        }
    }

    fn told(packet_size_max_bytes: u32) -> LocalConnack {
        let (qos_max, retain_available) = (Qos::ExactlyOnce, true);
        LocalConnack { session_present: true, receive_maximum: 10, packet_size_max_bytes, qos_max, retain_available }
    }

    fn dead(why: String, payload: Bytes) -> DeadLetter {
        DeadLetter { topic: "t/1".to_owned(), payload, why, packet_id: None, is_refused: false }
    }

    fn properties(publish: &OwnedPublish) -> Vec<(String, String)> {
        let all = publish.forwarded().iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name.to_owned(), value.to_owned())),
            _ => None,
        });
        all.collect()
    }

    #[test]
    fn a_reason_is_cut_between_characters_and_has_no_control_characters() {
        let why = format!("x{}", "é\n".repeat(DEAD_LETTER_REASON_MAX_BYTES));
        let publish = dead(why, Bytes::from_static(b"\xff")).publish(&sink(), &told(1 << 20)).unwrap();
        assert_eq!((&*publish.topic, &publish.payload[..]), ("$dead/s", &b"\xff"[..]));
        let properties = properties(&publish);
        assert_eq!((properties[0].1.as_str(), properties[1].1.as_str()), ("s", "t/1"));
        let reason = &properties[2].1;
        assert!(reason.starts_with("xé é ") && reason.len() <= DEAD_LETTER_REASON_MAX_BYTES && reason.len() > 900);
    }

    #[test]
    fn a_dead_letter_fits_the_packets_that_the_broker_takes_and_says_what_was_cut() {
        let most = 2_048;
        for length in (0..most + 200).step_by(7) {
            let mut dead = dead("why ".repeat(500), vec![b'x'; length].into());
            let publish = dead.publish(&sink(), &told(most as u32)).unwrap();
            assert!(publish.out(Version::V5).encoded_len() <= most, "{length}");
            let names: Vec<String> = properties(&publish).into_iter().map(|(name, _)| name).collect();
            if publish.payload.len() < length {
                assert!(names.contains(&"truncated".to_owned()), "{names:?}");
                assert!(length > 1_900 && publish.payload.len() > 1_800, "{length}: {}", publish.payload.len());
            } else {
                assert!(names[0] == "sink" && names.len() <= 3, "{names:?}");
            }
            // The broker says that such a payload is too long for it.
            dead.is_refused = true;
            let publish = dead.publish(&sink(), &told(most as u32)).unwrap();
            let told = properties(&publish);
            assert!(publish.payload.is_empty() && told.contains(&("truncated".to_owned(), length.to_string())));
        }
        assert_eq!(dead("why".to_owned(), Bytes::new()).publish(&sink(), &told(10)), None);
        let once = LocalConnack { qos_max: Qos::AtMostOnce, ..told(1_000) };
        assert_eq!(dead("why".to_owned(), Bytes::new()).publish(&sink(), &once).unwrap().qos, Qos::AtMostOnce);
    }
}
