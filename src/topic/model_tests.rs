//! The index and the retained tree against models so plain that they are right by inspection, from printed seeds.
//! `TOPIC_SEED=n cargo test topic` runs one seed again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::ops::ControlFlow;

use super::*;
use crate::ids::{SessionId, ShardId, ShardSet};
use crate::limits::FILTER_SHAPES_MAX;

/// Of these the first are shards of one node, and the others stand for processes of other nodes, which may go.
const SHARDS: usize = 8;
const SLOTS: std::ops::Range<usize> = 5..SHARDS;

/// splitmix64: enough for choosing test cases.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn topic(&mut self) -> String {
        let level = |random: &mut Self| ["", "a", "b", "c", "$x", "a level longer than 22 bytes"][random.below(6)];
        let levels: Vec<&str> = (0..=self.below(4)).map(|_| level(self)).collect();
        Some(levels.join("/")).filter(|topic| !topic.is_empty()).unwrap_or_else(|| self.topic())
    }

    fn filter(&mut self) -> String {
        let topic = self.topic();
        let mut levels: Vec<&str> = topic.split('/').map(|level| if self.one_in(4) { "+" } else { level }).collect();
        match self.below(4) {
            0 => levels.push("#"),
            1 if self.one_in(2) => *levels.last_mut().unwrap() = "#",
            _ => {}
        }
        let filter = levels.join("/");
        match self.below(5) {
            _ if filter.is_empty() => self.filter(),
            0 => format!("$share/g{}/{filter}", self.below(3)),
            _ => filter,
        }
    }
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    match std::env::var("TOPIC_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("TOPIC_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

fn parse(text: &str) -> SubscribedFilter<'_> {
    SubscribedFilter::parse(text, u16::MAX).unwrap()
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::parse(text, u16::MAX).unwrap()
}

/// One subscription as the model has it, and where its session remembers it to be.
#[derive(Clone, Debug)]
struct Subscription {
    shard: usize,
    filter: String,
    subscriber: Subscriber,
    durable: bool,
    online: bool,
    entry: EntryId,
    position: u32,
}

