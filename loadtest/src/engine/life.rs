//! A client's connections: greeting, subscribing, pinging, and every way in which they end.

use super::client::{State, Unacknowledged};
use super::crew::{Crew, Goodbye, Order};
use crate::outcome::{FailureReason, LossReason};
use crate::plan::{DropHow, RetainHandling};
use dunlin::codec::{
    Connect, Disconnect, PINGREQ, Packet, ReasonCode, RetainHandling as WireRetainHandling, SubscribeFilter,
    SubscriptionOptions, encode_subscribe,
};
use dunlin::ids::Qos;

/// The largest errno of TCP that gets a reason of its own; the numbers are Linux's on every machine that we run on.
mod errno {
    pub(super) const NO_DESCRIPTORS_PROCESS: i32 = 24;
    pub(super) const NO_DESCRIPTORS_SYSTEM: i32 = 23;
    pub(super) const NO_MEMORY: i32 = 12;
    pub(super) const NO_BUFFERS: i32 = 105;
    pub(super) const ADDRESS_NOT_AVAILABLE: i32 = 99;
    pub(super) const NETWORK_UNREACHABLE: i32 = 101;
    pub(super) const HOST_UNREACHABLE: i32 = 113;
    pub(super) const REFUSED: i32 = 111;
    pub(super) const TIMED_OUT: i32 = 110;
    pub(super) const RESET: i32 = 104;
    pub(super) const BROKEN_PIPE: i32 = 32;
}

impl Crew {
    /// The socket is connected.
    pub(super) fn handle_connected(&mut self, now_ns: u64, client: u32) {
        let state = &mut self.clients[client as usize];
        self.tally.outcome.timings.tcp_connect.record(now_ns.saturating_sub(state.since_ns));
        state.since_ns = now_ns;
        state.state = State::Shaking;
    }

    /// What lies below MQTT is there: CONNECT goes out, and SUBSCRIBE in the same send where the group pipelines.
    pub(super) fn greet(&mut self, now_ns: u64, client: u32) {
        let role = self.cast.role_of(client);
        let index = self.cast.index_of(role, client);
        let state = &mut self.clients[client as usize];
        state.since_ns = now_ns;
        state.state = State::Greeting;
        self.text.clear();
        self.cast.write_client_id(role, index, &mut self.text);
        let id_len = self.text.len();
        let has_username = self.cast.write_username(role, index, &mut self.text);
        let user_len = self.text.len();
        if let Err(words) = self.write_password(role, index, (id_len, has_username)) {
            self.fail(client, FailureReason::ClientFile, &words);
            return;
        }
        let has_password = self.token.is_some() || self.cast.has_password();
        let group = &self.cast.roles[role].group;
        let mut connect = Connect::new(self.version, &self.text[..id_len], group.clean_start);
        connect.keep_alive_s = self.keep_alive_s;
        connect.username = has_username.then(|| &self.text[id_len..user_len]);
        connect.password = has_password.then(|| &self.text.as_bytes()[user_len..]);
        if self.version.is_v5() {
            connect.session_expiry_s = group.session_expiry_s;
            connect.receive_maximum = group.receive_maximum;
        }
        self.outbox.write(client, |out| connect.encode(out));
        if group.pipeline {
            self.write_subscribe(role, client);
        }
    }

    /// Appends a client's password or token to its id and user name.
    fn write_password(&mut self, role: usize, index: u32, (id_len, has_username): (usize, bool)) -> Result<(), String> {
        let Some(maker) = &self.token else {
            self.cast.write_password(role, index, &mut self.text);
            return Ok(());
        };
        let more: Vec<String> = maker.claims.iter().map(|(_, claim)| self.cast.written(claim, role, index)).collect();
        let username = has_username.then(|| &self.text[id_len..]);
        let token = maker.make(&self.text[..id_len], username, &more)?;
        self.text.push_str(&token);
        Ok(())
    }

    /// All subscriptions of a client in one packet.
    pub(super) fn write_subscribe(&mut self, role: usize, client: u32) {
        let index = self.cast.index_of(role, client);
        let id = self.clients[client as usize].next_packet_id();
        let mut filters: Vec<(String, SubscriptionOptions)> = Vec::with_capacity(self.cast.roles[role].filters.len());
        for (at, (_, subscription)) in self.cast.roles[role].filters.iter().enumerate() {
            let mut text = String::new();
            self.cast.write_filter(role, index, at, &mut text);
            let options = SubscriptionOptions {
                qos: Qos::from_bits(subscription.qos).unwrap_or_default(),
                no_local: subscription.no_local,
                retain_as_published: subscription.retain_as_published,
                retain_handling: match subscription.retain_handling {
                    RetainHandling::Send => WireRetainHandling::SendAlways,
                    RetainHandling::SendIfNew => WireRetainHandling::SendIfNew,
                    RetainHandling::DoNotSend => WireRetainHandling::Never,
                },
            };
            filters.push((text, options));
        }
        let filters = filters.iter().map(|(filter, options)| SubscribeFilter { filter, options: *options });
        let version = self.version;
        self.outbox.write(client, |out| encode_subscribe(version, id, None, filters, out));
    }

    pub(super) fn become_live(&mut self, role: usize, client: u32) {
        self.clients[client as usize].state = State::Live;
        self.under_way -= 1;
        if self.cast.roles[role].filters.is_empty() {
            self.tally.outcome.connections.subscribed += 1;
        }
        if self.cast.roles[role].publishing.is_some() {
            self.make_eager(client);
        }
    }

