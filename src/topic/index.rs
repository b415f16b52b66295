//! The subscription index: who, here and on which other shards, gets a message on a topic.

use crate::ids::{HashKeys, SessionId, ShardId, ShardSet};
use crate::slab::Slab;

use super::entry::{EntryId, GroupTag, NONE, Stored};
use super::filter::SubscribedFilter;
use super::group::{Group, MemberRoom, Pick};
use super::literal::{LiteralKey, Literals};
use super::matches::Matches;
use super::name::TopicName;
use super::subscribers::{Interest, InterestChange, Subscriber, SubscriberLists, Subscribers};
use super::table::{Keys, StripedTable};
use super::trie::{FilterEnd, Trie};

/// One shard's replica of the subscriptions of the process.
#[derive(Debug)]
pub struct SubscriptionIndex {
    pub(super) own: ShardId,
    pub(super) keys: Keys,
    pub(super) literals: Literals,
    pub(super) trie: Trie,
    pub(super) wildcards: Slab<Wildcard>,
    pub(super) groups: Slab<Group>,
    groups_by_key: StripedTable<u32>,
    /// For each place of the trie where there are any, the groups that end there.
    groups_at: Slab<Vec<u32>>,
    lists: SubscriberLists,
    plain_subscriptions: usize,
    shared_subscriptions: usize,
    /// Counts the groups that have been made, and wraps.
    groups_made: u16,
    heap_bytes: usize,
    /// Counts whatever may change what a match finds.
    pub(super) changes: u64,
}

/// A plain filter with `+`: 40 bytes besides its nodes.
#[derive(Debug)]
pub(super) struct Wildcard {
    place: FilterEnd,
    subscribers: Subscribers,
    pub(super) shards: ShardSet,
    pub(super) durable_shards: ShardSet,
}

// No tag: a slot of a slab is as large as what it holds.
const _: () = assert!(size_of::<Option<Wildcard>>() == 40 && size_of::<Option<Group>>() == size_of::<Group>());

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Where the subscription is; the session keeps it with the position.
    pub entry: EntryId,
    /// The subscriber's position in it, until a removal moves it.
    pub position: u32,
    /// What to tell the other shards, if this shard's interest changed.
    pub change: Option<InterestChange>,
}

/// What a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The session whose subscription is now at the position that was freed.
    pub moved: Option<SessionId>,
    /// What to tell the other shards, if this shard's interest changed.
    pub change: Option<InterestChange>,
    /// The filter as in SUBSCRIBE, for telling it; the entry may be gone. `Some` exactly if `change` is.
    pub filter: Option<String>,
}

impl SubscriptionIndex {
    /// An empty index of shard `own`. All shards of a process take the same `keys`: they key the hash tables and
    /// [`Self::group_key`].
    pub fn new(keys: impl Into<HashKeys>, own: ShardId) -> Self {
        Self {
            own,
            keys: Keys::new(keys.into()),
            literals: Literals::new(),
            trie: Trie::new(),
            wildcards: Slab::new(),
            groups: Slab::new(),
            groups_by_key: StripedTable::new(),
            groups_at: Slab::new(),
            lists: SubscriberLists::new(),
            plain_subscriptions: 0,
            shared_subscriptions: 0,
            groups_made: 0,
            heap_bytes: 0,
            changes: 0,
        }
    }

    /// Whether a new subscription to `filter` keeps the cost of the worst match within its bound. To be asked before
    /// [`Self::insert`] for what a client sends (refuse with "quota exceeded"); what other shards announce is taken as
    /// it is. Always true for filters of up to [`crate::limits::FILTER_SHAPES_FREE_LEVELS`] levels and, unless they are
    /// shared, for all without `+`.
    pub fn admits(&self, filter: &SubscribedFilter<'_>) -> bool {
        (filter.share.is_none() && LiteralKey::of(filter.filter).is_some()) || self.trie.admits(filter.filter)
    }

