//! Frames to bytes: what a client sends is cut and unmasked where it lies.
//!
//! Always holds: between two calls nothing is kept but how much of a frame is missing, its mask, and a head or a control frame that
//! is not whole yet, in a box of its own that goes with its last byte.

use super::close;
use super::head::{FrameHead, HEAD_MAX_BYTES, Opcode, Violation};

/// Most bytes in a control frame (RFC 6455, 5.5).
pub(super) const CONTROL_MAX_BYTES: usize = 125;

/// What a piece of the received bytes is.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the stream, unmasked. Never empty.
    Data(&'a mut [u8]),
    /// To be answered with the same payload.
    Ping(ControlPayload),
    /// The peer sends no more, for this reason.
    Close(Option<u16>),
    /// Nothing for anybody: heads, pongs, beginnings.
    Nothing,
}

/// What a control frame carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ControlPayload {
    bytes: [u8; CONTROL_MAX_BYTES],
    len: u8,
}

/// Reads what one client sends. 32 bytes while nothing is under way.
#[derive(Debug, Default)]
pub struct Deframer {
    /// Bytes of the frame at hand that have not come.
    left: u64,
    mask: [u8; 4],
    /// Where in the mask the next byte is.
    mask_at: u8,
    /// A message has begun and not ended.
    in_message: bool,
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Deframer>() <= 32);

/// A head, or a whole control frame, of which something is missing.
#[derive(Debug)]
struct Partial {
    bytes: [u8; HEAD_MAX_BYTES + CONTROL_MAX_BYTES],
    len: u8,
}

impl Deframer {
    /// The next piece of `bytes`, and how many of them it has taken: at least one, if there are any.
    ///
    /// # Errors
    /// The connection is to end; the deframer is not to be asked again.
    #[inline]
    pub fn next<'a>(&mut self, bytes: &'a mut [u8]) -> Result<(usize, Piece<'a>), Violation> {
        if self.left > 0 {
            return Ok(self.take_payload(bytes, 0));
        }
        if self.partial.is_some() {
            return self.complete_partial(bytes);
        }
        let Some(head) = FrameHead::read(bytes, self.in_message)? else {
            return self.complete_partial(bytes);
        };
        if !head.opcode.is_control() {
            self.begin_payload(head);
            return Ok(self.take_payload(bytes, head.size));
        }
        let end = head.size + head.len as usize;
        match bytes.get(head.size..end) {
            Some(payload) => Ok((end, read_control(head, payload)?)),
            None => self.complete_partial(bytes),
        }
    }

    /// The head of a data frame has been read.
    const fn begin_payload(&mut self, head: FrameHead) {
        self.left = head.len;
        self.mask = head.mask;
        self.mask_at = 0;
        self.in_message = !head.is_final;
    }

    /// Unmasks what there is of the payload behind `skip` bytes that were a head.
    #[inline]
    fn take_payload<'a>(&mut self, bytes: &'a mut [u8], skip: usize) -> (usize, Piece<'a>) {
        let rest = &mut bytes[skip..];
        let taken = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
        if taken == 0 {
            return (skip, Piece::Nothing);
        }
        let payload = &mut rest[..taken];
        let mut mask = self.mask;
        mask.rotate_left(self.mask_at.into());
        unmask(payload, mask);
        self.mask_at = (self.mask_at + (taken & 3) as u8) & 3;
        self.left -= taken as u64;
        (skip + taken, Piece::Data(payload))
    }

    /// Byte by byte, until a head or a control frame is whole that began in an earlier buffer.
    fn complete_partial<'a>(&mut self, bytes: &mut [u8]) -> Result<(usize, Piece<'a>), Violation> {
        let in_message = self.in_message;
        let partial = self.partial.get_or_insert_default();
        for (at, byte) in bytes.iter().enumerate() {
            partial.push(*byte);
            let Some(head) = FrameHead::read(partial.bytes(), in_message)? else { continue };
            if !head.opcode.is_control() {
                self.partial = None;
                self.begin_payload(head);
                return Ok((at + 1, Piece::Nothing));
            }
            if let Some(payload) = partial.bytes().get(head.size..head.size + head.len as usize) {
                let piece = read_control(head, payload);
                self.partial = None;
                return Ok((at + 1, piece?));
            }
        }
        Ok((bytes.len(), Piece::Nothing))
    }
}

/// A control frame that is whole; its payload is still masked.
fn read_control<'a>(head: FrameHead, masked: &[u8]) -> Result<Piece<'a>, Violation> {
    let mut payload = ControlPayload::new(masked);
    unmask(&mut payload.bytes[..masked.len()], head.mask);
    Ok(match head.opcode {
        Opcode::Ping => Piece::Ping(payload),
        Opcode::Close => Piece::Close(close::received(payload.as_slice())?),
        _ => Piece::Nothing,
    })
}

/// Eight bytes at a time.
#[inline]
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for eight in words {
        *eight = (u64::from_ne_bytes(*eight) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
}

impl ControlPayload {
    /// The first 125 bytes of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let len = bytes.len().min(CONTROL_MAX_BYTES);
        let mut payload = Self { bytes: [0; CONTROL_MAX_BYTES], len: len as u8 };
        payload.bytes[..len].copy_from_slice(&bytes[..len]);
        payload
    }

    /// What was sent.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for ControlPayload {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice().fmt(out)
    }
}

impl Partial {
    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Default for Partial {
    fn default() -> Self {
        Self { bytes: [0; HEAD_MAX_BYTES + CONTROL_MAX_BYTES], len: 0 }
    }
}
