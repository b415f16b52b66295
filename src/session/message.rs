//! An application message: borrowed while it is routed, shared once somebody must keep it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use triomphe::ThinArc;

use super::link::tick;
use crate::codec::Forwarded;
use crate::ids::{ClientKey, MessageId, Qos};
use crate::limits::PAYLOAD_BY_REFERENCE_MIN_BYTES;
use crate::time::{Deadline, Now};

/// The end of a message with a message expiry interval of 0: it is for whoever can take it now, and never waits. No other
/// interval gives it, since each counts from now.
const NEVER_WAITS: Deadline = Deadline(0);

/// When a message ends whose message expiry interval begins now.
pub fn expiry_of(now: Now, interval_s: u32) -> Deadline {
    if interval_s == 0 { NEVER_WAITS } else { now.after_s(interval_s) }
}

/// A message as it is routed: borrowed from the packet it came in.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'a> {
    /// Topic name, aliases resolved.
    pub topic: &'a str,
    /// QoS of the publisher.
    pub qos: Qos,
    /// RETAIN as the publisher set it.
    pub retain: bool,
    /// When nobody may get it any more.
    pub expires: Option<Deadline>,
    /// Who published, for no-local. The broker's own messages have `None`.
    pub publisher: Option<ClientKey>,
    /// What is passed on unchanged.
    pub properties: Forwarded<'a>,
    /// The application's bytes.
    pub payload: &'a [u8],
}

impl MessageRef<'_> {
    /// Whether its message expiry interval has passed.
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|expires| expires.is_due(now))
    }

    /// Whether it is too late to deliver it to a client that could take it at once [MQTT-3.3.2-5]. Never so for an interval of
    /// 0, however long the message has been on its way between shards.
    #[inline]
    pub fn is_too_late(&self, now: Now) -> bool {
        self.expires.is_some_and(|expires| expires != NEVER_WAITS && expires.is_due(now))
    }

    /// Bytes that count against queues: topic, properties and payload.
    pub const fn len_bytes(&self) -> u64 {
        (self.topic.len() + self.properties.len_bytes() + self.payload.len()) as u64
    }
}

/// A message that somebody keeps: immutable, shared by every queue and every shard that holds it, so a clone is the same
/// message. One pointer, and one allocation for everything but a long payload.
#[derive(Clone, Debug)]
pub struct Message(ThinArc<Header, u8>);

/// What stands before topic, properties and payload.
#[derive(Debug)]
struct Header {
    /// A payload that is sent by reference, and so has to be shared by itself.
    long_payload: Option<Box<Bytes>>,
    facts: Facts,
    /// Places in queues, of all shards.
    places: AtomicU32,
    /// The tick in which it got the first of those, or since which a service has it; 0 for neither.
    queued_tick: AtomicU32,
}

/// What there is to say of a message besides its bytes.
#[derive(Clone, Copy, Debug)]
struct Facts {
    expires: Option<Deadline>,
    publisher: Option<ClientKey>,
    properties_bytes: u32,
    topic_bytes: u16,
    qos: Qos,
    retain: bool,
}

impl Facts {
    fn of(message: &MessageRef<'_>) -> Self {
        Self {
            expires: message.expires,
            publisher: message.publisher,
            properties_bytes: message.properties.len_bytes() as u32,
            topic_bytes: message.topic.len() as u16,
            qos: message.qos,
            retain: message.retain,
        }
    }

    /// The message whose topic, properties and payload are `bytes`.
    fn read(self, bytes: &[u8]) -> MessageRef<'_> {
        let (topic, rest) = bytes.split_at(self.topic_bytes.into());
        let (properties, payload) = rest.split_at(self.properties_bytes as usize);
        MessageRef {
            topic: std::str::from_utf8(topic).expect("copied from a str"),
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
            publisher: self.publisher,
            properties: Forwarded::from_clean_block(properties),
            payload,
        }
    }
}

impl Message {
    /// Copies a borrowed message into one that can be kept.
    pub fn new(message: &MessageRef<'_>) -> Self {
        let is_long = message.payload.len() >= PAYLOAD_BY_REFERENCE_MIN_BYTES;
        let header = Header {
            long_payload: is_long.then(|| Box::new(Bytes::copy_from_slice(message.payload))),
            facts: Facts::of(message),
            places: AtomicU32::new(0),
            queued_tick: AtomicU32::new(0),
        };
        let payload = if is_long { &[] } else { message.payload };
        let len = message.topic.len() + header.facts.properties_bytes as usize + payload.len();
        // Put together where it costs no allocation: most messages are short.
        let mut short = [0; 256];
        let mut long = Vec::new();
        let bytes = short.get_mut(..len).unwrap_or_else(|| {
            long.resize(len, 0);
            &mut long
        });
        let (topic, rest) = bytes.split_at_mut(message.topic.len());
        let (mut properties, rest) = rest.split_at_mut(header.facts.properties_bytes as usize);
        topic.copy_from_slice(message.topic.as_bytes());
        message.properties.for_each_piece(|piece| {
            let (here, behind) = std::mem::take(&mut properties).split_at_mut(piece.len());
            here.copy_from_slice(piece);
            properties = behind;
        });
        debug_assert!(properties.is_empty(), "its length was told before");
        rest.copy_from_slice(payload);
        Self(ThinArc::from_header_and_slice(header, bytes))
    }

