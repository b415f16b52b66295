//! The data types of MQTT (5.0, 1.5): a checked reader over borrowed bytes, and the functions that write.
//!
//! What always holds: reading never goes past the slice and never panics; a string that is handed out is UTF-8 without
//! U+0000. Writing asserts only what the codec or its caller chose.

use super::error::DecodeError;
use super::packet_type::PacketType;
use super::reason::ReasonCode;
use crate::ids::PacketId;
use crate::limits::REMAINING_LENGTH_MAX_BYTES;

/// The longest string or binary datum there is.
pub(super) const STRING_MAX_BYTES: usize = u16::MAX as usize;

/// Reads a packet's body from front to back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

const ENDS_EARLY: DecodeError = DecodeError::Malformed("packet ends inside a field");

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.bytes
    }

    /// Refuses what follows the last field.
    pub(super) const fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::Malformed("bytes behind the last field")) }
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(ENDS_EARLY)?;
        self.bytes = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&first, rest) = self.bytes.split_first().ok_or(ENDS_EARLY)?;
        self.bytes = rest;
        Ok(first)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        let (&first, rest) = self.bytes.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.bytes = rest;
        Ok(u16::from_be_bytes(first))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        let (&first, rest) = self.bytes.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.bytes = rest;
        Ok(u32::from_be_bytes(first))
    }

    /// A packet identifier, which is never 0 [MQTT-2.2.1-3].
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::Protocol("packet identifier 0"))
    }

    /// A variable byte integer in its shortest form [MQTT-1.5.5-1].
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32, DecodeError> {
        let first = self.u8()?;
        if first < 0x80 { Ok(u32::from(first)) } else { self.varint_from(first) }
    }

    fn varint_from(&mut self, first: u8) -> Result<u32, DecodeError> {
        let mut value = u32::from(first & 0x7f);
        for shift in [7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            match byte {
                0 => return Err(DecodeError::Malformed("variable byte integer not in its shortest form")),
                1..=0x7f => return Ok(value),
                _ => {}
            }
        }
        Err(DecodeError::Malformed("variable byte integer of more than four bytes"))
    }

    /// Binary data behind its two-byte length.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(len as usize)
    }

    /// A UTF-8 string behind its two-byte length.
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        let text = utf8(bytes)?;
        if holds_nul(bytes) { Err(NUL) } else { Ok(text) }
    }

    /// A topic name behind its two-byte length: a string without wildcards [MQTT-3.3.2-2]. It may be empty here,
    /// because in a PUBLISH an alias can stand for it.
    #[inline]
    pub(super) fn topic_name(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        let text = utf8(bytes)?;
        if holds_nul_or_wildcard(bytes) { Err(refuse_name(bytes)) } else { Ok(text) }
    }
}

/// The reason with this code. One that the packet may not carry is a protocol error [MQTT-3.2.2-8, MQTT-3.4.2-1,
/// MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.9.3-2, MQTT-3.11.3-2, MQTT-3.14.2-1, MQTT-3.15.2-1].
pub(super) fn reason_code(code: u8, packet: PacketType) -> Result<ReasonCode, DecodeError> {
    const NOT_ALLOWED: DecodeError = DecodeError::Protocol("reason code that this packet may not carry");
    ReasonCode::from_u8_in(code, packet).ok_or(NOT_ALLOWED)
}

const NUL: DecodeError = DecodeError::Malformed("U+0000 in a string"); // [MQTT-1.5.4-2]

/// Refuses what is not UTF-8, surrogates and overlong forms among it [MQTT-1.5.4-1]. A byte order mark is a character
/// like any other and stays [MQTT-1.5.4-3].
#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Malformed("string is not UTF-8"))
}

