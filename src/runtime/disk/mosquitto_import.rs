//! A `mosquitto.db` as the lines of an export, for `dunlin store import`.
//!
//! Always holds: each line is one that an import takes; what cannot be carried over is told, each thing in a line of its own, and nothing else is lost.
//! A QoS 2 message whose PUBREL has not come yet goes to its subscribers here, as dunlin does when it comes: Mosquitto would have waited.
//! Leaves to others: the bytes (`store`), the directory (`import`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::import_properties::are_properties;
use super::json::JsonLine;
use crate::codec::SubscriptionOptions;
use crate::ids::SubscriptionId;
use crate::store::format::FORMAT_VERSION;
use crate::store::mosquitto_db::{DbClient, DbClientMessage, DbDirection, DbMessage, DbSubscription, MosquittoDb};
use crate::topic::{SubscribedFilter, TopicName, matches};

/// Mosquitto's `mosquitto_msg_state`, as far as it is told apart here.
mod state {
    pub(super) const WAIT_FOR_PUBACK: u8 = 3;
    pub(super) const WAIT_FOR_PUBREC: u8 = 5;
    pub(super) const RESEND_PUBREL: u8 = 6;
    pub(super) const WAIT_FOR_PUBREL: u8 = 7;
    pub(super) const WAIT_FOR_PUBCOMP: u8 = 9;
    pub(super) const SEND_PUBREC: u8 = 10;
}

/// Whose the lines are to be.
pub(super) struct ImportTarget<'a> {
    pub(super) node_name: &'a str,
    pub(super) shards: usize,
    pub(super) now_ms: u64,
}

/// The lines of a file.
pub(super) struct MosquittoLines<'a> {
    db: &'a MosquittoDb<'a>,
    target: ImportTarget<'a>,
    messages: HashMap<u64, &'a DbMessage<'a>>,
    sessions: BTreeMap<&'a str, DbSession<'a>>,
    /// What is left out, and why.
    left_out: Vec<String>,
}

/// A client with all that is its own.
struct DbSession<'a> {
    client: &'a DbClient<'a>,
    subscriptions: Vec<(&'a DbSubscription<'a>, SubscribedFilter<'a>)>,
    out: Vec<DbDelivery<'a>>,
    /// Packet identifiers of what it has sent and not released.
    exchanges: BTreeSet<u16>,
    used: BTreeSet<u16>,
}

/// A message that a session is to get, or has got and not acknowledged to the end.
struct DbDelivery<'a> {
    message: &'a DbMessage<'a>,
    qos: u8,
    retain: bool,
    state: &'static str,
    packet_id: Option<u16>,
    subscription_ids: Vec<u32>,
}

impl<'a> MosquittoLines<'a> {
    /// Reads through a file.
    pub(super) fn of(db: &'a MosquittoDb<'a>, target: ImportTarget<'a>) -> Self {
        let (messages, sessions, left_out) = (HashMap::new(), BTreeMap::new(), Vec::new());
        let mut lines = Self { db, target, messages, sessions, left_out };
        if !db.was_stopped {
            lines
                .left_out
                .push("Mosquitto was not stopped when it wrote the file: what came later is not in it".into());
        }
        if db.unknown > 0 {
            lines.left_out.push(format!("{} chunks of kinds that nobody knows", db.unknown));
        }
        lines.take_messages();
        lines.take_clients();
        lines.take_subscriptions();
        db.client_messages.iter().for_each(|found| lines.take_client_message(found));
        lines.tell_unsubscribed();
        lines.route_unreleased();
        lines
    }

    fn take_messages(&mut self) {
        let mut expired = 0;
        for message in &self.db.messages {
            let ends_ms = u64::try_from(message.expires_s).unwrap_or(0).saturating_mul(1_000);
            if ends_ms > 0 && ends_ms <= self.target.now_ms {
                expired += 1;
            } else if !is_topic(message.topic) || message.qos > 2 {
                self.left_out.push(format!("message {:016x}: {:?} is no topic", message.id, message.topic));
            } else {
                if properties_of(message).is_none() {
                    self.left_out.push(format!("properties of message {:016x} on {:?}", message.id, message.topic));
                }
                self.messages.insert(message.id, message);
            }
        }
        if expired > 0 {
            self.left_out.push(format!("{expired} messages that have expired"));
        }
    }

