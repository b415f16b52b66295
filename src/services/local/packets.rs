//! What a client is sent, as values that own what they hold.
//!
//! Always holds: a payload is a part of the bytes that were received, not a copy.

use bytes::Bytes;

use crate::codec::{Ack, AckKind, ConnAck, Forwarded, Packet, Property, Publish, PublishOut, ReasonCode, Version};
use crate::ids::{PacketId, Qos, SubscriptionId};
use crate::limits::TIMER_TICK_MS;

/// A packet that a server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnedPacket {
    ConnAck(Box<OwnedConnack>),
    Publish(OwnedPublish),
    /// A PUBLISH that is no message as it stands, and of which this much could be read: it can be acknowledged.
    Unreadable {
        qos: Qos,
        packet_id: Option<PacketId>,
        why: Box<str>,
    },
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(OwnedAck),
    SubAck {
        packet_id: PacketId,
        codes: Vec<ReasonCode>,
    },
    UnsubAck {
        packet_id: PacketId,
    },
    PingResp,
    /// Only MQTT 5.0 has it from a server; the connection closes behind it.
    Disconnect {
        reason: ReasonCode,
        text: Option<Box<str>>,
    },
}

/// What CONNACK says, where it matters to a client of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedConnack {
    pub(crate) reason: ReasonCode,
    pub(crate) reason_string: Option<Box<str>>,
    pub(crate) session_present: bool,
    /// QoS 1 and 2 messages that the server takes at a time.
    pub(crate) receive_maximum: u16,
    pub(crate) qos_max: Qos,
    pub(crate) retain_available: bool,
    /// Largest packet that it takes.
    pub(crate) packet_size_max_bytes: u32,
    /// In place of the one that was asked for.
    pub(crate) keep_alive_s: Option<u16>,
}

/// A message, as it comes from a server or is sent to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedPublish {
    pub(crate) dup: bool,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) topic: Box<str>,
    /// There is one exactly if the quality of service is not 0.
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) payload: Bytes,
    pub(crate) message_expiry_s: Option<u32>,
    /// Properties that go on, as [`Forwarded::from_clean_block`] takes them.
    pub(crate) properties: Box<[u8]>,
    /// Of the subscriptions that it came by; where it came from a shard, one more ([`OwnedPublish::waited_ms`]).
    pub(crate) subscription_ids: Box<[SubscriptionId]>,
}

/// A step of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnedAck {
    pub(crate) kind: AckKind,
    pub(crate) packet_id: PacketId,
    pub(crate) reason: ReasonCode,
}

impl OwnedPublish {
    /// Of QoS 0, with no properties.
    pub(crate) fn new(topic: &str, payload: impl Into<Bytes>) -> Self {
        Self {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: topic.into(),
            packet_id: None,
            payload: payload.into(),
            message_expiry_s: None,
            properties: Box::default(),
            subscription_ids: Box::default(),
        }
    }

    /// The properties that go on to subscribers.
    pub(crate) const fn forwarded(&self) -> Forwarded<'_> {
        Forwarded::from_clean_block(&self.properties)
    }

    /// How long it has waited in this broker, to a tick of the timers. Of one that has come from a shard: behind the identifiers of the subscriptions
    /// stands how many ticks that was, and one more.
    pub(crate) fn waited_ms(&self) -> u64 {
        self.subscription_ids.last().map_or(0, |ticks| u64::from(ticks.get() - 1) * TIMER_TICK_MS)
    }

    /// How many user properties it has.
    pub(crate) fn user_properties(&self) -> usize {
        self.forwarded().iter().filter(|property| matches!(property, Property::UserProperty(..))).count()
    }

    /// As a client sends it: with neither alias nor subscription identifiers.
    pub(crate) fn out(&self, version: Version) -> PublishOut<'_> {
        PublishOut {
            version,
            topic: &self.topic,
            topic_alias: None,
            qos: self.qos,
            dup: self.dup,
            retain: self.retain,
            packet_id: self.packet_id,
            message_expiry_s: self.message_expiry_s,
            subscription_ids: &[],
            forwarded: self.forwarded(),
            payload: &self.payload,
        }
    }

    fn of(publish: &Publish<'_>, whole: &Bytes) -> Self {
        let mut properties = Vec::new();
        publish.properties.write_to(&mut properties);
        Self {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic.into(),
            packet_id: publish.packet_id,
            payload: whole.slice_ref(publish.payload),
            message_expiry_s: publish.message_expiry_s,
            properties: properties.into(),
            subscription_ids: publish.subscription_ids.iter().collect(),
        }
    }
}

impl OwnedAck {
    /// Without anything to add.
    pub(crate) const fn new(kind: AckKind, packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { kind, packet_id, reason }
    }
}

impl OwnedConnack {
    fn of(connack: &ConnAck<'_>) -> Self {
        Self {
            reason: connack.reason,
            reason_string: connack.reason_string.map(Into::into),
            session_present: connack.session_present,
            receive_maximum: connack.receive_maximum.unwrap_or(u16::MAX),
            qos_max: connack.maximum_qos.unwrap_or(Qos::ExactlyOnce),
            retain_available: connack.retain_available.unwrap_or(true),
            packet_size_max_bytes: connack.maximum_packet_size_bytes.unwrap_or(u32::MAX),
            keep_alive_s: connack.server_keep_alive_s,
        }
    }
}

impl OwnedPacket {
    /// Of a packet that was decoded from `whole`; `None` for one that no client of ours asks for (AUTH).
    pub(super) fn of(packet: &Packet<'_>, whole: &Bytes) -> Option<Self> {
        Some(match packet {
            Packet::ConnAck(connack) => Self::ConnAck(Box::new(OwnedConnack::of(connack))),
            Packet::Publish(publish) => Self::Publish(OwnedPublish::of(publish, whole)),
            Packet::Ack(Ack { kind, packet_id, reason, .. }) => Self::Ack(OwnedAck::new(*kind, *packet_id, *reason)),
            Packet::SubAck(suback) => Self::SubAck { packet_id: suback.packet_id, codes: suback.codes().collect() },
            Packet::UnsubAck(unsuback) => Self::UnsubAck { packet_id: unsuback.packet_id },
            Packet::PingResp => Self::PingResp,
            Packet::Disconnect(disconnect) => {
                Self::Disconnect { reason: disconnect.reason, text: disconnect.reason_string.map(Into::into) }
            }
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq | Packet::Auth(_) => {
                return None;
            }
        })
    }
}
