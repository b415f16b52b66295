//! Shared subscriptions: members here, counts of members on other shards, and whose turn it is (MQTT 5.0, 4.8.2).
//!
//! Every shard divides the messages of its own publishers over all members of all shards: in `weight` messages each
//! member gets exactly one. Which shard is next is decided here; which of a shard's members is decided by that shard,
//! in turn, so that a session never has to be named across shards. Members whose client is connected come first; only
//! when there is none anywhere does a message go to a session that must keep it. Of those that are connected the ones come first
//! that can be sent a message at once: each shard knows which of its own are busy, and of the others what they said last.

use smallvec::SmallVec;

use crate::ids::{ShardId, ShardSet};
use crate::limits::SHARDS_MAX;

use super::entry::NONE;
use super::subscribers::{Interest, Subscriber};
use super::trie::FilterEnd;

/// Who of a group gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This member, of this shard.
    Local(Subscriber),
    /// A member of this shard, which picks it with `pick_local`.
    Remote(ShardId),
}

/// The members of one share name and filter, and whose turn it is.
#[derive(Debug)]
pub(super) struct Group {
    /// `$share/name/filter`, as in SUBSCRIBE.
    pub(super) text: Box<str>,
    /// Hash of name and filter, the same on every shard of the process.
    pub(super) key: u64,
    /// Where in the trie its filter ends.
    pub(super) place: FilterEnd,
    /// Position among the groups that end there.
    pub(super) place_position: u32,
    /// Tells it from those that had its number before.
    pub(super) epoch: u16,
    members: Vec<Member>,
    /// Positions of the members that are online: first those that are ready, then the busy ones, otherwise in no order.
    online: Vec<u32>,
    /// How many are ready: nobody has found them busy yet.
    ready: u32,
    /// What the other shards were last told of the members here.
    pub(super) told: MemberRoom,
    /// Whether somebody will look when they may be told something better.
    pub(super) is_watched: bool,
    durable: u32,
    /// Other shards with members, in the order of their distance from this shard, so that not every shard begins with
    /// shard 0.
    remote: SmallVec<[RemoteMembers; 1]>,
    member_turn: u32,
    shard_turn: Rotation,
    /// The same among this shard and some others.
    turn_among: Rotation,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    subscriber: Subscriber,
    /// Position in `online`, or `NONE`.
    online_position: u32,
    /// Messages that it was picked for, while somebody looked.
    picked: u32,
}

/// What the connected members on one shard can do with a message: the best of them counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberRoom {
    /// Their queues are full.
    Full,
    /// It would wait in a queue.
    Queue,
    /// One can be sent it at once.
    #[default]
    Window,
}

#[derive(Clone, Copy, Debug)]
struct RemoteMembers {
    shard: ShardId,
    room: MemberRoom,
    /// Whether one of them is a persistent session.
    is_durable: bool,
    online: u32,
    total: u32,
}

/// A place in a cycle of `weight` turns that visits each once, neighbours far apart: messages for a shard with half of
/// the members come every other time, not all in a row.
///
/// Its numbers have 32 bits, so that a group has two of them where it had one: see [`MEMBERS_OF_SHARD_MAX`].
#[derive(Clone, Copy, Debug, Default)]
struct Rotation {
    weight: u32,
    stride: u32,
    at: u32,
}

/// Members that are believed of one other shard: with as many on each there are fewer than 2^32.
const MEMBERS_OF_SHARD_MAX: u32 = (u32::MAX >> 1) / SHARDS_MAX as u32;

impl Group {
    /// One without members, to be filled at once.
    pub(super) fn new(text: String, key: u64, place: FilterEnd, place_position: u32, epoch: u16) -> Self {
        Self {
            text: text.into_boxed_str(),
            key,
            place,
            place_position,
            epoch,
            members: Vec::new(),
            online: Vec::new(),
            ready: 0,
            told: MemberRoom::Window,
            is_watched: false,
            durable: 0,
            remote: SmallVec::new(),
            member_turn: 0,
            shard_turn: Rotation::default(),
            turn_among: Rotation::default(),
        }
    }

