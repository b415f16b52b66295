//! CONNECT: who may come in, what becomes of an earlier session, and what CONNACK tells (MQTT 5.0, 3.1.4).

use super::closing::RANGE_IS_CLOSED;
use super::flapping::FlappingVerdict;
use super::principal::Principal;
use super::record_log::Held;
use super::report::has_credentials;
use super::rights::ClientRights;
use super::settings::bounded_keep_alive_s;
use super::{ConnectInfo, Effect, Event, Settings, Shard, Shutdown, Turn, UserNameBasis};
use crate::auth::acl::Who;
use crate::auth::{Admission, AskId, ClientProfile, MountRefusal, Policy, RefusalCause};
use crate::codec::{ConnAck, Connect, ConnectWill, ReasonCode, Version};
use crate::ids::{ClientKey, ConnectionId, SessionId, is_of_service};
use crate::limits;
use crate::session::{Link, Session, Will};
use crate::settings::{Acceptance, ListenerSettings};
use crate::telemetry::CloseReason;
use crate::time::{Deadline, Now, Timestamp};

/// Why a CONNECT is refused: for CONNACK, and in words.
pub(super) type Refused = (ReasonCode, &'static str);

/// Why a CONNECT is refused: for the counters, for CONNACK, in words.
#[derive(Clone, Copy)]
struct Refusal {
    reason: CloseReason,
    code: ReasonCode,
    text: &'static str,
}

/// How a client comes in.
#[derive(Clone, Copy)]
pub(super) struct ConnectEntry<'a> {
    /// Of the questions about CONNECTs that still wait, those with lower numbers were asked before this one came.
    before: AskId,
    /// What somebody said of it.
    admission: Option<&'a Admission>,
    /// What holds for it in place of the broker's settings.
    profile: Option<&'a ClientProfile>,
}

impl<'a> ConnectEntry<'a> {
    /// Of a client that was asked about.
    pub(super) const fn asked(ask: AskId, admission: Option<&'a Admission>) -> Self {
        Self { before: ask, admission, profile: None }
    }

    /// The keep alive in force.
    fn keep_alive_s(&self, settings: &Settings, connect: &Connect<'_>) -> u16 {
        match self.profile.and_then(|profile| profile.keep_alive_max_s) {
            None => settings.keep_alive_s(connect.version, connect.keep_alive_s),
            Some(max_s) => bounded_keep_alive_s(connect.keep_alive_s, max_s),
        }
    }

    /// The largest packet that it may send.
    fn packet_size_max_bytes(&self, settings: &Settings) -> u32 {
        let own = self.profile.and_then(|profile| profile.packet_size_max_bytes);
        own.unwrap_or(u32::MAX).min(settings.packet_size_max_bytes)
    }
}

/// What the log knows of a session when its client comes back.
#[derive(Clone, Copy, Debug)]
struct KeptBefore {
    is_kept: bool,
    expiry_s: u32,
    /// When it would have ended without its client.
    expires: Option<Deadline>,
    has_will: bool,
    /// It is another user's from now on.
    changes_owner: bool,
}

impl KeptBefore {
    fn of(session: Option<&Session>) -> Self {
        Self {
            is_kept: session.is_some_and(Session::is_persistent),
            expiry_s: session.map_or(0, |session| session.expiry_s),
            expires: session.and_then(Session::expires),
            has_will: session.is_some_and(|session| session.will.is_some()),
            changes_owner: false,
        }
    }

    /// Whether resuming the session changes what a restart would do: end it, publish a will, or give it to somebody else. That its client is back
    /// is written soon, and matters only to one that would have ended soon; so most come back without waiting for a disk.
    fn is_changed_by(&self, now: Now, expiry_s: u32, has_will: bool) -> bool {
        let would_end = self.expires.is_some_and(|due| due <= now.after_s(EXPIRY_SOON_S));
        self.expiry_s != expiry_s || would_end || self.has_will || has_will || self.changes_owner
    }
}