    fn take_clients(&mut self) {
        for client in &self.db.clients {
            let session = DbSession {
                client,
                subscriptions: Vec::new(),
                out: Vec::new(),
                exchanges: BTreeSet::new(),
                used: BTreeSet::new(),
            };
            if client.client_id.is_empty() || self.sessions.insert(client.client_id, session).is_some() {
                self.left_out.push(format!("a second client {:?}", client.client_id));
            }
        }
        if !self.sessions.is_empty() {
            // A client without a name is written with that of the one before it, by Mosquitto 2.0.11 at least.
            self.left_out.push(
                "whose the sessions are: the file does not say it reliably; where there are users, --foreign-sessions accept gives each \
                 to the first who comes for it"
                    .into(),
            );
        }
    }

    fn take_subscriptions(&mut self) {
        for subscription in &self.db.subscriptions {
            let DbSubscription { client_id, filter, options, .. } = *subscription;
            let parsed = SubscribedFilter::parse(filter, u16::MAX).ok();
            let parsed = parsed.filter(|_| SubscriptionOptions::from_bits(options).is_some());
            match (self.sessions.get_mut(client_id), parsed) {
                (Some(session), Some(parsed)) => session.subscriptions.push((subscription, parsed)),
                (None, _) => {
                    self.left_out.push(format!("subscription {filter:?} of {client_id:?}, who has no session"));
                }
                (_, None) => self.left_out.push(format!("subscription {filter:?} of {client_id:?}: it is no filter")),
            }
        }
    }

    fn take_client_message(&mut self, found: &DbClientMessage<'a>) {
        let DbClientMessage { client_id, message, packet_id, qos, state, retain, .. } = *found;
        let (Some(session), message) = (self.sessions.get_mut(client_id), self.messages.get(&message)) else {
            return self.left_out.push(format!("a message of {client_id:?}, who has no session"));
        };
        if found.direction == DbDirection::In {
            if matches!(state, state::WAIT_FOR_PUBREL | state::SEND_PUBREC) && packet_id > 0 {
                session.exchanges.insert(packet_id);
            }
            return;
        }
        // A packet identifier is given once.
        let own_id = Some(packet_id).filter(|id| *id > 0 && !session.used.contains(id));
        let (state, packet_id) = match (state, own_id) {
            (state::RESEND_PUBREL | state::WAIT_FOR_PUBCOMP, Some(id)) => ("released", Some(id)),
            (state::WAIT_FOR_PUBACK | state::WAIT_FOR_PUBREC, Some(id)) => ("sent", Some(id)),
            _ => ("queued", None),
        };
        let Some(message) = message else {
            let words = format!("a message of {client_id:?}: it is not in the file, or has expired");
            return self.left_out.push(words);
        };
        if qos == 0 {
            let words = format!("a message on {:?} for {client_id:?}: it is of QoS 0", message.topic);
            return self.left_out.push(words);
        }
        session.used.extend(packet_id);
        let subscription_ids = found.subscription_ids();
        session.out.push(DbDelivery { message, qos, retain, state, packet_id, subscription_ids });
    }

    /// Who is to get something was subscribed to it.
    fn tell_unsubscribed(&mut self) {
        let without =
            self.sessions.values().filter(|session| session.subscriptions.is_empty() && !session.out.is_empty());
        self.left_out.extend(without.map(|session| {
            let client_id = session.client.client_id;
            format!(
                "subscriptions of {client_id:?}: there are none in the file; Mosquitto 2.0 does not write shared ones"
            )
        }));
    }