/// Shards that hear of each other's interest at once, and a list of all subscriptions.
struct Model {
    seed: u64,
    random: Random,
    /// Nobody tells this one anything, and it says nothing: its process has gone.
    absent: Option<usize>,
    indexes: Vec<SubscriptionIndex>,
    subscriptions: Vec<Subscription>,
    /// What each shard found for one topic before the latest step.
    kept: Vec<Matches>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let indexes = (0..SHARDS as u8).map(|shard| SubscriptionIndex::new(seed, ShardId(shard))).collect();
        let kept = (0..SHARDS).map(|_| Matches::new()).collect();
        Self { seed, random: Random(seed), absent: None, indexes, subscriptions: Vec::new(), kept }
    }

    /// A step between two matches of the same topic: the second finds what one that knows nothing of the first does.
    fn step_between_matches(&mut self) {
        let text = self.random.topic();
        for (index, kept) in self.indexes.iter().zip(&mut self.kept) {
            index.matches_again(topic(&text), kept);
        }
        self.step();
        for (index, kept) in self.indexes.iter().zip(&mut self.kept) {
            let mut anew = Matches::new();
            index.matches(topic(&text), &mut anew);
            index.matches_again(topic(&text), kept);
            assert_eq!(
                (&kept.local, &kept.entries, &kept.groups),
                (&anew.local, &anew.entries, &anew.groups),
                "{text}"
            );
            assert_eq!((kept.shards, kept.durable_shards), (anew.shards, anew.durable_shards), "{text}");
        }
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..5 => self.subscribe(),
            5..8 if !self.subscriptions.is_empty() => {
                let victim = self.random.below(self.subscriptions.len());
                self.unsubscribe(victim);
            }
            8 if !self.subscriptions.is_empty() => self.change_state(),
            _ => {
                let topic = self.random.topic();
                self.check_match(&topic);
            }
        }
    }

    /// A process of another node goes, all forget it in pages while clients come and go, and its successor is told everything in pages.
    fn replace_a_peer(&mut self) {
        let gone = SLOTS.start + self.random.below(SLOTS.len());
        self.subscriptions.retain(|known| known.shard != gone);
        self.absent = Some(gone);
        let slot = ShardId(gone as u8);
        for shard in (0..SHARDS).filter(|shard| *shard != gone) {
            let mut cursor = InterestCursor::default();
            let budget = 1 + self.random.below(3);
            while self.indexes[shard].forget_page(slot, &mut cursor, budget) == Scan::More {
                self.come_or_go();
            }
        }
        self.check_counts();
        self.indexes[gone] = SubscriptionIndex::new(self.seed, slot);
        self.kept[gone] = Matches::new();
        self.absent = None;
        for shard in (0..SHARDS).filter(|shard| *shard != gone) {
            let (mut cursor, mut told) = (InterestCursor::default(), BTreeSet::new());
            let mut stays = self.filters_of(shard);
            loop {
                let mut page = Vec::new();
                let budget = 1 + self.random.below(3);
                let scan =
                    self.indexes[shard].own_interest_page(&mut cursor, budget, |text| page.push(text.to_owned()));
                assert!(page.len() <= budget);
                for filter in page {
                    let interest = self.interest_of(shard, &filter);
                    assert!(!interest.is_nothing(), "{filter}: nobody has it");
                    self.indexes[gone].apply_remote(ShardId(shard as u8), &parse(&filter), interest);
                    assert!(told.insert(filter.clone()) || !stays.contains(&filter), "{filter}: told twice");
                }
                if scan == Scan::Done {
                    break;
                }
                self.come_or_go();
                let now = self.filters_of(shard);
                stays.retain(|filter| now.contains(filter));
            }
            assert!(stays.is_subset(&told), "not told: {:?}", stays.difference(&told));
        }
        self.check_counts();
    }

    fn filters_of(&self, shard: usize) -> BTreeSet<String> {
        self.subscriptions.iter().filter(|known| known.shard == shard).map(|known| known.filter.clone()).collect()
    }

    fn come_or_go(&mut self) {
        match self.random.below(8) {
            0 => self.subscribe(),
            1 if !self.subscriptions.is_empty() => {
                let victim = self.random.below(self.subscriptions.len());
                self.unsubscribe(victim);
            }
            _ => {}
        }
    }

    fn subscribe(&mut self) {
        let (shard, filter) = (self.random.below(SHARDS), self.random.filter());
        if self.absent == Some(shard) {
            return;
        }
        let subscriber = Subscriber {
            session: SessionId(self.random.below(6) as u32),
            options: self.random.below(256) as u8,
            identifier: NonZeroU32::new(self.random.below(3) as u32),
        };
        let known = self.subscriptions.iter_mut().find(|known| {
            known.shard == shard && known.filter == filter && known.subscriber.session == subscriber.session
        });
        if let Some(known) = known {
            assert_eq!(self.indexes[shard].find(&parse(&filter)), Some(known.entry));
            self.indexes[shard].replace(known.entry, known.position, subscriber);
            known.subscriber = subscriber;
            return;
        }
        let durable = self.random.one_in(3);
        assert!(self.indexes[shard].admits(&parse(&filter)));
        let before = self.interest_of(shard, &filter);
        let inserted = self.indexes[shard].insert(&parse(&filter), subscriber, durable);
        let Inserted { entry, position, change } = inserted;
        assert_eq!(entry.is_shared(), filter.starts_with("$share/"));
        self.subscriptions.push(Subscription {
            shard,
            filter: filter.clone(),
            subscriber,
            durable,
            online: true,
            entry,
            position,
        });
        self.check_change(shard, &filter, before, change);
    }

    fn unsubscribe(&mut self, victim: usize) {
        let before = self.interest_of(self.subscriptions[victim].shard, &self.subscriptions[victim].filter);
        let gone = self.subscriptions.swap_remove(victim);
        let removed = self.indexes[gone.shard].remove(gone.entry, gone.position, gone.durable);
        if let Some(session) = removed.moved {
            let moved = self.subscriptions.iter_mut().find(|moved| {
                moved.shard == gone.shard && moved.filter == gone.filter && moved.subscriber.session == session
            });
            moved.expect("who moved is still subscribed").position = gone.position;
        }
        assert_eq!(removed.filter.is_some(), removed.change.is_some());
        assert!(removed.filter.is_none_or(|filter| filter == gone.filter));
        self.check_change(gone.shard, &gone.filter, before, removed.change);
    }

    fn change_state(&mut self) {
        let at = self.random.below(self.subscriptions.len());
        let Subscription { shard, filter, .. } = self.subscriptions[at].clone();
        let before = self.interest_of(shard, &filter);
        let (subscription, index) = (&mut self.subscriptions[at], &mut self.indexes[shard]);
        subscription.online ^= subscription.entry.is_shared();
        let Subscription { entry, position, online, .. } = *subscription;
        let change = index.set_online(entry, position, online);
        assert_eq!(index.is_online(entry, position), entry.is_shared().then_some(online));
        self.check_change(shard, &filter, before, change);
    }

    /// The announced change is the true one; tells it to the other shards, sometimes twice.
    fn check_change(&mut self, shard: usize, filter: &str, before: Interest, change: Option<InterestChange>) {
        let now = self.interest_of(shard, filter);
        assert_eq!(change, Some(InterestChange { before, now }).filter(|_| now != before), "{filter}");
        for other in (0..SHARDS).filter(|&other| other != shard && Some(other) != self.absent) {
            for _ in 0..=self.random.below(2) {
                if let Some(change) = change {
                    self.indexes[other].apply_remote(ShardId(shard as u8), &parse(filter), change.now);
                }
            }
        }
    }

    fn interest_of(&self, shard: usize, filter: &str) -> Interest {
        let of = || self.subscriptions.iter().filter(|known| known.shard == shard && known.filter == filter);
        let durable = of().any(|known| known.durable);
        if parse(filter).share.is_some() {
            let online = of().filter(|known| known.online).count() as u32;
            Interest::Shared { online, total: of().count() as u32, durable }
        } else {
            Interest::Plain { any: of().count() > 0, durable }
        }
    }

    fn check_match(&mut self, text: &str) {
        let shard = self.random.below(SHARDS);
        let (mut local, mut entries, mut groups) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let (mut shards, mut durable_shards) = (ShardSet::default(), ShardSet::default());
        for known in &self.subscriptions {
            let filter = parse(&known.filter);
            let owner = ShardId(known.shard as u8);
            match (matches(filter.filter, topic(text)), filter.share, known.shard == shard) {
                (false, ..) => {}
                (true, Some(_), _) => {
                    groups.insert(known.filter.clone());
                }
                (true, None, true) => {
                    local.push(known.subscriber);
                    entries.insert(&known.filter);
                }
                (true, None, false) => {
                    shards.insert(owner);
                    if known.durable {
                        durable_shards.insert(owner);
                    }
                }
            }
        }
        let mut found = Matches::new();
        self.indexes[shard].matches(topic(text), &mut found);
        let key = |subscriber: &Subscriber| (subscriber.session, subscriber.options, subscriber.identifier);
        local.sort_by_key(key);
        found.local.sort_by_key(key);
        assert_eq!(found.local, local, "{text}");
        assert_eq!(found.entries.len(), entries.len(), "{text}");
        assert_eq!((found.shards, found.durable_shards), (shards, durable_shards), "{text}");
        assert_eq!(found.is_empty(), local.is_empty() && shards.is_empty() && groups.is_empty());
        assert!(found.nodes_visited as usize <= self.indexes[shard].worst_visit_nodes());
        let texts: Vec<String> = found.groups.iter().map(|&group| self.text(shard, group)).collect();
        assert_eq!(texts.len(), groups.len(), "{text}: a group is found once");
        assert_eq!(texts.into_iter().collect::<BTreeSet<_>>(), groups, "{text}");
        for group in found.groups {
            self.check_picks(shard, group, None);
            let among = ShardSet(self.random.below(1 << SHARDS) as u64);
            self.check_picks(shard, group, Some(among));
            self.check_among(shard, &self.text(shard, group), among);
        }
        let (filter, among) = (self.random.filter(), ShardSet(self.random.below(1 << SHARDS) as u64));
        self.check_among(shard, &filter, among);
    }

    /// The interest of a shard and some others, as one.
    fn check_among(&self, shard: usize, filter: &str, among: ShardSet) {
        let interests = (0..SHARDS).filter(|of| *of == shard || among.contains(ShardId(*of as u8)));
        let whole = interests.map(|of| self.interest_of(of, filter)).reduce(|left, right| match (left, right) {
            (Interest::Plain { any, durable }, Interest::Plain { any: more, durable: lasts }) => {
                Interest::Plain { any: any | more, durable: durable | lasts }
            }
            (
                Interest::Shared { online, total, durable },
                Interest::Shared { online: on, total: all, durable: lasts },
            ) => Interest::Shared { online: online + on, total: total + all, durable: durable | lasts },
            _ => panic!("a filter is shared or is not"),
        });
        assert_eq!(Some(self.indexes[shard].interest_among(&parse(filter), among)), whole, "{filter} {among:?}");
    }

    /// One cycle of picks gives every member one message, of all shards or of some.
    fn check_picks(&mut self, shard: usize, group: EntryId, among: Option<ShardSet>) {
        let text = self.text(shard, group);
        let is_in = |of: usize| of == shard || among.is_none_or(|among| among.contains(ShardId(of as u8)));
        let interests: Vec<Interest> =
            (0..SHARDS).filter(|of| is_in(*of)).map(|of| self.interest_of(of, &text)).collect();
        let count = |interest: &Interest, online_only: bool| match interest {
            Interest::Shared { online, total, .. } => {
                if online_only {
                    *online
                } else {
                    *total
                }
            }
            Interest::Plain { .. } => panic!("a group's interest is shared"),
        };
        let online_only = interests.iter().any(|interest| count(interest, true) > 0);
        let key = self.indexes[shard].group_key(group);
        let mut received: HashMap<(usize, SessionId), u32> = HashMap::new();
        let cycle: u32 = interests.iter().map(|interest| count(interest, online_only)).sum();
        for _ in 0..cycle {
            let pick = match among {
                None => self.indexes[shard].pick(group),
                Some(among) => self.indexes[shard].pick_among(group, among),
            };
            let (at, member) = match pick.expect("it has members") {
                Pick::Local(member) => (shard, member),
                Pick::Remote(remote) => {
                    let index = &mut self.indexes[remote.index()];
                    let there = index.group_by_key(key).expect("every shard of a group knows it by its key");
                    (remote.index(), index.pick_local(there).expect("it announced members"))
                }
            };
            *received.entry((at, member.session)).or_insert(0) += 1;
        }
        let members = self.subscriptions.iter().filter(|known| known.filter == text && is_in(known.shard));
        let members = members.filter(|known| known.online || !online_only);
        let expected: HashMap<(usize, SessionId), u32> =
            members.map(|known| ((known.shard, known.subscriber.session), 1)).collect();
        assert_eq!(received, expected, "{text}");
    }

    fn text(&self, shard: usize, entry: EntryId) -> String {
        let mut text = String::new();
        self.indexes[shard].filter_text(entry, &mut text);
        text
    }

    fn check_counts(&self) {
        let filters: BTreeSet<&str> = self.subscriptions.iter().map(|known| known.filter.as_str()).collect();
        for (shard, index) in self.indexes.iter().enumerate().filter(|(shard, _)| Some(*shard) != self.absent) {
            let own = || self.subscriptions.iter().filter(|known| known.shard == shard);
            assert_eq!(index.filters_count(), filters.len());
            assert_eq!(index.subscriptions_count(), own().count());
            assert_eq!(index.shared_count(), own().filter(|known| known.entry.is_shared()).count());
            for known in own() {
                assert_eq!(index.find(&parse(&known.filter)), Some(known.entry));
                assert_eq!(index.get(known.entry, known.position), known.subscriber);
                assert_eq!(index.interest(known.entry), self.interest_of(shard, &known.filter));
                assert_eq!(self.text(shard, known.entry), known.filter);
            }
        }
    }
}

