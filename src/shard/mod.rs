//! One core's state: the heart of the broker.
//!
//! Owns: the sessions whose client ids hash to this shard, a replica of the subscription index, a copy of the retained
//! messages, timers, and what clients and other shards are still to be sent.
//! Always holds: [`Shard::handle`] is a function of state, time and input; it blocks on nothing, asks no clock and no
//! random source, and speaks to the world through [`Effects`] alone. Messages of one publisher on one topic and QoS leave in the
//! order in which they came. Every drop has a reason and is counted.
//! Leaves to others: sockets and bytes on the wire (`net`, `ring`), threads (`runtime`), the disk (`store`).
//!
//! Reading order: [`input`], [`effects`], [`mesh`] (all that can happen, come out, be said); then `connect`, `publish`,
//! `mounts`, `deliver`, `crowd`, `fanouts`, `queue`, `room`, `hold_back`, `pace`, `profiled`, `pauses`, `hearing`, `groups`, `ack`, `waiting`, `forwards`, `subscribe`, `requests`, `verdict`, `reauthentication`, `access`, `principal`, `rights`, `owners`, `held_packets`, `review`,
//! `end`, `drain`, `teardown`, `work`, `disk_queues`, `log_room`, `full_disk`, `restored_log`, `restore`, `lost_messages`, `reshard`, `sys`, `losses`, `report`; `sampled`, `spans`, `span_points` (sampled messages); `answer`, `looked_up`, `audience`, `top`, `traffic`, `topics_seen` (what others ask).

mod access;
mod ack;
mod answer;
mod audience;
mod certificates;
mod clients;
pub mod command;
mod connect;
mod crowd;
mod deliver;
mod disk_queues;
mod disk_reads;
mod drain;
pub mod effects;
mod end;
mod fanouts;
mod forwards;
mod full_disk;
mod groups;
mod hearing;
mod held_packets;
mod hold_back;
pub mod holdings;
pub mod input;
mod interest;
pub mod link_words;
mod log_room;
mod looked_up;
mod losses;
mod lost_messages;
pub mod mesh;
mod mounts;
mod owners;
mod pace;
mod pauses;
mod places;
mod policy;
mod principal;
mod profiled;
mod publish;
mod queue;
mod reauthentication;
mod record_log;
mod remote_decisions;
mod renewal;
mod report;
mod requests;
mod reshard;
mod restore;
mod restored_log;
mod retained;
mod review;
mod rights;
mod room;
mod route;
mod router;
mod sampled;
mod sessions;
mod settings;
mod shown;
mod shown_properties;
mod span_points;
mod spans;
mod subscribe;
mod sys;
mod tail;
mod teardown;
mod timed;
mod timers;
mod top;
mod topics_seen;
mod traffic;
mod verdict;
mod waiting;
mod wanted_bodies;
mod work;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::operator_bans::OperatorBans;
use crate::codec::{DecodeError, Disconnect, PINGRESP, Packet, PacketType, ReasonCode};
use crate::ids::{ConnectionId, SessionId, ShardId};
use crate::limits::{ASKS_EXPIRED_PER_TICK, CLOSED_PER_TICK, FANOUTS_MAX};
use crate::telemetry::{CloseReason, Counters, Gauges, TransportCounters, Verbosity};
use crate::time::{Deadline, Now};

pub use certificates::CertificatesEnd;
pub use command::{ClientCursor, Command, Reply, RequestId, SessionFate};
pub use drain::DrainPlan;
pub use effects::{DiskRead, Effect, Effects, Encoded, Event, PublishSeen};
pub use holdings::Holdings;
pub use input::{ConnectInfo, Input, UserNameBasis, WillChange};
pub use lost_messages::StartRecords;
pub use mesh::{
    ConfirmToken, Confirmation, MeshBatch, MeshMessage, MeshOut, MessageInTransit, PublishDetails, StampClock,
};
pub use places::Places;
pub use reshard::rewrite;
pub use restored_log::{RestoreStep, RestoredLog, RestoredRetained, RestoredSessions, read_messages, to_message};
pub use sampled::{SampledMessage, Span, SpanEnd, SpanKind, SpanSampling};
pub use settings::{ProcessContext, Settings};
pub use shown_properties::ShownProperties;
pub use tail::{TailFilters, TailedMessage, is_watched};

