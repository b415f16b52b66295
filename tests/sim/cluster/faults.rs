//! The engine's side of the way, and what goes wrong: with messages, replicas, leaders, and nodes.

use dunlin::cluster::{AppendId, ControlKey, LogAnswer, LogOperation, MapChange, NodeId, RangeBatch, RangeId};

use super::canary::Canary;
use super::engine::{Fault, REPLICAS, Stored};
use super::world::{AskedLog, Event, ReadGoesOn, Reply, Request, Sender, World};

/// Messages of a read that go together.
const CHUNK: u64 = 8;

impl World {
    /// A request has arrived.
    pub(crate) fn serve(&mut self, from: Sender, request: Request) -> Result<(), String> {
        match request {
            Request::Put(put) => {
                let is_stored =
                    self.control_down_until <= self.now && self.control.put(put.key, put.expected, &put.bytes);
                if is_stored && put.key == ControlKey::Map {
                    self.look_at_map(&put.bytes)?;
                }
            }
            Request::Log(log, operation) => self.serve_log(from, log, operation)?,
        }
        Ok(())
    }

    fn serve_log(&mut self, from: Sender, log: AskedLog, operation: LogOperation) -> Result<(), String> {
        let (now, asked, range) = (self.now, log, log.range);
        let log = &mut self.logs[usize::from(range)];
        if log.leaderless_until > now {
            // Some servers say so, some say nothing.
            if let LogOperation::Append { id, .. } = operation
                && self.rng.percent(50)
            {
                self.reply(from, Reply::Answer(asked, LogAnswer::Failed { id }));
            }
            return Ok(());
        }
        let answer = match operation {
            LogOperation::Look => {
                let (first, end, last) = (log.first, log.last(), log.seen_last(now));
                let behind = if self.chance(self.plan.stale) { self.rng.between(1, 3) as u64 } else { 0 };
                let last = last.saturating_sub(behind).max(first - 1);
                self.oracle.stats.stale += u64::from(last < end);
                LogAnswer::Info { first, last }
            }
            LogOperation::StepDown => {
                log.leader = (log.leader + 1) % REPLICAS;
                LogAnswer::SteppedDown
            }
            LogOperation::Read { read, from: next, to } => {
                self.serve_read(from, ReadGoesOn { log: asked, read, next, to });
                return Ok(());
            }
            LogOperation::Append { id, expected_last, message_id, bytes } => {
                self.serve_append((range, id), expected_last, &message_id, &bytes)
            }
            LogOperation::Purge { before } => {
                let more = u64::from(self.cage.is(Canary::PurgeTooFar));
                let log = &mut self.logs[usize::from(range)];
                log.purge(before + more);
                self.oracle.look(range, log)?;
                self.oracle.stats.purged += 1;
                LogAnswer::Purged
            }
        };
        self.reply(from, Reply::Answer(asked, answer));
        Ok(())
    }

    fn serve_append(&mut self, (range, id): (u16, AppendId), expected: u64, name: &str, bytes: &[u8]) -> LogAnswer {
        let run = name.split_once('.').map_or(name, |(run, _)| run).to_owned();
        if id.n == 0 && id.attempt == 1 && self.cage.breaks(Canary::ForgetMark, 3) {
            self.unmarked.insert(format!("{range} {run}"));
        }
        let is_unmarked = self.unmarked.contains(&format!("{range} {run}"));
        if is_unmarked && id.n == 0 {
            return LogAnswer::Appended { id, sequence: expected + 1 };
        }
        let own_expected = expected - u64::from(is_unmarked);
        let is_unfenced = self.cage.breaks(Canary::SkipFence, 10);
        let name = if self.cage.is(Canary::ShareNames) {
            let batch = RangeBatch::read(bytes).expect("nodes append whole batches");
            format!("{}.{}", batch.header.mark.sequence, batch.header.n)
        } else {
            name.to_owned()
        };
        let expects = (!is_unfenced).then_some(own_expected);
        let log = &mut self.logs[usize::from(range)];
        match log.append(expects, &name, bytes, (self.now, self.plan.names_ms)) {
            Stored::Refused => {
                self.oracle.stats.refused += 1;
                LogAnswer::Refused { id }
            }
            Stored::At(_) if is_unfenced || is_unmarked => LogAnswer::Appended { id, sequence: expected + 1 },
            Stored::At(sequence) => LogAnswer::Appended { id, sequence },
        }
    }

    /// Sends a part of what is read, as the leader has it at this moment.
    pub(crate) fn serve_read(&mut self, from: Sender, read: ReadGoesOn) {
        let ReadGoesOn { log: asked, read: number, next, to } = read;
        let (now, skips) = (self.now, self.cage.is(Canary::SkipHole));
        let log = &self.logs[usize::from(asked.range)];
        let end = to.min(next.max(log.first) + CHUNK - 1);
        let mut messages = Vec::new();
        for sequence in next.max(log.first)..=end {
            let has = log.read(sequence, now);
            let is_whole = has.as_ref().is_some_and(|bytes| RangeBatch::read(bytes).is_ok());
            if skips && !is_whole && log.is_damaged_on(sequence, 1) {
                messages.push((sequence, log.void_instead_of(sequence)));
            } else {
                messages.extend(has.map(|bytes| (sequence, bytes)));
            }
        }
        let breaks = log.leaderless_until > now || self.chance(self.plan.break_read);
        let way = 2;
        self.after(way, Event::Reply { to: from, reply: Reply::Messages { log: asked, read: number, messages } });
        if breaks || end >= to {
            let answer = LogAnswer::ReadEnded { read: number, is_whole: !breaks };
            self.after(way, Event::Reply { to: from, reply: Reply::Answer(asked, answer) });
        } else {
            self.after(way, Event::ReadGoesOn { from, read: ReadGoesOn { next: end + 1, ..read } });
        }
    }

