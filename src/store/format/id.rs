//! How records refer to a message: by its id, kept as a distance back from the record itself (its base), which is short for what
//! belongs together. In a checkpoint the base is the position that the page is of.

use super::error::FormatError;
use super::fields::{FieldReader, put_varint};
use crate::ids::MessageId;

impl MessageId {
    #[inline]
    pub(super) fn put(self, base: u64, out: &mut Vec<u8>) {
        debug_assert!(self.0 <= base, "a record refers to what was written before it");
        put_varint(out, base.wrapping_sub(self.0));
    }

    #[inline]
    pub(super) fn take(base: u64, reader: &mut FieldReader<'_>) -> Result<Self, FormatError> {
        let back = reader.varint("a message's id")?;
        base.checked_sub(back).map(Self).ok_or(FormatError::Invalid("a message's id"))
    }
}
