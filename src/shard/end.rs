//! How connections and sessions end: DISCONNECT, a lost socket, expiry; and what then becomes of the will.

use std::borrow::Cow;

use super::clients::Clients;
use super::outgoing::Fanout;
use super::route::MessageOrigin;
use super::timers::Timers;
use super::{Effect, Event, Shard, Turn};
use crate::codec::{Disconnect, ReasonCode};
use crate::ids::{Qos, SessionId};
use crate::limits::DUE_PER_TURN;
use crate::session::{Link, OpenExchanges, Routed, Will};
use crate::store::format::LogRecord;
use crate::telemetry::{CloseReason, DropReason};
use crate::time::{Deadline, Now, Timestamp};
use crate::topic::TopicName;

impl Shard {
    pub(super) fn handle_disconnect(&mut self, turn: &mut Turn<'_>, id: SessionId, disconnect: &Disconnect<'_>) {
        if let Some(expiry_s) = disconnect.session_expiry_s {
            if !self.clients.sessions.get(id).outlives_connection() && expiry_s > 0 {
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
            self.clients.set_will(turn, id, None); // [MQTT-3.14.4-3]
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
        text: impl Into<Cow<'static, str>>,
    ) {
        if self.clients.is_closing(id) {
            self.clients.silence(id);
        }
        let mut link = self.clients.sessions.detach(id).expect("a connection ends once");
        self.clients.counters.closed(reason);
        self.clients.places.free(link.listener);
        let connection = link.connection;
        self.clients.park_replays(id, &mut link);
        self.clients.hold_back.publishers -= usize::from(link.is_held_back());
        self.clients.profiled.forget_pauses(id);
        turn.fx.list.push(Effect::Close { connection, reason });
        let session = self.clients.sessions.get_mut(id);
        session.disconnected = Some(Deadline(turn.now.ms()));
        session.trim();
        turn.fx.events.push(Event::Disconnected {
            connection,
            client_id: session.client_id.clone(),
            reason,
            text: text.into(),
            duration_ms: turn.now.ms().saturating_sub(link.connected.0),
        });
        if !self.clients.hold_back.is_empty() {
            self.clients.stop_waiting_for(turn, id);
        }
        // What is published on its account is not for itself: shared groups must not pick it any more.
        let outlives_it = self.clients.sessions.get(id).outlives_connection();
        if outlives_it {
            let at = Timestamp(turn.now.unix_ms);
            self.clients.record_log.append(turn, &LogRecord::Disconnected { session: id, at });
            self.router.connection_changed(turn, &mut self.clients, id);
        } else {
            self.clients.sessions.end(id);
        }
        self.publish_presence(turn, id, Some(reason));
        if outlives_it {
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
        if self.clients.is_closing(id) {
            self.clients.silence(id);
        }
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
        let Some(will) = self.clients.take_will(turn, id) else { return };
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
        // Of a kept session: cleared and published in one change.
        let once = message.qos > Qos::AtMostOnce && self.clients.sessions.get(id).is_persistent();
        let origin = MessageOrigin { confirm: None, once, publisher: Some(id) };
        self.router.route(turn, &mut self.clients, topic, &mut Fanout::new(Routed::borrowed(message)), origin);
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
            let is_spared = is_silent && self.clients.spare(turn, id);
            if is_silent && !self.clients.is_heard(id) {
                // It is not heard, and so not silent.
                let session = self.clients.sessions.get_mut(id);
                session.link.as_deref_mut().expect("it has one").note_received(turn.now);
            } else if is_silent && !is_spared {
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
        if self.clients.is_closing(id) {
            self.end_session(turn, id);
            return true;
        }
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

/// What a session that ends with its connection is kept for: as long as that lasts, and so long when the process ends before it.
const KEPT_FOR_CONNECTION_S: u32 = 1;

impl Clients {
    /// Changes how long a session outlives its connection. One that is not to outlive it, and for which messages are on disk alone, is kept as
    /// long as it lasts: what the log has no use for is not there to be read.
    pub(super) fn set_expiry(&mut self, turn: &mut Turn<'_>, id: SessionId, expiry_s: u32) {
        let session = self.sessions.get_mut(id);
        let (was_persistent, before_s) = (session.is_persistent(), session.expiry_s);
        let has_queue_on_disk = session.outbound().is_some_and(|outbound| outbound.queued_on_disk() > 0);
        session.ends_with_connection = expiry_s == 0 && was_persistent && has_queue_on_disk;
        let expiry_s = if session.ends_with_connection { KEPT_FOR_CONNECTION_S } else { expiry_s };
        session.expiry_s = expiry_s;
        if session.is_persistent() && !session.counts_as_durable {
            assert!(session.subscriptions.is_empty(), "a session begins as a kept one or never is one");
            session.counts_as_durable = true;
        }
        if was_persistent && expiry_s == 0 {
            // Whatever was written down about it must not come back after a restart.
            self.record_log.append(turn, &LogRecord::SessionEnded { session: id });
        } else if was_persistent && expiry_s != before_s {
            self.record_log.append(turn, &LogRecord::SessionExpiry { session: id, expiry_s });
        }
    }

    /// A client has been let in, to a session that was `present` or to a new one, and asks for it to be kept so long.
    pub(super) fn log_connect(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        client_id: &str,
        (present, expiry_s): (bool, u32),
    ) {
        self.set_expiry(turn, session, expiry_s);
        let is_kept = self.sessions.get(session).is_persistent();
        if is_kept && present {
            self.record_log.append(turn, &LogRecord::Connected { session });
        } else if expiry_s > 0 {
            let at = Timestamp(turn.now.unix_ms);
            self.record_log.append(turn, &LogRecord::SessionBegun { session, client_id, expiry_s, at });
        }
    }

    /// The will of a connection, in place of what the one before may have left.
    pub(super) fn set_will(&mut self, turn: &mut Turn<'_>, id: SessionId, will: Option<Box<Will>>) {
        let session = self.sessions.get_mut(id);
        let before = std::mem::replace(&mut session.will, will);
        if !session.is_persistent() {
            return;
        }
        if let Some(will) = session.will.as_deref() {
            let (delay_s, message_expiry_s) = (will.delay_s, will.message_expiry_s);
            let message = self.record_log.message(turn, &mut Routed::shared(will.kept()));
            self.record_log.append(turn, &LogRecord::WillSet { session: id, message, delay_s, message_expiry_s });
        } else if before.is_some() {
            self.record_log.append(turn, &LogRecord::WillCleared { session: id });
        }
    }

    /// Takes the will, to be published in the same group.
    fn take_will(&mut self, turn: &mut Turn<'_>, id: SessionId) -> Option<Box<Will>> {
        let session = self.sessions.get_mut(id);
        let will = session.will.take()?;
        if session.is_persistent() {
            self.record_log.append(turn, &LogRecord::WillCleared { session: id });
        }
        Some(will)
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