    /// The entry of `filter`, if this shard has one.
    pub fn find(&self, filter: &SubscribedFilter<'_>) -> Option<EntryId> {
        let stored = if filter.share.is_some() {
            Stored::Group(self.find_group(filter)?)
        } else if let Some(key) = LiteralKey::of(filter.filter) {
            Stored::Literal(self.literals.find(key, &self.keys)?)
        } else {
            let ends = self.trie.ends(self.trie.find(filter.filter, &self.keys)?);
            Stored::Wildcard(Some(ends.plain).filter(|&plain| plain != NONE)?)
        };
        Some(EntryId::new(stored))
    }

    /// Adds a subscription. The session must not have one in the entry yet: see [`Self::replace`]. `durable`: whoever
    /// sends its shard a message has to wait for the store. A member of a shared subscription counts as online.
    pub fn insert(&mut self, filter: &SubscribedFilter<'_>, subscriber: Subscriber, durable: bool) -> Inserted {
        self.changes += 1;
        let entry = self.ensure(filter);
        let before = self.interest(entry);
        let position = match self.subscribers_mut(entry) {
            Ok((subscribers, lists)) => {
                let position = lists.push(subscribers, subscriber, durable);
                self.plain_subscriptions += 1;
                position
            }
            Err(group) => {
                let position = self.with_group(group, |group| group.push(subscriber, durable));
                self.shared_subscriptions += 1;
                position
            }
        };
        Inserted { entry, position, change: self.change_since(before, entry) }
    }

    /// The subscription at `position` of `entry`.
    pub fn get(&self, entry: EntryId, position: u32) -> Subscriber {
        match entry.stored() {
            Stored::Literal(id) => self.lists.get(self.literals.subscribers(id), position),
            Stored::Wildcard(id) => self.lists.get(&self.wildcards[id].subscribers, position),
            Stored::Group(id) => self.groups[id].get(position),
        }
    }

    /// How many subscribers of this shard a plain entry has.
    pub fn subscribers_count(&self, entry: EntryId) -> u32 {
        self.lists.len(self.subscribers(entry))
    }

    /// The subscribers of this shard of a plain entry that has two or more, by position.
    pub fn subscribers_of_crowd(&self, entry: EntryId) -> &[Subscriber] {
        self.lists.many(self.subscribers(entry))
    }

    /// Lets two subscribers of a plain entry change places. What a match finds stays the same but for its order.
    pub fn swap(&mut self, entry: EntryId, left: u32, right: u32) {
        match entry.stored() {
            Stored::Literal(id) => self.lists.swap(self.literals.subscribers(id), left, right),
            Stored::Wildcard(id) => self.lists.swap(&self.wildcards[id].subscribers, left, right),
            Stored::Group(_) => unreachable!("asked of plain subscriptions only"),
        }
    }

    /// Replaces the subscription at `position` of `entry` by another of the same session [MQTT-3.8.4-3].
    pub fn replace(&mut self, entry: EntryId, position: u32, subscriber: Subscriber) {
        self.changes += 1;
        match self.subscribers_mut(entry) {
            Ok((subscribers, lists)) => lists.replace(subscribers, position, subscriber),
            Err(group) => self.groups[group].replace(position, subscriber),
        }
    }

    /// Takes the subscription at `position` out of `entry`, in constant time. `durable` as it was said then.
    pub fn remove(&mut self, entry: EntryId, position: u32, durable: bool) -> Removed {
        self.changes += 1;
        let before = self.interest(entry);
        let moved = match self.subscribers_mut(entry) {
            Ok((subscribers, lists)) => {
                let moved = lists.swap_remove(subscribers, position, durable);
                self.plain_subscriptions -= 1;
                moved
            }
            Err(group) => {
                let moved = self.with_group(group, |group| group.swap_remove(position, durable));
                self.shared_subscriptions -= 1;
                moved.map(|moved| moved.session)
            }
        };
        let change = self.change_since(before, entry);
        let filter = change.map(|_| {
            let mut text = String::new();
            self.filter_text(entry, &mut text);
            text
        });
        self.free_if_unused(entry);
        Removed { moved, change, filter }
    }

