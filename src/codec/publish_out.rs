//! PUBLISH on its way out (MQTT 5.0, 3.3): the encoding that every delivery goes through.
//!
//! Always holds: encoding reserves once and keeps no intermediate buffer; everything in front of the payload is one run of bytes with
//! a known place for the packet identifier, so that one encoded form serves many subscribers.

use super::Version;
use super::forwarded::Forwarded;
use super::frame::PACKET_SIZE_MAX_BYTES;
use super::properties::{Property, id};
use super::wire::{STRING_MAX_BYTES, put_varint, varint_bytes, varint_len};
use crate::ids::{PacketId, Qos, SubscriptionId, TopicAlias};
use crate::limits::REMAINING_LENGTH_MAX_BYTES;

/// A message on its way out. Everything about properties is ignored before 5.0.
#[derive(Clone, Copy)]
pub struct PublishOut<'a> {
    /// What the receiver speaks; decides about properties.
    pub version: Version,
    /// Empty only if `topic_alias` stands for it.
    pub topic: &'a str,
    /// Within what the receiver takes.
    pub topic_alias: Option<TopicAlias>,
    /// Quality of service of this delivery.
    pub qos: Qos,
    /// Sent again; never with QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// The retain flag of this delivery.
    pub retain: bool,
    /// There is one exactly if `qos` is not 0.
    pub packet_id: Option<PacketId>,
    /// Seconds that are left.
    pub message_expiry_s: Option<u32>,
    /// Identifiers of the receiver's subscriptions that matched.
    pub subscription_ids: &'a [SubscriptionId],
    /// What goes on unchanged; what ends at this hop is left out.
    pub forwarded: Forwarded<'a>,
    /// Any bytes; may be empty.
    pub payload: &'a [u8],
}

/// What [`PublishOut`] has written in front of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the packet identifier is, counted from the packet's first byte.
    pub packet_id_at: Option<usize>,
    /// Bytes in front of the payload, fixed header included.
    pub len: usize,
}

