//! Lines for the log about clients: what the shard knows of them, and where they come from.

use std::sync::atomic::{AtomicBool, Ordering};

use super::edge::Edge;
use super::{tail, trace};
use crate::conn::tls::TlsParameters;
use crate::conn::{Peer, RefusedPeer};
use crate::shard::{Event, PublishSeen};
use crate::telemetry::log::event::PublishPacket;
use crate::telemetry::{DropReason, log};
use crate::time::{Deadline, Now};

/// One shard has said that credentials are not checked, which holds for all of them.
static SAID_UNCHECKED: AtomicBool = AtomicBool::new(false);

impl Edge {
    pub(super) fn write_log(&self, event: &Event) {
        let connections = &self.connections;
        if trace::is_on() {
            trace::note(connections, event);
        }
        match event {
            Event::Connected { .. } => self.write_connected(event),
            Event::Refused { connection, client_id, user, reason, text } => log::event::ConnectRefused {
                client: Some(client_id),
                user: user.as_deref(),
                peer: &connections.peer(*connection),
                reason: reason.label(),
                level: None,
                text,
            }
            .log(),
            Event::Flapping { connection, client_id, user } => {
                log::event::client_flapping(client_id, user.as_deref(), &connections.peer(*connection));
            }
            Event::Disconnected { connection, client_id, reason, text, duration_ms } => {
                log::event::ClientDisconnected {
                    client: client_id,
                    peer: &connections.peer(*connection),
                    reason: reason.label(),
                    text,
                    duration_ms: *duration_ms,
                }
                .log();
            }
            Event::MessageRefused { connection, client_id, topic, is_will, text } => {
                let what = if *is_will { "will" } else { "message" };
                log::event::message_refused(client_id, &connections.peer(*connection), what, topic, text);
            }
            Event::Paused { connection, client_id, reason } => {
                log::event::client_paused(client_id, &connections.peer(*connection), reason.label());
            }
            Event::Tailed(message) => tail::note(message),
            Event::QueuedMemoryFull { max_bytes } => log::event::queued_memory_full(*max_bytes),
            Event::LossBegins { client_id, reason, queued, queued_bytes } => {
                log::event::messages_lost(client_id, reason.label(), *queued, *queued_bytes, setting_of(*reason));
            }
            Event::LossEnds { client_id, reason, messages, duration_ms } => {
                log::event::messages_lost_total(client_id, reason.label(), *messages, *duration_ms);
            }
            event => self.write_packet_log(event),
        }
    }

    /// A CONNECT was accepted.
    fn write_connected(&self, event: &Event) {
        let connections = &self.connections;
        let Event::Connected {
            connection,
            client_id,
            user,
            version,
            keep_alive_s,
            clean_start,
            session_present,
            proxied_tls,
        } = event
        else {
            return;
        };
        let agreed = connections.agreed_tls(*connection);
        let cipher = agreed.map(TlsParameters::suite);
        let proxied = proxied_tls.as_deref().map(|version| version.strip_prefix("TLSv").unwrap_or(version));
        log::event::ClientConnected {
            client: client_id,
            user: user.as_deref(),
            peer: &connections.peer(*connection),
            version: version.name(),
            keep_alive_s: (*keep_alive_s).into(),
            clean_start: *clean_start,
            session_present: *session_present,
            shard: connections.config().own.0.into(),
            tls: agreed.map(|agreed| (agreed.version(), cipher.as_deref())).or(proxied.map(|version| (version, None))),
        }
        .log();
    }

