//! What comes in: packets out of bytes, and what each of them means.

use super::client::{State, Unacknowledged};
use super::crew::{Crew, Order};
use super::owing::Session;
use super::stamp::Reading;
use crate::outcome::{FailureReason, LossReason};
use crate::plan::Reads;
use dunlin::codec::{
    Ack, AckKind, ConnAck, DecodeError, Packet, PacketType, Publish, ReasonCode, Side, SubAck, decode, encode_ack,
    frame,
};
use dunlin::ids::{PacketId, Qos};
use dunlin::ring::monotonic_ns;

/// The largest packet that a broker may send here.
const PACKET_MAX_BYTES: u32 = frame::PACKET_SIZE_MAX_BYTES;

impl Crew {
    /// Takes bytes of a client.
    pub(super) fn feed(&mut self, client: u32, bytes: &[u8]) {
        let now_ns = monotonic_ns();
        let state = &mut self.clients[client as usize];
        let waiting =
            state.busy.as_mut().map(|busy| std::mem::take(&mut busy.partial)).filter(|partial| !partial.is_empty());
        let taken = match waiting {
            None => {
                let taken = self.take_packets(now_ns, client, bytes);
                taken.map(|taken| if taken < bytes.len() { bytes[taken..].to_vec() } else { Vec::new() })
            }
            Some(mut partial) => {
                partial.extend_from_slice(bytes);
                self.take_packets(now_ns, client, &partial).map(|taken| {
                    partial.drain(..taken);
                    partial
                })
            }
        };
        match taken {
            Ok(rest) if rest.is_empty() => self.clients[client as usize].tidy(),
            Ok(rest) => self.clients[client as usize].busy().partial = rest,
            Err(error) => self.end_by_protocol(client, &error.to_string()),
        }
    }

    /// Handles whole packets; returns how many bytes they took.
    fn take_packets(&mut self, now_ns: u64, client: u32, bytes: &[u8]) -> Result<usize, DecodeError> {
        let role = self.cast.role_of(client);
        let mut taken = 0;
        while let Some((frame, len)) = frame::next(&bytes[taken..], PACKET_MAX_BYTES)? {
            taken += len;
            // Nearly every packet: it is not put into an enum of the size of the largest one only to be taken out again.
            if frame.packet_type() == PacketType::Publish {
                let publish = Publish::decode(frame, self.version, Side::Client)?;
                self.handle_publish(now_ns, role, client, &publish);
                continue;
            }
            match decode(frame, self.version, Side::Client)? {
                Packet::Ack(ack) => self.handle_ack(now_ns, role, client, &ack)?,
                Packet::ConnAck(connack) => self.handle_connack(now_ns, role, client, &connack)?,
                Packet::SubAck(suback) => self.handle_suback(now_ns, role, client, &suback)?,
                Packet::PingResp => self.handle_ping_response(now_ns, client),
                Packet::Disconnect(disconnect) => {
                    if disconnect.reason.is_error() {
                        self.tally.refused("DISCONNECT", disconnect.reason);
                    }
                    self.end_by_peer(client, LossReason::Disconnected, disconnect.reason.text());
                }
                _ => return Err(DecodeError::Protocol("a packet that was not asked for")),
            }
            if self.clients[client as usize].state == State::Away {
                return Ok(bytes.len());
            }
        }
        Ok(taken)
    }

    fn handle_connack(
        &mut self,
        now_ns: u64,
        role: usize,
        client: u32,
        connack: &ConnAck<'_>,
    ) -> Result<(), DecodeError> {
        let state = &mut self.clients[client as usize];
        if state.state != State::Greeting {
            return Err(DecodeError::Protocol("a second CONNACK"));
        }
        if connack.reason.is_error() {
            self.tally.refused("CONNACK", connack.reason);
            let reason = match connack.reason {
                ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized | ReasonCode::Banned => {
                    FailureReason::NotAuthorized
                }
                ReasonCode::ServerBusy | ReasonCode::QuotaExceeded | ReasonCode::ConnectionRateExceeded => {
                    FailureReason::Busy
                }
                _ => FailureReason::RefusedByBroker,
            };
            self.fail(client, reason, connack.reason.text());
            return Ok(());
        }
        state.retries = 0;
        let outcome = &mut self.tally.outcome;
        outcome.timings.connack.record(now_ns.saturating_sub(state.since_ns));
        outcome.connections.established += 1;
        self.tally.connected += 1;
        outcome.connections.peak = outcome.connections.peak.max(self.tally.connected);
        outcome.connections.sessions_present += u64::from(connack.session_present);
        let role_of = &self.cast.roles[role];
        outcome.connections.sessions_lost += u64::from(state.owed && role_of.keeps_session && !connack.session_present);
        let is_subscribe_sent = role_of.group.pipeline;
        if !is_subscribe_sent {
            state.since_ns = now_ns;
        }
        if role_of.publishing.is_some() {
            let flight = &mut state.busy().flight;
            flight.acknowledged_max = connack.receive_maximum.unwrap_or(u16::MAX).min(role_of.group.receive_maximum);
        }
        self.settle_unacknowledged(role, client, connack.session_present);
        if self.cast.roles[role].filters.is_empty() {
            self.become_live(role, client);
        } else {
            self.clients[client as usize].state = State::Subscribing;
            if !is_subscribe_sent {
                self.write_subscribe(role, client);
            }
        }
        Ok(())
    }

