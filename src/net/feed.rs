//! Bytes as they come to whole packets.
//!
//! Packets that lie whole in a receive buffer are handed on where they lie. Only the beginning of one that is not whole
//! yet is copied, into a spill that grows with what has come (never with what was announced) and is given back as soon
//! as the packet is complete. A packet fed one byte at a time costs O(n).

use std::ops::ControlFlow;

use crate::codec::{DecodeError, Frame, frame};

/// The beginning of a packet. One pointer while there is none.
#[expect(clippy::box_collection, reason = "an idle connection pays eight bytes for it instead of 24")]
#[derive(Debug, Default)]
pub struct Spill(Option<Box<Vec<u8>>>);

impl Spill {
    /// Whether nothing has been kept.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Appends `bytes` and returns all that has come.
    pub fn extend(&mut self, bytes: &[u8]) -> &[u8] {
        let kept = self.0.get_or_insert_default();
        kept.extend_from_slice(bytes);
        kept
    }

    /// Takes what has been kept.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.0.take().map(|kept| *kept)
    }
}

/// Hands every packet that `data` completes to `each`, until it breaks off. `max_size_bytes` bounds a whole packet.
pub fn feed(
    spill: &mut Spill,
    mut data: &[u8],
    max_size_bytes: u32,
    mut each: impl FnMut(Frame<'_>) -> ControlFlow<()>,
) -> Result<(), DecodeError> {
    if !spill.is_empty() {
        let (whole, rest) = complete(spill, data, max_size_bytes)?;
        data = rest;
        let Some(packet) = whole else { return Ok(()) };
        let (frame, _) = frame::next(&packet, max_size_bytes)?.expect("it was completed");
        if each(frame).is_break() {
            return Ok(());
        }
    }
    while !data.is_empty() {
        let Some((frame, total)) = frame::next(data, max_size_bytes)? else {
            spill.extend(data);
            break;
        };
        data = &data[total..];
        if each(frame).is_break() {
            break;
        }
    }
    Ok(())
}

/// Moves from `data` what the packet in `spill` still misses. Returns the packet if it is whole now, and what is left.
fn complete<'a>(
    spill: &mut Spill,
    mut data: &'a [u8],
    max_size_bytes: u32,
) -> Result<(Option<Vec<u8>>, &'a [u8]), DecodeError> {
    let kept = spill.0.as_deref_mut().expect("the caller has looked");
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
    let whole = if kept.len() == total { spill.take() } else { None };
    Ok((whole, &data[taken..]))
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
        let mut spill = Spill::default();
        let mut seen = Vec::new();
        for piece in pieces {
            feed(&mut spill, piece, 1024, |frame| {
                seen.push((frame.first, frame.body.len()));
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        assert!(spill.is_empty(), "everything was whole in the end");
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
        let mut spill = Spill::default();
        feed(&mut spill, &[0x30, 0xff, 0xff, 0x3f, 1], 1 << 28, |_| ControlFlow::Continue(())).unwrap();
        assert!(spill.0.unwrap().capacity() <= 16);
    }

    #[test]
    fn an_oversize_packet_is_refused_by_its_header() {
        let mut spill = Spill::default();
        let result = feed(&mut spill, &[0x30, 0xff, 0xff, 0x7f], 1024, |_| ControlFlow::Continue(()));
        assert!(result.is_err());
    }
}
