//! UNSUBACK (MQTT 5.0, 3.11): one code for each filter of the UNSUBSCRIBE; before 5.0 no codes at all.

use super::error::DecodeError;
use super::frame::Frame;
use super::packet_type::PacketType;
use super::properties::{Property, put_some};
use super::reason::ReasonCode;
use super::wire::{put_packet, put_u16, put_with_length, reason_code};
use super::{Version, expect_first, suback};
use crate::ids::PacketId;

/// What a server did about an UNSUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Text for people, not for programs; `None` if none was sent.
    pub reason_string: Option<&'a str>,
    codes: &'a [u8],
}

impl<'a> UnsubAck<'a> {
    /// Decodes what a server sent.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Self, DecodeError> {
        expect_first(frame, 0xb0)?;
        let (packet_id, reason_string, codes) = suback::read(frame.body, version)?;
        if version.is_v5() == codes.is_empty() {
            return Err(match version {
                Version::V5 => DecodeError::Protocol("UNSUBACK without a code"),
                _ => DecodeError::Malformed("bytes behind the last field"),
            });
        }
        for &code in codes {
            reason_code(code, PacketType::UnsubAck)?;
        }
        Ok(Self { packet_id, reason_string, codes })
    }

    /// The codes in the order of the filters; none before 5.0.
    pub fn codes(&self) -> impl Iterator<Item = ReasonCode> + Clone + use<'a> {
        self.codes.iter().filter_map(|&code| ReasonCode::from_u8(code))
    }

    /// Appends the packet as `version` has it.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let codes: Vec<ReasonCode> = self.codes().collect();
        encode_unsuback(version, self.packet_id, &codes, self.reason_string, out);
    }
}

impl std::fmt::Debug for UnsubAck<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("UnsubAck")
            .field("packet_id", &self.packet_id)
            .field("codes", &self.codes().collect::<Vec<_>>())
            .field("reason_string", &self.reason_string)
            .finish()
    }
}

/// Appends an UNSUBACK [MQTT-3.10.4-4]. Before 5.0 it is the packet identifier alone.
pub fn encode_unsuback(
    version: Version,
    packet_id: PacketId,
    codes: &[ReasonCode],
    reason_string: Option<&str>,
    out: &mut Vec<u8>,
) {
    debug_assert!(codes.iter().all(|code| code.is_allowed_in(PacketType::UnsubAck)), "{codes:?}");
    put_packet(out, 0xb0, |out| {
        put_u16(out, packet_id.get());
        if version.is_v5() {
            put_with_length(out, |out| put_some(out, reason_string, Property::ReasonString));
            out.extend(codes.iter().map(|&code| code as u8));
        }
    });
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
            (V31, "b0 02 00 0a", None, &[]),
            (V311, "b0 02 00 0a", None, &[]),
            (V5, "b0 05 00 0a 00 00 11", None, &[R::Success, R::NoSubscriptionExisted]),
            (V5, "b0 09 00 0a 05 1f 00 02 'no' 87", Some("no"), &[R::NotAuthorized]),
        ];
        for (version, sample, reason_string, codes) in cases {
            let bytes = bytes(sample);
            let unsuback = UnsubAck::decode(Frame { first: 0xb0, body: &bytes[2..] }, version).unwrap();
            assert_eq!((unsuback.packet_id.get(), unsuback.reason_string), (10, reason_string));
            assert!(unsuback.codes().eq(codes.iter().copied()));
            both_ways(version, Client, sample, &Packet::UnsubAck(unsuback));
        }
    }

    #[test]
    fn what_an_unsuback_may_not_be() {
        let cases = [
            (V311, "b0 03 00 0a 00", DecodeError::Malformed("bytes behind the last field")),
            (V5, "b0 03 00 0a 00", DecodeError::Protocol("UNSUBACK without a code")),
            (V5, "b0 04 00 0a 00 01", DecodeError::Protocol("reason code that this packet may not carry")),
            (V5, "b0 02 00 0a", DecodeError::Malformed("packet ends inside a field")),
            (V311, "b0 02 00 00", DecodeError::Protocol("packet identifier 0")),
        ];
        for (version, sample, error) in cases {
            refused(version, Client, sample, error);
        }
    }
}
