//! Nodes, the engine, and the way between them under one virtual clock; one step is one event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use dunlin::cluster::{
    ClusterNode, ControlKey, ControlPut, EndReason, LogAnswer, LogOperation, NodeAsk, NodeDocument, NodeId, NodeNews,
    NodeStanding, RangeId, RangePlace, RangeSet, Standing,
};
use dunlin::ids::ShardId;
use dunlin::time::Now;

use super::canary::{Cage, Canary};
use super::engine::{Control, EngineLog};
use super::links::{Links, Pulse};
use super::members::Members;
use super::node::{Content, Node};
use super::oracle::{Oracle, Stats};
use super::plan::Plan;
use crate::rng::Rng;
use crate::trace::Trace;

/// What a node asks, and gets no answer to for so long, has failed.
const TIME_OUT_MS: u64 = 2_000;
pub(crate) const TICK_MS: u64 = 50;

/// On its way to the engine.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Put(ControlPut),
    Log(AskedLog, LogOperation),
}

/// Whose log, and which attempt to own it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedLog {
    pub(crate) range: u16,
    pub(crate) attempt: u32,
}

/// On its way to a node.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer(AskedLog, LogAnswer),
    Messages { log: AskedLog, read: u32, messages: Vec<(u64, Vec<u8>)> },
}

/// The part of a read that is not sent yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadGoesOn {
    pub(crate) log: AskedLog,
    pub(crate) read: u32,
    pub(crate) next: u64,
    pub(crate) to: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Tick(usize),
    Work,
    Chaos,
    Request {
        from: Sender,
        request: Request,
    },
    ReadGoesOn {
        from: Sender,
        read: ReadGoesOn,
    },
    Reply {
        to: Sender,
        reply: Reply,
    },
    TimeOut {
        to: Sender,
        log: AskedLog,
        answer: LogAnswer,
    },
    /// Shards have closed the clients of these ranges.
    Closed {
        node: usize,
        life: u64,
        ranges: RangeSet,
    },
    /// They know nothing of a process that is gone any more.
    Forgotten {
        node: usize,
        life: u64,
        slot: ShardId,
    },
    Watch {
        node: usize,
        life: u64,
    },
    Pulse(Pulse),
}

/// Who has asked, in which of its lives, and by which number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) node: usize,
    pub(crate) life: u64,
    pub(crate) number: u64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) cage: Cage,
    pub(crate) trace: Trace,
    pub(crate) oracle: Oracle,
    pub(crate) now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    numbers: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) logs: Vec<EngineLog>,
    pub(crate) control: Control,
    pub(crate) links: Links,
    pub(crate) members: Members,
    /// The store of documents does nothing, until then.
    pub(crate) control_down_until: u64,
    next_id: u64,
    /// Nothing goes wrong any more.
    pub(crate) is_calm: bool,
    /// When the last request of each node arrives.
    arrivals: Vec<u64>,
    /// Runs whose MARK was forgotten.
    pub(crate) unmarked: BTreeSet<String>,
}