    /// Lines about single packets.
    fn write_packet_log(&self, event: &Event) {
        let peer = |connection| self.connections.peer(connection);
        match event {
            Event::SubscriptionRevoked { client_id, filter } => log::event::subscription_revoked(client_id, filter),
            Event::CredentialsUnchecked { connection, client_id } => {
                if !SAID_UNCHECKED.swap(true, Ordering::Relaxed) {
                    log::event::credentials_unchecked(client_id, &peer(*connection));
                }
            }
            Event::PacketTooLarge { connection, client_id, size_bytes, max_bytes } => {
                let (size_bytes, max_bytes) = ((*size_bytes).into(), (*max_bytes).into());
                log::event::packet_too_large(client_id, &peer(*connection), size_bytes, max_bytes);
            }
            Event::ProtocolError { connection, client_id, code, text } => {
                log::event::protocol_error(client_id, &peer(*connection), *code as u8, text);
            }
            Event::Subscribed { connection, client_id, filter, qos, code } => {
                log::event::subscribe(client_id, &peer(*connection), filter, *qos as u8, *code as u8);
            }
            Event::Unsubscribed { connection, client_id, filter, code } => {
                log::event::unsubscribe(client_id, &peer(*connection), filter, *code as u8);
            }
            Event::PublishRefused { connection, client_id, topic, code } => {
                log::event::publish_refused(client_id, &peer(*connection), topic, *code as u8);
            }
            Event::PublishReceived(publish) => publish_packet(publish, &peer(publish.connection)).log_received(),
            Event::PublishSent(publish) => publish_packet(publish, &peer(publish.connection)).log_sent(),
            _ => unreachable!("the caller has the others"),
        }
    }

    /// Once a minute at most: a connection was lost for want of something that the system gives.
    pub(super) fn report_accept_failed(&mut self, now: Now, errno: i32) {
        if Self::is_due_again(&mut self.next_accept_report, now) {
            log::event::accept_failed(&std::io::Error::from_raw_os_error(errno));
        }
    }

    /// Once a minute at most: there is no room for another connection, and whoever comes waits in the kernel.
    pub(super) fn report_no_room(&mut self, now: Now) {
        if self.plane.is_out_of_room() && Self::is_due_again(&mut self.next_room_report, now) {
            let text = "connections that come hear nothing until others close: there are descriptors for no more; \
                        `ulimit -n` (systemd: LimitNOFILE=, docker: --ulimit nofile=) raises it, and --max-connections bounds \
                        what is taken";
            log::event::no_room_for_sockets(self.plane.sockets().into(), text);
        }
    }

    /// Whether a report may be made now; the next one not before a minute has passed.
    const fn is_due_again(next_report: &mut Deadline, now: Now) -> bool {
        let is_due = next_report.is_due(now);
        if is_due {
            *next_report = now.after_s(60);
        }
        is_due
    }

    pub(super) fn write_refused(refused: RefusedPeer) {
        let RefusedPeer { peer, reason, text, level, client_id } = refused;
        if reason.is_of_link() {
            log::event::link_ended(&peer, reason.label(), text);
            return;
        }
        let (reason, level) = (reason.label(), level.map(u64::from));
        let client = client_id.as_deref();
        log::event::ConnectRefused { client, user: None, peer: &peer, reason, level, text }.log();
    }
}

fn publish_packet<'a>(publish: &'a PublishSeen, peer: &'a Peer) -> PublishPacket<'a> {
    let PublishSeen { client_id, topic, qos, retain, dup, payload_bytes, .. } = publish;
    PublishPacket {
        client: client_id,
        peer,
        topic,
        qos: *qos as u8,
        retain: *retain,
        dup: *dup,
        payload_bytes: *payload_bytes,
    }
}

/// What an operator may raise where messages are dropped for this reason.
const fn setting_of(reason: DropReason) -> &'static str {
    match reason {
        DropReason::OutboxFull => "[session] outbox_max_bytes (--outbox-max-bytes)",
        DropReason::QueueFull => {
            "[session] max_queued_messages (--max-queued-messages) or max_queued_bytes (--max-queued-bytes)"
        }
        DropReason::QueuedMemoryFull => "[session] max_queued_memory (--max-queued-memory)",
        DropReason::PacketTooLarge => "the client's own Maximum Packet Size",
        DropReason::RateLimited => "[auth] profiles_file (--profiles-file): delivery_rate, delivery_rate_bytes",
        _ => "",
    }
}