    /// Sends a PINGREQ, or gives a broker up that did not answer the last..
    pub(super) fn ping(&mut self, now_ns: u64, client: u32) {
        let state = &mut self.clients[client as usize];
        if state.state != State::Live {
            return;
        }
        // A client that does not read cannot see an answer.
        if state.ping_sent && state.receiving {
            self.end_by_peer(client, LossReason::PingTimeout, "no answer to a ping");
            return;
        }
        state.ping_sent = true;
        state.since_ns = now_ns;
        self.outbox.write(client, |out| out.extend_from_slice(&PINGREQ));
    }

    /// Gives up on a connection that is not made in time.
    pub(super) fn time_out(&mut self, client: u32) {
        let reason = match self.clients[client as usize].state {
            State::Connecting => FailureReason::TcpTimeout,
            State::Shaking => FailureReason::HandshakeTimeout,
            State::Greeting => FailureReason::ConnackTimeout,
            State::Subscribing => FailureReason::SubackTimeout,
            State::Away | State::Live => return,
        };
        self.fail(client, reason, "no answer in time");
    }

    /// A connection was not made, by an error of TCP.
    pub(super) fn fail_tcp(&mut self, client: u32, error: i32) {
        let reason = match error {
            errno::REFUSED => FailureReason::Refused,
            errno::NETWORK_UNREACHABLE | errno::HOST_UNREACHABLE => FailureReason::Unreachable,
            errno::ADDRESS_NOT_AVAILABLE => FailureReason::NoPort,
            errno::TIMED_OUT => FailureReason::TcpTimeout,
            errno::NO_DESCRIPTORS_PROCESS | errno::NO_DESCRIPTORS_SYSTEM | errno::NO_MEMORY | errno::NO_BUFFERS => {
                FailureReason::NoResources
            }
            _ => FailureReason::TcpError,
        };
        self.fail(client, reason, &std::io::Error::from_raw_os_error(error).to_string());
    }

    /// A connection was not made.
    pub(super) fn fail(&mut self, client: u32, reason: FailureReason, words: &str) {
        let state = self.clients[client as usize].state;
        if state == State::Subscribing {
            // It was established, and is no more.
            self.tally.connected -= 1;
        }
        self.leave(client);
        self.orders.push(Order::Close { client, by: Goodbye::Reset, connecting: state == State::Connecting });
        let retries = &mut self.clients[client as usize].retries;
        // What the broker has decided it will not decide otherwise.
        let is_final = matches!(
            reason,
            FailureReason::NotAuthorized
                | FailureReason::SubscriptionRefused
                | FailureReason::TlsUntrusted
                | FailureReason::TlsWrongName
                | FailureReason::TlsExpired
                | FailureReason::ClientFile
        );
        if *retries < self.retries_max && !is_final {
            // It stays under way, so that the stage waits for it.
            *retries += 1;
            self.tally.outcome.connections.retried += 1;
            self.orders.push(Order::Retry { client });
        } else {
            *retries = 0;
            self.under_way -= 1;
            self.tally.failed(reason, || words.to_owned());
        }
    }

    /// The broker, or the way to it, ended a connection.
    pub(super) fn end_by_peer(&mut self, client: u32, reason: LossReason, words: &str) {
        match self.clients[client as usize].state {
            State::Away => {}
            State::Live => {
                self.tally.connected -= 1;
                self.tally.lost(reason);
                self.leave(client);
                self.orders.push(Order::Close { client, by: Goodbye::Fin, connecting: false });
                if self.comes_back {
                    self.under_way += 1;
                    self.orders.push(Order::Retry { client });
                }
            }
            _ => self.fail(client, FailureReason::Closed, words),
        }
    }

    /// As `end_by_peer`, for an error of TCP.
    pub(super) fn end_by_error(&mut self, client: u32, error: i32) {
        let reason = match error {
            errno::RESET | errno::BROKEN_PIPE => LossReason::Reset,
            _ => LossReason::TcpError,
        };
        self.end_by_peer(client, reason, &std::io::Error::from_raw_os_error(error).to_string());
    }

    /// The broker broke the rules.
    pub(super) fn end_by_protocol(&mut self, client: u32, words: &str) {
        if self.clients[client as usize].state == State::Live {
            self.end_by_peer(client, LossReason::Protocol, words);
        } else if self.clients[client as usize].state != State::Away {
            self.fail(client, FailureReason::Protocol, words);
        }
    }

    /// Ends a connection as the plan says.
    pub(super) fn part(&mut self, client: u32, how: DropHow) {
        if self.clients[client as usize].state != State::Live {
            return;
        }
        self.tally.connected -= 1;
        self.tally.outcome.connections.dropped += 1;
        if how == DropHow::Disconnect {
            let packet = Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
            let version = self.version;
            self.outbox.write(client, |out| packet.encode(version, out));
        }
        self.leave(client);
        let by = if how == DropHow::Reset { Goodbye::Reset } else { Goodbye::Fin };
        self.orders.push(Order::Close { client, by, connecting: false });
    }

    /// What a connection's end means for the client's state.
    fn leave(&mut self, client: u32) {
        let role = self.cast.role_of(client);
        let state = &mut self.clients[client as usize];
        state.state = State::Away;
        state.ping_sent = false;
        let keeps = self.cast.roles[role].keeps_session;
        if let Some(mut busy) = state.busy.take() {
            busy.partial = Vec::new();
            let unsent = std::mem::take(&mut busy.flight.waiting);
            let abandoned: Vec<Unacknowledged> =
                if keeps { Vec::new() } else { busy.flight.unacknowledged.drain(..).collect() };
            busy.flight.open.clear();
            state.busy = Some(busy);
            if let Some(publishing) = &self.cast.roles[role].publishing {
                let messages = &mut self.tally.outcome.verdict.messages[usize::from(publishing.what.qos)];
                messages.unsent += unsent;
                messages.unconnected += unsent;
            }
            self.abandon(role, &abandoned);
        }
    }
}
