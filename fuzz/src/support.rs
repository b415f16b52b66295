//! What the fuzz targets share. The input of each is one byte that chooses, and the stream behind it.

use dunlin::codec::{Forwarded, Frame, Packet, Property, Side, Version, decode, frame};

/// The version that the first byte chooses.
pub fn version(choice: u8) -> Version {
    [Version::V31, Version::V311, Version::V5][usize::from(choice % 3)]
}

/// Every packet that can be cut from the stream before it ends or breaks.
pub fn frames(mut stream: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let (frame, len) = frame::next(stream, u32::MAX).ok()??;
        assert!(len >= 2 && len <= stream.len() && frame.body.len() < len);
        stream = &stream[len..];
        Some(frame)
    })
}

/// Decodes a stream and touches everything that can be reached from its packets.
pub fn decode_all(stream: &[u8], version: Version, side: Side) {
    for frame in frames(stream) {
        match decode(frame, version, side) {
            Ok(packet) => touch(&packet),
            Err(error) => assert!(error.reason().is_error() && !error.text().is_empty()),
        }
    }
}

fn touch(packet: &Packet<'_>) {
    match packet {
        Packet::Connect(connect) => {
            assert!(connect.receive_maximum > 0 && connect.maximum_packet_size_bytes > 0);
            if let Some(will) = &connect.will {
                name(will.topic);
                forwarded(will.properties);
            }
            text(connect.client_id);
            connect.username.into_iter().for_each(text);
        }
        Packet::Publish(publish) => {
            assert_eq!(publish.packet_id.is_some(), publish.qos as u8 > 0);
            assert!(!(publish.dup && publish.qos as u8 == 0));
            if publish.topic_alias.is_none() || !publish.topic.is_empty() {
                name(publish.topic);
            }
            forwarded(publish.properties);
            assert_eq!(publish.subscription_ids.is_empty(), publish.subscription_ids.iter().next().is_none());
        }
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.len() >= 1 && subscribe.filters().count() == subscribe.len());
            subscribe.filters().for_each(|filter| text(filter.filter));
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert!(unsubscribe.len() >= 1 && unsubscribe.filters().count() == unsubscribe.len());
            unsubscribe.filters().for_each(text);
        }
        Packet::Ack(ack) => {
            assert!(ack.reason.is_allowed_in(ack.kind.packet_type()));
            ack.user_properties.iter().for_each(|(name, value)| {
                text(name);
                text(value);
            });
        }
        Packet::SubAck(suback) => assert!(suback.codes().next().is_some()),
        Packet::UnsubAck(unsuback) => assert!(unsuback.codes().count() < usize::MAX),
        _ => {}
    }
    assert!(!format!("{packet:?}").is_empty());
}

fn forwarded(properties: Forwarded<'_>) {
    let mut written = Vec::new();
    properties.write_to(&mut written);
    assert_eq!(written.len(), properties.len_bytes());
    assert_eq!(Forwarded::from_clean_block(&written), properties);
    for property in properties.iter() {
        match property {
            Property::ResponseTopic(topic) => name(topic),
            Property::ContentType(value) => text(value),
            Property::UserProperty(key, value) => {
                text(key);
                text(value);
            }
            Property::PayloadFormatIndicator(_) | Property::CorrelationData(_) => {}
            other => panic!("{other:?} does not go on"),
        }
    }
}

fn text(text: &str) {
    assert!(!text.contains('\0') && text.len() <= 65_535);
}

fn name(topic: &str) {
    assert!(!topic.is_empty() && !topic.contains(['+', '#', '\0']), "{topic:?}");
}
