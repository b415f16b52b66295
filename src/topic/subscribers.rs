//! Who subscribes, and what one shard tells the others about it.

use std::num::NonZeroU32;

use crate::ids::{SessionId, SubscriptionId};
use crate::slab::Slab;

/// One subscription as the index stores it: 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Whose it is, on this shard.
    pub session: SessionId,
    /// Maximum quality of service and the other subscription options, as bits that only the caller reads.
    pub options: u8,
    /// What to send along with each message, if the client asked for it [MQTT-3.3.4-3].
    pub identifier: Option<SubscriptionId>,
}

/// The interest of one shard's sessions in one entry: what it announces to the other shards. Absolute, so that saying
/// it twice changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// In a plain filter.
    Plain {
        /// Whether there is any subscriber.
        any: bool,
        /// Whether one of them is a persistent session, for whose shard's store an acknowledgement must wait.
        durable: bool,
    },
    /// In a shared subscription.
    Shared {
        /// Members whose client is connected.
        online: u32,
        /// Members, connected or not; 0 ends the interest.
        total: u32,
        /// Whether one of them is a persistent session.
        durable: bool,
    },
}

/// A change of a shard's interest in one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterestChange {
    /// What it was.
    pub before: Interest,
    /// What the other shards are to be told.
    pub now: Interest,
}

impl Interest {
    /// Whether nobody is interested (any more).
    pub const fn is_nothing(self) -> bool {
        matches!(self, Self::Plain { any: false, .. } | Self::Shared { total: 0, .. })
    }
}

/// The subscribers of one plain entry: none or one in place, more in a list. 12 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Subscribers {
    #[default]
    None,
    One {
        session: SessionId,
        identifier: Option<NonZeroU32>,
        options: u8,
        durable: bool,
    },
    /// The id of a `SubscriberList`.
    Many(u32),
}

const _: () = assert!(size_of::<Subscriber>() == 12 && size_of::<Subscribers>() == 12);

/// Two or more subscribers of an entry.
#[derive(Debug)]
struct SubscriberList {
    list: Vec<Subscriber>,
    durable: u32,
}

/// Where the lists of all entries with more than one subscriber are.
#[derive(Debug)]
pub(super) struct SubscriberLists {
    many: Slab<SubscriberList>,
    heap_bytes: usize,
}

impl SubscriberLists {
    pub(super) const fn new() -> Self {
        Self { many: Slab::new(), heap_bytes: 0 }
    }

    /// Appends to the entry's subscribers and returns the position.
    pub(super) fn push(&mut self, to: &mut Subscribers, subscriber: Subscriber, durable: bool) -> u32 {
        match *to {
            Subscribers::None => {
                *to = one(subscriber, durable);
                0
            }
            Subscribers::One { durable: first_durable, .. } => {
                let mut list = Vec::with_capacity(2);
                list.extend([first(to), subscriber]);
                self.heap_bytes += capacity_bytes(&list);
                let durable = u32::from(first_durable) + u32::from(durable);
                *to = Subscribers::Many(self.many.insert(SubscriberList { list, durable }));
                1
            }
            Subscribers::Many(id) => {
                let many = &mut self.many[id];
                self.heap_bytes -= capacity_bytes(&many.list);
                many.list.push(subscriber);
                self.heap_bytes += capacity_bytes(&many.list);
                many.durable += u32::from(durable);
                many.list.len() as u32 - 1
            }
        }
    }

    /// Takes out the subscriber at `position`; the last one takes its place and is named, unless it was the last.
    pub(super) fn swap_remove(&mut self, from: &mut Subscribers, position: u32, durable: bool) -> Option<SessionId> {
        let id = match *from {
            Subscribers::None => unreachable!("an entry without subscribers has no positions"),
            Subscribers::One { durable: was_durable, .. } => {
                assert!(position == 0 && was_durable == durable, "the session knows its subscription");
                *from = Subscribers::None;
                return None;
            }
            Subscribers::Many(id) => id,
        };
        let many = &mut self.many[id];
        many.list.swap_remove(position as usize);
        many.durable = many.durable.checked_sub(u32::from(durable)).expect("no more durable ones go than came");
        let moved = many.list.get(position as usize).map(|moved| moved.session);
        let (len, capacity) = (many.list.len(), many.list.capacity());
        if len == 1 {
            let many = self.many.remove(id).expect("a list is freed once");
            self.heap_bytes -= capacity_bytes(&many.list);
            *from = one(many.list[0], many.durable > 0);
        } else if capacity >= 4 * len {
            // A crowd that left gives its room back, by halves so that each removal stays O(1) on average.
            self.heap_bytes -= capacity_bytes(&many.list);
            many.list.shrink_to(capacity / 2);
            self.heap_bytes += capacity_bytes(&many.list);
        }
        moved
    }

    pub(super) fn get(&self, of: &Subscribers, position: u32) -> Subscriber {
        self.all(of, |all| all[position as usize])
    }

    pub(super) fn replace(&mut self, of: &mut Subscribers, position: u32, subscriber: Subscriber) {
        match *of {
            Subscribers::None => unreachable!("an entry without subscribers has no positions"),
            Subscribers::One { durable, .. } => {
                assert!(position == 0, "the session knows its subscription");
                *of = one(subscriber, durable);
            }
            Subscribers::Many(id) => self.many[id].list[position as usize] = subscriber,
        }
    }

