//! What follows from the settings for one shard, and what all shards of a process share.

use std::sync::Arc;

use super::certificates::CertificatesEnd;
use super::mesh::StampClock;
use super::places::Places;
use crate::auth::acl::RuleSet;
use crate::auth::operator_bans::OperatorBans;
use crate::auth::{BanList, Profiles};
use crate::codec::{ReasonCode, Version};
use crate::ids::HashKeys;
use crate::session::{QueuedMemory, Reception};
pub use crate::settings::Settings;
use crate::settings::{FullQueue, FullQueueCode, ListenerSettings};
use crate::time::Now;

impl Settings {
    /// Whether every shard that is sent a QoS 1 or 2 message is to say what became of it.
    #[inline]
    pub(super) fn asks_every_shard(&self) -> bool {
        self.full_queue == FullQueue::HoldBack || self.full_queue_code == FullQueueCode::QuotaExceeded
    }

    /// What the acknowledgement of a message says that would say `reason` if somebody had taken it.
    #[inline]
    pub(super) fn code_of(&self, version: Version, reason: ReasonCode, reception: Reception) -> ReasonCode {
        let nobody_took = reception == Reception::QueuesFull && reason == ReasonCode::Success;
        let tells = nobody_took && version.is_v5() && self.full_queue_code == FullQueueCode::QuotaExceeded;
        if tells { ReasonCode::QuotaExceeded } else { reason }
    }

    /// Sessions of one shard: client ids are spread evenly, so each has an equal part.
    pub const fn sessions_of_shard_max(&self) -> usize {
        (self.sessions_max as usize).div_ceil(self.shards)
    }

    /// Of one session's subscriptions, how many are seen to before the next one's turn.
    pub const fn subscriptions_per_share(&self) -> usize {
        self.subscriptions_per_turn as usize / 4
    }
}

/// The keep alive of a client that asks for this one and may have no longer one than that.
pub(super) fn bounded_keep_alive_s(asked_s: u16, max_s: u16) -> u16 {
    match max_s {
        u16::MAX => asked_s,
        max_s if asked_s == 0 => max_s,
        max_s => asked_s.min(max_s),
    }
}

/// What all shards of a process share: made once, and given to each.
#[derive(Clone, Debug)]
pub struct ProcessContext {
    /// What the operator chose, until [`super::Command::Reload`] brings something else.
    pub settings: Arc<Settings>,
    /// What the queues of all shards take together.
    pub queued_memory: Arc<QueuedMemory>,
    /// Keys every table that peers can fill, and all that is hashed alike on every shard.
    pub keys: HashKeys,
    /// Who may be connected.
    pub places: Arc<Places>,
    /// Who may do what, until [`super::Command::UseRules`] brings something else; without rules everybody everything.
    pub rules: Option<Arc<RuleSet>>,
    /// Whether it makes a difference who a client is: somebody says it, or rules do something about it.
    pub tells_clients_apart: bool,
    /// What holds on each listener: by its name a session is known whose client came by it before a restart.
    pub listeners: Arc<[Arc<ListenerSettings>]>,
    /// What holds for some clients only, until [`super::Command::UseProfiles`] brings something else.
    pub profiles: Option<Arc<Profiles>>,
    /// Whom operators have banned, until [`super::Command::UseBans`] brings something else.
    pub bans: Option<Arc<OperatorBans>>,
    /// Whom a file bans, until [`super::Command::UseBanList`] brings something else.
    pub ban_list: Option<Arc<BanList>>,
    /// When the first certificate of a listener ends.
    pub certificates_end: Arc<CertificatesEnd>,
    /// Where the stamps of retained messages begin.
    pub stamps: StampClock,
}

impl ProcessContext {
    /// For shards with these settings, of a process that begins at `now` and has no history, with as many clients as come.
    pub fn new(settings: Settings, keys: impl Into<HashKeys>, now: Now) -> Self {
        let queued_memory = Arc::new(QueuedMemory::new(settings.queued_memory_max_bytes));
        let places = Arc::new(Places::unlimited());
        let stamps = StampClock::new(now, 0);
        Self {
            settings: Arc::new(settings),
            queued_memory,
            keys: keys.into(),
            places,
            rules: None,
            tells_clients_apart: false,
            listeners: Arc::new([]),
            profiles: None,
            bans: None,
            ban_list: None,
            certificates_end: Arc::default(),
            stamps,
        }
    }
}
