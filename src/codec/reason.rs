//! Reason codes (MQTT 5.0, 2.4): one enum for all packets, a table of which packet may carry which, and the return
//! codes of MQTT 3.x that stand for some of them.

use super::packet_type::PacketType;
use crate::ids::Qos;

/// Every reason code of MQTT 5.0. Code 0 has three names in the specification; here it is [`ReasonCode::Success`],
/// with [`ReasonCode::NORMAL_DISCONNECTION`] and [`ReasonCode::GRANTED_QOS_0`] as other names of the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the specification's own, and `text` spells them out")]
pub enum ReasonCode {
    #[default]
    Success = 0x00,
    GrantedQos1 = 0x01,
    GrantedQos2 = 0x02,
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8a,
    ServerShuttingDown = 0x8b,
    BadAuthenticationMethod = 0x8c,
    KeepAliveTimeout = 0x8d,
    SessionTakenOver = 0x8e,
    TopicFilterInvalid = 0x8f,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9a,
    QosNotSupported = 0x9b,
    UseAnotherServer = 0x9c,
    ServerMoved = 0x9d,
    SharedSubscriptionsNotSupported = 0x9e,
    ConnectionRateExceeded = 0x9f,
    MaximumConnectTime = 0xa0,
    SubscriptionIdentifiersNotSupported = 0xa1,
    WildcardSubscriptionsNotSupported = 0xa2,
}

/// Code, variant and text, in ascending order.
const ALL: [(ReasonCode, &str); 43] = {
    use ReasonCode as R;
    [
        (R::Success, "success"),
        (R::GrantedQos1, "granted QoS 1"),
        (R::GrantedQos2, "granted QoS 2"),
        (R::DisconnectWithWill, "disconnect with will message"),
        (R::NoMatchingSubscribers, "no matching subscribers"),
        (R::NoSubscriptionExisted, "no subscription existed"),
        (R::ContinueAuthentication, "continue authentication"),
        (R::ReAuthenticate, "re-authenticate"),
        (R::UnspecifiedError, "unspecified error"),
        (R::MalformedPacket, "malformed packet"),
        (R::ProtocolError, "protocol error"),
        (R::ImplementationSpecificError, "implementation specific error"),
        (R::UnsupportedProtocolVersion, "unsupported protocol version"),
        (R::ClientIdentifierNotValid, "client identifier not valid"),
        (R::BadUserNameOrPassword, "bad user name or password"),
        (R::NotAuthorized, "not authorized"),
        (R::ServerUnavailable, "server unavailable"),
        (R::ServerBusy, "server busy"),
        (R::Banned, "banned"),
        (R::ServerShuttingDown, "server shutting down"),
        (R::BadAuthenticationMethod, "bad authentication method"),
        (R::KeepAliveTimeout, "keep alive timeout"),
        (R::SessionTakenOver, "session taken over"),
        (R::TopicFilterInvalid, "topic filter invalid"),
        (R::TopicNameInvalid, "topic name invalid"),
        (R::PacketIdentifierInUse, "packet identifier in use"),
        (R::PacketIdentifierNotFound, "packet identifier not found"),
        (R::ReceiveMaximumExceeded, "receive maximum exceeded"),
        (R::TopicAliasInvalid, "topic alias invalid"),
        (R::PacketTooLarge, "packet too large"),
        (R::MessageRateTooHigh, "message rate too high"),
        (R::QuotaExceeded, "quota exceeded"),
        (R::AdministrativeAction, "administrative action"),
        (R::PayloadFormatInvalid, "payload format invalid"),
        (R::RetainNotSupported, "retain not supported"),
        (R::QosNotSupported, "QoS not supported"),
        (R::UseAnotherServer, "use another server"),
        (R::ServerMoved, "server moved"),
        (R::SharedSubscriptionsNotSupported, "shared subscriptions not supported"),
        (R::ConnectionRateExceeded, "connection rate exceeded"),
        (R::MaximumConnectTime, "maximum connect time"),
        (R::SubscriptionIdentifiersNotSupported, "subscription identifiers not supported"),
        (R::WildcardSubscriptionsNotSupported, "wildcard subscriptions not supported"),
    ]
};

/// Index into [`ALL`] by code; 0xff where there is no such code.
const INDEX: [u8; 256] = {
    let mut index = [0xff; 256];
    let mut at = 0;
    while at < ALL.len() {
        index[ALL[at].0 as usize] = at as u8;
        at += 1;
    }
    index
};

impl ReasonCode {
    /// Code 0 in a DISCONNECT: the will is discarded.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// Code 0 in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// The reason with this code, whichever packet it may be for.
    pub const fn from_u8(code: u8) -> Option<Self> {
        let at = INDEX[code as usize];
        if at == 0xff { None } else { Some(ALL[at as usize].0) }
    }

    /// The reason with this code, if that kind of packet may carry it.
    pub const fn from_u8_in(code: u8, packet: PacketType) -> Option<Self> {
        match Self::from_u8(code) {
            Some(reason) if reason.is_allowed_in(packet) => Some(reason),
            _ => None,
        }
    }

    /// Whether that kind of packet may carry this reason.
    pub const fn is_allowed_in(self, packet: PacketType) -> bool {
        CARRIED[packet as usize].contains(self)
    }

