//! What a session has only while its client is connected. Dropped whole when the connection ends.

use std::collections::VecDeque;

use super::alias::{AliasesIn, AliasesOut};
use super::inbound::AckQueue;
use super::replays::{Replay, Replays};
use super::request::Request;
use crate::codec::{Connect, Version};
use crate::ids::{ConnectionId, INTERNAL_LISTENER, PacketId};
use crate::limits;
use crate::time::{Deadline, Now};
use crate::topic::EntryId;

/// An open exchange whose packet is still to go out on this connection.
#[derive(Debug, Clone, Copy)]
pub struct Resend {
    /// Names the exchange.
    pub packet_id: PacketId,
    /// Whether an earlier connection may have carried its PUBLISH, which then has DUP [MQTT-3.3.1-1].
    pub dup: bool,
}

/// What goes out before anything new does.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Exchanges that were open when the connection was made, oldest first [MQTT-4.4.0-1], and behind them what has waited for stable storage
    /// and found no room.
    pub resend: VecDeque<Resend>,
    /// Retained messages still to be replayed to new subscriptions.
    pub replays: Replays,
    /// SUBACKs that had been owed when the connection was made: replays that belong to them are of an earlier one.
    pub inherited: u64,
    /// A request that takes several turns.
    pub request: Option<Box<Request>>,
    /// What was open waits for stable storage.
    pub waits: bool,
    /// SUBACKs that do: replays wait for them.
    pub subacks: u32,
}

impl Backlog {
    /// The oldest replay, if nothing has to come first: a SUBACK goes before it, and `released` of them have left.
    pub fn ready_replay(&self, released: u64) -> Option<&Replay> {
        let replay = self.replays.first()?;
        (self.resend.is_empty()
            && self.request.is_none()
            && self.subacks == 0
            && replay.suback <= released.max(self.inherited))
        .then_some(replay)
    }
}

/// One connection's part of a session's state.
#[derive(Debug)]
pub struct Link {
    /// The edge's name for it, which all effects carry.
    pub connection: ConnectionId,
    /// Largest packet the client takes, in bytes [MQTT-3.1.2-24].
    pub packet_size_max_bytes: u32,
    /// When a packet, or enough of one, was last received, in ticks of the shard's timers. See [`Link::note_received`].
    last_received_tick: u32,
    /// Encoded bytes that the socket has not taken, as the edge last said.
    blocked_bytes: u32,
    /// Encoded bytes since the flush `flush`.
    fresh_bytes: u32,
    /// The shard's flush that `fresh_bytes` belongs to.
    flush: u32,
    /// When the connection was made. Exact: the log tells how long it lasted, and most that fail last milliseconds.
    pub connected: Deadline,
    /// In force, after capping; 0 is off.
    pub keep_alive_s: u16,
    /// The most the broker may have in flight to the client.
    pub window_max: u16,
    /// Aliases that the client takes.
    pub alias_max: u16,
    /// Protocol version.
    pub version: Version,
    /// Whether reason strings and user properties may go on every packet [MQTT-3.1.2-29].
    pub problem_information: bool,
    /// Takeovers of this client id that weigh on the next one; see [`Link::takeovers_at`].
    pub takeovers: u8,
    /// The index of the listener that the client came by, where it holds a place.
    pub listener: u8,
    /// QoS 2 exchanges of the client were open when the connection was made: their PUBREC may never have left.
    pub inherits_exchanges: bool,
    marks: Marks,
    /// The client's aliases.
    pub aliases_in: Option<Box<AliasesIn>>,
    /// The broker's aliases.
    pub aliases_out: Option<Box<AliasesOut>>,
    /// Acknowledgements that wait for stable storage or for their turn.
    pub acks: Option<Box<AckQueue>>,
    /// What has to be sent again, or first, to a session that is being resumed or has just subscribed.
    pub backlog: Option<Box<Backlog>>,
}

/// More that is or is not so of a connection, in one byte.
#[derive(Clone, Copy, Debug)]
struct Marks(u8);