    /// What waited for an acknowledgement when the connection was lost is sent again where the session goes on, and is
    /// nobody's business any more where it does not.
    fn settle_unacknowledged(&mut self, role: usize, client: u32, session_present: bool) {
        let Some(busy) = &mut self.clients[client as usize].busy else { return };
        if !session_present {
            busy.unreleased.clear();
        }
        let waiting: Vec<Unacknowledged> = busy.flight.unacknowledged.iter().copied().collect();
        if session_present && self.cast.roles[role].keeps_session {
            for message in waiting {
                let Some(id) = PacketId::new(message.packet_id) else { continue };
                if message.released {
                    self.note_released_again(client, message.packet_id);
                    self.write_ack(client, AckKind::PubRel, id);
                } else {
                    let qos = self.cast.roles[role].publishing.as_ref().map_or(0, |publishing| publishing.what.qos);
                    self.tally.outcome.verdict.messages[usize::from(qos)].resent += 1;
                    self.write_message(role, client, &message, Some(id), true);
                }
            }
        } else {
            busy.flight.unacknowledged.clear();
            self.abandon(role, &waiting);
        }
    }

    fn note_released_again(&mut self, client: u32, packet_id: u16) {
        let busy = self.clients[client as usize].busy();
        if let Some(message) = busy.flight.unacknowledged.iter_mut().find(|one| one.packet_id == packet_id) {
            message.released_again = true;
        }
    }

    /// Messages that nobody will acknowledge: what became of them is not the broker's promise.
    pub(super) fn abandon(&mut self, role: usize, messages: &[Unacknowledged]) {
        let qos = self.cast.roles[role].publishing.as_ref().map_or(0, |publishing| publishing.what.qos);
        for message in messages {
            self.tally.outcome.verdict.messages[usize::from(qos)].unconfirmed += 1;
            // Where a broker has to come back with all that it took, what it has confirmed by PUBREC is its own.
            if !(self.comes_back && message.released) {
                self.excuse_fan(role, message.stream);
            }
        }
    }

    fn handle_suback(&mut self, now_ns: u64, role: usize, client: u32, suback: &SubAck<'_>) -> Result<(), DecodeError> {
        let state = &mut self.clients[client as usize];
        match state.state {
            State::Subscribing => {}
            State::Greeting => return Err(DecodeError::Protocol("a SUBACK before CONNACK")),
            _ => return Err(DecodeError::Protocol("a SUBACK that was not asked for")),
        }
        let outcome = &mut self.tally.outcome;
        outcome.timings.suback.record(now_ns.saturating_sub(state.since_ns));
        if let Some(refused) = suback.codes().find(|code| code.is_error()) {
            outcome.connections.subscriptions_refused += suback.codes().filter(|code| code.is_error()).count() as u64;
            suback.codes().filter(|code| code.is_error()).for_each(|code| self.tally.refused("SUBACK", code));
            self.fail(client, FailureReason::SubscriptionRefused, refused.text());
            return Ok(());
        }
        outcome.connections.subscribed += 1;
        let was_owed = std::mem::replace(&mut state.owed, true);
        if self.seat.any_sent() {
            let session = match (was_owed, self.cast.roles[role].keeps_session) {
                (false, _) => Session::First,
                (true, false) => Session::Renewed,
                (true, true) => Session::Kept,
            };
            self.begin_owing(role, client, session);
        }
        self.become_live(role, client);
        match self.cast.roles[role].group.reads {
            Reads::AllTheTime => {}
            Reads::Slow { .. } => self.orders.push(Order::Slow { client }),
            Reads::Stalled => self.orders.push(Order::Stall { client }),
        }
        Ok(())
    }

