//! AUTH (MQTT 5.0, 3.15): a step of enhanced authentication. Whether one is due is for the session.

use super::error::DecodeError;
use super::frame::Frame;
use super::packet_type::PacketType;
use super::properties::{Allowed, Properties, Property, put_some};
use super::reason::ReasonCode;
use super::wire::{Reader, put_packet, put_u8, put_with_length, reason_code};
use super::{Side, expect_first};

/// A step of enhanced authentication.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Auth<'a> {
    /// Success (from a server), continue, or re-authenticate (from a client).
    pub reason: ReasonCode,
    /// Missing only in a success without a body.
    pub method: Option<&'a str>,
    /// As the method has it.
    pub data: Option<&'a [u8]>,
    /// Text for people, not for programs; `None` if none was sent.
    pub reason_string: Option<&'a str>,
}

impl<'a> Auth<'a> {
    /// Decodes what came; `side` is who reads it.
    pub fn decode(frame: Frame<'a>, side: Side) -> Result<Self, DecodeError> {
        expect_first(frame, 0xf0)?; // [MQTT-3.15.1-1]
        let mut reader = Reader::new(frame.body);
        let mut auth = Self::default();
        if !reader.is_empty() {
            auth.reason = reason_code(reader.u8()?, PacketType::Auth)?; // [MQTT-3.15.2-1]
            auth.read_properties(&mut reader)?;
        }
        reader.finish()?;
        // Only a server declares success, and only a client begins again (table 3-11).
        let other_side = match side {
            Side::Server => ReasonCode::Success,
            Side::Client => ReasonCode::ReAuthenticate,
        };
        if auth.reason == other_side {
            return Err(DecodeError::Protocol("AUTH with a reason code of the other side"));
        }
        Ok(auth)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let mut properties = Properties::take_from(reader, Allowed::AUTH)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::AuthenticationMethod(method) => self.method = Some(method),
                Property::AuthenticationData(data) => self.data = Some(data),
                Property::ReasonString(text) => self.reason_string = Some(text),
                _ => {}
            }
        }
        if self.method.is_none() {
            return Err(DecodeError::Protocol("AUTH without an authentication method")); // 3.15.2.2.2
        }
        Ok(())
    }

    /// Appends the packet in its shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if *self == Self::default() {
            return out.extend_from_slice(&[0xf0, 0]);
        }
        debug_assert!(self.method.is_some() && self.reason.is_allowed_in(PacketType::Auth));
        put_packet(out, 0xf0, |out| {
            put_u8(out, self.reason as u8);
            put_with_length(out, |out| {
                put_some(out, self.method, Property::AuthenticationMethod);
                put_some(out, self.data, Property::AuthenticationData);
                put_some(out, self.reason_string, Property::ReasonString);
            });
        });
    }
}

/// Shows how much data there is, never what it is.
impl std::fmt::Debug for Auth<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Auth")
            .field("reason", &self.reason)
            .field("method", &self.method)
            .field("data_bytes", &self.data.map(<[u8]>::len))
            .field("reason_string", &self.reason_string)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Version::V5;
    use super::super::tests::{both_ways, decodes, refused};
    use super::super::{Packet, Side};
    use super::*;
    use Side::{Client, Server};

    fn step(reason: ReasonCode) -> Auth<'static> {
        Auth { reason, method: Some("M"), ..Auth::default() }
    }

    #[test]
    fn samples() {
        both_ways(V5, Client, "f0 00", &Packet::Auth(Auth::default()));
        both_ways(V5, Client, "f0 06 00 04 15 00 01 'M'", &Packet::Auth(step(ReasonCode::Success)));
        let more = step(ReasonCode::ContinueAuthentication);
        let full = Auth { data: Some(b"\0\xff"), reason_string: Some("r"), ..more };
        for side in [Server, Client] {
            both_ways(V5, side, "f0 06 18 04 15 00 01 'M'", &Packet::Auth(more));
            both_ways(V5, side, "f0 0f 18 0d 15 00 01 'M' 16 00 02 00 ff 1f 00 01 'r'", &Packet::Auth(full));
            decodes(V5, side, "f0 0d 18 0b 26 00 01 'k' 00 01 'v' 15 00 01 'M'", &Packet::Auth(more));
        }
        both_ways(V5, Server, "f0 06 19 04 15 00 01 'M'", &Packet::Auth(step(ReasonCode::ReAuthenticate)));
    }

    #[test]
    fn what_an_auth_may_not_be() {
        let cases = [
            (Server, "f0 00", DecodeError::Protocol("AUTH with a reason code of the other side")),
            (Server, "f0 06 00 04 15 00 01 'M'", DecodeError::Protocol("AUTH with a reason code of the other side")),
            (Client, "f0 06 19 04 15 00 01 'M'", DecodeError::Protocol("AUTH with a reason code of the other side")),
            (Server, "f0 02 18 00", DecodeError::Protocol("AUTH without an authentication method")),
            (Client, "f0 01 18", DecodeError::Malformed("packet ends inside a field")),
            (Server, "f0 06 80 04 15 00 01 'M'", DecodeError::Protocol("reason code that this packet may not carry")),
            (Server, "f0 07 18 04 15 00 01 'M' 00", DecodeError::Malformed("bytes behind the last field")),
        ];
        for (side, sample, error) in cases {
            refused(V5, side, sample, error);
        }
    }

    #[test]
    fn debugging_shows_no_secrets() {
        let auth = Auth { data: Some(b"SECRET"), ..step(ReasonCode::ContinueAuthentication) };
        let shown = format!("{auth:?} {auth:#?}");
        assert!(!shown.contains("SECRET") && !shown.contains("83, 69"), "{shown}");
    }
}
