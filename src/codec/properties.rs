//! Properties of MQTT 5.0 (2.2.2): one validated, typed walk that every packet kind uses, and their encoding.
//!
//! What always holds: a property that the packet may not carry, a second one of a kind that may occur once, a value
//! outside its range and more user properties than `limits.rs` allows are refused while walking; a walk that reached its
//! end has seen valid properties only. What a property means is for the packet that carries it.

use std::num::{NonZeroU16, NonZeroU32};

use super::error::DecodeError;
use super::wire::{Reader, put_binary, put_string, put_u8, put_u16, put_u32, put_varint};
use crate::ids::{Qos, SubscriptionId, TopicAlias};
use crate::limits;

/// One property, by the specification's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names and values are those of MQTT 5.0, 2.2.2.2")]
pub enum Property<'a> {
    /// Whether the payload is UTF-8.
    PayloadFormatIndicator(bool),
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(SubscriptionId),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(NonZeroU16),
    TopicAliasMaximum(u16),
    TopicAlias(TopicAlias),
    MaximumQos(Qos),
    RetainAvailable(bool),
    /// Name and value; one name may occur several times.
    UserProperty(&'a str, &'a str),
    MaximumPacketSize(NonZeroU32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifiersAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// Property identifiers (MQTT 5.0, table 2-4). All are below 128, so each is one byte although its type is a varint.
pub(super) mod id {
    pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1a;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1c;
    pub(crate) const REASON_STRING: u8 = 0x1f;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2a;
}

/// Which properties a packet may carry: a bit for each identifier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    once: u64,
    often: u64,
}

impl Allowed {
    const fn new(once: &[u8], often: &[u8]) -> Self {
        Self { once: bits(once), often: bits(often) }
    }

    pub(super) const CONNECT: Self = Self::new(
        &[
            id::SESSION_EXPIRY_INTERVAL,
            id::RECEIVE_MAXIMUM,
            id::MAXIMUM_PACKET_SIZE,
            id::TOPIC_ALIAS_MAXIMUM,
            id::REQUEST_RESPONSE_INFORMATION,
            id::REQUEST_PROBLEM_INFORMATION,
            id::AUTHENTICATION_METHOD,
            id::AUTHENTICATION_DATA,
        ],
        &[id::USER_PROPERTY],
    );
    pub(super) const WILL: Self = Self::new(
        &[
            id::WILL_DELAY_INTERVAL,
            id::PAYLOAD_FORMAT_INDICATOR,
            id::MESSAGE_EXPIRY_INTERVAL,
            id::CONTENT_TYPE,
            id::RESPONSE_TOPIC,
            id::CORRELATION_DATA,
        ],
        &[id::USER_PROPERTY],
    );
    pub(super) const CONNACK: Self = Self::new(
        &[
            id::SESSION_EXPIRY_INTERVAL,
            id::RECEIVE_MAXIMUM,
            id::MAXIMUM_QOS,
            id::RETAIN_AVAILABLE,
            id::MAXIMUM_PACKET_SIZE,
            id::ASSIGNED_CLIENT_IDENTIFIER,
            id::TOPIC_ALIAS_MAXIMUM,
            id::REASON_STRING,
            id::WILDCARD_SUBSCRIPTION_AVAILABLE,
            id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE,
            id::SHARED_SUBSCRIPTION_AVAILABLE,
            id::SERVER_KEEP_ALIVE,
            id::RESPONSE_INFORMATION,
            id::SERVER_REFERENCE,
            id::AUTHENTICATION_METHOD,
            id::AUTHENTICATION_DATA,
        ],
        &[id::USER_PROPERTY],
    );
    /// A message on its way from a server may match several subscriptions, each with its identifier. From a client it
    /// carries none [MQTT-3.3.4-6]; `publish` says so.
    pub(super) const PUBLISH: Self = Self::new(
        &[
            id::PAYLOAD_FORMAT_INDICATOR,
            id::MESSAGE_EXPIRY_INTERVAL,
            id::TOPIC_ALIAS,
            id::RESPONSE_TOPIC,
            id::CORRELATION_DATA,
            id::CONTENT_TYPE,
        ],
        &[id::USER_PROPERTY, id::SUBSCRIPTION_IDENTIFIER],
    );
    /// What is left of those of a PUBLISH or a will behind the server that it came to.
    pub(super) const FORWARDED: Self = Self::new(
        &[id::PAYLOAD_FORMAT_INDICATOR, id::CONTENT_TYPE, id::RESPONSE_TOPIC, id::CORRELATION_DATA],
        &[id::USER_PROPERTY],
    );
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    pub(super) const ACK: Self = Self::new(&[id::REASON_STRING], &[id::USER_PROPERTY]);
    pub(super) const SUBSCRIBE: Self = Self::new(&[id::SUBSCRIPTION_IDENTIFIER], &[id::USER_PROPERTY]);
    pub(super) const UNSUBSCRIBE: Self = Self::new(&[], &[id::USER_PROPERTY]);
    pub(super) const DISCONNECT: Self =
        Self::new(&[id::SESSION_EXPIRY_INTERVAL, id::REASON_STRING, id::SERVER_REFERENCE], &[id::USER_PROPERTY]);
    pub(super) const AUTH: Self =
        Self::new(&[id::AUTHENTICATION_METHOD, id::AUTHENTICATION_DATA, id::REASON_STRING], &[id::USER_PROPERTY]);
}

