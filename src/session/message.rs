//! An application message: borrowed while it is routed, shared once somebody must keep it.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::properties::Forwarded;
use crate::ids::{ClientKey, Qos};
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

/// A message that somebody keeps: immutable, shared by every queue and every shard that holds it. One allocation for
/// topic, properties and payload together.
#[derive(Debug)]
pub struct Message {
    /// topic | forwarded properties | payload
    bytes: Bytes,
    topic_bytes: u16,
    properties_bytes: u32,
    qos: Qos,
    retain: bool,
    expires: Option<Deadline>,
    publisher: Option<ClientKey>,
}

impl Message {
    /// Copies a borrowed message into one that can be kept.
    pub fn new(message: &MessageRef<'_>) -> Arc<Self> {
        let properties_bytes = message.properties.len_bytes();
        let mut bytes = Vec::with_capacity(message.topic.len() + properties_bytes + message.payload.len());
        bytes.extend_from_slice(message.topic.as_bytes());
        message.properties.write_to(&mut bytes);
        debug_assert_eq!(bytes.len(), message.topic.len() + properties_bytes);
        bytes.extend_from_slice(message.payload);
        Arc::new(Self {
            topic_bytes: message.topic.len() as u16,
            properties_bytes: properties_bytes as u32,
            bytes: Bytes::from(bytes),
            qos: message.qos,
            retain: message.retain,
            expires: message.expires,
            publisher: message.publisher,
        })
    }

    /// The message in its borrowed form.
    pub fn borrow(&self) -> MessageRef<'_> {
        let properties_at = usize::from(self.topic_bytes);
        let payload_at = properties_at + self.properties_bytes as usize;
        MessageRef {
            topic: std::str::from_utf8(&self.bytes[..properties_at]).expect("copied from a str"),
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
            publisher: self.publisher,
            properties: Forwarded::from_clean_block(&self.bytes[properties_at..payload_at]),
            payload: &self.bytes[payload_at..],
        }
    }

    /// The payload, shared and not copied.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(usize::from(self.topic_bytes) + self.properties_bytes as usize..)
    }

    /// Bytes that count against queues: topic, properties and payload.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Who published.
    pub const fn publisher(&self) -> Option<ClientKey> {
        self.publisher
    }

    /// QoS of the publisher.
    pub const fn qos(&self) -> Qos {
        self.qos
    }

    /// Whether its message expiry interval has passed.
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|expires| expires.is_due(now))
    }

    /// When nobody may get it any more.
    pub const fn expires(&self) -> Option<Deadline> {
        self.expires
    }
}

/// A message on its way through one shard: made into a shared one by the first that must keep it, and then once.
#[derive(Debug)]
pub struct Routed<'a> {
    /// What is being routed.
    pub message: MessageRef<'a>,
    shared: Option<Arc<Message>>,
}

impl<'a> Routed<'a> {
    /// From a packet.
    pub const fn borrowed(message: MessageRef<'a>) -> Self {
        Self { message, shared: None }
    }

    /// From a message that is already shared.
    pub fn shared(message: &'a Arc<Message>) -> Self {
        Self { message: message.borrow(), shared: Some(Arc::clone(message)) }
    }

    /// The shared form.
    pub fn share(&mut self) -> &Arc<Message> {
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
        assert_eq!(&kept.payload()[..], b"payload");
        assert_eq!(kept.len_bytes(), 12);
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
        let first = Arc::clone(routed.share());
        assert!(Arc::ptr_eq(&first, routed.share()));
    }
}
