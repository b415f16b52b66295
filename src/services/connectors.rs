//! What connects the broker to others: one thread for all bridges, sinks and sources, and what is known of each of them.
//!
//! Owns: that thread, which starts with the first of them; a task for each, by name; their counters and states.
//! Always holds: a reload starts, stops and changes those whose tables have changed and leaves all others alone; a task that is to
//! end is asked to, and cut off when it has not within [`CONNECTOR_STOP_MAX_S`]; whatever a task does, no shard waits for it.
//! Leaves to others: what each of them does (`bridge`, `sources`), where messages wait meanwhile (the session of its client, on a shard).

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::bridge;
use super::local::LocalDoor;
use super::sinks::{self, SinkTestOutcome};
use super::sources;
use crate::config::{BridgeSettings, Config, SinkSettings, SourceSettings};
use crate::limits::CONNECTOR_STOP_MAX_S;
use crate::shard::Reply;
use crate::telemetry::log;

/// How much the thread gives way to shards.
const NICE: i32 = 5;

/// What a connector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConnectorKind {
    Bridge,
    Sink,
    Source,
}

impl ConnectorKind {
    /// As it stands in client ids: `$bridge/NAME`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Sink => "sink",
            Self::Source => "source",
        }
    }
}

/// What one of them is to do, as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ConnectorSpec {
    Bridge { settings: Arc<BridgeSettings>, node: Box<str> },
    Sink(Arc<SinkSettings>),
    Source(Arc<SourceSettings>),
}

/// By kind and name.
type ConnectorKey = (ConnectorKind, Box<str>);

impl ConnectorSpec {
    fn all(config: &Config) -> BTreeMap<ConnectorKey, Self> {
        let node = &config.settings.node_name;
        let bridges = config.bridges.iter().map(|settings| {
            let spec = Self::Bridge { settings: Arc::clone(settings), node: node.clone() };
            ((ConnectorKind::Bridge, settings.name.clone()), spec)
        });
        let sinks = config.sinks.iter();
        let sinks = sinks.map(|sink| ((ConnectorKind::Sink, sink.name.clone()), Self::Sink(Arc::clone(sink))));
        let sources = config.sources.iter();
        let sources =
            sources.map(|source| ((ConnectorKind::Source, source.name.clone()), Self::Source(Arc::clone(source))));
        bridges.chain(sinks).chain(sources).collect()
    }

    async fn run(self, context: ConnectorContext) {
        match self {
            Self::Bridge { settings, node } => bridge::run(settings, &node, context).await,
            Self::Sink(settings) => sinks::run(settings, context).await,
            Self::Source(settings) => sources::run(settings, context).await,
        }
    }
}

/// What a task is given.
#[derive(Clone)]
pub(crate) struct ConnectorContext {
    /// The way into the broker.
    pub(crate) door: LocalDoor,
    /// What others are told of it.
    pub(crate) state: Arc<ConnectorState>,
    stop: watch::Receiver<bool>,
}

impl ConnectorContext {
    /// Until it is to end.
    pub(crate) async fn stopped(&mut self) {
        // Whoever could say so is gone: that is an end, too.
        let _ = self.stop.wait_for(|stop| *stop).await;
    }
}

/// Whether a connector does what it is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ConnectorStatus {
    /// An operator has stopped it, or it was to connect once.
    Stopped,
    /// It waits for messages.
    Idle,
    /// It tries to.
    #[default]
    Connecting,
    /// It does.
    Connected,
}

impl ConnectorStatus {
    /// For people and programs.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
        }
    }
}

/// What is counted of a connector: the counters, or with `u64` what they have come to.
#[derive(Debug, Default)]
pub(crate) struct ConnectorCounters<N = AtomicU64> {
    pub(crate) messages_in: N,
    pub(crate) messages_out: N,
    pub(crate) bytes_in: N,
    pub(crate) bytes_out: N,
    /// Connections that were made.
    pub(crate) connects: N,
    /// Messages that went to the dead letters of a sink.
    pub(crate) dead_letters: N,
    /// Messages that the condition of a sink does not hold for.
    pub(crate) passed_over: N,
    /// Messages of QoS 0 that a sink had no room for.
    pub(crate) dropped: N,
    /// Attempts that a target did not take.
    pub(crate) failed_attempts: N,
    /// Messages that did not go on: by [`NotPassed`].
    pub(crate) not_passed: [N; NotPassed::ALL.len()],
}

