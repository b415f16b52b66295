//! One turn: what the plane tells, what time asks for, what goes out, what the plane is to do, and the wait for the next.

use super::client::State;
use super::crew::Crew;
use super::error::{EngineError, broken};
use super::pings::Pings;
use super::start::Destination;
use super::transport::Transport;
use crate::outcome::LossReason;
use crate::plan::{Reads, Target};
use dunlin::ids::ConnectionId;
use dunlin::ring::{EndCause, Plane, PlaneConfig, RingError, SocketEvent, monotonic_ns};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Longest sleep: so soon a stop is seen.
const NAP_NS: u64 = 50_000_000;
/// Receive buffers of a ring and their size, where there are so few connections that one ring holds them, and where there
/// are many rings: then they are small, as the packets of a fleet are, and a ring costs a quarter of a mebibyte.
const BUFFERS_ONE_RING: (u16, u32) = (512, 4096);
const BUFFERS_MANY_RINGS: (u16, u32) = (256, 1024);
/// Completions of a ring. The kernel finds an operation to cancel in a table that has a bucket for every 32 of them, 256 at
/// most: with a fourth of them, closing 20,000 connections was a walk through hundreds of operations each.
const COMPLETIONS: u32 = 8192;
/// Slots beside one for each client: closed ones that the kernel has not freed yet.
const SPARE_SLOTS: u32 = 256;

/// The plane, the clients, and the deadlines between them.
pub(super) struct Turn {
    pub(super) crew: Crew,
    pub(super) plane: Plane,
    pub(super) transport: Transport,
    pub(super) target: Destination,
    sources: Vec<IpAddr>,
    /// When connections that are being made are given up: in order, because all have the same time.
    deadlines: VecDeque<(u64, ConnectionId)>,
    connect_timeout_ns: u64,
    /// Clients that wait to connect again, and until when: in order, because all wait for the same time.
    pub(super) retries: VecDeque<(u64, u32)>,
    pub(super) retry_after_ns: u64,
    /// Slow consumers, by when they may receive again.
    slow: BinaryHeap<Reverse<(u64, u32)>>,
    /// Connections that found no receive buffer.
    starved: Vec<ConnectionId>,
    pings: Pings,
    pub(super) now_ns: u64,
}

impl Turn {
    pub(super) fn new(
        crew: Crew,
        transport: Transport,
        (target, sources): (Destination, Vec<IpAddr>),
        greeting: &Target,
    ) -> Result<Self, RingError> {
        let many = crew.cast.clients > 15_000;
        let (buffers, buffer_bytes) = if many { BUFFERS_MANY_RINGS } else { BUFFERS_ONE_RING };
        let plane = Plane::new(PlaneConfig {
            entries: if many { 256 } else { 1024 },
            completions: COMPLETIONS,
            sockets_max: crew.cast.clients + SPARE_SLOTS,
            buffers,
            buffer_bytes,
            ..PlaneConfig::default()
        })?;
        crew.seat.sit_down(plane.handle());
        let pings = Pings::new(crew.cast.clients, crew.keep_alive_s, monotonic_ns());
        Ok(Self {
            crew,
            plane,
            transport,
            target,
            sources,
            deadlines: VecDeque::new(),
            connect_timeout_ns: u64::from(greeting.connect_timeout_s.max(1)) * 1_000_000_000,
            retries: VecDeque::new(),
            retry_after_ns: u64::from(greeting.retry_after_ms) * 1_000_000,
            slow: BinaryHeap::new(),
            starved: Vec::new(),
            pings,
            now_ns: monotonic_ns(),
        })
    }

