//! Beats, deaths, pauses.

use std::collections::BTreeMap;

use super::script::at;
use crate::cluster::{
    BootId, ClusterDocument, ClusterMap, ControlKey, ControlPut, MapChange, Membership, MembershipNews, NodeDocument,
    NodeId, NodeIdentity, NodeSet, RangeCount, RangeId, Standing,
};
use crate::limits::{BEAT_INTERVAL_MS, DEATH_MS, MAP_CHANGES_MAX, PAUSE_MS, UNHEARD_MS};

/// A store that answers at once.
#[derive(Default)]
struct Store {
    revision: u64,
    entries: BTreeMap<ControlKey, (u64, Vec<u8>)>,
}

impl Store {
    fn put(&mut self, put: &ControlPut) -> Option<u64> {
        let current = self.entries.get(&put.key).map_or(0, |(revision, _)| *revision);
        if current != put.expected {
            return None;
        }
        self.revision += 1;
        self.entries.insert(put.key, (self.revision, put.bytes.clone()));
        Some(self.revision)
    }
}

pub(super) fn nodes_of(numbers: &[u16]) -> NodeSet {
    let mut nodes = NodeSet::default();
    for number in numbers {
        nodes.insert(NodeId::new(*number).unwrap());
    }
    nodes
}

fn identity(name: &str, boot: u64) -> NodeIdentity {
    let cluster = ClusterDocument { name: "fleet".into(), ranges: RangeCount::new(4).unwrap(), hash_seeds: [boot; 4] };
    NodeIdentity {
        name: name.into(),
        boot: BootId(boot),
        link: "127.0.0.1:1885".into(),
        server: None,
        version: "0.1.0".into(),
        cluster,
    }
}

pub(super) struct Fleet {
    store: Store,
    pub(super) nodes: Vec<Membership>,
    pub(super) ms: u64,
}

impl Fleet {
    pub(super) fn new(count: u64) -> Self {
        let mut nodes = Self { store: Store::default(), nodes: Vec::new(), ms: 10_000 };
        for boot in 1..=count {
            nodes.start(&format!("n{boot}"), boot);
            nodes.run(2_000, &[]);
        }
        nodes
    }

    pub(super) fn start(&mut self, name: &str, boot: u64) {
        let mut node = Membership::new(identity(name, boot));
        for (key, (revision, bytes)) in &self.store.entries {
            node.handle_entry(*key, *revision, bytes, at(self.ms));
        }
        node.handle_caught_up();
        node.tell_links(nodes_of(&[1, 2, 3, 4]), NodeSet::default());
        self.nodes.push(node);
    }

    /// Lets time pass for all but those that are paused.
    pub(super) fn run(&mut self, ms: u64, paused: &[usize]) {
        for _ in 0..ms / 100 {
            self.ms += 100;
            for from in (0..self.nodes.len()).filter(|from| !paused.contains(from)) {
                while let Some(put) = self.nodes[from].next_put(at(self.ms)) {
                    let Some(revision) = self.store.put(&put) else { continue };
                    for to in (0..self.nodes.len()).filter(|to| !paused.contains(to)) {
                        self.nodes[to].handle_entry(put.key, revision, &put.bytes, at(self.ms));
                    }
                }
            }
        }
    }

    pub(super) fn catch_up(&mut self, node: usize) {
        let mut missed: Vec<_> =
            self.store.entries.iter().map(|(key, (revision, bytes))| (*revision, *key, bytes)).collect();
        missed.sort_unstable();
        for (revision, key, bytes) in missed {
            self.nodes[node].handle_entry(key, revision, bytes, at(self.ms));
        }
    }

    pub(super) fn standing(&self, node: usize) -> Standing {
        self.nodes[node].standing(at(self.ms))
    }

    pub(super) fn news(&mut self, node: usize) -> Vec<MembershipNews> {
        let news = std::iter::from_fn(|| self.nodes[node].next_news());
        news.filter(|news| *news != MembershipNews::Map).collect()
    }
}

#[test]
fn nodes_found_a_cluster_and_join_it() {
    let mut nodes = Fleet::new(3);
    nodes.run(3_000, &[]);
    for node in 0..3 {
        assert_eq!(nodes.nodes[node].node(), NodeId::new(node as u16 + 1));
        assert_eq!(nodes.standing(node), Standing::Member);
        assert_eq!(nodes.nodes[node].map().unwrap().members().count(), 3);
        assert_eq!(nodes.news(node), []);
        // The founder's seeds are everybody's.
        assert_eq!(nodes.nodes[node].cluster().unwrap().hash_seeds, [1; 4]);
    }
}

#[test]
fn a_node_whose_beat_stands_still_for_long_enough_is_dead() {
    let mut nodes = Fleet::new(3);
    nodes.nodes[0].request(MapChange::Rebalance);
    nodes.run(1_000, &[]);
    nodes.run(DEATH_MS - 500, &[2]);
    assert_eq!(nodes.news(0), []);
    nodes.run(2 * BEAT_INTERVAL_MS + 500, &[2]);
    let third = NodeId::new(3).unwrap();
    assert_eq!(nodes.news(0), [MembershipNews::Dead(third)]);
    let map = nodes.nodes[1].map().unwrap();
    assert!(!map.has(third) && map.entries().iter().all(|entry| entry.owner.is_some()));
    assert_eq!(nodes.standing(0), Standing::Member);
    // It comes back late: it was paused before it hears that it is out.
    assert_eq!(nodes.standing(2), Standing::Paused);
    nodes.catch_up(2);
    assert_eq!(nodes.standing(2), Standing::Out);
    assert_eq!(nodes.news(2), [MembershipNews::Expelled]);
}

