//! A stream of `JetStream`, by a durable consumer whose messages are acknowledged one by one.
//!
//! Always holds: what is not acknowledged comes again, at the latest after [`ACK_WAIT`]. A consumer that is there already is used as
//! it is, and must ask for acknowledgements.
//! Leaves to others: publishing what comes (`super`).

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;

use super::message::{FeedMessage, FeedPosition};
use crate::config::sources::NatsFeedSettings;
use crate::services::nats::{connect, words_of};

/// How long the server waits for an acknowledgement before it sends a message again.
const ACK_WAIT: Duration = Duration::from_secs(15);
/// The server says so often that it is there, with nothing to send.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Messages that the server sends at most before it is asked for more.
const PULLED: usize = 500;

/// An open one.
pub(super) struct NatsFeed {
    messages: pull::Stream,
    consumer: Consumer<pull::Config>,
}

impl NatsFeed {
    pub(super) async fn open(settings: &NatsFeedSettings) -> Result<Self, String> {
        let client = connect(&settings.server).await?;
        let context = jetstream::new(client);
        let consumer = consumer(&context, settings).await?;
        let asks = consumer.cached_info().config.ack_policy;
        if asks != AckPolicy::Explicit {
            let name = &settings.consumer;
            return Err(format!("the consumer {name} does not ask for acknowledgements (its ack policy is {asks:?})"));
        }
        let messages = consumer.stream().heartbeat(HEARTBEAT).max_messages_per_batch(PULLED).messages();
        let messages = messages.await.map_err(|error| words_of(&error))?;
        Ok(Self { messages, consumer })
    }

    pub(super) fn consumer(&self) -> Consumer<pull::Config> {
        self.consumer.clone()
    }

    pub(super) async fn next(&mut self) -> Result<FeedMessage, String> {
        let message = match self.messages.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(words_of(&error)),
            None => return Err("the consumer has ended".to_owned()),
        };
        let (sequence, time_ms) = match message.info() {
            Ok(info) => (info.stream_sequence, info.published.unix_timestamp_nanos() / 1_000_000),
            Err(error) => return Err(format!("a message does not say where it is from: {error}")),
        };
        let (message, acker) = message.split();
        let all = message.headers.iter().flat_map(|headers| headers.iter());
        let headers = all
            .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.as_str().to_owned())));
        Ok(FeedMessage {
            place: message.subject.to_string(),
            key: None,
            headers: headers.collect(),
            payload: message.payload,
            time_ms: u64::try_from(time_ms).ok(),
            mark: FeedPosition::Nats { sequence, acker: Box::new(acker) },
        })
    }
}

/// Messages of the stream that the consumer has not been sent, and those that it has and has not acknowledged.
pub(super) async fn lag(consumer: &mut Consumer<pull::Config>) -> Option<u64> {
    let told = consumer.info().await.ok()?;
    Some(told.num_pending.saturating_add(told.num_ack_pending as u64))
}

async fn consumer(context: &Context, settings: &NatsFeedSettings) -> Result<Consumer<pull::Config>, String> {
    let stream = context.get_stream(&settings.stream).await;
    let stream = stream.map_err(|error| format!("the stream {}: {}", settings.stream, words_of(&error)))?;
    let config = pull::Config {
        durable_name: Some(settings.consumer.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        deliver_policy: if settings.from_start { DeliverPolicy::All } else { DeliverPolicy::New },
        filter_subjects: settings.subjects.clone(),
        ..pull::Config::default()
    };
    let found = stream.get_or_create_consumer(&settings.consumer, config).await;
    found.map_err(|error| format!("the consumer {}: {}", settings.consumer, words_of(&error)))
}