#[test]
fn index_agrees_with_a_list_of_all_subscriptions() {
    for seed in seeds(12) {
        let mut model = Model::new(seed);
        println!("TOPIC_SEED={seed}");
        for step in 0..600 {
            model.step_between_matches();
            if step % 150 == 149 {
                model.replace_a_peer();
            }
            if step % 100 == 0 {
                model.check_counts();
            }
        }
        while !model.subscriptions.is_empty() {
            let victim = model.random.below(model.subscriptions.len());
            model.unsubscribe(victim);
        }
        model.check_counts();
        for index in &model.indexes {
            assert_eq!(index.text_and_list_bytes(), 0, "a drained index holds no text and no list");
            assert_eq!((index.filters_count(), index.worst_visit_nodes()), (0, 1));
        }
    }
}

fn subscriber(session: u32) -> Subscriber {
    Subscriber { session: SessionId(session), options: 0, identifier: None }
}

#[test]
fn a_drained_index_gives_its_memory_back() {
    let mut index = SubscriptionIndex::new(7, ShardId(0));
    let filters: Vec<String> = (0..100_000)
        .map(|n| match n % 5 {
            0 => format!("fleet/{n}/a level longer than 22 bytes"),
            1 => format!("fleet/{n}/#"),
            2 => format!("fleet/+/{n}"),
            3 => format!("$share/group/{n}/a level longer than 22 bytes/+"),
            _ => format!("fleet/{n}/remote"),
        })
        .collect();
    let mut entries = Vec::new();
    for (n, filter) in filters.iter().enumerate() {
        if n % 5 == 4 {
            index.apply_remote(ShardId(1), &parse(filter), Interest::Plain { any: true, durable: false });
        } else {
            for session in 0..=n as u32 % 3 {
                let inserted = index.insert(&parse(filter), subscriber(session), false);
                assert_eq!(inserted.position, session);
                entries.push((inserted.entry, inserted.position));
            }
        }
    }
    assert_eq!(index.filters_count(), 100_000);
    let full_bytes = index.memory_bytes();
    for (entry, position) in entries.into_iter().rev() {
        index.remove(entry, position, false);
    }
    for filter in filters.iter().skip(4).step_by(5) {
        index.apply_remote(ShardId(1), &parse(filter), Interest::Plain { any: false, durable: false });
    }
    assert_eq!((index.filters_count(), index.subscriptions_count(), index.shared_count()), (0, 0, 0));
    let tables_only = index.memory_bytes();
    assert!(tables_only < full_bytes / 4, "{tables_only} of {full_bytes}");
    assert_eq!(index.text_and_list_bytes(), 0);
}

