//! Messages, and who must get them.

use std::collections::BTreeSet;

use super::{Oracle, Owed, matches};

/// Publisher and its count. Wills count apart, from [`WILL`].
pub(crate) type Key = (usize, u32);

/// Where the counts of wills begin.
pub(crate) const WILL: u32 = 1 << 24;

/// Whether it is a will's.
pub(crate) const fn is_will(key: Key) -> bool {
    key.1 > WILL
}

/// What a payload says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// A message of the model.
    Known(Key),
    /// Deletes a retained message.
    Empty,
    /// From somebody who is not in the model.
    Wild,
}

impl Tag {
    pub(crate) fn of(payload: &[u8]) -> Self {
        if payload.is_empty() {
            return Self::Empty;
        }
        let parse = || {
            let text = std::str::from_utf8(payload).ok()?;
            let (publisher, number) = text.strip_prefix('m')?.split_once(';')?.0.split_once('.')?;
            Some(Self::Known((publisher.parse().ok()?, number.parse().ok()?)))
        };
        parse().unwrap_or(Self::Wild)
    }
}

/// The payload of a message.
pub(crate) fn payload(key: Key, padding: usize) -> Vec<u8> {
    format!("m{}.{};{}", key.0, key.1, "x".repeat(padding)).into_bytes()
}

/// Wills are numbered apart from other messages.
pub(crate) fn will_payload(client: usize, number: u32) -> Vec<u8> {
    payload((client, WILL + number), 0)
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) expires_ms: Option<u64>,
    /// Its place among those of its publisher: the count, and for wills, whose connections may overtake each other on
    /// their way to the broker, the order in which they came due.
    pub(crate) order: u32,
    /// When it was first published.
    pub(crate) step: u64,
    /// How often it was: a QoS 1 message that is sent again after a reconnect is another message to the broker.
    pub(crate) routings: u32,
    pub(crate) bytes: usize,
}

impl Oracle {
    /// A shard takes a message over, for the first time or again.
    pub(crate) fn publish(&mut self, key: Key, message: Message) {
        self.stats.published += 1;
        if message.retain {
            self.retained.insert(message.topic.clone(), Some(key));
            self.writes.add(&message.topic, Some(key));
        }
        self.owe_to_sessions(key, &message);
        self.owe_to_groups(key, &message);
        // Sent again, a message begins to expire anew.
        let expires_ms = message.expires_ms;
        let known = self.messages.entry(key).or_insert(message);
        known.expires_ms = expires_ms;
        known.routings += 1;
    }

    /// A retained message is deleted.
    pub(crate) fn publish_empty(&mut self, topic: &str, retain: bool) {
        if retain {
            self.retained.insert(topic.to_owned(), None);
            self.writes.add(topic, None);
        }
    }

    fn owe_to_sessions(&mut self, key: Key, message: &Message) {
        for (&client, session) in &self.sessions {
            let granted = session
                .subscriptions
                .iter()
                .filter(|(filter, subscription)| {
                    subscription.acked
                        && !subscription.is_shared()
                        && !(subscription.no_local && key.0 == client)
                        && matches(filter, &message.topic)
                })
                .map(|(_, subscription)| subscription.qos)
                .max();
            let Some(granted) = granted else { continue };
            let qos = granted.min(message.qos);
            let too_large = message.bytes + SLACK_BYTES > session.packet_size_max_bytes as usize;
            if too_large || (qos == 0 && session.conn.is_none()) {
                continue;
            }
            self.owed.insert((client, key), Owed { qos, kept: session.expiry_s > 0, told: false });
        }
    }

    fn owe_to_groups(&mut self, key: Key, message: &Message) {
        let mut groups: Vec<(&String, u8)> = Vec::new();
        for session in self.sessions.values() {
            for (filter, subscription) in &session.subscriptions {
                if subscription.acked && subscription.is_shared() && matches(filter, &message.topic) {
                    groups.push((filter, subscription.qos));
                }
            }
        }
        groups.sort();
        for same in groups.chunk_by(|left, right| left.0 == right.0) {
            // The member that is picked may be any of them, also one that has not been acknowledged yet.
            let unacked = self
                .sessions
                .values()
                .any(|session| session.subscriptions.get(same[0].0).is_some_and(|subscription| !subscription.acked));
            let least = same.iter().map(|&(_, qos)| qos).min().unwrap_or(0);
            if least.min(message.qos) > 0 && !unacked {
                self.owed_to_group.insert((same[0].0.clone(), key));
            }
        }
    }