impl ConnectorCounters {
    /// As of now.
    pub(crate) fn read(&self) -> ConnectorCounters<u64> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ConnectorCounters {
            messages_in: count(&self.messages_in),
            messages_out: count(&self.messages_out),
            bytes_in: count(&self.bytes_in),
            bytes_out: count(&self.bytes_out),
            connects: count(&self.connects),
            dead_letters: count(&self.dead_letters),
            passed_over: count(&self.passed_over),
            dropped: count(&self.dropped),
            failed_attempts: count(&self.failed_attempts),
            not_passed: self.not_passed.each_ref().map(count),
        }
    }
}

/// Why a message did not go on, and was acknowledged all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPassed {
    /// It is larger than the other broker takes.
    TooLarge,
    /// It has passed as many bridges as it may.
    Hops,
    /// No topic of the bridge is about it.
    NoTopic,
    /// The broker that it was for has refused it.
    Refused,
}

impl NotPassed {
    pub(crate) const ALL: [Self; 4] = [Self::TooLarge, Self::Hops, Self::NoTopic, Self::Refused];

    /// For metrics, and for the log.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Hops => "hops",
            Self::NoTopic => "no_topic",
            Self::Refused => "refused",
        }
    }
}

/// What is known of a connector.
#[derive(Debug)]
pub(crate) struct ConnectorState {
    pub(crate) kind: ConnectorKind,
    pub(crate) name: Box<str>,
    pub(crate) counters: ConnectorCounters,
    /// Locked for moments.
    told: Mutex<ConnectorTold>,
}

/// What a connector has said of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectorTold {
    pub(crate) status: ConnectorStatus,
    /// Since when, in milliseconds of unix time.
    pub(crate) since_ms: u64,
    /// What it is connected to, or tries to be.
    pub(crate) address: Option<String>,
    /// What went wrong last, and when.
    pub(crate) last_error: Option<(String, u64)>,
    /// It has done what it is there for since that went wrong, or was stopped.
    is_error_over: bool,
    /// Messages that wait for a source where it reads, as far as that place says so.
    pub(crate) lag: Option<u64>,
    /// The log has it since the last connection.
    is_in_log: bool,
}

impl ConnectorTold {
    /// Whether what went wrong last is why it does not do what it is there for.
    pub(crate) fn is_failing(&self) -> bool {
        self.status == ConnectorStatus::Connecting && self.last_error.is_some() && !self.is_error_over
    }
}

impl ConnectorState {
    fn new((kind, name): ConnectorKey) -> Self {
        let told = ConnectorTold { since_ms: now_ms(), ..ConnectorTold::default() };
        Self { kind, name, counters: ConnectorCounters::default(), told: Mutex::new(told) }
    }

    /// As of now.
    pub(crate) fn told(&self) -> ConnectorTold {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The client id of its session.
    pub(crate) fn client_id(&self) -> String {
        format!("${}/{}", self.kind.word(), self.name)
    }

    pub(crate) fn set_status(&self, status: ConnectorStatus, address: Option<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.status != status {
            (told.status, told.since_ms) = (status, now_ms());
        }
        if status != ConnectorStatus::Connected {
            told.lag = None;
        }
        told.is_error_over |= status != ConnectorStatus::Connecting;
        told.is_in_log &= status != ConnectorStatus::Connected;
        told.address = address;
    }

    /// So many messages wait where a source reads; `None` where nobody knows.
    pub(crate) fn set_lag(&self, messages: Option<u64>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).lag = messages;
    }