impl Marks {
    const BRIDGE: u8 = 1;
    const REFUSAL_TOLD: u8 = 2;
    const HELD_BACK: u8 = 4;
    const SPARED: u8 = 8;
    const HELD_FOR_ROOM: u8 = 16;
    const HELD_FOR_FANOUT: u8 = 32;
    const HELD_FOR_ANSWER: u8 = 64;
    /// Each of those for which the client is not read.
    const HELD: u8 = Self::HELD_BACK | Self::HELD_FOR_ROOM | Self::HELD_FOR_FANOUT | Self::HELD_FOR_ANSWER;

    const fn set(&mut self, mark: u8, on: bool) {
        self.0 = if on { self.0 | mark } else { self.0 & !mark };
    }
}

/// How finely deadlines lie, in milliseconds: one in thirty of the patience at most, or a tick. The coarser, the more clients come due
/// together, which costs one turn for all of them.
const fn keep_alive_step_ms(keep_alive_s: u16) -> u64 {
    match keep_alive_s {
        0..4 => limits::TIMER_TICK_MS,
        4..20 => 2 * limits::TIMER_TICK_MS,
        _ => 1_000,
    }
}

// 15,000 idle clients hold 15,000 of these: growth is a decision. See docs/measurements, "Where the bytes go".
const _: () = assert!(size_of::<Link>() <= 80);

impl Link {
    /// For an accepted CONNECT.
    pub fn new(
        connection: ConnectionId,
        connect: &Connect<'_>,
        keep_alive_s: u16,
        inflight_max: u16,
        now: Now,
    ) -> Self {
        Self {
            connection,
            packet_size_max_bytes: connect.maximum_packet_size_bytes,
            last_received_tick: tick(now),
            blocked_bytes: 0,
            fresh_bytes: 0,
            flush: 0,
            connected: Deadline(now.ms()),
            keep_alive_s,
            window_max: connect.receive_maximum.min(inflight_max),
            alias_max: connect.topic_alias_maximum.min(limits::TOPIC_ALIAS_OUT_MAX),
            version: connect.version,
            problem_information: connect.request_problem_information,
            takeovers: 0,
            listener: 0,
            inherits_exchanges: false,
            marks: Marks(if connect.is_bridge { Marks::BRIDGE } else { 0 }),
            aliases_in: None,
            aliases_out: None,
            acks: None,
            backlog: None,
        }
    }

    /// The client has shown that it is there.
    #[inline]
    pub const fn note_received(&mut self, now: Now) {
        self.last_received_tick = tick(now);
    }

    /// How long nothing has come, in whole seconds.
    pub const fn silent_s(&self, now: Now) -> u32 {
        tick(now).saturating_sub(self.last_received_tick) / (1_000 / limits::TIMER_TICK_MS) as u32
    }

    /// When the client has been silent for too long: 1.5 times the keep alive [MQTT-3.1.2-22], and what it takes to be sure
    /// of that, since the last packet is remembered by its tick.
    pub fn keep_alive_deadline(&self) -> Option<Deadline> {
        let step_ms = keep_alive_step_ms(self.keep_alive_s);
        let received_ms = u64::from(self.last_received_tick) * limits::TIMER_TICK_MS;
        let latest_ms = received_ms - received_ms % step_ms + step_ms - 1;
        (self.keep_alive_s > 0).then(|| Deadline(latest_ms + u64::from(self.keep_alive_s) * 1_500))
    }

    /// Whether its client is a service of the broker's own, which is told how long messages have waited.
    pub const fn is_service(&self) -> bool {
        self.listener == INTERNAL_LISTENER
    }

    /// Whether the client said in CONNECT that it is a bridge.
    pub const fn is_bridge(&self) -> bool {
        self.marks.0 & Marks::BRIDGE != 0
    }

    /// Notes that the log tells of a message that was refused on this connection. Returns whether it is the first.
    pub const fn tell_refusal(&mut self) -> bool {
        let is_first = self.marks.0 & Marks::REFUSAL_TOLD == 0;
        self.marks.0 |= Marks::REFUSAL_TOLD;
        is_first
    }

    /// Whether the client is not read, because many of its messages wait for subscribers' queues.
    pub const fn is_held_back(&self) -> bool {
        self.marks.0 & Marks::HELD_BACK != 0
    }

