//! What payloads hold instead of a pattern: texts that depend on the message, and the bytes of files.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What one payload holds, beside the stamp that every message carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A text with the placeholders of topics, and with `%t`, milliseconds since 1970 at the time it was meant to be sent, and
    /// `%m`, the stamp as 64 hexadecimal digits. Without `%m` the digits stand behind a blank at its end.
    Template(String),
    /// As they are; the stamp's 32 bytes stand behind them.
    #[serde(serialize_with = "encode", deserialize_with = "decode")]
    Bytes(Vec<u8>),
}

/// A part of a template of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentPiece<'a> {
    /// A text with the placeholders of topics.
    Text(&'a str),
    /// `%t`
    Time,
    /// `%m`
    Mark,
}

impl Content {
    /// The pieces of a template, in their order; the mark is among them.
    pub fn pieces(template: &str) -> Vec<ContentPiece<'_>> {
        let mut pieces = Vec::new();
        let (mut from, mut at) = (0, 0);
        while let Some(found) = template[at..].find('%') {
            let percent = at + found;
            let piece = match template.as_bytes().get(percent + 1) {
                Some(b't') => Some(ContentPiece::Time),
                Some(b'm') => Some(ContentPiece::Mark),
                _ => None,
            };
            // A doubled percent sign is no beginning of a placeholder.
            at = percent + if template.as_bytes().get(percent + 1) == Some(&b'%') { 2 } else { 1 };
            if let Some(piece) = piece {
                pieces.push(ContentPiece::Text(&template[from..percent]));
                pieces.push(piece);
                (from, at) = (percent + 2, percent + 2);
            }
        }
        pieces.push(ContentPiece::Text(&template[from..]));
        if !pieces.contains(&ContentPiece::Mark) {
            pieces.push(ContentPiece::Text(" "));
            pieces.push(ContentPiece::Mark);
        }
        pieces.retain(|piece| *piece != ContentPiece::Text(""));
        pieces
    }
}

fn encode<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContentPiece::{Mark, Text, Time};

    #[test]
    fn a_template_comes_apart_and_always_has_its_mark() {
        for (template, pieces) in [
            ("", vec![Text(" "), Mark]),
            ("on", vec![Text("on"), Text(" "), Mark]),
            (r#"{"t":%t,"id":"%m"}"#, vec![Text("{\"t\":"), Time, Text(",\"id\":\""), Mark, Text("\"}")]),
            ("%%m %m", vec![Text("%%m "), Mark]),
            ("%i/%s%m%x", vec![Text("%i/%s"), Mark, Text("%x")]),
        ] {
            assert_eq!(Content::pieces(template), pieces, "{template}");
        }
    }

    #[test]
    fn contents_travel_as_json() {
        for content in [Content::Template("%m".to_owned()), Content::Bytes(vec![0, 255, 7])] {
            let text = serde_json::to_string(&content).unwrap();
            assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), content, "{text}");
        }
    }
}
