//! SUBACK (MQTT 5.0, 3.9): one code for each filter of the SUBSCRIBE, in its order.

use super::error::DecodeError;
use super::frame::Frame;
use super::packet_type::PacketType;
use super::properties::{Allowed, Properties, Property, put_some};
use super::reason::ReasonCode;
use super::wire::{Reader, put_packet, put_u16, put_with_length, reason_code};
use super::{Version, expect_first};
use crate::ids::PacketId;

/// What a server granted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Text for people, not for programs; `None` if none was sent.
    pub reason_string: Option<&'a str>,
    codes: &'a [u8],
}

impl<'a> SubAck<'a> {
    /// Decodes what a server sent.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Self, DecodeError> {
        expect_first(frame, 0x90)?;
        let (packet_id, reason_string, codes) = read(frame.body, version)?;
        for &code in codes {
            // Before 5.0 a failure has no reason [MQTT-3.9.3-2 of 3.1.1].
            if !version.is_v5() && !matches!(code, 0 | 1 | 2 | 0x80) {
                return Err(DecodeError::Malformed("reserved return code"));
            }
            reason_code(code, PacketType::SubAck)?;
        }
        if codes.is_empty() {
            return Err(DecodeError::Protocol("SUBACK without a code"));
        }
        Ok(Self { packet_id, reason_string, codes })
    }

    /// The codes in the order of the filters.
    pub fn codes(&self) -> impl Iterator<Item = ReasonCode> + Clone + use<'a> {
        self.codes.iter().filter_map(|&code| ReasonCode::from_u8(code))
    }

    /// Appends the packet as `version` has it.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let codes: Vec<ReasonCode> = self.codes().collect();
        encode_suback(version, self.packet_id, &codes, self.reason_string, out);
    }
}

impl std::fmt::Debug for SubAck<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SubAck")
            .field("packet_id", &self.packet_id)
            .field("codes", &self.codes().collect::<Vec<_>>())
            .field("reason_string", &self.reason_string)
            .finish()
    }
}

/// Appends a SUBACK [MQTT-3.8.4-6]. Before 5.0 every failure is 0x80 and the reason string stays at home.
pub fn encode_suback(
    version: Version,
    packet_id: PacketId,
    codes: &[ReasonCode],
    reason_string: Option<&str>,
    out: &mut Vec<u8>,
) {
    debug_assert!(codes.iter().all(|code| code.is_allowed_in(PacketType::SubAck)), "{codes:?}");
    put_packet(out, 0x90, |out| {
        put_u16(out, packet_id.get());
        if version.is_v5() {
            put_with_length(out, |out| put_some(out, reason_string, Property::ReasonString));
            out.extend(codes.iter().map(|&code| code as u8));
        } else {
            let failure = ReasonCode::UnspecifiedError;
            out.extend(codes.iter().map(|code| if code.is_error() { failure as u8 } else { *code as u8 }));
        }
    });
}

/// Packet identifier, reason string and the codes, not yet checked. UNSUBACK has the same shape.
pub(super) type AckParts<'a> = (PacketId, Option<&'a str>, &'a [u8]);

pub(super) fn read(body: &[u8], version: Version) -> Result<AckParts<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut reason_string = None;
    if version.is_v5() {
        let mut properties = Properties::take_from(&mut reader, Allowed::ACK)?;
        while let Some(property) = properties.next()? {
            if let Property::ReasonString(text) = property {
                reason_string = Some(text);
            }
        }
    }
    Ok((packet_id, reason_string, reader.rest()))
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::Side::Client;
    use super::super::tests::{both_ways, bytes, refused};
    use super::*;
    use Version::{V5, V31, V311};

    #[test]
    fn samples_of_all_versions() {
        use ReasonCode as R;
        let cases: [(Version, &str, Option<&str>, &[R]); 4] = [
            (V31, "90 03 00 0a 01", None, &[R::GrantedQos1]),
            (V311, "90 06 00 0a 00 01 02 80", None, &[R::Success, R::GrantedQos1, R::GrantedQos2, R::UnspecifiedError]),
            (V5, "90 05 00 0a 00 02 87", None, &[R::GrantedQos2, R::NotAuthorized]),
            (V5, "90 09 00 0a 05 1f 00 02 'no' a2", Some("no"), &[R::WildcardSubscriptionsNotSupported]),
        ];
        for (version, sample, reason_string, codes) in cases {
            let bytes = bytes(sample);
            let suback = SubAck::decode(Frame { first: 0x90, body: &bytes[2..] }, version).unwrap();
            assert_eq!((suback.packet_id.get(), suback.reason_string), (10, reason_string));
            assert!(suback.codes().eq(codes.iter().copied()));
            both_ways(version, Client, sample, &Packet::SubAck(suback));
        }
    }

    #[test]
    fn before_5_0_every_failure_is_the_same() {
        let codes = [ReasonCode::NotAuthorized, ReasonCode::GrantedQos1, ReasonCode::TopicFilterInvalid];
        for version in [V31, V311] {
            let mut out = Vec::new();
            encode_suback(version, PacketId::MIN, &codes, Some("not sent"), &mut out);
            assert_eq!(out, [0x90, 5, 0, 1, 0x80, 1, 0x80]);
        }
    }

    #[test]
    fn what_a_suback_may_not_be() {
        let cases = [
            (V311, "90 02 00 0a", DecodeError::Protocol("SUBACK without a code")),
            (V5, "90 03 00 0a 00", DecodeError::Protocol("SUBACK without a code")),
            (V311, "90 03 00 0a 87", DecodeError::Malformed("reserved return code")),
            (V311, "90 03 00 0a 03", DecodeError::Malformed("reserved return code")),
            (V5, "90 04 00 0a 00 10", DecodeError::Protocol("reason code that this packet may not carry")),
            (V5, "90 04 00 00 00 00", DecodeError::Protocol("packet identifier 0")),
        ];
        for (version, sample, error) in cases {
            refused(version, Client, sample, error);
        }
    }
}
