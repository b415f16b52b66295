//! The head of a frame, read and written.
//!
//! Always holds: a head that was read is one that a client may send now, as far as it can tell by itself; it is refused at the first
//! byte that is wrong.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message before.
    Continuation = 0,
    /// A message, or its beginning.
    Binary = 2,
    /// The sender sends no more.
    Close = 8,
    /// To be answered.
    Ping = 9,
    /// An answer, or nothing at all.
    Pong = 10,
}

impl Opcode {
    pub(super) const fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// How a peer has broken the rules of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A client masks every frame (RFC 6455, 5.1).
    Unmasked,
    /// No extension was agreed to that would use these bits (5.2).
    ReservedBits,
    /// An opcode that means nothing (5.2).
    UnknownOpcode,
    /// A text frame [MQTT-6.0.0-1].
    Text,
    /// A control frame of more than 125 bytes, or one that is not whole in one frame (5.5).
    ControlFrame,
    /// A length in more bytes than it needs, or of more than 63 bits (5.2).
    Length,
    /// A message begins within another one, or one goes on that has not begun (5.4).
    Fragment,
    /// A close frame of one byte, or with a code that nobody sends (7.4).
    CloseCode,
    /// A close frame's reason that is no UTF-8 (5.5.1).
    CloseReason,
}

impl Violation {
    /// In words, for the log.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unmasked => "a WebSocket frame of a client was not masked",
            Self::ReservedBits => "a WebSocket frame uses an extension, and none was agreed to",
            Self::UnknownOpcode => "a WebSocket frame has an opcode that means nothing",
            Self::Text => "it sent a WebSocket frame of text, and MQTT is binary",
            Self::ControlFrame => "a WebSocket control frame is too long or in pieces",
            Self::Length => "the length of a WebSocket frame is not written as it must be",
            Self::Fragment => "WebSocket fragments are out of order",
            Self::CloseCode => "a WebSocket close frame has no code that may be sent",
            Self::CloseReason => "the reason in a WebSocket close frame is no UTF-8",
        }
    }
}

/// Bytes of the longest head that a client sends.
pub(super) const HEAD_MAX_BYTES: usize = 14;

/// A head as a client sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) opcode: Opcode,
    /// Whether a message ends with this frame.
    pub(super) is_final: bool,
    /// Bytes of the payload.
    pub(super) len: u64,
    pub(super) mask: [u8; 4],
    /// Bytes of the head itself.
    pub(super) size: usize,
}

impl FrameHead {
    /// The head at the beginning of `bytes`; `None` where it is not whole. `in_message` says whether a message has begun and not
    /// ended.
    pub(super) fn read(bytes: &[u8], in_message: bool) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (opcode, is_final) = read_first(first, in_message)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && short > 125 {
            return Err(Violation::ControlFrame);
        }
        let (len, at) = match short {
            126 => {
                let Some(len) = bytes.get(2..4) else { return Ok(None) };
                (u64::from(u16::from_be_bytes([len[0], len[1]])), 4)
            }
            127 => {
                let Some(len) = bytes.get(2..).and_then(<[u8]>::first_chunk::<8>) else { return Ok(None) };
                (u64::from_be_bytes(*len), 10)
            }
            short => (u64::from(short), 2),
        };
        let is_minimal = match short {
            126 => len > 125,
            127 => len > 0xffff && len >> 63 == 0,
            _ => true,
        };
        if !is_minimal {
            return Err(Violation::Length);
        }
        let mask = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
        Ok(mask.map(|&mask| Self { opcode, is_final, len, mask, size: at + 4 }))
    }
}

/// What the first byte says: the opcode, and whether the message ends with this frame.
const fn read_first(first: u8, in_message: bool) -> Result<(Opcode, bool), Violation> {
    if first & 0x70 != 0 {
        return Err(Violation::ReservedBits);
    }
    let is_final = first & 0x80 != 0;
    let opcode = match (first & 0x0f, in_message) {
        (0, true) => Opcode::Continuation,
        (0, false) | (1 | 2, true) => return Err(Violation::Fragment),
        (1, false) => return Err(Violation::Text),
        (2, false) => Opcode::Binary,
        (8, _) => Opcode::Close,
        (9, _) => Opcode::Ping,
        (10, _) => Opcode::Pong,
        _ => return Err(Violation::UnknownOpcode),
    };
    if opcode.is_control() && !is_final {
        return Err(Violation::ControlFrame);
    }
    Ok((opcode, is_final))
}

/// Writes the head of a whole frame of the server's, which masks nothing. Returns the bytes of it that are used: the last ones.
pub fn write_head(opcode: Opcode, len: usize, room: &mut [u8; 10]) -> &[u8] {
    let first = 0x80 | opcode as u8;
    match len {
        0..=125 => {
            room[8..].copy_from_slice(&[first, len as u8]);
            &room[8..]
        }
        126..=0xffff => {
            let len = (len as u16).to_be_bytes();
            room[6..].copy_from_slice(&[first, 126, len[0], len[1]]);
            &room[6..]
        }
        _ => {
            room[..2].copy_from_slice(&[first, 127]);
            room[2..].copy_from_slice(&(len as u64).to_be_bytes());
            &room[..]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_refused_at_the_byte_that_shows_it() {
        let cases: [(&[u8], bool, Violation); 16] = [
            (b"\xc2", false, Violation::ReservedBits),
            (b"\xa2", false, Violation::ReservedBits),
            (b"\x92", false, Violation::ReservedBits),
            (b"\x83", false, Violation::UnknownOpcode),
            (b"\x8b", false, Violation::UnknownOpcode),
            (b"\x8f", true, Violation::UnknownOpcode),
            (b"\x81", false, Violation::Text),
            (b"\x01", true, Violation::Fragment),
            (b"\x82", true, Violation::Fragment),
            (b"\x80", false, Violation::Fragment),
            (b"\x09", false, Violation::ControlFrame),
            (b"\x89\xfe", true, Violation::ControlFrame),
            (b"\x82\x05", false, Violation::Unmasked),
            (b"\x82\xfe\0\x7d", false, Violation::Length),
            (b"\x82\xff\0\0\0\0\0\0\xff\xff", false, Violation::Length),
            (b"\x82\xff\x80\0\0\0\0\x01\0\0", false, Violation::Length),
        ];
        for (bytes, in_message, violation) in cases {
            assert_eq!(FrameHead::read(bytes, in_message), Err(violation), "{bytes:x?}");
            for shorter in 0..bytes.len() {
                assert_eq!(FrameHead::read(&bytes[..shorter], in_message), Ok(None), "{:x?}", &bytes[..shorter]);
            }
        }
    }

    #[test]
    fn each_length_is_written_in_as_few_bytes_as_it_needs() {
        let mut room = [0; 10];
        for (len, head) in [
            (0, &b"\x82\0"[..]),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\0\x7e"),
            (65_535, b"\x82\x7e\xff\xff"),
            (65_536, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
        ] {
            assert_eq!(write_head(Opcode::Binary, len, &mut room), head);
            // The same with a mask is what a client sends, and reads back.
            let mut masked = head.to_vec();
            masked[1] |= 0x80;
            masked.extend([1, 2, 3, 4]);
            let read = FrameHead::read(&masked, false).unwrap().unwrap();
            assert_eq!((read.opcode, read.len, read.size), (Opcode::Binary, len as u64, masked.len()));
            assert!(read.is_final && read.mask == [1, 2, 3, 4]);
        }
    }
}