    /// Opens connections for these clients.
    pub(super) fn connect(&mut self, clients: &[u32]) {
        for client in clients {
            let now_ns = monotonic_ns();
            let state = &mut self.crew.clients[*client as usize];
            debug_assert!(state.state == State::Away && state.socket.is_none());
            state.renew();
            let connection = state.connection(*client);
            let source = (!self.sources.is_empty()).then(|| self.sources[*client as usize % self.sources.len()]);
            state.state = State::Connecting;
            state.since_ns = now_ns;
            self.crew.under_way += 1;
            self.crew.tally.outcome.connections.attempted += 1;
            let opened = match &self.target {
                Destination::Ip(address) => self.plane.connect(*address, source, connection),
                Destination::Unix(path) => self.plane.connect_unix(path, connection),
            };
            match opened {
                Ok(socket) => {
                    self.crew.clients[*client as usize].socket = Some(socket);
                    self.deadlines.push_back((now_ns + self.connect_timeout_ns, connection));
                    self.pings.join(*client, now_ns);
                }
                Err(error) => self.crew.fail_tcp(*client, error.errno()),
            }
        }
    }

    /// One turn. Waits for something to happen, until `wake_ns` at most, unless there is more to do at once.
    pub(super) fn go(&mut self, wake_ns: Option<u64>) -> Result<(), EngineError> {
        while let Some(event) = self.plane.next_event() {
            self.handle_event(event);
        }
        self.crew.take_notes();
        self.now_ns = monotonic_ns();
        let ping_ns = self.keep_alive();
        self.keep_deadlines();
        self.retry();
        let scheduled_ns = self.crew.follow_schedules();
        let more = self.crew.serve_eager();
        self.crew.seat.post(&self.crew.tally);
        self.flush()?;
        // Behind what was due, so that it is late by no handshake.
        let more = self.run_handshakes() || more;
        self.flush()?;
        let busy = self.carry_out_orders();
        self.feed_starved();
        if more || busy {
            return self.plane.submit().map_err(broken);
        }
        let wakes = [
            wake_ns,
            ping_ns,
            scheduled_ns,
            self.deadlines.front().map(|one| one.0),
            self.retries.front().map(|one| one.0),
            self.slow.peek().map(|one| one.0.0),
        ];
        let now_ns = monotonic_ns();
        let wake_ns = wakes.into_iter().flatten().min().unwrap_or(u64::MAX).min(now_ns + NAP_NS);
        match wake_ns.saturating_sub(now_ns) {
            0 => self.plane.submit(),
            patience => self.plane.wait(Some(Duration::from_nanos(patience)), || !self.crew.seat.has_notes()),
        }
        .map_err(broken)
    }

