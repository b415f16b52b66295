//! Payloads with a content: how they are written, and whether one that came is as it was sent.
//!
//! A message's stamp is in it, as hexadecimal digits in a template and as the last bytes of a file. All the rest follows from
//! the stamp, so each byte of a payload can be judged without keeping any message.

use super::names::{Message, Name, Who};
use super::stamp::LONG;
use crate::plan::{Content as What, ContentPiece, Template};

/// Digits of a time in milliseconds since 1970, from 2001 to 2286.
const TIME_DIGITS: usize = 13;
/// Hexadecimal, two a byte of the stamp.
const MARK_DIGITS: usize = 2 * LONG;

/// What one payload holds.
pub(super) struct Content {
    parts: Vec<Part>,
}

enum Part {
    Text(Name),
    Bytes(Vec<u8>),
    Time,
    /// The stamp, for texts.
    Mark,
    /// Binary, 32 bytes.
    Stamp,
}

/// One message, for who writes or checks its content.
pub(super) struct Written<'a> {
    pub(super) who: Who<'a>,
    pub(super) message: Message,
    pub(super) stamp: &'a [u8; LONG],
    /// When it was meant to be sent.
    pub(super) unix_ms: u64,
}

impl Content {
    pub(super) fn new(what: &What) -> Self {
        let parts = match what {
            What::Bytes(bytes) => vec![Part::Bytes(bytes.clone()), Part::Stamp],
            What::Template(template) => {
                let part = |piece: ContentPiece<'_>| match piece {
                    ContentPiece::Text(text) => Part::Text(Name::new(&Template::new(text))),
                    ContentPiece::Time => Part::Time,
                    ContentPiece::Mark => Part::Mark,
                };
                What::pieces(template).into_iter().map(part).collect()
            }
        };
        Self { parts }
    }

    /// Appends the payload of a message.
    pub(super) fn write(&self, written: &Written<'_>, text: &mut String, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => out.extend_from_slice(bytes),
                Part::Stamp => out.extend_from_slice(written.stamp),
                Part::Mark => out.extend_from_slice(&digits::<MARK_DIGITS>(written.stamp)),
                Part::Time => out.extend_from_slice(&time_digits(written.unix_ms)),
                Part::Text(name) => {
                    text.clear();
                    name.write(text, written.who, written.message);
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
    }

    /// Whether a payload is that of a message. Its time may be another clock's.
    pub(super) fn is_as_sent(&self, written: &Written<'_>, text: &mut String, payload: &[u8]) -> bool {
        let mut rest = payload;
        for part in &self.parts {
            let after = match part {
                Part::Bytes(bytes) => rest.strip_prefix(bytes.as_slice()),
                Part::Stamp => rest.strip_prefix(written.stamp.as_slice()),
                Part::Mark => rest.strip_prefix(digits::<MARK_DIGITS>(written.stamp).as_slice()),
                Part::Time => rest
                    .split_at_checked(TIME_DIGITS)
                    .filter(|(time, _)| time.iter().all(u8::is_ascii_digit))
                    .map(|two| two.1),
                Part::Text(name) => {
                    text.clear();
                    name.write(text, written.who, written.message);
                    rest.strip_prefix(text.as_bytes())
                }
            };
            let Some(after) = after else { return false };
            rest = after;
        }
        rest.is_empty()
    }
}

/// The stamps that may be in a payload: its last bytes, and the digits of those that begin as this run's do.
pub(super) fn stamps_in(run_id: u32, payload: &[u8]) -> impl Iterator<Item = [u8; LONG]> {
    let last = payload.last_chunk::<LONG>().copied();
    let begin: [u8; 8] = digits(&run_id.to_le_bytes());
    let marks = payload.windows(MARK_DIGITS).filter(move |window| window.starts_with(&begin)).filter_map(undigits);
    last.into_iter().chain(marks)
}

/// Whether a payload has what a stamp of this run begins with, in either form.
pub(super) fn has_mark(run_id: u32, payload: &[u8]) -> bool {
    let run_id = run_id.to_le_bytes();
    let begin: [u8; 8] = digits(&run_id);
    payload.last_chunk::<LONG>().is_some_and(|last| last.starts_with(&run_id))
        || payload.windows(begin.len()).any(|window| window == begin)
}

/// Twice as many digits as there are bytes.
fn digits<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    debug_assert_eq!(N, 2 * bytes.len());
    std::array::from_fn(|at| {
        let byte = bytes[at / 2];
        HEX[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 })]
    })
}

/// A time as digits, without the machinery of formatting: one is written for every message.
fn time_digits(mut unix_ms: u64) -> [u8; TIME_DIGITS] {
    let mut digits = [b'0'; TIME_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += (unix_ms % 10) as u8;
        unix_ms /= 10;
    }
    digits
}

fn undigits(text: &[u8]) -> Option<[u8; LONG]> {
    let digit = |letter: u8| char::from(letter).to_digit(16).map(|value| value as u8);
    let mut bytes = [0; LONG];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_to_be_as_sent_and_every_change_is_seen() {
        let (id, mut text) = (Name::new(&"dev-%i".into()), String::new());
        let mut stamp = [0x5a; LONG];
        stamp[..4].copy_from_slice(&7_u32.to_le_bytes());
        let written = Written {
            who: Who { number: 42, client_id: &id, username: None },
            message: Message { target: 3, sequence: 9 },
            stamp: &stamp,
            unix_ms: 1_735_689_599_000,
        };
        let template = What::Template(r#"{"from":"%c","n":%s,"to":%r,"t":%t,"mark":"%m"}"#.to_owned());
        for what in [template, What::Template("on".to_owned()), What::Bytes(vec![0, 1, 255])] {
            let content = Content::new(&what);
            let mut payload = Vec::new();
            content.write(&written, &mut text, &mut payload);
            assert!(content.is_as_sent(&written, &mut text, &payload), "{what:?}");
            assert!(stamps_in(7, &payload).any(|found| found == stamp), "{what:?}");
            for at in 0..payload.len() {
                payload[at] ^= 0x80;
                assert!(!content.is_as_sent(&written, &mut text, &payload), "byte {at} of {what:?}");
                payload[at] ^= 0x80;
            }
            payload.push(b' ');
            assert!(!content.is_as_sent(&written, &mut text, &payload), "{what:?}");
        }
        let content = Content::new(&What::Template(r#"{"from":"%c","n":%s,"to":%r,"t":%t}"#.to_owned()));
        let mut payload = Vec::new();
        content.write(&written, &mut text, &mut payload);
        let told = String::from_utf8(payload).unwrap();
        assert!(told.starts_with(r#"{"from":"dev-42","n":9,"to":3,"t":1735689599000} 070000005a5a"#), "{told}");
        assert!(has_mark(7, told.as_bytes()) && !has_mark(8, told.as_bytes()));
    }
}
