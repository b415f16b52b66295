//! The alerts of TLS that are sent or told apart (RFC 8446, 6).

/// Those that have a meaning here; the number is the one on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alert {
    CloseNotify = 0,
    UnexpectedMessage = 10,
    BadRecordMac = 20,
    RecordOverflow = 22,
    DecodeError = 50,
    UserCanceled = 90,
    NoRenegotiation = 100,
}

impl Alert {
    /// The level of those that do not end a connection by themselves. In TLS 1.3 it means nothing.
    pub(super) const WARNING: u8 = 1;
    const FATAL: u8 = 2;

    /// Of those that a peer's are told apart by.
    pub(super) const fn of(description: u8) -> Option<Self> {
        match description {
            0 => Some(Self::CloseNotify),
            90 => Some(Self::UserCanceled),
            _ => None,
        }
    }

    /// Level and description.
    pub(super) const fn encode(self) -> [u8; 2] {
        let level = match self {
            Self::CloseNotify | Self::UserCanceled | Self::NoRenegotiation => Self::WARNING,
            _ => Self::FATAL,
        };
        [level, self as u8]
    }
}
