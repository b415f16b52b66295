//! What one session is subscribed to: where its entries lie in the shard's subscription index.
//!
//! The filters themselves live in the index; a session keeps eight bytes a subscription. A few are searched one by one,
//! many by hash, so that a session with 100,000 subscriptions costs no more per SUBSCRIBE than one with two.
//!
//! Always holds: shared subscriptions stand before all others, so that who has something to say about those alone passes
//! no others. A walk over them from the last to the first can be broken off at a number and gone on with later: whatever
//! comes and goes meanwhile, those it has not reached stand before that number.

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::topic::EntryId;

/// Up to this many, a search touches one cache line or two.
const FEW_MAX: usize = 16;

/// Entry of the index, and the session's position among the entry's local subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The filter's entry.
    pub entry: EntryId,
    /// The position within it.
    pub position: u32,
}

/// See the module's text.
#[derive(Debug)]
pub enum Subscriptions {
    /// Searched one by one.
    Few(SmallVec<[Place; 1]>),
    /// Searched by hash.
    Many(Box<Many>),
}

/// More than a few.
#[derive(Debug, Default)]
pub struct Many {
    places: Vec<Place>,
    shared: usize,
    /// Numbers in `places`, by entry.
    by_entry: HashTable<u32>,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl Subscriptions {
    /// Subscriptions held.
    pub fn len(&self) -> usize {
        self.places().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places().is_empty()
    }

    /// Those of them that are shared.
    pub fn shared_len(&self) -> usize {
        match self {
            Self::Few(places) => shared_len(places),
            Self::Many(many) => many.shared,
        }
    }

    /// The shared ones.
    pub fn shared(&self) -> &[Place] {
        &self.places()[..self.shared_len()]
    }

    /// All of them, the shared ones first.
    pub fn places(&self) -> &[Place] {
        match self {
            Self::Few(places) => places,
            Self::Many(many) => &many.places,
        }
    }

    /// Up to so many from an entry on, in the order of [`EntryId::order`]: what comes and goes beside an entry never moves it.
    pub fn page(&self, first: u32, most: usize) -> Vec<Place> {
        let order = |place: &Place| place.entry.order();
        let mut page: Vec<Place> = self.places().iter().copied().filter(|place| order(place) >= first).collect();
        if most < page.len() {
            page.select_nth_unstable_by_key(most, order);
            page.truncate(most);
        }
        page.sort_unstable_by_key(order);
        page
    }

    /// The position in `entry`, if subscribed.
    pub fn position(&self, entry: EntryId) -> Option<u32> {
        Some(self.places()[self.find(entry)?].position)
    }

    /// Adds a subscription, or notes that the index has moved it.
    pub fn set(&mut self, place: Place) {
        if let Some(known) = self.find(place.entry) {
            self.places_mut()[known].position = place.position;
            return;
        }
        if let Self::Few(places) = self
            && places.len() == FEW_MAX
        {
            let mut many = Many { places: Vec::with_capacity(4 * FEW_MAX), ..Many::default() };
            places.iter().for_each(|&place| many.insert(place));
            *self = Self::Many(Box::new(many));
        }
        match self {
            Self::Few(places) => {
                let at = if place.entry.is_shared() { shared_len(places) } else { places.len() };
                places.push(place);
                let last = places.len() - 1;
                places.swap(at, last);
            }
            Self::Many(many) => many.insert(place),
        }
    }

    /// Takes one out and tells its position.
    pub fn remove(&mut self, entry: EntryId) -> Option<u32> {
        let at = self.find(entry)?;
        Some(self.remove_at(at).position)
    }

    /// Takes one out, a shared one as long as there is any.
    pub fn pop(&mut self) -> Option<Place> {
        let last = self.len().checked_sub(1)?;
        let at = self.shared_len().checked_sub(1).unwrap_or(last);
        Some(self.remove_at(at))
    }

    fn places_mut(&mut self) -> &mut [Place] {
        match self {
            Self::Few(places) => places,
            Self::Many(many) => &mut many.places,
        }
    }

    fn find(&self, entry: EntryId) -> Option<usize> {
        match self {
            Self::Few(places) => places.iter().position(|place| place.entry == entry),
            Self::Many(many) => many.find(entry),
        }
    }

    fn remove_at(&mut self, at: usize) -> Place {
        match self {
            Self::Few(places) => {
                let place = places[at];
                let shared = shared_len(places);
                let hole = if at < shared { shared - 1 } else { at };
                places.swap(at, hole);
                places.swap_remove(hole);
                place
            }
            Self::Many(many) => {
                let place = many.remove_at(at);
                if many.places.is_empty() {
                    *self = Self::default();
                }
                place
            }
        }
    }
}

fn shared_len(places: &[Place]) -> usize {
    places.iter().take_while(|place| place.entry.is_shared()).count()
}

impl Many {
    fn find(&self, entry: EntryId) -> Option<usize> {
        let found = self.by_entry.find(entry.hash(), |&at| self.places[at as usize].entry == entry);
        found.map(|&at| at as usize)
    }

