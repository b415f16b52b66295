//! Connections between nodes: what one end writes comes to the other in pieces, late, or not at all; and what `dunlin::conn` asks of sockets.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use dunlin::conn::{KeptBuffer, Operation, Peer, ReceiveEnd, ShortSent};
use dunlin::ids::{ConnectionId, SocketId};

use super::node::At;
use super::world::{Event, NodeEvent, PipeSide, World};
use crate::oracle::Check;

/// Between two tries to give a full connection more.
const FULL_MS: u64 = 10;
/// Between two looks whether nodes reach each other again.
const CUT_MS: u64 = 50;
/// Most that arrives at once, well within the budget of a turn.
const MOST_BYTES: usize = 4_000;
/// Bytes that a slow way takes in a millisecond.
const SLOW_BYTES: usize = 40;

#[derive(Debug)]
struct PipeEnd {
    at: At,
    /// Who receives, and whether once.
    receives: Option<(ConnectionId, bool)>,
    /// On the way here.
    inbox: VecDeque<u8>,
    /// What a flush has left over here.
    rest: Option<(ConnectionId, Bytes)>,
    /// It has a socket.
    is_open: bool,
    /// Something of the inbox is about to arrive.
    is_moving: bool,
    stalled_until: u64,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    /// The end that has dialled comes first.
    ends: [PipeEnd; 2],
    /// Nothing passes any more, and both ends see it.
    is_broken: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) pipes: BTreeMap<u32, Pipe>,
    next: u32,
    /// Nothing passes between two nodes, the lower one first, until then.
    cut_until: BTreeMap<(usize, usize), u64>,
    /// The same of what is slow.
    slow_until: BTreeMap<(usize, usize), u64>,
    /// Nobody there is connected to, until then.
    pub(crate) deaf_until: BTreeMap<usize, u64>,
}

impl Network {
    pub(crate) fn cut(&mut self, (one, other): (usize, usize), until: u64) {
        self.cut_until.insert((one.min(other), one.max(other)), until);
    }

    pub(crate) fn slow(&mut self, (one, other): (usize, usize), until: u64) {
        self.slow_until.insert((one.min(other), one.max(other)), until);
    }

    pub(crate) fn is_cut(&self, one: usize, other: usize, now: u64) -> bool {
        self.cut_until.get(&(one.min(other), one.max(other))).is_some_and(|until| *until > now)
    }

    fn is_slow(&self, one: usize, other: usize, now: u64) -> bool {
        self.slow_until.get(&(one.min(other), one.max(other))).is_some_and(|until| *until > now)
    }

    /// Everything reaches everybody again.
    pub(crate) fn heal(&mut self) {
        self.cut_until.clear();
        self.slow_until.clear();
        self.deaf_until.clear();
        for pipe in self.pipes.values_mut() {
            pipe.ends.iter_mut().for_each(|end| end.stalled_until = 0);
        }
    }

    pub(crate) fn at(&self, PipeSide { pipe, side }: PipeSide) -> At {
        self.pipes[&pipe].ends[side].at
    }

    fn end(&mut self, PipeSide { pipe, side }: PipeSide) -> Option<&mut PipeEnd> {
        Some(&mut self.pipes.get_mut(&pipe)?.ends[side])
    }

    /// The connections that stand, or are about to.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.pipes.iter().filter(|(_, pipe)| pipe.ends.iter().all(|end| end.is_open)).map(|(pipe, _)| *pipe).collect()
    }
}

const fn other(PipeSide { pipe, side }: PipeSide) -> PipeSide {
    PipeSide { pipe, side: 1 - side }
}

const fn side_of(socket: SocketId) -> PipeSide {
    PipeSide { pipe: socket.slot() / 2, side: socket.slot() as usize % 2 }
}

const fn socket_of(PipeSide { pipe, side }: PipeSide) -> SocketId {
    SocketId::new(0, pipe * 2 + side as u32)
}

impl World {
    /// Whether a node that has no process would not reach one that has.
    pub(crate) fn is_apart_from_any(&self, node: usize) -> bool {
        self.live().into_iter().any(|other| self.network.is_cut(node, other, self.now))
    }

