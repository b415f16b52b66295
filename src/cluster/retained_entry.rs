//! A retained message as the engine keeps it, one for each topic, and the subject that it is kept under.
//!
//! Always holds: an entry that was read is as it was written, and is borrowed from its bytes; what anybody has put there is compared with a length before
//! anything else is looked at, never panics, and has nothing allocated for it. A deletion is an entry without a message. Each value has one form.
//! Leaves to others: whether the topic has wildcards and the properties are some (`shard`), which of two entries counts (`retained`).

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::link_bytes::{FrameReader, LinkFrameError, flag_bits, mqtt_text, put_stamp};
use super::range::NodeId;
use crate::ids::{ClientKey, Qos, WriteStamp};
use crate::limits::{RETAINED_DELETED_TTL_S, RETAINED_ENTRY_MAX_BYTES};
use crate::time::{Now, Timestamp};

/// The format that is written; the only one so far.
pub const RETAINED_FORMAT: u16 = 1;

const MAGIC: [u8; 8] = *b"DnlRetnd";
const CHECKSUM_BYTES: usize = 4;

/// The last part of the subject of a topic: 128 bits of SipHash-1-3 under the cluster's seeds. No topic has to be escaped, and nobody who does
/// not know the seeds can choose topics that meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetainedSubject(pub [u8; 16]);

impl RetainedSubject {
    /// Of a topic, in a cluster with these seeds.
    pub fn of(hash_seeds: &[u64; 4], topic: &str) -> Self {
        let mut hasher = SipHasher13::new_with_keys(hash_seeds[2], hash_seeds[3]);
        hasher.write(topic.as_bytes());
        Self(hasher.finish128().as_bytes())
    }
}

impl fmt::Display for RetainedSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The last write on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedEntry<'a> {
    /// Of the write: the latest counts.
    pub stamp: WriteStamp,
    /// For no-local; `None` for the broker's own messages.
    pub publisher: Option<ClientKey>,
    /// When it is to be forgotten.
    pub expires: Option<Timestamp>,
    /// The whole topic.
    pub topic: &'a str,
    /// `None` for a deletion.
    pub message: Option<RetainedBody<'a>>,
}

/// What is retained on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedBody<'a> {
    /// Of the publisher.
    pub qos: Qos,
    /// As MQTT 5 encodes them, unchanged.
    pub properties: &'a [u8],
    /// Unchanged.
    pub payload: &'a [u8],
}

/// Why bytes of the engine are no retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetainedEntryError {
    /// Shorter than any, or longer than one may be.
    #[error("its length is wrong")]
    Length,
    /// It does not begin as one does.
    #[error("it is no retained message")]
    NotFound,
    /// It was changed since it was written.
    #[error("its checksum does not fit")]
    Checksum,
    /// A later dunlin wrote it.
    #[error("it has format {0}, and this dunlin knows formats up to {RETAINED_FORMAT}")]
    Newer(u16),
    /// A value that nothing of this format writes.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// It stands where another topic's belongs.
    #[error("it is of another topic than its subject says")]
    Subject,
}

impl From<LinkFrameError> for RetainedEntryError {
    fn from(error: LinkFrameError) -> Self {
        match error {
            LinkFrameError::Invalid(what) => Self::Invalid(what),
            LinkFrameError::TooLong(_) | LinkFrameError::Kind(_) => Self::Length,
        }
    }
}

