//! How connections and sessions end: DISCONNECT, a lost socket, expiry; and what then becomes of the will.

use super::clients::Clients;
use super::timers::Timers;
use super::{Effect, Event, Shard, Turn};
use crate::codec::{Disconnect, ReasonCode};
use crate::ids::SessionId;
use crate::limits::DUE_PER_TURN;
use crate::session::{Link, OpenExchanges, Routed};
use crate::store::format::LogRecord;
use crate::telemetry::{CloseReason, DropReason};
use crate::time::{Deadline, Now};
use crate::topic::TopicName;

impl Shard {
    pub(super) fn handle_disconnect(&mut self, turn: &mut Turn<'_>, id: SessionId, disconnect: &Disconnect<'_>) {
        if let Some(expiry_s) = disconnect.session_expiry_s {
            if !self.clients.sessions.get(id).is_persistent() && expiry_s > 0 {
                // What was 0 in CONNECT cannot be raised now (MQTT 5.0, 3.14.2.2.2).
                let text = "DISCONNECT raises a session expiry of 0";
                self.close(turn, id, ReasonCode::ProtocolError, CloseReason::ProtocolError, text);
                return;
            }
            self.clients.set_expiry(turn, id, expiry_s.min(self.clients.settings.session_expiry_max_s));
        }
        if disconnect.reason == ReasonCode::DisconnectWithWill {
            let reason = CloseReason::ClientDisconnectWithWill;
            self.end_connection(turn, id, reason, "the client asked for its will");
        } else if disconnect.reason.is_error() {
            // Any other reason than 0x00 leaves the will in force [MQTT-3.1.2-8].
            self.end_connection(turn, id, CloseReason::ClientDisconnectWithWill, "the client reported an error");
        } else {
            self.clients.sessions.get_mut(id).will = None; // [MQTT-3.14.4-3]
            self.end_connection(turn, id, CloseReason::ClientDisconnect, "the client said goodbye");
        }
    }

    /// Takes the connection from a session and has the edge close it. A session that does not outlive its connection
    /// ends here.
    pub(super) fn end_connection(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        reason: CloseReason,
        text: &'static str,
    ) {
        let mut link = self.clients.sessions.detach(id).expect("a connection ends once");
        self.clients.counters.closed(reason);
        self.clients.places.free(link.listener);
        let connection = link.connection;
        self.clients.park_replays(id, &mut link);
        self.clients.hold_back.publishers -= usize::from(link.is_held_back());
        turn.fx.list.push(Effect::Close { connection, reason });
        let session = self.clients.sessions.get_mut(id);
        session.disconnected = Some(Deadline(turn.now.ms()));
        session.trim();
        turn.fx.events.push(Event::Disconnected {
            connection,
            client_id: session.client_id.clone(),
            reason,
            text,
            duration_ms: turn.now.ms().saturating_sub(link.connected.0),
        });
        if !self.clients.hold_back.is_empty() {
            self.clients.stop_waiting_for(turn, id);
        }
        // What is published on its account is not for itself: shared groups must not pick it any more.
        if self.clients.sessions.get(id).is_persistent() {
            self.router.connection_changed(turn, &mut self.clients, id);
        } else {
            self.clients.sessions.end(id);
        }
        self.publish_presence(turn, id, false, reason.label());
        if self.clients.sessions.get(id).is_persistent() {
            if self.clients.sessions.get(id).will_due().is_some_and(|due| due.is_due(turn.now)) {
                self.publish_will(turn, id);
            }
            self.clients.arm(turn.now, id);
        } else {
            self.finish_end(turn, id);
        }
    }

    /// Ends a session that has no connection: its subscriptions, its queue, its will.
    pub(super) fn end_session(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        self.clients.sessions.end(id);
        self.finish_end(turn, id);
    }

    /// What follows from a session's end.
    fn finish_end(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        self.publish_will(turn, id); // the session's end is the latest moment for it [MQTT-3.1.2-8]
        let session = self.clients.sessions.get_mut(id);
        (session.armed_tick, session.has_work, session.groups_to_update) = (None, false, 0);
        session.exchanges = OpenExchanges::default();
        self.clients.end_loss(turn, id);
        self.router.begin_teardown(turn, &mut self.clients, id);
    }

    /// Publishes the will, if there still is one, and forgets it [MQTT-3.1.2-10].
    fn publish_will(&mut self, turn: &mut Turn<'_>, id: SessionId) {
        let Some(will) = self.clients.sessions.get_mut(id).will.take() else { return };
        let mut message = will.message(turn.now);
        if !self.clients.may_publish(id, &message) {
            return self.clients.counters.dropped(DropReason::AccessDenied); // the rules are others than at CONNECT
        }
        if message.retain
            && !message.payload.is_empty()
            && !self.router.may_retain(&self.clients.settings, message.topic, message.len_bytes())
        {
            // Nobody is left to be told, and whoever listens can still hear it.
            self.clients.counters.dropped(DropReason::RetainedFull);
            message.retain = false;
        }
        let topic = TopicName::parse(message.topic, u16::MAX).expect("a will's topic was checked in CONNECT");
        self.router.route(turn, &mut self.clients, topic, Routed::borrowed(message), None);
    }