    /// Something went wrong that the log need not have.
    pub(crate) fn note_error(&self, text: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (told.last_error, told.is_error_over) = (Some((text.to_owned(), now_ms())), false);
    }

    /// Something went wrong. The same again is no news for the log.
    pub(crate) fn failed(&self, text: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = told.is_in_log && told.last_error.as_ref().is_some_and(|(known, _)| known == text);
        told.is_in_log = true;
        (told.last_error, told.is_error_over) = (Some((text.to_owned(), now_ms())), false);
        drop(told);
        if !is_known {
            log::event::connector_failed(self.kind.word(), &self.name, text);
        }
    }

    /// A message did not go on. Returns whether it is the first for this reason.
    pub(crate) fn count_not_passed(&self, reason: NotPassed) -> bool {
        self.counters.not_passed[reason as usize].fetch_add(1, Ordering::Relaxed) == 0
    }
}

/// What the thread is told.
enum ConnectorOrder {
    /// These there are to be.
    Replace(BTreeMap<ConnectorKey, ConnectorSpec>),
    /// One is to run, or not.
    Run(ConnectorKey, bool),
    /// A message of this topic and payload goes through a sink's target. Told what came of it; dropped where there is no such sink.
    TestSink { name: Box<str>, topic: String, payload: String, told: oneshot::Sender<SinkTestOutcome> },
    /// All end. Told when they have.
    End(std::sync::mpsc::Sender<()>),
}

/// Tells the connectors of new settings, and others of the connectors.
#[derive(Clone)]
pub(crate) struct ConnectorsHandle(Arc<ConnectorsShared>);

struct ConnectorsShared {
    door: LocalDoor,
    /// There is none before the first connector.
    orders: Mutex<Option<mpsc::UnboundedSender<ConnectorOrder>>>,
    registry: Arc<ConnectorRegistry>,
}

/// All that there are.
#[derive(Debug, Default)]
pub(crate) struct ConnectorRegistry(Mutex<BTreeMap<ConnectorKey, Arc<ConnectorState>>>);

impl ConnectorRegistry {
    /// In the order of kind and name.
    pub(crate) fn all(&self) -> Vec<Arc<ConnectorState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One of them.
    pub(crate) fn get(&self, kind: ConnectorKind, name: &str) -> Option<Arc<ConnectorState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(kind, name.into())).cloned()
    }

    /// What one has counted goes on when its table changes.
    fn state_of(&self, key: &ConnectorKey) -> Arc<ConnectorState> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(states.entry(key.clone()).or_insert_with(|| Arc::new(ConnectorState::new(key.clone()))))
    }

    fn forget(&self, key: &ConnectorKey) -> Option<Arc<ConnectorState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }
}

impl ConnectorsHandle {
    /// None yet: [`Self::prepare`] and [`Self::replace`] start what is configured.
    pub(crate) fn new(door: LocalDoor) -> Self {
        Self(Arc::new(ConnectorsShared { door, orders: Mutex::default(), registry: Arc::default() }))
    }

    /// What is known of each.
    pub(crate) fn registry(&self) -> Arc<ConnectorRegistry> {
        Arc::clone(&self.0.registry)
    }

    /// Starts the thread that those of this configuration need, unless it is there. What runs goes on as it does.
    pub(crate) fn prepare(&self, config: &Config) -> io::Result<()> {
        let mut orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.is_none() && !ConnectorSpec::all(config).is_empty() {
            *orders = Some(self.start()?);
        }
        Ok(())
    }

    /// From now on those of this configuration run, for which [`Self::prepare`] has started the thread.
    pub(crate) fn replace(&self, config: &Config) {
        let orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = &*orders {
            // The thread stays as long as the process.
            let _ = orders.send(ConnectorOrder::Replace(ConnectorSpec::all(config)));
        }
    }

    /// Has one run or not, until the next start or change of its table. False where there is none of this name.
    pub(crate) fn run(&self, kind: ConnectorKind, name: &str, is_to_run: bool) -> bool {
        if self.0.registry.get(kind, name).is_none() {
            return false;
        }
        let orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.as_ref().is_some_and(|orders| orders.send(ConnectorOrder::Run((kind, name.into()), is_to_run)).is_ok())
    }

