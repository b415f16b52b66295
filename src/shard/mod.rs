//! One core's state: the heart of the broker.
//!
//! Owns: the sessions whose client ids hash to this shard, a replica of the subscription index, a copy of the retained
//! messages, timers, and what is owed to clients and to other shards.
//! Always holds: [`Shard::handle`] is a function of state, time and input; it blocks on nothing, asks no clock and no
//! random source, and speaks to the world through [`Effects`] alone. Messages of one publisher on one topic and QoS leave in the
//! order in which they came. Every drop has a reason and is counted.
//! Leaves to others: sockets and bytes on the wire (`net`, `ring`), threads (`runtime`), the disk (`store`).
//!
//! Reading order: [`input`], [`effects`], [`mesh`] (all that can happen, come out, be said); then `connect`, `publish`,
//! `deliver`, `groups`, `ack`, `subscribe`, `end`, `teardown`, `work`, `sys`.

mod ack;
mod answer;
pub mod command;
mod connect;
mod deliver;
pub mod effects;
mod end;
mod groups;
pub mod holdings;
pub mod input;
mod interest;
mod log;
pub mod mesh;
mod publish;
mod retained;
mod sessions;
mod settings;

mod subscribe;
mod sys;
mod teardown;
mod timers;
mod work;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::codec::{DecodeError, Disconnect, Packet, PacketType, ReasonCode};
use crate::ids::{ConnectionId, Qos, SessionId, ShardId};
use crate::session::QueueTotals;
use crate::telemetry::{CloseReason, Counters, Gauges, TransportCounters};
use crate::time::{Deadline, Now};
use crate::topic::{Matches, SubscriptionIndex};

pub use command::{ClientCursor, Command, Reply, RequestId, SessionFate};
pub use effects::{Effect, Effects, Encoded, Event};
pub use holdings::Holdings;
pub use input::{Arrival, Input};
pub use mesh::{ConfirmToken, Crossing, MeshBatch, MeshMessage, MeshOut, Rider, Stamp};
pub use settings::{ProcessContext, Settings};

use answer::CommandsUnderWay;
use interest::Announcements;
use log::Log;
use retained::RetainedStore;
use sessions::Sessions;
use sys::Sys;
use timers::Timers;

/// What every input comes with: the time, and where to put what follows from it.
#[derive(Debug)]
pub struct Turn<'a> {
    /// Read once a turn.
    pub now: Now,
    /// What follows.
    pub fx: &'a mut Effects,
}

/// See the module's text.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    settings: Arc<Settings>,
    counters: Counters,
    sessions: Sessions,
    index: SubscriptionIndex,
    retained: RetainedStore,
    timers: Timers,
    announcements: Announcements,
    log: Log,
    sys: Sys,
    /// Sessions with something to go on with: a replay, a backlog, groups to be told.
    work: VecDeque<SessionId>,
    commands: CommandsUnderWay,
    /// Subscriptions since the last turn, counted while sessions that have ended are being taken down.
    inserted_meanwhile: usize,
    /// Counts [`Input::Flushed`].
    flush: u32,
    next_tidy: Deadline,
    /// When it may be said again that there is no room in queues.
    next_full_report: Deadline,
    queues: QueueTotals,
    /// Kept for its memory: the result of the latest match. `None` while a message is being routed.
    matches: Option<Box<Matches>>,
    /// Kept for its memory: a topic that came as an alias.
    alias_topic: String,
    shutting_down: bool,
}

impl Shard {
    /// A shard without sessions.
    pub fn new(id: ShardId, process: &ProcessContext, now: Now) -> Self {
        let settings = Arc::clone(&process.settings);
        assert!(id.index() < settings.shards, "shard {} of {}", id.0, settings.shards);
        Self {
            id,
            counters: Counters::default(),
            sessions: Sessions::new(process.seed),
            index: SubscriptionIndex::new(process.seed, id),
            retained: RetainedStore::default(),
            timers: Timers::default(),
            announcements: Announcements::new(id, settings.shards),
            log: Log::default(),
            sys: Sys::new(&settings, now),
            work: VecDeque::new(),
            commands: CommandsUnderWay::default(),
            inserted_meanwhile: 0,
            flush: 1,
            next_tidy: now.after_s(1),
            next_full_report: Deadline(0),
            queues: QueueTotals::new(Arc::clone(&process.queued_memory)),
            matches: None,
            alias_topic: String::new(),
            shutting_down: false,
            settings,
        }
    }

