//! Sessions: who is connected, what they are subscribed to, what becomes of their wills.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dunlin::codec::{AckKind, Publish, ReasonCode, RetainHandling, Subscribe, Version};
use dunlin::ids::Qos;
use dunlin::limits;
use dunlin::telemetry::CloseReason;

use super::messages::WILL;
use super::sent::Open;
use super::{Check, Key, Message, Oracle, Tag};

/// A CONNECT as the model needs it.
#[derive(Clone, Debug)]
pub(crate) struct ConnectAs {
    /// As many clients are connected as may be.
    pub(crate) is_full: bool,
    pub(crate) version: Version,
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_size_max_bytes: u32,
    /// Delay and number of the will.
    pub(crate) will: Option<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) identifier: Option<u32>,
    /// Its SUBACK has left, or that of an earlier one for the filter.
    pub(crate) acked: bool,
    /// Its own SUBACK has left.
    pub(crate) told: bool,
    pub(crate) group: bool,
    /// Tells one SUBSCRIBE from another for the same filter.
    pub(crate) made: u64,
    /// What was retained when it was made was to be shown.
    pub(crate) replays: bool,
}

impl Subscription {
    pub(crate) const fn is_shared(&self) -> bool {
        self.group
    }
}

/// A subscription as it was, from one step to another.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) filter: String,
    pub(crate) subscription: Subscription,
    pub(crate) until: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct WillModel {
    pub(crate) number: u32,
    pub(crate) delay_s: u32,
}

#[derive(Debug)]
pub(crate) struct Session {
    /// Tells it from others of the same client.
    pub(crate) serial: u64,
    /// A CONNACK has left that says there is this session; the same of the present connection, or the last one.
    pub(crate) told: bool,
    pub(crate) connack_told: bool,
    pub(crate) conn: Option<usize>,
    pub(crate) connack_left: bool,
    pub(crate) present: bool,
    pub(crate) version: Version,
    pub(crate) expiry_s: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_size_max_bytes: u32,
    pub(crate) ended_ms: Option<u64>,
    /// When the present connection, or the last one, was made, and the takeovers that weighed on it then.
    pub(crate) connected_ms: u64,
    pub(crate) takeovers: u64,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    /// All subscriptions that this session ever had, the present ones included.
    pub(crate) history: Vec<Past>,
    /// Filters in SUBSCRIBEs that wait for their SUBACK.
    pub(crate) asked: BTreeMap<u16, Vec<(String, u64)>>,
    pub(crate) will: Option<WillModel>,
    /// Messages on their way to the client, in order.
    pub(crate) open: VecDeque<Open>,
    /// What has a packet identifier with QoS 2, and may still wait for the log: the client's alone from then on [MQTT-4.8.2-5].
    pub(crate) sending: BTreeSet<Key>,
    /// Filters in UNSUBSCRIBEs that wait for their UNSUBACK; those whose UNSUBACK has left.
    pub(crate) unasked: BTreeMap<u16, Vec<String>>,
    pub(crate) unsubscribed: BTreeSet<String>,
    /// The client's QoS 2 exchanges, and their messages where they are known.
    pub(crate) exchanges: BTreeMap<u16, Option<Key>>,
    /// Of those, the ones whose PUBREC has left; and the ones that are over, whose PUBCOMP has.
    pub(crate) received: BTreeSet<u16>,
    pub(crate) completed: BTreeSet<u16>,
    /// Writes to retained topics that are not acknowledged on this connection.
    pub(crate) writing: BTreeMap<u16, (String, u64)>,
    /// Messages of the client that are not acknowledged on this connection.
    pub(crate) publishing: BTreeMap<u16, Key>,
    /// The newest count that came, by publisher, topic and both QoS.
    pub(crate) newest: BTreeMap<(usize, String, u8, u8), u32>,
    /// How often each message was sent anew.
    pub(crate) firsts: BTreeMap<Key, u32>,
    /// The same by QoS, shared subscriptions included.
    pub(crate) sent_as: BTreeMap<(Key, u8), u32>,
    /// How often more it may be sent than it was published, because of a crash in the middle of it.
    pub(crate) again: BTreeMap<Key, u32>,
    /// How often the application got each message, by QoS.
    pub(crate) got: BTreeMap<(Key, u8), u32>,
}

