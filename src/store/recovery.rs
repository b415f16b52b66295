//! From a directory's files to what they come to: the newest checkpoint that is whole, and the log behind it.
//!
//! Always holds: what was acknowledged and is not damaged is in the state; what is damaged is told and left out. Nothing is
//! written. A message's body is given out only if its own checksum fits.
//! Leaves to others: which directory, whose it is, and what the broker makes of the state.

use super::checkpoint::{CheckpointError, load_checkpoint};
use super::format::{BatchHeader, LogId, LogRecord, MessageId, MessageRecord, StoreFile, read_alone};
use super::medium::{Medium, MediumError};
use super::scan::{BatchSeen, LogScan, scan_log};
use super::state::{LogState, RecordPlace};
use crate::ids::{ClientKey, Qos, ShardId};
use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_BLOCK_BYTES};
use crate::time::Timestamp;

/// One log, read back.
#[derive(Clone, Debug)]
pub struct RecoveredLog {
    /// Which.
    pub log: LogId,
    /// What it comes to.
    pub state: LogState,
    /// What was read of the segments.
    pub scan: LogScan,
    /// The checkpoint that was used.
    pub checkpoint: Option<u32>,
    /// Position behind which the log was replayed.
    pub replayed_from: u64,
    /// Newer checkpoints that count for nothing, and why.
    pub refused: Vec<(u32, CheckpointError)>,
}

impl RecoveredLog {
    /// Another log has taken over what this one sent to it, up to `number`.
    pub fn note_taken_over(&mut self, by: ShardId, number: u64) {
        self.state.confirm_forwards(by, number);
    }
}

/// Reads one log back.
pub fn recover_log<M: Medium>(medium: &mut M, node: [u8; 16], log: LogId) -> Result<RecoveredLog, MediumError> {
    recover_log_with(medium, node, log, |_| {})
}

/// The same, and shows each batch that is replayed to `each`.
pub fn recover_log_with<M: Medium>(
    medium: &mut M,
    node: [u8; 16],
    log: LogId,
    mut each: impl FnMut(&BatchSeen<'_>),
) -> Result<RecoveredLog, MediumError> {
    let mut numbers: Vec<u32> = medium
        .files(log)?
        .into_iter()
        .filter_map(|file| if let StoreFile::Checkpoint(_, number) = file { Some(number) } else { None })
        .collect();
    numbers.sort_unstable_by(|left, right| right.cmp(left));
    let mut refused = Vec::new();
    let mut found = None;
    for number in numbers {
        match load_checkpoint(medium, log, number) {
            Ok(loaded) => {
                found = Some((number, loaded));
                break;
            }
            Err(CheckpointError::Medium(error @ MediumError::Failed(_))) => return Err(error),
            Err(error) => refused.push((number, error)),
        }
    }
    let (checkpoint, mut state, replayed_from) = match found {
        Some((number, loaded)) => (Some(number), loaded.state, loaded.position),
        None => (None, LogState::default(), 0),
    };
    let scan = scan_log(medium, node, log, replayed_from + 1, |batch| {
        each(&batch);
        let place = batch.header.place;
        let records_at = place.block * STORE_BLOCK_BYTES as u32 + BatchHeader::BYTES as u32;
        for record in batch.body.records().map_while(Result::ok) {
            let (offset, len) = (records_at + record.offset as u32, record.bytes.len() as u32);
            state.apply(&record, RecordPlace { segment: place.segment, offset, len });
        }
        batch.body.inbox().for_each(|count| state.note_inbox(count));
        if !batch.header.continues {
            state.end_change();
        }
    })?;
    state.finish();
    Ok(RecoveredLog { log, state, scan, checkpoint, replayed_from, refused })
}

/// Holds what logs sent to each other against what they took over: what arrived is on its way no more.
pub fn join_logs(logs: &mut [RecoveredLog]) {
    let taken: Vec<_> = logs.iter().map(|log| (log.log.shard, log.state.mailbox.clone())).collect();
    for RecoveredLog { log, state, .. } in logs {
        for (to, mailbox) in &taken {
            state.confirm_forwards(*to, mailbox.taken_from(log.shard));
        }
        state.finish();
    }
}

/// A message with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// QoS of the publisher.
    pub qos: Qos,
    /// RETAIN as the publisher set it.
    pub retain: bool,
    /// When nobody may get it any more, if it ends.
    pub expires: Option<Timestamp>,
    /// Who published, if a client did.
    pub publisher: Option<ClientKey>,
    /// Where it was published to.
    pub topic: String,
    /// Properties that go on to subscribers, and behind them the payload.
    content: Vec<u8>,
    properties_bytes: usize,
}

