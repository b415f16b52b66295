//! Cuts packets out of a byte stream by their fixed header (MQTT 5.0, 2.1), before anything is known of the rest.
//!
//! What always holds: a packet that will not be taken is refused at the earliest byte that shows it (the first for its
//! type and flags, the last of the remaining length for its size), so a peer that announces a large packet makes
//! nobody wait for it. Nothing here copies or allocates.

use super::error::DecodeError;
use super::packet_type::PacketType;
use crate::limits::REMAINING_LENGTH_MAX_BYTES;

/// The longest fixed header: a type and four bytes of remaining length.
pub const HEADER_MAX_BYTES: usize = 5;
/// The largest packet there is, fixed header included.
pub const PACKET_SIZE_MAX_BYTES: u32 = REMAINING_LENGTH_MAX_BYTES + HEADER_MAX_BYTES as u32;

/// One whole packet: its first byte and what follows the remaining length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type in the upper, flags in the lower four bits.
    pub first: u8,
    /// Variable header and payload.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// What kind of packet it is.
    pub const fn packet_type(self) -> PacketType {
        PacketType::from_first(self.first)
    }

    /// The four flag bits of the fixed header.
    pub const fn flags(self) -> u8 {
        self.first & 0x0f
    }
}

/// The packet at the beginning of `bytes` and its total length, or `None` when more bytes are needed.
///
/// `max_size_bytes` bounds the whole packet, fixed header included.
pub fn next(bytes: &[u8], max_size_bytes: u32) -> Result<Option<(Frame<'_>, usize)>, DecodeError> {
    let Some(header) = header(bytes, max_size_bytes)? else { return Ok(None) };
    Ok(bytes.get(header.len..header.total).map(|body| (Frame { first: header.first, body }, header.total)))
}

/// The total length of the packet that begins here, once its fixed header is complete: how much a buffer that waits
/// for the rest has to hold.
pub fn total_len(bytes: &[u8], max_size_bytes: u32) -> Result<Option<usize>, DecodeError> {
    Ok(header(bytes, max_size_bytes)?.map(|header| header.total))
}

/// A complete fixed header.
struct FixedHeader {
    first: u8,
    /// Length of the header itself.
    len: usize,
    /// Length of the packet, header included.
    total: usize,
}

fn header(bytes: &[u8], max_size_bytes: u32) -> Result<Option<FixedHeader>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    if !FIRST_BYTE_VALID[first as usize] {
        return Err(refuse_first(first));
    }
    let mut remaining = 0_u32;
    for at in 0..HEADER_MAX_BYTES - 1 {
        let Some(&byte) = rest.get(at) else { return Ok(None) };
        remaining |= u32::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            if byte == 0 && at > 0 {
                return Err(DecodeError::Malformed("remaining length not in its shortest form")); // [MQTT-1.5.5-1]
            }
            let len = at + 2;
            let total = remaining as usize + len;
            if total > max_size_bytes as usize {
                return Err(DecodeError::TooLarge { size_bytes: total as u32, max_size_bytes });
            }
            return Ok(Some(FixedHeader { first, len, total }));
        }
    }
    Err(DecodeError::Malformed("remaining length of more than four bytes"))
}

/// Whether a packet may begin with this byte in some version of MQTT [MQTT-2.1.3-1, MQTT-3.6.1-1, MQTT-3.8.1-1,
/// MQTT-3.10.1-1]. MQTT 3.1 has a DUP flag in PUBREL, SUBSCRIBE and UNSUBSCRIBE as well; it passes here, and `decode`,
/// which knows the version, refuses it for the later ones.
const FIRST_BYTE_VALID: [bool; 256] = {
    let mut valid = [false; 256];
    let mut first = 0x10;
    while first < 0x100 {
        let flags = first & 0x0f;
        valid[first] = match PacketType::from_first(first as u8) {
            PacketType::Reserved => false,
            PacketType::Publish => flags & 0b0110 != 0b0110, // [MQTT-3.3.1-4]
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => flags & 0b0111 == 0b0010,
            _ => flags == 0,
        };
        first += 1;
    }
    valid
};