    /// Appends a member, taken to be online: its client has just subscribed. Returns its position.
    pub(super) fn push(&mut self, subscriber: Subscriber, durable: bool) -> u32 {
        let position = self.members.len() as u32;
        self.members.push(Member { subscriber, online_position: NONE, picked: 0 });
        self.set_online(position, true);
        self.durable += u32::from(durable);
        position
    }

    /// Takes the member at `position` out; the last one takes its place and is returned, unless it was the last.
    pub(super) fn swap_remove(&mut self, position: u32, durable: bool) -> Option<Subscriber> {
        self.set_online(position, false);
        self.members.swap_remove(position as usize);
        self.durable = self.durable.checked_sub(u32::from(durable)).expect("no more durable ones go than came");
        let moved = self.members.get(position as usize).copied();
        if let Some(Member { online_position, .. }) = moved
            && online_position != NONE
        {
            self.online[online_position as usize] = position;
        }
        if self.members.capacity() >= 4 * self.members.len().max(1) {
            self.members.shrink_to(2 * self.members.len());
            self.online.shrink_to(2 * self.online.len());
        }
        moved.map(|member| member.subscriber)
    }

    pub(super) fn get(&self, position: u32) -> Subscriber {
        self.members[position as usize].subscriber
    }

    /// Counts a message for it.
    pub(super) fn count_pick(&mut self, position: u32) {
        let picked = &mut self.members[position as usize].picked;
        *picked = picked.saturating_add(1);
    }

    /// How many were counted.
    pub(super) fn picked(&self, position: u32) -> u32 {
        self.members[position as usize].picked
    }

    /// Members of all shards, and how many of them are connected.
    pub(super) fn sums(&self) -> (u32, u32) {
        let (total, online) = self.remote.iter().fold((0, 0), |(total, online), remote| {
            (remote.total.saturating_add(total), remote.online.saturating_add(online))
        });
        (total.saturating_add(self.members.len() as u32), online.saturating_add(self.online.len() as u32))
    }

    pub(super) fn replace(&mut self, position: u32, subscriber: Subscriber) {
        self.members[position as usize].subscriber = subscriber;
    }

    pub(super) fn set_online(&mut self, position: u32, online: bool) {
        match (self.members[position as usize].online_position, online) {
            (NONE, true) => {
                self.members[position as usize].online_position = self.online.len() as u32;
                self.online.push(position);
                self.set_busy(position, false);
            }
            (at, false) if at != NONE => {
                self.set_busy(position, true);
                let at = self.members[position as usize].online_position;
                self.swap_online(at, self.online.len() as u32 - 1);
                self.online.pop();
                self.members[position as usize].online_position = NONE;
            }
            _ => {}
        }
    }

    /// Notes whether a member that is online could not be sent a message at once.
    pub(super) fn set_busy(&mut self, position: u32, busy: bool) {
        let at = self.members[position as usize].online_position;
        if at == NONE || busy == (at >= self.ready) {
            return;
        }
        if busy {
            self.ready -= 1;
            self.swap_online(at, self.ready);
        } else {
            self.swap_online(at, self.ready);
            self.ready += 1;
        }
    }

    fn swap_online(&mut self, one: u32, other: u32) {
        self.online.swap(one as usize, other as usize);
        for at in [one, other] {
            self.members[self.online[at as usize] as usize].online_position = at;
        }
    }

    /// What the members here can do with a message, as far as anybody has found out.
    pub(super) const fn room(&self) -> MemberRoom {
        if self.ready > 0 { MemberRoom::Window } else { MemberRoom::Queue }
    }

    /// Members here that a message may go to.
    pub(super) const fn candidates(&self) -> usize {
        if self.online.is_empty() { self.members.len() } else { self.online.len() }
    }

    /// Whether other shards have members who are connected, so that it matters what is said of those here.
    pub(super) fn has_rivals(&self) -> bool {
        self.remote.iter().any(|remote| remote.online > 0)
    }

    /// Another shard says what its members can do with a message.
    pub(super) fn set_remote_room(&mut self, shard: ShardId, room: MemberRoom) {
        if let Some(remote) = self.remote.iter_mut().find(|remote| remote.shard == shard) {
            remote.room = room;
        }
    }

