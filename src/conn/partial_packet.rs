//! Bytes as they come to whole packets.
//!
//! Packets that lie whole in a receive buffer are handed on where they lie. Only the beginning of one that is not whole
//! yet is copied, into a buffer of its own that grows with what has come (never with what was announced) and is given back as soon
//! as the packet is complete. A packet fed one byte at a time costs O(n).

use std::ops::ControlFlow;

use crate::codec::{DecodeError, Frame, frame};
use crate::limits::PACKET_GROWTH_MIN_BYTES_PER_S;

/// The beginning of a packet. One pointer while there is none.
#[derive(Debug, Default)]
pub(super) struct PartialPacket(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Bytes that there were when they last showed that the sender is alive, and when that was.
    growth: (usize, Option<u64>),
}

impl PartialPacket {
    /// Nothing has come.
    pub(super) const NONE: Self = Self(None);

    /// Whether nothing has been kept.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that have been kept.
    pub(super) fn len(&self) -> usize {
        self.0.as_deref().map_or(0, |kept| kept.bytes.len())
    }

    /// Forgets what has been kept.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Takes out what has been kept.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        self.0.take().map(|kept| kept.bytes)
    }

    /// Keeps what is left of what was taken out.
    pub(super) fn keep(&mut self, bytes: Vec<u8>) {
        self.0 = (!bytes.is_empty()).then(|| Box::new(Kept { bytes, ..Kept::default() }));
    }

    /// Keeps `bytes` behind what has come before.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.0.get_or_insert_default().bytes.extend_from_slice(bytes);
    }

    /// Whether the packet has grown fast enough, since this was last the case or since it began, to show that its sender is
    /// alive. To be asked when something has come.
    pub(super) fn shows_life(&mut self, now_ms: u64) -> bool {
        let Some(kept) = self.0.as_deref_mut() else { return false };
        let (bytes, since_ms) = (kept.bytes.len(), *kept.growth.1.get_or_insert(now_ms));
        // The first second is a whole one, or two bytes in a millisecond would be fast.
        let took_ms = now_ms.saturating_sub(since_ms).max(1_000);
        let grown = (bytes - kept.growth.0) as u64 * 1_000;
        let lives = grown >= u64::from(PACKET_GROWTH_MIN_BYTES_PER_S).saturating_mul(took_ms);
        if lives {
            kept.growth = (bytes, Some(now_ms));
        }
        lives
    }

    /// Takes from `data` what the packet still misses. Returns the packet if it is whole now, and what is left.
    pub(super) fn complete<'a>(
        &mut self,
        mut data: &'a [u8],
        max_size_bytes: u32,
    ) -> Result<(Option<Vec<u8>>, &'a [u8]), DecodeError> {
        let kept = &mut self.0.get_or_insert_default().bytes;
        let total = loop {
            match frame::total_len(kept, max_size_bytes)? {
                Some(total) => break total,
                // The header itself is not whole: at most five bytes, one at a time.
                None => match data.split_first() {
                    Some((&byte, rest)) => {
                        kept.push(byte);
                        data = rest;
                    }
                    None => return Ok((None, data)),
                },
            }
        };
        let taken = (total - kept.len()).min(data.len());
        kept.extend_from_slice(&data[..taken]);
        let whole = if kept.len() == total { self.0.take().map(|kept| kept.bytes) } else { None };
        Ok((whole, &data[taken..]))
    }
}

/// Hands every packet that `data` completes to `each`, until it breaks off: then what is left of `data` is returned with what it
/// broke off with. `max_size_bytes` bounds a whole packet.
pub(super) fn feed<'a, B>(
    partial: &mut PartialPacket,
    mut data: &'a [u8],
    max_size_bytes: u32,
    mut each: impl FnMut(Frame<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<(B, &'a [u8])>, DecodeError> {
    if !partial.is_empty() {
        let (whole, rest) = partial.complete(data, max_size_bytes)?;
        data = rest;
        let Some(packet) = whole else { return Ok(ControlFlow::Continue(())) };
        let (frame, _) = frame::next(&packet, max_size_bytes)?.expect("it was completed");
        if let ControlFlow::Break(why) = each(frame) {
            return Ok(ControlFlow::Break((why, data)));
        }
    }
    while !data.is_empty() {
        let Some((frame, total)) = frame::next(data, max_size_bytes)? else {
            partial.extend(data);
            break;
        };
        data = &data[total..];
        if let ControlFlow::Break(why) = each(frame) {
            return Ok(ControlFlow::Break((why, data)));
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three packets: PINGREQ, a PUBLISH of 200 bytes payload (two length bytes), DISCONNECT.
    fn stream() -> Vec<u8> {
        let mut bytes = vec![0xc0, 0];
        bytes.extend([0x30, 0xcb, 0x01, 0, 1, b't']);
        bytes.extend([7; 200]);
        bytes.extend([0xe0, 0]);
        bytes
    }

    fn cut(pieces: &[&[u8]]) -> Vec<(u8, usize)> {
        let mut partial = PartialPacket::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let fed = feed(&mut partial, piece, 1024, |frame| {
                seen.push((frame.first, frame.body.len()));
                ControlFlow::<()>::Continue(())
            });
            assert_eq!(fed, Ok(ControlFlow::Continue(())));
        }
        assert!(partial.is_empty(), "everything was whole in the end");
        seen
    }

    #[test]
    fn packets_come_out_the_same_wherever_the_stream_is_split() {
        let stream = stream();
        let expected = [(0xc0, 0), (0x30, 203), (0xe0, 0)];
        assert_eq!(cut(&[&stream]), expected);
        for at in 0..stream.len() {
            let (left, right) = stream.split_at(at);
            assert_eq!(cut(&[left, right]), expected, "split at {at}");
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(cut(&single), expected);
    }

    #[test]
    fn an_announced_size_allocates_nothing() {
        let mut partial = PartialPacket::default();
        let fed = feed(&mut partial, &[0x30, 0xff, 0xff, 0x3f, 1], 1 << 28, |_| ControlFlow::<()>::Continue(()));
        assert_eq!(fed, Ok(ControlFlow::Continue(())));
        assert!(partial.0.unwrap().bytes.capacity() <= 16);
    }

    /// How often a packet shows life that grows by `bytes` each `pause_ms`.
    fn signs_of_life(bytes: usize, pause_ms: u64) -> usize {
        let mut partial = PartialPacket::default();
        let shows = |beat: &u64| {
            partial.extend(&vec![0x30; bytes]);
            partial.shows_life(beat * pause_ms)
        };
        (0..100).filter(shows).count()
    }

    #[test]
    fn a_packet_that_grows_shows_life_and_one_that_dribbles_does_not() {
        assert_eq!(signs_of_life(6_000, 800), 100);
        assert_eq!(signs_of_life(4_096, 0), 100, "all at once");
        assert_eq!(signs_of_life(256, 1_000), 100, "just as much as it takes");
        assert_eq!(signs_of_life(100, 1_000), 0);
        assert_eq!(signs_of_life(1, 1_000), 0);
        assert_eq!(signs_of_life(10, 10), 3, "a second's worth each time, of a second in all");
        assert!(!PartialPacket::default().shows_life(7));
    }

    #[test]
    fn an_oversize_packet_is_refused_by_its_header() {
        let mut partial = PartialPacket::default();
        let result = feed(&mut partial, &[0x30, 0xff, 0xff, 0x7f], 1024, |_| ControlFlow::<()>::Continue(()));
        assert!(result.is_err());
    }
}
