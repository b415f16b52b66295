//! PUBLISH on its way in (MQTT 5.0, 3.3): decoding.
//!
//! Always holds: a decoded topic has no wildcard and no U+0000, and is empty only where an alias stands for it.
//! Leaves to others: the encoding of deliveries (`publish_out`).

use super::error::DecodeError;
use super::forwarded::{Forwarded, properties};
use super::frame::Frame;
use super::packet_type::PacketType;
use super::properties::{Allowed, Properties, Property};
use super::publish_out::PublishOut;
use super::wire::{Reader, varint_len};
use super::{Side, Version};
use crate::ids::{PacketId, Qos, SubscriptionId, TopicAlias};

/// The flag in the fixed header.
const DUP: u8 = 0b1000;

/// A message as it came in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Set by a sender that sends it again; never with QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// As the sender chose it.
    pub qos: Qos,
    /// From a client: to be retained. From a server: out of store, or as published.
    pub retain: bool,
    /// Empty if `topic_alias` stands for it.
    pub topic: &'a str,
    /// There is one exactly if the quality of service is not 0.
    pub packet_id: Option<PacketId>,
    /// Any bytes. Whether they are what the payload format says is not checked here.
    pub payload: &'a [u8],
    /// Number that the sender uses for the topic from now on, or has used before.
    pub topic_alias: Option<TopicAlias>,
    /// Seconds that the message lives.
    pub message_expiry_s: Option<u32>,
    /// Properties that go on to subscribers.
    pub properties: Forwarded<'a>,
    /// Identifiers of the subscriptions that matched; from a client always empty.
    pub subscription_ids: EncodedSubscriptionIds<'a>,
}

impl<'a> Publish<'a> {
    /// Decodes a message; `side` is who reads it.
    #[inline]
    pub fn decode(frame: Frame<'a>, version: Version, side: Side) -> Result<Self, DecodeError> {
        debug_assert!(frame.packet_type() == PacketType::Publish);
        let flags = frame.flags();
        let qos = Qos::from_bits(flags >> 1 & 3).ok_or(DecodeError::Malformed("QoS 3"))?; // [MQTT-3.3.1-4]
        let dup = flags & DUP != 0;
        if dup && qos == Qos::AtMostOnce {
            return Err(DecodeError::Malformed("DUP in a QoS 0 message")); // [MQTT-3.3.1-2]
        }
        let mut reader = Reader::new(frame.body);
        let topic = reader.topic_name()?; // [MQTT-3.3.2-1, -2]
        let packet_id = if qos == Qos::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties = match version {
            Version::V5 => MessageProperties::read(&mut reader, side)?,
            Version::V31 | Version::V311 => MessageProperties::default(),
        };
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(no_topic(version));
        }
        Ok(Self {
            dup,
            qos,
            retain: flags & 1 != 0,
            topic,
            packet_id,
            payload: reader.rest(),
            topic_alias: properties.topic_alias,
            message_expiry_s: properties.message_expiry_s,
            properties: properties.forwarded,
            subscription_ids: properties.subscription_ids,
        })
    }

    /// Appends the message as a client sends it or a test repeats it. Copies the properties on the way; a server's
    /// deliveries use [`PublishOut`] directly.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let subscription_ids: Vec<SubscriptionId> = self.subscription_ids.iter().collect();
        PublishOut {
            version,
            topic: self.topic,
            topic_alias: self.topic_alias,
            qos: self.qos,
            dup: self.dup,
            retain: self.retain,
            packet_id: self.packet_id,
            message_expiry_s: self.message_expiry_s,
            subscription_ids: &subscription_ids,
            forwarded: self.properties,
            payload: self.payload,
        }
        .encode(out);
    }
}

/// What the property block of a message holds.
#[derive(Default)]
struct MessageProperties<'a> {
    topic_alias: Option<TopicAlias>,
    message_expiry_s: Option<u32>,
    forwarded: Forwarded<'a>,
    subscription_ids: EncodedSubscriptionIds<'a>,
}

