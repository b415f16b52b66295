//! One client's state machine.
//!
//! Owns: what MQTT calls session state (subscriptions by place in the index, exchanges in both directions, the queue,
//! the will, the expiry) and, while connected, the [`Link`]. One thing is not of one client: [`QueuedMemory`], the sum of
//! what stands in the queues of all.
//! Always holds: at most one link; nothing here allocates for a client that is silent; queues stay within the limits
//! that the caller passes in.
//! Leaves to others: who gets which message (`shard`), bytes (`codec`), time (passed in), storage (`store`).

pub mod alias;
pub mod delivery;
pub mod disk_queue;
pub mod inbound;
pub mod link;
pub mod message;
pub mod outbound;
pub mod queued_memory;
pub mod replays;
pub mod request;
pub mod subscriptions;
pub mod will;
pub mod window;

use crate::ids::{ClientKey, PacketId};
use crate::time::Deadline;

pub use alias::{AliasesIn, AliasesOut, TopicForm};
pub use delivery::{Delivery, SubscriptionIds};
pub use disk_queue::{DiskDelivery, DiskQueue, PageState};
pub use inbound::{AckNumber, AckQueue, OpenExchanges, PendingAck, Reception};
pub use link::{Backlog, Link, Resend};
pub use message::{Copied, Message, MessageRef, Routed, expiry_of};
pub use outbound::{GivenUp, Outbound, QueueLimits};
pub use queued_memory::{QueueTotals, QueuedMemory};
pub use replays::{Replay, Replays};
pub use request::{Request, RequestKind};
pub use subscriptions::{Place, Subscriptions};
pub use will::Will;
pub use window::{Exchange, Window};

/// One client's state.
#[derive(Debug)]
pub struct Session {
    /// The key of the session [MQTT-3.1.3-2].
    pub client_id: Box<str>,
    /// The same, reduced; see [`ClientKey`].
    pub key: ClientKey,
    /// The connection, while there is one.
    pub link: Option<Box<Link>>,
    /// What it is subscribed to.
    pub subscriptions: Subscriptions,
    /// Bytes of the filters that it is subscribed to.
    pub subscriptions_bytes: u32,
    outbound: Option<Box<Outbound>>,
    /// QoS 2 exchanges begun by the client.
    pub exchanges: OpenExchanges,
    /// The will of the present or the last connection, until it is published or discarded.
    pub will: Option<Box<Will>>,
    /// When the connection ended.
    pub disconnected: Option<Deadline>,
    /// How long the session outlives its connection, in seconds; `u32::MAX` never ends.
    pub expiry_s: u32,
    /// The tick of the shard's timer that is armed for this session; a timer with another tick is stale.
    pub armed_tick: Option<u32>,
    next_packet_id: PacketId,
    /// Whether it stands in the shard's list of sessions with work.
    pub has_work: bool,
    /// Whether the index counts its subscriptions as ones that publishers' acknowledgements wait for. Set for good when it
    /// begins as a kept session: one whose client comes back and asks for no expiry is counted on, which costs others a
    /// round trip and nothing else, where it would cost this shard a walk over all its subscriptions.
    pub counts_as_durable: bool,
    /// It has ended and waits for its subscriptions to be taken out of the index, some in each turn.
    pub has_ended: bool,
    /// Its client has asked for no expiry while messages for it were on disk alone: it is kept until its connection ends, and no longer.
    pub ends_with_connection: bool,
    /// Of its shared subscriptions, so many from the first have not been told whether the client is connected.
    pub groups_to_update: u32,
}

// See docs/measurements, "Where the bytes go".
const _: () = assert!(size_of::<Session>() <= 136);

impl Session {
    /// A session without history.
    pub fn new(client_id: &str, key: ClientKey) -> Self {
        Self {
            client_id: client_id.into(),
            key,
            link: None,
            subscriptions: Subscriptions::default(),
            subscriptions_bytes: 0,
            outbound: None,
            exchanges: OpenExchanges::default(),
            will: None,
            disconnected: None,
            expiry_s: 0,
            armed_tick: None,
            next_packet_id: PacketId::MIN,
            has_work: false,
            counts_as_durable: false,
            has_ended: false,
            ends_with_connection: false,
            groups_to_update: 0,
        }
    }

    /// Whether it outlives its connection.
    pub const fn outlives_connection(&self) -> bool {
        self.is_persistent() && !self.ends_with_connection
    }

    /// Whether the session outlives its connection.
    pub const fn is_persistent(&self) -> bool {
        self.expiry_s > 0
    }

    /// What is on its way to the client, if anything was since the last trim.
    pub fn outbound(&self) -> Option<&Outbound> {
        self.outbound.as_deref()
    }

    /// What is on its way to the client, if anything was since the last trim.
    pub fn outbound_existing_mut(&mut self) -> Option<&mut Outbound> {
        self.outbound.as_deref_mut()
    }

    /// What is on its way to the client, made if need be.
    pub fn outbound_mut(&mut self) -> &mut Outbound {
        self.outbound.get_or_insert_with(|| Box::new(Outbound::continuing_at(self.next_packet_id)))
    }

    /// Takes everything on its way to the client out, for good.
    pub fn take_outbound(&mut self) -> Option<Box<Outbound>> {
        self.outbound.take()
    }

    /// Gives back the memory of what is idle, and forgets what only a client asks for that has just been here: called when the
    /// client has been silent for a while.
    pub fn trim_silent(&mut self) {
        self.trim();
        self.exchanges.trim();
    }

    /// Gives back the memory of what is idle: called when the client has gone.
    pub fn trim(&mut self) {
        if let Some(outbound) = &self.outbound
            && outbound.is_idle()
        {
            self.next_packet_id = outbound.window().next_id();
            self.outbound = None;
        }
        self.exchanges.shrink();
        if let Some(link) = &mut self.link {
            link.acks.take_if(|acks| acks.is_empty());
        }
    }

    /// When the session ends if nobody comes back.
    pub fn expires(&self) -> Option<Deadline> {
        let ended = self.disconnected?;
        (self.expiry_s != u32::MAX).then(|| Deadline(ended.0 + u64::from(self.expiry_s) * 1_000))
    }

    /// When the will is owed if nobody comes back.
    pub fn will_due(&self) -> Option<Deadline> {
        let ended = self.disconnected?;
        let will = self.will.as_deref()?;
        Some(Deadline(ended.0 + u64::from(will.delay_s) * 1_000))
    }

    /// The next instant at which something has to be done about this session.
    pub fn next_deadline(&self) -> Option<Deadline> {
        match &self.link {
            Some(link) => link.keep_alive_deadline(),
            None => [self.expires(), self.will_due()].into_iter().flatten().min(),
        }
    }
}
