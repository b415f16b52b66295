//! Nodes, the engine, and the way between them under one virtual clock; one step is one event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use dunlin::cluster::{
    BootId, ControlKey, ControlPut, LogAnswer, LogOperation, MapChange, MembershipNews, RangeClaim, RangeId, RangeLog,
    RangeNews, Standing,
};
use dunlin::time::Now;

use super::canary::{Cage, Canary};
use super::engine::{Control, EngineLog};
use super::node::{Claim, Node};
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
    Log(u16, LogOperation),
}

/// On its way to a node.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer(u16, LogAnswer),
    Messages { range: u16, read: u32, messages: Vec<(u64, Vec<u8>)> },
}

/// The part of a read that is not sent yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadGoesOn {
    pub(crate) range: u16,
    pub(crate) read: u32,
    pub(crate) next: u64,
    pub(crate) to: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Tick(usize),
    Work,
    Chaos,
    Request { from: Sender, request: Request },
    ReadGoesOn { from: Sender, read: ReadGoesOn },
    Reply { to: Sender, reply: Reply },
    TimeOut { to: Sender, range: u16, answer: LogAnswer },
    Watch { node: usize, life: u64 },
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
            Event::TimeOut { to, range, answer } => {
                if self.nodes[to.node].life == to.life && self.nodes[to.node].open.remove(&to.number) {
                    self.answer(to.node, range, answer)?;
                }
            }
            Event::Watch { node, life } => self.watch(node, life)?,
        }
        self.look_who_serves()
    }

    fn tick(&mut self, index: usize) -> Result<(), String> {
        self.after(TICK_MS, Event::Tick(index));
        let now = self.time();
        if self.nodes[index].starts_at.is_some_and(|at| at <= self.now) {
            let (boot, ranges) = (self.rng.next(), self.plan.ranges);
            let node = &mut self.nodes[index];
            (node.starts_at, node.boot, node.attempts) = (None, boot, 0);
            node.begin(ranges);
            self.trace.note(&format!("{} starts", self.nodes[index].name));
            self.watch_later(index);
        }
        for claim in self.nodes[index].claims.values_mut() {
            claim.log.handle_tick(now);
        }
        self.ask_and_tell(index)
    }

    /// Asks and tells whatever a node has to ask and to tell.
    pub(crate) fn ask_and_tell(&mut self, index: usize) -> Result<(), String> {
        let now = self.time();
        loop {
            let node = &mut self.nodes[index];
            let Some(membership) = node.membership.as_mut() else { return Ok(()) };
            if let Some(news) = membership.next_news() {
                self.hear_membership(index, news)?;
                continue;
            }
            if let Some(put) = membership.next_put(now) {
                self.send(index, Request::Put(put));
                continue;
            }
            let mut news = None;
            let mut operation = None;
            for (range, claim) in &mut node.claims {
                news = claim.log.next_news().map(|news| (*range, news));
                if news.is_none() {
                    operation = claim.log.next_operation(now).map(|operation| (*range, operation));
                }
                if news.is_some() || operation.is_some() {
                    break;
                }
            }
            match (news, operation) {
                (Some((range, news)), _) => self.hear_log(index, range, news)?,
                (None, Some((range, operation))) => self.send(index, Request::Log(range, operation)),
                (None, None) => break,
            }
        }
        self.claim(index);
        Ok(())
    }

    fn hear_membership(&mut self, index: usize, news: MembershipNews) -> Result<(), String> {
        match news {
            MembershipNews::Map => {}
            MembershipNews::Dead(dead) => {
                self.stats().deaths += 1;
                self.trace.note(&format!("{} calls {dead} dead", self.nodes[index].name));
            }
            MembershipNews::Expelled | MembershipNews::Replaced => {
                self.stats().expelled += 1;
                self.trace.note(&format!("{} is out: {news:?}", self.nodes[index].name));
                self.nodes[index].begin(self.plan.ranges);
                self.watch_later(index);
            }
            MembershipNews::Unusable(key, what) => return Err(format!("{key} cannot be used: {what}")),
        }
        Ok(())
    }

    /// Claims what the map says, and gives up what it does not.
    fn claim(&mut self, index: usize) {
        let (now, contends) = (self.time(), self.plan.contends && !self.is_calm);
        let Node { membership: Some(membership), claims, attempts, boot, .. } = &mut self.nodes[index] else { return };
        let (Some(map), Some(number)) = (membership.map(), membership.node()) else { return };
        claims.retain(|range, claim| {
            let is_mine = map.entries()[usize::from(*range)].owner == Some(number) || contends;
            if !is_mine {
                claim.log.release();
            }
            is_mine
        });
        let mut given_up = Vec::new();
        for range in map.owned_by(number) {
            let entry = map.entries()[usize::from(range.0)];
            let claim = claims.get_mut(&range.0);
            let is_due = claim.as_ref().is_none_or(|claim| claim.again_at.is_some_and(|at| at <= now.ms()));
            if is_due && entry.next.is_none() && membership.standing(now) == Standing::Member {
                *attempts += 1;
                let (boot, floor) = (BootId(*boot), membership.floor(range));
                let claim = RangeClaim { range, node: number, boot, attempt: *attempts, floor };
                claims.insert(range.0, Claim::new(RangeLog::new(claim)));
            } else if entry.next.is_some() {
                // It gives the range up once nothing is under way, and at once if it has not even claimed it.
                let is_idle = claim.as_ref().is_none_or(|claim| claim.again_at.is_some() || claim.is_quarantined);
                let claim = claim.map(|claim| &mut claim.log);
                if is_idle || claim.as_ref().is_some_and(|log| log.is_idle()) {
                    claim.into_iter().for_each(RangeLog::release);
                    given_up.push(MapChange::GivenUp { range, from: number });
                }
            }
        }
        for change in given_up {
            membership.request(change);
        }
    }

    fn hear_log(&mut self, index: usize, range: u16, news: RangeNews) -> Result<(), String> {
        self.trace.note(&format!("{} range {range}: {news:?}", self.nodes[index].name));
        let standing = self.standing(index);
        let node = &mut self.nodes[index];
        let (Some(claim), Some(membership)) = (node.claims.get_mut(&range), node.membership.as_mut()) else {
            return Ok(());
        };
        match news {
            RangeNews::BegunAnew => {
                claim.slices.iter_mut().for_each(Vec::clear);
                self.stats().begun_anew += 1;
            }
            RangeNews::Owned { mark } => {
                claim.mark = Some(mark);
                membership.tell_floor(RangeId(range), mark.sequence);
                let owner = membership.node().expect("who claims is a member");
                membership.request(MapChange::Marked { range: RangeId(range), owner, sequence: mark.sequence });
                let slices = claim.slices.clone();
                self.oracle.look(range, &self.logs[usize::from(range)])?;
                self.oracle.owned(range, mark, &slices)?;
            }
            RangeNews::Durable { n } => {
                let mark = claim.mark.expect("who has something durable has marked the range");
                membership.tell_floor(RangeId(range), mark.sequence + n);
                let later = claim.waiting.split_off(&(n + 1));
                let durable = std::mem::replace(&mut claim.waiting, later);
                if !matches!(standing, Standing::Paused | Standing::Out) {
                    for id in durable.into_values().flatten() {
                        self.acknowledge(range, id)?;
                    }
                }
            }
            RangeNews::Lost { .. } => {
                (claim.mark, claim.page) = (None, None);
                claim.waiting.clear();
                claim.again_at = Some(self.now + 50);
                self.stats().lost += 1;
            }
            RangeNews::Quarantined { sequence, damage } => {
                claim.is_quarantined = true;
                self.stats().quarantined += 1;
                if self.logs[usize::from(range)].lacks(sequence, self.now) < 2 {
                    return Err(format!(
                        "range {range}: quarantined at {sequence} ({damage}), which replicas have whole"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn acknowledge(&mut self, range: u16, id: u64) -> Result<(), String> {
        self.oracle.look(range, &self.logs[usize::from(range)])?;
        self.oracle.acknowledged(range, id)
    }

    pub(crate) fn standing(&self, index: usize) -> Standing {
        self.nodes[index].membership.as_ref().map_or(Standing::Out, |membership| membership.standing(self.time()))
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
        let is_heard = self.standing(index) == Standing::Member || self.cage.is(Canary::ServeUnheard);
        is_heard && node.claims.get(&range).is_some_and(|claim| claim.mark.is_some())
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
        let Some(claim) = node.claims.get_mut(&range).filter(|claim| claim.mark.is_some()) else { return Ok(()) };
        if begins_state && claim.page.is_none() && claim.log.owner().is_some_and(|owner| !owner.is_compacting()) {
            claim.page = Some(0);
        }
        claim.append_page();
        let is_moving = node
            .membership
            .as_ref()
            .and_then(|membership| membership.map())
            .is_some_and(|map| map.entries()[usize::from(range)].next.is_some());
        if !is_moving && claim.append(&new) {
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
        if let Request::Log(range, operation) = &request {
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
            self.after(TIME_OUT_MS, Event::TimeOut { to: from, range: *range, answer });
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
            Reply::Answer(range, answer) => {
                let is_open = node.open.remove(&to.number);
                if is_open || matches!(answer, LogAnswer::Appended { .. } | LogAnswer::Refused { .. }) {
                    self.answer(to.node, *range, *answer)?;
                }
                Ok(())
            }
            Reply::Messages { range, read, messages } => {
                let Some(claim) = node.claims.get_mut(range) else { return Ok(()) };
                for (sequence, bytes) in messages {
                    if let Some(batch) = claim.log.handle_message(*read, *sequence, bytes) {
                        // Borrowed from the message, not from the log.
                        claim.restore(&batch, &mut self.cage);
                    }
                }
                self.ask_and_tell(to.node)
            }
        }
    }

    fn answer(&mut self, index: usize, range: u16, answer: LogAnswer) -> Result<(), String> {
        let now = self.time();
        let Some(claim) = self.nodes[index].claims.get_mut(&range) else { return Ok(()) };
        if let (LogAnswer::Appended { id, .. }, Some(_)) = (answer, claim.mark)
            && claim.waiting.keys().next().is_some_and(|first| *first < id.n)
        {
            self.oracle.stats.early += 1;
            if self.cage.is(Canary::AckOutOfOrder) {
                for id in claim.waiting.remove(&id.n).unwrap_or_default() {
                    self.acknowledge(range, id)?;
                }
            }
        }
        let claim = self.nodes[index].claims.get_mut(&range).expect("it was there");
        claim.log.handle_answer(answer, now);
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
            let Some(membership) = node.membership.as_mut() else { return Ok(()) };
            let own = membership.node();
            for (event, (key, bytes)) in self.control.events.iter().enumerate().skip(node.seen) {
                let is_hidden =
                    self.cage.is(Canary::HideBeats) && matches!(key, ControlKey::Node(number) if Some(*number) != own);
                if !is_hidden {
                    membership.handle_entry(*key, event as u64 + 1, bytes, now);
                }
            }
            node.seen = self.control.events.len();
            membership.handle_caught_up();
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

impl Event {
    /// The node that it happens to.
    const fn node(&self) -> Option<usize> {
        match self {
            Self::Tick(node) | Self::Watch { node, .. } => Some(*node),
            Self::Reply { to, .. } | Self::TimeOut { to, .. } => Some(to.node),
            Self::Work | Self::Chaos | Self::Request { .. } | Self::ReadGoesOn { .. } => None,
        }
    }
}