    /// Sends one message through a sink's target. `None` where there is none of this name.
    pub(crate) async fn test_sink(&self, name: &str, topic: String, payload: String) -> Option<SinkTestOutcome> {
        let (told, outcome) = oneshot::channel();
        let order = ConnectorOrder::TestSink { name: name.into(), topic, payload, told };
        let orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        orders?.send(order).ok()?;
        outcome.await.ok()
    }

    /// Ends all of them in order, while the shards still hear them. Returns when they have ended, or when that takes too long.
    pub(crate) fn end(&self) {
        let orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(orders) = orders else { return };
        let (ended, have_ended) = std::sync::mpsc::channel();
        if orders.send(ConnectorOrder::End(ended)).is_ok() {
            let _ = have_ended.recv_timeout(Duration::from_secs(CONNECTOR_STOP_MAX_S + 1));
        }
    }

    fn start(&self) -> io::Result<mpsc::UnboundedSender<ConnectorOrder>> {
        let (orders, taken) = mpsc::unbounded_channel();
        let runtime = runtime()?;
        let supervisor = Supervisor {
            door: self.0.door.clone(),
            registry: Arc::clone(&self.0.registry),
            specs: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        std::thread::Builder::new().name("connect".into()).spawn(move || {
            // Whoever may not be nicer connects all the same.
            let _ = rustix::process::nice(NICE);
            runtime.block_on(supervisor.run(taken));
        })?;
        Ok(orders)
    }
}

/// What the connectors run on. Look-ups of names and files wait on threads of their own, which there are as long as they are needed: with few
/// of them, two names that nobody answers for would stop everything else.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// What runs, on the thread.
struct Supervisor {
    door: LocalDoor,
    registry: Arc<ConnectorRegistry>,
    specs: BTreeMap<ConnectorKey, ConnectorSpec>,
    running: BTreeMap<ConnectorKey, RunningConnector>,
}

struct RunningConnector {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Supervisor {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<ConnectorOrder>) {
        while let Some(order) = orders.recv().await {
            match order {
                ConnectorOrder::Replace(specs) => self.replace(specs).await,
                ConnectorOrder::Run(key, true) => self.begin(&key),
                ConnectorOrder::Run(key, false) => self.stop(vec![key]).await,
                ConnectorOrder::TestSink { name, topic, payload, told } => {
                    let spec = self.specs.get(&(ConnectorKind::Sink, name));
                    if let Some(ConnectorSpec::Sink(sink)) = spec {
                        let (sink, door) = (Arc::clone(sink), self.door.clone());
                        tokio::spawn(async move {
                            let _ = told.send(sinks::test(&sink, &door, &topic, &payload).await);
                        });
                    }
                }
                ConnectorOrder::End(ended) => {
                    let all = self.running.keys().cloned().collect();
                    self.stop(all).await;
                    let _ = ended.send(());
                }
            }
        }
    }

    async fn replace(&mut self, specs: BTreeMap<ConnectorKey, ConnectorSpec>) {
        let is_same = |key: &ConnectorKey| self.specs.get(key) == specs.get(key);
        let gone: Vec<ConnectorKey> = self.specs.keys().filter(|key| !specs.contains_key(*key)).cloned().collect();
        let others: Vec<ConnectorKey> = self.specs.keys().filter(|key| !is_same(key)).cloned().collect();
        let begun: Vec<ConnectorKey> = specs.keys().filter(|key| !is_same(key)).cloned().collect();
        self.stop(others).await;
        for key in &gone {
            if let Some(state) = self.registry.forget(key) {
                tokio::spawn(warn_of_session(self.door.clone(), state));
            }
        }
        self.specs = specs;
        for key in &begun {
            self.begin(key);
        }
    }