pub use crate::store::LogStart;

use answer::CommandsUnderWay;
use clients::Clients;
use drain::Drain;
use held_packets::HeldPackets;
use reauthentication::Reauthentications;
use router::Router;
use sys::Sys;
use verdict::PendingConnects;

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
    clients: Clients,
    router: Router,
    sys: Sys,
    commands: CommandsUnderWay,
    next_tidy: Deadline,
    /// Kept for its memory: a topic that came as an alias.
    alias_topic: String,
    /// CONNECTs that wait for a verdict.
    pending: PendingConnects,
    /// Packets that wait for somebody to decide about their topics.
    held_packets: HeldPackets,
    /// Clients that authenticate themselves again.
    reauthentications: Reauthentications,
    shutdown: Shutdown,
    /// Clients are being asked to go.
    drain: Option<Drain>,
    /// Whom an operator has banned.
    bans: Option<Arc<OperatorBans>>,
}

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    /// Nobody has asked for it.
    No,
    /// Connections are being closed; those of sessions below this slot are.
    Closing(u32),
    /// Nobody is connected any more, and nobody comes in.
    Closed,
}

impl Shard {
    /// A shard without sessions, whose log goes on behind `log`.
    pub fn new(id: ShardId, process: &ProcessContext, now: Now, log: LogStart) -> Self {
        let shards = process.settings.shards;
        assert!(id.index() < shards, "shard {} of {shards}", id.0);
        let mut clients = Clients::new(id, process, log);
        clients.queues.note_time(now);
        Self {
            clients,
            router: Router::new(id, process),
            sys: Sys::new(process, now),
            commands: CommandsUnderWay::default(),
            next_tidy: now.after_s(1),
            alias_topic: String::new(),
            pending: PendingConnects::default(),
            held_packets: HeldPackets::default(),
            reauthentications: Reauthentications::default(),
            shutdown: Shutdown::No,
            drain: None,
            bans: process.bans.clone(),
        }
    }

    /// Takes one input and adds what follows from it to the turn's effects.
    pub fn handle(&mut self, turn: &mut Turn<'_>, input: Input<'_>) {
        match input {
            Input::Packet { connection, packet } => self.handle_packet(turn, connection, &packet),
            Input::Mesh { from, message, bytes } => self.handle_mesh(turn, from, message, bytes),
            Input::Connect { connection, connect, info } => {
                self.handle_connect(turn, connection, connect, info);
            }
            Input::Closed { connection } => {
                if let Some(id) = self.clients.sessions.of_connection(connection) {
                    self.end_connection(turn, id, CloseReason::SocketClosed, "the peer closed the socket");
                } else {
                    self.close_pending(turn, connection, CloseReason::SocketClosed);
                }
            }
            Input::Broken { connection, reason, text } => match self.clients.sessions.of_connection(connection) {
                Some(id) => self.end_connection(turn, id, reason, text),
                None => self.close_pending(turn, connection, reason),
            },
            Input::Verdict { ask, verdict } => self.handle_verdict(turn, ask, verdict),
            Input::BadPacket { connection, error } => self.handle_bad_packet(turn, connection, error),
            Input::Growing { connection } => self.handle_growing(turn.now, connection),
            Input::Blocked { connection, bytes } => self.handle_blocked(connection, bytes),
            Input::Renew { connection, keep_alive_s, sleeps, will } => {
                self.handle_renewal(turn, connection, (keep_alive_s, sleeps), will);
            }
            Input::Durable { position } => {
                self.clients.record_log.durable(position);
                self.release_waiting(turn);
            }
            Input::Copies { records, count } => self.clients.record_log.append_encoded(turn, records, count),
            Input::Bodies { session, bodies } => self.handle_bodies(turn, session, bodies),
            Input::Room { room } => self.handle_room(turn, room),
            Input::Deliver => self.router.go_on_with_fanout(turn, &mut self.clients),
            Input::Flushed => self.clients.flush = self.clients.flush.wrapping_add(1),
            Input::Tick { transport } => self.handle_tick(turn, transport),
            Input::Command { request, command, edge } => self.handle_command(turn, request, command, edge),
            Input::Restore(step) => self.handle_restore(turn, step),
            Input::Shutdown => self.shutdown = Shutdown::Closing(0),
        }
    }

