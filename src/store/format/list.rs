//! A short list within a record: values while it is written, bytes while it is read, so that neither allocates.

use super::error::FormatError;
use super::fields::{FieldReader, put_varint};
use crate::ids::SubscriptionId;

/// What a list may hold.
pub trait Element: Copy {
    /// Appends it.
    fn put(self, out: &mut Vec<u8>);
    /// Takes the first one off `bytes`.
    fn take(bytes: &mut &[u8]) -> Result<Self, FormatError>;
}

impl Element for SubscriptionId {
    fn put(self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.get()));
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, FormatError> {
        let mut reader = FieldReader::new(bytes);
        let value = reader.varint_u32("a subscription identifier")?;
        *bytes = reader.rest();
        Self::new(value).ok_or(FormatError::Invalid("a subscription identifier"))
    }
}

/// The key of a shared subscription.
impl Element for u64 {
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, FormatError> {
        let (first, rest) = bytes.split_first_chunk().ok_or(FormatError::Truncated("a key"))?;
        *bytes = rest;
        Ok(Self::from_le_bytes(*first))
    }
}

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub enum ListOf<'a, T> {
    /// To be written.
    Values(&'a [T]),
    /// As it was read; every element in it has been looked at.
    Checked(&'a [u8]),
}

impl<T> Default for ListOf<'_, T> {
    fn default() -> Self {
        Self::Values(&[])
    }
}

impl<'a, T: Element> ListOf<'a, T> {
    /// Checks that `bytes` are elements and nothing else.
    pub(super) fn check(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            T::take(&mut rest)?;
        }
        Ok(Self::Checked(bytes))
    }

    /// Whether it has no element.
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::Values(values) => values.is_empty(),
            Self::Checked(bytes) => bytes.is_empty(),
        }
    }

    /// The elements in their order.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let (values, mut bytes) = match *self {
            Self::Values(values) => (values, &[][..]),
            Self::Checked(bytes) => (&[][..], bytes),
        };
        let read = std::iter::from_fn(move || if bytes.is_empty() { None } else { T::take(&mut bytes).ok() });
        values.iter().copied().chain(read)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Values(values) => values.iter().for_each(|value| value.put(out)),
            Self::Checked(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl<T: Element + PartialEq> PartialEq for ListOf<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Element + Eq> Eq for ListOf<'_, T> {}
