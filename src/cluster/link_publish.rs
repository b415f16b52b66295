//! PUBLISH between nodes: a message, and what its receiver has to know beside it.
//!
//! Always holds: what a message does not have takes no byte; topic, properties and payload lie one behind the other, so that a short message can be
//! routed where it lies. Whether the topic has wildcards and the properties are some is for whoever routes it to check.

use super::link_bytes::{FrameReader, LinkFrameError, flag_bits, mqtt_text, put_stamp};
use crate::ids::{ClientKey, Qos, WriteStamp};
use crate::limits::LINK_GROUPS_MAX;

/// The question of one node to another that STORED answers: which of its shards asks, and a number that this shard never gives twice while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkToken {
    /// Of the node that asks.
    pub shard: u8,
    /// Names the question.
    pub number: u32,
}

/// An application message for another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPublish<'a> {
    /// Of the publisher.
    pub qos: Qos,
    /// As the publisher set it.
    pub retain: bool,
    /// Whether it is for subscriptions of their own.
    pub plain: bool,
    /// It was for members of a node that had none any more, and is passed on no further.
    pub passed_on: bool,
    /// How long it may still wait, in milliseconds; `None` for ever.
    pub expires_in_ms: Option<u64>,
    /// For no-local; `None` for the broker's own messages.
    pub publisher: Option<ClientKey>,
    /// Set when it is also a write to the retained store.
    pub stamp: Option<WriteStamp>,
    /// Asks for STORED.
    pub confirm: Option<LinkToken>,
    /// Keys of the shared subscriptions of which the receiver picks a member, 8 bytes each.
    pub groups: &'a [u8],
    /// The whole topic.
    pub topic: &'a str,
    /// As MQTT 5 encodes them, unchanged.
    pub properties: &'a [u8],
    /// Unchanged.
    pub payload: &'a [u8],
}

impl<'a> LinkPublish<'a> {
    /// The keys of the shared subscriptions.
    pub fn group_keys(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.groups.as_chunks().0.iter().map(|key| u64::from_le_bytes(*key))
    }

    pub(super) fn read(body: &mut FrameReader<'a>) -> Result<Self, LinkFrameError> {
        let [retain, plain, passed_on, expires, is_of_client, is_write, asks] = body.flags()?;
        let qos = body.u8("a QoS")?;
        let qos = Qos::from_bits(qos & 3).filter(|_| qos <= 2).ok_or(LinkFrameError::Invalid("a QoS"))?;
        let expires_in_ms = expires.then(|| body.u64("a remaining time")).transpose()?;
        let publisher = is_of_client.then(|| body.client()).transpose()?;
        let stamp = is_write.then(|| body.stamp()).transpose()?;
        let confirm = asks.then(|| LinkToken::read(body)).transpose()?;
        let groups = usize::from(body.u16("a number of groups")?);
        if groups > LINK_GROUPS_MAX {
            return Err(LinkFrameError::Invalid("a number of groups"));
        }
        let (topic, properties) = (body.u16("a topic")?, body.u32("properties")?);
        let groups = body.take(groups * 8, "groups")?;
        let topic = mqtt_text(body.take(topic.into(), "a topic")?, "a topic")?;
        let properties = body.take(properties as usize, "properties")?;
        let payload = body.rest();
        Ok(Self {
            qos,
            retain,
            plain,
            passed_on,
            expires_in_ms,
            publisher,
            stamp,
            confirm,
            groups,
            topic,
            properties,
            payload,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        debug_assert!(self.groups.len().is_multiple_of(8), "keys of 8 bytes");
        let has =
            [self.expires_in_ms.is_some(), self.publisher.is_some(), self.stamp.is_some(), self.confirm.is_some()];
        out.push(flag_bits([self.retain, self.plain, self.passed_on, has[0], has[1], has[2], has[3]]));
        out.push(self.qos as u8);
        for number in [self.expires_in_ms, self.publisher.map(|client| client.0)].into_iter().flatten() {
            out.extend_from_slice(&number.to_le_bytes());
        }
        if let Some(stamp) = self.stamp {
            put_stamp(out, stamp);
        }
        if let Some(token) = self.confirm {
            token.write(out);
        }
        out.extend_from_slice(&((self.groups.len() / 8) as u16).to_le_bytes());
        out.extend_from_slice(&(self.topic.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.properties.len() as u32).to_le_bytes());
        for bytes in [self.groups, self.topic.as_bytes(), self.properties, self.payload] {
            out.extend_from_slice(bytes);
        }
    }
}

impl LinkToken {
    pub(super) fn read(body: &mut FrameReader<'_>) -> Result<Self, LinkFrameError> {
        Ok(Self { shard: body.u8("a token")?, number: body.u32("a token")? })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.push(self.shard);
        out.extend_from_slice(&self.number.to_le_bytes());
    }
}
