//! What leaves for a client, checked packet by packet.

use dunlin::codec::{AckKind, ConnAck, Packet, Publish, ReasonCode, SubAck};
use dunlin::ids::Qos;

use super::messages::{SLACK_BYTES, is_will};
use super::sessions::Past;
use super::{Check, Key, Oracle, Session, Tag, matches};

/// One message on its way to a client, from PUBLISH to its last acknowledgement.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) packet_id: u16,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    /// The connection it was last sent on, if that is the present one.
    pub(crate) sent_on: Option<usize>,
    /// PUBREC has come.
    pub(crate) released: bool,
    /// PUBREL has left.
    pub(crate) release_told: bool,
    /// Rules keep it from everybody, or have done so while its client was away: it may never be sent again.
    pub(crate) may_be_withheld: bool,
    /// The shared subscription that it came by, where its identifier says so.
    pub(crate) group: Option<String>,
}

impl Open {
    /// Whether its client has to be sent it before anything newer.
    const fn is_to_be_sent_again(&self) -> bool {
        self.sent_on.is_none() && !self.released && !self.may_be_withheld
    }
}

impl Oracle {
    /// A packet leaves for a client of the model. `topic` is the PUBLISH's, its alias resolved; `bytes` its length.
    pub(crate) fn sent(&mut self, client: usize, conn: usize, packet: &Packet<'_>, topic: &str, bytes: usize) -> Check {
        let Some(session) = self.sessions.get(&client).filter(|session| session.conn == Some(conn)) else {
            // A takeover's DISCONNECT is the last that an old connection gets, a refusal all that a refused one does.
            return match packet {
                Packet::Disconnect(_) if !self.refused.contains(&conn) => Ok(()),
                Packet::ConnAck(connack) if self.refused.contains(&conn) && connack.reason.is_error() => Ok(()),
                other => Err(format!("client {client} is sent {other:?} on connection {conn}, which is not its own")),
            };
        };
        if bytes > session.packet_size_max_bytes as usize {
            return Err(format!("{bytes} bytes for client {client}, which takes {}", session.packet_size_max_bytes));
        }
        if !session.connack_left && !matches!(packet, Packet::ConnAck(_)) {
            return Err(format!("client {client} is sent {packet:?} before CONNACK"));
        }
        match packet {
            Packet::ConnAck(connack) => self.sent_connack(client, connack),
            Packet::Publish(publish) => self.sent_publish(client, conn, publish, topic),
            Packet::Ack(ack) => self.sent_ack(client, ack.kind, ack.packet_id.get(), ack.reason),
            Packet::SubAck(suback) => self.sent_suback(client, suback),
            Packet::UnsubAck(unsuback) => {
                let session = self.sessions.get_mut(&client).expect("just found");
                let filters = session.unasked.remove(&unsuback.packet_id.get()).unwrap_or_default();
                let is_over = |filter: &String| !session.subscriptions.contains_key(filter);
                let over: Vec<String> = filters.into_iter().filter(is_over).collect();
                session.unsubscribed.extend(over);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn sent_connack(&mut self, client: usize, connack: &ConnAck<'_>) -> Check {
        let session = self.sessions.get_mut(&client).expect("just found");
        if connack.reason != ReasonCode::Success || session.connack_left {
            return Err(format!("client {client} is refused or told twice: {connack:?}"));
        }
        session.connack_left = true;
        let told = connack.session_present;
        // MQTT 3.1 has no such flag.
        if told != session.present && session.version != dunlin::codec::Version::V31 {
            return Err(format!("client {client} is told session present {told}, the truth is {}", session.present));
        }
        Ok(())
    }

    fn sent_suback(&mut self, client: usize, suback: &SubAck<'_>) -> Check {
        let session = self.sessions.get_mut(&client).expect("just found");
        let Some(asked) = session.asked.remove(&suback.packet_id.get()) else {
            return Err(format!("client {client} never asked for {suback:?}"));
        };
        if asked.len() != suback.codes().count() {
            return Err(format!("{} filters for client {client}, but {suback:?}", asked.len()));
        }
        for ((filter, made), code) in asked.into_iter().zip(suback.codes()) {
            if code.is_error() {
                return Err(format!("client {client} is refused {filter}: {code}"));
            }
            if let Some(subscription) = session.subscriptions.get_mut(&filter).filter(|known| known.made == made) {
                if subscription.qos != code as u8 {
                    return Err(format!("client {client} is granted {code} for {filter}"));
                }
                (subscription.acked, subscription.told) = (true, true);
                session.told = true;
            }
        }
        Ok(())
    }

    fn sent_ack(&mut self, client: usize, kind: AckKind, packet_id: u16, reason: ReasonCode) -> Check {
        match kind {
            AckKind::PubAck | AckKind::PubRec => {
                if reason.is_error() {
                    return Err(format!("client {client} is refused message #{packet_id}: {reason}"));
                }
                let session = self.sessions.get_mut(&client).expect("just found");
                if kind == AckKind::PubRec && session.exchanges.contains_key(&packet_id) {
                    session.received.insert(packet_id);
                    session.told = true;
                }
                if let Some((topic, serial)) = session.writing.remove(&packet_id) {
                    self.writes.told(&topic, serial);
                }
                let session = self.sessions.get_mut(&client).expect("just found");
                let Some(key) = session.publishing.remove(&packet_id) else { return Ok(()) };
                self.must_be_stored(key)?;
                self.owed.iter_mut().filter(|((_, owed), _)| *owed == key).for_each(|(_, owed)| owed.told = true);
                Ok(())
            }
            AckKind::PubRel => {
                let session = self.sessions.get_mut(&client).expect("just found");
                let open = session.open.iter_mut().find(|open| open.packet_id == packet_id);
                match (open, reason) {
                    (Some(open), ReasonCode::Success) if open.released => {
                        open.release_told = true;
                        Ok(())
                    }
                    (None, ReasonCode::PacketIdentifierNotFound) => Ok(()),
                    (None, _) if !session.version.is_v5() => Ok(()), // which cannot say so
                    _ => Err(format!("PUBREL #{packet_id} ({reason}) to client {client} without a PUBREC")),
                }
            }
            AckKind::PubComp => {
                let session = self.sessions.get_mut(&client).expect("just found");
                if !session.exchanges.contains_key(&packet_id) {
                    session.completed.insert(packet_id);
                }
                Ok(())
            }
        }
    }

    /// Before a publisher is told so, every kept session that must get the message has it written down.
    fn must_be_stored(&self, key: Key) -> Check {
        if self.may_drop
            || self.sees_no_store
            || self.messages.get(&key).is_none_or(|message| message.expires_ms.is_some())
        {
            return Ok(()); // dropped before it was written down, perhaps
        }
        for (&(client, key), owed) in self.owed.iter().filter(|((_, owed), _)| *owed == key) {
            // What was told is safe, also on its way from one log to another.
            if owed.kept && owed.qos > 0 && !owed.told && !self.written.contains(&(client, key)) {
                return Err(format!("message {key:?} is acknowledged, but nothing is stored for client {client}"));
            }
        }
        Ok(())
    }

    fn sent_publish(&mut self, client: usize, conn: usize, publish: &Publish<'_>, topic: &str) -> Check {
        let tag = Tag::of(publish.payload);
        let known = match tag {
            Tag::Known(key) if self.messages.contains_key(&key) => Some(key),
            Tag::Known(key) if is_will(key) => {
                return Err(format!("a will is published that is not owed: {key:?} to client {client}"));
            }
            Tag::Known(key) => return Err(format!("message {key:?} was never published, and client {client} gets it")),
            Tag::Empty | Tag::Wild => None,
        };
        self.check_subscribed(client, publish, topic, known)?;
        let is_new = self.check_exchange(client, conn, publish)?;
        let Some(key) = known else { return Ok(()) };
        if !is_new {
            self.stats.again += 1;
            return Ok(());
        }
        let message = &self.messages[&key];
        if message.topic != topic {
            return Err(format!("message {key:?} of {} comes on {topic}", message.topic));
        }
        // What waited for the store when its connection ended may have been sent in time, for all a restart would know.
        if message.expires_ms.is_some_and(|expires_ms| expires_ms <= self.now_ms) && !publish.dup {
            return Err(format!("message {key:?} comes to client {client} after it expired"));
        }
        if publish.qos as u8 > message.qos || (publish.retain && !message.retain) {
            return Err(format!("message {key:?} comes to client {client} as more than it was: {publish:?}"));
        }
        self.count_first(client, key, publish)
    }

    /// A message leaves for a session for the first time, or as another of what it is owed.
    fn count_first(&mut self, client: usize, key: Key, publish: &Publish<'_>) -> Check {
        let message = &self.messages[&key];
        let session = self.sessions.get_mut(&client).expect("just found");
        *session.sent_as.entry((key, publish.qos as u8)).or_default() += 1;
        let shared = shared_by(session, publish);
        if let Some(group) = shared {
            self.stats.shared += 1;
            let count = self.group_firsts.entry((group.clone(), key)).or_default();
            *count += 1;
            let most = message.routings + self.group_again.get(&(group.clone(), key)).copied().unwrap_or_default();
            if *count > most {
                return Err(format!("{group} gets message {key:?} {count} times, {most} are the most"));
            }
            self.owed_to_group.remove(&(group, key));
            return Ok(());
        }
        let count = session.firsts.entry(key).or_default();
        *count += 1;
        let of_groups = session.history.iter().filter(|past| {
            past.subscription.is_shared()
                && matches(&past.filter, &message.topic)
                && past.subscription.identifier.is_none()
        });
        let replays = session
            .history
            .iter()
            .filter(|past| message.retain && past.subscription.replays && matches(&past.filter, &message.topic));
        let again = session.again.get(&key).copied().unwrap_or_default();
        let most = message.routings * (1 + of_groups.count() as u32) + replays.count() as u32 + again;
        if *count > most {
            return Err(format!("message {key:?} comes to client {client} {count} times, {most} are the most"));
        }
        self.stats.delivered += 1;
        if publish.retain {
            self.stats.replayed += 1; // or live, where the subscription keeps the flag: neither has an order to keep
            return Ok(());
        }
        let stream = (key.0, message.topic.clone(), message.qos, publish.qos as u8);
        let newest = session.newest.entry(stream).or_default();
        // What the publisher sent again after a reconnect has its place in the order by its first publication; whoever
        // subscribed since then meets it out of order.
        // What another member of a shared subscription left behind comes when that one's session ends.
        let left_behind = session.history.iter().any(|past| {
            past.subscription.is_shared()
                && past.subscription.identifier.is_none()
                && matches(&past.filter, &message.topic)
                && self.member_ended.get(&past.filter).is_some_and(|&ended| ended >= message.step)
        });
        if message.order < *newest && *count == 1 && message.routings == 1 && !left_behind {
            return Err(format!("message {key:?} comes to client {client} after {newest}: the order is lost"));
        }
        *newest = message.order.max(*newest);
        Ok(())
    }

    /// Nothing without a subscription, and not with more than it grants.
    fn check_subscribed(&self, client: usize, publish: &Publish<'_>, topic: &str, key: Option<Key>) -> Check {
        let session = &self.sessions[&client];
        let since = key.map_or(0, |key| self.messages[&key].step);
        let own = key.is_some_and(|key| key.0 == client);
        // A message that was published again (QoS 1) may have met any subscription since it first was.
        let fits = |past: &&Past| {
            past.until.is_none_or(|until| until >= since)
                && matches(&past.filter, topic)
                && !(own && past.subscription.no_local)
                && past.subscription.qos >= publish.qos as u8
        };
        if publish.dup {
            return Ok(()); // it was looked at when it was first sent
        }
        let mut fitting = session.history.iter().filter(fits);
        if fitting.next().is_none() {
            return Err(format!("client {client} gets {topic} without a subscription that grants it: {publish:?}"));
        }
        for identifier in publish.subscription_ids.iter().map(u32::from) {
            let by = |past: &Past| past.subscription.identifier == Some(identifier) && matches(&past.filter, topic);
            if !session.history.iter().any(by) {
                return Err(format!("client {client} gets {topic} with identifier {identifier} of another filter"));
            }
        }
        if publish.retain {
            // Where subscriptions overlap, one may grant the QoS and another the flag.
            let keeps = |past: &Past| {
                matches(&past.filter, topic) && (past.subscription.retain_as_published || past.subscription.replays)
            };
            if !session.history.iter().any(keeps) {
                return Err(format!("client {client} gets {topic} with RETAIN, which no subscription keeps"));
            }
        }
        Ok(())
    }

    /// Packet identifiers, window and order of what is sent again. Returns whether the message is new.
    fn check_exchange(&mut self, client: usize, conn: usize, publish: &Publish<'_>) -> Result<bool, String> {
        let inflight_max = self.inflight_max;
        let session = self.sessions.get_mut(&client).expect("just found");
        let Some(packet_id) = publish.packet_id.filter(|_| publish.qos != Qos::AtMostOnce) else { return Ok(true) };
        let packet_id = packet_id.get();
        forget_unsent(session, packet_id, publish);
        let known = session.open.iter().position(|open| open.packet_id == packet_id);
        match (known, publish.dup) {
            (Some(_), false) => {
                return Err(format!("identifier {packet_id} of client {client} is used twice at a time"));
            }
            // What waited for the store when its connection ended may have been sent, for all a restart would know.
            (None, true) if publish.qos != Qos::ExactlyOnce => {
                return Err(format!("#{packet_id} of client {client} is sent again and was never sent"));
            }
            (None, _) => {
                if !publish.dup
                    && let Some(left) = session.open.iter().find(|open| open.is_to_be_sent_again())
                {
                    let left = left.packet_id;
                    return Err(format!("#{packet_id} of client {client} is sent before #{left} was sent again"));
                }
                let group = shared_by(session, publish);
                session.open.push_back(Open {
                    packet_id,
                    payload: publish.payload.to_vec(),
                    qos: publish.qos as u8,
                    sent_on: Some(conn),
                    released: false,
                    release_told: false,
                    may_be_withheld: false,
                    group,
                });
            }
            (Some(at), true) => {
                let open = &session.open[at];
                if open.payload != publish.payload || open.qos != publish.qos as u8 || open.released {
                    return Err(format!("#{packet_id} of client {client} is sent again as something else"));
                }
                if open.sent_on.is_some() {
                    return Err(format!("#{packet_id} of client {client} is sent again on the same connection"));
                }
                // A QoS 1 message does not wait for a QoS 2 message that waits for the store.
                let mut older = session.open.iter().take(at).filter(|older| older.qos == open.qos);
                if older.any(Open::is_to_be_sent_again) {
                    return Err(format!("#{packet_id} of client {client} is sent again out of order"));
                }
                session.open[at].sent_on = Some(conn);
            }
        }
        let in_flight = session.open.iter().filter(|open| open.sent_on.is_some() || open.released).count();
        let window = usize::from(session.receive_maximum.min(inflight_max));
        // PUBRELs that are still to be sent again do not count, and cannot be told from those that were.
        let released = session.open.iter().filter(|open| open.released).count();
        if in_flight - released > window {
            return Err(format!("{in_flight} messages are in flight to client {client}, which takes {window}"));
        }
        Ok(known.is_none())
    }
}

/// What was in flight and is never sent again: rules withheld it, and its identifier is another's, or it went out by its alias alone and would be
/// too large by name.
fn forget_unsent(session: &mut Session, packet_id: u16, publish: &Publish<'_>) {
    if !publish.dup {
        session.open.retain(|open| open.packet_id != packet_id || open.sent_on.is_some() || !open.may_be_withheld);
    }
    let max_bytes = session.packet_size_max_bytes as usize;
    let mut reached = false;
    session.open.retain(|open| {
        reached |= open.packet_id == packet_id;
        let may_be_too_large = open.payload.len() + SLACK_BYTES > max_bytes;
        // One QoS does not wait for the other.
        let is_other = open.qos != publish.qos as u8;
        reached || is_other || open.sent_on.is_some() || open.released || !may_be_too_large
    });
}

/// The group that a delivery is for, where its identifier says so.
fn shared_by(session: &Session, publish: &Publish<'_>) -> Option<String> {
    group_of(session, publish.subscription_ids.iter().map(u32::from).next()?)
}

/// The group that a session has subscribed to under an identifier.
pub(super) fn group_of(session: &Session, identifier: u32) -> Option<String> {
    let of = |past: &&Past| past.subscription.identifier == Some(identifier) && past.subscription.is_shared();
    session.history.iter().find(of).map(|past| past.filter.clone())
}
