//! The events the edge logs, one type each. Their fields are those of the line, in its order.
//!
//! Always holds: what peers can cause goes through the rate limit of its kind before anything is formatted; an address
//! is taken as something that can be shown, so that even its text is made only for a line that is written.

use std::fmt::{self, Display};

use tracing::{debug, error, info, trace, warn};

use super::rate::LogKind;

/// Every line of the broker's own is under this target, which the filter knows.
const TARGET: &str = "dunlin";
/// Lines that no `--log-level` hides: who does what by the admin API, and what operators ask to be told of.
pub(super) const AUDIT_TARGET: &str = "dunlin::audit";

/// A client's CONNECT was accepted.
#[derive(Clone, Copy)]
pub struct ClientConnected<'a> {
    /// Client id, as the session is called.
    pub client: &'a str,
    /// User name, if one was given.
    pub user: Option<&'a str>,
    /// Where the peer comes from, shown only if the line is written.
    pub peer: &'a dyn Display,
    /// `3.1`, `3.1.1` or `5.0`.
    pub version: &'a str,
    /// Keep alive in effect, in seconds; 0 is none.
    pub keep_alive_s: u64,
    /// Clean start, or clean session before 5.0.
    pub clean_start: bool,
    /// Whether a session was there already.
    pub session_present: bool,
    /// The shard that owns the session.
    pub shard: u64,
    /// Version of its TLS, and the cipher suite unless a proxy has that alone.
    pub tls: Option<(&'a str, Option<&'a str>)>,
}

/// Without the peer, which can be shown and not debugged.
impl fmt::Debug for ClientConnected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConnected").field("client", &self.client).finish_non_exhaustive()
    }
}

impl ClientConnected<'_> {
    /// Logs it, or counts it in a storm.
    pub fn log(&self) {
        let Self { client, user, peer, version, keep_alive_s, clean_start, session_present, shard, tls } = *self;
        let (tls_version, tls_cipher) = (tls.map(|(version, _)| version), tls.and_then(|(_, cipher)| cipher));
        if LogKind::ClientConnected.admit() {
            info!(
                target: TARGET,
                event = LogKind::ClientConnected.name(),
                client, user, %peer, version, keep_alive_s, clean_start, session_present, shard, tls_version, tls_cipher
            );
        }
    }
}

/// A connection of an accepted client ended.
#[derive(Clone, Copy)]
pub struct ClientDisconnected<'a> {
    /// The client id that the session is called by.
    pub client: &'a str,
    /// Where the peer comes from, shown only if the line is written.
    pub peer: &'a dyn Display,
    /// Why, as the label of the metric has it.
    pub reason: &'a str,
    /// The same with what is known beyond the label, in words; may be empty.
    pub text: &'a str,
    /// How long the connection lasted, in milliseconds.
    pub duration_ms: u64,
}

/// Without the peer, as above.
impl fmt::Debug for ClientDisconnected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ClientDisconnected");
        shown.field("client", &self.client).field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl ClientDisconnected<'_> {
    /// Logs it, or counts it in a storm.
    pub fn log(&self) {
        let Self { client, peer, reason, text, duration_ms } = *self;
        let text = (!text.is_empty()).then_some(text);
        if LogKind::ClientDisconnected.admit() {
            info!(
                target: TARGET,
                event = LogKind::ClientDisconnected.name(),
                client, %peer, reason, text, duration_ms
            );
        }
    }
}

/// A connection ended before a client was accepted on it.
#[derive(Clone, Copy)]
pub struct ConnectRefused<'a> {
    /// Client id, where a CONNECT could be read.
    pub client: Option<&'a str>,
    /// User name, if one was given.
    pub user: Option<&'a str>,
    /// Where the peer comes from, shown only if the line is written.
    pub peer: &'a dyn Display,
    /// Why, as the label of the metric has it.
    pub reason: &'a str,
    /// The level of the protocol that CONNECT named, where it was the reason.
    pub level: Option<u64>,
    /// The same in words; may be empty.
    pub text: &'a str,
}

/// Without the peer, as above.
impl fmt::Debug for ConnectRefused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ConnectRefused");
        shown.field("client", &self.client).field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl ConnectRefused<'_> {
    /// Logs it, or counts it in a storm.
    pub fn log(&self) {
        let Self { client, user, peer, reason, level, text } = *self;
        let text = (!text.is_empty()).then_some(text);
        if LogKind::ConnectRefused.admit() {
            info!(target: TARGET, event = LogKind::ConnectRefused.name(), client, user, %peer, reason, level, text);
        }
    }
}

