//! Another number of shards: everything that was read back is written anew, as the logs of the next generation, a session to the shard
//! that owns its client id.
//!
//! Always holds: the new logs count for nothing until the manifest names their generation, and then the old ones do not; what was on its
//! way between logs has arrived, at the sessions that it was for.
//! Leaves to others: reading, and deleting what does not count any more.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::directory::Directory;
use super::error::DirectoryError;
use super::keeper::Keeper;
use super::medium::DirectoryMedium;
use super::prepare::SegmentFile;
use super::request::StoreRequest;
use super::survey::SurveyError;
use crate::codec::SubscriptionOptions;
use crate::ids::{NameKey, Qos, SessionId, ShardId};
use crate::limits::STORE_BATCH_MAX_BYTES;
use crate::store::format::{LogId, LogRecord, Manifest, MessageId, MessageRecord};
use crate::store::state::{DeliveryExtra, StoredDelivery, StoredForward, StoredRetained, StoredSession, StoredWill};
use crate::store::{LogConfig, LogEnd, RecordGroup, RecordWriter, RecoveredLog, StoredMessage, Urgency, read_message};
use crate::time::Timestamp;
use crate::topic::{SubscribedFilter, TopicName, matches};

/// Writes the next generation, with as many logs as are asked for. Gives the manifest that names it, which is to be written.
pub(super) fn rewrite(
    directory: &Arc<Directory>,
    manifest: &Manifest,
    request: &StoreRequest,
    logs: &[RecoveredLog],
) -> Result<Manifest, SurveyError> {
    let next = Manifest {
        generation: manifest.generation + 1,
        shards: request.shards as u16,
        epoch: manifest.epoch + 1,
        segment_bytes: request.segment_bytes,
        ..manifest.clone()
    };
    let mut medium = DirectoryMedium::new(directory);
    let mut source = OldLogs { logs, medium: &mut medium };
    let mut sessions: Vec<Vec<StoredSession>> = Vec::new();
    for log in logs {
        let mut slots: Vec<_> = log.state.sessions().collect();
        slots.sort_unstable_by_key(|(slot, _)| *slot);
        sessions.push(slots.into_iter().map(|(_, session)| session.clone()).collect());
    }
    let (mut writers, mut retained) = (Vec::new(), BTreeMap::new());
    for shard in 0..request.shards {
        writers.push(NewLog::begin(directory, request, &next, ShardId(shard as u8))?);
    }
    for (at, log) in logs.iter().enumerate() {
        retain_latest(&mut retained, at, log.state.retained.iter().map(|(topic, found)| (&**topic, *found)));
    }
    let arrivals = source.deliver_forwards(&manifest.names, &mut sessions, &mut retained)?;
    for (at, of_log) in sessions.into_iter().enumerate() {
        for session in of_log {
            let owner = ShardId::owner_of(&session.client_id, request.shards);
            writers[owner.index()].write_session(&mut source, at, session, &arrivals)?;
        }
    }
    for (topic, (at, found)) in retained {
        let owner = ShardId::owner_of(topic, request.shards);
        writers[owner.index()].write_retained(&mut source, at, topic, found)?;
    }
    writers.into_iter().try_for_each(NewLog::finish)?;
    Ok(next)
}

/// By topic: in which log its latest write is.
type Latest<'a> = BTreeMap<&'a str, (usize, StoredRetained)>;

fn retain_latest<'a>(latest: &mut Latest<'a>, at: usize, found: impl Iterator<Item = (&'a str, StoredRetained)>) {
    for (topic, retained) in found {
        let known = latest.entry(topic).or_insert((at, retained));
        if known.1.stamp < retained.stamp {
            *known = (at, retained);
        }
    }
}

/// What was on its way to a session, by its client id: from which log.
type Arrivals = HashMap<Box<str>, Vec<(usize, StoredDelivery)>>;

/// Where everything is read.
struct OldLogs<'a, 'b> {
    logs: &'a [RecoveredLog],
    medium: &'a mut DirectoryMedium<'b>,
}

