//! What every header has: eight bytes that say what begins here, the version, and a checksum over everything but itself.

use super::error::FormatError;
use super::fields::FieldReader;
use super::{FORMAT_VERSION, FORMAT_VERSION_MIN};

/// Bytes of the checksum, the last ones of a header.
const SUM_BYTES: usize = 4;

/// Begins a header: magic, version, two bytes kept free.
pub(super) fn head(out: &mut Vec<u8>, magic: [u8; 8], version: u16) {
    out.extend_from_slice(&magic);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
}

/// Puts `head` at the beginning of `bytes`, whose first `header_bytes` are the header, and the checksum of all of them at the
/// header's end. Returns the checksum.
pub(super) fn seal(bytes: &mut [u8], head: &[u8], header_bytes: usize) -> u32 {
    let fields_bytes = header_bytes - SUM_BYTES;
    debug_assert!(head.len() <= fields_bytes && header_bytes <= bytes.len());
    bytes[..head.len()].copy_from_slice(head);
    bytes[head.len()..header_bytes].fill(0);
    let sum = sum(bytes, header_bytes);
    bytes[fields_bytes..header_bytes].copy_from_slice(&sum.to_le_bytes());
    sum
}

/// Whether `bytes` are as they were sealed; returns the checksum.
pub(super) fn check(bytes: &[u8], header_bytes: usize, what: &'static str) -> Result<u32, FormatError> {
    let stored = bytes.get(header_bytes - SUM_BYTES..header_bytes).ok_or(FormatError::Truncated(what))?;
    let sum = sum(bytes, header_bytes);
    if stored == sum.to_le_bytes() { Ok(sum) } else { Err(FormatError::Checksum(what)) }
}

/// The fields of a header behind magic and version, which are looked at; the checksum is not.
pub(super) fn begin<'a>(
    bytes: &'a [u8],
    header_bytes: usize,
    magic: [u8; 8],
    what: &'static str,
) -> Result<FieldReader<'a>, FormatError> {
    let header = bytes.get(..header_bytes).ok_or(FormatError::Truncated(what))?;
    let mut reader = FieldReader::new(header);
    if reader.take(magic.len(), what)? != magic {
        return Err(FormatError::NotFound(what));
    }
    let version = reader.u16(what)?;
    let _reserved = reader.u16(what)?;
    match version {
        FORMAT_VERSION_MIN..=FORMAT_VERSION => Ok(reader),
        newer if newer > FORMAT_VERSION => Err(FormatError::Newer(newer)),
        _ => Err(FormatError::Invalid(what)),
    }
}

fn sum(bytes: &[u8], header_bytes: usize) -> u32 {
    let sum = crc32c::crc32c(&bytes[..header_bytes - SUM_BYTES]);
    crc32c::crc32c_append(sum, &bytes[header_bytes..])
}