    pub(super) fn interest(&self, of: &Subscribers) -> Interest {
        match *of {
            Subscribers::None => Interest::Plain { any: false, durable: false },
            Subscribers::One { durable, .. } => Interest::Plain { any: true, durable },
            Subscribers::Many(id) => Interest::Plain { any: true, durable: self.many[id].durable > 0 },
        }
    }

    /// Appends all of the entry's subscribers to `out` and says how many these were. `None`, and nothing is appended, if they
    /// are more than `max`.
    #[inline]
    pub(super) fn copy_to(&self, of: &Subscribers, max: usize, out: &mut Vec<Subscriber>) -> Option<usize> {
        match *of {
            Subscribers::None => Some(0),
            _ if max == 0 => None,
            Subscribers::One { .. } => {
                out.push(first(of));
                Some(1)
            }
            Subscribers::Many(id) => {
                let list = &self.many[id].list;
                if list.len() > max {
                    return None;
                }
                out.extend_from_slice(list);
                Some(list.len())
            }
        }
    }

    /// How many subscribers the entry has.
    pub(super) fn len(&self, of: &Subscribers) -> u32 {
        self.all(of, |all| all.len() as u32)
    }

    /// The entry's subscribers, two or more of them.
    pub(super) fn many(&self, of: &Subscribers) -> &[Subscriber] {
        match *of {
            Subscribers::Many(id) => &self.many[id].list,
            _ => &[],
        }
    }

    /// Lets two subscribers of the entry change places.
    pub(super) fn swap(&mut self, of: &Subscribers, left: u32, right: u32) {
        match *of {
            Subscribers::Many(id) => self.many[id].list.swap(left as usize, right as usize),
            _ => assert!(left == 0 && right == 0, "one subscriber has one place"),
        }
    }

    #[cfg(test)]
    pub(super) const fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.many.memory_bytes() + self.heap_bytes
    }

    fn all<R>(&self, of: &Subscribers, read: impl FnOnce(&[Subscriber]) -> R) -> R {
        match *of {
            Subscribers::None => read(&[]),
            Subscribers::One { .. } => read(&[first(of)]),
            Subscribers::Many(id) => read(&self.many[id].list),
        }
    }
}

const fn one(subscriber: Subscriber, durable: bool) -> Subscribers {
    let Subscriber { session, options, identifier } = subscriber;
    Subscribers::One { session, identifier, options, durable }
}

fn first(of: &Subscribers) -> Subscriber {
    match *of {
        Subscribers::One { session, identifier, options, .. } => Subscriber { session, options, identifier },
        Subscribers::None | Subscribers::Many(_) => unreachable!("asked of one subscriber in place only"),
    }
}

const fn capacity_bytes(list: &Vec<Subscriber>) -> usize {
    list.capacity() * size_of::<Subscriber>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(session: u32) -> Subscriber {
        Subscriber { session: SessionId(session), options: session as u8, identifier: NonZeroU32::new(session) }
    }

    #[test]
    fn the_last_takes_the_place_of_the_one_that_goes() {
        let mut lists = SubscriberLists::new();
        let mut entry = Subscribers::None;
        for session in 0..4 {
            assert_eq!(lists.push(&mut entry, subscriber(session), session == 2), session);
        }
        assert_eq!(lists.interest(&entry), Interest::Plain { any: true, durable: true });
        assert_eq!(lists.swap_remove(&mut entry, 1, false), Some(SessionId(3)));
        assert_eq!(lists.get(&entry, 1), subscriber(3));
        assert_eq!(lists.swap_remove(&mut entry, 2, true), None);
        assert_eq!(lists.interest(&entry), Interest::Plain { any: true, durable: false });
        assert_eq!(lists.swap_remove(&mut entry, 0, false), Some(SessionId(3)));
        assert!(matches!(entry, Subscribers::One { .. }));
        assert_eq!(lists.get(&entry, 0), subscriber(3));
        lists.replace(&mut entry, 0, subscriber(9));
        assert_eq!(lists.get(&entry, 0), subscriber(9));
        assert_eq!(lists.swap_remove(&mut entry, 0, false), None);
        assert!(lists.interest(&entry).is_nothing());
        assert_eq!((lists.many.len(), lists.heap_bytes), (0, 0));
    }

    #[test]
    fn a_crowd_is_not_copied_and_two_of_it_may_change_places() {
        let mut lists = SubscriberLists::new();
        let (mut entry, mut out) = (Subscribers::None, Vec::new());
        assert_eq!(lists.copy_to(&entry, 0, &mut out), Some(0));
        for session in 0..3 {
            lists.push(&mut entry, subscriber(session), false);
            assert_eq!(lists.len(&entry), session + 1);
            assert_eq!(lists.copy_to(&entry, session as usize, &mut out), None);
            assert!(out.is_empty());
        }
        lists.swap(&entry, 0, 2);
        assert_eq!(lists.copy_to(&entry, 3, &mut out), Some(3));
        assert_eq!(out, [2, 1, 0].map(subscriber));
        assert_eq!(lists.many(&entry), out);
    }

    #[test]
    fn a_crowd_that_left_gives_its_room_back() {
        let mut lists = SubscriberLists::new();
        let mut entry = Subscribers::None;
        for session in 0..100_000 {
            lists.push(&mut entry, subscriber(session), false);
        }
        for position in (2..100_000).rev() {
            lists.swap_remove(&mut entry, position, false);
        }
        assert!(lists.heap_bytes <= 8 * size_of::<Subscriber>(), "{}", lists.heap_bytes);
    }
}