    /// Takes one input and adds what follows from it to the turn's effects.
    pub fn handle(&mut self, turn: &mut Turn<'_>, input: Input<'_>) {
        match input {
            Input::Packet { connection, packet } => self.handle_packet(turn, connection, packet),
            Input::Mesh { from, message, bytes } => self.handle_mesh(turn, from, message, bytes),
            Input::Connect { connection, connect, arrival } => {
                self.handle_connect(turn, connection, connect, arrival);
            }
            Input::Closed { connection } => {
                if let Some(id) = self.sessions.of_connection(connection) {
                    self.end_connection(turn, id, CloseReason::SocketClosed, "the peer closed the socket");
                }
            }
            Input::BadPacket { connection, error } => self.handle_bad_packet(turn, connection, error),
            Input::Blocked { connection, bytes } => self.handle_blocked(connection, bytes),
            Input::Durable { position } => {
                self.log.durable(position);
                self.release_acks(turn);
            }
            Input::Flushed => self.flush = self.flush.wrapping_add(1),
            Input::Tick { transport } => self.handle_tick(turn, transport),
            Input::Command { request, command, transport } => self.handle_command(turn, request, command, transport),
            Input::Shutdown => self.handle_shutdown(turn),
        }
    }

    /// Whether a [`Input::Tick`] would find work now, whatever the time.
    pub fn has_work(&self) -> bool {
        !self.work.is_empty() || !self.sessions.ended().is_empty() || !self.commands.is_empty()
    }