    /// The message in its borrowed form.
    pub fn borrow(&self) -> MessageRef<'_> {
        let message = self.header().facts.read(&self.0.slice);
        match self.header().long_payload.as_deref() {
            None => message,
            Some(long) => MessageRef { payload: long, ..message },
        }
    }

    /// A payload of `PAYLOAD_BY_REFERENCE_MIN_BYTES` and more, shared and not copied.
    pub fn long_payload(&self) -> Option<Bytes> {
        self.header().long_payload.as_deref().cloned()
    }

    /// Bytes that count against queues: topic, properties and payload.
    pub fn len_bytes(&self) -> u64 {
        (self.0.slice.len() + self.header().long_payload.as_deref().map_or(0, Bytes::len)) as u64
    }

    /// Bytes of memory that it takes, near enough.
    pub fn memory_bytes(&self) -> u64 {
        let long_payload = if self.header().long_payload.is_some() { 2 * size_of::<Bytes>() } else { 0 };
        // Beside the header stand a count of references and a length.
        self.len_bytes() + (size_of::<Header>() + 2 * size_of::<usize>() + long_payload) as u64
    }

    /// Tells it from all other messages that there are at the same time.
    pub fn address(&self) -> usize {
        self.0.slice.as_ptr().addr()
    }

    /// Notes one more place in a queue, in a tick. Returns whether it is the only one.
    pub(super) fn enter_queue(&self, tick: u32) -> bool {
        let is_first = self.header().places.fetch_add(1, Relaxed) == 0;
        if is_first {
            self.header().queued_tick.store(tick, Relaxed);
        }
        is_first
    }

    /// The tick since which it has stood in a queue, of whichever session.
    pub(super) fn queued_tick(&self) -> u32 {
        self.header().queued_tick.load(Relaxed)
    }

    /// How long it has waited, in ticks of the timers: since it got its first place in a queue. One that has got none waits from now on, for whoever
    /// it is sent to again.
    pub fn waited_ticks(&self, now: Now) -> u32 {
        let now = tick(now);
        match self.header().queued_tick.compare_exchange(0, now, Relaxed, Relaxed) {
            Ok(_) => 0,
            Err(since) => now.saturating_sub(since),
        }
    }

    /// Notes one place less. Returns whether it was the last.
    pub(super) fn leave_queue(&self) -> bool {
        self.header().places.fetch_sub(1, Relaxed) == 1
    }

    /// Who published.
    pub fn publisher(&self) -> Option<ClientKey> {
        self.header().facts.publisher
    }

    /// QoS of the publisher.
    pub fn qos(&self) -> Qos {
        self.header().facts.qos
    }

    /// Whether its message expiry interval has passed.
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires().is_some_and(|expires| expires.is_due(now))
    }

    /// When nobody may get it any more.
    pub fn expires(&self) -> Option<Deadline> {
        self.header().facts.expires
    }

    fn header(&self) -> &Header {
        &self.0.header.header
    }
}

/// A short message in a block of bytes that holds others too, for as long as the block lasts: it costs no allocation.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    facts: Facts,
    payload_bytes: u16,
    at: usize,
}

impl Copied {
    /// Appends a message to a block. `None` for one that is too long to be copied for every shard that wants it.
    pub fn append(message: &MessageRef<'_>, block: &mut Vec<u8>) -> Option<Self> {
        const { assert!(PAYLOAD_BY_REFERENCE_MIN_BYTES <= u16::MAX as usize, "a length is kept in 16 bits") };
        if message.len_bytes() >= PAYLOAD_BY_REFERENCE_MIN_BYTES as u64 {
            return None;
        }
        let at = block.len();
        block.extend_from_slice(message.topic.as_bytes());
        message.properties.for_each_piece(|piece| block.extend_from_slice(piece));
        block.extend_from_slice(message.payload);
        Some(Self { facts: Facts::of(message), payload_bytes: message.payload.len() as u16, at })
    }

    /// A message that lies in a block already: topic, properties and payload one behind the other from `at` on. `None` for one that lies
    /// there otherwise, or is too long to be copied.
    pub fn lying_at(message: &MessageRef<'_>, block: &[u8], at: usize) -> Option<Self> {
        if message.len_bytes() >= PAYLOAD_BY_REFERENCE_MIN_BYTES as u64 {
            return None;
        }
        let bytes = block.get(at..)?.get(..message.len_bytes() as usize)?;
        let (topic, rest) = bytes.split_at(message.topic.len());
        let (properties, payload) = rest.split_at(message.properties.len_bytes());
        // By their places: comparing what they say would read it all again.
        let is_there = std::ptr::eq(topic, message.topic.as_bytes())
            && message.properties.as_block().is_some_and(|block| block.is_empty() || std::ptr::eq(block, properties))
            && (payload.is_empty() || std::ptr::eq(payload, message.payload));
        is_there.then(|| Self { facts: Facts::of(message), payload_bytes: message.payload.len() as u16, at })
    }

