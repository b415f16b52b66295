//! One shard's edge: its plane, its connections, and what happens when the plane says something.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::feed::feed;
use super::greeting::Handover;
use super::outbox::Outbox;
use super::share::{Admission, Shares};
use super::table::{Connection, Fin, Phase, Table};
use crate::codec::{Side, decode};
use crate::ids::{ConnectionId, ListenerId, PeerAddress, ShardId, SocketId, Ticket};
use crate::limits;
use crate::ring::{EndCause, Event, ListenConfig, Plane, PlaneHandle, RingError, TcpKeepAlive, UnderWay};
use crate::shard::{Effects, Input, Settings, Shard, Turn};
use crate::telemetry::{CloseReason, TransportCounters};
use crate::time::{Deadline, Now};

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The address; every shard has a listener of its own on it.
    pub address: SocketAddr,
    /// Clients need no credentials.
    pub anonymous: bool,
}

/// What an edge is made with.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Its shard.
    pub own: ShardId,
    /// Shards of the process.
    pub shards: usize,
    /// From accept to a complete CONNECT, in seconds.
    pub connect_timeout_s: u16,
    /// Connections of the whole process.
    pub connections_max: u32,
    /// Connections of the whole process at present, shared by all edges.
    pub connections: Arc<AtomicU32>,
    /// Connections on their way to each shard, by shard: sent off, and not yet with its edge. Shared by all edges.
    pub arriving: Arc<[AtomicU32]>,
    /// What the core was given, too: the size of a packet is checked before the core sees it.
    pub settings: Arc<Settings>,
    /// Random, the same for all shards: makes assigned client ids unique. Clients see it, so nothing is keyed with it.
    pub instance: u64,
}

/// See the module's text.
pub struct Edge {
    pub(super) config: EdgeConfig,
    /// The sockets.
    pub plane: Plane,
    /// What has happened on them.
    pub counters: TransportCounters,
    pub(super) table: Table,
    pub(super) listeners: Vec<(ListenerId, bool)>,
    /// How to reach the other shards' planes, by shard.
    pub(super) planes: Vec<PlaneHandle>,
    /// Connections with something to send.
    pub(super) dirty: Vec<ConnectionId>,
    /// Outboxes that nobody has.
    #[expect(clippy::vec_box, reason = "they are lent to connections, which have room for a pointer")]
    pub(super) pool: Vec<Box<Outbox>>,
    /// Connections that the shard has let go and whose outbox may be empty.
    pub(super) partings: Vec<ConnectionId>,
    /// Greetings in the order in which their time runs out, and likewise partings.
    pub(super) greetings: VecDeque<(Deadline, ConnectionId)>,
    pub(super) lingering: VecDeque<(Deadline, ConnectionId)>,
    /// Connections whose receive ended for want of buffers.
    starved: Vec<ConnectionId>,
    /// Receive events that wait until the mesh has room again.
    held: VecDeque<Event>,
    /// Receive events that wait until others have been served.
    shares: Shares,
    paused: bool,
    /// When to look again whether the other shards have taken in what is on its way to them.
    accept_again: Option<Deadline>,
    /// Sockets that came before the message about them, and messages that came before their socket.
    pub(super) adopted: HashMap<Ticket, SocketId>,
    pub(super) expected: HashMap<Ticket, Box<Handover>>,
    /// Sockets that were sent off, and where to, by ticket.
    pub(super) leaving: HashMap<Ticket, (ConnectionId, ShardId)>,
    pub(super) tickets: u64,
    pub(super) assigned_ids: u64,
    /// Handovers for other shards' edges; the pump takes them to the mesh.
    pub outgoing: Vec<(ShardId, Handover)>,
}

/// Connections beyond `connections_max` that are still heard, to be told in CONNACK why they cannot stay.
const SURPLUS_MAX: u32 = 256;
const _: () = assert!(SURPLUS_MAX < crate::limits::SOCKETS_SURPLUS, "each of them needs a socket");

