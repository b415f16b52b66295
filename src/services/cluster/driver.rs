//! Drives a [`ClusterNode`]: brings what it asks to the engine and what the engine says back, and tells the rest of the process what it tells.
//!
//! Owns: the node, what it shows of the control store, and everything that is under way for it.
//! Always holds: nothing that is asked is waited for: each question is a task of its own, with an end, and beats go out when they are due. The node alone decides
//! what follows; here its news are passed on in their order. Only who takes the news is waited for ([`lanes`](super::lanes)).
//! Leaves to others: what is decided (`cluster`), the engine's words (`control_store`, `log_asks`), what the process does with news (`runtime`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::control_store::{ControlAnswer, ControlEvent, ControlStore};
use super::engine::Engine;
use super::engine_fault::EngineFault;
use super::lanes::{ClusterAppend, ClusterNews, ClusterWord, DriverLanes};
use super::log_asks::{self, LogMessage, LogRead};
use crate::cluster::{
    BootId, ClusterDocument, ClusterNode, ControlKey, EndReason, LogAnswer, LogOperation, NodeAsk, NodeIdentity,
    NodeNews, RangeCount, RangeId, RangePlace,
};
use crate::limits::{ENGINE_READS_MAX, ENGINE_RETRY_MS};
use crate::time::{Deadline, Now};

/// Longest time between two looks at the node, as it wants it.
const TICK_MS: u64 = 1_000;
/// Shortest, in milliseconds: what the node cannot do yet although it is due is not tried more often.
const REST_MS: u64 = 10;
/// What tasks have brought and was not looked at: they wait, and nobody waits for them.
const BROUGHT_MAX: usize = 2 * ENGINE_READS_MAX;

/// Which attempt to own which range.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    range: RangeId,
    attempt: u32,
}

/// What a task has brought from the engine.
enum Brought {
    Put(ControlAnswer),
    Answer(Attempt, LogAnswer),
    Message(Attempt, u32, LogMessage),
    /// The logs of all ranges are there, or cannot be.
    Logs(Result<(), EngineFault>),
}

/// Nothing follows any more.
struct Ended;

/// See the module's text.
pub(super) struct NodeDriver {
    clock: fn() -> Now,
    boot: BootId,
    node: ClusterNode,
    engine: Engine,
    lanes: DriverLanes,
    /// Once the node has asked for it.
    store: Option<ControlStore>,
    brought: (Sender<Brought>, Receiver<Brought>),
    tasks: JoinSet<()>,
    /// What is read for each range.
    reads: BTreeMap<RangeId, AbortHandle>,
    reading: Arc<Semaphore>,
    /// So many documents were put: each has a name.
    puts: u64,
    founded: Option<ClusterDocument>,
    has_logs: bool,
    is_silent: bool,
    /// To be told before anything else.
    answers: VecDeque<ClusterNews>,
}

impl NodeDriver {
    /// Of a process that has just begun, with so many shards.
    pub(super) fn new(
        engine: Engine,
        lanes: DriverLanes,
        identity: NodeIdentity,
        shards: usize,
        clock: fn() -> Now,
    ) -> Self {
        Self {
            clock,
            boot: identity.boot,
            node: ClusterNode::new(identity, shards),
            engine,
            lanes,
            store: None,
            brought: channel(BROUGHT_MAX),
            tasks: JoinSet::new(),
            reads: BTreeMap::new(),
            reading: Arc::new(Semaphore::new(ENGINE_READS_MAX)),
            puts: 0,
            founded: None,
            has_logs: false,
            is_silent: false,
            answers: VecDeque::new(),
        }
    }

    /// Until the node ends, or nobody is there to tell.
    pub(super) async fn run(mut self) {
        while self.turn().await.is_ok() {}
    }