    /// Sees to sessions that are due, as many as a turn may: whole networks fall silent at once, and each client of them may have a will.
    pub(super) fn take_due(&mut self, turn: &mut Turn<'_>) {
        for _ in 0..DUE_PER_TURN {
            if self.is_overloaded() {
                return;
            }
            let Some((tick, id)) = self.clients.timers.next_due(turn.now) else { return };
            self.session_due(turn, id, tick);
            if turn.fx.deliveries >= self.clients.settings.deliveries_per_turn {
                return;
            }
        }
    }

    /// The timer of `tick` has come for a session that may have changed or gone since it was armed.
    fn session_due(&mut self, turn: &mut Turn<'_>, id: SessionId, tick: u32) {
        match self.clients.sessions.try_get(id) {
            Some(session) if session.armed_tick == Some(tick) => {}
            _ => return,
        }
        let session = self.clients.sessions.get_mut(id);
        session.armed_tick = None;
        session.trim_silent();
        if let Some(link) = &session.link {
            if self.clients.access.ends(id).is_some_and(|ends| ends.is_due(turn.now)) {
                let (code, reason) = (ReasonCode::NotAuthorized, CloseReason::CredentialsExpired);
                return self.close(turn, id, code, reason, "what it has authenticated itself with has expired");
            }
            let is_silent = link.keep_alive_deadline().is_some_and(|due| due.is_due(turn.now));
            if is_silent && self.held_packets.holds(link.connection) {
                // It is not heard, and so not silent.
                let session = self.clients.sessions.get_mut(id);
                session.link.as_deref_mut().expect("it has one").note_received(turn.now);
            } else if is_silent && !self.clients.spare(turn, id) {
                let reason = CloseReason::KeepAliveTimeout;
                self.close(
                    turn,
                    id,
                    ReasonCode::KeepAliveTimeout,
                    reason,
                    "nothing came within 1.5 times the keep alive",
                );
                return; // which has armed the timer again if the session lives on
            }
        } else if self.end_or_will(turn, id) {
            return;
        }
        self.clients.arm(turn.now, id);
    }

    /// Does what has come due of a session without a connection. Returns whether the session has ended.
    pub(super) fn end_or_will(&mut self, turn: &mut Turn<'_>, id: SessionId) -> bool {
        let session = self.clients.sessions.get(id);
        if session.expires().is_some_and(|due| due.is_due(turn.now)) {
            self.clients.counters.sessions_expired += 1;
            self.end_session(turn, id);
            return true;
        }
        if session.will_due().is_some_and(|due| due.is_due(turn.now)) {
            self.publish_will(turn, id);
        }
        false
    }
}

impl Clients {
    /// Changes how long a session outlives its connection.
    pub(super) fn set_expiry(&mut self, turn: &mut Turn<'_>, id: SessionId, expiry_s: u32) {
        let session = self.sessions.get_mut(id);
        let was_persistent = session.is_persistent();
        session.expiry_s = expiry_s;
        if session.is_persistent() && !session.counts_as_durable {
            assert!(session.subscriptions.is_empty(), "a session begins as a kept one or never is one");
            session.counts_as_durable = true;
        }
        if was_persistent && !session.is_persistent() {
            // Whatever was written down about it must not come back after a restart.
            self.record_log.append(turn, &LogRecord::SessionEnded { session: id });
        }
    }

    /// What a kept session was to be shown is part of its state: its replays go on with the next connection, unless all of them
    /// have QoS 0, which is no part of a session's state.
    fn park_replays(&mut self, id: SessionId, link: &mut Link) {
        let replays = link.backlog.take().map(|backlog| backlog.replays).unwrap_or_default();
        let session = self.sessions.get_mut(id);
        if session.is_persistent() && replays.any_acknowledged() {
            session.outbound_mut().park(replays);
        }
    }

    /// Makes sure that the session is looked at when its next deadline comes, or earlier.
    pub(super) fn arm(&mut self, now: Now, id: SessionId) {
        let ends = self.access.ends(id);
        let session = self.sessions.get_mut(id);
        let ends = ends.filter(|_| session.link.is_some());
        let Some(deadline) = session.next_deadline().into_iter().chain(ends).min() else { return };
        let tick = Timers::tick_for(now, deadline);
        if session.armed_tick.is_none_or(|armed| armed > tick) {
            session.armed_tick = Some(tick);
            self.timers.arm(id, tick);
        }
    }
}