const fn bits(ids: &[u8]) -> u64 {
    let mut bits = 0;
    let mut at = 0;
    while at < ids.len() {
        bits |= 1 << ids[at];
        at += 1;
    }
    bits
}

/// A walk over the properties of one packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Properties<'a> {
    reader: Reader<'a>,
    allowed: Allowed,
    seen: u64,
    /// User properties so far.
    users: usize,
}

impl<'a> Properties<'a> {
    /// Takes the property length and that many bytes from `reader`.
    pub(super) fn take_from(reader: &mut Reader<'a>, allowed: Allowed) -> Result<Self, DecodeError> {
        let len = reader.varint()?;
        Ok(Self::of_block(reader.take(len as usize)?, allowed))
    }

    /// Those of a block that has no length in front.
    pub(super) const fn of_block(block: &'a [u8], allowed: Allowed) -> Self {
        Self { reader: Reader::new(block), allowed, seen: 0, users: 0 }
    }

    /// The bytes not walked over yet.
    pub(super) const fn block(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// The next property, or `None` behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let id = self.reader.u8()?;
        let bit = 1_u64.checked_shl(u32::from(id)).unwrap_or(0);
        if bit & (self.allowed.once | self.allowed.often) == 0 {
            return Err(DecodeError::Malformed("property that this packet may not carry"));
        }
        if bit & self.seen & self.allowed.once != 0 {
            return Err(DecodeError::Protocol("property that may occur once occurs again"));
        }
        self.seen |= bit;
        if id == id::USER_PROPERTY {
            self.users += 1;
            if self.users > limits::USER_PROPERTIES_MAX {
                return Err(DecodeError::LimitExceeded("too many user properties"));
            }
        }
        Property::read_value(id, &mut self.reader).map(Some)
    }

    /// Walks to the end for the sake of the checks alone.
    pub(super) fn check(mut self) -> Result<(), DecodeError> {
        while self.next()?.is_some() {}
        Ok(())
    }
}

