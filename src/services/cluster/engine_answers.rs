//! What the engine answers to questions about documents and logs, as JSON.
//!
//! Always holds: an answer is an error of the engine, or has what it must have: one that has neither says nothing. A refusal is what a cluster rests on, and is
//! told from all that went wrong.
//! Leaves to others: asking (`ways`), what follows.

use async_nats::jetstream::{Error, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

/// What became of a message that was to be stored behind another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreAnswer {
    /// It has this sequence, now or since it was said before.
    At(u64),
    /// There is another one than was expected, or a write under way that will be.
    Refused,
}

/// What a stream has at a sequence, or behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadMessage {
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AnswerWords {
    error: Option<Error>,
    seq: Option<u64>,
    state: Option<StateWords>,
    message: Option<MessageWords>,
    success: bool,
}

#[derive(Deserialize)]
struct StateWords {
    first_seq: u64,
    last_seq: u64,
}

#[derive(Deserialize)]
struct MessageWords {
    subject: String,
    seq: u64,
    #[serde(default)]
    data: String,
}

impl StoreAnswer {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let answer = words(bytes)?;
        match (answer.error, answer.seq) {
            (Some(error), _) => match error.error_code() {
                ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
                    Ok(Self::Refused)
                }
                _ => Err(error.to_string()),
            },
            (None, Some(sequence)) if sequence > 0 => Ok(Self::At(sequence)),
            (None, _) => Err(nothing()),
        }
    }
}

impl ReadMessage {
    /// `None` where there is none.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let answer = words(bytes)?;
        match (answer.error, answer.message) {
            (Some(error), _) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            (Some(error), _) => Err(error.to_string()),
            (None, Some(MessageWords { subject, seq: sequence, data })) => {
                let payload = STANDARD.decode(data).map_err(|error| error.to_string())?;
                Ok(Some(Self { subject, sequence, payload: payload.into() }))
            }
            (None, None) => Err(nothing()),
        }
    }
}

/// The first and the last sequence of a stream.
pub(super) fn read_ends(bytes: &[u8]) -> Result<(u64, u64), String> {
    let answer = words(bytes)?;
    match (answer.error, answer.state) {
        (Some(error), _) => Err(error.to_string()),
        (None, Some(state)) => Ok((state.first_seq, state.last_seq)),
        (None, None) => Err(nothing()),
    }
}

/// Whether what was asked is done.
pub(super) fn read_done(bytes: &[u8]) -> Result<(), String> {
    let answer = words(bytes)?;
    match answer.error {
        Some(error) => Err(error.to_string()),
        None if answer.success => Ok(()),
        None => Err(nothing()),
    }
}

fn words(bytes: &[u8]) -> Result<AnswerWords, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("an answer of the engine cannot be read: {error}"))
}

fn nothing() -> String {
    "an answer of the engine says nothing".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nats-server 2.15.1 says it.
    fn error(code: u16, err_code: u64) -> String {
        format!(
            r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"words"}},"stream":"dunlin_log_0","seq":0}}"#
        )
    }

    #[test]
    fn a_message_is_stored_refused_or_nobody_knows() {
        for (answer, expected) in [
            (r#"{"stream":"dunlin_log_0","seq":7}"#.to_owned(), Some(StoreAnswer::At(7))),
            (r#"{"stream":"dunlin_log_0","seq":7,"duplicate":true}"#.to_owned(), Some(StoreAnswer::At(7))),
            (error(400, 10071), Some(StoreAnswer::Refused)),
            (error(400, 10164), Some(StoreAnswer::Refused)),
            // The same is under way by the other connection; nobody leads; the disk is full.
            (error(409, 10158), None),
            (error(503, 10008), None),
            (error(500, 10077), None),
            (r#"{"stream":"dunlin_log_0","seq":0}"#.to_owned(), None),
            ("{}".to_owned(), None),
            ("[]".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(StoreAnswer::read(answer.as_bytes()).ok(), expected, "{answer}");
        }
    }

    #[test]
    fn a_message_is_read_or_is_not_there_or_nobody_knows() {
        let answer = br#"{"type":"t","message":{"subject":"dunlin.log.0","seq":3,"hdrs":"TkFUUw==","data":"YmF0Y2g=","time":"t"}}"#;
        let message = ReadMessage::read(answer).unwrap().unwrap();
        assert_eq!(
            (message.subject.as_str(), message.sequence, &message.payload[..]),
            ("dunlin.log.0", 3, &b"batch"[..])
        );
        let empty = ReadMessage::read(br#"{"message":{"subject":"s","seq":3}}"#).unwrap().unwrap();
        assert!(empty.payload.is_empty());
        assert_eq!(ReadMessage::read(error(404, 10037).as_bytes()), Ok(None));
        for unknown in
            [error(503, 10008), r#"{"message":{"subject":"s","seq":3,"data":"?"}}"#.to_owned(), "{}".to_owned()]
        {
            assert!(ReadMessage::read(unknown.as_bytes()).is_err(), "{unknown}");
        }
    }

    #[test]
    fn the_ends_of_a_log_are_known_or_not() {
        let ends = br#"{"config":{"name":"dunlin_log_0"},"state":{"messages":4,"first_seq":2,"last_seq":5}}"#;
        assert_eq!(read_ends(ends), Ok((2, 5)));
        assert!(read_ends(error(404, 10059).as_bytes()).is_err() && read_ends(b"{}").is_err());
    }

    #[test]
    fn what_was_asked_is_done_or_not() {
        assert_eq!(read_done(br#"{"type":"t","success":true,"purged":5}"#), Ok(()));
        assert!(read_done(br#"{"success":false}"#).is_err() && read_done(error(500, 10110).as_bytes()).is_err());
    }
}