/// A session that would end sooner may have ended by the time of a restart.
const EXPIRY_SOON_S: u32 = 600;

impl Shard {
    pub(super) fn handle_connect(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
    ) {
        self.clients.counters.packets_received += 1;
        if !info.listener.is_internal
            && let Some(bans) = self.bans.as_deref()
            && bans.has(Timestamp(turn.now.unix_ms), connect.client_id, info.peer)
        {
            let text = "an operator has banned it";
            return self.refuse(turn, connection, connect, ReasonCode::Banned, text);
        }
        if !info.listener.is_internal
            && let Some(list) = self.ban_list.as_deref()
            && list.has(connect.client_id, info.peer)
        {
            let text = "it is on the list of bans, see --bans-file";
            return self.refuse(turn, connection, connect, ReasonCode::Banned, text);
        }
        if let Err((code, text)) = self.check_connect(connect, info.listener) {
            return self.refuse(turn, connection, connect, code, text);
        }
        if self.is_flapping(turn, connection, connect, info) {
            return;
        }
        if connect.authentication_method.is_some() {
            return self.ask_about(turn, connection, connect, info);
        }
        if info.user_name == UserNameBasis::Proof {
            return self.admit(turn, connection, connect, info, ConnectEntry::asked(self.pending.next_ask(), None));
        }
        match info.listener.policy {
            Policy::AskAboutCredentials if has_credentials(connect) => {
                self.ask_about(turn, connection, connect, info);
            }
            Policy::Admit | Policy::AskAboutCredentials => {
                self.admit(turn, connection, connect, info, ConnectEntry::asked(self.pending.next_ask(), None));
            }
            Policy::Refuse if has_credentials(connect) => {
                let text = "nobody can check credentials here: no authentication is configured";
                self.refuse(turn, connection, connect, ReasonCode::NotAuthorized, text);
            }
            Policy::Refuse => self.refuse_anonymous(turn, connection, connect),
            Policy::Ask => self.ask_about(turn, connection, connect, info),
        }
    }

    /// Whether a client is turned away because its client id comes and goes too often; if so, it has been told.
    fn is_flapping(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
    ) -> bool {
        if self.clients.settings.flapping_after == 0 {
            self.flapping.forget();
            return false;
        }
        if !counts_as_coming(info) {
            return false;
        }
        let key = self.clients.sessions.key(connect.client_id);
        let verdict = self.flapping.check(turn.now, key, &self.clients.settings);
        if verdict == FlappingVerdict::Free {
            return false;
        }
        if verdict == FlappingVerdict::Begins {
            let (client_id, user) = (connect.client_id.into(), connect.username.map(Into::into));
            turn.fx.events.push(Event::Flapping { connection, client_id, user });
        }
        let text = "its client id comes and goes too often, see --flapping-after";
        let refusal = Refusal { reason: CloseReason::Flapping, code: ReasonCode::Banned, text };
        self.refuse_as(turn, connection, connect, refusal);
        true
    }

    /// What is refused whoever the client is.
    pub(super) fn check_connect(&self, connect: &Connect<'_>, listener: &ListenerSettings) -> Result<(), Refused> {
        if self.shutdown != Shutdown::No {
            // "Server shutting down" is a reason for DISCONNECT alone (MQTT 5.0, table 3-1).
            return Err((ReasonCode::ServerUnavailable, "the broker stops"));
        }
        if self.clients.closing.has(connect.client_id) {
            return Err((ReasonCode::ServerUnavailable, RANGE_IS_CLOSED));
        }
        if is_of_service(connect.client_id) != listener.is_internal {
            let text = "its client id is that of a bridge, a sink or a source of the broker's own";
            return Err((ReasonCode::ClientIdentifierNotValid, text));
        }
        if connect.authentication_method.is_some_and(|method| !listener.auth.offers(method)) {
            // [MQTT-4.12.0-1]
            return Err((ReasonCode::BadAuthenticationMethod, "no such authentication method is offered here"));
        }
        Ok(())
    }

