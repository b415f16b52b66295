//! What every payload says of itself: run, stream, sequence, intended and sent time, a checksum.
//!
//! A **stream** is one publisher's messages to one topic; it has a number, and its messages are numbered from 0. The
//! rest of a payload is a pattern that both sides know, so that a changed byte anywhere is seen without a checksum over
//! all of it.
//!
//! ```text
//! 32 bytes and more   run u32 | stream u32 | sequence u32 | intended ns u64 | sent ns u64 | check u32 | pattern...
//! 16 to 31 bytes      run u8  | stream u32 | sequence u32 | intended, 256 ns units, low 32 bits | delay u8 | check u16 | pattern...
//! ```
//!
//! All little-endian. The short form's time is told apart from one 18 minutes before; its delay (from the intended to the
//! sent time) has 3 bits behind its leading one, so it is right to an eighth, and exactly zero where it is zero.

use crate::plan::PAYLOAD_LONG_STAMP_BYTES;

/// One message's identity and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) stream: u32,
    pub(super) sequence: u32,
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
}

/// What a payload turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Ours(Stamp),
    /// Of another run, or of another program.
    Foreign,
    /// Ours once.
    Corrupted,
}

/// Bytes of a stamp's long form.
pub(super) const LONG: usize = PAYLOAD_LONG_STAMP_BYTES as usize;
const SHORT: usize = 16;
/// Unit of the short form's times.
const UNIT_SHIFT: u32 = 8;

/// Writes and reads the stamps of one run.
pub(super) struct Stamper {
    run_id: u32,
    /// Lengths of the run's payloads.
    lengths: Vec<usize>,
    pattern: Vec<u8>,
}

impl Stamper {
    /// For payloads of these lengths, each at least 16.
    pub(super) fn new(run_id: u32, lengths: Vec<usize>) -> Self {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        // Neighbouring bytes differ, and so do places a power of two apart.
        let pattern = (0..longest).map(|at| (mix(at as u64 >> 3) >> ((at & 7) * 8)) as u8).collect();
        Self { run_id, lengths, pattern }
    }

    /// Something of this length, for who must know a payload's length before it is written.
    pub(super) fn blank(&self, len: usize) -> &[u8] {
        &self.pattern[..len]
    }

    /// Appends a payload.
    pub(super) fn write(&self, stamp: &Stamp, len: usize, out: &mut Vec<u8>) {
        let head = if len >= LONG {
            out.extend_from_slice(&self.head(stamp));
            LONG
        } else {
            let mut head = [0_u8; SHORT];
            head[0] = self.tag();
            head[1..5].copy_from_slice(&stamp.stream.to_le_bytes());
            head[5..9].copy_from_slice(&stamp.sequence.to_le_bytes());
            head[9..13].copy_from_slice(&((stamp.intended_ns >> UNIT_SHIFT) as u32).to_le_bytes());
            head[13] = squeeze(stamp.sent_ns.saturating_sub(stamp.intended_ns) >> UNIT_SHIFT);
            let check = short_check(&head);
            head[14..].copy_from_slice(&check.to_le_bytes());
            out.extend_from_slice(&head);
            SHORT
        };
        out.extend_from_slice(&self.pattern[head..len]);
    }

    /// The long form of a stamp.
    pub(super) fn head(&self, stamp: &Stamp) -> [u8; LONG] {
        let mut head = [0_u8; LONG];
        head[..4].copy_from_slice(&self.run_id.to_le_bytes());
        head[4..8].copy_from_slice(&stamp.stream.to_le_bytes());
        head[8..12].copy_from_slice(&stamp.sequence.to_le_bytes());
        head[12..20].copy_from_slice(&stamp.intended_ns.to_le_bytes());
        head[20..28].copy_from_slice(&stamp.sent_ns.to_le_bytes());
        let check = long_check(&head);
        head[28..].copy_from_slice(&check.to_le_bytes());
        head
    }

    /// The stamp of this run in a long form.
    pub(super) fn read_head(&self, head: &[u8; LONG]) -> Option<Stamp> {
        let is_ours = long_check(head).to_le_bytes() == head[28..] && u32_at(head, 0) == self.run_id;
        is_ours.then(|| Stamp {
            stream: u32_at(head, 4),
            sequence: u32_at(head, 8),
            intended_ns: u64_at(head, 12),
            sent_ns: u64_at(head, 20),
        })
    }

    /// The run whose stamps these are.
    pub(super) const fn run_id(&self) -> u32 {
        self.run_id
    }

