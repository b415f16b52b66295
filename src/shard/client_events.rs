//! Events of clients that wait to be published, in the order in which things happened.
//!
//! Owns: their topics and payloads.
//! Always holds: what waits is bounded by [`CLIENT_EVENTS_MAX_BYTES`]; whatever a client has chosen can break out of neither topic nor payload.
//! Leaves to others: what is told, and when (`lifecycle`).

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::limits::CLIENT_EVENTS_MAX_BYTES;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct ClientEvents {
    waiting: VecDeque<EventText>,
    bytes: usize,
    /// Kept for its memory.
    pub spare: String,
}

/// Topic and payload of one event.
#[derive(Debug)]
pub(super) struct EventText {
    /// One behind the other.
    pub text: String,
    pub topic_bytes: usize,
}

impl ClientEvents {
    /// Whether an event would be behind others.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives the event back where there is no room for it.
    pub(super) fn push(&mut self, event: EventText) -> Result<(), EventText> {
        let bytes = event.text.len() + size_of::<EventText>();
        if self.bytes + bytes > CLIENT_EVENTS_MAX_BYTES {
            return Err(event);
        }
        self.bytes += bytes;
        let EventText { mut text, topic_bytes } = event;
        text.shrink_to_fit();
        self.waiting.push_back(EventText { text, topic_bytes });
        Ok(())
    }

    /// The oldest of them.
    pub(super) fn pop(&mut self) -> Option<EventText> {
        let event = self.waiting.pop_front()?;
        self.bytes -= event.text.len() + size_of::<EventText>();
        Some(event)
    }
}

impl EventText {
    /// Where it is published to.
    pub(super) fn topic(&self) -> &str {
        &self.text[..self.topic_bytes]
    }

    /// JSON, when it is complete.
    pub(super) fn payload(&self) -> &[u8] {
        &self.text.as_bytes()[self.topic_bytes..]
    }
}

/// A client id as one topic level: what is special in topics is percent-encoded.
pub(super) fn push_topic_level(out: &mut String, client_id: &str) {
    for character in client_id.chars() {
        match character {
            '/' | '+' | '#' | '%' => {
                let _ = write!(out, "%{:02X}", character as u32);
            }
            _ => out.push(character),
        }
    }
}

/// A string's content in JSON (RFC 8259, section 7).
pub(super) fn push_json(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_cannot_break_out_of_topic_or_json() {
        let mut text = String::new();
        push_topic_level(&mut text, "a/+#%b");
        assert_eq!(text, "a%2F%2B%23%25b");
        text.clear();
        push_json(&mut text, "a\"\\\u{1}b");
        assert_eq!(text, "a\\\"\\\\\\u0001b");
    }

    #[test]
    fn what_waits_is_bounded_and_comes_out_in_order() {
        let event = |number: u32| EventText { text: format!("t{number:0>1000}"), topic_bytes: 1 };
        let mut events = ClientEvents::default();
        let pushed = (0..u32::MAX).take_while(|&number| events.push(event(number)).is_ok()).count();
        let each = 1_001 + size_of::<EventText>();
        assert_eq!(pushed, CLIENT_EVENTS_MAX_BYTES / each);
        for number in 0..pushed {
            let popped = events.pop().expect("it was pushed");
            assert_eq!((popped.topic(), popped.payload()), ("t", format!("{number:0>1000}").as_bytes()));
        }
        assert!(events.pop().is_none() && events.bytes == 0);
        assert!(events.push(event(0)).is_ok(), "there is room again");
    }
}
