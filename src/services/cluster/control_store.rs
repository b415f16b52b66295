//! The control store: documents that all nodes read, put by compare-and-set, watched in the store's own order.
//!
//! Always holds: a put is stored, or refused because the key has another revision than was expected, or nobody knows; never two of that. Everything that the
//! store has acknowledged is shown, by the watch, or where that is late by reading what its leader has.
//! Leaves to others: what documents mean (`cluster`), when to put (the node).

use std::fmt;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{Context, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, sleep_until, timeout};

use super::control_order::ControlOrder;
use super::engine_answers::{ReadMessage, StoreAnswer};
use super::ways::{EngineQuestion, EngineWays};
use crate::cluster::{ControlKey, ControlPut};
use crate::limits::{ENGINE_ANSWER_MS, ENGINE_RETRY_MS, ENGINE_TIMEOUT_MS, RANGE_RETRY_MS};
use crate::services::nats::words_of;

/// How subjects of its keys begin.
pub(super) const CONTROL_PREFIX: &str = "$KV.dunlin_ctl.";
/// The stream of a key-value bucket that is called `dunlin_ctl`, so that `nats kv` shows it.
pub(super) const CONTROL_STREAM: &str = "KV_dunlin_ctl";

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
    /// The watch, or reading behind it, has failed; either goes on by itself.
    Interrupted(String),
}

/// What the control store shows. It watches by one of the two ways, and reads by both.
pub struct ControlStore {
    ways: EngineWays,
    order: ControlOrder,
    watch: ControlWatch,
    /// The next document behind what was shown, while it is read from the leader.
    reading: Option<BoxFuture<'static, Result<Option<ReadMessage>, String>>>,
    /// [`ControlEvent::CaughtUp`] is due, and was told.
    caught_up: (bool, bool),
}

/// What brings most of it.
enum ControlWatch {
    /// It has failed, and is opened again then.
    Resting(Instant),
    Opening(BoxFuture<'static, Result<OpenWatch, String>>),
    Open(Box<Ordered>),
}

/// A watch, and how much there was when it began.
struct OpenWatch {
    watch: Box<Ordered>,
    pending: u64,
}

/// What a watch has come to.
enum Watched {
    IsDue,
    Opened(OpenWatch),
    Message(Box<Message>),
    Failed(String),
}

/// Stores a document under a name, if its key has the revision that is expected. Where nobody can say, it is said again until the next beat is due.
pub(super) async fn put(ways: &EngineWays, put: &ControlPut, name: &str) -> ControlAnswer {
    let mut headers = HeaderMap::new();
    // The engine takes it once, however often it is said.
    headers.insert(NATS_MESSAGE_ID, name);
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, put.expected.to_string());
    let subject = format!("{CONTROL_PREFIX}{}", put.key);
    let question = EngineQuestion { subject, headers: Some(headers), payload: put.bytes.clone().into() };
    let mut last = None;
    let said = timeout(Duration::from_millis(ENGINE_ANSWER_MS), async {
        loop {
            match ways.ask(&question, StoreAnswer::read).await {
                Ok(StoreAnswer::At(revision)) => return ControlAnswer::Stored(revision),
                Ok(StoreAnswer::Refused) => return ControlAnswer::Refused,
                Err(why) => last = Some(why),
            }
            sleep(Duration::from_millis(RANGE_RETRY_MS)).await;
        }
    });
    let said = said.await;
    said.unwrap_or_else(|_| {
        ControlAnswer::Failed(last.unwrap_or_else(|| format!("no server answers within {ENGINE_ANSWER_MS} ms")))
    })
}

impl fmt::Debug for ControlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlStore").field("order", &self.order).finish_non_exhaustive()
    }
}

impl ControlStore {
    /// Shows all documents from the beginning.
    pub(super) fn new(ways: &EngineWays) -> Self {
        Self {
            ways: ways.clone(),
            order: ControlOrder::default(),
            watch: ControlWatch::Resting(Instant::now()),
            reading: None,
            caught_up: (false, false),
        }
    }

    /// The store has acknowledged this revision: it is shown soon, whatever becomes of the watch.
    pub fn acknowledge(&mut self, revision: u64) {
        self.order.acknowledge(revision, Instant::now());
    }

    /// The store has refused what expected the newest revision that was shown: it has a later one, which is shown soon.
    pub fn suspect(&mut self) {
        self.order.suspect(Instant::now());
    }

    /// What it shows next. Dropping the future loses nothing, and holds up nothing that was begun.
    pub async fn next(&mut self) -> ControlEvent {
        loop {
            if self.caught_up == (true, false) {
                self.caught_up.1 = true;
                return ControlEvent::CaughtUp;
            }
            let late_at = self.order.late_at().filter(|_| self.reading.is_none());
            let told = tokio::select! {
                watched = self.watch.next() => self.take_watched(watched),
                read = read_by(&mut self.reading) => self.take_read(read),
                () = until(late_at) => {
                    self.read_on();
                    None
                }
            };
            if let Some(event) = told {
                return event;
            }
        }
    }

