//! Sinks: messages on their way from topics to other systems.
//!
//! Owns: from a message to a row (`transform`), from rows to batches (`lane`), the targets, dead letters, and the session that all of it is
//! acknowledged to.
//! Always holds: a message is acknowledged to its session only after its target has it, or its dead letter is acknowledged. A sink
//! is one persistent session, whose queue is its backlog, on disk and bounded like any other; its workers share what that session is sent.
//! Leaves to others: the session and its queue (`session`), how a service comes in as a client (`local`), what is configured (`config`),
//! starting and stopping (`connectors`).

mod dead_letters;
pub(crate) mod delivered;
mod file;
#[cfg(any(feature = "kafka", feature = "nats"))]
mod headers;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod lane;
mod message_ids;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "postgres")]
mod postgres;
mod republish;
pub(crate) mod row;
#[cfg(test)]
mod samples;
mod session;
mod subscribing;
pub(crate) mod target;
mod test_message;
mod time_text;
mod transform;
mod values;

use std::sync::Arc;
use std::time::Duration;

use self::message_ids::MessageIds;
use self::session::SinkSession;
use super::connectors::{ConnectorContext, ConnectorStatus};
use super::local::{LocalDoor, LocalError};
use crate::config::SinkSettings;
use crate::telemetry::log;

/// How long to wait before the session is connected again: the broker ends it only when something is wrong.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// What came of a message that a sink was tested with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SinkTestOutcome {
    /// The target has it, after so many milliseconds.
    Delivered {
        /// From the message to the answer.
        milliseconds: u64,
        /// What the target was given, if it is text.
        sent: Option<String>,
    },
    /// The condition does not hold for it: nothing was sent.
    PassedOver,
    /// It would be a dead letter: an expression fails, or the target never takes it.
    Rejected(String),
    /// It would be tried again.
    Failed(String),
}

/// Sends one message of this topic and payload through a sink's condition, template and target, past its session.
pub(crate) async fn test(sink: &SinkSettings, door: &LocalDoor, topic: &str, payload: &str) -> SinkTestOutcome {
    test_message::send(sink, door, topic, payload).await
}

/// Runs a sink until it is to stop.
pub(super) async fn run(settings: Arc<SinkSettings>, mut context: ConnectorContext) {
    let mut key = [0; 16];
    if aws_lc_rs::rand::fill(&mut key).is_err() {
        return context.state.failed("the system gives no random numbers");
    }
    let mut ids = MessageIds::new(key);
    loop {
        let mut stop = context.clone();
        let connected = tokio::select! {
            connected = subscribing::connect(&settings, &context) => connected,
            () = stop.stopped() => return,
        };
        let ended = match connected {
            Ok((client, told, earlier)) => {
                context.state.set_status(ConnectorStatus::Idle, Some(settings.target.to_string()));
                log::event::connector_connected(
                    context.state.kind.word(),
                    &settings.name,
                    &settings.target.to_string(),
                );
                let session = SinkSession::new(Arc::clone(&settings), context.clone(), (client, told), ids.clone());
                let (known, ended) = session.run(earlier).await;
                ids = known;
                ended
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        note(&context, &error);
        tokio::select! {
            () = tokio::time::sleep(RECONNECT_PAUSE) => {}
            () = context.stopped() => return,
        }
    }
}

fn note(context: &ConnectorContext, error: &LocalError) {
    context.state.failed(&format!("its session: {error}"));
    context.state.set_status(ConnectorStatus::Connecting, None);
}
