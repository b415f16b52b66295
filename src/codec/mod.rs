//! Bytes to packets and back, for MQTT 3.1, 3.1.1 and 5.0 in one tree.
//!
//! What always holds: decoding borrows the frame and never allocates, never panics and never reads past it; a packet
//! that comes out obeys every rule that one packet alone can break (types, flags, lengths, UTF-8, property tables,
//! reason codes). Rules that need memory of earlier packets (identifiers in use, quotas, alias maxima, authentication
//! flow) are the session's; the syntax of topic filters is `topic`'s; the length limit is the caller's number.
//!
//! [`frame::next`] cuts a packet out of the stream, [`Connect::decode`] reads the first one, which names the version,
//! [`decode`] reads all others. Each packet kind has its own file with struct, decoding, encoding and tests; `wire` has
//! the data types below them and `properties` the properties of MQTT 5.0.

mod ack;
mod auth;
mod connack;
mod connect;
mod connect_packet;
mod disconnect;
mod error;
mod forwarded;
pub mod frame;
mod packet_type;
mod properties;
mod publish;
mod publish_out;
mod reason;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;
mod wire;

#[cfg(test)]
mod tests;

pub use ack::{Ack, AckKind, encode_ack};
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, ConnectWill};
pub use connect_packet::ConnectPacket;
pub use disconnect::Disconnect;
pub use error::{ConnectRefusal, DecodeError};
pub use forwarded::{Forwarded, UserProperties};
pub use frame::Frame;
pub use packet_type::PacketType;
pub use properties::Property;
pub use publish::{EncodedSubscriptionIds, Publish};
pub use publish_out::{Head, MeasuredPublish, PublishOut};
pub use reason::ReasonCode;
pub use suback::{SubAck, encode_suback};
pub use subscribe::{
    RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, encode_subscribe, subscribe_filters,
};
pub use unsuback::{UnsubAck, encode_unsuback};
pub use unsubscribe::{Unsubscribe, encode_unsubscribe, unsubscribe_filters};

/// PINGREQ as bytes: it has no body in any version.
pub const PINGREQ: [u8; 2] = [0xc0, 0];
/// PINGRESP as bytes: it has no body in any version.
pub const PINGRESP: [u8; 2] = [0xd0, 0];

/// The protocol level of CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1 (protocol name `MQIsdp`).
    V31 = 3,
    /// MQTT 3.1.1 (protocol name `MQTT`).
    #[default]
    V311 = 4,
    /// MQTT 5.0 (protocol name `MQTT`).
    V5 = 5,
}

impl Version {
    /// Its place among all versions, the oldest first.
    pub const fn index(self) -> usize {
        self as usize - Self::V31 as usize
    }

    /// Whether packets have properties and reason codes.
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

/// Who decodes. A server accepts what clients send, and the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Takes CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ.
    Server,
    /// Takes CONNACK, SUBACK, UNSUBACK, PINGRESP.
    Client,
}

/// A decoded packet that borrows its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is a packet, described at its struct")]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// Decodes one packet of a connection whose version is known.
///
/// A packet that only the other side may send is refused ([`DecodeError::WrongDirection`]). A CONNECT is decoded by its
/// own version; whoever wants to answer its refusal calls [`Connect::decode`] instead.
#[inline]
pub fn decode(frame: Frame<'_>, version: Version, side: Side) -> Result<Packet<'_>, DecodeError> {
    match frame.packet_type() {
        PacketType::Publish => Ok(Packet::Publish(Publish::decode(frame, version, side)?)),
        PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
            Ack::decode(frame, version).map(Packet::Ack)
        }
        _ => decode_other(frame, version, side),
    }
}