#[test]
fn a_shard_that_is_forgotten_leaves_nothing_and_takes_nothing_of_others_with_it() {
    let mut index = SubscriptionIndex::new(7, ShardId(0));
    let filters: Vec<String> = (0..40_000)
        .map(|n| match n % 5 {
            0 => format!("fleet/{n}"),
            1 => format!("fleet/{n}/a/#"),
            2 => format!("fleet/+/{n}"),
            3 => format!("$share/group/{n}/a level longer than 22 bytes/+"),
            _ => "one/filter/of/all".to_owned(),
        })
        .collect();
    let apply = |index: &mut SubscriptionIndex, shard: u8, filter: &str| {
        let interest = match parse(filter).share {
            Some(_) => Interest::Shared { online: 1, total: 2, durable: false },
            None => Interest::Plain { any: true, durable: shard == 2 },
        };
        index.apply_remote(ShardId(shard), &parse(filter), interest);
    };
    for filter in filters.iter().step_by(2) {
        apply(&mut index, 1, filter);
    }
    let (count, texts, nodes) = (index.filters_count(), index.text_and_list_bytes(), index.worst_visit_nodes());
    for _ in 0..2 {
        for filter in &filters {
            apply(&mut index, 2, filter);
        }
        assert!(index.filters_count() > count);
        let (mut cursor, mut pages) = (InterestCursor::default(), 1);
        while index.forget_page(ShardId(2), &mut cursor, 256) == Scan::More {
            pages += 1;
        }
        assert!((50..2_000).contains(&pages), "{pages}");
        assert_eq!(
            (index.filters_count(), index.text_and_list_bytes(), index.worst_visit_nodes()),
            (count, texts, nodes)
        );
        let mut found = Matches::new();
        index.matches(topic("fleet/1/a/b"), &mut found);
        assert!(found.is_empty(), "an odd number was the other shard's alone");
        index.matches(topic("fleet/6/a/b"), &mut found);
        assert_eq!((found.shards, found.durable_shards), (ShardSet(2), ShardSet(0)));
    }
    let mut cursor = InterestCursor::default();
    while index.forget_page(ShardId(1), &mut cursor, 256) == Scan::More {}
    assert_eq!((index.filters_count(), index.text_and_list_bytes(), index.worst_visit_nodes()), (0, 0, 1));
}