    /// One of some other shards whose connected members are not known to be full, the best of them.
    pub(super) fn pick_elsewhere(&self, shards: ShardSet) -> Option<ShardId> {
        let able = self
            .remote
            .iter()
            .filter(|remote| remote.online > 0 && remote.room > MemberRoom::Full && shards.contains(remote.shard));
        able.max_by_key(|remote| remote.room).map(|remote| remote.shard)
    }

    pub(super) fn is_online(&self, position: u32) -> bool {
        self.members[position as usize].online_position != NONE
    }

    pub(super) fn interest(&self) -> Interest {
        Interest::Shared {
            online: self.online.len() as u32,
            total: self.members.len() as u32,
            durable: self.durable > 0,
        }
    }

    /// Whether a member, of whatever shard, is a persistent session.
    pub(super) fn is_durable(&self) -> bool {
        self.durable > 0 || self.remote.iter().any(|remote| remote.is_durable)
    }

    /// Notes what `shard` says of its members. `own` is the shard of this replica.
    pub(super) fn apply_remote(&mut self, own: ShardId, shard: ShardId, (online, total): (u32, u32), is_durable: bool) {
        let distance = |of: ShardId| (of.index() + SHARDS_MAX - own.index()) % SHARDS_MAX;
        let total = total.min(MEMBERS_OF_SHARD_MAX);
        let told = RemoteMembers { shard, room: MemberRoom::Window, is_durable, online: online.min(total), total };
        match self.remote.binary_search_by_key(&distance(shard), |known| distance(known.shard)) {
            Ok(at) if total == 0 => {
                self.remote.remove(at);
                self.remote.shrink_to_fit();
            }
            Ok(at) => self.remote[at] = RemoteMembers { room: self.remote[at].room, ..told },
            Err(_) if total == 0 => {}
            Err(at) => self.remote.insert(at, told),
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.members.is_empty() && self.remote.is_empty()
    }

    /// Whether a shard has said that it has members.
    pub(super) fn has_of(&self, shard: ShardId) -> bool {
        self.remote.iter().any(|remote| remote.shard == shard)
    }

    /// The interest of some other shards, and of this one if it wanted `own`.
    pub(super) fn interest_with(&self, own: Interest, shards: ShardSet) -> Interest {
        let Interest::Shared { mut online, mut total, mut durable } = own else { return own };
        for remote in self.remote.iter().filter(|remote| shards.contains(remote.shard)) {
            (online, total) = (online.saturating_add(remote.online), total.saturating_add(remote.total));
            durable |= remote.is_durable;
        }
        Interest::Shared { online, total, durable }
    }

    /// Whose turn it is among the members of all shards.
    pub(super) fn pick(&mut self) -> Option<Pick> {
        let mut turn = self.shard_turn;
        let pick = self.pick_of(&mut turn, |_| true);
        self.shard_turn = turn;
        pick
    }

    /// Whose turn it is among the members of this shard and some others.
    pub(super) fn pick_among(&mut self, shards: ShardSet) -> Option<Pick> {
        let mut turn = self.turn_among;
        let pick = self.pick_of(&mut turn, |shard| shards.contains(shard));
        self.turn_among = turn;
        pick
    }

    /// What the connected members here can do with a message, as far as others were told.
    #[inline]
    fn own_room(&self) -> MemberRoom {
        if self.ready > 0 { MemberRoom::Window } else { self.told.min(MemberRoom::Queue) }
    }

    /// What the connected members of this shard, and of the others of its node, can do with a message: the best of them. Where nobody elsewhere is
    /// connected there is nothing to choose, and it does not matter.
    pub(super) fn room_of_node(&self, node: ShardSet) -> MemberRoom {
        let is_here = |remote: &&RemoteMembers| node.contains(remote.shard);
        let connected = || self.remote.iter().filter(|remote| remote.online > 0);
        if connected().all(|remote| is_here(&remote)) {
            return MemberRoom::Window;
        }
        let own = (!self.online.is_empty()).then(|| self.own_room());
        own.into_iter().chain(connected().filter(is_here).map(|remote| remote.room)).max().unwrap_or_default()
    }

    #[inline]
    fn pick_of(&mut self, turns: &mut Rotation, may: impl Fn(ShardId) -> bool) -> Option<Pick> {
        let own_room = self.own_room();
        let mut best = if self.online.is_empty() { MemberRoom::Full } else { own_room };
        let mut any_online = !self.online.is_empty();
        for remote in self.remote.iter().filter(|remote| remote.online > 0 && may(remote.shard)) {
            best = best.max(remote.room);
            any_online = true;
        }
        let weight_of = |remote: &RemoteMembers| match (any_online, remote.room == best) {
            _ if !may(remote.shard) => 0,
            (true, true) => remote.online,
            (true, false) => 0,
            (false, _) => remote.total,
        };
        let own = match (any_online, own_room == best) {
            (true, true) => self.online.len(),
            (true, false) => 0,
            (false, _) => self.members.len(),
        };
        let weight = own as u32 + self.remote.iter().map(weight_of).sum::<u32>();
        if weight == 0 {
            return None;
        }
        let mut turn = turns.next(weight);
        if turn < own as u32 {
            return self.pick_local().map(Pick::Local);
        }
        turn -= own as u32;
        for remote in &self.remote {
            let weight = weight_of(remote);
            if turn < weight {
                return Some(Pick::Remote(remote.shard));
            }
            turn -= weight;
        }
        unreachable!("a turn is less than the sum of the weights")
    }

    /// Whose turn it is among the members of this shard.
    pub(super) fn pick_local(&mut self) -> Option<Subscriber> {
        let among = if self.ready > 0 { self.ready as usize } else { self.candidates() };
        if among == 0 {
            return None;
        }
        let turn = if self.member_turn as usize >= among { 0 } else { self.member_turn as usize };
        self.member_turn = turn as u32 + 1;
        let position = self.online.get(turn).map_or(turn, |&position| position as usize);
        Some(self.members[position].subscriber)
    }

    /// Bytes that it holds outside of itself.
    pub(super) fn heap_bytes(&self) -> usize {
        let spilled = if self.remote.spilled() { self.remote.capacity() } else { 0 };
        self.text.len()
            + self.members.capacity() * size_of::<Member>()
            + self.online.capacity() * size_of::<u32>()
            + spilled * size_of::<RemoteMembers>()
    }
}

impl Rotation {
    /// The next of `weight` turns. A cycle is fair from the first turn after `weight` last changed.
    fn next(&mut self, weight: u32) -> u32 {
        if weight != self.weight {
            self.weight = weight;
            // The golden section leaves the largest gaps; the next number without a common divisor visits every turn.
            self.stride = ((u64::from(weight) * 618 / 1000) as u32).max(1);
            while greatest_common_divisor(self.stride, weight) != 1 {
                self.stride += 1;
            }
        }
        self.at = ((u64::from(self.at) + u64::from(self.stride)) % u64::from(weight)) as u32;
        self.at
    }
}

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HashKeys;
    use crate::ids::SessionId;
    use crate::topic::{filter::TopicFilter, table::Keys, trie::Trie};
    use std::collections::HashMap;

