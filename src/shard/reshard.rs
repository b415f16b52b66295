//! Another number of shards: everything that was read back is written anew, as the logs of the next generation, a session to the shard
//! that owns its client id.
//!
//! Always holds: the new logs count for nothing until the manifest names their generation, and then the old ones do not; what was on its
//! way between logs has arrived, at the sessions that it was for; what was for a member of a group that has left, at another one.
//! Leaves to others: reading, the files of the new logs, the manifest, and deleting what does not count any more.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::codec::SubscriptionOptions;
use crate::ids::{NameKey, Qos, ShardId};
use crate::store::format::{LogRecord, MessageId, MessageRecord};
use crate::store::state::{DeliveryExtra, StoredDelivery, StoredForward, StoredRetained, StoredSession, StoredWill};
use crate::store::{Medium, MediumError, NewLog, NewLogFiles, RecoveredLog, StoredMessage, read_message};
use crate::time::Timestamp;
use crate::topic::{SubscribedFilter, TopicName, matches};

/// Writes what `logs` come to, whose names are reduced by `names`, to logs that were just begun: one for each shard that there is to be. A broker starts at
/// `at` for it. Returns what was kept and is lost: deliveries, wills and retained messages whose bytes could not be read.
pub fn rewrite<M: Medium, F: NewLogFiles<Error: From<MediumError>>>(
    medium: &mut M,
    logs: &[RecoveredLog],
    names: &NameKey,
    at: Timestamp,
    new: Vec<NewLog<F>>,
) -> Result<u32, F::Error> {
    let mut source = OldLogs { logs, medium };
    let mut sessions: Vec<Vec<StoredSession>> = Vec::new();
    for log in logs {
        let mut slots: Vec<_> = log.state.sessions().collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        sessions.push(slots.into_iter().map(|(_, session)| session.clone()).collect());
    }
    let mut retained = BTreeMap::new();
    let mut writers: Vec<_> =
        new.into_iter().map(|log| RewrittenLog { log, at, ids: HashMap::new(), lost: 0 }).collect();
    for (from, log) in logs.iter().enumerate() {
        for (topic, found) in &log.state.retained {
            retain_latest(&mut retained, from, topic, *found);
        }
    }
    let arrivals = source.deliver_forwards(names, &sessions, &mut retained)?;
    let shards = writers.len();
    for (from, of_log) in sessions.into_iter().enumerate() {
        for (number, session) in of_log.into_iter().enumerate() {
            let owner = ShardId::owner_of(&session.client_id, shards);
            let arrived = arrivals.get(&(from, number)).map(Vec::as_slice).unwrap_or_default();
            writers[owner.index()].write_session(&mut source, from, session, arrived)?;
        }
    }
    for (topic, (from, found)) in retained {
        let owner = ShardId::owner_of(&topic, shards);
        writers[owner.index()].write_retained(&mut source, from, &topic, found)?;
    }
    let lost = writers.iter().map(|writer| writer.lost).sum();
    writers.into_iter().try_for_each(|writer| writer.log.finish())?;
    Ok(lost)
}

/// By topic: in which log its latest write is.
type Latest = BTreeMap<Box<str>, (usize, StoredRetained)>;

fn retain_latest(latest: &mut Latest, at: usize, topic: &str, retained: StoredRetained) {
    match latest.get_mut(topic) {
        Some(known) if known.1.stamp < retained.stamp => *known = (at, retained),
        Some(_) => {}
        None => _ = latest.insert(topic.into(), (at, retained)),
    }
}

/// What was on its way to a session, by its log and its number there: from which log.
type Arrivals = HashMap<(usize, usize), Vec<(usize, StoredDelivery)>>;

/// Where everything is read.
struct OldLogs<'a, M> {
    logs: &'a [RecoveredLog],
    medium: &'a mut M,
}

impl<M: Medium> OldLogs<'_, M> {
    fn message(&mut self, at: usize, id: MessageId) -> Result<Option<StoredMessage>, MediumError> {
        let log = &self.logs[at];
        read_message(self.medium, log.log, &log.state, id)
    }

    /// What one log had sent to another, which had not taken it over, comes to the sessions of that one.
    fn deliver_forwards(
        &mut self,
        names: &NameKey,
        sessions: &[Vec<StoredSession>],
        retained: &mut Latest,
    ) -> Result<Arrivals, MediumError> {
        let mut arrivals = Arrivals::new();
        let logs = self.logs;
        for (at, log) in logs.iter().enumerate() {
            for to in 0..sessions.len() {
                for forward in log.state.mailbox.forwards(ShardId(to as u8)) {
                    let Some(stored) = self.message(at, forward.message)? else { continue };
                    let arriving = Arriving { names, from: at, forward, message: &stored };
                    arriving.deliver(sessions, to, &mut arrivals);
                    if let Some(stamp) = forward.retained {
                        // Its owner may have known nothing of the topic yet.
                        let message = (!stored.payload().is_empty()).then_some(forward.message);
                        retain_latest(retained, at, &stored.topic, StoredRetained { stamp, message });
                    }
                }
            }
        }
        Ok(arrivals)
    }
}

/// One message that was on its way to the sessions of a log.
struct Arriving<'a> {
    names: &'a NameKey,
    /// The log that it is in.
    from: usize,
    forward: &'a StoredForward,
    message: &'a StoredMessage,
}