#[test]
fn every_combination_of_plus_and_level_stays_within_the_bound_of_a_match() {
    let mut index = SubscriptionIndex::new(7, ShardId(0));
    let mut refused = 0;
    for bits in 0..1_u32 << 15 {
        let levels: Vec<&str> = (0..15).map(|level| if bits >> level & 1 == 1 { "+" } else { "a" }).collect();
        let filter = format!("{}/never", levels.join("/"));
        if index.admits(&parse(&filter)) {
            index.insert(&parse(&filter), subscriber(bits), false);
        } else {
            refused += 1;
        }
    }
    assert!(refused > 0 && index.worst_visit_nodes() <= FILTER_SHAPES_MAX);
    let mut found = Matches::new();
    index.matches(topic(&["a"; 16].join("/")), &mut found);
    assert!(found.is_empty() && found.nodes_visited as usize <= index.worst_visit_nodes());
    assert!(found.nodes_visited > FILTER_SHAPES_MAX as u32 / 4, "the shape is as bad as was meant");
    for ordinary in ["site/+/device/+/temperature", "+/+/+/+/+/+/+/#", "$share/g/a/b", "any/exact/filter"] {
        assert!(index.admits(&parse(ordinary)), "{ordinary}");
    }
}

#[test]
fn the_longest_topic_there_can_be_is_matched_without_recursion() {
    let mut index = SubscriptionIndex::new(7, ShardId(0));
    let longest = "/".repeat(65_534);
    let plus = format!("+{}", &longest[..65_533]);
    let below = format!("{}#", &longest[..65_000]);
    let mut entries = Vec::new();
    for filter in [plus.as_str(), below.as_str(), longest.as_str(), "#", "/#", "+/#"] {
        entries.push(index.insert(&parse(filter), subscriber(1), false));
        let mut text = String::new();
        index.filter_text(entries.last().unwrap().entry, &mut text);
        assert!(text == filter);
    }
    let mut found = Matches::new();
    index.matches(topic(&longest), &mut found);
    assert_eq!(found.entries.len(), 5);
    index.matches(topic(&longest[..65_533]), &mut found);
    assert_eq!(found.entries.len(), 5);
    for inserted in entries {
        index.remove(inserted.entry, inserted.position, false);
    }
    assert_eq!((index.filters_count(), index.worst_visit_nodes()), (0, 1));
}

