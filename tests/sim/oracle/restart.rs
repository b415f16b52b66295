//! The process has died, and another one has read back what was on its disk: what that must, may and must not be.
//!
//! Always holds: what was acknowledged has survived; what was not may have, as a whole. From then on what has survived is the truth, and as exact
//! as before.

use std::collections::{BTreeMap, BTreeSet};

use dunlin::codec::{SubscriptionOptions, Version};

use super::messages::{SLACK_BYTES, is_will};
use super::sent::{Open, group_of};
use super::sessions::{ConnectAs, Past, Subscription, WillModel, close_past};
use super::{Check, Key, Oracle, Session, Tag, WILL, matches};

/// What was read back, in the model's words.
#[derive(Debug, Default)]
pub(crate) struct Survived {
    /// By client.
    pub(crate) sessions: BTreeMap<usize, SurvivedSession>,
    /// By topic: the latest write of all logs.
    pub(crate) retained: BTreeMap<String, Option<Key>>,
    pub(crate) forwards: Vec<SurvivedForward>,
    /// What was on its way, and has arrived with another number of shards: once more, perhaps.
    pub(crate) arrived: Vec<Key>,
    /// What sessions that are being taken down may leave to others of their groups.
    pub(crate) left_behind: Vec<Key>,
    /// Something was damaged and is told: what is missing may be missing for that.
    pub(crate) is_damaged: bool,
}

#[derive(Debug)]
pub(crate) struct SurvivedSession {
    /// Which of the model it is.
    pub(crate) serial: Option<u64>,
    pub(crate) expiry_s: u32,
    pub(crate) ended_ms: u64,
    /// Number and delay.
    pub(crate) will: Option<(u32, u32)>,
    /// Options and identifier.
    pub(crate) subscriptions: BTreeMap<String, (u8, Option<u32>)>,
    pub(crate) deliveries: Vec<SurvivedDelivery>,
    pub(crate) exchanges: BTreeSet<u16>,
}

#[derive(Debug)]
pub(crate) struct SurvivedDelivery {
    /// `None` once the client has it.
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) qos: u8,
    pub(crate) packet_id: Option<u16>,
    pub(crate) is_of_group: bool,
    pub(crate) identifier: Option<u32>,
}

/// On its way to the log of another shard.
#[derive(Debug)]
pub(crate) struct SurvivedForward {
    /// Clients whose sessions are there.
    pub(crate) clients: BTreeSet<usize>,
    pub(crate) key: Key,
    pub(crate) is_plain: bool,
    pub(crate) has_groups: bool,
}

impl SurvivedDelivery {
    fn key(&self) -> Option<Key> {
        match Tag::of(self.payload.as_deref()?) {
            Tag::Known(key) => Some(key),
            Tag::Empty | Tag::Wild => None,
        }
    }
}

impl Oracle {
    /// Takes over what has survived. `now_ms`: when the process began.
    pub(crate) fn restart(&mut self, survived: &Survived, now_ms: u64) -> Check {
        self.now_ms = now_ms;
        self.refused.clear();
        let mut ended = std::mem::take(&mut self.ended);
        let mut undone = BTreeSet::new();
        self.check_sessions(survived)?;
        let current: BTreeSet<u64> = self.sessions.values().map(|session| session.serial).collect();
        for (client, before) in std::mem::take(&mut self.sessions) {
            ended.insert(before.serial, before);
            if !survived.sessions.contains_key(&client) {
                self.take_back_all(client);
            }
            self.lately_ended.insert(client);
        }
        for (&client, found) in &survived.sessions {
            let known = found.serial.and_then(|serial| ended.remove(&serial));
            let mut session = known.unwrap_or_else(|| self.unknown_session(found));
            if !current.contains(&session.serial) {
                // What it left to others of its groups may be left to them once more.
                for delivery in found.deliveries.iter().filter(|delivery| delivery.is_of_group) {
                    let group = delivery.identifier.and_then(|identifier| group_of(&session, identifier));
                    if let Some(left) = group.zip(delivery.key()) {
                        *self.group_again.entry(left).or_default() += 1;
                    }
                }
            }
            let checked = self.adopt(&mut session, found, &mut undone, !survived.is_damaged);
            checked.map_err(|what| format!("client {client}: {what}"))?;
            self.sessions.insert(client, session);
            self.stats.survivors += 1;
            self.stats.survived += found.deliveries.len() as u64;
        }
        self.undo(&undone, survived)?;
        self.expect_forwards(survived);
        self.expect_twice(survived);
        self.check_owed(survived)?;
        self.adopt_groups(survived);
        self.adopt_retained(survived)
    }