impl Arriving<'_> {
    fn deliver(&self, sessions: &[Vec<StoredSession>], to: usize, arrivals: &mut Arrivals) {
        if self.forward.plain {
            for (number, session) in sessions[to].iter().enumerate() {
                self.deliver_to(session, None, arrivals.entry((to, number)));
            }
        }
        for &key in &self.forward.groups {
            // One of another log is to have it where the members that it was for have left meanwhile.
            let logs = (to..sessions.len()).chain(0..to);
            let mut members = logs.flat_map(|log| (0..sessions[log].len()).map(move |number| (log, number)));
            members
                .any(|(log, number)| self.deliver_to(&sessions[log][number], Some(key), arrivals.entry((log, number))));
        }
    }

    /// Delivers it for what a session is subscribed to: plainly, or as a member of a group. Returns whether it is for that session: for none that is
    /// being taken down.
    fn deliver_to(
        &self,
        session: &StoredSession,
        group: Option<u64>,
        arrivals: Entry<'_, (usize, usize), Vec<(usize, StoredDelivery)>>,
    ) -> bool {
        if session.was_ending() {
            return false;
        }
        let Self { names, message, .. } = *self;
        let topic = TopicName::checked_before(&message.topic);
        let is_own = message.publisher.is_some_and(|publisher| publisher == names.client(&session.client_id));
        let (mut qos, mut retain, mut ids) = (Qos::AtMostOnce, false, Vec::new());
        for (text, subscription) in session.subscriptions.iter() {
            let Ok(filter) = SubscribedFilter::parse(text, u16::MAX) else { continue };
            let Some(options) = SubscriptionOptions::from_bits(subscription.options) else { continue };
            let of_group = filter.share.map(|share| names.group(share, filter.filter.as_str()));
            if of_group != group || !matches(filter.filter, topic) || (options.no_local && is_own) {
                continue;
            }
            qos = qos.max(options.qos);
            retain |= options.retain_as_published && message.retain;
            ids.extend(subscription.identifier);
        }
        let qos = qos.min(message.qos);
        if qos == Qos::AtMostOnce {
            return false; // it would be kept for nobody
        }
        let has_extra = group.is_some() || !ids.is_empty();
        let extra = has_extra.then(|| Box::new(DeliveryExtra { group, ids }));
        let delivery = StoredDelivery { message: Some(self.forward.message), qos, retain, packet_id: None, extra };
        arrivals.or_default().push((self.from, delivery));
        true
    }
}

/// A log of the next generation.
struct RewrittenLog<F> {
    log: NewLog<F>,
    /// When whoever was connected counts as gone.
    at: Timestamp,
    /// What messages of the old logs are called here.
    ids: HashMap<(usize, MessageId), MessageId>,
    /// What could not be written because its bytes are lost.
    lost: u32,
}

impl<F: NewLogFiles<Error: From<MediumError>>> RewrittenLog<F> {
    fn write_session<M: Medium>(
        &mut self,
        source: &mut OldLogs<'_, M>,
        from: usize,
        mut session: StoredSession,
        arrived: &[(usize, StoredDelivery)],
    ) -> Result<(), F::Error> {
        let slot = self.log.next_slot();
        session.disconnected.get_or_insert(self.at);
        if let Some(will) = session.will.take() {
            match self.write_message(source, from, will.message)? {
                Some(message) => session.will = Some(Box::new(StoredWill { message, ..*will })),
                None => self.lost += 1,
            }
        }
        for mut delivery in std::mem::take(&mut session.deliveries) {
            // Of what the client has already only the PUBREL is due.
            let is_due = match delivery.message {
                Some(id) => {
                    delivery.message = self.write_message(source, from, id)?;
                    delivery.message.is_some()
                }
                None => true,
            };
            self.lost += u32::from(!is_due);
            session.deliveries.extend(is_due.then_some(delivery));
        }
        for (from, arrived) in arrived {
            let Some(id) = arrived.message else { continue };
            if let Some(message) = self.write_message(source, *from, id)? {
                session.deliveries.push_back(StoredDelivery { message: Some(message), ..arrived.clone() });
            }
        }
        session.for_each_record(slot, &mut |record| self.log.push(record));
        self.log.write_some()
    }

    fn write_retained<M: Medium>(
        &mut self,
        source: &mut OldLogs<'_, M>,
        from: usize,
        topic: &str,
        found: StoredRetained,
    ) -> Result<(), F::Error> {
        let StoredRetained { stamp, message } = found;
        let message = match message {
            None => None,
            Some(id) => match self.write_message(source, from, id)? {
                None => {
                    self.lost += 1;
                    return Ok(());
                }
                message => message,
            },
        };
        self.log.push(&LogRecord::Retained { topic, stamp, message });
        self.log.write_some()
    }

    /// What a message is called here, written down if it was not yet; `None` for one whose bytes are lost.
    fn write_message<M: Medium>(
        &mut self,
        source: &mut OldLogs<'_, M>,
        from: usize,
        id: MessageId,
    ) -> Result<Option<MessageId>, MediumError> {
        if let Some(known) = self.ids.get(&(from, id)) {
            return Ok(Some(*known));
        }
        let Some(stored) = source.message(from, id)? else { return Ok(None) };
        let whole = MessageRecord {
            id,
            qos: stored.qos,
            retain: stored.retain,
            expires: stored.expires,
            publisher: stored.publisher,
            topic: &stored.topic,
            properties: stored.properties(),
            properties_bytes: stored.properties().len() as u32,
            payload: stored.payload(),
            later_bytes: 0,
        };
        let new = self.log.push_message(&whole);
        self.ids.insert((from, id), new);
        Ok(Some(new))
    }
}
