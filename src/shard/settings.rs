//! What the operator chose, as the core needs it. Filled by `config`, by tests and by the simulator.

use std::sync::Arc;

use crate::limits;
use crate::session::QueuedMemory;

/// Settings of one shard; the same on every shard of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Shards of the process, `1..=limits::SHARDS_MAX`.
    pub shards: usize,
    /// Largest packet taken from a client, fixed header included, in bytes.
    pub packet_size_max_bytes: u32,
    /// QoS 1 and 2 messages sent to one client and not yet acknowledged.
    pub inflight_max: u16,
    /// QoS 1 and 2 messages accepted from one client and not yet settled; announced to 5.0 clients.
    pub receive_maximum: u16,
    /// Sessions of the whole process, connected or not.
    pub sessions_max: u32,
    /// Messages queued for one session.
    pub queued_messages_max: u32,
    /// Bytes queued for one session.
    pub queued_bytes_max: u64,
    /// Bytes of memory that the queues of all sessions of the process may take together.
    pub queued_memory_max_bytes: u64,
    /// Longest time a session outlives its connection, in seconds.
    pub session_expiry_max_s: u32,
    /// Longest keep alive, in seconds; `u16::MAX` leaves the client's choice alone, 0 (off) included.
    pub keep_alive_max_s: u16,
    /// Topic aliases per connection and direction.
    pub topic_alias_max: u16,
    /// Levels of a topic name or filter.
    pub topic_levels_max: u16,
    /// Retained messages.
    pub retained_max: u32,
    /// Bytes of retained messages: topic, properties and payload.
    pub retained_max_bytes: u64,
    /// Subscriptions of one session.
    pub subscriptions_max: u32,
    /// Subscriptions that one turn sees to where all of a session's have to be. Not the operator's choice: simulations
    /// choose so few that sessions have more.
    pub subscriptions_per_turn: u32,
    /// Encoded bytes that wait for one slow connection before QoS 0 is dropped.
    pub outbox_max_bytes: u32,
    /// Seconds between two publications of `$SYS`; 0 publishes none.
    pub sys_interval_s: u16,
    /// The node's name in `$SYS/brokers/<node>/...`.
    pub node_name: Box<str>,
}

impl Settings {
    /// Sessions of one shard: client ids are spread evenly, so each has an equal part.
    pub const fn sessions_of_shard_max(&self) -> usize {
        (self.sessions_max as usize).div_ceil(self.shards)
    }

    /// Of one session's subscriptions, how many are seen to before the next one's turn.
    pub const fn subscriptions_per_share(&self) -> usize {
        self.subscriptions_per_turn as usize / 4
    }
}

/// What all shards of a process share: made once, and given to each.
#[derive(Clone, Debug)]
pub struct ProcessContext {
    /// What the operator chose, until [`super::Command::Reload`] brings something else.
    pub settings: Arc<Settings>,
    /// What the queues of all shards take together.
    pub queued_memory: Arc<QueuedMemory>,
    /// Keys every table that peers can fill, and all that is hashed alike on every shard. Random in a process; a simulation
    /// chooses it.
    pub seed: u64,
}

impl ProcessContext {
    /// For shards with these settings.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let queued_memory = Arc::new(QueuedMemory::new(settings.queued_memory_max_bytes));
        Self { settings: Arc::new(settings), queued_memory, seed }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 1,
            packet_size_max_bytes: limits::PACKET_SIZE_DEFAULT_BYTES,
            inflight_max: limits::INFLIGHT_DEFAULT,
            receive_maximum: limits::RECEIVE_MAXIMUM_DEFAULT,
            sessions_max: limits::SESSIONS_DEFAULT,
            queued_messages_max: limits::QUEUED_MESSAGES_DEFAULT,
            queued_bytes_max: limits::QUEUED_DEFAULT_BYTES,
            queued_memory_max_bytes: limits::QUEUED_MEMORY_DEFAULT_BYTES,
            session_expiry_max_s: limits::SESSION_EXPIRY_DEFAULT_S,
            keep_alive_max_s: limits::KEEP_ALIVE_DEFAULT_S,
            topic_alias_max: limits::TOPIC_ALIAS_DEFAULT,
            topic_levels_max: limits::TOPIC_LEVELS_DEFAULT,
            retained_max: limits::RETAINED_DEFAULT,
            retained_max_bytes: limits::RETAINED_DEFAULT_BYTES,
            subscriptions_max: limits::SUBSCRIPTIONS_DEFAULT,
            subscriptions_per_turn: limits::SUBSCRIPTIONS_PER_TURN,
            outbox_max_bytes: limits::OUTBOX_DEFAULT_BYTES,
            sys_interval_s: limits::SYS_INTERVAL_DEFAULT_S,
            node_name: "dunlin".into(),
        }
    }
}