/// A connection between two nodes was not made, or has ended.
pub fn link_ended(peer: &dyn Display, reason: &str, text: &str) {
    if LogKind::LinkEnded.admit() {
        warn!(target: TARGET, event = LogKind::LinkEnded.name(), %peer, reason, text);
    }
}

/// A client's message or will was not taken; the client stays connected.
pub fn message_refused(client: &str, peer: &dyn Display, what: &str, topic: &str, text: &str) {
    if LogKind::MessageRefused.admit() {
        info!(target: TARGET, event = LogKind::MessageRefused.name(), client, %peer, what, topic, text);
    }
}

/// The access rules do not allow a subscription any more, and it was taken away.
pub fn subscription_revoked(client: &str, filter: &str) {
    if LogKind::SubscriptionRevoked.admit() {
        info!(target: TARGET, event = LogKind::SubscriptionRevoked.name(), client, filter);
    }
}

/// An address or a client id has failed to log in too often and is turned away for a while.
pub fn login_banned(who: &dyn Display) {
    if LogKind::LoginBanned.admit() {
        warn!(target: TARGET, event = LogKind::LoginBanned.name(), %who);
    }
}

/// A client id comes and goes too often and is turned away for a while.
pub fn client_flapping(client: &str, user: Option<&str>, peer: &dyn Display) {
    if LogKind::ClientFlapping.admit() {
        warn!(target: TARGET, event = LogKind::ClientFlapping.name(), client, user, %peer);
    }
}

/// A file has changed on disk and is read again.
pub fn file_changed(path: &dyn Display) {
    info!(target: TARGET, event = "file_changed", %path);
}

/// What an operator wants to be told of a client, a topic or an address.
pub fn traced(what: &str, client: &str, peer: &str, topic: Option<&str>, text: &str) {
    if LogKind::Traced.admit() {
        info!(target: AUDIT_TARGET, event = LogKind::Traced.name(), what, client, peer, topic, text);
    }
}

/// The keys of an identity provider were fetched.
pub fn key_set_fetched(url: &str, keys: u64) {
    debug!(target: TARGET, event = "key_set_fetched", url, keys);
}

/// The keys of an identity provider could not be had: those that were fetched before stay.
pub fn key_set_failed(url: &str, error: &str) {
    warn!(target: TARGET, event = "key_set_failed", url, error);
}

/// A back end did not answer.
pub fn back_end_failed(url: &str, error: &dyn Display) {
    if LogKind::BackEndFailed.admit() {
        warn!(target: TARGET, event = LogKind::BackEndFailed.name(), url, %error);
    }
}

/// A peer broke the protocol: what exactly, for whoever mends that client. The end of its connection is logged apart.
pub fn protocol_error(client: &str, peer: &dyn Display, code: u8, text: &str) {
    // Asked first, so that what is not logged at this level is not reported as held back either.
    if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) && LogKind::ProtocolError.admit() {
        let code = hex(code);
        debug!(target: TARGET, event = LogKind::ProtocolError.name(), client, %peer, %code, text);
    }
}

/// A client sent a packet that is larger than is taken, and is disconnected for it.
pub fn packet_too_large(client: &str, peer: &dyn Display, size_bytes: u64, max_bytes: u64) {
    if LogKind::PacketTooLarge.admit() {
        let setting = "[mqtt] max_packet_size (--max-packet-size)";
        info!(target: TARGET, event = LogKind::PacketTooLarge.name(), client, %peer, size_bytes, max_bytes, setting);
    }
}

/// A client is over a rate of its profile, and paused for it: the first time on its connection.
pub fn client_paused(client: &str, peer: &dyn Display, rate: &str) {
    if LogKind::ClientPaused.admit() {
        let setting = "[auth] profiles_file (--profiles-file)";
        info!(target: TARGET, event = LogKind::ClientPaused.name(), client, %peer, rate, setting);
    }
}

/// A session loses a message, the first for a while; `setting` is the one that bounds what is full.
pub fn messages_lost(client: &str, reason: &str, queued: u64, queued_bytes: u64, setting: &str) {
    let setting = (!setting.is_empty()).then_some(setting);
    if LogKind::MessagesLost.admit() {
        warn!(target: TARGET, event = LogKind::MessagesLost.name(), client, reason, queued, queued_bytes, setting);
    }
}