    fn take_watched(&mut self, watched: Watched) -> Option<ControlEvent> {
        match watched {
            Watched::IsDue => {
                let watch = open_watch(self.ways.first().clone(), self.order.next());
                self.watch = ControlWatch::Opening(Box::pin(watch));
                None
            }
            Watched::Opened(OpenWatch { watch, pending }) => {
                self.caught_up.0 |= pending == 0;
                self.watch = ControlWatch::Open(watch);
                None
            }
            Watched::Message(message) => match message.info().map(|info| (info.stream_sequence, info.pending)) {
                Ok((revision, pending)) => {
                    self.caught_up.0 |= pending == 0;
                    self.show(&message.subject, revision, message.payload.clone())
                }
                Err(error) => Some(self.rest(error.to_string())),
            },
            Watched::Failed(why) => Some(self.rest(why)),
        }
    }

    fn rest(&mut self, why: String) -> ControlEvent {
        self.watch = ControlWatch::Resting(Instant::now() + Duration::from_millis(ENGINE_RETRY_MS));
        ControlEvent::Interrupted(why)
    }

    /// Has the next document read that was not shown.
    fn read_on(&mut self) {
        self.reading = Some(Box::pin(read_behind(self.ways.clone(), self.order.next())));
    }

    /// What the leader has behind what was shown.
    fn take_read(&mut self, read: Result<Option<ReadMessage>, String>) -> Option<ControlEvent> {
        self.reading = None;
        match read {
            Ok(Some(message)) => {
                let shown = self.show(&message.subject, message.sequence, message.payload);
                // To the end, and not to what is awaited: what is behind that may be replaced each time before it is looked at again.
                self.read_on();
                shown
            }
            Ok(None) => {
                self.order.wait_again(Instant::now());
                None
            }
            Err(why) => {
                self.order.wait_again(Instant::now());
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
}

impl ControlWatch {
    /// What it comes to next. Dropping the future loses nothing.
    async fn next(&mut self) -> Watched {
        match self {
            Self::Resting(at) => {
                sleep_until((*at).into()).await;
                Watched::IsDue
            }
            Self::Opening(opening) => opening.await.map_or_else(Watched::Failed, Watched::Opened),
            Self::Open(watch) => match watch.next().await {
                Some(Ok(message)) => Watched::Message(Box::new(message)),
                Some(Err(error)) => Watched::Failed(words_of(&error)),
                None => Watched::Failed("the watch has ended".to_owned()),
            },
        }
    }
}

/// From the beginning, the last of each key, or behind what was shown.
async fn open_watch(client: async_nats::Client, next: u64) -> Result<OpenWatch, String> {
    let context: Context = ContextBuilder::new().timeout(Duration::from_millis(ENGINE_TIMEOUT_MS)).build(client);
    let deliver_policy = match next {
        1 => DeliverPolicy::LastPerSubject,
        start_sequence => DeliverPolicy::ByStartSequence { start_sequence },
    };
    let config = OrderedConfig {
        deliver_subject: context.client().new_inbox(),
        filter_subject: format!("{CONTROL_PREFIX}>"),
        deliver_policy,
        ..OrderedConfig::default()
    };
    let opening = async {
        let made: Result<Consumer<OrderedConfig>, _> = context.create_consumer_on_stream(config, CONTROL_STREAM).await;
        let consumer = made.map_err(|error| words_of(&error))?;
        let pending = consumer.cached_info().num_pending;
        let watch = consumer.messages().await.map_err(|error| words_of(&error))?;
        Ok(OpenWatch { watch: Box::new(watch), pending })
    };
    let opened = timeout(Duration::from_millis(ENGINE_TIMEOUT_MS), opening).await;
    opened.unwrap_or_else(|_| Err(format!("no watch is opened within {ENGINE_TIMEOUT_MS} ms")))
}

/// The first document that the leader has from this revision on.
async fn read_behind(ways: EngineWays, from: u64) -> Result<Option<ReadMessage>, String> {
    let payload = format!(r#"{{"seq":{from},"next_by_subj":"{CONTROL_PREFIX}>"}}"#);
    let subject = format!("$JS.API.STREAM.MSG.GET.{CONTROL_STREAM}");
    ways.ask(&EngineQuestion { subject, headers: None, payload: payload.into() }, ReadMessage::read).await
}

/// What comes of reading; never where nothing is read.
async fn read_by(
    reading: &mut Option<BoxFuture<'static, Result<Option<ReadMessage>, String>>>,
) -> Result<Option<ReadMessage>, String> {
    match reading {
        None => std::future::pending().await,
        Some(reading) => reading.await,
    }
}

/// Until then; for ever where that is never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
