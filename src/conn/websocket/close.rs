//! Why a WebSocket closes: the codes of RFC 6455, 7.4.

use super::head::Violation;

/// The code of a close frame that the broker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// All is done.
    Normal = 1000,
    /// The broker stops.
    GoingAway = 1001,
    /// The rules of frames were broken.
    ProtocolError = 1002,
    /// Text, where MQTT asks for binary frames [MQTT-6.0.0-1].
    Unsupported = 1003,
    /// A reason that is no UTF-8.
    NotUtf8 = 1007,
    /// The rules of MQTT, or those of the broker, were broken.
    Policy = 1008,
}

impl From<Violation> for CloseCode {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Text => Self::Unsupported,
            Violation::CloseReason => Self::NotUtf8,
            _ => Self::ProtocolError,
        }
    }
}

/// The code in a close frame's payload; `None` where it has none.
///
/// # Errors
/// One byte, a code that may not be sent, or a reason that is no UTF-8.
pub(super) fn received(payload: &[u8]) -> Result<Option<u16>, Violation> {
    match payload.split_first_chunk::<2>() {
        None if payload.is_empty() => Ok(None),
        None => Err(Violation::CloseCode),
        Some((code, reason)) => {
            let code = u16::from_be_bytes(*code);
            if !may_be_sent(code) {
                return Err(Violation::CloseCode);
            }
            std::str::from_utf8(reason).map_err(|_| Violation::CloseReason)?;
            Ok(Some(code))
        }
    }
}

/// Whether an endpoint may send this code: those that are defined or registered, and those of libraries and applications.
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_has_no_code_or_one_that_may_be_sent_and_a_reason_in_utf_8() {
        let with = |code: u16, reason: &[u8]| received(&[&code.to_be_bytes(), reason].concat());
        assert_eq!(received(b""), Ok(None));
        assert_eq!(received(b"\x03"), Err(Violation::CloseCode));
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
            assert_eq!(with(code, "gr\u{fc}n".as_bytes()), Ok(Some(code)));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(with(code, b""), Err(Violation::CloseCode), "{code}");
        }
        assert_eq!(with(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"), Err(Violation::CloseReason), "a surrogate");
    }
}