    /// Whether a [`Input::Tick`] would find work now, whatever the time.
    pub fn has_work(&self) -> bool {
        let is_closing = matches!(self.shutdown, Shutdown::Closing(_));
        let has_work = !self.clients.work.is_empty() || !self.clients.sessions.ended().is_empty();
        let has_released = self.clients.hold_back.has_released()
            || self.clients.record_log.has_ready()
            || self.clients.has_publishers_to_resume()
            || self.clients.access.has_reviews()
            || self.clients.traffic.is_ending();
        has_work || !self.commands.is_empty() || is_closing || self.delivers_to_many() || has_released
    }

    /// Whether a message is on its way to more subscribers than one turn serves: [`Input::Deliver`] goes on with it, and so does
    /// [`Input::Tick`].
    pub fn delivers_to_many(&self) -> bool {
        !self.router.fanouts.is_empty()
    }

    /// Whether so many such messages are under way that no input which may bring another is to come before some have been
    /// delivered: what a peer or another shard has to say waits where it is.
    pub fn is_overloaded(&self) -> bool {
        self.router.fanouts.len() >= FANOUTS_MAX
    }

    /// Whether this client would be refused now because there is no place for it. One that takes over its own connection
    /// needs none.
    pub fn is_full_for(&self, client_id: &str, listener: u8) -> bool {
        // Mostly there is room, and then nobody needs to be looked for.
        self.clients.places.is_full(listener, None) && {
            let known = self.clients.sessions.find(client_id);
            self.clients.places.is_full(listener, self.clients.connected_by(known))
        }
    }

    /// When the next [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Deadline> {
        let Self { clients, router, sys, pending, next_tidy, .. } = self;
        let look_again = router.busy_groups.front().map(|&(due, _)| due);
        let deadlines = [
            clients.timers.next_deadline(),
            sys.next_deadline(),
            pending.next_deadline(),
            self.held_packets.next_deadline(),
            self.reauthentications.next_deadline(),
            Some(*next_tidy),
            look_again,
            clients.hold_back.next_deadline(),
            clients.profiled.next_deadline(),
            self.drain.as_ref().map(Drain::next_deadline),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// What has happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.clients.counters
    }

    /// What the shard holds now.
    pub fn gauges(&self) -> Gauges {
        let (ended_subscriptions, ended_shared) = self.clients.sessions.ended_subscriptions();
        Gauges {
            clients_connected: self.clients.sessions.connected() as u64,
            connected_by_version: self.clients.sessions.connected_by_version(),
            clients_disconnected: (self.clients.sessions.len() - self.clients.sessions.connected()) as u64,
            subscriptions: (self.router.index.subscriptions_count() - ended_subscriptions) as u64,
            shared_subscriptions: (self.router.index.shared_count() - ended_shared) as u64,
            retained_messages: self.router.retained.len() as u64,
            stored_messages: self.clients.queues.messages(),
            stored_bytes: self.clients.queues.queued_bytes(),
            stored_on_disk: self.clients.queues.on_disk(),
            logs_short: u64::from(self.is_log_short()),
            queued_memory_bytes: self.clients.queues.memory().taken_bytes(),
        }
    }

    fn handle_packet(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, packet: &Packet<'_>) {
        let Some(id) = self.clients.sessions.of_connection(connection) else {
            return self.handle_packet_of_pending(turn, connection, packet);
        };
        self.clients.counters.packets_received += 1;
        let session = self.clients.sessions.get_mut(id);
        let link = session.link.as_deref_mut().expect("a connection leads to a session with a link");
        link.note_received(turn.now);
        if self.clients.access.asks_others() && self.hold_undecided(turn, id, packet) {
            return;
        }
        self.take_packet(turn, id, packet);
    }

