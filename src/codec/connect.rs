//! CONNECT (MQTT 5.0, 3.1): the first packet of a connection, and the only one that names its version.
//!
//! What always holds: a [`Connect`] is one that the specification of its own version allows. A refusal knows in which
//! form its sender understands it. Whether the client may connect is for `auth` and the session.

use super::error::{ConnectRefusal, DecodeError};
use super::forwarded::Forwarded;
use super::frame::Frame;
use super::packet_type::PacketType;
use super::properties::{Allowed, Properties, Property, put_some};
use super::wire::{Reader, put_binary, put_packet, put_string, put_u8, put_u16, put_with_length};
use super::{Version, expect_first};
use crate::ids::Qos;
use std::num::{NonZeroU16, NonZeroU32};

/// A client's request to connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// By protocol name and level.
    pub version: Version,
    /// The level has bit 7 set: the client is a bridge of Mosquitto or RSMB, which says so before 5.0 in this way alone.
    pub is_bridge: bool,
    /// Empty if the server is to choose one.
    pub client_id: &'a str,
    /// Clean Start of 5.0, Clean Session of 3.x.
    pub clean_start: bool,
    /// Seconds; 0 turns it off.
    pub keep_alive_s: u16,
    /// `None` if the flag is off; may be empty.
    pub username: Option<&'a str>,
    /// Password, which need not be text.
    pub password: Option<&'a [u8]>,
    /// The message to publish when the connection is lost.
    pub will: Option<ConnectWill<'a>>,
    /// Seconds that the session outlives the connection, `u32::MAX` for ever. In 3.x that is what Clean Session 0
    /// asks for, and 0 what Clean Session 1 does.
    pub session_expiry_s: u32,
    /// QoS 1 and 2 messages that the client takes at a time: 1 to 65,535.
    pub receive_maximum: u16,
    /// Largest packet that the client takes; `u32::MAX` if it set no limit.
    pub maximum_packet_size_bytes: u32,
    /// Highest topic alias that the client takes.
    pub topic_alias_maximum: u16,
    /// Whether the client wants Response Information in CONNACK.
    pub request_response_information: bool,
    /// Whether reason strings and user properties may go in packets other than PUBLISH, CONNACK and DISCONNECT.
    pub request_problem_information: bool,
    /// `Some` asks for enhanced authentication (MQTT 5.0, 4.12).
    pub authentication_method: Option<&'a str>,
    /// Enhanced authentication's first data.
    pub authentication_data: Option<&'a [u8]>,
}

/// The message that a server publishes for a client that was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConnectWill<'a> {
    /// Topic name, not empty and without wildcards.
    pub topic: &'a str,
    /// Any bytes, up to 65,535 of them; may be empty.
    pub payload: &'a [u8],
    /// Quality of service to publish it with.
    pub qos: Qos,
    /// Whether to retain it.
    pub retain: bool,
    /// Seconds between the loss and the publication.
    pub delay_s: u32,
    /// Seconds that the message lives once published.
    pub message_expiry_s: Option<u32>,
    /// Properties that go on to subscribers.
    pub properties: Forwarded<'a>,
}

impl Default for Connect<'_> {
    /// What a 3.1.1 client with Clean Session 1 and no keep alive sends.
    fn default() -> Self {
        Self::new(Version::V311, "", true)
    }
}

mod flag {
    pub(super) const RESERVED: u8 = 0x01;
    pub(super) const CLEAN_START: u8 = 0x02;
    pub(super) const WILL: u8 = 0x04;
    pub(super) const WILL_QOS: u8 = 0x18;
    pub(super) const WILL_RETAIN: u8 = 0x20;
    pub(super) const PASSWORD: u8 = 0x40;
    pub(super) const USERNAME: u8 = 0x80;
}

