//! Clients whose sockets are connected and that cannot speak MQTT yet, and what layers open for those that can.

use super::client::State;
use super::crew::Crew;
use super::transport::{Came, Job, Set, Step, TURN_NS, WireEnd};
use super::turn::Turn;
use crate::outcome::{FailureReason, LossReason};
use dunlin::ids::ConnectionId;
use dunlin::ring::{Buffer, monotonic_ns};

/// The buffer that layers open in gives its memory back beyond this.
const BUFFER_KEPT_BYTES: usize = 64 * 1024;

impl Turn {
    /// The socket is connected: what lies below MQTT begins, or MQTT itself.
    pub(super) fn begin(&mut self, connection: ConnectionId) {
        let (now_ns, client) = (monotonic_ns(), connection.slot);
        self.crew.handle_connected(now_ns, client);
        if self.transport.is_plain() {
            self.crew.greet(now_ns, client);
        } else {
            self.transport.begin(client);
            self.transport.jobs.push_back((now_ns, connection));
        }
        self.receive_multi(connection);
    }

    /// Bytes of a client that has something below MQTT.
    pub(super) fn open_received(&mut self, connection: ConnectionId, buffer: &Buffer) {
        let client = connection.slot;
        let mut plain = std::mem::take(&mut self.transport.plain);
        plain.clear();
        plain.extend_from_slice(self.plane.bytes(buffer));
        let came = self.transport.wire(client).map(|(wire, shared)| wire.receive(client, &mut plain, shared));
        if let Some(came) = came {
            self.handle_came(connection, came, &plain);
        }
        plain.clear();
        plain.shrink_to(BUFFER_KEPT_BYTES);
        self.transport.plain = plain;
    }

    /// Runs handshakes for a while. Returns whether some are left: between two turns others are read and written.
    pub(super) fn run_handshakes(&mut self) -> bool {
        let began_ns = monotonic_ns();
        while let Some((since_ns, connection)) = self.transport.next_job() {
            let client = connection.slot;
            if !self.is_current(connection) {
                continue;
            }
            let files = self.crew.cast.files(client);
            let job = Job { client, since_ns, files: (&files.0, &files.1) };
            let mut plain = Vec::new();
            let came = self.transport.wire(client).map(|(wire, shared)| wire.run(job, &mut plain, shared));
            if let Some(came) = came {
                self.handle_came(connection, came, &plain);
            }
            if monotonic_ns().saturating_sub(began_ns) > TURN_NS {
                break;
            }
        }
        !self.transport.jobs.is_empty()
    }

    fn handle_came(&mut self, connection: ConnectionId, (step, end): Came, plain: &[u8]) {
        let (now_ns, client) = (monotonic_ns(), connection.slot);
        match step {
            Step::HasWork => self.transport.jobs.push_back((now_ns, connection)),
            Step::Shaken(set) => self.crew.handle_shaken(now_ns, client, set),
            Step::Ready(set) => {
                match set {
                    Some(set) => self.crew.handle_shaken(now_ns, client, set),
                    None if self.transport.has_websocket() => self.crew.handle_upgraded(now_ns, client),
                    None => {}
                }
                self.crew.greet(now_ns, client);
            }
            Step::Waits | Step::Open => {}
        }
        if matches!(step, Step::Open | Step::Ready(_)) && !plain.is_empty() {
            self.crew.feed(client, plain);
        }
        if let Some(end) = end {
            self.crew.end_below(client, end);
        }
        self.send_own(client);
    }

    /// Lets the layers of a client send what does not wait for MQTT.
    pub(super) fn send_own(&mut self, client: u32) {
        if self.transport.wire(client).is_some_and(|(wire, _)| wire.has_own_bytes()) {
            self.crew.outbox.write(client, |_| {});
        }
    }

    /// The socket of a client has ended. Whether that was before it could speak MQTT, and is told.
    pub(super) fn end_shaking(&mut self, client: u32) -> bool {
        if self.crew.clients[client as usize].state != State::Shaking {
            return false;
        }
        let Some(end) = self.transport.wire(client).and_then(|(wire, _)| wire.ended()) else { return false };
        self.crew.end_below(client, end);
        true
    }
}

impl Crew {
    /// TLS is there.
    fn handle_shaken(&mut self, now_ns: u64, client: u32, set: Set) {
        let state = &mut self.clients[client as usize];
        let timings = &mut self.tally.outcome.timings;
        let timing = if set.agreed.is_resumed { &mut timings.tls_resumption } else { &mut timings.tls_handshake };
        timing.record(now_ns.saturating_sub(state.since_ns));
        timings.own_handshake.record(set.own_ns);
        state.since_ns = now_ns;
        self.tally.agreed(set.agreed);
    }

    /// The WebSocket is open.
    fn handle_upgraded(&mut self, now_ns: u64, client: u32) {
        let since_ns = self.clients[client as usize].since_ns;
        self.tally.outcome.timings.upgrade.record(now_ns.saturating_sub(since_ns));
    }

    /// What lies below MQTT has ended, or was not set up.
    fn end_below(&mut self, client: u32, end: WireEnd) {
        match (self.clients[client as usize].state, end) {
            (State::Away, _) => {}
            (State::Live, WireEnd::Failed(_, words) | WireEnd::Closed(words)) => {
                self.end_by_peer(client, LossReason::Closed, &words);
            }
            (_, WireEnd::Failed(reason, words)) => {
                if !matches!(reason, FailureReason::ClientFile) {
                    self.tally.refused_below(&words);
                }
                self.fail(client, reason, &words);
            }
            (_, WireEnd::Closed(words)) => self.end_by_peer(client, LossReason::Closed, &words),
            (_, WireEnd::Broken(words)) => self.end_by_protocol(client, &words),
        }
    }
}
