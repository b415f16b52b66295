//! Questions that are put to a shard from outside, and its answers.
//!
//! Always holds: a command is an input like any other. None takes a millisecond of its shard: a list comes in pages, and
//! what touches more than a page goes on with the shard's ticks. Each command is answered once, by [`Effects::replies`]
//! (at once or later).
//! Leaves to others: who may ask what (whoever passes the command on), the way to the shard and back (`runtime`).
//!
//! [`Effects::replies`]: super::Effects::replies

use std::sync::Arc;

use super::drain::DrainPlan;
pub use super::shown::{
    Audience, ClientFilter, ClientSummary, ClientTraffic, EdgeFacts, GroupRow, SubscriptionRow, TopBy, TopRow,
    TopicRow, TopicsBy, publishers_of,
};
use super::{Settings, ShownProperties};
use crate::auth::acl::RuleSet;
use crate::auth::operator_bans::OperatorBans;
use crate::auth::{BanList, Profiles};
use crate::cluster::{ClusterView, RangeSet};
use crate::ids::{Qos, ShardId};
use crate::session::Message;
use crate::telemetry::Report;
use crate::time::Timestamp;
use crate::topic::Cursor;

/// Names a command. Chosen by whoever passes it on; the answer carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a shard can be asked, or told to do, by others than its clients.
#[derive(Clone, Debug)]
pub enum Command {
    /// Use these settings from now on. The number of shards cannot change. Answered by [`Reply::Done`].
    Reload(Arc<Settings>),
    /// Use these access rules from now on; subscriptions that they do not allow go in the turns that follow. Answered by
    /// [`Reply::Done`].
    UseRules(Option<Arc<RuleSet>>),
    /// Use these profiles for clients that connect from now on. Answered by [`Reply::Done`].
    UseProfiles(Option<Arc<Profiles>>),
    /// Let nobody in who is banned here. Who is connected stays. Answered by [`Reply::Done`].
    UseBans(Option<Arc<OperatorBans>>),
    /// Let nobody in who is on this list. Who is connected stays. Answered by [`Reply::Done`].
    UseBanList(Option<Arc<BanList>>),
    /// Ask clients to go, or, with `None`, ask no more of them. Answered by [`Reply::Done`].
    Drain(Option<DrainPlan>),
    /// Stop or start accepting by a listener. The edge does it before the shard hears of it, or answers itself. Answered by [`Reply::Done`] or
    /// [`Reply::NotNow`].
    SetListener {
        /// Its index, the same on all shards.
        index: u8,
        /// Whether it is to accept.
        is_open: bool,
    },
    /// Listeners have come, gone or changed: the edge has been told another way, and has seen to it before the shard hears of it. Answered by
    /// [`Reply::Done`].
    ChangeListeners,
    /// The cluster is as this says from now on. Goes to shard 0, which tells the others. Answered by [`Reply::Done`], or by
    /// [`Reply::Refused`] on any other shard.
    UseCluster(Arc<ClusterView>),
    /// Forget all that the process with this slot was interested in: it is gone, and in no view any more. Goes to shard 0, which has the others do so.
    /// Answered by [`Reply::Done`] when nothing of it is left anywhere, or by [`Reply::Refused`] or [`Reply::NotNow`].
    ForgetSlot(ShardId),
    /// This node does not serve these ranges any more: close all clients of theirs, and forget their sessions without another word about them. Goes to
    /// each shard, and the view that says so to shard 0 before. Answered by [`Reply::Done`] when nobody of them is left and nobody of them can come in,
    /// by [`Reply::NotNow`] while any of them is being closed, or by [`Reply::Refused`] where there is no cluster.
    CloseRanges(RangeSet),
    /// What has happened and what is held. Answered by [`Reply::Counts`].
    Counts,
    /// A page of the sessions of this shard. Answered by [`Reply::Clients`].
    ListClients {
        /// Where the page before it ended; `None` begins.
        after: Option<ClientCursor>,
        /// Sessions that the page may have, up to [`PAGE_MAX`].
        limit: u16,
        /// Which of them are wanted.
        filter: ClientFilter,
    },
    /// A page of subscriptions. Answered by [`Reply::Audience`] or [`Reply::Refused`].
    ListAudience {
        /// Which.
        of: Audience,
        /// Where the page before it ended, for the same ones; `None` begins.
        after: Option<ClientCursor>,
        /// Subscriptions that the page may have, up to [`PAGE_MAX`].
        limit: u16,
    },
    /// A page of the shared subscriptions, which every shard knows. Answered by [`Reply::Groups`].
    ListGroups {
        /// Where the page before it ended; 0 begins.
        first: u32,
        /// Those that the page may have, up to [`PAGE_MAX`].
        limit: u16,
    },
    /// The first clients in an order. What is only known while it is counted is counted from now on for a while. Answered by [`Reply::Top`] or
    /// [`Reply::NotNow`].
    ListTop {
        /// The order.
        by: TopBy,
        /// How many, up to [`PAGE_MAX`].
        limit: u16,
    },
    /// The first of the topics that are published, which are counted from now on for a while. Answered by [`Reply::Topics`].
    ListTopics {
        /// The order.
        by: TopicsBy,
        /// How many, up to [`crate::limits::TOPICS_SEEN_MAX`], which are all that are kept.
        limit: u16,
    },
    /// What one client holds. Answered by [`Reply::Client`] or [`Reply::NotFound`].
    DescribeClient {
        /// As it came in CONNECT, or was assigned.
        client_id: Box<str>,
    },
    /// A page of one client's filters, [`PAGE_MAX`] of them at most. Answered by [`Reply::Subscriptions`] or [`Reply::NotFound`].
    ListSubscriptions {
        /// As it came in CONNECT, or was assigned.
        client_id: Box<str>,
        /// Where the page before it ended; 0 begins.
        first: u32,
    },
    /// Close a client's connection with 0x98, and end its session if asked to. Answered by [`Reply::Done`] or
    /// [`Reply::NotFound`].
    Disconnect {
        /// As it came in CONNECT, or was assigned.
        client_id: Box<str>,
        /// What becomes of its session.
        session: SessionFate,
        /// Why, for the client (MQTT 5.0) and the log; up to [`crate::limits::OPERATOR_REASON_MAX_BYTES`].
        reason: Option<Box<str>>,
    },
    /// Publish a message on nobody's account. Answered by [`Reply::Published`], [`Reply::Refused`] or [`Reply::NotNow`] when it has been
    /// routed, which says nothing about storage.
    Publish(Message),
    /// A page of the retained messages that match a filter, which every shard has. Answered by [`Reply::Retained`] or
    /// [`Reply::Refused`].
    ListRetained {
        /// The filter. `#` does not match topics that begin with `$`.
        filter: Box<str>,
        /// Where the page before it ended, for the same filter; the default begins.
        cursor: Cursor,
        /// Messages that the page may have, up to [`PAGE_MAX`].
        limit: u16,
    },
    /// Delete the retained messages that match a filter, on every shard. Subscribers are sent nothing. Messages written
    /// after the command stay. Answered by [`Reply::Deleted`], [`Reply::Refused`] or [`Reply::NotNow`].
    DeleteRetained {
        /// The filter. `#` does not match topics that begin with `$`; one that begins with `$SYS` is refused.
        filter: Box<str>,
    },
}

