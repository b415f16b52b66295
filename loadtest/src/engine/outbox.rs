//! What is to be sent in this turn: one arena for all clients, emptied by every flush.
//!
//! A client that writes nothing owns no memory here. Each client's bytes go out in one send, so that a short one cannot be
//! overtaken by the next.

/// Bytes to send, client by client.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) arena: Vec<u8>,
    pub(super) pieces: Vec<Piece>,
    joined: Vec<u8>,
}

/// One client's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) client: u32,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Outbox {
    /// Bytes that wait for the flush.
    pub(super) fn len(&self) -> usize {
        self.arena.len()
    }

    /// Whether nobody has anything to send.
    pub(super) const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Appends what `write` writes for a client.
    #[inline]
    pub(super) fn write(&mut self, client: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        write(&mut self.arena);
        let end = self.arena.len();
        match self.pieces.last_mut() {
            Some(last) if last.client == client => last.end = end,
            _ => self.pieces.push(Piece { client, start, end }),
        }
    }

    /// Puts each client's bytes together, in the order they were written.
    pub(super) fn join(&mut self) {
        if self.pieces.len() < 2 || self.pieces.is_sorted_by(|a, b| a.client < b.client) {
            return;
        }
        self.pieces.sort_by_key(|piece| piece.client);
        if self.pieces.windows(2).all(|two| two[0].client != two[1].client) {
            return;
        }
        self.joined.clear();
        let pieces = std::mem::take(&mut self.pieces);
        let arena = std::mem::take(&mut self.arena);
        std::mem::swap(&mut self.arena, &mut self.joined);
        for piece in &pieces {
            self.write(piece.client, |out| out.extend_from_slice(&arena[piece.start..piece.end]));
        }
        self.joined = arena;
    }

    /// Turns each client's bytes into what `seal` appends for them.
    pub(super) fn seal(&mut self, mut seal: impl FnMut(u32, &[u8], &mut Vec<u8>)) {
        self.joined.clear();
        for piece in &mut self.pieces {
            let start = self.joined.len();
            seal(piece.client, &self.arena[piece.start..piece.end], &mut self.joined);
            (piece.start, piece.end) = (start, self.joined.len());
        }
        std::mem::swap(&mut self.arena, &mut self.joined);
        self.pieces.retain(|piece| piece.start < piece.end);
    }

    /// Forgets what was sent.
    pub(super) fn clear(&mut self) {
        self.arena.clear();
        self.pieces.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_one_piece_in_its_own_order() {
        let mut outbox = Outbox::default();
        for round in 0..3 {
            for (client, text) in [(5, "a"), (1, "b"), (1, "c"), (5, "d"), (3, "e"), (1, "f")] {
                outbox.write(client, |out| out.extend_from_slice(text.as_bytes()));
            }
            outbox.join();
            let sent: Vec<(u32, &[u8])> =
                outbox.pieces.iter().map(|piece| (piece.client, &outbox.arena[piece.start..piece.end])).collect();
            assert_eq!(sent, [(1, &b"bcf"[..]), (3, b"e"), (5, b"ad")], "round {round}");
            outbox.clear();
            assert_eq!(outbox.len(), 0);
        }
    }
}
