//! An application message: borrowed while it is routed, shared once somebody must keep it.

use bytes::Bytes;
use triomphe::ThinArc;

use crate::codec::properties::Forwarded;
use crate::ids::{ClientKey, Qos};
use crate::limits::PAYLOAD_BY_REFERENCE_MIN_BYTES;
use crate::time::{Deadline, Now};

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
    expires: Option<Deadline>,
    publisher: Option<ClientKey>,
    properties_bytes: u32,
    topic_bytes: u16,
    qos: Qos,
    retain: bool,
}

impl Message {
    /// Copies a borrowed message into one that can be kept.
    pub fn new(message: &MessageRef<'_>) -> Self {
        let is_long = message.payload.len() >= PAYLOAD_BY_REFERENCE_MIN_BYTES;
        let header = Header {
            long_payload: is_long.then(|| Box::new(Bytes::copy_from_slice(message.payload))),
            expires: message.expires,
            publisher: message.publisher,
            properties_bytes: message.properties.len_bytes() as u32,
            topic_bytes: message.topic.len() as u16,
            qos: message.qos,
            retain: message.retain,
        };
        let payload = if is_long { &[] } else { message.payload };
        let len = message.topic.len() + header.properties_bytes as usize + payload.len();
        // Put together where it costs no allocation: most messages are short.
        let mut short = [0; 256];
        let mut long = Vec::new();
        let bytes = short.get_mut(..len).unwrap_or_else(|| {
            long.resize(len, 0);
            &mut long
        });
        let (topic, rest) = bytes.split_at_mut(message.topic.len());
        let (mut properties, rest) = rest.split_at_mut(header.properties_bytes as usize);
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
        let (header, bytes) = (&self.0.header.header, &self.0.slice);
        let (topic, rest) = bytes.split_at(header.topic_bytes.into());
        let (properties, payload) = rest.split_at(header.properties_bytes as usize);
        MessageRef {
            topic: std::str::from_utf8(topic).expect("copied from a str"),
            qos: header.qos,
            retain: header.retain,
            expires: header.expires,
            publisher: header.publisher,
            properties: Forwarded::from_clean_block(properties),
            payload: header.long_payload.as_deref().map_or(payload, |long| long),
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

    /// Who published.
    pub fn publisher(&self) -> Option<ClientKey> {
        self.header().publisher
    }

    /// QoS of the publisher.
    pub fn qos(&self) -> Qos {
        self.header().qos
    }

    /// Whether its message expiry interval has passed.
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires().is_some_and(|expires| expires.is_due(now))
    }

    /// When nobody may get it any more.
    pub fn expires(&self) -> Option<Deadline> {
        self.header().expires
    }

    fn header(&self) -> &Header {
        &self.0.header.header
    }
}

/// A message on its way through one shard: made into a shared one by the first that must keep it, and then once.
#[derive(Debug)]
pub struct Routed<'a> {
    /// What is being routed.
    pub message: MessageRef<'a>,
    shared: Option<Message>,
}

impl<'a> Routed<'a> {
    /// From a packet.
    pub const fn borrowed(message: MessageRef<'a>) -> Self {
        Self { message, shared: None }
    }

    /// From a message that is already shared.
    pub fn shared(message: &'a Message) -> Self {
        Self { message: message.borrow(), shared: Some(message.clone()) }
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