#[cold]
fn refuse_name(bytes: &[u8]) -> DecodeError {
    if holds_nul(bytes) { NUL } else { DecodeError::TopicNameInvalid("wildcard in a topic name") }
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Not zero exactly if `word` has a zero byte (Mycroft's test). Eight bytes a step instead of one matters here: a topic
/// is looked at in every PUBLISH, and is too short for wider steps to pay.
#[inline]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

#[inline]
fn holds_nul(bytes: &[u8]) -> bool {
    any_word(bytes, zero_bytes)
}

/// The two wildcards differ in one bit, so that one test finds both. The first look also takes some non-ASCII bytes for
/// a hit, which makes it half as long; only topics that have such bytes pay for the second.
#[inline]
fn holds_nul_or_wildcard(bytes: &[u8]) -> bool {
    const EITHER: u64 = LOW_BITS * (b'+' | b'#') as u64;
    const BETWEEN: u64 = LOW_BITS * (b'+' ^ b'#') as u64;
    let suspect =
        |word: u64| (word.wrapping_sub(LOW_BITS) | ((word | BETWEEN) ^ EITHER).wrapping_sub(LOW_BITS)) & HIGH_BITS;
    any_word(bytes, suspect) && any_word(bytes, |word| zero_bytes(word) | zero_bytes((word | BETWEEN) ^ EITHER))
}

/// Whether `test` is not zero for some word of `bytes`. The last word overlaps the one before; what is shorter than a
/// word is filled up with spaces.
#[inline]
fn any_word(bytes: &[u8], test: impl Fn(u64) -> u64) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        let word = bytes.iter().fold(LOW_BITS * b' ' as u64, |word, &byte| word << 8 | u64::from(byte));
        return test(word) != 0;
    };
    let (words, _) = bytes.as_chunks::<8>();
    let found =
        words.iter().fold(test(u64::from_le_bytes(*last)), |found, &word| found | test(u64::from_le_bytes(word)));
    found != 0
}

#[inline]
pub(super) fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

#[inline]
pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// How many bytes `value` takes as a variable byte integer.
#[inline]
pub(super) const fn varint_len(value: u32) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// A variable byte integer and its length. The value is ours: no packet is made that does not fit one.
#[inline]
pub(super) const fn varint_bytes(value: u32) -> ([u8; 4], usize) {
    assert!(value <= REMAINING_LENGTH_MAX_BYTES, "a length beyond what MQTT can express");
    if value < 0x80 {
        return ([value as u8, 0, 0, 0], 1);
    }
    let len = varint_len(value);
    let mut bytes = [0; 4];
    let mut at = 0;
    while at < len {
        let more = if at + 1 < len { 0x80 } else { 0 };
        bytes[at] = (value >> (7 * at)) as u8 & 0x7f | more;
        at += 1;
    }
    (bytes, len)
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, value: u32) {
    let (bytes, len) = varint_bytes(value);
    out.extend_from_slice(&bytes[..len]);
}

/// Binary data behind its length. What is longer than a length can say was never read from a packet, so it is ours.
pub(super) fn put_binary(out: &mut Vec<u8>, value: &[u8]) {
    assert!(value.len() <= STRING_MAX_BYTES, "a string of {} bytes", value.len());
    put_u16(out, value.len() as u16);
    out.extend_from_slice(value);
}

pub(super) fn put_string(out: &mut Vec<u8>, value: &str) {
    put_binary(out, value.as_bytes());
}

/// Writes what `body` appends, with its length in front. The length is nearly always one byte: room for that is left,
/// and only a longer body is moved.
pub(super) fn put_with_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    body(out);
    let len = u32::try_from(out.len() - at - 1).unwrap_or(u32::MAX);
    let (bytes, count) = varint_bytes(len);
    out[at] = bytes[0];
    if count > 1 {
        out.extend_from_slice(&bytes[1..count]);
        out[at + 1..].rotate_right(count - 1);
    }
}

