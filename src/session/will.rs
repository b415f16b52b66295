//! A will: the message that a client leaves behind (MQTT 5.0, 3.1.2.5).

use super::message::{Message, MessageRef, expiry_of};
use crate::codec;
use crate::ids::{ClientKey, Qos};
use crate::time::Now;

/// Kept with the session until it is published or discarded.
#[derive(Debug)]
pub struct Will {
    /// The message, without its expiry: that begins when the will is published.
    message: Message,
    /// How long after the connection's end it is published, in seconds.
    pub delay_s: u32,
    /// Its message expiry interval, counted from then.
    pub message_expiry_s: Option<u32>,
}

impl Will {
    /// From CONNECT; topic and flags have been checked.
    pub fn new(will: &codec::ConnectWill<'_>, publisher: ClientKey) -> Self {
        let message = Message::new(&MessageRef {
            topic: will.topic,
            qos: will.qos,
            retain: will.retain,
            expires: None,
            publisher: Some(publisher),
            properties: will.properties,
            payload: will.payload,
        });
        Self { message, delay_s: will.delay_s, message_expiry_s: will.message_expiry_s }
    }

    /// As it was written down.
    pub const fn restored(message: Message, delay_s: u32, message_expiry_s: Option<u32>) -> Self {
        Self { message, delay_s, message_expiry_s }
    }

    /// The message as it is published at `now`.
    pub fn message(&self, now: Now) -> MessageRef<'_> {
        MessageRef { expires: self.message_expiry_s.map(|seconds| expiry_of(now, seconds)), ..self.message.borrow() }
    }

    /// The message without its end, as it is kept.
    pub const fn kept(&self) -> &Message {
        &self.message
    }

    /// Its QoS.
    pub fn qos(&self) -> Qos {
        self.message.qos()
    }
}