    fn check_sessions(&self, survived: &Survived) -> Check {
        for (client, session) in &self.sessions {
            let found = survived.sessions.get(client);
            let is_it = found.is_some_and(|found| found.serial == Some(session.serial));
            if is_it || !session.told || survived.is_damaged {
                continue;
            }
            if session.expiry_s > 0 {
                let serial = found.map(|found| found.serial);
                return Err(format!(
                    "the session of client {client} is lost: {serial:?} is there, and not {session:?}"
                ));
            }
            if found.is_some() {
                return Err(format!("client {client} was told that its session is gone, and it comes back"));
            }
        }
        Ok(())
    }

    /// Began and ended before its log said so.
    fn unknown_session(&mut self, found: &SurvivedSession) -> Session {
        self.serials += 1;
        let as_asked = ConnectAs {
            is_full: false,
            version: Version::V5,
            clean_start: false,
            expiry_s: found.expiry_s,
            receive_maximum: u16::MAX,
            packet_size_max_bytes: u32::MAX,
            will: None,
        };
        Self::new_session(self.serials, &as_asked)
    }

    fn adopt(
        &mut self,
        session: &mut Session,
        found: &SurvivedSession,
        undone: &mut BTreeSet<Key>,
        is_strict: bool,
    ) -> Check {
        session.conn = None;
        session.connack_left = false;
        session.ended_ms = Some(found.ended_ms);
        session.expiry_s = found.expiry_s;
        session.told = true;
        adopt_will(session, found, is_strict)?;
        self.adopt_subscriptions(session, found, is_strict)?;
        adopt_exchanges(session, found, undone, is_strict)?;
        session.asked.clear();
        session.unasked.clear();
        session.publishing.clear();
        session.writing.clear();
        self.adopt_deliveries(session, found, is_strict)
    }

    fn adopt_subscriptions(&mut self, session: &mut Session, found: &SurvivedSession, is_strict: bool) -> Check {
        let step = self.step;
        for (filter, known) in std::mem::take(&mut session.subscriptions) {
            if found.subscriptions.contains_key(&filter) {
                session.subscriptions.insert(filter, known);
            } else if known.acked && is_strict {
                return Err(format!("its subscription to {filter} is lost"));
            } else {
                close_past(session, &filter, step);
            }
        }
        for (filter, &(bits, identifier)) in &found.subscriptions {
            if session.unsubscribed.contains(filter) && is_strict {
                return Err(format!("it was told that it is not subscribed to {filter} any more, and it is again"));
            }
            session.unsubscribed.remove(filter); // damage has brought it back
            let options = SubscriptionOptions::from_bits(bits).ok_or("options that nobody sent")?;
            self.subscribes += 1;
            let is_as_found = |known: &Subscription| {
                known.qos == options.qos as u8
                    && known.no_local == options.no_local
                    && known.retain_as_published == options.retain_as_published
                    && known.identifier == identifier
            };
            if let Some(known) = session.subscriptions.get_mut(filter) {
                if is_as_found(known) {
                    // Every shard knows it when the first client is served; what was to be shown of it is not gone on with.
                    (known.acked, known.told, known.replays) = (true, true, false);
                    continue;
                }
                if known.told && is_strict {
                    return Err(format!("its subscription to {filter} is not what was acknowledged"));
                }
            }
            let subscription = Subscription {
                qos: options.qos as u8,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                identifier,
                acked: true,
                told: true,
                group: filter.starts_with("$share/"),
                made: self.subscribes,
                replays: false,
            };
            close_past(session, filter, step);
            session.history.push(Past { filter: filter.clone(), subscription: subscription.clone(), until: None });
            session.subscriptions.insert(filter.clone(), subscription);
        }
        Ok(())
    }