    /// What a payload is. `now_ns` completes the times of the short form.
    pub(super) fn read(&self, payload: &[u8], now_ns: u64) -> Reading {
        let (run_is_ours, stamp, head) = if let Some(head) = payload.first_chunk::<LONG>() {
            if long_check(head).to_le_bytes() != head[28..] {
                return self.unstamped(payload);
            }
            let stamp = Stamp {
                stream: u32_at(head, 4),
                sequence: u32_at(head, 8),
                intended_ns: u64_at(head, 12),
                sent_ns: u64_at(head, 20),
            };
            (u32_at(head, 0) == self.run_id, stamp, LONG)
        } else if let Some(head) = payload.first_chunk::<SHORT>() {
            if short_check(head).to_le_bytes() != head[14..] {
                return self.unstamped(payload);
            }
            let age = ((now_ns >> UNIT_SHIFT) as u32).wrapping_sub(u32_at(head, 9));
            let intended_ns = (now_ns >> UNIT_SHIFT).saturating_sub(u64::from(age)) << UNIT_SHIFT;
            let sent_ns = intended_ns + (unsqueeze(head[13]) << UNIT_SHIFT);
            (
                head[0] == self.tag(),
                Stamp { stream: u32_at(head, 1), sequence: u32_at(head, 5), intended_ns, sent_ns },
                SHORT,
            )
        } else {
            return self.unstamped(payload);
        };
        if !run_is_ours {
            return Reading::Foreign;
        }
        if self.pattern.get(head..payload.len()) == Some(&payload[head..]) {
            Reading::Ours(stamp)
        } else {
            Reading::Corrupted
        }
    }

    /// Bytes without a valid stamp: ours, spoilt, if they look like it.
    fn unstamped(&self, payload: &[u8]) -> Reading {
        let begins_like_ours = payload.starts_with(&self.run_id.to_le_bytes());
        if begins_like_ours || self.lengths.contains(&payload.len()) { Reading::Corrupted } else { Reading::Foreign }
    }

    const fn tag(&self) -> u8 {
        (self.run_id ^ self.run_id >> 8 ^ self.run_id >> 16 ^ self.run_id >> 24) as u8
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn long_check(head: &[u8; LONG]) -> u32 {
    let words = [u64_at(head, 0), u64_at(head, 8), u64_at(head, 16), u64::from(u32_at(head, 24))];
    words.iter().fold(0x5851_f42d_4c95_7f2d_u64, |hash, word| mix(hash ^ word)) as u32
}

fn short_check(head: &[u8; SHORT]) -> u16 {
    // Two bytes are read twice; all fourteen are in.
    mix(mix(u64_at(head, 0)) ^ u64_at(head, 6)) as u16
}

/// Every bit of the input changes half of the output (the finalizer of `SplitMix64`).
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number in 8 bits: up to 15 as it is, above with its leading bit and the three behind it.
const fn squeeze(value: u64) -> u8 {
    if value < 16 {
        return value as u8;
    }
    let exponent = value.ilog2();
    let code = (exponent - 2) * 8 + (value >> (exponent - 3) & 7) as u32;
    if code > 255 { 255 } else { code as u8 }
}

const fn unsqueeze(code: u8) -> u64 {
    if code < 16 {
        return code as u64;
    }
    let exponent = (code / 8) as u32 + 2;
    (8 + (code % 8) as u64) << (exponent - 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 123_456_789_012_345;

    fn stamp() -> Stamp {
        Stamp { stream: 0x0102_0304, sequence: 77, intended_ns: NOW - 5_000_000, sent_ns: NOW - 4_900_000 }
    }

    #[test]
    fn stamps_survive_in_every_length() {
        for len in [16, 17, 31, 32, 33, 40, 256, 5000] {
            let stamper = Stamper::new(9, vec![len]);
            let mut payload = Vec::new();
            stamper.write(&stamp(), len, &mut payload);
            assert_eq!(payload.len(), len);
            let Reading::Ours(read) = stamper.read(&payload, NOW) else { panic!("{len}: not recognized") };
            assert_eq!((read.stream, read.sequence), (0x0102_0304, 77));
            let (unit, eighth) = if len >= 32 { (0, 0) } else { (512, 100_000 / 8) };
            assert!(read.intended_ns.abs_diff(stamp().intended_ns) <= unit, "{len}: {read:?}");
            assert!(read.sent_ns.abs_diff(stamp().sent_ns) <= unit + eighth, "{len}: {read:?}");
        }
    }

    #[test]
    fn every_single_changed_bit_is_seen() {
        for len in [16, 31, 32, 64] {
            let stamper = Stamper::new(0xabcd_ef01, vec![len]);
            let mut payload = Vec::new();
            stamper.write(&stamp(), len, &mut payload);
            for bit in 0..len * 8 {
                payload[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(stamper.read(&payload, NOW), Reading::Corrupted, "bit {bit} of {len} bytes");
                payload[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_foreign() {
        let (ours, other) = (Stamper::new(1, vec![32, 16]), Stamper::new(2, vec![32, 16]));
        for len in [16, 32] {
            let mut payload = Vec::new();
            other.write(&stamp(), len, &mut payload);
            assert_eq!(ours.read(&payload, NOW), Reading::Foreign);
        }
        for text in ["", "on", "a text of some length that nobody stamped"] {
            assert_eq!(ours.read(text.as_bytes(), NOW), Reading::Foreign, "{text}");
        }
    }

    #[test]
    fn a_delay_is_right_to_an_eighth() {
        for value in (0..40).map(|shift| (1_u64 << shift) * 13 / 10).chain([0, 1, 15, 16, 17, 255]) {
            let back = unsqueeze(squeeze(value));
            if squeeze(value) < 255 {
                assert!(back <= value && value - back <= value / 8, "{value} became {back}");
            }
        }
        assert_eq!(unsqueeze(squeeze(0)), 0);
    }
}
