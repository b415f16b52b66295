//! The sockets' part: what `dunlin::conn` asks for is done here as a kernel does it, now or later, in any order that
//! sockets allow, and sometimes not at all.

use std::collections::{BTreeMap, VecDeque};

use dunlin::conn::{Connections, Handover, KeptBuffer, Operation, Peer, ReceiveEnd, RefusedPeer, ShortSent};
use dunlin::ids::{ConnectionId, ShardId, SocketId, Ticket};
use dunlin::limits::TURN_BUDGET_BYTES;

use crate::canary::Canary;
use crate::conn::{Place, Receiving};
use crate::inputs::Told;
use crate::oracle::Check;
use crate::world::World;

/// Something that has happened in the kernel and has not been told.
#[derive(Debug)]
pub(crate) enum Happened {
    Ended(ConnectionId, ReceiveEnd),
    Sent(ConnectionId, bool),
    Finished(ConnectionId, usize),
    Adopted(Ticket, SocketId, usize),
    HandedOver(Ticket),
    HandOverFailed(Ticket, SocketId),
}

/// The sockets of one shard.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Connections by slot. A free slot is used again at once.
    slots: Vec<Option<usize>>,
    pub(crate) happened: Vec<Happened>,
    /// Bytes of buffers that are kept, by number.
    kept: BTreeMap<u32, (usize, Vec<u8>)>,
    next_kept: u32,
    /// Who was handled last in this turn, and how many bytes in a row.
    row: Option<(ConnectionId, usize)>,
    /// A FIN is being sent on these: they may not close before it is.
    finishing: Vec<usize>,
}

impl Sockets {
    fn insert(&mut self, index: usize) -> SocketId {
        let free = self.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[free] = Some(index);
        SocketId::new(0, free as u32)
    }

    fn remove(&mut self, socket: SocketId) -> usize {
        self.slots[socket.slot() as usize].take().expect("an operation names an open socket")
    }

    fn get(&self, socket: SocketId) -> usize {
        self.slots[socket.slot() as usize].expect("an operation names an open socket")
    }

    /// Whether nothing is left of any connection.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none) && self.happened.is_empty() && self.kept.is_empty()
    }
}