    /// Notes whether the client of a member of a shared subscription is connected. Changes nothing for a plain filter.
    pub fn set_online(&mut self, entry: EntryId, position: u32, online: bool) -> Option<InterestChange> {
        let Stored::Group(group) = entry.stored() else { return None };
        let before = self.interest(entry);
        self.with_group(group, |group| group.set_online(position, online));
        self.change_since(before, entry)
    }

    /// Notes whether a member of a shared subscription could not be sent a message at once.
    pub fn set_busy(&mut self, group: EntryId, position: u32, busy: bool) {
        self.group_mut(group).set_busy(position, busy);
    }

    /// What this shard's members of a shared subscription can do with a message, as far as anybody has found out.
    pub fn room(&self, group: EntryId) -> MemberRoom {
        self.group(group).room()
    }

    /// How many members of this shard a message may go to.
    pub fn candidates(&self, group: EntryId) -> usize {
        self.group(group).candidates()
    }

    /// One of some other shards whose members are not known to be full.
    pub fn pick_elsewhere(&self, group: EntryId, shards: ShardSet) -> Option<ShardId> {
        self.group(group).pick_elsewhere(shards)
    }

    /// Another shard says what its members can do with a message.
    pub fn set_remote_room(&mut self, group: EntryId, shard: ShardId, room: MemberRoom) {
        self.group_mut(group).set_remote_room(shard, room);
    }

    /// Notes that the other shards are told something about the members here. Returns whether it is news to them, and whether
    /// nobody is about to look again.
    pub fn tell_room(&mut self, group: EntryId, room: MemberRoom) -> (bool, bool) {
        let group = self.group_mut(group);
        let is_news = group.told != room && group.has_rivals();
        if is_news {
            group.told = room;
        }
        let begins = group.told != MemberRoom::Window && !group.is_watched;
        group.is_watched |= begins;
        (is_news, begins)
    }

    /// Nobody looks any more until the other shards are told something again.
    pub fn end_watch(&mut self, group: EntryId) {
        self.group_mut(group).is_watched = false;
    }

    /// Whether the member at `position` of a shared subscription counts as online; `None` for a plain filter.
    pub fn is_online(&self, entry: EntryId, position: u32) -> Option<bool> {
        let Stored::Group(group) = entry.stored() else { return None };
        Some(self.groups[group].is_online(position))
    }

    /// Counts a message that a member of a shared subscription was picked for.
    pub fn count_pick(&mut self, group: EntryId, position: u32) {
        self.group_mut(group).count_pick(position);
    }

    /// How many were counted; `None` for a plain filter.
    pub fn picked(&self, entry: EntryId, position: u32) -> Option<u32> {
        let Stored::Group(group) = entry.stored() else { return None };
        Some(self.groups[group].picked(position))
    }

    /// One more than the highest slot that has ever held a shared subscription.
    pub const fn group_slots(&self) -> u32 {
        self.groups.slots()
    }

    /// The shared subscription in a slot: what it is to, its members on all shards, and how many of these are connected.
    pub fn group_at(&self, slot: u32) -> Option<(&str, u32, u32)> {
        self.groups.get(slot).map(|group| {
            let (members, connected) = group.sums();
            (&*group.text, members, connected)
        })
    }

    /// What this shard's own sessions want of `entry`: what a shard that starts anew must be told.
    pub fn interest(&self, entry: EntryId) -> Interest {
        match entry.stored() {
            Stored::Literal(id) => self.lists.interest(self.literals.subscribers(id)),
            Stored::Wildcard(id) => self.lists.interest(&self.wildcards[id].subscribers),
            Stored::Group(id) => self.groups[id].interest(),
        }
    }

    /// Whether a persistent session wants `entry`: one of this shard, or, where it is a shared subscription, of any.
    pub fn is_durable(&self, entry: EntryId) -> bool {
        if let Stored::Group(id) = entry.stored() {
            return self.groups[id].is_durable();
        }
        matches!(self.interest(entry), Interest::Plain { durable: true, .. })
    }

    /// The filter of `entry` as in SUBSCRIBE, `$share/name/` included, appended to `out`.
    pub fn filter_text(&self, entry: EntryId, out: &mut String) {
        match entry.stored() {
            Stored::Literal(id) => out.push_str(self.literals.filter(id)),
            Stored::Wildcard(id) => {
                self.trie.write_filter(self.wildcards[id].place, out);
            }
            Stored::Group(id) => out.push_str(&self.groups[id].text),
        }
    }

