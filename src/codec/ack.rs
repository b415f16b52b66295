//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0, 3.4 to 3.7): four packets of one shape.

use super::error::DecodeError;
use super::forwarded::UserProperties;
use super::frame::Frame;
use super::packet_type::PacketType;
use super::properties::{Allowed, Properties, Property, put_some};
use super::reason::ReasonCode;
use super::wire::{Reader, put_packet, put_u8, put_u16, put_with_length, reason_code};
use super::{Version, expect_first, expect_first_of_request};
use crate::ids::PacketId;

/// Which of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// Completes a QoS 1 message.
    PubAck,
    /// First answer to a QoS 2 message.
    PubRec,
    /// Second step of QoS 2: answers PUBREC, by the publisher.
    PubRel,
    /// Answer to PUBREL: completes a QoS 2 message.
    PubComp,
}

impl AckKind {
    /// The type in the first byte of such a packet.
    pub const fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }

    /// The packet's first byte.
    const fn first(self) -> u8 {
        match self {
            Self::PubAck => 0x40,
            Self::PubRec => 0x50,
            Self::PubRel => 0x62,
            Self::PubComp => 0x70,
        }
    }
}

/// One step of a message's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which of the four steps of an exchange it is.
    pub kind: AckKind,
    /// That of the PUBLISH whose exchange this is a step of.
    pub packet_id: PacketId,
    /// Always success before 5.0.
    pub reason: ReasonCode,
    /// Text for people, not for programs; `None` if none was sent.
    pub reason_string: Option<&'a str>,
    /// In the order in which they were sent; empty before 5.0.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement without properties.
    pub const fn new(kind: AckKind, packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { kind, packet_id, reason, reason_string: None, user_properties: UserProperties::EMPTY }
    }

    /// Decodes one of the four; a frame of another type is the caller's mistake and refused.
    pub fn decode(frame: Frame<'a>, version: Version) -> Result<Self, DecodeError> {
        let kind = match frame.packet_type() {
            PacketType::PubAck => AckKind::PubAck,
            PacketType::PubRec => AckKind::PubRec,
            PacketType::PubRel => AckKind::PubRel,
            PacketType::PubComp => AckKind::PubComp,
            other => return Err(DecodeError::WrongDirection(other)),
        };
        match kind {
            AckKind::PubRel => expect_first_of_request(frame, kind.first(), version)?, // [MQTT-3.6.1-1]
            _ => expect_first(frame, kind.first())?,
        }
        let mut reader = Reader::new(frame.body);
        let mut ack = Self::new(kind, reader.packet_id()?, ReasonCode::Success);
        if version.is_v5() && !reader.is_empty() {
            ack.read_outcome(&mut reader)?;
        }
        reader.finish()?;
        Ok(ack)
    }

    /// Reason code and properties, each of which may be missing at the end (MQTT 5.0, 3.4.2.1 and 3.4.2.2.1).
    fn read_outcome(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        self.reason = reason_code(reader.u8()?, self.kind.packet_type())?;
        if reader.is_empty() {
            return Ok(());
        }
        let mut properties = Properties::take_from(reader, Allowed::ACK)?;
        self.user_properties = UserProperties::of(properties.block());
        while let Some(property) = properties.next()? {
            if let Property::ReasonString(text) = property {
                self.reason_string = Some(text);
            }
        }
        Ok(())
    }

    /// Appends the packet with all that it holds.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if version.is_v5() && (self.reason_string.is_some() || self.user_properties.iter().next().is_some()) {
            put_long(self, out);
        } else {
            encode_ack(version, self.kind, self.packet_id, self.reason, out);
        }
    }
}

/// Appends an acknowledgement in its shortest form: four bytes when there is nothing to say, and always before 5.0.
///
/// It has no reason string: a receiver may not be sent one that its maximum packet size does not admit [MQTT-3.4.2-2] or
/// that its Request Problem Information declines [MQTT-3.1.2-29].
pub fn encode_ack(version: Version, kind: AckKind, packet_id: PacketId, reason: ReasonCode, out: &mut Vec<u8>) {
    debug_assert!(reason.is_allowed_in(kind.packet_type()), "{reason} in {}", kind.packet_type());
    let [high, low] = packet_id.get().to_be_bytes();
    match (version, reason) {
        (Version::V31 | Version::V311, _) | (Version::V5, ReasonCode::Success) => {
            out.extend_from_slice(&[kind.first(), 2, high, low]);
        }
        (Version::V5, reason) => out.extend_from_slice(&[kind.first(), 3, high, low, reason as u8]),
    }
}