    fn handle_event(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::Received { connection, buffer, more } => {
                let client = connection.slot;
                if self.is_current(connection) {
                    self.crew.tally.outcome.traffic.bytes_received += buffer.len() as u64;
                    if self.transport.is_plain() {
                        self.crew.feed(client, self.plane.bytes(&buffer));
                    } else {
                        self.open_received(connection, &buffer);
                    }
                    if !more {
                        self.crew.clients[client as usize].receiving = false;
                        self.receive_on(connection, buffer.len());
                    }
                }
                self.plane.give_back(buffer);
            }
            SocketEvent::ReceiveEnded { connection, cause } if self.is_current(connection) => {
                self.handle_receive_ended(connection, cause);
            }
            SocketEvent::Connected { connection, error } if self.is_current(connection) => {
                if self.crew.clients[connection.slot as usize].state != State::Connecting {
                    return;
                }
                if let Some(error) = error {
                    self.crew.fail_tcp(connection.slot, error);
                } else {
                    self.begin(connection);
                }
            }
            SocketEvent::Sent { connection, bytes, sent, error } if self.is_current(connection) => {
                self.crew.tally.outcome.traffic.bytes_sent += sent as u64;
                debug_assert!(error.is_some() || sent == bytes.len());
                match error {
                    Some(error) => self.crew.end_by_error(connection.slot, error),
                    None => self.send_blocked(connection),
                }
            }
            _ => {}
        }
    }

    pub(super) fn is_current(&self, connection: ConnectionId) -> bool {
        self.crew
            .clients
            .get(connection.slot as usize)
            .is_some_and(|client| client.is_current(connection) && client.state != State::Away)
    }

    /// After a receive that is to be asked for again: at once, or at a slow consumer's pace.
    fn receive_on(&mut self, connection: ConnectionId, bytes: usize) {
        let role = self.crew.cast.role_of(connection.slot);
        if self.crew.clients[connection.slot as usize].state == State::Away {
            return;
        }
        match self.crew.cast.roles[role].group.reads {
            Reads::Slow { bytes_per_s } if self.crew.clients[connection.slot as usize].state == State::Live => {
                let pause_ns = bytes as u64 * 1_000_000_000 / u64::from(bytes_per_s);
                self.slow.push(Reverse((monotonic_ns() + pause_ns, connection.slot)));
            }
            // Its last receive ended on the SUBACK, or found no buffer: nothing more is asked for.
            Reads::Stalled if self.crew.clients[connection.slot as usize].state == State::Live => {}
            _ => self.receive_multi(connection),
        }
    }

    pub(super) fn receive_multi(&mut self, connection: ConnectionId) {
        let state = &mut self.crew.clients[connection.slot as usize];
        if let Some(socket) = state.socket {
            state.receiving = true;
            self.plane.receive_multi(socket, connection);
        }
    }

    fn handle_receive_ended(&mut self, connection: ConnectionId, cause: EndCause) {
        let client = connection.slot;
        self.crew.clients[client as usize].receiving = false;
        if matches!(cause, EndCause::Eof | EndCause::Error(_)) && self.end_shaking(client) {
            return;
        }
        match cause {
            EndCause::Eof => self.crew.end_by_peer(client, LossReason::Closed, "the broker closed the connection"),
            EndCause::Error(error) => self.crew.end_by_error(client, error),
            EndCause::OutOfBuffers => self.starved.push(connection),
            EndCause::Cancelled => {
                let role = self.crew.cast.role_of(client);
                if matches!(self.crew.cast.roles[role].group.reads, Reads::Slow { .. }) {
                    self.slow.push(Reverse((self.now_ns, client)));
                }
            }
        }
    }

    /// From now on somebody else pings.
    pub(super) fn stop_keeping_alive(&mut self) {
        self.pings.stop();
    }

    /// Pings whoever's turn it is. Returns when the next is due.
    fn keep_alive(&mut self) -> Option<u64> {
        while let Some(client) = self.pings.next_due(self.now_ns) {
            self.crew.ping(self.now_ns, client);
            if self.crew.clients[client as usize].state != State::Away {
                self.pings.join(client, self.now_ns);
            }
        }
        self.pings.due_ns()
    }

    fn keep_deadlines(&mut self) {
        while let Some((_, connection)) = self.deadlines.front().copied() {
            let is_due = self.deadlines.front().is_some_and(|one| one.0 <= self.now_ns);
            let is_settled =
                !self.is_current(connection) || self.crew.clients[connection.slot as usize].state == State::Live;
            if !is_due && !is_settled {
                break;
            }
            self.deadlines.pop_front();
            if !is_settled {
                self.crew.time_out(connection.slot);
            }
        }
        while let Some(Reverse((at, client))) = self.slow.peek().copied().filter(|one| one.0.0 <= self.now_ns) {
            let _ = at;
            self.slow.pop();
            let state = &mut self.crew.clients[client as usize];
            if let (Some(socket), State::Live, false) = (state.socket, state.state, state.receiving) {
                state.receiving = true;
                let connection = state.connection(client);
                self.plane.receive_once(socket, connection);
            }
        }
    }

    /// Connects those again whose pause is over.
    fn retry(&mut self) {
        while let Some((_, client)) = self.retries.front().copied().filter(|one| one.0 <= self.now_ns) {
            self.retries.pop_front();
            self.crew.under_way -= 1;
            // A stage may have connected it meanwhile.
            if self.crew.clients[client as usize].state == State::Away {
                self.connect(&[client]);
            }
        }
    }

    /// Receives again where no buffer was left, as often as there are buffers: asking for more would fail again.
    fn feed_starved(&mut self) {
        let mut fed = 0;
        for connection in std::mem::take(&mut self.starved) {
            if !self.is_current(connection) {
                continue;
            }
            match self.crew.clients[connection.slot as usize].socket {
                Some(socket) if self.plane.buffers_free(socket) > fed => {
                    fed += 1;
                    self.receive_on(connection, 0);
                }
                Some(_) => self.starved.push(connection),
                None => {}
            }
        }
    }
}
