//! What a shard writes down, one record per change that outlives a connection.

use std::sync::Arc;

use crate::ids::{PacketId, Qos, SessionId};

/// Place of a record in its shard's log, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Position(pub u64);

/// One change of state that a persistent session, or a retained message, survives a restart by. Generic over the
/// shared message `M`, which belongs to the session module.
#[derive(Clone, Debug)]
pub enum Record<M> {
    /// A persistent session begins; its slot names it in later records.
    SessionBegun {
        /// Slot of the session.
        session: SessionId,
        /// Its key.
        client_id: Box<str>,
        /// How long it outlives a connection, in seconds.
        expiry_s: u32,
    },
    /// A persistent session ended.
    SessionEnded {
        /// Slot of the session.
        session: SessionId,
    },
    /// A persistent session subscribed.
    Subscribed {
        /// Slot of the session.
        session: SessionId,
        /// The whole filter, `$share/...` included.
        filter: Box<str>,
        /// Packed subscription options.
        options: u8,
    },
    /// A persistent session unsubscribed.
    Unsubscribed {
        /// Slot of the session.
        session: SessionId,
        /// The whole filter.
        filter: Box<str>,
    },
    /// A message that a persistent session must get.
    Queued {
        /// Slot of the session.
        session: SessionId,
        /// Shared with whoever else keeps it.
        message: M,
        /// QoS of this delivery: 1 or 2.
        qos: Qos,
        /// RETAIN of this delivery.
        retain: bool,
    },
    /// The client has completed the oldest delivery in flight with this identifier.
    Completed {
        /// Slot of the session.
        session: SessionId,
        /// Identifier of the exchange.
        packet_id: PacketId,
    },
    /// A QoS 2 PUBLISH of the client was taken over.
    ExchangeOpened {
        /// Slot of the session.
        session: SessionId,
        /// Identifier of the exchange.
        packet_id: PacketId,
    },
    /// Its PUBREL came.
    ExchangeClosed {
        /// Slot of the session.
        session: SessionId,
        /// Identifier of the exchange.
        packet_id: PacketId,
    },
    /// A retained message was set (`Some`) or cleared (`None`).
    Retained {
        /// Under which the message is retained.
        topic: Arc<str>,
        /// The message, or none.
        message: Option<M>,
    },
}