impl<'a> OldLogs<'a, '_> {
    fn message(&mut self, at: usize, id: MessageId) -> Result<Option<StoredMessage>, SurveyError> {
        let log = &self.logs[at];
        Ok(read_message(self.medium, log.log, &log.state, id)?)
    }

    /// What one log had sent to another, which had not taken it over, comes to the sessions of that one.
    fn deliver_forwards(
        &mut self,
        names: &NameKey,
        sessions: &mut [Vec<StoredSession>],
        retained: &mut Latest<'a>,
    ) -> Result<Arrivals, SurveyError> {
        let mut arrivals = Arrivals::new();
        let logs = self.logs;
        for (at, log) in logs.iter().enumerate() {
            for (to, of_log) in sessions.iter().enumerate() {
                for forward in log.state.mailbox.forwards(ShardId(to as u8)) {
                    let Some(message) = self.message(at, forward.message)? else { continue };
                    deliver(names, of_log, (at, forward), &message, &mut arrivals);
                    let write = forward.retained.and_then(|stamp| {
                        let (topic, _) = log.state.retained.get_key_value(&*message.topic)?;
                        let kept = (!message.payload().is_empty()).then_some(forward.message);
                        Some((&**topic, StoredRetained { stamp, message: kept }))
                    });
                    retain_latest(retained, at, write.into_iter());
                }
            }
        }
        Ok(arrivals)
    }
}

/// One message that was on its way to the sessions of a log.
fn deliver(
    names: &NameKey,
    sessions: &[StoredSession],
    (at, forward): (usize, &StoredForward),
    message: &StoredMessage,
    arrivals: &mut Arrivals,
) {
    let topic = TopicName::checked_before(&message.topic);
    let mut picked: Vec<u64> = Vec::new();
    for session in sessions {
        let is_own = message.publisher.is_some_and(|publisher| publisher == names.client(&session.client_id));
        let (mut qos, mut retain, mut ids, mut group) = (Qos::AtMostOnce, false, Vec::new(), None);
        for (text, subscription) in session.subscriptions.iter() {
            let Ok(filter) = SubscribedFilter::parse(text, u16::MAX) else { continue };
            let Some(options) = SubscriptionOptions::from_bits(subscription.options) else { continue };
            if !matches(filter.filter, topic) || (options.no_local && is_own) {
                continue;
            }
            match filter.share.map(|share| names.group(share, filter.filter.as_str())) {
                None if forward.plain => {}
                Some(key) if forward.groups.contains(&key) && !picked.contains(&key) => {
                    picked.push(key);
                    group = Some(key);
                }
                _ => continue,
            }
            qos = qos.max(options.qos);
            retain |= options.retain_as_published && message.retain;
            ids.extend(subscription.identifier);
        }
        let qos = qos.min(message.qos);
        if qos > Qos::AtMostOnce {
            let has_extra = group.is_some() || !ids.is_empty();
            let extra = has_extra.then(|| Box::new(DeliveryExtra { group, ids }));
            let delivery = StoredDelivery { message: Some(forward.message), qos, retain, packet_id: None, extra };
            arrivals.entry(session.client_id.clone()).or_default().push((at, delivery));
        }
    }
}

/// A log of the next generation.
pub(super) struct NewLog<'a> {
    directory: &'a Arc<Directory>,
    request: &'a StoreRequest,
    log: LogId,
    writer: RecordWriter,
    files: Vec<SegmentFile>,
    records: Vec<u8>,
    count: u32,
    position: u64,
    slots: u32,
    /// What messages of the old logs are called here.
    ids: HashMap<(usize, MessageId), MessageId>,
}

/// Records that are written at a time.
const GROUP_BYTES: usize = 256 * 1024;

impl<'a> NewLog<'a> {
    pub(super) fn begin(
        directory: &'a Arc<Directory>,
        request: &'a StoreRequest,
        manifest: &Manifest,
        shard: ShardId,
    ) -> Result<Self, SurveyError> {
        let log = LogId { generation: manifest.generation, shard };
        directory.make_log(log)?;
        let config = LogConfig {
            node: manifest.node,
            log,
            epoch: manifest.epoch,
            segment_bytes: request.segment_bytes,
            batch_max_bytes: STORE_BATCH_MAX_BYTES,
        };
        let writer = RecordWriter::new(config, LogEnd::default());
        let (files, records, ids) = (Vec::new(), Vec::new(), HashMap::new());
        Ok(Self { directory, request, log, writer, files, records, count: 0, position: 0, slots: 0, ids })
    }

