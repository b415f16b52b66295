//! An application message as it is stored: once a log, however many sessions it is queued for.

use super::error::FormatError;
use super::fields::{FieldReader, put_bytes, put_varint, text, varint_bytes};
use crate::ids::{ClientKey, MessageId, Qos};
use crate::limits::STORE_PART_MAX_BYTES;
use crate::time::Timestamp;

/// See the module's text. It carries a checksum of its own, so that it can be read alone later, without the batch around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRecord<'a> {
    /// By which deliveries refer to it. That of a message written for the first time is the record's own position; a copy
    /// that compaction makes keeps it.
    pub id: MessageId,
    /// QoS of the publisher.
    pub qos: Qos,
    /// RETAIN as the publisher set it.
    pub retain: bool,
    /// When nobody may get it any more, if it ends.
    pub expires: Option<Timestamp>,
    /// Who published, if a client did.
    pub publisher: Option<ClientKey>,
    /// Where it was published to.
    pub topic: &'a str,
    /// The properties that go on to subscribers, as MQTT 5.0 encodes them; or the first of them, as far as this record goes.
    pub properties: &'a [u8],
    /// How long all of them are together, those in later parts included.
    pub properties_bytes: u32,
    /// The application's bytes, as far as this record goes.
    pub payload: &'a [u8],
    /// Bytes of properties and payload that follow in parts.
    pub later_bytes: u32,
}

const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const PUBLISHER: u8 = 1 << 4;
const PARTS: u8 = 1 << 5;

impl<'a> MessageRecord<'a> {
    /// Bytes that [`Self::put`] appends.
    pub(super) fn len_bytes(&self) -> usize {
        let optional = self.expires.map_or(0, |expires| varint_bytes(expires.0))
            + if self.publisher.is_some() { 8 } else { 0 }
            + if self.later_bytes > 0 { varint_bytes(u64::from(self.later_bytes)) } else { 0 };
        let topic = varint_bytes(self.topic.len() as u64) + self.topic.len();
        let content = varint_bytes(u64::from(self.properties_bytes)) + self.properties.len() + self.payload.len();
        CHECKSUM_BYTES + varint_bytes(self.id.0) + 1 + optional + topic + content
    }

    pub(super) fn put(&self, kind: u8, out: &mut Vec<u8>) {
        checked(kind, out, |out| {
            put_varint(out, self.id.0);
            let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
            out.push(
                self.qos as u8
                    | flag(self.retain, RETAIN)
                    | flag(self.expires.is_some(), EXPIRES)
                    | flag(self.publisher.is_some(), PUBLISHER)
                    | flag(self.later_bytes > 0, PARTS),
            );
            if let Some(expires) = self.expires {
                put_varint(out, expires.0);
            }
            if let Some(publisher) = self.publisher {
                out.extend_from_slice(&publisher.0.to_le_bytes());
            }
            if self.later_bytes > 0 {
                put_varint(out, u64::from(self.later_bytes));
            }
            put_bytes(out, self.topic.as_bytes());
            put_varint(out, u64::from(self.properties_bytes));
            out.extend_from_slice(self.properties);
            out.extend_from_slice(self.payload);
        });
    }