    /// What is in flight and queued, as it was written down.
    fn adopt_deliveries(&mut self, session: &mut Session, found: &SurvivedSession, is_strict: bool) -> Check {
        let before = std::mem::take(&mut session.open);
        for open in before.iter().filter(|open| open.qos == 2) {
            let key = if let Tag::Known(key) = Tag::of(&open.payload) { Some(key) } else { None };
            let may_expire = key.is_none_or(|key| self.messages.get(&key).is_none_or(|m| m.expires_ms.is_some()));
            let may_be_too_large = open.payload.len() + SLACK_BYTES > session.packet_size_max_bytes as usize;
            let there = found.deliveries.iter().find(|delivery| delivery.packet_id == Some(open.packet_id));
            let is_right = there.is_some_and(|there| there.payload.is_none() || !open.release_told);
            if is_strict && !is_right && !may_expire && !may_be_too_large && !open.may_be_withheld {
                return Err(format!("what it has of QoS 2 is not known any more: {open:?}, but {there:?}"));
            }
        }
        for delivery in &found.deliveries {
            let key = delivery.key();
            let group = delivery.identifier.and_then(|identifier| group_of(session, identifier));
            let Some(packet_id) = delivery.packet_id else {
                if let Some(key) = key.filter(|_| delivery.qos == 1) {
                    self.sent_in_vain(session, (key, 1), group);
                }
                continue;
            };
            let known = before.iter().find(|open| open.packet_id == packet_id);
            if known.is_none() && delivery.qos == 2 && delivery.payload.is_some() {
                continue; // it waited for the log: it is sent for the first time
            }
            let payload = delivery.payload.clone().or_else(|| known.map(|known| known.payload.clone()));
            session.open.push_back(Open {
                packet_id,
                payload: payload.unwrap_or_default(),
                qos: delivery.qos,
                sent_on: None,
                released: delivery.payload.is_none(),
                release_told: delivery.payload.is_none(),
                may_be_withheld: known.is_some_and(|known| known.may_be_withheld),
                group: group.or_else(|| known.and_then(|known| known.group.clone())),
            });
        }
        Ok(())
    }

    /// A message was sent with this QoS, and nobody knows it: it is sent again as if it had not been.
    fn sent_in_vain(&mut self, session: &mut Session, (key, qos): (Key, u8), group: Option<String>) {
        if !session.sent_as.contains_key(&(key, qos)) {
            return;
        }
        let count = match group {
            Some(group) => self.group_firsts.get_mut(&(group, key)),
            None => session.firsts.get_mut(&key),
        };
        if let Some(count) = count {
            *count = count.saturating_sub(1);
        }
        self.comes_again(session, (key, qos));
    }

    /// A message comes once more, and in its order: also one that was dropped the first time, while others behind it, which come again as
    /// well, were sent.
    fn comes_again(&self, session: &mut Session, (key, qos): (Key, u8)) {
        let Some(message) = self.messages.get(&key) else { return };
        if let Some(newest) = session.newest.get_mut(&(key.0, message.topic.clone(), message.qos, qos)) {
            *newest = (*newest).min(message.order.saturating_sub(1));
        }
    }

    /// What comes again from another log was delivered before, perhaps, by a shard whose log does not know of it. With QoS 2 it does.
    fn expect_forwards(&mut self, survived: &Survived) {
        for arrived in &survived.arrived {
            let of_groups = self.group_firsts.iter_mut().filter(|((_, key), _)| key == arrived);
            of_groups.for_each(|(_, count)| *count = count.saturating_sub(1));
            for session in self.sessions.values_mut().filter(|_| self.has_small_turns) {
                *session.again.entry(*arrived).or_default() += 1;
            }
        }
        for forward in &survived.forwards {
            let of_groups =
                self.group_firsts.iter_mut().filter(|((_, key), _)| forward.has_groups && *key == forward.key);
            of_groups.for_each(|(_, count)| *count = count.saturating_sub(1));
            for &client in &forward.clients {
                let Some(mut session) = self.sessions.remove(&client) else { continue };
                for qos in 0..2 {
                    self.sent_in_vain(&mut session, (forward.key, qos), None);
                    self.comes_again(&mut session, (forward.key, qos));
                }
                self.sessions.insert(client, session);
            }
        }
    }