    /// Whether what was asked for did not happen: codes from 0x80 on.
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The specification's name of the code, for logs.
    pub const fn text(self) -> &'static str {
        ALL[INDEX[self as u8 as usize] as usize].1
    }

    /// The reason in a SUBACK that grants `qos`.
    pub const fn granted(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::GRANTED_QOS_0,
            Qos::AtLeastOnce => Self::GrantedQos1,
            Qos::ExactlyOnce => Self::GrantedQos2,
        }
    }

    /// The CONNACK return code of MQTT 3.x for this reason; `None` where none is listed and the connection closes
    /// without a CONNACK [MQTT-3.2.2-6 of 3.1.1].
    pub const fn to_v3_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => Some(5),
            _ => None,
        }
    }

    /// The reason that a CONNACK return code of MQTT 3.x stands for; `None` for 6 and above, which are reserved.
    pub const fn from_v3_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl std::fmt::Display for ReasonCode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} (0x{:02x})", self.text(), *self as u8)
    }
}

/// A set of reason codes: a bit each for 0x00..0x40 and for 0x80..0xc0, where all codes lie.
#[derive(Clone, Copy)]
struct Codes {
    low: u64,
    high: u64,
}

impl Codes {
    const NONE: Self = Self::of(&[]);

    const fn of(codes: &[u8]) -> Self {
        let mut set = Self { low: 0, high: 0 };
        let mut at = 0;
        while at < codes.len() {
            let bit = 1 << (codes[at] & 0x3f);
            if codes[at] < 0x80 {
                set.low |= bit;
            } else {
                set.high |= bit;
            }
            at += 1;
        }
        set
    }

    const fn contains(self, reason: ReasonCode) -> bool {
        let half = if reason.is_error() { self.high } else { self.low };
        half >> (reason as u8 & 0x3f) & 1 == 1
    }
}

/// Which packet may carry which reason, by [`PacketType`]. From the tables in 3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1,
/// 3.7.2.1, 3.9.3, 3.11.3, 3.14.2.1 and 3.15.2.1 of MQTT 5.0. DISCONNECT also takes 0x8C, which 2.4 lists for it and
/// 3.14.2.1 forgets, and which a failed re-authentication needs. Who of the two sides may send a DISCONNECT code is
/// not told apart: whatever the reason, the connection ends.
const CARRIED: [Codes; 16] = {
    let mut carried = [Codes::NONE; 16];
    carried[PacketType::ConnAck as usize] = Codes::of(&[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a,
        0x9b, 0x9c, 0x9d, 0x9f,
    ]);
    let receipt = Codes::of(&[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
    carried[PacketType::PubAck as usize] = receipt;
    carried[PacketType::PubRec as usize] = receipt;
    carried[PacketType::PubRel as usize] = Codes::of(&[0x00, 0x92]);
    carried[PacketType::PubComp as usize] = Codes::of(&[0x00, 0x92]);
    carried[PacketType::SubAck as usize] =
        Codes::of(&[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]);
    carried[PacketType::UnsubAck as usize] = Codes::of(&[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]);
    carried[PacketType::Disconnect as usize] = Codes::of(&[
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
        0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
    ]);
    carried[PacketType::Auth as usize] = Codes::of(&[0x00, 0x18, 0x19]);
    carried
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_as_itself_and_no_other_code_does() {
        let known: Vec<u8> = ALL.iter().map(|(reason, _)| *reason as u8).collect();
        assert!(known.is_sorted());
        for code in 0..=255 {
            let read = ReasonCode::from_u8(code).map(|reason| reason as u8);
            assert_eq!(read, known.contains(&code).then_some(code));
        }
    }

    #[test]
    fn packets_carry_what_their_tables_list() {
        let counts = [
            (PacketType::ConnAck, 22),
            (PacketType::PubAck, 9),
            (PacketType::PubRec, 9),
            (PacketType::PubRel, 2),
            (PacketType::PubComp, 2),
            (PacketType::SubAck, 12),
            (PacketType::UnsubAck, 7),
            (PacketType::Disconnect, 30),
            (PacketType::Auth, 3),
            (PacketType::Publish, 0),
            (PacketType::PingReq, 0),
        ];
        for (packet, count) in counts {
            let allowed = (0..=255).filter(|&code| ReasonCode::from_u8_in(code, packet).is_some()).count();
            assert_eq!(allowed, count, "{packet}");
        }
        assert_eq!(ReasonCode::from_u8_in(0x10, PacketType::PubRel), None);
        assert_eq!(ReasonCode::from_u8_in(0x8e, PacketType::ConnAck), None);
        assert_eq!(ReasonCode::from_u8_in(0x03, PacketType::Disconnect), None);
    }

    #[test]
    fn v3_return_codes_map_back_to_themselves() {
        for code in 0..=5 {
            let reason = ReasonCode::from_v3_return_code(code).unwrap();
            assert_eq!(reason.to_v3_return_code(), Some(code), "{reason}");
        }
        assert_eq!(ReasonCode::from_v3_return_code(6), None);
        assert_eq!(ReasonCode::PacketTooLarge.to_v3_return_code(), None);
    }
}