/// Everything that is not part of a message's delivery.
fn decode_other(frame: Frame<'_>, version: Version, side: Side) -> Result<Packet<'_>, DecodeError> {
    match (frame.packet_type(), side) {
        (PacketType::PingReq, Side::Server) => empty(frame, Packet::PingReq),
        (PacketType::PingResp, Side::Client) => empty(frame, Packet::PingResp),
        (PacketType::Subscribe, Side::Server) => Subscribe::decode(frame, version).map(Packet::Subscribe),
        (PacketType::SubAck, Side::Client) => SubAck::decode(frame, version).map(Packet::SubAck),
        (PacketType::Unsubscribe, Side::Server) => Unsubscribe::decode(frame, version).map(Packet::Unsubscribe),
        (PacketType::UnsubAck, Side::Client) => UnsubAck::decode(frame, version).map(Packet::UnsubAck),
        (PacketType::Connect, Side::Server) => Ok(Packet::Connect(Connect::decode(frame)?)),
        (PacketType::ConnAck, Side::Client) => ConnAck::decode(frame, version).map(Packet::ConnAck),
        // Before 5.0 only a client disconnects; a server just closes.
        (PacketType::Disconnect, Side::Client) if !version.is_v5() => {
            Err(DecodeError::WrongDirection(PacketType::Disconnect))
        }
        (PacketType::Disconnect, _) => Disconnect::decode(frame, version, side).map(Packet::Disconnect),
        (PacketType::Auth, _) if version.is_v5() => Auth::decode(frame, side).map(Packet::Auth),
        (PacketType::Auth, _) => Err(DecodeError::Malformed("reserved packet type 15")),
        (PacketType::Reserved, _) => Err(DecodeError::Malformed("reserved packet type 0")),
        (other, _) => Err(DecodeError::WrongDirection(other)),
    }
}

/// A packet that is its fixed header.
fn empty<'a>(frame: Frame<'a>, packet: Packet<'a>) -> Result<Packet<'a>, DecodeError> {
    expect_first(frame, frame.first & 0xf0)?;
    match frame.body {
        [] => Ok(packet),
        _ => Err(DecodeError::Malformed("body in a packet that has none")),
    }
}

/// Refuses header flags other than those of `first` [MQTT-2.1.3-1]. [`frame::next`] has done so already, all but the
/// DUP flag that some packets of MQTT 3.1 have; a frame made elsewhere is judged here.
const fn expect_first(frame: Frame<'_>, first: u8) -> Result<(), DecodeError> {
    if frame.first == first { Ok(()) } else { Err(DecodeError::Malformed("reserved flags in the fixed header")) }
}

/// The same for PUBREL, SUBSCRIBE and UNSUBSCRIBE, whose flags are 0010 [MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1].
/// MQTT 3.1 calls these bits QoS 1 and lets DUP mark a packet that is sent again.
const fn expect_first_of_request(frame: Frame<'_>, first: u8, version: Version) -> Result<(), DecodeError> {
    match version {
        Version::V31 => expect_first(Frame { first: frame.first & !0b1000, body: &[] }, first),
        _ => expect_first(frame, first),
    }
}

impl Packet<'_> {
    /// Appends the packet as `version` writes it.
    ///
    /// Properties that decoding checks but does not keep (user properties outside of messages and acknowledgements) are
    /// not written. A server's messages go through [`PublishOut`], which copies nothing.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Self::Connect(connect) => connect.encode(out),
            Self::ConnAck(connack) => {
                connack.encode(version, out);
            }
            Self::Publish(publish) => publish.encode(version, out),
            Self::Ack(ack) => ack.encode(version, out),
            Self::Subscribe(subscribe) => subscribe.encode(version, out),
            Self::SubAck(suback) => suback.encode(version, out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Self::UnsubAck(unsuback) => unsuback.encode(version, out),
            Self::PingReq => out.extend_from_slice(&PINGREQ),
            Self::PingResp => out.extend_from_slice(&PINGRESP),
            Self::Disconnect(disconnect) => disconnect.encode(version, out),
            Self::Auth(auth) => auth.encode(out),
        }
    }
}