    /// The message. `block` is the one that it was appended to.
    pub fn borrow(self, block: &[u8]) -> MessageRef<'_> {
        let len = usize::from(self.facts.topic_bytes)
            + self.facts.properties_bytes as usize
            + usize::from(self.payload_bytes);
        self.facts.read(&block[self.at..][..len])
    }
}

/// A message on its way through one shard: made into a shared one by the first that must keep it, and then once.
#[derive(Debug)]
pub struct Routed<'a> {
    /// What is being routed.
    pub message: MessageRef<'a>,
    shared: Option<Message>,
    /// What the shard's log knows it by, once it has it in the change that is being made; [`MessageId::NONE`] before.
    pub stored_as: MessageId,
}

impl<'a> Routed<'a> {
    /// From a packet.
    #[inline]
    pub const fn borrowed(message: MessageRef<'a>) -> Self {
        Self { message, shared: None, stored_as: MessageId::NONE }
    }

    /// From a message that is already shared.
    pub fn shared(message: &'a Message) -> Self {
        Self { message: message.borrow(), shared: Some(message.clone()), stored_as: MessageId::NONE }
    }

    /// The shared form, if somebody keeps it already.
    pub const fn already_shared(&self) -> Option<&Message> {
        self.shared.as_ref()
    }

    /// The shared form.
    pub fn share(&mut self) -> &Message {
        self.shared.get_or_insert_with(|| Message::new(&self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_message_reads_like_the_borrowed_one() {
        let block = [0x01, 0x01]; // payload format indicator 1
        let borrowed = MessageRef {
            topic: "a/b",
            qos: Qos::AtLeastOnce,
            retain: true,
            expires: Some(Deadline(7)),
            publisher: Some(ClientKey(3)),
            properties: Forwarded::from_clean_block(&block),
            payload: b"payload",
        };
        let kept = Message::new(&borrowed);
        let read = kept.borrow();
        assert_eq!((read.topic, read.payload, read.qos, read.retain), ("a/b", &b"payload"[..], Qos::AtLeastOnce, true));
        assert_eq!((read.expires, read.publisher), (Some(Deadline(7)), Some(ClientKey(3))));
        assert_eq!(read.properties.len_bytes(), 2);
        assert_eq!((kept.len_bytes(), kept.long_payload()), (12, None));
    }

    #[test]
    fn a_long_payload_is_shared_and_not_copied() {
        for len in [PAYLOAD_BY_REFERENCE_MIN_BYTES - 1, PAYLOAD_BY_REFERENCE_MIN_BYTES] {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let kept = Message::new(&MessageRef {
                topic: "long",
                qos: Qos::AtMostOnce,
                retain: false,
                expires: None,
                publisher: None,
                properties: Forwarded::EMPTY,
                payload: &payload,
            });
            assert_eq!(kept.borrow().payload, payload);
            assert_eq!(kept.len_bytes(), 4 + len as u64);
            let long = kept.clone().long_payload();
            assert_eq!(long.is_some(), len == PAYLOAD_BY_REFERENCE_MIN_BYTES);
            assert!(long.is_none_or(|long| long.as_ptr() == kept.borrow().payload.as_ptr()));
        }
    }

    #[test]
    fn a_block_holds_short_messages_one_behind_the_other() {
        let properties = [0x01, 0x01];
        let payload = vec![7; PAYLOAD_BY_REFERENCE_MIN_BYTES];
        let message = |topic, len: usize| MessageRef {
            topic,
            qos: Qos::ExactlyOnce,
            retain: false,
            expires: Some(Deadline(9)),
            publisher: Some(ClientKey(4)),
            properties: Forwarded::from_clean_block(&properties),
            payload: &payload[..len],
        };
        let mut block = Vec::new();
        let longest = PAYLOAD_BY_REFERENCE_MIN_BYTES - 1 - 2 - 1;
        let sizes = [0, 64, longest];
        let copied = sizes.map(|len| Copied::append(&message("a", len), &mut block).unwrap());
        let before = block.len();
        assert!(Copied::append(&message("a", longest + 1), &mut block).is_none());
        assert_eq!(block.len(), before, "what is not copied leaves nothing behind");
        for (copied, len) in copied.into_iter().zip(sizes) {
            let (read, expected) = (copied.borrow(&block), message("a", len));
            assert_eq!((read.topic, read.payload, read.qos, read.retain), ("a", expected.payload, expected.qos, false));
            assert_eq!((read.expires, read.publisher), (expected.expires, expected.publisher));
            assert_eq!((read.properties.len_bytes(), read.len_bytes()), (2, expected.len_bytes()));
        }
    }

    #[test]
    fn routing_shares_a_message_once() {
        let message = MessageRef {
            topic: "t",
            qos: Qos::AtMostOnce,
            retain: false,
            expires: None,
            publisher: None,
            properties: Forwarded::EMPTY,
            payload: b"",
        };
        let mut routed = Routed::borrowed(message);
        let first = routed.share().clone();
        assert!(std::ptr::eq(first.borrow().topic, routed.share().borrow().topic));
    }
}