/// A session has lost so many messages, and loses no more.
pub fn messages_lost_total(client: &str, reason: &str, messages: u64, duration_ms: u64) {
    if LogKind::MessagesLostTotal.admit() {
        warn!(target: TARGET, event = LogKind::MessagesLostTotal.name(), client, reason, messages, duration_ms);
    }
}

/// Credentials came, and nobody checks them.
pub fn credentials_unchecked(client: &str, peer: &dyn Display) {
    let text = "it sent a user name or a password, and nobody checks them on this listener: every client comes in (see --password-file)";
    warn!(target: TARGET, event = "credentials_unchecked", client, %peer, text);
}

/// One filter of a SUBSCRIBE and what it was answered with.
pub fn subscribe(client: &str, peer: &dyn Display, filter: &str, qos: u8, code: u8) {
    if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) && LogKind::Subscribe.admit() {
        let code = hex(code);
        debug!(target: TARGET, event = LogKind::Subscribe.name(), client, %peer, filter, qos, %code);
    }
}

/// One filter of an UNSUBSCRIBE and what it was answered with.
pub fn unsubscribe(client: &str, peer: &dyn Display, filter: &str, code: u8) {
    if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) && LogKind::Unsubscribe.admit() {
        let code = hex(code);
        debug!(target: TARGET, event = LogKind::Unsubscribe.name(), client, %peer, filter, %code);
    }
}

/// A PUBLISH that was not taken.
pub fn publish_refused(client: &str, peer: &dyn Display, topic: &str, code: u8) {
    if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) && LogKind::PublishRefused.admit() {
        let code = hex(code);
        debug!(target: TARGET, event = LogKind::PublishRefused.name(), client, %peer, topic, %code);
    }
}

/// A PUBLISH, without its payload.
#[derive(Clone, Copy)]
pub struct PublishPacket<'a> {
    /// The client at the other end.
    pub client: &'a str,
    /// Where the peer comes from, shown only if the line is written.
    pub peer: &'a dyn Display,
    /// What it is published to.
    pub topic: &'a str,
    /// Quality of service.
    pub qos: u8,
    /// Whether RETAIN is set.
    pub retain: bool,
    /// Whether DUP is set.
    pub dup: bool,
    /// How much is published with it.
    pub payload_bytes: u64,
}

/// Without the peer, as above.
impl fmt::Debug for PublishPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PublishPacket");
        shown.field("client", &self.client).field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl PublishPacket<'_> {
    /// Logs one that came from a client.
    pub fn log_received(&self) {
        self.log(LogKind::PublishReceived);
    }

    /// Logs one that goes to a client.
    pub fn log_sent(&self) {
        self.log(LogKind::PublishSent);
    }

    fn log(&self, kind: LogKind) {
        let Self { client, peer, topic, qos, retain, dup, payload_bytes } = *self;
        if tracing::enabled!(target: TARGET, tracing::Level::TRACE) && kind.admit() {
            trace!(target: TARGET, event = kind.name(), client, %peer, topic, qos, retain, dup, payload_bytes);
        }
    }
}

/// A reason code as the specification writes it.
fn hex(code: u8) -> String {
    format!("{code:#04x}")
}

/// The system gives no descriptor or no memory for a connection.
pub fn accept_failed(text: &dyn Display) {
    warn!(target: TARGET, event = "accept_failed", %text);
}

/// A shard has no room for another connection: those that come wait in the kernel, and hear nothing.
pub fn no_room_for_sockets(sockets: u64, text: &str) {
    warn!(target: TARGET, event = "no_room_for_sockets", sockets, text);
}

/// The broker starts, under this version and name.
pub fn starting(version: &str, node: &str, shards: u64, pid: u64) {
    info!(target: TARGET, event = "starting", version, node, shards, pid);
}

/// An address is open on this many shards.
pub fn listening(addr: &dyn Display, listener: &str, shards: u64, anonymous: bool) {
    info!(target: TARGET, event = "listening", %addr, listener, shards, anonymous);
}

/// An address is closed: the configuration has the listener no more. So many connections that came by it are left.
pub fn listening_ended(addr: &dyn Display, listener: &str, connections: u64) {
    info!(target: TARGET, event = "listening_ended", %addr, listener, connections);
}

/// Every address is open and the broker serves.
pub fn ready(took_ms: u64) {
    info!(target: TARGET, event = "ready", took_ms);
}

/// The admin server takes requests.
pub fn admin_listening(addr: &dyn Display) {
    info!(target: TARGET, event = "admin_listening", %addr);
}