    /// Reads what [`Self::put`] wrote, without looking at the checksum: the batch around it has one.
    pub(super) fn take(body: &'a [u8]) -> Result<Self, FormatError> {
        let mut reader = FieldReader::new(body);
        let _checksum = reader.u32("a message")?;
        let id = MessageId(reader.varint("a message's id")?);
        let flags = reader.byte("a message")?;
        if flags & !(0b11 | RETAIN | EXPIRES | PUBLISHER | PARTS) != 0 {
            return Err(FormatError::Invalid("a message's flags"));
        }
        let has = |flag| flags & flag != 0;
        let qos = Qos::from_bits(flags & 0b11).ok_or(FormatError::Invalid("a message's QoS"))?;
        let expires = if has(EXPIRES) { Some(Timestamp(reader.varint("a message's end")?)) } else { None };
        let publisher = if has(PUBLISHER) { Some(ClientKey(reader.u64("a message's publisher")?)) } else { None };
        let later_bytes = if has(PARTS) { reader.varint_u32("a message's length")? } else { 0 };
        if has(PARTS) && later_bytes == 0 {
            return Err(FormatError::Invalid("a message's length"));
        }
        let topic = text(reader.bytes("a topic")?, "a topic")?;
        let properties_bytes = reader.varint_u32("properties")?;
        let content = reader.rest();
        let (properties, payload) = match content.split_at_checked(properties_bytes as usize) {
            Some(split) => split,
            None if properties_bytes as usize - content.len() <= later_bytes as usize => (content, &[][..]),
            None => return Err(FormatError::Truncated("properties")),
        };
        let retain = has(RETAIN);
        Ok(Self { id, qos, retain, expires, publisher, topic, properties, properties_bytes, payload, later_bytes })
    }

    /// Cuts a whole message to what fits into one record; returns what has to follow in parts of at most
    /// [`STORE_PART_MAX_BYTES`].
    pub fn cut(self) -> (Self, impl Iterator<Item = &'a [u8]>) {
        let (properties, more_properties) = self.properties.split_at(self.properties.len().min(STORE_PART_MAX_BYTES));
        let room = STORE_PART_MAX_BYTES - properties.len();
        let (payload, more_payload) = self.payload.split_at(self.payload.len().min(room));
        let later_bytes = (more_properties.len() + more_payload.len()) as u32;
        let parts = more_properties.chunks(STORE_PART_MAX_BYTES).chain(more_payload.chunks(STORE_PART_MAX_BYTES));
        (Self { properties, payload, later_bytes, ..self }, parts)
    }
}

/// Bytes of the checksum in front of a message or a part of one.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// Appends what `put` writes, with its checksum in front; the record's kind is part of what is summed up.
pub(super) fn checked(kind: u8, out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
    put(out);
    let checksum = sum(kind, &out[start + CHECKSUM_BYTES..]);
    out[start..start + CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Whether a body that [`checked`] wrote is what it was.
pub(super) fn is_whole(kind: u8, body: &[u8]) -> bool {
    body.split_first_chunk().is_some_and(|(stored, rest)| u32::from_le_bytes(*stored) == sum(kind, rest))
}

fn sum(kind: u8, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_into_records_that_fit_and_are_all_of_it() {
        let bytes: Vec<u8> = (0..3 * STORE_PART_MAX_BYTES + 7).map(|at| (at % 251) as u8).collect();
        let cuts =
            [(0, 10), (10, 0), (5, STORE_PART_MAX_BYTES - 5), (5, STORE_PART_MAX_BYTES - 4), (10, bytes.len() - 10)];
        for (properties, payload) in cuts.into_iter().chain([(2 * STORE_PART_MAX_BYTES, STORE_PART_MAX_BYTES)]) {
            let whole = MessageRecord {
                id: MessageId(1),
                qos: Qos::AtLeastOnce,
                retain: false,
                expires: None,
                publisher: None,
                topic: "t",
                properties: &bytes[..properties],
                properties_bytes: properties as u32,
                payload: &bytes[properties..properties + payload],
                later_bytes: 0,
            };
            let (first, parts) = whole.cut();
            let mut body = Vec::new();
            first.put(10, &mut body);
            assert_eq!(body.len(), first.len_bytes());
            let read = MessageRecord::take(&body).unwrap();
            assert_eq!(read, first);
            let mut all = [read.properties, read.payload].concat();
            for part in parts {
                assert!(!part.is_empty() && part.len() <= STORE_PART_MAX_BYTES);
                all.extend_from_slice(part);
            }
            assert_eq!(all, bytes[..properties + payload]);
            assert_eq!(all.len(), read.properties.len() + read.payload.len() + read.later_bytes as usize);
        }
    }
}