#[test]
fn who_was_paused_calls_nobody_dead_and_acknowledges_nothing_until_a_beat_came_back() {
    let mut nodes = Fleet::new(2);
    nodes.run(PAUSE_MS - 100, &[0]);
    assert_ne!(nodes.standing(0), Standing::Paused);
    nodes.ms += 200;
    assert_eq!(nodes.standing(0), Standing::Paused);
    nodes.catch_up(0);
    // Its beat from before the pause has come back, which says nothing.
    assert_eq!(nodes.standing(0), Standing::Paused);
    nodes.run(200, &[1]);
    assert_eq!(nodes.standing(0), Standing::Member);
    // All were paused: nobody's beat has moved, and nobody is called dead for it.
    nodes.ms += 60_000;
    nodes.run(DEATH_MS, &[]);
    assert_eq!((nodes.news(0), nodes.news(1)), (vec![], vec![]));
}

#[test]
fn a_node_that_cannot_beat_is_unheard_before_anybody_may_call_it_dead() {
    let mut nodes = Fleet::new(1);
    const { assert!(UNHEARD_MS * 11 <= DEATH_MS * 10) };
    let begin = nodes.ms;
    while nodes.ms < begin + 2 * DEATH_MS {
        nodes.ms += 100;
        // What it puts gets lost.
        let _ = nodes.nodes[0].next_put(at(nodes.ms));
        let silent = nodes.ms - begin;
        match nodes.standing(0) {
            Standing::Member => assert!(silent < UNHEARD_MS),
            Standing::Unheard => assert!(silent >= UNHEARD_MS - BEAT_INTERVAL_MS),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(nodes.standing(0), Standing::Unheard);
    nodes.run(1_100, &[]);
    assert_eq!(nodes.standing(0), Standing::Member);
}

#[test]
fn a_process_that_starts_under_a_members_name_is_that_member_at_once() {
    let mut nodes = Fleet::new(2);
    nodes.start("n1", 77);
    nodes.run(300, &[]);
    assert_eq!(nodes.nodes[2].node(), NodeId::new(1));
    assert_eq!(nodes.standing(2), Standing::Member);
    assert_eq!((nodes.standing(0), nodes.news(0)), (Standing::Out, vec![MembershipNews::Replaced]));
    assert_eq!(nodes.nodes[1].map().unwrap().members().count(), 2);
}

#[test]
fn what_one_node_has_told_of_a_log_every_node_knows() {
    let mut nodes = Fleet::new(2);
    nodes.nodes[0].tell_floor(RangeId(2), 41);
    nodes.nodes[0].tell_floor(RangeId(2), 40);
    nodes.run(1_200, &[]);
    assert_eq!(nodes.nodes[1].floor(RangeId(2)), 41);
    // Its own document may be written over by its next process.
    nodes.start("n1", 78);
    nodes.run(1_200, &[0]);
    let bytes = &nodes.store.entries[&ControlKey::Node(NodeId::new(1).unwrap())].1;
    let document = NodeDocument::decode(bytes).unwrap();
    assert_eq!((document.boot, document.floors[2]), (BootId(78), 41));
    let (one, owner) = (RangeId(1), NodeId::new(1).unwrap());
    nodes.nodes[2].request(MapChange::Marked { range: one, owner, sequence: 9 });
    nodes.run(300, &[0]);
    assert_eq!(nodes.nodes[1].floor(one), 9);
}

#[test]
fn a_store_of_another_cluster_is_left_alone() {
    let mut nodes = Fleet::new(1);
    let mut other = identity("n9", 9);
    other.cluster.name = "another".into();
    let mut node = Membership::new(other);
    for (key, (revision, bytes)) in &nodes.store.entries {
        node.handle_entry(*key, *revision, bytes, at(nodes.ms));
    }
    node.handle_caught_up();
    assert!(matches!(node.next_news(), Some(MembershipNews::Unusable(ControlKey::Cluster, _))));
    assert_eq!((node.next_put(at(nodes.ms)), node.standing(at(nodes.ms))), (None, Standing::Out));
    // Nor does a member go on with a map that it cannot read.
    nodes.nodes[0].handle_entry(ControlKey::Map, 99, b"{\"format\":2}", at(nodes.ms));
    assert!(matches!(nodes.news(0)[..], [MembershipNews::Unusable(ControlKey::Map, _)]));
}

#[test]
fn no_more_changes_wait_than_may() {
    let mut node = Membership::new(identity("n1", 1));
    let change = |sequence| MapChange::Marked { range: RangeId(0), owner: NodeId::new(1).unwrap(), sequence };
    for sequence in 0..MAP_CHANGES_MAX as u64 {
        assert!(node.request(change(sequence)));
    }
    assert!(node.request(change(0)));
    assert!(!node.request(change(u64::MAX)));
}

#[test]
fn beats_that_come_back_late_still_say_when_they_were_sent() {
    let mut nodes = Fleet::new(1);
    // Each comes back when two more are on their way.
    let mut under_way = std::collections::VecDeque::new();
    for _ in 0..80 {
        nodes.ms += 100;
        if let Some(put) = nodes.nodes[0].next_put(at(nodes.ms)) {
            under_way.push_back(put);
        }
        if under_way.len() > 1 {
            let put = under_way.pop_front().unwrap();
            nodes.store.revision += 1;
            nodes.nodes[0].handle_entry(put.key, nodes.store.revision, &put.bytes, at(nodes.ms));
        }
        assert_eq!(nodes.standing(0), Standing::Member);
    }
    assert!(ClusterMap::decode(&nodes.store.entries[&ControlKey::Map].1).is_ok());
}