    /// A session has changed its mind about a filter: what it was owed because of it may come or not.
    pub(crate) fn take_back(&mut self, client: usize, filter: &str) {
        let messages = &self.messages;
        self.owed.retain(|&(owed_to, key), _| owed_to != client || !matches(filter, &messages[&key].topic));
        self.owed_to_group.retain(|(group, _)| group != filter);
    }

    /// A session has left a filter: with its last member a group ends.
    pub(crate) fn note_group_end(&mut self, filter: &str) {
        if filter.starts_with("$share/") && !self.sessions.values().any(|s| s.subscriptions.contains_key(filter)) {
            self.group_ended.insert(filter.to_owned(), self.step);
        }
    }

    /// A session has ended that had subscribed to these filters. What it had not acknowledged of a shared subscription goes to
    /// another member, also where it had unsubscribed meanwhile.
    pub(crate) fn leave_to_others(&mut self, client: usize, filters: &[String]) {
        for filter in filters.iter().filter(|filter| !filter.starts_with("$share/")) {
            self.take_back(client, filter);
        }
        let open = self.sessions[&client].open.iter().filter(|open| open.qos == 1);
        let sent: Vec<(String, Key)> = open
            .filter_map(|open| match (Tag::of(&open.payload), &open.group) {
                (Tag::Known(key), Some(group)) => Some((group.clone(), key)),
                _ => None,
            })
            .collect();
        let groups = self.sessions[&client].history.iter().filter(|past| past.subscription.is_shared());
        let groups: BTreeSet<String> = groups.map(|past| past.filter.clone()).collect();
        for filter in groups {
            self.member_ended.insert(filter.clone(), self.step);
            let others = self.sessions.values().filter_map(|session| {
                Some((session.subscriptions.get(&filter)?, session.packet_size_max_bytes as usize))
            });
            let others: Vec<_> = others.collect();
            let sure =
                !others.is_empty() && others.iter().all(|(subscription, _)| subscription.acked && subscription.qos > 0);
            let small = others.iter().map(|&(_, bytes)| bytes).min().unwrap_or(0);
            let messages = &self.messages;
            let ended = self.group_ended.get(&filter).copied();
            let is_sure = |key: &Key| {
                let message = &messages[key];
                let is_of_this_group = ended.is_none_or(|ended| ended < message.step);
                sure && is_of_this_group && message.qos > 0 && message.bytes.saturating_add(SLACK_BYTES) <= small
            };
            let sending = &self.sessions[&client].sending;
            self.owed_to_group.retain(|(group, key)| *group != filter || (is_sure(key) && !sending.contains(key)));
            for of_group in sent.iter().filter(|(group, _)| *group == filter) {
                // One more for the others, and theirs for sure.
                if let Some(firsts) = self.group_firsts.get_mut(of_group) {
                    *firsts = firsts.saturating_sub(1);
                }
                if is_sure(&of_group.1) {
                    self.owed_to_group.insert(of_group.clone());
                }
            }
        }
    }

    /// A message has a packet identifier for a session with QoS 2: it leaves when the log knows of it.
    pub(crate) fn begin_sending(&mut self, client: usize, key: Key) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.sending.insert(key);
        }
    }

    /// A connection has ended: what was on its way with QoS 0 is lost.
    pub(crate) fn take_back_qos_0(&mut self, client: usize) {
        self.owed.retain(|&(owed_to, _), owed| owed_to != client || owed.qos > 0);
    }

    /// A session has ended.
    pub(crate) fn take_back_all(&mut self, client: usize) {
        self.owed.retain(|&(owed_to, _), _| owed_to != client);
    }
}

/// What a PUBLISH may have beside topic and payload.
pub(super) const SLACK_BYTES: usize = 60;
