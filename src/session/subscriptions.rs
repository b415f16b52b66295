//! What one session is subscribed to: where its entries lie in the shard's subscription index.
//!
//! The filters themselves live in the index; a session keeps eight bytes a subscription. A few are searched one by one,
//! many by hash, so that a session with 100,000 subscriptions costs no more per SUBSCRIBE than one with two.

use hashbrown::HashMap;
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
    Many(Box<HashMap<EntryId, u32, ahash::RandomState>>),
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl Subscriptions {
    /// Subscriptions held.
    pub fn len(&self) -> usize {
        match self {
            Self::Few(places) => places.len(),
            Self::Many(places) => places.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The position in `entry`, if subscribed.
    pub fn position(&self, entry: EntryId) -> Option<u32> {
        match self {
            Self::Few(places) => places.iter().find(|place| place.entry == entry).map(|place| place.position),
            Self::Many(places) => places.get(&entry).copied(),
        }
    }

    /// Adds a subscription, or notes that the index has moved it.
    pub fn set(&mut self, place: Place) {
        match self {
            Self::Few(places) => {
                if let Some(known) = places.iter_mut().find(|known| known.entry == place.entry) {
                    known.position = place.position;
                } else if places.len() < FEW_MAX {
                    places.push(place);
                } else {
                    // Entry ids are given out by the index and not by peers: the key need not be secret.
                    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
                    let mut map = HashMap::with_capacity_and_hasher(4 * FEW_MAX, hasher);
                    map.extend(places.iter().chain([&place]).map(|place| (place.entry, place.position)));
                    *self = Self::Many(Box::new(map));
                }
            }
            Self::Many(places) => {
                places.insert(place.entry, place.position);
            }
        }
    }

    /// Takes one out and tells its position.
    pub fn remove(&mut self, entry: EntryId) -> Option<u32> {
        match self {
            Self::Few(places) => {
                let index = places.iter().position(|place| place.entry == entry)?;
                Some(places.swap_remove(index).position)
            }
            Self::Many(places) => places.remove(&entry),
        }
    }

    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        let (few, many) = match self {
            Self::Few(places) => (Some(places.iter().copied()), None),
            Self::Many(places) => (None, Some(places.iter().map(|(&entry, &position)| Place { entry, position }))),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }
}