impl<'a> Property<'a> {
    /// Reads and checks what follows the identifier.
    pub(super) fn read_value(id: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match id {
            id::PAYLOAD_FORMAT_INDICATOR => Self::PayloadFormatIndicator(flag(reader)?),
            id::MESSAGE_EXPIRY_INTERVAL => Self::MessageExpiryInterval(reader.u32()?),
            id::CONTENT_TYPE => Self::ContentType(reader.string()?),
            id::RESPONSE_TOPIC => Self::ResponseTopic(response_topic(reader)?),
            id::CORRELATION_DATA => Self::CorrelationData(reader.binary()?),
            id::SUBSCRIPTION_IDENTIFIER => Self::SubscriptionIdentifier(
                SubscriptionId::new(reader.varint()?).ok_or(DecodeError::Protocol("subscription identifier 0"))?,
            ),
            id::SESSION_EXPIRY_INTERVAL => Self::SessionExpiryInterval(reader.u32()?),
            id::ASSIGNED_CLIENT_IDENTIFIER => Self::AssignedClientIdentifier(reader.string()?),
            id::SERVER_KEEP_ALIVE => Self::ServerKeepAlive(reader.u16()?),
            id::AUTHENTICATION_METHOD => Self::AuthenticationMethod(reader.string()?),
            id::AUTHENTICATION_DATA => Self::AuthenticationData(reader.binary()?),
            id::REQUEST_PROBLEM_INFORMATION => Self::RequestProblemInformation(flag(reader)?),
            id::WILL_DELAY_INTERVAL => Self::WillDelayInterval(reader.u32()?),
            id::REQUEST_RESPONSE_INFORMATION => Self::RequestResponseInformation(flag(reader)?),
            id::RESPONSE_INFORMATION => Self::ResponseInformation(reader.string()?),
            id::SERVER_REFERENCE => Self::ServerReference(reader.string()?),
            id::REASON_STRING => Self::ReasonString(reader.string()?),
            id::RECEIVE_MAXIMUM => {
                Self::ReceiveMaximum(NonZeroU16::new(reader.u16()?).ok_or(DecodeError::Protocol("receive maximum 0"))?)
            }
            id::TOPIC_ALIAS_MAXIMUM => Self::TopicAliasMaximum(reader.u16()?),
            // [MQTT-3.3.2-8]
            id::TOPIC_ALIAS => Self::TopicAlias(TopicAlias::new(reader.u16()?).ok_or(DecodeError::TopicAliasInvalid)?),
            id::MAXIMUM_QOS => match reader.u8()? {
                0 => Self::MaximumQos(Qos::AtMostOnce),
                1 => Self::MaximumQos(Qos::AtLeastOnce),
                _ => return Err(DecodeError::Protocol("maximum QoS other than 0 and 1")),
            },
            id::RETAIN_AVAILABLE => Self::RetainAvailable(flag(reader)?),
            id::USER_PROPERTY => Self::UserProperty(reader.string()?, reader.string()?), // [MQTT-1.5.7-1]
            id::MAXIMUM_PACKET_SIZE => Self::MaximumPacketSize(
                NonZeroU32::new(reader.u32()?).ok_or(DecodeError::Protocol("maximum packet size 0"))?,
            ),
            id::WILDCARD_SUBSCRIPTION_AVAILABLE => Self::WildcardSubscriptionAvailable(flag(reader)?),
            id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE => Self::SubscriptionIdentifiersAvailable(flag(reader)?),
            id::SHARED_SUBSCRIPTION_AVAILABLE => Self::SharedSubscriptionAvailable(flag(reader)?),
            _ => return Err(DecodeError::Malformed("unknown property")),
        })
    }

    /// Its identifier on the wire.
    pub(super) const fn id(&self) -> u8 {
        match self {
            Self::PayloadFormatIndicator(_) => id::PAYLOAD_FORMAT_INDICATOR,
            Self::MessageExpiryInterval(_) => id::MESSAGE_EXPIRY_INTERVAL,
            Self::ContentType(_) => id::CONTENT_TYPE,
            Self::ResponseTopic(_) => id::RESPONSE_TOPIC,
            Self::CorrelationData(_) => id::CORRELATION_DATA,
            Self::SubscriptionIdentifier(_) => id::SUBSCRIPTION_IDENTIFIER,
            Self::SessionExpiryInterval(_) => id::SESSION_EXPIRY_INTERVAL,
            Self::AssignedClientIdentifier(_) => id::ASSIGNED_CLIENT_IDENTIFIER,
            Self::ServerKeepAlive(_) => id::SERVER_KEEP_ALIVE,
            Self::AuthenticationMethod(_) => id::AUTHENTICATION_METHOD,
            Self::AuthenticationData(_) => id::AUTHENTICATION_DATA,
            Self::RequestProblemInformation(_) => id::REQUEST_PROBLEM_INFORMATION,
            Self::WillDelayInterval(_) => id::WILL_DELAY_INTERVAL,
            Self::RequestResponseInformation(_) => id::REQUEST_RESPONSE_INFORMATION,
            Self::ResponseInformation(_) => id::RESPONSE_INFORMATION,
            Self::ServerReference(_) => id::SERVER_REFERENCE,
            Self::ReasonString(_) => id::REASON_STRING,
            Self::ReceiveMaximum(_) => id::RECEIVE_MAXIMUM,
            Self::TopicAliasMaximum(_) => id::TOPIC_ALIAS_MAXIMUM,
            Self::TopicAlias(_) => id::TOPIC_ALIAS,
            Self::MaximumQos(_) => id::MAXIMUM_QOS,
            Self::RetainAvailable(_) => id::RETAIN_AVAILABLE,
            Self::UserProperty(..) => id::USER_PROPERTY,
            Self::MaximumPacketSize(_) => id::MAXIMUM_PACKET_SIZE,
            Self::WildcardSubscriptionAvailable(_) => id::WILDCARD_SUBSCRIPTION_AVAILABLE,
            Self::SubscriptionIdentifiersAvailable(_) => id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE,
            Self::SharedSubscriptionAvailable(_) => id::SHARED_SUBSCRIPTION_AVAILABLE,
        }
    }

    /// Appends identifier and value. A run of these without a length in front is what [`Forwarded::from_clean_block`](super::Forwarded::from_clean_block)
    /// takes.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        put_u8(out, self.id());
        match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifiersAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => put_u8(out, u8::from(value)),
            Self::MaximumQos(qos) => put_u8(out, qos as u8),
            Self::ServerKeepAlive(value) | Self::TopicAliasMaximum(value) => put_u16(out, value),
            Self::ReceiveMaximum(value) | Self::TopicAlias(value) => put_u16(out, value.get()),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value) => {
                put_u32(out, value);
            }
            Self::MaximumPacketSize(value) => put_u32(out, value.get()),
            Self::SubscriptionIdentifier(value) => put_varint(out, value.get()),
            Self::CorrelationData(value) | Self::AuthenticationData(value) => put_binary(out, value),
            Self::ContentType(value)
            | Self::ResponseTopic(value)
            | Self::AssignedClientIdentifier(value)
            | Self::AuthenticationMethod(value)
            | Self::ResponseInformation(value)
            | Self::ServerReference(value)
            | Self::ReasonString(value) => put_string(out, value),
            Self::UserProperty(name, value) => {
                put_string(out, name);
                put_string(out, value);
            }
        }
    }
}