    fn subscriber(session: u32) -> Subscriber {
        Subscriber { session: SessionId(session), options: 0, identifier: None }
    }

    fn group() -> Group {
        let mut trie = Trie::new();
        let place = trie.ensure(TopicFilter::parse("a", 1).unwrap(), &Keys::new(HashKeys::from(0)));
        Group::new("$share/g/a".to_owned(), 0, place, 0, 0)
    }

    fn counts<K: std::hash::Hash + Eq>(picks: impl IntoIterator<Item = K>) -> HashMap<K, u32> {
        let mut counts = HashMap::new();
        picks.into_iter().for_each(|pick| *counts.entry(pick).or_insert(0) += 1);
        counts
    }

    #[test]
    fn what_a_node_can_do_is_what_the_best_of_its_shards_can_where_others_have_members() {
        let (own, sibling, peer) = (ShardId(0), ShardId(1), ShardId(9));
        let node = ShardSet::first(2);
        let mut group = group();
        let position = group.push(subscriber(1), false);
        group.apply_remote(own, sibling, (1, 1), false);
        group.set_busy(position, true);
        group.set_remote_room(sibling, MemberRoom::Full);
        assert_eq!(group.room_of_node(node), MemberRoom::Window, "there is nothing to choose");
        group.apply_remote(own, peer, (0, 1), true);
        assert_eq!(group.room_of_node(node), MemberRoom::Window, "nobody is connected there");
        group.apply_remote(own, peer, (1, 1), true);
        assert_eq!(group.room_of_node(node), MemberRoom::Queue, "of the member here");
        group.set_remote_room(sibling, MemberRoom::Window);
        assert_eq!(group.room_of_node(node), MemberRoom::Window);
        group.set_remote_room(sibling, MemberRoom::Full);
        group.set_online(position, false);
        assert_eq!(group.room_of_node(node), MemberRoom::Full, "of the other shard's alone");
        group.apply_remote(own, sibling, (0, 1), false);
        assert_eq!(group.room_of_node(node), MemberRoom::Window, "nobody here is connected");
    }