/// It does at a path as well.
pub fn admin_listening_at(path: &dyn Display) {
    info!(target: TARGET, event = "admin_listening", %path);
}

/// Another process has the port that the admin server has where nobody chooses one: there is none.
pub fn admin_not_started(addr: &dyn Display) {
    let text = "another process listens there, another broker perhaps: [admin] port (--admin-port) chooses another, off has none";
    warn!(target: TARGET, event = "admin_not_started", %addr, text);
}

/// Nobody is named who may use the admin API: there is one user, whose password is good once and for so long.
pub fn admin_password(user: &str, password: &str, valid_s: u64) {
    let text = "for one login; [admin] users (--admin-users) names a file that `dunlin passwd --admin` writes";
    warn!(target: AUDIT_TARGET, event = "admin_password", user, password, valid_s, text);
}

/// Somebody has done something by the admin API, or logged in: what was done, to what, and the reason given for it.
pub fn admin_action(user: &str, peer: &dyn Display, (action, what): (&str, &str), reason: Option<&str>) {
    info!(target: AUDIT_TARGET, event = "admin_action", user, %peer, action, what, reason);
}

/// As many connections to the admin server are open as may be.
pub fn admin_full(peer: &dyn Display) {
    if LogKind::AdminFull.admit() {
        warn!(target: TARGET, event = LogKind::AdminFull.name(), %peer);
    }
}

/// A collector does not take spans: the first time, until it takes some again.
pub fn spans_not_taken(url: &str, error: &str) {
    warn!(target: TARGET, event = "spans_not_taken", url, error);
}

/// A collector takes spans again.
pub fn spans_taken(url: &str) {
    info!(target: TARGET, event = "spans_taken", url);
}

/// Bans of operators hold, but could not be written down.
pub fn bans_not_kept(reason: &str) {
    warn!(target: TARGET, event = "bans_not_kept", reason);
}

/// Something of a drain, or of its end, could not be done; the rest was.
pub fn drain_failed(action: &str, text: &str) {
    warn!(target: TARGET, event = "drain_failed", action, text);
}

/// Somebody has shown a wrong password to the admin server.
pub fn admin_login_failed(user: &str, peer: &dyn Display) {
    if LogKind::AdminLoginFailed.admit() {
        warn!(target: AUDIT_TARGET, event = LogKind::AdminLoginFailed.name(), user, %peer);
    }
}

/// What was read back from the data directory, in how long.
#[derive(Clone, Copy)]
pub struct StoreRecovered<'a> {
    /// The data directory.
    pub path: &'a dyn Display,
    /// How many clients will be known when they come back.
    pub sessions: u64,
    /// Filters of all of these.
    pub subscriptions: u64,
    /// Messages that wait for them, or are in flight to them.
    pub queued: u64,
    /// Retained messages.
    pub retained: u64,
    /// Records that were read.
    pub records: u64,
    /// How often a broker has started on the directory, this time included.
    pub epoch: u64,
    /// How long it took.
    pub took_ms: u64,
}

/// Without the path, as above.
impl fmt::Debug for StoreRecovered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreRecovered").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl StoreRecovered<'_> {
    /// Never rate limited: there is one a start.
    pub fn log(&self) {
        let Self { path, sessions, subscriptions, queued, retained, records, epoch, took_ms } = *self;
        info!(
            target: TARGET,
            event = "store_recovered",
            %path, sessions, subscriptions, queued, retained, records, epoch, took_ms
        );
    }
}

/// Something in the data directory is not what was written, and is lost.
pub fn store_damaged(text: &dyn Display) {
    error!(target: TARGET, event = "store_damaged", %text);
}

/// What an operator should know about the data directory.
pub fn store_warning(text: &dyn Display) {
    warn!(target: TARGET, event = "store_warning", %text);
}

/// There is no room for the log of a shard any more, or there is again.
pub fn store_space(shard: u64, is_enough: bool, text: &dyn Display) {
    if is_enough {
        info!(target: TARGET, event = "store_has_space", shard, %text);
    } else {
        error!(target: TARGET, event = "store_out_of_space", shard, %text);
    }
}

/// A file of a shard's log could not be made or put aside, for a reason that may go; it is tried again.
pub fn store_delayed(shard: u64, text: &dyn Display) {
    warn!(target: TARGET, event = "store_delayed", shard, %text);
}