    /// The client may come in, if there is room for what it brings.
    pub(super) fn admit(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
        entry: ConnectEntry<'_>,
    ) {
        let profile = self.profile_of(connect, info, entry);
        let entry = ConnectEntry { profile: profile.as_ref(), ..entry };
        let key = self.clients.sessions.key(connect.client_id);
        let known = self.clients.sessions.find_by_key(key, connect.client_id);
        // Nothing of an earlier session is touched before the client has been let in.
        let admitted = self.may_come_in(turn, connect, info, (entry, known));
        let (mount, takeovers) = match admitted {
            Ok(admitted) => admitted,
            Err((code, text)) => return self.refuse(turn, connection, connect, code, text),
        };
        if !self.clients.places.take(info.listener_index, self.clients.connected_by(known)) {
            let (code, text) = (ReasonCode::QuotaExceeded, "as many clients are connected as may be");
            let refusal = Refusal { reason: CloseReason::ConnectionsFull, code, text };
            return self.refuse_as(turn, connection, connect, refusal);
        }
        if !self.pending.is_empty() {
            self.refuse_older(turn, key, entry.before);
        }
        if counts_as_coming(info) {
            self.flapping.note(turn.now, key, &self.clients.settings);
        }
        let user = verified_user(connect, info, entry);
        let before = self.kept_before(known, user);
        let (id, session_present) = self.session_for(turn, connect, key, known);
        let expiry_s = expiry_s(&self.clients.settings, connect, info);
        self.clients.log_connect(turn, id, connect.client_id, (session_present, expiry_s));
        let keep_alive_s = entry.keep_alive_s(&self.clients.settings, connect);
        // What a service takes at a time is its own choice.
        let inflight_max = if info.listener.is_internal { u16::MAX } else { self.clients.settings.inflight_max };
        let mut link = Link::new(connection, connect, keep_alive_s, inflight_max, turn.now);
        (link.takeovers, link.listener) = (takeovers, info.listener_index);
        link.inherits_exchanges = !self.clients.sessions.get(id).exchanges.is_empty();
        self.clients.sessions.attach(id, link);
        let principal = self.principal_of(turn.now, connect, info, entry);
        self.clients.set_owner(turn, id, info, principal);
        self.use_profile(turn, id, (entry.profile, user), session_present);
        self.clients.mounts.set(id, mount);
        self.take_will_of(turn, id, connect);
        self.clients.counters.connections += 1;
        self.clients.counters.connections_by_version[connect.version.index()] += 1;
        self.clients.report_unchecked_credentials(turn, connection, connect, info);
        if self.connack_waits(turn.now, id, session_present, before) {
            self.hold_connack(turn, connection);
        }
        self.send_connack(turn, id, session_present, self.connack(connect, info, entry));
        turn.fx.events.push(Event::Connected {
            connection,
            client_id: connect.client_id.into(),
            user: verified_user(connect, info, entry).or(connect.username).map(Into::into),
            version: connect.version,
            keep_alive_s,
            clean_start: connect.clean_start,
            session_present,
            proxied_tls: info.identity.and_then(|identity| identity.tls_version.clone()),
        });
        self.publish_presence(turn, id, None);
        self.clients.arm(turn.now, id);
        if session_present {
            self.router.connection_changed(turn, &mut self.clients, id);
            self.resume(turn, id);
        }
    }