    /// Notes that it is not read, or that it is again.
    pub const fn set_held_back(&mut self, on: bool) {
        self.marks.set(Marks::HELD_BACK, on);
    }

    /// Whether it is read although as many of its messages wait: it was not for as long as its keep alive lets it be silent.
    pub const fn is_spared(&self) -> bool {
        self.marks.0 & Marks::SPARED != 0
    }

    /// Notes that, or that it is over.
    pub const fn set_spared(&mut self, on: bool) {
        self.marks.set(Marks::SPARED, on);
    }

    /// Whether the client is not read, because a disk, or a link to another node, is slower than what is published.
    pub const fn is_held_for_room(&self) -> bool {
        self.marks.0 & Marks::HELD_FOR_ROOM != 0
    }

    /// Notes that, or that it is over.
    pub const fn set_held_for_room(&mut self, on: bool) {
        self.marks.set(Marks::HELD_FOR_ROOM, on);
    }

    /// Notes that the client is not read until a message of it has been delivered to many, or that this is over.
    pub const fn set_held_for_fanout(&mut self, on: bool) {
        self.marks.set(Marks::HELD_FOR_FANOUT, on);
    }

    /// Notes that the client is not read until somebody has decided about a packet of it, or that this is over.
    pub const fn set_held_for_answer(&mut self, on: bool) {
        self.marks.set(Marks::HELD_FOR_ANSWER, on);
    }

    /// Whether the client is not read for one of these, or because its last packet takes several turns. Rates aside.
    pub fn is_held(&self) -> bool {
        self.marks.0 & Marks::HELD != 0 || self.backlog.as_deref().is_some_and(|backlog| backlog.request.is_some())
    }

    /// Takeovers of this client id that are not forgotten yet: a leaky bucket that this connection inherited with its
    /// client id, and that leaks since it was made.
    pub fn takeovers_at(&self, now: Now) -> u8 {
        let leaked = now.ms().saturating_sub(self.connected.0) / limits::TAKEOVER_REFILL_MS;
        self.takeovers.saturating_sub(u8::try_from(leaked).unwrap_or(u8::MAX))
    }

    /// Encoded bytes that have not reached the socket. `flush` counts the shard's flushes: what was encoded before the
    /// latest one has been given to the socket, and whatever did not fit is in what the edge reported.
    pub const fn outbox_bytes(&self, flush: u32) -> u32 {
        if self.flush == flush { self.blocked_bytes.saturating_add(self.fresh_bytes) } else { self.blocked_bytes }
    }

    /// Counts `bytes` more.
    pub const fn add_outbox(&mut self, flush: u32, bytes: u32) {
        if self.flush != flush {
            self.flush = flush;
            self.fresh_bytes = 0;
        }
        self.fresh_bytes = self.fresh_bytes.saturating_add(bytes);
    }

    /// Whether the socket refuses bytes: the edge will say when it no longer does.
    pub const fn is_blocked(&self) -> bool {
        self.blocked_bytes > 0
    }

    /// Exchanges that were in flight on an earlier connection and have not been sent on this one.
    pub fn resends(&self) -> usize {
        self.backlog.as_deref().map_or(0, |backlog| backlog.resend.len())
    }

    /// Replays that are under way or wait for their turn.
    pub fn replays(&self) -> usize {
        self.backlog.as_deref().map_or(0, |backlog| backlog.replays.len())
    }

    /// Whether a replay to this subscription is under way or waits.
    pub fn is_to_be_shown(&self, entry: EntryId) -> bool {
        self.backlog.as_deref().is_some_and(|backlog| backlog.replays.has(entry))
    }

    /// What goes out before anything new, made if need be.
    pub fn backlog_mut(&mut self) -> &mut Backlog {
        self.backlog.get_or_insert_default()
    }

    /// The edge says how much the socket has not taken.
    pub const fn set_blocked(&mut self, bytes: u32) {
        self.blocked_bytes = bytes;
    }
}

/// The timers' tick that `now` falls into. 32 bits hold 13 years of them.
pub(super) const fn tick(now: Now) -> u32 {
    (now.mono_ns / (limits::TIMER_TICK_MS * 1_000_000)) as u32
}
