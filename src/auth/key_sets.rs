//! Key sets that identity providers publish: fetched, refreshed, and kept while they cannot be had.
//!
//! Always holds: the last good set stays until a newer one is there; a set is fetched when its time has come or a token names a key
//! that is not in it, the latter [`KEYS_FETCH_PAUSE_S`] after the last attempt at the earliest, so that made-up names cost the
//! provider nothing; one fetch of a set is under way at a time.
//! Leaves to others: fetching (`runtime`), time (passed in).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::token::TokenKeys;
use crate::limits::KEYS_FETCH_PAUSE_S;
use crate::time::{Deadline, Now};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct KeySets {
    sets: BTreeMap<Box<str>, KeySet>,
    refresh_s: u32,
}

#[derive(Debug, Default)]
struct KeySet {
    keys: Option<Arc<TokenKeys>>,
    fetch: FetchState,
}

/// How far the next fetch is.
#[derive(Clone, Copy, Debug)]
enum FetchState {
    /// It begins then, or as soon as a key is missed after `earliest`.
    Waits { due: Deadline, earliest: Deadline },
    /// Somebody is at it.
    UnderWay,
}

impl Default for FetchState {
    fn default() -> Self {
        Self::Waits { due: Deadline(0), earliest: Deadline(0) }
    }
}

impl KeySets {
    /// These sets and no others, each fetched so often. Sets that were there stay as they are.
    pub(super) fn set_urls<'a>(&mut self, urls: impl Iterator<Item = &'a str>, refresh_s: u32) {
        let mut sets = BTreeMap::new();
        for url in urls {
            let known = self.sets.remove(url).unwrap_or_default();
            sets.insert(url.into(), known);
        }
        (self.sets, self.refresh_s) = (sets, refresh_s);
    }

    /// What is known of a set.
    pub(super) fn get(&self, url: &str) -> Option<&Arc<TokenKeys>> {
        self.sets.get(url)?.keys.as_ref()
    }

    /// A key is missing. Returns whether a fetch is under way or begins, so that waiting is worth while.
    pub(super) fn miss(&mut self, now: Now, url: &str) -> bool {
        let Some(set) = self.sets.get_mut(url) else { return false };
        match &mut set.fetch {
            FetchState::UnderWay => true,
            FetchState::Waits { due, earliest } if earliest.is_due(now) => {
                *due = now.after_ms(0);
                true
            }
            FetchState::Waits { .. } => false,
        }
    }

    /// The next set to be fetched now.
    pub(super) fn next_fetch(&mut self, now: Now) -> Option<Box<str>> {
        let is_due = |set: &KeySet| matches!(set.fetch, FetchState::Waits { due, .. } if due.is_due(now));
        let (url, set) = self.sets.iter_mut().find(|(_, set)| is_due(set))?;
        set.fetch = FetchState::UnderWay;
        Some(url.clone())
    }

    /// A fetch has ended, with keys or without.
    pub(super) fn handle_fetched(&mut self, now: Now, url: &str, keys: Option<TokenKeys>) {
        let Some(set) = self.sets.get_mut(url) else { return };
        let pause = now.after_s(KEYS_FETCH_PAUSE_S);
        // Without keys it is tried again soon.
        let due = if keys.is_some() { now.after_s(self.refresh_s) } else { pause };
        set.fetch = FetchState::Waits { due, earliest: pause };
        if let Some(keys) = keys {
            set.keys = Some(Arc::new(keys));
        }
    }

    /// When a set is to be fetched next.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let due = self.sets.values().filter_map(|set| match set.fetch {
            FetchState::Waits { due, .. } => Some(due),
            FetchState::UnderWay => None,
        });
        due.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://id.example/keys";

    fn at(s: u64) -> Now {
        Now { mono_ns: s * 1_000_000_000, unix_ms: 0 }
    }

    fn keys(name: &str) -> TokenKeys {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"; // RFC 8037, A.2
        let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{name}","x":"{x}"}}]}}"#);
        TokenKeys::parse_published(&set).unwrap()
    }

    fn sets() -> KeySets {
        let mut sets = KeySets::default();
        sets.set_urls([URL].into_iter(), 300);
        sets
    }

    #[test]
    fn a_set_is_fetched_at_once_and_again_when_its_time_has_come() {
        let mut sets = sets();
        assert_eq!(sets.next_fetch(at(0)).as_deref(), Some(URL));
        assert_eq!((sets.next_fetch(at(1)), sets.next_deadline()), (None, None), "one at a time");
        sets.handle_fetched(at(2), URL, Some(keys("a")));
        assert_eq!(sets.next_deadline(), Some(Deadline(302_000)));
        assert_eq!(sets.next_fetch(at(301)), None);
        assert!(sets.next_fetch(at(302)).is_some());
    }

    #[test]
    fn the_last_good_set_stays_while_none_can_be_had() {
        let mut sets = sets();
        sets.next_fetch(at(0)).unwrap();
        sets.handle_fetched(at(0), URL, Some(keys("a")));
        sets.next_fetch(at(300)).unwrap();
        sets.handle_fetched(at(300), URL, None);
        assert_eq!(sets.get(URL).map(|keys| keys.len()), Some(1));
        assert_eq!(sets.next_deadline(), Some(at(300).after_s(KEYS_FETCH_PAUSE_S)));
    }

    #[test]
    fn unknown_keys_lead_to_a_fetch_at_a_bounded_pace() {
        let mut sets = sets();
        assert!(sets.miss(at(0), URL) && !sets.miss(at(0), "https://elsewhere"));
        assert!(sets.next_fetch(at(0)).is_some());
        assert!(sets.miss(at(0), URL), "it is under way");
        sets.handle_fetched(at(1), URL, Some(keys("a")));
        for s in 1..u64::from(KEYS_FETCH_PAUSE_S) {
            assert!(!sets.miss(at(1 + s - 1), URL) && sets.next_fetch(at(1 + s - 1)).is_none());
        }
        let later = at(1 + u64::from(KEYS_FETCH_PAUSE_S));
        assert!(sets.miss(later, URL) && sets.next_fetch(later).is_some());
    }

    #[test]
    fn sets_that_nobody_uses_go_and_others_stay() {
        let mut sets = sets();
        sets.next_fetch(at(0)).unwrap();
        sets.handle_fetched(at(0), URL, Some(keys("a")));
        sets.set_urls([URL, "https://other"].into_iter(), 60);
        assert!(sets.get(URL).is_some() && sets.next_fetch(at(0)).as_deref() == Some("https://other"));
        sets.set_urls(["https://other"].into_iter(), 60);
        assert!(sets.get(URL).is_none());
        sets.handle_fetched(at(0), URL, Some(keys("late")));
        assert!(sets.get(URL).is_none(), "what comes late is nobody's");
    }
}
