//! Walks over the whole index, a page at a time: what this shard is interested in, for somebody who knows nothing yet, and the end of all that
//! somebody who is gone was interested in. And the interest of several shards taken for one.
//!
//! Owns: where a walk goes on ([`InterestCursor`]).
//! Always holds: a page looks at a bounded number of entries. Whatever comes and goes between two pages, an interest that stays is visited once; one
//! that came meanwhile may be visited too, and has been announced anyway. Once a walk that forgets a shard has ended, nothing of that shard is left,
//! if nothing more of it was applied meanwhile.
//! Leaves to others: how often a page is asked for, and what a filter that was visited is interested in by the time that it is told.

use crate::ids::{ShardId, ShardSet};

use super::entry::{EntryId, NONE, Stored};
use super::filter::SubscribedFilter;
use super::group::{MemberRoom, Pick};
use super::index::SubscriptionIndex;
use super::literal::LiteralKey;
use super::retained::Scan;
use super::subscribers::Interest;

/// Entries that are looked at for one that is to be visited: a table that has become empty is walked through as well.
const LOOKS_PER_VISIT: usize = 16;

/// Where a walk goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterestCursor {
    store: WalkedStore,
    /// The next slot or stripe.
    at: u32,
}

/// What is walked through, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WalkedStore {
    #[default]
    Literals,
    Wildcards,
    Groups,
    Done,
}

/// How much a page may still do.
struct PageBudget {
    visits: usize,
    looks: usize,
}

impl PageBudget {
    fn new(budget: usize) -> Self {
        Self { visits: budget.max(1), looks: budget.max(1).saturating_mul(LOOKS_PER_VISIT) }
    }

    fn look(&mut self, entries: usize) {
        self.looks = self.looks.saturating_sub(entries);
    }

    fn visit(&mut self, entries: usize) {
        self.visits = self.visits.saturating_sub(entries);
    }

    const fn is_used_up(&self) -> bool {
        self.visits == 0 || self.looks == 0
    }
}

impl InterestCursor {
    fn go_on(&mut self) {
        self.store = match self.store {
            WalkedStore::Literals => WalkedStore::Wildcards,
            WalkedStore::Wildcards => WalkedStore::Groups,
            WalkedStore::Groups | WalkedStore::Done => WalkedStore::Done,
        };
        self.at = 0;
    }
}

impl SubscriptionIndex {
    /// Visits the filters that this shard's own sessions have, `budget` at most.
    pub fn own_interest_page(&self, cursor: &mut InterestCursor, budget: usize, mut visit: impl FnMut(&str)) -> Scan {
        let mut budget = PageBudget::new(budget);
        let mut text = String::new();
        while cursor.store != WalkedStore::Done {
            if cursor.at >= self.slots_of(cursor.store) {
                cursor.go_on();
                continue;
            }
            if budget.is_used_up() {
                return Scan::More;
            }
            let entry = self.entry_in(cursor.store, cursor.at);
            cursor.at += 1;
            budget.look(1);
            if let Some(entry) = entry.filter(|entry| !self.interest(*entry).is_nothing()) {
                text.clear();
                self.filter_text(entry, &mut text);
                visit(&text);
                budget.visit(1);
            }
        }
        Scan::Done
    }

    /// Ends what `shard` was interested in, `budget` entries at most. Nothing of it may be applied until the walk is done.
    pub fn forget_page(&mut self, shard: ShardId, cursor: &mut InterestCursor, budget: usize) -> Scan {
        assert!(shard != self.own, "a shard does not forget itself");
        self.changes += 1;
        let mut budget = PageBudget::new(budget);
        while cursor.store != WalkedStore::Done {
            let end = match cursor.store {
                WalkedStore::Literals => self.literals.remote_stripes(),
                store => self.slots_of(store),
            };
            // A store gives its last slots back as they become free.
            if cursor.at >= end {
                cursor.go_on();
                continue;
            }
            if budget.is_used_up() {
                return Scan::More;
            }
            if cursor.store == WalkedStore::Literals {
                let stripe = cursor.at as usize;
                budget.look(1 + self.literals.remote_in_stripe(stripe));
                let forgotten = self.literals.forget_in_stripe(shard, stripe, budget.visits, &self.keys);
                budget.visit(forgotten);
                // The rest of the stripe may be found elsewhere in it on the next page: it is begun anew.
                cursor.at += u32::from(budget.visits > 0);
                continue;
            }
            let entry = self.entry_in(cursor.store, cursor.at);
            cursor.at += 1;
            budget.look(1);
            if let Some(entry) = entry
                && self.forget_in(entry, shard)
            {
                budget.visit(1);
            }
        }
        Scan::Done
    }

