//! Nodes and the network between them under one virtual clock; one step is one event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use dunlin::ids::ConnectionId;
use dunlin::shard::Input;
use dunlin::telemetry::TransportCounters;
use dunlin::time::Now;

use super::canary::Canary;
use super::members::Members;
use super::messages::Messages;
use super::network::Network;
use super::node::{At, Host, Node, Process};
use super::plan::Plan;
use super::stats::Stats;
use super::streams::Streams;
use crate::oracle::Check;
use crate::rng::Rng;
use crate::trace::Trace;

/// Between two looks of a shard at its clock.
const TICK_MS: u64 = 25;
/// Between two looks at what everybody waits for.
const LOOK_MS: u64 = 50;
const UNIX_MS_AT_ZERO: u64 = 1_700_000_000_000;

/// An end of a connection between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PipeSide {
    pub(crate) pipe: u32,
    pub(crate) side: usize,
}

/// Something that happens to a node, in one of its lives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NodeEvent {
    Tick(usize),
    /// Something of a lane between two of its shards arrives.
    Lane(usize, usize),
    /// A client of it answers what it has read.
    Answer(usize),
    /// It sees the map.
    Watch,
    Dial {
        shard: usize,
        to: usize,
        connection: ConnectionId,
    },
    Accept(PipeSide),
    /// Something has arrived at this end of a connection.
    Arrive(PipeSide),
    /// The kernel has sent what a flush left over.
    Sent {
        shard: usize,
        connection: ConnectionId,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Of {
        node: usize,
        life: u64,
        what: NodeEvent,
    },
    Start(usize),
    /// Others call a process dead.
    Dead {
        node: usize,
        boot: u64,
    },
    /// Two nodes do not reach each other for too long.
    Apart(usize, usize),
    /// The kernel goes on with what a flush left over.
    Rest(PipeSide),
    Work,
    Chaos,
    Look,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) canary: Canary,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
    pub(crate) now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    numbers: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) streams: Streams,
    pub(crate) members: Members,
    pub(crate) messages: Messages,
    /// Nothing goes wrong any more.
    pub(crate) is_calm: bool,
    /// Clients want nothing new.
    pub(crate) is_resting: bool,
    /// What went wrong last has its consequences until then.
    pub(crate) trouble_until: u64,
    /// For so long nothing was wrong, all in all.
    pub(crate) quiet_ms: u64,
    /// Promises that were given in this step, and nodes that have let clients in: to be looked at behind it.
    pub(crate) given: Vec<(At, usize)>,
    pub(crate) opened: Vec<usize>,
}