    #[inline]
    fn handle_publish(&mut self, now_ns: u64, role: usize, client: u32, publish: &Publish<'_>) {
        self.tally.outcome.traffic.messages_received += 1;
        if let Some(id) = publish.packet_id {
            if publish.qos == Qos::AtLeastOnce {
                self.write_ack(client, AckKind::PubAck, id);
            } else {
                self.write_ack(client, AckKind::PubRec, id);
                let unreleased = &mut self.clients[client as usize].busy().unreleased;
                // The same message again, because the broker did not see our PUBREC: that is how QoS 2 works.
                if unreleased.contains(&id.get()) {
                    return;
                }
                unreleased.push(id.get());
            }
        }
        match self.read_payload(publish.payload, now_ns) {
            Reading::Ours(stamp) => {
                let Some(publisher) = self.cast.role_of_stream(stamp.stream) else {
                    self.tally.outcome.verdict.corrupted += 1;
                    return;
                };
                self.judge(role, client, publisher, &stamp, publish.retain);
                self.tally.last_delivery_ns = now_ns;
                if !self.cast.shares_clock(publisher, stamp.stream) {
                    self.tally.outcome.untimed += u64::from(self.tally.measured);
                } else if self.cast.roles[role].group.reads == Reads::AllTheTime {
                    self.tally.record_latency(now_ns, stamp.intended_ns, stamp.sent_ns);
                } else {
                    self.tally.latency_slow.record(now_ns.saturating_sub(stamp.intended_ns));
                }
            }
            Reading::Foreign => self.tally.outcome.verdict.foreign += 1,
            Reading::Corrupted => self.tally.outcome.verdict.corrupted += 1,
        }
    }

    fn handle_ack(&mut self, now_ns: u64, role: usize, client: u32, ack: &Ack<'_>) -> Result<(), DecodeError> {
        let id = ack.packet_id.get();
        if ack.kind == AckKind::PubRel {
            if let Some(busy) = &mut self.clients[client as usize].busy {
                busy.unreleased.retain(|unreleased| *unreleased != id);
            }
            self.write_ack(client, AckKind::PubComp, ack.packet_id);
            return Ok(());
        }
        let qos = self.cast.roles[role].publishing.as_ref().map_or(0, |publishing| publishing.what.qos);
        let unknown = DecodeError::Protocol("an acknowledgement of nothing");
        let Some(busy) = &mut self.clients[client as usize].busy else { return Err(unknown) };
        let waiting = &mut busy.flight.unacknowledged;
        let Some(at) = waiting.iter().position(|one| one.packet_id == id) else {
            // After a reconnection the broker may answer what it had before.
            return if ack.kind == AckKind::PubComp { Ok(()) } else { Err(unknown) };
        };
        let expected = match (qos, waiting[at].released) {
            (1, _) => AckKind::PubAck,
            (_, false) => AckKind::PubRec,
            (_, true) => AckKind::PubComp,
        };
        if ack.kind != expected {
            return Err(DecodeError::Protocol("an acknowledgement of another step"));
        }
        if ack.kind == AckKind::PubRec && !ack.reason.is_error() {
            waiting[at].released = true;
            self.write_ack(client, AckKind::PubRel, ack.packet_id);
            return Ok(());
        }
        let Some(message) = waiting.remove(at) else { return Ok(()) };
        let messages = &mut self.tally.outcome.verdict.messages[usize::from(qos)];
        // The broker had completed the exchange before the connection was lost: no error (5.0 section 3.7.2.1).
        let is_completed = message.released_again && ack.reason == ReasonCode::PacketIdentifierNotFound;
        if ack.reason.is_error() && !is_completed {
            messages.refused += 1;
            let packet = match ack.kind {
                AckKind::PubRec => "PUBREC",
                AckKind::PubComp => "PUBCOMP",
                AckKind::PubAck | AckKind::PubRel => "PUBACK",
            };
            self.tally.refused(packet, ack.reason);
            busy.flight.open.retain(|one| (one.stream, one.sequence) != (message.stream, message.sequence));
            self.excuse_fan(role, message.stream);
        } else {
            messages.acknowledged += 1;
            self.tally.outcome.traffic.messages_acknowledged += 1;
            self.tally.acknowledged.record(now_ns.saturating_sub(message.sent_ns));
        }
        self.make_eager(client);
        Ok(())
    }

    fn handle_ping_response(&mut self, now_ns: u64, client: u32) {
        let state = &mut self.clients[client as usize];
        if std::mem::take(&mut state.ping_sent) {
            self.tally.outcome.timings.ping.record(now_ns.saturating_sub(state.since_ns));
        }
    }

    fn write_ack(&mut self, client: u32, kind: AckKind, id: PacketId) {
        let version = self.version;
        self.outbox.write(client, |out| encode_ack(version, kind, id, ReasonCode::Success, out));
    }
}