    async fn turn(&mut self) -> Result<(), Ended> {
        self.tell_and_ask().await?;
        let pause = sleep(self.pause());
        tokio::select! {
            word = self.lanes.words.recv() => self.hear(word.ok_or(Ended)?),
            append = self.lanes.appends.recv() => self.append(append.ok_or(Ended)?),
            brought = self.brought.1.recv() => self.take(brought.expect("this side holds a sender as well")),
            event = shown(&mut self.store) => self.show(event),
            () = self.lanes.news.closed() => return Err(Ended),
            () = pause => {}
        }
        while self.tasks.try_join_next().is_some() {}
        self.node.handle_tick((self.clock)());
        Ok(())
    }

    /// How long nothing has to be done unless something comes.
    fn pause(&self) -> Duration {
        let now = (self.clock)();
        let at = self.node.next_deadline().map_or(TICK_MS, |Deadline(at)| at.saturating_sub(now.ms()));
        Duration::from_millis(at.clamp(REST_MS, TICK_MS))
    }

    /// Until the node has nothing more to tell and to ask.
    async fn tell_and_ask(&mut self) -> Result<(), Ended> {
        loop {
            self.found();
            while let Some(news) = self.answers.pop_front() {
                self.tell(news).await?;
            }
            if let Some(news) = self.node.next_news((self.clock)()) {
                self.tell(ClusterNews::Node(news)).await?;
            } else if let Some(ask) = self.node.next_ask((self.clock)()) {
                self.ask(ask);
            } else {
                return Ok(());
            }
        }
    }

    async fn tell(&self, news: ClusterNews) -> Result<(), Ended> {
        let is_last = matches!(news, ClusterNews::Failed(_) | ClusterNews::Node(NodeNews::Ends(_)));
        self.lanes.news.send(news).await.map_err(|_| Ended)?;
        if is_last { Err(Ended) } else { Ok(()) }
    }

    /// Looks whether the cluster is founded, which is told before any view.
    fn found(&mut self) {
        let Some(document) = self.node.membership().cluster() else { return };
        match &self.founded {
            Some(founded) if founded == document => {}
            // A node that begins anew knows nothing of before, but its shards do.
            Some(_) => {
                let why = EndReason::Unusable(ControlKey::Cluster, "it is another one than before".to_owned());
                self.answers.push_back(ClusterNews::Node(NodeNews::Ends(why)));
            }
            None => {
                let document = document.clone();
                self.founded = Some(document.clone());
                self.make_logs(document.ranges);
                self.answers.push_back(ClusterNews::Founded { document, replicas: self.engine.replicas() });
            }
        }
    }

    fn make_logs(&mut self, ranges: RangeCount) {
        let (engine, brought) = (self.engine.clone(), self.brought.0.clone());
        self.tasks.spawn(async move {
            let made = loop {
                match engine.make_logs(ranges).await {
                    Err(fault) if fault.may_pass() => sleep(Duration::from_millis(ENGINE_RETRY_MS)).await,
                    done => break done,
                }
            };
            let _ = brought.send(Brought::Logs(made)).await;
        });
    }

    fn ask(&mut self, ask: NodeAsk) {
        match ask {
            NodeAsk::Watch => self.store = Some(self.engine.show_control_store()),
            NodeAsk::Put(put) => {
                self.puts += 1;
                let name = format!("{:016x}.{}", self.boot.0, self.puts);
                let (engine, brought) = (self.engine.clone(), self.brought.0.clone());
                self.tasks.spawn(async move {
                    let answer = engine.put(&put, &name).await;
                    let _ = brought.send(Brought::Put(answer)).await;
                });
            }
            NodeAsk::Log { range, attempt, operation } => self.ask_log(Attempt { range, attempt }, operation),
        }
    }