impl<'a> MessageProperties<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>, side: Side) -> Result<Self, DecodeError> {
        let properties = Properties::take_from(reader, Allowed::PUBLISH)?;
        if properties.block().is_empty() { Ok(Self::default()) } else { Self::walk(properties, side) }
    }

    fn walk(mut properties: Properties<'a>, side: Side) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        let block = properties.block();
        let mut hop_bytes = 0;
        while let Some(property) = properties.next()? {
            match property {
                Property::TopicAlias(alias) => {
                    read.topic_alias = Some(alias);
                    hop_bytes += 3;
                }
                Property::MessageExpiryInterval(seconds) => {
                    read.message_expiry_s = Some(seconds);
                    hop_bytes += 5;
                }
                Property::SubscriptionIdentifier(id) => {
                    if side == Side::Server {
                        return Err(DecodeError::Protocol("subscription identifier from a client")); // [MQTT-3.3.4-6]
                    }
                    read.subscription_ids = EncodedSubscriptionIds { block };
                    hop_bytes += 1 + varint_len(id.get());
                }
                _ => {}
            }
        }
        read.forwarded = Forwarded::from_received(block, hop_bytes);
        Ok(read)
    }
}

#[cold]
fn no_topic(version: Version) -> DecodeError {
    match version {
        Version::V5 => DecodeError::Protocol("neither topic nor alias"), // 3.3.2.1
        _ => DecodeError::TopicNameInvalid("empty topic name"),          // [MQTT-4.7.3-1]
    }
}

/// The subscription identifiers of a message, still in its property block.
#[derive(Clone, Copy, Default)]
pub struct EncodedSubscriptionIds<'a> {
    block: &'a [u8],
}

impl<'a> EncodedSubscriptionIds<'a> {
    /// Of a message that matched no subscription with an identifier.
    pub const EMPTY: Self = Self { block: &[] };

    /// Whether there are none. Constant time.
    pub const fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// The identifiers in their order.
    pub fn iter(&self) -> impl Iterator<Item = SubscriptionId> + Clone + use<'a> {
        properties(self.block).filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }
}

impl PartialEq for EncodedSubscriptionIds<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for EncodedSubscriptionIds<'_> {}

impl std::fmt::Debug for EncodedSubscriptionIds<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