    fn begin(&mut self, key: &ConnectorKey) {
        let is_running = self.running.get(key).is_some_and(|running| !running.task.is_finished());
        let Some(spec) = self.specs.get(key).filter(|_| !is_running) else { return };
        let state = self.registry.state_of(key);
        state.set_status(ConnectorStatus::Connecting, None);
        let (stop, stopped) = watch::channel(false);
        let context = ConnectorContext { door: self.door.clone(), state, stop: stopped };
        let task = tokio::spawn(spec.clone().run(context));
        self.running.insert(key.clone(), RunningConnector { stop, task });
    }

    /// All at once, so that the slowest of them is all that is waited for.
    async fn stop(&mut self, keys: Vec<ConnectorKey>) {
        let mut ending = Vec::new();
        for key in keys {
            if let Some(running) = self.running.remove(&key) {
                let _ = running.stop.send(true);
                ending.push((key, running.task));
            }
        }
        let until = tokio::time::Instant::now() + Duration::from_secs(CONNECTOR_STOP_MAX_S);
        for (key, mut task) in ending {
            if tokio::time::timeout_at(until, &mut task).await.is_err() {
                task.abort();
            }
            if let Some(state) = self.registry.get(key.0, &key.1) {
                state.set_status(ConnectorStatus::Stopped, None);
            }
        }
    }
}

/// What is no more in the configuration leaves its session: whoever has taken the table out by mistake has lost nothing, and whoever
/// has meant it is told how to end it.
async fn warn_of_session(door: LocalDoor, state: Arc<ConnectorState>) {
    let client_id = state.client_id();
    if let Some(Reply::Client(client)) = door.describe(&client_id).await
        && client.session_expiry_s > 0
    {
        let queued = u64::from(client.queued) + u64::from(client.in_flight);
        log::event::connector_session_stays(state.kind.word(), &state.name, queued, &client_id);
    }
}

/// Milliseconds of unix time.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_current_until_it_works_again_or_is_stopped_and_is_kept() {
        let state = ConnectorState::new((ConnectorKind::Source, "s".into()));
        assert!(!state.told().is_failing(), "it begins");
        for ends in [ConnectorStatus::Connected, ConnectorStatus::Idle, ConnectorStatus::Stopped] {
            state.failed("away");
            state.set_status(ConnectorStatus::Connecting, None);
            state.set_status(ConnectorStatus::Connecting, Some("there".to_owned()));
            assert!(state.told().is_failing(), "{ends:?}");
            state.set_status(ends, None);
            assert!(!state.told().is_failing(), "{ends:?}");
            // It begins anew: what was before says nothing of that.
            state.set_status(ConnectorStatus::Connecting, None);
            assert!(!state.told().is_failing(), "{ends:?}");
        }
        // What goes wrong beside, as a dead letter does, is no reason for anything.
        state.set_status(ConnectorStatus::Connected, None);
        state.note_error("a dead letter");
        let told = state.told();
        assert!(!told.is_failing() && told.last_error.is_some_and(|(text, _)| text == "a dead letter"));
    }

    #[test]
    fn look_ups_that_hang_hold_up_no_other() {
        let runtime = runtime().unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        runtime.block_on(async {
            let hang = |_| {
                let held = Arc::clone(&held);
                tokio::task::spawn_blocking(move || _ = held.lock().unwrap().recv())
            };
            let hanging: Vec<JoinHandle<()>> = (0..40).map(hang).collect();
            let other = tokio::task::spawn_blocking(|| 7);
            assert_eq!(tokio::time::timeout(Duration::from_secs(60), other).await.unwrap().unwrap(), 7);
            drop(release);
            for task in hanging {
                task.await.unwrap();
            }
        });
    }

    #[test]
    fn what_waits_is_known_while_it_is_connected_alone() {
        let state = ConnectorState::new((ConnectorKind::Source, "s".into()));
        state.set_status(ConnectorStatus::Connected, None);
        state.set_lag(Some(7));
        state.set_status(ConnectorStatus::Connected, None);
        assert_eq!(state.told().lag, Some(7));
        state.set_status(ConnectorStatus::Connecting, None);
        assert_eq!(state.told().lag, None);
    }
}
