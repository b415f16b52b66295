//! The file in which Mosquitto keeps what is to survive it (`mosquitto.db`), versions 5 and 6: what stands in it, and nothing of what it means.
//!
//! Owns: chunks and their fields, as `persist.h` of Mosquitto 2 lays them out on a machine of 64 bits and little-endian numbers: structures as they
//! are in memory, lengths and packet identifiers turned to network order, identifiers of messages and times not.
//! Always holds: nothing is taken out of the bytes before its length was held against them, and nothing is copied: whatever the bytes are, this takes as
//! much memory as there are chunks. The first thing that does not fit ends it, with its place.
//! Leaves to others: what becomes of it (`runtime`).

mod chunk;

pub use chunk::{DbChunk, DbClient, DbClientMessage, DbDirection, DbMessage, DbSubscription};

use chunk::{ChunkReader, ConfigChunk};

/// What every such file begins with.
pub const MOSQUITTO_DB_MAGIC: [u8; 15] = *b"\x00\xB5\x00mosquitto db";

/// Behind it a checksum that is always 0, and the version.
const HEADER_BYTES: usize = MOSQUITTO_DB_MAGIC.len() + 8;
const CHUNK_HEADER_BYTES: usize = 8;

/// Everything in a file, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MosquittoDb<'a> {
    /// 5 or 6.
    pub version: u32,
    /// Whether the broker was stopped, and not copied from while it ran.
    pub was_stopped: bool,
    /// What was published and is still wanted.
    pub messages: Vec<DbMessage<'a>>,
    /// Sessions that stay.
    pub clients: Vec<DbClient<'a>>,
    /// What each of them is to get, or has begun to send.
    pub client_messages: Vec<DbClientMessage<'a>>,
    /// Of these sessions.
    pub subscriptions: Vec<DbSubscription<'a>>,
    /// Identifiers of messages that are retained.
    pub retained: Vec<u64>,
    /// Chunks of kinds that nobody knows.
    pub unknown: u64,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MosquittoDbError {
    /// It begins with something else.
    #[error("it is no mosquitto.db")]
    OtherFile,
    /// Versions 2 to 4 are of Mosquitto 1.
    #[error("it is of version {0}, and 5 and 6 can be read: start Mosquitto 2 on it once, which writes it anew")]
    Version(u32),
    /// It was written on a machine of another size.
    #[error("its identifiers have {0} bytes instead of 8")]
    IdentifierBytes(u8),
    /// A chunk does not fit.
    #[error("at byte {at}: {what}")]
    Chunk {
        /// From the beginning of the file.
        at: usize,
        /// Which, and what is wrong with it.
        what: &'static str,
    },
}

impl<'a> MosquittoDb<'a> {
    /// Reads all of a file.
    pub fn read(bytes: &'a [u8]) -> Result<Self, MosquittoDbError> {
        let header = bytes.get(..HEADER_BYTES).filter(|header| header.starts_with(&MOSQUITTO_DB_MAGIC));
        let version = header.and_then(|header| header.last_chunk::<4>()).ok_or(MosquittoDbError::OtherFile)?;
        let version = u32::from_be_bytes(*version);
        if !matches!(version, 5 | 6) {
            return Err(MosquittoDbError::Version(version));
        }
        let mut db = Self { version, ..Self::default() };
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let wrong = |what| MosquittoDbError::Chunk { at, what };
            let rest = &bytes[at..];
            let (kind, rest) =
                rest.split_first_chunk::<4>().ok_or_else(|| wrong("the file ends in a chunk's header"))?;
            let (len, rest) =
                rest.split_first_chunk::<4>().ok_or_else(|| wrong("the file ends in a chunk's header"))?;
            let len = u32::from_be_bytes(*len) as usize;
            let body = rest.get(..len).ok_or_else(|| wrong("the file ends before a chunk does"))?;
            db.take(u32::from_be_bytes(*kind), body, wrong)?;
            at += CHUNK_HEADER_BYTES + len;
        }
        Ok(db)
    }

    fn take(
        &mut self,
        kind: u32,
        body: &'a [u8],
        wrong: impl Fn(&'static str) -> MosquittoDbError,
    ) -> Result<(), MosquittoDbError> {
        let mut reader = ChunkReader(body);
        let fits = |chunk: Option<DbChunk<'a>>, what| chunk.ok_or_else(|| wrong(what));
        let chunk = match kind {
            1 => {
                let ConfigChunk { is_shutdown, identifier_bytes } =
                    reader.config().ok_or_else(|| wrong("the chunk of settings is too short"))?;
                if identifier_bytes != 8 {
                    return Err(MosquittoDbError::IdentifierBytes(identifier_bytes));
                }
                self.was_stopped = is_shutdown;
                return Ok(());
            }
            2 => fits(reader.message(), "a message is longer than its chunk, or its topic is no text")?,
            3 => fits(
                reader.client_message(),
                "a client's message is longer than its chunk, or its client id is no text",
            )?,
            4 => fits(reader.retained(), "a retained message has no identifier")?,
            5 => fits(reader.subscription(), "a subscription is longer than its chunk, or its filter is no text")?,
            6 => fits(reader.client(self.version), "a client is longer than its chunk, or its client id is no text")?,
            _ => {
                self.unknown += 1;
                return Ok(());
            }
        };
        match chunk {
            DbChunk::Message(message) => self.messages.push(message),
            DbChunk::ClientMessage(message) => self.client_messages.push(message),
            DbChunk::Retained(message) => self.retained.push(message),
            DbChunk::Subscription(subscription) => self.subscriptions.push(subscription),
            DbChunk::Client(client) => self.clients.push(client),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