/// Appends `property` if there is a value for it.
pub(super) fn put_some<'a, T>(out: &mut Vec<u8>, value: Option<T>, property: impl FnOnce(T) -> Property<'a>) {
    if let Some(value) = value {
        property(value).write_to(out);
    }
}

/// A byte that is 0 or 1; any other value is a protocol error.
fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Protocol("property value other than 0 and 1")),
    }
}

/// A response topic is a topic name: no wildcards [MQTT-3.3.2-14], not empty [MQTT-4.7.3-1].
fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    match reader.topic_name()? {
        "" => Err(DecodeError::TopicNameInvalid("empty response topic")),
        topic => Ok(topic),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One of each, in the order of the identifiers.
    pub(in crate::codec) fn samples() -> [Property<'static>; 27] {
        [
            Property::PayloadFormatIndicator(true),
            Property::MessageExpiryInterval(0x0102_0304),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("reply/to"),
            Property::CorrelationData(&[0, 0xff, 3]),
            Property::SubscriptionIdentifier(SubscriptionId::new(268_435_455).unwrap()),
            Property::SessionExpiryInterval(u32::MAX),
            Property::AssignedClientIdentifier("auto-1"),
            Property::ServerKeepAlive(60),
            Property::AuthenticationMethod("SCRAM-SHA-256"),
            Property::AuthenticationData(b"n,,n=user"),
            Property::RequestProblemInformation(false),
            Property::WillDelayInterval(0),
            Property::RequestResponseInformation(true),
            Property::ResponseInformation("reply"),
            Property::ServerReference("other:1883"),
            Property::ReasonString("why"),
            Property::ReceiveMaximum(NonZeroU16::MIN),
            Property::TopicAliasMaximum(0),
            Property::TopicAlias(TopicAlias::MAX),
            Property::MaximumQos(Qos::AtLeastOnce),
            Property::RetainAvailable(false),
            Property::UserProperty("", "value"),
            Property::MaximumPacketSize(NonZeroU32::MAX),
            Property::WildcardSubscriptionAvailable(true),
            Property::SubscriptionIdentifiersAvailable(true),
            Property::SharedSubscriptionAvailable(true),
        ]
    }

    fn walk(block: &[u8], allowed: Allowed) -> Result<(), DecodeError> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, block.len() as u32);
        bytes.extend_from_slice(block);
        Properties::take_from(&mut Reader::new(&bytes), allowed)?.check()
    }

    fn block(properties: &[Property<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for property in properties {
            property.write_to(&mut out);
        }
        out
    }

    #[test]
    fn every_property_reads_back_and_no_cut_of_it_does() {
        for property in samples() {
            let bytes = block(&[property]);
            let mut reader = Reader::new(&bytes[1..]);
            assert_eq!(Property::read_value(bytes[0], &mut reader), Ok(property));
            assert!(reader.is_empty());
            for cut in 1..bytes.len() {
                assert!(Property::read_value(bytes[0], &mut Reader::new(&bytes[1..cut])).is_err(), "{property:?}");
            }
        }
    }

    #[test]
    fn packets_carry_the_properties_of_their_table_and_no_others() {
        // Table 2-4 of MQTT 5.0, read by column.
        let tables: [(&str, Allowed, &[u8]); 9] = [
            ("CONNECT", Allowed::CONNECT, &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27]),
            ("will", Allowed::WILL, &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26]),
            (
                "CONNACK",
                Allowed::CONNACK,
                &[0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a],
            ),
            ("PUBLISH", Allowed::PUBLISH, &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26]),
            ("acknowledgements", Allowed::ACK, &[0x1f, 0x26]),
            ("SUBSCRIBE", Allowed::SUBSCRIBE, &[0x0b, 0x26]),
            ("UNSUBSCRIBE", Allowed::UNSUBSCRIBE, &[0x26]),
            ("DISCONNECT", Allowed::DISCONNECT, &[0x11, 0x1c, 0x1f, 0x26]),
            ("AUTH", Allowed::AUTH, &[0x15, 0x16, 0x1f, 0x26]),
        ];
        for (name, allowed, ids) in tables {
            for property in samples() {
                let not_here = DecodeError::Malformed("property that this packet may not carry");
                let expected = if ids.contains(&property.id()) { Ok(()) } else { Err(not_here) };
                assert_eq!(walk(&block(&[property]), allowed), expected, "{name} {property:?}");
            }
            for id in (0..=255).filter(|id| !samples().iter().any(|sample| sample.id() == *id)) {
                assert!(matches!(walk(&[id, 0, 0, 0, 0], allowed), Err(DecodeError::Malformed(_))), "{name} {id:#04x}");
            }
        }
    }

    #[test]
    fn only_user_properties_and_subscription_identifiers_of_a_publish_repeat() {
        for (allowed, repeatable) in [
            (Allowed::PUBLISH, &[id::USER_PROPERTY, id::SUBSCRIPTION_IDENTIFIER][..]),
            (Allowed::SUBSCRIBE, &[id::USER_PROPERTY]),
            (Allowed::CONNECT, &[id::USER_PROPERTY]),
            (Allowed::CONNACK, &[id::USER_PROPERTY]),
        ] {
            for property in samples().into_iter().filter(|sample| walk(&block(&[*sample]), allowed).is_ok()) {
                let twice = walk(&block(&[property, property]), allowed);
                let again = DecodeError::Protocol("property that may occur once occurs again");
                let expected = if repeatable.contains(&property.id()) { Ok(()) } else { Err(again) };
                assert_eq!(twice, expected, "{property:?}");
            }
        }
    }

    #[test]
    fn user_properties_are_capped() {
        let most = vec![Property::UserProperty("k", "v"); limits::USER_PROPERTIES_MAX];
        assert_eq!(walk(&block(&most), Allowed::ACK), Ok(()));
        let more = vec![Property::UserProperty("k", "v"); limits::USER_PROPERTIES_MAX + 1];
        assert_eq!(walk(&block(&more), Allowed::ACK), Err(DecodeError::LimitExceeded("too many user properties")));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let cases: [(&[u8], Allowed, DecodeError); 14] = [
            (&[0x01, 2], Allowed::PUBLISH, DecodeError::Protocol("property value other than 0 and 1")),
            (&[0x17, 2], Allowed::CONNECT, DecodeError::Protocol("property value other than 0 and 1")),
            (&[0x19, 0xff], Allowed::CONNECT, DecodeError::Protocol("property value other than 0 and 1")),
            (&[0x21, 0, 0], Allowed::CONNECT, DecodeError::Protocol("receive maximum 0")),
            (&[0x27, 0, 0, 0, 0], Allowed::CONNECT, DecodeError::Protocol("maximum packet size 0")),
            (&[0x0b, 0], Allowed::SUBSCRIBE, DecodeError::Protocol("subscription identifier 0")),
            (&[0x23, 0, 0], Allowed::PUBLISH, DecodeError::TopicAliasInvalid),
            (&[0x24, 2], Allowed::CONNACK, DecodeError::Protocol("maximum QoS other than 0 and 1")),
            (&[0x25, 2], Allowed::CONNACK, DecodeError::Protocol("property value other than 0 and 1")),
            (b"\x08\0\x03a/+", Allowed::PUBLISH, DecodeError::TopicNameInvalid("wildcard in a topic name")),
            (b"\x08\0\x01#", Allowed::WILL, DecodeError::TopicNameInvalid("wildcard in a topic name")),
            (b"\x08\0\0", Allowed::PUBLISH, DecodeError::TopicNameInvalid("empty response topic")),
            (b"\x26\0\x01k\0\x02v\0", Allowed::ACK, DecodeError::Malformed("U+0000 in a string")),
            (b"\x26\0\x01k", Allowed::ACK, DecodeError::Malformed("packet ends inside a field")),
        ];
        for (bytes, allowed, error) in cases {
            assert_eq!(walk(bytes, allowed), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_property_length_beyond_the_packet_is_malformed() {
        let mut reader = Reader::new(&[5, 0x1f, 0, 1, b'x']);
        assert!(Properties::take_from(&mut reader, Allowed::ACK).is_err());
    }
}
