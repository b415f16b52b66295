//! What holds for some clients only, in place of the broker's settings: rates, bounds, a mount point.
//!
//! Always holds: profiles are looked at in the order of their file; of each setting the first that is about the client and names it
//! decides. A client whom none is about costs nothing but that look, once, when it connects.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::acl::{PeerNetwork, Who};
use super::mount_point::MountPoint;
use super::rate_kind::RateKind;
use super::user_rates::UserRates;

/// What becomes of a client that publishes faster than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverRate {
    /// It is not read until it is on schedule again.
    Wait,
    /// Its connection ends, with 0x96.
    Disconnect,
}

/// What holds for one client. `None` leaves a setting as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientProfile {
    /// Of the client, by [`RateKind`].
    pub rates: [Option<u64>; RateKind::COUNT],
    /// Of all clients of its user together, likewise.
    pub user_rates: [Option<u64>; RateKind::COUNT],
    /// What becomes of it beyond them.
    pub over_rate: Option<OverRate>,
    /// In place of `max_subscriptions`.
    pub subscriptions_max: Option<u32>,
    /// In place of `max_queued_messages`.
    pub queued_messages_max: Option<u32>,
    /// In place of `max_queued_bytes`.
    pub queued_bytes_max: Option<u64>,
    /// In place of `max_packet_size`, which it does not exceed.
    pub packet_size_max_bytes: Option<u32>,
    /// In place of `keep_alive_max`, whatever the version.
    pub keep_alive_max_s: Option<u16>,
    /// In place of the listener's.
    pub mount_point: Option<MountPoint>,
}

impl ClientProfile {
    /// What of it holds for a service of the broker's own: the bounds of its queue and of its subscriptions.
    #[must_use]
    pub fn of_service(self) -> Self {
        let Self { subscriptions_max, queued_messages_max, queued_bytes_max, .. } = self;
        let keep_alive_max_s = Some(u16::MAX);
        Self { subscriptions_max, queued_messages_max, queued_bytes_max, keep_alive_max_s, ..Self::default() }
    }

    /// Takes over what this one leaves open.
    fn or(self, later: &Self) -> Self {
        let either = |own: [Option<u64>; RateKind::COUNT], later: &[Option<u64>; RateKind::COUNT]| {
            std::array::from_fn(|at| own[at].or(later[at]))
        };
        Self {
            rates: either(self.rates, &later.rates),
            user_rates: either(self.user_rates, &later.user_rates),
            over_rate: self.over_rate.or(later.over_rate),
            subscriptions_max: self.subscriptions_max.or(later.subscriptions_max),
            queued_messages_max: self.queued_messages_max.or(later.queued_messages_max),
            queued_bytes_max: self.queued_bytes_max.or(later.queued_bytes_max),
            packet_size_max_bytes: self.packet_size_max_bytes.or(later.packet_size_max_bytes),
            keep_alive_max_s: self.keep_alive_max_s.or(later.keep_alive_max_s),
            mount_point: self.mount_point.or_else(|| later.mount_point.clone()),
        }
    }
}

/// Whom a profile is about. Empty lists ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileScope {
    /// These users; `None` is whoever the user is.
    pub users: Option<BTreeSet<Box<str>>>,
    /// These client ids.
    pub clients: BTreeSet<Box<str>>,
    /// Clients that came by these listeners.
    pub listeners: BTreeSet<Box<str>>,
    /// Clients that came from these networks.
    pub(super) networks: Vec<PeerNetwork>,
}

impl ProfileScope {
    /// Clients with one of these ids.
    #[cfg(test)]
    pub fn of_clients<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        Self { clients: ids.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    fn has(&self, who: &Who<'_>) -> bool {
        let is_one = |names: &BTreeSet<Box<str>>, name: &str| names.is_empty() || names.contains(name);
        let is_near = self.networks.is_empty()
            || who.peer.is_some_and(|peer| self.networks.iter().any(|network| network.has(peer)));
        let is_user = self.users.as_ref().is_none_or(|users| who.user.is_some_and(|user| users.contains(user)));
        is_near && is_user && is_one(&self.clients, who.client_id) && is_one(&self.listeners, who.listener)
    }
}

/// One table of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Whom it is about.
    pub scope: ProfileScope,
    /// What it says of them.
    pub settings: ClientProfile,
}

/// Those of a file, in their order.
#[derive(Clone, Debug)]
pub struct Profiles {
    profiles: Box<[Profile]>,
    user_rates: Option<Arc<UserRates>>,
}

/// What users have done so far is no part of it.
impl PartialEq for Profiles {
    fn eq(&self, other: &Self) -> bool {
        self.profiles == other.profiles
    }
}

impl Eq for Profiles {}

impl Profiles {
    /// From tables in their order.
    pub fn new(profiles: Vec<Profile>) -> Self {
        let has_user_rates = profiles.iter().any(|profile| profile.settings.user_rates.iter().any(Option::is_some));
        let user_rates = has_user_rates.then(Arc::default);
        Self { profiles: profiles.into(), user_rates }
    }

    /// What users have done, where any of them has a rate.
    pub const fn user_rates(&self) -> Option<&Arc<UserRates>> {
        self.user_rates.as_ref()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// Listeners that are named.
    pub fn listeners(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().flat_map(|profile| &profile.scope.listeners).map(|name| &**name)
    }

    /// What holds for a client; `None` where none is about it.
    pub fn of(&self, who: &Who<'_>) -> Option<ClientProfile> {
        let mut about = self.profiles.iter().filter(|profile| profile.scope.has(who)).map(|profile| &profile.settings);
        let first = about.next()?.clone();
        Some(about.fold(first, ClientProfile::or))
    }
}
