//! What the body of a frame is made of: numbers, flags and texts.
//!
//! Always holds: nothing is allocated, and what a body does not have is an error that names it. Numbers are little-endian.

use crate::ids::{ClientKey, WriteStamp};

/// What is wrong with bytes of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFrameError {
    /// Longer than a frame may be here.
    #[error("a frame of {0} bytes is too long")]
    TooLong(u32),
    /// A kind that this version does not have.
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    /// A body that is too short, too long, or has a value that cannot be.
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

/// What of a body has not been read.
pub(super) struct FrameReader<'a>(pub(super) &'a [u8]);

impl<'a> FrameReader<'a> {
    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], LinkFrameError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(LinkFrameError::Invalid(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, LinkFrameError> {
        self.array(what).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, LinkFrameError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, LinkFrameError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, LinkFrameError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(super) fn flags<const N: usize>(&mut self) -> Result<[bool; N], LinkFrameError> {
        let bits = self.u8("flags")?;
        if N < 8 && bits >> N != 0 {
            return Err(LinkFrameError::Invalid("flags"));
        }
        Ok(std::array::from_fn(|bit| bits >> bit & 1 == 1))
    }

    /// Bytes whose length was read before.
    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], LinkFrameError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(LinkFrameError::Invalid(what))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], LinkFrameError> {
        let len = self.u32(what)? as usize;
        self.take(len, what)
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// A text of MQTT behind its length.
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, LinkFrameError> {
        mqtt_text(self.bytes(what)?, what)
    }

    /// Any text behind its length, also none.
    pub(super) fn any_text(&mut self, what: &'static str) -> Result<&'a str, LinkFrameError> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| LinkFrameError::Invalid(what))
    }

    pub(super) fn stamp(&mut self) -> Result<WriteStamp, LinkFrameError> {
        Ok(WriteStamp { time_ns: self.u64("a stamp")?, shard: self.u8("a stamp")? })
    }

    pub(super) fn client(&mut self) -> Result<ClientKey, LinkFrameError> {
        self.u64("a publisher").map(ClientKey)
    }
}

/// A text of MQTT: not empty, without U+0000, and as long as one may be there.
pub(super) fn mqtt_text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, LinkFrameError> {
    let text = std::str::from_utf8(bytes).map_err(|_| LinkFrameError::Invalid(what))?;
    if text.is_empty() || text.len() > usize::from(u16::MAX) || text.contains('\0') {
        return Err(LinkFrameError::Invalid(what));
    }
    Ok(text)
}

/// Flags as [`FrameReader::flags`] reads them.
pub(super) fn flag_bits<const N: usize>(flags: [bool; N]) -> u8 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag))
}

pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn put_stamp(out: &mut Vec<u8>, stamp: WriteStamp) {
    out.extend_from_slice(&stamp.time_ns.to_le_bytes());
    out.push(stamp.shard);
}
