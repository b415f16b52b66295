//! Numbers and byte strings within a record: little-endian, or in seven bits a byte where most values are small.

use super::error::FormatError;
use crate::ids::PacketId;

/// Appends a number in as few bytes as it takes, seven bits in each, the lowest first (LEB128).
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] appends.
pub(super) const fn varint_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends a byte string with its length in front.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the functions above have written. Every read says what it is of, for the error.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    #[inline]
    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, FormatError> {
        let (&byte, rest) = self.rest.split_first().ok_or(FormatError::Truncated(what))?;
        self.rest = rest;
        Ok(byte)
    }

    /// A number of [`put_varint`]. A form that is longer than it has to be is refused: every value has one.
    #[inline]
    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, FormatError> {
        if let Some((&first, rest)) = self.rest.split_first()
            && first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(first));
        }
        self.long_varint(what)
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, FormatError> {
        let mut value = 0_u64;
        for index in 0..10_u32 {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                return if byte == 0 && index > 0 { Err(FormatError::Invalid(what)) } else { Ok(value) };
            }
        }
        Err(FormatError::Invalid(what))
    }

    #[inline]
    pub(super) fn varint_u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        u32::try_from(self.varint(what)?).map_err(|_| FormatError::Invalid(what))
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(FormatError::Truncated(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A byte string of [`put_bytes`]. It is borrowed: a length that lies allocates nothing.
    pub(super) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], FormatError> {
        let len = usize::try_from(self.varint(what)?).map_err(|_| FormatError::Truncated(what))?;
        self.take(len, what)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FormatError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(FormatError::Truncated(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, FormatError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, FormatError> {
        self.array(what).map(u64::from_le_bytes)
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, FormatError> {
        PacketId::new(self.u16("a packet identifier")?).ok_or(FormatError::Invalid("a packet identifier"))
    }
}

/// Text that was written as text.
pub(super) fn text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, FormatError> {
    std::str::from_utf8(bytes).map_err(|_| FormatError::Invalid(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_as_many_bytes_as_was_told_and_reads_back() {
        let edges = (0..64).flat_map(|bit| [1_u64 << bit, (1_u64 << bit) - 1, !(1_u64 << bit)]);
        for value in edges.chain([0, u64::MAX]) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_bytes(value), "{value}");
            let mut reader = FieldReader::new(&bytes);
            assert_eq!(reader.varint("it"), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn no_number_is_cut_off_too_large_or_longer_than_it_must_be() {
        let read = |bytes: &[u8]| FieldReader::new(bytes).varint("it");
        assert_eq!(read(&[]), Err(FormatError::Truncated("it")));
        assert_eq!(read(&[0x80, 0x80]), Err(FormatError::Truncated("it")));
        assert_eq!(read(&[0x80, 0x00]), Err(FormatError::Invalid("it")));
        assert_eq!(read(&[0xff; 11]), Err(FormatError::Invalid("it")));
        let too_large = [[0xff; 9].as_slice(), &[0x02]].concat();
        assert_eq!(read(&too_large), Err(FormatError::Invalid("it")));
        assert_eq!(FieldReader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f]).varint_u32("it"), Err(FormatError::Invalid("it")));
    }

    #[test]
    fn a_length_that_lies_takes_nothing() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        bytes.extend_from_slice(b"short");
        assert_eq!(FieldReader::new(&bytes).bytes("it"), Err(FormatError::Truncated("it")));
    }
}