    #[test]
    fn in_one_cycle_every_member_of_every_shard_gets_one_message() {
        let mut group = group();
        (0..5).for_each(|session| {
            group.push(subscriber(session), false);
        });
        group.apply_remote(ShardId(1), ShardId(0), (3, 9), false);
        group.apply_remote(ShardId(1), ShardId(2), (4, 4), false);
        let cycle: Vec<Pick> = (0..12).map(|_| group.pick().unwrap()).collect();
        let by_shard = counts(cycle.iter().filter_map(|pick| match pick {
            Pick::Remote(shard) => Some(shard.0),
            Pick::Local(_) => None,
        }));
        assert_eq!(by_shard, HashMap::from([(0, 3), (2, 4)]));
        let by_member = counts(cycle.iter().filter_map(|pick| match pick {
            Pick::Local(member) => Some(member.session),
            Pick::Remote(_) => None,
        }));
        assert_eq!(by_member.len(), 5);
        assert!(by_member.values().all(|&count| count == 1));
    }

    #[test]
    fn turns_are_spread_rather_than_bunched() {
        let mut group = group();
        (0..50).for_each(|session| {
            group.push(subscriber(session), false);
        });
        group.apply_remote(ShardId(0), ShardId(1), (50, 50), false);
        let remote = (0..100).map(|_| matches!(group.pick(), Some(Pick::Remote(_)))).collect::<Vec<_>>();
        assert_eq!(remote.iter().filter(|&&remote| remote).count(), 50);
        assert!(!remote.windows(5).any(|run| run.iter().all(|&is| is == run[0])), "{remote:?}");
    }

    #[test]
    fn members_without_connection_are_picked_only_when_nobody_is_online() {
        let mut group = group();
        (0..3).for_each(|session| {
            group.push(subscriber(session), true);
        });
        group.set_online(0, false);
        group.set_online(2, false);
        group.set_online(2, false);
        assert_eq!(group.interest(), Interest::Shared { online: 1, total: 3, durable: true });
        assert!((0..9).all(|_| group.pick() == Some(Pick::Local(subscriber(1)))));
        group.apply_remote(ShardId(0), ShardId(5), (1, 1), false);
        group.set_online(1, false);
        assert!((0..9).all(|_| group.pick() == Some(Pick::Remote(ShardId(5)))));
        group.apply_remote(ShardId(0), ShardId(5), (0, 1), false);
        let cycle = counts((0..40).map(|_| format!("{:?}", group.pick().unwrap())));
        assert_eq!(cycle.len(), 4);
        assert!(cycle.values().all(|&count| count == 10), "{cycle:?}");
        group.apply_remote(ShardId(0), ShardId(5), (0, 0), false);
        for _ in 0..3 {
            group.swap_remove(0, true);
        }
        assert!(group.is_unused() && group.pick().is_none() && group.pick_local().is_none());
    }

