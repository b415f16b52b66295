//! What is under way for a client: what waits to be sent, what was sent and not acknowledged, what it has asked for.

use std::collections::VecDeque;

use super::flags::SnFlags;
use super::message::{SnMessage, TopicRef};
use crate::ids::Qos;
use crate::time::Deadline;

/// What a client has been asked about its will so far.
#[derive(Debug, Default)]
pub(super) struct WillDraft {
    pub(super) flags: Option<SnFlags>,
    pub(super) topic: Box<str>,
}

/// A request of the client's that the shard has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AskedFor {
    pub(super) msg_id: u16,
    /// As the answer names the topic.
    pub(super) topic_id: u16,
    pub(super) kind: AskedKind,
}

/// What the client has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedKind {
    Publish,
    /// By a name without wildcards: the topic id is one that was taken for it.
    SubscribeByName,
    /// By anything else.
    Subscribe,
}

/// What is under way for a client.
#[derive(Debug, Default)]
pub(super) struct UnderWayFor {
    /// PUBLISH packets that have not become datagrams.
    pub(super) waiting: VecDeque<Box<[u8]>>,
    pub(super) waiting_bytes: u32,
    /// What was sent and not acknowledged.
    pub(super) unacknowledged: Vec<Unacknowledged>,
    /// As they came. One that came twice is here twice, because it is answered twice.
    pub(super) asked: Vec<AskedFor>,
    pub(super) will: WillDraft,
}

/// What was sent, and what acknowledges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentKind {
    /// REGACK.
    Register {
        /// The id that the client is told.
        topic_id: u16,
    },
    /// PUBACK, or PUBREC.
    Publish(Qos),
    /// PUBCOMP.
    PubRel,
}

/// One message that waits for its acknowledgement.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) kind: SentKind,
    pub(super) msg_id: u16,
    pub(super) datagram: Box<[u8]>,
    /// How often it has been sent again.
    pub(super) tries: u8,
    /// When it is sent again.
    pub(super) due: Deadline,
}

impl Unacknowledged {
    /// Whether it is a PUBLISH with this id.
    pub(super) fn names(&self, topic_id: u16) -> bool {
        let message = SnMessage::decode(&self.datagram);
        matches!(message, Ok(SnMessage::Publish { topic: TopicRef::Normal(id), .. }) if id == topic_id)
    }

    /// Marks a PUBLISH as one that was sent before.
    pub(super) fn mark_dup(&mut self) {
        if matches!(self.kind, SentKind::Publish(_)) {
            // The flags stand behind length and type.
            let at = if self.datagram.first() == Some(&1) { 4 } else { 2 };
            if let Some(flags) = self.datagram.get_mut(at) {
                *flags |= 0x80;
            }
        }
    }
}