    /// When the next [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Deadline> {
        [self.timers.next_deadline(), self.sys.next_deadline(), Some(self.next_tidy)].into_iter().flatten().min()
    }

    /// What has happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the shard holds now.
    pub fn gauges(&self) -> Gauges {
        let (ended_subscriptions, ended_shared) = self.sessions.ended_subscriptions();
        Gauges {
            clients_connected: self.sessions.connected() as u64,
            clients_disconnected: (self.sessions.len() - self.sessions.connected()) as u64,
            subscriptions: (self.index.subscriptions_count() - ended_subscriptions) as u64,
            shared_subscriptions: (self.index.shared_count() - ended_shared) as u64,
            retained_messages: self.retained.len() as u64,
            stored_messages: self.queues.messages(),
            stored_bytes: self.queues.queued_bytes(),
        }
    }

    fn handle_packet(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, packet: Packet<'_>) {
        let Some(id) = self.sessions.of_connection(connection) else {
            return; // the shard has closed it; the edge had not heard yet
        };
        self.counters.packets_received += 1;
        let session = self.sessions.get_mut(id);
        let link = session.link.as_deref_mut().expect("a connection leads to a session with a link");
        link.last_received_s = turn.now.s();
        match packet {
            Packet::Publish(publish) => self.handle_publish(turn, id, &publish),
            Packet::Ack(ack) => self.handle_ack(turn, id, &ack),
            Packet::Subscribe(subscribe) => self.handle_subscribe(turn, id, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(turn, id, &unsubscribe),
            Packet::PingReq => self.reply(turn, id, |out, _| out.extend_from_slice(&[0xd0, 0])),
            Packet::Disconnect(disconnect) => self.handle_disconnect(turn, id, &disconnect),
            Packet::Auth(_) => {
                // No method was agreed on in CONNECT, so none can be gone on with [MQTT-4.12.0-7].
                self.close(turn, id, ReasonCode::ProtocolError, CloseReason::ProtocolError, "AUTH without a method");
            }
            Packet::Connect(_) => {
                // [MQTT-3.1.0-2]
                self.close(turn, id, ReasonCode::ProtocolError, CloseReason::ProtocolError, "a second CONNECT");
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                unreachable!("the codec refuses what only a server sends")
            }
        }
    }

    fn handle_bad_packet(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, error: DecodeError) {
        let Some(id) = self.sessions.of_connection(connection) else { return };
        // A second CONNECT may be wrong in a way that only CONNACK has a code for.
        let reason = match error.reason() {
            reason if reason.is_allowed_in(PacketType::Disconnect) => reason,
            _ => ReasonCode::ProtocolError,
        };
        let close_reason = match reason {
            ReasonCode::PacketTooLarge => CloseReason::PacketTooLarge,
            ReasonCode::MalformedPacket => CloseReason::Malformed,
            ReasonCode::TopicAliasInvalid => CloseReason::TopicAliasInvalid,
            _ => CloseReason::ProtocolError,
        };
        self.close(turn, id, reason, close_reason, error.text());
    }

    fn handle_mesh(&mut self, turn: &mut Turn<'_>, from: ShardId, message: MeshMessage, bytes: &[u8]) {
        match message {
            MeshMessage::Publish { message, plain, rider } => {
                let rider = rider.map(|rider| *rider).unwrap_or_default();
                self.handle_mesh_publish(turn, message.routed(bytes), plain, rider);
            }
            MeshMessage::Barrier { token } => self.confirm_when_durable(turn, token),
            MeshMessage::Stored { token } => {
                self.confirm(token);
                self.send_ready_acks(turn, token.connection);
            }
            MeshMessage::Interest { number, filter, interest } => {
                self.apply_interest(turn, from, number, &filter, interest);
            }
            MeshMessage::Applied { number } => {
                self.announcements.applied(from, number);
                self.release_subacks(turn);
            }
            MeshMessage::RetainedDeleted { topic, stamp } => self.apply_retained_deletion(turn, &topic, stamp),
            MeshMessage::Report(report) => self.sys.report(from, *report),
        }
    }

    fn handle_tick(&mut self, turn: &mut Turn<'_>, transport: &TransportCounters) {
        while let Some((tick, sessions)) = self.timers.next_due(turn.now) {
            for id in sessions {
                self.session_due(turn, id, tick);
            }
        }
        if self.next_tidy.is_due(turn.now) {
            self.next_tidy = turn.now.after_s(1);
            self.retained.tidy(turn.now);
        }
        if self.sys.next_deadline().is_some_and(|deadline| deadline.is_due(turn.now)) {
            self.publish_sys(turn, transport);
        }
        self.tear_down(turn);
        self.work(turn);
        self.advance_command(turn);
    }

    fn handle_blocked(&mut self, connection: ConnectionId, bytes: u32) {
        let Some(id) = self.sessions.of_connection(connection) else { return };
        let session = self.sessions.get_mut(id);
        if let Some(link) = session.link.as_deref_mut() {
            link.set_blocked(bytes);
        }
        if bytes == 0 {
            self.add_work(id);
        }
    }

    fn handle_shutdown(&mut self, turn: &mut Turn<'_>) {
        self.shutting_down = true;
        let connected: Vec<SessionId> =
            self.sessions.iter().filter(|(_, session)| session.link.is_some()).map(|(id, _)| id).collect();
        for id in connected {
            // A will that this publishes may reach sessions that are still to be told.
            let reason = ReasonCode::ServerShuttingDown;
            self.close(turn, id, reason, CloseReason::ServerShutdown, "the broker stops");
        }
    }

    /// Sends a packet that answers one of the client's. A client that goes on asking while it reads no answers is cut
    /// off: answers cannot be dropped, and must not pile up.
    fn reply(&mut self, turn: &mut Turn<'_>, id: SessionId, write: impl FnOnce(&mut Vec<u8>, &crate::session::Link)) {
        let flush = self.flush;
        let Some(link) = self.sessions.try_get_mut(id).and_then(|session| session.link.as_deref_mut()) else {
            return; // an earlier answer to the same packet has cut it off
        };
        let encoded = turn.fx.encode(|out| {
            write(out, link);
            None
        });
        if encoded.len() > link.packet_size_max_bytes {
            // The client may not be sent it [MQTT-3.1.2-24], and would wait for it for ever.
            let reason = CloseReason::PacketTooLarge;
            self.close(turn, id, ReasonCode::PacketTooLarge, reason, "the answer is larger than it takes");
            return;
        }
        turn.fx.list.push(Effect::Send { connection: link.connection, encoded, packet_id: None });
        link.add_outbox(flush, encoded.len());
        self.counters.packets_sent += 1;
        // What waits may be an outbox of messages and one more that was as large as a packet can be: that the client has
        // asked for, and it is no reason to cut it off.
        let settings = &self.settings;
        let limit = settings.outbox_max_bytes.saturating_mul(2).saturating_add(settings.packet_size_max_bytes);
        if link.outbox_bytes(flush) > limit {
            self.end_connection(turn, id, CloseReason::Resources, "it reads no answers");
        }
    }

    /// Closes a connection for a reason of the broker's: DISCONNECT where the version has one, then the end.
    fn close(&mut self, turn: &mut Turn<'_>, id: SessionId, code: ReasonCode, reason: CloseReason, text: &'static str) {
        if let Some(link) = self.sessions.get(id).link.as_deref()
            && link.version.is_v5()
        {
            // DISCONNECT may carry a reason string whatever the client said about problem information
            // [MQTT-3.1.2-29], but not beyond its packet size [MQTT-3.14.2-3].
            let fits = link.packet_size_max_bytes as usize >= text.len() + 16;
            // A CONNECT in the wrong place can be wrong in itself too, in ways that only CONNACK has codes for.
            let code = if code.is_allowed_in(PacketType::Disconnect) { code } else { ReasonCode::ProtocolError };
            let packet = Disconnect { reason: code, reason_string: fits.then_some(text), ..Disconnect::default() };
            let version = link.version;
            if link.packet_size_max_bytes >= 4 {
                turn.fx.send(link.connection, |out| packet.encode(version, out));
                self.counters.packets_sent += 1;
            }
        }
        self.end_connection(turn, id, reason, text);
    }
}

/// The lower of two.
fn lower(left: Qos, right: Qos) -> Qos {
    left.min(right)
}