    /// Whether a client may come in, apart from places. Returns its mount point, and what its connection inherits of takeovers.
    fn may_come_in(
        &mut self,
        turn: &mut Turn<'_>,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
        (entry, known): (ConnectEntry<'_>, Option<SessionId>),
    ) -> Result<(Option<Box<str>>, u8), Refused> {
        let mount = mount_of(connect, info, entry);
        let mount = mount.map_err(|refusal| (ReasonCode::NotAuthorized, refusal.text()))?;
        self.check_room(connect, info, known)?;
        self.check_connack_fits(turn, connect, info, entry)?;
        self.check_owner(connect, info, entry, known)?;
        Ok((mount, self.check_takeover_rate(turn.now, known)?))
    }

    /// The session of a client that comes in, and whether it was there before.
    fn session_for(
        &mut self,
        turn: &mut Turn<'_>,
        connect: &Connect<'_>,
        key: ClientKey,
        known: Option<SessionId>,
    ) -> (SessionId, bool) {
        match known.and_then(|id| self.take_over(turn, id)) {
            Some(id) if connect.clean_start => {
                self.end_session(turn, id); // [MQTT-3.1.2-4]
                (self.clients.sessions.insert(key, connect.client_id), false)
            }
            Some(id) => (id, true), // [MQTT-3.1.2-5]
            None => (self.clients.sessions.insert(key, connect.client_id), false), // [MQTT-3.1.2-6]
        }
    }

    /// Keeps the will of an accepted CONNECT, if it is to be kept.
    fn take_will_of(&mut self, turn: &mut Turn<'_>, id: SessionId, connect: &Connect<'_>) {
        let key = self.clients.sessions.get(id).key;
        let whole = connect.will.as_ref().and_then(|will| self.clients.mounts.topic(id, will.topic));
        let will = connect.will.map(|will| ConnectWill { topic: whole.as_deref().unwrap_or(will.topic), ..will });
        let will = will.and_then(|will| self.accept_will(turn, id, will)).map(|will| Box::new(Will::new(&will, key)));
        self.clients.set_will(turn, id, will);
    }

    /// What holds for a client in place of the broker's settings.
    fn profile_of(
        &self,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
        entry: ConnectEntry<'_>,
    ) -> Option<ClientProfile> {
        let (user, listener) = (verified_user(connect, info, entry), &*info.listener.name);
        let who = Who { client_id: connect.client_id, user, listener, peer: info.peer };
        let profile = self.clients.profiled.profile_of(&who);
        if info.listener.is_internal { Some(profile.unwrap_or_default().of_service()) } else { profile }
    }

    /// It holds from now on, for a client of this user.
    fn use_profile(
        &mut self,
        turn: &mut Turn<'_>,
        id: SessionId,
        (profile, user): (Option<&ClientProfile>, Option<&str>),
        is_same: bool,
    ) {
        if let Some(max_bytes) = profile.and_then(|profile| profile.packet_size_max_bytes) {
            let link = self.clients.sessions.get(id).link.as_deref().expect("it has just been attached");
            turn.fx.list.push(Effect::BoundPackets { connection: link.connection, max_bytes });
        }
        self.clients.profiled.set(id, profile.map(|profile| (profile.clone(), user)), is_same);
    }

    /// What the log knows of the session that a client of this user comes back to.
    fn kept_before(&self, known: Option<SessionId>, user: Option<&str>) -> KeptBefore {
        let changes_owner = known.is_some_and(|id| self.clients.is_of_another_user(id, user));
        KeptBefore { changes_owner, ..KeptBefore::of(known.map(|id| self.clients.sessions.get(id))) }
    }

    /// Whether a restart, before what was written so far is durable, would know another session than the one that CONNACK tells of.
    fn connack_waits(&self, now: Now, id: SessionId, session_present: bool, before: KeptBefore) -> bool {
        let session = self.clients.sessions.get(id);
        if session_present && session.is_persistent() {
            return before.is_changed_by(now, session.expiry_s, session.will.is_some());
        }
        session.is_persistent() || before.is_kept || self.clients.record_log.ends_must_wait()
    }

    /// CONNACK, and what comes behind it, leave when all that was written so far is durable.
    fn hold_connack(&mut self, turn: &mut Turn<'_>, connection: ConnectionId) {
        if self.clients.record_log.must_wait() {
            turn.fx.list.push(Effect::Hold { connection });
            self.clients.record_log.hold(turn, connection, Held::ConnAck);
        }
    }

    /// Who the client is, where that makes a difference.
    fn principal_of(
        &self,
        now: Now,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
        entry: ConnectEntry<'_>,
    ) -> Option<Principal> {
        let user = verified_user(connect, info, entry);
        let rights = entry.admission.map_or_else(ClientRights::default, |admission| ClientRights {
            is_superuser: admission.is_superuser,
            rules: admission.rules.clone(),
            ends: admission.ends.map(|ends| now.deadline_of(ends)),
            method: connect.authentication_method.map(Into::into),
        });
        let is_internal = info.listener.is_internal;
        let rights = ClientRights { is_superuser: rights.is_superuser || is_internal, ..rights };
        let is_known = is_verified(info);
        let asks_others = info.listener.auth.acl_http_url.get().is_some();
        (is_internal || is_known || self.clients.access.checks || entry.admission.is_some() || asks_others)
            .then(|| Principal::new(user, info.listener, info.peer).with_rights(rights))
    }

    /// Whether the client id, and the session that is there, are the client's own: a client id is no proof.
    fn check_owner(
        &self,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
        entry: ConnectEntry<'_>,
        known: Option<SessionId>,
    ) -> Result<(), Refused> {
        let user = verified_user(connect, info, entry);
        let pattern = &info.listener.auth.client_id_pattern;
        if !info.assigned_client_id && !pattern.admits(connect.client_id, user) {
            let text = "its client id is none of its user's, see --client-id-pattern";
            return Err((ReasonCode::ClientIdentifierNotValid, text));
        }
        let is_foreign = known.is_some_and(|id| self.clients.is_of_another_user(id, user));
        if is_foreign && self.clients.settings.foreign_sessions == Acceptance::Refuse {
            return Err((
                ReasonCode::NotAuthorized,
                "its client id has a session of another user, see --foreign-sessions",
            ));
        }
        Ok(())
    }

    /// Whether there is room for a session, and what it brings is taken here.
    fn check_room(
        &self,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
        known: Option<SessionId>,
    ) -> Result<(), Refused> {
        let is_full = self.clients.sessions.len() >= self.clients.settings.sessions_of_shard_max();
        if is_full && known.is_none() && !info.listener.is_internal {
            return Err((ReasonCode::QuotaExceeded, "no room for another session"));
        }
        let is_kept_already = known.is_some_and(|id| self.clients.sessions.get(id).is_persistent());
        let is_to_be_kept = expiry_s(&self.clients.settings, connect, info) > 0;
        if is_to_be_kept && !is_kept_already && self.clients.log_rooms.is_short() {
            // Before 5.0: 3, which is the one return code that a client takes for something that passes.
            let code = if connect.version.is_v5() { ReasonCode::QuotaExceeded } else { ReasonCode::ServerUnavailable };
            return Err((code, "its session would have to be kept, and the disk is full"));
        }
        self.clients.settings.check_connect(connect, info.assigned_client_id)
    }

    pub(super) fn refuse(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        connect: &Connect<'_>,
        code: ReasonCode,
        text: &'static str,
    ) {
        let refusal = Refusal { reason: reason_of(code), code, text };
        self.refuse_as(turn, connection, connect, refusal);
    }

    /// The client shows nothing, and has to.
    pub(super) fn refuse_anonymous(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, connect: &Connect<'_>) {
        let cause = RefusalCause::Anonymous;
        let refusal = Refusal { reason: CloseReason::AnonymousRefused, code: cause.code(), text: cause.text() };
        self.refuse_as(turn, connection, connect, refusal);
    }

    fn refuse_as(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, connect: &Connect<'_>, refusal: Refusal) {
        let Refusal { reason, code, text } = refusal;
        let user = connect.username.map(Into::into);
        // With a reason string it must still fit [MQTT-3.2.2-19].
        let fits = connect.maximum_packet_size_bytes as usize >= text.len() + 16;
        let connack = ConnAck { reason: code, reason_string: fits.then_some(text), ..ConnAck::default() };
        if connect.maximum_packet_size_bytes >= CONNACK_MIN_BYTES {
            turn.fx.send(connection, |out| {
                connack.encode(connect.version, out); // or nothing, where 3.1.1 has no code for it
            });
            self.clients.counters.packets_sent += 1;
        }
        self.clients.counters.closed(reason);
        turn.fx.events.push(Event::Refused { connection, client_id: connect.client_id.into(), user, reason, text });
        turn.fx.list.push(Effect::Close { connection, reason });
    }

    /// What the connection to come inherits of its client id's takeovers, its own included. Two clients that fight for one
    /// identifier do it at the pace of the limit, and whoever is connected then stays.
    fn check_takeover_rate(&self, now: Now, known: Option<SessionId>) -> Result<u8, Refused> {
        let Some(link) = known.and_then(|id| self.clients.sessions.get(id).link.as_deref()) else {
            return Ok(0);
        };
        let takeovers = link.takeovers_at(now);
        if takeovers >= limits::TAKEOVERS_BURST {
            return Err((ReasonCode::ConnectionRateExceeded, "its client id is taken over too often"));
        }
        Ok(takeovers + 1)
    }

    /// Ends an earlier connection of the same client id [MQTT-3.1.4-3]. Returns the session if there still is one: a
    /// session that was to end with its connection has ended.
    fn take_over(&mut self, turn: &mut Turn<'_>, id: SessionId) -> Option<SessionId> {
        if self.clients.sessions.get(id).link.is_some() {
            let reason = CloseReason::SessionTakenOver;
            self.close(turn, id, ReasonCode::SessionTakenOver, reason, "another connection uses the client id");
        } else {
            // Its time may have come since the timer last looked: the timer is coarse, the promise is not.
            self.end_or_will(turn, id);
        }
        // Nobody has begun a session meanwhile: if the slot holds one, it is this one.
        self.clients.sessions.try_get(id).filter(|session| !session.has_ended).map(|_| id)
    }

    fn send_connack(&mut self, turn: &mut Turn<'_>, id: SessionId, session_present: bool, connack: ConnAck<'_>) {
        self.reply(turn, id, |out, link| {
            // MQTT 3.1 has no such flag: its CONNACK keeps the byte reserved.
            let session_present = session_present && link.version != Version::V31;
            ConnAck { session_present, ..connack }.encode(link.version, out);
        });
    }

    /// The CONNACK of success.
    fn connack<'a>(&self, connect: &Connect<'a>, info: ConnectInfo<'_>, entry: ConnectEntry<'a>) -> ConnAck<'a> {
        let settings = &self.clients.settings;
        let mut connack = ConnAck::new(ReasonCode::Success);
        if connect.version.is_v5() {
            let expiry_s = expiry_s(settings, connect, info);
            let keep_alive_s = entry.keep_alive_s(settings, connect);
            connack.session_expiry_s = (expiry_s != connect.session_expiry_s).then_some(expiry_s);
            let bounds = settings.receive_maximum != u16::MAX && !info.listener.is_internal;
            connack.receive_maximum = bounds.then_some(settings.receive_maximum);
            connack.maximum_qos = Some(settings.qos_max()); // 2 is what absence means, and is not written
            connack.retain_available = (!settings.retain_available).then_some(false);
            connack.maximum_packet_size_bytes = Some(entry.packet_size_max_bytes(settings));
            connack.topic_alias_maximum = (settings.topic_alias_max > 0).then_some(settings.topic_alias_max);
            connack.server_keep_alive_s = (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s);
            connack.authentication_method = connect.authentication_method; // [MQTT-4.12.0-5]
            connack.authentication_data = entry.admission.and_then(|admission| admission.data.as_deref());
            connack.assigned_client_id = info.assigned_client_id.then_some(connect.client_id);
        }
        connack
    }

    /// A client whose packets must be smaller than CONNACK cannot be told that it is connected [MQTT-3.1.2-24].
    fn check_connack_fits(
        &self,
        turn: &mut Turn<'_>,
        connect: &Connect<'_>,
        info: ConnectInfo<'_>,
        entry: ConnectEntry<'_>,
    ) -> Result<(), Refused> {
        let max_bytes = connect.maximum_packet_size_bytes as usize;
        let is_plain = connect.authentication_method.is_none();
        if is_plain && max_bytes >= CONNACK_MAX_BYTES + connect.client_id.len() {
            return Ok(());
        }
        let connack = self.connack(connect, info, entry);
        let encoded = turn.fx.encode(|out| {
            connack.encode(connect.version, out);
            None
        });
        let fits = encoded.len() as usize <= max_bytes;
        if fits { Ok(()) } else { Err((ReasonCode::PacketTooLarge, "it takes no packet as large as CONNACK")) }
    }
}