impl World {
    /// Does something with a shard's connections: inputs go to the model and the shard, effects and operations follow.
    pub(crate) fn with<T>(
        &mut self,
        shard: usize,
        act: impl FnOnce(&mut Connections, &mut Told<'_>) -> T,
    ) -> Result<T, String> {
        let mut connections = self.connections[shard].take().expect("no call is within another");
        let mut told = Told { world: self, shard, failed: Ok(()) };
        let outcome = act(&mut connections, &mut told);
        let failed = told.failed;
        connections.apply(&self.out);
        self.out.clear();
        let operations: Vec<Operation> = std::iter::from_fn(|| connections.next_operation()).collect();
        let handovers: Vec<(ShardId, Handover)> = connections.handovers().collect();
        let refused: Vec<RefusedPeer> = connections.refused().collect();
        self.connections[shard] = Some(connections);
        failed?;
        for refused in refused {
            self.trace.note(&format!("a peer is refused at shard {shard}: {}", refused.text));
        }
        for operation in operations {
            self.carry_out(shard, operation)?;
        }
        for (to, handover) in handovers {
            self.trace.note(&format!("handover {shard}->{}", to.index()));
            if self.cage.loses_failure(&handover) {
                continue;
            }
            self.handovers[shard][to.index()].push_back(handover);
        }
        Ok(outcome)
    }

    fn carry_out(&mut self, shard: usize, operation: Operation) -> Check {
        self.trace.mix(format!("{shard} {operation:?}").as_bytes());
        let conn_of = |world: &Self, socket| world.sockets[shard].get(socket);
        match operation {
            Operation::ReceiveOnce { socket, connection } => {
                let index = conn_of(self, socket);
                self.received_from.insert((shard, connection), index);
                self.receive(index, Receiving::Once(connection))
            }
            Operation::Receive { socket, connection } => {
                self.receive(conn_of(self, socket), Receiving::Until(connection))
            }
            Operation::StopReceiving { socket, connection } => {
                self.oracle.stats.stopped += 1;
                let conn = self.conns.get_mut(&conn_of(self, socket)).expect("a socket has one");
                if conn.receiving.connection() == Some(connection) {
                    conn.receiving = Receiving::Nothing;
                    conn.stopped = Some(self.trace.step);
                    if self.cage.canary != Canary::NeverResume {
                        self.sockets[shard].happened.push(Happened::Ended(connection, ReceiveEnd::Stopped));
                    }
                }
                Ok(())
            }
            Operation::Send { socket, connection, bytes } => {
                let index = conn_of(self, socket);
                let conn = self.conns.get_mut(&index).expect("a socket has one");
                if conn.rest.is_some() {
                    return Err(format!("two sends are under way on connection {index}"));
                }
                conn.rest = Some((connection, bytes.to_vec().into()));
                self.send_rest(index);
                Ok(())
            }
            Operation::FinishSending { socket, connection } => {
                let index = conn_of(self, socket);
                let conn = self.conns.get_mut(&index).expect("a socket has one");
                if conn.rest.is_some() {
                    return Err(format!("FIN on connection {index} before its last bytes"));
                }
                conn.fin_sent = true;
                self.oracle.stats.lingered += 1;
                self.sockets[shard].finishing.push(index);
                if self.cage.canary != Canary::ForgetFinished {
                    self.sockets[shard].happened.push(Happened::Finished(connection, index));
                }
                Ok(())
            }
            Operation::Close { socket, .. } => self.close_socket(shard, socket, false),
            Operation::Abort { socket, .. } => self.close_socket(shard, socket, true),
            #[cfg(feature = "tls")]
            Operation::Handshake { connection, .. } => {
                Err(format!("{connection:?} shakes hands, and no listener has TLS"))
            }
            Operation::Dial { connection, .. } | Operation::GiveUpDial { connection } => {
                Err(format!("{connection:?} is dialled, and there is no cluster"))
            }
            Operation::HandOver { socket, ticket, target } => self.move_socket(shard, socket, ticket, target.index()),
        }
    }

    fn receive(&mut self, index: usize, receiving: Receiving) -> Check {
        let conn = self.conns.get_mut(&index).expect("a socket has one");
        if conn.receiving != Receiving::Nothing {
            return Err(format!("two receives are under way on connection {index}"));
        }
        conn.receiving = receiving;
        conn.stopped = None;
        Ok(())
    }

    fn close_socket(&mut self, shard: usize, socket: SocketId, resets: bool) -> Check {
        let index = self.sockets[shard].remove(socket);
        let conn = self.conns.get_mut(&index).expect("a socket has one");
        if self.sockets[shard].finishing.contains(&index) {
            return Err(format!("connection {index} closes while FIN is being sent"));
        }
        conn.place = Place::Closed;
        conn.receiving = Receiving::Nothing;
        conn.rest = None;
        self.ends_in_time(index)?;
        let conn = self.conns.get_mut(&index).expect("it has not gone");
        if resets {
            conn.to_client.clear();
            self.oracle.stats.aborted += 1;
        }
        self.trace.note(&format!("the socket of connection {index} is closed"));
        Ok(())
    }

    fn move_socket(&mut self, shard: usize, socket: SocketId, ticket: Ticket, target: usize) -> Check {
        let index = self.sockets[shard].remove(socket);
        let conn = self.conns.get_mut(&index).expect("a socket has one");
        if conn.receiving != Receiving::Nothing || conn.rest.is_some() {
            return Err(format!("connection {index} is handed over with something under way"));
        }
        self.tickets.insert(ticket, index);
        if self.edge_rng.percent(self.plan.handover_fails_percent) {
            // The socket has not moved; its number is its own still.
            self.sockets[shard].slots[socket.slot() as usize] = Some(index);
            self.sockets[shard].happened.push(Happened::HandOverFailed(ticket, socket));
            self.oracle.stats.handovers_failed += 1;
            return Ok(());
        }
        conn.place = Place::Between(ticket);
        let there = self.sockets[target].insert(index);
        self.sockets[shard].happened.push(Happened::HandedOver(ticket));
        let told = self.cage.stale(ticket);
        self.sockets[target].happened.push(Happened::Adopted(told, there, index));
        self.oracle.stats.handed_over += 1;
        Ok(())
    }

    /// The kernel goes on with what a flush left over.
    pub(crate) fn send_rest(&mut self, index: usize) {
        let socket_bytes = self.plan.socket_bytes;
        let conn = self.conns.get_mut(&index).expect("the caller has it");
        let Some((connection, mut bytes)) = conn.rest.take() else { return };
        let Place::Socket(shard, _) = conn.place else { return };
        conn.take(&mut bytes, socket_bytes);
        if bytes.is_empty() || conn.dropped {
            self.sockets[shard].happened.push(Happened::Sent(connection, conn.dropped));
        } else {
            conn.rest = Some((connection, bytes));
        }
    }

    // --- events ----------------------------------------------------------------------------------------------------

    /// One thing that the kernel or another shard has to tell a shard.
    pub(crate) fn something_happens(&mut self) -> Check {
        let shard = self.edge_rng.below(self.shards.len());
        let from = self.edge_rng.below(self.shards.len());
        if self.edge_rng.percent(50) && !self.handovers[from][shard].is_empty() {
            return self.deliver_handover(from, shard);
        }
        let waiting = self.sockets[shard].happened.len();
        if waiting == 0 {
            return self.accept_one(shard).map(|_| ());
        }
        let at = self.edge_rng.below(waiting);
        self.tell(shard, at)
    }

    pub(crate) fn deliver_handover(&mut self, from: usize, to: usize) -> Check {
        let Some(handover) = self.handovers[from][to].pop_front() else { return Ok(()) };
        self.begin_turn(to);
        if let Handover::Begun { ticket, .. } = &handover {
            self.adopting = Some(self.tickets[ticket]);
        }
        self.with(to, |connections, told| connections.take_handover(told, handover))?;
        self.adopting = None;
        self.end_turn(to)
    }

    /// Tells a shard what happened, of those things the one at `at`.
    pub(crate) fn tell(&mut self, shard: usize, at: usize) -> Check {
        let happened = self.sockets[shard].happened.remove(at);
        self.begin_turn(shard);
        match happened {
            Happened::Ended(id, cause) => self.with(shard, |conns, told| conns.receive_ended(told, id, cause))?,
            Happened::Sent(id, broken) => self.with(shard, |conns, told| conns.sent(told, id, broken))?,
            Happened::Finished(id, index) => {
                self.sockets[shard].finishing.retain(|&finishing| finishing != index);
                self.with(shard, |conns, _| conns.finished(id))?;
            }
            Happened::Adopted(ticket, socket, index) => {
                self.adopting = self.tickets.get(&ticket).copied();
                self.conns.get_mut(&index).expect("it is on its way").place = Place::Socket(shard, socket);
                self.with(shard, |conns, told| conns.adopted(told, ticket, socket))?;
                self.adopting = None;
            }
            Happened::HandedOver(ticket) => self.with(shard, |conns, _| conns.handed_over(ticket))?,
            Happened::HandOverFailed(ticket, socket) => {
                self.with(shard, |conns, _| conns.hand_over_failed(ticket, socket))?;
            }
        }
        self.end_turn(shard)
    }

    /// A connection leaves the queue of a listener. Returns whether one did.
    pub(crate) fn accept_one(&mut self, shard: usize) -> Result<bool, String> {
        let now = self.now;
        let waiting = self.conns.iter().find(|(_, conn)| conn.place == Place::Backlog(shard));
        let Some((&index, conn)) = waiting else { return Ok(false) };
        let listener = conn.listener;
        if !self.with(shard, |connections, _| connections.may_accept(now))? {
            return Ok(false);
        }
        let socket = self.sockets[shard].insert(index);
        let conn = self.conns.get_mut(&index).expect("just seen");
        (conn.place, conn.taken_in_ms) = (Place::Socket(shard, socket), Some(now.ms()));
        self.with(shard, |connections, _| connections.accepted(now, listener, socket, Peer::Unknown))?;
        if self.sockets[shard].slots[socket.slot() as usize].is_some() {
            let receiving = self.conns[&index].receiving;
            assert!(matches!(receiving, Receiving::Once(_)), "a connection that is taken in is listened to");
        }
        self.end_turn(shard)?;
        Ok(true)
    }

    /// The broker notices that a client sends no more.
    pub(crate) fn notice_drop(&mut self, index: usize) -> Check {
        let conn = self.conns.get_mut(&index).expect("the caller has it");
        let (Place::Socket(shard, _), Some(id)) = (conn.place, conn.receiving.connection()) else { return Ok(()) };
        conn.receiving = Receiving::Nothing;
        if self.hides_half_close(index) {
            return Ok(());
        }
        self.begin_turn(shard);
        self.with(shard, |connections, told| connections.receive_ended(told, id, ReceiveEnd::PeerGone))?;
        self.end_turn(shard)
    }

    /// `count` bytes of a client are received, in as many buffers as they need.
    pub(crate) fn arrive(&mut self, index: usize, count: usize) -> Check {
        let Place::Socket(shard, _) = self.conns[&index].place else { return Ok(()) };
        self.begin_turn(shard);
        let mut left = count;
        while left > 0 {
            let taken = self.receive_buffer(shard, index, left)?;
            if taken == 0 {
                break;
            }
            left -= taken;
        }
        self.end_turn(shard)
    }

    /// Returns how many bytes were received.
    fn receive_buffer(&mut self, shard: usize, index: usize, most: usize) -> Result<usize, String> {
        let Some(conn) = self.conns.get_mut(&index) else { return Ok(0) };
        let Some(id) = conn.receiving.connection() else { return Ok(0) };
        let count = most.min(conn.to_broker.len()).min(self.plan.buffer_bytes);
        if count == 0 {
            return Ok(0);
        }
        if self.sockets[shard].kept.len() >= self.plan.buffers {
            conn.receiving = Receiving::Nothing;
            self.with(shard, |connections, told| connections.receive_ended(told, id, ReceiveEnd::OutOfBuffers))?;
            return Ok(0);
        }
        let is_layered = conn.is_layered();
        let bytes: Vec<u8> = conn.to_broker.drain(..count).collect();
        let mut bytes = conn.to_wire(bytes);
        let is_once = matches!(conn.receiving, Receiving::Once(_));
        let more = !is_once && self.edge_rng.below(500) > 0;
        if !more {
            conn.receiving = Receiving::Nothing;
        }
        if is_once && !is_layered {
            self.cage.cut_behind_connect(&mut bytes);
        }
        if self.cage.canary == Canary::OneHasTheTurn {
            self.with(shard, |connections, _| connections.begin_turn())?;
        }
        let Sockets { mut next_kept, row, .. } = self.sockets[shard];
        self.receiving = Some(index);
        let received = bytes.len();
        let kept = self.with(shard, |connections, told| {
            let mut kept = None;
            connections.received(told, id, &bytes, more, || {
                next_kept += 1;
                kept = Some(next_kept);
                KeptBuffer(next_kept)
            });
            kept
        })?;
        let sockets = &mut self.sockets[shard];
        sockets.next_kept = next_kept;
        if let Some(number) = kept {
            self.oracle.stats.deferred += 1;
            sockets.kept.insert(number, (index, bytes));
            return Ok(count);
        }
        let before = row.filter(|&(last, _)| last == id).map_or(0, |(_, bytes)| bytes);
        sockets.row = Some((id, before + received));
        if before >= TURN_BUDGET_BYTES {
            return Err(format!("connection {index} has {} bytes of a turn in a row", before + received));
        }
        Ok(count)
    }

    // --- turns -----------------------------------------------------------------------------------------------------

    pub(crate) fn begin_turn(&mut self, shard: usize) {
        let is_paused = self.is_paused(shard);
        let connections = self.connections[shard].as_mut().expect("no call is within another");
        connections.set_paused(is_paused);
        connections.begin_turn();
        self.sockets[shard].row = None;
        self.fx.deliveries = 0;
    }

    /// Who was let in, what was deferred, then the sends.
    pub(crate) fn end_turn(&mut self, shard: usize) -> Check {
        while self.with(shard, |connections, told| connections.hear_resumed(told))? {}
        while let Some(deferred) = self.with(shard, |connections, _| connections.next_deferred())? {
            let buffer = deferred.buffer().and_then(|KeptBuffer(number)| self.sockets[shard].kept.remove(&number));
            let (index, bytes) = buffer.unzip();
            self.receiving = index;
            let bytes = bytes.unwrap_or_default();
            self.with(shard, |connections, told| connections.handle_deferred(told, deferred, &bytes))?;
        }
        let has_buffers = self.sockets[shard].kept.len() < self.plan.buffers;
        self.with(shard, |connections, _| connections.buffers_freed(|_| has_buffers))?;
        self.flush(shard)
    }

    /// Every outbox to its socket, as far as it has room.
    pub(crate) fn flush(&mut self, shard: usize) -> Check {
        let flush = self.with(shard, |connections, told| connections.begin_flush(told))?;
        let connections = self.connections[shard].as_ref().expect("no call is within another");
        let mut short = Vec::new();
        for (id, socket, outbox) in connections.sends(&flush) {
            let index = self.sockets[shard].get(socket);
            let conn = self.conns.get_mut(&index).expect("a socket has one");
            let all = outbox.len();
            if conn.dropped {
                // The kernel takes it and finds out later, or has found out already.
                if self.edge_rng.percent(30) {
                    short.push(ShortSent { connection: id, sent: 0, broken: true });
                }
                continue;
            }
            let mut bytes: VecDeque<u8> = outbox.pieces().flatten().copied().collect();
            let sent = conn.take(&mut bytes, self.plan.socket_bytes);
            if sent < all {
                short.push(ShortSent { connection: id, sent, broken: false });
            }
        }
        self.with(shard, |connections, told| connections.finish_flush(told, flush, short.into_iter()))
    }

    /// Deadlines that have passed, and what was left over.
    pub(crate) fn keep_time(&mut self, shard: usize) -> Check {
        let now = self.now;
        let connections = self.connections[shard].as_ref().expect("no call is within another");
        let hears = self.cage.canary != Canary::NeverTimeOut;
        let is_due = hears && connections.next_deadline().is_some_and(|due| due.is_due(now));
        if is_due {
            self.receiving = None;
            self.with(shard, |connections, told| connections.handle_deadlines(told))?;
            self.with(shard, |connections, _| connections.may_accept(now))?;
        }
        let connections = self.connections[shard].as_ref().expect("no call is within another");
        if is_due || connections.has_work() {
            self.begin_turn(shard);
            self.end_turn(shard)?;
        }
        Ok(())
    }
}