impl World {
    pub(crate) fn new(seed: u64, canary: Canary) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(&mut rng);
        let mut world = Self {
            plan,
            rng,
            canary,
            trace: Trace::new(),
            stats: Stats::default(),
            now: 10_000,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            numbers: 0,
            nodes: (0..plan.nodes).map(|_| Node::default()).collect(),
            network: Network::default(),
            streams: Streams::new(canary),
            members: Members::default(),
            messages: Messages::default(),
            is_calm: false,
            is_resting: false,
            trouble_until: 0,
            quiet_ms: 0,
            given: Vec::new(),
            opened: Vec::new(),
        };
        for node in 0..plan.nodes {
            let later = world.rng.below(2_000) as u64;
            world.after(later, Event::Start(node));
        }
        world.after(1, Event::Work);
        world.after(LOOK_MS, Event::Look);
        world.after(plan.chaos_ms as u64, Event::Chaos);
        world
    }

    /// The clocks of a node.
    pub(crate) fn time(&self, node: usize) -> Now {
        let Node { mono_ahead_ms, unix_ahead_ms, .. } = self.nodes[node];
        let mono_ns = (self.now + mono_ahead_ms) * 1_000_000;
        Now { mono_ns, unix_ms: UNIX_MS_AT_ZERO + self.now + unix_ahead_ms }
    }

    /// Has something happen so much later.
    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.numbers += 1;
        self.queue.push(Reverse((self.now + ms, self.numbers)));
        self.events.insert(self.numbers, event);
    }

    /// The same to the process that a node has now.
    pub(crate) fn after_of(&mut self, ms: u64, node: usize, what: NodeEvent) {
        let life = self.nodes[node].life;
        self.after(ms, Event::Of { node, life, what });
    }

    pub(crate) fn up_to(&mut self, ms: usize) -> u64 {
        self.rng.between(0, ms) as u64
    }

    pub(crate) fn process(&mut self, node: usize) -> Option<&mut Process> {
        self.nodes[node].process.as_mut()
    }

    pub(crate) fn host(&mut self, at: At) -> Option<&mut Host> {
        Some(&mut self.process(at.node)?.hosts[at.shard])
    }

    pub(crate) fn is_paused(&self, node: usize) -> bool {
        self.nodes[node].paused_until > self.now
    }

    /// Nodes with a process.
    pub(crate) fn live(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].process.is_some()).collect()
    }

    /// What is wrong now shows for so long.
    pub(crate) fn trouble(&mut self, ms: u64) {
        self.trouble_until = self.trouble_until.max(self.now + ms);
    }

    pub(crate) fn step(&mut self) -> Check {
        self.trace.step += 1;
        let Reverse((at, number)) = self.queue.pop().expect("everybody waits for something");
        let event = self.events.remove(&number).expect("it was put there");
        self.now = self.now.max(at);
        self.trace.mix(&at.to_le_bytes());
        match event {
            Event::Of { node, life, what } => {
                if self.nodes[node].life != life {
                    return Ok(());
                }
                if self.is_paused(node) {
                    // It finds that when it goes on.
                    let left = self.nodes[node].paused_until - self.now;
                    self.after(left, event);
                    return Ok(());
                }
                self.happen(node, what)?;
            }
            Event::Start(node) => self.start(node)?,
            Event::Dead { node, boot } => self.call_dead(node, boot),
            Event::Apart(one, other) => self.end_apart(one, other),
            Event::Rest(end) => self.send_rest(end),
            Event::Work => self.work()?,
            Event::Chaos => self.chaos(),
            Event::Look => {
                self.after(LOOK_MS, Event::Look);
                self.look_who_waits(LOOK_MS)?;
            }
        }
        self.look_at_promises()
    }

    fn happen(&mut self, node: usize, what: NodeEvent) -> Check {
        match what {
            NodeEvent::Tick(shard) => self.tick(At { node, shard }),
            NodeEvent::Lane(from, to) => self.lane_arrives(node, from, to),
            NodeEvent::Watch => self.watch(node),
            NodeEvent::Answer(client) => self.answer(node, client),
            NodeEvent::Dial { shard, to, connection } => self.dial(At { node, shard }, to, connection),
            NodeEvent::Accept(end) => self.accept(end),
            NodeEvent::Arrive(end) => self.arrive(end),
            NodeEvent::Sent { shard, connection } => {
                self.with(At { node, shard }, |connections, told| connections.sent(told, connection, false))
            }
        }
    }

    /// A process begins.
    fn start(&mut self, node: usize) -> Check {
        if self.nodes[node].process.is_some() {
            return Ok(());
        }
        if self.is_apart_from_any(node) {
            // It would not reach all, and could not join.
            self.after(500, Event::Start(node));
            return Ok(());
        }
        let boot = self.rng.next();
        self.nodes[node].mono_ahead_ms = self.rng.below(100_000) as u64;
        let now = self.time(node);
        let mut process = Process::new(node, boot, now, &self.plan);
        process.born_quiet_ms = self.quiet_ms;
        self.nodes[node].process = Some(process);
        self.trace.note(&format!("n{node} starts as {boot:x}"));
        for shard in 0..self.plan.shards {
            self.begin_probe(At { node, shard })?;
            self.after_of(1 + shard as u64, node, NodeEvent::Tick(shard));
        }
        self.join(node, boot);
        self.trouble(2_000);
        Ok(())
    }

    fn tick(&mut self, at: At) -> Check {
        let now = self.time(at.node);
        let Some(host) = self.host(at) else { return Ok(()) };
        if host.connections.next_deadline().is_some_and(|due| due.is_due(now)) {
            self.with(at, |connections, told| connections.handle_deadlines(told))?;
        }
        if self.host(at).is_some_and(|host| host.connections.has_work()) {
            self.go_on(at)?;
        }
        let Some(host) = self.host(at) else { return Ok(()) };
        if host.shard.has_work() || host.shard.next_deadline().is_some_and(|due| due.is_due(now)) {
            self.turn(at, Input::Tick { transport: &TransportCounters::default() })?;
        }
        self.push_back(at);
        let has_work = self.host(at).is_some_and(|host| host.shard.has_work() || host.connections.has_work());
        self.after_of(if has_work { 1 } else { TICK_MS }, at.node, NodeEvent::Tick(at.shard));
        Ok(())
    }

    /// Some of what one shard of a node has said to another arrives.
    fn lane_arrives(&mut self, node: usize, from: usize, to: usize) -> Check {
        let waiting = self.process(node).and_then(|process| process.lanes.get(&(from, to))).map_or(0, VecDeque::len);
        for _ in 0..self.rng.between(1, 6 + waiting / 4) {
            let Some(lane) = self.process(node).and_then(|process| process.lanes.get_mut(&(from, to))) else { break };
            let Some(mut single) = lane.pop_front() else { break };
            let message = single.messages.pop().expect("a batch of one message");
            let from = dunlin::ids::ShardId(from as u8);
            self.turn(At { node, shard: to }, Input::Mesh { from, message, bytes: &single.bytes })?;
        }
        let lane = self.process(node).and_then(|process| process.lanes.get(&(from, to)));
        if lane.is_some_and(|lane| !lane.is_empty()) {
            self.move_lane(node, from, to);
        }
        Ok(())
    }

    /// A lane has something, and had nothing.
    pub(crate) fn move_lane(&mut self, node: usize, from: usize, to: usize) {
        let way = self.up_to(self.plan.lane_ms);
        let stuck = self.nodes[node].lanes_stuck_until.saturating_sub(self.now);
        self.after_of(way.max(stuck), node, NodeEvent::Lane(from, to));
    }
}