    fn insert(&mut self, place: Place) {
        self.places.push(place);
        let mut at = self.places.len() - 1;
        if place.entry.is_shared() {
            if self.shared < at {
                self.relocate(self.shared, at);
                at = self.shared;
                self.places[at] = place;
            }
            self.shared += 1;
        }
        let places = &self.places;
        self.by_entry.insert_unique(place.entry.hash(), at as u32, |&at| places[at as usize].entry.hash());
    }

    fn remove_at(&mut self, at: usize) -> Place {
        let place = self.places[at];
        if let Ok(found) = self.by_entry.find_entry(place.entry.hash(), |&other| other as usize == at) {
            found.remove();
        }
        let mut hole = at;
        if at < self.shared {
            self.shared -= 1;
            self.relocate(self.shared, hole);
            hole = self.shared;
        }
        self.relocate(self.places.len() - 1, hole);
        self.places.pop();
        place
    }

    /// Copies the place at `from` to `to`, where it is found from now on.
    fn relocate(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let place = self.places[from];
        let found = self.by_entry.find_mut(place.entry.hash(), |&at| at as usize == from);
        *found.expect("every place is found by its entry") = to as u32;
        self.places[to] = place;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ids::{SessionId, ShardId};
    use crate::topic::{SubscribedFilter, Subscriber, SubscriptionIndex};
    use std::collections::BTreeMap;

    /// Entries as the index gives them out, every third one shared.
    pub(in crate::session) fn entries(count: usize) -> Vec<EntryId> {
        let mut index = SubscriptionIndex::new(1, ShardId(0));
        let subscriber = Subscriber { session: SessionId(0), options: 0, identifier: None };
        let text = |n: usize| if n.is_multiple_of(3) { format!("$share/g/{n}") } else { n.to_string() };
        let insert = |n| index.insert(&SubscribedFilter::parse(&text(n), 8).unwrap(), subscriber, false).entry;
        (0..count).map(insert).collect()
    }

    #[test]
    fn few_or_many_every_one_is_found_and_the_shared_ones_stand_first() {
        let entries = entries(200);
        let (mut subscriptions, mut model) = (Subscriptions::default(), BTreeMap::new());
        let mut random = 7_u64;
        for step in 0..20_000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let entry = entries[(random >> 33) as usize % entries.len()];
            // By turns more come than go, and more go than come, through the border between few and many.
            if (random >> 20) % 8 < if step / 1_000 % 2 == 0 { 5 } else { 3 } {
                subscriptions.set(Place { entry, position: step });
                model.insert(entry, step);
            } else if step % 16 == 0 {
                let popped = subscriptions.pop();
                assert_eq!(popped.map(|place| place.position), popped.and_then(|place| model.remove(&place.entry)));
                let any_shared = model.keys().any(|entry| entry.is_shared());
                assert!(!any_shared || popped.is_some_and(|place| place.entry.is_shared()));
            } else {
                assert_eq!(subscriptions.remove(entry), model.remove(&entry));
            }
            assert_eq!(subscriptions.position(entry), model.get(&entry).copied());
            assert_eq!(subscriptions.len(), model.len());
            assert_eq!(subscriptions.shared_len(), model.keys().filter(|entry| entry.is_shared()).count());
            assert!(subscriptions.shared().iter().all(|place| place.entry.is_shared()));
            assert!(subscriptions.places().iter().all(|place| model[&place.entry] == place.position));
        }
        while subscriptions.pop().is_some() {}
        assert!(subscriptions.is_empty() && matches!(subscriptions, Subscriptions::Few(_)));
    }
}
