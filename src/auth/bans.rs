//! Addresses and client ids that have failed to log in too often, and are turned away for a while without being asked.
//!
//! Always holds: what is remembered is bounded ([`BANS_MAX`]), and the oldest goes first; a login that succeeds forgets what its
//! client id has failed and nothing of its address, from which somebody with a login of his own may guess at others; a ban ends by itself. An IPv6 address counts with its /64, which one subscriber has whole.

use std::collections::{BTreeMap, VecDeque};

use core::net::IpAddr;

use super::ConnectQuestion;
use super::banned_addresses::suspect_of;
use crate::limits::{BANNED_CLIENT_ID_MAX_BYTES, BANS_MAX};
use crate::time::{Deadline, Now};

/// When somebody is banned, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BanSettings {
    /// Failures that lead to a ban; 0 bans nobody.
    pub after: u32,
    /// Seconds in which they count.
    pub within_s: u32,
    /// Seconds that a ban lasts.
    pub lasts_s: u32,
}

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspect {
    /// An address, or the first 64 bits of one.
    Address(IpAddr),
    /// As it came in CONNECT, from wherever.
    ClientId(Box<str>),
}

impl std::fmt::Display for Suspect {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(out, "{address}/64"),
            Self::Address(address) => address.fmt(out),
            Self::ClientId(id) => write!(out, "client id {:?}", &**id),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Deadline,
    /// Set while it is banned.
    until: Option<Deadline>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Bans {
    settings: BanSettings,
    failures: BTreeMap<Suspect, Failures>,
    /// In the order in which they were first counted; some may be gone.
    order: VecDeque<(Suspect, Deadline)>,
    /// Which addresses are banned has changed since it was last asked for.
    has_changed: bool,
}

impl Bans {
    /// Nobody has failed yet.
    pub(super) const fn new(settings: BanSettings) -> Self {
        Self { settings, failures: BTreeMap::new(), order: VecDeque::new(), has_changed: false }
    }

    /// Others from now on. Without bans everything is forgotten.
    pub(super) fn set(&mut self, settings: BanSettings) {
        if settings.after == 0 {
            *self = Self { has_changed: true, ..Self::new(settings) };
        }
        self.settings = settings;
    }

    /// Whether the client is not even to be asked for its password.
    pub(super) fn has(&mut self, now: Now, question: &ConnectQuestion) -> bool {
        self.settings.after > 0 && {
            let is_banned = |failures: &Failures| failures.until.is_some_and(|until| !until.is_due(now));
            suspects(question).any(|suspect| self.failures.get(&suspect).is_some_and(is_banned))
        }
    }

    /// A login has failed. Returns whom that bans.
    pub(super) fn note_failure(&mut self, now: Now, question: &ConnectQuestion) -> Vec<Suspect> {
        let mut banned = Vec::new();
        if self.settings.after == 0 {
            return banned;
        }
        let BanSettings { after, within_s, lasts_s } = self.settings;
        for suspect in suspects(question) {
            let known = self.failures.get_mut(&suspect).filter(|known| {
                let window_ends = Deadline(known.since.0 + u64::from(within_s) * 1_000);
                // After a ban counting begins anew.
                !known.until.unwrap_or(window_ends).is_due(now)
            });
            let failures = match known {
                Some(failures) => failures,
                None => self.begin(now, &suspect),
            };
            failures.count += 1;
            if failures.count == after {
                failures.until = Some(now.after_s(lasts_s));
                self.has_changed = true;
                banned.push(suspect);
            }
        }
        banned
    }

    /// The addresses that are banned, and until when, if they are others than when this was last asked.
    pub(super) fn changed_addresses(&mut self, now: Now) -> Option<BTreeMap<IpAddr, Deadline>> {
        if !std::mem::take(&mut self.has_changed) {
            return None;
        }
        let addresses = self.failures.iter().filter_map(|(suspect, failures)| match (suspect, failures.until) {
            (Suspect::Address(address), Some(until)) if !until.is_due(now) => Some((*address, until)),
            _ => None,
        });
        Some(addresses.collect())
    }