/// A signal told the broker to stop; it asks clients to go for so long at most, and then waits at most so long for queued packets.
pub fn stopping(signal: &str, timeout_s: u64, drain_s: u64) {
    info!(target: TARGET, event = "stopping", signal, timeout_s, drain_s);
}

/// The broker has stopped, with this many connections left that did not drain in time.
pub fn stopped(undrained: u64, uptime_s: u64) {
    info!(target: TARGET, event = "stopped", undrained, uptime_s);
}

/// The log file was opened again; the first line of the new one.
pub fn log_reopened() {
    info!(target: TARGET, event = "log_reopened");
}

/// The log file could not be opened again; lines go on into the old one.
pub fn log_reopen_failed(text: &dyn Display) {
    error!(target: TARGET, event = "log_reopen_failed", %text);
}

/// The service manager that started the process cannot be told anything at its socket; once a process.
pub fn service_manager_unreachable(socket: &str, text: &str) {
    warn!(target: TARGET, event = "service_manager_unreachable", socket, text);
}

/// A setting is legal but probably not meant.
pub fn config_warning(text: &str) {
    warn!(target: TARGET, event = "config_warning", text);
}

/// A certificate or a revocation list comes near its end, or has come to it.
pub fn expiry_warning(text: &str) {
    warn!(target: TARGET, event = "expiry_warning", text);
}

/// A setting, a file or a flag is wrong, and there is no log yet.
pub fn config_error(text: &dyn Display) {
    error!(target: TARGET, event = "config_error", %text);
}

/// A reload gave a setting another value.
pub fn config_changed(name: &str, old: &str, new: &str) {
    info!(target: TARGET, event = "config_changed", name, old, new);
}

/// A setting has another value than at the start, which a reload cannot give it.
pub fn config_needs_start(name: &str, old: &str, new: &str) {
    warn!(target: TARGET, event = "config_needs_start", name, old, new);
}

/// A reload is done: so many settings changed, so many wait for a start.
pub fn config_reloaded(changed: u64, needs_start: u64) {
    info!(target: TARGET, event = "config_reloaded", changed, needs_start);
}

/// Nothing was reloaded; the settings are as they were.
pub fn config_reload_failed(text: &dyn Display) {
    error!(target: TARGET, event = "config_reload_failed", %text);
}

/// A signal that means nothing here was ignored.
pub fn signal_ignored(signal: &str) {
    info!(target: TARGET, event = "signal_ignored", signal);
}

/// All queues together have no room: what cannot be sent at once is dropped.
pub fn queued_memory_full(max_bytes: u64) {
    let text =
        "what is queued for all sessions takes --max-queued-memory: messages that would have to wait are dropped";
    warn!(target: TARGET, event = "queued_memory_full", max_bytes, text);
}

/// A bridge, a sink or a source does what it is there for.
pub fn connector_connected(kind: &str, name: &str, address: &str) {
    info!(target: TARGET, event = "connector_connected", kind, name, address);
}

/// Something went wrong with one that is not what went wrong before; it tries again.
pub fn connector_failed(kind: &str, name: &str, text: &str) {
    warn!(target: TARGET, event = "connector_failed", kind, name, text);
}

/// The first message that one did not pass on, for this reason; others are counted.
pub fn connector_not_passed(kind: &str, name: &str, reason: &str, topic: &str) {
    warn!(target: TARGET, event = "connector_not_passed", kind, name, reason, topic);
}

/// One is no more in the configuration, and its session is still there.
pub fn connector_session_stays(kind: &str, name: &str, queued: u64, client_id: &str) {
    let text = format!(
        "its session {client_id} stays, subscribed, and messages wait in it: \
         `dunlin ctl kick --end-session '{client_id}'` ends it"
    );
    warn!(target: TARGET, event = "connector_session_stays", kind, name, queued, text);
}

/// The broker cannot go on.
pub fn fatal(text: &dyn Display) {
    error!(target: TARGET, event = "fatal", %text);
}

/// So many events of this kind were not written since the last such line.
pub(super) fn lines_suppressed(kind: LogKind, suppressed: u64) {
    let (kind, text) = (kind.name(), format!("{suppressed} similar lines suppressed"));
    info!(target: TARGET, event = "lines_suppressed", kind, suppressed, text);
}

/// Lines were lost because the log's file or pipe did not take them.
pub(super) fn lines_lost(lost: u64, lost_total: u64) {
    warn!(target: TARGET, event = "lines_lost", lost, lost_total, text = "the log's writer was stalled");
}