impl Session {
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        let Some(ended_ms) = self.ended_ms else { return false };
        self.expiry_s != u32::MAX && ended_ms + u64::from(self.expiry_s) * 1_000 <= now_ms
    }

    pub(crate) fn owes_will(&self, now_ms: u64) -> bool {
        let (Some(ended_ms), Some(will)) = (self.ended_ms, &self.will) else { return false };
        ended_ms + u64::from(will.delay_s) * 1_000 <= now_ms
    }
}

impl Oracle {
    /// A shard is about to handle a CONNECT that it has to accept, unless the client id was taken over too often.
    pub(crate) fn begin_connect(&mut self, client: usize, conn: usize, connect: &ConnectAs) {
        let takeovers = match self.sessions.get(&client).filter(|session| session.conn.is_some()) {
            Some(session) => {
                let forgotten = (self.now_ms - session.connected_ms) / limits::TAKEOVER_REFILL_MS;
                session.takeovers.saturating_sub(forgotten) + 1
            }
            None => 0,
        };
        let is_full = connect.is_full && takeovers == 0;
        if is_full || takeovers > u64::from(limits::TAKEOVERS_BURST) {
            self.refused.insert(conn);
            self.stats.refused += 1;
            return;
        }
        if let Some(old) = self.sessions.get(&client).and_then(|session| session.conn) {
            self.stats.taken_over += 1;
            self.end_connection(client, old);
        }
        if connect.clean_start && self.sessions.contains_key(&client) {
            self.end_session(client);
        }
        let present = self.sessions.contains_key(&client);
        self.stats.resumed += u64::from(present);
        if !present {
            self.serials += 1;
            self.sessions.insert(client, Self::new_session(self.serials, connect));
        }
        let session = self.sessions.get_mut(&client).expect("just made");
        session.conn = Some(conn);
        session.connack_told = false;
        session.connack_left = false;
        session.present = present;
        session.version = connect.version;
        session.expiry_s = connect.expiry_s;
        session.receive_maximum = connect.receive_maximum;
        session.packet_size_max_bytes = connect.packet_size_max_bytes;
        session.ended_ms = None;
        (session.connected_ms, session.takeovers) = (self.now_ms, takeovers);
        session.will = connect.will.map(|(delay_s, number)| WillModel { number, delay_s });
        self.expiry_changed(client);
    }

    /// What is owed to a session that is not kept any more is not written down.
    fn expiry_changed(&mut self, client: usize) {
        if self.sessions[&client].expiry_s == 0 {
            self.owed.iter_mut().filter(|((owed_to, _), _)| *owed_to == client).for_each(|(_, owed)| owed.kept = false);
        }
    }

    pub(super) const fn new_session(serial: u64, connect: &ConnectAs) -> Session {
        Session {
            serial,
            told: false,
            connack_told: false,
            conn: None,
            connack_left: false,
            present: false,
            version: connect.version,
            expiry_s: 0,
            receive_maximum: 0,
            packet_size_max_bytes: 0,
            ended_ms: None,
            connected_ms: 0,
            takeovers: 0,
            subscriptions: BTreeMap::new(),
            history: Vec::new(),
            asked: BTreeMap::new(),
            will: None,
            open: VecDeque::new(),
            sending: BTreeSet::new(),
            unasked: BTreeMap::new(),
            unsubscribed: BTreeSet::new(),
            exchanges: BTreeMap::new(),
            received: BTreeSet::new(),
            completed: BTreeSet::new(),
            writing: BTreeMap::new(),
            publishing: BTreeMap::new(),
            newest: BTreeMap::new(),
            firsts: BTreeMap::new(),
            again: BTreeMap::new(),
            sent_as: BTreeMap::new(),
            got: BTreeMap::new(),
        }
    }

