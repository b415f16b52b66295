//! Payloads: what a message's holds, and what one that came says of itself.

use super::content::{Content, Written, has_mark, stamps_in};
use super::crew::Crew;
use super::stamp::{Reading, Stamp};

impl Crew {
    /// Puts the content of a message into the scratch for contents.
    pub(super) fn render(&mut self, role: usize, stamp: &Stamp) {
        let head = self.stamper.head(stamp);
        let Some((publishing, who, message)) = self.cast.author(role, stamp.stream, stamp.sequence) else { return };
        let unix_ms = stamp.intended_ns / 1_000_000 + self.unix_offset_ms;
        self.payload.clear();
        if let Some(content) = content_of(&publishing.contents, stamp) {
            content.write(&Written { who, message, stamp: &head, unix_ms }, &mut self.text, &mut self.payload);
        }
    }

    /// What a payload says of itself, checked to its last byte.
    #[inline]
    pub(super) fn read_payload(&mut self, payload: &[u8], now_ns: u64) -> Reading {
        if self.has_contents
            && let Some(reading) = self.read_content(payload)
        {
            return reading;
        }
        let reading = self.stamper.read(payload, now_ns);
        let Reading::Ours(stamp) = reading else { return reading };
        let publishing =
            self.cast.role_of_stream(stamp.stream).and_then(|role| self.cast.roles[role].publishing.as_ref());
        match publishing {
            Some(publishing)
                if publishing.contents.is_empty() && publishing.what.payload_bytes as usize == payload.len() =>
            {
                reading
            }
            _ => Reading::Corrupted,
        }
    }

    /// The same of a content; `None`: it is none of this run.
    fn read_content(&mut self, payload: &[u8]) -> Option<Reading> {
        let run_id = self.stamper.run_id();
        for head in stamps_in(run_id, payload) {
            let Some(stamp) = self.stamper.read_head(&head) else { continue };
            let Some(role) = self.cast.role_of_stream(stamp.stream) else { continue };
            let Some((publishing, who, message)) = self.cast.author(role, stamp.stream, stamp.sequence) else {
                continue;
            };
            let Some(content) = content_of(&publishing.contents, &stamp) else { continue };
            let written = Written { who, message, stamp: &head, unix_ms: 0 };
            let is_as_sent = content.is_as_sent(&written, &mut self.text, payload);
            return Some(if is_as_sent { Reading::Ours(stamp) } else { Reading::Corrupted });
        }
        has_mark(run_id, payload).then_some(Reading::Corrupted)
    }
}

/// Contents are taken in turn by a stream's messages.
fn content_of<'a>(contents: &'a [Content], stamp: &Stamp) -> Option<&'a Content> {
    contents.get(stamp.sequence as usize % contents.len().max(1))
}
