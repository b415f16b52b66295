//! One core's state: the heart of the broker.
//!
//! Owns: the sessions whose client ids hash to this shard, a replica of the subscription index, a copy of the retained
//! messages, timers, and what clients and other shards are still to be sent.
//! Always holds: [`Shard::handle`] is a function of state, time and input; it blocks on nothing, asks no clock and no
//! random source, and speaks to the world through [`Effects`] alone. Messages of one publisher on one topic and QoS leave in the
//! order in which they came. Every drop has a reason and is counted.
//! Leaves to others: sockets and bytes on the wire (`net`, `ring`), threads (`runtime`), the disk (`store`).
//!
//! Reading order: [`input`], [`effects`], [`mesh`] (all that can happen, come out, be said); then `packets`, `connect`, `publish`,
//! `mounts`, `deliver`, `send`, `outgoing`, `crowd`, `fanouts`, `queue`, `room`, `hold_back`, `pace`, `profiled`, `pauses`, `hearing`, `groups`, `ack`, `waiting`, `forwards`, `subscribe`, `requests`, `verdict`, `reauthentication`, `access`, `principal`, `recent_decisions`, `rights`, `owners`, `flapping`, `held_packets`, `review`,
//! `end`, `drain`, `shutdown`, `closing_ranges`, `closing`, `teardown`, `work`, `disk_queues`, `log_room`, `full_disk`, `restored_log`, `restore`, `lost_messages`, `reshard`, `sys`, `client_events`, `lifecycle`, `losses`, `report`; `sampled`, `spans`, `span_points` (sampled messages); `nodes`, `speaker`, `fence`, `passed_on`, `node_rooms`, `tell_rooms`, `forget_slot`, `peer_words`, `link_words`, `link_rooms`, `route_nodes`, `asked`, `from_nodes`, `peer_questions` (other nodes of a cluster); `answer`, `looked_up`, `audience`, `top`, `traffic`, `topics_seen` (what others ask).

mod access;
mod ack;
mod answer;
mod asked;
mod audience;
mod certificates;
mod client_events;
mod clients;
mod closing;
mod closing_ranges;
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
mod fence;
mod flapping;
mod forget_slot;
mod forwards;
mod from_nodes;
mod full_disk;
mod groups;
mod hearing;
mod held_packets;
mod hold_back;
pub mod holdings;
pub mod input;
mod interest;
mod lifecycle;
mod link_rooms;
pub mod link_words;
mod log_room;
mod looked_up;
mod losses;
mod lost_messages;
pub mod mesh;
mod mounts;
mod node_rooms;
mod nodes;
mod outgoing;
mod owners;
mod pace;
mod packets;
mod passed_on;
mod pauses;
mod peer_questions;
mod peer_words;
mod places;
mod policy;
mod principal;
mod profiled;
mod publish;
mod queue;
mod reauthentication;
mod recent_decisions;
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
mod route_nodes;
mod router;
mod sampled;
mod send;
mod sessions;
mod settings;
mod shown;
mod shown_properties;
mod shutdown;
mod span_points;
mod spans;
mod speaker;
mod subscribe;
mod sys;
mod tail;
mod teardown;
mod tell_rooms;
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

use std::sync::Arc;

use crate::auth::{BanList, operator_bans::OperatorBans};
use crate::ids::{ConnectionId, PacketId, Qos, ShardId};
use crate::limits::{ASKS_EXPIRED_PER_TICK, FANOUTS_MAX};
use crate::session::Outbound;
use crate::telemetry::{CloseReason, Counters, Gauges, TransportCounters};
use crate::time::{Deadline, Now};

pub use certificates::CertificatesEnd;
pub use command::{ClientCursor, Command, Reply, RequestId, SessionFate};
pub use drain::DrainPlan;
pub use effects::{DiskRead, Effect, Effects, Encoded, Event, PeerFault, PublishSeen};
pub use holdings::Holdings;
pub use input::{ConnectInfo, Input, UserNameBasis, WillChange};
pub use lost_messages::StartRecords;
pub use mesh::{
    ConfirmToken, Confirmation, InterestTold, MeshBatch, MeshMessage, MeshOut, MessageInTransit, PublishDetails,
    StampClock,
};
pub use places::Places;
pub use reshard::rewrite;
pub use restored_log::{RestoreStep, RestoredLog, RestoredRetained, RestoredSessions, read_messages, to_message};
pub use sampled::{SampledMessage, Span, SpanEnd, SpanKind, SpanSampling};
pub use settings::{ProcessContext, Settings};
pub use shown_properties::ShownProperties;
pub use tail::{TailFilters, TailedMessage, is_watched};

