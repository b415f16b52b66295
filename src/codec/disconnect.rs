//! DISCONNECT (MQTT 5.0, 3.14): the last packet of a connection. Before 5.0 only clients send it, and it is empty.

use super::error::DecodeError;
use super::frame::Frame;
use super::packet_type::PacketType;
use super::properties::{Allowed, Properties, Property, put_some};
use super::reason::ReasonCode;
use super::wire::{Reader, put_packet, put_u8, put_with_length, reason_code};
use super::{Side, Version, expect_first};

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Disconnect<'a> {
    /// [`ReasonCode::NORMAL_DISCONNECTION`] discards the will [MQTT-3.14.4-3].
    pub reason: ReasonCode,
    /// From a client: seconds that its session is to live on. Whether it may still ask for that is for the session.
    pub session_expiry_s: Option<u32>,
    /// Text for people, not for programs; `None` if none was sent.
    pub reason_string: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT with this reason and nothing else.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    /// Decodes what came; `side` is who reads it.
    pub fn decode(frame: Frame<'a>, version: Version, side: Side) -> Result<Self, DecodeError> {
        expect_first(frame, 0xe0)?; // [MQTT-3.14.1-1]
        let mut reader = Reader::new(frame.body);
        let mut disconnect = Self::default();
        if version.is_v5() && !reader.is_empty() {
            disconnect.reason = reason_code(reader.u8()?, PacketType::Disconnect)?; // [MQTT-3.14.2-1]
            if !reader.is_empty() {
                disconnect.read_properties(&mut reader, side)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>, side: Side) -> Result<(), DecodeError> {
        let mut properties = Properties::take_from(reader, Allowed::DISCONNECT)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiryInterval(_) if side == Side::Client => {
                    return Err(DecodeError::Protocol("session expiry interval from a server")); // [MQTT-3.14.2-2]
                }
                Property::SessionExpiryInterval(seconds) => self.session_expiry_s = Some(seconds),
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::ServerReference(text) => self.server_reference = Some(text),
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends the packet in its shortest form; before 5.0 that is the header alone.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        debug_assert!(self.reason.is_allowed_in(PacketType::Disconnect), "{} in DISCONNECT", self.reason);
        let bare = self.session_expiry_s.is_none() && self.reason_string.is_none() && self.server_reference.is_none();
        if !version.is_v5() || (bare && self.reason == ReasonCode::NORMAL_DISCONNECTION) {
            return out.extend_from_slice(&[0xe0, 0]);
        }
        if bare {
            return out.extend_from_slice(&[0xe0, 1, self.reason as u8]);
        }
        put_packet(out, 0xe0, |out| {
            put_u8(out, self.reason as u8);
            put_with_length(out, |out| {
                put_some(out, self.session_expiry_s, Property::SessionExpiryInterval);
                put_some(out, self.reason_string, Property::ReasonString);
                put_some(out, self.server_reference, Property::ServerReference);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::tests::{both_ways, decodes, refused};
    use super::*;
    use Side::{Client, Server};
    use Version::{V5, V31, V311};

    #[test]
    fn samples_of_all_versions() {
        let normal = Packet::Disconnect(Disconnect::default());
        for version in [V31, V311, V5] {
            both_ways(version, Server, "e0 00", &normal);
        }
        let with_will = Disconnect::new(ReasonCode::DisconnectWithWill);
        both_ways(V5, Server, "e0 01 04", &Packet::Disconnect(with_will));
        let taken_over = Disconnect::new(ReasonCode::SessionTakenOver);
        both_ways(V5, Client, "e0 01 8e", &Packet::Disconnect(taken_over));
        let expiring = Disconnect { session_expiry_s: Some(60), ..Disconnect::default() };
        both_ways(V5, Server, "e0 07 00 05 11 00 00 00 3c", &Packet::Disconnect(expiring));
        let moved = Disconnect {
            reason_string: Some("go"),
            server_reference: Some("b:1"),
            ..Disconnect::new(ReasonCode::UseAnotherServer)
        };
        both_ways(V5, Client, "e0 0d 9c 0b 1f 00 02 'go' 1c 00 03 'b:1'", &Packet::Disconnect(moved));
        // Longer than needed, and legal.
        decodes(V5, Server, "e0 01 00", &normal);
        decodes(V5, Server, "e0 02 00 00", &normal);
        decodes(V5, Server, "e0 09 00 07 26 00 01 'k' 00 01 'v'", &normal);
    }

    #[test]
    fn what_a_disconnect_may_not_be() {
        let cases = [
            (V311, Server, "e0 01 00", DecodeError::Malformed("bytes behind the last field")),
            (V311, Client, "e0 00", DecodeError::WrongDirection(PacketType::Disconnect)),
            (V5, Server, "e0 01 01", DecodeError::Protocol("reason code that this packet may not carry")),
            (V5, Server, "e0 01 a3", DecodeError::Protocol("reason code that this packet may not carry")),
            (V5, Client, "e0 07 00 05 11 00 00 00 3c", DecodeError::Protocol("session expiry interval from a server")),
            (V5, Server, "e0 03 00 00 00", DecodeError::Malformed("bytes behind the last field")),
            (V5, Server, "e0 03 00 05 11", DecodeError::Malformed("packet ends inside a field")),
        ];
        for (version, side, sample, error) in cases {
            refused(version, side, sample, error);
        }
    }
}