/// The form with properties.
fn put_long(ack: &Ack<'_>, out: &mut Vec<u8>) {
    put_packet(out, ack.kind.first(), |out| {
        put_u16(out, ack.packet_id.get());
        put_u8(out, ack.reason as u8);
        put_with_length(out, |out| {
            put_some(out, ack.reason_string, Property::ReasonString);
            for (name, value) in ack.user_properties.iter() {
                Property::UserProperty(name, value).write_to(out);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::Side::{Client, Server};
    use super::super::tests::{both_ways, bytes, decodes, refused};
    use super::*;
    use Version::{V5, V31, V311};

    fn ack(kind: AckKind, reason: ReasonCode) -> Ack<'static> {
        Ack::new(kind, PacketId::new(0x1234).unwrap(), reason)
    }

    #[test]
    fn the_four_packets_in_their_shortest_form() {
        let kinds = [
            (AckKind::PubAck, "40 02 12 34"),
            (AckKind::PubRec, "50 02 12 34"),
            (AckKind::PubRel, "62 02 12 34"),
            (AckKind::PubComp, "70 02 12 34"),
        ];
        for (kind, sample) in kinds {
            for version in [V31, V311, V5] {
                for side in [Server, Client] {
                    both_ways(version, side, sample, &Packet::Ack(ack(kind, ReasonCode::Success)));
                }
            }
        }
    }

    #[test]
    fn reasons_and_properties_of_5_0() {
        let refused_publish = ack(AckKind::PubAck, ReasonCode::NotAuthorized);
        both_ways(V5, Client, "40 03 12 34 87", &Packet::Ack(refused_publish));
        let lost = ack(AckKind::PubComp, ReasonCode::PacketIdentifierNotFound);
        both_ways(V5, Server, "70 03 12 34 92", &Packet::Ack(lost));
        let unheard = ack(AckKind::PubRec, ReasonCode::NoMatchingSubscribers);
        both_ways(V5, Client, "50 03 12 34 10", &Packet::Ack(unheard));
        let told = Ack { reason_string: Some("no"), ..refused_publish };
        both_ways(V5, Client, "40 09 12 34 87 05 1f 00 02 'no'", &Packet::Ack(told));
        let user_properties = bytes("26 00 01 'k' 00 01 'v'");
        let all = Ack { user_properties: UserProperties::of(&user_properties), ..told };
        both_ways(V5, Client, "40 10 12 34 87 0c 1f 00 02 'no' 26 00 01 'k' 00 01 'v'", &Packet::Ack(all));
        // Longer than needed, and legal.
        let success = Packet::Ack(ack(AckKind::PubRel, ReasonCode::Success));
        decodes(V5, Server, "62 03 12 34 00", &success);
        decodes(V5, Server, "62 04 12 34 00 00", &success);
    }

    #[test]
    fn a_pubrel_of_3_1_may_be_marked_as_sent_again() {
        decodes(V31, Server, "6a 02 12 34", &Packet::Ack(ack(AckKind::PubRel, ReasonCode::Success)));
        for version in [V311, V5] {
            refused(version, Server, "6a 02 12 34", DecodeError::Malformed("reserved flags in the fixed header"));
        }
    }

    #[test]
    fn what_an_acknowledgement_may_not_be() {
        let cases = [
            (V311, "40 02 00 00", DecodeError::Protocol("packet identifier 0")),
            (V311, "40 03 12 34 00", DecodeError::Malformed("bytes behind the last field")),
            (V311, "40 01 12", DecodeError::Malformed("packet ends inside a field")),
            (V5, "40 00", DecodeError::Malformed("packet ends inside a field")),
            (V5, "40 03 12 34 01", DecodeError::Protocol("reason code that this packet may not carry")),
            (V5, "62 03 12 34 80", DecodeError::Protocol("reason code that this packet may not carry")),
            (V5, "40 05 12 34 00 00 00", DecodeError::Malformed("bytes behind the last field")),
            (V5, "40 04 12 34 00 01", DecodeError::Malformed("packet ends inside a field")),
            (V5, "40 09 12 34 00 05 02 00 00 00 01", DecodeError::Malformed("property that this packet may not carry")),
        ];
        for (version, sample, error) in cases {
            refused(version, Server, sample, error);
        }
    }

    #[test]
    fn before_5_0_a_reason_stays_at_home() {
        for version in [V31, V311] {
            let mut out = Vec::new();
            let ack = Ack::new(AckKind::PubAck, PacketId::MIN, ReasonCode::NotAuthorized);
            Ack { reason_string: Some("no"), ..ack }.encode(version, &mut out);
            assert_eq!(out, [0x40, 2, 0, 1]);
        }
    }
}