impl Edge {
    /// An edge over a plane, listening nowhere yet.
    pub fn new(config: EdgeConfig, plane: Plane) -> Self {
        Self {
            config,
            plane,
            counters: TransportCounters::default(),
            table: Table::default(),
            listeners: Vec::new(),
            planes: Vec::new(),
            dirty: Vec::new(),
            pool: Vec::new(),
            partings: Vec::new(),
            greetings: VecDeque::new(),
            lingering: VecDeque::new(),
            starved: Vec::new(),
            held: VecDeque::new(),
            shares: Shares::default(),
            paused: false,
            accept_again: None,
            adopted: HashMap::new(),
            expected: HashMap::new(),
            leaving: HashMap::new(),
            tickets: 0,
            assigned_ids: 0,
            outgoing: Vec::new(),
        }
    }

    /// Starts listening. Returns the address in use, which tells the port where 0 was asked for.
    pub fn listen(&mut self, listening: Listening) -> Result<SocketAddr, RingError> {
        let config = ListenConfig {
            // In MQTT, in TLS and in HTTP the client speaks first.
            defer_accept_s: Some(limits::DEFER_ACCEPT_S),
            keep_alive: Some(TcpKeepAlive {
                idle_s: limits::TCP_KEEP_ALIVE_IDLE_S,
                interval_s: limits::TCP_KEEP_ALIVE_INTERVAL_S,
                count: limits::TCP_KEEP_ALIVE_PROBES,
            }),
            ..ListenConfig::new(listening.address)
        };
        let (id, address) = self.plane.listen(&config)?;
        self.listeners.push((id, listening.anonymous));
        Ok(address)
    }

    /// Tells how to reach every shard's plane, this one's included.
    pub fn set_planes(&mut self, planes: Vec<PlaneHandle>) {
        self.planes = planes;
    }