    /// What was received and not released is in no queue yet.
    fn route_unreleased(&mut self) {
        for found in &self.db.client_messages {
            let is_open = matches!(found.state, state::WAIT_FOR_PUBREL | state::SEND_PUBREC);
            if found.direction == DbDirection::Out || !is_open || !self.sessions.contains_key(found.client_id) {
                continue;
            }
            let Some(&message) = self.messages.get(&found.message) else {
                self.left_out.push(format!("a message from {:?}: it is not in the file", found.client_id));
                continue;
            };
            let Ok(topic) = TopicName::parse(message.topic, u16::MAX) else { continue };
            let mut shares = BTreeSet::new();
            for (client_id, session) in &mut self.sessions {
                let own = session.subscriptions.iter().filter(|(subscription, filter)| {
                    let is_own = subscription.options & 4 != 0 && *client_id == found.client_id;
                    let is_taken = filter.share.is_some() && !shares.insert(subscription.filter);
                    matches(filter.filter, topic) && !is_own && !is_taken
                });
                let qos = own.map(|(subscription, _)| subscription.options & 3).max();
                if let Some(qos) = qos.map(|qos| qos.min(message.qos)).filter(|qos| *qos > 0) {
                    let (state, packet_id, subscription_ids) = ("queued", None, Vec::new());
                    session.out.push(DbDelivery { message, qos, retain: false, state, packet_id, subscription_ids });
                }
            }
        }
    }

    /// Gives out the lines, and what is left out.
    pub(super) fn write(mut self) -> (impl Iterator<Item = String>, Vec<String>) {
        let mut first = JsonLine::of("directory");
        first.number("format", FORMAT_VERSION.into());
        first.text("node_name", self.target.node_name);
        first.number("shards", self.target.shards as u64);
        first.number("made_unix_ms", self.target.now_ms);
        let retained = self.retained();
        let now_ms = self.target.now_ms;
        let sessions = self.sessions.into_values().flat_map(move |session| session_lines(&session, now_ms));
        let lines = std::iter::once(first.finish()).chain(sessions).chain(retained);
        let lines = lines.chain([JsonLine::end().finish()]);
        (lines, self.left_out)
    }

    /// Also those that were received and not released.
    fn retained(&mut self) -> Vec<String> {
        let unreleased = self.db.client_messages.iter().filter(|found| {
            found.direction == DbDirection::In && matches!(found.state, state::WAIT_FOR_PUBREL | state::SEND_PUBREC)
        });
        let mut latest: BTreeMap<&str, &DbMessage<'_>> = BTreeMap::new();
        let mut missing = 0;
        for id in &self.db.retained {
            match self.messages.get(id) {
                Some(message) => _ = latest.insert(message.topic, message),
                None => missing += 1,
            }
        }
        for message in unreleased.filter_map(|found| self.messages.get(&found.message)).filter(|found| found.retain) {
            latest.insert(message.topic, message);
        }
        if missing > 0 {
            self.left_out.push(format!("{missing} retained messages: they are not in the file, or have expired"));
        }
        let stamps = (self.target.now_ms.saturating_mul(1_000_000)..).zip(latest);
        let kept = stamps
            .filter(|(_, (topic, message))| TopicName::parse(topic, u16::MAX).is_ok() && !message.payload.is_empty());
        let line = |(stamp_ns, (topic, message)): (u64, (&str, &DbMessage<'_>))| {
            let mut line = JsonLine::of("retained");
            line.text("retained_topic", topic);
            line.number("stamp_ns", stamp_ns);
            describe(&mut line, message);
            line.finish()
        };
        kept.map(line).collect()
    }
}

/// A session and what is its own.
fn session_lines(session: &DbSession<'_>, now_ms: u64) -> Vec<String> {
    let DbClient { client_id, expires_s, expiry_s, .. } = *session.client;
    let of = |kind: &str| {
        let mut line = JsonLine::of(kind);
        line.text("client_id", client_id);
        line
    };
    let mut lines = Vec::new();
    // When it went is not in the file, but when its session ends.
    let gone_s = expires_s.saturating_sub(expiry_s.into());
    let is_known = expires_s > 0 && expiry_s < u32::MAX && gone_s > 0;
    let gone_ms = if is_known { gone_s.unsigned_abs().saturating_mul(1_000).min(now_ms) } else { now_ms };
    let mut line = of("session");
    line.number("expiry_s", expiry_s.into());
    line.number("begun_unix_ms", gone_ms);
    line.number("disconnected_unix_ms", gone_ms);
    lines.push(line.finish());
    for (subscription, _) in &session.subscriptions {
        let mut line = of("subscription");
        line.text("filter", subscription.filter);
        let options = subscription.options;
        line.number("qos", (options & 3).into());
        line.flag("no_local", options & 4 != 0);
        line.flag("retain_as_published", options & 8 != 0);
        line.number("retain_handling", (options >> 4 & 3).into());
        line.maybe("identifier", SubscriptionId::new(subscription.identifier).map(|id| id.get().into()));
        lines.push(line.finish());
    }
    for packet_id in &session.exchanges {
        let mut line = of("exchange");
        line.number("packet_id", (*packet_id).into());
        lines.push(line.finish());
    }
    for delivery in &session.out {
        let mut line = of("delivery");
        line.text("state", delivery.state);
        line.number("qos", delivery.qos.min(2).into());
        line.flag("retain", delivery.retain);
        line.maybe("packet_id", delivery.packet_id.map(u64::from));
        let ids = delivery.subscription_ids.iter().filter_map(|id| SubscriptionId::new(*id));
        line.numbers("subscription_identifiers", ids.map(|id| id.get().into()));
        describe(&mut line, delivery.message);
        lines.push(line.finish());
    }
    lines
}

fn describe(line: &mut JsonLine, message: &DbMessage<'_>) {
    line.text("topic", message.topic);
    line.number("published_qos", message.qos.into());
    line.flag("published_retain", message.retain);
    let ends_s = u64::try_from(message.expires_s).ok().filter(|ends_s| *ends_s > 0);
    line.maybe("expires_unix_ms", ends_s.map(|ends_s| ends_s.saturating_mul(1_000)));
    if let Some(properties) = properties_of(message).filter(|properties| !properties.is_empty()) {
        line.bytes("properties_base64", properties);
    }
    line.bytes("payload_base64", message.payload);
    line.maybe_text("publisher", Some(message.source).filter(|source| !source.is_empty()));
}

/// Properties without their length; `None` for what are none.
fn properties_of<'a>(message: &DbMessage<'a>) -> Option<&'a [u8]> {
    if message.properties.is_empty() {
        return Some(&[]);
    }
    let len_bytes = message.properties.iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
    let properties = &message.properties[len_bytes..];
    are_properties(properties).then_some(properties)
}