    fn reply(&mut self, to: Sender, reply: Reply) {
        if self.nodes[to.node].cut_until > self.now || self.chance(self.plan.lose_reply) {
            return;
        }
        let delay = self.delay();
        self.after(delay, Event::Reply { to, reply });
    }

    /// Something goes wrong with a node or the engine, or somebody wants something.
    pub(crate) fn chaos(&mut self) {
        if self.is_calm {
            return;
        }
        let pause = 1 + self.rng.below(2 * self.plan.chaos_ms) as u64;
        self.after(pause, Event::Chaos);
        let (index, range) = (self.rng.below(self.plan.nodes), self.rng.below(self.logs.len()));
        let until = self.now + self.rng.between(100, 8_000) as u64;
        let name = self.nodes[index].name.clone();
        if self.plan.contends && self.rng.percent(50) {
            self.grab(index, range as u16);
            return;
        }
        if self.rng.percent(25) {
            self.cut_links(index);
            return;
        }
        match self.rng.below(16) {
            0 | 1 => {
                self.trace.note(&format!("{name} is killed"));
                self.nodes[index].stop(Some(until));
            }
            2 | 3 => {
                self.trace.note(&format!("{name} is paused until {until}"));
                self.oracle.stats.paused += 1;
                self.nodes[index].paused_until = until;
            }
            4 | 5 => {
                self.trace.note(&format!("{name} is cut off until {until}"));
                self.nodes[index].cut_until = until;
            }
            6 => {
                self.trace.note(&format!("the store is down until {until}"));
                self.control_down_until = until;
            }
            7 => {
                self.trace.note(&format!("range {range} has no leader until {until}"));
                let log = &mut self.logs[range];
                (log.leaderless_until, log.leader) = (until, (log.leader + 1) % REPLICAS);
            }
            8 => {
                let (replica, count) = (self.rng.below(REPLICAS), self.rng.between(1, 20) as u64);
                // One replica of a log may have lost the end of it for good.
                let is_for_good = self.plan.rots && replica == range % REPLICAS && self.rng.percent(20);
                let until = if is_for_good { u64::MAX } else { self.now + self.rng.between(50, 700) as u64 };
                self.logs[range].behind[replica] = (count, until);
                self.trace.note(&format!("range {range}: replica {replica} is {count} behind"));
                self.oracle.stats.short += 1;
            }
            9 | 10 => self.rot(range),
            11 if self.cage.is(Canary::LoseTail) => self.logs[range].lose_tail(5),
            12 | 13 => {
                // What it says is not lost, but comes when others have long gone on without it.
                self.trace.note(&format!("what {name} says is stuck until {until}"));
                self.nodes[index].stuck_until = until;
            }
            _ => self.want(index, range as u16),
        }
    }

    /// Nodes do not reach each other: two of them, one and all others, or some and all others, in which case these may lack the engine as well.
    fn cut_links(&mut self, index: usize) {
        let until = self.now + self.rng.between(500, 25_000) as u64;
        let others: Vec<usize> = (0..self.plan.nodes).filter(|other| *other != index).collect();
        let (cut, side) = match self.rng.below(4) {
            0 | 1 => (vec![*self.rng.pick(&others)], vec![index]),
            2 => (others, vec![index]),
            _ => {
                let (side, cut) = others.into_iter().partition(|_| self.rng.percent(50));
                (cut, [side, vec![index]].concat())
            }
        };
        for one in &side {
            for other in &cut {
                self.links.cut(*one, *other, until);
            }
        }
        let lacks_engine = cut.len() + side.len() == self.plan.nodes && self.rng.percent(60);
        if lacks_engine {
            for one in side.iter().copied() {
                self.nodes[one].cut_until = until;
            }
        }
        let with = if lacks_engine { ", nor the engine" } else { "" };
        self.trace.note(&format!("nodes {side:?} do not reach {cut:?}{with}, until {until}"));
    }

    /// A node claims a range whatever the map says.
    fn grab(&mut self, index: usize, range: u16) {
        let Some(cluster) = self.nodes[index].cluster.as_mut() else { return };
        if !cluster.grab(RangeId(range)) {
            return;
        }
        self.trace.note(&format!("n{} grabs range {range}", index + 1));
    }

    /// One replica, seldom more, damages a message.
    fn rot(&mut self, range: usize) {
        let log = &mut self.logs[range];
        if !self.plan.rots || log.last() < log.first {
            return;
        }
        let sequence = self.rng.between(log.first as usize, log.last() as usize) as u64;
        let replicas = *self.rng.pick(&[1, 1, 1, 1, 1, 1, 2, REPLICAS]);
        let first = self.rng.below(REPLICAS);
        for replica in 0..replicas {
            let fault = if self.rng.percent(50) { Fault::Missing } else { Fault::Flipped(self.rng.next() >> 16) };
            log.damage((first + replica) % REPLICAS, sequence, fault);
        }
        self.trace.note(&format!("range {range}: {replicas} replicas damage {sequence}"));
    }

    /// An operator wants a range elsewhere, or ranges shared evenly.
    fn want(&mut self, index: usize, range: u16) {
        let to = NodeId::new(1 + self.rng.below(self.plan.nodes) as u16).expect("there are as many nodes");
        let change =
            if self.rng.percent(50) { MapChange::Rebalance } else { MapChange::Move { range: RangeId(range), to } };
        if let Some(cluster) = self.nodes[index].cluster.as_mut() {
            self.trace.note(&format!("n{}: {change:?}", index + 1));
            cluster.request(change);
            self.oracle.stats.moved += 1;
        }
    }
}
