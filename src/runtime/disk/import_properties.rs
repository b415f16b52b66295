//! Properties of a message that come from a file: whether they are some.

use crate::codec::{EncodedSubscriptionIds, Forwarded, Packet, Publish, Side, Version, decode, frame};
use crate::ids::Qos;

/// Whether they could be sent as they are.
pub(super) fn are_properties(block: &[u8]) -> bool {
    let properties = Forwarded::from_clean_block(block);
    let mut bytes = Vec::new();
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        payload: &[],
        topic_alias: None,
        message_expiry_s: None,
        properties,
        subscription_ids: EncodedSubscriptionIds::default(),
    };
    Packet::Publish(publish).encode(Version::V5, &mut bytes);
    let framed = frame::next(&bytes, u32::MAX).ok().flatten();
    let read = framed.and_then(|(frame, _)| decode(frame, Version::V5, Side::Server).ok());
    matches!(read, Some(Packet::Publish(read)) if read.properties.as_block() == Some(block))
}
