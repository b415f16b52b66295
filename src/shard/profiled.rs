//! Clients for whom other settings hold than for the rest, and those of them that wait because they are over their rates.
//!
//! Owns: the profiles in force, of each client with one what it says, and until when it is paused.
//! Always holds: a client without a profile has nothing here; where nobody has a rate, the way of a message looks at one flag. A client that
//! publishes too fast is not heard until it is on schedule again; one that is sent too much gets nothing until then, while QoS 1 and 2
//! messages wait in its queue.
//! Leaves to others: what is in a file (`auth`), what is not heard meanwhile (`conn`), what follows for messages (`pauses`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pace::{Pace, Schedule};
use crate::auth::acl::Who;
use crate::auth::{ClientProfile, OverRate, Profiles, RateKind};
use crate::ids::SessionId;
use crate::limits::RATE_PAUSE_MIN_MS;
use crate::session::QueueLimits;
use crate::settings::Settings;
use crate::telemetry::PauseReason;
use crate::time::{Deadline, Now};

/// Whether messages go from a client or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Publish,
    Delivery,
}

impl Direction {
    const fn kinds(self) -> [RateKind; 2] {
        match self {
            Self::Publish => [RateKind::Publish, RateKind::PublishBytes],
            Self::Delivery => [RateKind::Delivery, RateKind::DeliveryBytes],
        }
    }
}

/// What holds for one client.
#[derive(Clone, Debug)]
pub(super) struct ProfiledClient {
    profile: ClientProfile,
    /// Its rates, and those of its user, in the order of [`PauseReason`].
    paces: [Option<Pace>; PauseReason::COUNT],
    /// Until when it is paused, by direction.
    paused: [Option<Deadline>; 2],
    /// The log has told that it is paused, on this connection.
    is_told: bool,
}

/// A client is over its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub reason: PauseReason,
    /// It is the first of its connection.
    pub is_first: bool,
}

impl ProfiledClient {
    /// For what `profiles` say of a client; `user` is the name that somebody has verified.
    pub(super) fn new(profile: ClientProfile, user: Option<&str>, profiles: Option<&Profiles>) -> Self {
        let user_rates = profiles.and_then(Profiles::user_rates);
        let pace = |at: usize| {
            let kind = RateKind::ALL[at % RateKind::COUNT];
            if at < RateKind::COUNT {
                return profile.rates[at].map(|per_s| Pace::new(per_s, Schedule::Own(0)));
            }
            let (rates, user) = (user_rates?, user?);
            let schedule = Schedule::OfUser(Arc::clone(rates), rates.cells_of(user, kind));
            profile.user_rates[kind as usize].map(|per_s| Pace::new(per_s, schedule))
        };
        let paces = std::array::from_fn(pace);
        Self { profile, paces, paused: [None; 2], is_told: false }
    }

    fn has_rates(&self) -> bool {
        self.paces.iter().any(Option::is_some)
    }