impl<'a> Connect<'a> {
    /// A CONNECT with nothing but these; the rest is as the specification defaults it.
    pub const fn new(version: Version, client_id: &'a str, clean_start: bool) -> Self {
        Self {
            version,
            is_bridge: false,
            client_id,
            clean_start,
            keep_alive_s: 0,
            username: None,
            password: None,
            will: None,
            session_expiry_s: if clean_start || version.is_v5() { 0 } else { u32::MAX },
            receive_maximum: u16::MAX,
            maximum_packet_size_bytes: u32::MAX,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
        }
    }

    /// Decodes the first packet of a connection; anything but a CONNECT is refused [MQTT-3.1.0-1].
    pub fn decode(frame: Frame<'a>) -> Result<Self, ConnectRefusal> {
        if frame.packet_type() != PacketType::Connect {
            return Err(ConnectRefusal::silent(DecodeError::Protocol("first packet is not CONNECT")));
        }
        expect_first(frame, 0x10).map_err(ConnectRefusal::silent)?;
        let mut reader = Reader::new(frame.body);
        let (version, is_bridge) = read_version(&mut reader)?;
        let connect = Self::read(reader, version).map_err(|error| ConnectRefusal::of(error, version))?;
        Ok(Self { is_bridge, ..connect })
    }