    pub(crate) fn carry_out(&mut self, at: At, operation: Operation) -> Check {
        match operation {
            Operation::Dial { to, connection } => {
                let std::net::IpAddr::V4(to) = to.ip() else { return Err(format!("{at:?} dials {to}")) };
                let (later, shard) = (1 + self.up_to(self.plan.way_ms), at.shard);
                let to = usize::from(to.octets()[3]);
                self.after_of(later, at.node, NodeEvent::Dial { shard, to, connection });
            }
            // What comes of it later finds nobody.
            Operation::GiveUpDial { .. } => {}
            Operation::ReceiveOnce { socket, connection } => self.receive(side_of(socket), (connection, true))?,
            Operation::Receive { socket, connection } => self.receive(side_of(socket), (connection, false))?,
            Operation::StopReceiving { socket, connection } => {
                let end = self.network.end(side_of(socket)).expect("it is open");
                if end.receives.take().is_some() {
                    self.call(at, |connections, told| {
                        connections.receive_ended(told, connection, ReceiveEnd::Stopped);
                    })?;
                }
            }
            Operation::Send { socket, connection, bytes } => {
                let side = side_of(socket);
                let end = self.network.end(side).expect("it is open");
                if end.rest.replace((connection, bytes)).is_some() {
                    return Err(format!("two sends are under way on {side:?}"));
                }
                self.after(1, Event::Rest(side));
            }
            Operation::Close { socket, .. } | Operation::Abort { socket, .. } => self.close_end(side_of(socket)),
            asked => return Err(format!("{at:?} asks for {asked:?} of a link")),
        }
        Ok(())
    }

    fn receive(&mut self, side: PipeSide, receives: (ConnectionId, bool)) -> Check {
        let end = self.network.end(side).expect("it is open");
        if end.receives.replace(receives).is_some() {
            return Err(format!("two receives are under way on {side:?}"));
        }
        self.move_to(side);
        Ok(())
    }

    fn close_end(&mut self, side: PipeSide) {
        let Some(pipe) = self.network.pipes.get_mut(&side.pipe) else { return };
        let end = &mut pipe.ends[side.side];
        (end.is_open, end.receives, end.rest) = (false, None, None);
        end.inbox.clear();
        if pipe.ends.iter().all(|end| !end.is_open) {
            self.network.pipes.remove(&side.pipe);
        } else {
            self.move_to(other(side));
        }
    }

    /// The kernel ends what a process leaves behind, or its machine has gone and says nothing.
    pub(crate) fn close_pipes_of(&mut self, node: usize) {
        let is_silent = self.rng.percent(30);
        let sides = self.network.pipes.iter().flat_map(|(pipe, ends)| {
            ends.ends
                .iter()
                .enumerate()
                .filter(|(_, end)| end.at.node == node)
                .map(|(side, _)| PipeSide { pipe: *pipe, side })
        });
        let sides: Vec<PipeSide> = sides.collect();
        for side in sides {
            if is_silent && let Some(end) = self.network.end(other(side)) {
                end.stalled_until = u64::MAX;
            }
            self.close_end(side);
        }
    }

    /// A connection breaks.
    pub(crate) fn break_pipe(&mut self, pipe: u32) {
        let Some(broken) = self.network.pipes.get_mut(&pipe) else { return };
        broken.is_broken = true;
        broken.ends.iter_mut().for_each(|end| end.inbox.clear());
        for side in [0, 1] {
            self.move_to(PipeSide { pipe, side });
        }
    }

    /// Nothing arrives at one end of a connection, until then.
    pub(crate) fn stall(&mut self, side: PipeSide, until: u64) {
        if let Some(end) = self.network.end(side) {
            end.stalled_until = until;
        }
    }

    pub(crate) fn dial(&mut self, from: At, to: usize, connection: ConnectionId) -> Check {
        if self.network.is_cut(from.node, to, self.now) {
            return Ok(()); // no answer
        }
        let is_deaf = self.network.deaf_until.get(&to).is_some_and(|until| *until > self.now);
        if is_deaf || self.nodes[to].process.is_none() {
            return self.with(from, |connections, _| connections.connected(connection, Err(111)));
        }
        let pipe = self.network.next;
        self.network.next += 1;
        // An accepted link is for this shard, whoever accepts it.
        let there = At { node: to, shard: from.shard % self.plan.shards };
        let ends = [from, there].map(|at| PipeEnd {
            at,
            receives: None,
            inbox: VecDeque::new(),
            rest: None,
            is_open: true,
            is_moving: false,
            stalled_until: 0,
        });
        self.network.pipes.insert(pipe, Pipe { ends, is_broken: false });
        self.after_of(1, to, NodeEvent::Accept(PipeSide { pipe, side: 1 }));
        self.with(from, |connections, _| connections.connected(connection, Ok(socket_of(PipeSide { pipe, side: 0 }))))
    }

    pub(crate) fn accept(&mut self, side: PipeSide) -> Check {
        if !self.network.pipes.contains_key(&side.pipe) {
            return Ok(());
        }
        let at = self.network.at(side);
        self.with(at, |connections, told| connections.accepted(told.now, 0, socket_of(side), Peer::Unknown))
    }

