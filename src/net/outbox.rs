//! What one connection is to be sent in this turn: copied packets, with long payloads between them by reference.

use std::io::IoSlice;

use bytes::Bytes;

/// Lent to a connection while it has something to send.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Payloads, each with the number of bytes that go before it.
    payloads: Vec<(usize, Bytes)>,
    payload_bytes: usize,
}

/// An outbox that grew beyond this in one turn gives its memory back.
const KEPT_MAX_BYTES: usize = 16 * 1024;

impl Outbox {
    /// Where copied packets are appended.
    pub const fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a payload by reference.
    pub fn push_payload(&mut self, payload: Bytes) {
        self.payload_bytes += payload.len();
        self.payloads.push((self.bytes.len(), payload));
    }

    /// Bytes to send.
    pub const fn len(&self) -> usize {
        self.bytes.len() + self.payload_bytes
    }

    /// The bytes, if all of them were copied.
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.payloads.is_empty().then_some(&self.bytes)
    }

    /// The bytes in order, in pieces.
    pub fn pieces(&self) -> Vec<IoSlice<'_>> {
        let mut pieces = Vec::with_capacity(2 * self.payloads.len() + 1);
        let mut sent = 0;
        for (before, payload) in &self.payloads {
            pieces.push(IoSlice::new(&self.bytes[sent..*before]));
            pieces.push(IoSlice::new(payload));
            sent = *before;
        }
        pieces.push(IoSlice::new(&self.bytes[sent..]));
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// What is left after `sent` bytes have gone.
    pub fn into_rest(self, sent: usize) -> Bytes {
        if self.payloads.is_empty() {
            return Bytes::from(self.bytes).slice(sent..);
        }
        let mut rest = Vec::with_capacity(self.len() - sent);
        let mut skip = sent;
        for piece in self.pieces() {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            rest.extend_from_slice(&piece[skipped..]);
        }
        Bytes::from(rest)
    }

    /// Empties it for the next connection.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_MAX_BYTES);
        self.payloads.clear();
        self.payload_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_stand_where_they_were_put() {
        let mut outbox = Outbox::default();
        outbox.bytes_mut().extend(b"ab");
        outbox.push_payload(Bytes::from_static(b"CDE"));
        outbox.push_payload(Bytes::from_static(b"F"));
        outbox.bytes_mut().extend(b"g");
        assert_eq!((outbox.len(), outbox.contiguous()), (7, None));
        let joined: Vec<u8> = outbox.pieces().iter().flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(joined, b"abCDEFg");
        assert_eq!(&outbox.into_rest(4)[..], b"EFg");
    }

    #[test]
    fn a_copied_rest_is_not_copied_again() {
        let mut outbox = Outbox::default();
        outbox.bytes_mut().extend(b"abcdef");
        let at = outbox.bytes_mut().as_ptr();
        let rest = outbox.into_rest(2);
        assert_eq!((&rest[..], rest.as_ptr()), (&b"cdef"[..], at.wrapping_add(2)));
    }
}