    /// A shard is about to handle a PUBLISH of a client in the model, its alias resolved.
    pub(crate) fn handle_publish(&mut self, client: usize, topic: &str, publish: &Publish<'_>) {
        let tag = Tag::of(publish.payload);
        let Some(session) = self.sessions.get_mut(&client) else { return };
        if let (Some(packet_id), Tag::Known(key)) = (publish.packet_id, tag) {
            session.publishing.insert(packet_id.get(), key);
        }
        if publish.qos == Qos::ExactlyOnce
            && let Some(packet_id) = publish.packet_id
        {
            if session.exchanges.contains_key(&packet_id.get()) {
                return; // a repetition
            }
            let key = if let Tag::Known(key) = tag { Some(key) } else { None };
            session.exchanges.insert(packet_id.get(), key);
            session.completed.remove(&packet_id.get());
        }
        match tag {
            Tag::Known(key) => {
                let message = Message {
                    topic: topic.to_owned(),
                    qos: publish.qos as u8,
                    retain: publish.retain,
                    expires_ms: publish.message_expiry_s.map(|seconds| self.now_ms + u64::from(seconds) * 1_000),
                    order: key.1,
                    step: self.step,
                    routings: 0,
                    bytes: topic.len() + publish.payload.len(),
                };
                self.publish(key, message);
            }
            Tag::Empty => self.publish_empty(topic, publish.retain),
            Tag::Wild => {}
        }
        if publish.retain
            && let Some(packet_id) = publish.packet_id
            && let Some(session) = self.sessions.get_mut(&client)
        {
            session.writing.insert(packet_id.get(), (topic.to_owned(), self.writes.newest()));
        }
    }