    /// Ends what `shard` has told of its members of a shared subscription, before a walk comes to it. With the last member the group is gone.
    pub fn forget_members(&mut self, group: EntryId, shard: ShardId) {
        self.changes += 1;
        self.forget_in(group, shard);
    }

    /// What this shard and some others want of a filter, as one: what a node says to other nodes.
    pub fn interest_among(&self, filter: &SubscribedFilter<'_>, shards: ShardSet) -> Interest {
        let nothing = match filter.share {
            Some(_) => Interest::Shared { online: 0, total: 0, durable: false },
            None => Interest::Plain { any: false, durable: false },
        };
        let own = self.find(filter).map_or(nothing, |entry| self.interest(entry));
        self.interest_with(filter, own, shards)
    }

    /// The same, if this shard wanted `own`.
    pub fn interest_with(&self, filter: &SubscribedFilter<'_>, own: Interest, shards: ShardSet) -> Interest {
        match own {
            Interest::Shared { .. } => match self.find(filter) {
                Some(entry) => self.group(entry).interest_with(own, shards),
                None => own,
            },
            Interest::Plain { any, durable } => {
                let (others, durable_others) = match LiteralKey::of(filter.filter) {
                    Some(key) => self.literals.interested(key, &self.keys),
                    None => self.wildcard_shards(filter),
                };
                Interest::Plain {
                    any: any || !others.and(shards).is_empty(),
                    durable: durable || !durable_others.and(shards).is_empty(),
                }
            }
        }
    }

    /// Who of a shared subscription gets the next message among the members of this shard and of some others; `None` if
    /// these have no members.
    pub fn pick_among(&mut self, group: EntryId, shards: ShardSet) -> Option<Pick> {
        self.group_mut(group).pick_among(shards)
    }

    /// What names the shared subscription that a filter stands for, whether anybody has it or not; `None` for a plain filter.
    pub fn key_of(&self, filter: &SubscribedFilter<'_>) -> Option<u64> {
        filter.share.map(|share| self.keys.group(share, filter.filter.as_str()))
    }

    /// What the best of the connected members on a node can do with a message, where other nodes have such members as well. `node` are its shards.
    pub fn room_of_node(&self, group: EntryId, node: ShardSet) -> MemberRoom {
        self.group(group).room_of_node(node)
    }

    /// The entry that a slot of a store holds.
    fn entry_in(&self, store: WalkedStore, slot: u32) -> Option<EntryId> {
        let stored = match store {
            WalkedStore::Literals => self.literals.has(slot).then_some(Stored::Literal(slot)),
            WalkedStore::Wildcards => self.wildcards.get(slot).map(|_| Stored::Wildcard(slot)),
            WalkedStore::Groups => self.groups.get(slot).map(|_| Stored::Group(slot)),
            WalkedStore::Done => None,
        };
        stored.map(EntryId::new)
    }

    /// One more than the highest slot that a store has used.
    fn slots_of(&self, store: WalkedStore) -> u32 {
        match store {
            WalkedStore::Literals => self.literals.slots(),
            WalkedStore::Wildcards => self.wildcards.slots(),
            WalkedStore::Groups => self.groups.slots(),
            WalkedStore::Done => 0,
        }
    }

    /// Takes a shard out of an entry of the trie; whether it was in.
    fn forget_in(&mut self, entry: EntryId, shard: ShardId) -> bool {
        let was_in = match entry.stored() {
            Stored::Literal(_) => unreachable!("other shards' literal filters have no entries"),
            Stored::Wildcard(id) => {
                let wildcard = &mut self.wildcards[id];
                let was_in = wildcard.shards.contains(shard);
                wildcard.shards.remove(shard);
                wildcard.durable_shards.remove(shard);
                was_in
            }
            Stored::Group(id) => {
                let (own, was_in) = (self.own, self.groups[id].has_of(shard));
                if was_in {
                    self.with_group(id, |group| group.apply_remote(own, shard, (0, 0), false));
                }
                was_in
            }
        };
        if was_in {
            self.free_if_unused(entry);
        }
        was_in
    }

    fn wildcard_shards(&self, filter: &SubscribedFilter<'_>) -> (ShardSet, ShardSet) {
        let plain = self.trie.find(filter.filter, &self.keys).map_or(NONE, |place| self.trie.ends(place).plain);
        match self.wildcards.get(plain) {
            Some(wildcard) => (wildcard.shards, wildcard.durable_shards),
            None => Default::default(),
        }
    }
}