/// Whether it is a client of somebody's, with a client id that it may come back with.
fn counts_as_coming(info: ConnectInfo<'_>) -> bool {
    !info.listener.is_internal && !info.assigned_client_id
}

/// For which cause a CONNECT is counted that is answered with this.
const fn reason_of(code: ReasonCode) -> CloseReason {
    match code {
        ReasonCode::Banned => CloseReason::Banned,
        ReasonCode::BadUserNameOrPassword => CloseReason::BadCredentials,
        ReasonCode::NotAuthorized => CloseReason::LoginDenied,
        ReasonCode::ClientIdentifierNotValid => CloseReason::ClientIdRefused,
        ReasonCode::BadAuthenticationMethod => CloseReason::BadMethod,
        ReasonCode::ServerBusy => CloseReason::AuthenticatorBusy,
        ReasonCode::ServerUnavailable => CloseReason::Unavailable,
        ReasonCode::QuotaExceeded => CloseReason::NoRoom,
        ReasonCode::ConnectionRateExceeded => CloseReason::TakeoverRate,
        _ => CloseReason::Refused,
    }
}

/// The user name of a client whom somebody has let in for it. A name that nobody checks is no name: rules about users, and
/// sessions of users, would be anybody's.
fn verified_user<'a>(connect: &Connect<'a>, info: ConnectInfo<'_>, entry: ConnectEntry<'a>) -> Option<&'a str> {
    if let Some(admission) = entry.admission {
        return admission.user.as_deref();
    }
    connect.username.filter(|_| is_verified(info))
}

/// How long a session lives on without its client. That of a service ends when its operator says so.
fn expiry_s(settings: &Settings, connect: &Connect<'_>, info: ConnectInfo<'_>) -> u32 {
    let max_s = if info.listener.is_internal { u32::MAX } else { settings.session_expiry_max_s };
    connect.session_expiry_s.min(max_s)
}

/// What stands before a client's topics: its profile says it, or else its listener.
fn mount_of(
    connect: &Connect<'_>,
    info: ConnectInfo<'_>,
    entry: ConnectEntry<'_>,
) -> Result<Option<Box<str>>, MountRefusal> {
    let own = entry.profile.and_then(|profile| profile.mount_point.as_ref());
    own.unwrap_or(&info.listener.auth.mount_point).of(verified_user(connect, info, entry), connect.client_id)
}

/// Whether somebody vouches for what a client is called.
fn is_verified(info: ConnectInfo<'_>) -> bool {
    info.user_name == UserNameBasis::Proof || info.listener.policy.asks()
}

/// A refusal without properties.
const CONNACK_MIN_BYTES: u32 = 5;
/// More than a CONNACK of success has beside the client id: a fixed header, two bytes, and eight properties.
const CONNACK_MAX_BYTES: usize = 48;