#[test]
fn a_hundred_thousand_sessions_share_one_filter() {
    let mut index = SubscriptionIndex::new(7, ShardId(0));
    for filter in ["fleet/all", "fleet/+", "$share/g/fleet/all"] {
        let mut positions: Vec<u32> = Vec::new();
        let mut changes = 0;
        let mut entry = None;
        for session in 0..100_000 {
            let inserted = index.insert(&parse(filter), subscriber(session), false);
            positions.push(inserted.position);
            changes += u32::from(inserted.change.is_some());
            entry = Some(inserted.entry);
        }
        let entry = entry.unwrap();
        assert_eq!(changes, if entry.is_shared() { 100_000 } else { 1 });
        // From the front, so that every removal moves another.
        for session in 0..100_000 {
            let removed = index.remove(entry, positions[session], false);
            if let Some(moved) = removed.moved {
                positions[moved.index()] = positions[session];
            }
            if session < 99_999 && session % 1_000 == 0 {
                assert_eq!(index.get(entry, positions[99_999]).session, SessionId(99_999));
            }
        }
        assert_eq!(index.filters_count(), 0);
    }
}

#[test]
fn a_scan_visits_once_what_stays_whatever_comes_and_goes_between_pages() {
    for seed in seeds(300) {
        println!("TOPIC_SEED={seed}");
        let mut random = Random(seed);
        let mut tree = RetainedTree::new();
        let mut model: BTreeMap<String, u32> = BTreeMap::new();
        for value in 0..random.below(200) as u32 {
            let topic = random.topic();
            assert_eq!(tree.insert(&topic, value), model.insert(topic, value));
        }
        let text = random.filter();
        let filter = parse(&text).filter;
        let is_match = |name: &String| matches(filter, topic(name));
        let mut stayed: BTreeSet<String> = model.keys().filter(|name| is_match(name)).cloned().collect();
        let (mut cursor, mut visited) = (Cursor::default(), Vec::new());
        loop {
            let (budget, break_in) = (1 + random.below(8), 1 + random.below(8));
            let scan = tree.scan(filter, &mut cursor, budget, |name, value| {
                assert_eq!(model.get(name), Some(value));
                visited.push(name.to_owned());
                if random.one_in(break_in) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if scan == Scan::Done {
                break;
            }
            for value in 0..random.below(6) as u32 {
                let name = random.topic();
                if random.one_in(2) {
                    assert_eq!(tree.insert(&name, value), model.insert(name, value));
                } else {
                    assert_eq!(tree.remove(&name), model.remove(&name));
                    stayed.remove(&name);
                }
            }
        }
        let once: BTreeSet<String> = visited.iter().cloned().collect();
        assert_eq!(once.len(), visited.len(), "{text}: nothing twice");
        assert!(visited.iter().all(is_match), "{text}: only matches");
        assert!(stayed.is_subset(&once), "{text}: missed {:?}", stayed.difference(&once));
        assert!(tree.iter().map(|(name, _)| name).eq(model.keys().map(String::as_str)));
        assert_eq!(tree.len(), model.len());
    }
}