    fn write_session(
        &mut self,
        source: &mut OldLogs<'_, '_>,
        at: usize,
        mut session: StoredSession,
        arrivals: &Arrivals,
    ) -> Result<(), SurveyError> {
        let slot = self.next_slot();
        session.disconnected.get_or_insert(Timestamp(self.request.now.unix_ms));
        if let Some(will) = session.will.take()
            && let Some(message) = self.write_message(source, at, will.message)?
        {
            session.will = Some(Box::new(StoredWill { message, ..*will }));
        }
        let mut deliveries = std::mem::take(&mut session.deliveries);
        for delivery in &mut deliveries {
            if let Some(id) = delivery.message {
                delivery.message = self.write_message(source, at, id)?;
            }
        }
        for (from, arrived) in arrivals.get(&session.client_id).into_iter().flatten() {
            let Some(id) = arrived.message else { continue };
            let message = self.write_message(source, *from, id)?;
            deliveries.push_back(StoredDelivery { message, ..arrived.clone() });
        }
        // One whose bytes are lost goes, unless the client has it and only its PUBREL is due.
        deliveries.retain(|delivery| delivery.message.is_some() || delivery.packet_id.is_some());
        session.deliveries = deliveries;
        let Self { records, count, position, .. } = self;
        session.for_each_record(slot, &mut |record| {
            *position += 1;
            *count += 1;
            record.encode(*position, records);
        });
        self.write_out(GROUP_BYTES)
    }

    fn write_retained(
        &mut self,
        source: &mut OldLogs<'_, '_>,
        at: usize,
        topic: &str,
        found: StoredRetained,
    ) -> Result<(), SurveyError> {
        let StoredRetained { stamp, message } = found;
        let message = match message {
            None => None,
            Some(id) => match self.write_message(source, at, id)? {
                None => return Ok(()),
                message => message,
            },
        };
        self.push(&LogRecord::Retained { topic, stamp, message });
        self.write_out(GROUP_BYTES)
    }

    /// What a message is called here, written down if it was not yet; `None` for one whose bytes are lost.
    fn write_message(
        &mut self,
        source: &mut OldLogs<'_, '_>,
        at: usize,
        id: MessageId,
    ) -> Result<Option<MessageId>, SurveyError> {
        if let Some(known) = self.ids.get(&(at, id)) {
            return Ok(Some(*known));
        }
        let Some(stored) = source.message(at, id)? else { return Ok(None) };
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
        let new = self.push_message(&whole);
        self.ids.insert((at, id), new);
        Ok(Some(new))
    }

    /// A slot that no session has here yet.
    pub(super) fn next_slot(&mut self) -> SessionId {
        let slot = SessionId(self.slots);
        self.slots += 1;
        slot
    }

    /// Writes a message down, whatever it was called elsewhere. Returns what it is called here.
    pub(super) fn push_message(&mut self, message: &MessageRecord<'_>) -> MessageId {
        let new = MessageId(self.position + 1);
        let (first, parts) = MessageRecord { id: new, ..*message }.cut();
        self.push(&LogRecord::Message(first));
        for bytes in parts {
            self.push(&LogRecord::MessagePart { message: new, bytes });
        }
        new
    }

    /// Writes what there is, if it is much.
    pub(super) fn write_some(&mut self) -> Result<(), SurveyError> {
        self.write_out(GROUP_BYTES)
    }

    pub(super) fn push(&mut self, record: &LogRecord<'_>) {
        self.position += 1;
        self.count += 1;
        record.encode(self.position, &mut self.records);
    }

    /// Writes what there is, if it is so much. Where it is cut does not matter: all of it counts at once.
    fn write_out(&mut self, least_bytes: usize) -> Result<(), SurveyError> {
        if self.records.len() < least_bytes || self.count == 0 {
            return Ok(());
        }
        let now = self.request.now;
        let group = RecordGroup { records: &self.records, count: self.count, inbox: &[], urgency: Urgency::Awaited };
        self.writer.append(now, group);
        self.records.clear();
        self.count = 0;
        loop {
            let Some(write) = self.writer.next_write(now) else {
                if !self.writer.is_out_of_segments() {
                    return Ok(());
                }
                self.prepare()?;
                continue;
            };
            let file = self.files.iter().find(|file| file.number == write.segment).expect("it was prepared");
            let path = self.directory.path();
            let bytes = &write.bytes[write.range.clone()];
            let taken = std::fs::File::from(file.file.try_clone().map_err(|error| DirectoryError::of(path, error))?);
            let written = taken.write_all_at(bytes, write.offset).and_then(|()| taken.sync_data());
            written.map_err(|error| DirectoryError::of(path, error))?;
            let len = write.range.len();
            self.writer.written(write.bytes, Ok(len)).expect("all of it was taken");
        }
    }

    fn prepare(&mut self) -> Result<(), SurveyError> {
        let Some(number) = self.writer.next_to_prepare() else { return Ok(()) };
        let sizes = (self.request.segment_bytes, self.request.reserve_bytes);
        self.files.push(Keeper::prepare_now(self.directory, sizes, self.log, number)?);
        self.writer.segment_prepared(number);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), SurveyError> {
        self.write_out(0)
    }
}
