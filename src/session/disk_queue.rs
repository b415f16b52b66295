//! The part of a session's queue whose messages are on disk and not in memory: a place for each, and what is special about the copy.
//!
//! Owns: which messages wait, in their order; 8 bytes for most of them.
//! Always holds: first in, first out; what an entry counts for in bytes is the same when it comes and when it goes.
//! Leaves to others: reading (`shard` asks for it), and the messages in memory that stand in front of these (`outbound`).

use std::collections::VecDeque;

use super::delivery::{Delivery, SubscriptionIds};
use super::message::Message;
use crate::ids::{MessageId, Qos};
use crate::time::{Deadline, Now};
use crate::topic::GroupTag;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct DiskQueue {
    since_tick: u32,
    places: VecDeque<DiskPlace>,
    /// Of those that have something else to say, in the same order.
    extras: VecDeque<DiskExtra>,
    asked: PageState,
}

/// How far it is with asking for the first ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageState {
    /// Nobody has.
    #[default]
    No,
    /// It waits until others have been answered, or until what it would ask for is durable.
    Waits,
    /// So many were asked for, and are still the first ones.
    For(u16),
}

/// One message for one client that is on disk.
#[derive(Clone, Debug)]
pub struct DiskDelivery {
    /// What the log knows it by.
    pub stored_as: MessageId,
    /// What it counts for in the queue; rounded up when it is kept.
    pub len_bytes: u64,
    /// As in [`Delivery`].
    pub qos: Qos,
    /// As in [`Delivery`].
    pub retain: bool,
    /// As in [`Delivery`].
    pub ids: SubscriptionIds,
    /// As in [`Delivery`].
    pub group: GroupTag,
    /// When nobody may get it any more; `None` also where that is known from its body alone.
    pub expires: Option<Deadline>,
}

/// Id, length, QoS and RETAIN in one word.
#[derive(Clone, Copy, Debug)]
struct DiskPlace(u64);

#[derive(Clone, Debug)]
struct DiskExtra {
    ids: SubscriptionIds,
    group: GroupTag,
    expires: Option<Deadline>,
}

const ID_BITS: u32 = 48;
const RETAIN: u64 = 1 << 63;
const EXACTLY_ONCE: u64 = 1 << 62;
const HAS_EXTRA: u64 = 1 << 61;
const LENGTH_MASK: u64 = (1 << 11) - 1;

impl DiskDelivery {
    /// Ids below this one have room in a place: two hundred million million records come before it.
    pub const ID_END: u64 = 1 << ID_BITS;

    /// What a message of this length counts for while it is on disk.
    pub const fn counted_bytes(len_bytes: u64) -> u64 {
        length_of(length_code(len_bytes))
    }

    /// Of a delivery with a body that stays behind.
    pub fn of(delivery: &Delivery) -> Self {
        Self {
            stored_as: delivery.stored_as,
            len_bytes: delivery.len_bytes(),
            qos: delivery.qos,
            retain: delivery.retain,
            ids: delivery.ids.clone(),
            group: delivery.group,
            expires: delivery.message.expires(),
        }
    }

    /// With its body.
    pub fn with(self, message: Message) -> Delivery {
        let Self { stored_as, qos, retain, ids, group, .. } = self;
        Delivery { message, ids, qos, retain, group, stored_as }
    }

    /// Whether its message expiry interval is known to have passed.
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|expires| expires.is_due(now))
    }
}

impl DiskQueue {
    /// Empty, from this tick of the timers on.
    pub fn new(since_tick: u32) -> Self {
        Self { since_tick, ..Self::default() }
    }

    /// When there was nothing in it yet.
    pub const fn since_tick(&self) -> u32 {
        self.since_tick
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Puts one behind the others. Returns what it counts for.
    pub fn push(&mut self, delivery: DiskDelivery) -> u64 {
        let DiskDelivery { stored_as, len_bytes, qos, retain, ids, group, expires } = delivery;
        debug_assert!(stored_as.0 < DiskDelivery::ID_END && qos > Qos::AtMostOnce);
        let has_extra = ids != SubscriptionIds::None || group != GroupTag::NONE || expires.is_some();
        let flag = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
        let flags = flag(retain, RETAIN) | flag(qos == Qos::ExactlyOnce, EXACTLY_ONCE) | flag(has_extra, HAS_EXTRA);
        let place = DiskPlace(flags | length_code(len_bytes) << ID_BITS | stored_as.0);
        if has_extra {
            self.extras.push_back(DiskExtra { ids, group, expires });
        }
        if self.places.len() == self.places.capacity() {
            // Not twice as many: there may be millions.
            self.places.reserve_exact((self.places.len() / 4).max(2));
        }
        self.places.push_back(place);
        place.len_bytes()
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<DiskDelivery> {
        let place = self.places.pop_front()?;
        self.note_taken();
        let extra = if place.has_extra() { self.extras.pop_front() } else { None };
        let (ids, group, expires) = extra
            .map_or((SubscriptionIds::None, GroupTag::NONE, None), |extra| (extra.ids, extra.group, extra.expires));
        Some(DiskDelivery {
            stored_as: place.id(),
            len_bytes: place.len_bytes(),
            qos: place.qos(),
            retain: place.0 & RETAIN != 0,
            ids,
            group,
            expires,
        })
    }

    /// The ids of the first ones: at most so many, of messages that come to about so many bytes, and not beyond one that may not be
    /// asked for yet. At least one, if any.
    pub fn first_ids(&self, max: usize, max_bytes: u64, may_ask: impl Fn(MessageId) -> bool) -> Vec<MessageId> {
        let mut bytes = 0;
        let wanted = self.places.iter().take(max).take_while(|place| {
            let is_wanted = bytes < max_bytes && may_ask(place.id());
            bytes += place.len_bytes();
            is_wanted
        });
        wanted.map(|place| place.id()).collect()
    }

    /// Their ids, the first one first.
    pub fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.places.iter().map(|place| place.id())
    }

    /// Whether the first one is known to have expired; `None` if there is none.
    pub fn is_first_expired(&self, now: Now) -> Option<bool> {
        let place = self.places.front()?;
        let expires = self.extras.front().filter(|_| place.has_extra()).and_then(|extra| extra.expires);
        Some(expires.is_some_and(|expires| expires.is_due(now)))
    }

    /// Whether the first one came by a shared subscription.
    pub fn is_first_shared(&self) -> bool {
        let has_extra = self.places.front().is_some_and(|place| place.has_extra());
        has_extra && self.extras.front().is_some_and(|extra| extra.group != GroupTag::NONE)
    }

    /// How far it is with asking.
    pub const fn asked(&self) -> PageState {
        self.asked
    }

    /// The first one was taken out, by whoever did not wait for it: of what was asked for, so many are left.
    const fn note_taken(&mut self) {
        if let PageState::For(left) = self.asked {
            self.asked = PageState::For(left.saturating_sub(1));
        }
    }

    /// Notes how far it is.
    pub const fn set_asked(&mut self, asked: PageState) {
        self.asked = asked;
    }
}

impl DiskPlace {
    const fn id(self) -> MessageId {
        MessageId(self.0 & ((1 << ID_BITS) - 1))
    }

