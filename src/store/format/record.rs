//! Every record there is.

use super::forward::ForwardTarget;
use super::message::MessageRecord;
use super::owner::{BackEndDecision, SessionOwner};
use super::queued::QueuedRecord;
use crate::ids::{MessageId, PacketId, SessionId, ShardId, SubscriptionId, WriteStamp};
use crate::time::Timestamp;

/// One change of what survives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRecord<'a> {
    /// A session begins; its slot names it in later records.
    SessionBegun {
        /// Vacant before.
        session: SessionId,
        /// Its key.
        client_id: &'a str,
        /// How long it outlives a connection, in seconds; `u32::MAX` never ends.
        expiry_s: u32,
        /// When.
        at: Timestamp,
    },
    /// A session has ended, and everything of it.
    SessionEnded {
        /// Vacant from now on.
        session: SessionId,
    },
    /// A session outlives its connection for another time than before.
    SessionExpiry {
        /// Whose.
        session: SessionId,
        /// In seconds; `u32::MAX` never ends.
        expiry_s: u32,
    },
    /// The client of a session has come back. Nobody waits for this record.
    Connected {
        /// Whose.
        session: SessionId,
    },
    /// The client of a session has gone.
    Disconnected {
        /// Whose.
        session: SessionId,
        /// When: the session's expiry counts from here.
        at: Timestamp,
    },
    /// The connection of a session has a will.
    WillSet {
        /// Whose.
        session: SessionId,
        /// The will's topic, properties and payload.
        message: MessageId,
        /// How long after the connection's end it is published, in seconds.
        delay_s: u32,
        /// Its message expiry interval, counted from then.
        message_expiry_s: Option<u32>,
    },
    /// The will was published, in the batch that has what came of it, or discarded.
    WillCleared {
        /// Whose.
        session: SessionId,
    },
    /// A session has subscribed.
    Subscribed {
        /// Whose.
        session: SessionId,
        /// The whole filter, `$share/...` included.
        filter: &'a str,
        /// As SUBSCRIBE packs them.
        options: u8,
        /// What its deliveries are marked with.
        identifier: Option<SubscriptionId>,
    },
    /// A session has unsubscribed.
    Unsubscribed {
        /// Whose.
        session: SessionId,
        /// The whole filter.
        filter: &'a str,
    },
    /// A message, once for everybody who is to have it.
    Message(MessageRecord<'a>),
    /// More of a long payload. It comes before whatever refers to the message.
    MessagePart {
        /// What it goes on.
        message: MessageId,
        /// What follows the parts before.
        bytes: &'a [u8],
    },
    /// A session is to get a message.
    Queued(QueuedRecord<'a>),
    /// A queued delivery was sent: the oldest of this message that was not.
    Sent {
        /// To whom.
        session: SessionId,
        /// Which.
        message: MessageId,
        /// What its acknowledgements name it by.
        packet_id: PacketId,
    },
    /// The client has a QoS 2 message: PUBREC has come.
    Released {
        /// From whom.
        session: SessionId,
        /// Of the delivery.
        packet_id: PacketId,
    },
    /// The client has completed a delivery: PUBACK or PUBCOMP has come, or a PUBREC that refuses.
    Completed {
        /// By whom.
        session: SessionId,
        /// Of the delivery.
        packet_id: PacketId,
    },
    /// A session will not get what was queued for it: the oldest delivery of this message that was not completed.
    Dropped {
        /// Who will not.
        session: SessionId,
        /// Which.
        message: MessageId,
        /// As the counters number reasons.
        reason: u8,
    },
    /// A QoS 2 PUBLISH of the client was taken.
    ExchangeOpened {
        /// Whose.
        session: SessionId,
        /// Of the PUBLISH.
        packet_id: PacketId,
    },
    /// Its PUBREL has come, or it was refused.
    ExchangeClosed {
        /// Whose.
        session: SessionId,
        /// Of the PUBLISH.
        packet_id: PacketId,
    },
    /// A message is retained, or none any more. Logged by the owner of the topic.
    Retained {
        /// Under which it is retained.
        topic: &'a str,
        /// The latest wins.
        stamp: WriteStamp,
        /// `None`: deleted.
        message: Option<MessageId>,
    },
    /// A message goes to another log, which counts what came to it from this one.
    Forward(ForwardTarget<'a>),
    /// The broker has started: who was connected is not any more.
    Started {
        /// When.
        at: Timestamp,
    },
    /// In a checkpoint alone: so many forwards have been numbered for a log.
    OutboxCount {
        /// To which.
        to: ShardId,
        /// The last number.
        number: u64,
    },
    /// So many forwards of a log have been taken over: in a checkpoint, and where nothing else was written because of them.
    InboxTaken {
        /// From which.
        from: ShardId,
        /// The last number.
        number: u64,
    },
    /// Whose a session is from now on.
    SessionOwner {
        /// Which.
        session: SessionId,
        /// Whose.
        owner: SessionOwner<'a>,
        /// The filters that a back end has allowed stay allowed.
        keeps_filters: bool,
    },
    /// A back end has said whether a session may be subscribed to a filter.
    FilterDecided {
        /// Whose.
        session: SessionId,
        /// Without `$share/name/`.
        filter: &'a str,
        /// What it said.
        is_allowed: bool,
    },
    /// A back end has said whether the will of a session may be published.
    WillDecided {
        /// Whose.
        session: SessionId,
        /// What it said.
        decision: BackEndDecision,
    },
}

/// The numbers of kinds.
pub(super) mod kind {
    pub(in crate::store::format) const SESSION_BEGUN: u8 = 1;
    pub(in crate::store::format) const SESSION_ENDED: u8 = 2;
    pub(in crate::store::format) const SESSION_EXPIRY: u8 = 3;
    pub(in crate::store::format) const CONNECTED: u8 = 4;
    pub(in crate::store::format) const DISCONNECTED: u8 = 5;
    pub(in crate::store::format) const WILL_SET: u8 = 6;
    pub(in crate::store::format) const WILL_CLEARED: u8 = 7;
    pub(in crate::store::format) const SUBSCRIBED: u8 = 8;
    pub(in crate::store::format) const UNSUBSCRIBED: u8 = 9;
    pub(in crate::store::format) const MESSAGE: u8 = 10;
    pub(in crate::store::format) const MESSAGE_PART: u8 = 11;
    pub(in crate::store::format) const QUEUED: u8 = 12;
    pub(in crate::store::format) const SENT: u8 = 13;
    pub(in crate::store::format) const RELEASED: u8 = 14;
    pub(in crate::store::format) const COMPLETED: u8 = 15;
    pub(in crate::store::format) const DROPPED: u8 = 16;
    pub(in crate::store::format) const EXCHANGE_OPENED: u8 = 17;
    pub(in crate::store::format) const EXCHANGE_CLOSED: u8 = 18;
    pub(in crate::store::format) const RETAINED: u8 = 19;
    pub(in crate::store::format) const FORWARD: u8 = 20;
    pub(in crate::store::format) const STARTED: u8 = 21;
    pub(in crate::store::format) const OUTBOX_COUNT: u8 = 22;
    pub(in crate::store::format) const INBOX_TAKEN: u8 = 23;
    pub(in crate::store::format) const SESSION_OWNER: u8 = 24;
    pub(in crate::store::format) const FILTER_DECIDED: u8 = 25;
    pub(in crate::store::format) const WILL_DECIDED: u8 = 26;
}

/// Number, name and fields of every kind, as `docs/STORAGE-FORMAT.md` lists them. A number is never given twice.
pub const KINDS: [(u8, &str, &str); 26] = [
    (kind::SESSION_BEGUN, "SessionBegun", "session v, expiry_s v, at v, client id"),
    (kind::SESSION_ENDED, "SessionEnded", "session v"),
    (kind::SESSION_EXPIRY, "SessionExpiry", "session v, expiry_s v"),
    (kind::CONNECTED, "Connected", "session v"),
    (kind::DISCONNECTED, "Disconnected", "session v, at v"),
    (kind::WILL_SET, "WillSet", "session v, message d, delay_s v, message expiry_s + 1 v (0: none)"),
    (kind::WILL_CLEARED, "WillCleared", "session v"),
    (kind::SUBSCRIBED, "Subscribed", "session v, options u8, subscription identifier v (0: none), filter"),
    (kind::UNSUBSCRIBED, "Unsubscribed", "session v, filter"),
    (
        kind::MESSAGE,
        "Message",
        "crc32c u32 of kind and what follows, id v, flags u8 (bits 0-1 QoS, 2 RETAIN, 3 end, 4 publisher, 5 parts), [end v], \
         [publisher u64], [bytes in parts v], topic b, bytes of properties v, properties, payload",
    ),
    (
        kind::MESSAGE_PART,
        "MessagePart",
        "crc32c u32 of kind and what follows, message v, what follows of properties and payload",
    ),
    (
        kind::QUEUED,
        "Queued",
        "flags u8 (bit 0 QoS 2, 1 RETAIN, 2 packet identifier, 3 group), session v, message d, [packet identifier u16], \
         [group u64], subscription identifiers v...",
    ),
    (kind::SENT, "Sent", "packet identifier u16, session v, message d"),
    (kind::RELEASED, "Released", "packet identifier u16, session v"),
    (kind::COMPLETED, "Completed", "packet identifier u16, session v"),
    (kind::DROPPED, "Dropped", "reason u8, session v, message d"),
    (kind::EXCHANGE_OPENED, "ExchangeOpened", "packet identifier u16, session v"),
    (kind::EXCHANGE_CLOSED, "ExchangeClosed", "packet identifier u16, session v"),
    (kind::RETAINED, "Retained", "time_ns u64, shard u8, is set u8, [message d], topic"),
    (
        kind::FORWARD,
        "Forward",
        "flags u8 (bit 0 plain, 1 retained), to u8, number v, message d, [time_ns u64, shard u8], groups u64...",
    ),
    (kind::STARTED, "Started", "at v"),
    (kind::OUTBOX_COUNT, "OutboxCount", "to u8, number v"),
    (kind::INBOX_TAKEN, "InboxTaken", "from u8, number v"),
    (
        kind::SESSION_OWNER,
        "SessionOwner",
        "session v, flags u8 (bit 0 user, 1 IPv4, 2 IPv6, 3 superuser, 4 back end, 5 rules, 6 filters stay), [user b], \
         [address 4 or 16 bytes], [rules b], listener",
    ),
    (kind::FILTER_DECIDED, "FilterDecided", "session v, is allowed u8, filter"),
    (kind::WILL_DECIDED, "WillDecided", "session v, decision u8 (1 allow, 2 deny, 3 ignore)"),
];