/// Shows how long the payload is, never what it is: payloads do not belong into logs.
impl std::fmt::Debug for Publish<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Publish")
            .field("dup", &self.dup)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("topic", &self.topic)
            .field("packet_id", &self.packet_id)
            .field("payload_bytes", &self.payload.len())
            .field("topic_alias", &self.topic_alias)
            .field("message_expiry_s", &self.message_expiry_s)
            .field("property_bytes", &self.properties.len_bytes())
            .field("subscription_ids", &self.subscription_ids)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::frame::PACKET_SIZE_MAX_BYTES;
    use super::super::publish_out::Head;
    use super::super::tests::{both_ways, bytes, decodes, refused};
    use super::*;
    use Side::{Client, Server};
    use Version::{V5, V31, V311};

    fn message(topic: &'static str, payload: &'static [u8]) -> Publish<'static> {
        Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            packet_id: None,
            payload,
            topic_alias: None,
            message_expiry_s: None,
            properties: Forwarded::EMPTY,
            subscription_ids: EncodedSubscriptionIds::EMPTY,
        }
    }

    #[test]
    fn samples_of_all_versions() {
        let packet_id = PacketId::new(0x0102);
        let qos1 = Publish { qos: Qos::AtLeastOnce, packet_id, ..message("a/b", b"hi") };
        let qos2 = Publish { qos: Qos::ExactlyOnce, dup: true, retain: true, packet_id, ..message("a/b", b"") };
        for side in [Server, Client] {
            for version in [V31, V311] {
                both_ways(version, side, "30 07 00 03 'a/b' 'hi'", &Packet::Publish(message("a/b", b"hi")));
                both_ways(version, side, "32 09 00 03 'a/b' 01 02 'hi'", &Packet::Publish(qos1));
                both_ways(version, side, "3d 07 00 03 'a/b' 01 02", &Packet::Publish(qos2));
            }
            both_ways(V5, side, "30 08 00 03 'a/b' 00 'hi'", &Packet::Publish(message("a/b", b"hi")));
            both_ways(V5, side, "32 0a 00 03 'a/b' 01 02 00 'hi'", &Packet::Publish(qos1));
            both_ways(V5, side, "3d 08 00 03 'a/b' 01 02 00", &Packet::Publish(qos2));
        }
    }

    #[test]
    fn properties_are_parted_into_those_that_go_on_and_those_that_end_here() {
        let mut block = Vec::new();
        Property::PayloadFormatIndicator(true).write_to(&mut block);
        Property::UserProperty("b", "1").write_to(&mut block);
        Property::UserProperty("a", "2").write_to(&mut block);
        let publish = Publish {
            topic_alias: TopicAlias::new(3),
            message_expiry_s: Some(10),
            properties: Forwarded::from_clean_block(&block),
            ..message("t", b"p")
        };
        let goes_on = "01 01 26 00 01 'b' 00 01 '1' 26 00 01 'a' 00 01 '2'";
        let sample = format!("30 1d 00 01 't' 18 02 00 00 00 0a 23 00 03 {goes_on} 'p'");
        both_ways(V5, Server, &sample, &Packet::Publish(publish));
        let mixed =
            "30 1d 00 01 't' 18 01 01 26 00 01 'b' 00 01 '1' 23 00 03 26 00 01 'a' 00 01 '2' 02 00 00 00 0a 'p'";
        decodes(V5, Server, mixed, &Packet::Publish(publish));

        let bytes = bytes(mixed);
        let body = &bytes[2..];
        let read = Publish::decode(Frame { first: 0x30, body }, V5, Server).unwrap();
        let mut written = Vec::new();
        read.properties.write_to(&mut written);
        assert_eq!(written, block);
        assert_eq!(read.properties.len_bytes(), block.len());
    }

    #[test]
    fn an_alias_may_stand_for_the_topic() {
        let publish = Publish { topic_alias: TopicAlias::new(1), ..message("", b"p") };
        both_ways(V5, Server, "30 07 00 00 03 23 00 01 'p'", &Packet::Publish(publish));
        refused(V5, Server, "30 04 00 00 00 'p'", DecodeError::Protocol("neither topic nor alias"));
        refused(V311, Server, "30 03 00 00 'p'", DecodeError::TopicNameInvalid("empty topic name"));
    }

    #[test]
    fn subscription_identifiers_come_from_servers_only() {
        let sample = "30 0a 00 01 't' 05 0b 01 0b ac 02 'p'";
        let bytes = bytes(sample);
        let read = Publish::decode(Frame { first: 0x30, body: &bytes[2..] }, V5, Client).unwrap();
        assert_eq!(read.subscription_ids.iter().map(SubscriptionId::get).collect::<Vec<_>>(), [1, 300]);
        assert!(!read.subscription_ids.is_empty() && read.properties.is_empty());
        both_ways(V5, Client, sample, &Packet::Publish(read));
        refused(V5, Server, sample, DecodeError::Protocol("subscription identifier from a client"));
    }

    #[test]
    fn what_a_message_may_not_be() {
        let cases = [
            (V311, "38 05 00 01 't' 'hi'", DecodeError::Malformed("DUP in a QoS 0 message")),
            (V311, "32 05 00 01 't' 00 00", DecodeError::Protocol("packet identifier 0")),
            (V5, "34 06 00 01 't' 00 00 00", DecodeError::Protocol("packet identifier 0")),
            (V311, "32 04 00 01 't' 01", DecodeError::Malformed("packet ends inside a field")),
            (V311, "30 05 00 03 'a/+'", DecodeError::TopicNameInvalid("wildcard in a topic name")),
            (V31, "30 03 00 01 '#'", DecodeError::TopicNameInvalid("wildcard in a topic name")),
            (V311, "30 03 00 01 00", DecodeError::Malformed("U+0000 in a string")),
            (V311, "30 05 00 03 ed a0 80", DecodeError::Malformed("string is not UTF-8")),
            (V311, "30 04 00 09 't' 'p'", DecodeError::Malformed("packet ends inside a field")),
            (V311, "30 01 00", DecodeError::Malformed("packet ends inside a field")),
            (V311, "30 00", DecodeError::Malformed("packet ends inside a field")),
            (V5, "30 07 00 01 't' 03 23 00 00", DecodeError::TopicAliasInvalid),
            (V5, "30 03 00 01 't'", DecodeError::Malformed("packet ends inside a field")),
            (V5, "30 04 00 01 't' 05", DecodeError::Malformed("packet ends inside a field")),
            (V5, "30 05 00 01 't' 80 00", DecodeError::Malformed("variable byte integer not in its shortest form")),
            (V5, "30 06 00 01 't' 02 11 00", DecodeError::Malformed("property that this packet may not carry")),
        ];
        for (version, sample, error) in cases {
            refused(version, Server, sample, error);
        }
        let qos3 = Frame { first: 0x36, body: b"\0\x01t\0\x01" };
        assert_eq!(Publish::decode(qos3, V311, Server), Err(DecodeError::Malformed("QoS 3")));
    }

    fn out(version: Version, topic: &'static str, payload: &'static [u8]) -> PublishOut<'static> {
        PublishOut {
            version,
            topic,
            topic_alias: None,
            qos: Qos::AtMostOnce,
            dup: false,
            retain: false,
            packet_id: None,
            message_expiry_s: None,
            subscription_ids: &[],
            forwarded: Forwarded::EMPTY,
            payload,
        }
    }

    #[test]
    fn a_head_tells_where_the_packet_identifier_is() {
        for version in [V311, V5] {
            let first = PublishOut {
                qos: Qos::AtLeastOnce,
                packet_id: PacketId::new(1),
                message_expiry_s: Some(9),
                ..out(version, "sensors/1", b"payload")
            };
            let mut buffer = vec![0xaa; 5];
            let head = first.encode(&mut buffer);
            assert_eq!(buffer.len(), 5 + first.encoded_len());
            let packet = &mut buffer[5..];
            let at = head.packet_id_at.expect("QoS 1 has one");
            packet[at..at + 2].copy_from_slice(&PacketId::MAX.get().to_be_bytes());
            let mut expected = Vec::new();
            PublishOut { packet_id: Some(PacketId::MAX), ..first }.encode(&mut expected);
            assert_eq!(*packet, expected);
        }
        let mut packet = Vec::new();
        let head = out(V311, "t", b"p").encode(&mut packet);
        assert_eq!(head, Head { packet_id_at: None, len: 5 });
    }

    #[test]
    fn encoding_grows_a_buffer_once_and_an_ample_one_never() {
        let ids = [SubscriptionId::MAX.min(SubscriptionId::new(300).unwrap()); 3];
        let message = PublishOut { subscription_ids: &ids, ..out(V5, "sensors/1", b"payload") };
        let mut exact = Vec::with_capacity(message.encoded_len());
        let at = exact.as_ptr();
        message.encode(&mut exact);
        assert_eq!((exact.as_ptr(), exact.len()), (at, message.encoded_len()));
    }

    #[test]
    fn lengths_are_right_where_the_remaining_length_grows() {
        static PAYLOAD: [u8; 20_000] = [7; 20_000];
        for version in [V311, V5] {
            for len in (0..200).chain(16_300..16_500) {
                let message = out(version, "t", &PAYLOAD[..len]);
                let mut packet = Vec::new();
                message.encode(&mut packet);
                assert_eq!(packet.len(), message.encoded_len());
                assert_eq!(super::super::frame::total_len(&packet, u32::MAX), Ok(Some(packet.len())));
            }
        }
    }

    #[test]
    fn debugging_shows_no_payload() {
        let shown = format!("{:?} {:?}", message("t", b"SECRET"), out(V5, "t", b"SECRET"));
        assert!(
            !shown.contains("SECRET") && !shown.contains("83, 69") && shown.contains("payload_bytes: 6"),
            "{shown}"
        );
    }

    #[test]
    fn a_packet_fits_up_to_the_receivers_maximum() {
        let message = out(V311, "t", b"12345");
        assert!(message.fits(10) && !message.fits(9) && message.fits(u32::MAX));
        // The largest message of 3.1.1 has no room for the property length of 5.0.
        let payload = vec![0; PACKET_SIZE_MAX_BYTES as usize - 5 - 3];
        let largest = PublishOut { payload: &payload, ..out(V311, "t", b"") };
        assert_eq!(largest.encoded_len(), PACKET_SIZE_MAX_BYTES as usize);
        assert!(largest.fits(u32::MAX) && !PublishOut { version: V5, ..largest }.fits(u32::MAX));
    }
}
