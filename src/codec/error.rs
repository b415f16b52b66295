//! Why bytes were refused. Every error here is the peer's fault: it names a static text for the log, a label for the
//! counter and the reason code that MQTT 5.0 has for it. Nothing allocates, so refusing costs less than sending.

use super::Version;
use super::packet_type::PacketType;
use super::reason::ReasonCode;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes cannot be a packet (MQTT 5.0, 1.2 "Malformed Packet").
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The packet can be read and says what it may not say (MQTT 5.0, 1.2 "Protocol Error").
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The fixed header announces more than the receiver takes.
    #[error("packet of {size_bytes} bytes where at most {max_size_bytes} are taken")]
    TooLarge {
        /// Whole packet, fixed header included.
        size_bytes: u32,
        /// What the receiver takes.
        max_size_bytes: u32,
    },
    /// A packet that only the other side may send, such as CONNACK to a server.
    #[error("{0} in the wrong direction")]
    WrongDirection(PacketType),
    /// A topic name that no message can be published to: a wildcard in it, or empty.
    #[error("invalid topic name: {0}")]
    TopicNameInvalid(&'static str),
    /// Topic alias 0. An alias above the receiver's maximum is for the session to find.
    #[error("topic alias 0")]
    TopicAliasInvalid,
    /// More of something than `limits.rs` lets one packet hold.
    #[error("limit exceeded: {0}")]
    LimitExceeded(&'static str),
    /// CONNECT names a protocol or a level that is none of 3.1, 3.1.1 and 5.0.
    #[error("unsupported protocol version")]
    UnsupportedVersion,
    /// An empty client id where the client also wants its session kept [MQTT-3.1.3-8 of 3.1.1].
    #[error("empty client id where the version asks for one")]
    ClientIdInvalid,
}

impl DecodeError {
    /// The reason code to refuse with, in a CONNACK or a DISCONNECT (MQTT 5.0, 4.13).
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Malformed(_) => ReasonCode::MalformedPacket,
            Self::Protocol(_) | Self::WrongDirection(_) => ReasonCode::ProtocolError,
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::TopicNameInvalid(_) => ReasonCode::TopicNameInvalid,
            Self::TopicAliasInvalid => ReasonCode::TopicAliasInvalid,
            Self::LimitExceeded(_) => ReasonCode::QuotaExceeded,
            Self::UnsupportedVersion => ReasonCode::UnsupportedProtocolVersion,
            Self::ClientIdInvalid => ReasonCode::ClientIdentifierNotValid,
        }
    }

    /// The value of a metric's `reason` label: snake case, one for each variant.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_packet",
            Self::Protocol(_) => "protocol_error",
            Self::TooLarge { .. } => "packet_too_large",
            Self::WrongDirection(_) => "wrong_direction",
            Self::TopicNameInvalid(_) => "topic_name_invalid",
            Self::TopicAliasInvalid => "topic_alias_invalid",
            Self::LimitExceeded(_) => "limit_exceeded",
            Self::UnsupportedVersion => "unsupported_version",
            Self::ClientIdInvalid => "client_id_invalid",
        }
    }

    /// What exactly is wrong, without the numbers: one fixed text for each check.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed(text) | Self::Protocol(text) | Self::TopicNameInvalid(text) | Self::LimitExceeded(text) => {
                text
            }
            Self::TooLarge { .. } => "packet too large",
            Self::WrongDirection(_) => "packet in the wrong direction",
            Self::TopicAliasInvalid => "topic alias 0",
            Self::UnsupportedVersion => "unsupported protocol version",
            Self::ClientIdInvalid => "empty client id where the version asks for one",
        }
    }
}

/// A CONNECT that was refused, and the form in which its sender can be told so. The connection closes in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ConnectRefusal {
    /// What is wrong with the CONNECT.
    pub error: DecodeError,
    answer: Answer,
}

/// What goes out before the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing: not a CONNECT, not MQTT, or a 3.x CONNECT for which no return code is listed
    /// [MQTT-3.1.4-1, MQTT-3.2.2-6 of 3.1.1].
    Silence,
    /// A CONNACK of MQTT 3.1 and 3.1.1.
    ReturnCode(u8),
    /// A CONNACK of MQTT 5.0.
    Reason(ReasonCode),
}

impl ConnectRefusal {
    /// Refusal without an answer: what came is not MQTT as far as anyone can tell.
    pub(super) const fn silent(error: DecodeError) -> Self {
        Self { error, answer: Answer::Silence }
    }

    /// Refusal of a CONNECT whose version is known.
    pub const fn of(error: DecodeError, version: Version) -> Self {
        let reason = error.reason();
        let answer = match (version, reason.to_v3_return_code()) {
            (Version::V5, _) => Answer::Reason(reason),
            (_, Some(code)) => Answer::ReturnCode(code),
            (_, None) => Answer::Silence,
        };
        Self { error, answer }
    }

    /// Writes the CONNACK that the specification names for this refusal, or nothing where it says to close silently.
    pub fn write_connack(&self, out: &mut Vec<u8>) {
        match self.answer {
            Answer::Silence => {}
            Answer::ReturnCode(code) => {
                out.extend_from_slice(&[0x20, 2, 0, code]);
            }
            Answer::Reason(reason) => out.extend_from_slice(&[0x20, 3, 0, reason as u8, 0]),
        }
    }
}

impl From<ConnectRefusal> for DecodeError {
    fn from(refusal: ConnectRefusal) -> Self {
        refusal.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [DecodeError; 9] = [
        DecodeError::Malformed("m"),
        DecodeError::Protocol("p"),
        DecodeError::TooLarge { size_bytes: 2, max_size_bytes: 1 },
        DecodeError::WrongDirection(PacketType::ConnAck),
        DecodeError::TopicNameInvalid("t"),
        DecodeError::TopicAliasInvalid,
        DecodeError::LimitExceeded("l"),
        DecodeError::UnsupportedVersion,
        DecodeError::ClientIdInvalid,
    ];

    #[test]
    fn labels_are_distinct_snake_case() {
        let mut labels: Vec<_> = ALL.iter().map(|error| error.label()).collect();
        assert!(labels.iter().all(|label| label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ALL.len());
    }

    #[test]
    fn every_reason_is_an_error_that_connack_or_disconnect_may_carry() {
        for error in ALL {
            let reason = error.reason();
            assert!(reason.is_error(), "{error}");
            let carrier =
                [PacketType::ConnAck, PacketType::Disconnect].iter().any(|&packet| reason.is_allowed_in(packet));
            assert!(carrier, "{error}");
            assert!(!error.text().is_empty());
        }
    }

    #[test]
    fn refusals_answer_in_the_clients_version() {
        let cases: [(ConnectRefusal, &[u8]); 6] = [
            (ConnectRefusal::silent(DecodeError::UnsupportedVersion), &[]),
            (ConnectRefusal::of(DecodeError::UnsupportedVersion, Version::V311), &[0x20, 2, 0, 1]),
            (ConnectRefusal::of(DecodeError::ClientIdInvalid, Version::V311), &[0x20, 2, 0, 2]),
            (ConnectRefusal::of(DecodeError::Malformed("x"), Version::V311), &[]),
            (ConnectRefusal::of(DecodeError::Malformed("x"), Version::V5), &[0x20, 3, 0, 0x81, 0]),
            (ConnectRefusal::of(DecodeError::UnsupportedVersion, Version::V5), &[0x20, 3, 0, 0x84, 0]),
        ];
        for (refusal, expected) in cases {
            let mut out = Vec::new();
            refusal.write_connack(&mut out);
            assert_eq!(out, expected, "{refusal:?}");
        }
    }
}