    /// Messages with QoS 2 that nobody knows: their publishers send them again, and they are the first.
    fn undo(&mut self, undone: &BTreeSet<Key>, survived: &Survived) -> Check {
        for &key in undone {
            let Some(message) = self.messages.get_mut(&key) else { continue };
            message.routings = message.routings.saturating_sub(1);
            for ((_, of), count) in &mut self.group_firsts {
                if *of == key {
                    *count = count.saturating_sub(1);
                }
            }
            for client in self.sessions.keys().copied().collect::<Vec<_>>() {
                let is_there = survived.sessions[&client].deliveries.iter().any(|there| there.key() == Some(key));
                let Some(mut session) = self.sessions.remove(&client) else { continue };
                for qos in (0..2).filter(|_| !is_there) {
                    self.sent_in_vain(&mut session, (key, qos), None);
                    self.comes_again(&mut session, (key, qos));
                }
                if is_there {
                    *session.again.entry(key).or_default() += 1;
                }
                self.sessions.insert(client, session);
                if is_there && !self.has_small_turns && !survived.is_damaged {
                    return Err(format!(
                        "message {key:?} is there for client {client}, and would be taken for a new one"
                    ));
                }
            }
        }
        Ok(())
    }

    /// What is there twice, or there and on its way again, because what came of it is not one change: with QoS 1 it may be.
    fn expect_twice(&mut self, survived: &Survived) {
        let mut of_groups = BTreeMap::<(String, Key), u32>::new();
        for (client, found) in &survived.sessions {
            let session = self.sessions.get_mut(client).expect("it was adopted");
            let mut copies = BTreeMap::<Key, u32>::new();
            let has_exact = !self.has_small_turns && !survived.is_damaged;
            if survived.is_damaged {
                // What one record says of another that is lost, nobody knows.
                session.newest.clear();
                let known = found.deliveries.iter().filter_map(SurvivedDelivery::key);
                known.for_each(|key| *session.again.entry(key).or_default() += 1);
            }
            for delivery in found.deliveries.iter().filter(|delivery| !(has_exact && delivery.qos == 2)) {
                let Some(key) = delivery.key() else { continue };
                match delivery.identifier.and_then(|identifier| group_of(session, identifier)) {
                    Some(group) => *of_groups.entry((group, key)).or_default() += 1,
                    None => *copies.entry(key).or_default() += 1,
                }
            }
            for forward in survived.forwards.iter().filter(|forward| forward.clients.contains(client)) {
                copies.entry(forward.key).and_modify(|count| *count += 1);
            }
            for (key, count) in copies.into_iter().filter(|(_, count)| *count > 1) {
                *session.again.entry(key).or_default() += count - 1;
            }
        }
        let mut left_behind = survived.left_behind.clone();
        if self.has_small_turns || survived.is_damaged {
            // Whatever is there may have been sent to others of a group, in turns that are.
            left_behind
                .extend(survived.sessions.values().flat_map(|s| &s.deliveries).filter_map(SurvivedDelivery::key));
        }
        for key in &left_behind {
            for group in self.groups_of(*key) {
                *self.group_again.entry((group, *key)).or_default() += 1;
            }
        }
        for ((group, key), mut count) in of_groups {
            let mut forwards = survived.forwards.iter().filter(|forward| forward.key == key && forward.has_groups);
            count += u32::from(forwards.next().is_some());
            *self.group_again.entry((group, key)).or_default() += count - 1;
        }
    }

    /// The groups that a message has come to, and those that it may come to yet: one of its members may be left with it by another that
    /// was never sent it.
    fn groups_of(&self, key: Key) -> BTreeSet<String> {
        let mut groups: BTreeSet<String> =
            self.group_firsts.keys().filter(|(_, given)| *given == key).map(|(group, _)| group.clone()).collect();
        if let Some(message) = self.messages.get(&key) {
            let filters = self.sessions.values().flat_map(|session| session.subscriptions.keys());
            let of_groups = filters.filter(|filter| filter.starts_with("$share/") && matches(filter, &message.topic));
            groups.extend(of_groups.cloned());
        }
        groups
    }