/// What becomes of the session of a client that is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFate {
    /// As with any other lost connection.
    Kept,
    /// It ends: subscriptions and queue go, its will is published.
    Ended,
}

/// Where a page of sessions ended, and where the last one will: sessions that begin meanwhile cannot make a list endless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCursor {
    /// The next slot to be looked at.
    pub(super) next: u32,
    /// One more than the last.
    pub(super) end: u32,
    /// How far it has come within that slot.
    pub(super) within: u32,
}

impl ClientCursor {
    /// Slots of the next and of the end, and how far it has come, for whoever hands it to somebody who brings it back.
    pub const fn numbers(self) -> [u32; 3] {
        [self.next, self.end, self.within]
    }

    /// One that was handed out, or that somebody made up: any place is one.
    pub const fn of_numbers([next, end, within]: [u32; 3]) -> Self {
        Self { next, end, within }
    }
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// What was asked for holds from now on.
    Done,
    /// No session has that client id.
    NotFound,
    /// It cannot be done, for this reason.
    Refused(&'static str),
    /// It cannot be done now, for this reason: later it may.
    NotNow(&'static str),
    /// To [`Command::Counts`].
    Counts(Box<Report>),
    /// To [`Command::ListClients`].
    Clients {
        /// Sessions, each of them once in all pages together if it exists from the first to the last.
        page: Vec<ClientSummary>,
        /// For the next page; `None` after the last. A page may have fewer sessions than asked for, or none, before it.
        next: Option<ClientCursor>,
    },
    /// To [`Command::ListAudience`].
    Audience {
        /// Subscriptions, each of them once in all pages together if it exists from the first to the last.
        page: Vec<SubscriptionRow>,
        /// For the next page; `None` after the last. A page may have fewer than asked for, or none, before it.
        next: Option<ClientCursor>,
    },
    /// To [`Command::ListGroups`].
    Groups {
        /// In no order that means anything.
        page: Vec<GroupRow>,
        /// For the next page; `None` after the last.
        next: Option<u32>,
    },
    /// To [`Command::ListTop`].
    Top {
        /// The greatest first; none with 0.
        rows: Vec<TopRow>,
        /// How long has been counted what is only known while it is, in milliseconds.
        counted_ms: u64,
    },
    /// To [`Command::ListTopics`].
    Topics {
        /// The first in the order that was asked for.
        rows: Vec<TopicRow>,
        /// How long they have been counted, in milliseconds.
        counted_ms: u64,
    },
    /// To [`Command::DescribeClient`].
    Client(Box<ClientDetails>),
    /// To [`Command::ListSubscriptions`].
    Subscriptions {
        /// Each with its filter, whole, `$share/...` included, and once in all pages together if it exists from the first to the last.
        page: Vec<SubscriptionRow>,
        /// Filters in all.
        total: u32,
        /// For the next page; `None` after the last.
        next: Option<u32>,
    },
    /// To [`Command::Publish`].
    Published {
        /// Whether anybody has a matching subscription.
        matched: bool,
    },
    /// To [`Command::ListRetained`].
    Retained {
        /// In the order of their topics.
        page: Vec<RetainedSummary>,
        /// For the next page; `None` after the last. A page may have fewer messages than asked for, or none, before it.
        next: Option<Cursor>,
    },
    /// To [`Command::DeleteRetained`].
    Deleted {
        /// How many this shard had found and deleted.
        messages: u64,
    },
}

/// One line of a list of retained messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedSummary {
    /// Its topic name.
    pub topic: Box<str>,
    /// QoS of its publisher.
    pub qos: Qos,
    /// What it says about its payload, and what its publisher adds: [`PAYLOAD_SHOWN_MAX_BYTES`] at most.
    pub properties: ShownProperties,
    /// Its payload, or the first [`PAYLOAD_SHOWN_MAX_BYTES`] of it.
    pub payload: Box<[u8]>,
    /// How long the whole payload is, in bytes.
    pub payload_bytes: u32,
    /// When it goes; `None` stays.
    pub expires_at: Option<Timestamp>,
}

/// What one client holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientDetails {
    /// As in a list.
    pub summary: ClientSummary,
    /// `None` while it has none.
    pub connection: Option<ConnectionDetails>,
    /// How long the session outlives its connection, in seconds; `u32::MAX` never ends.
    pub session_expiry_s: u32,
    /// When its connection ended; `None` while it has one.
    pub disconnected_at: Option<Timestamp>,
    /// When the session ends if the client does not come back; `None` while it is connected, and for one that never ends.
    pub expires_at: Option<Timestamp>,
    /// Messages sent and not yet acknowledged.
    pub in_flight: u16,
    /// Bytes of topics, properties and payloads that are queued.
    pub queued_bytes: u64,
    /// QoS 2 messages of the client that it has not released yet.
    pub open_exchanges: u32,
    /// Whether a will waits to be published or discarded.
    pub has_will: bool,
    /// Messages that wait, in flight not counted.
    pub queued: u32,
    /// How long the oldest of those has waited, in milliseconds; `None` where none waits.
    pub oldest_queued_ms: Option<u64>,
    /// What it has sent and been sent, and for how many milliseconds that has been counted; `None` where it is not.
    pub traffic: Option<(ClientTraffic, u64)>,
    /// Messages for it that were dropped since its session is there; counted of bridges and sinks alone.
    pub lost: u64,
}

