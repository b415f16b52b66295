//! A log in memory, as a shard would fill it.

use std::collections::BTreeMap;

use dunlin::ids::{PacketId, Qos, SessionId, ShardId};
use dunlin::store::format::{ListOf, LogId, LogRecord, MessageId, MessageRecord, QueuedRecord, StoreFile};
use dunlin::store::{
    LogConfig, LogEnd, Medium, MediumError, RecordGroup, RecordWriter, Urgency, recover_log, scan_log,
};
use dunlin::time::{Now, Timestamp};

/// Sessions that get the messages by turns.
pub(crate) const SESSIONS: u32 = 10_000;
const NODE: [u8; 16] = [7; 16];
const LOG: LogId = LogId { generation: 1, shard: ShardId(0) };
const SEGMENT_BYTES: u64 = 64 << 20;
/// Records between two writes.
const BATCH_RECORDS: u64 = 2_000;

/// All files, by name; none is ever damaged.
#[derive(Default)]
pub(crate) struct MemoryDisk(BTreeMap<StoreFile, Vec<u8>>);

impl Medium for MemoryDisk {
    fn files(&mut self, _log: LogId) -> Result<Vec<StoreFile>, MediumError> {
        Ok(self.0.keys().copied().collect())
    }

    fn len(&mut self, file: StoreFile) -> Result<u64, MediumError> {
        Ok(self.0[&file].len() as u64)
    }

    fn read(&mut self, file: StoreFile, offset: u64, into: &mut [u8]) -> Result<usize, MediumError> {
        let rest = self.0[&file].get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// What becomes of the messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Each is sent and completed.
    Completed,
    /// Nobody takes them.
    Queued,
}

/// Fills a log with about so many records; returns its bytes.
pub(crate) fn fill(disk: &mut MemoryDisk, records: u64, state: State) -> u64 {
    let config =
        LogConfig { node: NODE, log: LOG, epoch: 1, segment_bytes: SEGMENT_BYTES, batch_max_bytes: 1024 * 1024 };
    let mut writer = RecordWriter::new(config, LogEnd::default());
    let mut group = Vec::new();
    let now = Now { mono_ns: 1_000_000, unix_ms: 1_800_000_000_000 };
    for slot in 0..SESSIONS {
        let client_id = format!("device-{slot:012}");
        let record = LogRecord::SessionBegun {
            session: SessionId(slot),
            client_id: &client_id,
            expiry_s: u32::MAX,
            at: Timestamp(now.unix_ms),
        };
        append(&mut writer, now, &mut group, &[record]);
    }
    let (mut turn, mut bytes) = (0, 0);
    while writer.appended() < records {
        for _ in 0..BATCH_RECORDS / 3 {
            turn += 1;
            message(&mut writer, now, &mut group, (turn, state));
        }
        bytes += flush(&mut writer, disk, now);
    }
    bytes + flush(&mut writer, disk, now)
}

fn message(writer: &mut RecordWriter, now: Now, group: &mut Vec<u8>, (turn, state): (u64, State)) {
    let id = MessageId(writer.appended() + 1);
    let session = SessionId((turn % u64::from(SESSIONS)) as u32);
    let packet_id = PacketId::new((turn / u64::from(SESSIONS)) as u16 % 60_000 + 1);
    let message = MessageRecord {
        id,
        qos: Qos::AtLeastOnce,
        retain: false,
        expires: None,
        publisher: None,
        topic: "fleet/7/telemetry",
        properties: &[],
        properties_bytes: 0,
        payload: &[7; 100],
        later_bytes: 0,
    };
    let queued = QueuedRecord {
        session,
        message: id,
        qos: Qos::AtLeastOnce,
        retain: false,
        packet_id: packet_id.filter(|_| state == State::Completed),
        group: None,
        ids: ListOf::Values(&[]),
    };
    append(writer, now, group, &[LogRecord::Message(message), LogRecord::Queued(queued)]);
    if let (State::Completed, Some(packet_id)) = (state, packet_id) {
        append(writer, now, group, &[LogRecord::Completed { session, packet_id }]);
    }
}

fn append(writer: &mut RecordWriter, now: Now, group: &mut Vec<u8>, records: &[LogRecord<'_>]) {
    group.clear();
    for (base, record) in (writer.appended() + 1..).zip(records) {
        record.encode(base, group);
    }
    let count = records.len() as u32;
    writer.append(now, RecordGroup { records: group, count, inbox: &[], urgency: Urgency::Awaited });
}

/// Writes all there is; returns how many bytes that took.
fn flush(writer: &mut RecordWriter, disk: &mut MemoryDisk, now: Now) -> u64 {
    let mut bytes = 0;
    loop {
        while let Some(segment) = writer.next_to_prepare() {
            disk.0.insert(StoreFile::Segment(LOG, segment), vec![0; SEGMENT_BYTES as usize]);
            writer.segment_prepared(segment);
        }
        let Some(write) = writer.next_write(now) else { return bytes };
        let file = disk.0.get_mut(&StoreFile::Segment(LOG, write.segment)).expect("it was prepared");
        let len = write.range.len();
        bytes += len as u64;
        file[write.offset as usize..][..len].copy_from_slice(&write.bytes[write.range]);
        writer.written(write.bytes, Ok(len)).expect("memory takes everything");
    }
}

/// Reads the log and looks at every record.
pub(crate) fn scan(disk: &mut MemoryDisk) {
    let mut seen = 0;
    let scan = scan_log(disk, NODE, LOG, 1, |batch| seen += batch.body.records().flatten().count() as u64);
    assert_eq!(scan.expect("memory can be read").records, seen);
}

/// Reads the log into a state.
pub(crate) fn recover(disk: &mut MemoryDisk) {
    let recovered = recover_log(disk, NODE, LOG).expect("memory can be read");
    assert_eq!((recovered.state.sessions_len(), recovered.state.unmatched), (SESSIONS as usize, 0));
}