#[cold]
fn refuse_first(first: u8) -> DecodeError {
    match PacketType::from_first(first) {
        PacketType::Reserved => DecodeError::Malformed("reserved packet type 0"),
        PacketType::Publish => DecodeError::Malformed("QoS 3"),
        _ => DecodeError::Malformed("reserved flags in the fixed header"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMIT: u32 = u32::MAX;

    #[test]
    fn remaining_length_edges() {
        // The table of MQTT 5.0, 1.5.5, and what lies beside each edge.
        type Case = (&'static [u8], Result<Option<usize>, DecodeError>);
        let cases: [Case; 16] = [
            (&[], Ok(None)),
            (&[0xc0], Ok(None)),
            (&[0xc0, 0x00], Ok(Some(2))),
            (&[0xc0, 0x7f], Ok(Some(129))),
            (&[0xc0, 0x80], Ok(None)),
            (&[0xc0, 0x80, 0x01], Ok(Some(131))),
            (&[0xc0, 0xff, 0x7f], Ok(Some(16_383 + 3))),
            (&[0xc0, 0xff, 0xff], Ok(None)),
            (&[0xc0, 0x80, 0x80, 0x01], Ok(Some(16_384 + 4))),
            (&[0xc0, 0xff, 0xff, 0x7f], Ok(Some(2_097_151 + 4))),
            (&[0xc0, 0x80, 0x80, 0x80, 0x01], Ok(Some(2_097_152 + 5))),
            (&[0xc0, 0xff, 0xff, 0xff, 0x7f], Ok(Some(268_435_455 + 5))),
            (&[0xc0, 0xff, 0xff, 0xff, 0x80], Err(DecodeError::Malformed("remaining length of more than four bytes"))),
            (&[0xc0, 0x80, 0x00], Err(DecodeError::Malformed("remaining length not in its shortest form"))),
            (&[0xc0, 0xff, 0x80, 0x00], Err(DecodeError::Malformed("remaining length not in its shortest form"))),
            (&[0xc0, 0x80, 0x80, 0x80, 0x00], Err(DecodeError::Malformed("remaining length not in its shortest form"))),
        ];
        for (bytes, expected) in cases {
            assert_eq!(total_len(bytes, NO_LIMIT), expected, "{bytes:02x?}");
        }
        assert_eq!(total_len(&[0xc0, 0xff, 0xff, 0xff, 0x7f], NO_LIMIT), Ok(Some(PACKET_SIZE_MAX_BYTES as usize)));
    }

    #[test]
    fn a_size_above_the_limit_is_refused_before_the_body_arrives() {
        assert_eq!(next(&[0x30, 98], 100), Ok(None));
        assert_eq!(next(&[0x30, 99], 100), Err(DecodeError::TooLarge { size_bytes: 101, max_size_bytes: 100 }));
        let huge = DecodeError::TooLarge { size_bytes: PACKET_SIZE_MAX_BYTES, max_size_bytes: 1024 };
        assert_eq!(next(&[0x10, 0xff, 0xff, 0xff, 0x7f], 1024), Err(huge));
    }

    #[test]
    fn first_bytes_are_judged_alone() {
        for first in 0..=255_u8 {
            let dup_of_v31 = matches!(first, 0x6a | 0x8a | 0xaa);
            let expected = match first {
                0x30..=0x3f => first & 6 != 6,
                0x62 | 0x82 | 0xa2 => true,
                0x60..=0x6f | 0x80..=0x8f | 0xa0..=0xaf => dup_of_v31,
                _ => first >= 0x10 && first % 16 == 0,
            };
            assert_eq!(next(&[first], NO_LIMIT).is_ok(), expected, "{first:#04x}");
        }
    }

    #[test]
    fn a_frame_is_what_its_header_says_and_no_more() {
        let bytes = [0x32, 3, 1, 2, 3, 0xc0, 0];
        assert_eq!(next(&bytes, NO_LIMIT), Ok(Some((Frame { first: 0x32, body: &[1, 2, 3] }, 5))));
        assert_eq!(next(&bytes[5..], NO_LIMIT), Ok(Some((Frame { first: 0xc0, body: &[] }, 2))));
        for cut in 0..5 {
            assert_eq!(next(&bytes[..cut], NO_LIMIT), Ok(None), "{cut}");
        }
    }
}