    /// Something is on its way to an end.
    fn move_to(&mut self, side: PipeSide) {
        let way = self.up_to(self.plan.way_ms);
        let Some(end) = self.network.end(side) else { return };
        if !std::mem::replace(&mut end.is_moving, true) {
            let node = end.at.node;
            self.after_of(way, node, NodeEvent::Arrive(side));
        }
    }

    /// A socket is given an outbox. Returns what it did not take.
    pub(crate) fn give_socket(
        &mut self,
        connection: ConnectionId,
        socket: SocketId,
        bytes: &[u8],
    ) -> Option<ShortSent> {
        let side = side_of(socket);
        let is_short = !self.is_calm && self.rng.percent(self.plan.short_percent);
        let most = if is_short { self.rng.below(bytes.len() + 1) } else { bytes.len() };
        let sent = self.write(side, &bytes[..most]);
        (sent < bytes.len()).then_some(ShortSent { connection, sent, broken: false })
    }

    /// Puts bytes on their way to the other end. Returns how many found room.
    fn write(&mut self, side: PipeSide, bytes: &[u8]) -> usize {
        let room_of_all = self.plan.pipe_bytes;
        let Some(pipe) = self.network.pipes.get_mut(&side.pipe) else { return bytes.len() };
        let is_broken = pipe.is_broken;
        let there = &mut pipe.ends[1 - side.side];
        if is_broken || !there.is_open {
            return bytes.len(); // nobody gets it
        }
        let sent = room_of_all.saturating_sub(there.inbox.len()).min(bytes.len());
        there.inbox.extend(&bytes[..sent]);
        self.move_to(other(side));
        sent
    }

    pub(crate) fn send_rest(&mut self, side: PipeSide) {
        let Some((connection, mut bytes)) = self.network.end(side).and_then(|end| end.rest.take()) else { return };
        let sent = self.write(side, &bytes);
        let _ = bytes.split_to(sent);
        let At { node, shard } = self.network.at(side);
        if bytes.is_empty() {
            self.after_of(0, node, NodeEvent::Sent { shard, connection });
        } else {
            self.network.end(side).expect("just seen").rest = Some((connection, bytes));
            self.after(FULL_MS, Event::Rest(side));
        }
    }

    /// Something arrives at one end of a connection.
    pub(crate) fn arrive(&mut self, side: PipeSide) -> Check {
        let now = self.now;
        let Some(pipe) = self.network.pipes.get(&side.pipe) else { return Ok(()) };
        let (end, there) = (&pipe.ends[side.side], &pipe.ends[1 - side.side]);
        let (at, from) = (end.at, there.at.node);
        let held = if self.network.is_cut(at.node, from, now) { CUT_MS } else { end.stalled_until.saturating_sub(now) };
        if held > 0 {
            // Of one that never says anything again nothing is waited for.
            if end.stalled_until != u64::MAX {
                self.after_of(held, at.node, NodeEvent::Arrive(side));
            }
            return Ok(());
        }
        let is_over = pipe.is_broken || !there.is_open;
        let is_slow = self.network.is_slow(at.node, from, now);
        let piece = if is_slow {
            SLOW_BYTES
        } else if self.is_calm {
            MOST_BYTES
        } else {
            self.rng.between(1, self.plan.piece_bytes)
        };
        let end = self.network.end(side).expect("just seen");
        end.is_moving = false;
        let Some((connection, is_once)) = end.receives else { return Ok(()) };
        if end.inbox.is_empty() {
            if is_over {
                end.receives = None;
                return self
                    .with(at, |connections, told| connections.receive_ended(told, connection, ReceiveEnd::PeerGone));
            }
            return Ok(());
        }
        let piece = piece.max(end.inbox.len() / 8).min(end.inbox.len()).min(MOST_BYTES);
        let bytes: Vec<u8> = end.inbox.drain(..piece).collect();
        if is_once {
            end.receives = None;
        }
        if !end.inbox.is_empty() || is_over {
            end.is_moving = true;
            self.after_of(1, at.node, NodeEvent::Arrive(side));
        }
        let Some(host) = self.host(at) else { return Ok(()) };
        host.buffers += 1;
        host.fx.deliveries = 0;
        let (number, mut is_kept) = (host.buffers, false);
        self.call(at, |connections, told| {
            connections.begin_turn();
            connections.received(told, connection, &bytes, !is_once, || {
                is_kept = true;
                KeptBuffer(number)
            });
        })?;
        if is_kept && let Some(host) = self.host(at) {
            host.kept.insert(number, bytes);
        }
        self.hear_rest(at)?;
        self.end_turn(at)
    }
}