    /// Uses other settings from now on.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.config.settings = settings;
    }

    /// Stops accepting.
    pub fn stop_listening(&mut self) {
        for (listener, _) in self.listeners.drain(..) {
            self.plane.close_listener(listener);
        }
    }

    /// Connections that have not closed.
    pub const fn connections(&self) -> usize {
        self.table.len()
    }

    /// Stops taking in what peers send, or goes on. Meanwhile buffers are not given back, and TCP slows the peers.
    pub fn set_paused(&mut self, now: Now, paused: bool, shard: &mut Shard, fx: &mut Effects) {
        self.paused = paused;
        while !self.paused
            && let Some(event) = self.held.pop_front()
        {
            self.handle_event(now, event, shard, fx);
        }
    }

    /// Whether receiving is paused.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Takes in more connections, unless those that have come must be served first: a connection waits better in the
    /// kernel than here, where it has cost a descriptor and others that were served before it.
    pub fn accept_more(&mut self, now: Now) {
        self.accept_again = None;
        if self.paused {
            return; // the turn in which it ends calls again
        }
        let full = self.config.arriving.iter().any(|arriving| arriving.load(Ordering::Relaxed) > limits::ARRIVING_MAX);
        if full {
            self.accept_again = Some(now.after_ms(limits::ACCEPT_AGAIN_MS));
        } else {
            self.plane.accept_more();
        }
    }

    /// A turn begins.
    pub fn begin_turn(&mut self) {
        self.shares.begin_turn();
    }

    /// One thing that happened on the plane. What somebody has sent beyond a share of the turn is put off.
    pub fn handle_event(&mut self, now: Now, event: Event, shard: &mut Shard, fx: &mut Effects) {
        if self.paused && matches!(event, Event::Received { .. } | Event::ReceiveEnded { .. }) {
            self.held.push_back(event);
            return;
        }
        match self.shares.admit(event) {
            Admission::Now(event) => self.handle_admitted(now, event, shard, fx),
            Admission::Later(Some(token)) => {
                if let Some(connection) = self.table.get(token) {
                    self.plane.stop_receiving(connection.socket, token);
                }
            }
            Admission::Later(None) => {}
        }
    }

    /// The next event that was put off, if the turn has time for it: for `handle_admitted`, when all others have been handled.
    pub fn next_put_off(&mut self) -> Option<Event> {
        if self.paused { None } else { self.shares.next() }
    }

    /// One thing that happened on the plane, whatever the connection has had of the turn.
    pub fn handle_admitted(&mut self, now: Now, event: Event, shard: &mut Shard, fx: &mut Effects) {
        match event {
            Event::Received { connection: token, buffer, more } => {
                self.counters.bytes_received += buffer.len() as u64;
                self.handle_received(now, token, &buffer, shard, fx);
                self.plane.give_back(buffer);
                if !more {
                    self.receive_on(token);
                }
            }
            Event::ReceiveEnded { connection: token, cause } => self.handle_receive_ended(now, token, cause, shard, fx),
            Event::Accepted { listener, socket, peer } => self.handle_accepted(now, listener, socket, peer),
            Event::AcceptFailed { .. } => self.counters.closed(CloseReason::Resources),
            Event::Sent { connection: token, error, .. } => self.handle_sent(now, token, error.is_some(), shard, fx),
            Event::Adopted { ticket, socket } => self.handle_adopted(now, ticket, socket, shard, fx),
            Event::HandedOver { ticket } => {
                if let Some((token, _)) = self.leaving.remove(&ticket) {
                    self.table.remove(token);
                }
            }
            Event::HandOverFailed { ticket, socket, .. } => self.handle_hand_over_failed(ticket, socket),
            Event::Finished { connection: token } => self.handle_finished(token),
            // The broker opens no connections and no datagram sockets.
            Event::Datagram { buffer, .. } => self.plane.give_back(buffer),
            Event::DatagramsEnded { .. } | Event::DatagramNotSent { .. } | Event::Connected { .. } | Event::Timeout => {
            }
        }
    }

    fn handle_accepted(&mut self, now: Now, listener: ListenerId, socket: SocketId, peer: PeerAddress) {
        self.counters.sockets += 1;
        let before = self.config.connections.fetch_add(1, Ordering::Relaxed);
        if before >= self.config.connections_max.saturating_add(SURPLUS_MAX) {
            self.config.connections.fetch_sub(1, Ordering::Relaxed);
            self.plane.abort(socket, UnderWay::Nothing);
            self.counters.closed(CloseReason::ConnectionsFull);
            return;
        }
        let anonymous = self.listeners.iter().any(|&(id, anonymous)| id == listener && anonymous);
        let mut connection = Connection::new(socket, anonymous);
        connection.surplus = before >= self.config.connections_max;
        connection.peer = Some(peer);
        let token = self.table.insert(connection);
        self.plane.receive_once(socket, token);
        self.greetings.push_back((now.after_s(self.config.connect_timeout_s.into()), token));
    }

    fn handle_received(
        &mut self,
        now: Now,
        token: ConnectionId,
        buffer: &crate::ring::Buffer,
        shard: &mut Shard,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.table.get_mut(token) else { return };
        match connection.phase {
            Phase::Open => {
                let data = self.plane.bytes(buffer);
                let max_bytes = self.config.settings.packet_size_max_bytes;
                feed_shard(&mut Turn { now, fx }, token, connection, data, max_bytes, shard);
            }
            Phase::Greeting => self.greet(now, token, buffer, shard, fx),
            Phase::Moving => unreachable!("nothing is received from a socket that moves"),
            Phase::Parting(_) => {} // read only to see the peer's end
        }
    }

    /// A single receive has brought what it could: what next depends on where the connection stands now.
    fn receive_on(&mut self, token: ConnectionId) {
        let Some(connection) = self.table.get(token) else { return };
        match connection.phase {
            Phase::Greeting => self.plane.receive_once(connection.socket, token),
            Phase::Open | Phase::Parting(_) => self.plane.receive_multi(connection.socket, token),
            Phase::Moving => {}
        }
    }

    fn handle_receive_ended(
        &mut self,
        now: Now,
        token: ConnectionId,
        cause: EndCause,
        shard: &mut Shard,
        fx: &mut Effects,
    ) {
        let Some(connection) = self.table.get(token) else { return };
        match (cause, connection.phase) {
            (EndCause::OutOfBuffers, _) => self.starved.push(token),
            // It had sent more than could wait here, and all of that has been handled.
            (EndCause::Cancelled, _) => self.receive_on(token),
            (_, Phase::Open) => shard.handle(&mut Turn { now, fx }, Input::Closed { connection: token }),
            (_, Phase::Greeting) => {
                self.counters.closed(CloseReason::SocketClosed);
                self.close(token);
            }
            (_, Phase::Parting(_)) => self.close(token),
            (_, Phase::Moving) => {}
        }
    }

    /// Lets the connections receive again that were without buffers, as far as there are buffers now.
    pub fn feed_starved(&mut self) {
        let mut waiting = std::mem::take(&mut self.starved);
        waiting.retain(|&token| {
            let Some(connection) = self.table.get(token) else { return false };
            if self.plane.buffers_free(connection.socket) == 0 {
                return true;
            }
            self.receive_on(token);
            false
        });
        waiting.append(&mut self.starved);
        self.starved = waiting;
    }

    /// The time is `now`: greetings and partings that took too long end.
    pub fn handle_time(&mut self, now: Now) {
        while self.greetings.front().is_some_and(|(due, _)| due.is_due(now)) {
            let Some((_, token)) = self.greetings.pop_front() else { break };
            if self.table.get(token).is_some_and(|connection| connection.phase == Phase::Greeting) {
                self.counters.closed(CloseReason::ConnectTimeout);
                self.close(token);
            }
        }
        while self.lingering.front().is_some_and(|(due, _)| due.is_due(now)) {
            let Some((_, token)) = self.lingering.pop_front() else { break };
            match self.table.get_mut(token) {
                Some(connection) if connection.fin == Fin::UnderWay => connection.closing = true,
                Some(_) => {
                    let Some(connection) = self.table.remove(token) else { continue };
                    self.config.connections.fetch_sub(1, Ordering::Relaxed);
                    self.plane.abort(connection.socket, connection.under_way(token));
                }
                None => {}
            }
        }
    }

    /// FIN has been sent: the socket may be closed, now or when the peer's comes.
    fn handle_finished(&mut self, token: ConnectionId) {
        let Some(connection) = self.table.get_mut(token) else { return };
        connection.fin = Fin::Sent;
        if connection.closing {
            self.close(token);
        }
    }

    /// When `handle_time` is due.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let greeting = self.greetings.front().map(|&(due, _)| due);
        let lingering = self.lingering.front().map(|&(due, _)| due);
        [greeting, lingering, self.accept_again].into_iter().flatten().min()
    }

    /// Whether it has something to do, besides sending, before it may sleep.
    pub fn has_work(&self) -> bool {
        !self.partings.is_empty() || (!self.paused && !self.shares.is_empty())
    }

    /// Whether something waits for the next flush.
    pub fn has_unsent(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Closes the connections that have not said who they are: the broker stops.
    pub fn drop_greetings(&mut self) {
        for (_, token) in std::mem::take(&mut self.greetings) {
            if self.table.get(token).is_some_and(|connection| connection.phase == Phase::Greeting) {
                self.close(token);
            }
        }
    }

    /// Closes a connection and forgets it: at once, or as soon as the FIN that is under way has been sent.
    pub(super) fn close(&mut self, token: ConnectionId) {
        if let Some(connection) = self.table.get_mut(token)
            && connection.fin == Fin::UnderWay
        {
            connection.closing = true;
            return;
        }
        if let Some(mut connection) = self.table.remove(token) {
            self.config.connections.fetch_sub(1, Ordering::Relaxed);
            self.plane.close(connection.socket, connection.under_way(token));
            if let Some(outbox) = connection.outbox.take() {
                self.recycle(outbox);
            }
        }
    }

    pub(super) fn recycle(&mut self, mut outbox: Box<Outbox>) {
        if self.pool.len() < limits::OUTBOX_POOL {
            outbox.clear();
            self.pool.push(outbox);
        }
    }
}

/// Cuts packets out of `data` and gives them to the shard.
pub(super) fn feed_shard(
    turn: &mut Turn<'_>,
    id: ConnectionId,
    connection: &mut Connection,
    data: &[u8],
    max_size_bytes: u32,
    shard: &mut Shard,
) {
    let version = connection.version;
    let result =
        feed(&mut connection.spill, data, max_size_bytes, |frame| match decode(frame, version, Side::Server) {
            Ok(packet) => {
                shard.handle(turn, Input::Packet { connection: id, packet });
                std::ops::ControlFlow::Continue(())
            }
            Err(error) => {
                shard.handle(turn, Input::BadPacket { connection: id, error });
                std::ops::ControlFlow::Break(())
            }
        });
    if let Err(error) = result {
        shard.handle(turn, Input::BadPacket { connection: id, error });
    }
}