impl PublishOut<'_> {
    /// Length of the whole packet. It can be more than MQTT can express where a message of the largest size gains
    /// properties on its way to another version: ask [`PublishOut::fits`] before encoding, or encode by [`PublishOut::measured`].
    pub fn encoded_len(&self) -> usize {
        let remaining = self.remaining_len(self.properties_len());
        1 + varint_len(u32::try_from(remaining).unwrap_or(u32::MAX)) + remaining
    }

    /// The packet with its lengths, if MQTT can express them.
    #[inline]
    pub fn measured(&self) -> Option<MeasuredPublish<'_>> {
        let measured = self.assumed_to_fit();
        (measured.remaining <= REMAINING_LENGTH_MAX_BYTES as usize).then_some(measured)
    }

    /// The same where that is the caller's word: encoding it aborts if it is not true.
    #[inline]
    fn assumed_to_fit(&self) -> MeasuredPublish<'_> {
        let properties_len = self.properties_len();
        MeasuredPublish { packet: self, properties_len, remaining: self.remaining_len(properties_len) }
    }

    /// Whether the packet may go to a receiver that takes `max_size_bytes` [MQTT-3.1.2-24].
    pub fn fits(&self, max_size_bytes: u32) -> bool {
        self.encoded_len() <= max_size_bytes.min(PACKET_SIZE_MAX_BYTES) as usize
    }

    /// Appends everything in front of the payload, whose length is already in the header. For a packet that MQTT can express.
    pub fn encode_head(&self, out: &mut Vec<u8>) -> Head {
        self.assumed_to_fit().encode_head(out)
    }

    /// Appends the whole packet. For one that MQTT can express.
    pub fn encode(&self, out: &mut Vec<u8>) -> Head {
        self.assumed_to_fit().encode(out)
    }

    /// Property bytes, their length excluded; 0 before 5.0.
    #[inline]
    fn properties_len(&self) -> usize {
        if !self.version.is_v5() {
            return 0;
        }
        let ids: usize = self.subscription_ids.iter().map(|id| 1 + varint_len(id.get())).sum();
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if self.message_expiry_s.is_some() { 5 } else { 0 };
        alias + expiry + ids + self.forwarded.len_bytes()
    }

    #[inline]
    fn remaining_len(&self, properties_len: usize) -> usize {
        let packet_id = if self.qos == Qos::AtMostOnce { 0 } else { 2 };
        let length_of_properties = if self.version.is_v5() { varint_len(properties_len as u32) } else { 0 };
        2 + self.topic.len() + packet_id + length_of_properties + properties_len + self.payload.len()
    }

    /// Reserves for the head and `extra_bytes`, and appends the head.
    #[expect(clippy::inline_always, reason = "a call costs a tenth of what an encoded packet does")]
    #[inline(always)]
    fn put_head(&self, (properties_len, remaining): (usize, usize), out: &mut Vec<u8>, extra_bytes: usize) -> Head {
        assert!(self.packet_id.is_some() == (self.qos != Qos::AtMostOnce), "packet identifier and QoS disagree");
        assert!(self.topic.len() <= STRING_MAX_BYTES, "a topic of {} bytes", self.topic.len());
        debug_assert!(!(self.dup && self.qos == Qos::AtMostOnce), "DUP in a QoS 0 message");
        debug_assert!(!self.topic.is_empty() || (self.version.is_v5() && self.topic_alias.is_some()));
        let (remaining_bytes, remaining_count) = varint_bytes(u32::try_from(remaining).unwrap_or(u32::MAX));
        let start = out.len();
        let len = 1 + remaining_count + remaining - self.payload.len();
        out.reserve(len + extra_bytes);

        let first = 0x30 | u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        let [high, low] = (self.topic.len() as u16).to_be_bytes();
        let [a, b, c, d] = remaining_bytes;
        // Runs of a constant length are stores; a variable one would be a call.
        match remaining_count {
            1 => out.extend_from_slice(&[first, a, high, low]),
            2 => out.extend_from_slice(&[first, a, b, high, low]),
            3 => out.extend_from_slice(&[first, a, b, c, high, low]),
            _ => out.extend_from_slice(&[first, a, b, c, d, high, low]),
        }
        out.extend_from_slice(self.topic.as_bytes());

        let packet_id_at = self.packet_id.map(|packet_id| {
            let at = out.len() - start;
            out.extend_from_slice(&packet_id.get().to_be_bytes());
            at
        });
        if self.version.is_v5() {
            self.put_properties(out, properties_len);
        }
        debug_assert_eq!(out.len() - start, len);
        Head { packet_id_at, len }
    }

    #[inline]
    fn put_properties(&self, out: &mut Vec<u8>, properties_len: usize) {
        if properties_len < 0x80 {
            out.push(properties_len as u8); // [MQTT-2.2.2-1]
        } else {
            put_varint(out, u32::try_from(properties_len).unwrap_or(u32::MAX));
        }
        if properties_len == 0 {
            return;
        }
        if let Some(seconds) = self.message_expiry_s {
            let [a, b, c, d] = seconds.to_be_bytes();
            out.extend_from_slice(&[id::MESSAGE_EXPIRY_INTERVAL, a, b, c, d]);
        }
        if let Some(alias) = self.topic_alias {
            let [a, b] = alias.get().to_be_bytes();
            out.extend_from_slice(&[id::TOPIC_ALIAS, a, b]);
        }
        for subscription_id in self.subscription_ids {
            Property::SubscriptionIdentifier(*subscription_id).write_to(out);
        }
        self.forwarded.write_to(out);
    }
}

/// A message on its way out together with how long it is: for what is asked first whether it fits, and then encoded.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredPublish<'a> {
    packet: &'a PublishOut<'a>,
    properties_len: usize,
    /// What the fixed header says: everything behind it.
    remaining: usize,
}

impl MeasuredPublish<'_> {
    /// Appends everything in front of the payload, whose length is already in the header.
    #[inline(never)]
    pub fn encode_head(&self, out: &mut Vec<u8>) -> Head {
        self.packet.put_head((self.properties_len, self.remaining), out, 0)
    }

    /// Appends the whole packet.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) -> Head {
        let payload = self.packet.payload;
        let head = self.packet.put_head((self.properties_len, self.remaining), out, payload.len());
        out.extend_from_slice(payload);
        head
    }
}

/// Shows how long the payload is, never what it is: payloads do not belong into logs.
impl std::fmt::Debug for PublishOut<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PublishOut")
            .field("version", &self.version)
            .field("dup", &self.dup)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("topic", &self.topic)
            .field("packet_id", &self.packet_id)
            .field("payload_bytes", &self.payload.len())
            .field("topic_alias", &self.topic_alias)
            .field("message_expiry_s", &self.message_expiry_s)
            .field("property_bytes", &self.forwarded.len_bytes())
            .field("subscription_ids", &self.subscription_ids)
            .finish()
    }
}
