//! Names that depend on the client or the message: `%i`, `%c`, `%u`, `%s` as in emqtt-bench, and `%r` for a message's target.

use serde::{Deserialize, Serialize};

/// A text with placeholders: `%i` the client's number, `%c` its id, `%u` its user name, `%r` the number of the topic that
/// one message goes to, `%s` the number of a message among those of its publisher to that target, `%%` a percent sign. Whatever else follows a `%` stands as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(pub String);

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As it is.
    Text(&'a str),
    /// `%i`
    Number,
    /// `%c`
    ClientId,
    /// `%u`
    Username,
    /// `%r`
    Target,
    /// `%s`
    Sequence,
}

impl Template {
    /// From anything that is a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The pieces in their order.
    pub fn pieces(&self) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        let (text, mut from, mut at) = (self.0.as_str(), 0, 0);
        while let Some(found) = text[at..].find('%') {
            let percent = at + found;
            let piece = match text.as_bytes().get(percent + 1) {
                Some(b'i') => Piece::Number,
                Some(b'c') => Piece::ClientId,
                Some(b'u') => Piece::Username,
                Some(b'r') => Piece::Target,
                Some(b's') => Piece::Sequence,
                Some(b'%') => Piece::Text("%"),
                _ => {
                    at = percent + 1;
                    continue;
                }
            };
            if percent > from {
                pieces.push(Piece::Text(&text[from..percent]));
            }
            pieces.push(piece);
            (from, at) = (percent + 2, percent + 2);
        }
        if from < text.len() {
            pieces.push(Piece::Text(&text[from..]));
        }
        pieces
    }

    /// Whether one of its pieces is this placeholder.
    pub fn has(&self, piece: Piece<'_>) -> bool {
        self.pieces().contains(&piece)
    }
}

impl From<&str> for Template {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_come_apart() {
        use Piece::{ClientId, Number, Sequence, Target, Text, Username};
        let table: &[(&str, &[Piece<'_>])] = &[
            ("", &[]),
            ("a/b", &[Text("a/b")]),
            ("%i", &[Number]),
            ("a/%i/b", &[Text("a/"), Number, Text("/b")]),
            ("%c%u%r%s", &[ClientId, Username, Target, Sequence]),
            ("100%%i", &[Text("100"), Text("%"), Text("i")]),
            ("%x/%", &[Text("%x/%")]),
            ("ä%iö", &[Text("ä"), Number, Text("ö")]),
        ];
        for (text, pieces) in table {
            assert_eq!(Template::from(*text).pieces(), *pieces, "{text}");
        }
    }
}
