//! One message for one client: what stands in its queue and in its window.

use triomphe::ThinArc;

use super::message::Message;
use crate::ids::{MessageId, Qos, SubscriptionId};
use crate::topic::GroupTag;

/// The subscription identifiers that one delivery carries: mostly none or one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionIds {
    /// No matching subscription has an identifier.
    #[default]
    None,
    /// Exactly one has.
    One(SubscriptionId),
    /// Several have [MQTT-3.3.4-4].
    Many(ThinArc<(), SubscriptionId>),
}

impl SubscriptionIds {
    /// From a list.
    pub fn from_slice(ids: &[SubscriptionId]) -> Self {
        match ids {
            [] => Self::None,
            [one] => Self::One(*one),
            many => Self::Many(ThinArc::from_header_and_slice((), many)),
        }
    }

    /// As a list.
    pub fn as_slice(&self) -> &[SubscriptionId] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => &many.slice,
        }
    }
}

/// One message for one client, with what is special about this copy.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Shared with every other session that gets it.
    pub message: Message,
    /// Identifiers of the subscriptions that it is delivered for.
    pub ids: SubscriptionIds,
    /// The lower of published and granted QoS [MQTT-3.8.4-8].
    pub qos: Qos,
    /// RETAIN of this copy.
    pub retain: bool,
    /// The shared subscription that the session was picked for.
    pub group: GroupTag,
    /// What the shard's log knows it by; [`MessageId::NONE`] where the session's state is not kept.
    pub stored_as: MessageId,
}

const _: () = assert!(size_of::<Delivery>() == 40, "a queue of a million is forty megabytes");

impl Delivery {
    /// Bytes that count against a queue: topic, properties (the identifiers are among them) and payload.
    pub fn len_bytes(&self) -> u64 {
        self.message.len_bytes() + self.ids_bytes()
    }

    pub(super) fn ids_bytes(&self) -> u64 {
        size_of_val(self.ids.as_slice()) as u64
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::codec::Forwarded;
    use crate::session::message::MessageRef;

    pub(crate) fn delivery(topic: &str) -> Delivery {
        let message = Message::new(&MessageRef {
            topic,
            qos: Qos::AtLeastOnce,
            retain: false,
            expires: None,
            publisher: None,
            properties: Forwarded::EMPTY,
            payload: b"12345",
        });
        Delivery {
            message,
            ids: SubscriptionIds::None,
            qos: Qos::AtLeastOnce,
            retain: false,
            group: GroupTag::NONE,
            stored_as: MessageId::NONE,
        }
    }
}
