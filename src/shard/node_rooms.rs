//! What peers were told of the members of shared subscriptions on this node: what the best of them can do with a message.
//!
//! Owns: of which groups peers were told something else than that a member can be sent a message at once, and when they are looked at again
//! ([`NodeRooms`]). Only shard 0 has one.
//! Always holds: of one group something is told once in [`LOOK_AGAIN_MS`] at most, and what was told last is known.
//! Leaves to others: what there is to tell, and to whom (`tell_rooms`).

use std::collections::{BTreeMap, VecDeque};

use crate::time::{Deadline, Now};
use crate::topic::MemberRoom;

/// How long others believe what they were told of busy members, at least: a member that is busy and ready by turns costs
/// no message each time, and meanwhile the others are served.
pub(super) const LOOK_AGAIN_MS: u64 = 20;
/// Groups that one turn looks at again.
pub(super) const GROUPS_PER_TURN: usize = 256;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct NodeRooms {
    told: BTreeMap<u64, ToldRoom>,
    /// By key, in the order of time. What is looked at then or was forgotten meanwhile has another time.
    due: VecDeque<(Deadline, u64)>,
}

/// What peers were told of a group, and when it is looked at again.
#[derive(Clone, Copy, Debug)]
struct ToldRoom {
    room: MemberRoom,
    look: Deadline,
}

impl NodeRooms {
    /// What peers were told last of a group that this node has members of.
    pub(super) fn told(&self, key: u64) -> MemberRoom {
        self.told.get(&key).map(|told| told.room).unwrap_or_default()
    }

    /// What the best of the members can do may have changed. Returns whether peers are told now; of a group of which they were told something just
    /// now they are told later.
    pub(super) fn note(&mut self, now: Now, key: u64, room: MemberRoom) -> bool {
        let is_news = room != MemberRoom::default() && !self.told.contains_key(&key);
        if is_news {
            self.tell(now, key, room);
        }
        is_news
    }

    /// The next group that is to be looked at.
    pub(super) fn next_due(&mut self, now: Now) -> Option<u64> {
        while let Some(&(look, key)) = self.due.front().filter(|(look, _)| look.is_due(now)) {
            self.due.pop_front();
            if self.told.get(&key).is_some_and(|told| told.look == look) {
                return Some(key);
            }
        }
        None
    }

    /// A group that was due has been looked at. Returns whether peers are told now.
    pub(super) fn looked(&mut self, now: Now, key: u64, room: MemberRoom) -> bool {
        let before = self.told(key);
        if before == room && room == MemberRoom::default() {
            self.told.remove(&key);
        } else {
            self.tell(now, key, room);
        }
        before != room
    }

    /// This node has no member of a group any more: peers know nothing of those to come.
    pub(super) fn forget(&mut self, key: u64) {
        self.told.remove(&key);
    }

    /// When there is something to look at.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.due.front().map(|&(look, _)| look)
    }

    fn tell(&mut self, now: Now, key: u64, room: MemberRoom) {
        let look = now.after_ms(LOOK_AGAIN_MS);
        self.told.insert(key, ToldRoom { room, look });
        self.due.push_back((look, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u64 = 7;

    fn at(ms: u64) -> Now {
        Now { mono_ns: ms * 1_000_000, unix_ms: 0 }
    }

    #[test]
    fn of_one_group_something_is_told_once_in_so_long_and_the_last_word_is_right() {
        let mut rooms = NodeRooms::default();
        assert!(!rooms.note(at(0), KEY, MemberRoom::Window), "that is what they believe");
        assert!(rooms.note(at(0), KEY, MemberRoom::Queue));
        assert!(!rooms.note(at(1), KEY, MemberRoom::Full), "later");
        assert!(rooms.note(at(1), KEY + 1, MemberRoom::Full), "of another one");
        assert_eq!((rooms.next_due(at(19)), rooms.next_deadline()), (None, Some(Deadline(20))));
        assert_eq!(rooms.next_due(at(20)), Some(KEY));
        assert!(rooms.looked(at(20), KEY, MemberRoom::Full));
        assert_eq!((rooms.told(KEY), rooms.next_due(at(20))), (MemberRoom::Full, None));
        assert_eq!(rooms.next_due(at(40)), Some(KEY + 1));
        assert!(!rooms.looked(at(40), KEY + 1, MemberRoom::Full), "it is as they believe");
        assert_eq!(rooms.next_due(at(40)), Some(KEY));
        assert!(rooms.looked(at(40), KEY, MemberRoom::Window));
        assert!(!rooms.note(at(41), KEY, MemberRoom::Queue), "that was just now");
        assert_eq!((rooms.next_due(at(60)), rooms.next_due(at(60))), (Some(KEY + 1), Some(KEY)));
        assert!(!rooms.looked(at(60), KEY, MemberRoom::Window));
        assert!(rooms.note(at(60), KEY, MemberRoom::Queue), "nothing was told for so long");
    }

    #[test]
    fn a_group_that_was_forgotten_begins_anew() {
        let mut rooms = NodeRooms::default();
        assert!(rooms.note(at(0), KEY, MemberRoom::Queue));
        rooms.forget(KEY);
        assert_eq!(rooms.told(KEY), MemberRoom::Window);
        assert!(rooms.note(at(5), KEY, MemberRoom::Queue));
        assert_eq!(rooms.next_due(at(20)), None, "what was to be looked at then");
        assert_eq!(rooms.next_due(at(25)), Some(KEY));
        assert!(rooms.next_deadline().is_none());
    }
}