    const fn has_extra(self) -> bool {
        self.0 & HAS_EXTRA != 0
    }

    const fn qos(self) -> Qos {
        if self.0 & EXACTLY_ONCE != 0 { Qos::ExactlyOnce } else { Qos::AtLeastOnce }
    }

    const fn len_bytes(self) -> u64 {
        length_of(self.0 >> ID_BITS & LENGTH_MASK)
    }
}

/// A length in 11 bits, as small numbers are written: 6 bits behind the leading one, and how many follow. Rounded up, by less than one in 64.
const fn length_code(len_bytes: u64) -> u64 {
    if len_bytes < 64 {
        return len_bytes;
    }
    let shift = 64 - 7 - len_bytes.leading_zeros() as u64;
    let mantissa = len_bytes.div_ceil(1 << shift);
    // Rounding up may carry into the next power of two: then the mantissa is 128, which is 64 of the next.
    let code = (shift + 1) * 64 + (mantissa - 64);
    if code > LENGTH_MASK { LENGTH_MASK } else { code }
}

const fn length_of(code: u64) -> u64 {
    if code < 64 { code } else { (64 + code % 64) << (code / 64 - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SubscriptionId;
    use crate::session::delivery::tests::delivery;

    #[test]
    fn a_length_is_rounded_up_by_less_than_one_in_64() {
        for len in (0..70_000).chain([1 << 20, (1 << 20) + 1, 268_435_455, 268_435_460]) {
            let kept = length_of(length_code(len));
            assert!(kept >= len && kept - len <= len / 64, "{len} is kept as {kept}");
        }
    }

    #[test]
    fn what_goes_in_comes_out_in_order_as_it_was() {
        let ids = |number| SubscriptionIds::from_slice(&[SubscriptionId::new(number).unwrap()]);
        let plain = |id| DiskDelivery { stored_as: MessageId(id), len_bytes: 50, ..DiskDelivery::of(&delivery("t")) };
        let mut queue = DiskQueue::default();
        let all = [
            plain(7),
            DiskDelivery { ids: ids(9), ..plain(7) },
            DiskDelivery { qos: Qos::ExactlyOnce, ..plain((1 << ID_BITS) - 1) },
            DiskDelivery { expires: Some(Deadline(5)), retain: true, ..plain(9) },
            plain(10),
        ];
        let counted: u64 = all.iter().map(|one| queue.push(one.clone())).sum();
        assert_eq!((queue.len(), counted), (5, 250));
        assert_eq!(queue.ids().map(|id| id.0).collect::<Vec<_>>(), [7, 7, (1 << ID_BITS) - 1, 9, 10]);
        let first = |max, bytes, until| queue.first_ids(max, bytes, |id| id.0 < until).len();
        assert_eq!((first(9, 1_000, 1 << 50), first(2, 1_000, 1 << 50), first(9, 51, 1 << 50)), (5, 2, 2));
        assert_eq!((first(9, 1, 1 << 50), first(9, 1_000, 9), first(9, 1_000, 7)), (1, 2, 0));
        let now = Now { mono_ns: 6_000_000, unix_ms: 0 };
        for one in all {
            assert_eq!(queue.is_first_expired(now), Some(one.expires.is_some()));
            assert_eq!(format!("{:?}", queue.pop().unwrap()), format!("{one:?}"));
        }
        assert!(queue.is_empty() && queue.pop().is_none() && queue.extras.is_empty());
        assert_eq!((queue.is_first_expired(now), queue.is_first_shared()), (None, false));
    }

    #[test]
    fn a_place_takes_eight_bytes_and_little_stands_empty() {
        let mut queue = DiskQueue::default();
        for id in 1..=1_000 {
            let one = DiskDelivery::of(&delivery("t"));
            queue.push(DiskDelivery { stored_as: MessageId(id), ..one });
            assert!(queue.places.capacity() <= (id as usize * 5 / 4).max(6), "{id}");
        }
        assert_eq!(size_of::<DiskPlace>(), 8);
    }
}
