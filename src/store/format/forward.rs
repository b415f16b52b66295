//! A message on its way to another log.

use super::error::FormatError;
use super::fields::{FieldReader, put_varint};
use super::list::ListOf;
use crate::ids::{MessageId, ShardId, WriteStamp};

/// What one other log gets of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardTarget<'a> {
    /// To which.
    pub to: ShardId,
    /// Counts what goes there from this log, from 1.
    pub number: u64,
    /// What.
    pub message: MessageId,
    /// Whether its plain subscriptions get it.
    pub plain: bool,
    /// Set when it is also a write to the retained store.
    pub retained: Option<WriteStamp>,
    /// Keys of shared subscriptions of which a member there was picked.
    pub groups: ListOf<'a, u64>,
}

impl<'a> ForwardTarget<'a> {
    pub(super) fn put(&self, base: u64, out: &mut Vec<u8>) {
        out.push(u8::from(self.plain) | u8::from(self.retained.is_some()) << 1);
        put_count(self.to, self.number, out);
        self.message.put(base, out);
        if let Some(stamp) = self.retained {
            put_stamp(stamp, out);
        }
        self.groups.put(out);
    }

    pub(super) fn take(base: u64, reader: &mut FieldReader<'a>) -> Result<Self, FormatError> {
        let flags = reader.byte("a forward")?;
        if flags > 0b11 {
            return Err(FormatError::Invalid("a forward's flags"));
        }
        let (to, number) = take_count(reader)?;
        let message = MessageId::take(base, reader)?;
        let retained = if flags & 0b10 != 0 { Some(take_stamp(reader)?) } else { None };
        Ok(Self { to, number, message, plain: flags & 1 != 0, retained, groups: ListOf::check(reader.rest())? })
    }
}

pub(super) fn put_stamp(stamp: WriteStamp, out: &mut Vec<u8>) {
    out.extend_from_slice(&stamp.time_ns.to_le_bytes());
    out.push(stamp.shard);
}

pub(super) fn take_stamp(reader: &mut FieldReader<'_>) -> Result<WriteStamp, FormatError> {
    Ok(WriteStamp { time_ns: reader.u64("a stamp")?, shard: reader.byte("a stamp")? })
}

pub(super) fn put_count(log: ShardId, number: u64, out: &mut Vec<u8>) {
    out.push(log.0);
    put_varint(out, number);
}

pub(super) fn take_count(reader: &mut FieldReader<'_>) -> Result<(ShardId, u64), FormatError> {
    Ok((ShardId(reader.byte("a log")?), reader.varint("a count")?))
}
