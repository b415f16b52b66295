//! Clients that come in and go again over and over, with good credentials: their client id is turned away for a while.
//!
//! Always holds: what is remembered is bounded ([`FLAPPING_IDS_MAX`], [`FLAPPING_BANS_MAX`]), and the oldest goes first; nobody is counted who was
//! not let in; a ban ends by itself.
//! Leaves to others: when a client comes in, and what it is told (`connect`).

use std::collections::{BTreeMap, VecDeque};

use crate::ids::ClientKey;
use crate::limits::{FLAPPING_BANS_MAX, FLAPPING_IDS_MAX};
use crate::settings::Settings;
use crate::time::{Deadline, Now};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Flapping {
    comings: BTreeMap<u64, Comings>,
    /// In the order in which they were first counted; some may be gone, or have begun anew.
    order: VecDeque<(u64, Deadline)>,
    banned: BTreeMap<u64, Deadline>,
}

/// How often one client id has come in since then.
#[derive(Clone, Copy, Debug)]
struct Comings {
    count: u32,
    since: Deadline,
}

/// Whether a client id may come in, as far as it has come and gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlappingVerdict {
    Free,
    /// It is turned away since an earlier time.
    Banned,
    /// It is turned away from now on.
    Begins,
}

impl Flapping {
    /// It was taken out of the settings.
    #[inline]
    pub(super) fn forget(&mut self) {
        if !self.order.is_empty() || !self.banned.is_empty() {
            *self = Self::default();
        }
    }

    /// Whether a client with this id may come in, where that is limited.
    pub(super) fn check(&mut self, now: Now, client: ClientKey, settings: &Settings) -> FlappingVerdict {
        if let Some(until) = self.banned.get(&client.0) {
            if !until.is_due(now) {
                return FlappingVerdict::Banned;
            }
            self.banned.remove(&client.0);
        }
        let within_ms = u64::from(settings.flapping_window_s) * 1_000;
        let is_over = |comings: &Comings| {
            comings.count >= settings.flapping_after && !Deadline(comings.since.0 + within_ms).is_due(now)
        };
        if !self.comings.get(&client.0).is_some_and(is_over) {
            return FlappingVerdict::Free;
        }
        self.comings.remove(&client.0); // after the ban counting begins anew
        self.ban(now, client, now.after_s(settings.flapping_time_s));
        FlappingVerdict::Begins
    }

    /// A client with this id has come in.
    pub(super) fn note(&mut self, now: Now, client: ClientKey, settings: &Settings) {
        if settings.flapping_after == 0 {
            return;
        }
        let within_ms = u64::from(settings.flapping_window_s) * 1_000;
        if let Some(comings) = self.comings.get_mut(&client.0)
            && !Deadline(comings.since.0 + within_ms).is_due(now)
        {
            comings.count += 1;
            return;
        }
        while self.order.len() >= FLAPPING_IDS_MAX {
            let Some((oldest, since)) = self.order.pop_front() else { break };
            if self.comings.get(&oldest).is_some_and(|comings| comings.since == since) {
                self.comings.remove(&oldest);
            }
        }
        let since = now.after_ms(0);
        self.order.push_back((client.0, since));
        self.comings.insert(client.0, Comings { count: 1, since });
    }

    fn ban(&mut self, now: Now, client: ClientKey, until: Deadline) {
        if self.banned.len() >= FLAPPING_BANS_MAX {
            self.banned.retain(|_, until| !until.is_due(now));
        }
        if self.banned.len() >= FLAPPING_BANS_MAX {
            let first = self.banned.iter().min_by_key(|(_, until)| until.0).map(|(client, _)| *client);
            first.map(|client| self.banned.remove(&client));
        }
        self.banned.insert(client.0, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { flapping_after: 3, flapping_window_s: 60, flapping_time_s: 300, ..Settings::default() }
    }

    fn now(s: u64) -> Now {
        Now { mono_ns: s * 1_000_000_000, unix_ms: 0 }
    }

    /// Comes in at these seconds, and says how often it was let in.
    fn come(flapping: &mut Flapping, client: u64, at_s: impl IntoIterator<Item = u64>) -> usize {
        let let_in = |second: &u64| {
            let is_free = flapping.check(now(*second), ClientKey(client), &settings()) == FlappingVerdict::Free;
            if is_free {
                flapping.note(now(*second), ClientKey(client), &settings());
            }
            is_free
        };
        at_s.into_iter().filter(let_in).count()
    }

    #[test]
    fn who_comes_more_often_than_it_may_within_the_time_is_turned_away_until_the_ban_ends() {
        let mut flapping = Flapping::default();
        assert_eq!(come(&mut flapping, 1, [0, 1, 2]), 3);
        let check = |flapping: &mut Flapping, s| flapping.check(now(s), ClientKey(1), &settings());
        assert_eq!(check(&mut flapping, 3), FlappingVerdict::Begins);
        assert_eq!(check(&mut flapping, 4), FlappingVerdict::Banned);
        assert_eq!(check(&mut flapping, 302), FlappingVerdict::Banned);
        assert_eq!(check(&mut flapping, 303), FlappingVerdict::Free);
        assert_eq!(come(&mut flapping, 1, 303..310), 3, "counted anew after a ban");
        assert_eq!(come(&mut flapping, 2, 303..306), 3, "others are others");
    }

    #[test]
    fn who_comes_seldom_is_never_turned_away() {
        let mut flapping = Flapping::default();
        assert_eq!(come(&mut flapping, 1, (0..100).map(|n| n * 21)), 100, "three within a minute and no more");
        let off = Settings::default();
        assert_eq!(off.flapping_after, 0, "it is off unless set");
        let mut flapping = Flapping::default();
        for n in 0..100 {
            flapping.note(now(n), ClientKey(1), &off);
        }
        assert!(flapping.comings.is_empty() && flapping.order.is_empty());
    }

    #[test]
    fn taken_out_of_the_settings_it_is_forgotten() {
        let mut flapping = Flapping::default();
        come(&mut flapping, 1, 0..5);
        assert_eq!(flapping.check(now(5), ClientKey(1), &settings()), FlappingVerdict::Banned);
        flapping.forget();
        assert_eq!(flapping.check(now(5), ClientKey(1), &settings()), FlappingVerdict::Free);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let mut flapping = Flapping::default();
        come(&mut flapping, 0, [0, 0]);
        for client in 1..=FLAPPING_IDS_MAX as u64 {
            come(&mut flapping, client, [0]);
        }
        assert!(flapping.comings.len() <= FLAPPING_IDS_MAX && flapping.order.len() <= FLAPPING_IDS_MAX);
        assert_eq!(come(&mut flapping, 0, [1, 1, 1, 1]), 3, "its two were forgotten");
        // One that comes for ever leaves no trail.
        come(&mut flapping, 7, (0..3 * FLAPPING_IDS_MAX as u64).map(|n| n * 60));
        assert!(flapping.order.len() <= FLAPPING_IDS_MAX);
        let mut flapping = Flapping::default();
        for client in 0..=FLAPPING_BANS_MAX as u64 {
            come(&mut flapping, client, [0; 4]);
        }
        assert_eq!(flapping.banned.len(), FLAPPING_BANS_MAX);
        assert!(!flapping.banned.contains_key(&0), "one of those that end first made way");
    }
}