    /// A packet whose topics are decided about.
    fn take_packet(&mut self, turn: &mut Turn<'_>, id: SessionId, packet: &Packet<'_>) {
        match packet {
            Packet::Publish(publish) => self.handle_publish(turn, id, publish),
            Packet::Ack(ack) => self.handle_ack(turn, id, ack),
            Packet::Subscribe(subscribe) => self.handle_subscribe(turn, id, subscribe),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(turn, id, unsubscribe),
            Packet::PingReq => self.reply(turn, id, |out, _| out.extend_from_slice(&PINGRESP)),
            Packet::Disconnect(disconnect) => self.handle_disconnect(turn, id, disconnect),
            Packet::Auth(auth) => self.handle_auth(turn, id, auth),
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
        let Some(id) = self.clients.sessions.of_connection(connection) else {
            return self.handle_bad_packet_of_pending(turn, connection, error.reason());
        };
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
        self.report_too_large(turn, id, error);
        self.close(turn, id, reason, close_reason, error.text());
    }

    fn handle_mesh(&mut self, turn: &mut Turn<'_>, from: ShardId, message: MeshMessage, bytes: &[u8]) {
        match message {
            MeshMessage::Publish { message, plain, details } => {
                let mut details = details.map(|details| *details).unwrap_or_default();
                let outer = details.sampled.take().map(|sampled| self.clients.spans.enter(sampled));
                self.router.handle_mesh_publish(turn, &mut self.clients, message.routed(bytes), plain, details);
                if let Some(outer) = outer {
                    self.clients.spans.leave(outer);
                }
            }
            MeshMessage::Barrier { token } => {
                let confirmation = Confirmation::of(token);
                if !self.router.fanouts.wait_behind(confirmation) {
                    self.clients.confirm_when_durable(turn, confirmation);
                }
            }
            MeshMessage::Stored { confirmation } => {
                self.clients.confirm(confirmation);
                self.clients.send_ready_acks(turn, confirmation.token.connection);
            }
            MeshMessage::Interest { number, filter, interest } => {
                self.router.apply_interest(turn, from, number, &filter, interest);
            }
            MeshMessage::Applied { number } => {
                self.router.announcements.applied(from, number);
                self.release_subacks(turn);
            }
            MeshMessage::GroupRoom { key, room } => {
                if let Some(group) = self.router.index.group_by_key(key) {
                    self.router.index.set_remote_room(group, from, room);
                }
            }
            MeshMessage::RetainedDeleted { topic, stamp } => {
                self.router.apply_retained_deletion(turn, &mut self.clients, &topic, stamp);
            }
            MeshMessage::LogRoom { room } => self.note_room_of_log(turn, from, room),
            MeshMessage::Report(report) => self.sys.report(from, *report),
        }
    }

    fn handle_tick(&mut self, turn: &mut Turn<'_>, transport: &TransportCounters) {
        self.take_due(turn);
        if self.next_tidy.is_due(turn.now) {
            self.next_tidy = turn.now.after_s(1);
            self.router.retained.tidy(turn.now, self.clients.forwards.retained.front().copied());
            self.clients.end_losses(turn);
            self.clients.traffic.tidy(turn.now, self.clients.settings.count_traffic);
            let shard = self.clients.id;
            self.clients.spans.tidy(turn, shard);
        }
        self.clients.queues.note_time(turn.now);
        if self.sys.next_deadline().is_some_and(|deadline| deadline.is_due(turn.now)) {
            self.publish_sys(turn, transport);
        }
        self.release_waiting(turn);
        self.expire_pending(turn, turn.now);
        self.expire_held(turn, ASKS_EXPIRED_PER_TICK);
        self.expire_reauthentications(turn);
        self.close_for_shutdown(turn);
        self.drain_some(turn);
        self.router.look_again(turn, &self.clients);
        self.clients.end_waiting(turn);
        self.end_pauses(turn);
        self.clients.resume_publishers(turn);
        self.router.tear_down(turn, &mut self.clients);
        self.router.go_on_with_fanout(turn, &mut self.clients);
        self.work(turn);
        self.review_subscriptions(turn);
        self.advance_command(turn);
        self.clients.traffic.end_some();
    }

    /// Bytes of a packet are life as a whole packet is.
    fn handle_growing(&mut self, now: Now, connection: ConnectionId) {
        let Some(id) = self.clients.sessions.of_connection(connection) else { return };
        if let Some(link) = self.clients.sessions.get_mut(id).link.as_deref_mut() {
            link.note_received(now);
        }
    }

    fn handle_blocked(&mut self, connection: ConnectionId, bytes: u32) {
        let Some(id) = self.clients.sessions.of_connection(connection) else { return };
        let session = self.clients.sessions.get_mut(id);
        if let Some(link) = session.link.as_deref_mut() {
            link.set_blocked(bytes);
        }
        if bytes == 0 {
            self.clients.add_work(id);
        }
    }

    /// Goes on with closing connections, so many a tick.
    fn close_for_shutdown(&mut self, turn: &mut Turn<'_>) {
        let Shutdown::Closing(from) = self.shutdown else { return };
        self.refuse_pending(turn);
        let slots = self.clients.sessions.slots();
        let (mut next, mut closed) = (from, 0);
        while next < slots.min(from.saturating_add(SLOTS_PER_TICK)) && closed < CLOSED_PER_TICK {
            let id = SessionId(next);
            next += 1;
            if self.clients.sessions.try_get(id).is_some_and(|session| session.link.is_some()) {
                closed += 1;
                // A will that this publishes may reach sessions that are still to be told.
                let reason = ReasonCode::ServerShuttingDown;
                self.close(turn, id, reason, CloseReason::ServerShutdown, "the broker stops");
            }
        }
        let is_done = next >= slots && self.pending.is_empty();
        self.shutdown = if is_done { Shutdown::Closed } else { Shutdown::Closing(next) };
    }

    /// Sends a packet that answers one of the client's. A client that goes on asking while it reads no answers is cut
    /// off: answers cannot be dropped, and must not pile up.
    fn reply(&mut self, turn: &mut Turn<'_>, id: SessionId, write: impl FnOnce(&mut Vec<u8>, &crate::session::Link)) {
        let flush = self.clients.flush;
        let Some(link) = self.clients.sessions.try_get_mut(id).and_then(|session| session.link.as_deref_mut()) else {
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
        self.clients.counters.packets_sent += 1;
        // What waits may be an outbox of messages and one more that was as large as a packet can be: that the client has
        // asked for, and it is no reason to cut it off.
        let settings = &self.clients.settings;
        let limit = settings.outbox_max_bytes.saturating_mul(2).saturating_add(settings.packet_size_max_bytes);
        if link.outbox_bytes(flush) > limit {
            self.end_connection(turn, id, CloseReason::Resources, "it reads no answers");
        }
    }

    /// Closes a connection for a reason of the broker's: DISCONNECT where the version has one, then the end.
    fn close(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        code: ReasonCode,
        reason: CloseReason,
        text: impl Into<Cow<'static, str>>,
    ) {
        let text = text.into();
        if let Cow::Borrowed(text) = text
            && turn.fx.verbosity >= Verbosity::Debug
            && reason.is_of_client()
        {
            self.report_protocol_error(turn, id, code, text);
        }
        if let Some(link) = self.clients.sessions.get(id).link.as_deref()
            && link.version.is_v5()
        {
            // DISCONNECT may carry a reason string whatever the client said about problem information
            // [MQTT-3.1.2-29], but not beyond its packet size [MQTT-3.14.2-3].
            let fits = link.packet_size_max_bytes as usize >= text.len() + 16;
            // A CONNECT in the wrong place can be wrong in itself too, in ways that only CONNACK has codes for.
            let code = if code.is_allowed_in(PacketType::Disconnect) { code } else { ReasonCode::ProtocolError };
            let packet = Disconnect { reason: code, reason_string: fits.then_some(&text), ..Disconnect::default() };
            let version = link.version;
            if link.packet_size_max_bytes >= 4 {
                turn.fx.send(link.connection, |out| packet.encode(version, out));
                self.clients.counters.packets_sent += 1;
            }
        }
        self.end_connection(turn, id, reason, text);
    }
}

/// Slots of the table of sessions that one tick looks at when the broker stops.
const SLOTS_PER_TICK: u32 = 4_096;