impl StoredMessage {
    /// Of its first record, and its content with that of later parts.
    pub(super) fn of(head: &MessageRecord<'_>, content: Vec<u8>) -> Option<Self> {
        let properties_bytes = head.properties_bytes as usize;
        let &MessageRecord { qos, retain, expires, publisher, topic, .. } = head;
        let is_whole = properties_bytes <= content.len();
        let topic = topic.to_owned();
        is_whole.then_some(Self { qos, retain, expires, publisher, topic, content, properties_bytes })
    }

    /// The properties that go on to subscribers, as MQTT 5.0 encodes them.
    pub fn properties(&self) -> &[u8] {
        &self.content[..self.properties_bytes]
    }

    /// The application's bytes.
    pub fn payload(&self) -> &[u8] {
        &self.content[self.properties_bytes..]
    }
}

/// Reads a message of a log; `None` for one that is lost, cut off or damaged.
pub fn read_message<M: Medium>(
    medium: &mut M,
    log: LogId,
    state: &LogState,
    id: MessageId,
) -> Result<Option<StoredMessage>, MediumError> {
    let Some(place) = state.messages.place(id) else { return Ok(None) };
    let Some(bytes) = read_record(medium, log, place)? else { return Ok(None) };
    let Ok(LogRecord::Message(head)) = read_alone(&bytes, id) else { return Ok(None) };
    let mut content = [head.properties, head.payload].concat();
    let whole_bytes = content.len() + head.later_bytes as usize;
    for part in state.messages.parts(id) {
        let Some(bytes) = read_record(medium, log, *part)? else { return Ok(None) };
        let Ok(LogRecord::MessagePart { bytes, .. }) = read_alone(&bytes, id) else { return Ok(None) };
        content.extend_from_slice(bytes);
    }
    Ok(StoredMessage::of(&head, content).filter(|message| message.content.len() == whole_bytes))
}

/// The records that a message is in, as they are, and how many they are: written once more they are the same message. `None` for one that
/// is lost, cut off or damaged.
pub fn read_records<M: Medium>(
    medium: &mut M,
    log: LogId,
    state: &LogState,
    id: MessageId,
) -> Result<Option<(Vec<u8>, u32)>, MediumError> {
    let Some(first) = state.messages.place(id) else { return Ok(None) };
    let (mut records, mut count) = (Vec::new(), 0);
    for place in [first].iter().chain(state.messages.parts(id)) {
        let Some(bytes) = read_record(medium, log, *place)? else { return Ok(None) };
        if read_alone(&bytes, id).is_err() {
            return Ok(None);
        }
        records.extend_from_slice(&bytes);
        count += 1;
    }
    Ok(Some((records, count)))
}

/// The bytes of one record; `None` if they are not there any more.
fn read_record<M: Medium>(medium: &mut M, log: LogId, place: RecordPlace) -> Result<Option<Vec<u8>>, MediumError> {
    if place.len as usize > STORE_BATCH_MAX_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0; place.len as usize];
    match medium.read(StoreFile::Segment(log, place.segment), place.offset.into(), &mut bytes) {
        Ok(read) => Ok((read == bytes.len()).then_some(bytes)),
        Err(MediumError::Unreadable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