impl<'a> RetainedEntry<'a> {
    /// As the engine is given it.
    pub fn encode(&self) -> Vec<u8> {
        let body = self.message.unwrap_or(RetainedBody { qos: Qos::AtMostOnce, properties: &[], payload: &[] });
        let mut bytes = Vec::with_capacity(64 + self.topic.len() + body.properties.len() + body.payload.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&RETAINED_FORMAT.to_le_bytes());
        bytes.push(flag_bits([self.message.is_some(), self.expires.is_some(), self.publisher.is_some()]));
        bytes.push(body.qos as u8);
        put_stamp(&mut bytes, self.stamp);
        for number in [self.expires.map(|at| at.0), self.publisher.map(|client| client.0)].into_iter().flatten() {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.topic.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&(body.properties.len() as u32).to_le_bytes());
        for part in [self.topic.as_bytes(), body.properties, body.payload] {
            bytes.extend_from_slice(part);
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// From what the engine has.
    pub fn read(bytes: &'a [u8]) -> Result<Self, RetainedEntryError> {
        if bytes.len() > RETAINED_ENTRY_MAX_BYTES {
            return Err(RetainedEntryError::Length);
        }
        let (fields, stored) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(RetainedEntryError::Length)?;
        let mut reader = FrameReader(fields);
        if reader.array("a beginning").map_err(|_| RetainedEntryError::Length)? != MAGIC {
            return Err(RetainedEntryError::NotFound);
        }
        match reader.u16("a format")? {
            RETAINED_FORMAT => {}
            newer if newer > RETAINED_FORMAT => return Err(RetainedEntryError::Newer(newer)),
            _ => return Err(RetainedEntryError::Invalid("a format")),
        }
        if *stored != crc32c::crc32c(fields).to_le_bytes() {
            return Err(RetainedEntryError::Checksum);
        }
        let [is_message, expires, is_of_client] = reader.flags()?;
        let qos = reader.u8("a QoS")?;
        let qos = Qos::from_bits(qos & 3).filter(|_| qos <= 2).ok_or(RetainedEntryError::Invalid("a QoS"))?;
        let stamp = reader.stamp()?;
        let expires = expires.then(|| reader.u64("an expiry")).transpose()?.map(Timestamp);
        let publisher = is_of_client.then(|| reader.client()).transpose()?;
        let (topic, properties) = (reader.u16("a topic")?, reader.u32("properties")?);
        let topic = mqtt_text(reader.take(topic.into(), "a topic")?, "a topic")?;
        let properties = reader.take(properties as usize, "properties")?;
        let payload = reader.rest();
        if !is_message && (qos != Qos::AtMostOnce || !properties.is_empty() || !payload.is_empty() || expires.is_some())
        {
            return Err(RetainedEntryError::Invalid("a deletion"));
        }
        let message = is_message.then_some(RetainedBody { qos, properties, payload });
        Ok(Self { stamp, publisher, expires, topic, message })
    }

    /// `Nats-TTL`: after so many seconds the engine forgets it by itself. `None` for never.
    pub fn ttl_s(&self, now: Now) -> Option<u64> {
        if self.message.is_none() {
            return Some(RETAINED_DELETED_TTL_S);
        }
        self.expires.map(|at| at.0.saturating_sub(now.unix_ms).div_ceil(1_000).max(1))
    }

    /// The node whose shard gave the stamp: the low six bits of its time say so.
    pub fn writer(&self) -> NodeId {
        NodeId::new((self.stamp.time_ns & 63) as u16 + 1).expect("a cluster has as many nodes as six bits name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [u64; 4] = [1, 2, 3, 4];

    fn entries() -> [RetainedEntry<'static>; 3] {
        let stamp = WriteStamp { time_ns: (77 << 6) | 4, shard: 9 };
        let body = RetainedBody { qos: Qos::ExactlyOnce, properties: &[1, 0], payload: b"on" };
        let full = RetainedEntry {
            stamp,
            publisher: Some(ClientKey(5)),
            expires: Some(Timestamp(u64::MAX)),
            topic: "haus/licht",
            message: Some(body),
        };
        let bare = RetainedBody { qos: Qos::AtMostOnce, properties: &[], payload: &[] };
        [
            full,
            RetainedEntry { publisher: None, expires: None, message: Some(bare), ..full },
            RetainedEntry { expires: None, message: None, ..full },
        ]
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else_is() {
        for entry in entries() {
            let bytes = entry.encode();
            assert_eq!(RetainedEntry::read(&bytes), Ok(entry));
            assert_eq!(entry.writer(), NodeId::new(5).unwrap());
            for len in 0..bytes.len() {
                assert!(RetainedEntry::read(&bytes[..len]).is_err(), "{len}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(RetainedEntry::read(&changed).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn fields_that_contradict_each_other_are_refused_though_the_checksum_fits() {
        let seal = |mut bytes: Vec<u8>| {
            let end = bytes.len() - CHECKSUM_BYTES;
            let checksum = crc32c::crc32c(&bytes[..end]);
            bytes[end..].copy_from_slice(&checksum.to_le_bytes());
            bytes
        };
        let changed = |at: usize, byte: u8| {
            let mut bytes = entries()[0].encode();
            bytes[at] = byte;
            seal(bytes)
        };
        assert_eq!(RetainedEntry::read(&changed(8, 2)), Err(RetainedEntryError::Newer(2)));
        assert_eq!(RetainedEntry::read(&changed(8, 0)), Err(RetainedEntryError::Invalid("a format")));
        assert_eq!(RetainedEntry::read(&changed(10, 8)), Err(RetainedEntryError::Invalid("flags")));
        assert_eq!(RetainedEntry::read(&changed(10, 6)), Err(RetainedEntryError::Invalid("a deletion")));
        assert_eq!(RetainedEntry::read(&changed(11, 3)), Err(RetainedEntryError::Invalid("a QoS")));
        for at in 8..entries()[0].encode().len() {
            for byte in [0, 1, 0x7f, 0xff] {
                // Whatever is taken has one form.
                let bytes = changed(at, byte);
                let again = RetainedEntry::read(&bytes).map(|entry| entry.encode());
                assert!(again.is_err() || again == Ok(bytes.clone()), "byte {at} is {byte}");
            }
        }
        let long = vec![0; RETAINED_ENTRY_MAX_BYTES + 1];
        assert_eq!(RetainedEntry::read(&long), Err(RetainedEntryError::Length));
    }

    #[test]
    fn the_engine_forgets_what_expires_and_what_was_deleted() {
        let now = Now { mono_ns: 0, unix_ms: 10_000 };
        let [full, bare, deleted] = entries();
        let at = |unix_ms| RetainedEntry { expires: Some(Timestamp(unix_ms)), ..full }.ttl_s(now);
        assert_eq!((at(12_001), at(12_000), at(0)), (Some(3), Some(2), Some(1)));
        assert_eq!((bare.ttl_s(now), deleted.ttl_s(now)), (None, Some(RETAINED_DELETED_TTL_S)));
    }

    #[test]
    fn a_subject_is_the_hash_of_its_topic_under_the_seeds() {
        let [one, other] = ["a/b", "a/c"].map(|topic| RetainedSubject::of(&SEEDS, topic));
        assert_ne!(one, other);
        assert_ne!(one, RetainedSubject::of(&[1, 2, 3, 5], "a/b"));
        // SipHash-1-3 with 128 bits is not among the published vectors; every build must compute it alike.
        assert_eq!(one.to_string().len(), 32);
        assert_eq!(one, RetainedSubject::of(&[9, 9, 3, 4], "a/b"), "of the seeds the last two count");
    }
}
