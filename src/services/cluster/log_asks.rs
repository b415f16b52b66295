//! What a range's log asks of the engine, put into its words.
//!
//! Always holds: each operation has one answer, and a failure where nobody knows. Messages that are read come in order, up to the first that is not there. An
//! append has its name, so it may be said by both ways; a leader is asked to step down once.
//! Leaves to others: what follows from an answer (`cluster`), when it is asked (`driver`).

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::engine_answers::{ReadMessage, StoreAnswer, read_done, read_ends};
use super::ways::{EngineQuestion, EngineWays};
use crate::cluster::{LogAnswer, LogOperation, RangeId};
use crate::limits::ENGINE_READS_MAX;

/// As the engine calls the log of a range.
pub(super) fn log_stream(RangeId(range): RangeId) -> String {
    format!("dunlin_log_{range}")
}

/// What is published there is appended to that log.
pub(super) fn log_subject(RangeId(range): RangeId) -> String {
    format!("dunlin.log.{range}")
}

/// A message of a log, and room that it takes until it is dropped.
pub(super) struct LogMessage {
    pub(super) sequence: u64,
    pub(super) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// What comes of a read, in order.
pub(super) enum LogRead {
    Message(LogMessage),
    /// The replica that leads does not have the next one.
    Missing,
    /// Nobody knows whether it does.
    Broken,
}

/// What is told of an operation where nobody knows.
pub(super) const fn failure(operation: &LogOperation) -> LogAnswer {
    match operation {
        LogOperation::Look => LogAnswer::LookFailed,
        LogOperation::Read { read, .. } => LogAnswer::ReadEnded { read: *read, is_whole: false },
        LogOperation::StepDown => LogAnswer::SteppedDown,
        LogOperation::Append { id, .. } => LogAnswer::Failed { id: *id },
        LogOperation::Purge { .. } => LogAnswer::PurgeFailed,
    }
}

/// Asks everything but a read, which has many answers.
pub(super) async fn ask(ways: &EngineWays, range: RangeId, operation: LogOperation) -> LogAnswer {
    let failure = failure(&operation);
    let stream = log_stream(range);
    let answer = match operation {
        LogOperation::Look => {
            let ends = ways.ask(&api("STREAM.INFO", &stream, ""), read_ends).await;
            ends.map(|(first, last)| LogAnswer::Info { first, last })
        }
        LogOperation::StepDown => {
            let done = ways.ask_once(&api("STREAM.LEADER.STEPDOWN", &stream, ""), read_done).await;
            done.map(|()| LogAnswer::SteppedDown)
        }
        LogOperation::Append { id, expected_last, message_id, bytes } => {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, message_id);
            headers.insert(NATS_EXPECTED_LAST_SEQUENCE, expected_last.to_string());
            let question =
                EngineQuestion { subject: log_subject(range), headers: Some(headers), payload: bytes.into() };
            ways.ask(&question, StoreAnswer::read).await.map(|stored| match stored {
                StoreAnswer::At(sequence) => LogAnswer::Appended { id, sequence },
                StoreAnswer::Refused => LogAnswer::Refused { id },
            })
        }
        LogOperation::Purge { before } => {
            let done = ways.ask(&api("STREAM.PURGE", &stream, &format!(r#"{{"seq":{before}}}"#)), read_done).await;
            done.map(|()| LogAnswer::Purged)
        }
        LogOperation::Read { .. } => unreachable!("whoever reads takes the messages one by one"),
    };
    answer.unwrap_or(failure)
}

/// Reads the messages of a log from one sequence to another, as many at a time as there is room for.
pub(super) fn read(
    ways: &EngineWays,
    range: RangeId,
    (from, to): (u64, u64),
    room: Arc<Semaphore>,
) -> impl Stream<Item = LogRead> + use<> {
    let (ways, stream) = (ways.clone(), log_stream(range));
    in_order((from, to), room, move |sequence| {
        let (ways, question) = (ways.clone(), api("STREAM.MSG.GET", &stream, &format!(r#"{{"seq":{sequence}}}"#)));
        async move { ways.ask(&question, ReadMessage::read).await }
    })
}

/// The same, whoever has them.
fn in_order<F: Future<Output = Result<Option<ReadMessage>, String>>>(
    (from, to): (u64, u64),
    room: Arc<Semaphore>,
    get: impl Fn(u64) -> F,
) -> impl Stream<Item = LogRead> {
    let reads = stream::iter(from..=to).map(move |sequence| {
        let (room, message) = (Arc::clone(&room).acquire_owned(), get(sequence));
        async move {
            let room = room.await.expect("nobody closes it");
            match message.await {
                Ok(Some(message)) if message.sequence == sequence => {
                    LogRead::Message(LogMessage { sequence, bytes: message.payload, _room: room })
                }
                Ok(_) => LogRead::Missing,
                Err(_) => LogRead::Broken,
            }
        }
    });
    reads.buffered(ENGINE_READS_MAX)
}

fn api(what: &str, stream: &str, payload: &str) -> EngineQuestion {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    EngineQuestion { subject: format!("$JS.API.{what}.{stream}"), headers: None, payload }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn no_more_is_asked_for_than_may_be_and_it_comes_in_order() {
        let room = Arc::new(Semaphore::new(ENGINE_READS_MAX));
        // How many are asked for now, and were at most.
        let asked = Mutex::new((0, 0));
        let get = |sequence: u64| {
            let asked = &asked;
            async move {
                {
                    let (now, most) = &mut *asked.lock().unwrap();
                    *now += 1;
                    *most = (*now).max(*most);
                }
                tokio::time::sleep(Duration::from_millis(sequence * 7 % 13)).await;
                asked.lock().unwrap().0 -= 1;
                let payload = Bytes::from(sequence.to_string());
                let message = ReadMessage { subject: "s".to_owned(), sequence, payload };
                match sequence {
                    301 => Ok(None),
                    302.. => Err("nobody knows".to_owned()),
                    _ => Ok(Some(message)),
                }
            }
        };
        // Two logs at once have the room of one.
        let [mut one, mut other] = [(1, 302), (302, 303)].map(|ends| Box::pin(in_order(ends, Arc::clone(&room), get)));
        for expected in 1..=300 {
            let Some(LogRead::Message(message)) = one.next().await else { panic!("{expected} is there") };
            assert_eq!((message.sequence, &message.bytes[..]), (expected, expected.to_string().as_bytes()));
        }
        assert!(matches!(one.next().await, Some(LogRead::Missing)));
        assert!(matches!(other.next().await, Some(LogRead::Broken)));
        assert_eq!(asked.lock().unwrap().1, ENGINE_READS_MAX);
    }

    #[test]
    fn each_operation_has_a_failure_of_its_own() {
        let id = crate::cluster::AppendId { n: 4, attempt: 2 };
        let append =
            LogOperation::Append { id, expected_last: 3, message_id: "name".to_owned(), bytes: b"bytes".to_vec() };
        for (operation, expected) in [
            (LogOperation::Look, LogAnswer::LookFailed),
            (LogOperation::Read { read: 3, from: 1, to: 2 }, LogAnswer::ReadEnded { read: 3, is_whole: false }),
            (LogOperation::StepDown, LogAnswer::SteppedDown),
            (append, LogAnswer::Failed { id }),
            (LogOperation::Purge { before: 9 }, LogAnswer::PurgeFailed),
        ] {
            assert_eq!(failure(&operation), expected);
        }
    }
}
