//! The flags octet (MQTT-SN 1.2, 5.3.4), and the return codes (5.3.10).

use crate::ids::Qos;

/// Seven flags in one octet; which of them mean something depends on the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnFlags {
    /// It was sent before.
    pub dup: bool,
    /// `None` is QoS -1: a PUBLISH of somebody who has no connection.
    pub qos: Option<Qos>,
    /// As in MQTT.
    pub retain: bool,
    /// CONNECT asks to be asked for a will.
    pub will: bool,
    /// CONNECT wants a session without history.
    pub clean_session: bool,
    /// What stands where a topic stands.
    pub topic_kind: TopicKind,
}

/// What stands where a topic stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TopicKind {
    /// An id that was registered; in SUBSCRIBE and UNSUBSCRIBE a name.
    #[default]
    Normal = 0,
    /// An id that both sides have known before.
    Predefined = 1,
    /// A name of two octets in place of an id.
    Short = 2,
}

mod bit {
    pub(super) const DUP: u8 = 0x80;
    pub(super) const RETAIN: u8 = 0x10;
    pub(super) const WILL: u8 = 0x08;
    pub(super) const CLEAN_SESSION: u8 = 0x04;
}

impl SnFlags {
    /// Reads the octet; `None` for the topic type that is reserved.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        let topic_kind = match bits & 3 {
            0 => TopicKind::Normal,
            1 => TopicKind::Predefined,
            2 => TopicKind::Short,
            _ => return None,
        };
        let qos = Qos::from_bits(bits >> 5 & 3);
        Some(Self {
            dup: bits & bit::DUP != 0,
            qos,
            retain: bits & bit::RETAIN != 0,
            will: bits & bit::WILL != 0,
            clean_session: bits & bit::CLEAN_SESSION != 0,
            topic_kind,
        })
    }

    /// The octet.
    pub const fn to_bits(self) -> u8 {
        let qos = match self.qos {
            Some(qos) => qos as u8,
            None => 3,
        };
        on(self.dup, bit::DUP)
            | qos << 5
            | on(self.retain, bit::RETAIN)
            | on(self.will, bit::WILL)
            | on(self.clean_session, bit::CLEAN_SESSION)
            | self.topic_kind as u8
    }

    /// Only the quality of service.
    pub fn of_qos(qos: Qos) -> Self {
        Self { qos: Some(qos), ..Self::NONE }
    }

    /// None of them: QoS 0 and a normal topic.
    pub const NONE: Self = Self {
        dup: false,
        qos: Some(Qos::AtMostOnce),
        retain: false,
        will: false,
        clean_session: false,
        topic_kind: TopicKind::Normal,
    };
}

const fn on(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReturnCode {
    /// Done.
    Accepted = 0,
    /// Not now: the same may be tried again later.
    Congestion = 1,
    /// Nobody has registered this topic id.
    InvalidTopicId = 2,
    /// Not here.
    NotSupported = 3,
}

impl ReturnCode {
    /// Codes that are reserved mean no more than that it was refused.
    pub const fn from_u8(code: u8) -> Self {
        match code {
            0 => Self::Accepted,
            1 => Self::Congestion,
            2 => Self::InvalidTopicId,
            _ => Self::NotSupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_is_read_and_written_back_but_those_with_the_reserved_topic_type() {
        for bits in 0..=u8::MAX {
            match SnFlags::from_bits(bits) {
                Some(flags) => assert_eq!(flags.to_bits(), bits),
                None => assert_eq!(bits & 3, 3),
            }
        }
        assert_eq!(SnFlags::from_bits(0x60).unwrap().qos, None);
        assert_eq!(SnFlags::NONE.to_bits(), 0);
    }

    #[test]
    fn codes_that_are_reserved_are_refusals() {
        for (code, meaning) in
            [(0, ReturnCode::Accepted), (2, ReturnCode::InvalidTopicId), (9, ReturnCode::NotSupported)]
        {
            assert_eq!(ReturnCode::from_u8(code), meaning);
        }
    }
}
