//! CONNACK (MQTT 5.0, 3.2): the server's answer to CONNECT.

use std::num::{NonZeroU16, NonZeroU32};

use super::error::DecodeError;
use super::frame::Frame;
use super::packet_type::PacketType;
use super::properties::{Allowed, Properties, Property, put_some};
use super::reason::ReasonCode;
use super::wire::{Reader, put_packet, put_u8, put_with_length, reason_code};
use super::{Version, expect_first};
use crate::ids::Qos;

/// Outcome of a CONNECT and, in 5.0, what the server offers. An absent value is not written and leaves the
/// specification's default to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConnAck<'a> {
    /// Whether a session was resumed. Goes out with success only [MQTT-3.2.2-6].
    pub session_present: bool,
    /// Success, or why the connection closes.
    pub reason: ReasonCode,
    /// Seconds, where the server shortens what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// QoS 1 and 2 messages that the server takes at a time; not 0.
    pub receive_maximum: Option<u16>,
    /// Highest quality of service; only 0 and 1 can be announced.
    pub maximum_qos: Option<Qos>,
    /// Whether retained messages are stored.
    pub retain_available: Option<bool>,
    /// Largest packet that the server takes; not 0.
    pub maximum_packet_size_bytes: Option<u32>,
    /// The client id that the server chose.
    pub assigned_client_id: Option<&'a str>,
    /// Highest topic alias that the server takes.
    pub topic_alias_maximum: Option<u16>,
    /// For people; left out where the client's maximum packet size does not admit it [MQTT-3.2.2-19].
    pub reason_string: Option<&'a str>,
    /// Whether filters may have wildcards.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscriptions may have identifiers.
    pub subscription_ids_available: Option<bool>,
    /// Whether shared subscriptions exist.
    pub shared_subscription_available: Option<bool>,
    /// Seconds; replaces the client's keep alive.
    pub server_keep_alive_s: Option<u16>,
    /// Basis for response topics.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// Set exactly if CONNECT asked for enhanced authentication [MQTT-4.12.0-5].
    pub authentication_method: Option<&'a str>,
    /// The last bytes of the exchange; only with a method.
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> ConnAck<'a> {
    /// An answer with this reason and nothing else.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    /// Decodes what a server sent.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Self, DecodeError> {
        expect_first(frame, 0x20)?;
        let mut reader = Reader::new(frame.body);
        let flags = reader.u8()?;
        let code = reader.u8()?;
        // Session Present came with 3.1.1; the byte is reserved before.
        let flags = if version == Version::V31 { 0 } else { flags };
        if flags > 1 {
            return Err(DecodeError::Malformed("reserved connect acknowledge flags")); // [MQTT-3.2.2-1]
        }
        let reason = match version {
            Version::V5 => reason_code(code, PacketType::ConnAck)?,
            _ => ReasonCode::from_v3_return_code(code).ok_or(DecodeError::Protocol("reserved return code"))?,
        };
        if flags == 1 && reason.is_error() {
            return Err(DecodeError::Protocol("session present in a refusal")); // [MQTT-3.2.2-6]
        }
        let mut connack = Self { session_present: flags == 1, reason, ..Self::default() };
        if version.is_v5() {
            connack.read_properties(&mut reader)?;
        }
        reader.finish()?;
        Ok(connack)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let mut properties = Properties::take_from(reader, Allowed::CONNACK)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => self.session_expiry_s = Some(seconds),
                Property::ReceiveMaximum(count) => self.receive_maximum = Some(count.get()),
                Property::MaximumQos(qos) => self.maximum_qos = Some(qos),
                Property::RetainAvailable(available) => self.retain_available = Some(available),
                Property::MaximumPacketSize(bytes) => self.maximum_packet_size_bytes = Some(bytes.get()),
                Property::AssignedClientIdentifier(id) => self.assigned_client_id = Some(id),
                Property::TopicAliasMaximum(alias) => self.topic_alias_maximum = Some(alias),
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::WildcardSubscriptionAvailable(available) => {
                    self.wildcard_subscription_available = Some(available);
                }
                Property::SubscriptionIdentifiersAvailable(available) => {
                    self.subscription_ids_available = Some(available);
                }
                Property::SharedSubscriptionAvailable(available) => {
                    self.shared_subscription_available = Some(available);
                }
                Property::ServerKeepAlive(seconds) => self.server_keep_alive_s = Some(seconds),
                Property::ResponseInformation(text) => self.response_information = Some(text),
                Property::ServerReference(text) => self.server_reference = Some(text),
                Property::AuthenticationMethod(method) => self.authentication_method = Some(method),
                Property::AuthenticationData(data) => self.authentication_data = Some(data),
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends the packet and says whether there is one: 3.x has no return code for some reasons, and then the
    /// connection closes without a CONNACK [MQTT-3.2.2-6 of 3.1.1].
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> bool {
        let session_present = u8::from(self.session_present && !self.reason.is_error());
        match version {
            Version::V31 | Version::V311 => {
                let Some(code) = self.reason.to_v3_return_code() else { return false };
                let flags = if version == Version::V31 { 0 } else { session_present };
                out.extend_from_slice(&[0x20, 2, flags, code]);
            }
            Version::V5 => {
                debug_assert!(self.reason.is_allowed_in(PacketType::ConnAck), "{} in CONNACK", self.reason);
                put_packet(out, 0x20, |out| {
                    put_u8(out, session_present);
                    put_u8(out, self.reason as u8);
                    put_with_length(out, |out| self.put_properties(out));
                });
            }
        }
        true
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        put_some(out, self.session_expiry_s, Property::SessionExpiryInterval);
        put_some(out, self.receive_maximum.and_then(NonZeroU16::new), Property::ReceiveMaximum);
        put_some(out, self.maximum_qos.filter(|qos| *qos < Qos::ExactlyOnce), Property::MaximumQos);
        put_some(out, self.retain_available, Property::RetainAvailable);
        put_some(out, self.maximum_packet_size_bytes.and_then(NonZeroU32::new), Property::MaximumPacketSize);
        put_some(out, self.assigned_client_id, Property::AssignedClientIdentifier);
        put_some(out, self.topic_alias_maximum, Property::TopicAliasMaximum);
        put_some(out, self.reason_string, Property::ReasonString);
        put_some(out, self.wildcard_subscription_available, Property::WildcardSubscriptionAvailable);
        put_some(out, self.subscription_ids_available, Property::SubscriptionIdentifiersAvailable);
        put_some(out, self.shared_subscription_available, Property::SharedSubscriptionAvailable);
        put_some(out, self.server_keep_alive_s, Property::ServerKeepAlive);
        put_some(out, self.response_information, Property::ResponseInformation);
        put_some(out, self.server_reference, Property::ServerReference);
        put_some(out, self.authentication_method, Property::AuthenticationMethod);
        put_some(out, self.authentication_data, Property::AuthenticationData);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::Side::Client;
    use super::super::tests::{both_ways, decodes, refused};
    use super::*;
    use Version::{V5, V31, V311};

    #[test]
    fn samples_of_all_versions() {
        let success = ConnAck::default();
        let resumed = ConnAck { session_present: true, ..success };
        both_ways(V31, Client, "20 02 00 00", &Packet::ConnAck(success));
        both_ways(V311, Client, "20 02 00 00", &Packet::ConnAck(success));
        both_ways(V311, Client, "20 02 01 00", &Packet::ConnAck(resumed));
        both_ways(V5, Client, "20 03 00 00 00", &Packet::ConnAck(success));
        both_ways(V5, Client, "20 03 01 00 00", &Packet::ConnAck(resumed));
        // The byte of Session Present is reserved in 3.1.
        decodes(V31, Client, "20 02 ff 00", &Packet::ConnAck(success));
    }

    #[test]
    fn all_properties_of_5_0() {
        let connack = ConnAck {
            session_present: false,
            reason: ReasonCode::Success,
            session_expiry_s: Some(60),
            receive_maximum: Some(1024),
            maximum_qos: Some(Qos::AtLeastOnce),
            retain_available: Some(true),
            maximum_packet_size_bytes: Some(1 << 20),
            assigned_client_id: Some("id"),
            topic_alias_maximum: Some(16),
            reason_string: Some("ok"),
            wildcard_subscription_available: Some(true),
            subscription_ids_available: Some(false),
            shared_subscription_available: Some(true),
            server_keep_alive_s: Some(30),
            response_information: Some("r"),
            server_reference: Some("s"),
            authentication_method: Some("m"),
            authentication_data: Some(b"d"),
        };
        let sample = "20 3a 00 00 37 11 00 00 00 3c 21 04 00 24 01 25 01 27 00 10 00 00 12 00 02 'id' 22 00 10 \
                      1f 00 02 'ok' 28 01 29 00 2a 01 13 00 1e 1a 00 01 'r' 1c 00 01 's' 15 00 01 'm' 16 00 01 'd'";
        both_ways(V5, Client, sample, &Packet::ConnAck(connack));
        let plain = Packet::ConnAck(ConnAck::default());
        decodes(V5, Client, "20 0a 00 00 07 26 00 01 'k' 00 01 'v'", &plain);
    }

    #[test]
    fn what_a_client_refuses() {
        let cases = [
            (V311, "20 02 02 00", DecodeError::Malformed("reserved connect acknowledge flags")),
            (V5, "20 03 80 00 00", DecodeError::Malformed("reserved connect acknowledge flags")),
            (V311, "20 02 00 06", DecodeError::Protocol("reserved return code")),
            (V311, "20 02 01 05", DecodeError::Protocol("session present in a refusal")),
            (V5, "20 03 01 87 00", DecodeError::Protocol("session present in a refusal")),
            (V5, "20 03 00 01 00", DecodeError::Protocol("reason code that this packet may not carry")),
            (V5, "20 02 00 00", DecodeError::Malformed("packet ends inside a field")),
            (V311, "20 03 00 00 00", DecodeError::Malformed("bytes behind the last field")),
        ];
        for (version, sample, error) in cases {
            refused(version, Client, sample, error);
        }
    }

    #[test]
    fn reasons_become_return_codes_before_5_0() {
        let cases: [(ReasonCode, &[u8]); 7] = [
            (ReasonCode::UnsupportedProtocolVersion, &[0x20, 2, 0, 1]),
            (ReasonCode::ClientIdentifierNotValid, &[0x20, 2, 0, 2]),
            (ReasonCode::ServerBusy, &[0x20, 2, 0, 3]),
            (ReasonCode::BadUserNameOrPassword, &[0x20, 2, 0, 4]),
            (ReasonCode::Banned, &[0x20, 2, 0, 5]),
            (ReasonCode::PacketTooLarge, &[]),
            (ReasonCode::MalformedPacket, &[]),
        ];
        for (reason, expected) in cases {
            for version in [V31, V311] {
                let mut out = Vec::new();
                let written = ConnAck { session_present: true, ..ConnAck::new(reason) }.encode(version, &mut out);
                assert_eq!((&out[..], written), (expected, !expected.is_empty()), "{reason}");
            }
        }
    }

    #[test]
    fn session_present_goes_out_with_success_only() {
        let mut out = Vec::new();
        ConnAck { session_present: true, ..ConnAck::new(ReasonCode::NotAuthorized) }.encode(V5, &mut out);
        assert_eq!(out, [0x20, 3, 0, 0x87, 0]);
    }
}