/// What a connected client holds beside its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionDetails {
    /// The listener that it came by.
    pub listener: Option<Box<str>>,
    /// Version and cipher suite, where it came in TLS.
    pub tls: Option<(&'static str, String)>,
    /// How long it has been connected, in milliseconds.
    pub connected_ms: u64,
    /// Seconds since it last sent anything.
    pub silent_s: u32,
    /// In force, in seconds; 0 is off.
    pub keep_alive_s: u16,
    /// QoS 1 and 2 messages that it may be sent before it acknowledges one.
    pub receive_maximum: u16,
    /// Largest packet that it takes, in bytes.
    pub packet_size_max_bytes: u32,
    /// Bytes that its socket has not taken.
    pub unsent_bytes: u32,
}

/// Sessions, or filters, of one page.
pub const PAGE_MAX: u16 = 256;
/// Slots of the table of sessions, or of shared subscriptions, that one page looks at.
pub(super) const SLOTS_PER_PAGE: u32 = 1_024;
/// Bytes of a payload that a list shows.
pub const PAYLOAD_SHOWN_MAX_BYTES: usize = 4 * 1024;
/// Bytes of client ids, filters, or topics and payloads, after which a page ends though it has fewer: each may have 65,535.
pub const PAGE_MAX_BYTES: usize = 64 * 1024;
