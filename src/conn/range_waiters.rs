//! Clients of ranges that nobody serves yet, until somebody does.
//!
//! Always holds: those that wait for the same are in the order in which their time runs out; there are no more of them than [`RANGE_WAITERS_MAX`], with no more
//! bytes of theirs than [`RANGE_WAITERS_MAX_BYTES`].
//! Leaves to others: what becomes of them (`belonging`).

use std::collections::{BTreeMap, VecDeque};

use super::handed_over::ArrivedClient;
use crate::cluster::RangeId;
use crate::ids::ConnectionId;
use crate::limits::{RANGE_WAITERS_MAX, RANGE_WAITERS_MAX_BYTES};
use crate::time::{Deadline, Now};

/// A client that waits.
#[derive(Debug)]
pub(super) struct AwaitedRange {
    /// By when it is to be let on or refused.
    pub(super) until: Deadline,
    pub(super) connection: ConnectionId,
    pub(super) arrived: Box<ArrivedClient>,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RangeWait {
    /// It has no client id yet, and may be in any range that this node serves.
    AnyOwn,
    /// Somebody is to serve its range.
    Anybody(RangeId),
    /// This node is to serve it: another one has forwarded the client.
    Own(RangeId),
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct RangeWaiters {
    queues: BTreeMap<RangeWait, VecDeque<AwaitedRange>>,
    count: usize,
    bytes: usize,
    /// Who serves which range may have changed since all of them were looked at.
    is_to_look: bool,
}

impl RangeWaiters {
    /// Whether one more may wait.
    pub(super) fn has_room_for(&self, arrived: &ArrivedClient) -> bool {
        self.count < RANGE_WAITERS_MAX && self.bytes + arrived.len_bytes() <= RANGE_WAITERS_MAX_BYTES
    }

    /// One more waits. There is room for it.
    pub(super) fn push(&mut self, wait: RangeWait, awaited: AwaitedRange) {
        debug_assert!(self.has_room_for(&awaited.arrived), "whoever finds no room is refused");
        self.count += 1;
        self.bytes += awaited.arrived.len_bytes();
        let queue = self.queues.entry(wait).or_default();
        // Behind all that came before, unless it has waited on another shard.
        let at = queue.partition_point(|other| other.until <= awaited.until);
        queue.insert(at, awaited);
    }

    /// Who serves which range may have changed.
    pub(super) const fn look_again(&mut self) {
        self.is_to_look = true;
    }

    /// The next one whose time has run out, or whose range is served as `is_served` says. When there is none, nothing is to be done before
    /// [`Self::next_deadline`].
    pub(super) fn next(&mut self, now: Now, is_served: impl Fn(RangeWait) -> bool) -> Option<AwaitedRange> {
        let is_over = |wait: RangeWait, queue: &VecDeque<AwaitedRange>| {
            queue.front().is_some_and(|first| first.until.is_due(now)) || is_served(wait)
        };
        let wait = self.queues.iter().find(|(wait, queue)| is_over(**wait, queue)).map(|(wait, _)| *wait);
        let Some(wait) = wait else {
            self.is_to_look = false;
            return None;
        };
        let queue = self.queues.get_mut(&wait)?;
        let awaited = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&wait);
        }
        let awaited = awaited?;
        self.count -= 1;
        self.bytes -= awaited.arrived.len_bytes();
        Some(awaited)
    }

    /// When [`Self::next`] is to be asked.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let first = self.queues.values().filter_map(|queue| Some(queue.front()?.until)).min();
        first.map(|first| if self.is_to_look { Deadline(0) } else { first })
    }

    /// All of them: nobody waits any more.
    pub(super) fn into_all(self) -> impl Iterator<Item = AwaitedRange> {
        self.queues.into_values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Connect, ConnectPacket, Version};
    use crate::conn::peer::Peer;

    const NOW: Now = Now { mono_ns: 9_000_000_000, unix_ms: 0 };

    fn awaited(number: u32, until: u64, rest: usize) -> AwaitedRange {
        let connect = ConnectPacket::copy_of(&Connect::new(Version::V311, "c", true));
        let arrived = Box::new(ArrivedClient::new(connect, vec![0; rest], None, 0, Peer::Unknown));
        AwaitedRange { until: Deadline(until), connection: ConnectionId::new(number, 0), arrived }
    }

    /// All whose wait is over, by their numbers.
    fn released(waiters: &mut RangeWaiters, is_served: impl Fn(RangeWait) -> bool) -> Vec<u32> {
        let mut released = Vec::new();
        while let Some(awaited) = waiters.next(NOW, &is_served) {
            released.push(awaited.connection.slot);
        }
        released
    }

    #[test]
    fn they_go_on_range_by_range_and_in_the_order_of_their_time() {
        let mut waiters = RangeWaiters::default();
        assert_eq!(waiters.next_deadline(), None);
        waiters.look_again();
        assert_eq!(waiters.next_deadline(), None, "nobody waits");
        let range = |range| RangeWait::Anybody(RangeId(range));
        for (number, of, until) in [
            (1, range(3), 15_000),
            (2, range(3), 16_000),
            (3, range(3), 15_500),
            (4, RangeWait::AnyOwn, 14_000),
            (5, range(0), 9_000),
        ] {
            waiters.push(of, awaited(number, until, 0));
        }
        assert_eq!(waiters.next_deadline(), Some(Deadline(0)), "they are to be looked at");
        assert_eq!(released(&mut waiters, |_| false), [5], "its time has run out");
        assert_eq!(waiters.next_deadline(), Some(Deadline(14_000)));
        waiters.look_again();
        assert_eq!(released(&mut waiters, |served| served == range(3)), [1, 3, 2]);
        assert_eq!(waiters.next_deadline(), Some(Deadline(14_000)));
        assert_eq!(released(&mut waiters, |served| served == RangeWait::AnyOwn), [4]);
        assert_eq!((waiters.next_deadline(), waiters.count, waiters.bytes), (None, 0, 0));
    }

    #[test]
    fn no_more_wait_than_may_and_no_more_bytes() {
        let mut waiters = RangeWaiters::default();
        for number in 0..RANGE_WAITERS_MAX as u32 {
            assert!(waiters.has_room_for(&awaited(number, 0, 0).arrived), "{number}");
            waiters.push(RangeWait::AnyOwn, awaited(number, 10_000, 0));
        }
        assert!(!waiters.has_room_for(&awaited(0, 0, 0).arrived));
        assert_eq!(waiters.into_all().count(), RANGE_WAITERS_MAX);
        let mut waiters = RangeWaiters::default();
        let len = awaited(0, 0, 0).arrived.len_bytes();
        waiters.push(RangeWait::AnyOwn, awaited(1, 10_000, RANGE_WAITERS_MAX_BYTES - 2 * len));
        assert!(!waiters.has_room_for(&awaited(2, 0, 1).arrived));
        assert!(waiters.has_room_for(&awaited(2, 0, 0).arrived));
    }
}