/// Writes a packet: first byte, remaining length, and what `body` appends.
pub(super) fn put_packet(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first);
    put_with_length(out, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_every_edge_and_take_the_shortest_form() {
        let edges = [0, 1, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152, REMAINING_LENGTH_MAX_BYTES];
        for value in edges {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
            for cut in 0..out.len() {
                assert_eq!(Reader::new(&out[..cut]).varint(), Err(ENDS_EARLY), "{value} cut at {cut}");
            }
        }
    }

    #[test]
    fn longer_forms_of_a_varint_are_malformed() {
        let long = DecodeError::Malformed("variable byte integer not in its shortest form");
        let over = DecodeError::Malformed("variable byte integer of more than four bytes");
        let cases: [(&[u8], DecodeError); 5] = [
            (&[0x80, 0x00], long),
            (&[0xff, 0x00], long),
            (&[0x80, 0x80, 0x80, 0x00], long),
            (&[0x80, 0x80, 0x80, 0x80, 0x01], over),
            (&[0xff, 0xff, 0xff, 0xff], over),
        ];
        for (bytes, error) in cases {
            assert_eq!(Reader::new(bytes).varint(), Err(error), "{bytes:02x?}");
        }
    }

    fn read(text: &[u8]) -> Result<String, DecodeError> {
        let mut bytes = Vec::new();
        put_binary(&mut bytes, text);
        let mut reader = Reader::new(&bytes);
        let string = reader.string().map(str::to_owned);
        assert!(string.is_err() || reader.is_empty());
        string
    }

    #[test]
    fn strings_are_utf8_without_nul() {
        let good: [&[u8]; 8] = [
            b"",
            b"a",
            b"sensors/room-12/temperature",
            "\u{feff}bom stays".as_bytes(), // [MQTT-1.5.4-3]
            "\u{feff}".as_bytes(),
            "\u{10ffff}\u{ffff}\u{1}\u{7f}\u{80}".as_bytes(),
            "\u{d7ff}\u{e000}".as_bytes(),
            "A\u{2a6d4}".as_bytes(), // the example of 1.5.4
        ];
        for text in good {
            assert_eq!(read(text).as_deref().map(str::as_bytes), Ok(text));
        }
        let not_utf8 = DecodeError::Malformed("string is not UTF-8");
        let bad: [(&[u8], DecodeError); 12] = [
            (b"\0", NUL),
            (b"seven b\0", NUL),
            (b"\0behind a word", NUL),
            (b"a word and then \0", NUL),
            (b"\xed\xa0\x80", not_utf8),             // U+D800
            (b"\xed\xbf\xbf", not_utf8),             // U+DFFF
            (b"\xed\xa0\xbd\xed\xb8\x80", not_utf8), // a pair of surrogates, as CESU-8 has it
            (b"\xc0\x80", not_utf8),                 // overlong U+0000
            (b"\xc1\xbf", not_utf8),                 // overlong U+007F
            (b"\xe0\x80\xaf", not_utf8),             // overlong /
            (b"\xf4\x90\x80\x80", not_utf8),         // beyond U+10FFFF
            (b"cut short \xe2\x82", not_utf8),
        ];
        for (text, error) in bad {
            assert_eq!(read(text), Err(error), "{text:02x?}");
        }
    }

    #[test]
    fn the_longest_string_is_read_whole() {
        let longest = vec![b'x'; STRING_MAX_BYTES];
        assert_eq!(read(&longest).map(|text| text.len()), Ok(STRING_MAX_BYTES));
        assert_eq!(Reader::new(&[0xff, 0xff, b'x']).string(), Err(ENDS_EARLY));
    }

    #[test]
    fn nul_and_wildcards_are_found_at_every_place_of_every_length() {
        for len in 0..40 {
            let clean = vec![b'a'; len];
            assert!(!holds_nul(&clean) && !holds_nul_or_wildcard(&clean));
            let high = vec![0x80 | b'+'; len];
            assert!(!holds_nul(&high) && !holds_nul_or_wildcard(&high));
            for at in 0..len {
                for byte in 0..=255 {
                    let mut bytes = clean.clone();
                    bytes[at] = byte;
                    assert_eq!(holds_nul(&bytes), byte == 0, "{byte} at {at} of {len}");
                    assert_eq!(
                        holds_nul_or_wildcard(&bytes),
                        matches!(byte, 0 | b'+' | b'#'),
                        "{byte} at {at} of {len}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_length_in_front_takes_as_many_bytes_as_it_needs() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let mut out = vec![0xaa];
            put_with_length(&mut out, |out| out.resize(out.len() + len, 0x55));
            let mut reader = Reader::new(&out[1..]);
            assert_eq!(reader.varint(), Ok(len as u32));
            assert!(reader.rest().len() == len && reader.rest().iter().all(|&byte| byte == 0x55));
        }
    }
}
