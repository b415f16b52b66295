//! The part of a shard that has to do with one client at a time: its session and connection, what it is to be sent, and when
//! somebody has to look after it.
//!
//! Owns: the sessions of this shard, their timers and the list of those with work, the totals of their queues, the record log
//! of what waits for stable storage, and what is counted.
//! Always holds: a message is delivered to a session within its limits or dropped for a reason that is counted.
//! Leaves to others: which session gets a message (`router`), what a packet means (the shard).

use std::collections::VecDeque;
use std::sync::Arc;

use super::access::AccessControl;
use super::client_events::ClientEvents;
use super::closing_ranges::ClosingRanges;
use super::disk_reads::DiskReads;
use super::hold_back::HoldBack;
use super::log_room::LogRooms;
use super::losses::Losses;
use super::mounts::Mounts;
use super::peer_questions::PeerQuestions;
use super::places::Places;
use super::profiled::ProfiledClients;
use super::record_log::{Forwards, RecordLog};
use super::sessions::Sessions;
use super::settings::{ProcessContext, Settings};
use super::spans::Spans;
use super::timers::Timers;
use super::traffic::TrafficCounts;
use crate::ids::{SessionId, ShardId};
use crate::limits::{ACL_FILTERS_COST, CLIENT_EVENTS_PER_TURN};
use crate::session::{QueueLimits, QueueTotals};
use crate::store::LogStart;
use crate::telemetry::Counters;
use crate::time::Deadline;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Clients {
    pub id: ShardId,
    pub settings: Arc<Settings>,
    pub counters: Counters,
    /// Of sampled messages.
    pub spans: Spans,
    pub sessions: Sessions,
    pub timers: Timers,
    pub record_log: RecordLog,
    /// What crosses to other shards once.
    pub forwards: Forwards,
    pub queues: QueueTotals,
    /// The longest queue that was read back: what was kept stays so, also where less may be queued now, or more was on its way.
    pub longest_restored: QueueLimits,
    /// The same of what was in flight.
    pub most_in_flight_restored: u16,
    /// What of queues is being read from the disk.
    pub disk_reads: DiskReads,
    /// Who may do what.
    pub access: AccessControl,
    /// What stands before whose topics.
    pub mounts: Mounts,
    /// For whom other settings hold.
    pub profiled: ProfiledClients,
    /// Who may be connected, on all shards together.
    pub places: Arc<Places>,
    /// Sessions with something to go on with: a replay, a backlog, groups to be told.
    pub work: VecDeque<SessionId>,
    /// Counts the flushes, so that a session knows which of its bytes the sockets have been given.
    pub flush: u32,
    /// Acknowledgements that wait for room in a queue.
    pub hold_back: HoldBack,
    /// Ranges whose clients are being closed.
    pub closing: ClosingRanges,
    /// What other nodes have asked.
    pub questions: PeerQuestions,
    /// What logs have room for, and who is not read for it.
    pub log_rooms: LogRooms,
    /// Who loses messages.
    pub losses: Losses,
    /// What is told of them below `$SYS/brokers` and waits.
    pub events: ClientEvents,
    /// What each sends and is sent, while somebody looks.
    pub traffic: TrafficCounts,
    /// It has been said that credentials are not checked.
    pub said_unchecked: bool,
    /// When it may be said again that there is no room in queues.
    pub next_full_report: Deadline,
}

impl Clients {
    /// No clients.
    pub(super) fn new(id: ShardId, process: &ProcessContext, log: LogStart) -> Self {
        Self {
            id,
            settings: Arc::clone(&process.settings),
            counters: Counters::default(),
            spans: Spans::default(),
            sessions: Sessions::new(process.keys.names),
            timers: Timers::default(),
            record_log: RecordLog::new(log),
            forwards: Forwards::default(),
            queues: QueueTotals::new(Arc::clone(&process.queued_memory)),
            longest_restored: QueueLimits { messages: 0, bytes: 0 },
            most_in_flight_restored: 0,
            disk_reads: DiskReads::default(),
            access: AccessControl::new(process.rules.clone(), process.tells_clients_apart),
            mounts: Mounts::default(),
            profiled: ProfiledClients::new(process.profiles.clone()),
            places: Arc::clone(&process.places),
            work: VecDeque::new(),
            flush: 1,
            hold_back: HoldBack::default(),
            closing: ClosingRanges::default(),
            questions: PeerQuestions::default(),
            log_rooms: LogRooms::default(),
            losses: Losses::default(),
            events: ClientEvents::default(),
            traffic: TrafficCounts::default(),
            said_unchecked: false,
            next_full_report: Deadline(0),
        }
    }

    /// Filters of one packet that are seen to in one go: fewer where each is compared to rules, and while events of others wait.
    pub(super) fn filters_per_slice(&self) -> usize {
        let mut filters = self.settings.filters_per_slice as usize;
        if !self.events.is_empty() {
            filters = filters.min(CLIENT_EVENTS_PER_TURN);
        }
        if self.access.checks { filters.div_ceil(ACL_FILTERS_COST) } else { filters }
    }

    /// The listener that a session's client came by, while it is connected.
    pub(super) fn connected_by(&self, session: Option<SessionId>) -> Option<u8> {
        self.sessions.get(session?).link.as_deref().map(|link| link.listener)
    }
}