    /// Reads what follows the protocol level.
    fn read(mut reader: Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let flags = check_flags(reader.u8()?, version)?;
        let mut connect = Self::new(version, "", flags & flag::CLEAN_START != 0);
        connect.keep_alive_s = reader.u16()?;
        if version.is_v5() {
            connect.read_properties(&mut reader)?;
        }
        connect.client_id = reader.string()?; // [MQTT-3.1.3-3, -4]
        // 3.1 has no empty client identifier at all ("between 1 and 23 characters"); 3.1.1 has it together with a clean
        // session only [MQTT-3.1.3-7, -8 of 3.1.1].
        let may_be_empty = version.is_v5() || version == Version::V311 && connect.clean_start;
        if connect.client_id.is_empty() && !may_be_empty {
            return Err(DecodeError::ClientIdInvalid);
        }
        if flags & flag::WILL != 0 {
            connect.will = Some(ConnectWill::read(&mut reader, flags, version)?);
        }
        // In 3.1 the remaining length takes precedence over these two flags: a string that a flag announces may be
        // missing at the end (MQTT 3.1, "User name and password flags").
        let may_be_missing = version == Version::V31;
        if flags & flag::USERNAME != 0 && !(may_be_missing && reader.is_empty()) {
            connect.username = Some(reader.string()?); // [MQTT-3.1.3-12]
        }
        if flags & flag::PASSWORD != 0 && !(may_be_missing && reader.is_empty()) {
            connect.password = Some(reader.binary()?);
        }
        reader.finish()?; // [MQTT-3.1.2-16, -18]
        Ok(connect)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let mut properties = Properties::take_from(reader, Allowed::CONNECT)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => self.session_expiry_s = seconds,
                Property::ReceiveMaximum(count) => self.receive_maximum = count.get(),
                Property::MaximumPacketSize(bytes) => self.maximum_packet_size_bytes = bytes.get(),
                Property::TopicAliasMaximum(alias) => self.topic_alias_maximum = alias,
                Property::RequestResponseInformation(wanted) => self.request_response_information = wanted,
                Property::RequestProblemInformation(wanted) => self.request_problem_information = wanted,
                Property::AuthenticationMethod(method) => self.authentication_method = Some(method),
                Property::AuthenticationData(data) => self.authentication_data = Some(data),
                _ => {}
            }
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(DecodeError::Protocol("authentication data without a method"));
        }
        Ok(())
    }

    /// Appends the packet as its own version has it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.version.is_v5() || self.username.is_some() || self.password.is_none());
        debug_assert!(!(self.version.is_v5() && self.is_bridge), "5.0 has subscription options for it");
        put_packet(out, 0x10, |out| {
            put_string(out, if self.version == Version::V31 { "MQIsdp" } else { "MQTT" });
            put_u8(out, self.version as u8 | if self.is_bridge { BRIDGE } else { 0 });
            put_u8(out, self.flags());
            put_u16(out, self.keep_alive_s);
            if self.version.is_v5() {
                put_with_length(out, |out| self.put_properties(out));
            }
            put_string(out, self.client_id); // [MQTT-3.1.3-1]
            if let Some(will) = &self.will {
                will.put(out, self.version);
            }
            if let Some(username) = self.username {
                put_string(out, username);
            }
            if let Some(password) = self.password {
                put_binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let will = self
            .will
            .map_or(0, |will| flag::WILL | (will.qos as u8) << 3 | if will.retain { flag::WILL_RETAIN } else { 0 });
        let flags = [
            (self.clean_start, flag::CLEAN_START),
            (self.username.is_some(), flag::USERNAME),
            (self.password.is_some(), flag::PASSWORD),
        ];
        flags.iter().filter(|(set, _)| *set).fold(will, |all, (_, flag)| all | flag)
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        let not = |value: u32, default: u32| (value != default).then_some(value);
        put_some(out, not(self.session_expiry_s, 0), Property::SessionExpiryInterval);
        if self.receive_maximum != u16::MAX {
            put_some(out, NonZeroU16::new(self.receive_maximum), Property::ReceiveMaximum);
        }
        let size = not(self.maximum_packet_size_bytes, u32::MAX).and_then(NonZeroU32::new);
        put_some(out, size, Property::MaximumPacketSize);
        put_some(out, (self.topic_alias_maximum > 0).then_some(self.topic_alias_maximum), Property::TopicAliasMaximum);
        put_some(out, self.request_response_information.then_some(true), Property::RequestResponseInformation);
        put_some(out, (!self.request_problem_information).then_some(false), Property::RequestProblemInformation);
        put_some(out, self.authentication_method, Property::AuthenticationMethod);
        put_some(out, self.authentication_data, Property::AuthenticationData);
    }
}

impl<'a> ConnectWill<'a> {
    fn read(reader: &mut Reader<'a>, flags: u8, version: Version) -> Result<Self, DecodeError> {
        let qos = Qos::from_bits((flags & flag::WILL_QOS) >> 3).ok_or(DecodeError::Malformed("will QoS 3"))?;
        let mut will = Self {
            topic: "",
            payload: &[],
            qos, // [MQTT-3.1.2-12]
            retain: flags & flag::WILL_RETAIN != 0,
            delay_s: 0,
            message_expiry_s: None,
            properties: Forwarded::EMPTY,
        };
        if version.is_v5() {
            let mut properties = Properties::take_from(reader, Allowed::WILL)?;
            let block = properties.block();
            let mut hop_bytes = 0;
            while let Some(property) = properties.next()? {
                match property {
                    Property::WillDelayInterval(seconds) => will.delay_s = seconds,
                    Property::MessageExpiryInterval(seconds) => will.message_expiry_s = Some(seconds),
                    _ => continue,
                }
                hop_bytes += 5;
            }
            will.properties = Forwarded::from_received(block, hop_bytes);
        }
        will.topic = reader.topic_name()?; // [MQTT-3.1.3-11, MQTT-4.7.0-1]
        if will.topic.is_empty() {
            return Err(DecodeError::TopicNameInvalid("empty will topic")); // [MQTT-4.7.3-1]
        }
        will.payload = reader.binary()?;
        Ok(will)
    }

    fn put(&self, out: &mut Vec<u8>, version: Version) {
        if version.is_v5() {
            put_with_length(out, |out| {
                put_some(out, (self.delay_s > 0).then_some(self.delay_s), Property::WillDelayInterval);
                put_some(out, self.message_expiry_s, Property::MessageExpiryInterval);
                self.properties.write_to(out);
            });
        }
        put_string(out, self.topic);
        put_binary(out, self.payload);
    }
}

/// What a bridge adds to the level of 3.1 and 3.1.1. No specification has it; Mosquitto and RSMB do.
const BRIDGE: u8 = 0x80;

/// Protocol name and level, and whether the level is a bridge's. The name tells MQTT from anything else that may knock at the port, so another name gets no
/// answer; a level that is not supported gets one in the form that its sender most likely reads [MQTT-3.1.2-1, -2].
fn read_version(reader: &mut Reader<'_>) -> Result<(Version, bool), ConnectRefusal> {
    let name = reader.binary().map_err(ConnectRefusal::silent)?;
    let unsupported = DecodeError::UnsupportedVersion;
    if !matches!(name, b"MQTT" | b"MQIsdp") {
        return Err(ConnectRefusal::silent(unsupported));
    }
    match (name, reader.u8().map_err(ConnectRefusal::silent)?) {
        (b"MQIsdp", 3) => Ok((Version::V31, false)),
        (b"MQIsdp", 0x83) => Ok((Version::V31, true)),
        (b"MQTT", 4) => Ok((Version::V311, false)),
        (b"MQTT", 0x84) => Ok((Version::V311, true)),
        (b"MQTT", 5) => Ok((Version::V5, false)),
        (b"MQTT", 6..=0x7f) => Err(ConnectRefusal::of(unsupported, Version::V5)),
        _ => Err(ConnectRefusal::of(unsupported, Version::V311)),
    }
}

/// The rules among the connect flags. MQTT 3.1 leaves bit 0 and the will bits without a will undefined.
fn check_flags(flags: u8, version: Version) -> Result<u8, DecodeError> {
    if version != Version::V31 {
        if flags & flag::RESERVED != 0 {
            return Err(DecodeError::Malformed("reserved connect flag")); // [MQTT-3.1.2-3]
        }
        if flags & flag::WILL == 0 && flags & (flag::WILL_QOS | flag::WILL_RETAIN) != 0 {
            return Err(DecodeError::Malformed("will QoS or retain without a will")); // [MQTT-3.1.2-11, -13]
        }
    }
    if !version.is_v5() && flags & flag::PASSWORD != 0 && flags & flag::USERNAME == 0 {
        return Err(DecodeError::Malformed("password without a user name")); // [MQTT-3.1.2-22 of 3.1.1]
    }
    Ok(flags)
}

/// Shows that there is a password, a will's payload or authentication data, never what it is.
impl std::fmt::Debug for Connect<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connect")
            .field("version", &self.version)
            .field("is_bridge", &self.is_bridge)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("keep_alive_s", &self.keep_alive_s)
            .field("username", &self.username)
            .field("password_bytes", &self.password.map(<[u8]>::len))
            .field("will", &self.will)
            .field("session_expiry_s", &self.session_expiry_s)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_packet_size_bytes", &self.maximum_packet_size_bytes)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("request_response_information", &self.request_response_information)
            .field("request_problem_information", &self.request_problem_information)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data_bytes", &self.authentication_data.map(<[u8]>::len))
            .finish()
    }
}