    /// Notes the interest that another shard announced. Saying it twice changes nothing.
    pub fn apply_remote(&mut self, shard: ShardId, filter: &SubscribedFilter<'_>, interest: Interest) {
        assert!(shard != self.own, "a shard does not announce to itself");
        self.changes += 1;
        if let Interest::Plain { any, durable } = interest
            && let Some(key) = LiteralKey::of(filter.filter)
        {
            assert!(filter.share.is_none(), "a plain interest is in a plain filter");
            self.literals.apply_remote(shard, key, any.then_some(durable), &self.keys);
            return;
        }
        if interest.is_nothing() && self.find(filter).is_none() {
            return;
        }
        match interest {
            Interest::Plain { any, durable } => {
                assert!(filter.share.is_none(), "a plain interest is in a plain filter");
                let entry = self.ensure(filter);
                let Stored::Wildcard(id) = entry.stored() else { unreachable!("no key: a filter for the trie") };
                let wildcard = &mut self.wildcards[id];
                set_member(&mut wildcard.shards, shard, any);
                set_member(&mut wildcard.durable_shards, shard, any && durable);
                self.free_if_unused(entry);
            }
            Interest::Shared { online, total, durable } => {
                assert!(filter.share.is_some(), "a shared interest is in a shared subscription");
                let (entry, own) = (self.ensure(filter), self.own);
                let Stored::Group(id) = entry.stored() else { unreachable!("it has a share name") };
                self.with_group(id, |group| group.apply_remote(own, shard, (online, total), durable));
                self.free_if_unused(entry);
            }
        }
    }

    /// Finds everybody whom a message on `topic` is for. Allocates nothing once `out` has grown.
    pub fn matches(&self, topic: TopicName<'_>, out: &mut Matches) {
        out.clear();
        self.literals.matches(topic, &self.lists, &self.keys, out);
        self.trie.walk(topic, &self.keys, out, |ends, out| {
            if ends.plain != NONE {
                let wildcard = &self.wildcards[ends.plain];
                out.take(EntryId::new(Stored::Wildcard(ends.plain)), &wildcard.subscribers, &self.lists);
                out.shards.extend(wildcard.shards);
                out.durable_shards.extend(wildcard.durable_shards);
            }
            if ends.groups != NONE {
                out.groups.extend(self.groups_at[ends.groups].iter().map(|&id| EntryId::new(Stored::Group(id))));
            }
        });
    }

    /// As [`Self::matches`], for one `out` that is this index's alone: where it was found for the same topic and no subscription
    /// has changed since, it holds already. Clients that report often do so on one topic, several messages at a time.
    pub fn matches_again(&self, topic: TopicName<'_>, out: &mut Matches) {
        if !out.is_for(topic, self.changes) {
            self.matches(topic, out);
            out.note(topic, self.changes);
        }
    }

    /// Who of a shared subscription gets the next message of this shard's publishers; `None` if it has no members.
    pub fn pick(&mut self, group: EntryId) -> Option<Pick> {
        self.group_mut(group).pick()
    }

    /// Which member of this shard gets the next message of a shared subscription; `None` if this shard has none.
    pub fn pick_local(&mut self, group: EntryId) -> Option<Subscriber> {
        self.group_mut(group).pick_local()
    }

    /// What names a shared subscription among the shards of this process: a keyed hash of share name and filter.
    pub fn group_key(&self, group: EntryId) -> u64 {
        let Stored::Group(id) = group.stored() else { unreachable!("asked of shared subscriptions only") };
        self.groups[id].key
    }

    /// The shared subscription that another shard named by its key.
    pub fn group_by_key(&self, key: u64) -> Option<EntryId> {
        let found = self.groups_by_key.find(key, |&id| self.groups[id].key == key)?;
        Some(EntryId::new(Stored::Group(*found)))
    }