    /// A login has succeeded.
    pub(super) fn note_success(&mut self, question: &ConnectQuestion) {
        if !self.failures.is_empty()
            && let Some(client_id) = client_id_of(question)
        {
            self.failures.remove(&client_id);
        }
    }

    fn begin(&mut self, now: Now, suspect: &Suspect) -> &mut Failures {
        while self.order.len() >= BANS_MAX {
            let Some((oldest, since)) = self.order.pop_front() else { break };
            if self.failures.get(&oldest).is_some_and(|failures| failures.since == since) {
                let removed = self.failures.remove(&oldest);
                self.has_changed |= removed.is_some_and(|failures| failures.until.is_some());
            }
        }
        let since = now.after_ms(0);
        self.order.push_back((suspect.clone(), since));
        let begun = Failures { count: 0, since, until: None };
        self.failures.insert(suspect.clone(), begun);
        self.failures.get_mut(suspect).expect("it has just been put in")
    }
}

fn suspects(question: &ConnectQuestion) -> impl Iterator<Item = Suspect> {
    let address = question.peer.map(suspect_of);
    address.map(Suspect::Address).into_iter().chain(client_id_of(question))
}

fn client_id_of(question: &ConnectQuestion) -> Option<Suspect> {
    // Longer ones are nobody's, and would make what is remembered large.
    let has_id = question.client_id.len() <= BANNED_CLIENT_ID_MAX_BYTES;
    has_id.then(|| Suspect::ClientId(question.client_id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::BannedAddresses;
    use crate::codec::{Connect, Version};

    const SETTINGS: BanSettings = BanSettings { after: 3, within_s: 60, lasts_s: 600 };

    fn now(s: u64) -> Now {
        Now { mono_ns: s * 1_000_000_000, unix_ms: 0 }
    }

    fn from(peer: &str, client_id: &str) -> ConnectQuestion {
        let about = ConnectQuestion::about(&Connect::new(Version::V5, client_id, true), "public");
        ConnectQuestion { peer: peer.parse().ok(), ..about }
    }

    #[test]
    fn who_fails_too_often_within_the_time_is_turned_away_until_the_ban_ends() {
        let mut bans = Bans::new(SETTINGS);
        for (second, client_id) in [(0, "a"), (1, "b")] {
            assert_eq!(bans.note_failure(now(second), &from("192.0.2.1", client_id)), []);
        }
        let banned = bans.note_failure(now(2), &from("192.0.2.1", "c"));
        assert_eq!(banned.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.1"]);
        assert!(bans.has(now(3), &from("192.0.2.1", "d")) && !bans.has(now(3), &from("192.0.2.2", "a")));
        assert_eq!(bans.note_failure(now(4), &from("192.0.2.1", "d")), [], "told once");
        assert!(bans.has(now(601), &from("192.0.2.1", "d")) && !bans.has(now(602), &from("192.0.2.1", "d")));
    }

    #[test]
    fn shards_are_given_the_banned_addresses_when_they_change_and_only_then() {
        let mut bans = Bans::new(SETTINGS);
        let shared = BannedAddresses::default();
        let has = |now, address: &str| shared.has(now, address.parse().unwrap());
        for n in 0..3 {
            assert_eq!(bans.changed_addresses(now(0)), None, "nobody is banned");
            bans.note_failure(now(0), &from(&format!("2001:db8::{n}"), &format!("c{n}")));
        }
        bans.note_failure(now(0), &from("192.0.2.1", "x"));
        shared.replace(bans.changed_addresses(now(1)).unwrap());
        assert_eq!(bans.changed_addresses(now(1)), None, "it was told");
        assert!(has(now(599), "2001:db8::ffff") && !has(now(600), "2001:db8::ffff"), "for as long as the ban");
        assert!(!has(now(1), "2001:db8:0:1::1") && !has(now(1), "192.0.2.1"));
        for n in 0..3 {
            bans.note_failure(now(2), &from("::ffff:192.0.2.7", &format!("d{n}")));
        }
        shared.replace(bans.changed_addresses(now(2)).unwrap());
        assert!(has(now(3), "192.0.2.7") && has(now(3), "::ffff:192.0.2.7") && has(now(3), "2001:db8::1"));
        // What is forgotten here is not turned away there.
        for n in 0..BANS_MAX {
            bans.note_failure(now(4), &from("no address", &format!("e{n}")));
        }
        shared.replace(bans.changed_addresses(now(4)).unwrap());
        assert!(!has(now(4), "192.0.2.7") && !has(now(4), "2001:db8::1"));
        bans.set(BanSettings::default());
        assert_eq!(bans.changed_addresses(now(5)), Some(BTreeMap::new()));
    }

    #[test]
    fn a_client_id_counts_from_wherever_it_comes_and_so_does_a_network_of_ipv6() {
        let mut bans = Bans::new(SETTINGS);
        for n in 1..=3 {
            bans.note_failure(now(0), &from(&format!("192.0.2.{n}"), "guessed"));
        }
        assert!(bans.has(now(0), &from("192.0.2.9", "guessed")) && !bans.has(now(0), &from("192.0.2.1", "other")));
        let mut bans = Bans::new(SETTINGS);
        for n in 1..=3 {
            bans.note_failure(now(0), &from(&format!("2001:db8::{n}"), &format!("c{n}")));
        }
        assert!(bans.has(now(0), &from("2001:db8::ffff:1", "x")) && !bans.has(now(0), &from("2001:db8:0:1::1", "x")));
    }

    #[test]
    fn a_good_login_forgets_no_failure_of_its_address() {
        let mut bans = Bans::new(SETTINGS);
        for client_id in ["a", "b"] {
            assert_eq!(bans.note_failure(now(0), &from("192.0.2.1", client_id)), []);
            bans.note_success(&from("192.0.2.1", "eve"));
        }
        let banned = bans.note_failure(now(1), &from("192.0.2.1", "c"));
        assert_eq!(banned.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.1"]);
    }

    #[test]
    fn who_fails_again_after_a_ban_is_banned_again() {
        let mut bans = Bans::new(BanSettings { lasts_s: 10, ..SETTINGS });
        let client = from("192.0.2.1", "a");
        for second in [0, 20] {
            let counted: Vec<usize> = (0..3).map(|n| bans.note_failure(now(second + n), &client).len()).collect();
            assert_eq!(counted, [0, 0, 2], "at {second}");
        }
    }

    #[test]
    fn failures_that_lie_apart_and_those_of_a_client_id_before_its_success_do_not_add_up() {
        let mut bans = Bans::new(SETTINGS);
        let client = from("no address", "a");
        for n in 0..10 {
            assert_eq!(bans.note_failure(now(n * 61), &client), []);
        }
        for _ in 0..10 {
            assert_eq!(bans.note_failure(now(1_000), &client), []);
            assert_eq!(bans.note_failure(now(1_000), &client), []);
            bans.note_success(&client);
        }
        let mut off = Bans::new(BanSettings::default());
        for _ in 0..100 {
            assert_eq!(off.note_failure(now(0), &client), []);
        }
        assert!(!off.has(now(0), &client) && off.failures.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut bans = Bans::new(SETTINGS);
        for n in 0..BANS_MAX + 10 {
            bans.note_failure(now(0), &from("no address", &format!("c{n}")));
        }
        assert!(bans.failures.len() <= BANS_MAX && bans.order.len() <= BANS_MAX);
        // One that comes back over and over leaves no trail.
        for n in 0..3 * BANS_MAX as u64 {
            let client = from("no address", "same");
            bans.note_failure(now(n), &client);
            bans.note_success(&client);
        }
        assert!(bans.order.len() <= BANS_MAX);
    }
}