    #[test]
    fn busy_members_are_picked_when_nobody_is_ready() {
        let mut group = group();
        (0..4).for_each(|session| {
            group.push(subscriber(session), false);
        });
        for busy in [0, 2, 2] {
            group.set_busy(busy, true);
        }
        let cycle = counts((0..20).map(|_| format!("{:?}", group.pick().unwrap())));
        assert!(cycle.len() == 2 && cycle.values().all(|&count| count == 10), "{cycle:?}");
        group.apply_remote(ShardId(0), ShardId(1), (2, 2), false);
        group.set_busy(1, true);
        group.set_busy(3, true);
        assert_eq!(group.room(), MemberRoom::Queue);
        assert!((0..9).all(|_| group.pick() == Some(Pick::Remote(ShardId(1)))));
        group.set_remote_room(ShardId(1), MemberRoom::Queue);
        let cycle = counts((0..60).map(|_| format!("{:?}", group.pick().unwrap())));
        assert_eq!(cycle.len(), 5, "{cycle:?}");
        group.set_remote_room(ShardId(1), MemberRoom::Full);
        assert!((0..9).all(|_| matches!(group.pick(), Some(Pick::Local(_)))));
        assert_eq!(group.pick_elsewhere(ShardSet(u64::MAX)), None);
        // Whoever goes and comes back is ready.
        group.set_online(2, false);
        group.swap_remove(0, false);
        group.set_online(2, true);
        assert!((0..9).all(|_| group.pick() == Some(Pick::Local(subscriber(2)))));
        assert_eq!(group.interest(), Interest::Shared { online: 3, total: 3, durable: false });
    }

    #[test]
    fn some_shards_take_turns_of_their_own() {
        let mut group = group();
        (0..2).for_each(|session| {
            group.push(subscriber(session), true);
        });
        group.apply_remote(ShardId(0), ShardId(1), (2, 5), false);
        group.apply_remote(ShardId(0), ShardId(9), (7, 7), true);
        let here = ShardSet::first(2);
        assert_eq!(
            group.interest_with(group.interest(), here),
            Interest::Shared { online: 4, total: 7, durable: true }
        );
        let everywhere = ShardSet(u64::MAX);
        assert_eq!(
            group.interest_with(group.interest(), everywhere),
            Interest::Shared { online: 11, total: 14, durable: true }
        );
        let (mut among, mut all) = (Vec::new(), Vec::new());
        for _ in 0..44 {
            among.push(format!("{:?}", group.pick_among(here).unwrap()));
            all.push(matches!(group.pick().unwrap(), Pick::Remote(ShardId(9))));
        }
        // Two members here have one turn each for two of the other shard, whoever is picked among all shards between them.
        let remote = format!("{:?}", Pick::Remote(ShardId(1)));
        assert_eq!(among.iter().filter(|pick| **pick == remote).count(), 22);
        assert_eq!(all.iter().filter(|is_far| **is_far).count(), 28, "as many as if nobody had been picked among some");
        for session in [1, 0] {
            group.swap_remove(session, true);
        }
        assert!((0..9).all(|_| group.pick_among(here) == Some(Pick::Remote(ShardId(1)))));
        group.apply_remote(ShardId(0), ShardId(1), (0, 0), false);
        assert!(group.pick_among(here).is_none() && group.pick().is_some());
        assert!(group.has_of(ShardId(9)) && !group.has_of(ShardId(1)));
    }

    #[test]
    fn no_number_of_members_that_others_tell_is_too_much() {
        let mut group = group();
        for shard in 1..SHARDS_MAX as u8 {
            group.apply_remote(ShardId(0), ShardId(shard), (u32::MAX, u32::MAX), false);
        }
        group.push(subscriber(1), false);
        assert!(matches!(group.pick(), Some(Pick::Remote(_) | Pick::Local(_))));
        assert!(group.pick_among(ShardSet(u64::MAX)).is_some());
        assert_eq!(group.sums().0, (SHARDS_MAX as u32 - 1) * MEMBERS_OF_SHARD_MAX + 1);
    }

    #[test]
    fn any_weight_has_a_stride_that_visits_every_turn() {
        for weight in 1..300 {
            let mut turn = Rotation::default();
            assert_eq!(counts((0..weight).map(|_| turn.next(weight))).len() as u32, weight);
        }
    }
}