    /// What a message that goes to a member of a shared subscription remembers of it.
    pub fn group_tag(&self, group: EntryId) -> GroupTag {
        let Stored::Group(id) = group.stored() else { unreachable!("asked of shared subscriptions only") };
        GroupTag::new(id, self.groups[id].epoch)
    }

    /// The shared subscription that a message remembers, if it still has members, here or elsewhere.
    pub fn group_by_tag(&self, tag: GroupTag) -> Option<EntryId> {
        let group = self.groups.get(tag.number())?;
        (group.epoch == tag.epoch()).then(|| EntryId::new(Stored::Group(tag.number())))
    }

    /// Distinct (share name, filter) of all shards.
    pub fn filters_count(&self) -> usize {
        self.literals.len() + self.wildcards.len() + self.groups.len()
    }

    /// Subscriptions of this shard's sessions, shared ones included.
    pub const fn subscriptions_count(&self) -> usize {
        self.plain_subscriptions + self.shared_subscriptions
    }

    /// Those of them that are shared.
    pub const fn shared_count(&self) -> usize {
        self.shared_subscriptions
    }

    /// The most nodes of the trie that any one match can visit.
    pub const fn worst_visit_nodes(&self) -> usize {
        self.trie.worst_visit_nodes()
    }

    /// Bytes that the index holds, without the allocator's rounding. Takes time in the number of stripes and chunks,
    /// not of filters.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.literals.memory_bytes()
            + self.trie.memory_bytes()
            + self.wildcards.memory_bytes()
            + self.groups.memory_bytes()
            + self.groups_by_key.memory_bytes()
            + self.groups_at.memory_bytes()
            + self.lists.memory_bytes()
            + self.heap_bytes
    }

    /// Bytes of texts and lists: what must be nothing once the last subscription has gone.
    #[cfg(test)]
    pub(super) fn text_and_list_bytes(&self) -> usize {
        self.heap_bytes + self.literals.heap_bytes() + self.trie.heap_bytes() + self.lists.heap_bytes()
    }

    fn ensure(&mut self, filter: &SubscribedFilter<'_>) -> EntryId {
        if filter.share.is_some() {
            return EntryId::new(Stored::Group(self.ensure_group(filter)));
        }
        if let Some(key) = LiteralKey::of(filter.filter) {
            return EntryId::new(Stored::Literal(self.literals.ensure(filter.filter, key, &self.keys)));
        }
        let place = self.trie.ensure(filter.filter, &self.keys);
        let ends = self.trie.ends_mut(place);
        if ends.plain == NONE {
            ends.plain = self.wildcards.insert(Wildcard {
                place,
                subscribers: Subscribers::None,
                shards: ShardSet::default(),
                durable_shards: ShardSet::default(),
            });
        }
        EntryId::new(Stored::Wildcard(ends.plain))
    }

    fn ensure_group(&mut self, filter: &SubscribedFilter<'_>) -> u32 {
        if let Some(id) = self.find_group(filter) {
            return id;
        }
        // The exact capacity, so that making it a box does not copy it.
        let share_len = filter.share.map_or(0, |share| super::filter::SHARE_PREFIX.len() + share.len() + 1);
        let mut text = String::with_capacity(share_len + filter.filter.as_str().len());
        filter.write_to(&mut text);
        let place = self.trie.ensure(filter.filter, &self.keys);
        let ends = self.trie.ends_mut(place);
        if ends.groups == NONE {
            ends.groups = self.groups_at.insert(Vec::new());
        }
        let at = &mut self.groups_at[ends.groups];
        let key = self.keys.group(filter.share.unwrap_or_default(), filter.filter.as_str());
        self.groups_made = self.groups_made.wrapping_add(1);
        let group = Group::new(text, key, place, at.len() as u32, self.groups_made);
        self.heap_bytes += group.heap_bytes();
        let id = self.groups.insert(group);
        self.heap_bytes -= at.capacity() * size_of::<u32>();
        at.push(id);
        self.heap_bytes += at.capacity() * size_of::<u32>();
        let groups = &self.groups;
        self.groups_by_key.insert(key, id, |&id| groups[id].key);
        id
    }

    fn find_group(&self, filter: &SubscribedFilter<'_>) -> Option<u32> {
        let share = filter.share?;
        let key = self.keys.group(share, filter.filter.as_str());
        let is_it = |&id: &u32| {
            let group = &self.groups[id];
            let rest = group.text.strip_prefix(super::filter::SHARE_PREFIX).and_then(|rest| rest.strip_prefix(share));
            group.key == key && rest.and_then(|rest| rest.strip_prefix('/')) == Some(filter.filter.as_str())
        };
        self.groups_by_key.find(key, is_it).copied()
    }

    pub(super) fn free_if_unused(&mut self, entry: EntryId) {
        match entry.stored() {
            Stored::Literal(id) => {
                if matches!(self.literals.subscribers(id), Subscribers::None) {
                    self.literals.free(id, &self.keys);
                }
            }
            Stored::Wildcard(id) => {
                let wildcard = &self.wildcards[id];
                if matches!(wildcard.subscribers, Subscribers::None) && wildcard.shards.is_empty() {
                    let place = self.wildcards.remove(id).expect("an entry is freed once").place;
                    self.trie.ends_mut(place).plain = NONE;
                    self.trie.prune(place, &self.keys);
                }
            }
            Stored::Group(id) => {
                if self.groups[id].is_unused() {
                    self.free_group(id);
                }
            }
        }
    }

    fn free_group(&mut self, id: u32) {
        let group = self.groups.remove(id).expect("an entry is freed once");
        self.heap_bytes -= group.heap_bytes();
        self.groups_by_key.remove(group.key, |&found| found == id).expect("every group is in the table");
        let ends = self.trie.ends_mut(group.place);
        let at = &mut self.groups_at[ends.groups];
        self.heap_bytes -= at.capacity() * size_of::<u32>();
        at.swap_remove(group.place_position as usize);
        if let Some(&moved) = at.get(group.place_position as usize) {
            self.groups[moved].place_position = group.place_position;
        }
        if at.is_empty() {
            self.groups_at.remove(ends.groups);
            ends.groups = NONE;
            self.trie.prune(group.place, &self.keys);
        } else {
            self.heap_bytes += at.capacity() * size_of::<u32>();
        }
    }

    /// The subscribers of a plain entry and where their lists are, or the group.
    fn subscribers_mut(&mut self, entry: EntryId) -> Result<(&mut Subscribers, &mut SubscriberLists), u32> {
        match entry.stored() {
            Stored::Literal(id) => Ok((self.literals.subscribers_mut(id), &mut self.lists)),
            Stored::Wildcard(id) => Ok((&mut self.wildcards[id].subscribers, &mut self.lists)),
            Stored::Group(id) => Err(id),
        }
    }

    fn subscribers(&self, entry: EntryId) -> &Subscribers {
        match entry.stored() {
            Stored::Literal(id) => self.literals.subscribers(id),
            Stored::Wildcard(id) => &self.wildcards[id].subscribers,
            Stored::Group(_) => unreachable!("asked of plain subscriptions only"),
        }
    }

    pub(super) fn group(&self, group: EntryId) -> &Group {
        let Stored::Group(id) = group.stored() else { unreachable!("asked of shared subscriptions only") };
        &self.groups[id]
    }

    pub(super) fn group_mut(&mut self, group: EntryId) -> &mut Group {
        let Stored::Group(id) = group.stored() else { unreachable!("asked of shared subscriptions only") };
        &mut self.groups[id]
    }

    /// Changes a group and keeps count of the bytes that it holds.
    pub(super) fn with_group<R>(&mut self, id: u32, change: impl FnOnce(&mut Group) -> R) -> R {
        let group = &mut self.groups[id];
        self.heap_bytes -= group.heap_bytes();
        let result = change(group);
        self.heap_bytes += group.heap_bytes();
        result
    }

    fn change_since(&self, before: Interest, entry: EntryId) -> Option<InterestChange> {
        Some(InterestChange { before, now: self.interest(entry) }).filter(|change| change.now != before)
    }
}

fn set_member(set: &mut ShardSet, shard: ShardId, is_member: bool) {
    if is_member {
        set.insert(shard);
    } else {
        set.remove(shard);
    }
}