fn is_topic(text: &str) -> bool {
    TopicName::parse(text, u16::MAX).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::import::import;
    use super::super::import_line::ImportError;
    use super::super::request::StoreRequest;
    use crate::limits::STORE_SEGMENT_MIN_BYTES;
    use crate::time::Now;
    use std::fs;
    use std::io::Cursor;

    const REAL: &[u8] = include_bytes!("../../store/mosquitto_db/real-v6.db");

    /// Whatever is wrong with a file, the lines that are made of it are such as an import takes.
    #[test]
    fn a_damaged_file_is_refused_as_one_or_imported() {
        let path = std::env::temp_dir().join(format!("dunlin-mosquitto-damaged-{}", std::process::id()));
        let request = StoreRequest {
            path: path.clone(),
            node_name: String::new(),
            is_named: false,
            shards: 1,
            segment_bytes: STORE_SEGMENT_MIN_BYTES,
            reserve_bytes: 0,
            checkpoint_interval_s: 60,
            checkpoint_pace_bytes: 1024 * 1024,
            queued_memory_bytes: 0,
            random: [1, 2, 3, 4],
            now: Now { mono_ns: 1, unix_ms: 1_700_000_000_000 },
            progress: std::sync::Arc::default(),
        };
        let (mut imported, mut left_out) = (0, 0);
        for at in (15..REAL.len()).step_by(23) {
            let mut bytes = REAL.to_vec();
            bytes[at] ^= 0x41;
            let _ = fs::remove_dir_all(&path);
            match import(&request, &mut Cursor::new(bytes)) {
                Ok(things) => (imported, left_out) = (imported + 1, left_out + things.len()),
                Err(ImportError::Mosquitto(_)) => {}
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
        assert!(imported > 20 && left_out > imported, "{imported} {left_out}");
        fs::remove_dir_all(path).unwrap();
    }
}