    pub(crate) fn handle_ack(&mut self, client: usize, kind: AckKind, packet_id: u16, reason: ReasonCode) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        match kind {
            AckKind::PubRel => {
                session.exchanges.remove(&packet_id);
                session.received.remove(&packet_id);
            }
            AckKind::PubRec if !reason.is_error() => {
                if let Some(open) = session.open.iter_mut().find(|open| open.packet_id == packet_id) {
                    open.released = true;
                }
            }
            AckKind::PubAck | AckKind::PubRec | AckKind::PubComp => {
                session.open.retain(|open| open.packet_id != packet_id);
            }
        }
    }

    pub(crate) fn handle_subscribe(&mut self, client: usize, subscribe: &Subscribe<'_>) {
        let step = self.step;
        for requested in subscribe.filters() {
            let filter = requested.filter.to_owned();
            self.subscribes += 1;
            let made = self.subscribes;
            let Some(session) = self.sessions.get_mut(&client) else { return };
            let known = session.subscriptions.contains_key(&filter);
            let group = filter.starts_with("$share/");
            let options = requested.options;
            let subscription = Subscription {
                qos: options.qos as u8,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                identifier: subscribe.subscription_id.map(u32::from),
                // Known on every shard already, with the options of before.
                acked: session.subscriptions.get(&filter).is_some_and(|known| known.acked),
                told: false,
                group,
                made,
                replays: !group
                    && match options.retain_handling {
                        RetainHandling::SendAlways => true,
                        RetainHandling::SendIfNew => !known,
                        RetainHandling::Never => false,
                    },
            };
            close_past(session, &filter, step);
            session.unsubscribed.remove(&filter);
            session.history.push(Past { filter: filter.clone(), subscription: subscription.clone(), until: None });
            session.subscriptions.insert(filter.clone(), subscription);
            session.asked.entry(subscribe.packet_id.get()).or_default().push((filter.clone(), made));
            self.take_back(client, &filter);
        }
    }

    pub(crate) fn handle_unsubscribe<'a>(
        &mut self,
        client: usize,
        packet_id: u16,
        filters: impl Iterator<Item = &'a str>,
    ) {
        let step = self.step;
        for filter in filters {
            let Some(session) = self.sessions.get_mut(&client) else { return };
            session.unasked.entry(packet_id).or_default().push(filter.to_owned());
            if session.subscriptions.remove(filter).is_some() {
                close_past(session, filter, step);
                self.take_back(client, filter);
                self.note_group_end(filter);
            }
        }
    }

    /// A shard is about to handle a DISCONNECT.
    pub(crate) fn handle_disconnect(&mut self, client: usize, reason: ReasonCode, expiry_s: Option<u32>) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        if let Some(expiry_s) = expiry_s {
            session.expiry_s = expiry_s;
        }
        if reason == ReasonCode::NORMAL_DISCONNECTION {
            session.will = None;
        }
        self.expiry_changed(client);
    }

    /// The broker has closed a connection.
    pub(crate) fn closed(&mut self, client: usize, conn: usize, reason: CloseReason, keep_alive: bool) -> Check {
        if self.refused.remove(&conn) {
            return match reason {
                CloseReason::Refused | CloseReason::ConnectionsFull => Ok(()),
                reason => Err(format!("client {client} was to be refused, and is closed: {}", reason.label())),
            };
        }
        if self.sessions.get(&client).is_none_or(|session| session.conn != Some(conn)) {
            return Ok(()); // a takeover, which was seen before
        }
        match reason {
            CloseReason::ClientDisconnect
            | CloseReason::ClientDisconnectWithWill
            | CloseReason::SocketClosed
            | CloseReason::SessionTakenOver => {}
            CloseReason::KeepAliveTimeout if keep_alive => {}
            reason => return Err(format!("a client that keeps to the rules was closed: {}", reason.label())),
        }
        self.end_connection(client, conn);
        Ok(())
    }

    /// From now on nobody is sent what clients of no model publish.
    pub(crate) fn withhold_wild(&mut self) {
        let open = self.sessions.values_mut().flat_map(|session| &mut session.open);
        for open in open.filter(|open| matches!(Tag::of(&open.payload), Tag::Wild)) {
            open.may_be_withheld = true;
        }
    }

    pub(crate) fn end_connection(&mut self, client: usize, conn: usize) {
        let now_ms = self.now_ms;
        let Some(session) = self.sessions.get_mut(&client) else { return };
        assert_eq!(session.conn, Some(conn), "the model lost track of a connection");
        session.conn = None;
        session.ended_ms = Some(now_ms);
        session.asked.clear();
        session.unasked.clear();
        session.publishing.clear();
        session.writing.clear();
        for open in &mut session.open {
            open.sent_on = None;
        }
        self.take_back_qos_0(client);
        if self.sessions[&client].is_over(now_ms) {
            self.end_session(client);
        } else if self.sessions[&client].owes_will(now_ms) {
            self.publish_will(client);
        }
    }

    /// A session ends; its will is owed at the latest now.
    pub(crate) fn end_session(&mut self, client: usize) {
        let filters: Vec<String> = self.sessions[&client].subscriptions.keys().cloned().collect();
        if let Some(session) = self.sessions.get_mut(&client) {
            session.subscriptions.clear();
        }
        self.lately_ended.insert(client);
        self.leave_to_others(client, &filters);
        for filter in &filters {
            self.note_group_end(filter);
        }
        self.publish_will(client);
        self.take_back_all(client);
        if let Some(session) = self.sessions.remove(&client) {
            self.ended.insert(session.serial, session);
        }
    }

    pub(crate) fn publish_will(&mut self, client: usize) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let Some(will) = session.will.take() else { return };
        let (is_kept, key) =
            (session.expiry_s > 0 && session.told && session.connack_told, (client, WILL + will.number));
        self.stats.wills += 1;
        let message = Message {
            topic: format!("will/{client}"),
            qos: 1,
            retain: false,
            expires_ms: None,
            order: self.stats.wills as u32,
            step: self.step,
            routings: 0,
            bytes: 40,
        };
        self.publish(key, message);
        // A crash leaves either the will or what came of it.
        self.owed.iter_mut().filter(|((_, owed), _)| *owed == key).for_each(|(_, owed)| owed.told = is_kept);
    }

    /// The next number of a will.
    pub(crate) const fn next_will(&mut self) -> u32 {
        self.wills += 1;
        self.wills
    }
}

pub(super) fn close_past(session: &mut Session, filter: &str, step: u64) {
    for past in session.history.iter_mut().filter(|past| past.until.is_none() && past.filter == filter) {
        past.until = Some(step);
    }
}
