//! Chunks of a `mosquitto.db`, field by field: a structure of fixed size, texts and bytes behind it.

/// One chunk that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbChunk<'a> {
    /// What was published.
    Message(DbMessage<'a>),
    /// On its way to or from one of them.
    ClientMessage(DbClientMessage<'a>),
    /// By its identifier.
    Retained(u64),
    /// Of a session that stays.
    Subscription(DbSubscription<'a>),
    /// With a session that stays.
    Client(DbClient<'a>),
}

/// A message, once for all who are to get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbMessage<'a> {
    /// What others refer to it by.
    pub id: u64,
    /// Seconds since 1970 from which on nobody may get it; 0 or less: it does not expire.
    pub expires_s: i64,
    /// Client id of the publisher; empty where a bridge or the broker published it.
    pub source: &'a str,
    /// Where it was published to.
    pub topic: &'a str,
    /// As its publisher sent it, 0 to 2.
    pub qos: u8,
    /// As its publisher sent it.
    pub retain: bool,
    /// The application's bytes.
    pub payload: &'a [u8],
    /// As MQTT 5.0 encodes them, with their length before them; empty where there are none.
    pub properties: &'a [u8],
}

/// A message on its way to or from one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbClientMessage<'a> {
    /// Whose.
    pub client_id: &'a str,
    /// Identifier of the message.
    pub message: u64,
    /// 0 where none was given yet.
    pub packet_id: u16,
    /// That of the delivery, 0 to 2.
    pub qos: u8,
    /// By Mosquitto's `mosquitto_msg_state`.
    pub state: u8,
    /// RETAIN as the client is to see it.
    pub retain: bool,
    /// Which way it goes.
    pub direction: DbDirection,
    /// As MQTT 5.0 encodes them, with their length before them: identifiers of the subscriptions that it is for.
    pub properties: &'a [u8],
}

impl DbClientMessage<'_> {
    /// Identifiers of the subscriptions that it is for.
    pub fn subscription_ids(&self) -> Vec<u32> {
        let mut ids = Vec::new();
        // One byte of length: 25 of them fit.
        let mut rest = self.properties.split_first().map_or(&[][..], |(_, rest)| rest);
        while let [SUBSCRIPTION_IDENTIFIER, number @ ..] = rest {
            let Some(last) = number.iter().take(4).position(|byte| byte & 0x80 == 0) else { break };
            ids.push(number[..=last].iter().rev().fold(0, |all, byte| all << 7 | u32::from(byte & 0x7f)));
            rest = &number[last + 1..];
        }
        ids
    }
}

/// Which way a client's message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbDirection {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// One filter of one session that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbSubscription<'a> {
    /// Whose.
    pub client_id: &'a str,
    /// As it was asked for.
    pub filter: &'a str,
    /// The granted QoS and, above it, the options of MQTT 5.0, as SUBSCRIBE packs them.
    pub options: u8,
    /// 0: none.
    pub identifier: u32,
}

/// A client whose session stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbClient<'a> {
    /// Its name.
    pub client_id: &'a str,
    /// Empty where it had none; `None` in version 5, which does not say. Mosquitto 2.0.11 gives a client without one that of the client before it.
    pub username: Option<&'a str>,
    /// Of the listener that it came by; 0 where that is not known, and in version 5.
    pub listener_port: u16,
    /// Seconds since 1970 at which its session ends; 0 if it was connected, or never ends.
    pub expires_s: i64,
    /// Seconds that its session stays without it; 4294967295: for ever.
    pub expiry_s: u32,
}

/// What holds for the whole file.
pub(super) struct ConfigChunk {
    pub(super) is_shutdown: bool,
    pub(super) identifier_bytes: u8,
}

/// Subscription Identifier, as a property.
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;

/// What is left of a chunk.
pub(super) struct ChunkReader<'a>(pub(super) &'a [u8]);

impl<'a> ChunkReader<'a> {
    pub(super) fn config(&mut self) -> Option<ConfigChunk> {
        self.bytes(8)?;
        let (is_shutdown, identifier_bytes) = (self.byte()? != 0, self.byte()?);
        Some(ConfigChunk { is_shutdown, identifier_bytes })
    }

    pub(super) fn message(&mut self) -> Option<DbChunk<'a>> {
        let (id, expires_s) = (self.identifier()?, self.identifier()?.cast_signed());
        let payload_bytes = self.long()? as usize;
        self.short()?; // the publisher's packet identifier
        let (source_bytes, username_bytes, topic_bytes) = (self.short()?, self.short()?, self.short()?);
        self.short()?; // the publisher's port
        let (qos, retain) = (self.byte()?, self.byte()? != 0);
        let source = self.text(source_bytes)?;
        self.bytes(username_bytes.into())?;
        let topic = self.text(topic_bytes)?;
        let payload = self.bytes(payload_bytes)?;
        let properties = self.0;
        Some(DbChunk::Message(DbMessage { id, expires_s, source, topic, qos, retain, payload, properties }))
    }

    pub(super) fn client_message(&mut self) -> Option<DbChunk<'a>> {
        let (message, packet_id, id_bytes) = (self.identifier()?, self.short()?, self.short()?);
        let (qos, state, retain_dup, direction) = (self.byte()?, self.byte()?, self.byte()?, self.byte()?);
        let client_id = self.text(id_bytes)?;
        let direction = if direction == 0 { DbDirection::In } else { DbDirection::Out };
        let retain = retain_dup & 0xf0 != 0;
        let properties = self.0;
        let found = DbClientMessage { client_id, message, packet_id, qos, state, retain, direction, properties };
        Some(DbChunk::ClientMessage(found))
    }

    pub(super) fn retained(&mut self) -> Option<DbChunk<'a>> {
        self.identifier().map(DbChunk::Retained)
    }

    pub(super) fn subscription(&mut self) -> Option<DbChunk<'a>> {
        let (identifier, id_bytes, filter_bytes) = (self.long()?, self.short()?, self.short()?);
        let options = self.byte()? | self.byte()?;
        self.bytes(2)?; // what the structure is filled up with
        let (client_id, filter) = (self.text(id_bytes)?, self.text(filter_bytes)?);
        Some(DbChunk::Subscription(DbSubscription { client_id, filter, options, identifier }))
    }

    pub(super) fn client(&mut self, version: u32) -> Option<DbChunk<'a>> {
        let (expires_s, expiry_s) = (self.identifier()?.cast_signed(), self.long()?);
        self.short()?; // the last packet identifier
        let id_bytes = self.short()?;
        let (listener_port, username_bytes) = if version < 6 {
            (0, None)
        } else {
            let (port, username_bytes) = (self.short()?, self.short()?);
            self.bytes(4)?; // what the structure is filled up with
            (port, Some(username_bytes))
        };
        let client_id = self.text(id_bytes)?;
        let username = match username_bytes {
            Some(bytes) => Some(self.cut_text(bytes)?),
            None => None,
        };
        Some(DbChunk::Client(DbClient { client_id, username, listener_port, expires_s, expiry_s }))
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn long(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// As the machine has it.
    fn identifier(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Up to the first zero: Mosquitto 2.0.11 turns the length of such a name to network order once more, and writes 768 bytes for one of three.
    fn cut_text(&mut self, len: u16) -> Option<&'a str> {
        let bytes = self.bytes(len.into())?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).ok()
    }

    fn text(&mut self, len: u16) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(len.into())?).ok()
    }
}
