//! What one connection is to be sent in this turn: copied packets, with long payloads between them by reference.

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
    pub(super) const fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a payload by reference.
    pub(super) fn push_payload(&mut self, payload: Bytes) {
        self.payload_bytes += payload.len();
        self.payloads.push((self.bytes.len(), payload));
    }

    /// Whether there is nothing to send.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes to send.
    pub const fn len(&self) -> usize {
        self.bytes.len() + self.payload_bytes
    }

    /// The bytes, if all of them were copied.
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.payloads.is_empty().then_some(&self.bytes)
    }

    /// The bytes in order, in pieces, none of them empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.payloads.iter().map(|(before, _)| *before));
        let between = self.payloads.iter().zip(starts.clone());
        let between = between.flat_map(|((before, payload), start)| [&self.bytes[start..*before], payload]);
        let last = starts.last().unwrap_or(0);
        between.chain(std::iter::once(&self.bytes[last..])).filter(|piece| !piece.is_empty())
    }

    /// Rewrites all of it, in one piece.
    pub(super) fn rewrite(&mut self, rewrite: impl FnOnce(&mut Vec<u8>)) {
        if !self.payloads.is_empty() {
            let all = self.pieces().collect::<Vec<_>>().concat();
            self.bytes = all;
            self.payloads.clear();
            self.payload_bytes = 0;
        }
        rewrite(&mut self.bytes);
    }

    /// What is left after `sent` bytes have gone.
    pub(super) fn into_rest(self, sent: usize) -> Bytes {
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
    pub(super) fn clear(&mut self) {
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
        let joined: Vec<u8> = outbox.pieces().flat_map(<[u8]>::to_vec).collect();
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