impl World {
    pub(crate) fn new(seed: u64, canary: Canary) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(&mut rng);
        let mut world = Self {
            plan,
            rng,
            cage: Cage::new(canary),
            trace: Trace::new(),
            oracle: Oracle::default(),
            now: 1_000,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            numbers: 0,
            nodes: (1..=plan.nodes).map(|node| Node::new(format!("n{node}"))).collect(),
            logs: (0..plan.ranges).map(|_| EngineLog::new()).collect(),
            control: Control::default(),
            links: Links::default(),
            members: Members::default(),
            control_down_until: 0,
            next_id: 0,
            is_calm: false,
            arrivals: vec![0; plan.nodes + 1],
            unmarked: BTreeSet::new(),
        };
        for node in 0..plan.nodes {
            world.after(node as u64, Event::Tick(node));
        }
        world.after(1, Event::Work);
        world.after(plan.chaos_ms as u64, Event::Chaos);
        world
    }

    pub(crate) fn time(&self) -> Now {
        Now { mono_ns: self.now * 1_000_000, unix_ms: 1_700_000_000_000 + self.now }
    }

    pub(crate) fn stats(&mut self) -> &mut Stats {
        &mut self.oracle.stats
    }

    /// Has something happen so much later.
    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.numbers += 1;
        self.queue.push(Reverse((self.now + ms, self.numbers)));
        self.events.insert(self.numbers, event);
    }

    pub(crate) fn delay(&mut self) -> u64 {
        1 + self.rng.below(self.plan.delay_max_ms) as u64
    }

    pub(crate) fn chance(&mut self, of_1000: usize) -> bool {
        !self.is_calm && of_1000 > 0 && self.rng.below(1_000) < of_1000
    }

    pub(crate) fn step(&mut self) -> Result<(), String> {
        self.trace.step += 1;
        let Reverse((at, number)) = self.queue.pop().expect("nodes tick");
        let event = self.events.remove(&number).expect("it was put there");
        self.now = self.now.max(at);
        self.trace.mix(&at.to_le_bytes());
        if let Some(node) = event.node()
            && self.nodes[node].paused_until > self.now
        {
            // It is heard when the node goes on.
            let left = self.nodes[node].paused_until - self.now;
            self.after(left, event);
            return Ok(());
        }
        match event {
            Event::Tick(node) => self.tick(node)?,
            Event::Work => self.work()?,
            Event::Chaos => self.chaos(),
            Event::Request { from, request } => self.serve(from, request)?,
            Event::ReadGoesOn { from, read } => self.serve_read(from, read),
            Event::Reply { to, reply } => self.hear(to, &reply)?,
            Event::TimeOut { to, log, answer } => {
                if self.nodes[to.node].life == to.life && self.nodes[to.node].open.remove(&to.number) {
                    self.answer(to.node, log, answer)?;
                }
            }
            Event::Closed { node, life, ranges } => {
                self.of_life(node, life).into_iter().for_each(|node| node.handle_closed(ranges));
                self.ask_and_tell(node)?;
            }
            Event::Forgotten { node, life, slot } => {
                self.of_life(node, life).into_iter().for_each(|node| node.handle_forgotten(slot));
            }
            Event::Watch { node, life } => self.watch(node, life)?,
            Event::Pulse(pulse) => self.hear_pulse(pulse)?,
        }
        self.look_who_serves()
    }

    fn tick(&mut self, index: usize) -> Result<(), String> {
        self.after(TICK_MS, Event::Tick(index));
        let now = self.time();
        if self.nodes[index].starts_at.is_some_and(|at| at <= self.now) {
            let (boot, ranges) = (self.rng.next(), self.plan.ranges);
            let node = &mut self.nodes[index];
            (node.starts_at, node.boot) = (None, boot);
            node.begin(ranges, self.plan.contends && !self.is_calm);
            self.trace.note(&format!("{} starts", self.nodes[index].name));
        }
        self.nodes[index].cluster.iter_mut().for_each(|node| node.handle_tick(now));
        self.ask_and_tell(index)?;
        self.tend_links(index)?;
        self.count_who_serves_on(index);
        self.look_at_links()
    }

    fn count_who_serves_on(&mut self, index: usize) {
        let node = &self.nodes[index];
        let serves = node.view.as_ref().is_some_and(|view| view.standing == NodeStanding::Serves);
        let unheard_at = node.cluster.as_ref().and_then(|node| node.membership().unheard_at());
        // Longer than it may be in doubt.
        let is_long = unheard_at.is_some_and(|at| at.0 + 2_000 < self.now);
        self.stats().served_on += u64::from(serves && is_long);
    }

    /// Asks and tells whatever a node has to ask and to tell.
    pub(crate) fn ask_and_tell(&mut self, index: usize) -> Result<(), String> {
        let now = self.time();
        while let Some(cluster) = self.nodes[index].cluster.as_mut() {
            if let Some(news) = cluster.next_news(now) {
                self.do_as_told(index, news)?;
                continue;
            }
            match cluster.next_ask(now) {
                Some(NodeAsk::Watch) => {
                    self.nodes[index].seen = 0;
                    if !std::mem::replace(&mut self.nodes[index].watches, true) {
                        self.watch_later(index);
                    }
                }
                Some(NodeAsk::Put(put)) => self.send(index, Request::Put(put)),
                Some(NodeAsk::Log { range, attempt, operation }) => {
                    self.send(index, Request::Log(AskedLog { range: range.0, attempt }, operation));
                }
                None => break,
            }
        }
        Ok(())
    }

    fn do_as_told(&mut self, index: usize, news: NodeNews) -> Result<(), String> {
        let life = self.nodes[index].life;
        if !matches!(news, NodeNews::View(_)) {
            self.trace.note(&format!("{}: {news:?}", self.nodes[index].name));
        }
        match news {
            NodeNews::View(view) => {
                let own = self.nodes[index].cluster.as_ref().and_then(|node| node.membership().node());
                if view.peers.iter().any(|peer| Some(peer.node) == own) {
                    return Err("a node is its own peer".to_owned());
                }
                self.nodes[index].view = Some(view);
            }
            NodeNews::Heard(is_heard) => self.nodes[index].is_heard = is_heard,
            NodeNews::CloseRanges(ranges) => {
                let delay = self.rng.between(1, 200) as u64;
                self.after(delay, Event::Closed { node: index, life, ranges });
            }
            NodeNews::ForgetSlot(slot) => {
                let delay = self.rng.between(1, 2_000) as u64;
                self.after(delay, Event::Forgotten { node: index, life, slot });
            }
            NodeNews::Dead(node) => {
                self.stats().deaths += 1;
                self.members.called_dead.insert(node, self.now);
            }
            NodeNews::CutOff(_) => {}
            NodeNews::Expelled => self.stats().expelled += 1,
            NodeNews::Ends(EndReason::Replaced) => {
                self.stats().expelled += 1;
                self.nodes[index].stop(Some(self.now));
            }
            NodeNews::Ends(EndReason::Unusable(key, what)) => return Err(format!("{key} cannot be used: {what}")),
            NodeNews::BegunAnew(range) => {
                let before = self.nodes[index].contents.insert(range, Content::new());
                let is_again = before.is_some_and(|content| !content.is_over && !content.is_quarantined);
                self.stats().begun_anew += u64::from(is_again);
            }
            NodeNews::Owned { range, .. }
            | NodeNews::Lost { range, .. }
            | NodeNews::Durable { range, .. }
            | NodeNews::Quarantined { range, .. } => self.hear_log(index, range, &news)?,
        }
        Ok(())
    }

    fn hear_log(&mut self, index: usize, range: RangeId, news: &NodeNews) -> Result<(), String> {
        let content = self.nodes[index].contents.get_mut(&range).expect("a claim begins with nothing");
        match news {
            NodeNews::Owned { mark, .. } => {
                content.mark = Some(*mark);
                let slices = content.slices.clone();
                self.oracle.look(range.0, &self.logs[usize::from(range.0)])?;
                self.oracle.owned(range.0, *mark, &slices)?;
            }
            NodeNews::Durable { n, .. } => {
                let later = content.waiting.split_off(&(*n + 1));
                let durable = std::mem::replace(&mut content.waiting, later);
                for id in durable.into_values().flatten() {
                    self.acknowledge(range.0, id)?;
                }
            }
            NodeNews::Lost { .. } => {
                (content.mark, content.page, content.is_over) = (None, None, true);
                content.waiting.clear();
                self.stats().lost += 1;
            }
            NodeNews::Quarantined { sequence, damage, .. } => {
                content.is_quarantined = true;
                self.stats().quarantined += 1;
                // The place that is named is where it was tried last: it may be an earlier one that nobody has.
                let (log, now) = (&self.logs[usize::from(range.0)], self.now);
                if (log.first..=*sequence).all(|place| log.lacks(place, now) < 2) {
                    return Err(format!(
                        "range {}: quarantined at {sequence} ({damage}), which replicas have whole",
                        range.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A node, if its process is still the one that was meant.
    fn of_life(&mut self, index: usize, life: u64) -> Option<&mut ClusterNode> {
        let node = &mut self.nodes[index];
        node.cluster.as_mut().filter(|_| node.life == life)
    }

    pub(crate) fn acknowledge(&mut self, range: u16, id: u64) -> Result<(), String> {
        self.oracle.look(range, &self.logs[usize::from(range)])?;
        self.oracle.acknowledged(range, id)
    }

    pub(crate) fn standing(&self, index: usize) -> Standing {
        self.nodes[index].cluster.as_ref().map_or(Standing::Out, |node| node.standing(self.time()))
    }

    fn look_who_serves(&mut self) -> Result<(), String> {
        if self.plan.contends {
            return Ok(());
        }
        for range in 0..self.plan.ranges {
            let serving = (0..self.nodes.len()).filter(|index| self.serves(*index, range)).count();
            self.oracle.serving(range, serving, self.now)?;
        }
        Ok(())
    }

    /// Whether a node serves clients of a range.
    pub(crate) fn serves(&self, index: usize, range: u16) -> bool {
        let node = &self.nodes[index];
        if !node.runs(self.now) && !self.cage.is(Canary::ServeUnheard) {
            return false;
        }
        let may_serve = node.view.as_ref().is_some_and(|view| view.standing == NodeStanding::Serves);
        (may_serve || self.cage.is(Canary::ServeUnheard))
            && node.cluster.as_ref().is_some_and(|node| node.place_of(RangeId(range)) == RangePlace::Here)
    }

    /// Clients publish: ids for the range of one who takes itself for its owner.
    fn work(&mut self) -> Result<(), String> {
        let pause = 1 + self.rng.below(self.plan.work_ms) as u64;
        self.after(pause, Event::Work);
        if self.is_calm && self.rng.percent(50) {
            return Ok(());
        }
        let (index, range) = (self.rng.below(self.nodes.len()), self.rng.below(usize::from(self.plan.ranges)) as u16);
        if !self.nodes[index].runs(self.now) || self.standing(index) == Standing::Paused {
            return Ok(());
        }
        let begins_state = self.rng.below(1_000) < self.plan.compact;
        let new: Vec<u64> = (0..self.rng.between(1, 3)).map(|more| self.next_id + more as u64).collect();
        let node = &mut self.nodes[index];
        let range_id = RangeId(range);
        let Node { cluster: Some(cluster), contents, .. } = node else { return Ok(()) };
        let Some(content) = contents.get_mut(&range_id).filter(|content| content.mark.is_some()) else { return Ok(()) };
        let may_begin = cluster.place_of(range_id) == RangePlace::Here && !cluster.is_compacting(range_id);
        if begins_state && content.page.is_none() && may_begin {
            content.page = Some(0);
        }
        content.append_page(cluster, range_id);
        if content.append(cluster, range_id, &new) {
            self.next_id += new.len() as u64;
            if self.cage.is(Canary::AckBeforeStored) {
                for id in new {
                    self.acknowledge(range, id)?;
                }
            }
        }
        self.ask_and_tell(index)
    }

    /// What a node asks goes on its way, and fails if nothing comes of it.
    fn send(&mut self, index: usize, request: Request) {
        self.numbers += 1;
        let from = Sender { node: index, life: self.nodes[index].life, number: self.numbers };
        self.nodes[index].open.insert(from.number);
        if let Request::Log(log, operation) = &request {
            let answer = match operation {
                LogOperation::Look => LogAnswer::LookFailed,
                LogOperation::Read { read, .. } => LogAnswer::ReadEnded { read: *read, is_whole: false },
                LogOperation::StepDown => LogAnswer::SteppedDown,
                LogOperation::Append { id, .. } => LogAnswer::Failed { id: *id },
                LogOperation::Purge { .. } => LogAnswer::PurgeFailed,
            };
            match operation {
                LogOperation::Append { id, .. } if id.attempt > 1 => self.stats().said_again += 1,
                LogOperation::StepDown => self.stats().step_downs += 1,
                _ => {}
            }
            self.after(TIME_OUT_MS, Event::TimeOut { to: from, log: *log, answer });
        }
        if self.nodes[index].cut_until > self.now || self.chance(self.plan.lose_request) {
            return;
        }
        let mut delay = self.delay();
        if self.nodes[index].stuck_until > self.now {
            delay += self.nodes[index].stuck_until - self.now;
        }
        if self.plan.keeps_order {
            let arrives_at = (self.now + delay).max(self.arrivals[index]);
            self.arrivals[index] = arrives_at;
            delay = arrives_at - self.now;
        }
        if self.chance(self.plan.duplicate) {
            let late = delay + self.delay();
            self.after(late, Event::Request { from, request: request.clone() });
        }
        self.after(delay, Event::Request { from, request });
    }

    fn hear(&mut self, to: Sender, reply: &Reply) -> Result<(), String> {
        let node = &mut self.nodes[to.node];
        if node.life != to.life {
            return Ok(());
        }
        match reply {
            Reply::Answer(log, answer) => {
                let is_open = node.open.remove(&to.number);
                if is_open || matches!(answer, LogAnswer::Appended { .. } | LogAnswer::Refused { .. }) {
                    self.answer(to.node, *log, *answer)?;
                }
                Ok(())
            }
            Reply::Messages { log, read, messages } => {
                let range = RangeId(log.range);
                let Node { cluster: Some(cluster), contents, .. } = node else { return Ok(()) };
                for (sequence, bytes) in messages {
                    if let Some(batch) = cluster.handle_message((range, log.attempt, *read), *sequence, bytes) {
                        let content = contents.get_mut(&range).expect("a claim begins with nothing");
                        content.restore(&batch, &mut self.cage);
                    }
                }
                self.ask_and_tell(to.node)
            }
        }
    }

    fn answer(&mut self, index: usize, log: AskedLog, answer: LogAnswer) -> Result<(), String> {
        let (now, range) = (self.time(), RangeId(log.range));
        let Node { cluster: Some(cluster), contents, .. } = &mut self.nodes[index] else { return Ok(()) };
        if let (LogAnswer::Appended { id, .. }, Some(content)) = (answer, contents.get_mut(&range))
            && content.mark.is_some_and(|mark| mark.attempt == log.attempt)
            && content.waiting.keys().next().is_some_and(|first| *first < id.n)
        {
            self.oracle.stats.early += 1;
            if self.cage.is(Canary::AckOutOfOrder) {
                let early = content.waiting.remove(&id.n).unwrap_or_default();
                cluster.handle_answer(range, log.attempt, answer, now);
                for id in early {
                    self.acknowledge(log.range, id)?;
                }
                return self.ask_and_tell(index);
            }
        }
        cluster.handle_answer(range, log.attempt, answer, now);
        self.ask_and_tell(index)
    }

    /// A node sees what has happened in the store since it last looked.
    fn watch(&mut self, index: usize, life: u64) -> Result<(), String> {
        let now = self.time();
        let node = &mut self.nodes[index];
        if node.life != life {
            return Ok(());
        }
        if node.cut_until <= self.now && self.control_down_until <= self.now {
            let Some(cluster) = node.cluster.as_mut() else { return Ok(()) };
            let own = cluster.membership().node();
            for (event, (key, bytes)) in self.control.events.iter().enumerate().skip(node.seen) {
                let is_hidden =
                    self.cage.is(Canary::HideBeats) && matches!(key, ControlKey::Node(number) if Some(*number) != own);
                let changed = self.cage.is(Canary::CutEachOther).then(|| lacks_all(*key, own, bytes)).flatten();
                if !is_hidden {
                    cluster.handle_entry(*key, event as u64 + 1, changed.as_ref().unwrap_or(bytes), now);
                }
            }
            node.seen = self.control.events.len();
            cluster.handle_caught_up();
            self.ask_and_tell(index)?;
        }
        if self.nodes[index].life == life {
            self.watch_later(index);
        }
        Ok(())
    }

    pub(crate) fn watch_later(&mut self, index: usize) {
        let delay = 10 + self.delay() + u64::from(self.chance(10)) * 1_500;
        self.after(delay, Event::Watch { node: index, life: self.nodes[index].life });
    }
}

/// The document of another node that does not reach somebody, as if it reached nobody.
fn lacks_all(key: ControlKey, own: Option<NodeId>, bytes: &[u8]) -> Option<Vec<u8>> {
    let ControlKey::Node(node) = key else { return None };
    let mut document = NodeDocument::decode(bytes).ok().filter(|_| Some(node) != own)?;
    if document.cut_off.is_empty() {
        return None;
    }
    for other in (1..=4).filter_map(NodeId::new).filter(|other| *other != node) {
        document.cut_off.insert(other);
    }
    Some(document.encode())
}

impl Event {
    /// The node that it happens to.
    const fn node(&self) -> Option<usize> {
        match self {
            Self::Tick(node) | Self::Watch { node, .. } | Self::Closed { node, .. } | Self::Forgotten { node, .. } => {
                Some(*node)
            }
            Self::Reply { to, .. } | Self::TimeOut { to, .. } => Some(to.node),
            Self::Pulse(pulse) => Some(pulse.to.node),
            Self::Work | Self::Chaos | Self::Request { .. } | Self::ReadGoesOn { .. } => None,
        }
    }
}
