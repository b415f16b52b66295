//! Names computed from a client's number: nothing is stored per client.

use crate::plan::{Piece, Template};

/// A template taken apart once, to be written many times.
#[derive(Clone, Debug)]
pub(super) struct Name {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<str>),
    Number,
    ClientId,
    Username,
    Target,
    Sequence,
}

/// Whose name it is.
#[derive(Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) number: u64,
    pub(super) client_id: &'a Name,
    pub(super) username: Option<&'a Name>,
}

/// Which message it is the topic of; nothing counts in names that are no topics.
#[derive(Clone, Copy, Default)]
pub(super) struct Message {
    pub(super) target: u64,
    pub(super) sequence: u32,
}

impl Name {
    pub(super) fn new(template: &Template) -> Self {
        let part = |piece: &Piece<'_>| match piece {
            Piece::Text(text) => Part::Text((*text).into()),
            Piece::Number => Part::Number,
            Piece::ClientId => Part::ClientId,
            Piece::Username => Part::Username,
            Piece::Target => Part::Target,
            Piece::Sequence => Part::Sequence,
        };
        Self { parts: template.pieces().iter().map(part).collect() }
    }

    /// Whether every client has the same.
    pub(super) fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Whether each message has its own.
    pub(super) fn has_sequence(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Sequence))
    }

    /// Appends the name. An id that refers to itself stands for nothing there.
    pub(super) fn write(&self, out: &mut String, who: Who<'_>, message: Message) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Number => push_number(out, who.number),
                Part::Target => push_number(out, message.target),
                Part::Sequence => push_number(out, message.sequence.into()),
                Part::ClientId => who.client_id.write_plain(out, who.number),
                Part::Username => {
                    if let Some(username) = who.username {
                        username.write_of_client(out, who);
                    }
                }
            }
        }
    }

    fn write_of_client(&self, out: &mut String, who: Who<'_>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Number => push_number(out, who.number),
                Part::ClientId => who.client_id.write_plain(out, who.number),
                Part::Username | Part::Target | Part::Sequence => {}
            }
        }
    }

    fn write_plain(&self, out: &mut String, number: u64) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Number => push_number(out, number),
                Part::ClientId | Part::Username | Part::Target | Part::Sequence => {}
            }
        }
    }
}

/// Decimal digits, without the machinery of formatting: a topic is written for every message.
fn push_number(out: &mut String, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_from_the_number() {
        let (id, user) = (Name::new(&"dev-%i".into()), Name::new(&"u%i@%c".into()));
        let table = [
            ("t", "t"),
            ("t/%i", "t/42"),
            ("%c/%u", "dev-42/u42@dev-42"),
            ("a/%r/%%/%s", "a/18446744073709551615/%/7"),
        ];
        for (template, expected) in table {
            let mut out = String::new();
            let who = Who { number: 42, client_id: &id, username: Some(&user) };
            Name::new(&template.into()).write(&mut out, who, Message { target: u64::MAX, sequence: 7 });
            assert_eq!(out, expected);
        }
        assert!(Name::new(&"a/b".into()).is_constant() && !id.is_constant());
        assert!(Name::new(&"a/%s".into()).has_sequence() && !id.has_sequence());
    }
}