    fn ask_log(&mut self, of: Attempt, operation: LogOperation) {
        if !self.has_logs {
            let failure = log_asks::failure(&operation);
            self.node.handle_answer(of.range, of.attempt, failure, (self.clock)());
            return;
        }
        let (ways, brought) = (self.engine.ways().clone(), self.brought.0.clone());
        let LogOperation::Read { read, from, to } = operation else {
            self.tasks.spawn(async move {
                let answer = log_asks::ask(&ways, of.range, operation).await;
                let _ = brought.send(Brought::Answer(of, answer)).await;
            });
            return;
        };
        let mut messages = Box::pin(log_asks::read(&ways, of.range, (from, to), Arc::clone(&self.reading)));
        let reading = self.tasks.spawn(async move {
            let mut is_whole = true;
            while let Some(next) = messages.next().await {
                match next {
                    LogRead::Message(message) => {
                        let _ = brought.send(Brought::Message(of, read, message)).await;
                        continue;
                    }
                    LogRead::Missing => {}
                    LogRead::Broken => is_whole = false,
                }
                break;
            }
            let _ = brought.send(Brought::Answer(of, LogAnswer::ReadEnded { read, is_whole })).await;
        });
        // Of a range one thing is read at a time.
        if let Some(earlier) = self.reads.insert(of.range, reading) {
            earlier.abort();
        }
    }

    fn hear(&mut self, word: ClusterWord) {
        match word {
            ClusterWord::Peer(slot, says) => self.node.handle_peer(slot, says),
            ClusterWord::Closed(ranges) => self.node.handle_closed(ranges),
            ClusterWord::Forgotten(slot) => self.node.handle_forgotten(slot),
            ClusterWord::Request(change) => {
                self.node.request(change);
            }
        }
    }

    fn append(&mut self, append: ClusterAppend) {
        let ClusterAppend { range, tag, count, records } = append;
        let n = self.node.append(range, count, &records);
        self.answers.push_back(ClusterNews::Appended { range, tag, n });
    }

    fn take(&mut self, brought: Brought) {
        let now = (self.clock)();
        match brought {
            Brought::Put(answer) => self.take_put(answer),
            Brought::Answer(Attempt { range, attempt }, answer) => {
                self.node.handle_answer(range, attempt, answer, now);
            }
            Brought::Message(Attempt { range, attempt }, read, message) => {
                self.node.handle_message((range, attempt, read), message.sequence, &message.bytes);
                // Whoever does not claim the range any more needs nothing more of it.
                if self.node.place_of(range) != RangePlace::Coming
                    && let Some(reading) = self.reads.remove(&range)
                {
                    reading.abort();
                }
            }
            Brought::Logs(Ok(())) => self.has_logs = true,
            Brought::Logs(Err(fault)) => self.answers.push_back(ClusterNews::Failed(fault)),
        }
    }

    fn take_put(&mut self, answer: ControlAnswer) {
        let is_silent = match answer {
            ControlAnswer::Stored(revision) => {
                self.store.iter_mut().for_each(|store| store.acknowledge(revision));
                false
            }
            ControlAnswer::Refused => {
                self.store.iter_mut().for_each(ControlStore::suspect);
                false
            }
            ControlAnswer::Failed(why) => {
                if !self.is_silent {
                    self.answers.push_back(ClusterNews::Silent(why));
                }
                true
            }
        };
        if std::mem::replace(&mut self.is_silent, is_silent) && !is_silent {
            self.answers.push_back(ClusterNews::Answers);
        }
    }

    fn show(&mut self, event: ControlEvent) {
        match event {
            ControlEvent::Entry { key, revision, bytes } => {
                self.node.handle_entry(key, revision, &bytes, (self.clock)());
            }
            ControlEvent::CaughtUp => self.node.handle_caught_up(),
            // It goes on by itself; whether the engine answers is told by what is put.
            ControlEvent::Interrupted(_) => {}
        }
    }
}

/// What the control store shows next; nothing before the node has asked for it.
async fn shown(store: &mut Option<ControlStore>) -> ControlEvent {
    match store {
        None => std::future::pending().await,
        Some(store) => store.next().await,
    }
}
