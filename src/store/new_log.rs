//! A log that is written from its beginning, before anybody uses it: of another number of shards, or of an export.
//!
//! Always holds: positions begin at 1, slots at 0; where it is cut into batches does not matter, because all of it counts at once, by the
//! manifest that names it.
//! Leaves to others: its files ([`NewLogFiles`]), and what is to be in it.

use super::format::{LogId, LogRecord, MessageId, MessageRecord, SegmentNumber};
use super::writer::{LogConfig, LogEnd, RecordGroup, RecordWriter, SegmentWrite, Urgency};
use crate::ids::SessionId;
use crate::time::Now;

/// Where a new log goes. The broker has a directory behind it, tests have sectors.
pub trait NewLogFiles {
    /// Why something could not be done.
    type Error;
    /// Has a segment's file be there, full of nothing that counts. They are asked for in order.
    fn prepare(&mut self, log: LogId, number: SegmentNumber) -> Result<(), Self::Error>;
    /// Writes to a segment, durably.
    fn write(&mut self, log: LogId, write: &SegmentWrite) -> Result<(), Self::Error>;
}

/// See the module's text.
#[derive(Debug)]
pub struct NewLog<F> {
    files: F,
    now: Now,
    log: LogId,
    writer: RecordWriter,
    records: Vec<u8>,
    count: u32,
    position: u64,
    slots: u32,
    group_bytes: usize,
}

/// Records that are written at a time.
const GROUP_BYTES: usize = 256 * 1024;
/// And at most this part of a write: what is damaged later takes nothing with it that is not near.
const GROUPS_PER_BATCH: usize = 2;

impl<F: NewLogFiles> NewLog<F> {
    /// Nothing is in it yet, and no file asked for before something is.
    pub fn begin(config: LogConfig, files: F, now: Now) -> Self {
        let writer = RecordWriter::new(config, LogEnd::default());
        let group_bytes = GROUP_BYTES.min(config.batch_max_bytes / GROUPS_PER_BATCH);
        Self { files, now, log: config.log, writer, records: Vec::new(), count: 0, position: 0, slots: 0, group_bytes }
    }

    /// A slot that no session has here yet.
    pub const fn next_slot(&mut self) -> SessionId {
        let slot = SessionId(self.slots);
        self.slots += 1;
        slot
    }

    /// Writes a message down, whatever it was called elsewhere. Returns what it is called here.
    pub fn push_message(&mut self, message: &MessageRecord<'_>) -> MessageId {
        let new = MessageId(self.position + 1);
        let (first, parts) = MessageRecord { id: new, ..*message }.cut();
        self.push(&LogRecord::Message(first));
        for bytes in parts {
            self.push(&LogRecord::MessagePart { message: new, bytes });
        }
        new
    }

    /// Writes a record down.
    pub fn push(&mut self, record: &LogRecord<'_>) {
        self.position += 1;
        self.count += 1;
        record.encode(self.position, &mut self.records);
    }

    /// Writes what there is, if it is much.
    pub fn write_some(&mut self) -> Result<(), F::Error> {
        self.write_out(self.group_bytes)
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<(), F::Error> {
        self.write_out(0)
    }

    fn write_out(&mut self, least_bytes: usize) -> Result<(), F::Error> {
        if self.records.len() < least_bytes || self.count == 0 {
            return Ok(());
        }
        let group = RecordGroup { records: &self.records, count: self.count, inbox: &[], urgency: Urgency::Awaited };
        self.writer.append(self.now, group);
        self.records.clear();
        self.count = 0;
        loop {
            if let Some(write) = self.writer.next_write(self.now) {
                self.files.write(self.log, &write)?;
                let len = write.range.len();
                self.writer.written(write.bytes, Ok(len)).expect("all of it was taken");
            } else if self.writer.is_out_of_segments()
                && let Some(number) = self.writer.next_to_prepare()
            {
                self.files.prepare(self.log, number)?;
                self.writer.segment_prepared(number);
            } else {
                return Ok(());
            }
        }
    }
}