    /// Counts a message of so many bytes. Returns until when the client is to wait, and why.
    fn spend(&mut self, now: Now, direction: Direction, bytes: u64) -> Option<(u64, PauseReason)> {
        let mut latest = None;
        for at in 0..PauseReason::COUNT {
            let kind = RateKind::ALL[at % RateKind::COUNT];
            let Some(pace) = self.paces[at].as_mut().filter(|_| direction.kinds().contains(&kind)) else { continue };
            let until_ns = pace.spend(now, if kind.is_bytes() { bytes } else { 1 });
            if until_ns > 0 && latest.is_none_or(|(latest_ns, _)| until_ns > latest_ns) {
                latest = Some((until_ns, PauseReason::ALL[at]));
            }
        }
        latest
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct ProfiledClients {
    profiles: Option<Arc<Profiles>>,
    /// By slot of the session; empty where nobody has a profile.
    clients: Vec<Option<Box<ProfiledClient>>>,
    /// Whether anybody has ever had a rate: what the way of a message looks at.
    pub has_rates: bool,
    /// Who is paused, by when that ends.
    paused: BTreeSet<(Deadline, SessionId, Direction)>,
}

impl ProfiledClients {
    pub(super) fn new(profiles: Option<Arc<Profiles>>) -> Self {
        Self { profiles, ..Self::default() }
    }

    /// Other profiles hold for clients that connect from now on.
    pub(super) fn replace(&mut self, profiles: Option<Arc<Profiles>>) {
        self.profiles = profiles;
    }

    /// What holds for a client that wants to come in.
    pub(super) fn profile_of(&self, who: &Who<'_>) -> Option<ClientProfile> {
        self.profiles.as_deref()?.of(who)
    }

    /// From now on the session is this client's. `is_same`: it had the session before, and what it has done counts.
    pub(super) fn set(&mut self, id: SessionId, profile: Option<(ClientProfile, Option<&str>)>, is_same: bool) {
        let slot = id.0 as usize;
        self.forget_pauses(id);
        let Some((profile, user)) = profile else {
            if let Some(known) = self.clients.get_mut(slot) {
                *known = None;
            }
            return;
        };
        let mut client = ProfiledClient::new(profile, user, self.profiles.as_deref());
        self.has_rates |= client.has_rates();
        if self.clients.len() <= slot {
            self.clients.resize_with(slot + 1, || None);
        }
        if let Some(before) = self.clients[slot].as_deref().filter(|_| is_same) {
            let pairs = client.paces.iter_mut().zip(&before.paces);
            pairs
                .filter_map(|(own, before)| Some((own.as_mut()?, before.as_ref()?)))
                .for_each(|(own, before)| own.inherit(before));
        }
        self.clients[slot] = Some(Box::new(client));
    }

    fn get(&self, id: SessionId) -> Option<&ProfiledClient> {
        self.clients.get(id.0 as usize)?.as_deref()
    }

    fn get_mut(&mut self, id: SessionId) -> Option<&mut ProfiledClient> {
        self.clients.get_mut(id.0 as usize)?.as_deref_mut()
    }

    fn setting<T>(&self, id: SessionId, of: impl FnOnce(&ClientProfile) -> Option<T>) -> Option<T> {
        if self.clients.is_empty() {
            return None; // as mostly
        }
        of(&self.get(id)?.profile)
    }

    /// The longest keep alive that a client may ask for, where its profile says one.
    pub(super) fn keep_alive_max_s(&self, id: SessionId) -> Option<u16> {
        self.setting(id, |profile| profile.keep_alive_max_s)
    }

    /// Subscriptions that a session may have.
    pub(super) fn subscriptions_max(&self, id: SessionId, settings: &Settings) -> usize {
        self.setting(id, |profile| profile.subscriptions_max).unwrap_or(settings.subscriptions_max) as usize
    }

    /// What may wait for a session.
    pub(super) fn queue_limits(&self, id: SessionId, settings: &Settings) -> QueueLimits {
        QueueLimits {
            messages: self.setting(id, |profile| profile.queued_messages_max).unwrap_or(settings.queued_messages_max),
            bytes: self.setting(id, |profile| profile.queued_bytes_max).unwrap_or(settings.queued_bytes_max),
        }
    }

    /// Whether a client that publishes too fast is closed.
    pub(super) fn is_closed_for_rate(&self, id: SessionId) -> bool {
        self.get(id).is_some_and(|client| client.profile.over_rate == Some(OverRate::Disconnect))
    }

    /// Counts a message; the client may be paused for it, which is returned when a pause begins.
    pub(super) fn spend(&mut self, now: Now, id: SessionId, direction: Direction, bytes: u64) -> Option<Pause> {
        let client = self.clients.get_mut(id.0 as usize)?.as_deref_mut()?;
        let (until_ns, reason) = client.spend(now, direction, bytes)?;
        // The next whole millisecond, so that it is on schedule then.
        let until = Deadline(until_ns.div_ceil(1_000_000)).max(now.after_ms(RATE_PAUSE_MIN_MS));
        let before = client.paused[direction as usize].replace(until);
        if let Some(before) = before {
            self.paused.remove(&(before, id, direction));
        }
        self.paused.insert((until, id, direction));
        if before.is_some() {
            return None;
        }
        Some(Pause { reason, is_first: !std::mem::replace(&mut client.is_told, true) })
    }

    /// Whether a client has a rate in this direction.
    pub(super) fn is_paced(&self, id: SessionId, direction: Direction) -> bool {
        let of = |at: usize| direction.kinds().contains(&RateKind::ALL[at % RateKind::COUNT]);
        self.get(id).is_some_and(|client| (0..).zip(&client.paces).any(|(at, pace)| pace.is_some() && of(at)))
    }

    /// Whether a client is paused in this direction.
    #[inline]
    pub(super) fn is_paused(&self, id: SessionId, direction: Direction) -> bool {
        !self.paused.is_empty() && self.get(id).is_some_and(|client| client.paused[direction as usize].is_some())
    }

    /// The next whose pause is over.
    pub(super) fn end_next_pause(&mut self, now: Now) -> Option<(SessionId, Direction)> {
        let &(until, id, direction) = self.paused.first().filter(|(until, ..)| until.is_due(now))?;
        self.paused.remove(&(until, id, direction));
        if let Some(client) = self.get_mut(id) {
            client.paused[direction as usize] = None;
        }
        Some((id, direction))
    }

    /// A client has no connection any more, or another one.
    pub(super) fn forget_pauses(&mut self, id: SessionId) {
        let Some(client) = self.clients.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else { return };
        client.is_told = false;
        for direction in [Direction::Publish, Direction::Delivery] {
            if let Some(until) = client.paused[direction as usize].take() {
                self.paused.remove(&(until, id, direction));
            }
        }
    }

    /// When the next pause is over.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.paused.first().map(|&(until, ..)| until)
    }
}