    /// Whoever was told that a message is safe finds it with each of those who are to get it, or on its way to them.
    fn check_owed(&mut self, survived: &Survived) -> Check {
        let mut lost = Vec::new();
        let has_small_turns = self.has_small_turns;
        let (messages, may_drop) = (&self.messages, self.may_drop || survived.is_damaged);
        self.owed.retain(|&(client, key), owed| {
            let Some(session) = survived.sessions.get(&client) else { return false };
            if owed.qos == 0 {
                return false;
            }
            let is_queued = session.deliveries.iter().any(|delivery| delivery.key() == Some(key));
            let mut forwards = survived.forwards.iter().filter(|forward| forward.key == key && forward.is_plain);
            let message = &messages[&key];
            let is_there = is_queued || forwards.any(|forward| forward.clients.contains(&client));
            let mut filters = session.subscriptions.keys().filter(|filter| !filter.starts_with("$share/"));
            let is_subscribed = filters.any(|filter| matches(filter, &message.topic));
            if is_there && (is_queued || is_subscribed) {
                owed.told = true;
                return true;
            }
            let will = is_will(key).then(|| survived.sessions.get(&key.0).and_then(|session| session.will)).flatten();
            // Nobody waits for a will: what a turn has not written down of it is not, and the will is gone.
            let is_cut = is_will(key) && has_small_turns;
            let comes_again = is_cut || will.is_some_and(|(number, _)| WILL + number == key.1);
            if owed.told && owed.kept && !comes_again && !may_drop && message.expires_ms.is_none() {
                lost.push((client, key));
            }
            false
        });
        if lost.is_empty() { Ok(()) } else { Err(format!("acknowledged and lost, by client and message: {lost:?}")) }
    }

    /// What members of groups are still to get is what was queued for one of them, or is on its way.
    fn adopt_groups(&mut self, survived: &Survived) {
        let step = self.step;
        let groups: BTreeSet<String> =
            self.sessions.values().flat_map(|s| &s.history).map(|p| p.filter.clone()).collect();
        for group in groups.into_iter().filter(|group| group.starts_with("$share/")) {
            self.member_ended.insert(group.clone(), step);
            self.note_group_end(&group);
        }
        let mut known = BTreeSet::new();
        for (client, session) in &survived.sessions {
            let waiting = session.deliveries.iter().filter(|delivery| delivery.packet_id.is_none());
            for delivery in waiting.filter(|delivery| delivery.is_of_group) {
                let group = delivery.identifier.and_then(|identifier| group_of(&self.sessions[client], identifier));
                known.extend(group.zip(delivery.key()));
            }
        }
        self.owed_to_group.retain(|owed| known.contains(owed));
    }

    fn adopt_retained(&mut self, survived: &Survived) -> Check {
        let topics: BTreeSet<String> = self.writes.topics().map(str::to_owned).collect();
        for topic in topics {
            let found = survived.retained.get(&topic).copied().flatten();
            let may_be = self.writes.may_be(&topic);
            let expired = |key: &Key| self.messages[key].expires_ms.is_some_and(|expires| expires <= self.now_ms);
            let is_over = found.is_none() && may_be.iter().flatten().any(expired);
            if !may_be.contains(&found) && !is_over && !survived.is_damaged {
                return Err(format!("{topic} retains {found:?}, and may retain {may_be:?}"));
            }
            self.writes.is_now(&topic, found);
            self.retained.insert(topic, found);
        }
        Ok(())
    }
}

/// A will that was acknowledged is there until it is published.
fn adopt_will(session: &mut Session, found: &SurvivedSession, is_strict: bool) -> Check {
    let known = session.will.take();
    if let Some(known) = known.filter(|_| session.connack_told && is_strict)
        && found.will.map(|(number, _)| number) != Some(known.number)
    {
        return Err(format!("its will {known:?} is lost, and {:?} is there", found.will));
    }
    session.will = found.will.map(|(number, delay_s)| WillModel { number, delay_s });
    Ok(())
}

/// What was received with QoS 2 is known, what was completed is not.
fn adopt_exchanges(
    session: &mut Session,
    found: &SurvivedSession,
    undone: &mut BTreeSet<Key>,
    is_strict: bool,
) -> Check {
    if let Some(lost) = session.received.iter().find(|id| is_strict && !found.exchanges.contains(id)) {
        return Err(format!("#{lost} was received with QoS 2, and would be taken for a new message"));
    }
    if let Some(open) = session.completed.iter().find(|id| is_strict && found.exchanges.contains(id)) {
        return Err(format!("#{open} was completed, and would be taken for a repetition"));
    }
    for (id, key) in std::mem::take(&mut session.exchanges) {
        if found.exchanges.contains(&id) {
            session.exchanges.insert(id, key);
        } else {
            undone.extend(key);
        }
    }
    for &id in &found.exchanges {
        session.exchanges.entry(id).or_default();
    }
    session.received.clone_from(&found.exchanges);
    session.completed.clear();
    Ok(())
}
