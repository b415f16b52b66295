//! The control store: documents that all nodes read, put by compare-and-set, watched in the store's own order.
//!
//! Always holds: a put is stored, or refused because the key has another revision than was expected, or nobody knows; never two of that. Everything that the
//! store has acknowledged is shown, by the watch, or where that is late by reading what its leader has.
//! Leaves to others: what documents mean (`cluster`), when to put (the node).

use std::fmt;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, ErrorCode, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::sleep_until;

use super::control_order::ControlOrder;
use super::engine_fault::EngineFault;
use crate::cluster::{ControlKey, ControlPut};
use crate::limits::ENGINE_RETRY_MS;
use crate::services::nats::words_of;

/// How subjects of its keys begin.
pub(super) const CONTROL_PREFIX: &str = "$KV.dunlin_ctl.";

/// What became of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlAnswer {
    /// It is stored, under this revision.
    Stored(u64),
    /// It is not: the key has another revision, or is about to have one.
    Refused,
    /// Nobody knows, or the engine cannot store anything: its words.
    Failed(String),
}

/// What the store shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// A document.
    Entry {
        /// Which.
        key: ControlKey,
        /// Higher than of each that was shown before.
        revision: u64,
        /// As it was put.
        bytes: Bytes,
    },
    /// Everything that was there when the watch began was shown.
    CaughtUp,
    /// The watch, or reading behind it, has failed; it goes on by itself.
    Interrupted(String),
}

/// A watch of the control store.
pub struct ControlStore {
    context: Context,
    stream: Stream<()>,
    order: ControlOrder,
    /// None where it has failed; opened again then, but not before.
    watch: Option<Box<Ordered>>,
    again_at: Instant,
    /// [`ControlEvent::CaughtUp`] is due, and was told.
    caught_up: (bool, bool),
}

/// Stores a document, if its key has the revision that is expected.
pub(super) async fn put(context: &Context, put: &ControlPut) -> ControlAnswer {
    let message = PublishMessage::build().payload(put.bytes.clone().into());
    let message = message.expected_last_subject_sequence(put.expected);
    let answer = match context.send_publish(format!("{CONTROL_PREFIX}{}", put.key), message).await {
        Ok(sent) => sent.await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(stored) => ControlAnswer::Stored(stored.sequence),
        Err(error) if is_refusal(&error) => ControlAnswer::Refused,
        Err(error) => ControlAnswer::Failed(words_of(&error)),
    }
}

/// Whether the engine has another sequence than was expected, or a write under way that will give it one. The library knows the second as any other error.
fn is_refusal(error: &PublishError) -> bool {
    let cause = std::error::Error::source(error);
    let api = cause.and_then(|cause| cause.downcast_ref::<async_nats::jetstream::Error>());
    let is_constant = api.is_some_and(|api| api.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT);
    error.kind() == PublishErrorKind::WrongLastSequence || is_constant
}

impl fmt::Debug for ControlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlStore").field("order", &self.order).finish_non_exhaustive()
    }
}

impl ControlStore {
    /// Begins to watch it.
    pub(super) async fn open(context: &Context, stream: &str) -> Result<Self, EngineFault> {
        let silent =
            |error: &dyn std::error::Error| EngineFault::Silent { question: "$JS.API.CONSUMER", why: words_of(error) };
        let stream = context.get_stream_no_info(stream).await.map_err(|error| silent(&error))?;
        let mut store = Self {
            context: context.clone(),
            stream,
            order: ControlOrder::default(),
            watch: None,
            again_at: Instant::now(),
            caught_up: (false, false),
        };
        store.watch().await.map_err(|why| EngineFault::Silent { question: "$JS.API.CONSUMER", why })?;
        Ok(store)
    }

    /// The store has acknowledged this revision: it is shown soon, whatever becomes of the watch.
    pub fn acknowledge(&mut self, revision: u64) {
        self.order.acknowledge(revision, Instant::now());
    }

    /// What it shows next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> ControlEvent {
        loop {
            if self.caught_up == (true, false) {
                self.caught_up.1 = true;
                return ControlEvent::CaughtUp;
            }
            let late_at = self.order.late_at();
            let again_at = self.watch.is_none().then_some(self.again_at);
            let told = tokio::select! {
                message = next_of(&mut self.watch) => self.take_message(message),
                () = until(late_at) => self.read_behind().await,
                () = until(again_at) => self.watch_again().await,
            };
            if let Some(event) = told {
                return event;
            }
        }
    }

    fn take_message(&mut self, message: Result<Message, String>) -> Option<ControlEvent> {
        let taken = message.and_then(|message| {
            let place = message.info().map(|info| (info.stream_sequence, info.pending));
            place.map(|place| (place, message.message)).map_err(|error| error.to_string())
        });
        match taken {
            Ok(((revision, pending), message)) => {
                self.caught_up.0 |= pending == 0;
                self.show(&message.subject, revision, message.payload)
            }
            Err(why) => {
                self.watch = None;
                self.again_at = Instant::now() + Duration::from_millis(ENGINE_RETRY_MS);
                Some(ControlEvent::Interrupted(why))
            }
        }
    }

    /// A document that was not shown yet. One whose key is none of ours is passed over.
    fn show(&mut self, subject: &str, revision: u64, bytes: Bytes) -> Option<ControlEvent> {
        if !self.order.take(revision) {
            return None;
        }
        let key = subject.strip_prefix(CONTROL_PREFIX).and_then(ControlKey::parse)?;
        Some(ControlEvent::Entry { key, revision, bytes })
    }

    /// The next document that the leader has and the watch has not brought.
    async fn read_behind(&mut self) -> Option<ControlEvent> {
        let read = self.stream.get_first_raw_message_by_subject(format!("{CONTROL_PREFIX}>"), self.order.next()).await;
        match read {
            Ok(message) => self.show(&message.subject, message.sequence, message.payload),
            Err(error) => {
                self.order.wait_again(Instant::now());
                let is_nothing = error.kind() == RawMessageErrorKind::NoMessageFound;
                (!is_nothing).then(|| ControlEvent::Interrupted(words_of(&error)))
            }
        }
    }

    async fn watch_again(&mut self) -> Option<ControlEvent> {
        let why = self.watch().await.err()?;
        self.again_at = Instant::now() + Duration::from_millis(ENGINE_RETRY_MS);
        Some(ControlEvent::Interrupted(why))
    }

    /// From the beginning, the last of each key, or behind what was shown.
    async fn watch(&mut self) -> Result<(), String> {
        let deliver_policy = match self.order.next() {
            1 => DeliverPolicy::LastPerSubject,
            start_sequence => DeliverPolicy::ByStartSequence { start_sequence },
        };
        let config = OrderedConfig {
            deliver_subject: self.context.client().new_inbox(),
            filter_subject: format!("{CONTROL_PREFIX}>"),
            deliver_policy,
            ..OrderedConfig::default()
        };
        let consumer: Consumer<OrderedConfig> =
            self.stream.create_consumer(config).await.map_err(|error| words_of(&error))?;
        self.caught_up.0 |= consumer.cached_info().num_pending == 0;
        let watch = consumer.messages().await.map_err(|error| words_of(&error))?;
        self.watch = Some(Box::new(watch));
        Ok(())
    }
}

/// The next message of a watch; for ever where there is none.
async fn next_of(watch: &mut Option<Box<Ordered>>) -> Result<Message, String> {
    match watch {
        None => std::future::pending().await,
        Some(watch) => match watch.next().await {
            Some(message) => message.map_err(|error| words_of(&error)),
            None => Err("the watch has ended".to_owned()),
        },
    }
}

/// Until then; for ever where that is never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