pub use crate::store::{LogRoom, LogStart};

use answer::CommandsUnderWay;
use clients::Clients;
use drain::Drain;
use flapping::Flapping;
use held_packets::HeldPackets;
use reauthentication::Reauthentications;
use router::Router;
use shutdown::Shutdown;
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
    /// Whom a file bans.
    ban_list: Option<Arc<BanList>>,
    /// Who comes and goes too often.
    flapping: Flapping,
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
            ban_list: process.ban_list.clone(),
            flapping: Flapping::default(),
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
            || !self.clients.events.is_empty()
            || self.clients.access.has_reviews()
            || self.clients.traffic.is_ending();
        has_work
            || !self.commands.is_empty()
            || is_closing
            || self.clients.closing.has_work()
            || self.delivers_to_many()
            || has_released
            || self.has_work_for_peers()
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

    /// Whether a message of QoS 1 or 2 of a client's would be taken: whoever was told no receive maximum is asked to wait, not closed.
    pub fn has_room_for(&self, connection: ConnectionId, packet_id: PacketId, qos: Qos) -> bool {
        let Some(id) = self.clients.sessions.of_connection(connection) else { return true };
        let session = self.clients.sessions.get(id);
        let acks = session.link.as_deref().and_then(|link| link.acks.as_deref());
        let (waiting, alone) = acks.map_or((0, 0), |acks| (acks.len(), acks.in_flight_alone()));
        let is_repetition = qos == Qos::ExactlyOnce && session.exchanges.contains(packet_id);
        let in_flight = alone + session.exchanges.len();
        let has_room = is_repetition || in_flight < usize::from(self.clients.settings.receive_maximum);
        has_room && waiting < usize::from(u16::MAX)
    }

    /// Whether anything is left that could be sent to the client of a connection, or that it has not acknowledged.
    pub fn has_more_for(&self, connection: ConnectionId) -> bool {
        let Some(id) = self.clients.sessions.of_connection(connection) else { return false };
        let session = self.clients.sessions.get(id);
        let has_backlog = session.link.as_deref().is_some_and(|link| link.backlog.is_some());
        session.has_work || has_backlog || session.outbound().is_some_and(|outbound| !Outbound::is_empty(outbound))
    }

    /// Whether every other shard has heard of all that this one's sessions are subscribed to.
    pub fn is_restored(&self) -> bool {
        self.clients.work.is_empty() && self.router.announcements.are_all_applied()
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
            router.next_look_at_rooms(),
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
            services_connected: self.clients.sessions.services() as u64,
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

    fn handle_mesh(&mut self, turn: &mut Turn<'_>, from: ShardId, message: MeshMessage, bytes: &[u8]) {
        if self.router.nodes.is_some() && from.is_slot(self.clients.settings.shards) {
            return self.hear_peer(turn, from, message, bytes);
        }
        match message {
            MeshMessage::Publish { message, plain, details } => {
                let mut details = details.map(|details| *details).unwrap_or_default();
                let outer = details.sampled.take().map(|sampled| self.clients.spans.enter(sampled));
                self.router.handle_mesh_publish(turn, &mut self.clients, message.routed(bytes), plain, details);
                if let Some(outer) = outer {
                    self.clients.spans.leave(outer);
                }
            }
            MeshMessage::Barrier { token } => self.handle_barrier(turn, token),
            MeshMessage::Stored { confirmation } => {
                self.clients.confirm(confirmation);
                self.clients.send_ready_acks(turn, confirmation.token.connection);
            }
            MeshMessage::Interest { number, filter, interest } => {
                self.router.apply_interest(turn, from, (number, &filter), interest);
            }
            MeshMessage::Applied { number } => {
                self.router.announcements.applied(from, number);
                self.release_subacks(turn);
            }
            MeshMessage::GroupRoom { key, room } => {
                if let Some(group) = self.router.index.group_by_key(key) {
                    self.router.index.set_remote_room(group, from, room);
                    self.router.note_room_of_node(turn, key);
                }
            }
            MeshMessage::RetainedDeleted { topic, stamp } => {
                self.router.apply_retained_deletion(turn, &mut self.clients, &topic, stamp);
            }
            MeshMessage::LogRoom { room } => self.note_room_of_log(turn, from, room),
            MeshMessage::Report(report) => self.sys.report(from, *report),
            of_nodes => self.handle_word_of_nodes(turn, from, of_nodes),
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
        self.close_ranges(turn);
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
        self.go_on_for_peers(turn);
        self.clients.traffic.end_some();
        self.publish_waiting_events(turn);
    }
}
