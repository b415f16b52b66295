//! One turn: what the plane tells, what time asks for, what goes out, what the plane is to do, and the wait for the next.

use super::client::{State, take_blocked};
use super::crew::{Crew, Order};
use super::error::EngineError;
use super::pings::Pings;
use crate::outcome::LossReason;
use crate::plan::{DropHow, Reads, Target};
use bytes::Bytes;
use dunlin::ids::ConnectionId;
use dunlin::ring::{EndCause, Event, Plane, PlaneConfig, RingError, ShortSend, UnderWay, monotonic_ns};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
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
    plane: Plane,
    pub(super) target: SocketAddr,
    sources: Vec<IpAddr>,
    /// When connections that are being made are given up: in order, because all have the same time.
    deadlines: VecDeque<(u64, ConnectionId)>,
    connect_timeout_ns: u64,
    /// Clients that wait to connect again, and until when: in order, because all wait for the same time.
    retries: VecDeque<(u64, u32)>,
    retry_after_ns: u64,
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
        target: SocketAddr,
        sources: Vec<IpAddr>,
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
            let token = state.token(*client);
            let source = (!self.sources.is_empty()).then(|| self.sources[*client as usize % self.sources.len()]);
            state.state = State::Connecting;
            state.since_ns = now_ns;
            self.crew.under_way += 1;
            self.crew.tally.outcome.connections.attempted += 1;
            match self.plane.connect(self.target, source, token) {
                Ok(socket) => {
                    self.crew.clients[*client as usize].socket = Some(socket);
                    self.deadlines.push_back((now_ns + self.connect_timeout_ns, token));
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

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Received { connection: token, buffer, more } => {
                let client = token.slot;
                if self.is_current(token) {
                    self.crew.feed(client, self.plane.bytes(&buffer));
                    if !more {
                        self.crew.clients[client as usize].receiving = false;
                        self.receive_on(token, buffer.len());
                    }
                }
                self.plane.give_back(buffer);
            }
            Event::ReceiveEnded { connection: token, cause } if self.is_current(token) => {
                self.handle_receive_ended(token, cause)
            }
            Event::Connected { connection: token, error } if self.is_current(token) => {
                if self.crew.clients[token.slot as usize].state != State::Connecting {
                    return;
                }
                if let Some(error) = error {
                    self.crew.fail_tcp(token.slot, error);
                } else {
                    self.crew.greet(monotonic_ns(), token.slot);
                    self.receive_multi(token);
                }
            }
            Event::Sent { connection: token, bytes, sent, error } if self.is_current(token) => {
                self.crew.tally.outcome.traffic.bytes_sent += sent as u64;
                debug_assert!(error.is_some() || sent == bytes.len());
                match error {
                    Some(error) => self.crew.end_by_error(token.slot, error),
                    None => self.send_blocked(token),
                }
            }
            _ => {}
        }
    }

    fn is_current(&self, token: ConnectionId) -> bool {
        self.crew
            .clients
            .get(token.slot as usize)
            .is_some_and(|client| client.is_current(token) && client.state != State::Away)
    }

    /// After a receive that is to be asked for again: at once, or at a slow consumer's pace.
    fn receive_on(&mut self, token: ConnectionId, bytes: usize) {
        let role = self.crew.cast.role_of(token.slot);
        if self.crew.clients[token.slot as usize].state == State::Away {
            return;
        }
        match self.crew.cast.roles[role].group.reads {
            Reads::Slow { bytes_per_s } if self.crew.clients[token.slot as usize].state == State::Live => {
                let pause_ns = bytes as u64 * 1_000_000_000 / u64::from(bytes_per_s);
                self.slow.push(Reverse((monotonic_ns() + pause_ns, token.slot)));
            }
            // Its last receive ended on the SUBACK, or found no buffer: nothing more is asked for.
            Reads::Stalled if self.crew.clients[token.slot as usize].state == State::Live => {}
            _ => self.receive_multi(token),
        }
    }

    fn receive_multi(&mut self, token: ConnectionId) {
        let state = &mut self.crew.clients[token.slot as usize];
        if let Some(socket) = state.socket {
            state.receiving = true;
            self.plane.receive_multi(socket, token);
        }
    }

    fn handle_receive_ended(&mut self, token: ConnectionId, cause: EndCause) {
        let client = token.slot;
        self.crew.clients[client as usize].receiving = false;
        match cause {
            EndCause::Eof => self.crew.end_by_peer(client, LossReason::Closed, "the broker closed the connection"),
            EndCause::Error(error) => self.crew.end_by_error(client, error),
            EndCause::OutOfBuffers => self.starved.push(token),
            EndCause::Cancelled => {
                let role = self.crew.cast.role_of(client);
                if matches!(self.crew.cast.roles[role].group.reads, Reads::Slow { .. }) {
                    self.slow.push(Reverse((self.now_ns, client)));
                }
            }
        }
    }

    fn send_blocked(&mut self, token: ConnectionId) {
        let state = &mut self.crew.clients[token.slot as usize];
        let (Some(socket), Some(busy)) = (state.socket, state.busy.as_mut()) else { return };
        match take_blocked(busy) {
            Some(bytes) => self.plane.send_rest(socket, token, bytes),
            None => self.crew.make_eager(token.slot),
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
        while let Some((_, token)) = self.deadlines.front().copied() {
            let is_due = self.deadlines.front().is_some_and(|one| one.0 <= self.now_ns);
            let is_settled = !self.is_current(token) || self.crew.clients[token.slot as usize].state == State::Live;
            if !is_due && !is_settled {
                break;
            }
            self.deadlines.pop_front();
            if !is_settled {
                self.crew.time_out(token.slot);
            }
        }
        while let Some(Reverse((at, client))) = self.slow.peek().copied().filter(|one| one.0.0 <= self.now_ns) {
            let _ = at;
            self.slow.pop();
            let state = &mut self.crew.clients[client as usize];
            if let (Some(socket), State::Live, false) = (state.socket, state.state, state.receiving) {
                state.receiving = true;
                let token = state.token(client);
                self.plane.receive_once(socket, token);
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

    /// Sends what was written, each client's in one piece.
    fn flush(&mut self) -> Result<(), EngineError> {
        let Crew { outbox, clients, tally, .. } = &mut self.crew;
        if outbox.len() == 0 {
            return Ok(());
        }
        outbox.join();
        let arena = &outbox.arena;
        outbox.pieces.retain(|piece| {
            let state = &mut clients[piece.client as usize];
            match state.busy.as_mut().and_then(|busy| busy.blocked.as_mut()) {
                Some(blocked) => {
                    blocked.extend_from_slice(&arena[piece.start..piece.end]);
                    false
                }
                None => state.socket.is_some(),
            }
        });
        let pieces = &outbox.pieces;
        let total: usize = pieces.iter().map(|piece| piece.end - piece.start).sum();
        let short = self
            .plane
            .flush(|batch| {
                for piece in pieces {
                    let state = &clients[piece.client as usize];
                    if let Some(socket) = state.socket {
                        batch.send(socket, state.token(piece.client), &arena[piece.start..piece.end]);
                    }
                }
            })
            .map_err(broken)?;
        let short: Vec<ShortSend> = if short.is_empty() { Vec::new() } else { short.to_vec() };
        tally.outcome.traffic.bytes_sent += total as u64;
        for one in short {
            self.keep_rest(one);
        }
        self.crew.outbox.clear();
        Ok(())
    }

    /// What a send left over is the kernel's to finish; the client writes behind it meanwhile.
    fn keep_rest(&mut self, short: ShortSend) {
        let client = short.connection.slot;
        let Some(piece) = self.crew.outbox.pieces.iter().find(|piece| piece.client == client).copied() else { return };
        let rest = &self.crew.outbox.arena[piece.start + short.sent..piece.end];
        self.crew.tally.outcome.traffic.bytes_sent -= rest.len() as u64;
        if let Some(error) = short.error {
            self.crew.end_by_error(client, error);
            return;
        }
        let bytes = Bytes::copy_from_slice(rest);
        let state = &mut self.crew.clients[client as usize];
        let Some(socket) = state.socket else { return };
        state.busy().blocked = Some(Vec::new());
        self.plane.send_rest(socket, short.connection, bytes);
    }

    /// Returns whether there were any.
    fn carry_out_orders(&mut self) -> bool {
        let any = !self.crew.orders.is_empty();
        for order in std::mem::take(&mut self.crew.orders) {
            match order {
                Order::Close { client, reset, connecting } => self.close(client, reset, connecting),
                Order::Retry { client } => self.retries.push_back((monotonic_ns() + self.retry_after_ns, client)),
                Order::Slow { client } | Order::Stall { client } => {
                    let state = &self.crew.clients[client as usize];
                    if let (Some(socket), true) = (state.socket, state.receiving) {
                        self.plane.stop_receiving(socket, state.token(client));
                    }
                }
            }
        }
        any
    }

    fn close(&mut self, client: u32, reset: bool, connecting: bool) {
        let state = &mut self.crew.clients[client as usize];
        let token = state.token(client);
        let Some(socket) = state.socket.take() else { return };
        let under_way = match (connecting || state.is_blocked(), state.receiving) {
            (true, _) => UnderWay::Anything,
            (false, true) => UnderWay::Receive(token),
            (false, false) => UnderWay::Nothing,
        };
        state.receiving = false;
        if let Some(busy) = &mut state.busy {
            busy.blocked = None;
        }
        state.tidy();
        if reset {
            self.plane.abort(socket, under_way);
        } else {
            self.plane.close(socket, under_way);
        }
    }

    /// Receives again where no buffer was left, as often as there are buffers: asking for more would fail again.
    fn feed_starved(&mut self) {
        let mut fed = 0;
        for token in std::mem::take(&mut self.starved) {
            if !self.is_current(token) {
                continue;
            }
            match self.crew.clients[token.slot as usize].socket {
                Some(socket) if self.plane.buffers_free(socket) > fed => {
                    fed += 1;
                    self.receive_on(token, 0);
                }
                Some(_) => self.starved.push(token),
                None => {}
            }
        }
    }

    /// DISCONNECT to all that are connected.
    pub(super) fn say_goodbye(&mut self) -> Result<(), EngineError> {
        for client in 0..self.crew.cast.clients {
            if self.crew.clients[client as usize].state == State::Live {
                let before = self.crew.tally.outcome.connections.dropped;
                self.crew.part(client, DropHow::Disconnect);
                self.crew.tally.outcome.connections.dropped = before;
            }
        }
        self.flush()?;
        // The plane's end closes them all at once; one by one, each close would look for its receive among all others.
        self.crew.orders.clear();
        self.plane.submit().map_err(broken)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: RingError) -> EngineError {
    EngineError::System(error.to_string())
}