impl std::fmt::Debug for ConnectWill<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("delay_s", &self.delay_s)
            .field("message_expiry_s", &self.message_expiry_s)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side::Server;
    use super::super::tests::{both_ways, bytes, decodes, refused};
    use super::super::{Packet, frame};
    use super::*;
    use Version::{V5, V31, V311};

    fn will(topic: &'static str, payload: &'static [u8], qos: Qos, retain: bool) -> ConnectWill<'static> {
        let properties = Forwarded::EMPTY;
        ConnectWill { topic, payload, qos, retain, delay_s: 0, message_expiry_s: None, properties }
    }

    #[test]
    fn samples_of_all_versions() {
        let a = |version| Connect { keep_alive_s: 60, ..Connect::new(version, "a", true) };
        both_ways(V31, Server, "10 0f 00 06 'MQIsdp' 03 02 00 3c 00 01 'a'", &Packet::Connect(a(V31)));
        both_ways(V311, Server, "10 0d 00 04 'MQTT' 04 02 00 3c 00 01 'a'", &Packet::Connect(a(V311)));
        both_ways(V5, Server, "10 0e 00 04 'MQTT' 05 02 00 3c 00 00 01 'a'", &Packet::Connect(a(V5)));

        let kept = Connect::new(V311, "a", false);
        assert_eq!(kept.session_expiry_s, u32::MAX);
        both_ways(V311, Server, "10 0d 00 04 'MQTT' 04 00 00 00 00 01 'a'", &Packet::Connect(kept));
        let unnamed = Connect::new(V311, "", true);
        both_ways(V311, Server, "10 0c 00 04 'MQTT' 04 02 00 00 00 00", &Packet::Connect(unnamed));
        // 5.0 lets the server choose the client id of a session that is kept.
        both_ways(V5, Server, "10 0d 00 04 'MQTT' 05 00 00 00 00 00 00", &Packet::Connect(Connect::new(V5, "", false)));
    }

    #[test]
    fn will_and_credentials() {
        let full = Connect {
            username: Some("u"),
            password: Some(b"\0\xff"),
            will: Some(will("w/t", b"gone", Qos::AtLeastOnce, true)),
            ..Connect::new(V311, "a", true)
        };
        let sample = "10 1f 00 04 'MQTT' 04 ee 00 00 00 01 'a' 00 03 'w/t' 00 04 'gone' 00 01 'u' 00 02 00 ff";
        both_ways(V311, Server, sample, &Packet::Connect(full));

        let password_alone = Connect { password: Some(b"p"), ..Connect::new(V5, "a", false) };
        let sample = "10 11 00 04 'MQTT' 05 40 00 00 00 00 01 'a' 00 01 'p'";
        both_ways(V5, Server, sample, &Packet::Connect(password_alone));
        let error = DecodeError::Malformed("password without a user name");
        refused(V311, Server, "10 10 00 04 'MQTT' 04 42 00 00 00 01 'a' 00 01 'p'", error);
    }

    #[test]
    fn properties_of_5_0() {
        let connect = Connect {
            session_expiry_s: 3600,
            receive_maximum: 10,
            maximum_packet_size_bytes: 4096,
            topic_alias_maximum: 7,
            request_response_information: true,
            request_problem_information: false,
            authentication_method: Some("M"),
            authentication_data: Some(b"D"),
            ..Connect::new(V5, "a", false)
        };
        let sample = "10 2a 00 04 'MQTT' 05 00 00 00 1c 11 00 00 0e 10 21 00 0a 27 00 00 10 00 22 00 07 19 01 17 00 \
                      15 00 01 'M' 16 00 01 'D' 00 01 'a'";
        both_ways(V5, Server, sample, &Packet::Connect(connect));
        // The same with a user property, which is checked and not kept.
        let sample = "10 16 00 04 'MQTT' 05 02 00 00 08 26 00 01 'k' 00 02 'vv' 00 01 'a'";
        decodes(V5, Server, sample, &Packet::Connect(Connect::new(V5, "a", true)));
        let error = DecodeError::Protocol("authentication data without a method");
        refused(V5, Server, "10 12 00 04 'MQTT' 05 02 00 00 04 16 00 01 'D' 00 01 'a'", error);
    }

    #[test]
    fn will_properties_are_parted_from_those_that_end_here() {
        let mut block = Vec::new();
        Property::ContentType("j").write_to(&mut block);
        Property::UserProperty("k", "v").write_to(&mut block);
        let will = ConnectWill {
            delay_s: 5,
            message_expiry_s: Some(9),
            properties: Forwarded::from_clean_block(&block),
            ..will("w", b"", Qos::ExactlyOnce, false)
        };
        let connect = Packet::Connect(Connect { will: Some(will), ..Connect::new(V5, "a", true) });
        let sample = "10 29 00 04 'MQTT' 05 16 00 00 00 00 01 'a' 15 18 00 00 00 05 02 00 00 00 09 03 00 01 'j' \
                      26 00 01 'k' 00 01 'v' 00 01 'w' 00 00";
        both_ways(V5, Server, sample, &connect);
        let sample = "10 29 00 04 'MQTT' 05 16 00 00 00 00 01 'a' 15 03 00 01 'j' 02 00 00 00 09 \
                      26 00 01 'k' 00 01 'v' 18 00 00 00 05 00 01 'w' 00 00";
        decodes(V5, Server, sample, &connect);
    }

    #[test]
    fn version_3_1_keeps_its_own_habits() {
        let connect = Connect { username: Some("u"), ..Connect::new(V31, "a", true) };
        // Flags for both strings, of which the second is missing; reserved bit and will bits without a will.
        decodes(V31, Server, "10 12 00 06 'MQIsdp' 03 c2 00 00 00 01 'a' 00 01 'u'", &Packet::Connect(connect));
        let connect = Connect::new(V31, "a", true);
        decodes(V31, Server, "10 0f 00 06 'MQIsdp' 03 c2 00 00 00 01 'a'", &Packet::Connect(connect));
        decodes(V31, Server, "10 0f 00 06 'MQIsdp' 03 3b 00 00 00 01 'a'", &Packet::Connect(connect));
    }

    #[test]
    fn a_bridge_says_so_in_its_level() {
        for (version, sample) in
            [(V31, "10 0f 00 06 'MQIsdp' 83 02 00 3c 00 01 'a'"), (V311, "10 0d 00 04 'MQTT' 84 02 00 3c 00 01 'a'")]
        {
            let bridge = Connect { is_bridge: true, keep_alive_s: 60, ..Connect::new(version, "a", true) };
            both_ways(version, Server, sample, &Packet::Connect(bridge));
        }
        // What is wrong with it is answered as it is to others.
        refused(V311, Server, "10 0c 00 04 'MQTT' 84 00 00 00 00 00", DecodeError::ClientIdInvalid);
    }

    #[test]
    fn what_the_flags_forbid() {
        let cases = [
            (V311, "10 0d 00 04 'MQTT' 04 03 00 00 00 01 'a'", DecodeError::Malformed("reserved connect flag")),
            (V5, "10 0e 00 04 'MQTT' 05 03 00 00 00 00 01 'a'", DecodeError::Malformed("reserved connect flag")),
            (
                V311,
                "10 0d 00 04 'MQTT' 04 0a 00 00 00 01 'a'",
                DecodeError::Malformed("will QoS or retain without a will"),
            ),
            (
                V5,
                "10 0e 00 04 'MQTT' 05 22 00 00 00 00 01 'a'",
                DecodeError::Malformed("will QoS or retain without a will"),
            ),
            (V311, "10 12 00 04 'MQTT' 04 1e 00 00 00 01 'a' 00 01 'w' 00 00", DecodeError::Malformed("will QoS 3")),
            (
                V311,
                "10 12 00 04 'MQTT' 04 06 00 00 00 01 'a' 00 01 '#' 00 00",
                DecodeError::TopicNameInvalid("wildcard in a topic name"),
            ),
            (
                V311,
                "10 11 00 04 'MQTT' 04 06 00 00 00 01 'a' 00 00 00 00",
                DecodeError::TopicNameInvalid("empty will topic"),
            ),
            (
                V311,
                "10 0e 00 04 'MQTT' 04 02 00 00 00 01 'a' 00",
                DecodeError::Malformed("bytes behind the last field"),
            ),
            (V311, "10 0c 00 04 'MQTT' 04 00 00 00 00 00", DecodeError::ClientIdInvalid),
            (V31, "10 0e 00 06 'MQIsdp' 03 02 00 00 00 00", DecodeError::ClientIdInvalid),
            // A flag without its string; only 3.1 allows that.
            (V311, "10 0d 00 04 'MQTT' 04 82 00 00 00 01 'a'", DecodeError::Malformed("packet ends inside a field")),
            (
                V311,
                "10 10 00 04 'MQTT' 04 c2 00 00 00 01 'a' 00 01 'u'",
                DecodeError::Malformed("packet ends inside a field"),
            ),
            (V5, "10 0e 00 04 'MQTT' 05 42 00 00 00 00 01 'a'", DecodeError::Malformed("packet ends inside a field")),
            (V5, "10 0e 00 04 'MQTT' 05 06 00 00 00 00 01 'a'", DecodeError::Malformed("packet ends inside a field")),
            (V311, "10 0d 00 04 'MQTT' 04 02 00 00 00 01 00", DecodeError::Malformed("U+0000 in a string")),
        ];
        for (version, sample, error) in cases {
            refused(version, Server, sample, error);
        }
    }

    #[test]
    fn refusals_are_answered_where_and_how_the_specification_says() {
        let cases = [
            // Not MQTT, or not readable as far as the level: silence.
            ("10 0d 00 04 'HTTP' 04 02 00 3c 00 01 'a'", ""),
            ("10 05 00 04 'MQT'", ""),
            ("10 06 00 04 'MQTT'", ""),
            ("10 0d 00 04 'mqtt' 04 02 00 3c 00 01 'a'", ""),
            ("30 03 00 01 'a'", ""),
            ("c0 00", ""),
            // Levels that do not exist.
            ("10 0d 00 04 'MQTT' 03 02 00 3c 00 01 'a'", "20 02 00 01"),
            ("10 07 00 04 'MQTT' 00", "20 02 00 01"),
            ("10 0f 00 06 'MQIsdp' 04 02 00 3c 00 01 'a'", "20 02 00 01"),
            ("10 0d 00 04 'MQTT' 85 02 00 3c 00 01 'a'", "20 02 00 01"),
            ("10 0f 00 06 'MQIsdp' 84 02 00 3c 00 01 'a'", "20 02 00 01"),
            ("10 0e 00 04 'MQTT' 06 02 00 3c 00 00 01 'a'", "20 03 00 84 00"),
            // A 3.1.1 CONNECT that is wrong gets no answer, but for the client id.
            ("10 0d 00 04 'MQTT' 04 03 00 00 00 01 'a'", ""),
            ("10 0c 00 04 'MQTT' 04 00 00 00 00 00", "20 02 00 02"),
            ("10 0e 00 06 'MQIsdp' 03 00 00 00 00 00", "20 02 00 02"),
            // A 5.0 CONNECT that is wrong.
            ("10 0e 00 04 'MQTT' 05 03 00 00 00 00 01 'a'", "20 03 00 81 00"),
            ("10 08 00 04 'MQTT' 05 02", "20 03 00 81 00"),
            ("10 11 00 04 'MQTT' 05 02 00 00 03 21 00 00 00 01 'a'", "20 03 00 82 00"),
            ("10 14 00 04 'MQTT' 05 06 00 00 00 00 01 'a' 00 00 01 '+' 00 00", "20 03 00 90 00"),
        ];
        for (sample, answer) in cases {
            let bytes = bytes(sample);
            let (frame, _) = frame::next(&bytes, u32::MAX).unwrap().expect(sample);
            let refusal = Connect::decode(frame).expect_err(sample);
            let mut out = Vec::new();
            refusal.write_connack(&mut out);
            assert_eq!(out, super::super::tests::bytes(answer), "{sample}: {refusal}");
        }
    }

    #[test]
    fn debugging_shows_no_secrets() {
        let will = Some(ConnectWill { payload: b"SECRET", ..will("w", b"", Qos::AtMostOnce, false) });
        let connect =
            Connect { password: Some(b"SECRET"), authentication_data: Some(b"SECRET"), will, ..Connect::default() };
        let shown = format!("{connect:?} {connect:#?}");
        assert!(!shown.contains("SECRET") && !shown.contains("83, 69"), "{shown}");
    }
}
