//! Records one behind the other, as a batch or a page holds them, and a message that is read alone.

use super::error::FormatError;
use super::fields::FieldReader;
use super::message::{CHECKSUM_BYTES, MessageRecord, is_whole};
use super::record::{LogRecord, kind};
use crate::ids::MessageId;

/// A record as it lies in its batch or page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordAt<'a> {
    /// What it says.
    pub record: LogRecord<'a>,
    /// Its position, or that of the page.
    pub base: u64,
    /// Where it begins within the records.
    pub offset: usize,
    /// All of its bytes, kind and length included.
    pub bytes: &'a [u8],
}

/// The records of a batch or a page, one after the other. It ends behind the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    base: u64,
    step: u64,
}

impl<'a> Records<'a> {
    /// Of a batch whose first record has position `first`.
    pub const fn of_batch(bytes: &'a [u8], first: u64) -> Self {
        Self { bytes, at: 0, base: first, step: 1 }
    }

    /// Of a page that is of position `as_of`.
    pub const fn of_page(bytes: &'a [u8], as_of: u64) -> Self {
        Self { bytes, at: 0, base: as_of, step: 0 }
    }

    fn read(&mut self) -> Result<RecordAt<'a>, FormatError> {
        let offset = self.at;
        let all = &self.bytes[offset..];
        let mut reader = FieldReader::new(all);
        let kind = reader.byte("a record")?;
        let body = reader.bytes("a record")?;
        let len = all.len() - reader.rest().len();
        let record = LogRecord::decode(kind, self.base, body)?;
        let found = RecordAt { record, base: self.base, offset, bytes: &all[..len] };
        self.at += len;
        self.base = self.base.wrapping_add(self.step);
        Ok(found)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordAt<'a>, FormatError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.at = self.bytes.len();
        }
        Some(read)
    }
}

/// Reads one message, or one part of one, that lies alone in `bytes`. What does not fit its checksum, or is of another message,
/// is not given out.
pub fn read_alone(bytes: &[u8], id: MessageId) -> Result<LogRecord<'_>, FormatError> {
    let mut reader = FieldReader::new(bytes);
    let kind = reader.byte("a message")?;
    let body = reader.bytes("a message")?;
    if !matches!(kind, kind::MESSAGE | kind::MESSAGE_PART) || !is_whole(kind, body) {
        return Err(FormatError::Checksum("a message"));
    }
    let record = LogRecord::decode(kind, id.0, body)?;
    match record {
        LogRecord::Message(MessageRecord { id: found, .. }) | LogRecord::MessagePart { message: found, .. }
            if found == id =>
        {
            Ok(record)
        }
        _ => Err(FormatError::NotFound("message of this id")),
    }
}

/// The id of the message whose first record this is; `None` for any other record.
pub fn message_id(record: &[u8]) -> Option<MessageId> {
    let mut reader = FieldReader::new(record);
    if reader.byte("a record").ok()? != kind::MESSAGE {
        return None;
    }
    let mut body = FieldReader::new(reader.bytes("a record").ok()?);
    body.take(CHECKSUM_BYTES, "a message").ok()?;
    body.varint("a message's id").ok().map(MessageId)
}

/// Bytes of the first of these records; `None` if there is none, or it is cut off.
pub fn record_len(records: &[u8]) -> Option<usize> {
    let mut reader = FieldReader::new(records);
    reader.byte("a record").ok()?;
    reader.bytes("a record").ok()?;
    Some(records.len() - reader.rest().len())
}
